//! Real Kafka and Postgres, and fresh plots on them.

use std::path::PathBuf;
use std::process::Command;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use anyhow::{Context as _, anyhow};
use onrecord::cli::key;
use onrecord::config::{KeyHash, Secret};
use onrecord::domain::ids::Tenant;
use onrecord::embedded::{BinarySource, PrivatePostgres};
use onrecord::notify::SubscriberTokens;
use onrecord::store::{Role, Store};
use rdkafka::ClientConfig;
use rdkafka::admin::{AdminClient, AdminOptions, NewTopic, TopicReplication};
use rdkafka::client::DefaultClientContext;
use sqlx::{Connection as _, PgConnection};

use super::counterpart;
use super::process::Process;

#[path = "../../tests/it/surroundings.rs"]
#[expect(
    clippy::disallowed_methods,
    reason = "as the tests do: which Postgres there is tells the environment"
)]
mod at_home;
#[path = "../../tests/it/kafka/jars.rs"]
mod jars;
#[path = "../../tests/it/kafka/real.rs"]
#[expect(
    dead_code,
    clippy::unwrap_used,
    reason = "the tests also stop and pause it, and may stop at the first thing that is wrong"
)]
mod real;

use at_home::surroundings;
use real::RealKafka;

/// How `kafka-server-start.sh` sets the virtual machine where nobody says otherwise
/// (`KAFKA_HEAP_OPTS`, `KAFKA_JVM_PERFORMANCE_OPTS`).
const AS_SHIPPED: &[&str] = &[
    "-Xmx1G",
    "-Xms1G",
    "-server",
    "-XX:+UseG1GC",
    "-XX:MaxGCPauseMillis=20",
    "-XX:InitiatingHeapOccupancyPercent=35",
    "-XX:+ExplicitGCInvokesConcurrent",
];

/// What the doors want to see.
pub const SOURCE_KEY: &str = "the-source-key-of-the-measurements";
const TOKEN_KEY: &str = "a-token-key-of-the-measurements-that-is-long";
/// As `onrecord` lays out its topics.
pub const PARTITIONS: i32 = 12;
pub const TENANT: &str = "contoso";

/// The stores, for all that is measured.
pub struct Ground {
    kafka: RealKafka,
    postgres: PrivatePostgres,
    folder: tempfile::TempDir,
    plots: AtomicU64,
}

/// A database and topics that nobody has used.
pub struct Plot {
    pub brokers: String,
    pub database_url: String,
    pub prefix: String,
    folder: PathBuf,
    processes: AtomicU64,
}

impl Ground {
    /// Starts both stores.
    pub async fn lay() -> anyhow::Result<Self> {
        let jars = jars::fetched()
            .await
            .map_err(|reason| anyhow!("no real Kafka can be had: {reason}"))?;
        let kafka = RealKafka::start(&jars, AS_SHIPPED).await;
        let kafka = kafka.map_err(|it| anyhow!(it))?;
        let postgres = PrivatePostgres::start(BinarySource::default(), &surroundings()).await?;
        Ok(Self {
            kafka,
            postgres,
            folder: tempfile::tempdir()?,
            plots: AtomicU64::new(0),
        })
    }

    /// A fresh plot.
    pub async fn plot(&self) -> anyhow::Result<Plot> {
        let number = self.plots.fetch_add(1, Ordering::Relaxed);
        let name = format!("plot{number}");
        let folder = self.folder.path().join(&name);
        std::fs::create_dir(&folder)?;
        let mut admin = PgConnection::connect(&self.postgres.admin_url()).await?;
        let create = sqlx::AssertSqlSafe(format!("create database {name}"));
        sqlx::query(create).execute(&mut admin).await?;
        admin.close().await?;
        Ok(Plot {
            brokers: self.kafka.bootstrap_servers(),
            database_url: self.postgres.url(&name),
            prefix: format!("{name}."),
            folder,
            processes: AtomicU64::new(0),
        })
    }

    /// Drops a plot's database, so that the disk does not fill.
    pub async fn clear(&self, plot: Plot) -> anyhow::Result<()> {
        let name = plot.prefix.trim_end_matches('.');
        let mut admin = PgConnection::connect(&self.postgres.admin_url()).await?;
        let drop = sqlx::AssertSqlSafe(format!("drop database {name} with (force)"));
        sqlx::query(drop).execute(&mut admin).await?;
        admin.close().await?;
        let topics = [
            "calling-events.v1",
            "notice-facts.v1",
            "quarantine.v1",
            "bare",
        ]
        .map(|topic| format!("{}{topic}", plot.prefix));
        let topics: Vec<&str> = topics.iter().map(String::as_str).collect();
        // One that was never made is no loss.
        let _ = self::admin(&plot.brokers)?
            .delete_topics(&topics, &patience())
            .await;
        Ok(())
    }
}

