//! The verdict on a call (`docs/evidence-rules.md`, section 7).

use std::collections::BTreeSet;

use serde::Serialize;

use super::flag::Flag;
use super::obligation::{Obligation, ObligationStatus};
use super::observation::Observation;
use crate::call::lifetime::CallLifetime;
use crate::capture::interval::CaptureSource;
use crate::capture::merge::Capture;
use crate::event::instant::Millis;
use crate::fact::kinds::JsonWord as _;

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

impl Verdict {
    /// The first verdict that applies. `flags` contain those of [`unnoticed_captures`], `edge` is
    /// [`Parameters::edge`](crate::call::parameters::Parameters::edge).
    pub(crate) fn of(
        obligations: &[Obligation],
        flags: &BTreeSet<Flag>,
        call: CallLifetime,
        observation: Observation,
        edge: Millis,
    ) -> Self {
        let any = |wanted: fn(ObligationStatus) -> bool| {
            obligations.iter().any(|obligation| wanted(obligation.status))
        };
        let unnoticed = flags.iter().any(|flag| matches!(flag, Flag::UnnoticedCapture(_)));
        if unnoticed || any(ObligationStatus::is_exception) {
            Self::Exceptions
        } else if call.ended_at.is_none() || any(|status| status == ObligationStatus::Pending) {
            Self::Pending
        } else if !observation.is_enough(edge) {
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
            let capture_type = capture.capture_type.as_str();
            Flag::UnnoticedCapture(format!("{capture_type}@{}", capture.started_at))
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
    obligations.iter().any(|it| it.status == ObligationStatus::NotSent)
        && !obligations.iter().any(noticed)
}
