//! Why something was not understood and lies in quarantine.

use super::json::{DEEPEST, Fault, MOST_VALUES};

/// The reason, as a code for queries and metrics ([`Reason::code`]) and a sentence for people
/// (`Display`). Neither holds anything of the content but names of members that we know.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Reason {
    /// Only hash, length and content type can be kept.
    #[error("the body is not text in UTF-8")]
    NotText,
    /// There is nothing to keep.
    #[error("the body is empty")]
    Empty,
    /// The sender, or something on the way, damaged it.
    #[error("this is not JSON: it stops being so at byte {at}")]
    NotJson {
        /// From the start of the body, or of the element.
        at: usize,
    },
    /// Nothing of Azure's is nested like this.
    #[error("values are nested more than {DEEPEST} levels deep")]
    TooDeep,
    /// Event Grid sends 5,000 at most.
    #[error("the array has more than {} elements", super::batch::MOST_ELEMENTS)]
    TooManyElements,
    /// All of Event Grid's 1 MiB cannot hold so many.
    #[error("there are more than {MOST_VALUES} values")]
    TooManyValues,
    /// The places where something was taken out could not be listed.
    #[error("too many members hold what may not be kept")]
    TooMuchForbidden,
    /// An element of a batch, or a whole body.
    #[error("an event is a JSON object, and this is none")]
    NotAnObject,
    /// For example the `data` of an event by itself, or a notification of Microsoft Graph.
    #[error(
        "there is no envelope: neither `eventType`, nor `type` with `source`, `specversion` or `data`"
    )]
    NoEnvelope,
    /// Event Grid cannot be answered.
    #[error("the validation of a subscription holds no validation code")]
    NoValidationCode,
    /// The envelope is CloudEvents, the content is hidden.
    #[error("data_base64 does not hold a JSON object")]
    HiddenNotJson,
    /// Azure changed a type, or somebody else wrote the event.
    #[error("{pointer} is not {expected}")]
    WrongType {
        /// RFC 6901, from the event.
        pointer: String,
        /// With its article: `a string`.
        expected: &'static str,
    },
    /// A number that nothing of ours can hold.
    #[error("{pointer} is out of range")]
    OutOfRange {
        /// RFC 6901, from the event.
        pointer: String,
    },
    /// Without it the event would say something else: a roster without participants is no empty
    /// roster.
    #[error("{pointer} is missing")]
    Missing {
        /// RFC 6901, from the event.
        pointer: String,
    },
    /// A new value, that somebody has to understand first.
    #[error("{pointer} is none of {allowed}")]
    UnknownValue {
        /// RFC 6901, from the event.
        pointer: String,
        /// The values that are known.
        allowed: &'static str,
    },
}

impl Reason {
    /// The stable code.
    #[must_use]
    pub fn code(&self) -> &'static str {
        match self {
            Self::NotText => "not_text",
            Self::Empty => "empty",
            Self::NotJson { .. } => "not_json",
            Self::TooDeep => "too_deep",
            Self::TooManyElements => "too_many_elements",
            Self::TooManyValues => "too_many_values",
            Self::TooMuchForbidden => "too_much_forbidden",
            Self::NotAnObject => "not_an_object",
            Self::NoEnvelope => "no_envelope",
            Self::NoValidationCode => "no_validation_code",
            Self::HiddenNotJson => "hidden_not_json",
            Self::WrongType { .. } => "wrong_type",
            Self::OutOfRange { .. } => "out_of_range",
            Self::Missing { .. } => "missing",
            Self::UnknownValue { .. } => "unknown_value",
        }
    }

    /// The member that is meant, as a JSON pointer from the event.
    #[must_use]
    pub fn pointer(&self) -> Option<&str> {
        match self {
            Self::WrongType { pointer, .. }
            | Self::OutOfRange { pointer }
            | Self::Missing { pointer }
            | Self::UnknownValue { pointer, .. } => Some(pointer),
            Self::NoValidationCode => Some("/data/validationCode"),
            Self::HiddenNotJson => Some("/data_base64"),
            Self::NotText
            | Self::Empty
            | Self::NotJson { .. }
            | Self::TooDeep
            | Self::TooManyElements
            | Self::TooManyValues
            | Self::TooMuchForbidden
            | Self::NotAnObject
            | Self::NoEnvelope => None,
        }
    }
}

impl From<Fault> for Reason {
    fn from(fault: Fault) -> Self {
        match fault {
            Fault::Syntax { at } => Self::NotJson { at },
            Fault::Depth => Self::TooDeep,
            Fault::Values => Self::TooManyValues,
        }
    }
}
