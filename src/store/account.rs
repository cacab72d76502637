//! What the reading room asks of a call's account: its versions, and the facts behind them.

use chrono::{DateTime, Utc};
use serde_json::Value;

use super::dossier::{read_dossiers, read_lines};
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
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Which {
    /// The latest version.
    Latest,
    /// A version that was stored, by the name that the call had then: calls merge, and each has
    /// versions of its own. Without a name the call's own are first.
    Version { call: Option<String>, version: i32 },
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
    version: i32,
    as_of: DateTime<Utc>,
    report: Value,
    anchors: Vec<String>,
    snapshot: String,
    xid: i64,
}

impl ReadingRoom {
    /// The versions of the account of a call and of those that became part of it, the latest of
    /// the call itself first.
    ///
    /// # Errors
    ///
    /// [`StoreError`].
    pub async fn versions(
        &mut self,
        call: &str,
        anchors: &[String],
        limit: i64,
    ) -> Result<Vec<VersionRow>, StoreError> {
        Ok(sqlx::query_as(
            "select call, version, rules, verdict, made, as_of, reason, changed_by from verdict
             where tenant = $1 and (call = $2 or call = any($3)) order by call = $2 desc, version desc, as_of desc limit $4",
        )
        .bind(self.tenant.as_str())
        .bind(call)
        .bind(anchors)
        .bind(limit)
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
        let (then, version) = match which {
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
            Which::Latest => (None, None),
            Which::Version { call, version } => (call, Some(version)),
        };
        let row: Option<VersionLookup> = sqlx::query_as(
            "select call, version, as_of, report, anchors, snapshot::text as snapshot, xid::text::bigint as xid from verdict
             where tenant = $1 and (call = $2 or call = any($3)) and ($4::text is null or call = $4) and ($5::int is null or version = $5)
             order by call = $2 desc, version desc, as_of desc limit 1",
        )
        .bind(self.tenant.as_str())
        .bind(call)
        .bind(anchors)
        .bind(then)
        .bind(version)
        .fetch_optional(&mut *self.transaction)
        .await?;
        let Some(row) = row else { return Ok(None) };
        let version = row.version;
        let sight = Sight::read(&row.snapshot, row.xid).ok_or_else(|| {
            StoreError::Inconsistent(format!("the snapshot of version {version} of {call}"))
        })?;
        // Of its own anchors: one of them may be part of another call now.
        let tenant = self.tenant.clone();
        let lines = read_lines(&mut self.transaction, tenant.as_str(), &row.anchors).await?;
        let known = row.anchors.iter().map(String::as_str).collect();
        Ok(Some(AccountPage {
            version: Some(version),
            as_of: row.as_of.timestamp_millis(),
            facts: lines.seen(&sight, &known).resolved().facts,
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
