//! Appends a batch in one transaction: positions, deduplication keys, entries, aliases, facts, calls.
//!
//! # Why
//!
//! The positions move in the transaction that writes the rows, so each message has its effect once
//! (`ONCE`).

use std::collections::BTreeMap;

use chrono::{DateTime, Utc};
use futures_util::FutureExt as _;
use metrics::counter;

use super::append_outcome::AppendOutcome;
use super::decoded_message::{DecodedContent, DecodedEvent, DecodedMessage};
use super::events::append_events;
use super::notice_facts::append_notices;
use super::quarantine_rows;
use super::refusal::RefusalReason;
use crate::clock;
use crate::failpoint;
use crate::kafka::NoticeFactsMessage;
use crate::ledger::context::LedgerContext;
use crate::ledger::partition_leases::PartitionLeases;
use crate::ledger::project::project_calls::ProjectionMode;
use crate::postgres::{
    self, LockLimits, NewQuarantine, PartitionPosition, SourceUse, StoreError, SubscribedTenants,
    Tx,
};
use crate::telemetry::names;

/// How the messages of a batch are appended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum AppendMode {
    /// With the projection of their calls.
    Projected,
    /// Their calls are left to the maintenance, because the transaction that projected them was too large.
    Postponed,
    /// To quarantine as they are.
    Quarantined(RefusalReason),
}

/// Appends a batch and moves the positions behind it.
///
/// # Errors
///
/// [`StoreError`]; nothing was appended then.
pub(crate) async fn append_batch(
    ledger: &LedgerContext,
    topic: &str,
    leases: &mut PartitionLeases,
    batch: &[DecodedMessage],
    mode: &AppendMode,
) -> Result<(), StoreError> {
    // Of each partition the last message.
    let last: BTreeMap<i32, &DecodedMessage> =
        batch.iter().map(|message| (message.partition, message)).collect();
    let positions: Option<Vec<PartitionPosition>> = last
        .into_iter()
        .map(|(partition, last)| {
            leases.position_at(partition, last.offset + 1, Some(last.digest()))
        })
        .collect();
    let positions = positions.ok_or(StoreError::Fenced)?;

    failpoint::reached("ledger-before-append");
    let positions_ref = &positions;
    let limits = leases.lock_limits();
    let subscribed = &ledger.store.subscribed_tenants().await;
    let outcome = ledger
        .store
        .run_tx("append", move |tx| {
            async move {
                postgres::advance(tx, topic, positions_ref).await?;
                let appended = append_messages(tx, batch, mode, limits, subscribed).await;
                failpoint::reached("ledger-before-commit");
                appended
            }
            .boxed()
        })
        .await;
    failpoint::reached("ledger-after-commit");
    let outcome = match outcome {
        Err(StoreError::UnknownOutcome(error)) => {
            if !was_committed(ledger, topic, &positions).await? {
                return Err(StoreError::Unavailable(error));
            }
            tracing::info!(
                "the answer to COMMIT was lost, the position shows that it was committed"
            );
            AppendOutcome::default()
        }
        outcome => outcome?,
    };
    for position in &positions {
        leases.committed(position);
    }
    for (label, count) in [
        ("new", outcome.new),
        ("duplicate", outcome.duplicate),
        ("conflict", outcome.conflict),
        ("quarantined", outcome.quarantined),
    ] {
        counter!(names::LEDGER_ENTRIES, "outcome" => label).increment(count);
    }
    outcome.exceptions.report();
    Ok(())
}

/// Finds out by reading a position whether a transaction was committed whose answer to COMMIT was
/// lost: all positions move or none.
async fn was_committed(
    ledger: &LedgerContext,
    topic: &str,
    positions: &[PartitionPosition],
) -> Result<bool, StoreError> {
    let Some(position) = positions.first() else { return Ok(true) };
    let stored = postgres::position_of(&ledger.store, topic, position.partition).await?;
    Ok(stored == Some((position.epoch, position.next_offset)))
}

async fn append_messages(
    tx: &mut Tx<'_>,
    batch: &[DecodedMessage],
    mode: &AppendMode,
    limits: LockLimits,
    subscribed: &SubscribedTenants,
) -> Result<AppendOutcome, StoreError> {
    let mut outcome = AppendOutcome::default();
    let mut quarantined: Vec<NewQuarantine> = Vec::new();
    let mut events: Vec<&DecodedEvent> = Vec::with_capacity(batch.len());
    let mut notices: Vec<&NoticeFactsMessage> = Vec::new();
    let refused_batch = match mode {
        AppendMode::Quarantined(reason) => Some(reason),
        AppendMode::Projected | AppendMode::Postponed => None,
    };
    let mut appended: Vec<&DecodedMessage> = Vec::with_capacity(batch.len());
    for message in batch {
        match (&message.content, refused_batch.or(message.refusal.as_ref())) {
            (DecodedContent::Event(event), None) => events.push(event),
            (DecodedContent::Notices(facts), None) => notices.push(facts),
            (DecodedContent::Event(event), Some(reason)) => {
                quarantined.push(quarantine_rows::refused_event(event, reason));
                continue;
            }
            (DecodedContent::Notices(facts), Some(reason)) => {
                quarantined.push(quarantine_rows::refused_notices(message, facts, reason));
                continue;
            }
            (DecodedContent::Quarantine(content), _) => {
                quarantined.push(quarantine_rows::from_ingest(content));
            }
            (DecodedContent::Foreign { reason }, _) => {
                quarantined.push(quarantine_rows::foreign(message, reason));
            }
        }
        appended.push(message);
    }
    let now = clock::now();
    let (inserted, exceptions) = postgres::record_quarantine(tx, &quarantined, now).await?;
    outcome.quarantined += inserted;
    outcome.exceptions.add(&exceptions);
    let mode = match mode {
        AppendMode::Projected => ProjectionMode::WithinBudget,
        AppendMode::Postponed | AppendMode::Quarantined(_) => ProjectionMode::Postponed,
    };
    if !events.is_empty() {
        append_events(tx, &events, mode, limits, subscribed, now, &mut outcome).await?;
    }
    if !notices.is_empty() {
        append_notices(tx, &notices, mode, limits, subscribed, &mut outcome).await?;
    }
    // The refused content may be in the name of the source, which would fail here too.
    if refused_batch.is_none() {
        postgres::record_source_uses(tx, &uses_of(&appended)).await?;
    }
    Ok(outcome)
}

/// When each source was last authenticated, and by which credential.
fn uses_of<'a>(batch: &[&'a DecodedMessage]) -> BTreeMap<SourceUse<'a>, DateTime<Utc>> {
    let mut uses = BTreeMap::new();
    for (source_use, received) in batch.iter().filter_map(|message| message.source_use()) {
        let last = uses.entry(source_use).or_insert(received);
        *last = received.max(*last);
    }
    uses
}
