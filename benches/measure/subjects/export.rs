//! Exports events in each format, beside a bare `copy` of the same query.

use std::process::Command;
use std::time::{Duration, Instant};

use anyhow::{Context as _, bail};
use futures_util::TryStreamExt as _;
use onrecord::clock;
use onrecord::postgres::Postgres;
use sqlx::{Connection as _, PgConnection};

use crate::measure::arguments::Arguments;
use crate::measure::environment::{Environment, Namespace, TENANT};
use crate::measure::process::run_to_end;
use crate::measure::report::{Figures, Target};

const FORMATS: [&str; 3] = ["csv", "ndjson", "parquet"];
/// The part of the rows that shows whether memory grows with them.
const SMALL_PART: u64 = 10;

pub async fn measure(environment: &Environment, arguments: &Arguments) -> anyhow::Result<Figures> {
    let wanted = arguments.wanted(&FORMATS)?;
    let events = arguments.events.unwrap_or(1_000_000);
    let mut figures = Figures::default();
    let namespace = environment.namespace().await?;
    fill(&namespace, events).await?;
    for format in wanted {
        let bare = bare_copy(&namespace, events).await?;
        let (took, peak) = export(&namespace, format, events).await?;
        let (_, small_peak) = export(&namespace, format, events / SMALL_PART).await?;
        let rate = |time: Duration| events as f64 / time.as_secs_f64();
        let name = format!("{events} events as {format}");
        figures.compare(name, "rows/s", rate(took), rate(bare), Some(Target::AtLeast(0.5)));
        let name = format!("… peak memory for {format} beside that of a {SMALL_PART}th of them");
        figures.compare(name, "MB", peak, small_peak, Some(Target::AtMost(1.5)));
    }
    environment.clear(namespace).await?;
    Ok(figures)
}

/// Appends events, one a second.
async fn fill(namespace: &Namespace, events: u64) -> anyhow::Result<()> {
    let store = Postgres::new(&namespace.database_url, 2)?;
    store.migrate(clock::now()).await?;
    store.close().await;
    let mut owner = PgConnection::connect(&namespace.database_url).await?;
    sqlx::query(
        "insert into entry (id, tenant, received_at, anchor, type, source_type, provenance, source, ce_source, ce_id, at_ms, key, sha256, original, event)
         select gen_random_uuid(), $1, to_timestamp(1700000000 + number), md5((number / 10)::text), 'participant.joined', 'Microsoft.Communication.CallParticipantAdded',
            'eg', 'contoso-calls', '/subscriptions/contoso', gen_random_uuid()::text, (1700000000 + number) * 1000,
            sha256(number::text::bytea), sha256(number::text::bytea), '', '{}'
         from generate_series(0, $2 - 1) as number",
    )
    .bind(TENANT)
    .bind(i64::try_from(events)?)
    .execute(&mut owner)
    .await?;
    sqlx::raw_sql("vacuum analyze entry").execute(&mut owner).await?;
    Ok(())
}

/// How long the database takes to send the rows, as the role of readers.
async fn bare_copy(namespace: &Namespace, events: u64) -> anyhow::Result<Duration> {
    let mut reader = PgConnection::connect(&namespace.database_url).await?;
    let settings = format!("set role onrecord_reader; set onrecord.tenant = '{TENANT}'");
    sqlx::raw_sql(sqlx::AssertSqlSafe(settings)).execute(&mut reader).await?;
    let copy = format!(
        "copy (select * from reading.events where tenant = '{TENANT}' and received_at >= to_timestamp(1700000000) and received_at < to_timestamp(1700000000 + {events}) order by received_at, event) to stdout with (format csv)"
    );
    let began = Instant::now();
    let mut rows = 0;
    let mut chunks = reader.copy_out_raw(&copy).await?;
    while chunks.try_next().await?.is_some() {
        rows += 1;
    }
    if rows != events {
        bail!("the copy has {rows} rows of {events}");
    }
    Ok(began.elapsed())
}

/// How long `onrecord export` takes, and its peak memory in MB.
async fn export(
    namespace: &Namespace,
    format: &str,
    events: u64,
) -> anyhow::Result<(Duration, f64)> {
    let folder = tempfile::tempdir()?;
    let instant = |seconds: u64| {
        chrono::DateTime::from_timestamp(i64::try_from(seconds).unwrap_or(i64::MAX), 0)
            .context("the instant is out of range")
    };
    let mut command = Command::new(env!("CARGO_BIN_EXE_onrecord"));
    command
        .args(["export", "--tenant", TENANT, "--what", "events", "--format", format])
        .args(["--from", &instant(1_700_000_000)?.to_rfc3339()])
        .args(["--to", &instant(1_700_000_000 + events)?.to_rfc3339()])
        .arg("--out")
        .arg(folder.path().join("out"))
        .env("ONRECORD_DATABASE_URL", &namespace.database_url)
        .env("ONRECORD_EXPORTS__MAX_ROWS", (events * 10).to_string())
        .current_dir(folder.path());
    run_to_end(command, &folder.path().join("log")).await
}
