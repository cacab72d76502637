//! The outcome of a delivery and the response to its sender.

use std::time::Duration;

use axum::http::header;
use axum::response::{IntoResponse, Response};
use serde::Serialize;
use utoipa::ToSchema;

use super::auth::keys::AuthError;
use super::handshake::Handshake;
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

/// What became of a delivery: every event is durable. Or the answer to the validation of a
/// subscription.
#[derive(Serialize, ToSchema)]
#[serde(untagged)]
#[schema(as = DeliveryAnswer)]
pub(super) enum DeliveryView {
    /// Every event is durable.
    #[schema(title = "Stored")]
    Stored {
        /// Number of events.
        events: u64,
        /// How many of them are in quarantine, because they were not understood.
        quarantined: u64,
    },
    /// The subscription is validated.
    Validated(Handshake),
}

/// The outcome of a delivery.
#[must_use]
pub(crate) enum DeliveryOutcome {
    /// All events are durable; `quarantined` of them are in quarantine.
    Durable { events: u64, quarantined: u64 },
    /// A handshake.
    Handshake(Handshake),
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
                axum::Json(DeliveryView::Stored { events, quarantined }).into_response()
            }
            Self::Handshake(handshake) => {
                axum::Json(DeliveryView::Validated(handshake)).into_response()
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
