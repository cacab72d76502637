//! The posted events, compared with the ledger, and the observed notices, compared with the
//! scripts.
//!
//! # Why
//!
//! An event counts as posted when its delivery was answered 2xx: from then on the server must not
//! lose it (`DURABLE_ACK`). It must be in the ledger exactly once (`ONCE`), recognized, and in its
//! own call, and nothing else may be. A withheld event counts as posted too, so it must show up as
//! missing.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::time::{Duration, Instant};

use onrecord_simulator::{
    ACKNOWLEDGEMENT, ApiReadError, ApiReader, CallScript, ListedEvent, ListedQuarantine,
    ObservationLog, Playback, SimulatedEventId,
};

/// Interval between two reads of the ledger.
const POLL_INTERVAL: Duration = Duration::from_millis(50);
/// Interval without new entries after which no second copies are expected, when all events are
/// there.
const DUPLICATE_TIMEOUT: Duration = Duration::from_secs(1);
/// Timeout of missing events: the longest interval without new entries.
const ENTRY_TIMEOUT: Duration = Duration::from_secs(8);

/// What identifies an event within one tenant (`ONCE`).
type LedgerKey = (String, String, String);

fn key(source: &str, source_type: &str, id: &str) -> LedgerKey {
    (source.to_lowercase(), source_type.to_owned(), id.to_owned())
}

fn key_of(event: &SimulatedEventId) -> LedgerKey {
    key(&event.source, &event.source_type, &event.id)
}

/// A call, as far as the texts of differences need it.
#[derive(Debug)]
pub(super) struct ComparedCall {
    title: &'static str,
    public_id: String,
    anchors: BTreeSet<String>,
}

/// The state of the comparison.
#[derive(Debug, Default)]
pub(super) struct EventComparison {
    pub calls: BTreeMap<u64, ComparedCall>,
    /// The call of each posted event.
    pub posted: BTreeMap<LedgerKey, u64>,
    in_ledger: HashMap<LedgerKey, Vec<ListedEvent>>,
    pub deliveries: u64,
    pub repetitions: u64,
    pub entries: u64,
    pub changes_expected: usize,
    pub changes_observed: usize,
    not_accepted: Vec<String>,
    /// A sentence for each event in quarantine.
    pub quarantine: Vec<String>,
    not_observed: Vec<String>,
}

impl EventComparison {
    /// Adds a call; the sender withholds these events.
    pub(super) fn begin(&mut self, script: &CallScript, withheld: Vec<SimulatedEventId>) {
        let call = ComparedCall {
            title: script.title,
            public_id: script.public_id.clone(),
            anchors: script.anchors.iter().map(ToString::to_string).collect(),
        };
        self.calls.insert(script.number, call);
        for event in withheld {
            self.posted.insert(key_of(&event), script.number);
        }
    }

    /// Adds the outcome of the deliveries of a call.
    pub(super) fn add_playback(&mut self, call: u64, playback: Playback) {
        self.deliveries += playback.deliveries;
        self.repetitions += playback.repetitions;
        // Acknowledgements do not become ledger entries but facts.
        let accepted = playback.accepted.iter();
        for event in accepted.filter(|event| event.source_type != ACKNOWLEDGEMENT) {
            self.posted.insert(key_of(event), call);
        }
        for (event, reason) in playback.not_accepted {
            let event = self.describe(&key_of(&event), Some(call));
            self.not_accepted.push(format!("not accepted: {event}: {}", reason.0));
        }
    }

