//! Redaction: the original byte for byte, except for what must not be kept (law 9).
//!
//! # Why
//!
//! An original that was parsed and written again would be *our* text. So the values of forbidden
//! members are cut out of the text as received, each replaced by a JSON string, and nothing else
//! is touched: not the order, not the blanks, not a member that occurs twice. What is normalized
//! afterwards is read from the redacted text, so nothing can pass by the redaction.

use std::borrow::Cow;
use std::ops::Range;

use super::blank::{BLANKED, Screening, screen};
use super::forbidden::Vocabulary;
use super::json::{Document, Kind, Node};

/// In the place of a value, or of a name, that must not be kept.
const REDACTED: &str = "\"[redacted]\"";

/// In the place of what an event that is not about calls contains.
const NOT_KEPT: &str = "\"[not kept]\"";

/// The pointers of one event may take so many bytes together. An event of Azure has one or two
/// forbidden members; what has thousands is none.
const MOST_POINTER_BYTES: usize = 64 * 1024;

/// The members of an envelope, in both schemas and in dead-letter records; all that is kept of an
/// event that is not about calls.
const ENVELOPE: &[&str] = &[
    "id",
    "topic",
    "source",
    "subject",
    "type",
    "eventType",
    "time",
    "eventTime",
    "specversion",
    "dataVersion",
    "metadataVersion",
    "datacontenttype",
    "dataschema",
    "deadLetterReason",
    "deliveryAttempts",
    "lastDeliveryOutcome",
    "publishTime",
    "lastDeliveryAttemptTime",
];

/// What an event is about, and so what of it may be kept.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Scope {
    /// Calls: everything but the values of forbidden names.
    Calls {
        /// The member `data_base64` was looked into, and holds nothing that is forbidden.
        base64_is_clean: bool,
    },
    /// Something else: the envelope.
    Foreign,
    /// Nobody can tell: everything but the values of forbidden names, those of messages included.
    Untold,
}

impl Scope {
    fn vocabulary(self) -> Vocabulary {
        match self {
            Self::Calls { .. } => Vocabulary::Calls,
            Self::Foreign | Self::Untold => Vocabulary::Anything,
        }
    }
}

/// A text that may be kept.
#[derive(Clone, PartialEq, Eq)]
pub(super) struct Redacted {
    pub(super) text: String,
    /// Where something was taken out, as JSON pointers (RFC 6901).
    pub(super) pointers: Vec<String>,
}

/// So much would have to be taken out that the places cannot be listed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct TooMuch;

/// Takes out what must not be kept.
///
/// # Errors
///
/// [`TooMuch`]: the text can only be blanked.
pub(super) fn redact(document: &Document<'_>, scope: Scope) -> Result<Redacted, TooMuch> {
    let mut redaction = Redaction {
        vocabulary: scope.vocabulary(),
        path: String::new(),
        cuts: Vec::new(),
        pointers: Vec::new(),
        pointer_bytes: 0,
    };
    let root = document.root();
    if root.kind() == Kind::Object {
        for (name, value) in root.members() {
            let decoded = name.decoded();
            let is = |member: &str| decoded.eq_ignore_ascii_case(member);
            match scope {
                Scope::Foreign if !ENVELOPE.iter().any(|member| is(member)) => {
                    redaction.withhold(name, value)?;
                }
                Scope::Calls {
                    base64_is_clean: true,
                } if is("data_base64") => {}
                _ => redaction.member(name, value)?,
            }
        }
    } else {
        redaction.value(root)?;
    }
    Ok(Redacted {
        text: redaction.cut_out_of(document.text()),
        pointers: redaction.pointers,
    })
}

struct Redaction {
    vocabulary: Vocabulary,
    /// The JSON pointer of the value that is being looked at.
    path: String,
    /// Bytes of the text and what replaces them, in their order.
    cuts: Vec<(Range<usize>, &'static str)>,
    pointers: Vec<String>,
    pointer_bytes: usize,
}

impl Redaction {
    /// Looks at a value and everything in it. Recursion ends at [`super::json::DEEPEST`].
    fn value(&mut self, value: Node<'_>) -> Result<(), TooMuch> {
        match value.kind() {
            Kind::Object => {
                for (name, member) in value.members() {
                    self.member(name, member)?;
                }
                Ok(())
            }
            Kind::Array => {
                for (index, element) in value.elements().enumerate() {
                    self.within(&index.to_string(), |redaction| redaction.value(element))?;
                }
                Ok(())
            }
            Kind::Text => self.string(value),
            Kind::Number | Kind::True | Kind::False | Kind::Null => Ok(()),
        }
    }

    fn member(&mut self, name: Node<'_>, value: Node<'_>) -> Result<(), TooMuch> {
        let forbidden = self.vocabulary.forbids(&name.decoded());
        let hides = screen(name.quoted(), self.vocabulary) != Screening::Clean;
        self.within(&step_of(name, hides), |redaction| {
            if hides {
                redaction.cut(name.place(), REDACTED)?;
            }
            if forbidden {
                redaction.cut(value.place(), REDACTED)
            } else {
                redaction.value(value)
            }
        })
    }

