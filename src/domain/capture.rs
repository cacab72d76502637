//! Captures: when was something recorded or transcribed, by which source.
//!
//! Three sources tell of a capture: the provider (platform events), files, and clients'
//! reports. Each yields intervals; [`super::stretch`] makes the captures out of them.

use serde::Serialize;

use super::call::Call;
use super::instant::Millis;
use super::span::{FOR_EVER, Span};

/// Who tells of an interval. The order is that of precedence where several open together.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum CaptureSource {
    /// A file exists.
    File,
    /// The platform said so.
    Provider,
    /// A client of ours saw it.
    Report,
}

impl CaptureSource {
    /// The word that stands for it in JSON.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::File => "file",
            Self::Provider => "provider",
            Self::Report => "report",
        }
    }
}

/// A span for which one source says that something is captured.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Interval<'f> {
    /// When; open in a call that goes on.
    pub span: Span,
    /// Who says so.
    pub source: CaptureSource,
    /// How it stands with it at `now`.
    pub standing: Standing,
    /// Whose interval it is; clients cannot tell.
    pub recording: Option<&'f str>,
    /// The provider's kinds of the recording.
    pub kinds: Vec<&'f str>,
}

impl<'f> Interval<'f> {
    /// An interval of the provider's or of a file, which goes on if it is open.
    #[must_use]
    pub fn seen_from_outside(span: Span, source: CaptureSource, recording: &'f str) -> Self {
        let standing = if span.is_open() {
            Standing::Open
        } else {
            Standing::Closed
        };
        Self {
            span,
            source,
            standing,
            recording: Some(recording),
            kinds: Vec::new(),
        }
    }
}

/// How an interval stands at `now`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Standing {
    /// It is over.
    Closed,
    /// It goes on.
    Open,
    /// It goes on for want of anybody who could tell otherwise: who reported it is no longer
    /// live.
    Orphaned,
    /// A client just stated off. It counts as going on until the client has stuck to that for
    /// `bridge`, because clients flap.
    Settling {
        /// When that will be, in Unix milliseconds.
        until: Millis,
    },
}

/// What time does to the spans that sources tell of.
#[derive(Clone, Copy, Debug)]
pub struct Horizon {
    /// The call as far as known.
    pub call: Call,
    /// The instant of asking, in Unix milliseconds.
    pub now: Millis,
}

impl Horizon {
    /// What is left of [from, to): nothing outlasts the call. While it goes on nothing lies
    /// after now: what would open later does not exist, what would close later is open.
    #[must_use]
    pub fn cut(self, from: Millis, to: Millis) -> Option<Span> {
        if let Some(end) = self.call.end {
            return Span::new(from, to.min(end));
        }
        if from > self.now {
            return None;
        }
        Span::new(from, if to > self.now { FOR_EVER } else { to })
    }

    /// How many milliseconds a span that was cut lasts; an open one has lasted until now.
    #[must_use]
    pub fn length(self, span: Span) -> Millis {
        let to = if span.is_open() { self.now } else { span.to() };
        to.saturating_sub(span.from())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn horizon(end: Option<Millis>, now: Millis) -> Horizon {
        let call = Call {
            start: 0,
            end,
            presumed: false,
        };
        Horizon { call, now }
    }

    #[test]
    fn nothing_outlasts_the_call() {
        let ended = horizon(Some(50), 90);
        assert_eq!(ended.cut(10, 40), Span::new(10, 40));
        assert_eq!(ended.cut(10, FOR_EVER), Span::new(10, 50));
        assert_eq!(ended.cut(50, 60), None);
    }

    #[test]
    fn while_the_call_goes_on_nothing_lies_after_now() {
        let open = horizon(None, 50);
        assert_eq!(open.cut(10, 50), Span::new(10, 50));
        assert_eq!(open.cut(10, 51), Span::new(10, FOR_EVER));
        assert_eq!(open.cut(50, 60), Span::new(50, FOR_EVER));
        assert_eq!(open.cut(51, 60), None);
    }

    #[test]
    fn an_open_span_has_lasted_until_now() {
        let open = horizon(None, 50);
        let lengths = [open.cut(10, 60), open.cut(10, 30)];
        let lengths = lengths.map(|span| span.map(|span| open.length(span)));
        assert_eq!(lengths, [Some(40), Some(20)]);
    }
}
