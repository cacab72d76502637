//! The ingest role beside a handler that only awaits the same acknowledgement, and the whole service
//! at a steady rate.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use anyhow::Context as _;
use onrecord::clock;
use rdkafka::producer::{FutureProducer, FutureRecord};

use crate::measure::arguments::Arguments;
use crate::measure::baseline::{DIRECT_PRODUCE, producer};
use crate::measure::calls::Calls;
use crate::measure::environment::{Environment, Namespace, SOURCE_KEY};
use crate::measure::load::{Outcome, at_rate, closed, post};
use crate::measure::process::{Process, cpu_of_server};
use crate::measure::report::{Figures, Target};

const PARTS: [&str; 5] = ["steady", "closed", "batch", "bare", "whole"];
/// Requests a second of the open loop.
const STEADY: f64 = 2000.0;
const CONNECTIONS: u64 = 64;
const BATCH: u64 = 20;
const WARM_UP: Duration = Duration::from_secs(3);
/// Time in which Kafka's virtual machine compiles its code under load.
const KAFKA_WARM_UP: Duration = Duration::from_secs(20);
/// Calls that go on at the same time.
const WIDTH: u64 = 1000;
/// Messages of a bare producer in flight.
const IN_FLIGHT: usize = 1000;

type Request = Arc<dyn Fn(u64) -> Vec<u8> + Send + Sync>;

/// A server under load, and its requests.
struct Side {
    process: Process,
    one: Request,
    batch: Request,
}

/// The outcome of a load, and its CPU time.
struct Cost {
    outcome: Outcome,
    /// CPU seconds of the process, and of Kafka.
    cpu: f64,
    kafka: f64,
}

impl Cost {
    fn per_million(&self, seconds: f64, events: u64) -> f64 {
        seconds * 1e6 / (self.outcome.latencies.len() as f64 * events as f64)
    }
}

pub async fn measure(environment: &Environment, arguments: &Arguments) -> anyhow::Result<Figures> {
    let wanted = arguments.wanted(&PARTS)?;
    let mut figures = Figures::default();
    let lasting = |default| Duration::from_secs(arguments.seconds.unwrap_or(default));
    if wanted.iter().any(|part| *part != "whole") {
        let namespace = environment.namespace().await?;
        ingest_role(&namespace, &wanted, lasting(20), lasting(10), &mut figures).await?;
        environment.clear(namespace).await?;
    }
    if wanted.contains(&"whole") {
        let namespace = environment.namespace().await?;
        whole(&namespace, lasting(300), &mut figures).await?;
        environment.clear(namespace).await?;
    }
    Ok(figures)
}

