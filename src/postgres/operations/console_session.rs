//! The sessions of the console.

use chrono::{DateTime, Utc};
use uuid::Uuid;

use crate::postgres::{Postgres, StoreError};
use onrecord_evidence::event::ids::{Digest, Tenant};

/// A session to store.
#[derive(Debug)]
pub(crate) struct NewConsoleSession<'a> {
    pub id: Uuid,
    pub tenant: &'a Tenant,
    pub api_key: Uuid,
    /// SHA-256 of the token.
    pub token_hash: Digest,
    pub created_at: DateTime<Utc>,
    pub user_agent: Option<&'a str>,
}

/// The instants from which sessions still hold.
#[derive(Clone, Copy, Debug)]
pub(crate) struct SessionLimits {
    /// Those that were used since.
    pub used_since: DateTime<Utc>,
    /// Those that were created since.
    pub created_since: DateTime<Utc>,
}

/// A valid session, with the API key by which it was opened.
#[derive(Debug)]
pub(crate) struct ConsoleSession {
    pub id: Uuid,
    pub created_at: DateTime<Utc>,
    pub last_used_at: DateTime<Utc>,
    pub key: KeyOfSession,
}

/// The API key of a session, as it is now.
#[derive(Debug)]
pub(crate) struct KeyOfSession {
    pub id: Uuid,
    pub tenant: Tenant,
    pub role: String,
    pub name: String,
    pub hash: Digest,
}

#[derive(sqlx::FromRow)]
struct ConsoleSessionRow {
    id: Uuid,
    created_at: DateTime<Utc>,
    last_used_at: DateTime<Utc>,
    api_key: Uuid,
    tenant: String,
    role: String,
    name: String,
    hash: Vec<u8>,
}

impl ConsoleSessionRow {
    fn parse(self) -> Option<ConsoleSession> {
        let key = KeyOfSession {
            id: self.api_key,
            tenant: Tenant::parse(&self.tenant).ok()?,
            role: self.role,
            name: self.name,
            hash: Digest::from_bytes(&self.hash)?,
        };
        let (created_at, last_used_at) = (self.created_at, self.last_used_at);
        Some(ConsoleSession { id: self.id, created_at, last_used_at, key })
    }
}

/// Which sessions a sign-out ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum SignOut {
    /// This one.
    Session(Uuid),
    /// All that this API key opened.
    Key(Uuid),
}

impl Postgres {
    /// Stores a session, and deletes those that were created before an instant.
    ///
    /// # Errors
    ///
    /// [`StoreError`].
    pub(crate) async fn insert_console_session(
        &self,
        session: &NewConsoleSession<'_>,
        delete_before: DateTime<Utc>,
    ) -> Result<(), StoreError> {
        sqlx::query(DELETE_OLD_SESSIONS).bind(delete_before).execute(&self.readers).await?;
        sqlx::query(INSERT_SESSION)
            .bind(session.id)
            .bind(session.tenant.as_str())
            .bind(session.api_key)
            .bind(session.token_hash.as_bytes().as_slice())
            .bind(session.created_at)
            .bind(session.user_agent)
            .execute(&self.readers)
            .await?;
        Ok(())
    }

    /// The valid session of a token, and its key if that is not revoked.
    ///
    /// # Errors
    ///
    /// [`StoreError`].
    pub(crate) async fn console_session(
        &self,
        token_hash: &Digest,
        limits: SessionLimits,
    ) -> Result<Option<ConsoleSession>, StoreError> {
        let query = sqlx::query_as(SELECT_SESSION).bind(token_hash.as_bytes().as_slice());
        let query = query.bind(limits.used_since).bind(limits.created_since);
        let row: Option<ConsoleSessionRow> = query.fetch_optional(&self.readers).await?;
        // A key that this version cannot read gives no right.
        Ok(row.and_then(ConsoleSessionRow::parse))
    }

    /// Notes the use of a session.
    ///
    /// # Errors
    ///
    /// [`StoreError`].
    pub(crate) async fn use_console_session(
        &self,
        id: Uuid,
        at: DateTime<Utc>,
    ) -> Result<(), StoreError> {
        sqlx::query(USE_SESSION).bind(id).bind(at).execute(&self.readers).await?;
        Ok(())
    }

    /// When a key was used in the console before this session; `None`: never.
    ///
    /// # Errors
    ///
    /// [`StoreError`].
    pub(crate) async fn last_visit(
        &self,
        api_key: Uuid,
        before: Uuid,
    ) -> Result<Option<DateTime<Utc>>, StoreError> {
        let query = sqlx::query_scalar(SELECT_LAST_VISIT).bind(api_key).bind(before);
        Ok(query.fetch_one(&self.readers).await?)
    }

    /// Ends sessions, and returns their number.
    ///
    /// # Errors
    ///
    /// [`StoreError`].
    pub(crate) async fn end_console_sessions(
        &self,
        which: SignOut,
        at: DateTime<Utc>,
    ) -> Result<u64, StoreError> {
        let (statement, id) = match which {
            SignOut::Session(id) => (END_SESSION, id),
            SignOut::Key(id) => (END_SESSIONS_OF_KEY, id),
        };
        Ok(sqlx::query(statement).bind(id).bind(at).execute(&self.readers).await?.rows_affected())
    }
}

statements! {
    const INSERT_SESSION: &str =
        "insert into console_session (id, tenant, api_key, token_hash, created_at, last_used_at, user_agent)
         values ($1, $2, $3, $4, $5, $5, $6)";

    const DELETE_OLD_SESSIONS: &str = "delete from console_session where created_at < $1";

    const SELECT_SESSION: &str =
        "select session.id, session.created_at, session.last_used_at, session.api_key, key.tenant, key.role, key.name, key.hash
         from console_session as session join api_key as key on key.id = session.api_key
         where session.token_hash = $1 and session.ended_at is null and key.revoked_at is null
           and session.last_used_at >= $2 and session.created_at >= $3";

    /// Ids of sessions are in the order of their creation.
    const SELECT_LAST_VISIT: &str = "select max(last_used_at) from console_session where api_key = $1 and id < $2";

    const USE_SESSION: &str = "update console_session set last_used_at = greatest(last_used_at, $2) where id = $1 and ended_at is null";

    const END_SESSION: &str = "update console_session set ended_at = $2, ended_by = 'sign_out' where id = $1 and ended_at is null";

    const END_SESSIONS_OF_KEY: &str =
        "update console_session set ended_at = $2, ended_by = 'sign_out_everywhere' where api_key = $1 and ended_at is null";
}
