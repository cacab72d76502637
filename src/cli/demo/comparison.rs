//! What was posted, compared with what is entered and what was heard.
//!
//! # Why
//!
//! An event is posted when its delivery was answered 2xx: from then on the server owes it (law 1).
//! It must be entered exactly once (law 4), as what it is, in its own call, and nothing else may
//! be. An event that the sender kept back counts as posted, so it has to turn up as missing.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::time::{Duration, Instant};

use crate::simulator::{
    ACKNOWLEDGEMENT, EventName, Journal, Line, Performance, ReadError, Reader, Script,
};

/// Between two looks at the record.
const LOOK: Duration = Duration::from_millis(50);
/// When everything is there, a second copy may still come for so long.
const SECOND_COPY: Duration = Duration::from_secs(1);
/// What has not come after so long a silence does not come.
const SILENCE: Duration = Duration::from_secs(8);

/// By which law 4 knows an event, within one tenant.
type Key = (String, String, String);

fn key(source: &str, source_type: &str, id: &str) -> Key {
    (source.to_lowercase(), source_type.to_owned(), id.to_owned())
}

/// A call, for the names of its differences.
#[derive(Debug)]
struct Call {
    title: &'static str,
    public_id: String,
    anchors: BTreeSet<String>,
}

/// How an event stands in the book.
#[derive(Debug, Default)]
struct Entered {
    times: u64,
    lines: Vec<Line>,
}

/// The comparison, as far as it has come.
#[derive(Debug, Default)]
pub(super) struct Comparison {
    calls: BTreeMap<u64, Call>,
    /// Which call each posted event is of.
    posted: BTreeMap<Key, u64>,
    entered: HashMap<Key, Entered>,
    pub deliveries: u64,
    pub repetitions: u64,
    pub entries: u64,
    pub quarantined: u64,
    pub changes_expected: usize,
    pub changes_heard: usize,
    not_taken: Vec<String>,
    in_quarantine: Vec<String>,
    not_heard: Vec<String>,
}

impl Comparison {
    /// A call begins, and the sender keeps these events back.
    pub fn begin(&mut self, script: &Script, kept_back: Vec<EventName>) {
        let call = Call {
            title: script.title,
            public_id: script.public_id.clone(),
            anchors: script.anchors.iter().map(ToString::to_string).collect(),
        };
        self.calls.insert(script.number, call);
        for name in kept_back {
            self.posted.insert(
                key(&name.source, &name.source_type, &name.id),
                script.number,
            );
        }
    }

    /// All deliveries of a call have been answered.
    pub fn posted(&mut self, call: u64, performance: Performance) {
        self.deliveries += performance.deliveries;
        self.repetitions += performance.repetitions;
        // Acknowledgements are no entries: they are looked for among the facts.
        let entries = performance.taken.into_iter();
        for name in entries.filter(|name| name.source_type != ACKNOWLEDGEMENT) {
            self.posted
                .insert(key(&name.source, &name.source_type, &name.id), call);
        }
        for (name, why) in performance.not_taken {
            let event = self.named(&key(&name.source, &name.source_type, &name.id), Some(call));
            self.not_taken
                .push(format!("not taken: {event}: {}", why.0));
        }
    }

    /// Reads the book until everything is in it, or nothing comes any more.
    pub async fn read(&mut self, reader: &Reader) -> Result<(), ReadError> {
        let mut cursor = None;
        let mut last = Instant::now();
        loop {
            let lines = reader.events(&mut cursor).await?;
            if !lines.is_empty() {
                last = Instant::now();
                self.enter(lines);
                continue;
            }
            let patience = if self.missing().next().is_none() {
                SECOND_COPY
            } else {
                SILENCE
            };
            if last.elapsed() >= patience {
                break;
            }
            tokio::time::sleep(LOOK).await;
        }
        for found in reader.quarantine().await? {
            self.quarantined += 1;
            self.in_quarantine.push(format!(
                "in quarantine: an event of {}: {} ({})",
                found.source, found.detail, found.reason
            ));
        }
        Ok(())
    }

    fn enter(&mut self, lines: Vec<Line>) {
        for line in lines {
            self.entries += 1;
            let entered = self
                .entered
                .entry(key(&line.ce_source, &line.source_type, &line.ce_id))
                .or_default();
            entered.times += 1;
            entered.lines.push(line);
        }
    }

    /// Waits, at most so long, until everything was heard that the scripts call for.
    pub async fn hear(&mut self, journal: &Journal, most: Duration) {
        let began = Instant::now();
        while began.elapsed() < most
            && self
                .calls
                .keys()
                .any(|call| !journal.verdict(*call).differences.is_empty())
        {
            tokio::time::sleep(LOOK).await;
        }
        for call in self.calls.keys() {
            let verdict = journal.close(*call);
            self.changes_expected += verdict.expected;
            self.changes_heard += verdict.heard;
            self.not_heard.extend(verdict.differences);
        }
    }

    pub fn calls(&self) -> usize {
        self.calls.len()
    }

    /// How many different events were posted.
    pub fn events(&self) -> usize {
        self.posted.len()
    }

    fn missing(&self) -> impl Iterator<Item = (&Key, u64)> {
        let missing = self
            .posted
            .iter()
            .filter(|(key, _)| !self.entered.contains_key(key));
        missing.map(|(key, call)| (key, *call))
    }

    /// Everything in which the three differ, a sentence each.
    pub fn differences(&self) -> Vec<String> {
        let mut differences = self.not_taken.clone();
        differences.extend(self.missing().map(|(key, call)| {
            format!("posted, but not entered: {}", self.named(key, Some(call)))
        }));
        let mut wrongly: Vec<String> = self
            .entered
            .iter()
            .flat_map(|(key, entered)| self.wrongs(key, entered))
            .collect();
        wrongly.sort_unstable();
        differences.extend(wrongly);
        differences.extend(self.in_quarantine.iter().chain(&self.not_heard).cloned());
        differences
    }

