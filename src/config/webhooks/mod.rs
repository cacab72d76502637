//! The settings of outbound webhooks.

mod webhook_settings;

pub use webhook_settings::{
    AllowedDestination, LadderStep, WebhookKey, WebhookSchemes, WebhookSettings,
};
