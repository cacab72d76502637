//! The reading room: call history by HTTP. One resource, one file.
//!
//! Every answer is of one instant of the store and says `complete_through`: all that reached us
//! before that instant is in it.

mod calls;
mod events;
mod quarantine;

use axum::Router;
use axum::http::HeaderMap;
use axum::routing::get;
use chrono::{DateTime, SecondsFormat, Utc};

use crate::domain::ids::Tenant;
use crate::domain::instant;
use crate::http::access::{Caller, KeyBook};
use crate::http::problem::Problem;
use crate::store::{ReadingRoom, Role, Store};

/// What the room's resources need.
#[derive(Clone)]
pub struct Api {
    pub store: Store,
    pub keys: KeyBook,
}

/// The room's resources, below `/v1`.
pub fn router(api: Api) -> Router {
    Router::new()
        .route("/v1/calls", get(calls::list))
        .route("/v1/calls/{call}", get(calls::one))
        .route("/v1/calls/{call}/timeline", get(calls::timeline))
        .route("/v1/events", get(events::list))
        .route("/v1/events/{id}", get(events::one))
        .route("/v1/quarantine", get(quarantine::list))
        .with_state(api)
}

impl Api {
    /// A reader of history: every role but a client app's.
    async fn reader(&self, headers: &HeaderMap) -> Result<Caller, Problem> {
        let caller = self.keys.caller(headers).await?;
        caller.must_be(&[Role::Analyst, Role::Auditor])?;
        Ok(caller)
    }

    async fn read(&self, tenant: &Tenant) -> Result<ReadingRoom<'_>, Problem> {
        Ok(self.store.read(tenant).await?)
    }
}

/// RFC 3339 with microseconds, what the store holds.
fn micros(at: DateTime<Utc>) -> String {
    at.to_rfc3339_opts(SecondsFormat::Micros, true)
}

/// RFC 3339 with milliseconds, the unit of the rules.
fn millis(at: DateTime<Utc>) -> String {
    at.to_rfc3339_opts(SecondsFormat::Millis, true)
}

/// Reads an instant out of a query.
fn instant(name: &'static str, text: Option<&str>) -> Result<Option<DateTime<Utc>>, Problem> {
    let Some(text) = text else { return Ok(None) };
    let read = instant::parse_source_time(text);
    read.map(Some).ok_or_else(|| Problem::invalid(name, format!("{name} is an instant in RFC 3339, for example 2026-11-23T18:00:00Z (percent-encode a +)")))
}
