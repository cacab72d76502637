//! Where a stream was: opaque, signed, bound to its reach and to the log that it was read from.

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;

use super::listener::Reach;
use super::token::SubscriberTokens;
use crate::domain::ids::{Digest, Tenant};
use crate::domain::instant::Millis;

/// An instant in hexadecimal digits, a dot, 16 bytes of signature.
const LONGEST: usize = 16 + 1 + 22;

/// Makes and reads the cursors of one stream.
pub(super) struct CursorPen {
    tokens: SubscriberTokens,
    /// Which log, whose reach.
    binding: String,
}

impl CursorPen {
    pub fn new(
        tokens: &SubscriberTokens,
        incarnation: &str,
        tenant: &Tenant,
        reach: &Reach,
    ) -> Self {
        let binding = Digest::of_parts(&[incarnation, &reach.digest(tenant.as_str()).to_string()])
            .to_string();
        Self {
            tokens: tokens.clone(),
            binding,
        }
    }

    /// A cursor that says: everything up to `at` (ms) was told.
    pub fn write(&self, at: Millis) -> String {
        let signature = self.tokens.sign(&self.signed(at));
        format!("{at:x}.{}", URL_SAFE_NO_PAD.encode(signature))
    }

    /// The instant of a cursor, if it is one of this reach and this log. A forged, widened or
    /// foreign one is as if there were none that is known.
    pub fn read(&self, cursor: &str) -> Option<Millis> {
        let (at, signature) = cursor.split_once('.')?;
        let at = Millis::from_str_radix(at, 16).ok().filter(|at| *at >= 0)?;
        let signature = URL_SAFE_NO_PAD.decode(signature).ok()?;
        self.tokens
            .verify(&self.signed(at), &signature)
            .then_some(at)
    }

    fn signed(&self, at: Millis) -> String {
        format!("cursor\n{}\n{at}", self.binding)
    }
}

/// Whether a text could be a cursor by its letters; whose it is says [`CursorPen::read`] only.
pub(super) fn is_written_like_one(text: &str) -> bool {
    let is_letter = |b: u8| b.is_ascii_alphanumeric() || matches!(b, b'-' | b'_' | b'.');
    text.len() <= LONGEST && text.bytes().all(is_letter)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::Secret;
    use crate::domain::alias::Anchor;

    fn pen(key: &str, incarnation: &str, tenant: &str, reach: &Reach) -> CursorPen {
        let tokens = SubscriberTokens::new(
            &[Secret::new(key.to_owned())],
            std::time::Duration::from_secs(60),
        );
        CursorPen::new(&tokens, incarnation, &Tenant::parse(tenant).unwrap(), reach)
    }

    #[test]
    fn a_cursor_is_read_only_where_it_was_made_for() {
        let key = "0123456789abcdef0123456789abcdef";
        let reach = Reach::Call {
            anchors: vec![Anchor::server("https://s")],
            person: None,
        };
        let cursor = pen(key, "log", "t", &reach).write(1_700_000_000_000);
        assert!(is_written_like_one(&cursor));
        assert_eq!(
            pen(key, "log", "t", &reach).read(&cursor),
            Some(1_700_000_000_000)
        );
        let of = |person: &str| Reach::Call {
            anchors: vec![Anchor::server("https://s")],
            person: Some(person.to_owned()),
        };
        let own = pen(key, "log", "t", &of("anna")).write(1);
        assert_eq!(pen(key, "log", "t", &of("anna")).read(&own), Some(1));
        for other in [of("ben"), reach.clone()] {
            assert_eq!(pen(key, "log", "t", &other).read(&own), None);
        }
        assert_eq!(pen(key, "other log", "t", &reach).read(&cursor), None);
        assert_eq!(pen(key, "log", "u", &reach).read(&cursor), None);
        assert_eq!(pen(key, "log", "t", &Reach::Everything).read(&cursor), None);
        assert_eq!(
            pen("another key another key another k", "log", "t", &reach).read(&cursor),
            None
        );
        let (at, signature) = cursor.split_once('.').unwrap();
        assert_eq!(
            pen(key, "log", "t", &reach).read(&format!("1{at}.{signature}")),
            None
        );
    }

    proptest::proptest! {
        #[test]
        fn no_text_is_a_cursor_by_chance(text in ".{0,80}") {
            let reach = Reach::Everything;
            proptest::prop_assert_eq!(pen("0123456789abcdef0123456789abcdef", "log", "t", &reach).read(&text), None);
        }
    }
}