    fn withhold(&mut self, name: Node<'_>, value: Node<'_>) -> Result<(), TooMuch> {
        let hides = screen(name.quoted(), self.vocabulary) != Screening::Clean;
        self.within(&step_of(name, hides), |redaction| {
            if hides {
                redaction.cut(name.place(), REDACTED)?;
            }
            redaction.cut(value.place(), NOT_KEPT)
        })
    }

    fn string(&mut self, value: Node<'_>) -> Result<(), TooMuch> {
        let quoted = value.quoted();
        match screen(quoted, self.vocabulary) {
            Screening::Clean => Ok(()),
            Screening::Whole => self.cut(value.place(), REDACTED),
            Screening::Parts(parts) => {
                // Behind the opening quotation mark.
                let start = value.place().start + 1;
                for part in parts {
                    self.cuts
                        .push((start + part.start..start + part.end, BLANKED));
                }
                self.list()
            }
        }
    }

    fn within(
        &mut self,
        step: &str,
        look: impl FnOnce(&mut Self) -> Result<(), TooMuch>,
    ) -> Result<(), TooMuch> {
        let length = self.path.len();
        self.path.push('/');
        self.path.push_str(step);
        let looked = look(self);
        self.path.truncate(length);
        looked
    }

    fn cut(&mut self, place: Range<usize>, replacement: &'static str) -> Result<(), TooMuch> {
        self.cuts.push((place, replacement));
        self.list()
    }

    fn list(&mut self) -> Result<(), TooMuch> {
        self.pointer_bytes += self.path.len();
        if self.pointer_bytes > MOST_POINTER_BYTES {
            return Err(TooMuch);
        }
        self.pointers.push(self.path.clone());
        Ok(())
    }

    fn cut_out_of(&self, text: &str) -> String {
        let mut kept = String::with_capacity(text.len());
        let mut from = 0;
        for (place, replacement) in &self.cuts {
            kept.push_str(text.get(from..place.start).unwrap_or_default());
            kept.push_str(replacement);
            from = place.end;
        }
        kept.push_str(text.get(from..).unwrap_or_default());
        kept
    }
}

/// A name's step in a pointer; a name that hides something is not repeated.
fn step_of<'d>(name: Node<'d>, hides: bool) -> Cow<'d, str> {
    if hides {
        return Cow::Borrowed(BLANKED);
    }
    let decoded = name.decoded();
    if decoded.contains(['~', '/']) {
        return Cow::Owned(decoded.replace('~', "~0").replace('/', "~1"));
    }
    decoded
}

#[cfg(test)]
mod tests {
    use super::*;

    const CALLS: Scope = Scope::Calls {
        base64_is_clean: false,
    };

    fn redacted(text: &str, scope: Scope) -> (String, Vec<String>) {
        let redacted = redact(&Document::parse(text).unwrap(), scope).ok().unwrap();
        (redacted.text, redacted.pointers)
    }

    #[test]
    fn only_the_values_of_forbidden_members_are_replaced() {
        assert_eq!(
            redacted(
                "{ \"a/b\": [1.0, {\"Token\" : {\"x\":[]} , \"b\":\"\\u0041\"}],\n\"tones\":[1],\"tones\":null }",
                CALLS
            ),
            (
                "{ \"a/b\": [1.0, {\"Token\" : \"[redacted]\" , \"b\":\"\\u0041\"}],\n\"tones\":\"[redacted]\",\"tones\":\"[redacted]\" }".to_owned(),
                ["/a~1b/1/Token", "/tones", "/tones"].map(str::to_owned).to_vec()
            )
        );
    }

    #[test]
    fn a_name_that_hides_something_is_taken_out_too() {
        assert_eq!(
            redacted(r#"{"{\"token\":\"S\",\"a\":1}":{"b":1,"pin":2}}"#, CALLS),
            (
                r#"{"[redacted]":{"b":1,"pin":"[redacted]"}}"#.to_owned(),
                ["/[redacted]", "/[redacted]/pin"]
                    .map(str::to_owned)
                    .to_vec()
            )
        );
    }

    #[test]
    fn of_a_url_only_the_credential_goes() {
        assert_eq!(
            redacted(r#"["https://h/p?a=1\u0026sig=S%2B\u0026b=2"]"#, CALLS),
            (
                r#"["https://h/p?a=1\u0026sig=[redacted]\u0026b=2"]"#.to_owned(),
                vec!["/0".to_owned()]
            )
        );
    }

    #[test]
    fn hidden_content_stays_only_where_it_was_looked_into() {
        let text = r#"{"data_base64":"e30","x":{"data_base64":"e30"}}"#;
        let clean = Scope::Calls {
            base64_is_clean: true,
        };
        assert_eq!(
            redacted(text, clean).0,
            r#"{"data_base64":"e30","x":{"data_base64":"[redacted]"}}"#
        );
        assert_eq!(redacted(text, CALLS).1, ["/data_base64", "/x/data_base64"]);
    }

    #[test]
    fn what_names_too_much_is_not_listed() {
        let deep = format!(
            "{{\"{}\":[{}1]}}",
            "k".repeat(1_000),
            "{\"pin\":1},".repeat(100)
        );
        let document = Document::parse(&deep).unwrap();
        assert!(redact(&document, CALLS).is_err());
    }
}
