//! Queries of the query API, each inside a snapshot of one tenant.

pub(crate) mod call_list;
pub(crate) mod exceptions;
pub(crate) mod live_page;
pub(crate) mod person;
pub(crate) mod questions;
pub(crate) mod snapshot;
pub(crate) mod stats;
pub(crate) mod stored_facts;
pub(crate) mod unseen;
pub(crate) mod verdict_versions;
