//! The closed calls of one tenant in the compact form.

use std::collections::VecDeque;
use std::hash::{BuildHasher as _, RandomState};

use onrecord_evidence::event::instant::Millis;
use onrecord_evidence::identity::alias_graph::Anchor;

use super::closed_record::ClosedRecord;
use super::packed_anchor::PackedAnchor;
use super::segment::Segment;

/// Closed calls by each of their ids.
#[derive(Default)]
pub(crate) struct CompactCalls {
    /// The last one is written to.
    segments: VecDeque<Segment>,
    /// Different in each process, so that a sender cannot choose ids that collide.
    hasher: RandomState,
    /// The instant of the last change that was dropped with a call, ms; 0: none was.
    dropped_through: Millis,
    /// The same of calls with an attachment that belongs to a person.
    dropped_through_of_persons: Millis,
}

/// Where a call is.
struct CompactPlace {
    segment: usize,
    start: u32,
}

impl CompactCalls {
    pub(crate) fn is_empty(&self) -> bool {
        self.segments.is_empty()
    }

    pub(crate) fn len(&self) -> usize {
        self.segments.iter().map(Segment::calls).sum()
    }

    /// Bytes of the memory of all records.
    #[cfg(test)]
    pub(crate) fn memory(&self) -> usize {
        self.segments.iter().map(Segment::memory).sum()
    }

    /// Adds a call, none of whose ids is known here.
    pub(crate) fn add(&mut self, record: &ClosedRecord) {
        let at = record.call.last_event_at;
        let dropped = record.call.dropped_through;
        self.dropped_through = self.dropped_through.max(dropped);
        if !record.owners.is_empty() {
            self.dropped_through_of_persons = self.dropped_through_of_persons.max(dropped);
        }
        if self.segments.back().is_none_or(|segment| segment.is_full_at(at)) {
            self.begin_segment(at);
        }
        if let Some(segment) = self.segments.back_mut()
            && !segment.add(record, &self.hasher)
        {
            // The place left was too small. A new segment has gigabytes.
            self.begin_segment(at);
            if let Some(segment) = self.segments.back_mut() {
                segment.add(record, &self.hasher);
            }
        }
    }

    fn begin_segment(&mut self, at: Millis) {
        if let Some(segment) = self.segments.back_mut() {
            segment.end(&self.hasher);
        }
        self.segments.push_back(Segment::new(at));
    }

    fn find(&self, id: &PackedAnchor) -> Option<CompactPlace> {
        let hash = self.hasher.hash_one(id);
        // Young calls are named more often.
        let segments = self.segments.iter().enumerate().rev();
        let mut found = segments.filter_map(|(at, segment)| {
            Some(CompactPlace { segment: at, start: segment.find(id, hash)? })
        });
        found.next()
    }

    /// The call that an anchor belongs to.
    pub(crate) fn call_of(&self, anchor: &Anchor) -> Option<Anchor> {
        if self.is_empty() {
            return None;
        }
        let place = self.find(&PackedAnchor::of(anchor))?;
        self.segments.get(place.segment)?.call_at(place.start)?.to_anchor()
    }

    /// The record of a call, by any of its anchors.
    pub(crate) fn get(&self, anchor: &Anchor) -> Option<ClosedRecord> {
        if self.is_empty() {
            return None;
        }
        let place = self.find(&PackedAnchor::of(anchor))?;
        self.segments.get(place.segment)?.record_at(place.start)
    }

    /// Removes a call.
    pub(crate) fn remove(&mut self, call: &Anchor) {
        let Some(place) = self.find(&PackedAnchor::of(call)) else {
            return;
        };
        if let Some(segment) = self.segments.get_mut(place.segment) {
            segment.remove(place.start, &self.hasher);
            if segment.calls() == 0 {
                self.segments.remove(place.segment);
            } else if segment.is_mostly_removed() {
                *segment = segment.without_removed(&self.hasher);
            }
        }
    }

    /// Drops the segments without a call that had an event since `instant` (ms). Returns whether there
    /// were any.
    pub(crate) fn drop_before(&mut self, instant: Millis) -> bool {
        let count = self.segments.len();
        self.segments.retain(|segment| segment.last_event_at() >= instant);
        self.segments.len() < count
    }

