//! `onrecord doctor` on real stores.

use std::collections::BTreeMap;
use std::net::TcpListener;
use std::process::Command;
use std::time::{Duration, Instant};

use chrono::{DateTime, TimeDelta, Utc};
use onrecord::config::KeyHash;
use onrecord::postgres::{Postgres, SourceUse, record_source_uses};
use rdkafka::ClientConfig;
use rdkafka::admin::{AdminClient, AdminOptions, NewTopic, TopicReplication};
use rdkafka::client::DefaultClientContext;
use serde_json::Value;
use sqlx::{AssertSqlSafe, PgPool};
use uuid::Uuid;

use crate::support::app::{SOURCE_KEY, TestApp, TestStores, until};
use crate::support::azure::Call;
use crate::support::kafka::shared_kafka;
use crate::support::postgres::fresh_database;

/// A port without a listener.
const NO_KAFKA: &str = "127.0.0.1:1";
const NO_POSTGRES: &str = "postgres://onrecord@127.0.0.1:1/onrecord";

/// The output of a run of the doctor.
struct DoctorRun {
    code: i32,
    report: Value,
    took: Duration,
}

impl DoctorRun {
    /// Every finding that is not ok, as `level code`.
    fn problems(&self) -> Vec<String> {
        let findings = self.report["findings"].as_array().unwrap().iter();
        findings
            .filter(|found| found["level"] != "ok")
            .map(|found| format!("{} {}", text(&found["level"]), text(&found["code"])))
            .collect()
    }

    /// The first finding of a code.
    fn finds(&self, code: &str) -> &Value {
        let findings = self.report["findings"].as_array().unwrap().iter();
        let mut of_code = findings.filter(|found| found["code"] == code);
        of_code.next().unwrap_or_else(|| panic!("nothing about {code}: {:#}", self.report))
    }

    fn level(&self, code: &str) -> &str {
        text(&self.finds(code)["level"])
    }

    fn sentence(&self, code: &str) -> &str {
        text(&self.finds(code)["sentence"])
    }
}

fn text(value: &Value) -> &str {
    value.as_str().unwrap_or_default()
}

/// Runs the program with these settings; returns exit code and standard output.
async fn runs(settings: String, arguments: &'static [&str]) -> (i32, String) {
    let run = move || {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("onrecord.toml");
        std::fs::write(&file, settings).unwrap();
        let output = Command::new(env!("CARGO_BIN_EXE_onrecord"))
            .args(arguments)
            .arg("--config")
            .arg(&file)
            // The settings of the tests are not for the program.
            .env_clear()
            .output()
            .unwrap();
        let errors = String::from_utf8(output.stderr).unwrap();
        assert!(errors.is_empty(), "{errors}");
        (output.status.code().unwrap(), String::from_utf8(output.stdout).unwrap())
    };
    tokio::task::spawn_blocking(run).await.unwrap()
}

async fn run_doctor(settings: &str) -> DoctorRun {
    let began = Instant::now();
    let (code, output) = runs(settings.to_owned(), &["doctor", "--json"]).await;
    DoctorRun { code, report: serde_json::from_str(&output).unwrap(), took: began.elapsed() }
}

/// Settings as complete as an operator's should be.
fn settings(database_url: &str, brokers: &str, prefix: &str) -> String {
    let hash = KeyHash::of(SOURCE_KEY);
    let source = |name: &str, kind: &str| {
        format!(
            "[sources.{name}]\nkind = \"{kind}\"\ntenant = \"contoso\"\nkeys = [\"{hash}\"]\nresource_ids = [\"11111111-1111-4111-8111-111111111111\"]\n"
        )
    };
    format!(
        "database_url = \"{database_url}\"\nkafka_brokers = \"{brokers}\"\ntopic_prefix = \"{prefix}\"\nmax_connections = 16\n[quarantine]\nseal_to = \"CQkJCQkJCQkJCQkJCQkJCQkJCQkJCQkJCQkJCQkJCQk=\"\n[tokens]\nkeys = [\"a-token-key-of-the-tests-that-is-long-enough\"]\n{}{}",
        source("eg", "event-grid"),
        source("ca", "call-automation"),
    )
}

