//! How far the reading of the log is, and what may be told at that point.
//!
//! # Why
//!
//! *A goal per partition.* A level in the middle of the log was never true, so nothing is told until
//! the reading has reached where the log's end was when it began. The same holds for a node that
//! fell behind while it was live.
//!
//! *A log that does not move is no log.* Kafka may die while it is read, or a partition have no
//! leader. Then the spool is all there is, and what it brings must not wait (law 6).

use std::collections::BTreeMap;

use crate::domain::instant::Millis;

/// Without progress for so long the reading is taken for stuck, ms.
const STUCK_AFTER: Millis = 2_000;
/// Whoever reads what was written so long ago may have fallen behind, ms.
const LATE: Millis = 5_000;
/// Lateness that turned out to be none is not looked into again before this, ms.
const LATE_AGAIN: Millis = 1_000;

/// What may be told.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Stage {
    /// The log, or a part of it, does not come: levels by what is known.
    Blind,
    /// The log comes: nothing before its end.
    CatchingUp,
    /// The log is read as it grows: levels and changes.
    Live,
}

/// The reading of all partitions.
#[derive(Debug)]
pub(super) struct Course {
    /// `None`: not known yet.
    partitions: Option<i32>,
    tracks: BTreeMap<i32, Track>,
    /// When the reading moved last, ms.
    moved: Millis,
    /// When lateness was looked into last, ms.
    looked: Millis,
    /// Where reading begins, by the log's time, ms.
    start: Millis,
}

/// The reading of one partition.
#[derive(Debug)]
struct Track {
    next: i64,
    /// What must be read before anything is told; `None`: not known.
    goal: Option<i64>,
    /// The log's time of what was read last, ms.
    at: Millis,
}

impl Track {
    fn is_there(&self) -> bool {
        self.goal.is_some_and(|goal| self.next >= goal)
    }
}

impl Course {
    /// Nothing is known. Reading will begin at `start`, by the log's time (ms).
    pub fn new(start: Millis) -> Self {
        Self {
            partitions: None,
            tracks: BTreeMap::new(),
            moved: Millis::MIN,
            looked: Millis::MIN,
            start,
        }
    }

    /// The log has so many partitions, of which these were seen with their ends. Gives those that
    /// can be read and are not.
    pub fn see(&mut self, partitions: i32, ends: &[(i32, i64)]) -> Vec<i32> {
        self.partitions = Some(partitions);
        let mut new = Vec::new();
        for (partition, end) in ends {
            match self.tracks.get_mut(partition) {
                Some(track) if track.goal.is_none() => track.goal = Some(*end),
                Some(_) => {}
                None => new.push(*partition),
            }
        }
        new
    }

    /// A partition is read from `next` on; its end is `goal`.
    pub fn begin(&mut self, partition: i32, next: i64, goal: i64, now: Millis) {
        let track = Track {
            next,
            goal: Some(goal),
            at: self.start,
        };
        self.tracks.insert(partition, track);
        self.moved = now;
    }

    /// Positions are others than before, and how far the ends are is not known.
    pub fn begin_anew(&mut self, positions: &BTreeMap<i32, i64>, now: Millis) {
        for (partition, track) in &mut self.tracks {
            if let Some(next) = positions.get(partition) {
                track.next = *next;
                track.goal = None;
            }
        }
        self.moved = now;
    }

    /// A message was read, which the log got at `at`.
    pub fn read(&mut self, partition: i32, offset: i64, at: Millis, now: Millis) {
        if let Some(track) = self.tracks.get_mut(&partition) {
            track.next = offset + 1;
            track.at = at;
            self.moved = now;
        }
    }

    /// Whether what was written at `at` shows that the reading may have fallen behind: the ends
    /// must be asked for.
    pub fn seems_late(&self, at: Millis, now: Millis) -> bool {
        !self.is_unread() && now - at > LATE && now.saturating_sub(self.looked) > LATE_AGAIN
    }

    /// The ends were asked for because the reading seemed late; one that is not known may be
    /// anywhere.
    pub fn aim(&mut self, ends: &[(i32, i64)], now: Millis) {
        self.looked = now;
        self.moved = now;
        for (partition, track) in &mut self.tracks {
            let end = ends.iter().find(|(seen, _)| seen == partition);
            track.goal = end.map(|(_, end)| *end);
        }
    }

    /// Whether something is still to be read before levels are true.
    pub fn is_unread(&self) -> bool {
        self.tracks.is_empty() || self.tracks.values().any(|track| !track.is_there())
    }

    /// Whether every partition is read, as far as is known.
    pub fn is_complete(&self) -> bool {
        let read = i32::try_from(self.tracks.len()).unwrap_or(i32::MAX);
        self.partitions.is_some_and(|partitions| read >= partitions)
            && self.tracks.values().all(|track| track.goal.is_some())
    }

    /// What may be told now.
    pub fn stage(&self, now: Millis) -> Stage {
        if self.tracks.is_empty() {
            return Stage::Blind;
        }
        if self.is_unread() {
            return if now.saturating_sub(self.moved) <= STUCK_AFTER {
                Stage::CatchingUp
            } else {
                Stage::Blind
            };
        }
        if self.is_complete() {
            Stage::Live
        } else {
            Stage::Blind
        }
    }

