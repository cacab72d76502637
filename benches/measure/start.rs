//! What a node costs at rest, how soon it knows the calls of a day, and what they cost.

use std::time::{Duration, Instant};

use anyhow::{Context as _, bail};
use chrono::TimeDelta;
use onrecord::clock;
use rdkafka::consumer::{BaseConsumer, Consumer as _};
use rdkafka::{ClientConfig, Offset, TopicPartitionList};

use super::arguments::Arguments;
use super::calls::{Calls, RECORDING_ON, STEPS};
use super::figures::{Sheet, Target};
use super::ground::{Ground, PARTITIONS, Plot};
use super::tape::{Filler, Tape, messages_on};

const PARTS: [&str; 3] = ["rest", "calls", "day"];
/// Calls that go on.
const GOING_ON: u64 = 10_000;
const DAY: Duration = Duration::from_secs(24 * 3600);
/// A process at rest has done by then what it does at its start.
const SETTLED: Duration = Duration::from_secs(10);
const LIVE_PATIENCE: Duration = Duration::from_secs(600);

pub async fn measure(ground: &Ground, arguments: &Arguments) -> anyhow::Result<Sheet> {
    let wanted = arguments.wanted(&PARTS)?;
    let mut sheet = Sheet::default();
    if wanted.contains(&"rest") {
        let plot = ground.plot().await?;
        let serve = plot.serve("", "").await?;
        serve.is_ready().await?;
        tokio::time::sleep(SETTLED).await;
        let target = Target::AtMost(60.0);
        sheet.judge("serve at rest: rss", "MB", serve.rss()?, target);
        let cpu = serve.cpu()?;
        tokio::time::sleep(SETTLED).await;
        let spent = (serve.cpu()? - cpu) / SETTLED.as_secs_f64();
        sheet.note("serve at rest: CPU", "% of one", spent * 100.0);
        serve.stop().await;
        ground.clear(plot).await?;
    }
    if wanted.contains(&"calls") {
        let plot = ground.plot().await?;
        // Each call up to where its recording begins.
        let events = GOING_ON * (RECORDING_ON as u64 + 1);
        fill(ground, &plot, 0..events, Duration::from_secs(3600)).await?;
        let (_, rss, peak) = live(&plot, events).await?;
        sheet.judge(
            "10,000 calls going on: rss",
            "MB",
            rss,
            Target::AtMost(100.0),
        );
        sheet.note("10,000 calls going on: rss at its most", "MB", peak);
        ground.clear(plot).await?;
    }
    if wanted.contains(&"day") {
        let plot = ground.plot().await?;
        let events = arguments.events.unwrap_or(1_000_000);
        // At the end some calls are in their midst.
        let first = GOING_ON * (RECORDING_ON as u64 + 1) % (GOING_ON * STEPS);
        fill(ground, &plot, first..first + events, DAY).await?;
        let brokers = plot.brokers.clone();
        let topic = plot.topic("calling-events.v1");
        let bare =
            tokio::task::spawn_blocking(move || bare_read(&brokers, &topic, events)).await??;
        let (took, rss, peak) = live(&plot, events).await?;
        let target = Target::AtMost(15.0);
        let name = format!("{events} events of a day: live after");
        sheet.judge(name, "s", took.as_secs_f64(), target);
        sheet.compare(
            "… time beside a bare consumer's",
            "s",
            took.as_secs_f64(),
            bare.as_secs_f64(),
            None,
        );
        sheet.note("… rss then", "MB", rss);
        sheet.note("… rss at its most", "MB", peak);
        ground.clear(plot).await?;
    }
    Ok(sheet)
}

/// Events with these numbers, evenly over the time before now.
async fn fill(
    ground: &Ground,
    plot: &Plot,
    numbers: std::ops::Range<u64>,
    over: Duration,
) -> anyhow::Result<()> {
    let topic = plot.events_topic().await?;
    let tape = Tape::record(ground).await?;
    let brokers = plot.brokers.clone();
    let filled = tokio::task::spawn_blocking(move || {
        let filler = Filler::new(&brokers, &topic)?;
        let calls = Calls::new(GOING_ON);
        let end = clock::now();
        let all = numbers.end - numbers.start;
        let apart = TimeDelta::from_std(over)? / i32::try_from(all)?;
        for number in numbers.clone() {
            let (step, _) = calls.place(number);
            let at = end - apart * i32::try_from(numbers.end - number)?;
            filler.put(&tape.copy(step, &calls.mark(number, at)))?;
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

/// How long a board takes to be live, and its memory then and at its most.
async fn live(plot: &Plot, events: u64) -> anyhow::Result<(Duration, f64, f64)> {
    let began = Instant::now();
    let board = plot.serve("board", "").await?;
    loop {
        let log = board.log();
        if let Some(line) = log.lines().find(|line| line.contains("the board is live")) {
            let took = began.elapsed();
            if !line.contains(&format!("read {events} messages")) {
                bail!("the board has not read them all: {line}");
            }
            tokio::time::sleep(SETTLED).await;
            let memory = (board.rss()?, board.peak()?);
            board.stop().await;
            return Ok((took, memory.0, memory.1));
        }
        if began.elapsed() > LIVE_PATIENCE {
            bail!("the board is not live: {log}");
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
