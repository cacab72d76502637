//! From the set of a call's facts to its snapshot at an instant.
//!
//! Live state, ledger and command line all use this function, so a client shows what an auditor
//! reads later. The answer depends only on the set of facts, `now` and the parameters
//! (`ORDER_FREE`): any permutation of the facts, with any of them doubled, gives the same answer.

use std::collections::{BTreeMap, BTreeSet};

use serde::Serialize;

use super::confirmation::{Unasserted, unconfirmed};
use super::lifetime::CallLifetime;
use super::parameters::Parameters;
use crate::capture::file_intervals::file_intervals;
use crate::capture::interval::{CaptureInterval, IntervalStatus, TimeBounds};
use crate::capture::merge::Capture;
use crate::capture::provider_intervals::provider_intervals;
use crate::capture::recording::Recording;
use crate::capture::report_intervals::{LiveReporters, report_intervals};
use crate::capture::reporter::Reporter;
use crate::capture::span::{Span, SpanSet};
use crate::event::instant::{CLOCK_TOLERANCE, Millis};
use crate::fact::fact_set::FactSet;
use crate::fact::kinds::{CaptureType, Fact, FactKind, Identity, Level};
use crate::notice::indication::{Indication, Indications, Observed};
use crate::report::flag::Flag;
use crate::session::presence::{Liveness, SessionPresence, ours_present};

/// A call at an instant.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct CallSnapshot {
    /// Start and end. None: no fact counts yet, so nothing else is known and there is no report.
    pub call: Option<CallLifetime>,
    /// The sessions, by id.
    pub sessions: Vec<SessionPresence>,
    /// The captures, by type and start.
    pub captures: Vec<Capture>,
    /// What a client must show.
    pub indications: Indications,
    /// The types whose indication rests on asserted clients alone: the platform named no participant
    /// of the call, and no other source states the same.
    #[serde(skip)]
    pub unconfirmed: BTreeSet<CaptureType>,
    /// What an auditor must know about the facts.
    pub flags: BTreeSet<Flag>,
    /// The next instant (Unix milliseconds, after `now`) at which the indications may change
    /// because time passes. Before it they change only with a new fact. None: never.
    #[serde(skip)]
    pub next_change: Option<Millis>,
}

/// The snapshot of a call at `now` (Unix milliseconds) from its facts.
#[must_use]
pub fn call_snapshot<'f>(
    facts: impl IntoIterator<Item = &'f Fact>,
    now: Millis,
    parameters: &Parameters,
) -> CallSnapshot {
    let facts = FactSet::at(facts, now);
    snapshot_of_set(&facts, &Reporter::all(&facts), now, parameters)
}

/// The snapshot at `now` (Unix milliseconds) from a set of facts and its reporters.
pub(crate) fn snapshot_of_set<'f>(
    facts: &FactSet<'f>,
    reporters: &[Reporter<'f>],
    now: Millis,
    parameters: &Parameters,
) -> CallSnapshot {
    let mut snapshot = evaluate(facts, reporters, now, parameters);
    let without_asserted = match Unasserted::of(facts, snapshot.indications) {
        Unasserted::Same => return snapshot,
        Unasserted::Nothing => CallSnapshot::default(),
        Unasserted::Facts(facts) => {
            let facts = FactSet::at(&facts, now);
            evaluate(&facts, &Reporter::all(&facts), now, parameters)
        }
    };
    snapshot.unconfirmed = unconfirmed(snapshot.indications, without_asserted.indications);
    snapshot.next_change =
        [snapshot.next_change, without_asserted.next_change].into_iter().flatten().min();
    snapshot
}

/// The snapshot without what is confirmed.
fn evaluate<'f>(
    facts: &FactSet<'f>,
    reporters: &[Reporter<'f>],
    now: Millis,
    parameters: &Parameters,
) -> CallSnapshot {
    let mut flags: BTreeSet<Flag> =
        facts.conflicts.iter().map(|&id| Flag::Conflict(id.to_owned())).collect();
    let Some(call) = CallLifetime::of(facts, reporters, &mut flags) else {
        return CallSnapshot { flags, next_change: facts.next_at, ..CallSnapshot::default() };
    };
    let sessions = SessionPresence::all(facts, reporters, call, now, parameters.stale);
    let outsiders = sessions.iter().filter(|session| session.identity == Identity::Outsider);
    flags.extend(outsiders.map(|session| Flag::Outsider(session.id.clone())));
    let input = SnapshotInput {
        facts,
        presences: presences(reporters, &sessions),
        reporters,
        ours_present: ours_present(&sessions, call),
        bounds: TimeBounds { call, now },
        parameters: *parameters,
    };
    let recording = input.captured(CaptureType::Recording, &mut flags);
    let transcription = input.captured(CaptureType::Transcription, &mut flags);
    let intervals = || recording.intervals.iter().chain(&transcription.intervals);

    CallSnapshot {
        indications: Indications {
            recording: recording.indication,
            transcription: transcription.indication,
        },
        next_change: input.next_change(&sessions, intervals()),
        captures: [recording.captures, transcription.captures].concat(),
        unconfirmed: BTreeSet::new(),
        call: Some(call),
        sessions,
        flags,
    }
}

/// The presence of each reporter's session, in the order of the reporters.
pub(crate) fn presences(
    reporters: &[Reporter<'_>],
    sessions: &[SessionPresence],
) -> Vec<Option<Span>> {
    let by_id: BTreeMap<&str, Option<Span>> =
        sessions.iter().map(|session| (session.id.as_str(), session.presence())).collect();
    reporters.iter().map(|reporter| by_id.get(reporter.session).copied().flatten()).collect()
}

/// The input from which the captures of both types are computed.
struct SnapshotInput<'s, 'f> {
    facts: &'s FactSet<'f>,
    reporters: &'s [Reporter<'f>],
    /// The presence of each reporter's session.
    presences: Vec<Option<Span>>,
    ours_present: SpanSet,
    bounds: TimeBounds,
    parameters: Parameters,
}

