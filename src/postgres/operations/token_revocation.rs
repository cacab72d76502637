//! Revocations of subscriber tokens.

use chrono::{DateTime, Utc};
use uuid::Uuid;

use crate::http::subscriber_token::revocations::{RevokedTokens, TokenRevocation};
use crate::postgres::{Postgres, StoreError};
use onrecord_evidence::event::ids::Tenant;
use onrecord_evidence::event::instant::Millis;

#[derive(sqlx::FromRow)]
struct TokenRevocationRow {
    tenant: String,
    raw_id: Option<String>,
    api_key: Option<Uuid>,
    last_issued_at: DateTime<Utc>,
    read_at: DateTime<Utc>,
}

impl TokenRevocationRow {
    fn parse(self) -> Result<TokenRevocation, StoreError> {
        let tenant = Tenant::parse(&self.tenant).map_err(|error| {
            StoreError::Inconsistent(format!("a token revocation has no tenant: {error}"))
        })?;
        let tokens = match (self.raw_id, self.api_key) {
            (Some(raw_id), _) => RevokedTokens::Person(raw_id),
            (None, Some(key)) => RevokedTokens::Key(key),
            (None, None) => RevokedTokens::All,
        };
        let issued_until = self.last_issued_at.timestamp_millis();
        Ok(TokenRevocation { tenant, tokens, issued_until })
    }
}

impl Postgres {
    /// Stores a revocation; `revoked_by` is the id of an API key.
    ///
    /// # Errors
    ///
    /// [`StoreError`].
    pub async fn revoke_tokens(
        &self,
        revocation: &TokenRevocation,
        revoked_by: Option<Uuid>,
    ) -> Result<(), StoreError> {
        let (raw_id, key) = match &revocation.tokens {
            RevokedTokens::Person(raw_id) => (Some(raw_id.as_str()), None),
            RevokedTokens::Key(key) => (None, Some(*key)),
            RevokedTokens::All => (None, None),
        };
        sqlx::query(INSERT_TOKEN_REVOCATION)
            .bind(revocation.tenant.as_str())
            .bind(raw_id)
            .bind(key)
            .bind(revocation.issued_until)
            .bind(revoked_by)
            .execute(&self.pool)
            .await?;
        Ok(())
    }

    /// The revocations that were recorded after an instant (ms), and when they were read (ms); both by
    /// the clock of the database. `None`: there are none.
    ///
    /// # Errors
    ///
    /// [`StoreError`].
    pub(crate) async fn token_revocations(
        &self,
        recorded_after: Millis,
    ) -> Result<Option<(Vec<TokenRevocation>, Millis)>, StoreError> {
        let rows: Vec<TokenRevocationRow> = sqlx::query_as(SELECT_TOKEN_REVOCATIONS)
            .bind(recorded_after)
            .fetch_all(&self.pool)
            .await?;
        let Some(read_at) = rows.first().map(|row| row.read_at.timestamp_millis()) else {
            return Ok(None);
        };
        let revocations = rows.into_iter().map(TokenRevocationRow::parse);
        Ok(Some((revocations.collect::<Result<_, _>>()?, read_at)))
    }
}

statements! {
    const INSERT_TOKEN_REVOCATION: &str = "insert into token_revocation (tenant, raw_id, api_key, last_issued_at, revoked_by) values ($1, $2, $3, to_timestamp($4::bigint / 1000.0), $5)";

    const SELECT_TOKEN_REVOCATIONS: &str = "select tenant, raw_id, api_key, last_issued_at, now() as read_at from token_revocation where recorded_at > to_timestamp($1::bigint / 1000.0) order by id";
}
