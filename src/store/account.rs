//! What the reading room asks of a call's account: its versions, and the facts behind them.

use chrono::{DateTime, Utc};
use serde_json::Value;

use super::call::{read_dossiers, read_lines};
use super::{ReadingRoom, StoreError};
use crate::domain::dossier::{Dossier, Sight};
use crate::domain::fact::Fact;
use crate::domain::instant::Millis;

/// A version of a call's account, without its report.
#[derive(Debug, sqlx::FromRow)]
pub struct VersionRow {
    /// The name of the call when it was made: calls merge.
    pub call: String,
    pub version: i32,
    pub rules: String,
    pub verdict: String,
    pub made: DateTime<Utc>,
    pub as_of: DateTime<Utc>,
    pub reason: String,
    pub changed_by: Value,
}

/// Which account of a call.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Which {
    /// The latest version.
    Latest,
    /// A version that was stored.
    Version(i32),
    /// What all that is known today comes to at an instant, ms; not stored.
    At(Millis),
}

/// An account of a call, with what it is made of.
#[derive(Debug)]
pub struct AccountPage {
    /// The name of the call when it was made.
    pub call: String,
    /// None: it was made for the question.
    pub version: Option<i32>,
    /// The instant that it is of, ms.
    pub as_of: Millis,
    /// Exactly the facts that it is made of, by id.
    pub facts: Vec<Fact>,
    /// As it is stored, in the form of section 9 of the rules.
    pub report: Option<Value>,
}

#[derive(sqlx::FromRow)]
struct VersionLookup {
    call: String,
    as_of: DateTime<Utc>,
    report: Value,
    anchors: Vec<String>,
    snapshot: String,
    xid: i64,
}

impl ReadingRoom {
    /// Every version of the account of a call and of those that became part of it, the latest of
    /// the call itself first.
    ///
    /// # Errors
    ///
    /// [`StoreError`].
    pub async fn versions(
        &mut self,
        call: &str,
        anchors: &[String],
    ) -> Result<Vec<VersionRow>, StoreError> {
        Ok(sqlx::query_as(
            "select call, version, rules, verdict, made, as_of, reason, changed_by from verdict
             where tenant = $1 and (call = $2 or call = any($3)) order by call = $2 desc, version desc, as_of desc",
        )
        .bind(self.tenant.as_str())
        .bind(call)
        .bind(anchors)
        .fetch_all(&mut *self.transaction)
        .await?)
    }

    /// One account of a call, as [`ReadingRoom::call_of`] names it; `None` if there is none.
    ///
    /// # Errors
    ///
    /// [`StoreError`].
    pub async fn account(
        &mut self,
        call: &str,
        anchors: &[String],
        which: Which,
    ) -> Result<Option<AccountPage>, StoreError> {
        let version = match which {
            Which::At(as_of) => {
                let dossier = self.dossier(call).await?;
                return Ok(Some(AccountPage {
                    call: call.to_owned(),
                    version: None,
                    as_of,
                    facts: dossier.resolved().facts,
                    report: None,
                }));
            }
            Which::Latest => None,
            Which::Version(version) => Some(version),
        };
        let versions = self.versions(call, anchors).await?;
        let wanted = versions
            .into_iter()
            .find(|row| version.is_none_or(|version| row.version == version));
        let Some(VersionRow { call, version, .. }) = wanted else {
            return Ok(None);
        };
        let row: VersionLookup = sqlx::query_as(
            "select call, as_of, report, anchors, snapshot::text as snapshot, xid::text::bigint as xid from verdict
             where tenant = $1 and call = $2 and version = $3",
        )
        .bind(self.tenant.as_str())
        .bind(&call)
        .bind(version)
        .fetch_one(&mut *self.transaction)
        .await?;
        let sight = Sight::read(&row.snapshot, row.xid).ok_or_else(|| {
            StoreError::Inconsistent(format!("the snapshot of version {version} of {call}"))
        })?;
        // Of its own anchors: one of them may be part of another call now.
        let tenant = self.tenant.clone();
        let lines = read_lines(&mut self.transaction, tenant.as_str(), &row.anchors).await?;
        Ok(Some(AccountPage {
            version: Some(version),
            as_of: row.as_of.timestamp_millis(),
            facts: lines.seen(&sight, &row.anchors).resolved().facts,
            report: Some(row.report),
            call: row.call,
        }))
    }

    async fn dossier(&mut self, call: &str) -> Result<Dossier, StoreError> {
        let tenant = self.tenant.clone();
        let (mut dossiers, _) =
            read_dossiers(&mut self.transaction, tenant.as_str(), &[call]).await?;
        Ok(dossiers.remove(call).unwrap_or_default())
    }

    /// The names of all calls of the tenant, after `after` in the order of names.
    ///
    /// # Errors
    ///
    /// [`StoreError`].
    pub async fn calls_after(
        &mut self,
        after: &str,
        limit: i64,
    ) -> Result<Vec<String>, StoreError> {
        Ok(sqlx::query_scalar(
            "select call from call where tenant = $1 and call > $2 order by call limit $3",
        )
        .bind(self.tenant.as_str())
        .bind(after)
        .bind(limit)
        .fetch_all(&mut *self.transaction)
        .await?)
    }
}
