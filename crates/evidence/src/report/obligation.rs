//! Obligations: one session that was present during one capture, and so had to be shown the notice
//! (`docs/evidence-rules.md`, section 5).

use serde::Serialize;

use crate::call::parameters::Parameters;
use crate::capture::merge::Capture;
use crate::capture::span::{OPEN_END, Span};
use crate::event::instant::Millis;
use crate::fact::kinds::CaptureType;
use crate::notice::consent::Consent;
use crate::notice::progress::{NoticeProgress, NoticeProgressMap, ProgressStep};
use crate::notice::screen_time::{FirstShown, ScreenTime};
use crate::session::presence::{Liveness, SessionPresence};

/// A participant who had to be notified of a capture, and when that happened. Instants are in Unix
/// milliseconds.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Obligation {
    /// The id of the session.
    pub session: String,
    /// What is captured. `type` in JSON.
    #[serde(rename = "type")]
    pub capture_type: CaptureType,
    /// When the notice was due: the later of the start of the capture and the join.
    pub due_at: Millis,
    /// When the obligation ended: the earlier of the end of the capture and the leaving. None: both go
    /// on.
    pub ends_at: Option<Millis>,
    /// When the first notice was handed to a transport. None: never.
    pub dispatched_at: Option<Millis>,
    /// When the client's machine received the first one. None: never.
    pub delivered_at: Option<Millis>,
    /// The first instant at which the notice was surely on the screen. None: never.
    pub shown_at: Option<Millis>,
    /// When the participant first confirmed it. None: never.
    pub acknowledged_at: Option<Millis>,
    /// The notice was on the screen before it was due.
    pub already_shown: bool,
    /// Milliseconds of capture before the notice was shown. None: not ours.
    pub exposure_ms: Option<Millis>,
    /// The same by the client's own stopwatch. None: not ours.
    pub exposure_min_ms: Option<Millis>,
    /// Milliseconds for which the notice was on the screen. None: not ours.
    pub shown_ms: Option<Millis>,
    /// The number of dispatched, delivered and displayed facts after the end of the obligation and
    /// before the next capture of the type.
    pub late_facts: usize,
    /// The status.
    pub status: ObligationStatus,
    /// The consent of the session for the type.
    pub consent: Consent,
}

/// The status of an obligation.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, strum::IntoStaticStr)]
#[serde(rename_all = "SCREAMING_SNAKE_CASE")]
#[strum(serialize_all = "SCREAMING_SNAKE_CASE")]
pub enum ObligationStatus {
    /// The session is not ours: another party notifies it.
    NotOurs,
    /// The notice was shown in time.
    Met,
    /// The notice was shown, but late.
    Late,
    /// It was over before the notice had to be shown.
    Brief,
    /// The notice was delivered; no fact states that it was shown.
    Unconfirmed,
    /// The notice was dispatched; no fact states that it arrived.
    Undelivered,
    /// No notice was dispatched.
    NotSent,
    /// There is still time.
    Pending,
}

impl ObligationStatus {
    /// Whether it is an exception.
    #[must_use]
    pub fn is_exception(self) -> bool {
        match self {
            Self::Late | Self::Unconfirmed | Self::Undelivered | Self::NotSent => true,
            Self::NotOurs | Self::Met | Self::Brief | Self::Pending => false,
        }
    }
}

/// One session that overlaps one capture, and the captures around it: the input of an obligation.
#[derive(Clone, Copy, Debug)]
pub(crate) struct SessionCapture<'a> {
    /// The session.
    pub(crate) session: &'a SessionPresence,
    /// The capture.
    pub(crate) capture: &'a Capture,
    /// The end of the previous capture of the type (Unix milliseconds). None: there is none.
    pub(crate) previous_end: Option<Millis>,
    /// The start of the next capture of the type (Unix milliseconds). None: there is none.
    pub(crate) next_start: Option<Millis>,
    /// The instant of the evaluation (Unix milliseconds).
    pub(crate) now: Millis,
}

/// The facts that prove the steps of a notice.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct NoticeProofs<'f> {
    /// The first notice that was handed to a transport.
    pub(crate) dispatched: Option<ProgressStep<'f>>,
    /// The first one that the client's machine received.
    pub(crate) delivered: Option<ProgressStep<'f>>,
    /// The first instant at which it was on the screen.
    pub(crate) shown: Option<FirstShown<'f>>,
    /// The first confirmation by the participant.
    pub(crate) acknowledged: Option<ProgressStep<'f>>,
}

impl<'a> SessionCapture<'a> {
    /// The overlaps of one session with the captures of one type, in the order of time.
    pub(crate) fn all(
        session: &'a SessionPresence,
        captures: &'a [Capture],
        now: Millis,
    ) -> impl Iterator<Item = Self> {
        let over = |capture: &Capture| capture.ended_at.is_some_and(|end| end <= session.joined_at);
        let first = captures.partition_point(over);
        (first..captures.len())
            .map_while(move |index| {
                let capture = &captures[index];
                let previous = index.checked_sub(1).and_then(|index| captures.get(index));
                let left = session.left_at.unwrap_or(OPEN_END);
                (capture.started_at < left).then(|| Self {
                    session,
                    capture,
                    previous_end: previous.and_then(|previous| previous.ended_at),
                    next_start: captures.get(index + 1).map(|next| next.started_at),
                    now,
                })
            })
            .filter(|case| case.due_at() < case.reached() && !case.is_after_last_activity())
    }