    /// Reads the ledger until every event is in it, or no new entry has come for too long.
    pub(super) async fn read_ledger(&mut self, reader: &ApiReader) -> Result<(), ApiReadError> {
        let mut cursor = None;
        let mut last = Instant::now();
        loop {
            let entries = reader.events(&mut cursor).await?;
            if !entries.is_empty() {
                last = Instant::now();
                self.add_entries(entries);
                continue;
            }
            let timeout =
                if self.missing().next().is_none() { DUPLICATE_TIMEOUT } else { ENTRY_TIMEOUT };
            if last.elapsed() >= timeout {
                break;
            }
            tokio::time::sleep(POLL_INTERVAL).await;
        }
        self.quarantine.extend(reader.quarantine().await?.into_iter().map(|found| {
            let ListedQuarantine { source, detail, reason } = found;
            format!("in quarantine: an event of {source}: {detail} ({reason})")
        }));
        Ok(())
    }

    fn add_entries(&mut self, entries: Vec<ListedEvent>) {
        for entry in entries {
            self.entries += 1;
            let key = key(&entry.ce_source, &entry.source_type, &entry.ce_id);
            self.in_ledger.entry(key).or_default().push(entry);
        }
    }

    /// Waits until all expected changes have been observed, or the timeout has passed.
    pub(super) async fn check_notices(&mut self, observations: &ObservationLog, timeout: Duration) {
        let began = Instant::now();
        while began.elapsed() < timeout
            && self.calls.keys().any(|call| !observations.check(*call).differences.is_empty())
        {
            tokio::time::sleep(POLL_INTERVAL).await;
        }
        for call in self.calls.keys() {
            let check = observations.close(*call);
            self.changes_expected += check.expected;
            self.changes_observed += check.observed;
            self.not_observed.extend(check.differences);
        }
    }

    fn missing(&self) -> impl Iterator<Item = (&LedgerKey, u64)> {
        let missing = self.posted.iter().filter(|(key, _)| !self.in_ledger.contains_key(key));
        missing.map(|(key, call)| (key, *call))
    }

    /// All differences, a sentence each.
    pub(super) fn differences(&self) -> Vec<String> {
        let mut differences = self.not_accepted.clone();
        differences.extend(self.missing().map(|(key, call)| {
            format!("posted, but not in the ledger: {}", self.describe(key, Some(call)))
        }));
        let mut wrong: Vec<String> = self
            .in_ledger
            .iter()
            .flat_map(|(key, entries)| self.wrong_entries(key, entries))
            .collect();
        wrong.sort_unstable();
        differences.extend(wrong);
        differences.extend(self.quarantine.iter().chain(&self.not_observed).cloned());
        differences
    }

    fn wrong_entries(&self, key: &LedgerKey, entries: &[ListedEvent]) -> Vec<String> {
        let Some(call) = self.posted.get(key).copied() else {
            return vec![format!("in the ledger, but not posted: {}", self.describe(key, None))];
        };
        let event = || self.describe(key, Some(call));
        let mut wrong = Vec::new();
        if entries.len() > 1 {
            wrong.push(format!("{} times in the ledger: {}", entries.len(), event()));
        }
        let anchors = self.calls.get(&call).map(|call| &call.anchors);
        for entry in entries {
            let call_id = entry.call.as_deref();
            let is_anchor = |id| anchors.is_some_and(|anchors| anchors.contains(id));
            if !call_id.is_some_and(is_anchor) {
                let call_id = call_id.unwrap_or("(none)");
                wrong.push(format!("in the ledger under the call {call_id}: {}", event()));
            }
            if entry.r#type == "unrecognized" {
                wrong.push(format!("in the ledger as unrecognized: {}", event()));
            }
            if !entry.flags.is_empty() {
                let flags = entry.flags.join(", ");
                wrong.push(format!("in the ledger with the flags {flags}: {}", event()));
            }
        }
        wrong
    }

    fn describe(&self, (source, source_type, id): &LedgerKey, call: Option<u64>) -> String {
        match call.and_then(|call| self.calls.get(&call)) {
            Some(ComparedCall { title, public_id, .. }) => {
                format!("{source_type} {id} of the call {public_id} ({title})")
            }
            None => format!("{source_type} {id} from {source}"),
        }
    }
}

#[cfg(test)]
mod tests {
    use chrono::DateTime;

    use super::*;
    use onrecord_simulator::{EnabledTargets, ScenarioConfig, SimulatedResource};

