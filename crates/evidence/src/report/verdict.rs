//! The verdict on a call (`docs/evidence-rules.md`, section 7).

use serde::Serialize;

use super::flag::Flag;
use super::obligation::{Obligation, ObligationStatus};
use crate::capture::interval::CaptureSource;
use crate::capture::merge::Capture;

/// The verdict on a call.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, strum::IntoStaticStr)]
#[serde(rename_all = "SCREAMING_SNAKE_CASE")]
#[strum(serialize_all = "SCREAMING_SNAKE_CASE")]
pub enum Verdict {
    /// A participant was not notified, or not in time.
    Exceptions,
    /// It is too early for a verdict.
    Pending,
    /// Too little was observed, so a capture may have been missed (`ABSENCE_IS_NOT_COMPLIANCE`).
    Unobserved,
    /// Every participant who had to be notified was notified in time, and enough was observed.
    Compliant,
}

/// The inputs of a verdict.
#[derive(Clone, Copy, Debug)]
pub(crate) struct VerdictInputs<'a> {
    /// All obligations of the call.
    pub(crate) obligations: &'a [Obligation],
    /// Whether there is an unnoticed capture, see [`unnoticed_captures`].
    pub(crate) unnoticed: bool,
    /// Whether the call is open.
    pub(crate) call_is_open: bool,
    /// Whether both types were observed enough.
    pub(crate) observed_enough: bool,
}

impl Verdict {
    /// The word that stands for it in JSON.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        self.into()
    }

    /// The first verdict that applies.
    #[must_use]
    pub(crate) fn of(inputs: VerdictInputs<'_>) -> Self {
        let any = |wanted: fn(ObligationStatus) -> bool| {
            let statuses = inputs.obligations.iter();
            statuses.map(|obligation| obligation.status).any(wanted)
        };
        if inputs.unnoticed || any(ObligationStatus::is_exception) {
            Self::Exceptions
        } else if inputs.call_is_open || any(|status| status == ObligationStatus::Pending) {
            Self::Pending
        } else if !inputs.observed_enough {
            Self::Unobserved
        } else {
            Self::Compliant
        }
    }
}

/// The flags of captures that a file shows, for which a participant of ours was sent no notice and
/// none of ours was shown or sent one. `captures` are by type and start, `obligations` by type and
/// due time.
pub(crate) fn unnoticed_captures<'a>(
    captures: &'a [Capture],
    obligations: &'a [Obligation],
) -> impl Iterator<Item = Flag> + 'a {
    captures
        .iter()
        .filter(|capture| capture.sources.contains(&CaptureSource::File))
        .filter(|capture| is_unnoticed(within(obligations, capture)))
        .map(|capture| {
            Flag::UnnoticedCapture(format!(
                "{}@{}",
                capture.capture_type.as_str(),
                capture.started_at
            ))
        })
}

/// The obligations of one capture: each is due while the capture goes on.
fn within<'a>(obligations: &'a [Obligation], capture: &Capture) -> &'a [Obligation] {
    let start = (capture.capture_type, capture.started_at);
    let from = obligations.partition_point(|it| (it.capture_type, it.due_at) < start);
    let to = obligations.partition_point(|it| match capture.ended_at {
        Some(end) => (it.capture_type, it.due_at) < (capture.capture_type, end),
        None => it.capture_type <= capture.capture_type,
    });
    &obligations[from..to]
}

fn is_unnoticed(obligations: &[Obligation]) -> bool {
    let noticed = |obligation: &Obligation| {
        obligation.status != ObligationStatus::NotOurs
            && (obligation.shown_at.is_some() || obligation.dispatched_at.is_some())
    };
    obligations
        .iter()
        .any(|it| it.status == ObligationStatus::NotSent)
        && !obligations.iter().any(noticed)
}
