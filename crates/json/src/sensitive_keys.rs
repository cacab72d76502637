//! The names of members whose values are never stored (`NO_SECRETS`), with the reason for each.
//!
//! Names are compared by their ASCII letters and digits, without case: `access_token`,
//! `accessToken` and `Access-Token` are the same name.

/// The reason why a value is not stored.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum SensitiveReason {
    /// It permits an action: answering the call, signing in, calling an API.
    Credential,
    /// Keys that a caller pressed; they may be a card number.
    Tones,
    /// Speech as text, what is concluded from it, and the reason of a call.
    Speech,
    /// Base64: it hides names from the search.
    Encoded,
    /// The content of a message. It is searched for only where the subject of the event is unknown:
    /// events that are not about calls lose their whole `data`.
    Content,
}

use SensitiveReason::{Content, Credential, Encoded, Speech, Tones};

/// All sensitive names, sorted.
const SENSITIVE_KEYS: &[(&str, SensitiveReason)] = &[
    ("additionalcallerinformation", Speech), // IncomingCall, Teams Phone.
    ("authorization", Credential),           // HTTP header.
    ("bearer", Credential),
    ("body", Content),         // Mail and push messages.
    ("callcontext", Speech),   // The same: a summary of the call so far.
    ("callsentiment", Speech), // The same.
    ("calltopic", Speech),     // The same.
    ("caption", Content),      // AdvancedMessageReceived media.
    ("captions", Speech),
    ("captiontext", Speech),     // Calling SDK, CaptionsReceived.
    ("clientstate", Credential), // Microsoft Graph's shared secret in notifications.
    ("content", Content),        // AdvancedMessageReceived.
    ("credential", Credential),
    ("credentials", Credential),
    ("database64", Encoded), // CloudEvents data_base64; at an event's top level it is decoded.
    ("dtmf", Tones),
    ("dtmftones", Tones),
    ("encryptedcontent", Content), // Microsoft Graph notifications with resource data.
    ("html", Content),
    ("incomingcallcontext", Credential), // IncomingCall: answers the call.
    ("intent", Speech),                  // The same.
    ("jwt", Credential),
    ("label", Speech), // RecognizeCompleted choiceResult: the choice that was named.
    ("lexical", Speech), // Speech services.
    ("message", Content), // SMSReceived `Message`.
    ("messagebody", Content), // ChatMessageReceived.
    ("otp", Credential),
    ("passphrase", Credential),
    ("passwd", Credential),
    ("payload", Content), // AdvancedMessageReceived button.
    ("pin", Credential),
    ("pins", Credential),
    ("plaintext", Content),
    ("pwd", Credential),
    ("recognizedphrase", Speech), // RecognizeCompleted choiceResult.
    ("recognizedtext", Speech),
    ("sas", Credential),
    ("screenpopurl", Speech), // IncomingCall, Teams Phone.
    ("sentiment", Speech),    // Transcription.
    ("sharedaccesssignature", Credential),
    ("sig", Credential), // Shared access signatures in URLs.
    ("signature", Credential),
    ("speech", Speech),           // RecognizeCompleted speechResult.
    ("spokentext", Speech),       // Calling SDK, CaptionsReceived.
    ("suggestedactions", Speech), // IncomingCall, Teams Phone.
    ("text", Content),
    ("tone", Tones),                  // ContinuousDtmfRecognitionToneReceived.
    ("toneinfo", Tones),              // The same, before 2023.
    ("tones", Tones),                 // RecognizeCompleted dtmfResult and collectTonesResult.
    ("transcriptionmessage", Speech), // TranscriptionCallSummaryUpdated.
    ("transcriptiontext", Speech),    // Transcription.
    ("transcripttext", Speech),
    ("transcripturl", Speech),          // IncomingCall, Teams Phone.
    ("validationcode", Credential),     // Event Grid handshake: confirms a subscription.
    ("validationresponse", Credential), // The answer to it.
    ("validationurl", Credential),      // Event Grid handshake: a link that confirms.
];

/// A name with one of these suffixes, in the singular or plural, names a credential or speech:
/// `accessToken`, `client_secret`, `x-functions-key`, `Set-Cookie`, `apiKeys`,
/// `storageConnectionString`, `lastUtterance`.
const SENSITIVE_SUFFIXES: &[&str] = &[
    "accesskey",
    "accountkey",
    "apikey",
    "assertion", // OAuth client assertions: a signed JWT.
    "authkey",
    "connectionstring",
    "cookie",
    "functionskey",
    "passcode",
    "password",
    "pincode",
    "privatekey",
    "secret",
    "sharedkey",
    "subscriptionkey",
    "summary",
    "token",
    "transcript",
    "utterance",
];

/// Maximum length of a listed name. Suffixes are compared at any length.
const MAX_KEY_LENGTH: usize = 32;

/// The set of sensitive names for a text.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SensitiveKeys {
    /// For an event about a call.
    Calls,
    /// For any text: the names of message contents are included.
    Anything,
}

impl SensitiveKeys {
    /// Whether the name is sensitive.
    #[must_use]
    pub fn contains(self, name: &[u8]) -> bool {
        !is_excluded(name) && self.lists(name)
    }

