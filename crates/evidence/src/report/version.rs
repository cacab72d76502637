//! When a report becomes another verdict version, and by which facts it differs from the one before.
//!
//! # Why
//!
//! While a call is open its report changes with every event and every second. An auditor does not
//! ask for each of these states, but for each verdict. So the report of an open call is updated in
//! place, and another verdict or another exception is another version. After the end of the call a
//! report changes only with new facts: every other report is another version.

use std::collections::{BTreeMap, BTreeSet};

use serde::Serialize;

use super::evidence_report::EvidenceReport;
use super::obligation::ObligationStatus;
use crate::event::ids::Digest;
use crate::fact::kinds::{Fact, JsonWord as _, is_default};
use crate::notice::consent::Consent;

/// Maximum number of added and of removed facts listed with a version.
const MAX_LISTED: usize = 200;

/// The digest of what makes a report a version. It is stored with the version, so the next report is
/// compared without reading all of the one before.
///
/// # Errors
///
/// The report cannot be serialized as JSON.
pub fn verdict_digest(report: &EvidenceReport) -> Result<Digest, serde_json::Error> {
    if report.call.ended_at.is_some() {
        digest_of_ended_call(report)
    } else {
        Ok(digest_of_open_call(report))
    }
}

/// Whether a report is another version than the one with the `stored` digest of the same call.
///
/// # Errors
///
/// As for [`verdict_digest`].
pub fn is_new_version(stored: Digest, report: &EvidenceReport) -> Result<bool, serde_json::Error> {
    // The stored one may be of the open call, or of a presumed end that became void.
    Ok(stored != digest_of_open_call(report) && stored != digest_of_ended_call(report)?)
}

/// The rules, the verdict and the exceptions: obligations, declined consents, unnoticed captures.
fn digest_of_open_call(report: &EvidenceReport) -> Digest {
    let obligations = report.obligations.iter().filter(|it| it.status.is_exception());
    let obligations = obligations.map(|it| {
        let (due, status) = (it.due_at.to_string(), it.status.as_str());
        Digest::of_parts(&[&it.session, it.capture_type.as_str(), &due, status]).to_string()
    });
    let declined = report
        .obligations
        .iter()
        .filter(|it| it.status != ObligationStatus::NotOurs && it.consent == Consent::Declined);
    let declined = declined.map(|it| {
        let consent = it.consent.as_str();
        Digest::of_parts(&[&it.session, it.capture_type.as_str(), consent]).to_string()
    });
    let flags = report.flags.iter().map(ToString::to_string);
    let flags = flags.filter(|flag| flag.starts_with("UNNOTICED_CAPTURE"));
    let exceptions: BTreeSet<String> = obligations.chain(declined).chain(flags).collect();
    let parts = ["goes on", report.rules, report.verdict.as_str()].into_iter();
    let parts: Vec<&str> = parts.chain(exceptions.iter().map(String::as_str)).collect();
    Digest::of_parts(&parts)
}

/// The whole report.
fn digest_of_ended_call(report: &EvidenceReport) -> Result<Digest, serde_json::Error> {
    // As a value, whose members are sorted: the order in which a program writes them is no change.
    let contents = serde_json::to_value(report)?.to_string();
    Ok(Digest::of_parts(&["ended", &contents]))
}

/// The facts by which one version differs from the one before.
#[derive(Clone, Debug, Default, PartialEq, Serialize)]
pub struct ChangedBy {
    /// Facts of the version that are new or have other contents.
    pub added: Vec<Fact>,
    /// Facts of the version before that are gone or have other contents.
    pub removed: Vec<Fact>,
    /// The number of further facts of both lists.
    #[serde(skip_serializing_if = "is_default")]
    pub more: usize,
}

impl ChangedBy {
    /// The difference of two sets of facts.
    #[must_use]
    pub fn between(before: &[Fact], after: &[Fact]) -> Self {
        // Two facts of one id with different contents are two.
        let by_contents = |facts: &[Fact]| -> BTreeMap<String, Fact> {
            let facts = facts.iter();
            facts.map(|fact| (fact.canonical_json(), fact.clone())).collect()
        };
        let (before, after) = (by_contents(before), by_contents(after));
        let less = |one: &BTreeMap<String, Fact>, other: &BTreeMap<String, Fact>| -> Vec<Fact> {
            let less = one.iter().filter(|(contents, _)| !other.contains_key(*contents));
            let mut less: Vec<Fact> = less.map(|(_, fact)| fact.clone()).collect();
            less.sort_by(|one, other| (one.at(), one.id()).cmp(&(other.at(), other.id())));
            less
        };
        let mut changed =
            Self { added: less(&after, &before), removed: less(&before, &after), more: 0 };
        for list in [&mut changed.added, &mut changed.removed] {
            changed.more += list.len().saturating_sub(MAX_LISTED);
            list.truncate(MAX_LISTED);
        }
        changed
    }

