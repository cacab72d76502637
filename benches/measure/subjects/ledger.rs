//! The ledger beside a bare batched insert of the same rows, and the cost of an event as it grows.

use std::time::{Duration, Instant};

use anyhow::bail;
use chrono::TimeDelta;
use onrecord::clock;
use sqlx::{Connection as _, PgConnection};
use uuid::Uuid;

use crate::measure::arguments::Arguments;
use crate::measure::calls::Calls;
use crate::measure::environment::{Environment, Namespace};
use crate::measure::process::{Process, cpu_of_server};
use crate::measure::recorded_messages::{Filler, RecordedMessages, messages_on};
use crate::measure::report::{Figures, Target};

const PARTS: [&str; 2] = ["insert", "catch-up"];
/// Rows of a batch, as the ledger has them.
const BATCH: usize = 2000;
/// Calls that go on at the same time.
const WIDTH: u64 = 1000;
const POLL_INTERVAL: Duration = Duration::from_millis(100);
/// Maximum delay of the statistics of PostgreSQL.
const STATISTICS_DELAY: Duration = Duration::from_millis(1_200);
const CATCH_UP_TIMEOUT: Duration = Duration::from_secs(3600);

pub async fn measure(environment: &Environment, arguments: &Arguments) -> anyhow::Result<Figures> {
    let wanted = arguments.wanted(&PARTS)?;
    let mut figures = Figures::default();
    let events = arguments.events.unwrap_or(1_000_000);
    let namespace = environment.namespace().await?;
    let topic = namespace.events_topic().await?;
    let recorded = RecordedMessages::record(environment).await?;
    fill(&namespace, &topic, recorded, events).await?;

    let ledger = namespace.serve("ledger", "").await?;
    let catch_up = follow(&namespace, &topic, &ledger, events).await?;
    let rate = catch_up.rate();
    if wanted.contains(&"catch-up") {
        figures.check("catch-up", "events/s", rate, Target::AtLeast(6000.0));
        catch_up.report(&mut figures);
        figures.note("rss of the ledger", "MB", ledger.rss()?);
        figures.note("rss at its most", "MB", ledger.peak()?);
    }
    ledger.stop().await;
    if wanted.contains(&"insert") {
        let lasting = Duration::from_secs(arguments.seconds.unwrap_or(10));
        let mut database = namespace.database().await?;
        let rows = some_rows(&mut database).await?;
        // The ledger's own table, with its indexes and its present rows.
        let (bare, bare_work) = insert(&mut database, "entry", &rows, lasting).await?;
        let target = Some(Target::AtLeast(0.5));
        figures.compare("rows/s beside a bare insert into entry", "rows/s", rate, bare, target);
        let work = catch_up.work();
        let (ours, bare) = (work.wal_bytes, bare_work.wal_bytes);
        figures.compare("… bytes of WAL per row", "B", ours, bare, None);
        figures.compare("… buffers per row", "", work.buffers, bare_work.buffers, None);
        sqlx::query(
            "create table heap (like entry including defaults, primary key (received_at, id))",
        )
        .execute(&mut database)
        .await?;
        let (bare, _) = insert(&mut database, "heap", &rows, lasting).await?;
        figures.compare("… into a table with its primary key alone", "rows/s", rate, bare, None);
    }
    environment.clear(namespace).await?;
    Ok(figures)
}

