//! Work that one node at a time does.

use chrono::{DateTime, Utc};

use super::{Store, StoreError};

/// Takes or renews a lease; true if it is ours until `until`.
///
/// # Errors
///
/// [`StoreError`].
pub async fn hold(
    store: &Store,
    name: &str,
    owner: &str,
    now: DateTime<Utc>,
    until: DateTime<Utc>,
) -> Result<bool, StoreError> {
    let held = sqlx::query(
        "insert into lease (name, owner, until) values ($1, $2, $3)
         on conflict (name) do update set owner = $2, until = $3 where lease.owner = $2 or lease.until < $4",
    )
    .bind(name)
    .bind(owner)
    .bind(until)
    .bind(now)
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
