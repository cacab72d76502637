//! Clients that post during the faults and record every answer.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use onrecord_simulator::{
    EventGridCounts, EventGridOutcome, EventGridSender, RESPONSE_TIMEOUT, SeededRng, TimeScale,
};
use reqwest::header::CONTENT_TYPE;
use serde_json::Value;
use serde_json::json;
use tokio::task::JoinSet;
use uuid::Uuid;

use crate::faults::cluster::ids_of;
use crate::live::acknowledgements::displayed;
use crate::support::app::SOURCE_KEY;
use crate::support::azure::{ALICE, Call, report};

/// Speed-up of Azure's retries: a day passes in a minute.
const TIME_SCALE: f64 = 1440.0;
/// Interval between a client's deliveries.
const DELIVERY_INTERVAL: Duration = Duration::from_millis(40);
/// Interval before a client repeats a delivery.
const RETRY_INTERVAL: Duration = Duration::from_millis(250);
/// Interval between two deliveries of Event Grid.
const EVENT_GRID_INTERVAL: Duration = Duration::from_millis(300);

/// One request and its answer.
#[derive(Clone, Debug)]
pub struct Attempt {
    pub endpoint: &'static str,
    pub node: usize,
    pub at: Instant,
    pub took: Duration,
    /// `None` if no answer came.
    pub status: Option<u16>,
    /// The error, if no answer came.
    pub reason: String,
}

/// All requests of a run.
#[derive(Debug, Default)]
pub struct RequestLog {
    pub asked: Vec<Attempt>,
    /// How often the delivery of each id was answered 2xx.
    pub acknowledged: BTreeMap<String, u64>,
    /// Posted ids that were never answered 2xx.
    pub refused: Vec<String>,
}

/// The posting clients.
pub struct Load {
    requests: Arc<Mutex<RequestLog>>,
    event_grid: EventGridSender,
    over: Arc<AtomicBool>,
    clients: JoinSet<()>,
}

/// What a posting client needs.
#[derive(Clone)]
struct LoadClient {
    http: reqwest::Client,
    nodes: Vec<String>,
    /// Tokens of many participants, because reports of one participant are limited.
    tokens: Arc<[String]>,
    requests: Arc<Mutex<RequestLog>>,
    over: Arc<AtomicBool>,
}

/// A delivery to be posted.
struct Delivery {
    endpoint: &'static str,
    path: &'static str,
    ids: Vec<String>,
    body: String,
}

impl Load {
    /// Starts posting to the nodes at these addresses.
    pub fn start(nodes: Vec<String>, tokens: Vec<String>, seed: u64) -> Self {
        let http = reqwest::Client::builder()
            .timeout(RESPONSE_TIMEOUT)
            .redirect(reqwest::redirect::Policy::none())
            .build()
            .unwrap();
        let client = LoadClient {
            http,
            nodes,
            tokens: tokens.into(),
            requests: Arc::default(),
            over: Arc::default(),
        };
        let event_grid = EventGridSender::new(TimeScale::new(TIME_SCALE), seed);
        let mut clients = JoinSet::new();
        for number in 0..4 {
            let rng = SeededRng::new(seed, "client", number);
            clients.spawn(client.clone().posts(rng));
        }
        let rng = SeededRng::new(seed, "client", 99);
        clients.spawn(client.clone().delivers(event_grid.clone(), rng));
        Self { requests: client.requests, over: client.over, event_grid, clients }
    }

    /// Stops posting, and waits until deliveries in flight have ended.
    pub async fn end(mut self) -> (RequestLog, EventGridCounts) {
        self.over.store(true, Ordering::SeqCst);
        while let Some(ended) = self.clients.join_next().await {
            ended.unwrap();
        }
        let requests = std::mem::take(&mut *self.requests.lock().unwrap());
        (requests, self.event_grid.counts())
    }
}

impl LoadClient {
    fn is_over(&self) -> bool {
        self.over.load(Ordering::SeqCst)
    }

    /// Posts one delivery after the other, each until it is accepted.
    async fn posts(self, mut rng: SeededRng) {
        while !self.is_over() {
            let delivery = draw(&mut rng);
            while !self.posts_once(&delivery, &mut rng).await {
                tokio::time::sleep(RETRY_INTERVAL).await;
            }
            tokio::time::sleep(DELIVERY_INTERVAL).await;
        }
    }

    async fn posts_once(&self, delivery: &Delivery, rng: &mut SeededRng) -> bool {
        let last = i64::try_from(self.nodes.len()).unwrap() - 1;
        let node = usize::try_from(rng.between(0, last)).unwrap();
        let status = self.posts_to(delivery, node, 0).await;
        status.is_some_and(|status| (200..300).contains(&status))
    }

