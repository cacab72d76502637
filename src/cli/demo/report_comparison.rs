//! The stored report of each call, compared with the one that its facts give.
//!
//! # Why
//!
//! The server states by itself whether a stored report equals the one that its facts give. The
//! demonstration does not rely on that: it exports the facts, as any auditor can, and applies the rules
//! to them again. And the facts of all accepted acknowledgements must be among them
//! (`DURABLE_ACK`).

use std::collections::BTreeMap;
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
    pub calls: BTreeMap<u64, CallAcknowledgements>,
    /// How many of the expected facts are on record.
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
        if let Some(call) = self.calls.get_mut(&call) {
            call.add_playback(playback);
        }
    }

    /// The number of accepted acknowledgements.
    pub(super) fn acknowledgements(&self) -> usize {
        self.calls.values().map(|call| call.expected.len()).sum()
    }

    /// Reads the facts of every call, once all expected ones are among them, or no new one has come
    /// for too long.
    pub(super) async fn read_facts(&mut self, reader: &ApiReader) -> Result<(), ApiReadError> {
        let mut last = Instant::now();
        let calls: Vec<CallAcknowledgements> = self.calls.values().cloned().collect();
        for call in calls {
            let mut fewest = None;
            let facts = loop {
                let facts = reader.facts(&call.public_id).await?;
                // A missing report counts as one. Reading again does not help where one is unreadable.
                let missing = match facts.as_deref().map(ExportedReport::read) {
                    None => call.expected.len() + 1,
                    Some(Err(_)) => 0,
                    Some(Ok(exported)) => call.missing_from(&exported).len(),
                };
                if missing == 0 || fewest.is_some_and(|fewest| missing < fewest) {
                    last = Instant::now();
                }
                if missing == 0 || last.elapsed() >= FACT_TIMEOUT {
                    break facts;
                }
                fewest = Some(missing);
                tokio::time::sleep(POLL_INTERVAL).await;
            };
            self.compare(&call, facts.as_deref());
        }
        Ok(())
    }

    fn compare(&mut self, call: &CallAcknowledgements, facts: Option<&str>) {
        let of_call = format!("the call {} ({})", call.public_id, call.title);
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
                self.differences.push(format!("the facts of {of_call} cannot be read: {error:#}"));
                return;
            }
        };
        let missing = call.missing_from(&exported);
        self.on_record += call.expected.len() - missing.len();
        self.differences.extend(
            missing
                .iter()
                .map(|fact| format!("accepted, but not among the facts of {of_call}: {fact}")),
        );
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
    use std::collections::BTreeSet;

    use serde_json::{Value, json};

    use super::*;
    use onrecord_evidence::call::parameters::Parameters;
    use onrecord_evidence::fact::json::read_facts;
    use onrecord_evidence::report::evidence_report::evidence;

    /// The comparison of one call with one expected fact.
    fn comparison(facts: Option<&str>) -> ReportComparison {
        let mut reports = ReportComparison::new(Tenant::parse("demo").unwrap());
        let call = CallAcknowledgements {
            title: "call",
            public_id: "c".to_owned(),
            expected: BTreeSet::from(["expected".to_owned()]),
            ..CallAcknowledgements::default()
        };
        reports.compare(&call, facts);
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
        let report = evidence(&read_facts(facts.clone()).unwrap(), 9_500, &Parameters::default());
        let report = serde_json::to_value(report.unwrap()).unwrap();
        json!({"call": "c", "tenant": "demo", "rules": "2", "facts": facts, "now": 9_500, "report": report})
    }

    #[test]
    fn an_equal_report_and_an_accepted_acknowledgement_are_no_difference() {
        let reports = comparison(Some(&exported("expected").to_string()));
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
            (Some(changed.to_string()), "differs from the one that its facts give"),
            (Some(exported("another").to_string()), "accepted, but not among the facts"),
            (Some("{}".to_owned()), "cannot be read"),
            (None, "no report on the call c (call)"),
        ] {
            let reports = comparison(facts.as_deref());
            assert!(
                matches!(&reports.differences[..], [one] if one.contains(text)),
                "{text}: {:?}",
                reports.differences
            );
        }
    }
}