    /// The same by comparing the name with the tables.
    fn lists(self, name: &[u8]) -> bool {
        let mut letters = name
            .iter()
            .rev()
            .filter(|byte| byte.is_ascii_alphanumeric() || !byte.is_ascii())
            .map(u8::to_ascii_lowercase);
        // The last letters: a longer name is not in the table but may have a sensitive suffix.
        let mut buffer = [0; MAX_KEY_LENGTH];
        let mut begin = MAX_KEY_LENGTH;
        for (slot, letter) in buffer.iter_mut().rev().zip(letters.by_ref()) {
            *slot = letter;
            begin -= 1;
        }
        let is_whole = letters.next().is_none();
        let word = buffer.get(begin..).unwrap_or_default();
        let listed = length_is_listed(word)
            .then(|| SENSITIVE_KEYS.binary_search_by(|(listed, _)| listed.as_bytes().cmp(word)));
        let listed = listed.and_then(Result::ok).filter(|_| is_whole);
        match listed.and_then(|at| SENSITIVE_KEYS.get(at)) {
            Some((_, Content)) => self == Self::Anything,
            Some(_) => true,
            None => {
                let singular = word.strip_suffix(b"s").unwrap_or(word);
                SENSITIVE_SUFFIXES.iter().any(|ending| {
                    // Comparing the last letter first excludes most suffixes.
                    let ending = ending.as_bytes();
                    ending.last() == singular.last() && singular.ends_with(ending)
                })
            }
        }
    }
}

/// The lengths of the listed names by first letter, one bit for each length. Most names of an event
/// are not listed; the bits exclude them without a search.
const KEY_LENGTHS: [u64; 256] = {
    let mut key_lengths = [0; 256];
    let mut at = 0;
    while at < SENSITIVE_KEYS.len() {
        let name = SENSITIVE_KEYS[at].0.as_bytes();
        key_lengths[name[0] as usize] |= 1 << name.len();
        at += 1;
    }
    key_lengths
};

/// Letters of a word, one bit for each of `a` to `z`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Letters(u32);

impl Letters {
    /// Adds a byte of the word. Only letters count, without case.
    pub(crate) const fn add(&mut self, byte: u8) {
        let at = (byte | 0x20).wrapping_sub(b'a');
        // Only a letter becomes one of `a` to `z` by that bit.
        if at < 26 {
            self.0 |= 1 << at;
        }
    }

    /// Whether a word with these letters may contain a sensitive name. Most words of an event do not, and are
    /// compared with none.
    pub(crate) fn may_name_secret(self) -> bool {
        // A fold without early exit is vectorized by the compiler.
        NAME_LETTERS.iter().fold(false, |may, name| may | (name.0 & !self.0 == 0))
    }
}

/// The letters of each listed name and of each suffix.
const NAME_LETTERS: [Letters; SENSITIVE_KEYS.len() + SENSITIVE_SUFFIXES.len()] = {
    let mut letters = [Letters(0); SENSITIVE_KEYS.len() + SENSITIVE_SUFFIXES.len()];
    let mut at = 0;
    while at < letters.len() {
        let name = if at < SENSITIVE_KEYS.len() {
            SENSITIVE_KEYS[at].0.as_bytes()
        } else {
            SENSITIVE_SUFFIXES[at - SENSITIVE_KEYS.len()].as_bytes()
        };
        let mut byte = 0;
        while byte < name.len() {
            letters[at].add(name[byte]);
            byte += 1;
        }
        at += 1;
    }
    letters
};

/// For each last letter of a suffix, the letters before it, one bit for each of `a` to `z`.
const SUFFIX_ENDS: [u32; 256] = {
    let mut ends = [0; 256];
    let mut at = 0;
    while at < SENSITIVE_SUFFIXES.len() {
        let suffix = SENSITIVE_SUFFIXES[at].as_bytes();
        ends[suffix[suffix.len() - 1] as usize] |= 1 << (suffix[suffix.len() - 2] - b'a');
        at += 1;
    }
    ends
};

/// Whether a byte is an ASCII letter or digit.
const IS_ALPHANUMERIC: [bool; 256] = {
    let mut alphanumeric = [false; 256];
    let mut byte = 0;
    while byte < alphanumeric.len() {
        alphanumeric[byte] = byte < 0x80 && (byte as u8).is_ascii_alphanumeric();
        byte += 1;
    }
    alphanumeric
};

/// Whether a name is known not to be sensitive by its length, its first and its last two letters. Most names of
/// an event are, and have letters and digits only; others are compared.
fn is_excluded(name: &[u8]) -> bool {
    // A fold without early exit: most names have nothing else.
    let is_plain = |all, byte: &u8| all & IS_ALPHANUMERIC[usize::from(*byte)];
    if name.len() > MAX_KEY_LENGTH || !name.iter().fold(true, is_plain) {
        return false;
    }
    if length_is_listed(name) {
        return false;
    }
    let singular = name.strip_suffix(b"s").or_else(|| name.strip_suffix(b"S")).unwrap_or(name);
    let [.., before, last] = singular else { return true };
    let befores = SUFFIX_ENDS[usize::from(last.to_ascii_lowercase())];
    let before = before.to_ascii_lowercase().wrapping_sub(b'a');
    before >= 26 || befores & (1 << before) == 0
}

