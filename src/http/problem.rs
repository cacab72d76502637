//! The catalogue of problems (RFC 9457).
//!
//! A problem states what the caller must do. It never contains a stack trace, a secret or a body.
//! To add a kind, add a variant; the compiler then requires its status and title.

use std::borrow::Cow;
use std::time::Duration;

use axum::Json;
use axum::http::{HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};
use serde::{Serialize, Serializer};
use strum::VariantNames as _;
use utoipa::openapi::RefOr;
use utoipa::openapi::schema::{Object, ObjectBuilder, Schema, Type};
use utoipa::{PartialSchema, ToSchema};

/// Start of the type of every problem.
const TYPE_PREFIX: &str = "urn:onrecord:problem:";

/// The kinds of problems. The type URN of a kind is stable.
#[derive(Clone, Copy, Debug, PartialEq, Eq, strum::IntoStaticStr, strum::VariantNames)]
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
    /// The settings of the deployment do not permit it.
    NotConfigured,
    /// The caller sends too often, or holds too much.
    TooManyRequests,
    /// The service cannot accept the request now.
    TryAgain,
    /// A fault of the service.
    Internal,
}

impl ProblemKind {
    /// The last part of the type URN.
    pub(crate) fn name(self) -> &'static str {
        self.into()
    }

    /// The status of the response.
    pub(crate) fn status(self) -> StatusCode {
        self.status_and_title().0
    }

    /// The kind as a sentence.
    pub(crate) fn title(self) -> &'static str {
        self.status_and_title().1
    }

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
            Self::NotConfigured => {
                (StatusCode::NOT_IMPLEMENTED, "The service is not configured for it.")
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

/// A problem document (RFC 9457): why a request is refused, and what the caller must do.
#[derive(Serialize, ToSchema)]
#[schema(as = Problem)]
struct ProblemBody<'a> {
    /// The kind of the problem. It is stable.
    #[schema(schema_with = type_schema)]
    r#type: String,
    /// The kind as a sentence.
    title: &'static str,
    /// The status of the response.
    #[schema(minimum = 400, maximum = 599)]
    status: u16,
    /// What is wrong with this request, and what the caller must do.
    detail: &'a str,
    /// The member or parameter that is wrong: a JSON pointer for a body, else a name.
    #[serde(skip_serializing_if = "Option::is_none")]
    member: Option<&'a str>,
    /// The values that are allowed there.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<Vec<String>>)]
    allowed: Option<&'static [&'static str]>,
}

/// The schema of the type of a problem.
fn type_schema() -> Object {
    let types = ProblemKind::VARIANTS.iter().map(|kind| format!("{TYPE_PREFIX}{kind}"));
    ObjectBuilder::new()
        .schema_type(Type::String)
        .enum_values(Some(types))
        .description(Some("The kind of the problem. It is stable."))
        .build()
}

impl PartialSchema for Problem {
    fn schema() -> RefOr<Schema> {
        ProblemBody::schema()
    }
}

impl ToSchema for Problem {
    fn name() -> Cow<'static, str> {
        ProblemBody::name()
    }
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

    pub(crate) fn kind(&self) -> ProblemKind {
        self.kind
    }

    pub(crate) fn detail(&self) -> &str {
        &self.detail
    }

    /// The member or parameter that is wrong.
    pub(crate) fn member(&self) -> Option<&str> {
        self.member.as_deref()
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
            r#type: format!("{TYPE_PREFIX}{}", self.kind.name()),
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
        // The console shows it as a page.
        response.extensions_mut().insert(self);
        response
    }
}
