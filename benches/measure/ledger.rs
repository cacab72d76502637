//! The book beside a bare batched insert of the same rows, and what an event costs as it grows.

use std::time::{Duration, Instant};

use anyhow::bail;
use chrono::TimeDelta;
use onrecord::clock;
use sqlx::{Connection as _, PgConnection};
use uuid::Uuid;

use super::arguments::Arguments;
use super::calls::Calls;
use super::figures::{Sheet, Target};
use super::ground::{Ground, Plot};
use super::process::{Process, cpu_of_server};
use super::tape::{Filler, Tape, messages_on};

const PARTS: [&str; 2] = ["insert", "catch-up"];
/// Rows of a batch, as the ledger has them.
const BATCH: usize = 2000;
/// Calls that go on beside each other.
const WIDTH: u64 = 1000;
const LOOK_EVERY: Duration = Duration::from_millis(100);
const CATCH_UP_PATIENCE: Duration = Duration::from_secs(3600);

pub async fn measure(ground: &Ground, arguments: &Arguments) -> anyhow::Result<Sheet> {
    let wanted = arguments.wanted(&PARTS)?;
    let mut sheet = Sheet::default();
    let events = arguments.events.unwrap_or(1_000_000);
    let plot = ground.plot().await?;
    let topic = plot.events_topic().await?;
    let tape = Tape::record(ground).await?;
    fill(&plot, &topic, tape, events).await?;

    let ledger = plot.serve("ledger", "").await?;
    let course = follow(&plot, &topic, &ledger, events).await?;
    let rate = course.rate();
    if wanted.contains(&"catch-up") {
        sheet.judge("catch-up", "events/s", rate, Target::AtLeast(6000.0));
        course.tell(&mut sheet);
        sheet.note("rss of the ledger", "MB", ledger.rss()?);
        sheet.note("rss at its most", "MB", ledger.peak()?);
    }
    ledger.stop().await;
    if wanted.contains(&"insert") {
        let lasting = Duration::from_secs(arguments.seconds.unwrap_or(10));
        let mut database = plot.database().await?;
        let rows = some_rows(&mut database).await?;
        // The very table of the book, with its indexes and what lies in it by now.
        let bare = insert(&mut database, "entry", &rows, lasting).await?;
        let target = Some(Target::AtLeast(0.35));
        sheet.compare(
            "rows/s beside a bare insert into entry",
            "rows/s",
            rate,
            bare,
            target,
        );
        sqlx::query(
            "create table heap (like entry including defaults, primary key (received, id))",
        )
        .execute(&mut database)
        .await?;
        let bare = insert(&mut database, "heap", &rows, lasting).await?;
        sheet.compare(
            "… into a table with its primary key alone",
            "rows/s",
            rate,
            bare,
            None,
        );
    }
    ground.clear(plot).await?;
    Ok(sheet)
}

/// Puts so many events on the log, of the last hours.
async fn fill(plot: &Plot, topic: &str, tape: Tape, events: u64) -> anyhow::Result<()> {
    let (brokers, name) = (plot.brokers.clone(), topic.to_owned());
    let filled = tokio::task::spawn_blocking(move || {
        let filler = Filler::new(&brokers, &name)?;
        let calls = Calls::new(WIDTH);
        let end = clock::now();
        for number in 0..events {
            let (step, _) = calls.place(number);
            // As at 2,000 a second.
            let age = TimeDelta::microseconds(500 * i64::try_from(events - number)?);
            filler.put(&tape.copy(step, &calls.mark(number, end - age)))?;
        }
        filler.finish()?;
        messages_on(&brokers, &name)
    });
    let there = filled.await??;
    if there != events {
        bail!("the log has {there} messages of {events}");
    }
    Ok(())
}

/// How far the book was, and what it had cost by then.
#[derive(Clone, Copy)]
struct Milestone {
    at: Instant,
    entered: u64,
    ledger: f64,
    postgres: f64,
}

struct Course {
    milestones: Vec<Milestone>,
}

async fn follow(plot: &Plot, topic: &str, ledger: &Process, events: u64) -> anyhow::Result<Course> {
    let mut database = PgConnection::connect(&plot.database_url).await?;
    let mut milestones: Vec<Milestone> = Vec::new();
    let begin = Instant::now();
    loop {
        let entered: Result<i64, sqlx::Error> = sqlx::query_scalar(
            "select coalesce(sum(next_offset), 0)::bigint from stream_position where topic = $1",
        )
        .bind(topic)
        .fetch_one(&mut database)
        .await;
        // The tables may not be there yet.
        let entered = u64::try_from(entered.unwrap_or(0))?;
        if milestones.last().is_none_or(|it| it.entered < entered) && entered > 0 {
            milestones.push(Milestone {
                at: Instant::now(),
                entered,
                ledger: ledger.cpu()?,
                postgres: cpu_of_server("postgres"),
            });
        }
        if entered >= events {
            return Ok(Course { milestones });
        }
        if begin.elapsed() > CATCH_UP_PATIENCE {
            bail!("{entered} of {events} were entered: {}", ledger.log());
        }
        tokio::time::sleep(LOOK_EVERY).await;
    }
}

impl Course {
    /// The first milestone at which so many were entered.
    fn at(&self, entered: f64) -> Milestone {
        let passed = self
            .milestones
            .iter()
            .find(|it| it.entered as f64 >= entered);
        let last = self.milestones.last();
        passed.or(last).copied().unwrap_or_else(|| Milestone {
            at: Instant::now(),
            entered: 0,
            ledger: 0.0,
            postgres: 0.0,
        })
    }

