//! When the account of a call becomes another version, and by what.
//!
//! # Why
//!
//! While a call goes on its account changes with every event and with every second. What an auditor
//! asks of the past is not each of these states but each *judgement*: so an account that goes on is
//! kept up to date in place, and another verdict, or another exception, is another version. After
//! the end of the call nothing changes by itself any more: every other account is another version.

use std::collections::{BTreeMap, BTreeSet};

use serde::Serialize;

use super::evidence::EvidenceReport;
use super::fact::Fact;
use super::ids::Digest;

/// So many facts are listed with a version by which it differs; there may be more.
const MOST_LISTED: usize = 200;

/// The judgement that a report is: what is stored with a version, so that the next report need not
/// be compared with all of the one before.
///
/// # Errors
///
/// The report cannot be written as JSON.
pub fn judgement_of(report: &EvidenceReport) -> Result<Digest, serde_json::Error> {
    if report.call.end.is_some() {
        of_an_end(report)
    } else {
        Ok(while_it_goes_on(report))
    }
}

/// Whether a report is another judgement than the one that is stored of the same call.
///
/// # Errors
///
/// As for [`judgement_of`].
pub fn is_another(stored: Digest, report: &EvidenceReport) -> Result<bool, serde_json::Error> {
    // It is either of a call that goes on, or of one whose end is known, which may turn out to be void.
    Ok(stored != while_it_goes_on(report) && stored != of_an_end(report)?)
}

/// The rules, the verdict, and what somebody must look at: whom, of what, since when, and why.
fn while_it_goes_on(report: &EvidenceReport) -> Digest {
    let obligations = report
        .obligations
        .iter()
        .filter(|it| it.status.is_exception());
    let obligations = obligations.map(|it| {
        let (due, status) = (it.due.to_string(), it.status.as_str());
        Digest::of_parts(&[&it.session, it.capture.as_str(), &due, status]).to_string()
    });
    let flags = report.flags.iter().map(ToString::to_string);
    let flags = flags.filter(|flag| flag.starts_with("UNNOTICED_CAPTURE"));
    let exceptions: BTreeSet<String> = obligations.chain(flags).collect();
    let parts = ["goes on", report.rules, report.verdict.as_str()].into_iter();
    let parts: Vec<&str> = parts.chain(exceptions.iter().map(String::as_str)).collect();
    Digest::of_parts(&parts)
}

/// All of it.
fn of_an_end(report: &EvidenceReport) -> Result<Digest, serde_json::Error> {
    // By way of a value, whose members are sorted: how a program writes is no judgement.
    let contents = serde_json::to_value(report)?.to_string();
    Ok(Digest::of_parts(&["ended", &contents]))
}

/// The facts by which one version differs from the one before.
#[derive(Clone, Debug, Default, PartialEq, Serialize)]
pub struct ChangedBy {
    /// Those that it has, or has with other contents.
    pub added: Vec<Fact>,
    /// Those that it has not, or has with other contents.
    pub removed: Vec<Fact>,
    /// How many more there are of both.
    #[serde(skip_serializing_if = "is_zero")]
    pub more: usize,
}

#[expect(clippy::trivially_copy_pass_by_ref, reason = "serde passes references")]
fn is_zero(number: &usize) -> bool {
    *number == 0
}

impl ChangedBy {
    /// The difference of two sets of facts.
    #[must_use]
    pub fn between(before: &[Fact], after: &[Fact]) -> Self {
        // Two of one id with different contents are two.
        let by_contents = |facts: &[Fact]| -> BTreeMap<String, Fact> {
            let facts = facts.iter();
            facts
                .map(|fact| (fact.canonical_json(), fact.clone()))
                .collect()
        };
        let (before, after) = (by_contents(before), by_contents(after));
        let less = |one: &BTreeMap<String, Fact>, other: &BTreeMap<String, Fact>| -> Vec<Fact> {
            let facts = one.iter();
            let mut less: Vec<Fact> = facts
                .filter(|(contents, _)| !other.contains_key(*contents))
                .map(|(_, fact)| fact.clone())
                .collect();
            less.sort_by(|one, other| (one.t(), one.id()).cmp(&(other.t(), other.id())));
            less
        };
        let mut changed = Self {
            added: less(&after, &before),
            removed: less(&before, &after),
            more: 0,
        };
        for list in [&mut changed.added, &mut changed.removed] {
            changed.more += list.len().saturating_sub(MOST_LISTED);
            list.truncate(MOST_LISTED);
        }
        changed
    }

