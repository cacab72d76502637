//! Attendance: when this node was well in each of its rooms, noted in the background.
//!
//! # Why
//!
//! Nobody can note that he is gone: what nobody attended is what is left between the presences
//! (`domain::outage`). So a presence reaches to the last moment at which the room said that it was
//! well, not to the one at which it was found to be silent, and begins anew whenever the word before
//! is too long ago, be it that the process was frozen. It is kept in memory while Postgres is away,
//! and looked at beside the writing: a store that hangs is no absence of the door.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use chrono::{DateTime, TimeDelta, Utc};
use metrics::gauge;
use uuid::Uuid;

use crate::clock;
use crate::lifecycle::{Health, Lifecycle, Readiness};
use crate::store::{Presence, Store};
use crate::telemetry::names;

/// How often a node looks how it is, and writes it down.
const EVERY: Duration = Duration::from_secs(2);
/// What happened since a word that is longer ago than this, nobody knows.
const LAPSE: TimeDelta = TimeDelta::seconds(10);
/// So many presences are kept in memory at most; older ones are forgotten, and count as absence.
const MOST: usize = 10_000;

/// The presences of a node.
#[derive(Debug, Default)]
struct Roll {
    /// By room: since when it was well without a lapse, and when it said so last.
    present: BTreeMap<&'static str, (DateTime<Utc>, DateTime<Utc>)>,
    /// What is not written down yet, by beginning and room.
    unwritten: BTreeMap<(DateTime<Utc>, &'static str), DateTime<Utc>>,
}

impl Roll {
    /// The node looked how it is: when a room that counts as well said so.
    fn look(&mut self, room: &'static str, said: Option<DateTime<Utc>>) {
        let Some(said) = said else {
            self.present.remove(room);
            return;
        };
        let since = match self.present.get(room) {
            Some((since, last)) if *last <= said && said - *last <= LAPSE => *since,
            _ => said,
        };
        self.present.insert(room, (since, said));
        self.unwritten.insert((since, room), said);
        while self.unwritten.len() > MOST {
            self.unwritten.pop_first();
        }
    }

    fn take(&mut self) -> Vec<Presence> {
        let taken = std::mem::take(&mut self.unwritten).into_iter();
        taken
            .map(|((since, room), until)| Presence { room, since, until })
            .collect()
    }

    /// They could not be written.
    fn give_back(&mut self, presences: Vec<Presence>) {
        for Presence { room, since, until } in presences {
            self.unwritten
                .entry((since, room))
                .and_modify(|later| *later = until.max(*later))
                .or_insert(until);
        }
    }
}

/// Notes attendance in these rooms until the stop.
pub(super) fn start(rooms: Vec<&'static str>, store: &Store, lifecycle: &Lifecycle) {
    let roll: Arc<Mutex<Roll>> = Arc::default();
    lifecycle.run(
        "attendance",
        look(rooms, Arc::clone(&roll), lifecycle.clone()),
    );
    lifecycle.run(
        "attendance notes",
        write_down(roll, store.clone(), lifecycle.clone()),
    );
}

fn lock(roll: &Mutex<Roll>) -> MutexGuard<'_, Roll> {
    roll.lock().unwrap_or_else(PoisonError::into_inner)
}

async fn look(rooms: Vec<&'static str>, roll: Arc<Mutex<Roll>>, lifecycle: Lifecycle) {
    let soft = lifecycle.soft().clone();
    while !soft.is_cancelled() {
        let view = lifecycle.readiness().view();
        for (component, health) in &view {
            let is_well = f64::from(u8::from(*health == Health::Well));
            gauge!(names::COMPONENT_WELL, "component" => *component).set(is_well);
        }
        let now = clock::now();
        for room in &rooms {
            let ago = said_well(room, lifecycle.readiness());
            let said = ago.and_then(|ago| Some(now - TimeDelta::from_std(ago).ok()?));
            lock(&roll).look(room, said);
        }
        tokio::select! {
            () = tokio::time::sleep(EVERY) => {}
            () = soft.cancelled() => {}
        }
    }
}

/// How long ago a room that is well was surely so. It is well if it does what it is for, by whichever
/// store.
fn said_well(room: &str, readiness: &Readiness) -> Option<Duration> {
    let either =
        |one: Option<Duration>, other: Option<Duration>| one.into_iter().chain(other).min();
    match room {
        "intake" => either(
            readiness.said_well("kafka"),
            readiness.said_well("postgres"),
        ),
        // The board says once that it is well, and is until it says otherwise.
        "board" => {
            let live = readiness.said_well("board").map(|_| Duration::ZERO);
            either(live, readiness.said_well("spool"))
        }
        _ => readiness.said_well(room),
    }
}

async fn write_down(roll: Arc<Mutex<Roll>>, store: Store, lifecycle: Lifecycle) {
    // Of this process: another one after it was not there before.
    let node = Uuid::new_v4();
    let soft = lifecycle.soft().clone();
    loop {
        tokio::select! {
            () = tokio::time::sleep(EVERY) => {}
            () = soft.cancelled() => {}
        }
        let taken = lock(&roll).take();
        if !taken.is_empty()
            && let Err(error) = store.note_presences(node, &taken).await
        {
            tracing::debug!(error = %error, "presences stay in memory for now: {error}");
            lock(&roll).give_back(taken);
        }
        if soft.is_cancelled() {
            return;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(second: i64) -> DateTime<Utc> {
        DateTime::from_timestamp(second, 0).unwrap()
    }

    fn presence(room: &'static str, since: i64, until: i64) -> Presence {
        Presence {
            room,
            since: at(since),
            until: at(until),
        }
    }

    #[test]
    fn a_presence_is_extended_and_begins_anew_after_a_lapse() {
        let mut roll = Roll::default();
        for second in [0, 2, 4] {
            roll.look("intake", Some(at(second)));
        }
        assert_eq!(roll.take(), [presence("intake", 0, 4)]);
        roll.look("intake", Some(at(6)));
        // It still counts as well, and says nothing any more.
        roll.look("intake", Some(at(6)));
        roll.look("intake", None);
        roll.look("intake", Some(at(20)));
        // The process was frozen, and its clock was set back.
        roll.look("intake", Some(at(60)));
        roll.look("intake", Some(at(59)));
        let expected = [(0, 6), (20, 20), (59, 59), (60, 60)];
        assert_eq!(
            roll.take(),
            expected.map(|(since, until)| presence("intake", since, until))
        );
    }

    #[test]
    fn what_could_not_be_written_is_kept_and_goes_on() {
        let mut roll = Roll::default();
        roll.look("ledger", Some(at(0)));
        let taken = roll.take();
        roll.look("ledger", Some(at(2)));
        roll.give_back(taken);
        assert_eq!(roll.take(), [presence("ledger", 0, 2)]);
    }

    #[test]
    fn a_room_is_well_by_whichever_store_it_works() {
        let readiness = Readiness::default();
        readiness.unwell("kafka", "no broker is reachable");
        readiness.starting("board");
        readiness.unwell("ledger", "no leader");
        assert_eq!(said_well("intake", &readiness), None);
        readiness.well("postgres", Duration::from_secs(20));
        readiness.well("spool", Duration::from_secs(20));
        assert!(said_well("intake", &readiness).is_some());
        assert!(said_well("board", &readiness).is_some());
        assert_eq!(said_well("ledger", &readiness), None);
        readiness.well("board", Duration::from_secs(20));
        assert_eq!(said_well("board", &readiness), Some(Duration::ZERO));
    }
}
