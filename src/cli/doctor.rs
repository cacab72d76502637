//! `onrecord doctor`: looks at a deployment and says what to do.
//!
//! # Why
//!
//! Whoever is on call has one command that tells settings, stores and sources apart. What is seen
//! comes from the cellars as plain observations; what to think of it is decided in pure functions,
//! one file for each thing looked at. A store that is away takes seconds, and nothing else with it.

mod finding;
mod kafka;
mod ledger;
mod postgres;
mod roles;
mod schema;
mod settings;
mod sources;

use std::path::Path;
use std::process::ExitCode;

use chrono::{DateTime, Utc};
use clap::Args;

use self::finding::{Finding, Report};
use crate::clock;
use crate::config::Settings;
use crate::store::{PostgresAway, PostgresCondition, postgres_condition};
use crate::stream::{Connection, KafkaAway, KafkaCondition, kafka_condition};

/// Exits 0 if there is no error (warnings are none), else 1.
#[derive(Args)]
pub(super) struct Options {
    /// Prints one JSON object, with stable codes.
    #[arg(long)]
    json: bool,
}

impl Options {
    pub(super) fn run(self, config: Option<&Path>) -> anyhow::Result<ExitCode> {
        let at = clock::now();
        let findings = match Settings::load(config) {
            Err(error) => vec![settings::unusable(&error)],
            Ok(settings) => super::runtime::runtime()?.block_on(examine(&settings, at)),
        };
        let report = Report::new(at, findings);
        if self.json {
            println!("{}", serde_json::to_string_pretty(&report)?);
        } else {
            print!("{}", report.text());
        }
        Ok(if report.has_errors() {
            ExitCode::FAILURE
        } else {
            ExitCode::SUCCESS
        })
    }
}

async fn examine(settings: &Settings, at: DateTime<Utc>) -> Vec<Finding> {
    let connection = Connection::new(settings);
    let (postgres, kafka) = tokio::join!(
        postgres_condition(settings.database_url.expose()),
        kafka_condition(&connection)
    );
    findings(settings, &postgres, &kafka, at)
}

fn findings(
    settings: &Settings,
    postgres: &Result<PostgresCondition, PostgresAway>,
    kafka: &Result<KafkaCondition, KafkaAway>,
    at: DateTime<Utc>,
) -> Vec<Finding> {
    let mut findings = settings::findings(settings);
    findings.extend(postgres::findings(postgres));
    findings.extend(kafka::findings(&kafka::Wanted::of(settings), kafka));
    match postgres {
        Ok(seen) => {
            findings.extend(sources::findings(
                &settings.sources,
                &seen.uses,
                seen.server.now,
            ));
            findings.extend(ledger::findings(seen, kafka));
        }
        Err(_) => {
            let away = Err(postgres::AWAY.to_owned());
            findings.extend(sources::findings(&settings.sources, &away, at));
            findings.extend(ledger::unseen(postgres::AWAY));
        }
    }
    findings
}

#[cfg(test)]
mod tests {
    use super::finding::Level;
    use super::*;

    #[test]
    fn with_both_stores_away_everything_of_theirs_is_said_to_be_unknown() {
        let settings = Settings::from_toml("").unwrap();
        let postgres = Err(PostgresAway::Unreachable("refused".to_owned()));
        let kafka = Err(KafkaAway::Unreachable("refused".to_owned()));
        let findings = findings(&settings, &postgres, &kafka, DateTime::UNIX_EPOCH);
        let errors: Vec<&str> = findings
            .iter()
            .filter(|found| found.level == Level::Error)
            .map(|found| found.code)
            .collect();
        assert_eq!(errors, ["postgres.reachable", "kafka.reachable"]);
        let unknown = findings.iter().filter(|f| f.level == Level::Unknown);
        assert_eq!(unknown.count(), 28);
    }
}
