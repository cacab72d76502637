//! The environment of the demonstration: private stores, and the server in this process.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::Duration;

use anyhow::{Context as _, anyhow};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use metrics_exporter_prometheus::PrometheusHandle;
use tokio::net::TcpListener;
use tokio::sync::watch;
use tokio::task::JoinHandle;

use super::page::{self, PageCalls, PageSetup};
use super::terminal::Terminal;
use crate::cli::key;
use crate::cli::serve::{self, Application};
use crate::clock;
use crate::config::{self, KeyHash, ProcessEnvironment, Secret, Settings};
use crate::http::api_role::ApiRole;
use crate::kafka::{KafkaClientConfig, Topic, delete_topics};
use crate::lifecycle::detached::spawn_detached;
use crate::lifecycle::{Health, Lifecycle};
use crate::postgres::Postgres;
use onrecord_devstack::{BinarySource, HostEnvironment, InProcessBroker, PrivatePostgres};
use onrecord_evidence::event::ids::Tenant;
use onrecord_simulator::{HttpSender, ServerAccess, SimulatedResource, SourceAccess};

/// The tenant of the simulated calls.
const TENANT: &str = "demo";
const EVENT_GRID: &str = "demo-event-grid";
/// The origins whose pages may call a demonstration for which none are configured.
const LOCAL_ORIGINS: &str = r#"["http://localhost:*", "https://localhost:*", "http://127.0.0.1:*", "https://127.0.0.1:*", "http://[::1]:*", "https://[::1]:*"]"#;
const CALL_AUTOMATION: &str = "demo-call-automation";

/// Interval after which a message explains the start of PostgreSQL: without an installed one, it is
/// downloaded.
const EXPLANATION_AFTER: Duration = Duration::from_secs(4);
/// Timeout of the readiness of all components.
const READY_TIMEOUT: Duration = Duration::from_secs(60);
/// Interval between two checks of the readiness.
const POLL_INTERVAL: Duration = Duration::from_millis(20);

/// What the environment is started from.
pub(super) struct DemoPlan {
    pub settings: Settings,
    surroundings: ProcessEnvironment,
    source_key: String,
    seed: u64,
    resource: SimulatedResource,
}

impl DemoPlan {
    /// Takes the settings that are given, except what belongs to the demonstration: the database, the
    /// topics, the sources, the tenants, the history and the log. Without configured origins, pages of
    /// this machine may call it.
    pub(super) fn new(
        given: Settings,
        seed: u64,
        resource: SimulatedResource,
        verbose: bool,
    ) -> anyhow::Result<Self> {
        let surroundings = config::process_environment();
        let (source_key, token_key) = (key::random_secret(), key::random_secret());
        let webhook_key = STANDARD.encode(rand::random::<[u8; 32]>());
        let hash = KeyHash::of(&source_key);
        let source = |name: &str, kind: &str| {
            let resource = &resource.resource_id;
            format!(
                "[sources.{name}]\nkind = \"{kind}\"\ntenant = \"{TENANT}\"\nkeys = [\"{hash}\"]\nresource_ids = [\"{resource}\"]\n"
            )
        };
        // Messages of the database library about a quick stop do not matter.
        let filter = if verbose { "info,onrecord=debug" } else { "warn,sqlx=error" };
        let own = Settings::from_toml(&format!(
            "cors.origins = {LOCAL_ORIGINS}\n[log]\nfilter = \"{filter}\"\nformat = \"pretty\"\n[live]\nhistory = \"all\"\n[tokens]\nkeys = [\"{token_key}\"]\n[webhooks]\nkeys = [\"{webhook_key}\"]\n{}{}",
            source(EVENT_GRID, "event-grid"),
            source(CALL_AUTOMATION, "call-automation"),
        ))?;
        let mut settings = Settings {
            // Positions must not outlive their broker, and demonstrations must not disturb each
            // other.
            topic_prefix: format!("demo-{:08x}.", rand::random::<u32>()),
            log: own.log,
            live: own.live,
            sources: own.sources,
            tenants: own.tenants,
            ..given
        };
        if surroundings.kafka_brokers.is_none() {
            settings.kafka = own.kafka;
        }
        if settings.tokens.keys.is_empty() {
            settings.tokens.keys = own.tokens.keys;
        }
        if settings.webhooks.keys.is_empty() {
            settings.webhooks.keys = own.webhooks.keys;
        }
        if settings.cors.origins.is_empty() {
            settings.cors = own.cors;
        }
        Ok(Self { settings, surroundings, source_key, seed, resource })
    }
}

