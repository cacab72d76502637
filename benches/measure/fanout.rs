//! Many listeners of one call and of many calls, beside a bare broadcast server.
//!
//! # Why
//!
//! Both sides get the same messages from a topic of the same Kafka, so that what differs is only
//! how each tells them: the bare one hands a text of the same size to every stream of the key.

use std::collections::HashMap;
use std::time::{Duration, Instant};

use onrecord::clock;
use onrecord::domain::ids::Tenant;
use onrecord::notify::Subscriber;
use onrecord::telemetry::names;
use rdkafka::ClientConfig;
use rdkafka::producer::{BaseRecord, DefaultProducerContext, ThreadedProducer};

use super::arguments::Arguments;
use super::calls::{Calls, RECORDING_OFF, RECORDING_ON};
use super::counterpart::BROADCAST;
use super::ears::{Ear, Ears, Heard, may_stall};
use super::figures::{Latencies, Sheet, Target};
use super::ground::{Ground, Plot, TENANT, tokens};
use super::process::Process;
use super::tape::Tape;

const PARTS: [&str; 3] = ["one", "many", "by-key"];
/// What was not heard by then was lost.
const LATE: Duration = Duration::from_secs(5);
/// Streams at rest have done by then what they do at their start.
const SETTLED: Duration = Duration::from_secs(5);
/// How long the slow ones stall.
const STALL: Duration = Duration::from_secs(60);

/// Who listens to what, and how often something happens.
#[derive(Clone, Copy)]
struct Plan {
    calls: u64,
    clients_of_each: u64,
    /// Notices a second, of all calls together.
    rate: f64,
    lasting: Duration,
    /// Whoever listens has an API key: nothing is written down of what is told to them.
    by_key: bool,
}

/// What came of it.
struct Told {
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
    /// p99 of those who read, while others stall, by that before.
    stalled: Option<f64>,
    /// Facts about what was told: written, and given up. Of ours only.
    facts: [f64; 2],
}

pub async fn measure(ground: &Ground, arguments: &Arguments) -> anyhow::Result<Sheet> {
    let wanted = arguments.wanted(&PARTS)?;
    let mut sheet = Sheet::default();
    let lasting = Duration::from_secs(arguments.seconds.unwrap_or(30));
    let clients = arguments.clients.unwrap_or(10_000) as u64;
    let tape = Tape::record(ground).await?;
    if wanted.contains(&"one") {
        let plan = Plan {
            calls: 1,
            clients_of_each: clients,
            rate: 10.0,
            lasting,
            by_key: false,
        };
        let (ours, bare) = both(ground, &tape, plan).await?;
        let name = format!("{clients} clients of one call");
        lost(&mut sheet, &name, &ours, &bare);
        proof(&mut sheet, &name, &ours);
        sheet.compare(
            format!("{name}: last client's p50"),
            "ms",
            ours.last.percentile(0.5),
            bare.last.percentile(0.5),
            None,
        );
        sheet.compare(
            format!("{name}: last client's p99"),
            "ms",
            ours.last.percentile(0.99),
            bare.last.percentile(0.99),
            Some(Target::AtMost(1.3)),
        );
        costs(&mut sheet, &name, &ours, &bare, 1.2);
        sheet.judge(
            "idle client: rss",
            "KiB",
            ours.idle_kib,
            Target::AtMost(16.0),
        );
        sheet.note("idle client of the bare server: rss", "KiB", bare.idle_kib);
        sheet.judge(
            "memory after a broadcast / idle",
            "",
            ours.growth,
            Target::AtMost(1.1),
        );
        if let Some(stalled) = ours.stalled {
            let name = "1 % stall for a minute: the others' p99 / before";
            sheet.judge(name, "", stalled, Target::AtMost(1.15));
        }
        if let Some(stalled) = bare.stalled {
            sheet.note("… of the bare server", "", stalled);
        }
    }
    if wanted.contains(&"many") {
        let calls = (clients / 10).max(1);
        let plan = Plan {
            calls,
            clients_of_each: 10,
            rate: calls as f64,
            lasting,
            by_key: false,
        };
        let (ours, bare) = both(ground, &tape, plan).await?;
        let name = format!("{calls} calls × 10 clients");
        lost(&mut sheet, &name, &ours, &bare);
        proof(&mut sheet, &name, &ours);
        sheet.compare(
            format!("{name}: p50"),
            "ms",
            ours.all.percentile(0.5),
            bare.all.percentile(0.5),
            None,
        );
        sheet.compare(
            format!("{name}: p99"),
            "ms",
            ours.all.percentile(0.99),
            bare.all.percentile(0.99),
            Some(Target::AtMost(1.5)),
        );
        costs(&mut sheet, &name, &ours, &bare, 1.25);
    }
    if wanted.contains(&"by-key") {
        let plan = Plan {
            calls: 1,
            clients_of_each: clients,
            rate: 10.0,
            lasting,
            by_key: true,
        };
        let (ours, bare) = both(ground, &tape, plan).await?;
        let name = format!("{clients} clients of one call, with an API key");
        lost(&mut sheet, &name, &ours, &bare);
        sheet.compare(
            format!("{name}: last client's p99"),
            "ms",
            ours.last.percentile(0.99),
            bare.last.percentile(0.99),
            None,
        );
        costs(&mut sheet, &name, &ours, &bare, 1.2);
        sheet.note("… idle client: rss", "KiB", ours.idle_kib);
    }
    Ok(sheet)
}

