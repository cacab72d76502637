//! What the provider says: a walk through its states, recording by recording.

use std::collections::BTreeSet;

use super::capture::{CaptureSource, Horizon, Interval};
use super::fact::{ProviderState, ProviderStatement};
use super::flag::Flag;
use super::instant::Millis;
use super::recording::{DatedStatement, Recording};
use super::span::{FOR_EVER, Span};

/// The provider's intervals of one recording, in order of time.
#[must_use]
pub fn provider_intervals<'f>(
    recording: &Recording<'f>,
    horizon: Horizon,
    flags: &mut BTreeSet<Flag>,
) -> Vec<Interval<'f>> {
    let walk = Walk::through(recording);
    if walk.stopped_without_start {
        flags.insert(Flag::StopWithoutStart(recording.id.to_owned()));
    }
    let closed = walk.closed.iter();
    let closed = closed.filter_map(|&(from, to)| horizon.cut(from, to));
    let open = walk
        .open
        .and_then(|from| left_open(from, recording, horizon, flags));
    let kinds = recording.kinds();
    closed
        .chain(open)
        .map(|span| Interval {
            kinds: kinds.clone(),
            ..Interval::seen_from_outside(span, CaptureSource::Provider, recording.id)
        })
        .collect()
}

/// An interval that the provider never closed: it goes on with the call, or has ended with
/// the recording's files, at the latest with the call.
fn left_open(
    from: Millis,
    recording: &Recording<'_>,
    horizon: Horizon,
    flags: &mut BTreeSet<Flag>,
) -> Option<Span> {
    if horizon.call.end.is_none() {
        return horizon.cut(from, FOR_EVER);
    }
    let files_end = recording.files_end().filter(|&end| end > from);
    let span = horizon.cut(from, files_end.unwrap_or(FOR_EVER))?;
    flags.insert(Flag::StopInferred(recording.id.to_owned()));
    Some(span)
}

/// What holds while the states pass by.
#[derive(Default)]
struct Walk {
    /// From and to, possibly empty.
    closed: Vec<(Millis, Millis)>,
    open: Option<Millis>,
    last_inactive: Option<Millis>,
    stopped_without_start: bool,
}