fn length_is_listed(word: &[u8]) -> bool {
    let first = word.first().map(u8::to_ascii_lowercase);
    let key_lengths = first.map_or(0, |first| KEY_LENGTHS[usize::from(first)]);
    key_lengths & (1 << word.len()) != 0
}

/// All listed names, and each suffix as a name; for tests of the redaction.
#[must_use]
pub fn sensitive_key_names() -> Vec<&'static str> {
    let listed = SENSITIVE_KEYS.iter().map(|(name, _)| *name);
    listed.chain(SENSITIVE_SUFFIXES.iter().copied()).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_table_is_sorted_and_fits_its_buffer() {
        assert!(SENSITIVE_KEYS.is_sorted_by(|one, next| one.0 < next.0));
        for (name, _) in SENSITIVE_KEYS {
            assert!(name.len() <= MAX_KEY_LENGTH, "{name}");
            assert!(
                name.bytes().all(|byte| byte.is_ascii_lowercase() || byte.is_ascii_digit()),
                "{name}"
            );
        }
    }

    #[test]
    fn a_sensitive_name_is_found_in_any_spelling() {
        for name in [
            "incomingCallContext",
            "INCOMINGCALLCONTEXT",
            "incoming_call_context",
            "access_token",
            "Access-Token",
            "x-api-key",
            "data_base64",
            "dtmfTones",
            "clientAssertion",
            "client_assertion",
            "passwords",
            "cookies",
            "apiKeys",
            "api-keys",
            "pinCode",
            "lastUtterance",
            "callSummary",
            "transcripts",
            "transcriptionMessage",
            "secrets",
            "tokens",
            "thePasswordOfTheWholeTenantIsThisSecret",
        ] {
            assert!(SensitiveKeys::Calls.contains(name.as_bytes()), "{name}");
        }
    }

    fn letters(word: &str) -> Letters {
        let mut letters = Letters::default();
        word.bytes().for_each(|byte| letters.add(byte));
        letters
    }

    #[test]
    fn a_word_that_contains_a_name_may_name_a_secret() {
        for name in sensitive_key_names() {
            assert!(letters(name).may_name_secret(), "{name}");
            assert!(
                letters(&format!("_X{}-u0022", name.to_uppercase())).may_name_secret(),
                "{name}"
            );
        }
        for word in ["", "10", "e", "638853537803496626", "conv-uswe-04", "[{@`", "Pi", "\u{ff}"] {
            assert!(!letters(word).may_name_secret(), "{word}");
        }
    }

    #[test]
    fn a_name_that_is_excluded_by_a_few_letters_is_not_in_the_tables() {
        let mut excluded = 0;
        for name in sensitive_key_names() {
            let mut similar = vec![name.to_owned(), format!("{name}s"), format!("my{name}")];
            similar.extend([name.to_uppercase(), format!("MY{name}S"), format!("{name}_")]);
            for at in 0..name.len() {
                similar.push(format!("{}{}", &name[..at], &name[at + 1..]));
                for letter in ['a', 'S', 'y', '7', '-', 'é'] {
                    similar.push(format!("{}{letter}{}", &name[..at], &name[at..]));
                    similar.push(format!("{}{letter}{}", &name[..at], &name[at + 1..]));
                }
            }
            for word in similar {
                let word = word.as_bytes();
                excluded += usize::from(is_excluded(word));
                for keys in [SensitiveKeys::Calls, SensitiveKeys::Anything] {
                    assert_eq!(keys.contains(word), keys.lists(word), "{word:?}");
                }
            }
        }
        assert!(excluded > 1_000, "{excluded}");
    }

    #[test]
    fn a_long_name_is_compared_by_its_suffix() {
        for (name, sensitive) in [
            ("azure_communication_services_resource_access_key", true),
            ("Azure-Communication-Services-Resource-Connection-String-", true),
            ("access_key_of_a_long_name_that_ends_with_something_else", false),
            // A listed name matches only as a whole.
            ("a_long_name_that_ends_with_incoming_call_context", false),
        ] {
            assert_eq!(SensitiveKeys::Calls.contains(name.as_bytes()), sensitive, "{name}");
        }
    }

    #[test]
    fn names_of_message_contents_are_sensitive_only_where_the_event_may_be_a_message() {
        for name in ["Message", "messageBody", "content"] {
            assert!(SensitiveKeys::Anything.contains(name.as_bytes()), "{name}");
            assert!(!SensitiveKeys::Calls.contains(name.as_bytes()), "{name}");
        }
    }

    #[test]
    fn the_names_of_calling_events_are_not_sensitive() {
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
            "address",
            "keys",
            "key",
            "code",
            "",
            "tokené",
        ] {
            assert!(!SensitiveKeys::Anything.contains(name.as_bytes()), "{name}");
        }
    }
}
