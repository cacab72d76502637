//! Examines a deployment and says what to do, for `onrecord doctor` and the console.
//!
//! * [`examination`]: reads the diagnostics of both stores.
//! * [`checks`]: the list of checks, pure functions over the diagnostics, in one file per subject.
//! * [`finding`]: what a check finds, and the report of all.
//!
//! # Why
//!
//! An operator has one place that says whether the settings, a store or a source is at fault. The diagnostics
//! are read first, with a timeout. A store that is unavailable takes seconds, and the other checks are still
//! done.

pub(crate) mod checks;
pub(crate) mod examination;
pub(crate) mod finding;
pub(crate) mod kafka;
pub(crate) mod ledger;
pub(crate) mod postgres;
pub(crate) mod roles;
pub(crate) mod schema;
pub(crate) mod settings;
pub(crate) mod sources;
pub(crate) mod webhooks;
