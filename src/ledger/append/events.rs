//! Appends events: entries, facts and aliases; then projects the calls that they belong to.

use std::collections::{BTreeMap, BTreeSet};

use chrono::{DateTime, Utc};
use uuid::Uuid;

use super::append_outcome::AppendOutcome;
use super::decoded_message::DecodedEvent;
use crate::ledger::exceptions::clock_occurrences;
use crate::ledger::project::project_calls::{ProjectionContext, ProjectionMode, project_calls};
use crate::ledger::webhook_events::WebhookContext;
use crate::postgres::{
    self, DedupOutcome, HeldLocks, LockLimits, NewEntry, NewFact, StoreError, SubscribedTenants,
    TouchedCalls, Tx,
};
use onrecord_evidence::event::ids::Digest;
use onrecord_evidence::identity::alias_graph::{AliasLink, Anchor};

/// Appends these events, and projects the calls that they belong to.
///
/// # Errors
///
/// [`StoreError`].
pub(crate) async fn append_events(
    tx: &mut Tx<'_>,
    events: &[&DecodedEvent],
    mode: ProjectionMode,
    limits: LockLimits,
    subscribed: &SubscribedTenants,
    now: DateTime<Utc>,
    outcome: &mut AppendOutcome,
) -> Result<(), StoreError> {
    let keys: Vec<(Digest, Digest)> =
        events.iter().map(|event| (event.key, event.message.content)).collect();
    let dedup_outcomes = postgres::deduplicate(tx, &keys, now.date_naive()).await?;

    let mut to_append: Vec<(&DecodedEvent, DedupOutcome)> = Vec::with_capacity(events.len());
    let mut repeated: Vec<NewFact<'_>> = Vec::new();
    for (event, dedup_outcome) in events.iter().zip(dedup_outcomes) {
        outcome.count(dedup_outcome);
        if dedup_outcome == DedupOutcome::Duplicate {
            repeated.extend(fact(event));
        } else {
            to_append.push((event, dedup_outcome));
        }
    }
    let entries: Vec<NewEntry<'_>> =
        to_append.iter().map(|(event, dedup_outcome)| entry(event, *dedup_outcome)).collect();
    postgres::insert_entries(tx, &entries).await?;

    // Of two copies the one with the earlier instant counts, also where both are in this batch.
    let mut earliest: BTreeMap<(Digest, Digest), i64> = BTreeMap::new();
    for event in events {
        let at_ms = earliest.entry((event.key, event.message.content)).or_insert(event.at_ms);
        *at_ms = event.at_ms.min(*at_ms);
    }
    let mut by_tenant: BTreeMap<&str, TenantBatch<'_>> = BTreeMap::new();
    let mut facts: Vec<NewFact<'_>> = Vec::with_capacity(to_append.len());
    for (event, _) in &to_append {
        let of_tenant = by_tenant.entry(event.message.tenant.as_str()).or_default();
        of_tenant.anchors.extend(event.call_ids.anchor.iter().cloned());
        let links = event.call_ids.links.iter();
        of_tenant.anchors.extend(links.flat_map(|it| [it.lower.clone(), it.upper.clone()]));
        of_tenant.links.extend(event.call_ids.links.iter().cloned());
        if event.clock_differs {
            of_tenant.wrong_clocks.push(event);
        }
        let at_ms = earliest[&(event.key, event.message.content)];
        facts.extend(fact(event).map(|fact| NewFact { at_ms, ..fact }));
    }
    // Of two copies the one with the earlier instant counts, whichever was appended first.
    let lowered = postgres::lower_fact_times(tx, &repeated).await?;
    for (tenant, anchor) in &lowered {
        let of_tenant = by_tenant.entry(tenant).or_default();
        of_tenant.anchors.insert(Anchor::from_stored(anchor.clone()));
    }

    postgres::insert_facts(tx, &facts).await?;

    // From here on, transactions with the same ids wait for this one; a later one projects the facts
    // of both.
    let ids = by_tenant.iter().flat_map(|(tenant, of_tenant)| {
        of_tenant.anchors.iter().map(|id| ((*tenant).to_owned(), id.clone()))
    });
    let mut locks = HeldLocks::new(limits);
    locks.lock_ids(tx, &ids.collect()).await?;
    let mut touched = BTreeMap::new();
    for (tenant, TenantBatch { anchors, links, .. }) in &by_tenant {
        let mut of_tenant = postgres::insert_links(tx, &mut locks, tenant, links).await?;
        of_tenant.add(TouchedCalls::of(postgres::calls_of(tx, tenant, anchors).await?));
        touched.insert(*tenant, of_tenant);
    }
    let context = ProjectionContext {
        webhooks: WebhookContext::of_events(subscribed, events),
        // Those that were written: a duplicate in the batch may say the same in another form.
        known: to_append
            .iter()
            .map(|(event, _)| ((event.key, event.message.content), &event.message.event))
            .collect(),
        now,
    };
    let projected = project_calls(tx, &mut locks, touched, mode, &context).await?;
    outcome.exceptions.add(&projected);
    for (tenant, TenantBatch { wrong_clocks, .. }) in &by_tenant {
        if !wrong_clocks.is_empty() {
            let anchors = wrong_clocks.iter();
            let anchors = anchors.filter_map(|event| event.call_ids.anchor.clone()).collect();
            let resolves_to = postgres::resolve(tx, tenant, &anchors).await?;
            let occurrences = clock_occurrences(wrong_clocks, &resolves_to);
            let counts = postgres::record_occurrences(tx, tenant, &occurrences, now).await?;
            outcome.exceptions.add(&counts);
        }
    }
    Ok(())
}

/// The part of a batch that belongs to one tenant.
#[derive(Default)]
struct TenantBatch<'a> {
    /// Every id that its events name.
    anchors: BTreeSet<Anchor>,
    links: BTreeSet<AliasLink>,
    /// Events whose source's clock differs.
    wrong_clocks: Vec<&'a DecodedEvent>,
}

pub(crate) fn entry(event: &DecodedEvent, dedup_outcome: DedupOutcome) -> NewEntry<'_> {
    let message = &event.message;
    let mut flags = Vec::new();
    if dedup_outcome == DedupOutcome::Conflict {
        flags.push("conflict");
    }
    if event.clock_differs {
        flags.push("clock");
    }
    NewEntry {
        id: Uuid::now_v7(),
        tenant: message.tenant.as_str(),
        received_at: message.received,
        anchor: event.call_ids.anchor.as_ref().map(ToString::to_string),
        kind: message.event.statement.name(),
        source_type: &message.event.source_type,
        provenance: message.provenance.as_str(),
        source: &message.source,
        ce_source: &message.ce_source,
        ce_id: &message.ce_id,
        ce_time: message.ce_time.as_deref(),
        at_ms: event.at_ms,
        key: event.key,
        sha256: message.sha256,
        original: &message.original,
        content_coding: message.content_coding.as_deref(),
        charset: message.charset.as_deref(),
        event: &event.json,
        flags,
    }
}

/// The fact row of an event that names a call. An event without facts has one too: it makes a call.
pub(crate) fn fact(event: &DecodedEvent) -> Option<NewFact<'_>> {
    let anchor = event.call_ids.anchor.as_ref()?;
    Some(NewFact {
        tenant: event.message.tenant.as_str(),
        anchor: anchor.to_string(),
        key: event.key,
        content_digest: event.message.content,
        kind: event.message.event.statement.name(),
        at_ms: event.at_ms,
        received_ms: event.message.late_receipt(),
        event: &event.json,
    })
}
