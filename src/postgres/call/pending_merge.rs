//! Ids that changed their call, and have too many ids below them to move all of those in one
//! transaction: the maintenance moves them in steps.

use chrono::{DateTime, Utc};
use sqlx::PgConnection;

use crate::postgres::{Postgres, StoreError};

/// Ids below an id that changed its call, some of which are not moved yet.
#[derive(Clone, Debug, sqlx::FromRow)]
pub struct PendingMerge {
    pub tenant: String,
    pub upper_id: String,
    /// The ids up to this one are moved.
    pub continues_after: String,
    pub generation: i64,
}

/// Notes that the ids below these ids have to be moved, from the first one on.
///
/// # Errors
///
/// [`StoreError`].
pub(crate) async fn postpone_merges(
    connection: &mut PgConnection,
    tenant: &str,
    upper_ids: &[String],
) -> Result<(), StoreError> {
    if upper_ids.is_empty() {
        return Ok(());
    }
    sqlx::query(UPSERT_MERGES).bind(tenant).bind(upper_ids).execute(connection).await?;
    Ok(())
}

/// The oldest merge of each tenant that is not complete; the tenant that waits longest is first.
///
/// # Errors
///
/// [`StoreError`].
pub async fn pending_merges(
    store: &Postgres,
    now: DateTime<Utc>,
) -> Result<Vec<PendingMerge>, StoreError> {
    Ok(sqlx::query_as(SELECT_MERGES).bind(now).fetch_all(&store.pool).await?)
}

/// The next ids below the id of a merge, in their order.
///
/// # Errors
///
/// [`StoreError`].
pub async fn next_ids_of_merge(
    connection: &mut PgConnection,
    merge: &PendingMerge,
    limit: i64,
) -> Result<Vec<String>, StoreError> {
    let PendingMerge { tenant, upper_id, continues_after, .. } = merge;
    let query = sqlx::query_scalar(SELECT_NEXT_IDS).bind(tenant).bind(upper_id);
    Ok(query.bind(continues_after).bind(limit).fetch_all(connection).await?)
}

/// Notes that the ids of a merge are moved up to `moved`, or all of them. A merge that began again
/// meanwhile stays as it is.
///
/// # Errors
///
/// [`StoreError`].
pub async fn continue_merge(
    connection: &mut PgConnection,
    merge: &PendingMerge,
    moved: Option<&str>,
) -> Result<(), StoreError> {
    let PendingMerge { tenant, upper_id, generation, .. } = merge;
    let query = match moved {
        Some(moved) => {
            sqlx::query(UPDATE_MERGE).bind(tenant).bind(upper_id).bind(generation).bind(moved)
        }
        None => sqlx::query(DELETE_MERGE).bind(tenant).bind(upper_id).bind(generation),
    };
    query.execute(connection).await?;
    Ok(())
}

/// Sets the instant before which a step is not repeated.
///
/// # Errors
///
/// [`StoreError`].
pub async fn retry_merge_at(
    store: &Postgres,
    merge: &PendingMerge,
    retry_at: DateTime<Utc>,
) -> Result<(), StoreError> {
    let update = sqlx::query(SET_RETRY_AT).bind(&merge.tenant).bind(&merge.upper_id);
    update.bind(retry_at).execute(&store.pool).await?;
    Ok(())
}

statements! {
    const UPSERT_MERGES: &str =
        "insert into pending_merge (tenant, upper_id) select $1, upper_id from unnest($2::text[]) as _ (upper_id)
         on conflict (tenant, upper_id) do update set continues_after = '', generation = excluded.generation, retry_at = null";

    const SELECT_MERGES: &str =
        "select tenant, upper_id, continues_after, generation from (
             select distinct on (tenant) tenant, upper_id, continues_after, generation, since_at from pending_merge
             where retry_at is null or retry_at <= $1 order by tenant, since_at, upper_id) as oldest
         order by since_at, tenant";

    const SELECT_NEXT_IDS: &str =
        "select lower_id from alias_link where tenant = $1 and upper_id = $2 and lower_id > $3 order by lower_id limit $4";

    const UPDATE_MERGE: &str =
        "update pending_merge set continues_after = $4, retry_at = null where tenant = $1 and upper_id = $2 and generation = $3";

    const DELETE_MERGE: &str = "delete from pending_merge where tenant = $1 and upper_id = $2 and generation = $3";

    const SET_RETRY_AT: &str = "update pending_merge set retry_at = $3 where tenant = $1 and upper_id = $2";
}