impl Plot {
    /// The full name of a topic of the product.
    pub fn topic(&self, name: &str) -> String {
        format!("{}{name}", self.prefix)
    }

    /// A topic for a bare counterpart.
    pub async fn bare_topic(&self) -> anyhow::Result<String> {
        let name = self.topic("bare");
        self.make_topic(&name).await?;
        Ok(name)
    }

    /// The topic of events, before `serve` is there to make it.
    pub async fn events_topic(&self) -> anyhow::Result<String> {
        let name = self.topic("calling-events.v1");
        self.make_topic(&name).await?;
        Ok(name)
    }

    async fn make_topic(&self, name: &str) -> anyhow::Result<()> {
        let limit = onrecord::stream::LARGEST_MESSAGE;
        let topic = NewTopic::new(name, PARTITIONS, TopicReplication::Fixed(1))
            .set("max.message.bytes", limit);
        let made = admin(&self.brokers)?
            .create_topics([&topic], &patience())
            .await?;
        for outcome in made {
            outcome.map_err(|(name, code)| anyhow!("{name}: {code}"))?;
        }
        Ok(())
    }

    /// `serve` with these rooms (all, if none is named), as a process of its own.
    pub async fn serve(&self, rooms: &str, more: &str) -> anyhow::Result<Process> {
        let hash = KeyHash::of(SOURCE_KEY);
        let settings = format!(
            r#"
            listen = "127.0.0.1:0"
            database_url = "{}"
            kafka_brokers = "{}"
            topic_prefix = "{}"
            {more}
            [tokens]
            keys = ["{TOKEN_KEY}"]
            [sources.eg]
            kind = "event-grid"
            tenant = "{TENANT}"
            keys = ["{hash}"]
            [sources.ca]
            kind = "call-automation"
            tenant = "{TENANT}"
            keys = ["{hash}"]
            "#,
            self.database_url, self.brokers, self.prefix,
        );
        let file = self.file("toml");
        std::fs::write(&file, settings)?;
        let mut command = Command::new(env!("CARGO_BIN_EXE_onrecord"));
        command.arg("serve").arg("--config").arg(&file);
        if !rooms.is_empty() {
            command.args(["--rooms", rooms]);
        }
        let started = Process::start(command, &self.file("log")).await;
        started.context("onrecord serve")
    }

    /// A counterpart, as a process of its own.
    pub async fn counterpart(&self, name: &str, topic: &str) -> anyhow::Result<Process> {
        let mut command = Command::new(std::env::current_exe()?);
        command.args([counterpart::WORD, name, &self.brokers, topic]);
        let started = Process::start(command, &self.file("log")).await;
        started.with_context(|| format!("the counterpart {name}"))
    }

    /// An API key of an app.
    pub async fn api_key(&self) -> anyhow::Result<String> {
        let store = Store::new(&self.database_url, 2)?;
        let key = key::create(&store, &Tenant::parse(TENANT)?, Role::App, "measurements").await?;
        store.close().await;
        Ok(key)
    }

    fn file(&self, extension: &str) -> PathBuf {
        let number = self.processes.fetch_add(1, Ordering::Relaxed);
        self.folder.join(format!("{number}.{extension}"))
    }

    /// A connection for questions to the tables.
    pub async fn database(&self) -> anyhow::Result<PgConnection> {
        Ok(PgConnection::connect(&self.database_url).await?)
    }
}

/// Makes subscriber tokens as `serve` would.
pub fn tokens() -> SubscriberTokens {
    let key = Secret::new(TOKEN_KEY.to_owned());
    SubscriberTokens::new(&[key], Duration::from_secs(12 * 3600))
}

fn admin(brokers: &str) -> anyhow::Result<AdminClient<DefaultClientContext>> {
    Ok(ClientConfig::new()
        .set("bootstrap.servers", brokers)
        .create()?)
}

fn patience() -> AdminOptions {
    AdminOptions::new().operation_timeout(Some(Duration::from_secs(30)))
}
