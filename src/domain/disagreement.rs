//! Disagreements: clients of one call that state different levels of the same capture.
//!
//! # Why
//!
//! Clients learn of a change one after the other, and flap; so what ends within `bridge` is no
//! disagreement. What lasts longer means that one of them shows its user what is not so. Only what
//! is past when the call ended, or now, counts: the same facts give the same answer.

use super::call::Call;
use super::evidence::{Evidence, EvidenceReport};
use super::fact::{CaptureType, Level};
use super::instant::Millis;
use super::parameters::Parameters;
use super::presence::Session;
use super::reporter::Reporter;
use super::span::{Span, SpanSet};

/// Live clients stated different levels for longer than `bridge`. Instants are in Unix
/// milliseconds.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Disagreement {
    /// Of what.
    pub capture: CaptureType,
    /// From when on.
    pub from: Millis,
    /// Until when; None: still.
    pub to: Option<Millis>,
    /// Which sessions stated which level, each `session: level`, sorted.
    pub stated: Vec<String>,
}

/// What the clients of a call disagree about.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Disagreements {
    /// By type and start.
    pub all: Vec<Disagreement>,
    /// When one begins that goes on for less than `bridge` yet, unless a fact arrives before.
    pub next_change: Option<Millis>,
}

impl Evidence<'_> {
    /// What the clients of the call disagree about.
    #[must_use]
    pub fn disagreements(&self) -> Disagreements {
        let EvidenceReport { sessions, call, .. } = &self.report;
        disagreements(&self.reporters, sessions, *call, self.now, &self.parameters)
    }
}

fn disagreements(
    reporters: &[Reporter<'_>],
    sessions: &[Session],
    call: Call,
    now: Millis,
    parameters: &Parameters,
) -> Disagreements {
    let until = call.end.map_or(now, |end| end.min(now));
    let Some(past) = Span::new(Millis::MIN, until) else {
        return Disagreements::default();
    };
    let mut found = Disagreements::default();
    for capture in CaptureType::ALL {
        let stated: Vec<(&str, Span, Level)> = reporters
            .iter()
            .flat_map(|reporter| {
                let session = reporter.session();
                let presence = sessions
                    .iter()
                    .find(|one| one.id == session)
                    .and_then(Session::presence);
                reporter
                    .live_with_levels(capture, presence, parameters.stale)
                    .filter_map(move |(span, level)| {
                        Some((session, span.intersection(past)?, level))
                    })
            })
            .collect();
        for span in differing(&stated).spans() {
            let goes_on = call.end.is_none() && span.to() == until;
            if span.to().saturating_sub(span.from()) <= parameters.bridge {
                let begins = span.from().saturating_add(parameters.bridge + 1);
                let first = found.next_change.is_none_or(|next| begins < next);
                if goes_on && first {
                    found.next_change = Some(begins);
                }
                continue;
            }
            let mut who: Vec<String> = stated
                .iter()
                .filter(|(_, during, _)| during.intersection(span).is_some())
                .map(|(session, _, level)| format!("{session}: {}", level.as_str()))
                .collect();
            who.sort();
            who.dedup();
            found.all.push(Disagreement {
                capture,
                from: span.from(),
                to: (!goes_on).then_some(span.to()),
                stated: who,
            });
        }
    }
    found
}

/// When two levels were stated at one time.
fn differing(stated: &[(&str, Span, Level)]) -> SpanSet {
    let at_level = |wanted: Level| -> SpanSet {
        stated
            .iter()
            .filter(|(_, _, level)| *level == wanted)
            .map(|(_, span, _)| *span)
            .collect()
    };
    let (on, paused, off) = (
        at_level(Level::On),
        at_level(Level::Paused),
        at_level(Level::Off),
    );
    [(&on, &paused), (&on, &off), (&paused, &off)]
        .into_iter()
        .flat_map(|(one, other)| one.less(&one.less(other)).spans().collect::<Vec<_>>())
        .collect()
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;
    use crate::domain::fact_json::read_facts;
    use crate::domain::fact_set::FactSet;

    fn all(facts: Value, now: Millis) -> Disagreements {
        let facts = read_facts(facts).unwrap();
        let set = FactSet::at(&facts, now);
        let reporters = Reporter::all(&set);
        let parameters = Parameters::default();
        let call = Call::of(&set, &reporters, &mut Default::default()).unwrap();
        let sessions = Session::all(&set, &reporters, call, now, parameters.stale);
        disagreements(&reporters, &sessions, call, now, &parameters)
    }

    fn found(facts: Value, now: Millis) -> Vec<Disagreement> {
        all(facts, now).all
    }

    fn report(session: &str, sequence: i64, t: Millis, level: &str) -> Value {
        json!({
            "id": format!("{session}{sequence}"), "kind": "report", "t": t, "session": session,
            "reporter": session, "sequence": sequence, "recording": level,
        })
    }

    #[test]
    fn clients_that_differ_for_longer_than_the_bridge_disagree() {
        let facts = json!([
            report("a", 1, 0, "on"),
            report("b", 1, 1_000, "off"),
            report("a", 2, 20_000, "off"),
        ]);
        let expected = Disagreement {
            capture: CaptureType::Recording,
            from: 1_000,
            to: Some(20_000),
            stated: vec!["a: on".to_owned(), "b: off".to_owned()],
        };
        assert_eq!(found(facts.clone(), 60_000), vec![expected.clone()]);
        let going_on = Disagreement {
            to: None,
            ..expected
        };
        assert_eq!(found(facts.clone(), 10_000), [going_on]);
        let not_yet = Disagreements {
            all: Vec::new(),
            next_change: Some(6_001),
        };
        assert_eq!(all(facts, 6_000), not_yet);
    }

    #[test]
    fn clients_that_learn_of_a_change_one_after_the_other_agree() {
        let facts = json!([
            report("a", 1, 0, "off"),
            report("b", 1, 0, "off"),
            report("a", 2, 10_000, "on"),
            report("b", 2, 15_000, "on"),
        ]);
        assert_eq!(found(facts, 60_000), []);
    }

    #[test]
    fn whoever_has_fallen_silent_contradicts_nobody() {
        let facts = json!([
            report("a", 1, 0, "on"),
            report("b", 1, 91_000, "off"),
            {"id": "j", "kind": "session.joined", "t": 0, "session": "a"},
        ]);
        assert_eq!(found(facts, 200_000), []);
    }

    #[test]
    fn what_the_call_s_end_cut_short_is_past() {
        let facts = json!([
            report("a", 1, 0, "on"),
            report("b", 1, 0, "paused"),
            {"id": "e", "kind": "call.ended", "t": 7_000},
        ]);
        let found = found(facts, 60_000);
        assert_eq!((found[0].from, found[0].to), (0, Some(7_000)));
    }
}