async fn ingest_role(
    namespace: &Namespace,
    wanted: &[&str],
    steady: Duration,
    closed_for: Duration,
    figures: &mut Figures,
) -> anyhow::Result<()> {
    let topic = namespace.bare_topic().await?;
    let direct = baseline_side(namespace, &topic, "/split").await?;
    let direct_whole = baseline_side(namespace, &topic, "/whole").await?;
    let ours = our_side(namespace.serve("ingest", "").await?);
    ours.process.is_ready().await?;
    for side in [&direct, &direct_whole, &ours] {
        in_loop(side, WARM_UP, side.one.clone()).await?;
    }
    if wanted.contains(&"steady") {
        let bare = at_steady_rate(&direct, steady).await?;
        let our = at_steady_rate(&ours, steady).await?;
        for (name, part, target) in
            [("p50", 0.5, None), ("p99", 0.99, Some(Target::AtMost(2.0))), ("p999", 0.999, None)]
        {
            let of = |cost: &Cost| cost.outcome.latencies.percentile(part);
            figures.compare(format!("2,000/s: {name}"), "ms", of(&our), of(&bare), target);
        }
        let target = Some(Target::AtMost(1.35));
        costs(figures, "2,000/s", &our, &bare, 1, target);
    }
    if wanted.contains(&"closed") {
        let bare = in_loop(&direct, closed_for, direct.one.clone()).await?;
        let our = in_loop(&ours, closed_for, ours.one.clone()).await?;
        figures.compare(
            "closed loop",
            "req/s",
            our.outcome.rate(),
            bare.outcome.rate(),
            Some(Target::AtLeast(0.6)),
        );
        costs(figures, "closed loop", &our, &bare, 1, None);
    }
    if wanted.contains(&"batch") {
        let bare = in_loop(&direct, closed_for, direct.batch.clone()).await?;
        let whole = in_loop(&direct_whole, closed_for, direct_whole.batch.clone()).await?;
        let our = in_loop(&ours, closed_for, ours.batch.clone()).await?;
        let rate = |cost: &Cost| cost.outcome.rate() * BATCH as f64;
        let target = Some(Target::AtLeast(0.35));
        figures.compare("batches of 20", "events/s", rate(&our), rate(&bare), target);
        figures.compare(
            "batches of 20, baseline: one message a batch",
            "events/s",
            rate(&our),
            rate(&whole),
            None,
        );
        costs(figures, "batches of 20", &our, &bare, BATCH, None);
    }
    if wanted.contains(&"bare") {
        let bodies = Calls::new(WIDTH);
        let rate = bare_producer(&namespace.brokers, &topic, &bodies, closed_for).await?;
        figures.note("bare producer of the same bodies", "msg/s", rate);
        figures.note("bytes of an event", "B", bodies.mean_size() as f64);
    }
    let target = Target::AtMost(40.0);
    figures.check("rss of the ingest role", "MB", ours.process.rss()?, target);
    figures.compare("rss at its most", "MB", ours.process.peak()?, direct.process.peak()?, None);
    for side in [direct, direct_whole, ours] {
        side.process.stop().await;
    }
    Ok(())
}

fn costs(
    figures: &mut Figures,
    name: &str,
    our: &Cost,
    bare: &Cost,
    events: u64,
    target: Option<Target>,
) {
    figures.compare(
        format!("{name}: CPU per million"),
        "s",
        our.per_million(our.cpu, events),
        bare.per_million(bare.cpu, events),
        target,
    );
    figures.compare(
        format!("{name}: Kafka's CPU per million"),
        "s",
        our.per_million(our.kafka, events),
        bare.per_million(bare.kafka, events),
        None,
    );
}

async fn baseline_side(
    namespace: &Namespace,
    topic: &str,
    path: &'static str,
) -> anyhow::Result<Side> {
    let calls = Arc::new(Calls::new(WIDTH));
    let of = |calls: Arc<Calls>, events: u64, path: &'static str| -> Request {
        Arc::new(move |number| {
            let (_, body) = calls.batch(number * events, events, clock::now());
            post(path, "", &body)
        })
    };
    Ok(Side {
        process: namespace.baseline(DIRECT_PRODUCE, topic).await?,
        one: of(calls.clone(), 1, "/whole"),
        batch: of(calls, BATCH, path),
    })
}

fn our_side(process: Process) -> Side {
    let headers: Arc<str> = format!("x-onrecord-key: {SOURCE_KEY}\r\n").into();
    let calls = Arc::new(Calls::new(WIDTH));
    let of = |events: u64| -> Request {
        let (calls, headers) = (calls.clone(), headers.clone());
        Arc::new(move |number| {
            let (endpoint, body) = calls.batch(number * events, events, clock::now());
            post(endpoint.path(), &headers, &body)
        })
    };
    Side { one: of(1), batch: of(BATCH), process }
}

async fn at_steady_rate(side: &Side, lasting: Duration) -> anyhow::Result<Cost> {
    let (address, request) = (side.process.address(), fresh(&side.one));
    let answered = AtomicU64::new(0);
    let load = move || at_rate(address, CONNECTIONS, STEADY, lasting, &*request, &answered);
    cost(&side.process, load).await
}

async fn in_loop(side: &Side, lasting: Duration, request: Request) -> anyhow::Result<Cost> {
    let address = side.process.address();
    let request = fresh(&request);
    cost(&side.process, move || closed(address, CONNECTIONS, lasting, &*request)).await
}

