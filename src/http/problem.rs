//! The catalogue of problems (RFC 9457).
//!
//! A problem states what the caller must do. It never contains a stack trace, a secret or a body.
//! To add a kind, add a variant; the compiler then requires its status and title.

use std::time::Duration;

use axum::Json;
use axum::http::{HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};
use serde::{Serialize, Serializer};

/// The kinds of problems. The type URN of a kind is stable.
#[derive(Clone, Copy, Debug, PartialEq, Eq, strum::IntoStaticStr)]
#[strum(serialize_all = "kebab-case")]
pub enum ProblemKind {
    /// A member or parameter is wrong.
    InvalidRequest,
    /// No credential, or an unknown one.
    Unauthorized,
    /// The caller is known, but lacks the permission.
    Forbidden,
    /// The subscriber token was revoked.
    TokenRevoked,
    /// The subscriber token does not grant the call, and the tenant requires it.
    NotGranted,
    NotFound,
    MethodNotAllowed,
    /// The request contradicts what is stored.
    Conflict,
    TooLarge,
    /// The answer would need more memory than one may have.
    AnswerTooLarge,
    /// The range begins after the end of the file.
    RangeNotSatisfiable,
    /// The caller sends too often, or holds too much.
    TooManyRequests,
    /// The service cannot accept the request now.
    TryAgain,
    /// A fault of the service.
    Internal,
}

impl ProblemKind {
    fn status_and_title(self) -> (StatusCode, &'static str) {
        match self {
            Self::InvalidRequest => (StatusCode::BAD_REQUEST, "The request is not valid."),
            Self::Unauthorized => (StatusCode::UNAUTHORIZED, "A valid credential is required."),
            Self::Forbidden => (StatusCode::FORBIDDEN, "This credential does not permit it."),
            Self::TokenRevoked => (StatusCode::UNAUTHORIZED, "The subscriber token was revoked."),
            Self::NotGranted => {
                (StatusCode::FORBIDDEN, "The subscriber token does not grant this call.")
            }
            Self::NotFound => (StatusCode::NOT_FOUND, "The resource does not exist."),
            Self::MethodNotAllowed => {
                (StatusCode::METHOD_NOT_ALLOWED, "The resource does not have this method.")
            }
            Self::Conflict => (StatusCode::CONFLICT, "The request contradicts what is stored."),
            Self::TooLarge => (StatusCode::PAYLOAD_TOO_LARGE, "The body is too large."),
            Self::AnswerTooLarge => {
                (StatusCode::UNPROCESSABLE_ENTITY, "The answer would be too large.")
            }
            Self::RangeNotSatisfiable => {
                (StatusCode::RANGE_NOT_SATISFIABLE, "The file has no such part.")
            }
            Self::TooManyRequests => {
                (StatusCode::TOO_MANY_REQUESTS, "There are too many requests.")
            }
            Self::TryAgain => (
                StatusCode::SERVICE_UNAVAILABLE,
                "The request cannot be accepted now; send it again.",
            ),
            Self::Internal => (StatusCode::INTERNAL_SERVER_ERROR, "The server failed."),
        }
    }
}

/// A problem document.
#[derive(Clone, Debug)]
pub(crate) struct Problem {
    kind: ProblemKind,
    detail: String,
    /// The member or parameter that is wrong, as a JSON pointer or a name.
    member: Option<String>,
    /// The values that are allowed there.
    allowed: Option<&'static [&'static str]>,
    retry_after: Option<Duration>,
}

#[derive(Serialize)]
struct ProblemBody<'a> {
    r#type: String,
    title: &'static str,
    status: u16,
    detail: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    member: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    allowed: Option<&'static [&'static str]>,
}

impl Problem {
    /// A problem with a sentence for the caller.
    pub(crate) fn new(kind: ProblemKind, detail: impl Into<String>) -> Self {
        Self { kind, detail: detail.into(), member: None, allowed: None, retry_after: None }
    }

    /// A wrong member or parameter.
    pub(crate) fn invalid(member: impl Into<String>, detail: impl Into<String>) -> Self {
        Self { member: Some(member.into()), ..Self::new(ProblemKind::InvalidRequest, detail) }
    }

    /// The resource does not exist, or belongs to another tenant; the response does not distinguish
    /// the two.
    pub(crate) fn not_found(detail: impl Into<String>) -> Self {
        Self::new(ProblemKind::NotFound, detail)
    }

    /// The same request may succeed after this time.
    pub(crate) fn try_again(detail: impl Into<String>, after: Duration) -> Self {
        Self { retry_after: Some(after), ..Self::new(ProblemKind::TryAgain, detail) }
    }

    /// The caller sends too often; it may send again after this time.
    pub(crate) fn too_many(detail: impl Into<String>, after: Duration) -> Self {
        Self { retry_after: Some(after), ..Self::new(ProblemKind::TooManyRequests, detail) }
    }

    /// The problem of a member, placed below this JSON pointer.
    #[must_use]
    pub(crate) fn within(mut self, pointer: &str) -> Self {
        let member = self.member.unwrap_or_default();
        self.member = Some(format!("{pointer}{member}"));
        self
    }

    /// Adds a part to the sentence for the caller.
    #[must_use]
    pub(crate) fn adding(mut self, more: &str) -> Self {
        self.detail = format!("{}; {more}", self.detail);
        self
    }

    /// Adds the allowed values.
    #[must_use]
    pub(crate) fn allowing(mut self, values: &'static [&'static str]) -> Self {
        self.allowed = Some(values);
        self
    }
}

impl Serialize for Problem {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let (status, title) = self.kind.status_and_title();
        let document = ProblemBody {
            r#type: format!("urn:onrecord:problem:{}", <&str>::from(self.kind)),
            title,
            status: status.as_u16(),
            detail: &self.detail,
            member: self.member.as_deref(),
            allowed: self.allowed,
        };
        document.serialize(serializer)
    }
}

impl IntoResponse for Problem {
    fn into_response(self) -> Response {
        let mut response = (self.kind.status_and_title().0, Json(&self)).into_response();
        let headers = response.headers_mut();
        headers.insert(header::CONTENT_TYPE, HeaderValue::from_static("application/problem+json"));
        headers.insert(header::CACHE_CONTROL, HeaderValue::from_static("no-store"));
        if let Some(after) = self.retry_after {
            headers.insert(
                header::RETRY_AFTER,
                // Rounded up, so that a retry after this time is not too early.
                HeaderValue::from(after.as_millis().div_ceil(1000).max(1) as u64),
            );
        }
        if matches!(self.kind, ProblemKind::Unauthorized | ProblemKind::TokenRevoked) {
            headers.insert(header::WWW_AUTHENTICATE, HeaderValue::from_static("Bearer"));
        }
        response
    }
}
