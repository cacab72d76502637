//! All that is stored of a call, read back for a fold.

use std::collections::BTreeMap;

use serde_json::value::RawValue;
use sqlx::PgConnection;
use sqlx::types::Json;

use super::StoreError;
use crate::domain::calling_event::{CallingEvent, Testimony};
use crate::domain::dossier::{Dossier, Line};
use crate::domain::ids::Digest;

#[derive(sqlx::FromRow)]
struct LineLookup {
    snapshot: String,
    call: String,
    anchor: String,
    /// Of a notice fact null: its id is in what it says.
    key: Option<Vec<u8>>,
    t: i64,
    xid: i64,
    past: Json<Box<RawValue>>,
    /// JSON.
    said: String,
}

/// All that is stored of these calls, and the snapshot in which it was seen (empty if there is
/// nothing).
///
/// # Errors
///
/// [`StoreError`]; [`StoreError::Inconsistent`] if an earlier version wrote what this one cannot
/// read: no account at all is better than one that is silently wrong.
pub async fn read_dossiers(
    connection: &mut PgConnection,
    tenant: &str,
    calls: &[&str],
) -> Result<(BTreeMap<String, Dossier>, String), StoreError> {
    // One statement, because it is one snapshot that a version is remembered by.
    let rows: Vec<LineLookup> = sqlx::query_as(
        "select pg_current_snapshot()::text as snapshot, lead.call, line.anchor, line.key, line.t,
                line.xid::text::bigint as xid, line.past, line.said
         from unnest($2::text[]) as asked (call)
         cross join lateral (select anchor, call from alias_lead where tenant = $1 and call = asked.call offset 0) as lead
         cross join lateral (
             select anchor, key, t, xid, past, event as said from fact where tenant = $1 and anchor = lead.anchor
             union all
             select anchor, null, t, xid, past, fact::text from notice_fact where tenant = $1 and anchor = lead.anchor
             offset 0
         ) as line",
    )
    .bind(tenant)
    .bind(calls)
    .fetch_all(connection)
    .await?;
    let mut snapshot = String::new();
    let mut dossiers: BTreeMap<String, Dossier> = BTreeMap::new();
    for row in rows {
        let dossier = dossiers.entry(row.call.clone()).or_default();
        snapshot.clone_from(&row.snapshot);
        row.enter(dossier)?;
    }
    Ok((dossiers, snapshot))
}

/// All that is stored at these anchors, whichever calls they are part of now.
///
/// # Errors
///
/// As for [`read_dossiers`].
pub async fn read_lines(
    connection: &mut PgConnection,
    tenant: &str,
    anchors: &[String],
) -> Result<Dossier, StoreError> {
    let rows: Vec<LineLookup> = sqlx::query_as(
        "select '' as snapshot, line.anchor as call, line.anchor, line.key, line.t,
                line.xid::text::bigint as xid, line.past, line.said
         from unnest($2::text[]) as asked (anchor)
         cross join lateral (
             select anchor, key, t, xid, past, event as said from fact where tenant = $1 and anchor = asked.anchor
             union all
             select anchor, null, t, xid, past, fact::text from notice_fact where tenant = $1 and anchor = asked.anchor
             offset 0
         ) as line",
    )
    .bind(tenant)
    .bind(anchors)
    .fetch_all(connection)
    .await?;
    let mut dossier = Dossier::default();
    for row in rows {
        row.enter(&mut dossier)?;
    }
    Ok(dossier)
}

impl LineLookup {
    fn enter(self, dossier: &mut Dossier) -> Result<(), StoreError> {
        let call = self.call.clone();
        self.read_into(dossier).map_err(|error| {
            StoreError::Inconsistent(format!("a fact of the call {call}: {error}"))
        })
    }

    fn read_into(self, dossier: &mut Dossier) -> Result<(), serde_json::Error> {
        let (anchor, xid) = (self.anchor, self.xid);
        let past = serde_json::from_str(self.past.get())?;
        let Some(key) = self.key else {
            let said = serde_json::from_str(&self.said)?;
            dossier.notices.push(Line {
                anchor,
                xid,
                past,
                said,
            });
            return Ok(());
        };
        let event = CallingEvent::from_json(&self.said)?;
        if let Some(key) = Digest::from_bytes(&key) {
            dossier.testimonies.push(Line {
                anchor,
                xid,
                past,
                said: Testimony::new(key, self.t, event),
            });
        }
        Ok(())
    }
}
