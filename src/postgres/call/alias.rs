//! Aliases of calls: which id resolves to which call. [`AliasGraph`] decides, this file stores links and
//! results.

use std::collections::{BTreeMap, BTreeSet};

use sqlx::PgConnection;

use super::locks::HeldLocks;
use super::pending_merge::postpone_merges;
use crate::postgres::StoreError;
use crate::postgres::column::column;
use onrecord_evidence::identity::alias_graph::{AliasGraph, AliasLink, Anchor};

/// Number of links of one id that are read at first. Few ids have more than three.
const FIRST_LINKS: i64 = 16;
/// Maximum number of links of one id that are read at a time.
const MAX_LINKS: i64 = 4_096;

/// Which calls have to be evaluated again.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct TouchedCalls {
    /// Calls as they are now.
    pub calls: BTreeSet<Anchor>,
    /// Former calls, each with the call that it is part of now.
    pub gone: BTreeMap<Anchor, Anchor>,
}

impl TouchedCalls {
    /// Calls that stay as they are.
    #[must_use]
    pub fn of(calls: BTreeSet<Anchor>) -> Self {
        Self { calls, gone: BTreeMap::new() }
    }

    /// Adds other calls; what is gone by either is no call.
    pub fn add(&mut self, other: Self) {
        self.calls.extend(other.calls);
        self.gone.extend(other.gone);
        self.calls.retain(|call| !self.gone.contains_key(call));
    }
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
    if anchors.is_empty() {
        return Ok(BTreeMap::new());
    }
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
    locks: &mut HeldLocks,
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
    let new: BTreeSet<Anchor> = new.into_iter().map(Anchor::from_stored).collect();
    let changes = update_aliases(connection, tenant, &new).await?;
    // The ids below an id resolve by what that id resolves to, so they change only if it does.
    let moved = changes.iter().filter(|change| change.is_moved());
    let moved: Vec<&str> = moved.map(|change| change.anchor.as_str()).collect();
    let mut touched = touched_calls(connection, tenant, &changes).await?;
    if moved.is_empty() {
        return Ok(touched);
    }
    // The ids below are complete: a transaction that links to an id holds its lock. They are locked
    // too, because another transaction may be linking them to another id. These locks are out of
    // order: PostgreSQL detects a deadlock, and the transaction runs again.
    let max_moved = locks.limits().moved_ids().min(locks.free_ids());
    // One more than the maximum shows that there are too many.
    let limit = i64::try_from(max_moved + 1).unwrap_or(i64::MAX);
    let below = sqlx::query_as(SELECT_LOWER_IDS).bind(tenant).bind(&moved).bind(limit);
    let below: Vec<(String, String)> = below.fetch_all(&mut *connection).await?;
    let (below, postponed) = ids_to_move(below, max_moved);
    postpone_merges(connection, tenant, &postponed).await?;
    touched.add(move_ids(connection, locks, tenant, &below).await?);
    Ok(touched)
}

/// Updates what these ids resolve to, after an id above them resolves to another call. Returns the
/// calls that they are, or were, part of.
///
/// # Errors
///
/// [`StoreError`].
pub async fn move_ids(
    connection: &mut PgConnection,
    locks: &mut HeldLocks,
    tenant: &str,
    ids: &BTreeSet<Anchor>,
) -> Result<TouchedCalls, StoreError> {
    if ids.is_empty() {
        return Ok(TouchedCalls::default());
    }
    let to_lock = ids.iter().map(|id| (tenant.to_owned(), id.clone())).collect();
    locks.lock_ids(connection, &to_lock).await?;
    let changes = update_aliases(connection, tenant, ids).await?;
    touched_calls(connection, tenant, &changes).await
}

