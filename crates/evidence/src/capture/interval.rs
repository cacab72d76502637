//! Intervals for which one source states a capture (`docs/evidence-rules.md`, section 3).
//!
//! The three sources of a capture are the provider (events of the platform), recording files, and
//! the reports of clients. Each states intervals; [`super::merge`] merges them to captures.

use serde::Serialize;

use super::span::{OPEN_END, Span};
use crate::call::lifetime::CallLifetime;
use crate::event::instant::Millis;

/// The source of an interval. The order is the precedence of sources whose intervals begin together.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "snake_case")]
#[derive(strum::IntoStaticStr)]
#[strum(serialize_all = "snake_case")]
pub enum CaptureSource {
    /// A recording file.
    File,
    /// The platform.
    Provider,
    /// The reports of a client.
    Report,
}

/// An interval for which one source states a capture.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct CaptureInterval<'f> {
    /// The interval, in Unix milliseconds; it has no end if the capture is in progress.
    pub(crate) span: Span,
    /// The source.
    pub(crate) source: CaptureSource,
    /// The status of the interval at `now`.
    pub(crate) status: IntervalStatus,
    /// The id of the recording. `None` for a report, because clients do not know it.
    pub(crate) recording: Option<&'f str>,
    /// The products that capture, as the platform states them.
    pub(crate) kinds: Vec<&'f str>,
}

impl<'f> CaptureInterval<'f> {
    /// An interval of the provider or of a file. It is in progress if the span has no end.
    pub(crate) fn of_recording(span: Span, source: CaptureSource, recording: &'f str) -> Self {
        let status = if span.is_open() { IntervalStatus::Open } else { IntervalStatus::Closed };
        Self { span, source, status, recording: Some(recording), kinds: Vec::new() }
    }
}

/// The status of an interval at `now`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum IntervalStatus {
    /// The interval has ended.
    Closed,
    /// The capture is in progress.
    Open,
    /// The reporter is no longer live and no other source ends the interval, so the capture counts as
    /// in progress.
    Orphaned,
    /// A client stated `off` less than `bridge` ago. The capture counts as in progress until then,
    /// because clients often state `on` again shortly after.
    Debouncing {
        /// When the interval ends if the level stays `off`, in Unix milliseconds.
        until: Millis,
    },
}

/// Clips intervals at the end of the call and at `now`.
#[derive(Clone, Copy, Debug)]
pub(crate) struct TimeBounds {
    /// The lifetime of the call.
    pub(crate) call: CallLifetime,
    /// The instant for which the rules are evaluated, in Unix milliseconds.
    pub(crate) now: Millis,
}

impl TimeBounds {
    /// Clips [from, to). In a call that ended, nothing lies after its end. In a call in progress, a
    /// span that begins after `now` does not exist, and a span that ends after `now` has no end.
    pub(crate) fn clip(self, from: Millis, to: Millis) -> Option<Span> {
        if let Some(end) = self.call.ended_at {
            return Span::new(from, to.min(end));
        }
        if from > self.now {
            return None;
        }
        Span::new(from, if to > self.now { OPEN_END } else { to })
    }

    /// The length of a clipped span, ms. A span without end has lasted until `now`.
    pub(crate) fn length(self, span: Span) -> Millis {
        let to = if span.is_open() { self.now } else { span.to() };
        to.saturating_sub(span.from())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn bounds(end: Option<Millis>, now: Millis) -> TimeBounds {
        let call =
            CallLifetime { started_at: 0, ended_at: end, end_presumed: false, stated_start: None };
        TimeBounds { call, now }
    }

    #[test]
    fn nothing_lies_after_the_end_of_the_call() {
        let ended = bounds(Some(50), 90);
        assert_eq!(ended.clip(10, 40), Span::new(10, 40));
        assert_eq!(ended.clip(10, OPEN_END), Span::new(10, 50));
        assert_eq!(ended.clip(50, 60), None);
    }

    #[test]
    fn in_a_call_in_progress_nothing_lies_after_now() {
        let open = bounds(None, 50);
        assert_eq!(open.clip(10, 50), Span::new(10, 50));
        assert_eq!(open.clip(10, 51), Span::new(10, OPEN_END));
        assert_eq!(open.clip(50, 60), Span::new(50, OPEN_END));
        assert_eq!(open.clip(51, 60), None);
    }

    #[test]
    fn a_span_without_end_has_lasted_until_now() {
        let open = bounds(None, 50);
        let lengths = [open.clip(10, 60), open.clip(10, 30)];
        let lengths = lengths.map(|span| span.map(|span| open.length(span)));
        assert_eq!(lengths, [Some(40), Some(20)]);
    }
}
