//! The Kafka of the tests: a real one where possible, else the in-process broker.
//!
//! `ONRECORD_TEST_KAFKA=mock` or `real` forces either; else `ONRECORD_KAFKA_BROKERS` names a running
//! one; else Java starts a real one with the jars that Maven fetches; else, without Java or Maven,
//! the mock serves. The choice and its reason are printed once. No guarantee about Kafka is proved
//! on the mock: such a test asks for [`TestKafka::real`] or for [`own_kafka`], and is skipped or
//! fails without one, by the rules of [`super::requirements`].

mod tests;

use std::env;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, OnceLock};
use std::time::Duration;

use onrecord_devstack::{InProcessBroker, KafkaJarsError, RealKafka, SHORT_LIVED_JVM, fetch_jars};
use rdkafka::ClientConfig;
use rdkafka::admin::{AdminClient, AdminOptions, NewTopic, TopicReplication};
use rdkafka::client::DefaultClientContext;
use rdkafka::error::RDKafkaErrorCode;

use super::at_exit::at_exit;
use super::environment::environment;
use super::postgres::on_own_thread;
use super::requirements::{Requirement, is_set, print_line, skip};
use super::time_limit::start_time_limit;

/// The broker that all tests share. It must not be stopped: a test of outages starts its own.
pub struct TestKafka {
    broker: Broker,
    /// Why it is this broker.
    reason: String,
    /// Whether the mock serves on a machine that cannot have a real Kafka.
    is_excused: bool,
}

enum Broker {
    /// Named by `ONRECORD_KAFKA_BROKERS`, or started here.
    Real {
        bootstrap_servers: String,
    },
    Mock(InProcessBroker),
}

/// What the environment asks for.
#[derive(Debug, PartialEq, Eq)]
enum BrokerChoice {
    Mock,
    Real,
    Brokers(String),
    RealElseMock,
}

/// The shared broker, started by the first test that asks.
pub async fn shared_kafka() -> &'static TestKafka {
    static SHARED: OnceLock<Result<TestKafka, String>> = OnceLock::new();
    start_time_limit();
    let started = tokio::task::spawn_blocking(|| {
        SHARED.get_or_init(|| {
            let kafka = on_own_thread(start(broker_choice()?))?;
            print_line(&format!("kafka of the tests: {}", kafka.reason));
            Ok(kafka)
        })
    });
    match started.await.unwrap() {
        Ok(shared) => shared,
        Err(reason) => panic!("no kafka for the tests: {reason}"),
    }
}

/// A real Kafka for one test alone, which may stop, kill, and pause it. `None` if the test is
/// skipped.
pub async fn own_kafka() -> Option<RealKafka> {
    own_kafka_behind(&[]).await
}

/// The same, with a listener for each of these proxies.
pub async fn own_kafka_behind(proxies: &[u16]) -> Option<RealKafka> {
    let jars = jars_for_own_kafka().await?;
    Some(RealKafka::start(&jars, SHORT_LIVED_JVM, &temporary_roots(), proxies).await.unwrap())
}

/// The same, with a listener that has TLS and SASL.
#[cfg(feature = "kafka-tls")]
pub async fn own_secured_kafka() -> Option<RealKafka> {
    let jars = jars_for_own_kafka().await?;
    Some(RealKafka::start_secured(&jars, SHORT_LIVED_JVM, &temporary_roots()).await.unwrap())
}

/// Kafka's jars. `None` if the test is skipped.
async fn jars_for_own_kafka() -> Option<PathBuf> {
    start_time_limit();
    let choice = broker_choice().unwrap_or_else(|reason| panic!("{reason}"));
    if choice == BrokerChoice::Mock {
        return skip_or_fail("ONRECORD_TEST_KAFKA=mock", false);
    }
    match tokio::task::spawn_blocking(jars).await.unwrap() {
        Ok(jars) => Some(jars),
        Err(missing) => {
            let is_excused = choice != BrokerChoice::Real && missing.is_machine_without_tools();
            skip_or_fail(&missing.to_string(), is_excused)
        }
    }
}

impl TestKafka {
    /// The value for `bootstrap.servers`.
    pub fn bootstrap_servers(&self) -> &str {
        match &self.broker {
            Broker::Real { bootstrap_servers } => bootstrap_servers,
            Broker::Mock(mock) => mock.bootstrap_servers(),
        }
    }

    /// Whether an observation here holds for Kafka.
    pub fn is_real(&self) -> bool {
        matches!(self.broker, Broker::Real { .. })
    }

    /// This broker if it is a real one. `None` if the test is skipped.
    pub fn real(&self) -> Option<&Self> {
        if self.is_real() {
            return Some(self);
        }
        skip_or_fail(&self.reason, self.is_excused)
    }

    /// Creates a topic, which on the mock is the only way to have other than 4 partitions.
    pub async fn create_topic(&self, name: &str, partitions: i32) {
        match &self.broker {
            Broker::Mock(mock) => mock.create_topic(name, partitions).await.unwrap(),
            Broker::Real { bootstrap_servers } => {
                create_topic(bootstrap_servers, name, partitions).await;
            }
        }
    }
}

