//! The intervals that the provider states, computed from the states of each recording in the order of
//! time (`docs/evidence-rules.md`, section 3).

use std::collections::BTreeSet;

use super::interval::{CaptureInterval, CaptureSource, TimeBounds};
use super::recording::{DatedStatement, Recording};
use super::span::{OPEN_END, Span};
use crate::event::instant::Millis;
use crate::fact::kinds::ProviderState;
use crate::report::flag::Flag;

/// The provider's intervals of one recording, in the order of time. Adds the flags that concern them.
pub(crate) fn provider_intervals<'f>(
    recording: &Recording<'f>,
    bounds: TimeBounds,
    flags: &mut BTreeSet<Flag>,
) -> Vec<CaptureInterval<'f>> {
    let timeline = ProviderTimeline::of(recording);
    if timeline.stopped_without_start {
        flags.insert(Flag::StopWithoutStart(recording.id.to_owned()));
    }
    if let Some((from, to)) = timeline.unseen_start
        && bounds.clip(from, to).is_some()
    {
        flags.insert(Flag::StartUnseen(recording.id.to_owned()));
    }
    let closed = timeline.closed.iter();
    let closed = closed.filter_map(|&(from, to)| bounds.clip(from, to));
    let open = timeline.open.and_then(|from| without_stop(from, recording, bounds, flags));
    let kinds = recording.kinds();
    closed
        .chain(open)
        .map(|span| CaptureInterval {
            kinds: kinds.clone(),
            ..CaptureInterval::of_recording(span, CaptureSource::Provider, recording.id)
        })
        .collect()
}

/// The interval after a start without a stop. In a call in progress it is in progress. In a call that
/// ended it ends with the files of the recording, at the latest with the call.
fn without_stop(
    from: Millis,
    recording: &Recording<'_>,
    bounds: TimeBounds,
    flags: &mut BTreeSet<Flag>,
) -> Option<Span> {
    if bounds.call.ended_at.is_none() {
        return bounds.clip(from, OPEN_END);
    }
    let files_end = recording.files_end().filter(|&end| end > from);
    let span = bounds.clip(from, files_end.unwrap_or(OPEN_END))?;
    flags.insert(Flag::StopInferred(recording.id.to_owned()));
    Some(span)
}

/// The intervals of a recording by its states up to an instant.
#[derive(Default)]
struct ProviderTimeline {
    /// Start and end of each interval that has ended; may be empty.
    closed: Vec<(Millis, Millis)>,
    /// The start of the interval in progress.
    open: Option<Millis>,
    last_inactive: Option<Millis>,
    stopped_without_start: bool,
    /// The interval that the first state of the recording ended: that state names the start, but no
    /// state was observed at the start.
    unseen_start: Option<(Millis, Millis)>,
}

