//! Observation: how much of a call could have been observed (`docs/evidence-rules.md`, section 6;
//! `ABSENCE_IS_NOT_COMPLIANCE`).

use std::collections::BTreeMap;

use serde::Serialize;

use crate::call::lifetime::CallLifetime;
use crate::call::parameters::Parameters;
use crate::call::snapshot::presences;
use crate::capture::reporter::Reporter;
use crate::capture::span::{OPEN_END, Span, SpanSet};
use crate::event::instant::Millis;
use crate::fact::fact_set::FactSet;
use crate::fact::kinds::{CaptureType, FactKind};
use crate::session::presence::SessionPresence;

/// How much of each type could have been observed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
pub struct Observation {
    /// The recording.
    pub recording: WatchedType,
    /// The transcription.
    pub transcription: WatchedType,
}

/// How much of one type could have been observed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
pub struct WatchedType {
    /// Milliseconds of the watch in which a reporter or a leg could have observed a capture.
    pub observed_ms: Millis,
    /// Milliseconds in which a session of ours was present.
    pub watch_ms: Millis,
}

impl Observation {
    /// The observation of a call at `now` (Unix milliseconds).
    pub(crate) fn of(
        facts: &FactSet<'_>,
        reporters: &[Reporter<'_>],
        sessions: &[SessionPresence],
        call: CallLifetime,
        now: Millis,
        parameters: &Parameters,
    ) -> Self {
        let watch: SpanSet = sessions
            .iter()
            .filter(|session| session.ours)
            .filter_map(|session| Span::new(session.joined_at, session.left_at.unwrap_or(now)))
            .collect();
        let presences = presences(reporters, sessions);
        let by_reports = |capture_type| {
            reporters.iter().zip(&presences).flat_map(move |(reporter, &presence)| {
                reporter.observing(capture_type, presence, parameters.stale)
            })
        };
        let watched = |observed: SpanSet| WatchedType {
            observed_ms: observed.common_length(&watch),
            watch_ms: watch.length(),
        };
        let legs = observed_by_legs(facts, call);
        Self {
            recording: watched(by_reports(CaptureType::Recording).chain(legs).collect()),
            transcription: watched(by_reports(CaptureType::Transcription).collect()),
        }
    }

    /// Whether both types were observed enough. `edge` is [`Parameters::edge`].
    #[must_use]
    pub fn is_enough(&self, edge: Millis) -> bool {
        self.recording.is_enough(edge) && self.transcription.is_enough(edge)
    }
}

impl WatchedType {
    /// Whether the type was observed enough. `edge` is [`Parameters::edge`].
    #[must_use]
    pub fn is_enough(self, edge: Millis) -> bool {
        let missed = self.watch_ms.saturating_sub(self.observed_ms);
        self.watch_ms > 0 && missed <= (self.watch_ms / 20).max(edge)
    }
}

/// The intervals in which a leg of the service was connected: it is notified of every recording.
fn observed_by_legs(facts: &FactSet<'_>, call: CallLifetime) -> Vec<Span> {
    let mut legs: BTreeMap<&str, Vec<(Millis, bool)>> = BTreeMap::new();
    for fact in facts.iter() {
        let (leg, is_end) = match fact.kind() {
            FactKind::LegConnected { leg } => (leg, false),
            FactKind::LegDisconnected { leg } => (leg, true),
            _ => continue,
        };
        legs.entry(leg).or_default().push((fact.at(), is_end));
    }
    // An open interval is cut by the watch, which ends at `now` at the latest.
    let at_last = call.ended_at.unwrap_or(OPEN_END);
    let mut spans = Vec::new();
    for mut changes in legs.into_values() {
        // Of two changes at one instant the connection comes first.
        changes.sort_unstable();
        let mut connected = None;
        for (at, is_end) in changes {
            if is_end {
                spans.extend(connected.take().and_then(|from| Span::new(from, at)));
            } else {
                connected = connected.or(Some(at));
            }
        }
        spans.extend(connected.and_then(|from| Span::new(from, at_last)));
    }
    spans
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;
    use crate::fact::json::read_facts;

    fn legs(facts: Value) -> Vec<(Millis, Millis)> {
        let facts = read_facts(facts).unwrap();
        let call = CallLifetime {
            started_at: 0,
            ended_at: Some(100),
            end_presumed: false,
            stated_start: None,
        };
        observed_by_legs(&FactSet::at(&facts, 1_000), call)
            .into_iter()
            .map(|span| (span.from(), span.to()))
            .collect()
    }

    #[test]
    fn a_leg_observes_from_its_connection_to_the_next_disconnection() {
        let change =
            |id: &str, kind: &str, t: Millis| json!({"id": id, "kind": kind, "at": t, "leg": "l"});
        let facts = json!([
            change("f1", "leg.disconnected", 5),
            change("f2", "leg.connected", 10),
            change("f3", "leg.connected", 20),
            change("f4", "leg.disconnected", 30),
            change("f5", "leg.connected", 40),
            change("f6", "leg.disconnected", 40),
            change("f7", "leg.connected", 60),
        ]);
        assert_eq!(legs(facts), [(10, 30), (60, 100)]);
    }

    #[test]
    fn five_percent_or_the_edge_may_be_missed() {
        let enough = |observed_ms, watch_ms| {
            let watched = WatchedType { observed_ms, watch_ms };
            watched.is_enough(5)
        };
        assert!(!enough(0, 0));
        assert!(enough(0, 5));
        assert!(!enough(0, 6));
        assert!(enough(950, 1_000));
        assert!(!enough(949, 1_000));
    }
}
