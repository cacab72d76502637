//! The one transaction: positions, keys, entries, aliases, facts, folds.

use std::collections::{BTreeMap, BTreeSet};

use chrono::{DateTime, Utc};
use futures_util::FutureExt as _;
use metrics::counter;
use uuid::Uuid;

use super::Ledger;
use super::claim::Claims;
use super::exceptions::tell;
use super::fold::{Occasion, refold};
use super::notices::write_notices;
use super::prepared::{Content, Prepared, PreparedEvent};
use super::raised::{of_clocks, of_quarantine};
use crate::clock;
use crate::domain::alias::{Anchor, Link};
use crate::domain::ids::{Digest, Tenant};
use crate::failpoint;
use crate::store::{
    self, ExceptionTally, NewEntry, NewFact, NewQuarantine, Position, Recognition, SourceUse,
    StoreError, Work,
};
use crate::stream::NoticeFactsMessage;
use crate::telemetry::names;

/// How many of each came out.
#[derive(Clone, Default)]
pub(super) struct Outcome {
    pub new: u64,
    pub duplicate: u64,
    pub conflict: u64,
    quarantined: u64,
    pub exceptions: ExceptionTally,
}

/// Enters a batch and moves the positions behind it. With `refused` the batch is one message that
/// Postgres refuses for its content: it goes to quarantine as it is.
///
/// # Errors
///
/// [`StoreError`]; nothing was entered then.
pub(super) async fn enter(
    ledger: &Ledger,
    topic: &str,
    claims: &mut Claims,
    batch: &[Prepared],
    refused: Option<&str>,
) -> Result<(), StoreError> {
    let mut last: BTreeMap<i32, &Prepared> = BTreeMap::new();
    for prepared in batch {
        last.insert(prepared.partition, prepared);
    }
    let positions: Option<Vec<Position>> = last
        .into_iter()
        .map(|(partition, last)| claims.position(partition, (last.offset, last.digest())))
        .collect();
    let positions = positions.ok_or(StoreError::Fenced)?;

    failpoint::reached("ledger-before-entering");
    let positions_ref = &positions;
    let outcome = ledger
        .store
        .run("enter", move |work| {
            async move {
                store::advance(work, topic, positions_ref).await?;
                let written = write(work, batch, refused).await;
                failpoint::reached("ledger-before-commit");
                written
            }
            .boxed()
        })
        .await;
    failpoint::reached("ledger-after-commit");
    let outcome = match outcome {
        Err(StoreError::UnknownOutcome(error)) => {
            if !happened(ledger, topic, &positions).await? {
                return Err(StoreError::Unavailable(error));
            }
            tracing::info!("the answer to COMMIT was lost, the position shows that it happened");
            Outcome::default()
        }
        outcome => outcome?,
    };
    for position in &positions {
        claims.moved(position);
    }
    for (label, count) in [
        ("new", outcome.new),
        ("duplicate", outcome.duplicate),
        ("conflict", outcome.conflict),
        ("quarantined", outcome.quarantined),
    ] {
        counter!(names::ENTRIES, "outcome" => label).increment(count);
    }
    tell(&outcome.exceptions);
    Ok(())
}

/// Settles a lost answer to COMMIT by reading a position: all move together or none.
async fn happened(
    ledger: &Ledger,
    topic: &str,
    positions: &[Position],
) -> Result<bool, StoreError> {
    let Some(position) = positions.first() else {
        return Ok(true);
    };
    let stored = store::position_of(&ledger.store, topic, position.partition).await?;
    Ok(stored == Some((position.epoch, position.next_offset)))
}

async fn write(
    work: &mut Work<'_>,
    batch: &[Prepared],
    refused: Option<&str>,
) -> Result<Outcome, StoreError> {
    let mut outcome = Outcome::default();
    let mut put_away: Vec<NewQuarantine> = Vec::new();
    let mut events: Vec<&PreparedEvent> = Vec::with_capacity(batch.len());
    let mut notices: Vec<&NoticeFactsMessage> = Vec::new();
    for prepared in batch {
        let quarantined = match (&prepared.content, refused) {
            (Content::Event(event), None) => {
                events.push(event);
                continue;
            }
            (Content::Notices(message), None) => {
                notices.push(message);
                continue;
            }
            (Content::Event(event), Some(why)) => refused_event(event, why),
            (Content::Notices(message), Some(why)) => refused_notices(prepared, message, why),
            (Content::Quarantine(message), _) => quarantined(message),
            (Content::Foreign { reason }, _) => foreign(prepared, reason),
        };
        if store::insert_quarantine(work, &quarantined).await? {
            outcome.quarantined += 1;
            put_away.push(quarantined);
        }
    }
    let now = clock::now();
    for (tenant, raised) in of_quarantine(&put_away) {
        let tally = store::raise(work, &tenant, &raised, now).await?;
        outcome.exceptions.add(&tally);
    }
    if !events.is_empty() {
        write_events(work, &events, now, &mut outcome).await?;
    }
    if !notices.is_empty() {
        write_notices(work, &notices, &mut outcome).await?;
    }
    // What Postgres refuses may be what is said here.
    if refused.is_none() {
        store::note_uses(work, &uses_of(batch)).await?;
    }
    Ok(outcome)
}