    pub fn is_equal(&self) -> bool {
        self.differences().is_empty()
    }

    fn wrongs(&self, key: &Key, entered: &Entered) -> Vec<String> {
        let Some(call) = self.posted.get(key).copied() else {
            return vec![format!(
                "entered, but not posted: {}",
                self.named(key, None)
            )];
        };
        let event = || self.named(key, Some(call));
        let mut wrongs = Vec::new();
        if entered.times > 1 {
            wrongs.push(format!("entered {} times: {}", entered.times, event()));
        }
        for line in &entered.lines {
            let named = line.call.as_deref();
            if !self
                .calls
                .get(&call)
                .is_some_and(|call| named.is_some_and(|named| call.anchors.contains(named)))
            {
                wrongs.push(format!(
                    "entered as of the call {}: {}",
                    named.unwrap_or("(none)"),
                    event()
                ));
            }
            if line.r#type == "unrecognized" {
                wrongs.push(format!("entered as unrecognized: {}", event()));
            }
            if !line.flags.is_empty() {
                wrongs.push(format!(
                    "entered with the flags {}: {}",
                    line.flags.join(", "),
                    event()
                ));
            }
        }
        wrongs
    }

    fn named(&self, (source, source_type, id): &Key, call: Option<u64>) -> String {
        match call.and_then(|call| self.calls.get(&call)) {
            Some(Call {
                title, public_id, ..
            }) => format!("{source_type} {id} of the call {public_id} ({title})"),
            None => format!("{source_type} {id} from {source}"),
        }
    }
}

#[cfg(test)]
mod tests {
    use chrono::DateTime;

    use super::*;
    use crate::simulator::{Channels, Production, World};

    fn script() -> Script {
        let production = Production {
            seed: 4,
            world: World::new(4, None),
            channels: Channels {
                event_grid: true,
                call_automation: true,
                reports: false,
            },
            generations: Vec::new(),
            call_length: 6_000,
            disorder: 0.0,
            duplicates: 0.0,
        };
        production.script(0, DateTime::from_timestamp(1_795_000_000, 0).unwrap())
    }

    fn names(script: &Script) -> Vec<EventName> {
        script
            .deliveries
            .iter()
            .flat_map(|delivery| &delivery.events)
            .map(crate::simulator::SimulatedEvent::name)
            .collect()
    }

    fn line(name: &EventName, call: &str) -> Line {
        Line {
            call: Some(call.to_owned()),
            r#type: "call.started".to_owned(),
            source_type: name.source_type.clone(),
            ce_source: name.source.to_lowercase(),
            ce_id: name.id.clone(),
            flags: Vec::new(),
        }
    }

    /// Everything of a call was taken; these lines are in the book.
    fn comparison(script: &Script, kept_back: Vec<EventName>, lines: Vec<Line>) -> Comparison {
        let mut comparison = Comparison::default();
        comparison.begin(script, kept_back);
        comparison.posted(
            0,
            Performance {
                taken: names(script),
                ..Performance::default()
            },
        );
        comparison.enter(lines);
        comparison
    }

    #[test]
    fn what_is_entered_once_in_its_own_call_is_equal() {
        let script = script();
        let lines = names(&script)
            .iter()
            .map(|name| line(name, &script.public_id))
            .collect();
        assert_eq!(
            comparison(&script, Vec::new(), lines).differences(),
            Vec::<String>::new()
        );
    }

    #[test]
    fn every_way_to_be_wrong_is_named_with_event_and_call() {
        let script = script();
        let all = names(&script);
        let call = &script.public_id;
        let stranger = EventName {
            id: "stranger".to_owned(),
            ..all[0].clone()
        };
        let mut lines: Vec<Line> = all.iter().skip(1).map(|name| line(name, call)).collect();
        lines.push(line(&all[1], call));
        lines.push(line(&stranger, call));
        lines[1].call = Some("another".to_owned());
        lines[2].r#type = "unrecognized".to_owned();
        lines[3].flags = vec!["conflict".to_owned()];
        let differences = comparison(&script, Vec::new(), lines).differences();
        assert_eq!(differences.len(), 6, "{differences:#?}");
        for (said, name) in [
            ("posted, but not entered", &all[0]),
            ("entered 2 times", &all[1]),
            ("entered as of the call another", &all[2]),
            ("entered as unrecognized", &all[3]),
            ("entered with the flags conflict", &all[4]),
            ("entered, but not posted", &stranger),
        ] {
            let named = |difference: &&String| {
                difference.starts_with(said) && difference.contains(&name.id)
            };
            assert_eq!(
                differences.iter().filter(named).count(),
                1,
                "{said}: {differences:#?}"
            );
        }
        assert_eq!(
            differences
                .iter()
                .filter(|difference| difference.contains(&**call))
                .count(),
            5
        );
    }

    #[test]
    fn what_was_kept_back_is_found_missing() {
        let mut script = script();
        let all = names(&script);
        let kept_back = script.keep_back(2, &mut crate::simulator::Chance::new(1, "keep back", 0));
        let lines = names(&script)
            .iter()
            .map(|name| line(name, &script.public_id))
            .collect();
        let comparison = comparison(&script, kept_back.clone(), lines);
        assert_eq!(comparison.events(), all.len());
        let differences = comparison.differences();
        assert_eq!(differences.len(), 2);
        for name in kept_back {
            assert!(
                differences
                    .iter()
                    .any(|difference| difference.contains(&name.id))
            );
        }
    }
}
