//! The one fold: from the set of a call's facts to what the call is at an instant.
//!
//! The board, the ledger and the command line all ask here, so that a client is shown what
//! an auditor will read. The answer depends on nothing but the set of facts, `now` and the
//! parameters: any permutation of the facts, with any of them doubled, gives the same one.

use std::collections::{BTreeMap, BTreeSet};

use serde::Serialize;

use super::call::Call;
use super::capture::{Horizon, Interval, Standing};
use super::fact::{CaptureType, Fact, FactKind, Level};
use super::fact_set::FactSet;
use super::file_capture::file_intervals;
use super::flag::Flag;
use super::indication::{Indication, Indications, Observed};
use super::instant::Millis;
use super::parameters::Parameters;
use super::presence::{Session, Silence, ours_present};
use super::provider_capture::provider_intervals;
use super::recording::Recording;
use super::report_capture::{Witnesses, report_intervals};
use super::reporter::Reporter;
use super::span::{Span, SpanSet};
use super::stretch::Stretch;

/// What a call is at an instant.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct CallPicture {
    /// None: no fact counts (yet), so nothing else is known either. There is no report about
    /// such a call.
    pub call: Option<Call>,
    /// By id.
    pub sessions: Vec<Session>,
    /// By type and start.
    pub stretches: Vec<Stretch>,
    /// What must be visible.
    pub indications: Indications,
    /// What is odd about the facts.
    pub flags: BTreeSet<Flag>,
    /// The next instant (Unix milliseconds, after `now`) at which the indications may change
    /// merely because time passes; they certainly do not before it unless a fact arrives.
    /// None: they never do.
    #[serde(skip)]
    pub next_change: Option<Millis>,
}

/// Folds the facts of one call as they stand at `now` (Unix milliseconds).
#[must_use]
pub fn fold<'f>(
    facts: impl IntoIterator<Item = &'f Fact>,
    now: Millis,
    parameters: &Parameters,
) -> CallPicture {
    let facts = FactSet::at(facts, now);
    picture(&facts, &Reporter::all(&facts), now, parameters)
}

/// The picture that facts, sifted and put in order, make at `now`.
#[must_use]
pub fn picture<'f>(
    facts: &FactSet<'f>,
    reporters: &[Reporter<'f>],
    now: Millis,
    parameters: &Parameters,
) -> CallPicture {
    let mut flags: BTreeSet<Flag> = facts
        .conflicts()
        .map(|id| Flag::Conflict(id.to_owned()))
        .collect();
    let Some(call) = Call::of(facts, reporters, &mut flags) else {
        return CallPicture {
            call: None,
            sessions: Vec::new(),
            stretches: Vec::new(),
            indications: Indications::default(),
            flags,
            next_change: facts.next_at(),
        };
    };
    let sessions = Session::all(facts, reporters, call, now, parameters.stale);
    let scene = Scene {
        facts,
        presences: presences(reporters, &sessions),
        reporters,
        ours_present: ours_present(&sessions, call),
        horizon: Horizon { call, now },
        parameters: *parameters,
    };
    let recording = scene.captured(CaptureType::Recording, &mut flags);
    let transcription = scene.captured(CaptureType::Transcription, &mut flags);
    let intervals = || recording.intervals.iter().chain(&transcription.intervals);

    CallPicture {
        indications: Indications {
            recording: recording.indication,
            transcription: transcription.indication,
        },
        next_change: scene.next_change(&sessions, intervals()),
        stretches: [recording.stretches, transcription.stretches].concat(),
        call: Some(call),
        sessions,
        flags,
    }
}

/// When each reporter's session is present, in the order of the reporters.
#[must_use]
pub fn presences(reporters: &[Reporter<'_>], sessions: &[Session]) -> Vec<Option<Span>> {
    let by_id: BTreeMap<&str, Option<Span>> = sessions
        .iter()
        .map(|session| (session.id.as_str(), session.presence()))
        .collect();
    reporters
        .iter()
        .map(|reporter| by_id.get(reporter.session()).copied().flatten())
        .collect()
}

/// Everything that the captures of either type are made out of.
struct Scene<'s, 'f> {
    facts: &'s FactSet<'f>,
    reporters: &'s [Reporter<'f>],
    /// When each reporter's session is present.
    presences: Vec<Option<Span>>,
    ours_present: SpanSet,
    horizon: Horizon,
    parameters: Parameters,
}

/// What is made out of them for one type.
struct Captured<'f> {
    intervals: Vec<Interval<'f>>,
    stretches: Vec<Stretch>,
    indication: Indication,
}

