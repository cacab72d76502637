//! The end of a delivery, and what its sender is answered (design section 5).

use std::time::Duration;

use axum::http::{HeaderMap, HeaderName, HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};

use super::handshake::permission;
use crate::http::problem::{Problem, ProblemKind};

/// Event Grid waits at least so long after a 503 anyway.
const RETRY_AFTER: Duration = Duration::from_secs(30);

/// Why a delivery is answered 503.
#[derive(Debug)]
pub(super) struct Refusal {
    /// The label of the metric.
    pub reason: &'static str,
    /// What the operator should look at.
    pub detail: &'static str,
    /// It was refused for what it showed, or did not.
    pub is_disbelief: bool,
}

impl Refusal {
    pub fn new(reason: &'static str, detail: &'static str) -> Self {
        Self {
            reason,
            detail,
            is_disbelief: false,
        }
    }

    pub fn unknown_source() -> Self {
        Self::new(
            "unknown_source",
            "no source of this name and kind is configured: add it to [sources], or correct the address of the subscription",
        )
    }
}

/// The end of a delivery.
#[must_use]
pub(super) enum Verdict {
    /// Durable: so many events, so many of them in quarantine.
    Taken {
        events: u64,
        quarantined: u64,
    },
    /// The body of the answer.
    Handshake(String),
    Permission(Response),
    Refused(Refusal),
    TooLarge,
    Method,
}

impl Verdict {
    /// Answers `OPTIONS`.
    pub fn of_options(headers: &HeaderMap) -> Self {
        let origin = headers
            .get("webhook-request-origin")
            .and_then(|value| value.to_str().ok());
        let Some(permission) = permission(origin) else {
            return Self::Method;
        };
        let mut response = StatusCode::OK.into_response();
        for (name, value) in [
            ("webhook-allowed-origin", permission.allowed_origin.as_str()),
            ("webhook-allowed-rate", permission.allowed_rate),
            ("allow", permission.allow),
        ] {
            if let Ok(value) = HeaderValue::from_str(value) {
                response
                    .headers_mut()
                    .insert(HeaderName::from_static(name), value);
            }
        }
        Self::Permission(response)
    }
}

impl From<Refusal> for Verdict {
    fn from(refusal: Refusal) -> Self {
        Self::Refused(refusal)
    }
}

impl IntoResponse for Verdict {
    fn into_response(self) -> Response {
        match self {
            Self::Taken {
                events,
                quarantined,
            } => axum::Json(serde_json::json!({ "events": events, "quarantined": quarantined }))
                .into_response(),
            Self::Handshake(answer) => {
                let json = HeaderValue::from_static("application/json");
                ([(header::CONTENT_TYPE, json)], answer).into_response()
            }
            Self::Permission(response) => response,
            Self::Refused(refusal) => {
                Problem::try_again(refusal.detail, RETRY_AFTER).into_response()
            }
            Self::TooLarge => Problem::new(
                ProblemKind::TooLarge,
                "a body has at most 4 MiB, four times what Event Grid can send",
            )
            .into_response(),
            Self::Method => Problem::new(
                ProblemKind::MethodNotAllowed,
                "deliveries are sent by POST; OPTIONS is for the CloudEvents handshake",
            )
            .into_response(),
        }
    }
}