    /// When the notice is due (Unix milliseconds).
    pub(crate) fn due_at(&self) -> Millis {
        self.capture.started_at.max(self.session.joined_at)
    }

    /// When the obligation ends (Unix milliseconds). None: it is open.
    pub(crate) fn ends_at(&self) -> Option<Millis> {
        [self.capture.ended_at, self.session.left_at].into_iter().flatten().min()
    }

    /// The instant up to which a notice counts: the end, or now.
    fn reached(&self) -> Millis {
        self.ends_at().unwrap_or(self.now)
    }

    /// A lost session may have left before the notice was due.
    fn is_after_last_activity(&self) -> bool {
        matches!(self.session.liveness, Liveness::Lost { last_activity_at }
            if self.due_at() > last_activity_at)
    }

    /// The facts that prove the steps of the notice.
    pub(crate) fn proofs<'f>(
        &self,
        progress: &NoticeProgress<'f>,
        screen_time: &ScreenTime<'f>,
    ) -> NoticeProofs<'f> {
        let (after, to) = (self.previous_end, self.reached());
        NoticeProofs {
            dispatched: progress.dispatched.first_within(after, to),
            delivered: progress.delivered.first_within(after, to),
            shown: screen_time.latest.first_shown(self.due_at(), to),
            acknowledged: progress.acknowledged.first_within(after, to),
        }
    }

    fn obligation(
        &self,
        progress: &NoticeProgress<'_>,
        screen_time: &ScreenTime<'_>,
        parameters: &Parameters,
    ) -> Obligation {
        let (due, reached) = (self.due_at(), self.reached());
        let proofs = self.proofs(progress, screen_time);
        let shown_at_the_earliest = screen_time.earliest.first_shown(due, reached);
        let exposure = |shown: Option<FirstShown<'_>>| {
            let shown_at = shown.map_or(reached, |shown| shown.at);
            shown_at.saturating_sub(due)
        };
        let on_screen = Span::new(due, reached).map(|span| screen_time.latest.length_within(span));
        let ours = self.session.ours;
        Obligation {
            session: self.session.id.clone(),
            capture_type: self.capture.capture_type,
            due_at: due,
            ends_at: self.ends_at(),
            dispatched_at: proofs.dispatched.map(|step| step.at),
            delivered_at: proofs.delivered.map(|step| step.at),
            shown_at: proofs.shown.map(|shown| shown.at),
            acknowledged_at: proofs.acknowledged.map(|step| step.at),
            already_shown: proofs.shown.is_some_and(|shown| shown.already),
            exposure_ms: ours.then(|| exposure(proofs.shown)),
            exposure_min_ms: ours.then(|| exposure(shown_at_the_earliest)),
            shown_ms: ours.then_some(on_screen.unwrap_or(0)),
            late_facts: self.late_facts(progress),
            status: self.status(&proofs, exposure(proofs.shown), parameters),
            consent: progress.consents.consent(),
        }
    }

    fn late_facts(&self, progress: &NoticeProgress<'_>) -> usize {
        let Some(end) = self.ends_at() else {
            return 0;
        };
        [&progress.dispatched, &progress.delivered, &progress.displayed]
            .iter()
            .map(|steps| steps.count_between(end, self.next_start))
            .sum()
    }

    fn status(
        &self,
        proofs: &NoticeProofs<'_>,
        exposure: Millis,
        parameters: &Parameters,
    ) -> ObligationStatus {
        if !self.session.ours {
            return ObligationStatus::NotOurs;
        }
        let in_time = exposure <= parameters.slo;
        if proofs.shown.is_some() {
            return if in_time { ObligationStatus::Met } else { ObligationStatus::Late };
        }
        // The notice was not shown, so the exposure is the whole length.
        let over = self.ends_at().is_some();
        if over && in_time {
            return ObligationStatus::Brief;
        }
        let overdue = self.now.saturating_sub(self.due_at()) >= parameters.deadline;
        if !over && !overdue {
            return ObligationStatus::Pending;
        }
        match (proofs.delivered, proofs.dispatched) {
            (Some(_), _) => ObligationStatus::Unconfirmed,
            (None, Some(_)) => ObligationStatus::Undelivered,
            (None, None) => ObligationStatus::NotSent,
        }
    }
}

/// All obligations of a call at `now` (Unix milliseconds), by type, due time and session. `captures`
/// are by type and start, `sessions` by id.
pub(crate) fn obligations(
    sessions: &[SessionPresence],
    captures: &[Capture],
    progress: &NoticeProgressMap<'_>,
    now: Millis,
    parameters: &Parameters,
) -> Vec<Obligation> {
    let mut obligations = Vec::new();
    for capture_type in CaptureType::ALL {
        let captures = of_type(captures, capture_type);
        for session in sessions {
            let progress = progress.get(&session.id, capture_type);
            let screen_time = ScreenTime::of(progress, captures, parameters.stale);
            let cases = SessionCapture::all(session, captures, now);
            obligations
                .extend(cases.map(|case| case.obligation(progress, &screen_time, parameters)));
        }
    }
    // The sort is stable, and sessions are by id.
    obligations.sort_by_key(|obligation| (obligation.capture_type, obligation.due_at));
    obligations
}

/// The captures of one type; `captures` are by type and start.
pub(crate) fn of_type(captures: &[Capture], capture_type: CaptureType) -> &[Capture] {
    let from = captures.partition_point(|capture| capture.capture_type < capture_type);
    let to = captures.partition_point(|capture| capture.capture_type <= capture_type);
    &captures[from..to]
}
