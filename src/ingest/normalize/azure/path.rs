//! Reads ids from a subject or source, where they are between fixed words.
//!
//! A serverCallId is base64 and may contain slashes. So the text is not split at slashes: the fixed
//! words are searched from both ends.

/// The ids of `/recording/call/{call}/serverCallId/{server}/recordingId/{recording}`, as written.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct RecordingPath<'s> {
    /// The correlationId, where it is a GUID.
    pub(crate) call_id: Option<&'s str>,
    /// Absent from the form of 2021 and 2024.
    pub(crate) server_call_id: Option<&'s str>,
    pub(crate) recording_id: Option<&'s str>,
}

/// The ids in the subject of RecordingFileStatusUpdated, which has no other id of its call.
pub(crate) fn recording_in_subject(subject: &str) -> RecordingPath<'_> {
    let Some(path) = after_start(subject, "recording/call/") else {
        return RecordingPath::default();
    };
    let (path, recording_id) = match split_at_last(path, "/recordingId/") {
        Some((path, id)) => (path, some(id)),
        None => (path, None),
    };
    let (call_id, server_call_id) = match split_at_first(path, "/serverCallId/") {
        Some((call, server)) => (some(call), some(server)),
        None => (some(path), None),
    };
    RecordingPath { call_id, server_call_id, recording_id }
}

/// The serverCallId of `call/{server}`, `call/{server}/startedBy/{rawId}` and
/// `call/{server}/participant/{rawId}`.
pub(crate) fn server_call_in_subject(subject: &str) -> Option<&str> {
    let path = after_start(subject, "call/")?;
    let server = ["/startedBy/", "/participant/"]
        .into_iter()
        .find_map(|word| split_at_last(path, word))
        .map_or(path, |(server, _)| server);
    some(server)
}

/// The callConnectionId of `calling/callConnections/{id}`, which a type may follow.
pub(crate) fn connection_in_source(source: &str) -> Option<&str> {
    let path = after_start(source, "calling/callConnections/")?;
    path.split('/').next().and_then(some)
}

/// The ids of `calling/recordings/{server}/{recording}/{type}`; in 2022 the second followed the word
/// `recordingId`, and a subject lacks the type.
pub(crate) fn recording_in_source(source: &str) -> RecordingPath<'_> {
    let Some(path) = after_start(source, "calling/recordings/") else {
        return RecordingPath::default();
    };
    let path = match path.rsplit_once('/') {
        Some((path, last)) if last.to_ascii_lowercase().ends_with("statechanged") => path,
        _ => path,
    };
    // A recordingId is URL-safe base64: no slashes.
    let Some((server, recording_id)) = path.rsplit_once('/') else {
        return RecordingPath::default();
    };
    let server = match split_at_last(server, "/recordingId") {
        Some((server, "")) => server,
        _ => server,
    };
    RecordingPath { call_id: None, server_call_id: some(server), recording_id: some(recording_id) }
}

fn some(text: &str) -> Option<&str> {
    (!text.is_empty()).then_some(text)
}

fn after_start<'s>(path: &'s str, start: &str) -> Option<&'s str> {
    strip_prefix_ignoring_case(path.strip_prefix('/').unwrap_or(path), start)
}

/// The text after a prefix that may differ in case.
pub(crate) fn strip_prefix_ignoring_case<'t>(text: &'t str, prefix: &str) -> Option<&'t str> {
    let (found, rest) = text.split_at_checked(prefix.len())?;
    found.eq_ignore_ascii_case(prefix).then_some(rest)
}

fn split_at_first<'s>(path: &'s str, word: &str) -> Option<(&'s str, &'s str)> {
    let at = path.to_ascii_lowercase().find(&word.to_ascii_lowercase())?;
    split_around(path, at, word)
}

fn split_at_last<'s>(path: &'s str, word: &str) -> Option<(&'s str, &'s str)> {
    let at = path.to_ascii_lowercase().rfind(&word.to_ascii_lowercase())?;
    split_around(path, at, word)
}

fn split_around<'s>(path: &'s str, at: usize, word: &str) -> Option<(&'s str, &'s str)> {
    let (before, rest) = path.split_at_checked(at)?;
    Some((before, rest.get(word.len()..)?))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_subject_of_a_recording_contains_its_call() {
        assert_eq!(
            recording_in_subject("/recording/call/c1/serverCallId/aa/b+c==/recordingId/eyJ_-"),
            RecordingPath {
                call_id: Some("c1"),
                server_call_id: Some("aa/b+c=="),
                recording_id: Some("eyJ_-"),
            }
        );
        assert_eq!(
            recording_in_subject("recording/call/c1/recordingId/r"),
            RecordingPath { call_id: Some("c1"), server_call_id: None, recording_id: Some("r") }
        );
        for subject in ["", "recording", "thread/x/sender/y", "/recording/call/"] {
            assert_eq!(recording_in_subject(subject), RecordingPath::default(), "{subject}");
        }
    }

    #[test]
    fn a_server_call_id_with_slashes_is_read_from_a_subject() {
        for (subject, server) in [
            ("call/aa/b+c==/startedBy/8:acs:r_u", Some("aa/b+c==")),
            ("/call/aa/b+c==/participant/8:acs:r_u", Some("aa/b+c==")),
            ("call/aa/b+c==", Some("aa/b+c==")),
            ("call/", None),
            ("thread/t/sender/s/recipient/r", None),
            ("é", None),
        ] {
            assert_eq!(server_call_in_subject(subject), server, "{subject}");
        }
    }

    #[test]
    fn a_leg_or_a_recording_is_read_from_a_source() {
        assert_eq!(connection_in_source("calling/callConnections/411f0b00"), Some("411f0b00"));
        assert_eq!(
            connection_in_source("calling/callConnections/411f0b00/PlayCanceled"),
            Some("411f0b00")
        );
        assert_eq!(connection_in_source("calling/recordings/s/r/X"), None);
        for source in [
            "calling/recordings/aa/b+c==/eyJ_-/RecordingStateChanged",
            "calling/recordings/aa/b+c==/recordingId/eyJ_-/TeamsRecordingStateChanged",
            "calling/recordings/aa/b+c==/recordingId/eyJ_-",
        ] {
            assert_eq!(
                recording_in_source(source),
                RecordingPath {
                    call_id: None,
                    server_call_id: Some("aa/b+c=="),
                    recording_id: Some("eyJ_-"),
                },
                "{source}"
            );
        }
    }
}
