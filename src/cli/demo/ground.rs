//! What the demonstration stands on: stores, and the server in this process.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::Duration;

use anyhow::{Context as _, anyhow};
use metrics_exporter_prometheus::PrometheusHandle;
use tokio::net::TcpListener;
use tokio::sync::watch;
use tokio::task::JoinHandle;

use super::screen::Screen;
use crate::cli::key;
use crate::cli::serve::{self, House};
use crate::clock;
use crate::config::{self, KeyHash, Secret, Settings, Surroundings};
use crate::domain::ids::Tenant;
use crate::embedded::{self, BinarySource, InProcessBroker, PrivatePostgres};
use crate::lifecycle::{Health, Lifecycle};
use crate::simulator::{SourceAccess, World};
use crate::store::{Role, Store};
use crate::stream::{Connection, Topic, delete_topics};

/// Whose calls they are.
const TENANT: &str = "demo";
const EVENT_GRID: &str = "demo-event-grid";
const CALL_AUTOMATION: &str = "demo-call-automation";

/// Without an installed PostgreSQL one is fetched, which is worth a word after so long.
const WORTH_A_WORD: Duration = Duration::from_secs(4);
/// Everything must be well within this time.
const READY: Duration = Duration::from_secs(60);
/// And is looked at so often.
const LOOK: Duration = Duration::from_millis(20);

/// What is to be prepared.
pub(super) struct Plan {
    pub settings: Settings,
    surroundings: Surroundings,
    source_key: String,
}

impl Plan {
    /// Takes over where to listen and how to reach Kafka from the settings; all else is the
    /// demonstration's own.
    pub fn new(given: Settings, world: &World, verbose: bool) -> anyhow::Result<Self> {
        let surroundings = config::surroundings();
        let (source_key, token_key) = (key::draw(), key::draw());
        let hash = KeyHash::of(&source_key);
        let source = |name: &str, kind: &str| {
            let resource = &world.resource_id;
            format!(
                "[sources.{name}]\nkind = \"{kind}\"\ntenant = \"{TENANT}\"\nkeys = [\"{hash}\"]\nresource_ids = [\"{resource}\"]\n"
            )
        };
        // What the database's library has to say when it is stopped in haste is no news.
        let filter = if verbose {
            "info,onrecord=debug"
        } else {
            "warn,sqlx=error"
        };
        let mut settings = Settings::from_toml(&format!(
            "[log]\nfilter = \"{filter}\"\nformat = \"pretty\"\n[board]\nhistory = \"all\"\n[tokens]\nkeys = [\"{token_key}\"]\n{}{}",
            source(EVENT_GRID, "event-grid"),
            source(CALL_AUTOMATION, "call-automation"),
        ))?;
        settings.listen = given.listen;
        settings.kafka_brokers = given.kafka_brokers;
        // Positions must not outlive their broker, nor one demonstration disturb the next.
        settings.topic_prefix = format!("demo-{:08x}.", rand::random::<u32>());
        if surroundings.kafka_brokers.is_some() {
            settings.kafka = given.kafka;
        }
        Ok(Self {
            settings,
            surroundings,
            source_key,
        })
    }
}

/// Where the demonstration plays, once it can.
pub(super) struct Stage {
    /// The server's address.
    pub url: String,
    /// Which stores serve, for people.
    pub stores: String,
    /// Whose calls they are.
    pub tenant: Tenant,
    /// What a command line begins with.
    pub program: PathBuf,
    pub event_grid: SourceAccess,
    pub call_automation: SourceAccess,
    /// An API key of role `app`.
    pub app_key: String,
    /// One that may do everything.
    pub admin_key: String,
}

/// Everything that has to be undone. Dropping it ends its servers at once.
pub(super) struct Ground {
    pub stage: Stage,
    /// Says so if the server ends by itself.
    pub failed: watch::Receiver<Option<String>>,
    lifecycle: Lifecycle,
    served: JoinHandle<()>,
    postgres: PrivatePostgres,
    broker: Option<InProcessBroker>,
    connection: Connection,
}

impl Ground {
    /// Starts everything.
    pub async fn prepare(
        plan: Plan,
        metrics: PrometheusHandle,
        lifecycle: Lifecycle,
        screen: &Screen,
    ) -> anyhow::Result<Self> {
        let Plan {
            mut settings,
            surroundings,
            source_key,
        } = plan;
        let postgres = start_postgres(&surroundings, screen).await?;
        settings.database_url = Secret::new(postgres.admin_url());
        let broker = match &surroundings.kafka_brokers {
            Some(brokers) => {
                settings.kafka_brokers.clone_from(brokers);
                None
            }
            None => Some(start_broker(&mut settings).await?),
        };
        let stores = match &broker {
            Some(_) => format!(
                "a private PostgreSQL {} and an in-process broker",
                postgres.version()
            ),
            None => format!(
                "a private PostgreSQL {} and the Kafka at {}",
                postgres.version(),
                settings.kafka_brokers
            ),
        };
        screen.say(&format!("Started {stores}."));
        let (app_key, admin_key) = make_keys(&settings).await?;
        let listener = listen(settings.listen).await?;
        let stage = Stage {
            url: reachable(listener.local_addr()?),
            stores,
            tenant: Tenant::parse(TENANT)?,
            program: surroundings.program,
            event_grid: SourceAccess {
                name: EVENT_GRID.to_owned(),
                key: source_key.clone(),
            },
            call_automation: SourceAccess {
                name: CALL_AUTOMATION.to_owned(),
                key: source_key,
            },
            app_key,
            admin_key,
        };
        let connection = Connection::new(&settings);
        let house = House::new(
            settings,
            serve::Options::default(),
            metrics,
            lifecycle.clone(),
        )?;
        let (fails, failed) = watch::channel(None);
        let served = tokio::spawn(async move {
            let why = match house.serve(listener).await {
                Ok(()) => "it stopped by itself; --verbose shows why".to_owned(),
                Err(error) => format!("{error:#}"),
            };
            // After an end that was asked for, nobody looks.
            let _ = fails.send(Some(why));
        });
        Ok(Self {
            stage,
            failed,
            lifecycle,
            served,
            postgres,
            broker,
            connection,
        })
    }

