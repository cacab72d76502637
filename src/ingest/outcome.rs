//! The outcome of a delivery and the response to its sender.

use std::time::Duration;

use axum::http::header;
use axum::response::{IntoResponse, Response};

use super::auth::keys::AuthError;
use crate::http::problem::{Problem, ProblemKind};

/// Interval until the sender may try again. Event Grid waits at least this long after a 503.
const RETRY_AFTER: Duration = Duration::from_secs(30);

/// Why a delivery of an authenticated sender, or a handshake, is answered 503: the `reason` label of the
/// metric. Those of an unauthenticated sender are [`AuthError`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, strum::IntoStaticStr, strum::VariantNames)]
#[strum(serialize_all = "snake_case")]
pub(crate) enum RejectionReason {
    /// The path names no configured source.
    UnknownSource,
    /// A handshake without credential was one of too many, or its body did not arrive.
    Handshakes,
    /// The bodies in flight take as much memory as they may.
    BytesInFlight,
    /// Neither store is available.
    NoStore,
    /// The delivery was not durable in time.
    Deadline,
    /// The node shuts down.
    Stopping,
    /// The connection ended before the body was complete.
    BodyIncomplete,
    /// A fault of the service.
    Internal,
}

/// The reason why a delivery is answered 503.
#[derive(Debug)]
pub(crate) struct DeliveryRejection {
    /// The label of the metric.
    pub reason: &'static str,
    /// A sentence for the operator.
    pub detail: &'static str,
    /// Whether authentication failed.
    pub is_unauthenticated: bool,
}

impl DeliveryRejection {
    pub(crate) fn new(reason: RejectionReason, detail: &'static str) -> Self {
        Self { reason: reason.into(), detail, is_unauthenticated: false }
    }

    /// The sender did not authenticate.
    pub(crate) fn unauthenticated(error: AuthError) -> Self {
        Self { reason: error.into(), detail: error.hint(), is_unauthenticated: true }
    }

    /// The path names no configured source.
    pub(crate) fn unknown_source() -> Self {
        Self::new(
            RejectionReason::UnknownSource,
            "no source of this name and kind is configured: add it to [sources], or correct the address of the subscription",
        )
    }
}

/// The outcome of a delivery.
#[must_use]
pub(crate) enum DeliveryOutcome {
    /// All events are durable; `quarantined` of them are in quarantine.
    Durable { events: u64, quarantined: u64 },
    /// A handshake: the body of the response.
    Handshake(String),
    /// The response to `OPTIONS` allows this origin.
    AllowedOrigin(String),
    /// 503: the sender tries again.
    Rejected(DeliveryRejection),
    /// 413: the body exceeds its maximum size.
    TooLarge,
    /// 405.
    MethodNotAllowed,
}

impl IntoResponse for DeliveryOutcome {
    fn into_response(self) -> Response {
        match self {
            Self::Durable { events, quarantined } => {
                axum::Json(serde_json::json!({ "events": events, "quarantined": quarantined }))
                    .into_response()
            }
            Self::Handshake(answer) => {
                ([(header::CONTENT_TYPE, "application/json")], answer).into_response()
            }
            Self::AllowedOrigin(origin) => [
                ("webhook-allowed-origin", origin.as_str()),
                ("webhook-allowed-rate", "*"),
                ("allow", "POST"),
            ]
            .into_response(),
            Self::Rejected(rejection) => {
                Problem::try_again(rejection.detail, RETRY_AFTER).into_response()
            }
            Self::TooLarge => Problem::new(
                ProblemKind::TooLarge,
                "a body has at most 4 MiB, also without its content coding and in UTF-8: four times what Event Grid can send",
            )
            .into_response(),
            Self::MethodNotAllowed => {
                let problem = Problem::new(
                    ProblemKind::MethodNotAllowed,
                    "deliveries are sent by POST; OPTIONS is for the CloudEvents handshake",
                );
                ([(header::ALLOW, "POST, OPTIONS")], problem).into_response()
            }
        }
    }
}
