//! Where a stream was: opaque, signed, bound to its reach and to the log that it was read from.
//! What it stated last stands in it too: whoever returns a cursor has that.

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;

use super::listener::Reach;
use super::stated::Stated;
use super::token::SubscriberTokens;
use crate::domain::ids::{Digest, Tenant};
use crate::domain::instant::Millis;

/// An instant in hexadecimal digits, what was stated, 16 bytes of signature, with dots between.
const LONGEST: usize = 16 + 1 + LONGEST_STATED + 1 + 22;
/// Two levels with an instant each, and a call.
const LONGEST_STATED: usize = 17 + 1 + 17 + 1 + 36;

/// What a cursor says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Told {
    /// Everything up to this was told, ms.
    pub at: Millis,
    /// What was stated last.
    pub stated: Option<Stated>,
}

/// Makes and reads the cursors of one stream.
pub(super) struct CursorPen {
    tokens: SubscriberTokens,
    /// Which log, whose reach.
    binding: String,
    /// The call is to stand in cursors.
    with_call: bool,
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
            with_call: !matches!(reach, Reach::Attachment { .. }),
        }
    }

    /// A cursor that says: everything up to `at` (ms) was told, this last.
    pub fn write(&self, at: Millis, stated: Option<&Stated>) -> String {
        let mut cursor = String::with_capacity(LONGEST);
        cursor.push_str(&format!("{at:x}"));
        if let Some(stated) = stated {
            cursor.push('.');
            stated.write(self.with_call, &mut cursor);
        }
        let signature = self.tokens.sign(&self.signed(&cursor));
        cursor.push('.');
        URL_SAFE_NO_PAD.encode_string(signature, &mut cursor);
        cursor
    }

    /// What a cursor says, if it is one of this reach and this log. A forged, widened or foreign
    /// one is as if there were none that is known.
    pub fn read(&self, cursor: &str) -> Option<Told> {
        let (said, signature) = cursor.rsplit_once('.')?;
        let signature = URL_SAFE_NO_PAD.decode(signature).ok()?;
        if !self.tokens.verify(&self.signed(said), &signature) {
            return None;
        }
        let (at, stated) = match said.split_once('.') {
            Some((at, stated)) => (at, Some(stated)),
            None => (said, None),
        };
        Some(Told {
            at: Millis::from_str_radix(at, 16).ok().filter(|at| *at >= 0)?,
            stated: stated.and_then(Stated::read),
        })
    }

    fn signed<'s>(&'s self, said: &'s str) -> [&'s str; 4] {
        ["cursor\n", &self.binding, "\n", said]
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

    fn told(at: Millis) -> Option<Told> {
        Some(Told { at, stated: None })
    }

    #[test]
    fn what_was_stated_stands_in_a_cursor_and_cannot_be_changed() {
        let reach = Reach::Attachment {
            attachment: "a".to_owned(),
            person: "anna".to_owned(),
        };
        let pen = pen("0123456789abcdef0123456789abcdef", "log", "t", &reach);
        let stated = Stated::read("n1a-f").unwrap();
        let cursor = pen.write(17, Some(&stated));
        assert!(is_written_like_one(&cursor));
        let read = pen.read(&cursor).unwrap();
        assert_eq!((read.at, read.stated), (17, Some(stated)));
        assert_eq!(pen.read(&cursor.replace("n1a", "f1a")), None);
        let (_, signature) = cursor.rsplit_once('.').unwrap();
        assert_eq!(pen.read(&format!("11.{signature}")), None);
    }

    #[test]
    fn a_cursor_is_read_only_where_it_was_made_for() {
        let key = "0123456789abcdef0123456789abcdef";
        let reach = Reach::Call {
            anchors: vec![Anchor::server("https://s")],
            person: None,
        };
        let cursor = pen(key, "log", "t", &reach).write(1_700_000_000_000, None);
        assert!(is_written_like_one(&cursor));
        assert_eq!(
            pen(key, "log", "t", &reach).read(&cursor),
            told(1_700_000_000_000)
        );
        let of = |person: &str| Reach::Call {
            anchors: vec![Anchor::server("https://s")],
            person: Some(person.to_owned()),
        };
        let own = pen(key, "log", "t", &of("anna")).write(1, None);
        assert_eq!(pen(key, "log", "t", &of("anna")).read(&own), told(1));
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
