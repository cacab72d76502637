//! The query API: consistent pages, tenant isolation, SQL clients, browsers of other origins.

mod access_log;
pub mod call_filters;
mod changes;
mod cors;
mod every_route;
mod questions;
mod readers;
mod reading;
mod rollups;
mod shares;
mod tenants;

use onrecord::postgres::CallSummary;
use sqlx::{Connection as _, PgConnection};

/// The summary of a call without sessions, captures and verdict, for tests that write rows of calls.
fn empty_summary() -> String {
    serde_json::to_string(&CallSummary::default()).unwrap()
}

/// Installs the function that makes the terms of calls of their other rows, for tests that write these rows.
async fn install_terms_of_rows(url: &str) {
    let mut owner = PgConnection::connect(url).await.unwrap();
    let function = include_str!("../../data/sql/terms_of_rows.sql");
    sqlx::raw_sql(function).execute(&mut owner).await.unwrap();
}
