//! The roll-ups of statistics: hours whose numbers changed are counted again.

use chrono::{DateTime, Utc};

use crate::postgres::{Postgres, StoreError};

/// Makes the roll-ups of up to this number of changed hours before an hour. Returns whether there may be more.
///
/// # Errors
///
/// [`StoreError`].
pub async fn make_rollups(
    store: &Postgres,
    before_hour: DateTime<Utc>,
    most: i32,
) -> Result<bool, StoreError> {
    let query = sqlx::query_scalar(MAKE_ROLLUPS).bind(before_hour).bind(most);
    let taken: i64 = query.fetch_one(&store.pool).await?;
    Ok(taken >= i64::from(most))
}

statements! {
    const MAKE_ROLLUPS: &str = "select make_rollups($1, $2)";
}
