//! Makes the roll-ups of the hours that changed, a few in each step.

use chrono::{DateTime, DurationRound as _, TimeDelta, Utc};

use crate::clock;
use crate::ledger::context::LedgerContext;
use crate::postgres::{self, StoreError};

/// Maximum number of changed hours of one step, each of one subject and tenant.
const MAX_HOURS: i32 = 40;
/// Time after the end of an hour until its roll-up is made. Until then it changes with each call, and is counted
/// when it is asked for.
const SETTLED_AFTER: TimeDelta = TimeDelta::minutes(2);

/// Makes one step. Returns whether there may be more to do.
///
/// # Errors
///
/// [`StoreError`].
pub(super) async fn make_due_rollups(ledger: &LedgerContext) -> Result<bool, StoreError> {
    match first_unsettled_hour(clock::now()) {
        Some(hour) => postgres::make_rollups(&ledger.store, hour, MAX_HOURS).await,
        None => Ok(false),
    }
}

/// The first hour that still changes.
fn first_unsettled_hour(now: DateTime<Utc>) -> Option<DateTime<Utc>> {
    (now - SETTLED_AFTER).duration_trunc(TimeDelta::hours(1)).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_hour_is_settled_some_minutes_after_its_end() {
        let at = |text: &str| text.parse::<DateTime<Utc>>().unwrap();
        let hour = |now| first_unsettled_hour(at(now)).unwrap();
        assert_eq!(hour("2026-11-29T20:01:59Z"), at("2026-11-29T19:00:00Z"));
        assert_eq!(hour("2026-11-29T20:02:00Z"), at("2026-11-29T20:00:00Z"));
    }
}
