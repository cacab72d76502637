//! Those who post while things fail, and remember every answer.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use onrecord::simulator::{Answer, Chance, EventGridSender, Fate, Fates, PATIENCE, TimeScale};
use reqwest::header::CONTENT_TYPE;
use serde_json::Value;
use serde_json::json;
use tokio::task::JoinSet;
use uuid::Uuid;

use super::bench::ids_of;
use crate::acknowledgements::displayed;
use crate::azure::{ALICE, Call, report};
use crate::house::SOURCE_KEY;

/// Azure's day passes in a minute.
const SCALE: f64 = 1440.0;
/// Between a client's deliveries, and before it tries one again.
const PAUSE: Duration = Duration::from_millis(40);
const AGAIN: Duration = Duration::from_millis(250);
/// Between two deliveries of Event Grid.
const EVENT_GRID_PAUSE: Duration = Duration::from_millis(300);

/// One request and its answer.
#[derive(Clone, Debug)]
pub struct Asked {
    pub door: &'static str,
    pub node: usize,
    pub at: Instant,
    pub took: Duration,
    /// `None`: no answer came.
    pub status: Option<u16>,
    /// Why not.
    pub why: String,
}

/// Everything that was posted.
#[derive(Debug, Default)]
pub struct Remembered {
    pub asked: Vec<Asked>,
    /// How often the delivery of each id was answered 2xx.
    pub acknowledged: BTreeMap<String, u64>,
    /// Ids that were posted, and never so answered.
    pub refused: Vec<String>,
}

/// The posting clients.
pub struct Load {
    remembered: Arc<Mutex<Remembered>>,
    event_grid: EventGridSender,
    over: Arc<AtomicBool>,
    clients: JoinSet<()>,
}

/// A client's own sight of the world.
#[derive(Clone)]
struct Client {
    http: reqwest::Client,
    nodes: Vec<String>,
    /// Of many people: one who reports many times a second is told to wait.
    tokens: Arc<[String]>,
    remembered: Arc<Mutex<Remembered>>,
    over: Arc<AtomicBool>,
}

/// A delivery that is to be posted.
struct Posting {
    door: &'static str,
    path: &'static str,
    ids: Vec<String>,
    body: String,
}

impl Load {
    /// Starts posting to these nodes (their addresses).
    pub fn start(nodes: Vec<String>, tokens: Vec<String>, seed: u64) -> Self {
        let http = reqwest::Client::builder()
            .timeout(PATIENCE)
            .redirect(reqwest::redirect::Policy::none())
            .build()
            .unwrap();
        let client = Client {
            http,
            nodes,
            tokens: tokens.into(),
            remembered: Arc::default(),
            over: Arc::default(),
        };
        let event_grid = EventGridSender::new(TimeScale::new(SCALE), seed);
        let mut clients = JoinSet::new();
        for number in 0..4 {
            let chance = Chance::new(seed, "client", number);
            clients.spawn(client.clone().posts(chance));
        }
        let chance = Chance::new(seed, "client", 99);
        clients.spawn(client.clone().delivers(event_grid.clone(), chance));
        Self {
            remembered: client.remembered,
            over: client.over,
            event_grid,
            clients,
        }
    }

    /// Ends the posting; what is on its way is delivered, and that is waited for.
    pub async fn end(mut self) -> (Remembered, Fates) {
        self.over.store(true, Ordering::SeqCst);
        while let Some(ended) = self.clients.join_next().await {
            ended.unwrap();
        }
        let remembered = std::mem::take(&mut *self.remembered.lock().unwrap());
        (remembered, self.event_grid.fates())
    }
}

impl Client {
    fn is_over(&self) -> bool {
        self.over.load(Ordering::SeqCst)
    }

    /// Posts one delivery after the other, each until it is taken.
    async fn posts(self, mut chance: Chance) {
        while !self.is_over() {
            let posting = draw(&mut chance);
            while !self.posts_once(&posting, &mut chance).await {
                tokio::time::sleep(AGAIN).await;
            }
            tokio::time::sleep(PAUSE).await;
        }
    }