    /// Delivers as Event Grid does, many at a time, without waiting for one to be accepted.
    async fn delivers(self, event_grid: EventGridSender, mut rng: SeededRng) {
        let mut in_flight = JoinSet::new();
        while !self.is_over() {
            let delivery = event_grid_batch("event grid", rng.between(1, 20));
            let first = usize::try_from(rng.between(0, 9)).unwrap();
            let (client, event_grid) = (self.clone(), event_grid.clone());
            in_flight.spawn(async move {
                let events = delivery.ids.len() as u64;
                let fate = event_grid.deliver(events, |before| {
                    // Like a load balancer, so that the next attempt reaches another node.
                    let node = (first + before as usize) % client.nodes.len();
                    let (client, delivery) = (&client, &delivery);
                    client.posts_to(delivery, node, before)
                });
                if fate.await != EventGridOutcome::Delivered {
                    client.requests.lock().unwrap().refused.extend(delivery.ids);
                }
            });
            tokio::time::sleep(EVENT_GRID_INTERVAL).await;
        }
        in_flight.join_all().await;
    }

    /// Posts once, and records the answer.
    async fn posts_to(&self, delivery: &Delivery, node: usize, before: u32) -> Option<u16> {
        let request = self
            .http
            .post(format!("{}{}", self.nodes[node], delivery.path))
            .header(CONTENT_TYPE, "application/json")
            .header("aeg-delivery-count", before)
            .body(delivery.body.clone());
        let request = if matches!(delivery.endpoint, "reports" | "acknowledgements") {
            let whose = delivery.ids.iter().flat_map(|id| id.bytes()).map(usize::from);
            request.bearer_auth(&self.tokens[whose.sum::<usize>() % self.tokens.len()])
        } else {
            request.header("x-onrecord-key", SOURCE_KEY)
        };
        let at = Instant::now();
        let answered = request.send().await;
        let took = at.elapsed();
        let mut requests = self.requests.lock().unwrap();
        let (status, reason) = match answered {
            Ok(answer) => (Some(answer.status().as_u16()), String::new()),
            Err(error) => (None, format!("{error:?}")),
        };
        if status.is_some_and(|status| (200..300).contains(&status)) {
            for id in &delivery.ids {
                *requests.acknowledged.entry(id.clone()).or_default() += 1;
            }
        }
        requests.asked.push(Attempt {
            endpoint: delivery.endpoint,
            node,
            at,
            took,
            status,
            reason,
        });
        status
    }
}

fn draw(rng: &mut SeededRng) -> Delivery {
    match rng.between(0, 6) {
        0 => call_automation(),
        1 => client_report(),
        2 => acknowledgement(),
        _ => event_grid_batch("endpoint", rng.between(1, 5)),
    }
}

/// Some events of one call, in Event Grid's schema.
fn event_grid_batch(endpoint: &'static str, events: i64) -> Delivery {
    let call = Call::new();
    let mut batch: Vec<Value> = Vec::new();
    for number in 0..events {
        let event = match number {
            0 => call.started(),
            _ => call.joined(ALICE, &Uuid::new_v4().to_string()),
        };
        batch.extend(event.as_array().cloned().unwrap());
    }
    let batch = Value::Array(batch);
    Delivery {
        endpoint,
        path: "/ingest/event-grid/eg",
        ids: ids_of(&batch),
        body: batch.to_string(),
    }
}

fn call_automation() -> Delivery {
    let events = Call::new().recording("active", chrono::Utc::now());
    Delivery {
        endpoint: "callbacks",
        path: "/ingest/call-automation/ca",
        ids: ids_of(&events),
        body: events.to_string(),
    }
}

fn client_report() -> Delivery {
    let more = json!({ "server_call_id": Call::new().server_call_id, "recording": "on" });
    let report = report(&Uuid::new_v4(), 1, &more);
    Delivery {
        endpoint: "reports",
        path: "/v1/reports",
        ids: vec![report["report_id"].as_str().unwrap().to_owned()],
        body: report.to_string(),
    }
}

/// An acknowledgement of a client that shows the notice, and whose report may come later.
fn acknowledgement() -> Delivery {
    let item = displayed(&Uuid::new_v4(), &json!({}));
    Delivery {
        endpoint: "acknowledgements",
        path: "/v1/acknowledgements",
        ids: vec![item["id"].as_str().unwrap().to_owned()],
        body: json!([item]).to_string(),
    }
}