    /// Everything that the log got before this was read, ms; `None`: nothing is behind.
    pub fn read_to(&self) -> Option<Millis> {
        let behind = self.tracks.values().filter(|track| !track.is_there());
        behind.map(|track| track.at).min()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const START: Millis = 1_000;

    /// Two partitions, each with ten messages to be read.
    fn begun() -> Course {
        let mut course = Course::new(START);
        assert_eq!(course.stage(0), Stage::Blind);
        assert_eq!(course.see(2, &[(0, 10), (1, 10)]), [0, 1]);
        assert_eq!(course.stage(0), Stage::Blind);
        for partition in [0, 1] {
            course.begin(partition, 0, 10, 0);
        }
        course
    }

    fn read_to_the_end(course: &mut Course, now: Millis) {
        for partition in [0, 1] {
            course.read(partition, 9, now, now);
        }
    }

    #[test]
    fn nothing_is_told_before_every_partition_has_reached_its_goal() {
        let mut course = begun();
        assert_eq!(course.stage(0), Stage::CatchingUp);
        course.read(0, 9, 50_000, 100);
        assert_eq!(course.stage(100), Stage::CatchingUp);
        course.read(1, 8, 40_000, 100);
        assert_eq!(course.stage(100), Stage::CatchingUp);
        course.read(1, 9, 50_000, 100);
        assert_eq!(course.stage(100), Stage::Live);
        assert!(!course.is_unread());
    }

    #[test]
    fn a_reading_that_is_stuck_is_blind_until_it_moves() {
        let mut course = begun();
        course.read(0, 3, 50_000, 100);
        assert_eq!(course.stage(2_100), Stage::CatchingUp);
        assert_eq!(course.stage(2_101), Stage::Blind);
        assert!(course.is_unread());
        course.read(0, 4, 50_000, 9_000);
        assert_eq!(course.stage(9_000), Stage::CatchingUp);
    }

    #[test]
    fn without_one_partition_the_others_are_read_and_their_levels_told() {
        let mut course = Course::new(START);
        assert_eq!(course.see(2, &[(0, 10)]), [0]);
        course.begin(0, 0, 10, 0);
        assert_eq!(course.stage(0), Stage::CatchingUp);
        course.read(0, 9, 50_000, 0);
        assert_eq!(course.stage(0), Stage::Blind);
        assert!(!course.is_unread());
        // Its leader is back.
        assert_eq!(course.see(2, &[(0, 12), (1, 10)]), [1]);
        course.begin(1, 0, 10, 5);
        assert_eq!(course.stage(5), Stage::CatchingUp);
        course.read(1, 9, 50_000, 6);
        assert_eq!(course.stage(6), Stage::Live);
    }

    #[test]
    fn the_log_s_time_is_that_of_the_partition_that_is_furthest_back() {
        let mut course = begun();
        assert_eq!(course.read_to(), Some(START));
        course.read(0, 3, 50_000, 0);
        assert_eq!(course.read_to(), Some(START));
        course.read(1, 3, 40_000, 0);
        assert_eq!(course.read_to(), Some(40_000));
        // What has been read to its end holds nobody back.
        course.read(1, 9, 41_000, 0);
        assert_eq!(course.read_to(), Some(50_000));
        read_to_the_end(&mut course, 0);
        assert_eq!(course.read_to(), None);
    }

    #[test]
    fn who_is_late_collects_to_the_end_and_who_only_has_another_clock_does_not() {
        let mut course = begun();
        read_to_the_end(&mut course, 100_000);
        assert!(!course.seems_late(95_000, 100_000));
        assert!(course.seems_late(94_999, 100_000));
        course.aim(&[(0, 10), (1, 10)], 100_000);
        assert_eq!(course.stage(100_000), Stage::Live);
        assert!(!course.seems_late(0, 101_000));
        assert!(course.seems_late(0, 101_001));
        course.aim(&[(0, 900), (1, 10)], 101_001);
        assert_eq!(course.stage(101_001), Stage::CatchingUp);
        course.read(0, 899, 101_000, 101_500);
        assert_eq!(course.stage(101_500), Stage::Live);
        // An end that nobody can tell is not reached.
        course.aim(&[(1, 10)], 200_000);
        assert_eq!(course.stage(200_000), Stage::CatchingUp);
        assert_eq!(course.see(2, &[(0, 900), (1, 10)]), Vec::<i32>::new());
        assert_eq!(course.stage(200_000), Stage::Live);
    }

    #[test]
    fn positions_that_were_moved_are_read_from_again_in_silence() {
        let mut course = begun();
        read_to_the_end(&mut course, 100);
        course.begin_anew(&BTreeMap::from([(0, 0), (1, 10)]), 200);
        assert_eq!(course.stage(200), Stage::CatchingUp);
        course.see(2, &[(0, 10), (1, 10)]);
        assert_eq!(course.stage(200), Stage::CatchingUp);
        course.read(0, 9, 200, 300);
        assert_eq!(course.stage(300), Stage::Live);
    }
}
