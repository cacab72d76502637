//! Outbound webhooks: subscriptions, their secrets, messages and attempts.

pub(crate) mod attempt_results;
pub(crate) mod claim;
pub(crate) mod event_name;
pub(crate) mod listener;
pub(crate) mod message;
pub(crate) mod new_event;
pub(crate) mod overview;
pub(crate) mod redelivery;
pub(crate) mod retention;
pub(crate) mod secret;
pub(crate) mod subscription;
pub(crate) mod subscription_change;
pub(crate) mod tenant_cache;