impl<'f> Scene<'_, 'f> {
    fn captured(&self, capture: CaptureType, flags: &mut BTreeSet<Flag>) -> Captured<'f> {
        let live: Vec<SpanSet> = self
            .reporters()
            .map(|(reporter, presence)| reporter.live(capture, presence, self.parameters.stale))
            .collect();
        let mut intervals = self.seen_from_outside(capture, flags);
        let anybody: SpanSet = live.iter().flat_map(SpanSet::spans).collect();
        for (reporter, own) in self.reporters.iter().zip(&live) {
            let witnesses = Witnesses {
                own,
                anybody: &anybody,
                ours_present: &self.ours_present,
            };
            let seen = report_intervals(
                reporter,
                capture,
                &witnesses,
                self.horizon,
                self.parameters.bridge,
            );
            intervals.extend(seen);
        }
        let paused = self.reporters.iter().zip(&live).any(|(reporter, live)| {
            reporter.last_level(capture) == Some(Level::Paused) && live.contains(self.horizon.now)
        });
        let observed = Observed {
            call_ended: self.horizon.call.end.is_some(),
            ever: self.ever_observed(capture),
            paused,
        };
        Captured {
            stretches: Stretch::all(capture, &intervals, self.parameters.bridge),
            indication: Indication::at_now(observed, &intervals),
            intervals,
        }
    }

    /// The intervals that provider and files tell of.
    fn seen_from_outside(
        &self,
        capture: CaptureType,
        flags: &mut BTreeSet<Flag>,
    ) -> Vec<Interval<'f>> {
        let pauses = self.pauses(capture);
        let bridge = self.parameters.bridge;
        let mut intervals = Vec::new();
        for recording in Recording::all(self.facts, capture) {
            let provider = provider_intervals(&recording, self.horizon, flags);
            let files = file_intervals(&recording, &provider, &pauses, self.horizon, bridge, flags);
            intervals.extend(provider);
            intervals.extend(files);
        }
        intervals
    }

    fn reporters(&self) -> impl Iterator<Item = (&Reporter<'f>, Option<Span>)> {
        self.reporters.iter().zip(self.presences.iter().copied())
    }

    /// When some live reporter's level is paused and no live reporter's is on.
    fn pauses(&self, capture: CaptureType) -> SpanSet {
        let at_level = |level: Level| -> SpanSet {
            self.reporters()
                .flat_map(|(reporter, presence)| {
                    reporter.live_with_levels(capture, presence, self.parameters.stale)
                })
                .filter(|&(_, stated)| stated == level)
                .map(|(span, _)| span)
                .collect()
        };
        at_level(Level::Paused).less(&at_level(Level::On))
    }

    fn ever_observed(&self, capture: CaptureType) -> bool {
        self.facts.iter().any(|fact| match fact.kind() {
            FactKind::ProviderState(statement) => statement.capture == capture,
            FactKind::Report(report) => report.level(capture).is_some(),
            FactKind::File(_) | FactKind::LegConnected { .. } => capture == CaptureType::Recording,
            _ => false,
        })
    }

    /// When time alone may change an indication: a fact dated in the future begins to count;
    /// and while the call goes on, a client has stuck to off for long enough, a reporter is
    /// no longer live, or a session is lost.
    fn next_change<'i>(
        &self,
        sessions: &[Session],
        intervals: impl Iterator<Item = &'i Interval<'f>>,
    ) -> Option<Millis>
    where
        'f: 'i,
    {
        let future = self.facts.next_at();
        if self.horizon.call.end.is_some() {
            return future;
        }
        let settled = intervals.filter_map(|interval| match interval.standing {
            Standing::Settling { until } => Some(until),
            Standing::Closed | Standing::Open | Standing::Orphaned => None,
        });
        let silent = self
            .reporters
            .iter()
            .filter_map(|reporter| reporter.believed_to(self.parameters.stale));
        let lost = sessions.iter().filter_map(|session| match session.silence {
            Silence::Bearable { lost_at } => Some(lost_at),
            Silence::MeansNothing | Silence::Lost { .. } => None,
        });
        settled
            .chain(silent)
            .chain(lost)
            .chain(future)
            .filter(|&t| t > self.horizon.now)
            .min()
    }
}

#[cfg(test)]
pub(in crate::domain) mod random_call;
#[cfg(test)]
pub(in crate::domain) mod random_json;
#[cfg(test)]
mod tests;
