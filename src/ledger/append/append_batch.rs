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
use crate::clock;
use crate::failpoint;
use crate::kafka::NoticeFactsMessage;
use crate::ledger::context::LedgerContext;
use crate::ledger::partition_leases::PartitionLeases;
use crate::postgres::{self, NewQuarantine, PartitionPosition, SourceUse, StoreError, Tx};
use crate::telemetry::names;

/// Appends a batch and moves the positions behind it. With `refused` the batch is one message whose
/// content Postgres refuses for this reason: it goes to quarantine as it is.
///
/// # Errors
///
/// [`StoreError`]; nothing was appended then.
pub(crate) async fn append_batch(
    ledger: &LedgerContext,
    topic: &str,
    leases: &mut PartitionLeases,
    batch: &[DecodedMessage],
    refused: Option<&str>,
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
    let outcome = ledger
        .store
        .run_tx("append", move |tx| {
            async move {
                postgres::advance(tx, topic, positions_ref).await?;
                let appended = append_messages(tx, batch, refused).await;
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
    refused: Option<&str>,
) -> Result<AppendOutcome, StoreError> {
    let mut outcome = AppendOutcome::default();
    let mut quarantined: Vec<NewQuarantine> = Vec::new();
    let mut events: Vec<&DecodedEvent> = Vec::with_capacity(batch.len());
    let mut notices: Vec<&NoticeFactsMessage> = Vec::new();
    for message in batch {
        match (&message.content, refused) {
            (DecodedContent::Event(event), None) => events.push(event),
            (DecodedContent::Notices(facts), None) => notices.push(facts),
            (DecodedContent::Event(event), Some(reason)) => {
                quarantined.push(quarantine_rows::refused_event(event, reason));
            }
            (DecodedContent::Notices(facts), Some(reason)) => {
                quarantined.push(quarantine_rows::refused_notices(message, facts, reason));
            }
            (DecodedContent::Quarantine(content), _) => {
                quarantined.push(quarantine_rows::from_ingest(content));
            }
            (DecodedContent::Foreign { reason }, _) => {
                quarantined.push(quarantine_rows::foreign(message, reason));
            }
        }
    }
    let now = clock::now();
    let (inserted, exceptions) = postgres::record_quarantine(tx, &quarantined, now).await?;
    outcome.quarantined += inserted;
    outcome.exceptions.add(&exceptions);
    if !events.is_empty() {
        append_events(tx, &events, now, &mut outcome).await?;
    }
    if !notices.is_empty() {
        append_notices(tx, &notices, &mut outcome).await?;
    }
    // The refused content may be in the name of the source, which would fail here too.
    if refused.is_none() {
        postgres::record_source_uses(tx, &uses_of(batch)).await?;
    }
    Ok(outcome)
}

/// When each source was last authenticated, and by which credential.
fn uses_of(batch: &[DecodedMessage]) -> BTreeMap<SourceUse<'_>, DateTime<Utc>> {
    let mut uses = BTreeMap::new();
    for (source_use, received) in batch.iter().filter_map(DecodedMessage::source_use) {
        let last = uses.entry(source_use).or_insert(received);
        *last = received.max(*last);
    }
    uses
}
