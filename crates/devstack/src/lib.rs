//! Private stores for `onrecord demo`, tests and benches: a PostgreSQL, an in-process Kafka, and a
//! real Kafka. Nothing has to be configured, and nothing is left behind.
//!
//! # Layout
//!
//! * [`host_environment`]: the caller's search path, home, and temporary folder.
//! * [`os_account`]: the account of the server, because PostgreSQL refuses to run as root.
//! * [`child`]: a child process that cannot outlive this one.
//! * [`temporary_folder`]: a folder that its owner removes, or the next process after a crash.
//! * [`port`]: a TCP port that a restart can use again.
//! * [`postgres_archive`]: PostgreSQL, fetched once and cached.
//! * [`postgres_binaries`]: the trial run of a PostgreSQL, and where one is installed.
//! * [`postgres`]: the private server.
//! * [`in_process_broker`]: the in-process broker of librdkafka.
//! * [`kafka_jars`]: Apache Kafka's jars, downloaded by Maven once.
//! * [`real_kafka`]: an Apache Kafka of one node, for tests and benches; it needs Java and Maven.
//! * [`secured_listener`]: a listener of it with TLS and SASL.
//!
//! # Why
//!
//! This crate needs neither SQL nor the messages of the service. A server is ready when it has
//! written so into its own folder, or answers with its own cluster id. So another server on the same
//! port cannot be mistaken for it.

pub mod child;
pub mod error;
pub mod host_environment;
pub mod in_process_broker;
pub mod kafka_jars;
pub mod os_account;
pub mod port;
pub mod postgres;
pub mod postgres_archive;
pub mod postgres_binaries;
pub mod real_kafka;
pub mod secured_listener;
pub mod temporary_folder;
pub mod versions;

pub use error::DevstackError;
pub use host_environment::HostEnvironment;
pub use in_process_broker::InProcessBroker;
pub use kafka_jars::{KafkaJarsError, fetch_jars};
pub use postgres::{PostgresShutdown, PrivatePostgres};
pub use postgres_archive::BinarySource;
pub use real_kafka::{RealKafka, SHORT_LIVED_JVM};
pub use secured_listener::{SECURED_PASSWORD, SECURED_USER, SecuredListener};