/// Publishes so many events of the last hours.
async fn fill(
    namespace: &Namespace,
    topic: &str,
    recorded: RecordedMessages,
    events: u64,
) -> anyhow::Result<()> {
    let (brokers, name) = (namespace.brokers.clone(), topic.to_owned());
    let filled = tokio::task::spawn_blocking(move || {
        let filler = Filler::new(&brokers, &name)?;
        let calls = Calls::new(WIDTH);
        let end = clock::now();
        for number in 0..events {
            let (step, _) = calls.place(number);
            // As at 2,000 a second.
            let age = TimeDelta::microseconds(500 * i64::try_from(events - number)?);
            filler.put(&recorded.copy(step, &calls.mark(number, end - age)))?;
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

/// How far the ledger was, and its CPU time and the work of PostgreSQL by then.
#[derive(Clone, Copy)]
struct Milestone {
    at: Instant,
    appended: u64,
    ledger: f64,
    postgres: f64,
    work: StoreWork,
}

/// What PostgreSQL has written and read since it started.
#[derive(Clone, Copy, Default, sqlx::FromRow)]
struct StoreWork {
    wal_bytes: f64,
    /// Of this database, hits included. The server counts those of a connection with a delay of a second.
    buffers: f64,
}

impl StoreWork {
    async fn read(database: &mut PgConnection) -> anyhow::Result<Self> {
        let work = sqlx::query_as(
            "select pg_wal_lsn_diff(pg_current_wal_insert_lsn(), '0/0')::float8 as wal_bytes,
                    (blks_hit + blks_read)::float8 as buffers
             from pg_stat_database where datname = current_database()",
        );
        Ok(work.fetch_one(database).await?)
    }

    /// Per event or row since an earlier reading.
    fn per_row_since(self, earlier: Self, rows: f64) -> Self {
        Self {
            wal_bytes: (self.wal_bytes - earlier.wal_bytes) / rows,
            buffers: (self.buffers - earlier.buffers) / rows,
        }
    }
}

struct CatchUp {
    milestones: Vec<Milestone>,
}

async fn follow(
    namespace: &Namespace,
    topic: &str,
    ledger: &Process,
    events: u64,
) -> anyhow::Result<CatchUp> {
    let mut database = PgConnection::connect(&namespace.database_url).await?;
    let mut milestones: Vec<Milestone> = Vec::new();
    let begin = Instant::now();
    loop {
        let appended: Result<i64, sqlx::Error> = sqlx::query_scalar(
            "select coalesce(sum(next_offset), 0)::bigint from stream_position where topic = $1",
        )
        .bind(topic)
        .fetch_one(&mut database)
        .await;
        // The tables may not be there yet.
        let appended = u64::try_from(appended.unwrap_or(0))?;
        if milestones.last().is_none_or(|it| it.appended < appended) && appended > 0 {
            milestones.push(Milestone {
                at: Instant::now(),
                appended,
                ledger: ledger.cpu()?,
                postgres: cpu_of_server("postgres"),
                work: StoreWork::read(&mut database).await?,
            });
        }
        if appended >= events {
            return Ok(CatchUp { milestones });
        }
        if begin.elapsed() > CATCH_UP_TIMEOUT {
            bail!("{appended} of {events} were appended: {}", ledger.log());
        }
        tokio::time::sleep(POLL_INTERVAL).await;
    }
}

impl CatchUp {
    /// The first milestone at which so many were appended.
    fn at(&self, appended: f64) -> Milestone {
        let passed = self.milestones.iter().find(|it| it.appended as f64 >= appended);
        let last = self.milestones.last();
        passed.or(last).copied().unwrap_or_else(|| Milestone {
            at: Instant::now(),
            appended: 0,
            ledger: 0.0,
            postgres: 0.0,
            work: StoreWork::default(),
        })
    }

    /// Events a second, without the start of the process.
    fn rate(&self) -> f64 {
        let (first, last) = (self.at(0.0), self.at(f64::INFINITY));
        (last.appended - first.appended) as f64 / (last.at - first.at).as_secs_f64()
    }

    fn report(&self, figures: &mut Figures) {
        let all = self.at(f64::INFINITY).appended as f64;
        let span = |from: f64, to: f64| {
            let (from, to) = (self.at(from), self.at(to));
            let events = (to.appended - from.appended) as f64;
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
            figures.compare(name, "s", late, early, target);
        }
    }

    /// The work of PostgreSQL per event.
    fn work(&self) -> StoreWork {
        let (first, last) = (self.at(0.0), self.at(f64::INFINITY));
        last.work.per_row_since(first.work, (last.appended - first.appended) as f64)
    }
}

/// An entry's columns that a bare insert repeats.
#[derive(sqlx::FromRow, Clone)]
struct EntryRow {
    tenant: String,
    received_at: chrono::DateTime<chrono::Utc>,
    anchor: Option<String>,
    #[sqlx(rename = "type")]
    kind: String,
    source_type: String,
    provenance: String,
    source: String,
    ce_source: String,
    ce_id: String,
    ce_time: Option<String>,
    at_ms: i64,
    sha256: Vec<u8>,
    original: Vec<u8>,
    event: String,
}

async fn some_rows(database: &mut PgConnection) -> anyhow::Result<Vec<EntryRow>> {
    let rows: Vec<EntryRow> = sqlx::query_as(
        "select tenant, received_at, anchor, type, source_type, provenance, source, ce_source, ce_id, ce_time, at_ms,
                sha256, original, event::text as event from entry order by received_at desc, id desc limit 20000",
    )
    .fetch_all(database)
    .await?;
    if rows.len() < BATCH {
        bail!("the ledger has {} entries", rows.len());
    }
    Ok(rows)
}

/// Rows a second, and the work of PostgreSQL per row: a transaction for each batch, one statement, one
/// connection.
async fn insert(
    database: &mut PgConnection,
    table: &str,
    rows: &[EntryRow],
    lasting: Duration,
) -> anyhow::Result<(f64, StoreWork)> {
    let statement = format!(
        "insert into {table} (id, tenant, received_at, anchor, type, source_type, provenance, source, ce_source, ce_id, ce_time,
                              at_ms, key, sha256, original, event, flags)
         select id, tenant, received_at, anchor, type, source_type, provenance, source, ce_source, ce_id, ce_time,
                at_ms, key, sha256, original, event::jsonb, '{{}}'
         from unnest($1::uuid[], $2::text[], $3::timestamptz[], $4::text[], $5::text[], $6::text[], $7::text[], $8::text[],
                     $9::text[], $10::text[], $11::text[], $12::bigint[], $13::bytea[], $14::bytea[], $15::bytea[],
                     $16::text[])
              as _ (id, tenant, received_at, anchor, type, source_type, provenance, source, ce_source, ce_id, ce_time,
                    at_ms, key, sha256, original, event)"
    );
    let work_before = StoreWork::read(database).await?;
    let (begin, mut inserted) = (Instant::now(), 0);
    let mut batches = rows.chunks_exact(BATCH).cycle();
    while begin.elapsed() < lasting
        && let Some(batch) = batches.next()
    {
        // Keys are as far apart as those of unseen events.
        let key = |_: &EntryRow| Uuid::new_v4().as_bytes().repeat(2);
        let mut transaction = database.begin().await?;
        sqlx::query(sqlx::AssertSqlSafe(statement.clone()))
            .bind(batch.iter().map(|_| Uuid::now_v7()).collect::<Vec<_>>())
            .bind(column(batch, |row| row.tenant.clone()))
            .bind(column(batch, |row| row.received_at))
            .bind(column(batch, |row| row.anchor.clone()))
            .bind(column(batch, |row| row.kind.clone()))
            .bind(column(batch, |row| row.source_type.clone()))
            .bind(column(batch, |row| row.provenance.clone()))
            .bind(column(batch, |row| row.source.clone()))
            .bind(column(batch, |row| row.ce_source.clone()))
            .bind(column(batch, |row| row.ce_id.clone()))
            .bind(column(batch, |row| row.ce_time.clone()))
            .bind(column(batch, |row| row.at_ms))
            .bind(column(batch, key))
            .bind(column(batch, |row| row.sha256.clone()))
            .bind(column(batch, |row| row.original.clone()))
            .bind(column(batch, |row| row.event.clone()))
            .execute(&mut *transaction)
            .await?;
        transaction.commit().await?;
        inserted += batch.len();
    }
    let rate = inserted as f64 / begin.elapsed().as_secs_f64();
    // The server counts the buffers of a connection a second after its last count.
    tokio::time::sleep(STATISTICS_DELAY).await;
    let work = StoreWork::read(database).await?;
    Ok((rate, work.per_row_since(work_before, inserted as f64)))
}

fn column<T>(rows: &[EntryRow], of: impl Fn(&EntryRow) -> T) -> Vec<T> {
    rows.iter().map(of).collect()
}
