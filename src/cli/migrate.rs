//! `onrecord migrate`: migrates the schema and creates the topics.

use std::path::Path;
use std::process::ExitCode;

use anyhow::Context as _;

use crate::clock;
use crate::config::Settings;
use crate::kafka::{KafkaClientConfig, ensure_topics};
use crate::postgres::Postgres;
use crate::telemetry;

pub(super) fn run(config: Option<&Path>) -> anyhow::Result<ExitCode> {
    let settings = Settings::load(config)?;
    telemetry::start_logging(&settings.log)?;
    super::runtime::runtime()?.block_on(async {
        let store = Postgres::new(settings.database_url.expose(), settings.query.connections)?;
        store.migrate(clock::now()).await.context("the schema was not migrated")?;
        println!("the schema is up to date");
        ensure_topics(&KafkaClientConfig::new(&settings), &settings.kafka)
            .await
            .context("the topics were not created")?;
        println!("the topics exist");
        Ok(ExitCode::SUCCESS)
    })
}
