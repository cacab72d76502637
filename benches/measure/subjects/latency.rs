//! From a client's report "on" to that client's stream, beside a bare produce and consume.

use std::sync::Arc;
use std::sync::atomic::AtomicU64;
use std::time::{Duration, Instant};

use anyhow::{Context as _, bail};
use onrecord::clock;
use rdkafka::message::Message as _;
use rdkafka::producer::FutureRecord;
use serde_json::json;
use uuid::Uuid;

use crate::measure::arguments::Arguments;
use crate::measure::baseline::{consumer, producer};
use crate::measure::calls::{Calls, EventMark, RECORDING_ON};
use crate::measure::environment::{Environment, Namespace, SOURCE_KEY};
use crate::measure::load::{at_rate, post};
use crate::measure::process::Process;
use crate::measure::recorded_messages::RecordedMessages;
use crate::measure::report::{Figures, Latencies, Target};
use crate::measure::sse_clients::{SseClient, SseClients};

const PARTS: [&str; 2] = ["idle", "loaded"];
/// Reports a second.
const RATE: f64 = 20.0;
/// Events a second in the background.
const BACKGROUND_RATE: f64 = 1000.0;
const CONNECTIONS: u64 = 32;
const WIDTH: u64 = 1000;
/// Timeout of a notice. A notice that is not received by then counts as lost.
const RECEIVE_TIMEOUT: Duration = Duration::from_secs(3);

pub async fn measure(environment: &Environment, arguments: &Arguments) -> anyhow::Result<Figures> {
    let wanted = arguments.wanted(&PARTS)?;
    let mut figures = Figures::default();
    let lasting = Duration::from_secs(arguments.seconds.unwrap_or(30));
    let recorded = RecordedMessages::record(environment).await?;
    let namespace = environment.namespace().await?;
    let bare = bare(&namespace, &recorded, lasting).await?;
    let serve = namespace.serve("", "").await?;
    serve.is_ready().await?;
    // The first requests are slow on both sides, and counted on neither.
    reports(&serve, Duration::from_secs(2)).await?;
    if wanted.contains(&"idle") {
        let ours = reports(&serve, lasting).await?;
        for (name, part) in [("p50", 0.5), ("p99", 0.99)] {
            let target = Some(Target::AtMost(3.0));
            let (ours, bare) = (ours.percentile(part), bare.percentile(part));
            figures.compare(format!("report → stream, idle: {name}"), "ms", ours, bare, target);
        }
    }
    if wanted.contains(&"loaded") {
        let load = alongside(&serve, lasting + RECEIVE_TIMEOUT);
        let ours = reports(&serve, lasting).await?;
        load.await??;
        let (p50, p99) = (ours.percentile(0.5), ours.percentile(0.99));
        figures.note("report → stream, 1,000 events/s alongside: p50", "ms", p50);
        figures.check(
            "… p99 above bare p99",
            "ms",
            p99 - bare.percentile(0.99),
            Target::AtMost(25.0),
        );
    }
    serve.stop().await;
    environment.clear(namespace).await?;
    Ok(figures)
}

