//! The types of all settings.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::time::Duration;

use serde::{Deserialize, Deserializer};

use super::console::ConsoleSettings;
use super::export_store::ExportStore;
use super::origin::AllowedOrigin;
use super::sealing_key::QuarantineSettings;
use super::secret::Secret;
use super::source::Source;
use super::units::{NO_DURATION, duration, parse_duration, parsed, size};
use super::webhooks::WebhookSettings;
use onrecord_evidence::event::ids::Tenant;

/// All settings; `default.toml` documents each.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Settings {
    pub listen: SocketAddr,
    pub database_url: Secret<String>,
    pub kafka_brokers: String,
    pub topic_prefix: String,
    /// 0: derived from `streams.max_streams`.
    pub max_connections: usize,
    #[serde(deserialize_with = "duration")]
    pub keep_alive: Duration,
    pub operations: OperationsSettings,
    pub log: LogSettings,
    pub ingest: IngestSettings,
    pub quarantine: QuarantineSettings,
    pub kafka: KafkaSettings,
    pub query: QuerySettings,
    pub console: ConsoleSettings,
    pub exports: ExportSettings,
    pub webhooks: WebhookSettings,
    pub ledger: LedgerSettings,
    pub exceptions: ExceptionSettings,
    pub live: LiveSettings,
    pub streams: StreamSettings,
    pub tokens: TokenSettings,
    pub cors: CorsSettings,
    pub tenants: BTreeMap<Tenant, TenantSettings>,
    pub sources: BTreeMap<String, Source>,
}

#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct OperationsSettings {
    /// `None`: that of the server.
    #[serde(deserialize_with = "optional_address")]
    pub listen: Option<SocketAddr>,
}

fn optional_address<'de, D: Deserializer<'de>>(
    deserializer: D,
) -> Result<Option<SocketAddr>, D::Error> {
    let parse = |text: &str| match text {
        "" => Some(None),
        // The error says what is expected.
        text => text.parse().ok().map(Some),
    };
    parsed(deserializer, parse, "an address and a port, as 127.0.0.1:9090, or empty")
}

#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct LogSettings {
    pub filter: String,
    pub format: LogFormat,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum LogFormat {
    Json,
    Pretty,
}

#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct IngestSettings {
    #[serde(deserialize_with = "size")]
    pub bytes_in_flight: usize,
    #[serde(deserialize_with = "duration")]
    pub kafka_timeout: Duration,
    #[serde(deserialize_with = "duration")]
    pub deadline: Duration,
}

#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct KafkaSettings {
    pub partitions: i32,
    pub replicas: i32,
    #[serde(deserialize_with = "duration")]
    pub retention: Duration,
    pub compression: KafkaCompression,
    /// Whether flat records are published on a topic of their own.
    pub call_facts: CallFactsTopic,
    pub properties: BTreeMap<String, Secret<String>>,
}

/// Whether flat records are published.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum CallFactsTopic {
    Off,
    On,
}

/// The codec by which the producer compresses batches.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize, strum::IntoStaticStr)]
#[serde(rename_all = "lowercase")]
#[strum(serialize_all = "lowercase")]
pub enum KafkaCompression {
    None,
    Gzip,
    Snappy,
    Lz4,
    Zstd,
}

#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct QuerySettings {
    pub connections: u32,
}

#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ExportSettings {
    pub store: ExportStore,
    #[serde(deserialize_with = "duration")]
    pub retention: Duration,
    pub max_rows: u64,
    pub file_rows: u64,
    pub max_running: u32,
    pub max_running_of_tenant: u32,
    pub s3: S3Settings,
}

/// How a bucket is reached.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct S3Settings {
    /// Empty: that of AWS.
    pub endpoint: String,
    pub region: String,
    /// Empty: the identity of the machine.
    pub access_key_id: String,
    pub secret_access_key: Secret<String>,
}

#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct LedgerSettings {
    #[serde(deserialize_with = "duration")]
    pub dedup_retention: Duration,
    pub batch: usize,
    pub followers: usize,
    #[serde(deserialize_with = "duration")]
    pub presume_end_after: Duration,
}

#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ExceptionSettings {
    #[serde(deserialize_with = "duration")]
    pub silent_source: Duration,
}

#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct LiveSettings {
    pub history: LiveHistory,
}

/// How far back a starting node replays the log.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum LiveHistory {
    /// From the beginning.
    All,
    /// From this long before the start.
    Since(Duration),
}

#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct StreamSettings {
    pub queue: usize,
    pub max_streams: usize,
}

#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct TokenSettings {
    pub keys: Vec<Secret<String>>,
    #[serde(deserialize_with = "duration")]
    pub max_ttl: Duration,
}

/// Minimum time for which a revocation of tokens is kept: another node, or this one before a change
/// of its settings, may mint tokens that live longer than `tokens.max_ttl`.
const MIN_REVOCATION_RETENTION: Duration = Duration::from_secs(31 * 24 * 3600);

/// How long a revocation of tokens is kept after the last token that it covers was issued.
#[must_use]
pub fn revocation_retention(max_ttl: Duration) -> Duration {
    MIN_REVOCATION_RETENTION.max(max_ttl)
}

#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct CorsSettings {
    pub origins: Vec<AllowedOrigin>,
}

/// The settings of one tenant.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct TenantSettings {
    pub clients: ClientPolicy,
}

/// Which clients of a tenant may report to a call and listen to it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum ClientPolicy {
    /// Each client with a subscriber token.
    #[default]
    Open,
    /// Those whose token grants the call.
    Granted,
}

impl<'de> Deserialize<'de> for LiveHistory {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let parse = |text: &str| match text {
            "all" => Some(Self::All),
            text => parse_duration(text).map(Self::Since),
        };
        parsed(deserializer, parse, NO_DURATION)
    }
}
