//! Many subscribers of one call and of many calls, beside a bare broadcast server.
//!
//! # Why
//!
//! Both sides read the same messages from a topic of the same Kafka, so that only the fan-out
//! differs: the bare server sends a text of the same size to every stream of the key.

use std::collections::HashMap;
use std::time::{Duration, Instant};

use onrecord::clock;
use onrecord::http::subscriber_token::SubscriberClaims;
use onrecord::telemetry::names;
use onrecord_evidence::event::ids::Tenant;
use rdkafka::ClientConfig;
use rdkafka::producer::{BaseRecord, DefaultProducerContext, ThreadedProducer};

use crate::measure::arguments::Arguments;
use crate::measure::baseline::BROADCAST;
use crate::measure::calls::{Calls, RECORDING_OFF, RECORDING_ON};
use crate::measure::environment::{Environment, Namespace, TENANT, tokens};
use crate::measure::process::Process;
use crate::measure::recorded_messages::RecordedMessages;
use crate::measure::report::{Figures, Latencies, Target};
use crate::measure::sse_clients::{ReceivedEvent, SseClient, SseClients, may_stall};

const PARTS: [&str; 4] = ["one", "many", "by-key", "large"];
/// Legs of a large call.
const LEGS: usize = 13_000;
/// Timeout of a notice. A notice that is not received by then counts as lost.
const RECEIVE_TIMEOUT: Duration = Duration::from_secs(5);
/// Time after which idle streams have done the work of their start.
const SETTLE_TIME: Duration = Duration::from_secs(5);
/// How long the slow streams stall.
const STALL_TIME: Duration = Duration::from_secs(60);

/// The subscribers, and the rate of notices.
#[derive(Clone, Copy)]
pub struct Plan {
    pub calls: u64,
    pub clients_of_each: u64,
    /// Notices a second, of all calls together.
    pub rate: f64,
    pub lasting: Duration,
    /// Subscribers have an API key, for which the service records no notice facts.
    pub by_key: bool,
}

/// The measurements of one server.
struct FanoutResult {
    /// Of every delivery, and of the last client of each notice.
    all: Latencies,
    last: Latencies,
    lost: u64,
    deliveries: u64,
    cpu: f64,
    /// KiB of a stream at rest.
    idle_kib: f64,
    /// Memory after the broadcast by that before it.
    growth: f64,
    /// p99 of the reading streams while others stall, divided by the p99 before.
    stalled: Option<f64>,
    /// Notice facts: written, and given up. Zero for the bare server.
    facts: [f64; 2],
}