/// Creates a topic on a real broker, with the broker's own replication factor.
pub async fn create_topic(bootstrap_servers: &str, name: &str, partitions: i32) {
    let admin: AdminClient<DefaultClientContext> =
        ClientConfig::new().set("bootstrap.servers", bootstrap_servers).create().unwrap();
    let topic = NewTopic::new(name, partitions, TopicReplication::Fixed(-1));
    let options = AdminOptions::new().operation_timeout(Some(Duration::from_secs(30)));
    let created = admin.create_topics([&topic], &options).await.unwrap();
    for outcome in created {
        match outcome {
            // A node that misses its topic creates it too.
            Ok(_) | Err((_, RDKafkaErrorCode::TopicAlreadyExists)) => {}
            Err((name, code)) => panic!("{name}: {code}"),
        }
    }
}

/// Skips the running test if the machine excuses it or the environment allows it; fails otherwise.
fn skip_or_fail<T>(reason: &str, is_excused: bool) -> Option<T> {
    assert!(
        is_excused || is_set("ONRECORD_TEST_SKIP_KAFKA"),
        "this test requires a real Kafka, and there is none ({reason}); \
         ONRECORD_TEST_SKIP_KAFKA=1 skips such tests"
    );
    skip(Requirement::RealKafka, reason);
    None
}

fn broker_choice() -> Result<BrokerChoice, String> {
    let set = |name| env::var(name).ok().filter(|value| !value.is_empty());
    choice_from(set("ONRECORD_TEST_KAFKA"), set("ONRECORD_KAFKA_BROKERS"))
}

/// A broker that is named is a real one, so it satisfies `real`.
fn choice_from(forced: Option<String>, brokers: Option<String>) -> Result<BrokerChoice, String> {
    match (forced.as_deref(), brokers) {
        (Some("mock"), _) => Ok(BrokerChoice::Mock),
        (Some("real") | None, Some(brokers)) => Ok(BrokerChoice::Brokers(brokers)),
        (Some("real"), None) => Ok(BrokerChoice::Real),
        (None, None) => Ok(BrokerChoice::RealElseMock),
        (Some(other), _) => Err(format!("ONRECORD_TEST_KAFKA is mock or real, not {other:?}")),
    }
}

async fn start(choice: BrokerChoice) -> Result<TestKafka, String> {
    match choice {
        BrokerChoice::Mock => mock("ONRECORD_TEST_KAFKA=mock", false).await,
        BrokerChoice::Brokers(bootstrap_servers) => Ok(TestKafka {
            reason: format!("the real one at {bootstrap_servers}, from ONRECORD_KAFKA_BROKERS"),
            broker: Broker::Real { bootstrap_servers },
            is_excused: false,
        }),
        BrokerChoice::Real => real(jars().map_err(|missing| missing.to_string())?).await,
        BrokerChoice::RealElseMock => match jars() {
            Ok(jars) => real(jars).await,
            Err(missing) if missing.is_machine_without_tools() => {
                mock(&missing.to_string(), true).await
            }
            Err(missing) if is_set("ONRECORD_TEST_SKIP_KAFKA") => {
                mock(&missing.to_string(), false).await
            }
            Err(missing) => Err(format!(
                "Java and Maven are here, but {missing}; ONRECORD_TEST_SKIP_KAFKA=1 takes the mock"
            )),
        },
    }
}

async fn mock(reason: &str, is_excused: bool) -> Result<TestKafka, String> {
    let mock = InProcessBroker::start().await;
    Ok(TestKafka {
        broker: Broker::Mock(mock.map_err(|refused| refused.to_string())?),
        reason: format!("the in-process broker, because {reason}"),
        is_excused,
    })
}

/// Once the jars are there, a Kafka that does not start is a failure and no reason for the mock.
async fn real(jars: PathBuf) -> Result<TestKafka, String> {
    let kafka = RealKafka::start(&jars, SHORT_LIVED_JVM, &temporary_roots(), &[]).await;
    let kafka = kafka.map_err(|refused| refused.to_string())?;
    let bootstrap_servers = kafka.bootstrap_servers();
    let shared = Arc::new(Mutex::new(Some(kafka)));
    at_exit(move || drop(shared.lock().unwrap().take()));
    Ok(TestKafka {
        reason: format!("a real one at {bootstrap_servers}, because java and mvn are here"),
        broker: Broker::Real { bootstrap_servers },
        is_excused: false,
    })
}

fn temporary_roots() -> Vec<PathBuf> {
    environment().temporary_roots()
}

/// Kafka's jars below the target folder. Blocks while Maven downloads them.
fn jars() -> Result<PathBuf, KafkaJarsError> {
    static JARS: OnceLock<Result<PathBuf, KafkaJarsError>> = OnceLock::new();
    let libraries = Path::new(env!("CARGO_TARGET_TMPDIR")).join("kafka-libs");
    JARS.get_or_init(|| on_own_thread(fetch_jars(&environment().search_path, &libraries))).clone()
}
