//! The log of the process, on standard error.

use tracing::Level;
use tracing_subscriber::EnvFilter;
use tracing_subscriber::filter::filter_fn;
use tracing_subscriber::layer::SubscriberExt as _;
use tracing_subscriber::util::SubscriberInitExt as _;

use crate::config::{LogFormat, LogSettings};

/// Filters of dependencies; a setting that names one of these targets overrides its filter.
///
/// # Why
///
/// The service logs the state of Kafka itself, less often than librdkafka. sqlx repeats notices of
/// Postgres ("already exists, skipping"). It also logs unknown parameters of a database URL with
/// their value, which may be a password (`NO_SECRETS`).
const DEPENDENCIES: &str =
    "librdkafka=off,rdkafka=off,sqlx::postgres::notice=warn,sqlx_postgres::options=error";

/// Starts logging to standard error. A second call in one process has no effect.
///
/// # Errors
///
/// The filter cannot be parsed.
pub fn start_logging(log: &LogSettings) -> anyhow::Result<()> {
    let filter = EnvFilter::try_new(format!("{DEPENDENCIES},{}", log.filter))
        .map_err(|error| anyhow::anyhow!("log.filter is wrong: {error}"))?;
    let subscriber = tracing_subscriber::fmt().with_env_filter(filter).with_writer(std::io::stderr);
    // tungstenite logs each frame, and a client renews its token by a frame (`NO_SECRETS`). No
    // setting overrides this.
    let no_frames = filter_fn(|metadata| {
        *metadata.level() <= Level::INFO || !metadata.target().starts_with("tungstenite")
    });
    // Only tests start several servers in one process; the first subscriber stays.
    let _ = match log.format {
        LogFormat::Json => {
            let subscriber = subscriber.json().flatten_event(true).finish();
            subscriber.with(no_frames).try_init()
        }
        LogFormat::Pretty => subscriber.finish().with(no_frames).try_init(),
    };
    Ok(())
}
