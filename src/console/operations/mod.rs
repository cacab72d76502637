//! Pages about the service itself: its health and sources, who read what, what was not understood,
//! and the keys.

pub(super) mod access_page;
pub(crate) mod doctor_findings;
pub(super) mod health_page;
pub(super) mod quarantine_page;
pub(super) mod settings_page;
mod setup_commands;
pub(super) mod setup_page;
pub(super) mod sources_page;
