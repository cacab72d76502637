//! Observation: how much of a call somebody could have seen. Absence of evidence is never
//! compliance.

use std::collections::BTreeMap;

use serde::Serialize;

use super::call::Call;
use super::fact::{CaptureType, FactKind};
use super::fact_set::FactSet;
use super::fold::presences;
use super::instant::Millis;
use super::parameters::Parameters;
use super::presence::Session;
use super::reporter::Reporter;
use super::span::{FOR_EVER, Span, SpanSet};

/// How much of each type could have been seen.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
pub struct Observation {
    /// Of the recording.
    pub recording: Watched,
    /// Of the transcription.
    pub transcription: Watched,
}

/// How much of one type could have been seen.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
pub struct Watched {
    /// For how many milliseconds of the watch somebody could have seen a capture.
    pub observed_ms: Millis,
    /// For how many milliseconds somebody of ours was there.
    pub watch_ms: Millis,
}

impl Observation {
    /// What the facts of a call come to.
    #[must_use]
    pub fn of(
        facts: &FactSet<'_>,
        reporters: &[Reporter<'_>],
        sessions: &[Session],
        call: Call,
        now: Millis,
        parameters: &Parameters,
    ) -> Self {
        let watch: SpanSet = sessions
            .iter()
            .filter(|session| session.ours)
            .filter_map(|session| Span::new(session.joined, session.left.unwrap_or(now)))
            .collect();
        let presences = presences(reporters, sessions);
        let by_reports = |capture| {
            reporters
                .iter()
                .zip(&presences)
                .flat_map(move |(reporter, &presence)| {
                    reporter.observing(capture, presence, parameters.stale)
                })
        };
        let watched = |observed: SpanSet| Watched {
            observed_ms: observed.length_in_common(&watch),
            watch_ms: watch.length(),
        };
        let legs = by_legs(facts, call);
        Self {
            recording: watched(by_reports(CaptureType::Recording).chain(legs).collect()),
            transcription: watched(by_reports(CaptureType::Transcription).collect()),
        }
    }

    /// Whether nothing of either type can have been missed.
    #[must_use]
    pub fn is_enough(&self, edge: Millis) -> bool {
        self.recording.is_enough(edge) && self.transcription.is_enough(edge)
    }
}

impl Watched {
    /// Whether nothing can have been missed.
    #[must_use]
    pub fn is_enough(self, edge: Millis) -> bool {
        let missed = self.watch_ms.saturating_sub(self.observed_ms);
        self.watch_ms > 0 && missed <= (self.watch_ms / 20).max(edge)
    }
}

/// A leg of ours in the call is told of every recording.
fn by_legs(facts: &FactSet<'_>, call: Call) -> Vec<Span> {
    let mut legs: BTreeMap<&str, Vec<(Millis, Turn)>> = BTreeMap::new();
    for fact in facts.iter() {
        let (leg, turn) = match fact.kind() {
            FactKind::LegConnected { leg } => (leg, Turn::Connected),
            FactKind::LegDisconnected { leg } => (leg, Turn::Disconnected),
            _ => continue,
        };
        legs.entry(leg).or_default().push((fact.t(), turn));
    }
    // What goes on is cut by the watch, which ends now at the latest.
    let at_last = call.end.unwrap_or(FOR_EVER);
    let mut spans = Vec::new();
    for mut turns in legs.into_values() {
        turns.sort_unstable();
        let mut connected = None;
        for (t, turn) in turns {
            match turn {
                Turn::Connected => connected = connected.or(Some(t)),
                Turn::Disconnected => {
                    spans.extend(connected.take().and_then(|from| Span::new(from, t)));
                }
            }
        }
        spans.extend(connected.and_then(|from| Span::new(from, at_last)));
    }
    spans
}

/// Of turns at one instant the first comes first.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Turn {
    Connected,
    Disconnected,
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;
    use crate::domain::fact_json::read_facts;

    fn legs(facts: Value) -> Vec<(Millis, Millis)> {
        let facts = read_facts(facts).unwrap();
        let call = Call {
            start: 0,
            end: Some(100),
            presumed: false,
        };
        by_legs(&FactSet::at(&facts, 1_000), call)
            .into_iter()
            .map(|span| (span.from(), span.to()))
            .collect()
    }

    #[test]
    fn a_leg_observes_from_its_connection_to_the_next_disconnection() {
        let turn =
            |id: &str, kind: &str, t: Millis| json!({"id": id, "kind": kind, "t": t, "leg": "l"});
        let facts = json!([
            turn("f1", "leg.disconnected", 5),
            turn("f2", "leg.connected", 10),
            turn("f3", "leg.connected", 20),
            turn("f4", "leg.disconnected", 30),
            turn("f5", "leg.connected", 40),
            turn("f6", "leg.disconnected", 40),
            turn("f7", "leg.connected", 60),
        ]);
        assert_eq!(legs(facts), [(10, 30), (60, 100)]);
    }

    #[test]
    fn five_percent_or_the_edge_may_be_missed() {
        let enough = |observed_ms, watch_ms| {
            let watched = Watched {
                observed_ms,
                watch_ms,
            };
            watched.is_enough(5)
        };
        assert!(!enough(0, 0));
        assert!(enough(0, 5));
        assert!(!enough(0, 6));
        assert!(enough(950, 1_000));
        assert!(!enough(949, 1_000));
    }
}
