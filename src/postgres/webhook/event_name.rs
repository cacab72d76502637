//! The names of the events of outbound webhooks, and the patterns by which a subscription chooses them.

use onrecord_evidence::exception::ExceptionKind;
use strum::VariantNames as _;

/// The events that a subscription may choose. A notice has the name of its variant.
pub(crate) const EVENT_NAMES: &[&str] = &[
    "call.ended",
    "exception.closed",
    "exception.opened",
    "notice.both_off",
    "notice.both_on",
    "notice.none",
    "notice.recording_off",
    "notice.recording_off_transcription_on",
    "notice.recording_on",
    "notice.recording_paused",
    "notice.transcription_off",
    "notice.transcription_off_recording_on",
    "notice.transcription_on",
    "notice.unknown",
    "source.silent",
    "verdict.changed",
];
/// The name of the end of a call.
pub(crate) const CALL_ENDED: &str = "call.ended";
/// The name of another verdict of a call.
pub(crate) const VERDICT_CHANGED: &str = "verdict.changed";
/// Prefix of the names of notices, before the name of their variant.
pub(crate) const NOTICE_PREFIX: &str = "notice.";
/// The name of the message that asks a new receiver for its challenge.
pub(crate) const CHALLENGE: &str = "webhook.challenge";
/// The name of the message by which an operator tests a receiver.
pub(crate) const TEST: &str = "webhook.test";
/// The name of the last notice, that a subscription was disabled.
pub(crate) const DISABLED: &str = "webhook.disabled";

/// The kinds of calls.
pub(crate) const CALL_KINDS: &[&str] = &["group", "meeting", "room", "two_party"];

/// Names of events and patterns of them, for the answer to a name that does not exist.
pub(crate) const PATTERNS: &[&str] = &[
    "*",
    "call.*",
    "call.ended",
    "exception.*",
    "exception.closed",
    "exception.opened",
    "notice.*",
    "notice.both_off",
    "notice.both_on",
    "notice.none",
    "notice.recording_off",
    "notice.recording_off_transcription_on",
    "notice.recording_on",
    "notice.recording_paused",
    "notice.transcription_off",
    "notice.transcription_off_recording_on",
    "notice.transcription_on",
    "notice.unknown",
    "source.*",
    "source.silent",
    "verdict.*",
    "verdict.changed",
];

/// Whether a text is the name of an event, or a pattern that some event matches: `*`, `notice.*`,
/// `notice.recording_*`.
#[must_use]
pub(crate) fn is_pattern(text: &str) -> bool {
    let names = EVENT_NAMES;
    match text.strip_suffix('*') {
        Some(prefix) => {
            let ends_a_word = prefix.is_empty() || prefix.ends_with(['.', '_']);
            ends_a_word && names.iter().any(|name| name.starts_with(prefix))
        }
        None => names.contains(&text),
    }
}

/// Whether a text is the kind of a call.
#[must_use]
pub(crate) fn is_call_kind(text: &str) -> bool {
    CALL_KINDS.contains(&text)
}

/// Whether a text is the kind of an exception.
#[must_use]
pub(crate) fn is_exception_kind(text: &str) -> bool {
    ExceptionKind::VARIANTS.contains(&text)
}

#[cfg(test)]
mod tests {
    use super::*;
    use onrecord_evidence::notice::variant::Variant;

    #[test]
    fn each_variant_of_a_notice_has_an_event() {
        for variant in [
            Variant::None,
            Variant::RecordingOn,
            Variant::TranscriptionOn,
            Variant::BothOn,
            Variant::RecordingOff,
            Variant::TranscriptionOff,
            Variant::BothOff,
            Variant::RecordingOffTranscriptionOn,
            Variant::TranscriptionOffRecordingOn,
            Variant::RecordingPaused,
            Variant::Unknown,
        ] {
            let name = serde_json::to_value(variant).unwrap();
            let name = format!("{NOTICE_PREFIX}{}", name.as_str().unwrap());
            assert!(is_pattern(&name), "{name}");
        }
    }

    #[test]
    fn the_list_of_patterns_has_every_name() {
        assert!(PATTERNS.is_sorted());
        assert!(PATTERNS.iter().all(|pattern| is_pattern(pattern)));
        assert!(EVENT_NAMES.iter().all(|name| PATTERNS.contains(name)));
    }

    #[test]
    fn a_pattern_names_at_least_one_event() {
        for right in ["*", "notice.*", "notice.recording_*", "call.ended", "exception.opened"] {
            assert!(is_pattern(right), "{right}");
        }
        for wrong in
            ["", "notice", "notic*", "call.started", "call.ended.*", "**", "webhook.test", "%"]
        {
            assert!(!is_pattern(wrong), "{wrong}");
        }
    }
}