/// When each source was last believed, and by what.
fn uses_of(batch: &[Prepared]) -> BTreeMap<SourceUse<'_>, DateTime<Utc>> {
    let mut uses = BTreeMap::new();
    for (used, received) in batch.iter().filter_map(Prepared::used) {
        let last = uses.entry(used).or_insert(received);
        *last = received.max(*last);
    }
    uses
}

async fn write_events(
    work: &mut Work<'_>,
    events: &[&PreparedEvent],
    now: DateTime<Utc>,
    outcome: &mut Outcome,
) -> Result<(), StoreError> {
    let keys: Vec<(Digest, Digest)> = events
        .iter()
        .map(|event| (event.key, event.message.content))
        .collect();
    let recognitions = store::recognize(work, &keys, now.date_naive()).await?;

    let mut fresh: Vec<(&PreparedEvent, Recognition)> = Vec::with_capacity(events.len());
    let mut again: Vec<NewFact<'_>> = Vec::new();
    for (event, recognition) in events.iter().zip(recognitions) {
        match recognition {
            Recognition::New => outcome.new += 1,
            Recognition::Conflict => outcome.conflict += 1,
            Recognition::Duplicate => {
                outcome.duplicate += 1;
                again.extend(fact(event.message.tenant.as_str(), event));
                continue;
            }
        }
        fresh.push((event, recognition));
    }
    let entries: Vec<NewEntry<'_>> = fresh
        .iter()
        .map(|(event, recognition)| entry(event, *recognition))
        .collect();
    store::insert_entries(work, &entries).await?;

    // Of two copies the earlier one counts, also where both are in this batch.
    let mut earliest: BTreeMap<(Digest, Digest), i64> = BTreeMap::new();
    for event in events {
        let t = earliest
            .entry((event.key, event.message.content))
            .or_insert(event.t);
        *t = event.t.min(*t);
    }
    let mut by_tenant: BTreeMap<&str, OfTenant<'_>> = BTreeMap::new();
    let mut facts: Vec<NewFact<'_>> = Vec::with_capacity(fresh.len());
    for (event, _) in &fresh {
        let of_tenant = by_tenant.entry(event.message.tenant.as_str()).or_default();
        of_tenant.anchors.extend(ids_of(event));
        of_tenant.links.extend(event.naming.links.iter().cloned());
        if event.clock {
            of_tenant.wrong_clocks.push(event);
        }
        let fact = fact(event.message.tenant.as_str(), event);
        facts.extend(fact.map(|fact| NewFact {
            t: earliest[&(event.key, event.message.content)],
            ..fact
        }));
    }
    // Of two copies the earlier one counts, whichever was entered first.
    let antedated = store::antedate_facts(work, &again).await?;
    for (tenant, anchor) in &antedated {
        let of_tenant = by_tenant.entry(tenant).or_default();
        of_tenant
            .anchors
            .insert(Anchor::from_stored(anchor.clone()));
    }

    store::insert_facts(work, &facts).await?;

    // From here on others wait who are about the same calls. Whoever is later folds what both have
    // written.
    let ids = by_tenant
        .iter()
        .flat_map(|(tenant, of_tenant)| {
            let ids = of_tenant.anchors.iter();
            ids.map(|id| ((*tenant).to_owned(), id.clone()))
        })
        .collect();
    store::lock_ids(work, &ids).await?;
    for (tenant, of_tenant) in by_tenant {
        let OfTenant {
            anchors,
            links,
            wrong_clocks,
        } = of_tenant;
        let mut touched = store::learn_links(work, tenant, &links).await?;
        let calls = store::calls_of(work, tenant, &anchors).await?;
        touched.calls.extend(calls);
        let tally = refold(work, tenant, touched, Occasion::Events, now).await?;
        outcome.exceptions.add(&tally);
        if !wrong_clocks.is_empty() {
            let named = wrong_clocks.iter();
            let named = named
                .filter_map(|event| event.naming.anchor.clone())
                .collect();
            let leads = store::leads_of(work, tenant, &named).await?;
            let raised = of_clocks(&wrong_clocks, &leads);
            outcome
                .exceptions
                .add(&store::raise(work, tenant, &raised, now).await?);
        }
    }
    Ok(())
}

/// What a batch brings for one tenant.
#[derive(Default)]
struct OfTenant<'a> {
    /// Every id that is named.
    anchors: BTreeSet<Anchor>,
    links: BTreeSet<Link>,
    /// Events whose source's clock is off.
    wrong_clocks: Vec<&'a PreparedEvent>,
}

