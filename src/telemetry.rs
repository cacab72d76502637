//! Logs and metrics; every metric's name stands here.

use metrics_exporter_prometheus::{Matcher, PrometheusBuilder, PrometheusHandle};
use tracing::Level;
use tracing_subscriber::EnvFilter;
use tracing_subscriber::filter::filter_fn;
use tracing_subscriber::layer::SubscriberExt as _;
use tracing_subscriber::util::SubscriberInitExt as _;

use crate::config::{Log, LogFormat};

/// The names of all metrics, with their labels and units.
pub mod names {
    /// Deliveries answered; labels `source`, `status`.
    pub const DELIVERIES: &str = "onrecord_intake_deliveries_total";
    /// Events taken in; labels `source`, `type`.
    pub const EVENTS: &str = "onrecord_intake_events_total";
    /// Deliveries answered 503 for a reason; labels `source`, `reason`.
    pub const REFUSED: &str = "onrecord_intake_refused_total";
    /// Bodies and events sent to quarantine; labels `source`, `reason`.
    pub const QUARANTINED: &str = "onrecord_intake_quarantined_total";
    /// Fetches of issuers' keys; label `outcome` = `read`, `failed`.
    pub const KEY_SETS: &str = "onrecord_intake_key_sets_total";
    /// Seconds from the head of a delivery to its answer.
    pub const ANSWER_SECONDS: &str = "onrecord_intake_answer_seconds";
    /// Messages by the way they took; label `way` = `kafka`, `spool`, `neither`.
    pub const ROAD: &str = "onrecord_road_messages_total";
    /// 1 while the breaker sends messages straight to the spool.
    pub const BREAKER_OPEN: &str = "onrecord_road_breaker_open";
    /// Spool rows published and deleted.
    pub const DRAINED: &str = "onrecord_drain_messages_total";
    /// Entries written; label `outcome` = `new`, `duplicate`, `conflict`, `quarantined`.
    pub const ENTRIES: &str = "onrecord_ledger_entries_total";
    /// Seconds of one ledger transaction.
    pub const LEDGER_SECONDS: &str = "onrecord_ledger_transaction_seconds";
    /// Stretches of the log that are gone or were read anew; label `reader`.
    pub const STREAM_GAPS: &str = "onrecord_stream_gaps_total";
    /// Notices and snapshots handed to client streams; label `kind`.
    pub const NOTICES: &str = "onrecord_notices_total";
    /// Client streams open now.
    pub const STREAMS: &str = "onrecord_streams";
    /// Client streams dropped because they read too slowly.
    pub const STREAMS_DROPPED: &str = "onrecord_streams_dropped_total";
    /// Seconds from the receipt of an event to its notice being queued for clients.
    pub const NOTICE_SECONDS: &str = "onrecord_notice_seconds";
    /// Facts about notices written down; label `kind`.
    pub const NOTICE_FACTS: &str = "onrecord_notice_facts_total";
    /// Facts about notices given up, because too many waited to be written.
    pub const NOTICE_FACTS_LOST: &str = "onrecord_notice_facts_lost_total";
    /// Calls on the board.
    pub const BOARD_CALLS: &str = "onrecord_board_calls";
    /// 1 while a component is well; label `component`.
    pub const COMPONENT_WELL: &str = "onrecord_component_well";
    /// Exceptions open now, of all tenants; label `kind`. Told by the node that sweeps.
    pub const EXCEPTIONS_OPEN: &str = "onrecord_exceptions_open";
    /// Exceptions opened, or opened again; label `kind`.
    pub const EXCEPTIONS_OPENED: &str = "onrecord_exceptions_opened_total";
    /// Exceptions closed; labels `kind`, `by` = `itself`, `hand`.
    pub const EXCEPTIONS_CLOSED: &str = "onrecord_exceptions_closed_total";
    /// Seconds since the oldest message in the spool was stored. Told by the node that sweeps.
    pub const SPOOL_AGE: &str = "onrecord_spool_age_seconds";
    /// Seconds that `complete_through` lies back. Told by the node that sweeps.
    pub const LEDGER_BEHIND: &str = "onrecord_ledger_behind_seconds";
}

/// Starts logging to standard error. A second call in one process changes nothing.
///
/// # Errors
///
/// The filter cannot be read.
pub fn start_logging(log: &Log) -> anyhow::Result<()> {
    // librdkafka says what we say in sentences of our own, many times over; sqlx repeats Postgres's
    // notices ("already exists, skipping"). A filter that names them brings them back.
    // What it does not know of a database URL it repeats with its value, which may be a password.
    let quiet =
        "librdkafka=off,rdkafka=off,sqlx::postgres::notice=warn,sqlx_postgres::options=error";
    let filter = EnvFilter::try_new(format!("{quiet},{}", log.filter))
        .map_err(|error| anyhow::anyhow!("log.filter is wrong: {error}"))?;
    let subscriber = tracing_subscriber::fmt()
        .with_env_filter(filter)
        .with_writer(std::io::stderr);
    // It repeats each frame, and a client renews its token by a frame. No filter brings it back.
    let no_frames =
        filter_fn(|what| *what.level() <= Level::INFO || !what.target().starts_with("tungstenite"));
    // Only tests start several servers in one process; the first one's logging stays.
    let _ = match log.format {
        LogFormat::Json => {
            let subscriber = subscriber.json().flatten_event(true).finish();
            subscriber.with(no_frames).try_init()
        }
        LogFormat::Pretty => subscriber.finish().with(no_frames).try_init(),
    };
    Ok(())
}

/// Installs the process-wide recorder and gives the handle that prints it.
///
/// # Errors
///
/// A recorder is already installed.
pub fn start_metrics() -> anyhow::Result<PrometheusHandle> {
    let seconds = [
        0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 15.0,
    ];
    Ok(PrometheusBuilder::new()
        .set_buckets_for_metric(Matcher::Suffix("_seconds".to_owned()), &seconds)?
        .install_recorder()?)
}