/// The same requests from another number on, so that nothing is sent twice.
fn fresh(request: &Request) -> Request {
    static LOADS: AtomicU64 = AtomicU64::new(1);
    let first = LOADS.fetch_add(1, Ordering::Relaxed) << 24;
    let first = first - first % (WIDTH * crate::measure::calls::STEPS);
    let request = Arc::clone(request);
    Arc::new(move |number| request(first + number))
}

async fn cost(
    process: &Process,
    load: impl FnOnce() -> anyhow::Result<Outcome> + Send + 'static,
) -> anyhow::Result<Cost> {
    let (cpu, kafka) = (process.cpu()?, cpu_of_server("java"));
    let outcome = tokio::task::spawn_blocking(load).await??.whole()?;
    Ok(Cost { outcome, cpu: process.cpu()? - cpu, kafka: cpu_of_server("java") - kafka })
}

/// Messages a second of a producer that awaits each confirmation, many at a time.
async fn bare_producer(
    brokers: &str,
    topic: &str,
    calls: &Calls,
    lasting: Duration,
) -> anyhow::Result<f64> {
    let producer: FutureProducer = producer(brokers)?;
    let begin = Instant::now();
    let (mut number, mut confirmed) = (0, 0_u64);
    while begin.elapsed() < lasting {
        let mut deliveries = Vec::with_capacity(IN_FLIGHT);
        for _ in 0..IN_FLIGHT {
            let (_, body) = calls.body(number, clock::now());
            number += 1;
            let record = FutureRecord::<(), [u8]>::to(topic).payload(&body);
            let sent = producer.send_result(record);
            deliveries.push(sent.map_err(|(error, _)| error)?);
        }
        for delivery in deliveries {
            let kept = delivery.await?;
            kept.map_err(|(error, _)| error)?;
            confirmed += 1;
        }
    }
    Ok(confirmed as f64 / begin.elapsed().as_secs_f64())
}

/// All roles, and both stores beside them.
async fn whole(
    namespace: &Namespace,
    lasting: Duration,
    figures: &mut Figures,
) -> anyhow::Result<()> {
    let ours = our_side(namespace.serve("", "").await?);
    ours.process.is_ready().await?;
    in_loop(&ours, WARM_UP, ours.one.clone()).await?;
    let warm_up = under_load(namespace, &ours, KAFKA_WARM_UP).await?;
    figures.note(
        "whole serve: ledger lag at its most while Kafka warms up",
        "s",
        warm_up.lag.max().as_secs_f64(),
    );
    let (cpu, stores) = (ours.process.cpu()?, [cpu_of_server("java"), cpu_of_server("postgres")]);
    let UnderLoad { outcome, lag, memory } = under_load(namespace, &ours, lasting).await?;
    let million = outcome.latencies.len() as f64 / 1e6;
    for (name, part, target) in
        [("p50", 0.5, None), ("p99", 0.99, Some(Target::AtMost(20.0))), ("p999", 0.999, None)]
    {
        let name = format!("whole serve, 2,000/s: {name}");
        let figure = outcome.latencies.percentile(part);
        match target {
            Some(target) => figures.check(name, "ms", figure, target),
            None => figures.note(name, "ms", figure),
        }
    }
    figures.note(
        "whole serve: ledger lag, half of the time at most",
        "s",
        lag.middle().as_secs_f64(),
    );
    figures.check(
        "whole serve: ledger lag at its most",
        "s",
        lag.max().as_secs_f64(),
        Target::AtMost(2.0),
    );
    for (name, now, then) in [
        ("serve", ours.process.cpu()?, cpu),
        ("Kafka", cpu_of_server("java"), stores[0]),
        ("Postgres", cpu_of_server("postgres"), stores[1]),
    ] {
        figures.note(
            format!("whole serve: CPU of {name} per million"),
            "s",
            (now - then) / million,
        );
    }
    // Caches and pools fill in the first fifth.
    let warm = memory.iter().find(|(at, _)| *at >= lasting / 5);
    let (_, warm) = warm.or(memory.first()).context("nothing was measured")?;
    let last = memory.last().map_or(0.0, |(_, rss)| *rss);
    figures.note("whole serve: rss at the end", "MB", last);
    figures.check(
        "whole serve: rss at the end / after a fifth",
        "",
        last / warm,
        Target::AtMost(1.1),
    );
    ours.process.stop().await;
    Ok(())
}

