//! The reasons for which a stream ends or is not opened.

use std::time::Duration;

use crate::clock;
use crate::http::problem::{Problem, ProblemKind};
use crate::http::shared_capacity::CapacityExceeded;
use crate::http::subscriber_token::TokenError;
use crate::live::coverage::NotGranted;
use crate::live::fanout::message::{BuildInstant, MessageKind, StreamMessage};
use onrecord_evidence::event::instant::Millis;

/// Time after which a client should open a stream again for which there was no place.
const RETRY_AFTER: Duration = Duration::from_secs(5);

/// Why a stream ends, or is not opened although the request is valid.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum CloseReason {
    /// This node shuts down.
    Stopping,
    /// The caller, its tenant or this node has the maximum number of streams.
    Full(CapacityExceeded),
    TokenExpired,
    TokenRevoked,
    /// The token does not grant the call, and the tenant requires it.
    NotGranted(NotGranted),
    KeyRevoked,
    /// A newer stream of the participant took the place of this one.
    Replaced,
    /// The queue of the stream was full for too long.
    TooSlow,
}

impl CloseReason {
    /// The reason as a sentence for the client.
    pub(crate) fn sentence(self) -> &'static str {
        match self {
            Self::Stopping => "the server is shutting down; come back with the cursor",
            Self::Full(CapacityExceeded::Caller) => {
                "this API key has as many streams as it may; close those that are not read"
            }
            Self::Full(CapacityExceeded::Tenant) => {
                "this tenant has its share of the streams of this node; come back in a while"
            }
            Self::Full(CapacityExceeded::Total) => {
                "this node serves as many streams as it may; come back in a while"
            }
            Self::TokenExpired => {
                "the subscriber token has expired; come back with another one and the cursor"
            }
            Self::TokenRevoked => {
                "the subscriber token was revoked; come back with another one and the cursor"
            }
            Self::NotGranted(reason) => reason.sentence(),
            Self::KeyRevoked => "the API key was revoked",
            Self::Replaced => {
                "this participant has as many newer streams as it may; close those that are not read"
            }
            Self::TooSlow => {
                "this stream was read too slowly and is closed; come back with the cursor"
            }
        }
    }

    /// The stable code of the reason.
    fn code(self) -> &'static str {
        match self {
            Self::Stopping => "stopping",
            Self::Full(CapacityExceeded::Caller) => "too_many_streams",
            Self::Full(CapacityExceeded::Tenant | CapacityExceeded::Total) => "full",
            Self::TokenExpired => "token_expired",
            Self::TokenRevoked => "token_revoked",
            Self::NotGranted(_) => "not_granted",
            Self::KeyRevoked => "key_revoked",
            Self::Replaced => "replaced",
            Self::TooSlow => "too_slow",
        }
    }

    /// The last message of a stream.
    pub(crate) fn last_message(self, at: Millis) -> StreamMessage {
        let kind = if self == Self::TooSlow { MessageKind::Gap } else { MessageKind::Bye };
        let time = BuildInstant { at, now: clock::now_ms() };
        StreamMessage::closing(kind, self.code(), self.sentence(), time)
    }
}

/// A stream is not opened.
pub(crate) enum SubscribeError {
    /// The stream would end at once.
    Closed(CloseReason),
    /// The request or its credential is not valid.
    Rejected(Problem),
}

impl From<Problem> for SubscribeError {
    fn from(problem: Problem) -> Self {
        Self::Rejected(problem)
    }
}

impl From<SubscribeError> for Problem {
    fn from(error: SubscribeError) -> Self {
        let reason = match error {
            SubscribeError::Rejected(problem) => return problem,
            SubscribeError::Closed(reason) => reason,
        };
        match reason {
            CloseReason::TokenExpired => TokenError::Expired.into(),
            CloseReason::TokenRevoked => TokenError::Revoked.into(),
            CloseReason::NotGranted(reason) => reason.into(),
            CloseReason::KeyRevoked => Self::new(ProblemKind::Unauthorized, reason.sentence()),
            CloseReason::Stopping => Self::try_again(reason.sentence(), Duration::from_secs(1)),
            CloseReason::Full(CapacityExceeded::Caller) => {
                Self::too_many(reason.sentence(), RETRY_AFTER)
            }
            CloseReason::Full(_) | CloseReason::Replaced | CloseReason::TooSlow => {
                Self::try_again(reason.sentence(), RETRY_AFTER)
            }
        }
    }
}