    /// Events a second, without the start of the process.
    fn rate(&self) -> f64 {
        let (first, last) = (self.at(0.0), self.at(f64::INFINITY));
        (last.entered - first.entered) as f64 / (last.at - first.at).as_secs_f64()
    }

    fn tell(&self, sheet: &mut Sheet) {
        let all = self.at(f64::INFINITY).entered as f64;
        let span = |from: f64, to: f64| {
            let (from, to) = (self.at(from), self.at(to));
            let events = (to.entered - from.entered) as f64;
            (
                (to.at - from.at).as_secs_f64() * 1e6 / events,
                (to.ledger - from.ledger) * 1e6 / events,
                (to.postgres - from.postgres) * 1e6 / events,
            )
        };
        // The same number of events at both ends.
        let first = (10_000.0_f64).min(all / 10.0);
        let window = (all / 10.0).max(all / 2.0 - first).min(50_000.0);
        let (early, late) = (span(first, first + window), span(all - window, all));
        for (name, late, early, target) in [
            ("time", late.0, early.0, Some(Target::AtMost(1.15))),
            ("CPU of the ledger", late.1, early.1, None),
            ("CPU of Postgres", late.2, early.2, None),
        ] {
            let name = format!("{name} per million, last beside first {window:.0}");
            sheet.compare(name, "s", late, early, target);
        }
    }
}

/// An entry's columns that a bare insert repeats.
#[derive(sqlx::FromRow, Clone)]
struct EntryRow {
    tenant: String,
    received: chrono::DateTime<chrono::Utc>,
    anchor: Option<String>,
    #[sqlx(rename = "type")]
    kind: String,
    source_type: String,
    provenance: String,
    source: String,
    ce_source: String,
    ce_id: String,
    ce_time: Option<String>,
    t: i64,
    sha256: Vec<u8>,
    original: Vec<u8>,
    event: String,
}

async fn some_rows(database: &mut PgConnection) -> anyhow::Result<Vec<EntryRow>> {
    let rows: Vec<EntryRow> = sqlx::query_as(
        "select tenant, received, anchor, type, source_type, provenance, source, ce_source, ce_id, ce_time, t,
                sha256, original, event::text as event from entry order by received desc, id desc limit 20000",
    )
    .fetch_all(database)
    .await?;
    if rows.len() < BATCH {
        bail!("the book has {} entries", rows.len());
    }
    Ok(rows)
}

/// Rows a second: a transaction for each batch, one statement, one connection.
async fn insert(
    database: &mut PgConnection,
    table: &str,
    rows: &[EntryRow],
    lasting: Duration,
) -> anyhow::Result<f64> {
    let statement = format!(
        "insert into {table} (id, tenant, received, anchor, type, source_type, provenance, source, ce_source, ce_id, ce_time,
                              t, key, sha256, original, event, flags)
         select id, tenant, received, anchor, type, source_type, provenance, source, ce_source, ce_id, ce_time,
                t, key, sha256, original, event::jsonb, '{{}}'
         from unnest($1::uuid[], $2::text[], $3::timestamptz[], $4::text[], $5::text[], $6::text[], $7::text[], $8::text[],
                     $9::text[], $10::text[], $11::text[], $12::bigint[], $13::bytea[], $14::bytea[], $15::bytea[],
                     $16::text[])
              as _ (id, tenant, received, anchor, type, source_type, provenance, source, ce_source, ce_id, ce_time,
                    t, key, sha256, original, event)"
    );
    let (begin, mut inserted) = (Instant::now(), 0);
    let mut batches = rows.chunks_exact(BATCH).cycle();
    while begin.elapsed() < lasting
        && let Some(batch) = batches.next()
    {
        // Keys are as far apart as those of events that nobody has seen.
        let key = |_: &EntryRow| Uuid::new_v4().as_bytes().repeat(2);
        let mut transaction = database.begin().await?;
        sqlx::query(sqlx::AssertSqlSafe(statement.clone()))
            .bind(batch.iter().map(|_| Uuid::now_v7()).collect::<Vec<_>>())
            .bind(column(batch, |row| row.tenant.clone()))
            .bind(column(batch, |row| row.received))
            .bind(column(batch, |row| row.anchor.clone()))
            .bind(column(batch, |row| row.kind.clone()))
            .bind(column(batch, |row| row.source_type.clone()))
            .bind(column(batch, |row| row.provenance.clone()))
            .bind(column(batch, |row| row.source.clone()))
            .bind(column(batch, |row| row.ce_source.clone()))
            .bind(column(batch, |row| row.ce_id.clone()))
            .bind(column(batch, |row| row.ce_time.clone()))
            .bind(column(batch, |row| row.t))
            .bind(column(batch, key))
            .bind(column(batch, |row| row.sha256.clone()))
            .bind(column(batch, |row| row.original.clone()))
            .bind(column(batch, |row| row.event.clone()))
            .execute(&mut *transaction)
            .await?;
        transaction.commit().await?;
        inserted += batch.len();
    }
    Ok(inserted as f64 / begin.elapsed().as_secs_f64())
}

fn column<T>(rows: &[EntryRow], of: impl Fn(&EntryRow) -> T) -> Vec<T> {
    rows.iter().map(of).collect()
}
