//! The query API: the history of calls by HTTP. One file per resource.
//!
//! Each answer is read in one snapshot of the database and has `complete_through`: every event received
//! before that instant is in the answer.

pub(crate) mod access_log;
pub(crate) mod calls;
pub(crate) mod context;
pub(crate) mod events;
pub(crate) mod exceptions;
pub(crate) mod notice_texts;
pub(crate) mod outages;
pub(crate) mod quarantine;
pub(crate) mod routes;
pub(crate) mod stats;
pub(crate) mod store_problem;
pub(crate) mod time_range;
pub(crate) mod turns;

pub(crate) use context::{QueryContext, QueryShares};
pub(crate) use routes::{router, routes};
