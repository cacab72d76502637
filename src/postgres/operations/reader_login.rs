//! Logins for SQL clients, each pinned to one tenant by the database.

use sqlx::AssertSqlSafe;

use crate::postgres::{Postgres, StoreError};
use onrecord_evidence::event::ids::Tenant;

impl Postgres {
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
}
