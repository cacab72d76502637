//! Reads the diagnostics of both stores.

use super::checks::DoctorInputs;
use crate::config::Settings;
use crate::kafka::{KafkaClientConfig, diagnose_kafka};
use crate::postgres::diagnose_postgres;

/// Reads the diagnostics of both stores. It takes some seconds at most, also if they do not answer.
pub(crate) async fn examine(settings: Settings) -> DoctorInputs {
    let connection = KafkaClientConfig::new(&settings);
    // The ends of the log are read after what is known of them in Postgres: the log only grows.
    let postgres = diagnose_postgres(settings.database_url.expose()).await;
    let kafka = diagnose_kafka(&connection).await;
    DoctorInputs { settings, postgres, kafka }
}
