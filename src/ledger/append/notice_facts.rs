//! Appends notice facts, and projects the calls that they belong to.

use std::collections::{BTreeMap, BTreeSet};

use uuid::Uuid;

use super::append_outcome::AppendOutcome;
use crate::clock;
use crate::kafka::NoticeFactsMessage;
use crate::ledger::project::project_calls::{ProjectionContext, ProjectionMode, project_calls};
use crate::postgres::{
    self, HeldLocks, LockLimits, NewNoticeFact, StoreError, SubscribedTenants, TouchedCalls, Tx,
};
use onrecord_evidence::event::ids::{Digest, Tenant};
use onrecord_evidence::fact::kinds::JsonWord as _;
use onrecord_evidence::identity::alias_graph::Anchor;
use onrecord_evidence::notice::notice_fact::NoticeFact;

/// Appends the facts of these messages, each once. Of two copies the one with the earlier instant
/// counts.
///
/// # Errors
///
/// [`StoreError`].
pub(crate) async fn append_notices(
    tx: &mut Tx<'_>,
    messages: &[&NoticeFactsMessage],
    mode: ProjectionMode,
    limits: LockLimits,
    subscribed: &SubscribedTenants,
    outcome: &mut AppendOutcome,
) -> Result<(), StoreError> {
    let now = clock::now();
    let all = messages
        .iter()
        .flat_map(|message| message.facts.iter().map(|fact| (&message.tenant, fact)));
    let mut earliest: BTreeMap<(&Tenant, Digest, Digest), &NoticeFact> = BTreeMap::new();
    let mut received = 0;
    for (tenant, fact) in all {
        received += 1;
        let kept = earliest.entry((tenant, fact.id, fact.content())).or_insert(fact);
        if fact.at < kept.at {
            *kept = fact;
        }
    }
    // The anchor of a fact is a function of its id, so a transaction with the same fact waits here.
    let anchors: BTreeSet<(String, Anchor)> = earliest
        .iter()
        .map(|((tenant, ..), fact)| (tenant.to_string(), fact.by.anchor()))
        .collect();
    let mut locks = HeldLocks::new(limits);
    locks.lock_ids(tx, &anchors).await?;

    // The order of `timeline_id` is the order of appending: of two contents of one id the lower is first.
    let mut in_order: Vec<_> = earliest.into_iter().collect();
    in_order.sort_by_key(|(_, fact)| fact.at);
    let mut rows = Vec::with_capacity(in_order.len());
    for ((tenant, id, content), fact) in in_order {
        rows.push(NewNoticeFact {
            timeline_id: Uuid::now_v7(),
            tenant: tenant.as_str(),
            anchor: fact.by.anchor().to_string(),
            fact_id: id,
            content_digest: content,
            at_ms: fact.at,
            kind: fact.kind.as_str(),
            fact: serde_json::to_string(fact).map_err(|error| {
                StoreError::Inconsistent(format!("the notice fact {id} cannot be written: {error}"))
            })?,
        });
    }
    let appended = postgres::append_notice_facts(tx, &rows, now).await?;
    outcome.duplicate += received - appended.len() as u64;
    let mut touched: BTreeMap<String, BTreeSet<Anchor>> = BTreeMap::new();
    for (tenant, anchor, dedup_outcome) in appended {
        outcome.count(dedup_outcome);
        touched.entry(tenant).or_default().insert(Anchor::from_stored(anchor));
    }
    let mut calls = BTreeMap::new();
    for (tenant, anchors) in &touched {
        let of_tenant = postgres::calls_of(tx, tenant, anchors).await?;
        calls.insert(tenant.as_str(), TouchedCalls::of(of_tenant));
    }
    let context = ProjectionContext::new(subscribed.clone(), now);
    let projected = project_calls(tx, &mut locks, calls, mode, &context).await?;
    outcome.exceptions.add(&projected);
    Ok(())
}
