//! A real Kafka and Postgres, and fresh namespaces on them.

use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use anyhow::{Context as _, anyhow};
use onrecord::cli::key;
use onrecord::config::{KeyHash, Secret};
use onrecord::http::api_role::ApiRole;
use onrecord::http::subscriber_token::SubscriberTokens;
use onrecord::postgres::Postgres;
use onrecord_devstack::{BinarySource, PrivatePostgres, RealKafka, fetch_jars};
use onrecord_evidence::event::ids::Tenant;
use rdkafka::ClientConfig;
use rdkafka::admin::{AdminClient, AdminOptions, NewTopic, TopicReplication};
use rdkafka::client::DefaultClientContext;
use sqlx::{Connection as _, PgConnection};

use super::baseline;
use super::process::Process;
use super::topics::PARTITIONS;

#[path = "../../tests/it/support/environment.rs"]
#[expect(
    clippy::disallowed_methods,
    reason = "the environment says which Postgres there is, as for the tests"
)]
mod host;

use host::environment as host_environment;

/// The options of the virtual machine that `kafka-server-start.sh` has by default
/// (`KAFKA_HEAP_OPTS`, `KAFKA_JVM_PERFORMANCE_OPTS`).
const DEFAULT_JVM_OPTIONS: &[&str] = &[
    "-Xmx1G",
    "-Xms1G",
    "-server",
    "-XX:+UseG1GC",
    "-XX:MaxGCPauseMillis=20",
    "-XX:InitiatingHeapOccupancyPercent=35",
    "-XX:+ExplicitGCInvokesConcurrent",
];

/// What docs/operate.md recommends for PostgreSQL, of a machine with 8 GB.
const POSTGRES_SETTINGS: &[&str] =
    &["shared_buffers=2GB", "max_wal_size=8GB", "max_locks_per_transaction=256"];
/// The key of the sources.
pub const SOURCE_KEY: &str = "the-source-key-of-the-measurements";
const TOKEN_KEY: &str = "a-token-key-of-the-measurements-that-is-long";
pub const TENANT: &str = "contoso";

/// The stores of all measurements.
pub struct Environment {
    kafka: RealKafka,
    postgres: PrivatePostgres,
    folder: tempfile::TempDir,
    namespaces: AtomicU64,
}

/// An unused database, and a prefix of unused topics.
pub struct Namespace {
    pub brokers: String,
    pub database_url: String,
    pub prefix: String,
    folder: PathBuf,
    processes: AtomicU64,
    /// Whether the database was there before, and stays.
    is_kept: bool,
}

impl Environment {
    /// Starts both stores.
    pub async fn start() -> anyhow::Result<Self> {
        let libraries = Path::new(env!("CARGO_TARGET_TMPDIR")).join("kafka-libs");
        let jars = fetch_jars(&host_environment().search_path, &libraries)
            .await
            .context("there is no real Kafka")?;
        let kafka = RealKafka::start(
            &jars,
            DEFAULT_JVM_OPTIONS,
            &host_environment().temporary_roots(),
            &[],
        )
        .await?;
        let postgres = PrivatePostgres::start_with(
            BinarySource::default(),
            &host_environment(),
            POSTGRES_SETTINGS,
        )
        .await?;
        Ok(Self { kafka, postgres, folder: tempfile::tempdir()?, namespaces: AtomicU64::new(0) })
    }

    /// A fresh namespace.
    pub async fn namespace(&self) -> anyhow::Result<Namespace> {
        let name = self.unused_name();
        let mut admin = PgConnection::connect(&self.postgres.admin_url()).await?;
        let create = sqlx::AssertSqlSafe(format!("create database {name}"));
        sqlx::query(create).execute(&mut admin).await?;
        admin.close().await?;
        self.namespace_of(&name, self.postgres.url(&name), false)
    }

    /// Fresh topics beside a database that exists, in which the tables are as this version has them.
    pub fn namespace_with(&self, database_url: &str) -> anyhow::Result<Namespace> {
        self.namespace_of(&self.unused_name(), database_url.to_owned(), true)
    }

    fn unused_name(&self) -> String {
        format!("bench{}", self.namespaces.fetch_add(1, Ordering::Relaxed))
    }