/// Of pairs of an id and an id below it: the ids below that are moved at once, at most `max`, and the ids
/// above whose others are left to the maintenance. Those with the fewest ids below come first.
fn ids_to_move(below: Vec<(String, String)>, max: usize) -> (BTreeSet<Anchor>, Vec<String>) {
    let mut by_upper: BTreeMap<String, BTreeSet<Anchor>> = BTreeMap::new();
    for (upper, lower) in below {
        by_upper.entry(upper).or_default().insert(Anchor::from_stored(lower));
    }
    let mut by_size: Vec<(String, BTreeSet<Anchor>)> = by_upper.into_iter().collect();
    by_size.sort_by_key(|(_, lowers)| lowers.len());
    let mut at_once = BTreeSet::new();
    let mut postponed = Vec::new();
    for (upper, lowers) in by_size {
        if at_once.len() + lowers.len() <= max {
            at_once.extend(lowers);
        } else {
            postponed.push(upper);
        }
    }
    (at_once, postponed)
}

/// What an id resolved to, and resolves to now.
struct AliasChange {
    anchor: Anchor,
    /// `None`: it was unknown.
    from: Option<Anchor>,
    to: Anchor,
}

impl AliasChange {
    /// Whether the ids below it resolve to another call now. An unknown id was a call by itself.
    fn is_moved(&self) -> bool {
        self.from.as_ref().unwrap_or(&self.anchor) != &self.to
    }
}

/// Computes again what these anchors resolve to, and stores it.
async fn update_aliases(
    connection: &mut PgConnection,
    tenant: &str,
    anchors: &BTreeSet<Anchor>,
) -> Result<Vec<AliasChange>, StoreError> {
    let graph = load_graph(connection, tenant, anchors).await?;
    let mut known = resolve(connection, tenant, anchors).await?;
    let changes: Vec<AliasChange> = anchors
        .iter()
        .map(|anchor| AliasChange {
            from: known.remove(anchor),
            to: graph.call_of(anchor),
            anchor: anchor.clone(),
        })
        .collect();
    let is_ambiguous = |id: &Anchor| graph.resolves_to(id).is_none();
    sqlx::query(UPSERT_ALIASES)
        .bind(tenant)
        .bind(column(&changes, |change| change.anchor.as_str()))
        .bind(column(&changes, |change| change.to.as_str()))
        .bind(column(&changes, |change| is_ambiguous(&change.anchor)))
        .execute(connection)
        .await?;
    Ok(changes)
}

/// The calls before and after these changes. A former call that is part of another one now is gone.
async fn touched_calls(
    connection: &mut PgConnection,
    tenant: &str,
    changes: &[AliasChange],
) -> Result<TouchedCalls, StoreError> {
    let now = changes.iter().map(|change| change.to.clone());
    let mut touched = TouchedCalls::of(now.collect());
    let former: BTreeSet<Anchor> =
        changes.iter().filter_map(|change| change.from.clone()).collect();
    let former_calls = resolve(connection, tenant, &former).await?;
    let gone = former_calls.into_iter().filter(|(former, call)| former != call);
    touched.calls.extend(former);
    touched.add(TouchedCalls { calls: BTreeSet::new(), gone: gone.collect() });
    Ok(touched)
}

/// The links that decide what these anchors resolve to: those of each anchor until two of them resolve to
/// different calls. A serverCallId has links to correlationIds only, so two of them show that it is
/// ambiguous. Each id is asked for once.
async fn load_graph(
    connection: &mut PgConnection,
    tenant: &str,
    anchors: &BTreeSet<Anchor>,
) -> Result<AliasGraph, StoreError> {
    let mut graph = AliasGraph::default();
    let mut known_uppers: BTreeSet<Anchor> = BTreeSet::new();
    // By id, the upper id after which its links continue.
    let mut undecided: BTreeMap<String, String> =
        anchors.iter().map(|anchor| (anchor.to_string(), String::new())).collect();
    let mut limit = FIRST_LINKS;
    while !undecided.is_empty() {
        let links = select_links(connection, tenant, &undecided, limit).await?;
        let uppers = links.iter().map(|(_, upper)| Anchor::from_stored(upper.clone()));
        let uppers: BTreeMap<String, String> = uppers
            .filter(|upper| upper.is_server_call_id() && known_uppers.insert(upper.clone()))
            .map(|upper| (upper.to_string(), String::new()))
            .collect();
        if !uppers.is_empty() {
            graph.insert_links(alias_links(select_links(connection, tenant, &uppers, 2).await?));
        }
        let mut read: BTreeMap<String, (i64, String)> = BTreeMap::new();
        for (lower, upper) in &links {
            let (count, last) = read.entry(lower.clone()).or_default();
            *count += 1;
            last.clone_from(upper);
        }
        graph.insert_links(alias_links(links));
        let full = read.into_iter().filter(|(_, (count, _))| *count == limit);
        let full = full.map(|(lower, (_, last))| (lower, last));
        undecided = full
            .filter(|(lower, _)| graph.resolves_to(&Anchor::from_stored(lower.clone())).is_some())
            .collect();
        limit = (4 * limit).min(MAX_LINKS);
    }
    Ok(graph)
}

