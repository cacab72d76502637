//! Reads all stored facts of calls: events that bear facts, and notice facts.

use std::collections::{BTreeMap, HashMap};

use serde_json::value::RawValue;
use sqlx::PgConnection;
use sqlx::types::Json;

use crate::postgres::StoreError;
use onrecord_evidence::call::call_facts::{CallFacts, StoredEntry};
use onrecord_evidence::event::calling_event::{CallingEvent, ObservedEvent};
use onrecord_evidence::event::ids::Digest;

#[derive(sqlx::FromRow)]
struct FactLookup {
    snapshot: String,
    call: String,
    anchor: String,
    /// Null for a notice fact, whose id is in its body.
    key: Option<Vec<u8>>,
    content_digest: Option<Vec<u8>>,
    at_ms: i64,
    /// Null for a notice fact, and for an event that was received about when it happened.
    received_ms: Option<i64>,
    xid: i64,
    at_history: Json<Box<RawValue>>,
    /// JSON; null for an event that the caller knows.
    body: Option<String>,
}

/// Events by their key and the digest of their content.
pub type KnownEvents<'a> = HashMap<(Digest, Digest), &'a CallingEvent>;

/// Why a fact cannot be read.
#[derive(Debug, thiserror::Error)]
enum StoredFactError {
    #[error(transparent)]
    Body(#[from] serde_json::Error),
    #[error("the transaction does not have the event that it appended")]
    Unknown,
}

/// The facts of these calls, and the snapshot in which they were read (empty if there are none). `known` has
/// all events that this transaction appended, or none: their bodies are not read back.
///
/// # Errors
///
/// [`StoreError`]; [`StoreError::Inconsistent`] if this version of the service cannot read a fact: it
/// then evaluates nothing, instead of giving a wrong result.
pub async fn read_call_facts(
    connection: &mut PgConnection,
    tenant: &str,
    calls: &[&str],
    known: &KnownEvents<'_>,
) -> Result<(BTreeMap<String, CallFacts>, String), StoreError> {
    // One statement, because a version of a verdict records one snapshot.
    let query = sqlx::query_as(SELECT_FACTS_OF_CALLS).bind(tenant).bind(calls);
    let query = query.bind(!known.is_empty());
    let rows: Vec<FactLookup> = query.fetch_all(connection).await?;
    let snapshot = rows.first().map(|row| row.snapshot.clone()).unwrap_or_default();
    let mut by_call: BTreeMap<String, CallFacts> = BTreeMap::new();
    for row in rows {
        let facts = by_call.entry(row.call.clone()).or_default();
        row.add_to(facts, known)?;
    }
    Ok((by_call, snapshot))
}

/// The facts at these anchors, whichever calls they are part of now.
///
/// # Errors
///
/// As for [`read_call_facts`].
pub async fn read_facts_of_anchors(
    connection: &mut PgConnection,
    tenant: &str,
    anchors: &[String],
) -> Result<CallFacts, StoreError> {
    let query = sqlx::query_as(SELECT_FACTS_OF_ANCHORS).bind(tenant).bind(anchors);
    let rows: Vec<FactLookup> = query.fetch_all(connection).await?;
    let mut facts = CallFacts::default();
    let known = KnownEvents::new();
    for row in rows {
        row.add_to(&mut facts, &known)?;
    }
    Ok(facts)
}

impl FactLookup {
    fn add_to(self, facts: &mut CallFacts, known: &KnownEvents<'_>) -> Result<(), StoreError> {
        let call = self.call.clone();
        self.parse_into(facts, known).map_err(|error| {
            StoreError::Inconsistent(format!("a fact of the call {call}: {error}"))
        })
    }

    fn parse_into(
        self,
        facts: &mut CallFacts,
        known: &KnownEvents<'_>,
    ) -> Result<(), StoredFactError> {
        let (anchor, write) = (self.anchor, self.xid);
        let previous_times = serde_json::from_str(self.at_history.get())?;
        let Some(key) = self.key else {
            let content =
                serde_json::from_str(self.body.as_deref().ok_or(StoredFactError::Unknown)?)?;
            facts.notices.push(StoredEntry { anchor, write, previous_times, content });
            return Ok(());
        };
        // Every key is a digest when it is inserted.
        let Some(key) = Digest::from_bytes(&key) else { return Ok(()) };
        let event = match self.body {
            Some(body) => CallingEvent::from_json(&body)?,
            None => {
                let digest = self.content_digest.as_deref().and_then(Digest::from_bytes);
                let event = digest.and_then(|digest| known.get(&(key, digest)));
                (*event.ok_or(StoredFactError::Unknown)?).clone()
            }
        };
        let content = ObservedEvent::new(key, self.at_ms, event).received(self.received_ms);
        facts.events.push(StoredEntry { anchor, write, previous_times, content });
        Ok(())
    }
}

macro_rules! fact_columns {
    () => {
        "alias.call, statement.anchor, statement.key, statement.content_digest, statement.at_ms, statement.received_ms, statement.xid::text::bigint as xid, statement.at_history, statement.body"
    };
}

/// The facts at each anchor of `alias`, with this body of an event.
macro_rules! facts_at_anchors {
    ($body:literal) => {
        concat!(
            " cross join lateral (
             select anchor, key, content_digest, at_ms, received_ms, xid, at_history, ",
            $body,
            " as body from fact where tenant = $1 and anchor = alias.anchor
             union all
             select anchor, null, null, at_ms, null, xid, at_history, fact::text from notice_fact where tenant = $1 and anchor = alias.anchor
             offset 0
         ) as statement"
        )
    };
}

statements! {
    const SELECT_FACTS_OF_CALLS: &str = concat!(
        "select (select write_snapshot()::text) as snapshot, ",
        fact_columns!(),
        " from unnest($2::text[]) as asked (call)
         cross join lateral (
             select anchor, resolves_to as call from call_alias where tenant = $1 and resolves_to = asked.call offset 0) as alias",
        facts_at_anchors!("case when $3 and xid = write_id() then null else event end"),
    );

    const SELECT_FACTS_OF_ANCHORS: &str = concat!(
        "select '' as snapshot, ",
        fact_columns!(),
        " from (select anchor, anchor as call from unnest($2::text[]) as asked (anchor)) as alias",
        facts_at_anchors!("event"),
    );
}
