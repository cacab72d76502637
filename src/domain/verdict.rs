//! The verdict: what a call's evidence comes to.

use serde::Serialize;

use super::capture::CaptureSource;
use super::flag::Flag;
use super::obligation::{Obligation, Status};
use super::stretch::Stretch;

/// What a call's evidence comes to.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize)]
#[serde(rename_all = "SCREAMING_SNAKE_CASE")]
pub enum Verdict {
    /// Somebody was not told, or not in time.
    Exceptions,
    /// It is too early to say.
    Pending,
    /// Nobody could have seen a capture, so that there seems to be none means nothing.
    Unobserved,
    /// Everybody who had to be told was told in time, and no capture can have been missed.
    Compliant,
}

/// What the verdict rests on.
#[derive(Clone, Copy, Debug)]
pub struct Findings<'a> {
    /// Those who had to be told.
    pub obligations: &'a [Obligation],
    /// Somebody was recorded in secret, see [`unnoticed_captures`].
    pub unnoticed: bool,
    /// The call goes on.
    pub call_is_open: bool,
    /// Captures of either type would have been seen.
    pub observed_enough: bool,
}

impl Verdict {
    /// The word that stands for it in JSON.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Exceptions => "EXCEPTIONS",
            Self::Pending => "PENDING",
            Self::Unobserved => "UNOBSERVED",
            Self::Compliant => "COMPLIANT",
        }
    }

    /// The first that applies.
    #[must_use]
    pub fn on(findings: Findings<'_>) -> Self {
        let any = |wanted: fn(Status) -> bool| {
            let statuses = findings.obligations.iter();
            statuses.map(|obligation| obligation.status).any(wanted)
        };
        if findings.unnoticed || any(Status::is_exception) {
            Self::Exceptions
        } else if findings.call_is_open || any(|status| status == Status::Pending) {
            Self::Pending
        } else if !findings.observed_enough {
            Self::Unobserved
        } else {
            Self::Compliant
        }
    }
}

/// The flags of captures of which a file tells, while nobody of ours was told and no notice went
/// out, though one had to. Stretches come by type and start, obligations by type and due.
pub fn unnoticed_captures<'a>(
    stretches: &'a [Stretch],
    obligations: &'a [Obligation],
) -> impl Iterator<Item = Flag> + 'a {
    stretches
        .iter()
        .filter(|stretch| stretch.sources.contains(&CaptureSource::File))
        .filter(|stretch| is_unnoticed(within(obligations, stretch)))
        .map(|stretch| {
            Flag::UnnoticedCapture(format!("{}@{}", stretch.capture.as_str(), stretch.start))
        })
}

/// The obligations of one stretch: each is due while it goes on.
fn within<'a>(obligations: &'a [Obligation], stretch: &Stretch) -> &'a [Obligation] {
    let start = (stretch.capture, stretch.start);
    let from = obligations.partition_point(|it| (it.capture, it.due) < start);
    let to = obligations.partition_point(|it| match stretch.end {
        Some(end) => (it.capture, it.due) < (stretch.capture, end),
        None => it.capture <= stretch.capture,
    });
    &obligations[from..to]
}

fn is_unnoticed(obligations: &[Obligation]) -> bool {
    let noticed = |obligation: &Obligation| {
        obligation.status != Status::NotOurs
            && (obligation.told.is_some() || obligation.dispatched.is_some())
    };
    obligations.iter().any(|it| it.status == Status::NotSent) && !obligations.iter().any(noticed)
}
