//! A private PostgreSQL and an in-process Kafka for `onrecord demo` and the tests: nothing needs
//! to be installed or configured, and nothing is left behind.
//!
//! # Layout
//!
//! * [`surroundings`]: what the caller's environment says (search path, home, temporary folder).
//! * [`account`]: whom the server runs as, because PostgreSQL refuses to run as root.
//! * [`child`]: a child process that cannot outlive this one.
//! * [`scratch`]: a temporary folder that is removed, if need be by the next one.
//! * [`port`]: a TCP port that stays ours across a restart.
//! * [`binaries`] and [`archive`]: PostgreSQL as installed, else as fetched and cached.
//! * [`postgres`]: the private server itself.
//! * [`broker`]: the in-process broker.
//!
//! # Why
//!
//! This room speaks neither SQL nor the application's Kafka dialect. It tells that a server is
//! ready by what the server itself wrote into its own folder, so that a stranger on the same port
//! cannot be mistaken for it.

pub mod account;
pub mod archive;
pub mod binaries;
pub mod broker;
pub mod child;
mod error;
pub mod port;
pub mod postgres;
pub mod scratch;
pub mod surroundings;

pub use binaries::BinarySource;
pub use broker::InProcessBroker;
pub use error::EmbeddedError;
pub use postgres::{PrivatePostgres, Shutdown};
pub use surroundings::Surroundings;