    /// Whether no fact differs: only time passed.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.added.is_empty() && self.removed.is_empty()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::call::parameters::Parameters;
    use crate::fact::json::read_facts;
    use crate::report::evidence_report::evidence;
    use serde_json::{Value, json};

    fn facts(facts: Value) -> Vec<Fact> {
        read_facts(facts).unwrap()
    }

    fn report(facts: &[Fact], now: i64) -> EvidenceReport {
        evidence(facts, now, &Parameters::default()).unwrap()
    }

    fn digest(report: &EvidenceReport) -> Digest {
        verdict_digest(report).unwrap()
    }

    fn recorded() -> Value {
        json!([
            {"id": "1", "kind": "call.started", "at": 0},
            {"id": "2", "kind": "session.joined", "at": 0, "session": "s", "identity": "acs"},
            {"id": "3", "kind": "report", "at": 1_000, "session": "s", "reporter": "r", "sequence": 1, "recording": "on"},
        ])
    }

    #[test]
    fn time_alone_makes_no_version() {
        let facts = facts(recorded());
        let before = digest(&report(&facts, 2_000));
        assert!(!is_new_version(before, &report(&facts, 3_000)).unwrap());
    }

    #[test]
    fn a_deadline_that_passes_makes_another_version() {
        let facts = facts(recorded());
        let before = digest(&report(&facts, 2_000));
        assert!(is_new_version(before, &report(&facts, 40_000)).unwrap());
    }

    #[test]
    fn a_declined_consent_makes_another_version_of_an_open_call() {
        let mut all = recorded();
        let before = digest(&report(&facts(all.clone()), 2_000));
        let list = all.as_array_mut().unwrap();
        list.push(json!({"id": "4", "kind": "consent.declined", "at": 1_500, "session": "s", "type": "recording"}));
        let declined = report(&facts(all), 2_000);
        assert!(is_new_version(before, &declined).unwrap());
        assert!(!is_new_version(digest(&declined), &declined).unwrap());
    }

    #[test]
    fn a_presumed_end_that_becomes_void_makes_another_version() {
        let mut all = recorded();
        let list = all.as_array_mut().unwrap();
        list.push(json!({"id": "4", "kind": "call.ended", "at": 50_000, "presumed": true}));
        let ended = report(&facts(all.clone()), 90_000);
        assert!(ended.call.ended_at.is_some());
        assert_eq!(ended.verdict.as_str(), "EXCEPTIONS");
        let ended = digest(&ended);
        let list = all.as_array_mut().unwrap();
        list.push(json!({"id": "5", "kind": "session.joined", "at": 60_000, "session": "late", "identity": "teams_user"}));
        let open = report(&facts(all), 90_000);
        assert_eq!(open.call.ended_at, None);
        assert!(is_new_version(ended, &open).unwrap());
    }

    #[test]
    fn after_the_end_every_other_report_is_another_version() {
        let mut all = recorded();
        let list = all.as_array_mut().unwrap();
        list.push(json!({"id": "4", "kind": "call.ended", "at": 2_500}));
        let early = facts(all.clone());
        let before = digest(&report(&early, 5_000));
        assert!(!is_new_version(before, &report(&early, 9_000)).unwrap());
        let list = all.as_array_mut().unwrap();
        list.push(json!({"id": "5", "kind": "notice.displayed", "at": 2_000, "session": "s", "type": "recording", "state": "on"}));
        let late = facts(all);
        assert!(is_new_version(before, &report(&late, 9_000)).unwrap());
        let changed = ChangedBy::between(&early, &late);
        assert_eq!(changed.added.len(), 1);
        assert_eq!(changed.added[0].id(), "5");
        assert!(changed.removed.is_empty());
        assert!(ChangedBy::between(&late, &late).is_empty());
    }
}