/// The result for one type.
struct CapturesOfType<'f> {
    intervals: Vec<CaptureInterval<'f>>,
    captures: Vec<Capture>,
    indication: Indication,
}

impl<'f> SnapshotInput<'_, 'f> {
    fn captured(
        &self,
        capture_type: CaptureType,
        flags: &mut BTreeSet<Flag>,
    ) -> CapturesOfType<'f> {
        let stale = self.parameters.stale;
        let live: Vec<SpanSet> = self
            .reporters()
            .map(|(reporter, presence)| reporter.live(capture_type, presence, stale))
            .collect();
        let mut intervals = self.provider_and_file_intervals(capture_type, flags);
        let any_reporter: SpanSet = live.iter().flat_map(SpanSet::spans).collect();
        for (reporter, own) in self.reporters.iter().zip(&live) {
            let live_reporters =
                LiveReporters { own, any: &any_reporter, ours_present: &self.ours_present };
            let reported = report_intervals(
                reporter,
                capture_type,
                &live_reporters,
                self.bounds,
                self.parameters.bridge,
            );
            intervals.extend(reported);
        }
        let paused = self.reporters.iter().zip(&live).any(|(reporter, live)| {
            reporter.last_level(capture_type) == Some(Level::Paused)
                && live.contains(self.bounds.now)
        });
        let observed = Observed {
            call_ended: self.bounds.call.ended_at.is_some(),
            ever: self.ever_observed(capture_type),
            paused,
        };
        CapturesOfType {
            captures: Capture::all(capture_type, &intervals, self.parameters.bridge),
            indication: Indication::at_now(observed, &intervals),
            intervals,
        }
    }

    /// The intervals of provider and files.
    fn provider_and_file_intervals(
        &self,
        capture_type: CaptureType,
        flags: &mut BTreeSet<Flag>,
    ) -> Vec<CaptureInterval<'f>> {
        let pauses = self.pauses(capture_type);
        let bridge = self.parameters.bridge;
        let mut intervals = Vec::new();
        for recording in Recording::all(self.facts, capture_type) {
            let provider = provider_intervals(&recording, self.bounds, flags);
            let files = file_intervals(&recording, &provider, &pauses, self.bounds, bridge, flags);
            let all = provider.into_iter().chain(files);
            intervals
                .extend(all.map(|interval| self.begins_with_call(interval, &recording, flags)));
        }
        intervals
    }

    /// Cuts an interval that is stated to begin before the stated start of the call, by more than clocks
    /// differ: a recording of a call does not precede it. One that ends before it stays, because its
    /// clock may be wrong.
    fn begins_with_call(
        &self,
        interval: CaptureInterval<'f>,
        recording: &Recording<'f>,
        flags: &mut BTreeSet<Flag>,
    ) -> CaptureInterval<'f> {
        let start = self.bounds.call.stated_start;
        let precedes =
            |start: &Millis| start.saturating_sub(interval.span.from()) > CLOCK_TOLERANCE;
        let Some(start) = start.filter(precedes) else {
            return interval;
        };
        flags.insert(Flag::StartCut(recording.id.to_owned()));
        match Span::new(start, interval.span.to()) {
            Some(span) => CaptureInterval { span, ..interval },
            None => interval,
        }
    }

    fn reporters(&self) -> impl Iterator<Item = (&Reporter<'f>, Option<Span>)> {
        self.reporters.iter().zip(self.presences.iter().copied())
    }

    /// The instants at which the level of a live reporter is paused and that of none is on.
    fn pauses(&self, capture_type: CaptureType) -> SpanSet {
        let at_level = |level: Level| -> SpanSet {
            self.reporters()
                .flat_map(|(reporter, presence)| {
                    reporter.live_with_levels(capture_type, presence, self.parameters.stale)
                })
                .filter(|&(_, stated)| stated == level)
                .map(|(span, _)| span)
                .collect()
        };
        at_level(Level::Paused).difference(&at_level(Level::On))
    }

    fn ever_observed(&self, capture_type: CaptureType) -> bool {
        self.facts.iter().any(|fact| match fact.kind() {
            FactKind::ProviderState(statement) => statement.capture_type == capture_type,
            FactKind::Report(report) => report.level(capture_type).is_some(),
            FactKind::File(_) | FactKind::LegConnected { .. } => {
                capture_type == CaptureType::Recording
            }
            _ => false,
        })
    }

    /// The next instant at which time alone may change an indication: a fact of the future begins
    /// to count; while the call is open, an interval has settled, a reporter is no longer live, or
    /// a session is lost.
    fn next_change<'i>(
        &self,
        sessions: &[SessionPresence],
        intervals: impl Iterator<Item = &'i CaptureInterval<'f>>,
    ) -> Option<Millis>
    where
        'f: 'i,
    {
        let future = self.facts.next_at;
        if self.bounds.call.ended_at.is_some() {
            return future;
        }
        let settled = intervals.filter_map(|interval| match interval.status {
            IntervalStatus::Debouncing { until } => Some(until),
            _ => None,
        });
        let stale =
            self.reporters.iter().filter_map(|reporter| reporter.live_until(self.parameters.stale));
        let lost = sessions.iter().filter_map(|session| match session.liveness {
            Liveness::Live { lost_at } => Some(lost_at),
            _ => None,
        });
        settled
            .chain(stale)
            .chain(lost)
            .chain(future)
            .filter(|&instant| instant > self.bounds.now)
            .min()
    }
}

#[cfg(test)]
mod tests;
