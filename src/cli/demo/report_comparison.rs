//! The stored report of each call, compared with the one that its facts give.
//!
//! # Why
//!
//! The server states by itself whether a stored report equals the one that its facts give. The
//! demonstration does not rely on that: it exports the facts, as any auditor can, and applies the rules
//! to them again. And the facts of all accepted acknowledgements must be among them
//! (`DURABLE_ACK`).

use std::collections::{BTreeMap, BTreeSet};
use std::time::{Duration, Instant};

use super::acknowledgements::CallAcknowledgements;
use crate::cli::evidence::exported_report::ExportedReport;
use onrecord_evidence::event::ids::Tenant;
use onrecord_simulator::{ApiReadError, ApiReader, CallScript, Playback};

/// Interval between two reads of the facts of a call.
const POLL_INTERVAL: Duration = Duration::from_millis(50);
/// Timeout of missing facts: the longest interval without new ones.
const FACT_TIMEOUT: Duration = Duration::from_secs(8);

/// The state of the comparison.
#[derive(Debug)]
pub(super) struct ReportComparison {
    tenant: Tenant,
    calls: BTreeMap<u64, CallAcknowledgements>,
    /// The facts that must be on record, by call.
    expected: BTreeMap<u64, BTreeSet<String>>,
    /// How many of those are on record.
    pub on_record: usize,
    /// The number of stored reports that equal the one that their facts give.
    pub equal: usize,
    /// The number of calls with each verdict.
    pub verdicts: BTreeMap<String, usize>,
    pub differences: Vec<String>,
}

impl ReportComparison {
    pub(super) fn new(tenant: Tenant) -> Self {
        Self {
            tenant,
            calls: BTreeMap::new(),
            expected: BTreeMap::new(),
            on_record: 0,
            equal: 0,
            verdicts: BTreeMap::new(),
            differences: Vec::new(),
        }
    }

    /// Adds a call.
    pub(super) fn begin(&mut self, script: &CallScript) {
        let acknowledgements = CallAcknowledgements::of(script, &self.tenant);
        self.calls.insert(script.number, acknowledgements);
    }

    /// Adds the outcome of the deliveries of a call.
    pub(super) fn add_playback(&mut self, call: u64, playback: &Playback) {
        if let Some(acknowledgements) = self.calls.get(&call) {
            self.expected
                .insert(call, acknowledgements.expected_facts(playback));
        }
    }

    /// The number of accepted acknowledgements.
    pub(super) fn acknowledgements(&self) -> usize {
        self.expected.values().map(BTreeSet::len).sum()
    }

    pub(super) fn calls(&self) -> usize {
        self.calls.len()
    }

    /// Reads the facts of every call, once all expected ones are among them, or no new one has come
    /// for too long.
    pub(super) async fn read_facts(&mut self, reader: &ApiReader) -> Result<(), ApiReadError> {
        let mut last = Instant::now();
        let calls: Vec<(u64, String)> = self
            .calls
            .iter()
            .map(|(number, call)| (*number, call.public_id.clone()))
            .collect();
        for (number, public_id) in calls {
            let mut fewest = None;
            let facts = loop {
                let facts = reader.facts(&public_id).await?;
                let missing = self.missing(number, facts.as_deref());
                if missing == 0 {
                    last = Instant::now();
                    break facts;
                }
                if fewest.is_some_and(|fewest| missing < fewest) {
                    last = Instant::now();
                }
                fewest = Some(missing);
                if last.elapsed() >= FACT_TIMEOUT {
                    break facts;
                }
                tokio::time::sleep(POLL_INTERVAL).await;
            };
            self.compare(number, facts.as_deref());
        }
        Ok(())
    }

    /// The number of missing facts; a missing report counts as one.
    fn missing(&self, call: u64, facts: Option<&str>) -> usize {
        let expected = self.expected.get(&call).map_or(0, BTreeSet::len);
        match facts.map(ExportedReport::read) {
            None => expected + 1,
            // Further reads do not help.
            Some(Err(_)) => 0,
            Some(Ok(exported)) => self.not_among(call, &exported).count(),
        }
    }

    fn not_among(&self, call: u64, exported: &ExportedReport) -> impl Iterator<Item = &String> {
        let known = exported.fact_ids();
        let expected = self.expected.get(&call).into_iter().flatten();
        expected.filter(move |fact| !known.contains(*fact))
    }

