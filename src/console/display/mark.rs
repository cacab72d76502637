//! A code of the record in words, with a form besides its colour, and its meaning.

use askama::Template;

use crate::console::words::catalogue::Words;

/// How a code is to be taken. Each has a form of its own, because colour alone says nothing to some readers,
/// and nothing on paper.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::console) enum Tone {
    Good,
    Attention,
    Bad,
    /// Not decided, or not known.
    Open,
    /// Of no weight.
    Plain,
}

impl Tone {
    /// The tone of a code.
    pub(in crate::console) fn of(code: &str) -> Self {
        match code {
            "COMPLIANT" | "MET" | "GIVEN" | "closed" | "platform" | "healthy" | "ok" | "done"
            | "active" | "delivered" => Self::Good,
            "LATE" | "UNCONFIRMED" | "UNDELIVERED" | "OUTSTANDING" | "REQUIRED" | "major"
            | "stale" | "asserted" | "starting" | "warning" | "paused" | "retrying" | "gone" => {
                Self::Attention
            }
            "EXCEPTIONS" | "NOT_SENT" | "DECLINED" | "critical" | "unhealthy" | "outsider"
            | "error" | "refused" | "failed" | "disabled" | "exhausted" => Self::Bad,
            "PENDING" | "UNOBSERVED" | "open" | "minor" | "granted" | "queued" | "running"
            | "waits" | "not_checked" | "pending" | "due" | "in_flight" => Self::Open,
            _ => Self::Plain,
        }
    }

    fn class(self) -> &'static str {
        match self {
            Self::Good => "good",
            Self::Attention => "attention",
            Self::Bad => "bad",
            Self::Open => "open",
            Self::Plain => "plain",
        }
    }
}

/// A code in words.
#[derive(Template)]
#[template(
    source = r#"<span class="mark {{ class }}"><svg class="mark-form" viewBox="0 0 12 12" width="12" height="12" aria-hidden="true"><path d="{{ form }}"/></svg>{{ text }}</span>"#,
    ext = "html"
)]
pub(in crate::console) struct CodeMark {
    class: &'static str,
    form: &'static str,
    pub text: String,
}

impl askama::filters::HtmlSafe for CodeMark {}

impl CodeMark {
    /// The word of a code of a group. A code without words stands for itself.
    pub(in crate::console) fn of(words: Words, group: &str, code: &str) -> Self {
        let tone = Tone::of(code);
        let text = words.find(&format!("{group}.{code}.word"));
        Self {
            class: tone.class(),
            form: match tone {
                // Tick, triangle, cross, ring, dash.
                Tone::Good => "M1.5 6.5 4.5 9.5 10.5 2.5",
                Tone::Attention => "M6 1.5 11 10.5H1Z",
                Tone::Bad => "M2 2 10 10M10 2 2 10",
                Tone::Open => "M6 1.5A4.5 4.5 0 1 1 6 10.5 4.5 4.5 0 1 1 6 1.5",
                Tone::Plain => "M2.5 6H9.5",
            },
            text: text.unwrap_or(code).to_owned(),
        }
    }
}
