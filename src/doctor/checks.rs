//! The list of checks, and their runner.

use super::finding::{CheckResult, CheckedFinding};
use super::{kafka, ledger, postgres, roles, schema, settings, sources, webhooks};
use crate::config::{Settings, Source};
use crate::http::connection::limits::{max_connections, wanted_connections};
use crate::kafka::{KafkaDiagnostics, KafkaUnreachable, TopicDiagnostics};
use crate::postgres::{PostgresDiagnostics, PostgresUnreachable};
use onrecord_evidence::event::ids::Tenant;

/// The inputs of all checks.
#[derive(Clone)]
pub(crate) struct DoctorInputs {
    pub settings: Settings,
    pub postgres: Result<PostgresDiagnostics, PostgresUnreachable>,
    pub kafka: Result<KafkaDiagnostics, KafkaUnreachable>,
}

impl DoctorInputs {
    /// The same with the sources of a tenant alone, so that no finding names those of others.
    pub(crate) fn of_tenant(&self, tenant: &Tenant) -> Self {
        let mut inputs = self.clone();
        inputs.settings.sources.retain(|_, source| source.tenant == *tenant);
        if let Ok(postgres) = &mut inputs.postgres {
            if let Ok(uses) = &mut postgres.uses {
                uses.retain(|used| used.tenant == tenant.as_str());
            }
            if let Ok(rejections) = &mut postgres.rejections {
                rejections.retain(|rejected| rejected.tenant == tenant.as_str());
            }
        }
        inputs
    }

    fn postgres(&self) -> Result<&PostgresDiagnostics, String> {
        let postgres = self.postgres.as_ref();
        postgres.map_err(|_| "Postgres is unavailable".to_owned())
    }

    fn kafka(&self) -> Result<&KafkaDiagnostics, String> {
        self.kafka.as_ref().map_err(|_| "Kafka is unavailable".to_owned())
    }
}

/// A check, by what it is done for.
enum DoctorCheck {
    Once(fn(&DoctorInputs) -> CheckResult),
    /// A check of the Postgres server, once.
    Postgres(fn(&PostgresDiagnostics) -> CheckResult),
    EachSource(fn(&DoctorInputs, &str, &Source) -> CheckResult),
    EachTopic(fn(&Settings, &TopicDiagnostics) -> CheckResult),
}

use DoctorCheck::{EachSource, EachTopic, Once, Postgres};

/// All checks by their stable codes, in the order of the report.
const CHECKS: &[(&str, DoctorCheck)] = &[
    (settings::LOAD, Once(|it| Ok(settings::load(&it.settings)))),
    ("settings.tokens", Once(|it| Ok(settings::tokens(&it.settings)))),
    (
        "settings.connections",
        Once(|it| {
            let settings = &it.settings;
            Ok(settings::connections(max_connections(settings), wanted_connections(settings)))
        }),
    ),
    ("settings.quarantine", Once(|it| Ok(settings::quarantine(&it.settings)))),
    ("settings.cors", Once(|it| Ok(settings::origins(&it.settings)))),
    ("settings.sources", Once(|it| Ok(settings::sources(&it.settings)))),
    ("settings.source_keys", EachSource(|_, _, source| Ok(settings::credentials(source)))),
    ("settings.resource_ids", EachSource(|_, _, source| Ok(settings::resource_ids(source)))),
    ("postgres.reachable", Once(|it| Ok(postgres::reachable(&it.postgres)))),
    ("postgres.version", Postgres(|it| Ok(postgres::version(&it.server)))),
    ("postgres.fsync", Postgres(|it| Ok(postgres::fsync(&it.server)))),
    ("postgres.full_page_writes", Postgres(|it| Ok(postgres::full_page_writes(&it.server)))),
    ("postgres.synchronous_commit", Postgres(|it| Ok(postgres::synchronous_commit(&it.server)))),
    ("postgres.locks", Once(locks)),
    ("postgres.clock", Postgres(|it| Ok(postgres::clock(*it.clock_ahead.as_ref()?)))),
    ("postgres.role", Postgres(|it| Ok(roles::role(&it.server)))),
    ("postgres.owner", Postgres(|it| Ok(roles::owner(&it.server, it.tables.as_ref()?)))),
    ("postgres.readers", Postgres(|it| Ok(roles::readers(&it.server, &it.tables)))),
    ("postgres.row_security", Postgres(|it| Ok(roles::row_security(it.tables.as_ref()?)))),
    ("schema.version", Postgres(|it| Ok(schema::version(it.schema.as_ref()?)))),
    ("schema.partitions", Postgres(|it| Ok(schema::partitions(it.missing_partitions.as_ref()?)))),
    ("schema.entry_default", Postgres(|it| Ok(schema::unplaced(*it.unplaced.as_ref()?)))),
    ("kafka.reachable", Once(|it| Ok(kafka::reachable(&it.settings.kafka_brokers, &it.kafka)))),
    ("kafka.auto_create", Once(|it| kafka::auto_create(it.kafka()?.auto_create))),
    (kafka::TOPIC, EachTopic(kafka::leaders)),
    ("kafka.partitions", EachTopic(kafka::partitions)),
    ("kafka.replicas", EachTopic(kafka::replicas)),
    ("kafka.in_sync", EachTopic(kafka::in_sync)),
    ("kafka.message_size", EachTopic(kafka::message_size)),
    ("kafka.retention", EachTopic(kafka::retention)),
    ("kafka.cleanup", EachTopic(kafka::cleanup)),
    ("kafka.compression", EachTopic(kafka::compression)),
    ("source.silence", EachSource(silence)),
    ("source.keys", EachSource(keys)),
    ("source.rejections", EachSource(rejections)),
    ("source.unconfigured", Once(unconfigured)),
    ("spool.age", Postgres(|it| Ok(ledger::spool(it.spool.as_ref()?, it.server.now)))),
    (
        "quarantine.recent",
        Postgres(|it| Ok(ledger::quarantine(it.quarantine.as_ref()?, it.server.now))),
    ),
    ("webhook.keys", Once(webhook_keys)),
    ("webhook.states", Postgres(|it| Ok(webhooks::states(it.webhooks.as_ref()?)))),
    ("webhook.lag", Postgres(|it| Ok(webhooks::lag(it.webhooks.as_ref()?, it.server.now)))),
    ("stream.gaps", Postgres(|it| Ok(ledger::gaps(it.gaps.as_ref()?, it.server.now)))),
    ("ledger.owners", Once(owners)),
    ("ledger.lag", Once(lag)),
    ("ledger.unknown_partitions", Once(unknown_partitions)),
    (
        "ledger.complete_through",
        Postgres(|it| Ok(ledger::complete_through(it.positions.as_ref()?, it.server.now))),
    ),
    (
        "ledger.postponed",
        Postgres(|it| Ok(ledger::postponed(it.postponed.as_ref()?, it.server.now))),
    ),
];

