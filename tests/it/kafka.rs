//! The Kafka of the tests: a real one where it can be had, else the in-process broker.
//!
//! `ONRECORD_TEST_KAFKA=mock` or `real` forces either; else `ONRECORD_KAFKA_BROKERS` names one that
//! runs; else a real one is started by Java with the jars that Maven fetches; else the mock serves.
//! Which it is and why is printed once. No law about Kafka is proved on the mock: such a test asks
//! for [`TestKafka::real`] or for a [`kafka_of_its_own`], and leaves if there is none.

mod jars;
mod real;

use std::env;
use std::io::Write;
use std::path::PathBuf;
use std::sync::{Arc, Mutex, OnceLock};
use std::thread;
use std::time::Duration;

use onrecord::embedded::InProcessBroker;
use rdkafka::ClientConfig;
use rdkafka::admin::{AdminClient, AdminOptions, NewTopic, TopicReplication};
use rdkafka::client::DefaultClientContext;
use rdkafka::error::RDKafkaErrorCode;

use real::BRIEF;
pub use real::RealKafka;

use crate::at_exit::at_exit;
use crate::postgres::on_a_thread_of_its_own;
use crate::surroundings::surroundings;

/// The broker that all tests share. It must not be stopped: a test of outages takes one of its own.
pub struct TestKafka {
    broker: Broker,
    why: String,
}

enum Broker {
    /// Named by `ONRECORD_KAFKA_BROKERS`, or started by us.
    Real {
        bootstrap_servers: String,
    },
    Mock(InProcessBroker),
}

/// What the environment asks for.
#[derive(Debug, PartialEq, Eq)]
enum Wish {
    Mock,
    Real,
    Brokers(String),
    RealElseMock,
}

/// The shared broker, started by the first test that asks.
pub async fn shared_kafka() -> &'static TestKafka {
    static SHARED: OnceLock<Result<TestKafka, String>> = OnceLock::new();
    let started = tokio::task::spawn_blocking(|| {
        SHARED.get_or_init(|| {
            let kafka = on_a_thread_of_its_own(start(wish()?))?;
            tell(&format!("kafka of the tests: {}", kafka.why));
            Ok(kafka)
        })
    });
    match started.await.unwrap() {
        Ok(shared) => shared,
        Err(reason) => panic!("no kafka for the tests: {reason}"),
    }
}

/// A real Kafka for one test alone, which may stop, kill, and pause it. `None`, and a line that
/// says so, where there is none to be had or the mock is asked for.
pub async fn kafka_of_its_own() -> Option<RealKafka> {
    kafka_behind(&[]).await
}

