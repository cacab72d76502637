//! The users of the console who sign in by OpenID Connect, and what they may do.

use chrono::{DateTime, Utc};
use uuid::Uuid;

use crate::http::api_role::ApiRole;
use crate::postgres::{Postgres, StoreError};
use onrecord_evidence::event::ids::{Digest, Tenant};

/// A user as the provider states it.
#[derive(Clone, Copy, Debug)]
pub(crate) struct StatedUser<'a> {
    pub issuer: &'a str,
    pub subject: &'a str,
    pub name: &'a str,
    pub login: Option<&'a str>,
}

/// A user who may see the pages of a tenant.
#[derive(Debug, sqlx::FromRow)]
pub(crate) struct ConsoleUserRow {
    pub id: Uuid,
    pub name: String,
    pub login: Option<String>,
    pub role: String,
    pub last_sign_in_at: DateTime<Utc>,
}

impl Postgres {
    /// Notes that a state came back from the provider, and forgets those that did before an instant. Returns
    /// whether it is the first time.
    ///
    /// # Errors
    ///
    /// [`StoreError`].
    pub(crate) async fn use_sign_in_state(
        &self,
        state_hash: &Digest,
        now: DateTime<Utc>,
        forget_before: DateTime<Utc>,
    ) -> Result<bool, StoreError> {
        sqlx::query(DELETE_OLD_STATES).bind(forget_before).execute(&self.readers).await?;
        let query = sqlx::query(INSERT_STATE).bind(state_hash.as_bytes().as_slice()).bind(now);
        Ok(query.execute(&self.readers).await?.rows_affected() == 1)
    }

    /// Stores a user and what the user may do now, in place of what was stated before, and returns the id.
    /// Without a grant the sessions of the user have no right any more.
    ///
    /// # Errors
    ///
    /// [`StoreError`].
    pub(crate) async fn store_console_user(
        &self,
        user: StatedUser<'_>,
        grants: &[(Tenant, ApiRole)],
        now: DateTime<Utc>,
    ) -> Result<Uuid, StoreError> {
        let (tenants, roles): (Vec<&str>, Vec<&str>) =
            grants.iter().map(|(tenant, role)| (tenant.as_str(), role.as_str())).unzip();
        let mut transaction = self.readers.begin("begin").await?;
        let id: Uuid = sqlx::query_scalar(UPSERT_USER)
            .bind(Uuid::now_v7())
            .bind(user.issuer)
            .bind(user.subject)
            .bind(user.name)
            .bind(user.login)
            .bind(now)
            .fetch_one(&mut *transaction)
            .await?;
        sqlx::query(DELETE_OTHER_GRANTS).bind(id).bind(&tenants).execute(&mut *transaction).await?;
        sqlx::query(UPSERT_GRANTS)
            .bind(id)
            .bind(&tenants)
            .bind(&roles)
            .bind(now)
            .execute(&mut *transaction)
            .await?;
        transaction.commit().await?;
        Ok(id)
    }

    /// The tenant that the last session of a user showed.
    ///
    /// # Errors
    ///
    /// [`StoreError`].
    pub(crate) async fn last_tenant_of_user(
        &self,
        user: Uuid,
    ) -> Result<Option<String>, StoreError> {
        Ok(sqlx::query_scalar(SELECT_LAST_TENANT).bind(user).fetch_optional(&self.readers).await?)
    }

    /// Shows another tenant of its user in a session. Returns whether the user may see it.
    ///
    /// # Errors
    ///
    /// [`StoreError`].
    pub(crate) async fn switch_tenant(
        &self,
        session: Uuid,
        tenant: &str,
    ) -> Result<bool, StoreError> {
        let query = sqlx::query(SWITCH_TENANT).bind(session).bind(tenant);
        Ok(query.execute(&self.readers).await?.rows_affected() == 1)
    }

    /// The users who may see the pages of a tenant, by their names.
    ///
    /// # Errors
    ///
    /// [`StoreError`].
    pub(crate) async fn console_users_of(
        &self,
        tenant: &Tenant,
    ) -> Result<Vec<ConsoleUserRow>, StoreError> {
        let query = sqlx::query_as(SELECT_USERS).bind(tenant.as_str());
        Ok(query.fetch_all(&self.readers).await?)
    }
}

statements! {
    const DELETE_OLD_STATES: &str = "delete from console_sign_in where used_at < $1";

    const INSERT_STATE: &str =
        "insert into console_sign_in (state_hash, used_at) values ($1, $2) on conflict (state_hash) do nothing";

    const UPSERT_USER: &str =
        "insert into console_user (id, issuer, subject, name, login, first_sign_in_at, last_sign_in_at)
         values ($1, $2, $3, $4, $5, $6, $6)
         on conflict (issuer, subject) do update set name = excluded.name, login = excluded.login,
             last_sign_in_at = greatest(console_user.last_sign_in_at, excluded.last_sign_in_at)
         returning id";

    const DELETE_OTHER_GRANTS: &str = "delete from console_grant where user_id = $1 and tenant <> all ($2::text[])";

    const UPSERT_GRANTS: &str =
        "insert into console_grant (user_id, tenant, role, stated_at)
         select $1, stated.tenant, stated.role, $4 from unnest($2::text[], $3::text[]) as stated (tenant, role)
         on conflict (user_id, tenant) do update set role = excluded.role, stated_at = excluded.stated_at";

    /// Ids of sessions are in the order of their creation.
    const SELECT_LAST_TENANT: &str = "select tenant from console_session where user_id = $1 order by id desc limit 1";

    const SWITCH_TENANT: &str =
        "update console_session set tenant = $2
         where id = $1 and ended_at is null
           and exists (select from console_grant as granted
                       where granted.user_id = console_session.user_id and granted.tenant = $2)";

    const SELECT_USERS: &str =
        "select person.id, person.name, person.login, granted.role, person.last_sign_in_at
         from console_grant as granted join console_user as person on person.id = granted.user_id
         where granted.tenant = $1 order by person.name, person.id";
}
