//! The settings.
//!
//! `default.toml` documents each key. `onrecord.toml` and then `ONRECORD_*` variables override it. An
//! unknown key is an error, because otherwise a misspelt key would silently mean its default.
//!
//! [`load`] merges the sources of settings into one untyped [`tree`] ([`variables`] reads the
//! environment), [`typed`] deserializes it into [`settings`], and [`limits`] checks the values.

mod console;
mod environment;
mod export_store;
mod limits;
mod load;
mod nearest;
mod origin;
mod sealing_key;
mod secret;
mod settings;
mod source;
mod tree;
mod typed;
mod units;
mod variables;
mod webhooks;

pub use console::{ClaimedRole, ConsoleRole, ConsoleSettings, KeySignIn, OidcSettings};
#[cfg(feature = "failpoints")]
pub use environment::failpoints;
#[cfg(feature = "demo")]
pub use environment::{ProcessEnvironment, process_environment};
pub use export_store::ExportStore;
pub(crate) use load::SettingsReload;
pub(crate) use nearest::nearest;
pub use origin::AllowedOrigin;
pub(crate) use origin::WebOrigin;
pub use sealing_key::{QuarantineSettings, SealingKey};
pub use secret::Secret;
pub use settings::{
    CallFactsTopic, ClientPolicy, CorsSettings, ExceptionSettings, ExportSettings, IngestSettings,
    KafkaCompression, KafkaSettings, LedgerSettings, LiveHistory, LiveSettings, LogFormat,
    LogSettings, QuerySettings, S3Settings, Settings, StreamSettings, TenantSettings,
    TokenSettings, revocation_retention,
};
pub use source::{JwksUrl, Jwt, KeyHash, Source, SourceKind};
pub use webhooks::{AllowedDestination, LadderStep, WebhookKey, WebhookSchemes, WebhookSettings};
