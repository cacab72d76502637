//! Leases of tasks that one node at a time does.

use std::time::Duration;

use crate::postgres::{Postgres, StoreError};

/// Takes or renews a lease, by the clock of Postgres. Returns whether this node holds it.
///
/// # Errors
///
/// [`StoreError`].
pub async fn hold(
    store: &Postgres,
    name: &str,
    owner: &str,
    lease: Duration,
) -> Result<bool, StoreError> {
    let query = sqlx::query(HOLD_LEASE).bind(name).bind(owner).bind(lease);
    Ok(query.execute(&store.pool).await?.rows_affected() == 1)
}

/// Extends a lease that no other node has taken since this one did. Returns whether it is still this node's.
///
/// # Errors
///
/// [`StoreError`].
pub async fn extend(
    store: &Postgres,
    name: &str,
    owner: &str,
    lease: Duration,
) -> Result<bool, StoreError> {
    let query = sqlx::query(EXTEND_LEASE).bind(name).bind(owner).bind(lease);
    Ok(query.execute(&store.pool).await?.rows_affected() == 1)
}

/// Releases a lease, so that another node can take it at once.
///
/// # Errors
///
/// [`StoreError`].
pub async fn release(store: &Postgres, name: &str, owner: &str) -> Result<(), StoreError> {
    sqlx::query(RELEASE_LEASE).bind(name).bind(owner).execute(&store.pool).await?;
    Ok(())
}

statements! {
    const HOLD_LEASE: &str =
        "insert into lease (name, owner, expires_at) select $1, $2, clock_timestamp() + $3 where cluster_is_adopted()
         on conflict (name) do update set owner = excluded.owner, expires_at = excluded.expires_at
         where lease.owner = $2 or lease.expires_at < clock_timestamp()";

    const EXTEND_LEASE: &str = "update lease set expires_at = clock_timestamp() + $3 where name = $1 and owner = $2";

    const RELEASE_LEASE: &str = "delete from lease where name = $1 and owner = $2";
}