/// The server of the demonstration, and its keys.
pub(super) struct DemoServer {
    /// The address of the server.
    pub url: String,
    /// The stores in use, for display.
    pub stores: String,
    /// The tenant of the simulated calls.
    pub tenant: Tenant,
    /// The path of this program.
    pub program: PathBuf,
    pub event_grid: SourceAccess,
    pub call_automation: SourceAccess,
    /// An API key of role `app`.
    pub app_key: String,
    /// An API key of role `admin`.
    pub admin_key: String,
}

impl DemoServer {
    /// Where the simulator posts, and its credentials.
    pub(super) fn access(&self) -> ServerAccess {
        ServerAccess {
            url: self.url.clone(),
            event_grid: Some(self.event_grid.clone()),
            call_automation: Some(self.call_automation.clone()),
            api_key: Some(self.app_key.clone()),
            by_proxy: false,
        }
    }
}

/// Everything that has to be removed at the end. Dropping it stops its servers at once.
pub(super) struct DemoEnvironment {
    pub server: DemoServer,
    /// The reason, if the server ends by itself.
    pub failed: watch::Receiver<Option<String>>,
    lifecycle: Lifecycle,
    served: JoinHandle<()>,
    postgres: PrivatePostgres,
    broker: Option<InProcessBroker>,
    connection: KafkaClientConfig,
}

impl DemoEnvironment {
    /// Starts everything.
    pub(super) async fn start(
        plan: DemoPlan,
        metrics: PrometheusHandle,
        lifecycle: Lifecycle,
        terminal: &Terminal,
    ) -> anyhow::Result<Self> {
        let DemoPlan { mut settings, surroundings, source_key, seed, resource } = plan;
        let postgres = start_postgres(&surroundings.host, terminal).await?;
        settings.database_url = Secret::new(postgres.admin_url());
        let (broker, kafka) = match surroundings.kafka_brokers {
            Some(brokers) => {
                settings.kafka_brokers.clone_from(&brokers);
                (None, format!("the Kafka at {brokers}"))
            }
            None => (Some(start_broker(&mut settings).await?), "an in-process broker".to_owned()),
        };
        let stores = format!("a private PostgreSQL {} and {kafka}", postgres.version());
        terminal.print(&format!("Started {stores}."));
        let (app_key, admin_key) = make_keys(&settings).await?;
        let listener = listen(settings.listen).await?;
        let server = DemoServer {
            url: local_url(listener.local_addr()?),
            stores,
            tenant: Tenant::parse(TENANT)?,
            program: surroundings.program,
            event_grid: SourceAccess { name: EVENT_GRID.to_owned(), key: source_key.clone() },
            call_automation: SourceAccess { name: CALL_AUTOMATION.to_owned(), key: source_key },
            app_key,
            admin_key,
        };
        let connection = KafkaClientConfig::new(&settings);
        let setup =
            PageSetup { app_key: server.app_key.clone(), admin_key: server.admin_key.clone() };
        let sender = HttpSender::new(server.access(), None)?;
        let calls = PageCalls::new(resource, seed, sender, lifecycle.clone());
        let application =
            Application::new(settings, serve::ServeOptions::default(), metrics, lifecycle.clone())?
                .for_demo(&server.admin_key)
                .with_routes(page::router(setup, calls));
        let (failure, failed) = watch::channel(None);
        let served = spawn_detached(async move {
            let reason = match application.serve(listener).await {
                Ok(()) => "it stopped by itself; --verbose shows the reason".to_owned(),
                Err(error) => format!("{error:#}"),
            };
            // The receiver is gone after a requested end.
            let _ = failure.send(Some(reason));
        });
        Ok(Self { server, failed, lifecycle, served, postgres, broker, connection })
    }

    /// Waits until the server ends by itself, and returns the reason.
    pub(super) async fn failure(mut failed: watch::Receiver<Option<String>>) -> anyhow::Error {
        // Only a panic drops the sender without a reason.
        let reason = failed.wait_for(Option::is_some).await.ok().and_then(|reason| reason.clone());
        anyhow!("the server ended: {}", reason.as_deref().unwrap_or("it panicked"))
    }

    /// Waits until all components are ready.
    pub(super) async fn until_ready(&self) -> anyhow::Result<()> {
        let readiness = self.lifecycle.readiness();
        let not_ready = || -> Vec<String> {
            let view = readiness.view();
            let state = |name: &str| match view.get(name) {
                Some(Health::Healthy) => None,
                Some(Health::Unhealthy(why)) => Some(format!("{name}: {why}")),
                _ => Some(format!("{name}: not started yet")),
            };
            ["postgres", "kafka", "ledger", "live"].into_iter().filter_map(state).collect()
        };
        let ready = async {
            while !not_ready().is_empty() {
                tokio::time::sleep(POLL_INTERVAL).await;
            }
        };
        let within = tokio::time::timeout(READY_TIMEOUT, ready).await;
        within.map_err(|_| {
            anyhow!("not ready after {} s: {}", READY_TIMEOUT.as_secs(), not_ready().join("; "))
        })
    }