fn webhook_keys(it: &DoctorInputs) -> CheckResult {
    Ok(webhooks::keys(&it.settings.webhooks, it.postgres()?.webhooks.as_ref()?))
}

fn silence(it: &DoctorInputs, name: &str, source: &Source) -> CheckResult {
    let postgres = it.postgres()?;
    let uses = sources::uses_of(name, postgres.uses.as_ref()?);
    Ok(sources::silence(name, source, &uses, postgres.server.now))
}

fn keys(it: &DoctorInputs, name: &str, source: &Source) -> CheckResult {
    let postgres = it.postgres()?;
    let uses = sources::uses_of(name, postgres.uses.as_ref()?);
    Ok(sources::keys(source, &uses, postgres.server.now))
}

fn rejections(it: &DoctorInputs, name: &str, _: &Source) -> CheckResult {
    let postgres = it.postgres()?;
    Ok(sources::rejections(name, postgres.rejections.as_ref()?, postgres.server.now))
}

fn unconfigured(it: &DoctorInputs) -> CheckResult {
    let postgres = it.postgres()?;
    let (uses, now) = (postgres.uses.as_ref()?, postgres.server.now);
    Ok(sources::unconfigured(&it.settings.sources, uses, now))
}

fn locks(it: &DoctorInputs) -> CheckResult {
    let postgres = it.postgres()?;
    // Of the two other topics each has one.
    let per_node = it.settings.ledger.followers + 2;
    Ok(postgres::locks(&postgres.server, *postgres.ledger_followers.as_ref()?, per_node))
}

fn lag(it: &DoctorInputs) -> CheckResult {
    Ok(ledger::lag(it.postgres()?.positions.as_ref()?, &it.kafka()?.topics))
}

fn unknown_partitions(it: &DoctorInputs) -> CheckResult {
    Ok(ledger::unknown_partitions(it.postgres()?.positions.as_ref()?, &it.kafka()?.topics))
}

fn owners(it: &DoctorInputs) -> CheckResult {
    let postgres = it.postgres()?;
    let topics = it.kafka.as_ref().ok().map(|kafka| kafka.topics.as_slice());
    Ok(ledger::owners(postgres.positions.as_ref()?, topics, postgres.server.now))
}

