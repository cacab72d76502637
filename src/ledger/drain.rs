//! Spool → log: what Kafka did not confirm is published when it does again.

use std::time::Duration;

use futures_util::FutureExt as _;
use metrics::counter;
use uuid::Uuid;

use super::Ledger;
use crate::clock;
use crate::domain::ids::Digest;
use crate::failpoint;
use crate::store::{self, NewQuarantine, SpooledMessage, StoreError};
use crate::stream::{Publication, WireMessage};
use crate::telemetry::names;

/// One node drains at a time; its lease ends so long after it was last renewed.
const LEASE: Duration = Duration::from_secs(10);
const LEASE_NAME: &str = "drain";
/// How often the spool is looked at.
const EVERY: Duration = Duration::from_millis(500);
/// Messages of one step while Kafka confirms, and their bytes.
const STEP: i64 = 500;
const STEP_BYTES: i64 = 8 * 1024 * 1024;

/// Drains until the stop.
pub(super) async fn drain(ledger: Ledger) {
    let soft = ledger.lifecycle.soft().clone();
    let mut after = 0;
    while !soft.is_cancelled() {
        // Dropped, a step leaves what is not known to be on the log in the spool.
        let step = tokio::select! {
            outcome = step(&ledger, &mut after) => outcome,
            () = soft.cancelled() => break,
        };
        let go_on = match step {
            Ok(go_on) => go_on,
            Err(error) => {
                tracing::debug!(error = %error, "the spool is not drained now: {error}");
                false
            }
        };
        if !go_on {
            tokio::select! {
                () = tokio::time::sleep(EVERY) => {}
                () = soft.cancelled() => {}
            }
        }
    }
    if let Err(error) = store::release(&ledger.store, LEASE_NAME, &ledger.owner).await {
        tracing::debug!(error = %error, "the drainer's lease ends by itself: {error}");
    }
}

/// Publishes the oldest messages behind `after`, and moves it: one that Kafka does not take keeps
/// no other waiting, it has its turn again. Returns whether there may be more to do at once.
async fn step(ledger: &Ledger, after: &mut i64) -> Result<bool, StoreError> {
    let now = clock::now();
    if !store::hold(&ledger.store, LEASE_NAME, &ledger.owner, LEASE).await? {
        return Ok(false);
    }
    // While Kafka does not confirm, one message asks for all.
    let most = if ledger.publisher.is_confirming() {
        STEP
    } else {
        1
    };
    let rows = ledger
        .store
        .oldest_spooled(*after, most, STEP_BYTES)
        .await?;
    let Some(last) = rows.last() else {
        // From the beginning again, where some may have been left.
        return Ok(std::mem::take(after) > 0 && ledger.publisher.is_confirming());
    };
    *after = last.id;
    let mut done = Vec::with_capacity(rows.len());
    let mut messages = Vec::with_capacity(rows.len());
    let mut ids = Vec::with_capacity(rows.len());
    for row in rows {
        match serde_json::from_slice::<WireMessage>(&row.message) {
            Ok(message) => {
                messages.push(message);
                ids.push(row.id);
            }
            Err(error) => {
                quarantine(
                    ledger,
                    &row,
                    None,
                    &format!("the spool holds what is no message: {error}"),
                )
                .await?;
                done.push(row.id);
            }
        }
    }
    // A late confirmation is one: publishing again would only make another copy.
    let publications = publish(ledger, &messages).await;
    let mut all = true;
    for ((id, message), publication) in ids.into_iter().zip(&messages).zip(publications) {
        match publication {
            Publication::Confirmed => done.push(id),
            Publication::NotConfirmed => all = false,
            Publication::Refused(why) => {
                let body = serde_json::to_vec(message).unwrap_or_default();
                let row = SpooledMessage {
                    id,
                    message: body,
                    stored: now,
                };
                quarantine(
                    ledger,
                    &row,
                    Some(message),
                    &format!("kafka will never take the message: {why}"),
                )
                .await?;
                done.push(id);
            }
        }
    }
    if all {
        failpoint::reached("drain-published");
    }
    ledger.store.unspool(&done).await?;
    counter!(names::DRAINED).increment(done.len() as u64);
    Ok(all)
}

/// Waits for Kafka's last word on each, which may take longer than the lease.
async fn publish(ledger: &Ledger, messages: &[WireMessage]) -> Vec<Publication> {
    let last_words = ledger.publisher.publish_to_the_end(messages);
    tokio::pin!(last_words);
    loop {
        tokio::select! {
            publications = &mut last_words => return publications,
            () = tokio::time::sleep(LEASE / 3) => {
                // Without it another node publishes the same, which law 4 makes harmless.
                if let Err(error) = store::hold(&ledger.store, LEASE_NAME, &ledger.owner, LEASE).await {
                    tracing::debug!(error = %error, "the drainer's lease is not renewed now: {error}");
                }
            }
        }
    }
}

async fn quarantine(
    ledger: &Ledger,
    row: &SpooledMessage,
    message: Option<&WireMessage>,
    detail: &str,
) -> Result<(), StoreError> {
    tracing::error!(
        spool.id = row.id,
        "spooled message {} goes to quarantine: {detail}",
        row.id
    );
    let sha256 = Digest::of(&row.message);
    let quarantined = NewQuarantine {
        id: Uuid::now_v7(),
        tenant: message
            .and_then(|message| message.header("ce_tenant"))
            .unwrap_or_default()
            .to_owned(),
        key: sha256,
        source: "spool".to_owned(),
        reason: "log-refused".to_owned(),
        detail: detail.to_owned(),
        pointer: None,
        content: Some(row.message.clone()),
        content_type: Some("application/json".to_owned()),
        size: i64::try_from(row.message.len()).unwrap_or(i64::MAX),
        sha256,
        redacted: Vec::new(),
        received: row.stored,
    };
    let quarantined = &quarantined;
    ledger
        .store
        .run("quarantine from spool", move |work| {
            async move { store::insert_quarantine(work, quarantined).await.map(drop) }.boxed()
        })
        .await
}
