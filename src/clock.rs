//! The only access to the system clock.
//!
//! `SERVER_TIME`: the time of every receipt, dispatch and statement comes from here. Functions that
//! decide by time take the instant as an argument.

use chrono::{DateTime, SubsecRound as _, Utc};

use onrecord_evidence::event::instant::Millis;

/// The current time in microseconds, the precision of Postgres and of the `onrecord_received`
/// header.
#[must_use]
#[expect(clippy::disallowed_methods, reason = "this is the only place that reads the system clock")]
pub fn now() -> DateTime<Utc> {
    Utc::now().trunc_subsecs(6)
}

/// The current time in whole milliseconds, the unit of the rules of evidence.
#[must_use]
pub fn now_ms() -> Millis {
    now().timestamp_millis()
}
