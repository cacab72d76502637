//! Publishes one flat record for each call, capture and obligation on the topic `call-facts.v1`, whenever it
//! changes, for data lakes.
//!
//! * [`record`]: the key and the value of a record.
//! * [`changes`]: which records of a call are another one than before, and which exist no longer.
//! * [`task`]: reads the calls that changed, publishes, and stores the position; on one node at a time.
//!
//! # Failures
//!
//! PostgreSQL or Kafka is unavailable: the records are published later; nothing else waits for them. A crash
//! between publication and position: the same records are published again, with the same keys. A node that lost its
//! lease cannot publish: the next one fences its transactions.

mod changes;
mod record;
mod task;

pub(crate) use task::FlatRecordTask;
