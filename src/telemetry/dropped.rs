//! Counts and logs what is dropped because it can be neither written nor read.
//!
//! # Why
//!
//! Some of it cannot happen: these types always serialize. If it happens nevertheless, it is a fault of
//! this service that must show (`NOTHING_LOST`).

use std::fmt::Display;
use std::sync::LazyLock;
use std::time::{Duration, Instant};

use metrics::counter;

use super::log_limiter::LogLimiter;
use super::names;

/// Interval between two log lines of one kind.
const LOG_INTERVAL: Duration = Duration::from_secs(10);

static LOG_LIMITER: LazyLock<LogLimiter<DroppedContent>> =
    LazyLock::new(|| LogLimiter::new(LOG_INTERVAL));

/// What is dropped.
#[derive(
    Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, strum::IntoStaticStr, strum::VariantNames,
)]
#[strum(serialize_all = "snake_case")]
pub(crate) enum DroppedContent {
    /// A version of a verdict: the call is evaluated again with its next fact.
    Verdict,
    /// Facts that the service states about its own notices.
    NoticeFacts,
    /// A message of the log or of the spool, in the live state; the ledger keeps it.
    LiveMessage,
}

/// Counts content that is dropped, and logs why.
pub(crate) fn record_dropped(content: DroppedContent, reason: &dyn Display) {
    let name: &'static str = content.into();
    counter!(names::DROPPED, "content" => name).increment(1);
    if LOG_LIMITER.allows(content, Instant::now()) {
        tracing::error!(dropped.content = name, "content ({name}) is dropped: {reason}");
    }
}
