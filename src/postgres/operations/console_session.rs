//! The sessions of the console.

use chrono::{DateTime, Utc};
use uuid::Uuid;

use crate::postgres::{Postgres, StoreError};
use onrecord_evidence::event::ids::{Digest, Tenant};

/// Who opens a session.
#[derive(Clone, Copy, Debug)]
pub(crate) enum SessionActor {
    ApiKey(Uuid),
    /// A user, who signed in under settings of this digest.
    User {
        id: Uuid,
        rules: Digest,
    },
}

/// A session to store.
#[derive(Debug)]
pub(crate) struct NewConsoleSession<'a> {
    pub id: Uuid,
    pub tenant: &'a Tenant,
    pub actor: SessionActor,
    /// SHA-256 of the token.
    pub token_hash: Digest,
    pub created_at: DateTime<Utc>,
    pub user_agent: Option<&'a str>,
    /// SHA-256 of the token of the session that it replaces in its browser.
    pub replaces: Option<Digest>,
}

/// Which sessions still hold.
#[derive(Clone, Copy, Debug)]
pub(crate) struct SessionLimits {
    /// Those that were used since.
    pub used_since: DateTime<Utc>,
    /// Those that were created since.
    pub created_since: DateTime<Utc>,
    /// Those of API keys.
    pub of_keys: bool,
    /// Those of users who signed in under settings of this digest. `None`: those of no user.
    pub rules: Option<Digest>,
}

/// A valid session, with the API key or the user by whom it was opened.
#[derive(Debug)]
pub(crate) struct ConsoleSession {
    pub id: Uuid,
    pub created_at: DateTime<Utc>,
    pub last_used_at: DateTime<Utc>,
    pub actor: ActorOfSession,
    /// The tenants that its user may see. Empty for an API key.
    pub tenants: Vec<Tenant>,
}

/// The API key or the user of a session, as it is now.
#[derive(Debug)]
pub(crate) struct ActorOfSession {
    pub id: Uuid,
    pub tenant: Tenant,
    pub role: String,
    pub name: String,
    /// The hash of the API key. `None`: a user.
    pub key_hash: Option<Digest>,
}

#[derive(sqlx::FromRow)]
struct ConsoleSessionRow {
    id: Uuid,
    created_at: DateTime<Utc>,
    last_used_at: DateTime<Utc>,
    actor: Uuid,
    tenant: String,
    role: String,
    name: String,
    hash: Option<Vec<u8>>,
    tenants: Vec<String>,
}

impl ConsoleSessionRow {
    fn parse(self) -> Option<ConsoleSession> {
        let key_hash = match self.hash {
            Some(hash) => Some(Digest::from_bytes(&hash)?),
            None => None,
        };
        let actor = ActorOfSession {
            id: self.actor,
            tenant: Tenant::parse(&self.tenant).ok()?,
            role: self.role,
            name: self.name,
            key_hash,
        };
        let tenants: Option<Vec<Tenant>> =
            self.tenants.iter().map(|tenant| Tenant::parse(tenant).ok()).collect();
        let (created_at, last_used_at) = (self.created_at, self.last_used_at);
        Some(ConsoleSession { id: self.id, created_at, last_used_at, actor, tenants: tenants? })
    }
}

/// Which sessions are ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum SignOut {
    /// This one.
    Session(Uuid),
    /// All of this API key or user.
    Everywhere(Uuid),
    /// All of this API key or user, by an admin.
    ByAdmin(Uuid),
}

/// A valid session in the list of a tenant.
#[derive(Debug, sqlx::FromRow)]
pub(crate) struct ListedSession {
    /// The API key or the user.
    pub actor: Uuid,
    pub created_at: DateTime<Utc>,
    pub last_used_at: DateTime<Utc>,
    pub user_agent: Option<String>,
}

impl Postgres {
    /// Stores a session, ends the one that it replaces, and deletes those that were created before an instant.
    ///
    /// # Errors
    ///
    /// [`StoreError`].
    pub(crate) async fn insert_console_session(
        &self,
        session: &NewConsoleSession<'_>,
        delete_before: DateTime<Utc>,
    ) -> Result<(), StoreError> {
        let (api_key, user, rules) = match session.actor {
            SessionActor::ApiKey(id) => (Some(id), None, None),
            SessionActor::User { id, rules } => (None, Some(id), Some(rules)),
        };
        if let Some(replaced) = &session.replaces {
            let query = sqlx::query(END_REPLACED_SESSION).bind(replaced.as_bytes().as_slice());
            query.bind(session.created_at).execute(&self.readers).await?;
        }
        sqlx::query(DELETE_OLD_SESSIONS).bind(delete_before).execute(&self.readers).await?;
        sqlx::query(INSERT_SESSION)
            .bind(session.id)
            .bind(session.tenant.as_str())
            .bind(api_key)
            .bind(user)
            .bind(rules.map(|rules| rules.as_bytes().to_vec()))
            .bind(session.token_hash.as_bytes().as_slice())
            .bind(session.created_at)
            .bind(session.user_agent)
            .execute(&self.readers)
            .await?;
        Ok(())
    }