    /// Whether no call was written here with a change since `from` (ms). `of_persons`: of the calls with
    /// an attachment that belongs to a person.
    pub(crate) fn has_all_changes_since(&self, from: Millis, of_persons: bool) -> bool {
        let dropped =
            if of_persons { self.dropped_through_of_persons } else { self.dropped_through };
        dropped < from
    }
}

#[cfg(test)]
mod tests {
    use onrecord_evidence::event::ids::Digest;
    use onrecord_evidence::notice::variant::NoticeCause;
    use onrecord_evidence::session::trust::CallTrust;

    use super::*;
    use crate::live::compact::closed_record::{OwnedAttachment, RecordMember};
    use crate::live::fanout::message::CallLevel;
    use crate::live::live_call::ClosedCall;

    const NOW: Millis = 1_764_384_000_000;

    fn correlation(n: usize) -> Anchor {
        Anchor::correlation(&format!("c0000000-0000-4000-8000-{n:012x}"))
    }

    /// A call with three ids, in which the platform named a person of many calls and one of this call.
    fn plain(n: usize) -> ClosedRecord {
        let at = NOW + n as Millis;
        let call = correlation(n);
        let server = Anchor::server(&format!("https://{n}"));
        let persons = [
            "8:acs:11111111-1111-4111-8111-111111111111_0000000a-alice".to_owned(),
            format!("8:acs:11111111-1111-4111-8111-111111111111_c0000000-0000-4000-8000-{n:012x}"),
        ];
        let ids = [call.as_str().to_owned(), server.as_str().to_owned(), "group".to_owned()];
        let leg = Anchor::connection(&format!("leg {n}"));
        let members = [
            RecordMember::new(call, []),
            RecordMember::new(server, [Some(0)]),
            RecordMember::new(leg, [Some(0), Some(1)]),
        ];
        let call = ClosedCall {
            current: CallLevel::default(),
            trust: CallTrust::from_texts(persons, ids),
            is_trust_new: false,
            outsiders: Vec::new(),
            is_connected: true,
            own_cause: NoticeCause::Nothing,
            first_event_at: Some(at - 61_500),
            last_event_at: at,
            dropped_through: 0,
        };
        ClosedRecord { members: members.into_iter().flatten().collect(), owners: Vec::new(), call }
    }

    /// The same as a recorded call with five ids.
    fn recorded(n: usize) -> ClosedRecord {
        let mut record = plain(n);
        for id in [Anchor::recording(&format!("r{n}")), Anchor::connection(&format!("l{n}"))] {
            record.members.extend(RecordMember::new(id, [Some(0), Some(1)]));
        }
        let at = record.call.last_event_at;
        record.call.current.cause = NoticeCause::Event(Digest::of(&n.to_be_bytes()));
        record.call.current.view.recording.capture_started_at = Some(at - 30_000);
        record.call.dropped_through = at - 10_000;
        record
    }

    /// The same with a client that reported.
    fn with_client(n: usize) -> ClosedRecord {
        let mut record = recorded(n);
        let attachment = record.members.len();
        let id = Anchor::attachment(&format!("t{n}"));
        record.members.extend(RecordMember::new(id, [Some(1)]));
        let since = record.call.last_event_at - 50_000;
        let person = "8:acs:r_anna".to_owned();
        record.owners.push(OwnedAttachment { attachment, since, person, anchors: vec![1] });
        record
    }

    fn of(count: usize, record: fn(usize) -> ClosedRecord) -> CompactCalls {
        let mut calls = CompactCalls::default();
        (0..count).for_each(|n| calls.add(&record(n)));
        calls
    }

    #[test]
    fn each_call_is_found_by_each_of_its_ids_until_it_is_removed() {
        let kinds = [plain, recorded, with_client];
        let record = |n: usize| kinds[n % kinds.len()](n);
        // More than a segment has.
        let count = 30_000;
        let mut calls = of(count, |n| [plain, recorded, with_client][n % 3](n));
        assert_eq!(calls.len(), count);
        assert!(calls.segments.len() > 1);
        let is_removed = |n: usize| n % 2 == 1;
        (0..count).filter(|n| is_removed(*n)).for_each(|n| calls.remove(&correlation(n)));
        assert_eq!(calls.len(), count / 2);
        for n in (0..count).step_by(7) {
            let record = record(n);
            for member in &record.members {
                let (call, found) = (calls.call_of(&member.anchor), calls.get(&member.anchor));
                if is_removed(n) {
                    assert_eq!((call, found), (None, None));
                } else {
                    assert_eq!((call, found.as_ref()), (Some(correlation(n)), Some(&record)));
                }
            }
        }
    }

