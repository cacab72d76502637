//! Aliases of calls: which id resolves to which call. [`AliasGraph`] decides, this file stores links and
//! results.

use std::collections::{BTreeMap, BTreeSet};

use sqlx::PgConnection;

use crate::postgres::StoreError;
use crate::postgres::column::column;
use onrecord_evidence::identity::alias_graph::{AliasGraph, AliasLink, Anchor};

/// Which calls have to be evaluated again.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct TouchedCalls {
    /// Calls as they are now.
    pub calls: BTreeSet<Anchor>,
    /// Former calls that are part of another one now.
    pub gone: BTreeSet<Anchor>,
}

impl TouchedCalls {
    /// One call, whose result changes because time has passed.
    #[must_use]
    pub fn one(call: Anchor) -> Self {
        Self { calls: BTreeSet::from([call]), gone: BTreeSet::new() }
    }
}

/// Locks every id of the batch until the transaction ends.
///
/// # Why
///
/// Two ledgers must not store links of one call at the same time. All transactions lock in the same
/// order, so that they cannot deadlock.
///
/// # Errors
///
/// [`StoreError`].
pub async fn lock_ids(
    connection: &mut PgConnection,
    ids: &BTreeSet<(String, Anchor)>,
) -> Result<(), StoreError> {
    let keys = ids.iter().map(|(tenant, anchor)| lock_key(&["id", tenant, anchor.as_str()]));
    let keys: BTreeSet<i64> = keys.collect();
    sqlx::query(LOCK_IDS).bind(Vec::from_iter(keys)).execute(connection).await?;
    Ok(())
}

/// The key of an advisory lock. Two names with the same key only wait for each other unnecessarily.
pub(crate) fn lock_key(parts: &[&str]) -> i64 {
    let digest = onrecord_evidence::event::ids::Digest::of_parts(parts);
    let mut bytes = [0; 8];
    bytes.copy_from_slice(&digest.as_bytes()[..8]);
    i64::from_be_bytes(bytes)
}

/// The calls that these anchors are part of. All of them are locked by now. A new anchor becomes a call
/// by itself.
///
/// # Errors
///
/// [`StoreError`].
pub async fn calls_of(
    connection: &mut PgConnection,
    tenant: &str,
    anchors: &BTreeSet<Anchor>,
) -> Result<BTreeSet<Anchor>, StoreError> {
    let known = resolve(connection, tenant, anchors).await?;
    let new_anchors: Vec<&Anchor> = anchors.iter().filter(|it| !known.contains_key(*it)).collect();
    if !new_anchors.is_empty() {
        let ids = column(&new_anchors, |anchor| anchor.as_str());
        sqlx::query(INSERT_ANCHORS).bind(tenant).bind(&ids).execute(connection).await?;
    }
    let new_calls = new_anchors.into_iter().cloned();
    Ok(known.into_values().chain(new_calls).collect())
}

/// The call that each of these anchors is part of.
///
/// # Errors
///
/// [`StoreError`].
pub async fn resolve(
    connection: &mut PgConnection,
    tenant: &str,
    anchors: &BTreeSet<Anchor>,
) -> Result<BTreeMap<Anchor, Anchor>, StoreError> {
    let anchors: Vec<&str> = anchors.iter().map(Anchor::as_str).collect();
    let query = sqlx::query_as(SELECT_ALIASES).bind(tenant).bind(&anchors);
    let aliases: Vec<(String, String)> = query.fetch_all(connection).await?;
    let aliases = aliases.into_iter();
    Ok(aliases.map(|(id, call)| (Anchor::from_stored(id), Anchor::from_stored(call))).collect())
}