/// A migrated database without a running node.
async fn migrated_database() -> (String, PgPool) {
    let url = fresh_database().await;
    let store = Postgres::new(&url, 2).unwrap();
    store.migrate(Utc::now()).await.unwrap();
    store.close().await;
    let pool = PgPool::connect(&url).await.unwrap();
    (url, pool)
}

async fn executes(pool: &PgPool, statement: impl Into<String>) {
    sqlx::query(AssertSqlSafe(statement.into())).execute(pool).await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_working_deployment_has_no_findings_and_sources_are_recognized_by_their_keys() {
    if shared_kafka().await.real().is_none() {
        return;
    }
    let mut app = TestApp::open().await;
    let call = Call::new();
    app.event_grid_posts(&call.started()).await;
    let connected = call.callback("CallConnected", Utc::now(), &serde_json::json!({}));
    app.call_automation_posts(&connected).await;
    app.sees("/v1/events", |seen| seen["events"].as_array().is_some_and(|e| e.len() == 2)).await;

    let TestStores { database_url, brokers, prefix } = app.stores.clone();
    let settings = settings(&database_url, &brokers, &prefix);
    // One broker and a superuser cause these findings.
    let by_nature = ["warning postgres.role", "warning kafka.replicas", "warning kafka.in_sync"];
    let passed = until("the doctor finds no problem", || async {
        let run_doctor = run_doctor(&settings).await;
        let is_ok =
            run_doctor.problems().iter().all(|problem| by_nature.contains(&problem.as_str()));
        is_ok.then_some(run_doctor)
    })
    .await;
    assert_eq!(passed.code, 0, "warnings are no errors");
    assert_eq!(passed.report["errors"], 0);
    let label = KeyHash::of(SOURCE_KEY).label();
    assert!(passed.sentence("source.keys").contains(&label));
    assert!(passed.sentence("source.silence").contains("the last event"));
    assert!(passed.sentence("ledger.owners").contains("all 36 partitions"));

    // While new followers share the partitions, one may have no owner for a moment.
    let text_report = until("the text of the doctor has no error", || async {
        let (code, text_report) = runs(settings.clone(), &["doctor"]).await;
        (code == 0).then_some(text_report)
    })
    .await;
    assert!(text_report.contains("ok       postgres.fsync"), "{text_report}");
    assert!(text_report.contains("0 errors"), "{text_report}");
    app.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_key_counts_as_used_when_its_event_is_quarantined() {
    let mut app = TestApp::open().await;
    let (status, _) = app.posts("/ingest/event-grid/eg", "no json at all").await;
    assert_eq!(status, 200);
    app.sees("/v1/quarantine", |seen| {
        seen["quarantined"].as_array().is_some_and(|rows| rows.len() == 1)
    })
    .await;
    let used: Vec<(String, String, String)> =
        sqlx::query_as("select tenant, source, credential from source_use")
            .fetch_all(&app.stores.database().await)
            .await
            .unwrap();
    let label = KeyHash::of(SOURCE_KEY).label();
    assert_eq!(used, [("contoso".to_owned(), "eg".to_owned(), label)]);
    app.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn source_use_is_written_once_a_minute_and_never_moves_back() {
    let (_, pool) = migrated_database().await;
    let first = DateTime::UNIX_EPOCH + TimeDelta::days(20_000);
    for (seconds, kept) in [(0, 0), (59, 0), (61, 61), (-500, 61)] {
        let used = SourceUse { tenant: "contoso", source: "eg", credential: "0123456789ab" };
        let uses = BTreeMap::from([(used, first + TimeDelta::seconds(seconds))]);
        record_source_uses(&mut pool.acquire().await.unwrap(), &uses).await.unwrap();
        let last: DateTime<Utc> = sqlx::query_scalar("select last_used_at from source_use")
            .fetch_one(&pool)
            .await
            .unwrap();
        assert_eq!(last, first + TimeDelta::seconds(kept), "after {seconds} s");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn without_postgres_the_other_checks_still_run() {
    if shared_kafka().await.real().is_none() {
        return;
    }
    let stores = TestStores::shared().await;
    let run_doctor = run_doctor(&settings(NO_POSTGRES, &stores.brokers, &stores.prefix)).await;
    assert_eq!(run_doctor.code, 1);
    assert_eq!(run_doctor.level("postgres.reachable"), "error");
    assert!(run_doctor.sentence("postgres.reachable").contains("refused"));
    for code in ["spool.age", "source.silence", "schema.version", "ledger.lag"] {
        assert_eq!(run_doctor.level(code), "unknown", "{code}");
    }
    assert_eq!(run_doctor.level("kafka.reachable"), "ok");
    assert_eq!(run_doctor.level("kafka.topic"), "error", "it does not exist yet");
    assert_eq!(run_doctor.finds("kafka.topic")["remedy"], "onrecord migrate");
}

#[tokio::test(flavor = "multi_thread")]
async fn without_kafka_the_other_checks_still_run() {
    let (url, _) = migrated_database().await;
    let run_doctor = run_doctor(&settings(&url, NO_KAFKA, "")).await;
    assert_eq!(run_doctor.code, 1);
    assert_eq!(run_doctor.level("kafka.reachable"), "error");
    assert!(run_doctor.sentence("kafka.reachable").contains("refused"));
    assert_eq!(run_doctor.level("ledger.lag"), "unknown");
    assert_eq!(run_doctor.level("kafka.retention"), "unknown");
    for code in ["postgres.reachable", "schema.version", "spool.age"] {
        assert_eq!(run_doctor.level(code), "ok", "{code}");
    }
    assert_eq!(run_doctor.level("ledger.owners"), "error", "no node runs");
    assert_eq!(run_doctor.level("source.silence"), "warning", "nothing came");
}

#[tokio::test(flavor = "multi_thread")]
async fn stores_that_accept_a_connection_and_never_answer_delay_the_doctor_by_seconds_only() {
    let silent = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = silent.local_addr().unwrap();
    let url = format!("postgres://onrecord@{address}/onrecord");
    let run_doctor = run_doctor(&settings(&url, &address.to_string(), "")).await;
    assert_eq!(run_doctor.code, 1);
    assert_eq!(run_doctor.level("postgres.reachable"), "error");
    assert_eq!(run_doctor.level("kafka.reachable"), "error");
    assert!(run_doctor.took < Duration::from_secs(12), "{:?}", run_doctor.took);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_missing_schema_is_an_error_and_its_tables_are_not_checked() {
    let url = fresh_database().await;
    let run_doctor = run_doctor(&settings(&url, NO_KAFKA, "")).await;
    assert_eq!(run_doctor.level("schema.version"), "error");
    assert_eq!(run_doctor.finds("schema.version")["remedy"], "onrecord migrate");
    assert_eq!(run_doctor.level("postgres.fsync"), "ok");
    for code in ["spool.age", "quarantine.recent", "schema.partitions"] {
        assert_eq!(run_doctor.level(code), "unknown", "{code}");
        assert!(run_doctor.sentence(code).contains("not migrated"), "{code}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_schema_of_a_later_version_is_an_error() {
    let (url, pool) = migrated_database().await;
    executes(&pool, "insert into _sqlx_migrations (version, description, success, checksum, execution_time) values (99990101, 'later', true, 'x', 0)").await;
    let run_doctor = run_doctor(&settings(&url, NO_KAFKA, "")).await;
    assert_eq!(run_doctor.level("schema.version"), "error");
    assert!(run_doctor.sentence("schema.version").contains("99990101"));
    assert_eq!(run_doctor.level("spool.age"), "ok", "what it knows is there");
}

#[tokio::test(flavor = "multi_thread")]
async fn old_rows_of_spool_and_quarantine_gaps_and_stale_owners_are_found() {
    let (url, pool) = migrated_database().await;
    executes(&pool, "insert into spool (tenant, message, stored_at) values ('contoso', '{}', now() - interval '3 hours')").await;
    executes(&pool, "insert into quarantine (id, tenant, key, source, reason, detail, size, sha256, redacted, received_at) values (gen_random_uuid(), 'contoso', 'k', 'eg', 'invalid-json', 'd', 1, 's', '{}', now() - interval '1 hour')").await;
    executes(&pool, "insert into stream_gap (topic, partition, expected_offset, resumed_offset, reason, noticed_at) values ('calling-events.v1', 3, 10, 30, 'gone', now() - interval '1 hour')").await;
    executes(&pool, "insert into stream_position (topic, partition, owner, lease_ends_at, complete_through) values ('calling-events.v1', 0, 'a stopped node', now() - interval '2 hours', now() - interval '2 hours')").await;
    executes(&pool, "insert into source_use values ('contoso', 'eg', '0123456789ab', now() - interval '5 hours')").await;
    let run_doctor = run_doctor(&settings(&url, NO_KAFKA, "")).await;
    for (code, level, word) in [
        ("spool.age", "error", "3 h"),
        ("quarantine.recent", "warning", "1 invalid-json"),
        ("stream.gaps", "error", "20 messages acknowledged and never read"),
        ("ledger.owners", "error", "stale owner ended 2 h ago"),
        ("ledger.complete_through", "error", "2 h ago"),
    ] {
        assert_eq!(run_doctor.level(code), level, "{code}");
        let sentence = run_doctor.sentence(code);
        assert!(sentence.contains(word), "{code}: {sentence}");
    }
    let findings = run_doctor.report["findings"].as_array().unwrap();
    let keys = findings
        .iter()
        .find(|found| found["code"] == "source.keys" && found["subject"] == "eg")
        .unwrap();
    assert_eq!(keys["level"], "warning", "the key is out of the settings");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_topic_with_too_small_limits_is_an_error_with_the_command_that_fixes_it() {
    let Some(kafka) = shared_kafka().await.real() else {
        return;
    };
    let prefix = format!("t{}.", Uuid::new_v4().simple());
    let admin: AdminClient<DefaultClientContext> =
        ClientConfig::new().set("bootstrap.servers", kafka.bootstrap_servers()).create().unwrap();
    let names = ["calling-events.v1", "notice-facts.v1", "quarantine.v1"]
        .map(|name| format!("{prefix}{name}"));
    let topics = names.each_ref().map(|name| {
        NewTopic::new(name, 4, TopicReplication::Fixed(-1))
            .set("max.message.bytes", "1048588")
            .set("retention.ms", "-1")
            .set("cleanup.policy", "compact")
    });
    let options = AdminOptions::new().operation_timeout(Some(Duration::from_secs(30)));
    for made in admin.create_topics(&topics, &options).await.unwrap() {
        made.unwrap();
    }
    let brokers = kafka.bootstrap_servers();
    let run_doctor = until("all partitions are known", || async {
        let run_doctor = run_doctor(&settings(NO_POSTGRES, brokers, &prefix)).await;
        (run_doctor.level("kafka.topic") == "ok").then_some(run_doctor)
    })
    .await;
    assert_eq!(run_doctor.code, 1);
    for (code, level) in [
        ("kafka.message_size", "error"),
        ("kafka.retention", "error"),
        ("kafka.cleanup", "error"),
        ("kafka.partitions", "warning"),
        ("kafka.replicas", "warning"),
    ] {
        assert_eq!(run_doctor.level(code), level, "{code}");
    }
    let found = run_doctor.finds("kafka.message_size");
    assert_eq!(text(&found["subject"]), names[0]);
    assert!(text(&found["remedy"]).contains("max.message.bytes=12582912"));
}

#[tokio::test(flavor = "multi_thread")]
async fn an_ordinary_role_that_owns_its_database_passes_and_another_role_is_reported() {
    let admin_url = fresh_database().await;
    let admin = PgPool::connect(&admin_url).await.unwrap();
    let id = Uuid::new_v4().simple().to_string();
    let (owner, other) = (format!("owner_{id}"), format!("other_{id}"));
    for role in [&owner, &other] {
        executes(&admin, format!("create role {role} login password 'pass'")).await;
    }
    executes(&admin, format!("create database db_{id} owner {owner}")).await;
    // As documented for a role without createrole. Other tests do the same at the same moment.
    until("the readers' roles are granted", || async {
        let grant = format!("grant onrecord_reader, onrecord_reading to {owner}");
        let granted = sqlx::query(AssertSqlSafe(grant)).execute(&admin).await;
        if granted.is_err() {
            for role in ["onrecord_reader", "onrecord_reading"] {
                let create = sqlx::query(AssertSqlSafe(format!("create role {role} nologin")));
                let _perhaps_there = create.execute(&admin).await;
            }
        }
        granted.ok()
    })
    .await;
    let url = |role: &str| {
        let rest = admin_url.split_once('@').unwrap().1;
        let (server, _) = rest.split_once('/').unwrap();
        format!("postgres://{role}:pass@{server}/db_{id}?sslmode=disable")
    };
    let store = Postgres::new(&url(&owner), 2).unwrap();
    store.migrate(Utc::now()).await.unwrap();
    store.close().await;

    let passed = run_doctor(&settings(&url(&owner), NO_KAFKA, "")).await;
    for code in ["role", "owner", "readers", "row_security"] {
        let code = format!("postgres.{code}");
        assert_eq!(passed.level(&code), "ok", "{:?}", passed.finds(&code));
    }
    let foreign = run_doctor(&settings(&url(&other), NO_KAFKA, "")).await;
    assert_eq!(foreign.code, 1);
    for code in ["postgres.owner", "postgres.readers"] {
        assert_eq!(foreign.level(code), "error", "{:?}", foreign.finds(code));
    }
    assert_eq!(foreign.level("spool.age"), "unknown");
    // It may not use the schema, so it finds no table in it.
    assert!(foreign.sentence("spool.age").contains("does not exist"));

    // No role may read rows of another tenant.
    let owners = PgPool::connect(&url(&owner)).await.unwrap();
    executes(&owners, "alter table call disable row level security").await;
    let open = run_doctor(&settings(&url(&owner), NO_KAFKA, "")).await;
    assert_eq!(open.level("postgres.row_security"), "error");
    assert!(open.sentence("postgres.row_security").contains("call"));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_property_that_the_client_library_refuses_is_named_and_its_value_is_not_repeated() {
    let mut settings = settings(NO_POSTGRES, NO_KAFKA, "");
    settings += "[kafka.properties]\n\"sasl.pasword\" = \"hunter2\"\n";
    let run_doctor = run_doctor(&settings).await;
    assert_eq!(run_doctor.level("kafka.reachable"), "error");
    assert!(run_doctor.sentence("kafka.reachable").contains("sasl.pasword"));
    assert!(!run_doctor.report.to_string().contains("hunter2"));
}

#[tokio::test(flavor = "multi_thread")]
async fn settings_that_cannot_be_used_are_one_error() {
    let run_doctor = run_doctor("lisen = \"127.0.0.1:1\"").await;
    assert_eq!(run_doctor.code, 1);
    assert_eq!(run_doctor.problems(), ["error settings.load"]);
    assert!(run_doctor.sentence("settings.load").contains("unknown setting lisen"));
}
