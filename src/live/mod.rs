//! Live state of the calls in progress, and its fan-out to subscribers.
//!
//! Input: every node replays the Kafka log and tails the spool ([`replay`]). State: one
//! [`live_calls::LiveCalls`] per node, with one [`tenant_calls::TenantCalls`] per tenant, all in
//! memory. Output: snapshots and notices in the queue of each subscriber ([`fanout`]), and notice
//! facts that record what was dispatched and delivered.
//!
//! Failures: a subscriber that reads too slowly is dropped and its stream ends with `gap`. If a
//! store is unavailable, the live state ages and `/readyz` names the store.

pub(crate) mod attachment_owners;
pub(crate) mod call_access;
pub(crate) mod compact;
pub(crate) mod coverage;
pub(crate) mod ending_fold;
pub(crate) mod event_buffer;
pub(crate) mod fanout;
pub(crate) mod large_folds;
pub(crate) mod live_call;
pub(crate) mod live_calls;
pub(crate) mod live_state;
pub(crate) mod replay;
pub(crate) mod resource_ids;
pub(crate) mod tenant_calls;
pub(crate) mod unreported_attachments;

pub(crate) use fanout::notice_fact_writer::NoticeFactWriter;
pub(crate) use live_calls::LiveCalls;
pub(crate) use replay::log_reader::start;
pub(crate) use resource_ids::resource_ids;