/// The same, with a door for each of these proxies.
pub async fn kafka_behind(proxies: &[u16]) -> Option<RealKafka> {
    let wish = wish().unwrap_or_else(|reason| panic!("{reason}"));
    let jars = match wish {
        Wish::Mock => Err("ONRECORD_TEST_KAFKA=mock".into()),
        _ => tokio::task::spawn_blocking(jars).await.unwrap(),
    };
    if wish == Wish::Real
        && let Err(reason) = &jars
    {
        panic!("ONRECORD_TEST_KAFKA=real, and there is none: {reason}");
    }
    match jars {
        Ok(jars) => Some(
            RealKafka::start_behind(&jars, BRIEF, proxies)
                .await
                .unwrap(),
        ),
        Err(reason) => {
            skip(&reason);
            None
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

    /// Whether what is seen here may be said of Kafka.
    pub fn is_real(&self) -> bool {
        matches!(self.broker, Broker::Real { .. })
    }

    /// This broker if it is a real one. `None`, and a line that says so, if it is the mock.
    pub fn real(&self) -> Option<&Self> {
        if self.is_real() {
            return Some(self);
        }
        skip(&self.why);
        None
    }

    /// Creates a topic, which on the mock is the only way to have other than 4 partitions.
    pub async fn create_topic(&self, name: &str, partitions: i32) {
        match &self.broker {
            Broker::Mock(mock) => mock.create_topic(name, partitions, 1).await.unwrap(),
            Broker::Real { bootstrap_servers } => {
                create_topic(bootstrap_servers, name, partitions).await;
            }
        }
    }
}

/// Creates a topic on a real broker, with the broker's own replication factor.
pub async fn create_topic(bootstrap_servers: &str, name: &str, partitions: i32) {
    let admin: AdminClient<DefaultClientContext> = ClientConfig::new()
        .set("bootstrap.servers", bootstrap_servers)
        .create()
        .unwrap();
    let topic = NewTopic::new(name, partitions, TopicReplication::Fixed(-1));
    let patience = AdminOptions::new().operation_timeout(Some(Duration::from_secs(30)));
    let created = admin.create_topics([&topic], &patience).await.unwrap();
    for outcome in created {
        match outcome {
            // A node that misses its topic makes it too.
            Ok(_) | Err((_, RDKafkaErrorCode::TopicAlreadyExists)) => {}
            Err((name, code)) => panic!("{name}: {code}"),
        }
    }
}

/// Writes a line that is seen although the harness captures what tests print.
pub fn tell(line: &str) {
    // A closed standard error is no reason to fail.
    let _ = writeln!(std::io::stderr(), "{line}");
}

fn skip(reason: &str) {
    let thread = thread::current();
    let test = thread.name().unwrap_or("a test");
    tell(&format!("{test} skipped: needs a real Kafka ({reason})"));
}

fn wish() -> Result<Wish, String> {
    let set = |name| env::var(name).ok().filter(|value| !value.is_empty());
    wish_of(set("ONRECORD_TEST_KAFKA"), set("ONRECORD_KAFKA_BROKERS"))
}

/// A broker that is named is a real one, so `real` is content with it.
fn wish_of(forced: Option<String>, brokers: Option<String>) -> Result<Wish, String> {
    match (forced.as_deref(), brokers) {
        (Some("mock"), _) => Ok(Wish::Mock),
        (Some("real") | None, Some(brokers)) => Ok(Wish::Brokers(brokers)),
        (Some("real"), None) => Ok(Wish::Real),
        (None, None) => Ok(Wish::RealElseMock),
        (Some(other), _) => Err(format!(
            "ONRECORD_TEST_KAFKA is mock or real, not {other:?}"
        )),
    }
}

async fn start(wish: Wish) -> Result<TestKafka, String> {
    match wish {
        Wish::Mock => mock("the in-process broker, as ONRECORD_TEST_KAFKA=mock says").await,
        Wish::Brokers(bootstrap_servers) => Ok(TestKafka {
            why: format!("the real one at {bootstrap_servers}, as ONRECORD_KAFKA_BROKERS says"),
            broker: Broker::Real { bootstrap_servers },
        }),
        Wish::Real => real(jars()?).await,
        Wish::RealElseMock => match jars() {
            Ok(jars) => real(jars).await,
            Err(reason) => mock(&format!("the in-process broker, because {reason}")).await,
        },
    }
}

async fn mock(why: &str) -> Result<TestKafka, String> {
    let mock = InProcessBroker::start().await;
    Ok(TestKafka {
        broker: Broker::Mock(mock.map_err(|refused| refused.to_string())?),
        why: why.into(),
    })
}

/// Once the jars are there, a Kafka that does not start is a failure and no reason for the mock.
async fn real(jars: PathBuf) -> Result<TestKafka, String> {
    let kafka = RealKafka::start(&jars, BRIEF).await?;
    let bootstrap_servers = kafka.bootstrap_servers();
    let last = Arc::new(Mutex::new(Some(kafka)));
    at_exit(move || drop(last.lock().unwrap().take()));
    Ok(TestKafka {
        why: format!("a real one at {bootstrap_servers}, as java and mvn are here"),
        broker: Broker::Real { bootstrap_servers },
    })
}

/// Kafka's jars, asked for once. Blocks while Maven fetches them.
fn jars() -> Result<PathBuf, String> {
    static JARS: OnceLock<Result<PathBuf, String>> = OnceLock::new();
    JARS.get_or_init(|| on_a_thread_of_its_own(jars::fetched()))
        .clone()
}

mod tests;
