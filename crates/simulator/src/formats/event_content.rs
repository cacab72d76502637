//! What an event or a callback states, without its envelope.

use serde_json::Value;

/// The content of an event of Event Grid, or of a callback.
pub(crate) struct EventContent {
    /// The event type, without its common prefix.
    pub name: &'static str,
    /// The subject; callbacks state the same text as their source.
    pub subject: String,
    pub data: Value,
}

impl EventContent {
    /// The event type.
    pub(crate) fn source_type(&self) -> String {
        format!("Microsoft.Communication.{}", self.name)
    }
}
