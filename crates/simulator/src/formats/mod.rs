//! The payloads of Event Grid, Call Automation and client apps.

pub(crate) mod call_automation;
pub(crate) mod client_leg;
pub(crate) mod event_content;
pub(crate) mod event_grid;
pub(crate) mod timestamps;