pub async fn measure(environment: &Environment, arguments: &Arguments) -> anyhow::Result<Figures> {
    let wanted = arguments.wanted(&PARTS)?;
    let mut figures = Figures::default();
    let lasting = Duration::from_secs(arguments.seconds.unwrap_or(30));
    let clients = arguments.clients.unwrap_or(10_000) as u64;
    let recorded = RecordedMessages::record(environment).await?;
    if wanted.contains(&"one") {
        let plan = Plan { calls: 1, clients_of_each: clients, rate: 10.0, lasting, by_key: false };
        let (ours, bare) = both(environment, &recorded, plan).await?;
        let name = format!("{clients} clients of one call");
        lost(&mut figures, &name, &ours, &bare);
        fact_figures(&mut figures, &name, &ours);
        figures.compare(
            format!("{name}: last client's p50"),
            "ms",
            ours.last.percentile(0.5),
            bare.last.percentile(0.5),
            None,
        );
        figures.compare(
            format!("{name}: last client's p99"),
            "ms",
            ours.last.percentile(0.99),
            bare.last.percentile(0.99),
            Some(Target::AtMost(1.3)),
        );
        costs(&mut figures, &name, &ours, &bare, 1.2);
        figures.check("idle client: rss", "KiB", ours.idle_kib, Target::AtMost(16.0));
        figures.note("idle client of the bare server: rss", "KiB", bare.idle_kib);
        figures.check("memory after a broadcast / idle", "", ours.growth, Target::AtMost(1.1));
        if let Some(stalled) = ours.stalled {
            let name = "1 % stall for a minute: the others' p99 / before";
            figures.check(name, "", stalled, Target::AtMost(1.15));
        }
        if let Some(stalled) = bare.stalled {
            figures.note("… of the bare server", "", stalled);
        }
    }
    if wanted.contains(&"many") {
        let calls = (clients / 10).max(1);
        let plan = Plan { calls, clients_of_each: 10, rate: calls as f64, lasting, by_key: false };
        let (ours, bare) = both(environment, &recorded, plan).await?;
        let name = format!("{calls} calls × 10 clients");
        lost(&mut figures, &name, &ours, &bare);
        fact_figures(&mut figures, &name, &ours);
        figures.compare(
            format!("{name}: p50"),
            "ms",
            ours.all.percentile(0.5),
            bare.all.percentile(0.5),
            None,
        );
        figures.compare(
            format!("{name}: p99"),
            "ms",
            ours.all.percentile(0.99),
            bare.all.percentile(0.99),
            Some(Target::AtMost(1.5)),
        );
        costs(&mut figures, &name, &ours, &bare, 1.25);
    }
    if wanted.contains(&"by-key") {
        let plan = Plan { calls: 1, clients_of_each: clients, rate: 10.0, lasting, by_key: true };
        let (ours, bare) = both(environment, &recorded, plan).await?;
        let name = format!("{clients} clients of one call, with an API key");
        lost(&mut figures, &name, &ours, &bare);
        figures.compare(
            format!("{name}: last client's p99"),
            "ms",
            ours.last.percentile(0.99),
            bare.last.percentile(0.99),
            None,
        );
        costs(&mut figures, &name, &ours, &bare, 1.2);
        figures.note("… idle client: rss", "KiB", ours.idle_kib);
    }
    if wanted.contains(&"large") {
        let legs = arguments.clients.unwrap_or(LEGS) as u64;
        super::large_call::measure(environment, &recorded, legs, lasting, &mut figures).await?;
    }
    Ok(figures)
}

fn lost(figures: &mut Figures, name: &str, ours: &FanoutResult, bare: &FanoutResult) {
    let name = format!("{name}: lost");
    figures.check(name.clone(), "", ours.lost as f64, Target::AtMost(0.0));
    figures.note(format!("{name} (bare)"), "", bare.lost as f64);
}

/// The service records a fact for each notice.
fn fact_figures(figures: &mut Figures, name: &str, ours: &FanoutResult) {
    let [written, given_up] = ours.facts;
    figures.note(format!("{name}: facts of it"), "", written);
    let name = format!("{name}: facts given up");
    figures.check(name, "", given_up, Target::AtMost(0.0));
}

fn costs(figures: &mut Figures, name: &str, ours: &FanoutResult, bare: &FanoutResult, most: f64) {
    let cost = |result: &FanoutResult| result.cpu * 1e6 / result.deliveries as f64;
    figures.compare(
        format!("{name}: CPU per million deliveries"),
        "s",
        cost(ours),
        cost(bare),
        Some(Target::AtMost(most)),
    );
}

async fn both(
    environment: &Environment,
    recorded: &RecordedMessages,
    plan: Plan,
) -> anyhow::Result<(FanoutResult, FanoutResult)> {
    let namespace = environment.namespace().await?;
    let topic = namespace.bare_topic().await?;
    let server = namespace.baseline(BROADCAST, &topic).await?;
    let publisher = Publisher::new(&namespace, &topic, recorded, plan)?;
    let bare = measure_server(server, &publisher, None, |call| {
        let key = String::from_utf8_lossy(&publisher.key(call)).into_owned();
        format!("/stream?key={}", escaped(&key))
    });
    let bare = bare.await?;
    let live = namespace.serve("live", "").await?;
    live.is_ready().await?;
    let publisher =
        Publisher::new(&namespace, &namespace.topic("calling-events.v1"), recorded, plan)?;
    let key = if plan.by_key { Some(namespace.api_key().await?) } else { None };
    let ours = measure_server(live, &publisher, key.as_deref(), |call| {
        let mark = publisher.calls.mark(call, clock::now());
        let server_call_id = escaped(&mark.server_call_id());
        format!("/v1/notices/stream?server_call_id={server_call_id}")
    });
    let ours = ours.await?;
    environment.clear(namespace).await?;
    Ok((ours, bare))
}

