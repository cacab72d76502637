//! Fan-out of changed levels to subscribers.
//!
//! `notify` decides which subscriber gets which message, and `recipients` which subscriber may see
//! which call. `subscriber_registry` finds the subscribers, `subscriber` holds the scope and the last stated level of each one, and `queue` is
//! its bounded queue. `message` and `message_builder` compose messages; `stated_levels` is what a
//! message states, as cursors carry it; `notice_fact_writer` records what was dispatched and
//! delivered.

pub(crate) mod message;
pub(crate) mod message_builder;
pub(crate) mod notice_fact_writer;
pub(crate) mod notify;
pub(crate) mod queue;
mod recipients;
pub(crate) mod stated_levels;
pub(crate) mod subscriber;
pub(crate) mod subscriber_registry;
mod subscriber_set;