impl ProviderTimeline {
    fn of(recording: &Recording<'_>) -> Self {
        let mut states = recording.states.clone();
        states.sort_unstable_by_key(|dated| {
            let start = dated.statement.started_at;
            // A state without a start comes last.
            (dated.at, start.is_none(), start, dated.id)
        });
        let mut timeline = Self::default();
        for simultaneous in states.chunk_by(|one, next| one.at == next.at) {
            let changing = if timeline.open.is_some() {
                ProviderState::Inactive
            } else {
                ProviderState::Active
            };
            // Of simultaneous states, those that change the current state come first.
            let (first, then): (Vec<&DatedStatement<'_>>, Vec<_>) =
                simultaneous.iter().partition(|dated| dated.statement.state == changing);
            for DatedStatement { at, statement, .. } in first.into_iter().chain(then) {
                match statement.state {
                    ProviderState::Active => timeline.activate(*at, statement.started_at),
                    ProviderState::Inactive => timeline.inactivate(*at, statement.started_at),
                }
            }
        }
        timeline
    }

    fn activate(&mut self, at: Millis, start: Option<Millis>) {
        if self.open.is_some() {
            return;
        }
        let began = start.map_or(at, |start| start.min(at));
        self.open = match self.last_inactive {
            // The stated start is the start of the whole recording, not of its resumption.
            Some(inactive) if began <= inactive => Some(at),
            _ => Some(began),
        };
    }

    fn inactivate(&mut self, at: Millis, start: Option<Millis>) {
        match (self.open.take(), self.last_inactive, start) {
            (Some(from), _, _) => self.closed.push((from, at)),
            (None, None, Some(start)) => {
                self.closed.push((start, at));
                self.unseen_start = Some((start, at));
            }
            (None, None, None) => self.stopped_without_start = true,
            (None, Some(_), _) => {}
        }
        self.last_inactive = Some(at);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::call::lifetime::CallLifetime;
    use crate::fact::kinds::ProviderStatement;
    use crate::fact::kinds::{CaptureType, FileFact};

    const ACTIVE: ProviderState = ProviderState::Active;
    const INACTIVE: ProviderState = ProviderState::Inactive;

    /// The intervals and flags of states, each with its instant and the start that it states. The call
    /// ended at `end` and has a file [20, 80), or is in progress at 1,000 and has no file.
    fn intervals_and_flags(
        states: &[(Millis, ProviderState, Option<Millis>)],
        end: Option<Millis>,
    ) -> (Vec<(Millis, Option<Millis>)>, Vec<String>) {
        let statements: Vec<ProviderStatement> = states
            .iter()
            .map(|&(_, state, start)| ProviderStatement {
                capture_type: CaptureType::Recording,
                recording: "r1".to_owned(),
                capture_kind: None,
                state,
                started_at: start,
            })
            .collect();
        let file =
            FileFact { recording: "r1".to_owned(), index: 0, started_at: 20, duration_ms: 60 };
        let recording = Recording {
            id: "r1",
            states: states
                .iter()
                .zip(&statements)
                .map(|(&(at, _, _), statement)| DatedStatement { at, id: "f1", statement })
                .collect(),
            files: end.iter().map(|_| &file).collect(),
        };
        let call =
            CallLifetime { started_at: 0, ended_at: end, end_presumed: false, stated_start: None };
        let mut flags = BTreeSet::new();
        let intervals = provider_intervals(&recording, TimeBounds { call, now: 1_000 }, &mut flags);
        let spans = intervals.iter().map(|interval| interval.span);
        (
            spans.map(|span| (span.from(), (!span.is_open()).then_some(span.to()))).collect(),
            flags.iter().map(ToString::to_string).collect(),
        )
    }

    #[test]
    fn a_recording_begins_at_the_stated_start_but_resumes_at_the_instant_of_the_state() {
        let states = [(30, ACTIVE, Some(10)), (50, INACTIVE, Some(10)), (60, ACTIVE, Some(10))];
        let expected = vec![(10, Some(50)), (60, None)];
        assert_eq!(intervals_and_flags(&states, None), (expected, vec![]));
    }

    #[test]
    fn a_resumption_with_its_own_start_begins_then() {
        let states = [
            (30, ACTIVE, None),
            (50, INACTIVE, None),
            (60, ACTIVE, Some(55)),
            (65, INACTIVE, None),
        ];
        let expected = vec![(30, Some(50)), (55, Some(65))];
        assert_eq!(intervals_and_flags(&states, None), (expected, vec![]));
    }

    #[test]
    fn of_simultaneous_states_those_that_change_the_current_state_come_first() {
        let closing = [(30, ACTIVE, None), (50, ACTIVE, None), (50, INACTIVE, None)];
        assert_eq!(intervals_and_flags(&closing, None).0, [(30, Some(50)), (50, None)]);
        let opening = [(50, INACTIVE, Some(20)), (50, ACTIVE, Some(30))];
        assert_eq!(intervals_and_flags(&opening, None).0, [(30, Some(50))]);
    }

    #[test]
    fn a_stop_without_a_start_is_flagged_unless_it_states_the_start() {
        let flagged = vec!["STOP_WITHOUT_START:r1".to_owned()];
        assert_eq!(intervals_and_flags(&[(50, INACTIVE, None)], None), (vec![], flagged));
        let with_start =
            intervals_and_flags(&[(50, INACTIVE, Some(20)), (60, INACTIVE, None)], None);
        let unseen = vec!["START_UNSEEN:r1".to_owned()];
        assert_eq!(with_start, (vec![(20, Some(50))], unseen));
    }

    #[test]
    fn a_start_is_unseen_only_if_something_of_the_capture_is_left() {
        let nothing_before_the_stop = intervals_and_flags(&[(50, INACTIVE, Some(50))], None);
        assert_eq!(nothing_before_the_stop, (vec![], vec![]));
        let after_the_call = intervals_and_flags(&[(150, INACTIVE, Some(120))], Some(100));
        assert_eq!(after_the_call, (vec![], vec![]));
        let cut_by_the_call = intervals_and_flags(&[(150, INACTIVE, Some(20))], Some(100));
        let unseen = vec!["START_UNSEEN:r1".to_owned()];
        assert_eq!(cut_by_the_call, (vec![(20, Some(100))], unseen));
    }

    #[test]
    fn a_start_that_an_active_state_names_is_seen() {
        let resumed = [(50, ACTIVE, Some(20)), (60, INACTIVE, Some(20))];
        assert_eq!(intervals_and_flags(&resumed, None), (vec![(20, Some(60))], vec![]));
    }

    #[test]
    fn a_capture_without_a_stop_ends_with_its_files_or_with_the_call() {
        let flagged = vec!["STOP_INFERRED:r1".to_owned()];
        let by_file = intervals_and_flags(&[(30, ACTIVE, None)], Some(100));
        assert_eq!(by_file, (vec![(30, Some(80))], flagged.clone()));
        let by_call = intervals_and_flags(&[(90, ACTIVE, None)], Some(100));
        assert_eq!(by_call, (vec![(90, Some(100))], flagged));
        let after_the_call = intervals_and_flags(&[(100, ACTIVE, None)], Some(100));
        assert_eq!(after_the_call, (vec![], vec![]));
    }
}
