//! The bare baselines. Each runs this program again, as a separate process.

use std::collections::HashMap;
use std::convert::Infallible;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use anyhow::{Context as _, bail};
use axum::Router;
use axum::body::Bytes;
use axum::extract::{Query, State};
use axum::http::StatusCode;
use axum::response::IntoResponse;
use axum::response::sse::{Event, KeepAlive, Sse};
use axum::routing::{get, post};
use futures_util::future::join_all;
use rdkafka::consumer::{Consumer as _, StreamConsumer};
use rdkafka::message::Message as _;
use rdkafka::producer::{FutureProducer, FutureRecord};
use rdkafka::{ClientConfig, Offset, TopicPartitionList};
use serde::Deserialize;
use serde_json::value::RawValue;
use tokio::net::TcpListener;
use tokio::sync::broadcast;

use super::topics::PARTITIONS;

/// The argument that makes this program a baseline.
pub const BASELINE_ARGUMENT: &str = "baseline";
/// A handler that only awaits Kafka.
pub const DIRECT_PRODUCE: &str = "direct-produce";
/// Streams of the messages of a topic.
pub const BROADCAST: &str = "broadcast";
/// A loop of POSTs.
pub const POSTER: &str = "poster";
/// Bytes of a notice's body on a bare stream, about as many as the service sends.
pub const NOTICE_BYTES: usize = 600;

/// Serves as one of the baselines until the process is ended.
pub fn serve(arguments: &[String]) -> anyhow::Result<()> {
    let [name, brokers, topic] = arguments else {
        bail!("a baseline needs its name, brokers and a topic");
    };
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build()?;
    runtime.block_on(async {
        let router = match name.as_str() {
            DIRECT_PRODUCE => direct(brokers, topic)?,
            BROADCAST => broadcasting(brokers, topic)?,
            POSTER => Router::new().route("/run", get(post_all)),
            other => bail!("there is no baseline {other}"),
        };
        let listener = TcpListener::bind("127.0.0.1:0").await?;
        println!("serving on http://{}", listener.local_addr()?);
        axum::serve(listener, router).await.context("serving")
    })
}

/// Idempotent, acknowledged by all replicas, without linger: what `DURABLE_ACK` requires.
pub fn producer(brokers: &str) -> anyhow::Result<FutureProducer> {
    Ok(ClientConfig::new()
        .set("bootstrap.servers", brokers)
        .set("enable.idempotence", "true")
        .set("acks", "all")
        .set("linger.ms", "0")
        .create()?)
}

/// Reads all partitions of a topic from their ends, as the live role does.
pub fn consumer(brokers: &str, topic: &str) -> anyhow::Result<StreamConsumer> {
    let consumer: StreamConsumer = ClientConfig::new()
        .set("bootstrap.servers", brokers)
        .set("group.id", "bare")
        .set("enable.auto.commit", "false")
        .set("fetch.wait.max.ms", "10")
        .create()?;
    let mut partitions = TopicPartitionList::new();
    for partition in 0..PARTITIONS {
        partitions.add_partition_offset(topic, partition, Offset::End)?;
    }
    consumer.assign(&partitions)?;
    Ok(consumer)
}

#[derive(Clone)]
struct DirectProducer {
    producer: FutureProducer,
    topic: Arc<str>,
}

fn direct(brokers: &str, topic: &str) -> anyhow::Result<Router> {
    let direct = DirectProducer { producer: producer(brokers)?, topic: topic.into() };
    Ok(Router::new().route("/whole", post(whole)).route("/split", post(split)).with_state(direct))
}

impl DirectProducer {
    async fn is_kept(&self, payload: &[u8]) -> bool {
        let record = FutureRecord::<(), [u8]>::to(&self.topic).payload(payload);
        match self.producer.send_result(record) {
            Ok(delivery) => matches!(delivery.await, Ok(Ok(_))),
            Err(_) => false,
        }
    }
}

fn status(is_kept: bool) -> StatusCode {
    if is_kept { StatusCode::OK } else { StatusCode::SERVICE_UNAVAILABLE }
}

