//! The bare counterparts, each in a process of its own: this program once more.

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

use super::ground::PARTITIONS;

/// The argument that makes this program a counterpart.
pub const WORD: &str = "counterpart";
/// A handler that only awaits Kafka.
pub const NAIVE: &str = "naive";
/// Streams of what comes on a topic.
pub const BROADCAST: &str = "broadcast";
/// Bytes of a notice's body on a bare stream: about what ours has.
pub const NOTICE_BYTES: usize = 600;

/// Serves as one of them, until it is ended.
pub fn serve(arguments: &[String]) -> anyhow::Result<()> {
    let [name, brokers, topic] = arguments else {
        bail!("a counterpart needs its name, brokers and a topic");
    };
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .enable_all()
        .build()?;
    runtime.block_on(async {
        let router = match name.as_str() {
            NAIVE => naive(brokers, topic)?,
            BROADCAST => broadcasting(brokers, topic)?,
            other => bail!("there is no counterpart {other}"),
        };
        let listener = TcpListener::bind("127.0.0.1:0").await?;
        println!("serving on http://{}", listener.local_addr()?);
        axum::serve(listener, router).await.context("serving")
    })
}

/// Idempotent, acknowledged by all, without waiting: what law 1 asks for.
pub fn producer(brokers: &str) -> anyhow::Result<FutureProducer> {
    Ok(ClientConfig::new()
        .set("bootstrap.servers", brokers)
        .set("enable.idempotence", "true")
        .set("acks", "all")
        .set("linger.ms", "0")
        .create()?)
}

/// Reads all partitions of a topic from their ends, as the board does.
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
struct Naive {
    producer: FutureProducer,
    topic: Arc<str>,
}

fn naive(brokers: &str, topic: &str) -> anyhow::Result<Router> {
    let naive = Naive {
        producer: producer(brokers)?,
        topic: topic.into(),
    };
    Ok(Router::new()
        .route("/whole", post(whole))
        .route("/split", post(split))
        .with_state(naive))
}

impl Naive {
    async fn is_kept(&self, payload: &[u8]) -> bool {
        let record = FutureRecord::<(), [u8]>::to(&self.topic).payload(payload);
        match self.producer.send_result(record) {
            Ok(delivery) => matches!(delivery.await, Ok(Ok(_))),
            Err(_) => false,
        }
    }
}

fn status(is_kept: bool) -> StatusCode {
    if is_kept {
        StatusCode::OK
    } else {
        StatusCode::SERVICE_UNAVAILABLE
    }
}

/// The body as one message.
async fn whole(State(naive): State<Naive>, body: Bytes) -> StatusCode {
    status(naive.is_kept(&body).await)
}

/// Each element of the array in the body as a message.
async fn split(State(naive): State<Naive>, body: Bytes) -> StatusCode {
    let Ok(elements) = serde_json::from_slice::<Vec<&RawValue>>(&body) else {
        return StatusCode::BAD_REQUEST;
    };
    let kept = elements.iter().map(|it| naive.is_kept(it.get().as_bytes()));
    status(join_all(kept).await.into_iter().all(|it| it))
}

/// A channel for each key, made by whoever comes first.
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
struct Listening {
    key: String,
}

fn broadcasting(brokers: &str, topic: &str) -> anyhow::Result<Router> {
    let channels = Channels::default();
    let (consumer, told) = (consumer(brokers, topic)?, channels.clone());
    tokio::spawn(async move {
        let body: Arc<str> = format!("{{\"notice\":\"{}\"}}", "x".repeat(NOTICE_BYTES - 13)).into();
        loop {
            match consumer.recv().await {
                Ok(message) => {
                    let key = message.key().and_then(|key| std::str::from_utf8(key).ok());
                    // Nobody may be listening.
                    let _ = told.channel(key.unwrap_or_default()).send(body.clone());
                }
                Err(error) => eprintln!("{error}"),
            }
        }
    });
    Ok(Router::new()
        .route("/stream", get(stream))
        .with_state(channels))
}

async fn stream(
    State(channels): State<Channels>,
    Query(listening): Query<Listening>,
) -> impl IntoResponse {
    let heard = channels.channel(&listening.key).subscribe();
    let events = futures_util::stream::unfold((heard, 0_u64), |(mut heard, number)| async move {
        // As ours does, it begins with what there is.
        let (kind, body) = if number == 0 {
            ("snapshot", Arc::from("{}"))
        } else {
            ("notice", heard.recv().await.ok()?)
        };
        let event = Event::default()
            .event(kind)
            .id(number.to_string())
            .data(&*body);
        Some((Ok::<_, Infallible>(event), (heard, number + 1)))
    });
    Sse::new(events).keep_alive(KeepAlive::default().interval(Duration::from_secs(15)))
}
