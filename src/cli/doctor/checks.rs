//! The list of checks, and their runner.

use chrono::{DateTime, Utc};

use super::finding::{CheckResult, CheckedFinding, Finding};
use super::kafka::TopicTargets;
use super::{kafka, ledger, postgres, roles, schema, settings, sources};
use crate::config::{Settings, Source};
use crate::kafka::{KafkaDiagnostics, KafkaUnreachable, TopicDiagnostics};
use crate::postgres::{
    PositionDiagnostics, PostgresDiagnostics, PostgresUnreachable, ServerDiagnostics,
    SourceUseDiagnostics,
};

/// The inputs of all checks.
pub(super) struct DoctorInputs {
    pub settings: Settings,
    pub postgres: Result<PostgresDiagnostics, PostgresUnreachable>,
    pub kafka: Result<KafkaDiagnostics, KafkaUnreachable>,
}

impl DoctorInputs {
    fn postgres(&self) -> Result<&PostgresDiagnostics, String> {
        let postgres = self.postgres.as_ref();
        postgres.map_err(|_| "Postgres is unavailable".to_owned())
    }

    fn kafka(&self) -> Result<&KafkaDiagnostics, String> {
        self.kafka
            .as_ref()
            .map_err(|_| "Kafka is unavailable".to_owned())
    }
}

