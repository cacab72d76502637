//! The cursors of streams: opaque and signed, valid for one scope and one incarnation of the log.
//!
//! A cursor also contains the levels that the stream stated last. So a returned cursor proves that
//! the client received them.

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;

use crate::http::subscriber_token::SubscriberTokens;
use crate::live::fanout::stated_levels::StatedLevels;
use crate::live::fanout::subscriber::SubscriptionScope;
use onrecord_evidence::event::ids::{Digest, Tenant};
use onrecord_evidence::event::instant::Millis;

/// Maximum length of a cursor: an instant in hexadecimal digits, the stated levels, and a signature
/// of 16 bytes, separated by dots.
const MAX_LENGTH: usize = 16 + 1 + MAX_STATED_LENGTH + 1 + 22;
/// Maximum length of the stated levels: two levels with an instant each, and a call.
const MAX_STATED_LENGTH: usize = 17 + 1 + 17 + 1 + 36;

/// The content of a cursor.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct CursorPayload {
    /// The stream has sent everything up to this instant, ms.
    pub at: Millis,
    /// The levels that were stated last.
    pub stated: Option<StatedLevels>,
}

/// Writes and reads the cursors of one stream.
pub(crate) struct CursorCodec {
    tokens: SubscriberTokens,
    /// The digest of the incarnation of the log, the tenant and the scope.
    binding: Digest,
    /// Whether cursors contain the call; the scope of an attachment implies it.
    with_call: bool,
}

impl CursorCodec {
    pub(crate) fn new(
        tokens: &SubscriberTokens,
        incarnation: &str,
        tenant: &Tenant,
        scope: &SubscriptionScope,
    ) -> Self {
        let scope_digest = scope.digest(tenant.as_str()).to_string();
        let binding = Digest::of_parts(&[incarnation, &scope_digest]);
        Self {
            tokens: tokens.clone(),
            binding,
            with_call: !matches!(scope, SubscriptionScope::Attachment { .. }),
        }
    }

    /// The keys that sign the cursors.
    pub(crate) fn tokens(&self) -> &SubscriberTokens {
        &self.tokens
    }

    /// A cursor with this content.
    pub(crate) fn write(&self, at: Millis, stated: Option<&StatedLevels>) -> String {
        let mut cursor = String::with_capacity(MAX_LENGTH);
        cursor.push_str(&format!("{at:x}"));
        if let Some(stated) = stated {
            cursor.push('.');
            stated.write(self.with_call, &mut cursor);
        }
        let binding = self.binding.to_string();
        let signature = self.tokens.sign(&signed_parts(&binding, &cursor));
        cursor.push('.');
        URL_SAFE_NO_PAD.encode_string(signature, &mut cursor);
        cursor
    }

    /// The content of a cursor; `None` if the cursor is not signed for this scope and this log.
    pub(crate) fn read(&self, cursor: &str) -> Option<CursorPayload> {
        let (payload, signature) = cursor.rsplit_once('.')?;
        let signature = URL_SAFE_NO_PAD.decode(signature).ok()?;
        let binding = self.binding.to_string();
        if !self.tokens.verify_signature(&signed_parts(&binding, payload), &signature) {
            return None;
        }
        let (at, stated) = match payload.split_once('.') {
            Some((at, stated)) => (at, Some(stated)),
            None => (payload, None),
        };
        Some(CursorPayload {
            at: Millis::from_str_radix(at, 16).ok().filter(|at| *at >= 0)?,
            stated: stated.and_then(StatedLevels::read),
        })
    }
}

fn signed_parts<'s>(binding: &'s str, payload: &'s str) -> [&'s str; 4] {
    ["cursor\n", binding, "\n", payload]
}

/// Whether a text has the length and characters of a cursor. The signature is not verified.
pub(crate) fn is_well_formed(text: &str) -> bool {
    let is_allowed = |b: u8| b.is_ascii_alphanumeric() || matches!(b, b'-' | b'_' | b'.');
    text.len() <= MAX_LENGTH && text.bytes().all(is_allowed)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::Secret;
    use crate::http::subscriber_token::token_subject::TokenSubject;
    use onrecord_evidence::identity::alias_graph::Anchor;

    fn codec(key: &str, incarnation: &str, tenant: &str, scope: &SubscriptionScope) -> CursorCodec {
        let tokens = SubscriberTokens::new(
            &[Secret::new(key.to_owned())],
            std::time::Duration::from_secs(60),
        );
        CursorCodec::new(&tokens, incarnation, &Tenant::parse(tenant).unwrap(), scope)
    }

    fn payload_at(at: Millis) -> Option<CursorPayload> {
        Some(CursorPayload { at, stated: None })
    }

    #[test]
    fn a_cursor_contains_the_stated_levels_and_cannot_be_changed() {
        let scope = SubscriptionScope::Attachment {
            attachment: "a".into(),
            subject: TokenSubject::plain("anna"),
        };
        let codec = codec("0123456789abcdef0123456789abcdef", "log", "t", &scope);
        let stated = StatedLevels::read("n1a-f").unwrap();
        let cursor = codec.write(17, Some(&stated));
        assert!(is_well_formed(&cursor));
        let read = codec.read(&cursor).unwrap();
        assert_eq!((read.at, read.stated), (17, Some(stated)));
        assert_eq!(codec.read(&cursor.replace("n1a", "f1a")), None);
        let (_, signature) = cursor.rsplit_once('.').unwrap();
        assert_eq!(codec.read(&format!("11.{signature}")), None);
    }

    #[test]
    fn a_cursor_is_valid_for_its_scope_and_log_only() {
        let key = "0123456789abcdef0123456789abcdef";
        let scope =
            SubscriptionScope::Call { anchors: vec![Anchor::server("https://s")], subject: None };
        let cursor = codec(key, "log", "t", &scope).write(1_700_000_000_000, None);
        assert!(is_well_formed(&cursor));
        assert_eq!(codec(key, "log", "t", &scope).read(&cursor), payload_at(1_700_000_000_000));
        let of = |person: &str| SubscriptionScope::Call {
            anchors: vec![Anchor::server("https://s")],
            subject: Some(TokenSubject::plain(person)),
        };
        let own = codec(key, "log", "t", &of("anna")).write(1, None);
        assert_eq!(codec(key, "log", "t", &of("anna")).read(&own), payload_at(1));
        for other in [of("ben"), scope.clone()] {
            assert_eq!(codec(key, "log", "t", &other).read(&own), None);
        }
        assert_eq!(codec(key, "other log", "t", &scope).read(&cursor), None);
        assert_eq!(codec(key, "log", "u", &scope).read(&cursor), None);
        assert_eq!(codec(key, "log", "t", &SubscriptionScope::Everything).read(&cursor), None);
        assert_eq!(
            codec("another key another key another k", "log", "t", &scope).read(&cursor),
            None
        );
        let (at, signature) = cursor.split_once('.').unwrap();
        assert_eq!(codec(key, "log", "t", &scope).read(&format!("1{at}.{signature}")), None);
    }

    proptest::proptest! {
        #[test]
        fn no_random_text_is_a_valid_cursor(text in ".{0,80}") {
            let scope = SubscriptionScope::Everything;
            proptest::prop_assert_eq!(codec("0123456789abcdef0123456789abcdef", "log", "t", &scope).read(&text), None);
        }
    }
}