    fn compare(&mut self, call: u64, facts: Option<&str>) {
        let Some(CallAcknowledgements {
            title, public_id, ..
        }) = self.calls.get(&call)
        else {
            return;
        };
        let of_call = format!("the call {public_id} ({title})");
        let Some(facts) = facts else {
            self.differences.push(format!("no report on {of_call}"));
            return;
        };
        let read = ExportedReport::read(facts).and_then(|exported| {
            let changes = exported.differences()?;
            Ok((exported, changes))
        });
        let (exported, changes) = match read {
            Ok(read) => read,
            Err(error) => {
                self.differences
                    .push(format!("the facts of {of_call} cannot be read: {error:#}"));
                return;
            }
        };
        let missing: Vec<String> = self
            .not_among(call, &exported)
            .map(|fact| format!("accepted, but not among the facts of {of_call}: {fact}"))
            .collect();
        let expected = self.expected.get(&call).map_or(0, BTreeSet::len);
        self.on_record += expected - missing.len();
        self.differences.extend(missing);
        *self.verdicts.entry(exported.verdict()).or_default() += 1;
        match changes.as_slice() {
            [] => self.equal += 1,
            [first, more @ ..] => self.differences.push(format!(
                "the stored report on {of_call} differs from the one that its facts give: {first}, and {} more",
                more.len()
            )),
        }
    }
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;
    use onrecord_evidence::call::parameters::Parameters;
    use onrecord_evidence::fact::json::read_facts;
    use onrecord_evidence::report::evidence_report::evidence;

    /// One call with one expected fact.
    fn comparison() -> ReportComparison {
        let mut reports = ReportComparison::new(Tenant::parse("demo").unwrap());
        let script = CallScript {
            number: 0,
            title: "call",
            public_id: "c".to_owned(),
            anchors: BTreeSet::new(),
            deliveries: Vec::new(),
            changes: Vec::new(),
            length: 0,
        };
        reports.begin(&script);
        reports
            .expected
            .insert(0, BTreeSet::from(["expected".to_owned()]));
        reports
    }

    fn exported(acknowledgement: &str) -> Value {
        let facts = json!([
            {"id": "1", "kind": "call.started", "at": 0},
            {"id": "2", "kind": "session.joined", "at": 0, "session": "s", "identity": "acs"},
            {"id": "3", "kind": "report", "at": 1_000, "session": "s", "reporter": "r", "sequence": 1, "recording": "on"},
            {"id": acknowledgement, "kind": "notice.displayed", "at": 1_050, "session": "s", "type": "recording", "state": "on"},
            {"id": "4", "kind": "call.ended", "at": 9_000},
        ]);
        let report = evidence(
            &read_facts(facts.clone()).unwrap(),
            9_500,
            &Parameters::default(),
        );
        let report = serde_json::to_value(report.unwrap()).unwrap();
        json!({"call": "c", "tenant": "demo", "rules": "2", "facts": facts, "now": 9_500, "report": report})
    }

    #[test]
    fn an_equal_report_and_an_accepted_acknowledgement_are_no_difference() {
        let mut reports = comparison();
        reports.compare(0, Some(&exported("expected").to_string()));
        assert_eq!(reports.differences, Vec::<String>::new());
        assert_eq!((reports.equal, reports.on_record), (1, 1));
        assert_eq!(reports.verdicts.values().sum::<usize>(), 1);
    }

    #[test]
    fn another_report_a_lost_acknowledgement_and_no_report_are_differences() {
        let mut changed = exported("expected");
        changed["report"]["verdict"] = json!("EXCEPTIONS");
        changed["report"]["obligations"][0]["status"] = json!("LATE");
        for (facts, text) in [
            (
                Some(changed.to_string()),
                "differs from the one that its facts give",
            ),
            (
                Some(exported("another").to_string()),
                "accepted, but not among the facts",
            ),
            (Some("{}".to_owned()), "cannot be read"),
            (None, "no report on the call c (call)"),
        ] {
            let mut reports = comparison();
            reports.compare(0, facts.as_deref());
            assert!(
                matches!(&reports.differences[..], [one] if one.contains(text)),
                "{text}: {:?}",
                reports.differences
            );
        }
    }
}
