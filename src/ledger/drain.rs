//! Spool → log: what Kafka did not confirm is published when it does again.

use std::time::Duration;

use chrono::{DateTime, Utc};
use futures_util::FutureExt as _;
use metrics::counter;
use uuid::Uuid;

use super::Ledger;
use super::exceptions::tell;
use super::raised::of_quarantine;
use crate::clock;
use crate::domain::ids::Digest;
use crate::failpoint;
use crate::store::{self, ExceptionTally, NewQuarantine, SpooledMessage, StoreError};
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
    let mut course = Course::default();
    while !soft.is_cancelled() {
        // Dropped, a step leaves what is not known to be on the log in the spool.
        let step = tokio::select! {
            outcome = step(&ledger, &mut course) => outcome,
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

/// Where a drainer is.
#[derive(Default)]
struct Course {
    /// What has a higher id has its turn next.
    after: i64,
    /// Whether the spool is known to be in use, as it is kept on record; `None`: another node may
    /// have drained.
    in_use: Option<bool>,
}

impl Course {
    /// Keeps on record that the spool is in use, and how much of it was drained.
    async fn note_use(&mut self, ledger: &Ledger, since: DateTime<Utc>, drained: usize) {
        if self.in_use == Some(true) && drained == 0 {
            return;
        }
        match ledger.store.spool_is_in_use(since, drained as u64).await {
            Ok(()) => self.in_use = Some(true),
            // The record of it is worth less than what is in it.
            Err(error) => {
                tracing::warn!(error = %error, "the use of the spool is not kept on record: {error}");
            }
        }
    }

    async fn note_end(&mut self, ledger: &Ledger, now: DateTime<Utc>) {
        if self.in_use == Some(false) {
            return;
        }
        match ledger.store.spool_is_empty(now).await {
            Ok(()) => self.in_use = Some(false),
            Err(error) => {
                tracing::warn!(error = %error, "the end of the spool's use is not kept on record: {error}");
            }
        }
    }
}

/// Publishes the oldest messages behind those of the step before: one that Kafka does not take keeps
/// no other waiting, it has its turn again. Returns whether there may be more to do at once.
async fn step(ledger: &Ledger, course: &mut Course) -> Result<bool, StoreError> {
    let now = clock::now();
    if !store::hold(&ledger.store, LEASE_NAME, &ledger.owner, LEASE).await? {
        course.in_use = None;
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
        .oldest_spooled(course.after, most, STEP_BYTES)
        .await?;
    let Some(last) = rows.last() else {
        // From the beginning again, where some may have been left.
        let began_anew = std::mem::take(&mut course.after) > 0;
        if !began_anew {
            course.note_end(ledger, now).await;
        }
        return Ok(began_anew && ledger.publisher.is_confirming());
    };
    course.after = last.id;
    let since = rows.iter().map(|row| row.stored).min().unwrap_or(now);
    course.note_use(ledger, since, 0).await;
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
    course.note_use(ledger, since, done.len()).await;
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
    let tally = ledger
        .store
        .run("quarantine from spool", move |work| {
            async move {
                let mut tally = ExceptionTally::default();
                if !store::insert_quarantine(work, quarantined).await? {
                    return Ok(tally);
                }
                for (tenant, raised) in of_quarantine(std::slice::from_ref(quarantined)) {
                    tally.add(&store::raise(work, &tenant, &raised, clock::now()).await?);
                }
                Ok(tally)
            }
            .boxed()
        })
        .await?;
    tell(&tally);
    Ok(())
}
