//! `onrecord migrate`: schema and topics.

use std::path::Path;
use std::process::ExitCode;

use anyhow::Context as _;

use crate::clock;
use crate::config::Settings;
use crate::store::Store;
use crate::stream::{Connection, TopicLayout, ensure_topics};
use crate::telemetry;

pub(super) fn run(config: Option<&Path>) -> anyhow::Result<ExitCode> {
    let settings = Settings::load(config)?;
    telemetry::start_logging(&settings.log)?;
    super::runtime::runtime()?.block_on(async {
        let store = Store::new(settings.database_url.expose(), settings.store.connections)?;
        store
            .migrate(clock::now())
            .await
            .context("the schema was not migrated")?;
        println!("the schema is up to date");
        ensure_topics(
            &Connection::new(&settings),
            TopicLayout::of(&settings.kafka),
        )
        .await
        .context("the topics were not made")?;
        println!("the topics are there");
        Ok(ExitCode::SUCCESS)
    })
}
