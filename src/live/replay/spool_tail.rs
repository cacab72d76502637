//! Tails the spool, which holds the messages that Kafka did not confirm in time.

use std::time::Duration;

use tokio::time::Instant;

use super::decode::{RETRY_INTERVAL, decode};
use crate::clock;
use crate::kafka::{Topic, WireMessage};
use crate::lifecycle::{Lifecycle, Readiness};
use crate::live::live_calls::LiveCalls;
use crate::live::live_state::{EventOrigin, IncomingEvent};
use crate::postgres::{Postgres, SpoolTail, SpooledMessage, StoreError};
use crate::telemetry::dropped::{DroppedContent, record_dropped};

/// Interval between polls of the spool without a notification.
const POLL_INTERVAL: Duration = Duration::from_secs(1);
/// Timeout without a notification after which the listener is opened again: a connection can die
/// silently.
const LISTENER_TIMEOUT: Duration = Duration::from_secs(30);
/// Time for which the spool counts as healthy after a poll.
const HEALTHY_FOR: Duration = Duration::from_secs(15);

pub(crate) async fn follow_spool(live_calls: LiveCalls, store: Postgres, lifecycle: Lifecycle) {
    let soft = lifecycle.soft().clone();
    let readiness = lifecycle.readiness().clone();
    let mut tail = SpoolTail::default();
    let reading = async {
        loop {
            if let Err(error) = follow(&live_calls, &store, &mut tail, &readiness).await {
                readiness.unhealthy("spool", error.to_string());
                // The pages already applied must not wait for the rest.
                live_calls.announce_spooled(clock::now_ms());
                tokio::time::sleep(RETRY_INTERVAL).await;
            }
        }
    };
    soft.run_until_cancelled(reading).await;
}

/// Tails the spool with one database listener, until that has been idle for [`LISTENER_TIMEOUT`].
async fn follow(
    live_calls: &LiveCalls,
    store: &Postgres,
    tail: &mut SpoolTail,
    readiness: &Readiness,
) -> Result<(), StoreError> {
    // The listener is opened before the first poll, so that it notifies of what is spooled in
    // between.
    let mut listener = store.listen_to_spool().await?;
    let mut woken = Instant::now();
    while woken.elapsed() < LISTENER_TIMEOUT {
        apply_new(live_calls, store, tail).await?;
        readiness.healthy("spool", HEALTHY_FOR);
        if let Ok(outcome) = tokio::time::timeout(POLL_INTERVAL, listener.spooled()).await {
            outcome?;
            woken = Instant::now();
        }
    }
    Ok(())
}

/// Applies all new messages. Several pages are announced together, after the last one.
async fn apply_new(
    live_calls: &LiveCalls,
    store: &Postgres,
    tail: &mut SpoolTail,
) -> Result<(), StoreError> {
    let mut is_paged = false;
    loop {
        let page = store.spooled_since(tail).await?;
        let events: Vec<IncomingEvent> = page.messages.iter().filter_map(decode_spooled).collect();
        let now = clock::now_ms();
        if is_paged || page.more {
            is_paged = true;
            live_calls.collect_spooled(events, now);
        } else if !events.is_empty() {
            live_calls.apply(events, EventOrigin::Spool, now);
        }
        if !page.more {
            break;
        }
    }
    if is_paged {
        live_calls.announce_spooled(clock::now_ms());
    }
    Ok(())
}

fn decode_spooled(spooled: &SpooledMessage) -> Option<IncomingEvent> {
    let wire: WireMessage = match serde_json::from_slice(&spooled.message) {
        Ok(wire) => wire,
        Err(error) => {
            record_dropped(DroppedContent::LiveMessage, &error);
            return None;
        }
    };
    (wire.topic == Topic::Events).then(|| decode(&wire, spooled.stored_at.timestamp_millis()))?
}