/// From the intended instant of a report to the event on the reporter's stream. Each report is about
/// another call and by another person.
async fn reports(serve: &Process, lasting: Duration) -> anyhow::Result<Latencies> {
    let all = (RATE * lasting.as_secs_f64()) as u64;
    let calls = Calls::new(all);
    let mut clients = Vec::new();
    let mut requests = Vec::new();
    for number in 0..all {
        let attachment = Uuid::new_v4();
        let bearer = super::fanout::token(number)?;
        let report = json!({
            "report_id": Uuid::new_v4(), "attachment": attachment, "sequence": 1, "recording": "on",
            "server_call_id": calls.mark(number, clock::now()).server_call_id(),
        });
        let headers = format!("authorization: Bearer {bearer}\r\n");
        requests.push(post("/v1/reports", &headers, report.to_string().as_bytes()));
        clients.push(SseClient {
            path: format!("/v1/notices/stream?attachment={attachment}"),
            bearer,
        });
    }
    let clients = SseClients::open(serve.address(), clients).await?;
    let address = serve.address();
    let reported = tokio::task::spawn_blocking(move || {
        let request = |number: u64| requests[number as usize].clone();
        at_rate(address, CONNECTIONS, RATE, lasting, &request, &AtomicU64::new(0))
    });
    let began = reported.await??.whole()?.began.context("nothing was due")?;
    tokio::time::sleep(RECEIVE_TIMEOUT).await;
    let mut latencies = Latencies::default();
    for received in clients.received().iter().filter(|received| received.event == 1) {
        let due = began + Duration::from_secs_f64(f64::from(received.stream) / RATE);
        latencies.add(received.at.saturating_duration_since(due));
    }
    clients.close()?;
    if latencies.len() as u64 != all {
        bail!("{} of {all} reports were received", latencies.len());
    }
    Ok(latencies)
}

fn alongside(serve: &Process, lasting: Duration) -> tokio::task::JoinHandle<anyhow::Result<()>> {
    let address = serve.address();
    tokio::task::spawn_blocking(move || {
        let calls = Calls::new(WIDTH);
        let headers = format!("x-onrecord-key: {SOURCE_KEY}\r\n");
        let request = |number| {
            let (endpoint, body) = calls.body(number, clock::now());
            post(endpoint.path(), &headers, &body)
        };
        let answered = AtomicU64::new(0);
        at_rate(address, CONNECTIONS, BACKGROUND_RATE, lasting, &request, &answered)?.whole()?;
        Ok(())
    })
}

/// From the intended instant of a message to its arrival at a consumer.
async fn bare(
    namespace: &Namespace,
    recorded: &RecordedMessages,
    lasting: Duration,
) -> anyhow::Result<Latencies> {
    let topic: Arc<str> = namespace.bare_topic().await?.into();
    let all = (RATE * lasting.as_secs_f64()) as u64;
    let (producer, consumer) =
        (producer(&namespace.brokers)?, consumer(&namespace.brokers, &topic)?);
    let receiving = tokio::spawn(async move {
        let mut received = Vec::new();
        while received.len() < all as usize {
            let message = consumer.recv().await?;
            let number = message.key().and_then(|key| key.try_into().ok());
            if let Some(number) = number.map(u64::from_be_bytes).filter(|it| *it < all) {
                received.push((number, Instant::now()));
            }
        }
        anyhow::Ok(received)
    });
    // Connections are opened when they are needed, so one message comes first.
    tokio::time::sleep(Duration::from_secs(1)).await;
    let publishing = tokio::task::spawn_blocking({
        let copied = recorded.copy(RECORDING_ON, &EventMark::of_templates());
        let runtime = tokio::runtime::Handle::current();
        move || {
            let send = |number: u64| {
                let key = number.to_be_bytes();
                let record = FutureRecord::to(&topic)
                    .key(&key[..])
                    .payload(&copied.value)
                    .headers(copied.headers());
                producer.send_result(record).map_err(|(error, _)| error)
            };
            runtime.block_on(send(u64::MAX)?)?.map_err(|(error, _)| error)?;
            let begin = Instant::now() + Duration::from_millis(100);
            for number in 0..all {
                let due = begin + Duration::from_secs_f64(number as f64 / RATE);
                std::thread::sleep(due.saturating_duration_since(Instant::now()));
                drop(send(number)?);
            }
            anyhow::Ok((begin, producer))
        }
    });
    // The producer is dropped when all messages have arrived.
    let (begin, _producer) = publishing.await??;
    let received = tokio::time::timeout(Duration::from_secs(10), receiving).await???;
    let mut latencies = Latencies::default();
    for (number, at) in received {
        let due = begin + Duration::from_secs_f64(number as f64 / RATE);
        latencies.add(at.saturating_duration_since(due));
    }
    Ok(latencies)
}
