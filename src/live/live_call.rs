//! One call of the live state: its level, its progress, and its past changes.

use std::collections::{BTreeSet, VecDeque};

use super::fanout::message::{BuildInstant, CallLevel, SeenLevel, UnknownReason};
use super::fanout::subscriber::SubscriptionScope;
use onrecord_evidence::call::outsider_level::OutsiderLevel;
use onrecord_evidence::call::parameters::Parameters;
use onrecord_evidence::call::project::{ProjectedCall, project_call};
use onrecord_evidence::event::calling_event::{ObservedEvent, Statement};
use onrecord_evidence::event::instant::Millis;
use onrecord_evidence::fact::kinds::{CaptureType, Witness};
use onrecord_evidence::identity::alias_graph::Anchor;
use onrecord_evidence::notice::indication::{IndicationState, Indications};
use onrecord_evidence::notice::variant::{CaptureView, IndicationView, NoticeCause};
use onrecord_evidence::session::trust::CallTrust;

/// Maximum number of past changes kept per call for returning subscribers.
const MAX_PAST_CHANGES: usize = 256;

/// A past change of the level, kept for subscribers that resume.
pub(crate) struct PastChange {
    /// When it was folded and sent.
    pub time: BuildInstant,
    /// The anchor that named the call at that time.
    pub call: Anchor,
    /// The level before, if it was announced as a change; `None`: it was sent as a snapshot.
    pub previous: Option<Indications>,
    pub changed_to: CallLevel,
}

/// The fact that decides a level.
#[derive(Clone, Copy)]
pub(crate) struct DecidingFact {
    /// When the fact happened, ms.
    pub at: Millis,
    pub cause: NoticeCause,
    /// When the service received the fact, ms; `None`: time alone decided.
    pub received_at: Option<Millis>,
}

/// The progress of a call.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) enum CallProgress {
    /// No event says that the call ended.
    #[default]
    Ongoing,
    /// The end is presumed, because no event came for long; any sign of life revokes it.
    PresumedEnded,
    /// An event says that the call ended.
    Ended,
    /// The call ended and its events were dropped: no later event makes anything visible again. (If
    /// one of its ids turns out to belong to another call, the events of that id are lost; the
    /// clients repeat them within half a minute.)
    Closed,
}

/// The levels of a call: those of the call, and the own levels of the clients of outsiders. An outsider
/// is stated the stronger of both; it changes nothing for others.
#[derive(Clone, Default, PartialEq)]
pub(crate) struct SeenLevels {
    pub call: Indications,
    /// Sorted by raw id.
    outsiders: Vec<OutsiderLevel>,
}

impl SeenLevels {
    /// What a subscriber with this scope is stated.
    pub(crate) fn seen_by(&self, scope: &SubscriptionScope) -> Indications {
        let own = own_levels(&self.outsiders, scope);
        own.fold(self.call, |level, own| level.strongest(own.indications))
    }
}

/// The own levels of the attachments of a scope.
fn own_levels<'o>(
    outsiders: &'o [OutsiderLevel],
    scope: &'o SubscriptionScope,
) -> impl Iterator<Item = &'o OutsiderLevel> {
    let raw_id = scope.subject().map(|subject| subject.raw_id.as_str());
    let raw_id = raw_id.filter(|_| !outsiders.is_empty());
    let own = raw_id.map_or(&[][..], |raw_id| {
        let from = outsiders.partition_point(|it| it.raw_id.as_str() < raw_id);
        outsiders.get(from..).unwrap_or_default()
    });
    own.iter()
        .take_while(move |it| Some(it.raw_id.as_str()) == raw_id)
        .filter(|it| scope.attachment().is_none_or(|attachment| *it.attachment == **attachment))
}

/// The result of a fold.
pub(crate) struct FoldedCall {
    level: Indications,
    view: IndicationView,
    progress: CallProgress,
    next_change: Option<Millis>,
    present_attachments: BTreeSet<String>,
    trust: CallTrust,
    outsiders: Vec<OutsiderLevel>,
    is_connected: bool,
    event_count: usize,
}