    #[test]
    fn a_call_that_is_written_again_and_again_takes_no_more_memory() {
        let mut calls = of(2_000, with_client);
        for n in 0..30_000 {
            calls.remove(&correlation(n % 50));
            calls.add(&with_client(n % 50));
        }
        assert_eq!((calls.len(), calls.segments.len()), (2_000, 1));
        assert!(calls.memory() < 4 << 20, "{}", calls.memory());
        assert_eq!(calls.get(&correlation(7)), Some(with_client(7)));
        assert_eq!(calls.get(&correlation(1_999)), Some(with_client(1_999)));
    }

    #[test]
    fn a_segment_is_dropped_when_a_day_has_passed_since_the_last_event_of_each_of_its_calls() {
        let mut calls = CompactCalls::default();
        let hour = 60 * 60 * 1000;
        for n in [0, 1, 2 * hour, 3 * hour] {
            calls.add(&plain(n));
        }
        assert_eq!(calls.segments.len(), 3);
        let since = |hours: usize| NOW + (hours * hour) as Millis;
        assert!(!calls.drop_before(NOW));
        assert!(calls.drop_before(since(1)));
        assert_eq!(calls.len(), 2);
        assert!(calls.drop_before(since(4)));
        assert!(calls.is_empty());
    }

    /// Prints the memory of a million calls of 23 hours, half of them recorded. Run by itself:
    /// `cargo test --features failpoints,kafka-tls --lib a_million_ended -- --ignored --nocapture`.
    #[test]
    #[ignore = "measures the memory of the process, which other tests change"]
    fn a_million_ended_calls_take_less_than_200_mb() {
        let resident = || {
            let status = std::fs::read_to_string("/proc/self/status").unwrap();
            let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:")).unwrap();
            line.trim().trim_end_matches(" kB").parse::<usize>().unwrap() / 1024
        };
        let before = resident();
        let mut calls = CompactCalls::default();
        for n in 0..1_000_000 {
            let mut record = if n % 2 == 0 { plain(n) } else { recorded(n) };
            // Twelve a second. The other instants of a call stay as far from its last event.
            let later = (n as Millis) * 82;
            let ClosedCall { current, first_event_at, last_event_at, dropped_through, .. } =
                &mut record.call;
            let started_at = current.view.recording.capture_started_at.iter_mut();
            let dropped = Some(dropped_through).filter(|at| **at != 0);
            for at in started_at.chain(first_event_at).chain(dropped).chain([last_event_at]) {
                *at += later;
            }
            calls.add(&record);
        }
        let grown = resident() - before;
        println!(
            "{} calls take {grown} MiB, {} of them in tables",
            calls.len(),
            calls.memory() >> 20
        );
        assert!(grown < 200, "{grown} MiB");
    }

    /// Prints the bytes of a call: `cargo test --features failpoints,kafka-tls --lib takes_few_bytes --
    /// --nocapture`.
    #[test]
    fn an_ended_call_takes_few_bytes() {
        // Some full segments, and one that is not.
        let count = 80_000;
        let bytes = |record| of(count, record).memory() / count;
        let known = |n| {
            let mut record = plain(n);
            let persons = ["8:acs:r_anna".to_owned(), "8:acs:r_ben".to_owned()];
            let ids = record.call.trust.ids().iter().map(|id| id.clone().into_string());
            record.call.trust = CallTrust::from_texts(persons, ids.collect::<Vec<_>>());
            record
        };
        let (known, plain) = (bytes(known), bytes(plain));
        let (recorded, with_client) = (bytes(recorded), bytes(with_client));
        println!(
            "{known} bytes with three ids, {plain} with a person of one call, {recorded} with five ids \
             and a recording, {with_client} with a client besides"
        );
        assert!(known <= 120, "{known}");
        assert!(plain <= 170, "{plain}");
        assert!(recorded <= 250, "{recorded}");
        assert!(with_client <= 290, "{with_client}");
    }
}
