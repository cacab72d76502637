//! The names of members whose values never enter the record (law 9), and why.
//!
//! Names are compared by their ASCII letters and digits, without case: `access_token`,
//! `accessToken` and `Access-Token` are one name.

/// Why a value may not be kept.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Why {
    /// Whoever holds it can act: answer the call, sign in, call an API.
    Capability,
    /// What a caller keyed in; it may be a card number.
    Tones,
    /// What was said, as text.
    Speech,
    /// Base64 hides names from whoever looks for them.
    Hidden,
    /// What a message says. Looked for only where nobody can tell what the event is about:
    /// events that are not about calls lose their `data` altogether.
    Content,
}

use Why::{Capability, Content, Hidden, Speech, Tones};

/// Every forbidden name, sorted.
const FORBIDDEN: &[(&str, Why)] = &[
    ("assertion", Capability),     // OAuth client assertions: a signed JWT.
    ("authorization", Capability), // HTTP header.
    ("bearer", Capability),
    ("body", Content),    // Mail and push messages.
    ("caption", Content), // AdvancedMessageReceived media.
    ("captions", Speech),
    ("captiontext", Speech),     // Calling SDK, CaptionsReceived.
    ("clientstate", Capability), // Microsoft Graph's shared secret in notifications.
    ("content", Content),        // AdvancedMessageReceived.
    ("credential", Capability),
    ("credentials", Capability),
    ("database64", Hidden), // CloudEvents data_base64; at an event's top level it is looked into.
    ("dtmf", Tones),
    ("dtmftones", Tones),
    ("encryptedcontent", Content), // Microsoft Graph notifications with resource data.
    ("html", Content),
    ("incomingcallcontext", Capability), // IncomingCall: answers the call.
    ("jwt", Capability),
    ("message", Content),     // SMSReceived `Message`.
    ("messagebody", Content), // ChatMessageReceived.
    ("otp", Capability),
    ("passcode", Capability),
    ("passphrase", Capability),
    ("passwd", Capability),
    ("payload", Content), // AdvancedMessageReceived button.
    ("pin", Capability),
    ("plaintext", Content),
    ("pwd", Capability),
    ("recognizedphrase", Speech), // RecognizeCompleted choiceResult.
    ("recognizedtext", Speech),
    ("sas", Capability),
    ("sharedaccesssignature", Capability),
    ("sig", Capability), // Shared access signatures in URLs.
    ("signature", Capability),
    ("speech", Speech),     // RecognizeCompleted speechResult.
    ("spokentext", Speech), // Calling SDK, CaptionsReceived.
    ("text", Content),
    ("tone", Tones),     // ContinuousDtmfRecognitionToneReceived.
    ("toneinfo", Tones), // The same, before 2023.
    ("tones", Tones),    // RecognizeCompleted dtmfResult and collectTonesResult.
    ("transcript", Speech),
    ("transcripttext", Speech),
    ("utterance", Speech),
    ("validationcode", Capability), // Event Grid handshake: confirms a subscription.
    ("validationresponse", Capability), // The answer to it.
    ("validationurl", Capability),  // Event Grid handshake: a link that confirms.
];

/// A name that ends so holds a credential, whatever it begins with: `accessToken`,
/// `client_secret`, `x-functions-key`, `Set-Cookie`, `storageConnectionString`.
const FORBIDDEN_ENDINGS: &[&str] = &[
    "accesskey",
    "accountkey",
    "apikey",
    "authkey",
    "connectionstring",
    "cookie",
    "functionskey",
    "password",
    "privatekey",
    "secret",
    "secrets",
    "sharedkey",
    "subscriptionkey",
    "token",
    "tokens",
];

/// Longer names are none of these; endings are looked at in any length.
const LONGEST: usize = 32;

/// Which names are forbidden in a text.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Vocabulary {
    /// The text is an event about a call.
    Calls,
    /// The text may be anything: the names of message contents are forbidden too.
    Anything,
}

impl Vocabulary {
    /// Whether the value of a member of that name may not be kept.
    pub(super) fn forbids(self, name: &str) -> bool {
        self.forbids_bytes(name.as_bytes())
    }