/// Does all checks.
pub(crate) fn run_checks(inputs: &DoctorInputs) -> Vec<CheckedFinding> {
    let mut findings = Vec::new();
    for (code, check) in CHECKS {
        let mut add = |subject, result| findings.push(CheckedFinding::new(code, subject, result));
        match (check, inputs.kafka()) {
            (Once(check), _) => add(None, check(inputs)),
            (Postgres(check), _) => add(None, inputs.postgres().and_then(check)),
            (EachSource(check), _) => {
                for (name, source) in &inputs.settings.sources {
                    add(Some(name), check(inputs, name, source));
                }
            }
            (EachTopic(_), Err(reason)) => add(None, Err(reason)),
            (EachTopic(check), Ok(kafka)) => {
                for topic in &kafka.topics {
                    let is_absent = topic.partitions.is_empty() && *code != kafka::TOPIC;
                    let result = if is_absent {
                        Err("there is no topic".to_owned())
                    } else {
                        check(&inputs.settings, topic)
                    };
                    add(Some(&topic.name), result);
                }
            }
        }
    }
    findings
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;
    use crate::config::KeyHash;
    use crate::doctor::finding::FindingLevel;
    use crate::doctor::postgres::tests::{server, unread};

    fn without_stores(settings: &str) -> DoctorInputs {
        DoctorInputs {
            settings: Settings::from_toml(settings).unwrap(),
            postgres: Err(PostgresUnreachable::Unreachable("connection refused".to_owned())),
            kafka: Err(KafkaUnreachable::Unreachable("Connection refused".to_owned())),
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
        assert_eq!(unknown.len(), 34);
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
        let of_sources: Vec<_> =
            of_sources.map(|it| (it.code, it.subject.as_deref(), it.finding.level)).collect();
        let unknown = FindingLevel::Unknown;
        assert_eq!(
            of_sources,
            [
                ("source.silence", Some("a"), unknown),
                ("source.keys", Some("a"), unknown),
                ("source.rejections", Some("a"), unknown),
                ("source.unconfigured", None, unknown)
            ]
        );
    }

    #[test]
    fn the_findings_of_a_tenant_name_no_source_of_another() {
        use crate::postgres::{RejectionDiagnostics, SourceUseDiagnostics};
        let source = |name: &str, tenant: &str| {
            format!(
                "[sources.{name}]\nkind = \"event-grid\"\ntenant = \"{tenant}\"\nkeys = [\"{}\"]\n",
                KeyHash::of("k")
            )
        };
        let mut inputs =
            without_stores(&(source("ours", "contoso") + &source("theirs", "fabrikam")));
        let server = server();
        let now = server.now;
        let used = |source: &str, tenant: &str| SourceUseDiagnostics {
            tenant: tenant.to_owned(),
            source: source.to_owned(),
            credential: KeyHash::of("k").label(),
            last_used_at: now,
        };
        let rejected = RejectionDiagnostics {
            tenant: "fabrikam".to_owned(),
            source: "theirs".to_owned(),
            reason: "wrong_key".to_owned(),
            deliveries: 3,
            ended_at: now,
            beside_silence: true,
        };
        inputs.postgres = Ok(PostgresDiagnostics {
            uses: Ok(vec![
                used("ours", "contoso"),
                used("theirs", "fabrikam"),
                used("gone", "fabrikam"),
            ]),
            rejections: Ok(vec![rejected]),
            ..unread(server)
        });
        let texts = |inputs: &DoctorInputs| format!("{:?}", run_checks(inputs));
        assert!(texts(&inputs).contains("theirs") && texts(&inputs).contains("gone"));
        let of_tenant = texts(&inputs.of_tenant(&Tenant::parse("contoso").unwrap()));
        assert!(of_tenant.contains("ours"), "{of_tenant}");
        assert!(!of_tenant.contains("theirs") && !of_tenant.contains("gone"), "{of_tenant}");
    }

    #[test]
    fn complete_settings_have_no_findings() {
        let key = KeyHash::of("k");
        let toml = format!(
            "max_connections = 16\n[quarantine]\nseal_to = \"CQkJCQkJCQkJCQkJCQkJCQkJCQkJCQkJCQkJCQkJCQk=\"\n[tokens]\nkeys = [\"0123456789012345678901234567890123\"]\n[cors]\norigins = [\"https://app.contoso.com\"]\n[sources.a]\nkind = \"event-grid\"\ntenant = \"t\"\nkeys = [\"{key}\"]\nresource_ids = [\"x\"]"
        );
        let findings = run_checks(&without_stores(&toml));
        let of_settings = findings.iter().filter(|it| it.code.starts_with("settings."));
        let of_settings: Vec<_> = of_settings.collect();
        assert_eq!(of_settings.len(), 8);
        assert!(
            of_settings.iter().all(|it| it.finding.level == FindingLevel::Ok),
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
                partitions: Vec::new(),
                settings: None,
                newest_batches: Err("no answer".to_owned()),
            }],
        });
        let findings = run_checks(&inputs);
        let of_topic = findings.iter().filter(|it| it.subject.is_some());
        let levels: Vec<_> = of_topic.map(|it| it.finding.level).collect();
        assert_eq!(levels.len(), 8);
        assert_eq!(levels[0], FindingLevel::Error);
        assert!(levels[1..].iter().all(|it| *it == FindingLevel::Unknown));
    }

    #[test]
    fn without_kafka_the_lag_is_unknown_and_the_owners_are_known() {
        let mut inputs = without_stores("");
        inputs.postgres = Ok(PostgresDiagnostics { positions: Ok(Vec::new()), ..unread(server()) });
        let findings = run_checks(&inputs);
        let of = |code| &findings.iter().find(|it| it.code == code).unwrap().finding;
        assert_eq!(of("ledger.lag").sentence, "not checked: Kafka is unavailable");
        assert_eq!(of("ledger.owners").level, FindingLevel::Error);
        assert_eq!(of("schema.version").sentence, "not checked: not read");
    }
}