/// Measurements of all roles at the steady rate.
struct UnderLoad {
    outcome: Outcome,
    lag: Lags,
    /// MB of the process, by the time of the sample.
    memory: Vec<(Duration, f64)>,
}

async fn under_load(
    namespace: &Namespace,
    ours: &Side,
    lasting: Duration,
) -> anyhow::Result<UnderLoad> {
    let mut lag = Lag::begin(namespace).await?;
    lag.is_caught_up().await?;
    let before = lag.appended().await?;
    let (address, request) = (ours.process.address(), fresh(&ours.one));
    let answered = Arc::new(AtomicU64::new(0));
    let counting = Arc::clone(&answered);
    let load = tokio::task::spawn_blocking(move || {
        at_rate(address, CONNECTIONS, STEADY, lasting, &*request, &counting)
    });
    let begin = Instant::now();
    let mut memory = Vec::new();
    while !load.is_finished() {
        for _ in 0..25 {
            tokio::time::sleep(Duration::from_millis(20)).await;
            lag.answered(before + answered.load(Ordering::Relaxed));
        }
        lag.look().await?;
        memory.push((begin.elapsed(), ours.process.rss()?));
    }
    Ok(UnderLoad { outcome: load.await??.whole()?, lag: Lags(lag.seen), memory })
}

/// Samples of the ledger's lag behind the ingest role.
struct Lags(Vec<Duration>);

impl Lags {
    fn max(&self) -> Duration {
        self.0.iter().max().copied().unwrap_or_default()
    }

    fn middle(&self) -> Duration {
        let mut sorted = self.0.clone();
        sorted.sort_unstable();
        sorted.get(sorted.len() / 2).copied().unwrap_or_default()
    }
}

/// Samples the ledger's lag behind the ingest role.
struct Lag {
    database: sqlx::PgConnection,
    topic: String,
    answers: std::collections::VecDeque<(Instant, u64)>,
    seen: Vec<Duration>,
}

impl Lag {
    async fn begin(namespace: &Namespace) -> anyhow::Result<Self> {
        Ok(Self {
            database: namespace.database().await?,
            topic: namespace.topic("calling-events.v1"),
            answers: std::collections::VecDeque::new(),
            seen: Vec::new(),
        })
    }

    /// Messages that are in the ledger.
    async fn appended(&mut self) -> anyhow::Result<u64> {
        let appended: i64 = sqlx::query_scalar(
            "select coalesce(sum(next_offset), 0)::bigint from stream_position where topic = $1",
        )
        .bind(&self.topic)
        .fetch_one(&mut self.database)
        .await?;
        Ok(u64::try_from(appended)?)
    }

    async fn is_caught_up(&mut self) -> anyhow::Result<()> {
        let mut before = self.appended().await?;
        loop {
            tokio::time::sleep(Duration::from_secs(1)).await;
            let now = self.appended().await?;
            if now == before {
                return Ok(());
            }
            before = now;
        }
    }

    fn answered(&mut self, all: u64) {
        self.answers.push_back((Instant::now(), all));
    }

    /// The ledger was complete when no more had been answered than is appended now.
    async fn look(&mut self) -> anyhow::Result<()> {
        let appended = self.appended().await?;
        while let Some((_, answered)) = self.answers.front()
            && *answered <= appended
        {
            self.answers.pop_front();
        }
        let lag = self.answers.front().map_or(Duration::ZERO, |(at, _)| at.elapsed());
        self.seen.push(lag);
        Ok(())
    }
}
