//! The only address of the wall clock.
//!
//! Server time rules (law 10): everything that we received, sent or were told is stamped here, and
//! every decision takes the instant as an argument.

use chrono::{DateTime, SubsecRound as _, Utc};

use crate::domain::instant::Millis;

/// Now, to the microsecond: what Postgres and the `onrecord_received` header can hold.
#[must_use]
#[expect(
    clippy::disallowed_methods,
    reason = "this is the one place that asks the system"
)]
pub fn now() -> DateTime<Utc> {
    Utc::now().trunc_subsecs(6)
}

/// Now in whole milliseconds, for the rules.
#[must_use]
pub fn now_ms() -> Millis {
    now().timestamp_millis()
}
