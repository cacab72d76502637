//! The call: when it began and when it ended.

use std::collections::BTreeSet;

use serde::Serialize;

use super::fact::{FactKind, ProviderState};
use super::fact_set::FactSet;
use super::flag::Flag;
use super::instant::Millis;
use super::reporter::Reporter;
use super::span::Extent;

/// From when to when a call went on, in Unix milliseconds.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
pub struct Call {
    /// The first stated start; else the first joining; else the first fact.
    pub start: Millis,
    /// None: it goes on.
    pub end: Option<Millis>,
    /// Nobody stated the end; it was presumed.
    pub presumed: bool,
}

impl Call {
    /// The call of a set of facts; None if no fact counts.
    pub fn of(
        facts: &FactSet<'_>,
        reporters: &[Reporter<'_>],
        flags: &mut BTreeSet<Flag>,
    ) -> Option<Self> {
        let traces = Traces::of(facts, reporters);
        let stated = traces.started.first.or(traces.joined.first);
        let start = stated.or(traces.all.first)?;
        if stated.is_none() {
            flags.insert(Flag::StartInferred);
        }
        if let Some(end) = traces.ended.last {
            return Some(Self {
                start,
                end: Some(end),
                presumed: false,
            });
        }
        let end = traces.presumed_end();
        if end.is_some() {
            flags.insert(Flag::EndPresumed);
        }
        Some(Self {
            start,
            end,
            presumed: end.is_some(),
        })
    }
}

/// What the facts tell about the call itself.
#[derive(Default)]
struct Traces {
    all: Extent,
    started: Extent,
    joined: Extent,
    /// Ends that somebody stated.
    ended: Extent,
    /// Ends that were taken for granted.
    presumed: Extent,
    /// What only a call that goes on can bring forth.
    alive: Extent,
}

impl Traces {
    fn of(facts: &FactSet<'_>, reporters: &[Reporter<'_>]) -> Self {
        let mut traces = Self::default();
        for fact in facts.iter() {
            let t = fact.t();
            traces.all.add(t);
            match fact.kind() {
                FactKind::CallStarted => traces.started.add(t),
                FactKind::CallEnded { presumed: true } => traces.presumed.add(t),
                FactKind::CallEnded { presumed: false } => traces.ended.add(t),
                FactKind::SessionJoined { .. } => {
                    traces.joined.add(t);
                    traces.alive.add(t);
                }
                FactKind::LegConnected { .. } => traces.alive.add(t),
                FactKind::ProviderState(statement) if statement.state == ProviderState::Active => {
                    traces.alive.add(t);
                }
                _ => {}
            }
        }
        let reports = reporters.iter().flat_map(Reporter::reports);
        for counted in reports.filter(|counted| !counted.report.leaving) {
            traces.alive.add(counted.at);
        }
        traces
    }

    /// The last presumed end, which a later sign of life makes void.
    fn presumed_end(&self) -> Option<Millis> {
        self.presumed
            .last
            .filter(|&presumed| self.alive.last <= Some(presumed))
    }
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;
    use crate::domain::fact_json::read_facts;

    fn call(facts: Value) -> (Option<Call>, Vec<String>) {
        let facts = read_facts(facts).unwrap();
        let set = FactSet::at(&facts, 1_000);
        let mut flags = BTreeSet::new();
        let call = Call::of(&set, &Reporter::all(&set), &mut flags);
        (call, flags.iter().map(ToString::to_string).collect())
    }

    fn from(start: Millis, end: Option<Millis>, presumed: bool) -> Call {
        Call {
            start,
            end,
            presumed,
        }
    }

    #[test]
    fn a_stated_start_counts_even_if_somebody_joined_before() {
        let facts = json!([
            {"id": "f1", "kind": "session.joined", "t": 5, "session": "a"},
            {"id": "f2", "kind": "call.started", "t": 7},
        ]);
        assert_eq!(call(facts), (Some(from(7, None, false)), vec![]));
    }

    #[test]
    fn without_start_and_joining_the_first_fact_stands_in() {
        let facts = json!([
            {"id": "f1", "kind": "file", "t": 9, "recording": "r1", "index": 0, "start": 1, "duration": 1},
            {"id": "f2", "kind": "leg.connected", "t": 8, "leg": "l"},
        ]);
        let flags = vec!["START_INFERRED".to_owned()];
        assert_eq!(call(facts), (Some(from(8, None, false)), flags));
    }

    #[test]
    fn a_stated_end_counts_even_if_a_later_one_was_presumed() {
        let facts = json!([
            {"id": "f1", "kind": "call.started", "t": 0},
            {"id": "f2", "kind": "call.ended", "t": 50},
            {"id": "f3", "kind": "call.ended", "t": 90, "presumed": true},
        ]);
        assert_eq!(call(facts), (Some(from(0, Some(50), false)), vec![]));
    }

    #[test]
    fn a_presumed_end_is_void_once_the_call_gives_a_later_sign_of_life() {
        let with = |sign: Value| {
            call(json!([
                {"id": "f1", "kind": "call.started", "t": 0},
                {"id": "f2", "kind": "call.ended", "t": 50, "presumed": true},
                sign,
            ]))
        };
        let report = |t: Millis, leaving: bool| {
            json!({
                "id": "f3", "kind": "report", "t": t, "session": "a", "reporter": "a1",
                "sequence": 1, "leaving": leaving,
            })
        };
        let presumed = (
            Some(from(0, Some(50), true)),
            vec!["END_PRESUMED".to_owned()],
        );
        assert_eq!(
            with(report(51, false)),
            (Some(from(0, None, false)), vec![])
        );
        assert_eq!(with(report(51, true)), presumed);
        assert_eq!(with(report(50, false)), presumed);
    }

    #[test]
    fn no_facts_are_no_call() {
        assert_eq!(call(json!([])), (None, vec![]));
    }
}