    /// The valid session of a token, with its API key if that is not revoked, or with its user if the user has a
    /// role in the tenant of the session.
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
        let query = query.bind(limits.used_since).bind(limits.created_since).bind(limits.of_keys);
        let query = query.bind(limits.rules.map(|rules| rules.as_bytes().to_vec()));
        let row: Option<ConsoleSessionRow> = query.fetch_optional(&self.readers).await?;
        // An API key or a user that this version cannot read has no right.
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

    /// When an API key or a user was in the console before this session; `None`: never.
    ///
    /// # Errors
    ///
    /// [`StoreError`].
    pub(crate) async fn last_visit(
        &self,
        actor: Uuid,
        before: Uuid,
    ) -> Result<Option<DateTime<Utc>>, StoreError> {
        let query = sqlx::query_scalar(SELECT_LAST_VISIT).bind(actor).bind(before);
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
        let (statement, id, by) = match which {
            SignOut::Session(id) => (END_SESSION, id, "sign_out"),
            SignOut::Everywhere(id) => (END_SESSIONS_OF_ACTOR, id, "sign_out_everywhere"),
            SignOut::ByAdmin(id) => (END_SESSIONS_OF_ACTOR, id, "admin"),
        };
        let query = sqlx::query(statement).bind(id).bind(at).bind(by);
        Ok(query.execute(&self.readers).await?.rows_affected())
    }

    /// The sessions of a tenant that were not ended and are within the limits, the last used first: those of its
    /// API keys, and those of users who may see it, whatever tenant they show now.
    ///
    /// # Errors
    ///
    /// [`StoreError`].
    pub(crate) async fn console_sessions_of(
        &self,
        tenant: &Tenant,
        limits: SessionLimits,
    ) -> Result<Vec<ListedSession>, StoreError> {
        let query = sqlx::query_as(SELECT_SESSIONS_OF_TENANT).bind(tenant.as_str());
        let query = query.bind(limits.used_since).bind(limits.created_since).bind(limits.of_keys);
        let query = query.bind(limits.rules.map(|rules| rules.as_bytes().to_vec()));
        Ok(query.fetch_all(&self.readers).await?)
    }
}

statements! {
    const INSERT_SESSION: &str =
        "insert into console_session (id, tenant, api_key, user_id, sign_in_rules, token_hash, created_at, last_used_at, user_agent)
         values ($1, $2, $3, $4, $5, $6, $7, $7, $8)";

    const DELETE_OLD_SESSIONS: &str = "delete from console_session where created_at < $1";

    const END_REPLACED_SESSION: &str =
        "update console_session set ended_at = $2, ended_by = 'sign_in' where token_hash = $1 and ended_at is null";

    const SELECT_SESSION: &str =
        "select session.id, session.created_at, session.last_used_at, coalesce(key.id, person.id) as actor,
             case when key.id is null then session.tenant else key.tenant end as tenant,
             coalesce(key.role, granted.role) as role, coalesce(key.name, person.name) as name, key.hash,
             array(select other.tenant from console_grant as other where other.user_id = session.user_id order by 1) as tenants
         from console_session as session
         left join api_key as key on key.id = session.api_key and key.revoked_at is null
         left join console_grant as granted on granted.user_id = session.user_id and granted.tenant = session.tenant
         left join console_user as person on person.id = granted.user_id
         where session.token_hash = $1 and session.ended_at is null
           and session.last_used_at >= $2 and session.created_at >= $3
           and (key.id is not null and $4 or person.id is not null and session.sign_in_rules = $5)";

    /// Ids of sessions are in the order of their creation.
    const SELECT_LAST_VISIT: &str =
        "select max(last_used_at) from (
             select last_used_at from console_session where api_key = $1 and id < $2
             union all select last_used_at from console_session where user_id = $1 and id < $2) as visit";

    const USE_SESSION: &str = "update console_session set last_used_at = greatest(last_used_at, $2) where id = $1 and ended_at is null";

    const END_SESSION: &str = "update console_session set ended_at = $2, ended_by = $3 where id = $1 and ended_at is null";

    const END_SESSIONS_OF_ACTOR: &str =
        "update console_session set ended_at = $2, ended_by = $3 where (api_key = $1 or user_id = $1) and ended_at is null";

    const SELECT_SESSIONS_OF_TENANT: &str =
        "select coalesce(session.api_key, session.user_id) as actor, session.created_at, session.last_used_at, session.user_agent
         from console_session as session
         left join api_key as key on key.id = session.api_key and key.tenant = $1 and key.revoked_at is null
         left join console_grant as granted on granted.user_id = session.user_id and granted.tenant = $1
         where session.ended_at is null and session.last_used_at >= $2 and session.created_at >= $3
           and (key.id is not null and $4 or granted.user_id is not null and session.sign_in_rules = $5)
         order by session.last_used_at desc, session.id desc limit 1000";
}
