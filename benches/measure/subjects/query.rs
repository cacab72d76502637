//! Queries a generated history over HTTP: latency of each resource, throughput beside `pgbench`, plans, what
//! a hundred times as many calls cost, and the pages of the console.

mod pages;
mod requests;
mod statements;

use std::path::Path;
use std::process::Command;
use std::time::{Duration, Instant};

use anyhow::{Context as _, bail};
use onrecord::http::api_role::ApiRole;

use crate::measure::arguments::Arguments;
use crate::measure::environment::{Environment, Namespace, TENANT};
use crate::measure::load::{Connection, closed};
use crate::measure::process::{Process, run_to_end};
use crate::measure::report::{Figures, Latencies, Target};
use requests::{RequestKind, request_kinds};
use statements::{LoggedStatement, SESSION_OPTIONS, large_scans, log_statements};

const PARTS: [&str; 7] =
    ["latency", "throughput", "plans", "flat", "pages", "open-pages", "first-paint"];
/// The calls of the whole history, and the days over which they are spread. A part of them is of fewer days.
const CALLS: u64 = 500_000;
const DAYS: u64 = 90;
/// The part of the calls that shows whether the cost grows with them.
const SMALL_PART: u64 = 100;
/// Requests of each kind that are measured, and before that are not.
const REQUESTS: usize = 300;
const WARM_REQUESTS: usize = 40;
const CLIENTS: u64 = 32;
/// Requests of each kind in the mixture of the clients.
const MIXED_OF_KIND: usize = 2;

/// A database with a history, and a server that answers from it.
struct Served {
    namespace: Namespace,
    server: Process,
    key: String,
    kinds: Vec<RequestKind>,
}

pub async fn measure(environment: &Environment, arguments: &Arguments) -> anyhow::Result<Figures> {
    let wanted = arguments.wanted(&PARTS)?;
    let calls = arguments.calls.unwrap_or(CALLS);
    let seconds = Duration::from_secs(arguments.seconds.unwrap_or(10));
    let mut figures = Figures::default();
    let namespace = match &arguments.history {
        Some(database_url) => environment.namespace_with(database_url)?,
        None => {
            let namespace = environment.namespace().await?;
            write_history(&namespace, calls, &mut figures).await?;
            namespace
        }
    };
    let logged = if wanted.contains(&"throughput") || wanted.contains(&"plans") {
        logged_statements(&namespace).await?
    } else {
        Vec::new()
    };
    if wanted.contains(&"plans") {
        let scans = large_scans(&namespace, &logged).await?;
        for scan in &scans {
            eprintln!("  a sequential scan: {scan}");
        }
        let name = "sequential scans of large tables in all plans";
        figures.check(name, "", scans.len() as f64, Target::AtMost(0.0));
    }
    let large = Served::start(namespace).await?;
    if wanted.contains(&"latency") {
        for kind in &large.kinds {
            let latencies = large.latencies(kind)?;
            figures.note(format!("{}: p50", kind.name), "ms", latencies.percentile(0.5));
            let p99 = latencies.percentile(0.99);
            figures.check(format!("{}: p99", kind.name), "ms", p99, Target::AtMost(20.0));
        }
    }
    if wanted.contains(&"throughput") {
        let ours = large.throughput(seconds)?;
        let bare = bare_throughput(&large.namespace, &logged, seconds)?;
        let name = format!("{CLIENTS} clients, beside the same SQL by pgbench");
        figures.compare(name, "answers/s", ours, bare, Some(Target::AtLeast(0.5)));
    }
    if wanted.contains(&"pages") {
        pages::measure_pages(&large, &mut figures)?;
    }
    if wanted.contains(&"open-pages") {
        pages::measure_open_pages(&large, &mut figures).await?;
    }
    if wanted.contains(&"first-paint") {
        pages::measure_first_paint(&large, &mut figures)?;
    }
    if wanted.contains(&"flat") {
        let namespace = environment.namespace().await?;
        write_history(&namespace, calls / SMALL_PART, &mut figures).await?;
        let small = Served::start(namespace).await?;
        let kinds = large.kinds.iter().zip(&small.kinds);
        for (kind, small_kind) in kinds.filter(|(kind, _)| kind.is_of_any_size) {
            let (of_small, of_large) = (small.latencies(small_kind)?, large.latencies(kind)?);
            let name = format!("{}: p50 beside that of a {SMALL_PART}th", kind.name);
            let (large, small) = (of_large.percentile(0.5), of_small.percentile(0.5));
            figures.compare(name, "ms", large, small, Some(Target::AtMost(1.15)));
        }
        small.server.stop().await;
        environment.clear(small.namespace).await?;
    }
    large.server.stop().await;
    environment.clear(large.namespace).await?;
    Ok(figures)
}

/// Writes a history by the command.
async fn write_history(
    namespace: &Namespace,
    calls: u64,
    figures: &mut Figures,
) -> anyhow::Result<()> {
    let folder = tempfile::tempdir()?;
    let days = (calls * DAYS / CALLS).max(1);
    let mut command = Command::new(env!("CARGO_BIN_EXE_onrecord"));
    command
        .args(["simulate", "history", "--tenant", TENANT])
        .args(["--calls", &calls.to_string(), "--days", &days.to_string()])
        .env("ONRECORD_DATABASE_URL", &namespace.database_url)
        .current_dir(folder.path());
    let (took, _) = run_to_end(command, &folder.path().join("log")).await?;
    let mut database = namespace.database().await?;
    let entries: i64 =
        sqlx::query_scalar("select count(*) from entry").fetch_one(&mut database).await?;
    let size: i64 = sqlx::query_scalar("select pg_database_size(current_database())")
        .fetch_one(&mut database)
        .await?;
    figures.note(format!("{calls} calls: written in"), "s", took.as_secs_f64());
    figures.note("… their events", "", entries as f64);
    figures.note("… events a second", "1/s", entries as f64 / took.as_secs_f64());
    figures.note("… size of the database", "MB", size as f64 / 1e6);
    Ok(())
}