    /// Only time passed.
    #[must_use]
    pub fn is_nothing(&self) -> bool {
        self.added.is_empty() && self.removed.is_empty()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::evidence::evidence;
    use crate::domain::fact_json::read_facts;
    use crate::domain::parameters::Parameters;
    use serde_json::{Value, json};

    fn facts(facts: Value) -> Vec<Fact> {
        read_facts(facts).unwrap()
    }

    fn report(facts: &[Fact], now: i64) -> EvidenceReport {
        evidence(facts, now, &Parameters::default()).unwrap()
    }

    fn stored(report: &EvidenceReport) -> Digest {
        judgement_of(report).unwrap()
    }

    fn recorded() -> Value {
        json!([
            {"id": "1", "kind": "call.started", "t": 0},
            {"id": "2", "kind": "session.joined", "t": 0, "session": "s", "identity": "acs"},
            {"id": "3", "kind": "report", "t": 1_000, "session": "s", "reporter": "r", "sequence": 1, "recording": "on"},
        ])
    }

    #[test]
    fn an_account_that_only_grows_older_is_the_same_judgement() {
        let facts = facts(recorded());
        let before = stored(&report(&facts, 2_000));
        assert!(!is_another(before, &report(&facts, 3_000)).unwrap());
    }

    #[test]
    fn a_deadline_that_passes_makes_another_version() {
        let facts = facts(recorded());
        let before = stored(&report(&facts, 2_000));
        assert!(is_another(before, &report(&facts, 40_000)).unwrap());
    }

    #[test]
    fn a_presumed_end_that_turns_out_to_be_void_makes_another_version() {
        let mut all = recorded();
        let list = all.as_array_mut().unwrap();
        list.push(json!({"id": "4", "kind": "call.ended", "t": 50_000, "presumed": true}));
        let ended = report(&facts(all.clone()), 90_000);
        assert!(ended.call.end.is_some());
        assert_eq!(ended.verdict.as_str(), "EXCEPTIONS");
        let ended = stored(&ended);
        let list = all.as_array_mut().unwrap();
        list.push(json!({"id": "5", "kind": "session.joined", "t": 60_000, "session": "late", "identity": "teams_user"}));
        let goes_on = report(&facts(all), 90_000);
        assert_eq!(goes_on.call.end, None);
        assert!(is_another(ended, &goes_on).unwrap());
    }

    #[test]
    fn after_the_end_every_other_account_is_another_version() {
        let mut all = recorded();
        let list = all.as_array_mut().unwrap();
        list.push(json!({"id": "4", "kind": "call.ended", "t": 2_500}));
        let early = facts(all.clone());
        let before = stored(&report(&early, 5_000));
        assert!(!is_another(before, &report(&early, 9_000)).unwrap());
        let list = all.as_array_mut().unwrap();
        list.push(json!({"id": "5", "kind": "notice.displayed", "t": 2_000, "session": "s", "type": "recording", "state": "on"}));
        let late = facts(all);
        assert!(is_another(before, &report(&late, 9_000)).unwrap());
        let changed = ChangedBy::between(&early, &late);
        assert_eq!(changed.added.len(), 1);
        assert_eq!(changed.added[0].id(), "5");
        assert!(changed.removed.is_empty());
        assert!(ChangedBy::between(&late, &late).is_nothing());
    }
}
