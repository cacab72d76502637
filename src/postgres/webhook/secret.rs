//! The sealed secrets of subscriptions.

use chrono::{DateTime, Utc};
use serde::Serialize;
use sqlx::PgConnection;
use utoipa::ToSchema;
use uuid::Uuid;

use crate::http::timestamp::{serialize_micros, serialize_optional_micros};
use crate::postgres::{Postgres, StoreError};
use onrecord_evidence::event::ids::Tenant;

/// A secret as it is stored.
#[derive(Clone, sqlx::FromRow)]
pub(crate) struct SealedSecret {
    pub id: Uuid,
    pub subscription: Uuid,
    pub sealed: Vec<u8>,
    /// `None`: it is the current one.
    pub expires_at: Option<DateTime<Utc>>,
}

impl std::fmt::Debug for SealedSecret {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "SealedSecret({})", self.id)
    }
}

/// A new secret.
#[derive(Clone)]
pub(crate) struct NewSecret {
    pub id: Uuid,
    pub sealed: Vec<u8>,
    pub public_key: Option<[u8; 32]>,
}

/// What may be read of a secret.
#[derive(Clone, Debug, Serialize, sqlx::FromRow, ToSchema)]
#[schema(as = WebhookSecret)]
pub struct SecretInfo {
    /// The id of the secret.
    pub id: Uuid,
    /// When it was made.
    #[serde(serialize_with = "serialize_micros")]
    pub created_at: DateTime<Utc>,
    /// From when on it no longer signs. Null: it is the current one.
    #[serde(serialize_with = "serialize_optional_micros")]
    #[schema(required = true)]
    pub expires_at: Option<DateTime<Utc>>,
    #[serde(skip)]
    pub public_key: Option<Vec<u8>>,
}

pub(super) async fn insert_secret(
    connection: &mut PgConnection,
    tenant: &Tenant,
    subscription: Uuid,
    secret: &NewSecret,
) -> Result<(), StoreError> {
    sqlx::query(INSERT_SECRET)
        .bind(secret.id)
        .bind(tenant.as_str())
        .bind(subscription)
        .bind(&secret.sealed)
        .bind(secret.public_key.map(|key| key.to_vec()))
        .execute(connection)
        .await?;
    Ok(())
}

impl Postgres {
    /// What may be read of the secrets of a subscription that sign, the current one first.
    ///
    /// # Errors
    ///
    /// [`StoreError`].
    pub async fn webhook_secrets(
        &self,
        tenant: &Tenant,
        subscription: Uuid,
    ) -> Result<Vec<SecretInfo>, StoreError> {
        let query = sqlx::query_as(SELECT_SECRET_INFOS).bind(tenant.as_str()).bind(subscription);
        Ok(query.fetch_all(&self.webhooks).await?)
    }

    /// Replaces the secret of a subscription. The one before signs besides until `previous_until`; older
    /// ones end. Returns whether there is such a subscription.
    ///
    /// # Errors
    ///
    /// [`StoreError`].
    pub(crate) async fn rotate_webhook_secret(
        &self,
        tenant: &Tenant,
        subscription: Uuid,
        secret: &NewSecret,
        previous_until: DateTime<Utc>,
    ) -> Result<bool, StoreError> {
        self.run_tx("rotate webhook secret", |tx| {
            Box::pin(async move {
                let query = sqlx::query(TOUCH_VERSION).bind(tenant.as_str()).bind(subscription);
                if query.execute(&mut **tx).await?.rows_affected() == 0 {
                    return Ok(false);
                }
                sqlx::query(DELETE_OLD_SECRETS).bind(subscription).execute(&mut **tx).await?;
                let expire = sqlx::query(EXPIRE_SECRETS).bind(subscription).bind(previous_until);
                expire.execute(&mut **tx).await?;
                insert_secret(tx, tenant, subscription, secret).await?;
                Ok(true)
            })
        })
        .await
    }
}

statements! {
    const INSERT_SECRET: &str =
        "insert into webhook_secret (id, tenant, subscription, sealed, public_key, created_at) values ($1, $2, $3, $4, $5, clock_timestamp())";

    const SELECT_SECRET_INFOS: &str =
        "select id, created_at, expires_at, public_key from webhook_secret
         where tenant = $1 and subscription = $2 and coalesce(expires_at > now(), true) order by created_at desc, id desc";

    const TOUCH_VERSION: &str =
        "update webhook_subscription set version = version + 1 where tenant = $1 and id = $2 and state <> 'deleted'";

    const DELETE_OLD_SECRETS: &str = "delete from webhook_secret where subscription = $1 and expires_at is not null";

    const EXPIRE_SECRETS: &str = "update webhook_secret set expires_at = $2 where subscription = $1";
}