impl Served {
    async fn start(namespace: Namespace) -> anyhow::Result<Self> {
        let key = namespace.api_key_of(ApiRole::Admin).await?;
        let kinds = request_kinds(&mut namespace.database().await?).await?;
        let server = namespace.serve("query,console", "").await?;
        Ok(Self { namespace, server, key, kinds })
    }

    fn get(&self, path: &str) -> Vec<u8> {
        get(path, &self.key)
    }

    /// The paths of a kind of requests.
    fn paths_of(&self, name: &str) -> &[String] {
        let kind = self.kinds.iter().find(|kind| kind.name == name);
        kind.map_or(&[], |kind| &kind.paths)
    }

    /// How long requests of a kind take, one after the other.
    fn latencies(&self, kind: &RequestKind) -> anyhow::Result<Latencies> {
        let mut connection = Connection::open(self.server.address())?;
        let mut latencies = Latencies::with_capacity(REQUESTS);
        for number in 0..WARM_REQUESTS + REQUESTS {
            let path = &kind.paths[number % kind.paths.len()];
            let request = self.get(path);
            let sent = Instant::now();
            let answer = connection.request(&request)?;
            if answer.status != 200 {
                bail!("{path}: {} {}", answer.status, String::from_utf8_lossy(&answer.body));
            }
            if number >= WARM_REQUESTS {
                latencies.add(sent.elapsed());
            }
        }
        Ok(latencies)
    }

    /// Answers a second to a mixture of all kinds.
    fn throughput(&self, lasting: Duration) -> anyhow::Result<f64> {
        let requests: Vec<Vec<u8>> = mixed(&self.kinds).map(|path| self.get(path)).collect();
        let request = |number: u64| requests[number as usize % requests.len()].clone();
        let outcome = closed(self.server.address(), CLIENTS, lasting, &request)?;
        Ok(outcome.whole()?.rate())
    }
}

fn get(path: &str, key: &str) -> Vec<u8> {
    format!("GET {path} HTTP/1.1\r\nhost: localhost\r\nauthorization: Bearer {key}\r\nx-onrecord-purpose: measurement\r\n\r\n").into_bytes()
}

/// Some requests of each kind.
fn mixed(kinds: &[RequestKind]) -> impl Iterator<Item = &String> {
    kinds.iter().flat_map(|kind| kind.paths.iter().take(MIXED_OF_KIND))
}

/// The statements of each request of the mixture, as the log of the database has them.
async fn logged_statements(namespace: &Namespace) -> anyhow::Result<Vec<Vec<LoggedStatement>>> {
    let log = log_statements(namespace, true).await?;
    let key = namespace.api_key_of(ApiRole::Admin).await?;
    let kinds = request_kinds(&mut namespace.database().await?).await?;
    let server = namespace.serve("query", "").await?;
    let mut connection = Connection::open(server.address())?;
    let mut logged = Vec::new();
    for path in mixed(&kinds) {
        let request = get(path, &key);
        // The first answer prepares statements, and the key is known afterwards.
        let _prepared = connection.request(&request)?;
        let statements = log.statements_of(|| connection.request(&request).map(drop))?;
        logged.push(statements);
    }
    server.stop().await;
    log_statements(namespace, false).await?;
    Ok(logged)
}

/// Transactions a second of `pgbench` with the statements of the mixture.
fn bare_throughput(
    namespace: &Namespace,
    logged: &[Vec<LoggedStatement>],
    lasting: Duration,
) -> anyhow::Result<f64> {
    let folder = tempfile::tempdir()?;
    let mut command = Command::new(pgbench()?);
    command.args(["-n", "-M", "prepared", "-j", "2"]);
    command.args(["-c", &CLIENTS.to_string(), "-T", &lasting.as_secs().to_string()]);
    for (number, statements) in logged.iter().enumerate() {
        let file = folder.path().join(format!("{number}.sql"));
        let mut script = String::new();
        for (place, statement) in statements.iter().enumerate() {
            let name = format!("v{number}_{place}_");
            script.push_str(&statement.with_variables(&name));
            script.push_str(";\n");
            for (variable, value) in statement.variables(&name) {
                command.arg("-D").arg(format!("{variable}={value}"));
            }
        }
        std::fs::write(&file, script)?;
        command.arg("-f").arg(file);
    }
    command.env("PGOPTIONS", SESSION_OPTIONS).arg(&namespace.database_url);
    let output = command.output().context("pgbench")?;
    let text = String::from_utf8_lossy(&output.stdout);
    if !output.status.success() {
        bail!("pgbench: {text}\n{}", String::from_utf8_lossy(&output.stderr));
    }
    let rate = text
        .lines()
        .find_map(|line| line.strip_prefix("tps = ")?.split(' ').next()?.parse::<f64>().ok());
    rate.with_context(|| format!("pgbench states no rate: {text}"))
}

/// The program, as Debian installs it or in the search path.
fn pgbench() -> anyhow::Result<std::path::PathBuf> {
    let debian = Path::new("/usr/lib/postgresql");
    let versions = std::fs::read_dir(debian).into_iter().flatten().flatten();
    let mut found: Vec<_> = versions.map(|version| version.path().join("bin/pgbench")).collect();
    found.retain(|path| path.is_file());
    found.sort();
    Ok(found.pop().unwrap_or_else(|| "pgbench".into()))
}