/// A check, by the inputs that it needs.
enum DoctorCheck {
    Inputs(fn(&DoctorInputs) -> CheckResult),
    Settings(fn(&Settings) -> Finding),
    EachSource(fn(&Source) -> Finding),
    Server(fn(&ServerDiagnostics) -> Finding),
    Postgres(fn(&PostgresDiagnostics) -> CheckResult),
    EachTopic(fn(&TopicTargets<'_>, &TopicDiagnostics) -> CheckResult),
    UsesOfEachSource(fn(&str, &Source, &[SourceUseDiagnostics], DateTime<Utc>) -> Finding),
    PositionsAndTopics(fn(&[PositionDiagnostics], &[TopicDiagnostics]) -> Finding),
}

use DoctorCheck as Check;

/// All checks by their stable codes, in the order of the report.
const CHECKS: &[(&str, Check)] = &[
    (settings::LOAD, Check::Settings(settings::load)),
    ("settings.tokens", Check::Settings(settings::tokens)),
    ("settings.cors", Check::Settings(settings::origins)),
    ("settings.sources", Check::Settings(settings::sources)),
    (
        "settings.source_keys",
        Check::EachSource(settings::credentials),
    ),
    (
        "settings.resource_ids",
        Check::EachSource(settings::resource_ids),
    ),
    (
        "postgres.reachable",
        Check::Inputs(|it| Ok(postgres::reachable(&it.postgres))),
    ),
    ("postgres.version", Check::Server(postgres::version)),
    ("postgres.fsync", Check::Server(postgres::fsync)),
    (
        "postgres.full_page_writes",
        Check::Server(postgres::full_page_writes),
    ),
    (
        "postgres.synchronous_commit",
        Check::Server(postgres::synchronous_commit),
    ),
    (
        "postgres.clock",
        Check::Postgres(|it| Ok(postgres::clock(*it.clock_ahead.as_ref()?))),
    ),
    ("postgres.role", Check::Server(roles::role)),
    (
        "postgres.owner",
        Check::Postgres(|it| Ok(roles::owner(&it.server, it.tables.as_ref()?))),
    ),
    (
        "postgres.readers",
        Check::Postgres(|it| Ok(roles::readers(&it.server, &it.tables))),
    ),
    (
        "postgres.row_security",
        Check::Postgres(|it| Ok(roles::row_security(it.tables.as_ref()?))),
    ),
    (
        "schema.version",
        Check::Postgres(|it| Ok(schema::version(it.schema.as_ref()?))),
    ),
    (
        "schema.partitions",
        Check::Postgres(|it| Ok(schema::partitions(it.missing_partitions.as_ref()?))),
    ),
    (
        "schema.entry_default",
        Check::Postgres(|it| Ok(schema::unplaced(*it.unplaced.as_ref()?))),
    ),
    (
        "kafka.reachable",
        Check::Inputs(|it| Ok(kafka::reachable(&it.settings.kafka_brokers, &it.kafka))),
    ),
    (
        "kafka.auto_create",
        Check::Inputs(|it| kafka::auto_create(it.kafka()?.auto_create)),
    ),
    (kafka::TOPIC, Check::EachTopic(kafka::leaders)),
    ("kafka.partitions", Check::EachTopic(kafka::partitions)),
    ("kafka.replicas", Check::EachTopic(kafka::replicas)),
    ("kafka.in_sync", Check::EachTopic(kafka::in_sync)),
    ("kafka.message_size", Check::EachTopic(kafka::message_size)),
    ("kafka.retention", Check::EachTopic(kafka::retention)),
    ("kafka.cleanup", Check::EachTopic(kafka::cleanup)),
    ("source.silence", Check::UsesOfEachSource(sources::silence)),
    ("source.keys", Check::UsesOfEachSource(sources::keys)),
    ("source.unconfigured", Check::Inputs(unconfigured)),
    (
        "spool.age",
        Check::Postgres(|it| Ok(ledger::spool(it.spool.as_ref()?, it.server.now))),
    ),
    (
        "quarantine.recent",
        Check::Postgres(|it| Ok(ledger::quarantine(it.quarantine.as_ref()?, it.server.now))),
    ),
    (
        "stream.gaps",
        Check::Postgres(|it| Ok(ledger::gaps(it.gaps.as_ref()?, it.server.now))),
    ),
    ("ledger.owners", Check::Inputs(owners)),
    ("ledger.lag", Check::PositionsAndTopics(ledger::lag)),
    (
        "ledger.unknown_partitions",
        Check::PositionsAndTopics(ledger::unknown_partitions),
    ),
    (
        "ledger.complete_through",
        Check::Postgres(|it| {
            Ok(ledger::complete_through(
                it.positions.as_ref()?,
                it.server.now,
            ))
        }),
    ),
];

fn unconfigured(it: &DoctorInputs) -> CheckResult {
    let postgres = it.postgres()?;
    let (uses, now) = (postgres.uses.as_ref()?, postgres.server.now);
    Ok(sources::unconfigured(&it.settings.sources, uses, now))
}

fn owners(it: &DoctorInputs) -> CheckResult {
    let postgres = it.postgres()?;
    let topics = it.kafka.as_ref().ok().map(|kafka| kafka.topics.as_slice());
    let (positions, now) = (postgres.positions.as_ref()?, postgres.server.now);
    Ok(ledger::owners(positions, topics, now))
}

/// Does all checks.
pub(super) fn run_checks(inputs: &DoctorInputs) -> Vec<CheckedFinding> {
    let checks = CHECKS.iter();
    checks
        .flat_map(|(code, check)| {
            let results = run_check(code, check, inputs).into_iter();
            results.map(|(subject, result)| CheckedFinding::new(code, subject, result))
        })
        .collect()
}

/// The results of one check, with their subjects where there are several.
fn run_check<'a>(
    code: &str,
    check: &Check,
    inputs: &'a DoctorInputs,
) -> Vec<(Option<&'a str>, CheckResult)> {
    let settings = &inputs.settings;
    let once = |result| vec![(None, result)];
    let each_source = |check: &dyn Fn(&str, &Source) -> CheckResult| {
        let sources = settings.sources.iter();
        let results = sources.map(|(name, source)| (Some(name.as_str()), check(name, source)));
        results.collect()
    };
    match check {
        Check::Inputs(check) => once(check(inputs)),
        Check::Settings(check) => once(Ok(check(settings))),
        Check::Server(check) => once(inputs.postgres().map(|it| check(&it.server))),
        Check::Postgres(check) => once(inputs.postgres().and_then(check)),
        Check::PositionsAndTopics(check) => once(inputs.postgres().and_then(|it| {
            let positions = it.positions.as_ref()?;
            Ok(check(positions, &inputs.kafka()?.topics))
        })),
        Check::EachSource(check) => each_source(&|_, source| Ok(check(source))),
        Check::UsesOfEachSource(check) => each_source(&|name, source| {
            let postgres = inputs.postgres()?;
            let uses = sources::uses_of(name, postgres.uses.as_ref()?);
            Ok(check(name, source, &uses, postgres.server.now))
        }),
        Check::EachTopic(check) => match inputs.kafka() {
            Err(reason) => once(Err(reason)),
            Ok(kafka) => {
                let (targets, topics) = (TopicTargets::of(settings), kafka.topics.iter());
                let results = topics.map(|topic| {
                    let is_absent = topic.partitions.is_empty() && code != kafka::TOPIC;
                    let result = if is_absent {
                        Err("there is no topic".to_owned())
                    } else {
                        check(&targets, topic)
                    };
                    (Some(topic.name.as_str()), result)
                });
                results.collect()
            }
        },
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;
    use crate::cli::doctor::finding::FindingLevel;
    use crate::cli::doctor::postgres::tests::{server, unread};
    use crate::config::KeyHash;

    fn without_stores(settings: &str) -> DoctorInputs {
        DoctorInputs {
            settings: Settings::from_toml(settings).unwrap(),
            postgres: Err(PostgresUnreachable::Unreachable(
                "connection refused".to_owned(),
            )),
            kafka: Err(KafkaUnreachable::Unreachable(
                "Connection refused".to_owned(),
            )),
        }
    }

    fn codes(findings: &[CheckedFinding], level: FindingLevel) -> Vec<&'static str> {
        let of_level = findings.iter().filter(|it| it.finding.level == level);
        of_level.map(|it| it.code).collect()
    }

    #[test]
    fn no_two_checks_have_the_same_code() {
        let codes: BTreeSet<&str> = CHECKS.iter().map(|(code, _)| *code).collect();
        assert_eq!(codes.len(), CHECKS.len());
    }

    #[test]
    fn without_both_stores_all_checks_of_stores_are_unknown() {
        let findings = run_checks(&without_stores(""));
        let errors = codes(&findings, FindingLevel::Error);
        assert_eq!(errors, ["postgres.reachable", "kafka.reachable"]);
        for error in findings.iter().filter(|it| errors.contains(&it.code)) {
            assert!(error.finding.sentence.contains("refused"), "{error:?}");
        }
        let unknown = codes(&findings, FindingLevel::Unknown);
        assert_eq!(unknown.len(), 28);
        let known = ["settings.", "postgres.reachable", "kafka.reachable"];
        for finding in findings.iter().filter(|it| !unknown.contains(&it.code)) {
            assert!(known.iter().any(|known| finding.code.starts_with(known)));
        }
    }

    #[test]
    fn without_postgres_all_checks_of_sources_are_unknown() {
        let key = KeyHash::of("k");
        let source =
            format!("[sources.a]\nkind = \"event-grid\"\ntenant = \"t\"\nkeys = [\"{key}\"]");
        let findings = run_checks(&without_stores(&source));
        let of_sources = findings.iter().filter(|it| it.code.starts_with("source."));
        let of_sources: Vec<_> = of_sources
            .map(|it| (it.code, it.subject.as_deref(), it.finding.level))
            .collect();
        let unknown = FindingLevel::Unknown;
        assert_eq!(
            of_sources,
            [
                ("source.silence", Some("a"), unknown),
                ("source.keys", Some("a"), unknown),
                ("source.unconfigured", None, unknown)
            ]
        );
    }

    #[test]
    fn complete_settings_have_no_findings() {
        let key = KeyHash::of("k");
        let toml = format!(
            "[tokens]\nkeys = [\"0123456789012345678901234567890123\"]\n[cors]\norigins = [\"https://app.contoso.com\"]\n[sources.a]\nkind = \"event-grid\"\ntenant = \"t\"\nkeys = [\"{key}\"]\nresource_ids = [\"x\"]"
        );
        let findings = run_checks(&without_stores(&toml));
        let of_settings = findings
            .iter()
            .filter(|it| it.code.starts_with("settings."));
        let of_settings: Vec<_> = of_settings.collect();
        assert_eq!(of_settings.len(), 6);
        assert!(
            of_settings
                .iter()
                .all(|it| it.finding.level == FindingLevel::Ok),
            "{of_settings:?}"
        );
        assert_eq!(of_settings.last().unwrap().subject.as_deref(), Some("a"));
    }

    #[test]
    fn a_topic_that_does_not_exist_is_one_error_and_its_other_checks_are_unknown() {
        let mut inputs = without_stores("");
        inputs.kafka = Ok(KafkaDiagnostics {
            brokers: 1,
            auto_create: Some(false),
            topics: vec![TopicDiagnostics {
                name: "calling-events.v1".to_owned(),
                ..TopicDiagnostics::default()
            }],
        });
        let findings = run_checks(&inputs);
        let of_topic = findings.iter().filter(|it| it.subject.is_some());
        let levels: Vec<_> = of_topic.map(|it| it.finding.level).collect();
        assert_eq!(levels.len(), 7);
        assert_eq!(levels[0], FindingLevel::Error);
        assert!(levels[1..].iter().all(|it| *it == FindingLevel::Unknown));
    }

    #[test]
    fn without_kafka_the_lag_is_unknown_and_the_owners_are_known() {
        let mut inputs = without_stores("");
        inputs.postgres = Ok(PostgresDiagnostics {
            positions: Ok(Vec::new()),
            ..unread(server())
        });
        let findings = run_checks(&inputs);
        let of = |code| &findings.iter().find(|it| it.code == code).unwrap().finding;
        assert_eq!(
            of("ledger.lag").sentence,
            "not checked: Kafka is unavailable"
        );
        assert_eq!(of("ledger.owners").level, FindingLevel::Error);
        assert_eq!(of("schema.version").sentence, "not checked: not read");
    }
}
