//! What an idle node costs, how soon it has read the calls of a day, and what they cost.

use std::time::{Duration, Instant};

use anyhow::{Context as _, bail};
use chrono::TimeDelta;
use onrecord::clock;
use rdkafka::consumer::{BaseConsumer, Consumer as _};
use rdkafka::{ClientConfig, Offset, TopicPartitionList};

use crate::measure::arguments::Arguments;
use crate::measure::calls::{Calls, RECORDING_ON, STEPS};
use crate::measure::environment::{Environment, Namespace};
use crate::measure::recorded_messages::{Filler, RecordedMessages, messages_on};
use crate::measure::report::{Figures, Target};
use crate::measure::topics::PARTITIONS;

const PARTS: [&str; 3] = ["rest", "calls", "day"];
/// Calls in progress.
const CALLS_IN_PROGRESS: u64 = 10_000;
const DAY: Duration = Duration::from_secs(24 * 3600);
/// Time after which an idle process has done the work of its start.
const SETTLE_TIME: Duration = Duration::from_secs(10);
const LIVE_TIMEOUT: Duration = Duration::from_secs(600);

pub async fn measure(environment: &Environment, arguments: &Arguments) -> anyhow::Result<Figures> {
    let wanted = arguments.wanted(&PARTS)?;
    let mut figures = Figures::default();
    if wanted.contains(&"rest") {
        let namespace = environment.namespace().await?;
        let serve = namespace.serve("", "").await?;
        serve.is_ready().await?;
        tokio::time::sleep(SETTLE_TIME).await;
        let target = Target::AtMost(60.0);
        figures.check("serve at rest: rss", "MB", serve.rss()?, target);
        let cpu = serve.cpu()?;
        tokio::time::sleep(SETTLE_TIME).await;
        let spent = (serve.cpu()? - cpu) / SETTLE_TIME.as_secs_f64();
        figures.note("serve at rest: CPU", "% of one", spent * 100.0);
        serve.stop().await;
        environment.clear(namespace).await?;
    }
    if wanted.contains(&"calls") {
        let namespace = environment.namespace().await?;
        // Each call up to the start of its recording.
        let events = CALLS_IN_PROGRESS * (RECORDING_ON as u64 + 1);
        fill(environment, &namespace, 0..events, Duration::from_secs(3600)).await?;
        let (_, rss, peak) = live(&namespace, events).await?;
        figures.check("10,000 calls going on: rss", "MB", rss, Target::AtMost(100.0));
        figures.note("10,000 calls going on: rss at its most", "MB", peak);
        environment.clear(namespace).await?;
    }
    if wanted.contains(&"day") {
        let namespace = environment.namespace().await?;
        let events = arguments.events.unwrap_or(1_000_000);
        // The last calls are still in progress.
        let first = CALLS_IN_PROGRESS * (RECORDING_ON as u64 + 1) % (CALLS_IN_PROGRESS * STEPS);
        fill(environment, &namespace, first..first + events, DAY).await?;
        let brokers = namespace.brokers.clone();
        let topic = namespace.topic("calling-events.v1");
        let bare =
            tokio::task::spawn_blocking(move || bare_read(&brokers, &topic, events)).await??;
        let (took, rss, peak) = live(&namespace, events).await?;
        let target = Target::AtMost(15.0);
        let name = format!("{events} events of a day: live after");
        figures.check(name, "s", took.as_secs_f64(), target);
        figures.compare(
            "… time beside a bare consumer's",
            "s",
            took.as_secs_f64(),
            bare.as_secs_f64(),
            None,
        );
        figures.note("… rss then", "MB", rss);
        figures.note("… rss at its most", "MB", peak);
        environment.clear(namespace).await?;
    }
    Ok(figures)
}

/// Events with these numbers, evenly over the time before now.
async fn fill(
    environment: &Environment,
    namespace: &Namespace,
    numbers: std::ops::Range<u64>,
    over: Duration,
) -> anyhow::Result<()> {
    let topic = namespace.events_topic().await?;
    let recorded = RecordedMessages::record(environment).await?;
    let brokers = namespace.brokers.clone();
    let filled = tokio::task::spawn_blocking(move || {
        let filler = Filler::new(&brokers, &topic)?;
        let calls = Calls::new(CALLS_IN_PROGRESS);
        let end = clock::now();
        let all = numbers.end - numbers.start;
        let apart = TimeDelta::from_std(over)? / i32::try_from(all)?;
        for number in numbers.clone() {
            let (step, _) = calls.place(number);
            let at = end - apart * i32::try_from(numbers.end - number)?;
            filler.put(&recorded.copy(step, &calls.mark(number, at)))?;
        }
        filler.finish()?;
        let there = messages_on(&brokers, &topic)?;
        if there != all {
            bail!("the log has {there} messages of {all}");
        }
        Ok(())
    });
    filled.await?
}

/// How long the live role takes to be live, its memory then, and its peak memory.
async fn live(namespace: &Namespace, events: u64) -> anyhow::Result<(Duration, f64, f64)> {
    let began = Instant::now();
    let live = namespace.serve("live", "").await?;
    loop {
        let log = live.log();
        if let Some(line) = log.lines().find(|line| line.contains("the live state is current")) {
            let took = began.elapsed();
            if !line.contains(&format!("read {events} messages")) {
                bail!("the live state has not read them all: {line}");
            }
            tokio::time::sleep(SETTLE_TIME).await;
            let memory = (live.rss()?, live.peak()?);
            live.stop().await;
            return Ok((took, memory.0, memory.1));
        }
        if began.elapsed() > LIVE_TIMEOUT {
            bail!("the live state is not current: {log}");
        }
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
}

/// How long a bare consumer takes for all of it.
fn bare_read(brokers: &str, topic: &str, events: u64) -> anyhow::Result<Duration> {
    let began = Instant::now();
    let consumer: BaseConsumer = ClientConfig::new()
        .set("bootstrap.servers", brokers)
        .set("group.id", "bare")
        .set("enable.auto.commit", "false")
        .create()?;
    let mut partitions = TopicPartitionList::new();
    for partition in 0..PARTITIONS {
        partitions.add_partition_offset(topic, partition, Offset::Beginning)?;
    }
    consumer.assign(&partitions)?;
    for read in 0..events {
        let message = consumer.poll(Duration::from_secs(20));
        message.with_context(|| format!("{read} of {events} were read"))??;
    }
    Ok(began.elapsed())
}