impl FoldedCall {
    /// Folds all events of a call.
    pub(crate) fn of<'t>(events: impl IntoIterator<Item = &'t ObservedEvent>, now: Millis) -> Self {
        // No level depends on notice facts, so they are not read here; a property test of
        // `onrecord_evidence::notice::notice_fact` verifies that.
        let (mut event_count, mut is_connected) = (0, false);
        let events = events.into_iter().inspect(|observed| {
            event_count += 1;
            is_connected |= observed.event.statement.shows_connection(&observed.event.ids);
        });
        let projected = project_call(events, [], now, &Parameters::default());
        let ProjectedCall { snapshot, present_attachments, trust, mut outsiders, .. } = projected;
        outsiders.sort_by(|one, other| one.raw_id.cmp(&other.raw_id));
        let progress = match snapshot.call {
            Some(call) if call.ended_at.is_some() && call.end_presumed => {
                CallProgress::PresumedEnded
            }
            Some(call) if call.ended_at.is_some() => CallProgress::Ended,
            _ => CallProgress::Ongoing,
        };
        Self {
            level: snapshot.indications,
            view: IndicationView::of(&snapshot),
            progress,
            next_change: snapshot.next_change,
            present_attachments,
            trust,
            outsiders,
            is_connected,
            event_count,
        }
    }

    /// Whether these are its levels.
    pub(crate) fn has_levels(&self, levels: &SeenLevels) -> bool {
        self.level == levels.call && self.outsiders == levels.outsiders
    }
}

/// A call as it was folded last. By default nothing is known of it.
#[derive(Default)]
pub(crate) struct LiveCall {
    pub current: CallLevel,
    /// What the platform states about the call.
    pub trust: CallTrust,
    /// What the platform states has changed since subscribers were notified.
    pub is_trust_new: bool,
    /// The own levels of the clients of outsiders, sorted by raw id.
    outsiders: Vec<OutsiderLevel>,
    /// An event shows that the call is connected, or was.
    is_connected: bool,
    /// The fact that decided the last change of an own level.
    pub own_cause: NoticeCause,
    pub progress: CallProgress,
    /// When to fold again without a new event, ms.
    pub next_change: Option<Millis>,
    /// Attachments whose next heartbeat changes nothing.
    pub present_attachments: BTreeSet<String>,
    /// When its first and its last event were stored, ms.
    pub first_event_at: Option<Millis>,
    pub last_event_at: Millis,
    /// The number of events that the last fold read.
    pub event_count: usize,
    changes: VecDeque<PastChange>,
    /// The instant of the last change that was dropped, ms; 0: none was.
    dropped_through: Millis,
    /// The levels of a closed call before the late events since the last fold.
    pub levels_before_late: Option<SeenLevels>,
}

/// What the compact form keeps of a closed call: everything but its last changes.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct ClosedCall {
    pub current: CallLevel,
    pub trust: CallTrust,
    pub is_trust_new: bool,
    pub outsiders: Vec<OutsiderLevel>,
    pub is_connected: bool,
    pub own_cause: NoticeCause,
    pub first_event_at: Option<Millis>,
    pub last_event_at: Millis,
    pub dropped_through: Millis,
}

impl LiveCall {
    /// What the compact form keeps of the call. `None`: the call is not closed, or its level is not one
    /// of an ended call.
    pub(crate) fn to_closed(&self) -> Option<ClosedCall> {
        let is_written = |level: Indications, view: &IndicationView| {
            [(level.recording, &view.recording), (level.transcription, &view.transcription)]
                .into_iter()
                .all(|(level, view)| {
                    matches!(level.state, IndicationState::Off | IndicationState::Unknown)
                        && (level.state, level.stale) == (view.state, view.stale)
                })
        };
        let is_written = self.is_closed()
            && is_written(self.current.level, &self.current.view)
            && self.outsiders.iter().all(|own| is_written(own.indications, &own.view));
        let last_change = self.changes.iter().map(|past| past.time.at).max();
        // Without outsiders the cause of their levels is decided before it is stated.
        let own_cause = (!self.outsiders.is_empty()).then_some(self.own_cause);
        is_written.then(|| ClosedCall {
            current: self.current.clone(),
            trust: self.trust.clone(),
            is_trust_new: self.is_trust_new,
            outsiders: self.outsiders.clone(),
            is_connected: self.is_connected,
            own_cause: own_cause.unwrap_or_default(),
            first_event_at: self.first_event_at,
            last_event_at: self.last_event_at,
            dropped_through: self.dropped_through.max(last_change.unwrap_or_default()),
        })
    }

    /// The call that was closed.
    pub(crate) fn of_closed(closed: ClosedCall) -> Self {
        Self {
            current: closed.current,
            trust: closed.trust,
            is_trust_new: closed.is_trust_new,
            outsiders: closed.outsiders,
            is_connected: closed.is_connected,
            own_cause: closed.own_cause,
            progress: CallProgress::Closed,
            first_event_at: closed.first_event_at,
            last_event_at: closed.last_event_at,
            dropped_through: closed.dropped_through,
            ..Self::default()
        }
    }

    pub(crate) fn is_ongoing(&self) -> bool {
        self.progress == CallProgress::Ongoing
    }

    pub(crate) fn is_closed(&self) -> bool {
        self.progress == CallProgress::Closed
    }

    /// The call has ended, and time alone no longer changes its level.
    pub(crate) fn may_be_closed(&self) -> bool {
        self.progress == CallProgress::Ended && self.next_change.is_none()
    }

