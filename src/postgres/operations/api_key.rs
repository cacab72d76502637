//! API keys: callers of `/v1` other than users of client applications.

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use chrono::{DateTime, Utc};
use uuid::Uuid;

use crate::http::api_role::ApiRole;
use crate::http::auth::KEY_PREFIX;
use crate::postgres::{Postgres, StoreError};
use onrecord_evidence::event::ids::{Digest, Tenant};

/// A key, by its hash.
#[derive(Clone, Debug, PartialEq)]
pub struct ApiKey {
    pub id: Uuid,
    pub tenant: Tenant,
    pub role: ApiRole,
    pub name: String,
    /// SHA-256 of the key.
    pub hash: Digest,
    pub created_at: DateTime<Utc>,
    pub revoked_at: Option<DateTime<Utc>>,
}

impl ApiKey {
    /// A new key of 32 random bytes: its text, which is stored nowhere, and what is stored of it.
    #[must_use]
    pub fn generate(
        tenant: &Tenant,
        role: ApiRole,
        name: &str,
        created_at: DateTime<Utc>,
    ) -> (String, Self) {
        let secret: [u8; 32] = rand::random();
        let text = format!("{KEY_PREFIX}{}", URL_SAFE_NO_PAD.encode(secret));
        let key = Self {
            id: Uuid::new_v4(),
            tenant: tenant.clone(),
            role,
            name: name.to_owned(),
            hash: Digest::of(text.as_bytes()),
            created_at,
            revoked_at: None,
        };
        (text, key)
    }
}

#[derive(sqlx::FromRow)]
struct ApiKeyRow {
    id: Uuid,
    tenant: String,
    role: String,
    name: String,
    hash: Vec<u8>,
    created_at: DateTime<Utc>,
    revoked_at: Option<DateTime<Utc>>,
}

impl ApiKeyRow {
    /// `None`: this version of the service does not have the role.
    fn parse(self) -> Option<ApiKey> {
        Some(ApiKey {
            id: self.id,
            tenant: Tenant::parse(&self.tenant).ok()?,
            role: self.role.parse().ok()?,
            name: self.name,
            hash: Digest::from_bytes(&self.hash)?,
            created_at: self.created_at,
            revoked_at: self.revoked_at,
        })
    }
}

impl Postgres {
    /// Stores a key.
    ///
    /// # Errors
    ///
    /// [`StoreError`].
    pub async fn insert_api_key(&self, key: &ApiKey) -> Result<(), StoreError> {
        sqlx::query(INSERT_API_KEY)
            .bind(key.id)
            .bind(key.tenant.as_str())
            .bind(key.role.as_str())
            .bind(&key.name)
            .bind(key.hash.as_bytes().as_slice())
            .bind(key.created_at)
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
        let rows: Vec<ApiKeyRow> = sqlx::query_as(SELECT_API_KEYS).fetch_all(&self.pool).await?;
        // A key whose role this version does not have gives no right.
        Ok(rows.into_iter().filter_map(ApiKeyRow::parse).collect())
    }

    /// The keys of a tenant, the last created first, revoked ones included.
    ///
    /// # Errors
    ///
    /// [`StoreError`].
    pub(crate) async fn api_keys_of(&self, tenant: &Tenant) -> Result<Vec<ApiKey>, StoreError> {
        let query = sqlx::query_as(SELECT_API_KEYS_OF_TENANT).bind(tenant.as_str());
        let rows: Vec<ApiKeyRow> = query.fetch_all(&self.readers).await?;
        // A key whose role this version does not have gives no right.
        Ok(rows.into_iter().filter_map(ApiKeyRow::parse).collect())
    }

    /// Revokes a key of a tenant. Returns whether a valid key of it had this id.
    ///
    /// # Errors
    ///
    /// [`StoreError`].
    pub(crate) async fn revoke_api_key_of(
        &self,
        tenant: &Tenant,
        id: Uuid,
        revoked_at: DateTime<Utc>,
    ) -> Result<bool, StoreError> {
        let query = sqlx::query(REVOKE_API_KEY_OF_TENANT).bind(id).bind(revoked_at);
        let revoked = query.bind(tenant.as_str()).execute(&self.readers).await?;
        Ok(revoked.rows_affected() == 1)
    }

    /// Revokes a key. Returns whether a valid key had this id.
    ///
    /// # Errors
    ///
    /// [`StoreError`].
    pub async fn revoke_api_key(
        &self,
        id: Uuid,
        revoked_at: DateTime<Utc>,
    ) -> Result<bool, StoreError> {
        let query = sqlx::query(REVOKE_API_KEY).bind(id).bind(revoked_at);
        Ok(query.execute(&self.pool).await?.rows_affected() == 1)
    }
}

statements! {
    const INSERT_API_KEY: &str = "insert into api_key (id, tenant, role, name, hash, created_at) values ($1, $2, $3, $4, $5, $6)";

    const SELECT_API_KEYS: &str = "select id, tenant, role, name, hash, created_at, revoked_at from api_key order by created_at";

    const SELECT_API_KEYS_OF_TENANT: &str =
        "select id, tenant, role, name, hash, created_at, revoked_at from api_key where tenant = $1 order by created_at desc, id";

    const REVOKE_API_KEY_OF_TENANT: &str = "update api_key set revoked_at = $2 where id = $1 and tenant = $3 and revoked_at is null";

    const REVOKE_API_KEY: &str = "update api_key set revoked_at = $2 where id = $1 and revoked_at is null";
}
