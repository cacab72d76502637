//! Queries on the verdict of a call: its versions, and the facts that each is made of.

use chrono::{DateTime, Utc};
use serde::Serialize;
use serde_json::Value;
use sqlx::types::Json;
use utoipa::ToSchema;

use crate::http::timestamp::serialize_micros;
use crate::openapi::named_schemas::VerdictSchema;
use crate::postgres::call::call_facts::{KnownEvents, read_call_facts, read_facts_of_anchors};
use crate::postgres::call::revision::SnapshotRevision;
use crate::postgres::{StoreError, TenantSnapshot};
use onrecord_evidence::event::instant::Millis;
use onrecord_evidence::fact::kinds::Fact;
use onrecord_evidence::report::proof::SessionProofs;

/// A version of the verdict of a call, without its report.
#[derive(Debug, Serialize, sqlx::FromRow, ToSchema)]
#[schema(as = VerdictVersion)]
pub struct VersionRow {
    /// The number of the version.
    pub version: i32,
    /// The id of the call when the version was made; calls may be merged later.
    pub call: String,
    /// The version of the rules of evidence.
    pub rules: String,
    /// The verdict.
    #[schema(value_type = VerdictSchema)]
    pub verdict: String,
    /// When it was made.
    #[serde(serialize_with = "serialize_micros")]
    pub made_at: DateTime<Utc>,
    /// The instant for which it holds.
    #[serde(serialize_with = "serialize_micros")]
    pub as_of: DateTime<Utc>,
    /// Why it was made.
    pub reason: String,
    /// The facts by which it differs from the previous version.
    #[schema(value_type = Value)]
    pub changed_by: Value,
}

/// Selects a version of the verdict of a call.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum VersionSelector {
    /// The latest version.
    Latest,
    /// A stored version, by the id that the call had then: each of the calls that were merged has its own
    /// versions. Without an id, the versions of the call itself come first.
    Version { call: Option<String>, version: i32 },
    /// A version that is computed from all facts known now, for an instant in ms. It is not stored.
    At(Millis),
}

/// A verdict on a call, with the facts that it is made of.
#[derive(Debug)]
pub struct VersionWithFacts {
    /// Id of the call when the version was made.
    pub call: String,
    /// `None`: it is computed for the query.
    pub version: Option<i32>,
    /// Instant for which the version holds, ms.
    pub as_of: Millis,
    /// The facts that it is made of, by id.
    pub facts: Vec<Fact>,
    /// The stored report, as `docs/evidence-rules.md`, section 9, defines it.
    pub report: Option<Value>,
    /// The stored proofs of the sessions. `None`: none are stored.
    pub proofs: Option<SessionProofs>,
}

#[derive(sqlx::FromRow)]
struct VersionLookup {
    call: String,
    version: i32,
    as_of: DateTime<Utc>,
    report: Value,
    proofs: Option<Json<SessionProofs>>,
    anchors: Vec<String>,
    snapshot: String,
    xid: i64,
}

impl TenantSnapshot {
    /// The versions of a call, and of the calls that became part of it. The latest of the call itself is
    /// first.
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
        let query = sqlx::query_as(SELECT_VERSIONS).bind(self.tenant.as_str());
        let query = query.bind(call).bind(anchors).bind(limit);
        Ok(query.fetch_all(&mut *self.transaction).await?)
    }

    /// One version of the verdict of a call, with its facts; `None` if there is none.
    ///
    /// # Errors
    ///
    /// [`StoreError`].
    pub async fn version(
        &mut self,
        call: &str,
        anchors: &[String],
        selector: VersionSelector,
    ) -> Result<Option<VersionWithFacts>, StoreError> {
        let (former_call, version) = match selector {
            VersionSelector::At(as_of) => {
                let tenant = self.tenant.as_str();
                let (mut by_call, _) =
                    read_call_facts(&mut self.transaction, tenant, &[call], &KnownEvents::new())
                        .await?;
                let facts = by_call.remove(call).unwrap_or_default();
                return Ok(Some(VersionWithFacts {
                    call: call.to_owned(),
                    version: None,
                    as_of,
                    facts: facts.resolved().facts,
                    report: None,
                    proofs: None,
                }));
            }
            VersionSelector::Latest => (None, None),
            VersionSelector::Version { call, version } => (call, Some(version)),
        };
        let query = sqlx::query_as(SELECT_VERSION).bind(self.tenant.as_str());
        let query = query.bind(call).bind(anchors).bind(former_call).bind(version);
        let row: Option<VersionLookup> = query.fetch_optional(&mut *self.transaction).await?;
        let Some(row) = row else { return Ok(None) };
        let version = row.version;
        let revision = SnapshotRevision::parse(&row.snapshot, row.xid).ok_or_else(|| {
            StoreError::Inconsistent(format!("the snapshot of version {version} of {call}"))
        })?;
        // The version names its anchors, because one of them may be part of another call now.
        let tenant = self.tenant.as_str();
        let facts = read_facts_of_anchors(&mut self.transaction, tenant, &row.anchors).await?;
        let anchors = row.anchors.iter().map(String::as_str).collect();
        Ok(Some(VersionWithFacts {
            version: Some(version),
            as_of: row.as_of.timestamp_millis(),
            facts: facts.at_revision(&revision, &anchors).resolved().facts,
            report: Some(row.report),
            proofs: row.proofs.map(|Json(proofs)| proofs),
            call: row.call,
        }))
    }

    /// Whether these anchors have more than this number of facts.
    ///
    /// # Errors
    ///
    /// [`StoreError`].
    pub async fn has_more_facts(
        &mut self,
        anchors: &[String],
        max: i64,
    ) -> Result<bool, StoreError> {
        let query = sqlx::query_scalar(SELECT_HAS_MORE_FACTS).bind(self.tenant.as_str());
        Ok(query.bind(anchors).bind(max).fetch_one(&mut *self.transaction).await?)
    }

    /// The ids of the calls of the tenant after `after`, in the order of ids.
    ///
    /// # Errors
    ///
    /// [`StoreError`].
    pub async fn calls_after(
        &mut self,
        after: &str,
        limit: i64,
    ) -> Result<Vec<String>, StoreError> {
        let query = sqlx::query_scalar(SELECT_CALLS_AFTER).bind(self.tenant.as_str());
        Ok(query.bind(after).bind(limit).fetch_all(&mut *self.transaction).await?)
    }
}

statements! {
    const SELECT_VERSIONS: &str =
        "select call, version, rules, verdict, made_at, as_of, reason, changed_by from verdict
         where tenant = $1 and (call = $2 or call = any($3)) order by call = $2 desc, version desc, as_of desc limit $4";

    const SELECT_VERSION: &str =
        "select call, version, as_of, report, proofs, anchors, snapshot::text as snapshot, xid::text::bigint as xid from verdict
         where tenant = $1 and (call = $2 or call = any($3)) and ($4::text is null or call = $4) and ($5::int is null or version = $5)
         order by call = $2 desc, version desc, as_of desc limit 1";

    const SELECT_HAS_MORE_FACTS: &str =
        "select count(*) > $3 from (
             select from fact where tenant = $1 and anchor = any($2)
             union all
             select from notice_fact where tenant = $1 and anchor = any($2)
             limit $3 + 1) as counted";

    const SELECT_CALLS_AFTER: &str = "select call from call where tenant = $1 and call > $2 order by call limit $3";
}