/// Up to `limit` links of each id after an upper id, in the order of upper ids.
async fn select_links(
    connection: &mut PgConnection,
    tenant: &str,
    after: &BTreeMap<String, String>,
    limit: i64,
) -> Result<Vec<(String, String)>, StoreError> {
    let (ids, uppers): (Vec<&str>, Vec<&str>) =
        after.iter().map(|(id, upper)| (id.as_str(), upper.as_str())).unzip();
    let query = sqlx::query_as(SELECT_LINKS).bind(tenant).bind(&ids).bind(&uppers).bind(limit);
    Ok(query.fetch_all(connection).await?)
}

fn alias_links(links: Vec<(String, String)>) -> impl Iterator<Item = AliasLink> {
    links.into_iter().map(|(lower, upper)| AliasLink {
        lower: Anchor::from_stored(lower),
        upper: Anchor::from_stored(upper),
    })
}

statements! {
    const INSERT_ANCHORS: &str =
        "insert into call_alias (tenant, anchor, resolves_to)
         select $1, anchor, anchor from unnest($2::text[]) as _ (anchor) on conflict do nothing";

    const SELECT_ALIASES: &str =
        "select alias.anchor, alias.resolves_to from unnest($2::text[]) as asked (anchor)
         cross join lateral (select anchor, resolves_to from call_alias where tenant = $1 and anchor = asked.anchor offset 0) as alias";

    const SELECT_LOWER_IDS: &str =
        "select asked.id, link.lower_id from unnest($2::text[]) as asked (id)
         cross join lateral (select lower_id from alias_link where tenant = $1 and upper_id = asked.id limit $3) as link";

    const UPSERT_ALIASES: &str =
        "insert into call_alias (tenant, anchor, resolves_to, ambiguous)
         select $1, anchor, resolves_to, ambiguous from unnest($2::text[], $3::text[], $4::bool[]) as _ (anchor, resolves_to, ambiguous)
         on conflict (tenant, anchor) do update set resolves_to = excluded.resolves_to, ambiguous = excluded.ambiguous
         where (call_alias.resolves_to, call_alias.ambiguous) <> (excluded.resolves_to, excluded.ambiguous)";

    const INSERT_LINKS: &str =
        "insert into alias_link (tenant, lower_id, upper_id) select $1, lower_id, upper_id from unnest($2::text[], $3::text[]) as _ (lower_id, upper_id)
         on conflict do nothing returning lower_id";

    const SELECT_LINKS: &str =
        "select link.* from unnest($2::text[], $3::text[]) as asked (id, after)
         cross join lateral (select lower_id, upper_id from alias_link
                             where tenant = $1 and lower_id = asked.id and upper_id > asked.after order by upper_id limit $4) as link";
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ids_with_many_below_them_are_left_to_the_maintenance() {
        let below = |upper: &str, count: usize| {
            (0..count)
                .map(|lower| (upper.to_owned(), format!("{upper} {lower}")))
                .collect::<Vec<_>>()
        };
        let all = [below("s-1", 2), below("s-2", 10), below("s-3", 3)].concat();
        let (at_once, postponed) = ids_to_move(all, 10);
        assert_eq!((at_once.len(), postponed), (5, vec!["s-2".to_owned()]));
        let (at_once, postponed) = ids_to_move(below("s-1", 10), 10);
        assert_eq!((at_once.len(), postponed.len()), (10, 0));
        let (at_once, postponed) = ids_to_move(below("s-1", 1), 0);
        assert_eq!((at_once.len(), postponed.len()), (0, 1));
    }
}