    /// Closes the call: only its level is kept, for which an ended call needs no events.
    pub(crate) fn close(&mut self) {
        self.progress = CallProgress::Closed;
        self.next_change = None;
        self.event_count = 0;
        self.present_attachments.clear();
    }

    /// Replaces what the call was folded to, by `folded`, which keeps what is to be dropped: in a call of
    /// very many legs that takes milliseconds. Returns the levels before.
    pub(crate) fn replace(&mut self, folded: &mut FoldedCall) -> SeenLevels {
        self.progress = folded.progress;
        self.next_change = folded.next_change;
        self.is_trust_new |= self.trust != folded.trust;
        std::mem::swap(&mut self.present_attachments, &mut folded.present_attachments);
        std::mem::swap(&mut self.trust, &mut folded.trust);
        self.event_count = folded.event_count;
        self.is_connected = folded.is_connected;
        std::mem::swap(&mut self.current.view, &mut folded.view);
        SeenLevels {
            call: std::mem::replace(&mut self.current.level, folded.level),
            outsiders: std::mem::replace(
                &mut self.outsiders,
                std::mem::take(&mut folded.outsiders),
            ),
        }
    }

    /// The present levels.
    pub(crate) fn levels(&self) -> SeenLevels {
        SeenLevels { call: self.current.level, outsiders: self.outsiders.clone() }
    }

    /// Whether an own level of an outsider differs from that before.
    pub(crate) fn own_levels_differ(&self, before: &SeenLevels) -> bool {
        self.outsiders != before.outsiders
    }

    /// The level that a subscriber with this scope is stated.
    pub(crate) fn seen_level(&self, scope: &SubscriptionScope) -> SeenLevel {
        let own = own_levels(&self.outsiders, scope);
        let level = own.fold(self.current.level, |level, own| level.strongest(own.indications));
        SeenLevel { level, unknown_reason: self.unknown_reason(level) }
    }

    /// Why this level of the call is unknown, if it is.
    pub(crate) fn unknown_reason(&self, level: Indications) -> Option<UnknownReason> {
        let is_awaited = !self.is_connected && level == Indications::default();
        is_awaited.then_some(UnknownReason::NotConnectedYet)
    }

    /// The view that a subscriber with this scope is stated.
    pub(crate) fn seen_view(&self, scope: &SubscriptionScope) -> IndicationView {
        let own = own_levels(&self.outsiders, scope);
        own.fold(self.current.view.clone(), |view, own| view.strongest(&own.view))
    }

    /// The own level of the clients of an outsider; `None`: the subscriber is no outsider.
    pub(crate) fn own_level(&self, scope: &SubscriptionScope) -> Option<CallLevel> {
        let own = own_levels(&self.outsiders, scope);
        let level = |own: &OutsiderLevel| CallLevel {
            level: own.indications,
            view: own.view.clone(),
            cause: self.own_cause,
        };
        own.map(level).reduce(|one, other| one.strongest(Some(&other)))
    }

    /// The level that an outsider is stated; `None`: the subscriber is no outsider.
    pub(crate) fn seen_by_outsider(&self, scope: &SubscriptionScope) -> Option<CallLevel> {
        self.own_level(scope).map(|own| self.current.strongest(Some(&own)))
    }

    /// Applies a late event to a closed call. The report of an outsider changes its own level only.
    pub(crate) fn apply_late_event(&mut self, observed: &ObservedEvent) {
        let mut late = project_alone([observed]);
        if let Statement::Report(report) = &observed.event.statement
            && let Some(attachment) = &observed.event.ids.attachment
        {
            let stated = observed.event.ids.server_call_id.as_deref();
            let witness = self.trust.witness_of(report.persons(), &report.grant, stated);
            if witness == Witness::Outsider {
                late.outsiders.push(OutsiderLevel {
                    attachment: attachment.clone(),
                    raw_id: report.participant.raw_id.clone(),
                    indications: std::mem::take(&mut late.snapshot.indications),
                    view: IndicationView::default(),
                });
            }
        }
        self.apply_late(late);
    }

