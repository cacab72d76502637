//! What the answer of a receiver means, and what is kept of it.

use std::time::Duration;

use chrono::{DateTime, Utc};
use onrecord_json::{JsonIndex, RedactionScope, redact, redact_text};
use reqwest::StatusCode;
use serde::Deserialize;

/// Maximum bytes that are kept of the body of an answer.
pub(crate) const MAX_KEPT_BYTES: usize = 1_024;

/// What an answer means.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum AnswerMeaning {
    /// 2xx: the receiver has the message.
    Accepted,
    /// 410: the receiver wants nothing any more.
    Gone,
    /// Anything else; a redirect too.
    Refused,
}

/// What a status means.
pub(crate) fn meaning(status: StatusCode) -> AnswerMeaning {
    match status {
        StatusCode::GONE => AnswerMeaning::Gone,
        status if status.is_success() => AnswerMeaning::Accepted,
        _ => AnswerMeaning::Refused,
    }
}

/// The error of a refused message.
pub(crate) fn refusal(status: StatusCode) -> String {
    if status.is_redirection() {
        format!("the receiver answers {}, and redirects are not followed", status.as_u16())
    } else {
        format!("the receiver answers {}", status.as_u16())
    }
}

/// The time of a header `Retry-After`: seconds, or an instant (RFC 9110). `None`: it has another form.
pub(crate) fn retry_after(header: &str, now: DateTime<Utc>) -> Option<Duration> {
    let header = header.trim();
    if let Ok(seconds) = header.parse::<u64>() {
        return Some(Duration::from_secs(seconds));
    }
    let at = DateTime::parse_from_rfc2822(header).ok()?;
    // An instant in the past means now.
    Some((at.with_timezone(&Utc) - now).to_std().unwrap_or_default())
}

/// What is kept of the body of an answer: its beginning, redacted. `None`: it is empty.
pub(crate) fn kept_answer(body: &[u8], is_whole: bool) -> Option<String> {
    let body = body.get(..MAX_KEPT_BYTES).unwrap_or(body);
    if body.is_empty() {
        return None;
    }
    // Of JSON the values of sensitive members are redacted, of other texts what looks like a secret.
    let redacted = if is_whole { redacted_json(body) } else { None };
    let text = redacted.unwrap_or_else(|| redact_text(&String::from_utf8_lossy(body)).into_owned());
    let text: String = text.chars().map(|c| if c == '\0' { '\u{fffd}' } else { c }).collect();
    let end = text.floor_char_boundary(MAX_KEPT_BYTES);
    text.get(..end).map(str::to_owned)
}

/// `None`: it is no JSON.
fn redacted_json(body: &[u8]) -> Option<String> {
    let index = JsonIndex::parse(std::str::from_utf8(body).ok()?).ok()?;
    redact(&index, RedactionScope::Unknown).ok().map(|redacted| redacted.text)
}

/// The answer to a challenge.
#[derive(Deserialize)]
struct ChallengeAnswer {
    challenge: String,
}

/// Whether a body answers a challenge: it is the challenge itself, or JSON with the member `challenge`.
pub(crate) fn answers_challenge(body: &[u8], challenge: &str) -> bool {
    if body.trim_ascii() == challenge.as_bytes() {
        return true;
    }
    let parsed: Result<ChallengeAnswer, _> = serde_json::from_slice(body);
    parsed.is_ok_and(|answer| answer.challenge == challenge)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_2xx_accepts_and_410_ends() {
        for (status, expected) in [
            (200, AnswerMeaning::Accepted),
            (204, AnswerMeaning::Accepted),
            (299, AnswerMeaning::Accepted),
            (301, AnswerMeaning::Refused),
            (302, AnswerMeaning::Refused),
            (304, AnswerMeaning::Refused),
            (400, AnswerMeaning::Refused),
            (404, AnswerMeaning::Refused),
            (410, AnswerMeaning::Gone),
            (429, AnswerMeaning::Refused),
            (500, AnswerMeaning::Refused),
        ] {
            assert_eq!(meaning(StatusCode::from_u16(status).unwrap()), expected, "{status}");
        }
        assert!(refusal(StatusCode::FOUND).contains("not followed"));
    }

    #[test]
    fn retry_after_is_seconds_or_an_instant() {
        let now = DateTime::parse_from_rfc3339("2026-12-10T12:00:00Z").unwrap().to_utc();
        assert_eq!(retry_after("120", now), Some(Duration::from_secs(120)));
        let instant = "Thu, 10 Dec 2026 12:01:00 GMT";
        assert_eq!(retry_after(instant, now), Some(Duration::from_secs(60)));
        assert_eq!(retry_after("Thu, 10 Dec 2026 11:00:00 GMT", now), Some(Duration::ZERO));
        for wrong in ["", "soon", "-5", "1.5"] {
            assert_eq!(retry_after(wrong, now), None, "{wrong}");
        }
    }

    #[test]
    fn an_answer_is_kept_to_a_kilobyte_without_its_secrets() {
        assert_eq!(kept_answer(b"", true), None);
        assert_eq!(kept_answer(b"thanks", true).as_deref(), Some("thanks"));
        let json = br#"{"ok":true,"password":"hunter2-hunter2"}"#;
        let kept = kept_answer(json, true).unwrap();
        assert!(kept.contains("[redacted]") && !kept.contains("hunter2"), "{kept}");
        let token = format!(
            "token={}",
            "eyJhbGciOiJIUzI1NiJ9.eyJzdWIiOiIxMjM0In0.c2lnbmF0dXJlLW9mLXRva2Vu"
        );
        let kept = kept_answer(token.as_bytes(), false).unwrap();
        assert!(!kept.contains("c2lnbmF0dXJl"), "{kept}");
        let long = "ä".repeat(4_000);
        let kept = kept_answer(long.as_bytes(), false).unwrap();
        assert!(kept.len() <= MAX_KEPT_BYTES && kept.starts_with('ä'));
        assert!(kept_answer(b"a\0b\xff", true).unwrap().starts_with("a\u{fffd}b"));
    }

    #[test]
    fn a_challenge_is_answered_by_itself_or_in_json() {
        for right in ["abc", " abc\n", r#"{"challenge":"abc"}"#, r#"{"challenge":"abc","x":1}"#] {
            assert!(answers_challenge(right.as_bytes(), "abc"), "{right}");
        }
        for wrong in ["", "ab", "abcd", "ok abc", r#"{"challenge":"x"}"#, r#"{"c":"abc"}"#] {
            assert!(!answers_challenge(wrong.as_bytes(), "abc"), "{wrong}");
        }
    }
}