    fn namespace_of(
        &self,
        name: &str,
        database_url: String,
        is_kept: bool,
    ) -> anyhow::Result<Namespace> {
        let folder = self.folder.path().join(name);
        std::fs::create_dir(&folder)?;
        Ok(Namespace {
            brokers: self.kafka.bootstrap_servers(),
            database_url,
            prefix: format!("{name}."),
            folder,
            processes: AtomicU64::new(0),
            is_kept,
        })
    }

    /// Drops the database of a fresh namespace, so that the disk does not fill.
    pub async fn clear(&self, namespace: Namespace) -> anyhow::Result<()> {
        if !namespace.is_kept {
            let name = namespace.prefix.trim_end_matches('.');
            let mut admin = PgConnection::connect(&self.postgres.admin_url()).await?;
            let drop = sqlx::AssertSqlSafe(format!("drop database {name} with (force)"));
            sqlx::query(drop).execute(&mut admin).await?;
            admin.close().await?;
        }
        let topics = ["calling-events.v1", "notice-facts.v1", "quarantine.v1", "bare"]
            .map(|topic| format!("{}{topic}", namespace.prefix));
        let topics: Vec<&str> = topics.iter().map(String::as_str).collect();
        // A topic that was never created is no error here.
        let _ = admin(&namespace.brokers)?.delete_topics(&topics, &admin_options()).await;
        Ok(())
    }
}

impl Namespace {
    /// The full name of a topic of the service.
    pub fn topic(&self, name: &str) -> String {
        format!("{}{name}", self.prefix)
    }

    /// A topic for a baseline.
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
        let limit = onrecord::kafka::MAX_MESSAGE_BYTES;
        let topic = NewTopic::new(name, PARTITIONS, TopicReplication::Fixed(1))
            .set("max.message.bytes", limit);
        let made = admin(&self.brokers)?.create_topics([&topic], &admin_options()).await?;
        for outcome in made {
            outcome.map_err(|(name, code)| anyhow!("{name}: {code}"))?;
        }
        Ok(())
    }

    /// `serve` with these roles (all, if none is named), as a separate process.
    pub async fn serve(&self, roles: &str, more: &str) -> anyhow::Result<Process> {
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
        if !roles.is_empty() {
            command.args(["--roles", roles]);
        }
        let started = Process::start(command, &self.file("log")).await;
        started.context("onrecord serve")
    }

    /// A baseline, as a separate process.
    pub async fn baseline(&self, name: &str, topic: &str) -> anyhow::Result<Process> {
        let mut command = Command::new(std::env::current_exe()?);
        command.args([baseline::BASELINE_ARGUMENT, name, &self.brokers, topic]);
        let started = Process::start(command, &self.file("log")).await;
        started.with_context(|| format!("the baseline {name}"))
    }

    /// An API key of an app.
    pub async fn api_key(&self) -> anyhow::Result<String> {
        self.api_key_of(ApiRole::App).await
    }

    /// An API key with a role.
    pub async fn api_key_of(&self, role: ApiRole) -> anyhow::Result<String> {
        let store = Postgres::new(&self.database_url, 2)?;
        let key = key::create(&store, &Tenant::parse(TENANT)?, role, "measurements").await?;
        store.close().await;
        Ok(key)
    }

    fn file(&self, extension: &str) -> PathBuf {
        let number = self.processes.fetch_add(1, Ordering::Relaxed);
        self.folder.join(format!("{number}.{extension}"))
    }

    /// A connection for queries.
    pub async fn database(&self) -> anyhow::Result<PgConnection> {
        Ok(PgConnection::connect(&self.database_url).await?)
    }
}

/// Mints subscriber tokens as `serve` does.
pub fn tokens() -> SubscriberTokens {
    let key = Secret::new(TOKEN_KEY.to_owned());
    SubscriberTokens::new(&[key], Duration::from_secs(12 * 3600))
}

fn admin(brokers: &str) -> anyhow::Result<AdminClient<DefaultClientContext>> {
    Ok(ClientConfig::new().set("bootstrap.servers", brokers).create()?)
}

fn admin_options() -> AdminOptions {
    AdminOptions::new().operation_timeout(Some(Duration::from_secs(30)))
}