    async fn posts_once(&self, posting: &Posting, chance: &mut Chance) -> bool {
        let last = i64::try_from(self.nodes.len()).unwrap() - 1;
        let node = usize::try_from(chance.between(0, last)).unwrap();
        let status = self.asks(posting, node, 0).await;
        status.is_some_and(|status| (200..300).contains(&status))
    }

    /// Delivers as Event Grid does, many at a time, without waiting for one to be taken.
    async fn delivers(self, event_grid: EventGridSender, mut chance: Chance) {
        let mut on_the_way = JoinSet::new();
        while !self.is_over() {
            let posting = event_grid_batch("event grid", chance.between(1, 20));
            let first = usize::try_from(chance.between(0, 9)).unwrap();
            let (client, event_grid) = (self.clone(), event_grid.clone());
            on_the_way.spawn(async move {
                let events = posting.ids.len() as u64;
                let fate = event_grid.deliver(events, |before| {
                    // As a load balancer would, and the next attempt meets another node.
                    let node = (first + before as usize) % client.nodes.len();
                    let (client, posting) = (&client, &posting);
                    async move {
                        let status = client.asks(posting, node, before).await;
                        status.map_or(Answer::Nothing, Answer::Status)
                    }
                });
                if fate.await != Fate::Delivered {
                    client
                        .remembered
                        .lock()
                        .unwrap()
                        .refused
                        .extend(posting.ids);
                }
            });
            tokio::time::sleep(EVENT_GRID_PAUSE).await;
        }
        on_the_way.join_all().await;
    }

    /// Posts once, and remembers what came of it.
    async fn asks(&self, posting: &Posting, node: usize, before: u32) -> Option<u16> {
        let request = self
            .http
            .post(format!("{}{}", self.nodes[node], posting.path))
            .header(CONTENT_TYPE, "application/json")
            .header("aeg-delivery-count", before)
            .body(posting.body.clone());
        let request = if matches!(posting.door, "reports" | "acknowledgements") {
            let whose = posting
                .ids
                .iter()
                .flat_map(|id| id.bytes())
                .map(usize::from);
            request.bearer_auth(&self.tokens[whose.sum::<usize>() % self.tokens.len()])
        } else {
            request.header("x-onrecord-key", SOURCE_KEY)
        };
        let at = Instant::now();
        let answered = request.send().await;
        let took = at.elapsed();
        let mut remembered = self.remembered.lock().unwrap();
        let (status, why) = match answered {
            Ok(answer) => (Some(answer.status().as_u16()), String::new()),
            Err(error) => (None, format!("{error:?}")),
        };
        if status.is_some_and(|status| (200..300).contains(&status)) {
            for id in &posting.ids {
                *remembered.acknowledged.entry(id.clone()).or_default() += 1;
            }
        }
        remembered.asked.push(Asked {
            door: posting.door,
            node,
            at,
            took,
            status,
            why,
        });
        status
    }
}

fn draw(chance: &mut Chance) -> Posting {
    match chance.between(0, 5) {
        0 => call_automation(),
        1 => client_report(),
        2 => acknowledgement(),
        _ => event_grid_batch("door", chance.between(1, 5)),
    }
}

/// Some events of one call, in Event Grid's schema.
fn event_grid_batch(door: &'static str, events: i64) -> Posting {
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
    Posting {
        door,
        path: "/ingest/event-grid/eg",
        ids: ids_of(&batch),
        body: batch.to_string(),
    }
}

fn call_automation() -> Posting {
    let events = Call::new().recording("active", chrono::Utc::now());
    Posting {
        door: "callbacks",
        path: "/ingest/call-automation/ca",
        ids: ids_of(&events),
        body: events.to_string(),
    }
}

fn client_report() -> Posting {
    let more = json!({ "server_call_id": Call::new().server_call_id, "recording": "on" });
    let report = report(&Uuid::new_v4(), 1, &more);
    Posting {
        door: "reports",
        path: "/v1/reports",
        ids: vec![report["report_id"].as_str().unwrap().to_owned()],
        body: report.to_string(),
    }
}

fn acknowledgement() -> Posting {
    let item = displayed(&Uuid::new_v4(), &json!({}));
    Posting {
        door: "acknowledgements",
        path: "/v1/acknowledgements",
        ids: vec![item["id"].as_str().unwrap().to_owned()],
        body: json!([item]).to_string(),
    }
}
