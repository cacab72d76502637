//! `onrecord migrate`: migrates the schema and creates the topics; `--roles` only the database roles of
//! readers, which a dump does not contain.

use std::path::Path;
use std::process::ExitCode;

use anyhow::Context as _;
use clap::Args;

use crate::clock;
use crate::config::Settings;
use crate::kafka::{KafkaClientConfig, ensure_topics};
use crate::postgres::Postgres;
use crate::telemetry;

/// The options of `onrecord migrate`.
#[derive(Args)]
pub(super) struct MigrateOptions {
    /// Creates the database roles of readers and nothing else: before a dump is restored.
    #[arg(long)]
    roles: bool,
}

pub(super) fn run(options: &MigrateOptions, config: Option<&Path>) -> anyhow::Result<ExitCode> {
    let settings = Settings::load(config)?;
    telemetry::start_logging(&settings.log)?;
    super::runtime::runtime()?.block_on(async {
        let store = Postgres::new(settings.database_url.expose(), settings.query.connections)?;
        if options.roles {
            store.create_reader_roles().await.context("the roles were not created")?;
            println!("the roles onrecord_reader and onrecord_reading exist");
            return Ok(ExitCode::SUCCESS);
        }
        store.migrate(clock::now()).await.context("the schema was not migrated")?;
        println!("the schema is up to date");
        ensure_topics(&KafkaClientConfig::new(&settings), &settings.kafka)
            .await
            .context("the topics were not created")?;
        println!("the topics exist");
        Ok(ExitCode::SUCCESS)
    })
}