/// A token of a participant of its own.
pub fn token(number: u64) -> anyhow::Result<String> {
    token_of(TENANT, number)
}

/// A token of a participant of its own, of this tenant.
pub fn token_of(tenant: &str, number: u64) -> anyhow::Result<String> {
    let tenant = Tenant::parse(tenant)?;
    let raw_id = format!("8:acs:11111111-1111-4111-8111-111111111111_{number:08x}-subscriber");
    let until = clock::now().timestamp() + 11 * 3600;
    Ok(tokens().mint(&SubscriberClaims::new(tenant, raw_id, None, until))?)
}

fn escaped(text: &str) -> String {
    let escape = |byte: u8| match byte {
        b'a'..=b'z' | b'A'..=b'Z' | b'0'..=b'9' => char::from(byte).to_string(),
        other => format!("%{other:02X}"),
    };
    text.bytes().map(escape).collect()
}

async fn measure_server(
    server: Process,
    publisher: &Publisher<'_>,
    key: Option<&str>,
    path: impl Fn(u64) -> String,
) -> anyhow::Result<FanoutResult> {
    let plan = publisher.plan;
    // The calls are known, and recorded, before their subscribers connect.
    publisher.publish_all(0).await?;
    tokio::time::sleep(SETTLE_TIME).await;
    let mut clients = Vec::new();
    for call in 0..plan.calls {
        for client in 0..plan.clients_of_each {
            clients.push(SseClient {
                path: path(call),
                bearer: match key {
                    Some(key) => key.to_owned(),
                    None => token(call * plan.clients_of_each + client)?,
                },
            });
        }
    }
    let number_of_clients = clients.len() as f64;
    let before = server.rss()?;
    let clients = SseClients::open(server.address(), clients).await?;
    tokio::time::sleep(SETTLE_TIME).await;
    let idle = server.rss()?;
    let mut deliveries_so_far = Deliveries::new(plan);
    let cpu = server.cpu()?;
    let (all, last) = deliveries_so_far.run(publisher, &clients, plan.lasting).await?;
    let cpu = server.cpu()? - cpu;
    let (lost, deliveries) = (deliveries_so_far.lost(|_| true), all.len() as u64);
    tokio::time::sleep(SETTLE_TIME).await;
    let growth = server.rss()? / idle;
    let stalled = if plan.calls == 1 && plan.lasting >= Duration::from_secs(10) {
        clients.stall(true);
        let (while_stalled, _) = deliveries_so_far.run(publisher, &clients, STALL_TIME).await?;
        clients.stall(false);
        Some(while_stalled.percentile(0.99) / all.percentile(0.99))
    } else {
        None
    };
    clients.close()?;
    // The bare server has no metrics and no facts.
    let facts = [server.metric(names::NOTICE_FACTS)?, server.metric(names::NOTICE_FACTS_LOST)?];
    server.stop().await;
    Ok(FanoutResult {
        all,
        last,
        lost,
        deliveries,
        cpu,
        idle_kib: (idle - before) * 1e6 / 1024.0 / number_of_clients,
        growth,
        stalled,
        facts,
    })
}

/// The notices received on each stream, over several runs.
struct Deliveries {
    plan: Plan,
    /// Rounds that were published, each of one notice for every call.
    rounds: u64,
    received: HashMap<u32, u64>,
}

impl Deliveries {
    fn new(plan: Plan) -> Self {
        Self { plan, rounds: 0, received: HashMap::new() }
    }

