//! The texts that are kept where any other may be what was said in a call, or the reason of a call
//! (`NO_SECRETS`).
//!
//! # Why
//!
//! A name that no list has cannot be recognized as sensitive. So in events of unknown types, in events
//! that carry contents (recognition, dialogs, transcription), and in what an app or a carrier adds to a
//! call, a text is kept only if its name is listed here: ids, kinds, states, times.

/// The members whose texts are kept, by the letters and digits of their names, in lower case, sorted.
const KEPT: &[&str] = &[
    "appid",
    "assertedid",
    "callconnectionid",
    "callerdisplayname",
    "calllegid",
    "callstate",
    "cloud",
    "contenttype", // mediaStreamingUpdate: Audio.
    "conversationid",
    "correlationid",
    "dialogid",
    "dialoginputtype",
    "displayname",
    "endpointtype",
    "eventsource",
    "eventsubscriptionid",
    "fromcall",
    "id",
    "invitationid",
    "kind",
    "locale",
    "mediastreamingstatus",
    "mediastreamingstatusdetails",
    "operationcontext", // The app's own text, by which it correlates its operations.
    "participantid",
    "publiceventtype",
    "rawid",
    "recognitiontype",
    "recordingid",
    "recordingkind",
    "resourceid",
    "role",
    "selectedlanguage",
    "sequenceid",
    "servercallid",
    "sessionid",
    "startdatetime",
    "state",
    "tenantid",
    "time",
    "timestamp",
    "transcriptionstatus",
    "transcriptionstatusdetails",
    "transfertype",
    "type",
    "useragent",
    "userid",
    "version",
];

/// Members whose texts are kept inside a certain other member only.
const KEPT_INSIDE: &[(&str, &[&str])] = &[
    ("message", &["resultinformation", "sipdetails", "q850details"]),
    ("phrase", &["reason"]),
    ("value", &["phonenumber"]),
];

/// Members inside which only the texts of [`KEPT`] are kept, whatever the type of the event.
const OPEN_TEXTS: &[&str] = &[
    "customcontext", // IncomingCall: headers of the carrier and the app, Teams Phone details.
    "customcallingcontext", // The same in requests.
    "ivrcontext",    // Dialogs.
    "teamsphonecalldetails", // The reason of a call.
    "transcriptionupdate", // TranscriptionCallSummaryUpdated: what was said.
];

/// Whether the text of a member is kept, by its name and that of the member around it.
pub(crate) fn keeps_text(around: &str, name: &str) -> bool {
    let (around, name) = (letters(around), letters(name));
    let inside = KEPT_INSIDE.iter().find(|(kept, _)| *kept == name);
    KEPT.binary_search(&name.as_str()).is_ok()
        || inside.is_some_and(|(_, places)| places.contains(&around.as_str()))
}

/// Whether a member may have texts of any meaning inside.
pub(crate) fn has_open_texts(name: &str) -> bool {
    // A mark at the end does not count.
    let ends_otherwise = |last: &u8| {
        let ends_so = |text: &&str| text.as_bytes().last() == Some(&last.to_ascii_lowercase());
        last.is_ascii_alphanumeric() && !OPEN_TEXTS.iter().any(ends_so)
    };
    // Few names have these lengths, first and last letters.
    matches!(name.as_bytes().first(), Some(b'c' | b'C' | b'i' | b'I' | b't' | b'T'))
        && name.len() >= "ivrContext".len()
        && !name.as_bytes().last().is_some_and(ends_otherwise)
        && OPEN_TEXTS.contains(&letters(name).as_str())
}

fn letters(name: &str) -> String {
    let letters = name.chars().filter(|letter| letter.is_alphanumeric());
    letters.map(|letter| letter.to_ascii_lowercase()).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_list_is_sorted_and_a_name_is_found_in_any_spelling() {
        assert!(KEPT.is_sorted());
        assert!(keeps_text("data", "correlation_id") && keeps_text("", "RAWID"));
        assert!(keeps_text("resultInformation", "message") && !keeps_text("data", "message"));
        assert!(has_open_texts("customContext") && has_open_texts("ivr_context"));
        for name in OPEN_TEXTS {
            for spelling in
                [name.to_uppercase(), format!("{name}_"), format!("{}-{}", &name[..3], &name[3..])]
            {
                assert!(has_open_texts(&spelling), "{spelling}");
            }
        }
        assert!(!has_open_texts("context") && !has_open_texts("correlationId"));
    }
}