/// The body as one message.
async fn whole(State(direct): State<DirectProducer>, body: Bytes) -> StatusCode {
    status(direct.is_kept(&body).await)
}

/// Each element of the array in the body as a message.
async fn split(State(direct): State<DirectProducer>, body: Bytes) -> StatusCode {
    let Ok(elements) = serde_json::from_slice::<Vec<&RawValue>>(&body) else {
        return StatusCode::BAD_REQUEST;
    };
    let kept = elements.iter().map(|it| direct.is_kept(it.get().as_bytes()));
    status(join_all(kept).await.into_iter().all(|it| it))
}

/// A channel for each key, created by its first user.
#[derive(Clone, Default)]
struct Channels {
    of: Arc<Mutex<HashMap<String, broadcast::Sender<Arc<str>>>>>,
}

impl Channels {
    fn channel(&self, key: &str) -> broadcast::Sender<Arc<str>> {
        let mut of = self.of.lock().unwrap_or_else(PoisonError::into_inner);
        let made = of.entry(key.to_owned());
        made.or_insert_with(|| broadcast::channel(64).0).clone()
    }
}

#[derive(Deserialize)]
struct StreamQuery {
    key: String,
}

fn broadcasting(brokers: &str, topic: &str) -> anyhow::Result<Router> {
    let channels = Channels::default();
    let (consumer, senders) = (consumer(brokers, topic)?, channels.clone());
    tokio::spawn(async move {
        let body: Arc<str> = format!("{{\"notice\":\"{}\"}}", "x".repeat(NOTICE_BYTES - 13)).into();
        loop {
            match consumer.recv().await {
                Ok(message) => {
                    let key = message.key().and_then(|key| std::str::from_utf8(key).ok());
                    // A channel without a receiver is no error.
                    let _ = senders.channel(key.unwrap_or_default()).send(body.clone());
                }
                Err(error) => eprintln!("{error}"),
            }
        }
    });
    Ok(Router::new().route("/stream", get(stream)).with_state(channels))
}

async fn stream(
    State(channels): State<Channels>,
    Query(query): Query<StreamQuery>,
) -> impl IntoResponse {
    let received = channels.channel(&query.key).subscribe();
    let events =
        futures_util::stream::unfold((received, 0_u64), |(mut received, number)| async move {
            // Like the service, it begins with a snapshot.
            let (kind, body) = if number == 0 {
                ("snapshot", Arc::from("{}"))
            } else {
                ("notice", received.recv().await.ok()?)
            };
            let event = Event::default().event(kind).id(number.to_string()).data(&*body);
            Some((Ok::<_, Infallible>(event), (received, number + 1)))
        });
    Sse::new(events).keep_alive(KeepAlive::default().interval(Duration::from_secs(15)))
}

/// What a loop of POSTs does.
#[derive(Clone, Deserialize)]
struct PostQuery {
    url: String,
    number: u64,
    concurrency: u64,
}

/// Posts a body of the usual size so often, so many at a time.
async fn post_all(Query(query): Query<PostQuery>) -> StatusCode {
    // Another part of the process may have installed it already.
    let _ = rustls::crypto::ring::default_provider().install_default();
    let Ok(client) = reqwest::Client::builder().tls_certs_only([]).build() else {
        return StatusCode::INTERNAL_SERVER_ERROR;
    };
    let body = format!("{{\"notice\":\"{}\"}}", "x".repeat(NOTICE_BYTES - 13));
    let next = Arc::new(std::sync::atomic::AtomicU64::new(0));
    let loops = (0..query.concurrency).map(|_| {
        let (client, query, body, next) =
            (client.clone(), query.clone(), body.clone(), Arc::clone(&next));
        tokio::spawn(async move {
            while next.fetch_add(1, std::sync::atomic::Ordering::Relaxed) < query.number {
                let answer = client.post(&query.url).body(body.clone()).send().await;
                let Ok(answer) = answer else { return false };
                if answer.bytes().await.is_err() {
                    return false;
                }
            }
            true
        })
    });
    let all = join_all(loops).await;
    status(all.into_iter().all(|it| matches!(it, Ok(true))))
}
