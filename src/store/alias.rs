//! Which ids lead to which call; the rules are in `domain::alias`, here they are at rest.

use std::collections::{BTreeMap, BTreeSet};

use sqlx::PgConnection;

use super::StoreError;
use crate::domain::alias::{Aliases, Anchor, Lead, Link};

/// Which calls are to be folded anew.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Touched {
    /// Calls as they are now.
    pub calls: BTreeSet<Anchor>,
    /// What was a call and is part of another one now.
    pub gone: BTreeSet<Anchor>,
}

impl Touched {
    /// One call, because of the time alone.
    #[must_use]
    pub fn one(call: Anchor) -> Self {
        Self {
            calls: BTreeSet::from([call]),
            gone: BTreeSet::new(),
        }
    }
}

struct Leading {
    anchor: Anchor,
    call: Anchor,
    ambiguous: bool,
}

/// Holds every id of the batch until the transaction ends, so that two ledgers cannot learn about
/// one call beside each other. Sorted: they cannot wait for each other in a circle.
///
/// # Errors
///
/// [`StoreError`].
pub async fn lock_ids(
    connection: &mut PgConnection,
    ids: &BTreeSet<(String, Anchor)>,
) -> Result<(), StoreError> {
    let mut numbers: Vec<i64> = ids
        .iter()
        .map(|(tenant, anchor)| lock_number(tenant, anchor))
        .collect();
    numbers.sort_unstable();
    numbers.dedup();
    sqlx::query("select pg_advisory_xact_lock(number) from unnest($1::bigint[]) as _ (number)")
        .bind(&numbers)
        .execute(connection)
        .await?;
    Ok(())
}

fn lock_number(tenant: &str, anchor: &Anchor) -> i64 {
    number_of(&["id", tenant, anchor.as_str()])
}

/// Two things of one number only wait for each other without need.
pub(super) fn number_of(parts: &[&str]) -> i64 {
    let digest = crate::domain::ids::Digest::of_parts(parts);
    let mut bytes = [0; 8];
    bytes.copy_from_slice(&digest.as_bytes()[..8]);
    i64::from_be_bytes(bytes)
}

/// The calls that these anchors, all of them locked, are part of. One that was never seen is a call
/// by itself from now on.
///
/// # Errors
///
/// [`StoreError`].
pub async fn calls_of(
    connection: &mut PgConnection,
    tenant: &str,
    anchors: &BTreeSet<Anchor>,
) -> Result<BTreeSet<Anchor>, StoreError> {
    let known = leads_of(connection, tenant, anchors).await?;
    let unseen = anchors.iter().filter(|it| !known.contains_key(*it));
    let unseen: BTreeSet<&Anchor> = unseen.collect();
    if !unseen.is_empty() {
        let unseen: Vec<&str> = unseen.iter().map(|it| it.as_str()).collect();
        sqlx::query(
            "insert into alias_lead (tenant, anchor, call)
             select $1, anchor, anchor from unnest($2::text[]) as _ (anchor) on conflict do nothing",
        )
        .bind(tenant)
        .bind(&unseen)
        .execute(connection)
        .await?;
    }
    let themselves = unseen.into_iter().cloned();
    Ok(known.into_values().chain(themselves).collect())
}

/// The call that each of these anchors is part of.
///
/// # Errors
///
/// [`StoreError`].
pub async fn leads_of(
    connection: &mut PgConnection,
    tenant: &str,
    anchors: &BTreeSet<Anchor>,
) -> Result<BTreeMap<Anchor, Anchor>, StoreError> {
    let anchors: Vec<&str> = anchors.iter().map(Anchor::as_str).collect();
    let leads: Vec<(String, String)> = sqlx::query_as(
        "select lead.anchor, lead.call from unnest($2::text[]) as asked (anchor)
         cross join lateral (select anchor, call from alias_lead where tenant = $1 and anchor = asked.anchor offset 0) as lead",
    )
    .bind(tenant)
    .bind(&anchors)
    .fetch_all(connection)
    .await?;
    let leads = leads.into_iter();
    Ok(leads
        .map(|(anchor, call)| (Anchor::from_stored(anchor), Anchor::from_stored(call)))
        .collect())
}

