//! Pages about outbound webhooks: subscriptions, their messages, and the timeline of one message.

pub(super) mod delivery_actions;
pub(super) mod delivery_list;
pub(super) mod delivery_page;
