//! What all tests share: the running application, its stores, its clients.
//!
//! * [`app`]: the application with a database and topics of its own.
//! * [`postgres`], [`kafka`]: the stores. [`environment`]: what this process's environment says.
//! * [`azure`]: events as Azure sends them. [`client`], [`socket`]: client apps.
//! * [`history`]: rows of many calls.
//! * [`openid_provider`], [`openid_stand_in`]: where users of the console sign in.
//! * [`python`]: programs in Python with packages of PyPI.
//! * [`requirements`]: what a test may require, and the count of tests that were skipped.
//! * [`time_limit`]: ends the run when a test hangs. [`at_exit`]: stops shared servers.

pub mod app;
pub mod at_exit;
pub mod azure;
pub mod client;
pub mod environment;
pub mod history;
pub mod kafka;
pub mod openid_provider;
pub mod openid_stand_in;
pub mod postgres;
pub mod python;
pub mod requirements;
pub mod socket;
mod time_limit;

pub use time_limit::extend_time_limit;
