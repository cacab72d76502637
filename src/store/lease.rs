//! Work that one node at a time does.

use std::time::Duration;

use super::position::interval;
use super::{Store, StoreError};

/// Takes or renews a lease; true if it is ours for so long, by the clock of Postgres.
///
/// # Errors
///
/// [`StoreError`].
pub async fn hold(
    store: &Store,
    name: &str,
    owner: &str,
    lease: Duration,
) -> Result<bool, StoreError> {
    let held = sqlx::query(
        "insert into lease (name, owner, until) values ($1, $2, clock_timestamp() + $3)
         on conflict (name) do update set owner = excluded.owner, until = excluded.until
         where lease.owner = $2 or lease.until < clock_timestamp()",
    )
    .bind(name)
    .bind(owner)
    .bind(interval(lease))
    .execute(&store.pool)
    .await?;
    Ok(held.rows_affected() == 1)
}

/// Gives a lease back, so that another node need not wait for its end.
///
/// # Errors
///
/// [`StoreError`].
pub async fn release(store: &Store, name: &str, owner: &str) -> Result<(), StoreError> {
    sqlx::query("delete from lease where name = $1 and owner = $2")
        .bind(name)
        .bind(owner)
        .execute(&store.pool)
        .await?;
    Ok(())
}