    fn script() -> CallScript {
        let config = ScenarioConfig {
            seed: 4,
            resource: SimulatedResource::new(4, None),
            targets: EnabledTargets { event_grid: true, call_automation: true, reports: false },
            generations: Vec::new(),
            call_length: 6_000,
            disorder: 0.0,
            duplicates: 0.0,
            people: None,
        };
        config.script(0, DateTime::from_timestamp(1_795_000_000, 0).unwrap())
    }

    fn events_of(script: &CallScript) -> Vec<SimulatedEventId> {
        script
            .deliveries
            .iter()
            .flat_map(|delivery| &delivery.events)
            .map(onrecord_simulator::SimulatedEvent::event_id)
            .collect()
    }

    fn entry(event: &SimulatedEventId, call: &str) -> ListedEvent {
        ListedEvent {
            call: Some(call.to_owned()),
            r#type: "call.started".to_owned(),
            source_type: event.source_type.clone(),
            ce_source: event.source.to_lowercase(),
            ce_id: event.id.clone(),
            flags: Vec::new(),
        }
    }

    /// All events of a call were accepted; these entries are in the ledger.
    fn comparison(
        script: &CallScript,
        withheld: Vec<SimulatedEventId>,
        entries: Vec<ListedEvent>,
    ) -> EventComparison {
        let mut events = EventComparison::default();
        events.begin(script, withheld);
        events.add_playback(0, Playback { accepted: events_of(script), ..Playback::default() });
        events.add_entries(entries);
        events
    }

    #[test]
    fn an_event_that_is_in_the_ledger_once_in_its_own_call_is_no_difference() {
        let script = script();
        let entries =
            events_of(&script).iter().map(|event| entry(event, &script.public_id)).collect();
        assert_eq!(comparison(&script, Vec::new(), entries).differences(), Vec::<String>::new());
    }

    #[test]
    fn every_kind_of_difference_names_event_and_call() {
        let script = script();
        let all = events_of(&script);
        let call = &script.public_id;
        let other = SimulatedEventId { id: "other".to_owned(), ..all[0].clone() };
        let mut entries: Vec<ListedEvent> =
            all.iter().skip(1).map(|event| entry(event, call)).collect();
        entries.push(entry(&all[1], call));
        entries.push(entry(&other, call));
        entries[1].call = Some("another".to_owned());
        entries[2].r#type = "unrecognized".to_owned();
        entries[3].flags = vec!["conflict".to_owned()];
        let differences = comparison(&script, Vec::new(), entries).differences();
        assert_eq!(differences.len(), 6, "{differences:#?}");
        for (start, event) in [
            ("posted, but not in the ledger", &all[0]),
            ("2 times in the ledger", &all[1]),
            ("in the ledger under the call another", &all[2]),
            ("in the ledger as unrecognized", &all[3]),
            ("in the ledger with the flags conflict", &all[4]),
            ("in the ledger, but not posted", &other),
        ] {
            let named = |difference: &&String| {
                difference.starts_with(start) && difference.contains(&event.id)
            };
            assert_eq!(differences.iter().filter(named).count(), 1, "{start}: {differences:#?}");
        }
        assert_eq!(differences.iter().filter(|difference| difference.contains(&**call)).count(), 5);
    }

    #[test]
    fn a_withheld_event_is_found_missing() {
        let mut script = script();
        let all = events_of(&script);
        let withheld =
            script.withhold(2, &mut onrecord_simulator::SeededRng::new(1, "withheld events", 0));
        let entries =
            events_of(&script).iter().map(|event| entry(event, &script.public_id)).collect();
        let events = comparison(&script, withheld.clone(), entries);
        assert_eq!(events.posted.len(), all.len());
        let differences = events.differences();
        assert_eq!(differences.len(), 2);
        for event in withheld {
            assert!(differences.iter().any(|difference| difference.contains(&event.id)));
        }
    }
}
