//! Sessions: who was in the call, when, on which endpoint.
//!
//! [`resolution`] decides which events of a call belong to one session (`session_events`, `roster`,
//! `attachment`), names the sessions (`key`), describes them (`description`) and makes the facts about
//! them (`facts`). [`trust`] states how a client belongs to the call. [`presence`] computes from the facts when each session was present.
//! [`report_history`] stores the reports of a client in little memory.

mod attachment;
mod description;
mod facts;
mod interval;
mod key;
pub mod presence;
pub mod report_history;
pub mod resolution;
mod roster;
mod session_events;
pub mod trust;