/// Stores those links of a tenant that are new, and brings the leads of all anchors concerned up to
/// date. All ids that the links name are locked by now. Returns the calls that those are, or were,
/// part of.
///
/// # Errors
///
/// [`StoreError`].
pub async fn learn_links(
    connection: &mut PgConnection,
    tenant: &str,
    links: &BTreeSet<Link>,
) -> Result<Touched, StoreError> {
    if links.is_empty() {
        return Ok(Touched::default());
    }
    let new = store_links(connection, tenant, links).await?;
    if new.is_empty() {
        return Ok(Touched::default());
    }
    // A new link changes the lead of its lower id and of whatever leads through that one. These are
    // known: whoever links to an id holds its lock. Their own locks are taken out of order, because
    // somebody may be linking them to another id; a circle is found by Postgres, and tried again.
    let below: Vec<String> = sqlx::query_scalar(
        "select distinct link.lower_id from unnest($2::text[]) as asked (id)
         cross join lateral (select lower_id from alias_link where tenant = $1 and upper_id = asked.id offset 0) as link",
    )
    .bind(tenant)
    .bind(&new)
    .fetch_all(&mut *connection)
    .await?;
    let below = below.into_iter().map(Anchor::from_stored);
    let below: BTreeSet<(String, Anchor)> = below.map(|id| (tenant.to_owned(), id)).collect();
    lock_ids(connection, &below).await?;

    let concerned: BTreeSet<Anchor> = new
        .into_iter()
        .map(Anchor::from_stored)
        .chain(below.into_iter().map(|(_, id)| id))
        .collect();
    let aliases = load(connection, tenant, &concerned).await?;
    let leads: Vec<Leading> = concerned
        .into_iter()
        .map(|anchor| Leading {
            call: aliases.call_of(&anchor),
            ambiguous: aliases.lead(&anchor) == Lead::Ambiguous,
            anchor,
        })
        .collect();
    let anchors: Vec<&str> = leads.iter().map(|lead| lead.anchor.as_str()).collect();
    let former: Vec<String> = sqlx::query_scalar(
        "select distinct lead.call from unnest($2::text[]) as asked (anchor)
         cross join lateral (select call from alias_lead where tenant = $1 and anchor = asked.anchor offset 0) as lead",
    )
    .bind(tenant)
    .bind(&anchors)
    .fetch_all(&mut *connection)
    .await?;
    sqlx::query(
        "insert into alias_lead (tenant, anchor, call, ambiguous)
         select $1, anchor, call, ambiguous from unnest($2::text[], $3::text[], $4::bool[]) as _ (anchor, call, ambiguous)
         on conflict (tenant, anchor) do update set call = excluded.call, ambiguous = excluded.ambiguous
         where (alias_lead.call, alias_lead.ambiguous) <> (excluded.call, excluded.ambiguous)",
    )
    .bind(tenant)
    .bind(&anchors)
    .bind(leads.iter().map(|lead| lead.call.as_str()).collect::<Vec<_>>())
    .bind(leads.iter().map(|lead| lead.ambiguous).collect::<Vec<_>>())
    .execute(&mut *connection)
    .await?;

    let mut touched = Touched {
        calls: former.into_iter().map(Anchor::from_stored).collect(),
        gone: BTreeSet::new(),
    };
    for lead in leads {
        // What nothing led to before has no account that could go.
        if lead.anchor != lead.call && touched.calls.contains(&lead.anchor) {
            touched.gone.insert(lead.anchor);
        }
        touched.calls.insert(lead.call);
    }
    touched.calls.retain(|call| !touched.gone.contains(call));
    Ok(touched)
}

/// Returns the lower ids of those that are new.
async fn store_links(
    connection: &mut PgConnection,
    tenant: &str,
    links: &BTreeSet<Link>,
) -> Result<Vec<String>, StoreError> {
    let (lowers, uppers): (Vec<&str>, Vec<&str>) = links
        .iter()
        .map(|link| (link.lower.as_str(), link.upper.as_str()))
        .unzip();
    Ok(sqlx::query_scalar(
        "insert into alias_link (tenant, lower_id, upper_id) select $1, lower_id, upper_id from unnest($2::text[], $3::text[]) as _ (lower_id, upper_id)
         on conflict do nothing returning lower_id",
    )
    .bind(tenant)
    .bind(&lowers)
    .bind(&uppers)
    .fetch_all(connection)
    .await?)
}

/// All links by which these anchors lead to their calls.
async fn load(
    connection: &mut PgConnection,
    tenant: &str,
    anchors: &BTreeSet<Anchor>,
) -> Result<Aliases, StoreError> {
    let mut aliases = Aliases::default();
    let mut asked: Vec<String> = anchors
        .iter()
        .map(|anchor| anchor.as_str().to_owned())
        .collect();
    // Local id → serverCallId → correlationId: two steps reach the end.
    for _ in 0..2 {
        let links: Vec<(String, String)> = sqlx::query_as(
            "select link.* from unnest($2::text[]) as asked (id)
             cross join lateral (select lower_id, upper_id from alias_link where tenant = $1 and lower_id = asked.id offset 0) as link",
        )
        .bind(tenant)
        .bind(&asked)
        .fetch_all(&mut *connection)
        .await?;
        asked = links.iter().map(|(_, upper)| upper.clone()).collect();
        for (lower, upper) in links {
            aliases.learn(Link {
                lower: Anchor::from_stored(lower),
                upper: Anchor::from_stored(upper),
            });
        }
    }
    Ok(aliases)
}