fn lost(sheet: &mut Sheet, name: &str, ours: &Told, bare: &Told) {
    let name = format!("{name}: lost");
    sheet.judge(name.clone(), "", ours.lost as f64, Target::AtMost(0.0));
    sheet.note(format!("{name} (bare)"), "", bare.lost as f64);
}

/// What was told is proved too.
fn proof(sheet: &mut Sheet, name: &str, ours: &Told) {
    let [written, given_up] = ours.facts;
    sheet.note(format!("{name}: facts of it"), "", written);
    let name = format!("{name}: facts given up");
    sheet.judge(name, "", given_up, Target::AtMost(0.0));
}

fn costs(sheet: &mut Sheet, name: &str, ours: &Told, bare: &Told, most: f64) {
    let cost = |told: &Told| told.cpu * 1e6 / told.deliveries as f64;
    sheet.compare(
        format!("{name}: CPU per million deliveries"),
        "s",
        cost(ours),
        cost(bare),
        Some(Target::AtMost(most)),
    );
}

async fn both(ground: &Ground, tape: &Tape, plan: Plan) -> anyhow::Result<(Told, Told)> {
    let plot = ground.plot().await?;
    let topic = plot.bare_topic().await?;
    let server = plot.counterpart(BROADCAST, &topic).await?;
    let publisher = Publisher::new(&plot, &topic, tape, plan)?;
    let bare = tell(server, &publisher, None, |call| {
        let key = String::from_utf8_lossy(&publisher.key(call)).into_owned();
        format!("/stream?key={}", escaped(&key))
    });
    let bare = bare.await?;
    let board = plot.serve("board", "").await?;
    board.is_ready().await?;
    let publisher = Publisher::new(&plot, &plot.topic("calling-events.v1"), tape, plan)?;
    let key = if plan.by_key {
        Some(plot.api_key().await?)
    } else {
        None
    };
    let ours = tell(board, &publisher, key.as_deref(), |call| {
        let mark = publisher.calls.mark(call, clock::now());
        let server_call_id = escaped(&mark.server_call_id());
        format!("/v1/notices/stream?server_call_id={server_call_id}")
    });
    let ours = ours.await?;
    ground.clear(plot).await?;
    Ok((ours, bare))
}

/// A token of a participant of its own.
pub fn token(number: u64) -> anyhow::Result<String> {
    let tenant = Tenant::parse(TENANT)?;
    let raw_id = format!("8:acs:11111111-1111-4111-8111-111111111111_{number:08x}-listener");
    let until = clock::now().timestamp() + 11 * 3600;
    Ok(tokens().mint(&Subscriber::new(tenant, raw_id, None, until))?)
}

fn escaped(text: &str) -> String {
    let escape = |byte: u8| match byte {
        b'a'..=b'z' | b'A'..=b'Z' | b'0'..=b'9' => char::from(byte).to_string(),
        other => format!("%{other:02X}"),
    };
    text.bytes().map(escape).collect()
}

async fn tell(
    server: Process,
    publisher: &Publisher<'_>,
    key: Option<&str>,
    path: impl Fn(u64) -> String,
) -> anyhow::Result<Told> {
    let plan = publisher.plan;
    // The calls are known, and recorded, when their listeners come.
    publisher.publish_all(0).await?;
    tokio::time::sleep(SETTLED).await;
    let mut ears = Vec::new();
    for call in 0..plan.calls {
        for client in 0..plan.clients_of_each {
            ears.push(Ear {
                path: path(call),
                bearer: match key {
                    Some(key) => key.to_owned(),
                    None => token(call * plan.clients_of_each + client)?,
                },
            });
        }
    }
    let clients = ears.len() as f64;
    let before = server.rss()?;
    let ears = Ears::open(server.address(), ears).await?;
    tokio::time::sleep(SETTLED).await;
    let idle = server.rss()?;
    let mut course = Course::new(plan);
    let cpu = server.cpu()?;
    let (all, last) = course.run(publisher, &ears, plan.lasting).await?;
    let cpu = server.cpu()? - cpu;
    let (lost, deliveries) = (course.lost(|_| true), all.len() as u64);
    tokio::time::sleep(SETTLED).await;
    let growth = server.rss()? / idle;
    let stalled = if plan.calls == 1 && plan.lasting >= Duration::from_secs(10) {
        ears.stall(true);
        let (while_stalled, _) = course.run(publisher, &ears, STALL).await?;
        ears.stall(false);
        Some(while_stalled.percentile(0.99) / all.percentile(0.99))
    } else {
        None
    };
    ears.close()?;
    // The bare one has no metrics, and no facts.
    let facts = [
        server.metric(names::NOTICE_FACTS)?,
        server.metric(names::NOTICE_FACTS_LOST)?,
    ];
    server.stop().await;
    Ok(Told {
        all,
        last,
        lost,
        deliveries,
        cpu,
        idle_kib: (idle - before) * 1e6 / 1024.0 / clients,
        growth,
        stalled,
        facts,
    })
}

