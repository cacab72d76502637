//! Revocations of subscriber tokens.

use chrono::{DateTime, Utc};
use uuid::Uuid;

use crate::http::subscriber_token::revocations::{IssuedUntil, RevokedTokens, TokenRevocation};
use crate::postgres::{Postgres, StoreError};
use onrecord_evidence::event::ids::Tenant;
use onrecord_evidence::event::instant::Millis;

/// Maximum number of revocations of one page.
const MAX_PAGE: i64 = 1_000;
/// How [`IssuedUntil::Forever`] is stored, ms: the end of the year 9999. Older versions read instants
/// only.
const FOREVER: Millis = 253_402_300_799_000;

/// The revocations that are still to be read.
pub(crate) struct UnreadRevocations {
    /// Those that were recorded after this instant by the clock of the database, ms,
    pub recorded_after: Millis,
    /// that cover a token which was issued after this instant, ms,
    pub issued_after: Millis,
    /// and whose row is after this one.
    pub after_id: i64,
}

/// Some revocations, in the order of their rows.
pub(crate) struct RevocationPage {
    pub revocations: Vec<TokenRevocation>,
    pub last_id: i64,
    /// When they were read by the clock of the database, ms.
    pub read_at: Millis,
    /// There may be more.
    pub is_full: bool,
}

#[derive(sqlx::FromRow)]
struct TokenRevocationRow {
    id: i64,
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
        let issued_until = match self.last_issued_at.timestamp_millis() {
            FOREVER => IssuedUntil::Forever,
            instant => IssuedUntil::At(instant),
        };
        Ok(TokenRevocation { tenant, tokens, issued_until })
    }
}

impl Postgres {
    /// Stores a revocation; `revoked_by` is the id of an API key. That of a revoked key is stored once.
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
        let issued_until = match revocation.issued_until {
            IssuedUntil::At(instant) => instant,
            IssuedUntil::Forever => FOREVER,
        };
        sqlx::query(INSERT_TOKEN_REVOCATION)
            .bind(revocation.tenant.as_str())
            .bind(raw_id)
            .bind(key)
            .bind(issued_until)
            .bind(revoked_by)
            .execute(&self.pool)
            .await?;
        Ok(())
    }

    /// A page of revocations. `None`: there are none.
    ///
    /// # Errors
    ///
    /// [`StoreError`].
    pub(crate) async fn token_revocations(
        &self,
        unread: &UnreadRevocations,
    ) -> Result<Option<RevocationPage>, StoreError> {
        let rows: Vec<TokenRevocationRow> = sqlx::query_as(SELECT_TOKEN_REVOCATIONS)
            .bind(unread.recorded_after)
            .bind(unread.issued_after)
            .bind(unread.after_id)
            .bind(MAX_PAGE)
            .fetch_all(&self.pool)
            .await?;
        let Some(last) = rows.last() else {
            return Ok(None);
        };
        let (last_id, read_at) = (last.id, last.read_at.timestamp_millis());
        let is_full = i64::try_from(rows.len()).is_ok_and(|count| count >= MAX_PAGE);
        let revocations = rows.into_iter().map(TokenRevocationRow::parse);
        let revocations = revocations.collect::<Result<_, _>>()?;
        Ok(Some(RevocationPage { revocations, last_id, read_at, is_full }))
    }

    /// Deletes some of the revocations that were recorded until an instant and cover tokens that were
    /// issued until then. Returns how many.
    ///
    /// # Errors
    ///
    /// [`StoreError`].
    pub(crate) async fn delete_token_revocations(
        &self,
        until: DateTime<Utc>,
    ) -> Result<u64, StoreError> {
        let deleted = sqlx::query(DELETE_TOKEN_REVOCATIONS).bind(until).execute(&self.pool).await?;
        Ok(deleted.rows_affected())
    }
}

statements! {
    const INSERT_TOKEN_REVOCATION: &str = "insert into token_revocation (tenant, raw_id, api_key, last_issued_at, revoked_by) values ($1, $2, $3, to_timestamp($4::bigint / 1000.0), $5) on conflict do nothing";

    const SELECT_TOKEN_REVOCATIONS: &str =
        "select id, tenant, raw_id, api_key, last_issued_at, now() as read_at from token_revocation
         where recorded_at > to_timestamp($1::bigint / 1000.0) and last_issued_at > to_timestamp($2::bigint / 1000.0) and id > $3
         order by id limit $4";

    const DELETE_TOKEN_REVOCATIONS: &str = "delete from token_revocation where id = any(array(select id from token_revocation where recorded_at <= $1 and last_issued_at <= $1 limit 10000))";
}
