//! Disagreements: clients of one call that state different levels of the same capture.
//!
//! # Why
//!
//! Clients observe a change one after the other, and flap; so a difference that ends within
//! [`Parameters::bridge`] is no disagreement. A longer one means that a client shows its user a wrong
//! level. Only the time before the end of the call, or before now, counts, so the same facts give
//! the same answer.

use super::evidence_report::{Evidence, EvidenceReport};
use crate::call::parameters::Parameters;
use crate::call::snapshot::presences;
use crate::capture::span::{Span, SpanSet};
use crate::event::instant::Millis;
use crate::fact::kinds::{CaptureType, JsonWord as _, Level};

/// Live clients stated different levels for longer than `bridge`. Instants are in Unix
/// milliseconds.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Disagreement {
    /// The type whose levels differ.
    pub capture_type: CaptureType,
    /// The first instant.
    pub from: Millis,
    /// The end (exclusive). None: it continues.
    pub to: Option<Millis>,
    /// The sessions and the levels that they stated, each `session: level`, sorted.
    pub stated: Vec<String>,
}

/// The disagreements of the clients of a call.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Disagreements {
    /// All of them, by type and start.
    pub all: Vec<Disagreement>,
    /// The next instant (Unix milliseconds) at which a difference that is still shorter than `bridge`
    /// becomes a disagreement, unless a fact arrives before it.
    pub next_change: Option<Millis>,
}

impl Evidence<'_> {
    /// The disagreements of the clients of the call.
    #[must_use]
    pub fn disagreements(&self) -> Disagreements {
        let Self { reporters, now, parameters: Parameters { bridge, stale, .. }, .. } = self;
        let EvidenceReport { sessions, call, .. } = &self.report;
        let until = call.ended_at.map_or(*now, |end| end.min(*now));
        let mut found = Disagreements::default();
        let Some(past) = Span::new(Millis::MIN, until) else {
            return found;
        };
        let presences = presences(reporters, sessions);
        for capture_type in CaptureType::ALL {
            let stated: Vec<(&str, Span, Level)> = reporters
                .iter()
                .zip(&presences)
                .flat_map(|(reporter, &presence)| {
                    let stated = reporter.live_with_levels(capture_type, presence, *stale);
                    stated.filter_map(move |(span, level)| {
                        Some((reporter.session, span.intersection(past)?, level))
                    })
                })
                .collect();
            for span in differing(&stated).spans() {
                let continues = call.ended_at.is_none() && span.to() == until;
                if span.length() <= *bridge {
                    let begins = span.from().saturating_add(bridge + 1);
                    let first = found.next_change.is_none_or(|next| begins < next);
                    if continues && first {
                        found.next_change = Some(begins);
                    }
                    continue;
                }
                let mut sessions_and_levels: Vec<String> = stated
                    .iter()
                    .filter(|(_, during, _)| during.intersection(span).is_some())
                    .map(|(session, _, level)| format!("{session}: {}", level.as_str()))
                    .collect();
                sessions_and_levels.sort();
                sessions_and_levels.dedup();
                found.all.push(Disagreement {
                    capture_type,
                    from: span.from(),
                    to: (!continues).then_some(span.to()),
                    stated: sessions_and_levels,
                });
            }
        }
        found
    }
}

/// The instants at which two levels were stated.
fn differing(stated: &[(&str, Span, Level)]) -> SpanSet {
    let at_level = |wanted: Level| -> SpanSet {
        stated.iter().filter(|(_, _, level)| *level == wanted).map(|(_, span, _)| *span).collect()
    };
    let (on, paused, off) = (at_level(Level::On), at_level(Level::Paused), at_level(Level::Off));
    [(&on, &paused), (&on, &off), (&paused, &off)]
        .into_iter()
        .flat_map(|(one, other)| one.difference(&one.difference(other)).spans().collect::<Vec<_>>())
        .collect()
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;
    use crate::fact::json::read_facts;

    fn all(facts: Value, now: Millis) -> Disagreements {
        let facts = read_facts(facts).unwrap();
        Evidence::at(&facts, now, &Parameters::default()).unwrap().disagreements()
    }

    fn found(facts: Value, now: Millis) -> Vec<Disagreement> {
        all(facts, now).all
    }

    fn report(session: &str, sequence: i64, t: Millis, level: &str) -> Value {
        json!({
            "id": format!("{session}{sequence}"), "kind": "report", "at": t, "session": session,
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
            capture_type: CaptureType::Recording,
            from: 1_000,
            to: Some(20_000),
            stated: vec!["a: on".to_owned(), "b: off".to_owned()],
        };
        assert_eq!(found(facts.clone(), 60_000), vec![expected.clone()]);
        let going_on = Disagreement { to: None, ..expected };
        assert_eq!(found(facts.clone(), 10_000), [going_on]);
        let not_yet = Disagreements { all: Vec::new(), next_change: Some(6_001) };
        assert_eq!(all(facts, 6_000), not_yet);
    }

    #[test]
    fn clients_that_report_a_change_one_after_the_other_agree() {
        let facts = json!([
            report("a", 1, 0, "off"),
            report("b", 1, 0, "off"),
            report("a", 2, 10_000, "on"),
            report("b", 2, 15_000, "on"),
        ]);
        assert_eq!(found(facts, 60_000), []);
    }

    #[test]
    fn a_client_that_is_no_longer_live_takes_part_in_no_disagreement() {
        let facts = json!([
            report("a", 1, 0, "on"),
            report("b", 1, 91_000, "off"),
            {"id": "j", "kind": "session.joined", "at": 0, "session": "a"},
        ]);
        assert_eq!(found(facts, 200_000), []);
    }

    #[test]
    fn a_disagreement_ends_with_the_call() {
        let facts = json!([
            report("a", 1, 0, "on"),
            report("b", 1, 0, "paused"),
            {"id": "e", "kind": "call.ended", "at": 7_000},
        ]);
        let found = found(facts, 60_000);
        assert_eq!((found[0].from, found[0].to), (0, Some(7_000)));
    }
}