/// Every id that an event names.
fn ids_of(event: &PreparedEvent) -> BTreeSet<Anchor> {
    let mut ids: BTreeSet<Anchor> = event.naming.anchor.iter().cloned().collect();
    for link in &event.naming.links {
        ids.insert(link.lower.clone());
        ids.insert(link.upper.clone());
    }
    ids
}

fn entry(event: &PreparedEvent, recognition: Recognition) -> NewEntry<'_> {
    let message = &event.message;
    let mut flags = Vec::new();
    if recognition == Recognition::Conflict {
        flags.push("conflict");
    }
    if event.clock {
        flags.push("clock");
    }
    NewEntry {
        id: Uuid::now_v7(),
        tenant: message.tenant.as_str(),
        received: message.received,
        anchor: event.naming.anchor.as_ref().map(ToString::to_string),
        kind: message.event.statement.name(),
        source_type: &message.event.source_type,
        provenance: message.provenance.as_str(),
        source: &message.source,
        ce_source: &message.ce_source,
        ce_id: &message.ce_id,
        ce_time: message.ce_time.as_deref(),
        t: event.t,
        key: event.key,
        sha256: message.sha256,
        original: &message.original,
        event: &event.json,
        flags,
    }
}

/// Every event that names a call is kept at its anchor: one without facts still makes a call.
fn fact<'a>(tenant: &'a str, event: &'a PreparedEvent) -> Option<NewFact<'a>> {
    let anchor = event.naming.anchor.as_ref()?;
    Some(NewFact {
        tenant,
        anchor: anchor.to_string(),
        key: event.key,
        content: event.message.content,
        kind: event.message.event.statement.name(),
        t: event.t,
        event: &event.json,
    })
}

fn quarantined(message: &crate::stream::QuarantineMessage) -> NewQuarantine {
    NewQuarantine {
        id: Uuid::now_v7(),
        tenant: message.tenant.to_string(),
        key: message.key(),
        source: message.source.clone(),
        reason: message.reason.clone(),
        detail: message.detail.clone(),
        pointer: message.pointer.clone(),
        content: message
            .content
            .as_ref()
            .map(|content| content.clone().into_bytes()),
        content_type: message.content_type.clone(),
        size: i64::try_from(message.size).unwrap_or(i64::MAX),
        sha256: message.sha256,
        redacted: message.redacted.clone(),
        received: message.received,
    }
}

fn refused_event(event: &PreparedEvent, why: &str) -> NewQuarantine {
    let message = &event.message;
    NewQuarantine {
        id: Uuid::now_v7(),
        tenant: message.tenant.to_string(),
        // The content too: two that are refused under one key are two.
        key: Digest::of_parts(&[&event.key.to_string(), &message.content.to_string()]),
        source: message.source.clone(),
        reason: "store-refused".to_owned(),
        detail: format!(
            "the event was understood ({}), but the store cannot hold it: {why}",
            message.event.statement.name()
        ),
        pointer: None,
        content: Some(message.original.clone().into_bytes()),
        content_type: Some("application/json".to_owned()),
        size: i64::try_from(message.original.len()).unwrap_or(i64::MAX),
        sha256: message.sha256,
        redacted: message.event.redacted.clone(),
        received: message.received,
    }
}

/// Notice facts that cannot be entered stay together: the value is theirs.
fn refused_notices(prepared: &Prepared, message: &NoticeFactsMessage, why: &str) -> NewQuarantine {
    NewQuarantine {
        tenant: message.tenant.to_string(),
        source: "onrecord".to_owned(),
        reason: "store-refused".to_owned(),
        detail: format!(
            "{} notice facts of {} were understood, but the store cannot hold them: {why}",
            message.facts.len(),
            message.call
        ),
        content_type: Some("application/json".to_owned()),
        ..foreign(prepared, why)
    }
}

/// The tenant of a message that is not ours may be unknown; its row is then the operator's alone.
fn foreign(prepared: &Prepared, reason: &str) -> NewQuarantine {
    let wire = prepared.wire.as_ref();
    let content = wire.map(|wire| wire.value.clone().into_bytes());
    NewQuarantine {
        id: Uuid::now_v7(),
        tenant: wire
            .and_then(|wire| wire.header("ce_tenant"))
            .filter(|tenant| Tenant::parse(tenant).is_ok())
            .unwrap_or_default()
            .to_owned(),
        key: prepared.digest(),
        source: "kafka".to_owned(),
        reason: "foreign-message".to_owned(),
        detail: format!(
            "the log holds a message that is not in our form (partition {}, offset {}): {reason}",
            prepared.partition, prepared.offset
        ),
        pointer: None,
        size: content.as_ref().map_or(0, |content| {
            i64::try_from(content.len()).unwrap_or(i64::MAX)
        }),
        content,
        content_type: None,
        sha256: prepared.digest(),
        redacted: Vec::new(),
        received: DateTime::from_timestamp_millis(prepared.broker_time).unwrap_or_default(),
    }
}
