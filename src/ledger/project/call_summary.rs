//! What a list shows of a call, made of the rows of its projection.

use std::collections::BTreeSet;

use crate::postgres::{CallSummary, CaptureRow, CaptureSummary, SessionRow};

/// Maximum number of display names that are kept.
const MAX_NAMES: usize = 20;
/// Word of the identity of somebody who is no participant of the call.
const OUTSIDER: &str = "outsider";

/// The summary of a call with these rows. `judged`: verdict and consent; `None`: its facts bear no report.
pub(super) fn call_summary(
    judged: Option<(&str, &str)>,
    sessions: &[SessionRow],
    captures: &[CaptureRow],
) -> CallSummary {
    let people = |counts: &dyn Fn(&SessionRow) -> bool| {
        let counted = sessions.iter().filter(|session| counts(session));
        let people: BTreeSet<&str> =
            counted.map(|session| session.raw_id.as_deref().unwrap_or(&session.session)).collect();
        number(people.len())
    };
    let names: BTreeSet<&String> =
        sessions.iter().filter_map(|session| session.display_name.as_ref()).collect();
    CallSummary {
        verdict: judged.map(|(verdict, _)| verdict.to_owned()),
        consent: judged.map(|(_, consent)| consent.to_owned()),
        sessions: number(sessions.len()),
        participants_ours: people(&|session| session.ours),
        participants_others: people(&|session| !session.ours && session.identity != OUTSIDER),
        outsiders: people(&|session| session.identity == OUTSIDER),
        names: names.into_iter().take(MAX_NAMES).cloned().collect(),
        recording: capture_summary("recording", captures),
        transcription: capture_summary("transcription", captures),
    }
}

fn capture_summary(r#type: &str, captures: &[CaptureRow]) -> CaptureSummary {
    let mut summary = CaptureSummary::default();
    for capture in captures.iter().filter(|capture| capture.r#type == r#type) {
        summary.captures += 1;
        match capture.ended_at {
            Some(ended) => summary.ended_ms += (ended - capture.started_at).num_milliseconds(),
            None => summary.open_since.push(capture.started_at.timestamp_millis()),
        }
    }
    summary
}

fn number(count: usize) -> i64 {
    i64::try_from(count).unwrap_or(i64::MAX)
}

#[cfg(test)]
mod tests {
    use chrono::{DateTime, Utc};

    use super::*;

    fn at(second: i64) -> DateTime<Utc> {
        DateTime::from_timestamp(1_767_000_000 + second, 0).unwrap()
    }

    fn capture(r#type: &str, from: i64, to: Option<i64>) -> CaptureRow {
        CaptureRow {
            tenant: "contoso".to_owned(),
            call: "c".to_owned(),
            r#type: r#type.to_owned(),
            started_at: at(from),
            ended_at: to.map(at),
            start_source: "platform".to_owned(),
            sources: Vec::new(),
            recordings: Vec::new(),
            kinds: Vec::new(),
        }
    }

    #[test]
    fn captures_that_go_on_are_as_long_as_it_is_now() {
        let captures = [
            capture("recording", 0, Some(10)),
            capture("recording", 20, None),
            capture("transcription", 5, Some(6)),
        ];
        let summary = call_summary(Some(("PENDING", "GIVEN")), &[], &captures);
        assert_eq!(summary.recording.captured_ms(at(23)), 13_000);
        assert_eq!(summary.transcription.captured_ms(at(23)), 1_000);
        assert_eq!((summary.recording.captures, summary.sessions), (2, 0));
        let stored = serde_json::to_value(&summary).unwrap();
        assert_eq!(serde_json::from_value::<CallSummary>(stored).unwrap(), summary);
    }
}
