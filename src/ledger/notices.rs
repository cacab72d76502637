//! Notice facts, entered: the rows, and the calls that they are of folded anew.

use std::collections::{BTreeMap, BTreeSet};

use uuid::Uuid;

use super::enter::Outcome;
use super::fold::{Occasion, refold};
use crate::clock;
use crate::domain::alias::Anchor;
use crate::domain::ids::{Digest, Tenant};
use crate::domain::notice_fact::NoticeFact;
use crate::store::{self, NewNoticeFact, Recognition, StoreError, Touched, Work};
use crate::stream::NoticeFactsMessage;

/// Enters the facts of these messages: each once; of two copies the earlier one counts.
///
/// # Errors
///
/// [`StoreError`].
pub(super) async fn write_notices(
    work: &mut Work<'_>,
    messages: &[&NoticeFactsMessage],
    outcome: &mut Outcome,
) -> Result<(), StoreError> {
    let now = clock::now();
    let all = messages
        .iter()
        .flat_map(|message| message.facts.iter().map(|fact| (&message.tenant, fact)));
    let mut earliest: BTreeMap<(&Tenant, Digest, Digest), &NoticeFact> = BTreeMap::new();
    for (tenant, fact) in all {
        let key = (tenant, fact.id, fact.content());
        match earliest.get_mut(&key) {
            Some(kept) => {
                outcome.duplicate += 1;
                if fact.t < kept.t {
                    *kept = fact;
                }
            }
            None => {
                earliest.insert(key, fact);
            }
        }
    }
    // A fact's anchor is a function of its id, so whoever enters the same waits here.
    let anchors: BTreeSet<(String, Anchor)> = earliest
        .iter()
        .map(|((tenant, ..), fact)| (tenant.to_string(), fact.by.anchor()))
        .collect();
    store::lock_ids(work, &anchors).await?;

    // A line's id tells the order of entry, by which the first of one id is known.
    let mut in_order: Vec<_> = earliest.into_iter().collect();
    in_order.sort_by_key(|(_, fact)| fact.t);
    let mut rows = Vec::with_capacity(in_order.len());
    for ((tenant, id, content), fact) in in_order {
        rows.push(NewNoticeFact {
            line: Uuid::now_v7(),
            tenant: tenant.as_str(),
            anchor: fact.by.anchor().to_string(),
            id,
            content,
            t: fact.t,
            kind: fact.kind.as_str(),
            fact: serde_json::to_string(fact).map_err(|error| {
                StoreError::Inconsistent(format!("the notice fact {id} cannot be written: {error}"))
            })?,
        });
    }
    let entered = store::enter_notice_facts(work, &rows, now).await?;
    outcome.duplicate += (rows.len() - entered.len()) as u64;
    let mut touched: BTreeMap<String, BTreeSet<Anchor>> = BTreeMap::new();
    for (tenant, anchor, recognition) in entered {
        match recognition {
            Recognition::New => outcome.new += 1,
            Recognition::Duplicate => outcome.duplicate += 1,
            Recognition::Conflict => outcome.conflict += 1,
        }
        let of_tenant = touched.entry(tenant).or_default();
        of_tenant.insert(Anchor::from_stored(anchor));
    }
    for (tenant, anchors) in touched {
        let calls = store::calls_of(work, &tenant, &anchors).await?;
        let touched = Touched {
            calls,
            gone: BTreeSet::new(),
        };
        let tally = refold(work, &tenant, touched, Occasion::Events, now).await?;
        outcome.exceptions.add(&tally);
    }
    Ok(())
}
