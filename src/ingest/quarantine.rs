//! The reasons of quarantine: why an element could not be parsed.

use onrecord_json::{JsonError, MAX_DEPTH, MAX_VALUES};

/// What was parsed, or why it goes to quarantine.
pub(crate) type ParseResult<T> = Result<T, QuarantineReason>;

/// A reason: a code for queries and metrics ([`QuarantineReason::code`]) and a sentence for people
/// (`Display`). Neither contains any content, except names of documented members.
#[derive(
    Clone, Debug, PartialEq, Eq, thiserror::Error, strum::IntoStaticStr, strum::VariantNames,
)]
#[strum(serialize_all = "snake_case")]
pub enum QuarantineReason {
    /// The body is not text.
    #[error("the body is not text in UTF-8: it stops being so at byte {at}")]
    NotText {
        /// Offset from the start of the body, without its content codings.
        at: usize,
    },
    /// The body is not in the charset that it states or shows.
    #[error("the body is not text in {charset}, which its content type or its beginning states")]
    NotInCharset {
        /// The charset.
        charset: &'static str,
    },
    /// A content coding is unknown, or the body was damaged or cut on its way.
    #[error(
        "the content coding of the body ({coding}) is unknown, or the body is not in it; known are gzip, deflate, br and zstd, at most four"
    )]
    NotDecoded {
        /// The codings, as the header states them.
        coding: String,
    },
    /// The body is empty.
    #[error("the body is empty")]
    Empty,
    /// The sender or a proxy damaged it.
    #[error("this is not JSON: it stops being so at byte {at}")]
    NotJson {
        /// Offset from the start of the text of the body, or of the element.
        at: usize,
    },
    /// Azure events are not nested that deep.
    #[error("values are nested more than {MAX_DEPTH} levels deep")]
    TooDeep,
    /// Event Grid sends 5,000 at most.
    #[error("the array has more than {max} elements")]
    TooManyElements {
        /// The maximum.
        max: usize,
    },
    /// A delivery of Event Grid, at most 1 MiB, cannot contain that many.
    #[error("there are more than {MAX_VALUES} values")]
    TooManyValues,
    /// The pointers of the redacted values exceed their maximum length.
    #[error("too many members are sensitive")]
    TooManySensitiveMembers,
    /// The element, or the whole body, is another JSON value.
    #[error("an event is a JSON object, and this is not")]
    NotAnObject,
    /// For example the `data` of an event alone, or a notification of Microsoft Graph.
    #[error(
        "there is no envelope: neither `eventType`, nor `type` with `source`, `specversion` or `data`"
    )]
    NoEnvelope,
    /// The handshake cannot be answered.
    #[error("the validation of a subscription has no validation code")]
    NoValidationCode,
    /// The data of a CloudEvent in base64.
    #[error("data_base64 does not contain a JSON object")]
    Base64NotJson,
    /// Azure changed a type, or the event has another origin.
    #[error("{pointer} is not {expected}")]
    WrongType {
        /// The JSON pointer (RFC 6901) from the event.
        pointer: String,
        /// The type with its article: `a string`.
        expected: &'static str,
    },
    /// Without the member the event has another meaning: a roster without participants is not an
    /// empty roster.
    #[error("{pointer} is missing")]
    Missing {
        /// The JSON pointer (RFC 6901) from the event.
        pointer: String,
    },
    /// A value that is not documented.
    #[error("{pointer} is none of {allowed}")]
    UnknownValue {
        /// The JSON pointer (RFC 6901) from the event.
        pointer: String,
        /// The documented values.
        allowed: &'static str,
    },
}

impl QuarantineReason {
    /// The stable code.
    #[must_use]
    pub fn code(&self) -> &'static str {
        self.into()
    }

    /// The JSON pointer, from the event, of the member that is wrong.
    #[must_use]
    pub fn pointer(&self) -> Option<&str> {
        match self {
            Self::WrongType { pointer, .. }
            | Self::Missing { pointer }
            | Self::UnknownValue { pointer, .. } => Some(pointer),
            Self::NoValidationCode => Some("/data/validationCode"),
            Self::Base64NotJson => Some("/data_base64"),
            Self::NotText { .. }
            | Self::NotInCharset { .. }
            | Self::NotDecoded { .. }
            | Self::Empty
            | Self::NotJson { .. }
            | Self::TooDeep
            | Self::TooManyElements { .. }
            | Self::TooManyValues
            | Self::TooManySensitiveMembers
            | Self::NotAnObject
            | Self::NoEnvelope => None,
        }
    }
}

impl From<JsonError> for QuarantineReason {
    fn from(error: JsonError) -> Self {
        match error {
            JsonError::Syntax { at } => Self::NotJson { at },
            JsonError::Depth => Self::TooDeep,
            JsonError::Values => Self::TooManyValues,
        }
    }
}
