//! When a call started and when it ended (`docs/evidence-rules.md`, section 2).

use std::collections::BTreeSet;

use serde::Serialize;

use crate::capture::reporter::Reporter;
use crate::capture::span::Extent;
use crate::event::instant::Millis;
use crate::fact::fact_set::FactSet;
use crate::fact::kinds::{FactKind, ProviderState, ReportFact, Witness};
use crate::report::flag::Flag;

/// The start and the end of a call, in Unix milliseconds.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
pub struct CallLifetime {
    /// The first stated start; else the first join; else the first fact.
    pub started_at: Millis,
    /// The end. None: the call is open.
    pub ended_at: Option<Millis>,
    /// The end is presumed: no fact states it.
    pub end_presumed: bool,
    /// The start, if a fact states that the call itself started.
    #[serde(skip)]
    pub(crate) stated_start: Option<Millis>,
}

impl CallLifetime {
    /// The call of a set of facts; None if no fact counts.
    pub(crate) fn of(
        facts: &FactSet<'_>,
        reporters: &[Reporter<'_>],
        flags: &mut BTreeSet<Flag>,
    ) -> Option<Self> {
        let activity = CallActivity::of(facts, reporters);
        let stated = activity.started.first.or(activity.joined.first);
        let started_at = stated.or(activity.all.first)?;
        if stated.is_none() {
            flags.insert(Flag::StartInferred);
        }
        let stated_start = activity.started.first;
        if let Some(end) = activity.ended.last {
            let ended_at = Some(end);
            return Some(Self { started_at, ended_at, end_presumed: false, stated_start });
        }
        let ended_at = activity.presumed_end();
        if ended_at.is_some() {
            flags.insert(Flag::EndPresumed);
        }
        Some(Self { started_at, ended_at, end_presumed: ended_at.is_some(), stated_start })
    }
}

/// The instants of the facts that decide when the call started and ended.
#[derive(Default)]
struct CallActivity {
    all: Extent,
    started: Extent,
    joined: Extent,
    /// Ends that a fact states.
    ended: Extent,
    /// Presumed ends.
    presumed: Extent,
    /// Facts that only an open call can produce.
    open: Extent,
}

impl CallActivity {
    fn of(facts: &FactSet<'_>, reporters: &[Reporter<'_>]) -> Self {
        let mut activity = Self::default();
        for fact in facts.iter() {
            let at = fact.at();
            activity.all.add(at);
            match fact.kind() {
                FactKind::CallStarted => activity.started.add(at),
                FactKind::CallEnded { presumed: true } => activity.presumed.add(at),
                FactKind::CallEnded { presumed: false } => activity.ended.add(at),
                FactKind::SessionJoined { .. } => {
                    activity.joined.add(at);
                    activity.open.add(fact.last_sign_at());
                }
                FactKind::LegConnected { .. } => activity.open.add(fact.last_sign_at()),
                FactKind::ProviderState(statement) if statement.state == ProviderState::Active => {
                    activity.open.add(fact.last_sign_at());
                }
                _ => {}
            }
        }
        let reports = reporters.iter().flat_map(|reporter| &reporter.reports);
        let counts = |report: &ReportFact| !report.leaving && report.witness != Witness::Outsider;
        for counted in reports.filter(|counted| counts(counted.report)) {
            activity.open.add(counted.at);
        }
        activity
    }

    /// The last presumed end, unless a later fact shows that the call is open.
    fn presumed_end(&self) -> Option<Millis> {
        self.presumed.last.filter(|&presumed| self.open.last <= Some(presumed))
    }
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;
    use crate::fact::json::read_facts;

    fn call(facts: Value) -> (Option<CallLifetime>, Vec<String>) {
        let facts = read_facts(facts).unwrap();
        let set = FactSet::at(&facts, 1_000);
        let mut flags = BTreeSet::new();
        let call = CallLifetime::of(&set, &Reporter::all(&set), &mut flags);
        let call = call.map(|call| CallLifetime { stated_start: None, ..call });
        (call, flags.iter().map(ToString::to_string).collect())
    }

    fn from(started_at: Millis, ended_at: Option<Millis>, end_presumed: bool) -> CallLifetime {
        CallLifetime { started_at, ended_at, end_presumed, stated_start: None }
    }

    #[test]
    fn a_stated_start_counts_even_if_a_participant_joined_before() {
        let facts = json!([
            {"id": "f1", "kind": "session.joined", "at": 5, "session": "a"},
            {"id": "f2", "kind": "call.started", "at": 7},
        ]);
        assert_eq!(call(facts), (Some(from(7, None, false)), vec![]));
    }

    #[test]
    fn without_start_and_join_the_first_fact_is_the_start() {
        let facts = json!([
            {"id": "f1", "kind": "file", "at": 9, "recording": "r1", "index": 0, "started_at": 1, "duration_ms": 1},
            {"id": "f2", "kind": "leg.connected", "at": 8, "leg": "l"},
        ]);
        let flags = vec!["START_INFERRED".to_owned()];
        assert_eq!(call(facts), (Some(from(8, None, false)), flags));
    }

    #[test]
    fn a_stated_end_counts_even_if_a_later_one_was_presumed() {
        let facts = json!([
            {"id": "f1", "kind": "call.started", "at": 0},
            {"id": "f2", "kind": "call.ended", "at": 50},
            {"id": "f3", "kind": "call.ended", "at": 90, "presumed": true},
        ]);
        assert_eq!(call(facts), (Some(from(0, Some(50), false)), vec![]));
    }

    #[test]
    fn a_presumed_end_is_void_if_a_later_fact_shows_that_the_call_is_open() {
        let with = |later: Value| {
            call(json!([
                {"id": "f1", "kind": "call.started", "at": 0},
                {"id": "f2", "kind": "call.ended", "at": 50, "presumed": true},
                later,
            ]))
        };
        let of = |witness: &str, t: Millis, leaving: bool| {
            json!({
                "id": "f3", "kind": "report", "at": t, "session": "a", "reporter": "a1",
                "sequence": 1, "leaving": leaving, "witness": witness,
            })
        };
        let report = |t: Millis, leaving: bool| of("platform", t, leaving);
        let presumed = (Some(from(0, Some(50), true)), vec!["END_PRESUMED".to_owned()]);
        assert_eq!(with(report(51, false)), (Some(from(0, None, false)), vec![]));
        assert_eq!(with(report(51, true)), presumed);
        assert_eq!(with(report(50, false)), presumed);
        // A report of an outsider does not show that the call is open.
        assert_eq!(with(of("outsider", 51, false)), presumed);
        assert_eq!(with(of("asserted", 51, false)), (Some(from(0, None, false)), vec![]));
    }

    #[test]
    fn without_facts_there_is_no_call() {
        assert_eq!(call(json!([])), (None, vec![]));
    }

    #[test]
    fn a_sign_of_life_counts_by_its_reception_if_the_clock_of_its_source_is_behind() {
        let facts = |received: Value| {
            json!([
                {"id": "f1", "kind": "call.started", "at": 5},
                {"id": "f2", "kind": "call.ended", "at": 100, "presumed": true},
                {"id": "f3", "kind": "leg.connected", "leg": "l", "at": 50, "received_at": received}
            ])
        };
        assert_eq!(call(facts(json!(null))).0, Some(from(5, Some(100), true)));
        assert_eq!(call(facts(json!(99))).0, Some(from(5, Some(100), true)));
        assert_eq!(call(facts(json!(101))).0, Some(from(5, None, false)));
    }
}