    /// Applies what late events alone result in to a closed call.
    pub(crate) fn apply_late(&mut self, late: ProjectedCall) {
        let before = self.levels();
        if late.trust != CallTrust::default() {
            self.trust = self.trust.union(&late.trust);
        }
        self.apply_late_level(late.snapshot.indications);
        self.outsiders.extend(late.outsiders.into_iter().map(ended_own_level));
        // What the platform names late counts as if it had been named at once.
        let (trust, mut named) = (&self.trust, Vec::new());
        self.outsiders.retain(|own| {
            let is_named = trust.names_any([own.raw_id.as_str()]);
            named.extend(is_named.then_some(own.indications));
            !is_named
        });
        self.outsiders.sort_by(|one, other| {
            (&one.raw_id, &one.attachment).cmp(&(&other.raw_id, &other.attachment))
        });
        self.outsiders.dedup_by(|one, first| {
            let is_same = (&one.raw_id, &one.attachment) == (&first.raw_id, &first.attachment);
            if is_same {
                first.indications = first.indications.strongest(one.indications);
                first.view = first.view.strongest(&one.view);
            }
            is_same
        });
        for level in named {
            self.apply_late_level(level);
        }
        if self.levels() != before {
            self.levels_before_late.get_or_insert(before);
        }
    }

    /// Applies late events to a closed call. `level` is the level that they alone would result in:
    /// each capture type observed in it becomes off, even if it was unknown before
    /// (`docs/evidence-rules.md`, section 8).
    fn apply_late_level(&mut self, level: Indications) {
        let CallLevel { level: current, view, .. } = &mut self.current;
        for capture in level.observed() {
            let (level, view) = match capture {
                CaptureType::Recording => (&mut current.recording, &mut view.recording),
                CaptureType::Transcription => (&mut current.transcription, &mut view.transcription),
            };
            *level = IndicationState::Off.into();
            *view = CaptureView::of_level(*level, view.capture_started_at);
        }
    }

    /// Records a change of the level, announced or not.
    pub(crate) fn record_change(&mut self, past: PastChange) {
        if self.changes.len() == self.changes.capacity() {
            self.changes.reserve_exact(1 + self.changes.len() / 2);
        }
        self.changes.push_back(past);
        if self.changes.len() > MAX_PAST_CHANGES {
            self.drop_oldest();
        }
    }

    /// Merges a call that is part of this one now.
    pub(crate) fn merge(&mut self, other: Self) {
        let first_events = [self.first_event_at, other.first_event_at];
        self.first_event_at = first_events.into_iter().flatten().min();
        self.last_event_at = self.last_event_at.max(other.last_event_at);
        self.event_count += other.event_count;
        self.is_connected |= other.is_connected;
        if self.is_closed() || other.is_closed() {
            // The end of one call is the end of both. A subscriber may know only one of them, so
            // every subscriber is compared.
            self.close();
            let before = self.levels();
            self.levels_before_late.get_or_insert(before);
            let own = self.current.level;
            for level in [own, other.current.level] {
                self.apply_late_level(level);
            }
        }
        self.is_trust_new = true;
        self.trust = self.trust.union(&other.trust);
        self.outsiders.extend(other.outsiders);
        self.outsiders.sort_by(|one, other| one.raw_id.cmp(&other.raw_id));
        self.dropped_through = self.dropped_through.max(other.dropped_through);
        self.changes.extend(other.changes);
        self.changes.make_contiguous().sort_by_key(|past| past.time.at);
    }

    pub(crate) fn drop_changes_before(&mut self, instant: Millis) {
        while self.changes.front().is_some_and(|past| past.time.at < instant) {
            self.drop_oldest();
        }
        if self.changes.is_empty() {
            self.changes.shrink_to_fit();
        }
    }

    fn drop_oldest(&mut self) {
        if let Some(past) = self.changes.pop_front() {
            self.dropped_through = self.dropped_through.max(past.time.at);
        }
    }

    /// Whether all changes since `from` are kept.
    pub(crate) fn has_all_changes_since(&self, from: Millis) -> bool {
        self.dropped_through < from
    }

    pub(crate) fn changes_since(&self, from: Millis) -> impl Iterator<Item = &PastChange> {
        self.changes.iter().filter(move |past| past.time.at >= from)
    }
}

/// What these events alone result in, each of them being effective already.
pub(crate) fn project_alone<'t>(
    events: impl IntoIterator<Item = &'t ObservedEvent>,
) -> ProjectedCall {
    let events: Vec<&ObservedEvent> = events.into_iter().collect();
    let last = events.iter().map(|it| it.at).max();
    project_call(events, [], last.unwrap_or_default(), &Parameters::default())
}

/// The own level of an outsider in an ended call: each type that its client observed is off.
fn ended_own_level(own: OutsiderLevel) -> OutsiderLevel {
    let mut ended = OutsiderLevel {
        indications: Indications::default(),
        view: IndicationView::default(),
        ..own
    };
    for capture in own.indications.observed() {
        let (level, view) = match capture {
            CaptureType::Recording => (&mut ended.indications.recording, &mut ended.view.recording),
            CaptureType::Transcription => {
                (&mut ended.indications.transcription, &mut ended.view.transcription)
            }
        };
        *level = IndicationState::Off.into();
        *view = CaptureView::of_level(*level, None);
        view.confirmed = false;
    }
    ended
}