    /// Stops everything in order and removes what was created.
    pub(super) async fn close(self) {
        let Self { lifecycle, served, broker, postgres, connection, .. } = self;
        lifecycle.stop();
        // A failure has been reported by `failure`; a panic too.
        let _ = served.await;
        if broker.is_none()
            && let Err(error) = delete_topics(&connection).await
        {
            tracing::warn!(error = %error, "the topics of this demonstration stay in kafka: {error}");
        }
        drop(broker);
        postgres.stop().await;
    }
}

async fn start_postgres(
    host: &HostEnvironment,
    terminal: &Terminal,
) -> anyhow::Result<PrivatePostgres> {
    let start = PrivatePostgres::start(BinarySource::default(), host);
    tokio::pin!(start);
    let started = tokio::select! {
        started = &mut start => started,
        () = tokio::time::sleep(EXPLANATION_AFTER) => {
            terminal.print("Starting a private PostgreSQL. Where none is installed, it is downloaded once (10 MB) and kept.");
            start.await
        }
    };
    started.context("no private PostgreSQL could be started")
}

async fn start_broker(settings: &mut Settings) -> anyhow::Result<InProcessBroker> {
    let broker = InProcessBroker::start().await?;
    settings.kafka_brokers = broker.bootstrap_servers().to_owned();
    let connection = KafkaClientConfig::new(settings);
    for topic in Topic::ALL {
        // Topics that the broker creates by itself would have 4 partitions.
        broker.create_topic(&connection.topic(topic), settings.kafka.partitions).await?;
    }
    Ok(broker)
}

async fn make_keys(settings: &Settings) -> anyhow::Result<(String, String)> {
    let store = Postgres::new(settings.database_url.expose(), 2)?;
    store.migrate(clock::now()).await.context("the schema could not be created")?;
    let tenant = Tenant::parse(TENANT)?;
    let app = key::create(&store, &tenant, ApiRole::App, "the listening client").await?;
    let admin = key::create(&store, &tenant, ApiRole::Admin, "for you").await?;
    store.close().await;
    Ok((app, admin))
}

/// Listens where the settings say, or on any free port of the same address if that port is taken.
async fn listen(wanted: SocketAddr) -> anyhow::Result<TcpListener> {
    match TcpListener::bind(wanted).await {
        Ok(listener) => Ok(listener),
        Err(_) => TcpListener::bind((wanted.ip(), 0))
            .await
            .with_context(|| format!("cannot listen on {}", wanted.ip())),
    }
}

/// The URL under which this machine reaches the address.
fn local_url(mut address: SocketAddr) -> String {
    if address.ip().is_unspecified() {
        address.set_ip(match address {
            SocketAddr::V4(_) => std::net::Ipv4Addr::LOCALHOST.into(),
            SocketAddr::V6(_) => std::net::Ipv6Addr::LOCALHOST.into(),
        });
    }
    format!("http://{address}")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_demonstration_takes_only_listener_and_kafka_from_the_settings() {
        let settings = Settings::from_toml(
            "listen = \"127.0.0.1:9999\"\ndatabase_url = \"postgres://production\"\ntopic_prefix = \"prod.\"\n[sources.a]\nkind = \"event-grid\"\ntenant = \"t\"",
        );
        let plan =
            DemoPlan::new(settings.unwrap(), 1, SimulatedResource::new(1, None), false).unwrap();
        assert_eq!(plan.settings.listen.port(), 9999);
        assert!(plan.settings.topic_prefix.starts_with("demo-"));
        let sources: Vec<&str> = plan.settings.sources.keys().map(String::as_str).collect();
        assert_eq!(sources, [CALL_AUTOMATION, EVENT_GRID]);
        assert!(plan.settings.sources[EVENT_GRID].keys[0].matches(&plan.source_key));
    }

    #[test]
    fn an_unspecified_address_is_reached_by_loopback() {
        assert_eq!(local_url("0.0.0.0:8080".parse().unwrap()), "http://127.0.0.1:8080");
        assert_eq!(local_url("[::]:8080".parse().unwrap()), "http://[::1]:8080");
        assert_eq!(local_url("10.1.2.3:80".parse().unwrap()), "http://10.1.2.3:80");
    }
}