/// Stores the new links of a tenant, and updates what the affected anchors resolve to. All ids in the
/// links are locked by now. Returns the calls that those anchors are, or were, part of.
///
/// # Errors
///
/// [`StoreError`].
pub async fn insert_links(
    connection: &mut PgConnection,
    tenant: &str,
    links: &BTreeSet<AliasLink>,
) -> Result<TouchedCalls, StoreError> {
    if links.is_empty() {
        return Ok(TouchedCalls::default());
    }
    let (lowers, uppers): (Vec<&str>, Vec<&str>) =
        links.iter().map(|link| (link.lower.as_str(), link.upper.as_str())).unzip();
    let insert = sqlx::query_scalar(INSERT_LINKS).bind(tenant).bind(&lowers).bind(&uppers);
    let new: Vec<String> = insert.fetch_all(&mut *connection).await?;
    if new.is_empty() {
        return Ok(TouchedCalls::default());
    }
    // A new link changes what its lower id resolves to, and what every id below that one resolves to.
    // The ids below are complete: a transaction that links to an id holds its lock. They are locked
    // too, because another transaction may be linking them to another id. These locks are out of
    // order: PostgreSQL detects a deadlock, and the transaction runs again.
    let below = sqlx::query_scalar(SELECT_LOWER_IDS).bind(tenant).bind(&new);
    let below: Vec<String> = below.fetch_all(&mut *connection).await?;
    let below = below.into_iter().map(Anchor::from_stored);
    let below: BTreeSet<(String, Anchor)> = below.map(|id| (tenant.to_owned(), id)).collect();
    lock_ids(connection, &below).await?;

    let new = new.into_iter().map(Anchor::from_stored);
    let affected: BTreeSet<Anchor> = new.chain(below.into_iter().map(|(_, id)| id)).collect();
    let graph = load_graph(connection, tenant, &affected).await?;
    let is_ambiguous = |id: &Anchor| graph.resolves_to(id).is_none();
    let aliases: Vec<(Anchor, Anchor)> =
        affected.into_iter().map(|anchor| (anchor.clone(), graph.call_of(&anchor))).collect();
    let anchors = column(&aliases, |(anchor, _)| anchor.as_str());
    let former = sqlx::query_scalar(SELECT_FORMER_CALLS).bind(tenant).bind(&anchors);
    let former: Vec<String> = former.fetch_all(&mut *connection).await?;
    sqlx::query(UPSERT_ALIASES)
        .bind(tenant)
        .bind(&anchors)
        .bind(column(&aliases, |(_, call)| call.as_str()))
        .bind(column(&aliases, |(anchor, _)| is_ambiguous(anchor)))
        .execute(&mut *connection)
        .await?;

    let mut touched = TouchedCalls {
        calls: former.into_iter().map(Anchor::from_stored).collect(),
        gone: BTreeSet::new(),
    };
    for (anchor, call) in aliases {
        // An anchor to which nothing resolved before has no evaluation to remove.
        if anchor != call && touched.calls.contains(&anchor) {
            touched.gone.insert(anchor);
        }
        touched.calls.insert(call);
    }
    touched.calls.retain(|call| !touched.gone.contains(call));
    Ok(touched)
}

/// All links by which these anchors resolve to their calls.
async fn load_graph(
    connection: &mut PgConnection,
    tenant: &str,
    anchors: &BTreeSet<Anchor>,
) -> Result<AliasGraph, StoreError> {
    let mut graph = AliasGraph::default();
    let mut lower_ids: Vec<String> =
        anchors.iter().map(|anchor| anchor.as_str().to_owned()).collect();
    // Local id → serverCallId → correlationId: two steps reach the end.
    for _ in 0..2 {
        let links = sqlx::query_as(SELECT_LINKS).bind(tenant).bind(&lower_ids);
        let links: Vec<(String, String)> = links.fetch_all(&mut *connection).await?;
        lower_ids = links.iter().map(|(_, upper)| upper.clone()).collect();
        for (lower, upper) in links {
            graph.add_link(AliasLink {
                lower: Anchor::from_stored(lower),
                upper: Anchor::from_stored(upper),
            });
        }
    }
    Ok(graph)
}

statements! {
    const LOCK_IDS: &str = "select pg_advisory_xact_lock(number) from unnest($1::bigint[]) as _ (number)";

    const INSERT_ANCHORS: &str =
        "insert into call_alias (tenant, anchor, resolves_to)
         select $1, anchor, anchor from unnest($2::text[]) as _ (anchor) on conflict do nothing";

    const SELECT_ALIASES: &str =
        "select alias.anchor, alias.resolves_to from unnest($2::text[]) as asked (anchor)
         cross join lateral (select anchor, resolves_to from call_alias where tenant = $1 and anchor = asked.anchor offset 0) as alias";

    const SELECT_LOWER_IDS: &str =
        "select distinct link.lower_id from unnest($2::text[]) as asked (id)
         cross join lateral (select lower_id from alias_link where tenant = $1 and upper_id = asked.id offset 0) as link";

    const SELECT_FORMER_CALLS: &str =
        "select distinct alias.resolves_to from unnest($2::text[]) as asked (anchor)
         cross join lateral (select resolves_to from call_alias where tenant = $1 and anchor = asked.anchor offset 0) as alias";

    const UPSERT_ALIASES: &str =
        "insert into call_alias (tenant, anchor, resolves_to, ambiguous)
         select $1, anchor, resolves_to, ambiguous from unnest($2::text[], $3::text[], $4::bool[]) as _ (anchor, resolves_to, ambiguous)
         on conflict (tenant, anchor) do update set resolves_to = excluded.resolves_to, ambiguous = excluded.ambiguous
         where (call_alias.resolves_to, call_alias.ambiguous) <> (excluded.resolves_to, excluded.ambiguous)";

    const INSERT_LINKS: &str =
        "insert into alias_link (tenant, lower_id, upper_id) select $1, lower_id, upper_id from unnest($2::text[], $3::text[]) as _ (lower_id, upper_id)
         on conflict do nothing returning lower_id";

    const SELECT_LINKS: &str =
        "select link.* from unnest($2::text[]) as asked (id)
         cross join lateral (select lower_id, upper_id from alias_link where tenant = $1 and lower_id = asked.id offset 0) as link";
}
