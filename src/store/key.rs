//! API keys: the callers of `/v1` that are no client apps' users.

use chrono::{DateTime, Utc};
use serde::{Deserialize, Serialize};
use uuid::Uuid;

use super::{Store, StoreError};
use crate::domain::ids::{Digest, Tenant};

/// What a caller may do.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, clap::ValueEnum)]
#[serde(rename_all = "lowercase")]
pub enum Role {
    /// A client app's backend: subscriber tokens, streams, indications.
    App,
    /// Reads call history.
    Analyst,
    /// Reads everything, quarantine included.
    Auditor,
    /// All of it.
    Admin,
}

impl Role {
    /// As it is stored.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::App => "app",
            Self::Analyst => "analyst",
            Self::Auditor => "auditor",
            Self::Admin => "admin",
        }
    }

    fn parse(text: &str) -> Option<Self> {
        [Self::App, Self::Analyst, Self::Auditor, Self::Admin]
            .into_iter()
            .find(|role| role.as_str() == text)
    }
}

/// A key that is about to be stored.
#[derive(Debug)]
pub struct NewApiKey<'a> {
    pub id: Uuid,
    pub tenant: &'a Tenant,
    pub role: Role,
    pub name: &'a str,
    /// SHA-256 of the key.
    pub hash: Digest,
    pub created: DateTime<Utc>,
}

/// A key as it is known; never the key itself.
#[derive(Clone, Debug, PartialEq)]
pub struct ApiKey {
    pub id: Uuid,
    pub tenant: Tenant,
    pub role: Role,
    pub name: String,
    pub hash: Digest,
    pub created: DateTime<Utc>,
    pub revoked: Option<DateTime<Utc>>,
}

#[derive(sqlx::FromRow)]
struct ApiKeyLookup {
    id: Uuid,
    tenant: String,
    role: String,
    name: String,
    hash: Vec<u8>,
    created: DateTime<Utc>,
    revoked: Option<DateTime<Utc>>,
}

impl ApiKeyLookup {
    fn read(self) -> Option<ApiKey> {
        Some(ApiKey {
            id: self.id,
            tenant: Tenant::parse(&self.tenant).ok()?,
            role: Role::parse(&self.role)?,
            name: self.name,
            hash: Digest::from_bytes(&self.hash)?,
            created: self.created,
            revoked: self.revoked,
        })
    }
}

impl Store {
    /// Stores a key.
    ///
    /// # Errors
    ///
    /// [`StoreError`].
    pub async fn insert_api_key(&self, key: &NewApiKey<'_>) -> Result<(), StoreError> {
        sqlx::query("insert into api_key (id, tenant, role, name, hash, created) values ($1, $2, $3, $4, $5, $6)")
            .bind(key.id)
            .bind(key.tenant.as_str())
            .bind(key.role.as_str())
            .bind(key.name)
            .bind(key.hash.as_bytes().as_slice())
            .bind(key.created)
            .execute(&self.pool)
            .await?;
        Ok(())
    }

    /// All keys, revoked ones included.
    ///
    /// # Errors
    ///
    /// [`StoreError`].
    pub async fn api_keys(&self) -> Result<Vec<ApiKey>, StoreError> {
        let rows: Vec<ApiKeyLookup> = sqlx::query_as(
            "select id, tenant, role, name, hash, created, revoked from api_key order by created",
        )
        .fetch_all(&self.pool)
        .await?;
        Ok(rows.into_iter().filter_map(ApiKeyLookup::read).collect())
    }

    /// Revokes a key. Returns whether there was a live one.
    ///
    /// # Errors
    ///
    /// [`StoreError`].
    pub async fn revoke_api_key(
        &self,
        id: Uuid,
        revoked: DateTime<Utc>,
    ) -> Result<bool, StoreError> {
        let revoked =
            sqlx::query("update api_key set revoked = $2 where id = $1 and revoked is null")
                .bind(id)
                .bind(revoked)
                .execute(&self.pool)
                .await?;
        Ok(revoked.rows_affected() == 1)
    }
}
