//! `onrecord`: the compliance record and real-time recording notices of Azure Communication
//! Services (ACS) calls with Microsoft Teams.
//!
//! A company's own app calls Teams users by ACS. When such a call is recorded or transcribed, the
//! owner of the app must notify its users at once. This service receives the calling events, keeps
//! them as an append-only record, notifies every client app, and computes for each participant
//! whether the notice was shown in time, and by which facts.
//!
//! # Pipeline
//!
//! ```text
//! Event Grid ─┐                                   ┌─▶ ledger ─▶ [Postgres] ─▶ query ─▶ query API
//! Call Autom. ├─▶ ingest ─▶ [calling-events.v1] ──┤
//! clients  ───┘      │      or [spool], drained   └─▶ live ─▶ streams ─▶ SSE · WebSocket
//!                    └─▶ [quarantine.v1] ─▶ ledger      │
//!                            [notice-facts.v1] ◀────────┘ dispatched · delivered · displayed
//!                                   └─▶ ledger
//! ```
//!
//! Names in brackets are data at rest: topics of Kafka and tables of Postgres. Events move in one
//! direction. Each role leaves them in a topic or a table and the next role reads them there, so
//! one process can run all roles or some of them.
//!
//! # Modules
//!
//! Pipeline:
//!
//! * [`ingest`]: HTTP deliveries of Event Grid and Call Automation → calling events.
//! * `ledger`: Kafka → one transaction → the audit record; leases, projections, verdicts,
//!   exceptions, maintenance.
//! * `live`: the in-memory state of the calls in progress, and the fan-out to subscribers.
//! * `streams`: server-sent events and WebSocket; subscriptions, cursors, the current indication.
//! * `clients`: what client apps send: requests for subscriber tokens, reports, acknowledgements.
//! * `client_api`: the routes of `streams` and `clients`, and the state of their handlers.
//! * `query`: the query API, and the registered notice texts.
//! * `webhooks`: signed messages to receivers; the ledger makes them.
//! * `export`: jobs that write rows of the schema `reading` as files.
//! * `flat_records`: one record for each call, capture and obligation on a topic for data lakes.
//! * `console`: the pages of the web console, made from what `query` reads.
//!
//! Adapters and shared code:
//!
//! * `publish`: the durable write of messages: to Kafka, else to the spool; draining the spool.
//! * [`kafka`]: the only module that uses rdkafka.
//! * [`postgres`]: the only module that uses sqlx.
//! * `openapi`: the description of the HTTP interface.
//! * `doctor`: the examination of a deployment.
//! * [`http`]: server loop, problem documents, API keys, subscriber tokens, request bodies, paging.
//!
//! Process:
//!
//! * [`cli`]: the commands; [`cli::serve`] is the composition root.
//! * [`config`]: the settings, from defaults, file and environment.
//! * [`lifecycle`]: tasks, shutdown, readiness, background writer.
//! * [`telemetry`]: logs and metrics.
//! * [`clock`]: the system clock.
//! * `failpoint`: lines at which a test may crash or freeze the process.
//!
//! Workspace: `onrecord-evidence` has the calling events and the rules of evidence,
//! `onrecord-json` the byte-exact JSON index and redaction, `onrecord-simulator` the scenarios and
//! senders of the demo, `onrecord-devstack` a private Postgres and Kafka.
//!
//! `docs/architecture.md` describes the path of an event and the laws that the code cites by name
//! (`DURABLE_ACK`, …); `docs/glossary.md` defines the terms.

pub mod cli;
mod client_api;
mod clients;
pub mod clock;
pub mod config;
mod console;
mod doctor;
mod export;
mod failpoint;
mod flat_records;
pub mod http;
pub mod ingest;
pub mod kafka;
mod ledger;
pub mod lifecycle;
mod live;
mod openapi;
pub mod postgres;
mod publish;
mod query;
mod streams;
pub mod telemetry;
mod webhooks;