    /// Publishes at the plan's rate; latencies of all deliveries, and of each notice's last one.
    async fn run(
        &mut self,
        publisher: &Publisher<'_>,
        clients: &SseClients,
        lasting: Duration,
    ) -> anyhow::Result<(Latencies, Latencies)> {
        let plan = self.plan;
        clients.received();
        let rounds = (plan.rate * lasting.as_secs_f64() / plan.calls as f64) as u64;
        let first = self.rounds;
        let began = publisher.publish(first, rounds).await?;
        tokio::time::sleep(RECEIVE_TIMEOUT).await;
        let mut all = Latencies::with_capacity(1 << 20);
        let mut last: HashMap<u64, Duration> = HashMap::new();
        for ReceivedEvent { stream, event, at } in clients.received() {
            *self.received.entry(stream).or_default() += 1;
            let call = u64::from(stream) / plan.clients_of_each;
            // The first event on a stream is its snapshot.
            let round = u64::from(event).wrapping_sub(1).wrapping_sub(first);
            if round >= rounds {
                continue;
            }
            let number = round * plan.calls + call;
            let due = began + Duration::from_secs_f64(number as f64 / plan.rate);
            let latency = at.saturating_duration_since(due);
            if !may_stall(stream) || plan.calls > 1 {
                all.add(latency);
                let slowest = last.entry(number).or_default();
                *slowest = latency.max(*slowest);
            }
        }
        self.rounds += rounds;
        let mut of_last = Latencies::default();
        last.into_values().for_each(|latency| of_last.add(latency));
        Ok((all, of_last))
    }

    /// Deliveries that are missing, or came more than once.
    fn lost(&self, concerns: impl Fn(u32) -> bool) -> u64 {
        let streams = 0..(self.plan.calls * self.plan.clients_of_each) as u32;
        let differs = |stream| {
            let received = self.received.get(&stream).copied().unwrap_or(0);
            received.abs_diff(self.rounds)
        };
        streams.filter(|it| concerns(*it)).map(differs).sum()
    }
}

/// Publishes starts and ends of recordings.
pub struct Publisher<'a> {
    producer: ThreadedProducer<DefaultProducerContext>,
    topic: String,
    recorded: &'a RecordedMessages,
    pub calls: Calls,
    plan: Plan,
}

impl<'a> Publisher<'a> {
    pub fn new(
        namespace: &Namespace,
        topic: &str,
        recorded: &'a RecordedMessages,
        plan: Plan,
    ) -> anyhow::Result<Self> {
        Ok(Self {
            producer: ClientConfig::new()
                .set("bootstrap.servers", &namespace.brokers)
                .set("enable.idempotence", "true")
                .set("linger.ms", "0")
                .create()?,
            topic: topic.to_owned(),
            recorded,
            calls: Calls::new(plan.calls),
            plan,
        })
    }

    fn key(&self, call: u64) -> Vec<u8> {
        let mark = self.calls.mark(call, clock::now());
        self.recorded.copy(RECORDING_ON, &mark).key
    }

    fn send(&self, call: u64, event: u64, is_on: bool) -> anyhow::Result<()> {
        let mut mark = self.calls.mark(call, clock::now());
        mark.event = event;
        let step = if is_on { RECORDING_ON } else { RECORDING_OFF };
        let copied = self.recorded.copy(step, &mark);
        let record = BaseRecord::to(&self.topic)
            .key(&copied.key)
            .payload(&copied.value)
            .timestamp(copied.timestamp)
            .headers(copied.headers());
        Ok(self.producer.send(record).map_err(|(error, _)| error)?)
    }

    /// Every recording begins.
    pub async fn publish_all(&self, event: u64) -> anyhow::Result<()> {
        for call in 0..self.plan.calls {
            self.send(call, event, true)?;
        }
        Ok(())
    }

    /// Publishes rounds from `first` on, each notice at its due time. Returns when the first was due.
    pub async fn publish(&self, first: u64, rounds: u64) -> anyhow::Result<Instant> {
        tokio::task::block_in_place(|| {
            let began = Instant::now() + Duration::from_millis(200);
            for round in 0..rounds {
                for call in 0..self.plan.calls {
                    let number = round * self.plan.calls + call;
                    let due = began + Duration::from_secs_f64(number as f64 / self.plan.rate);
                    std::thread::sleep(due.saturating_duration_since(Instant::now()));
                    let round = first + round;
                    // All are on before the first round.
                    self.send(call, 1 + round, round % 2 == 1)?;
                }
            }
            Ok(began)
        })
    }
}
