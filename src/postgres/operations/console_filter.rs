//! Filters of the list of calls that readers of the console keep under names.

use chrono::{DateTime, Utc};
use uuid::Uuid;

use crate::postgres::{Postgres, StoreError};
use onrecord_evidence::event::ids::Tenant;

/// Who keeps filters, and of which tenant.
#[derive(Clone, Copy, Debug)]
pub(crate) struct FilterOwner<'a> {
    pub tenant: &'a Tenant,
    /// The id by which the reader is signed in.
    pub owner: Uuid,
}

/// A filter under its name.
#[derive(Clone, Debug, sqlx::FromRow)]
pub(crate) struct SavedFilter {
    pub id: Uuid,
    pub name: String,
    /// The parameters of the list, percent-encoded.
    pub query: String,
}

impl Postgres {
    /// The filters of a reader, by name.
    ///
    /// # Errors
    ///
    /// [`StoreError`].
    pub(crate) async fn console_filters(
        &self,
        of: FilterOwner<'_>,
    ) -> Result<Vec<SavedFilter>, StoreError> {
        let query = sqlx::query_as(SELECT_FILTERS).bind(of.tenant.as_str()).bind(of.owner);
        Ok(query.fetch_all(&self.readers).await?)
    }

    /// Saves a filter, in place of one of the same name. Returns whether it was: not if the reader has `max`
    /// others.
    ///
    /// # Errors
    ///
    /// [`StoreError`].
    pub(crate) async fn save_console_filter(
        &self,
        of: FilterOwner<'_>,
        filter: &SavedFilter,
        max: i64,
        at: DateTime<Utc>,
    ) -> Result<bool, StoreError> {
        let saved = sqlx::query(UPSERT_FILTER)
            .bind(filter.id)
            .bind(of.tenant.as_str())
            .bind(of.owner)
            .bind(&filter.name)
            .bind(&filter.query)
            .bind(at)
            .bind(max)
            .execute(&self.readers)
            .await?;
        Ok(saved.rows_affected() == 1)
    }

    /// Gives a filter of a reader another name. Returns its parameters; `None`: there is no such filter, or
    /// another one has the name.
    ///
    /// # Errors
    ///
    /// [`StoreError`].
    pub(crate) async fn rename_console_filter(
        &self,
        of: FilterOwner<'_>,
        id: Uuid,
        name: &str,
        at: DateTime<Utc>,
    ) -> Result<Option<String>, StoreError> {
        let query = sqlx::query_scalar(RENAME_FILTER).bind(of.tenant.as_str()).bind(of.owner);
        Ok(query.bind(id).bind(name).bind(at).fetch_optional(&self.readers).await?)
    }

    /// Deletes a filter of a reader. Returns whether there was one.
    ///
    /// # Errors
    ///
    /// [`StoreError`].
    pub(crate) async fn delete_console_filter(
        &self,
        of: FilterOwner<'_>,
        id: Uuid,
    ) -> Result<bool, StoreError> {
        let query = sqlx::query(DELETE_FILTER).bind(of.tenant.as_str()).bind(of.owner).bind(id);
        Ok(query.execute(&self.readers).await?.rows_affected() == 1)
    }
}

statements! {
    const SELECT_FILTERS: &str =
        "select id, name, query from console_filter where tenant = $1 and owner = $2 order by lower(name), name";

    const UPSERT_FILTER: &str =
        "insert into console_filter as kept (id, tenant, owner, name, query, saved_at)
         select $1, $2, $3, $4, $5, $6
         where (select count(*) from console_filter where tenant = $2 and owner = $3 and name <> $4) < $7
         on conflict (tenant, owner, name) do update set query = excluded.query, saved_at = excluded.saved_at";

    const RENAME_FILTER: &str =
        "update console_filter as kept set name = $4, saved_at = $5
         where tenant = $1 and owner = $2 and id = $3
             and not exists (
                 select from console_filter as other
                 where (other.tenant, other.owner, other.name) = ($1, $2, $4) and other.id <> $3)
         returning query";

    const DELETE_FILTER: &str = "delete from console_filter where tenant = $1 and owner = $2 and id = $3";
}