    /// The same for a name in bytes.
    pub(super) fn forbids_bytes(self, name: &[u8]) -> bool {
        let mut letters = name
            .iter()
            .rev()
            .filter(|byte| byte.is_ascii_alphanumeric() || !byte.is_ascii())
            .map(u8::to_ascii_lowercase);
        // The last letters, because a name that is longer is none of the table, but may end so.
        let mut buffer = [0; LONGEST];
        let mut begin = LONGEST;
        for (place, letter) in buffer.iter_mut().rev().zip(letters.by_ref()) {
            *place = letter;
            begin -= 1;
        }
        let is_whole = letters.next().is_none();
        let word = buffer.get(begin..).unwrap_or_default();
        let listed = may_be_listed(word)
            .then(|| FORBIDDEN.binary_search_by(|(listed, _)| listed.as_bytes().cmp(word)));
        let listed = listed.and_then(Result::ok).filter(|_| is_whole);
        match listed.and_then(|at| FORBIDDEN.get(at)) {
            Some((_, Content)) => self == Self::Anything,
            Some(_) => true,
            None => FORBIDDEN_ENDINGS.iter().any(|ending| {
                // The last letter tells most of them apart.
                let ending = ending.as_bytes();
                ending.last() == word.last() && word.ends_with(ending)
            }),
        }
    }
}

/// The lengths of the names in the table, by their first letter, a bit for each. Every name of
/// every event is looked for, and few are there.
const LENGTHS: [u64; 256] = {
    let mut lengths = [0; 256];
    let mut at = 0;
    while at < FORBIDDEN.len() {
        let name = FORBIDDEN[at].0.as_bytes();
        lengths[name[0] as usize] |= 1 << name.len();
        at += 1;
    }
    lengths
};

fn may_be_listed(word: &[u8]) -> bool {
    let lengths = word.first().map_or(0, |first| LENGTHS[usize::from(*first)]);
    lengths & (1 << word.len()) != 0
}

/// Every name of the table, and every ending as a name.
#[cfg(test)]
pub(super) fn every_name() -> Vec<&'static str> {
    let listed = FORBIDDEN.iter().map(|(name, _)| *name);
    listed.chain(FORBIDDEN_ENDINGS.iter().copied()).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_table_is_sorted_and_fits_its_buffer() {
        assert!(FORBIDDEN.is_sorted_by(|one, next| one.0 < next.0));
        for (name, _) in FORBIDDEN {
            assert!(name.len() <= LONGEST, "{name}");
            assert!(
                name.bytes()
                    .all(|byte| byte.is_ascii_lowercase() || byte.is_ascii_digit()),
                "{name}"
            );
        }
    }

    #[test]
    fn a_forbidden_name_is_known_in_every_spelling() {
        for name in [
            "incomingCallContext",
            "INCOMINGCALLCONTEXT",
            "incoming_call_context",
            "access_token",
            "Access-Token",
            "x-api-key",
            "data_base64",
            "dtmfTones",
            "thePasswordOfTheWholeHouseIsThisSecret",
        ] {
            assert!(Vocabulary::Calls.forbids(name), "{name}");
        }
    }

    #[test]
    fn a_long_name_is_judged_by_how_it_ends() {
        for (name, forbidden) in [
            ("azure_communication_services_resource_access_key", true),
            (
                "Azure-Communication-Services-Resource-Connection-String-",
                true,
            ),
            (
                "access_key_of_a_long_name_that_ends_with_something_else",
                false,
            ),
            // Only a whole name of the table is one.
            ("a_long_name_that_ends_with_incoming_call_context", false),
        ] {
            assert_eq!(Vocabulary::Calls.forbids(name), forbidden, "{name}");
        }
    }

    #[test]
    fn names_of_messages_are_forbidden_only_where_the_event_may_be_one() {
        for name in ["Message", "messageBody", "content"] {
            assert!(Vocabulary::Anything.forbids(name), "{name}");
            assert!(!Vocabulary::Calls.forbids(name), "{name}");
        }
    }

    #[test]
    fn the_names_of_calling_events_are_not_forbidden() {
        for name in [
            "serverCallId",
            "callerDisplayName",
            "customContext",
            "userToUser",
            "contentLocation",
            "recordingContentType",
            "operationContext",
            "resultInformation",
            "subCode",
            "participantId",
            "key",
            "code",
            "",
            "tokené",
        ] {
            assert!(!Vocabulary::Anything.forbids(name), "{name}");
        }
    }
}
