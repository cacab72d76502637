//! How long a report of another tenant waits while a call of very many legs changes.

use std::sync::atomic::AtomicU64;
use std::time::Duration;

use onrecord::clock;
use serde_json::json;
use uuid::Uuid;

use super::fanout::{Plan, Publisher, token, token_of};
use crate::measure::calls::Calls;
use crate::measure::environment::Environment;
use crate::measure::load::{at_rate, post};
use crate::measure::process::Process;
use crate::measure::recorded_messages::RecordedMessages;
use crate::measure::report::{Figures, Latencies, Target};
use crate::measure::sse_clients::{SseClient, SseClients};

/// Changes of the large call, a second.
const CHANGE_RATE: f64 = 1.0;
/// Reports of the other tenant, a second.
const REPORT_RATE: f64 = 100.0;
/// Legs that join the large call, a second.
const JOIN_RATE: f64 = 500.0;
const CONNECTIONS: u64 = 32;
const OTHER_TENANT: &str = "fabrikam";
/// Time after which the streams have done the work of their start.
const SETTLE_TIME: Duration = Duration::from_secs(5);
/// How much longer a report of another tenant may wait, in ms.
const MAX_DELAY_MS: f64 = 20.0;

pub async fn measure(
    environment: &Environment,
    recorded: &RecordedMessages,
    legs: u64,
    lasting: Duration,
    figures: &mut Figures,
) -> anyhow::Result<()> {
    let namespace = environment.namespace().await?;
    let live = namespace.serve("live", "").await?;
    live.is_ready().await?;
    // The first requests are slow.
    others(&live, Duration::from_secs(2)).await?;
    let alone = others(&live, lasting).await?;

    let plan = Plan { calls: 1, clients_of_each: legs, rate: CHANGE_RATE, lasting, by_key: false };
    let topic = namespace.topic("calling-events.v1");
    let publisher = Publisher::new(&namespace, &topic, recorded, plan)?;
    publisher.publish_all(0).await?;
    let server_call_id = publisher.calls.mark(0, clock::now()).server_call_id();
    let mut clients = Vec::new();
    let mut requests = Vec::new();
    for leg in 0..legs {
        let (attachment, bearer) = (Uuid::new_v4(), token(leg)?);
        requests.push(report(&bearer, attachment, &server_call_id));
        let path = format!("/v1/notices/stream?attachment={attachment}");
        clients.push(SseClient { path, bearer });
    }
    send(&live, requests, JOIN_RATE).await?;
    let clients = SseClients::open(live.address(), clients).await?;
    tokio::time::sleep(SETTLE_TIME).await;
    let changes = (CHANGE_RATE * lasting.as_secs_f64()) as u64;
    // The requests are sent by threads of their own, while this one publishes.
    let (beside, published) = tokio::join!(others(&live, lasting), publisher.publish(0, changes));
    let (beside, _) = (beside?, published?);
    clients.close()?;
    live.stop().await;
    environment.clear(namespace).await?;

    let name = format!("another tenant's report beside a call of {legs} legs");
    for (part, label) in [(0.5, "p50"), (0.99, "p99"), (1.0, "longest wait")] {
        let (beside, alone) = (beside.percentile(part), alone.percentile(part));
        figures.compare(format!("{name}: {label}, with and without it"), "ms", beside, alone, None);
    }
    let delay = beside.percentile(1.0) - alone.percentile(1.0);
    figures.check(
        format!("{name}: longest wait above that without it"),
        "ms",
        delay,
        Target::AtMost(MAX_DELAY_MS),
    );
    Ok(())
}

/// A report of a participant that the call is recorded.
fn report(bearer: &str, attachment: Uuid, server_call_id: &str) -> Vec<u8> {
    let body = json!({
        "report_id": Uuid::new_v4(), "attachment": attachment, "sequence": 1, "recording": "on",
        "server_call_id": server_call_id,
    });
    let headers = format!("authorization: Bearer {bearer}\r\n");
    post("/v1/reports", &headers, body.to_string().as_bytes())
}

/// How long reports of the other tenant take, each of another participant and about another call.
async fn others(live: &Process, lasting: Duration) -> anyhow::Result<Latencies> {
    let all = (REPORT_RATE * lasting.as_secs_f64()) as u64;
    let calls = Calls::new(all);
    let mut requests = Vec::new();
    for number in 0..all {
        let server_call_id = calls.mark(number, clock::now()).server_call_id();
        requests.push(report(&token_of(OTHER_TENANT, number)?, Uuid::new_v4(), &server_call_id));
    }
    send(live, requests, REPORT_RATE).await
}

/// Sends each request when it is due, at this rate, and returns how long they took.
async fn send(live: &Process, requests: Vec<Vec<u8>>, rate: f64) -> anyhow::Result<Latencies> {
    let address = live.address();
    let lasting = Duration::from_secs_f64(requests.len() as f64 / rate);
    let sent = tokio::task::spawn_blocking(move || {
        // A rounded duration may have room for one more.
        let request = |number: u64| requests[number as usize % requests.len()].clone();
        at_rate(address, CONNECTIONS, rate, lasting, &request, &AtomicU64::new(0))
    });
    Ok(sent.await??.whole()?.latencies)
}
