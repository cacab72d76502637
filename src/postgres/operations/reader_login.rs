//! Logins for SQL clients, each pinned to one tenant by the database.

use sqlx::AssertSqlSafe;

use crate::postgres::{Postgres, StoreError};
use onrecord_evidence::event::ids::Tenant;

/// A login of a tenant.
#[derive(Debug, sqlx::FromRow)]
pub(crate) struct ReaderLoginRow {
    pub name: String,
    /// The number of its connections now.
    pub connections: i64,
}

/// What became of a login that was to be dropped.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum DropOutcome {
    Dropped,
    /// It is dropped, but the user of the service may not end its connections, which last until they close.
    DroppedWithConnections,
    /// The tenant has no such login.
    Unknown,
}

/// Why PostgreSQL refuses to make or drop a login.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum LoginRefusal {
    /// A role has this name.
    NameTaken,
    /// The user of the service may not create or drop it.
    NotPermitted,
    /// PostgreSQL keeps such names for itself.
    Reserved,
    /// It owns something.
    InUse,
}

impl LoginRefusal {
    /// What an error means for a login; `None`: it is another failure.
    pub(crate) fn of(error: &StoreError) -> Option<Self> {
        let StoreError::Fault(sqlx::Error::Database(error)) = error else { return None };
        match error.code()?.as_ref() {
            "42710" => Some(Self::NameTaken),
            "42501" => Some(Self::NotPermitted),
            "42939" => Some(Self::Reserved),
            "2BP01" => Some(Self::InUse),
            _ => None,
        }
    }
}

impl Postgres {
    /// The logins of a tenant, by their names.
    ///
    /// # Errors
    ///
    /// [`StoreError`].
    pub(crate) async fn reader_logins_of(
        &self,
        tenant: &Tenant,
    ) -> Result<Vec<ReaderLoginRow>, StoreError> {
        let query = sqlx::query_as(SELECT_LOGINS).bind(tenant.as_str());
        Ok(query.fetch_all(&self.readers).await?)
    }

    /// Drops a login of a tenant, and ends its connections.
    ///
    /// # Errors
    ///
    /// [`StoreError`]; [`StoreError::Fault`] where the user of the service may not drop it.
    pub(crate) async fn drop_reader_login(
        &self,
        tenant: &Tenant,
        login: &str,
    ) -> Result<DropOutcome, StoreError> {
        let known = self.reader_logins_of(tenant).await?;
        if !known.iter().any(|known| known.name == login) {
            return Ok(DropOutcome::Unknown);
        }
        let lock = sqlx::query_scalar(LOCK_STATEMENT).bind(login).fetch_one(&self.pool).await?;
        let drop = sqlx::query_scalar(DROP_STATEMENT).bind(login).fetch_one(&self.pool).await?;
        // First it connects no more, so that no connection begins after the others are ended.
        self.execute_quoted(lock).await?;
        let ended = sqlx::query(END_CONNECTIONS).bind(login).execute(&self.pool).await;
        self.execute_quoted(drop).await?;
        if let Err(error) = ended {
            tracing::warn!(error = %error, "the login {login} is dropped, but the user of the service may not end its connections: {error}");
            return Ok(DropOutcome::DroppedWithConnections);
        }
        Ok(DropOutcome::Dropped)
    }

    /// Executes DDL. It takes no parameters, so PostgreSQL itself has quoted the names.
    async fn execute_quoted(&self, statement: String) -> Result<(), StoreError> {
        sqlx::query(AssertSqlSafe(statement)).execute(&self.pool).await?;
        Ok(())
    }

    /// The statements that make a login of a tenant, without its password, in their order.
    ///
    /// # Errors
    ///
    /// [`StoreError`]; [`StoreError::Content`] for a name that no role can have.
    pub async fn reader_login_statements(
        &self,
        tenant: &Tenant,
        login: &str,
    ) -> Result<Vec<String>, StoreError> {
        Ok(sqlx::query_scalar(READER_LOGIN_STATEMENTS)
            .bind(tenant.as_str())
            .bind(login)
            .fetch_all(&self.pool)
            .await?)
    }

    /// Makes a login of a tenant, whole or not at all. `verifier` is the password as PostgreSQL stores
    /// it (SCRAM-SHA-256), so that the password itself stands in no log of the server.
    ///
    /// # Errors
    ///
    /// [`StoreError`]; [`StoreError::Content`] for a name that no role can have, [`StoreError::Fault`]
    /// where the name is taken or the user of the service may not create roles.
    pub async fn create_reader_login(
        &self,
        tenant: &Tenant,
        login: &str,
        verifier: &str,
    ) -> Result<(), StoreError> {
        let mut statements = self.reader_login_statements(tenant, login).await?;
        let with_password = sqlx::query_scalar(PASSWORD_STATEMENT).bind(login).bind(verifier);
        statements.push(with_password.fetch_one(&self.pool).await?);
        let mut transaction = self.pool.begin("begin").await?;
        for statement in statements {
            // DDL takes no parameters: PostgreSQL itself quoted the names.
            sqlx::query(AssertSqlSafe(statement)).execute(&mut *transaction).await?;
        }
        transaction.commit().await
    }
}

statements! {
    const READER_LOGIN_STATEMENTS: &str = "select reader_login_statements($1, $2)";

    const PASSWORD_STATEMENT: &str = "select format('alter role %I password %L', $1::text, $2::text)";

    /// The members of the role of a tenant that log in. The user who made the role may be one of them, with the
    /// right to manage it.
    const SELECT_LOGINS: &str =
        "select login.rolname::text as name,
             (select count(*) from pg_stat_activity as connection where connection.usesysid = login.oid) as connections
         from tenant_role as entitled
         join pg_roles as tenant_role on tenant_role.rolname = entitled.role
         join pg_auth_members as membership on membership.roleid = tenant_role.oid
         join pg_roles as login on login.oid = membership.member
         where entitled.tenant = $1 and login.rolcanlogin and not login.rolsuper and not login.rolcreaterole
           and login.rolname not in (current_user, session_user)
         order by 1";

    const LOCK_STATEMENT: &str = "select format('alter role %I nologin', $1::text)";

    const END_CONNECTIONS: &str = "select pg_terminate_backend(pid) from pg_stat_activity where usename = $1";

    const DROP_STATEMENT: &str = "select format('drop role %I', $1::text)";
}