impl Walk {
    fn through(recording: &Recording<'_>) -> Self {
        let mut states = recording.states.clone();
        states.sort_unstable_by_key(|dated| {
            let start = dated.statement.start;
            // Absent comes last.
            (dated.t, start.is_none(), start, dated.id)
        });
        let mut walk = Self::default();
        for at_once in states.chunk_by(|one, next| one.t == next.t) {
            let changing = if walk.open.is_some() {
                ProviderState::Inactive
            } else {
                ProviderState::Active
            };
            // Of states of one instant those that change what holds come first.
            let (first, then): (Vec<&DatedStatement<'_>>, Vec<_>) = at_once
                .iter()
                .partition(|dated| dated.statement.state == changing);
            for dated in first.into_iter().chain(then) {
                walk.pass(dated.t, dated.statement);
            }
        }
        walk
    }

    fn pass(&mut self, t: Millis, statement: &ProviderStatement) {
        match statement.state {
            ProviderState::Active => self.activate(t, statement.start),
            ProviderState::Inactive => self.inactivate(t, statement.start),
        }
    }

    fn activate(&mut self, t: Millis, start: Option<Millis>) {
        if self.open.is_some() {
            return;
        }
        let began = start.map_or(t, |start| start.min(t));
        self.open = match self.last_inactive {
            // The stated start is that of the recording as a whole, not of its resumption.
            Some(inactive) if began <= inactive => Some(t),
            _ => Some(began),
        };
    }

    fn inactivate(&mut self, t: Millis, start: Option<Millis>) {
        match (self.open.take(), self.last_inactive, start) {
            (Some(from), _, _) => self.closed.push((from, t)),
            (None, None, Some(start)) => self.closed.push((start, t)),
            (None, None, None) => self.stopped_without_start = true,
            (None, Some(_), _) => {}
        }
        self.last_inactive = Some(t);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::call::Call;
    use crate::domain::fact::{CaptureType, RecordingFile};

    const ACTIVE: ProviderState = ProviderState::Active;
    const INACTIVE: ProviderState = ProviderState::Inactive;

    /// The intervals (open ones without end) and flags of states at t with start, in a call
    /// that ended, or goes on at 1,000; with a file [20, 80) if there is an end.
    fn told(
        states: &[(Millis, ProviderState, Option<Millis>)],
        end: Option<Millis>,
    ) -> (Vec<(Millis, Option<Millis>)>, Vec<String>) {
        let statements: Vec<ProviderStatement> = states
            .iter()
            .map(|&(_, state, start)| ProviderStatement {
                capture: CaptureType::Recording,
                recording: "r1".to_owned(),
                capture_kind: None,
                state,
                start,
            })
            .collect();
        let file = RecordingFile {
            recording: "r1".to_owned(),
            index: 0,
            start: 20,
            duration: 60,
        };
        let recording = Recording {
            id: "r1",
            states: states
                .iter()
                .zip(&statements)
                .map(|(&(t, _, _), statement)| DatedStatement {
                    t,
                    id: "f1",
                    statement,
                })
                .collect(),
            files: end.iter().map(|_| &file).collect(),
        };
        let call = Call {
            start: 0,
            end,
            presumed: false,
        };
        let mut flags = BTreeSet::new();
        let intervals = provider_intervals(&recording, Horizon { call, now: 1_000 }, &mut flags);
        let spans = intervals.iter().map(|interval| interval.span);
        (
            spans
                .map(|span| (span.from(), (!span.is_open()).then_some(span.to())))
                .collect(),
            flags.iter().map(ToString::to_string).collect(),
        )
    }

    #[test]
    fn a_recording_began_when_the_provider_says_but_resumed_when_it_says_so() {
        let states = [
            (30, ACTIVE, Some(10)),
            (50, INACTIVE, Some(10)),
            (60, ACTIVE, Some(10)),
        ];
        let expected = vec![(10, Some(50)), (60, None)];
        assert_eq!(told(&states, None), (expected, vec![]));
    }

    #[test]
    fn a_resumption_with_a_start_of_its_own_began_then() {
        let states = [
            (30, ACTIVE, None),
            (50, INACTIVE, None),
            (60, ACTIVE, Some(55)),
            (65, INACTIVE, None),
        ];
        let expected = vec![(30, Some(50)), (55, Some(65))];
        assert_eq!(told(&states, None), (expected, vec![]));
    }

    #[test]
    fn of_states_of_one_instant_those_that_change_what_holds_come_first() {
        let closing = [(30, ACTIVE, None), (50, ACTIVE, None), (50, INACTIVE, None)];
        assert_eq!(told(&closing, None).0, [(30, Some(50)), (50, None)]);
        let opening = [(50, INACTIVE, Some(20)), (50, ACTIVE, Some(30))];
        assert_eq!(told(&opening, None).0, [(30, Some(50))]);
    }

    #[test]
    fn a_stop_without_a_start_is_flagged_unless_it_tells_the_start() {
        let flagged = vec!["STOP_WITHOUT_START:r1".to_owned()];
        assert_eq!(told(&[(50, INACTIVE, None)], None), (vec![], flagged));
        let told_start = told(&[(50, INACTIVE, Some(20)), (60, INACTIVE, None)], None);
        assert_eq!(told_start, (vec![(20, Some(50))], vec![]));
    }

    #[test]
    fn what_was_never_stopped_ends_with_its_files_or_with_the_call() {
        let flagged = vec!["STOP_INFERRED:r1".to_owned()];
        let by_file = told(&[(30, ACTIVE, None)], Some(100));
        assert_eq!(by_file, (vec![(30, Some(80))], flagged.clone()));
        let by_call = told(&[(90, ACTIVE, None)], Some(100));
        assert_eq!(by_call, (vec![(90, Some(100))], flagged));
        let after_the_call = told(&[(100, ACTIVE, None)], Some(100));
        assert_eq!(after_the_call, (vec![], vec![]));
    }
}
