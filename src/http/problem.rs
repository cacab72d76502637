//! The catalogue of problems (RFC 9457).
//!
//! To add one: add a variant, and let the compiler ask for its status, title and type. A problem
//! says what the caller must do; it never holds a stack trace, a secret or a body.

use std::time::Duration;

use axum::Json;
use axum::http::{HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};
use serde::{Serialize, Serializer};

use crate::store::StoreError;

/// What can be wrong, as the outside sees it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ProblemKind {
    /// A member or parameter is wrong.
    InvalidRequest,
    /// No credential, or one that we do not know.
    Unauthorized,
    /// A known caller who may not do this.
    Forbidden,
    NotFound,
    MethodNotAllowed,
    /// It contradicts what is there.
    Conflict,
    TooLarge,
    /// The caller asks too often or holds too much.
    TooManyRequests,
    /// We could not take it now.
    TryAgain,
    /// Our fault.
    Internal,
}

impl ProblemKind {
    fn status(self) -> StatusCode {
        match self {
            Self::InvalidRequest => StatusCode::BAD_REQUEST,
            Self::Unauthorized => StatusCode::UNAUTHORIZED,
            Self::Forbidden => StatusCode::FORBIDDEN,
            Self::NotFound => StatusCode::NOT_FOUND,
            Self::MethodNotAllowed => StatusCode::METHOD_NOT_ALLOWED,
            Self::Conflict => StatusCode::CONFLICT,
            Self::TooLarge => StatusCode::PAYLOAD_TOO_LARGE,
            Self::TooManyRequests => StatusCode::TOO_MANY_REQUESTS,
            Self::TryAgain => StatusCode::SERVICE_UNAVAILABLE,
            Self::Internal => StatusCode::INTERNAL_SERVER_ERROR,
        }
    }

    fn slug(self) -> &'static str {
        match self {
            Self::InvalidRequest => "invalid-request",
            Self::Unauthorized => "unauthorized",
            Self::Forbidden => "forbidden",
            Self::NotFound => "not-found",
            Self::MethodNotAllowed => "method-not-allowed",
            Self::Conflict => "conflict",
            Self::TooLarge => "too-large",
            Self::TooManyRequests => "too-many-requests",
            Self::TryAgain => "try-again",
            Self::Internal => "internal",
        }
    }

    fn title(self) -> &'static str {
        match self {
            Self::InvalidRequest => "The request cannot be understood.",
            Self::Unauthorized => "A valid credential is needed.",
            Self::Forbidden => "This credential does not permit it.",
            Self::NotFound => "There is no such thing.",
            Self::MethodNotAllowed => "This method is not offered here.",
            Self::Conflict => "It contradicts what is there.",
            Self::TooLarge => "The body is too large.",
            Self::TooManyRequests => "Too much at one time.",
            Self::TryAgain => "It cannot be taken now; send it again.",
            Self::Internal => "The server failed.",
        }
    }
}

/// A problem document.
#[derive(Clone, Debug)]
pub struct Problem {
    kind: ProblemKind,
    detail: String,
    /// The member or parameter concerned, as a JSON pointer or a name.
    member: Option<String>,
    /// What is allowed there.
    allowed: Option<&'static [&'static str]>,
    retry_after: Option<Duration>,
}

#[derive(Serialize)]
struct Document<'a> {
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
    pub fn new(kind: ProblemKind, detail: impl Into<String>) -> Self {
        Self {
            kind,
            detail: detail.into(),
            member: None,
            allowed: None,
            retry_after: None,
        }
    }

    /// A wrong member or parameter.
    pub fn invalid(member: impl Into<String>, detail: impl Into<String>) -> Self {
        Self {
            member: Some(member.into()),
            ..Self::new(ProblemKind::InvalidRequest, detail)
        }
    }

    /// Nothing there, or nothing of this tenant's: the two are not told apart.
    pub fn not_found(detail: impl Into<String>) -> Self {
        Self::new(ProblemKind::NotFound, detail)
    }

    /// Come back later.
    pub fn try_again(detail: impl Into<String>, after: Duration) -> Self {
        Self {
            retry_after: Some(after),
            ..Self::new(ProblemKind::TryAgain, detail)
        }
    }

    /// Come back later, and less often.
    pub fn too_many(detail: impl Into<String>, after: Duration) -> Self {
        Self {
            retry_after: Some(after),
            ..Self::new(ProblemKind::TooManyRequests, detail)
        }
    }

    /// The same problem of a part of a body, at this JSON pointer.
    #[must_use]
    pub fn within(mut self, pointer: &str) -> Self {
        let member = self.member.unwrap_or_default();
        self.member = Some(format!("{pointer}{member}"));
        self
    }

    /// What would be allowed.
    #[must_use]
    pub fn allowing(mut self, values: &'static [&'static str]) -> Self {
        self.allowed = Some(values);
        self
    }
}

impl Serialize for Problem {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let document = Document {
            r#type: format!("urn:onrecord:problem:{}", self.kind.slug()),
            title: self.kind.title(),
            status: self.kind.status().as_u16(),
            detail: &self.detail,
            member: self.member.as_deref(),
            allowed: self.allowed,
        };
        document.serialize(serializer)
    }
}

impl IntoResponse for Problem {
    fn into_response(self) -> Response {
        let mut response = (self.kind.status(), Json(&self)).into_response();
        let headers = response.headers_mut();
        headers.insert(
            header::CONTENT_TYPE,
            HeaderValue::from_static("application/problem+json"),
        );
        headers.insert(header::CACHE_CONTROL, HeaderValue::from_static("no-store"));
        if let Some(after) = self.retry_after {
            headers.insert(
                header::RETRY_AFTER,
                // Rounded up: whoever comes back in time is not sent away again.
                HeaderValue::from(after.as_millis().div_ceil(1000).max(1) as u64),
            );
        }
        if self.kind == ProblemKind::Unauthorized {
            headers.insert(header::WWW_AUTHENTICATE, HeaderValue::from_static("Bearer"));
        }
        response
    }
}

impl From<StoreError> for Problem {
    fn from(error: StoreError) -> Self {
        match error {
            StoreError::Unavailable(_)
            | StoreError::Contended(_)
            | StoreError::UnknownOutcome(_)
            | StoreError::Fenced => {
                tracing::warn!(error = %error, "the store did not answer: {error}");
                Self::try_again("the store does not answer now", Duration::from_secs(5))
            }
            // A question stores nothing: what Postgres refuses came in a parameter.
            StoreError::Content(error) => {
                tracing::debug!(error = %error, "postgres refuses a parameter: {error}");
                Self::new(
                    ProblemKind::InvalidRequest,
                    "a parameter holds what cannot be looked up: a NUL, or more than an index takes",
                )
            }
            StoreError::Fault(_) | StoreError::Inconsistent(_) | StoreError::Schema(_) => {
                tracing::error!(error = %error, "the store failed: {error}");
                Self::new(ProblemKind::Internal, "the server's log says more")
            }
        }
    }
}
