//! Rows about the deployment: access log, API keys, users and sessions of the console, revoked tokens, use of source
//! credentials, availability, logins of SQL clients; the roll-ups of statistics.

pub(crate) mod access_log;
pub(crate) mod api_key;
pub(crate) mod availability;
pub(crate) mod console_filter;
pub(crate) mod console_session;
pub(crate) mod console_user;
pub(crate) mod planner_statistics;
pub(crate) mod reader_login;
pub(crate) mod rollup;
pub(crate) mod source_setup;
pub(crate) mod source_use;
pub(crate) mod token_revocation;