/// Which notices were heard by whom, over several runs.
struct Course {
    plan: Plan,
    /// Rounds that were published, each of one notice for every call.
    rounds: u64,
    heard: HashMap<u32, u64>,
}

impl Course {
    fn new(plan: Plan) -> Self {
        Self {
            plan,
            rounds: 0,
            heard: HashMap::new(),
        }
    }

    /// Publishes at the plan's rate; latencies of all deliveries, and of each notice's last one.
    async fn run(
        &mut self,
        publisher: &Publisher<'_>,
        ears: &Ears,
        lasting: Duration,
    ) -> anyhow::Result<(Latencies, Latencies)> {
        let plan = self.plan;
        ears.heard();
        let rounds = (plan.rate * lasting.as_secs_f64() / plan.calls as f64) as u64;
        let first = self.rounds;
        let began = publisher.publish(first, rounds).await?;
        tokio::time::sleep(LATE).await;
        let mut all = Latencies::with_capacity(1 << 20);
        let mut last: HashMap<u64, Duration> = HashMap::new();
        for Heard { stream, event, at } in ears.heard() {
            *self.heard.entry(stream).or_default() += 1;
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

    /// Deliveries that did not come, or came too often.
    fn lost(&self, concerns: impl Fn(u32) -> bool) -> u64 {
        let streams = 0..(self.plan.calls * self.plan.clients_of_each) as u32;
        let differs = |stream| {
            let heard = self.heard.get(&stream).copied().unwrap_or(0);
            heard.abs_diff(self.rounds)
        };
        streams.filter(|it| concerns(*it)).map(differs).sum()
    }
}

/// Publishes that recordings begin and end.
struct Publisher<'a> {
    producer: ThreadedProducer<DefaultProducerContext>,
    topic: String,
    tape: &'a Tape,
    calls: Calls,
    plan: Plan,
}

impl<'a> Publisher<'a> {
    fn new(plot: &Plot, topic: &str, tape: &'a Tape, plan: Plan) -> anyhow::Result<Self> {
        Ok(Self {
            producer: ClientConfig::new()
                .set("bootstrap.servers", &plot.brokers)
                .set("enable.idempotence", "true")
                .set("linger.ms", "0")
                .create()?,
            topic: topic.to_owned(),
            tape,
            calls: Calls::new(plan.calls),
            plan,
        })
    }

    fn key(&self, call: u64) -> Vec<u8> {
        let mark = self.calls.mark(call, clock::now());
        self.tape.copy(RECORDING_ON, &mark).key
    }

    fn send(&self, call: u64, event: u64, is_on: bool) -> anyhow::Result<()> {
        let mut mark = self.calls.mark(call, clock::now());
        mark.event = event;
        let step = if is_on { RECORDING_ON } else { RECORDING_OFF };
        let copied = self.tape.copy(step, &mark);
        let record = BaseRecord::to(&self.topic)
            .key(&copied.key)
            .payload(&copied.value)
            .timestamp(copied.timestamp)
            .headers(copied.headers());
        Ok(self.producer.send(record).map_err(|(error, _)| error)?)
    }

    /// Every recording begins.
    async fn publish_all(&self, event: u64) -> anyhow::Result<()> {
        for call in 0..self.plan.calls {
            self.send(call, event, true)?;
        }
        Ok(())
    }

    /// Rounds from `first` on, each notice at its time; gives when the first one was due.
    async fn publish(&self, first: u64, rounds: u64) -> anyhow::Result<Instant> {
        tokio::task::block_in_place(|| {
            let began = Instant::now() + Duration::from_millis(200);
            for round in 0..rounds {
                for call in 0..self.plan.calls {
                    let number = round * self.plan.calls + call;
                    let due = began + Duration::from_secs_f64(number as f64 / self.plan.rate);
                    std::thread::sleep(due.saturating_duration_since(Instant::now()));
                    let round = first + round;
                    // They are on when the first of these comes.
                    self.send(call, 1 + round, round % 2 == 1)?;
                }
            }
            Ok(began)
        })
    }
}
