//! `/v1/webhooks`: subscriptions, their messages, and what is done with them.
//!
//! * [`resources`]: the routes.
//! * [`subscription_body`]: what a request for a subscription says, and the rules that it obeys.
//! * [`manage`]: creates and changes subscriptions; also used by the command line.
//! * [`subscriptions`]: the resources of subscriptions; [`actions`]: what changes their state;
//!   [`messages`]: their messages and attempts.

pub(crate) mod access;
pub(crate) mod actions;
pub(crate) mod manage;
pub(crate) mod message_query;
pub(crate) mod messages;
pub(crate) mod resources;
pub(crate) mod subscription_body;
pub(crate) mod subscriptions;