    /// Fails if the server ends by itself.
    pub async fn fails(mut failed: watch::Receiver<Option<String>>) -> anyhow::Error {
        // It is dropped without a word only by a panic.
        let word = failed
            .wait_for(Option::is_some)
            .await
            .ok()
            .and_then(|why| why.clone());
        anyhow!(
            "the server ended: {}",
            word.as_deref().unwrap_or("it panicked")
        )
    }

    /// Waits until all of it is well.
    pub async fn is_well(&self) -> anyhow::Result<()> {
        let readiness = self.lifecycle.readiness();
        let unwell = || -> Vec<String> {
            let view = readiness.view();
            let wanted = ["postgres", "kafka", "ledger", "board"];
            let state = |name: &str| match view.get(name) {
                Some(Health::Well) => None,
                Some(Health::Unwell(why)) => Some(format!("{name}: {why}")),
                Some(Health::Starting | Health::Silent) | None => {
                    Some(format!("{name}: no word of it yet"))
                }
            };
            wanted.into_iter().filter_map(state).collect()
        };
        let well = async {
            while !unwell().is_empty() {
                tokio::time::sleep(LOOK).await;
            }
        };
        let within = tokio::time::timeout(READY, well).await;
        within.map_err(|_| {
            anyhow!(
                "not ready after {} s: {}",
                READY.as_secs(),
                unwell().join("; ")
            )
        })
    }

    /// Ends everything in order and removes what was made.
    pub async fn close(self) {
        let Self {
            lifecycle,
            served,
            broker,
            postgres,
            connection,
            ..
        } = self;
        lifecycle.stop();
        // Both of its outcomes have been told.
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
    surroundings: &Surroundings,
    screen: &Screen,
) -> anyhow::Result<PrivatePostgres> {
    let surroundings = embedded::Surroundings {
        search_path: surroundings.search_path.clone(),
        cache_home: surroundings.cache_home.clone(),
        home: surroundings.home.clone(),
        temporary: Some(PathBuf::from(&surroundings.temporary)),
    };
    let start = PrivatePostgres::start(BinarySource::default(), &surroundings);
    tokio::pin!(start);
    let started = tokio::select! {
        started = &mut start => started,
        () = tokio::time::sleep(WORTH_A_WORD) => {
            screen.say("A private PostgreSQL is being started. Where none is installed, it is fetched once (10 MB) and kept.");
            start.await
        }
    };
    started.context("no private PostgreSQL could be had")
}

async fn start_broker(settings: &mut Settings) -> anyhow::Result<InProcessBroker> {
    let broker = InProcessBroker::start().await?;
    settings.kafka_brokers = broker.bootstrap_servers().to_owned();
    let connection = Connection::new(settings);
    for topic in Topic::ALL {
        // Those that it makes by itself would have 4 partitions.
        broker
            .create_topic(&connection.topic(topic), settings.kafka.partitions, 1)
            .await?;
    }
    Ok(broker)
}

async fn make_keys(settings: &Settings) -> anyhow::Result<(String, String)> {
    let store = Store::new(settings.database_url.expose(), 2)?;
    store
        .migrate(clock::now())
        .await
        .context("the schema could not be made")?;
    let tenant = Tenant::parse(TENANT)?;
    let app = key::create(&store, &tenant, Role::App, "the listening client").await?;
    let admin = key::create(&store, &tenant, Role::Admin, "for you").await?;
    store.close().await;
    Ok((app, admin))
}

/// Where the settings say, else, if that is taken, on any port beside it.
async fn listen(wanted: SocketAddr) -> anyhow::Result<TcpListener> {
    match TcpListener::bind(wanted).await {
        Ok(listener) => Ok(listener),
        Err(_) => TcpListener::bind((wanted.ip(), 0))
            .await
            .with_context(|| format!("cannot listen on {}", wanted.ip())),
    }
}

/// The address under which this machine reaches it.
fn reachable(mut address: SocketAddr) -> String {
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
        let plan = Plan::new(settings.unwrap(), &World::new(1, None), false).unwrap();
        assert_eq!(plan.settings.listen.port(), 9999);
        assert!(plan.settings.topic_prefix.starts_with("demo-"));
        let sources: Vec<&str> = plan.settings.sources.keys().map(String::as_str).collect();
        assert_eq!(sources, [CALL_AUTOMATION, EVENT_GRID]);
        assert!(plan.settings.sources[EVENT_GRID].keys[0].matches(&plan.source_key));
    }

    #[test]
    fn an_address_that_means_all_is_reached_by_loopback() {
        assert_eq!(
            reachable("0.0.0.0:8080".parse().unwrap()),
            "http://127.0.0.1:8080"
        );
        assert_eq!(reachable("[::]:8080".parse().unwrap()), "http://[::1]:8080");
        assert_eq!(
            reachable("10.1.2.3:80".parse().unwrap()),
            "http://10.1.2.3:80"
        );
    }
}
