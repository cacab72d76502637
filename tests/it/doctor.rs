//! `onrecord doctor` on real stores: what is well, what is away, what is wrong.

use std::collections::BTreeMap;
use std::net::TcpListener;
use std::process::Command;
use std::time::{Duration, Instant};

use chrono::{DateTime, TimeDelta, Utc};
use onrecord::config::KeyHash;
use onrecord::store::{SourceUse, Store, note_uses};
use rdkafka::ClientConfig;
use rdkafka::admin::{AdminClient, AdminOptions, NewTopic, TopicReplication};
use rdkafka::client::DefaultClientContext;
use serde_json::Value;
use sqlx::{AssertSqlSafe, PgPool};
use uuid::Uuid;

use crate::azure::Call;
use crate::house::{Ground, SOURCE_KEY, TestHouse, until};
use crate::kafka::shared_kafka;
use crate::postgres::fresh_database;

/// Nobody listens there.
const NO_KAFKA: &str = "127.0.0.1:1";
const NO_POSTGRES: &str = "postgres://onrecord@127.0.0.1:1/onrecord";

/// What a visit of the doctor came to.
struct Visit {
    code: i32,
    report: Value,
    took: Duration,
}

impl Visit {
    /// Everything that is not as it should be, as `level code`.
    fn complaints(&self) -> Vec<String> {
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
        of_code
            .next()
            .unwrap_or_else(|| panic!("nothing about {code}: {:#}", self.report))
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

/// Runs the program with a settings file that holds this; gives exit code and standard output.
async fn runs(settings: String, arguments: &'static [&str]) -> (i32, String) {
    let run = move || {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("onrecord.toml");
        std::fs::write(&file, settings).unwrap();
        let output = Command::new(env!("CARGO_BIN_EXE_onrecord"))
            .args(arguments)
            .arg("--config")
            .arg(&file)
            // What the tests themselves were told is no setting of the program.
            .env_clear()
            .output()
            .unwrap();
        let errors = String::from_utf8(output.stderr).unwrap();
        assert!(errors.is_empty(), "{errors}");
        (
            output.status.code().unwrap(),
            String::from_utf8(output.stdout).unwrap(),
        )
    };
    tokio::task::spawn_blocking(run).await.unwrap()
}

async fn visit(settings: &str) -> Visit {
    let began = Instant::now();
    let (code, output) = runs(settings.to_owned(), &["doctor", "--json"]).await;
    Visit {
        code,
        report: serde_json::from_str(&output).unwrap(),
        took: began.elapsed(),
    }
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
        "database_url = \"{database_url}\"\nkafka_brokers = \"{brokers}\"\ntopic_prefix = \"{prefix}\"\n[tokens]\nkeys = [\"a-token-key-of-the-tests-that-is-long-enough\"]\n{}{}",
        source("eg", "event-grid"),
        source("ca", "call-automation"),
    )
}

/// A database that is migrated and that nobody serves.
async fn migrated_database() -> (String, PgPool) {
    let url = fresh_database().await;
    let store = Store::new(&url, 2).unwrap();
    store.migrate(Utc::now()).await.unwrap();
    store.close().await;
    let pool = PgPool::connect(&url).await.unwrap();
    (url, pool)
}

async fn executes(pool: &PgPool, statement: impl Into<String>) {
    sqlx::query(AssertSqlSafe(statement.into()))
        .execute(pool)
        .await
        .unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_house_that_works_is_well_and_its_sources_are_known_by_their_keys() {
    if shared_kafka().await.real().is_none() {
        return;
    }
    let mut house = TestHouse::open().await;
    let call = Call::new();
    house.event_grid_posts(&call.started()).await;
    let connected = call.callback("CallConnected", Utc::now(), &serde_json::json!({}));
    house.call_automation_posts(&connected).await;
    house
        .sees("/v1/events", |seen| {
            seen["events"].as_array().is_some_and(|e| e.len() == 2)
        })
        .await;

    let Ground {
        database_url,
        brokers,
        prefix,
    } = house.ground.clone();
    let settings = settings(&database_url, &brokers, &prefix);
    // What a machine with one broker and a superuser cannot have.
    let by_nature = [
        "warning postgres.role",
        "warning kafka.replicas",
        "warning kafka.in_sync",
    ];
    let well = until("the doctor is content", || async {
        let visit = visit(&settings).await;
        let content = visit
            .complaints()
            .iter()
            .all(|complaint| by_nature.contains(&complaint.as_str()));
        content.then_some(visit)
    })
    .await;
    assert_eq!(well.code, 0, "warnings are no errors");
    assert_eq!(well.report["errors"], 0);
    let label = KeyHash::of(SOURCE_KEY).label();
    assert!(well.sentence("source.keys").contains(&label));
    assert!(well.sentence("source.silence").contains("the last event"));
    assert!(well.sentence("ledger.owners").contains("all 36 partitions"));

    // Followers that have just come share the partitions out, and one may be nobody's for a moment.
    let said = until("the doctor is content in words too", || async {
        let (code, said) = runs(settings.clone(), &["doctor"]).await;
        (code == 0).then_some(said)
    })
    .await;
    assert!(said.contains("ok       postgres.fsync"), "{said}");
    assert!(said.contains("0 errors"), "{said}");
    house.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_key_of_what_is_quarantined_counts_as_used_too() {
    let mut house = TestHouse::open().await;
    let (status, _) = house.posts("/ingest/event-grid/eg", "no json at all").await;
    assert_eq!(status, 200);
    house
        .sees("/v1/quarantine", |seen| {
            seen["quarantined"]
                .as_array()
                .is_some_and(|rows| rows.len() == 1)
        })
        .await;
    let used: Vec<(String, String, String)> =
        sqlx::query_as("select tenant, source, credential from source_use")
            .fetch_all(&house.ground.database().await)
            .await
            .unwrap();
    let label = KeyHash::of(SOURCE_KEY).label();
    assert_eq!(used, [("contoso".to_owned(), "eg".to_owned(), label)]);
    house.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_use_is_written_once_a_minute_and_never_goes_back() {
    let (_, pool) = migrated_database().await;
    let first = DateTime::UNIX_EPOCH + TimeDelta::days(20_000);
    for (seconds, kept) in [(0, 0), (59, 0), (61, 61), (-500, 61)] {
        let used = SourceUse {
            tenant: "contoso",
            source: "eg",
            credential: "0123456789ab",
        };
        let uses = BTreeMap::from([(used, first + TimeDelta::seconds(seconds))]);
        note_uses(&mut pool.acquire().await.unwrap(), &uses)
            .await
            .unwrap();
        let last: DateTime<Utc> = sqlx::query_scalar("select last_used from source_use")
            .fetch_one(&pool)
            .await
            .unwrap();
        assert_eq!(last, first + TimeDelta::seconds(kept), "after {seconds} s");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn with_postgres_away_the_rest_is_looked_at() {
    if shared_kafka().await.real().is_none() {
        return;
    }
    let ground = Ground::shared().await;
    let visit = visit(&settings(NO_POSTGRES, &ground.brokers, &ground.prefix)).await;
    assert_eq!(visit.code, 1);
    assert_eq!(visit.level("postgres.reachable"), "error");
    assert!(visit.sentence("postgres.reachable").contains("refused"));
    for code in [
        "spool.age",
        "source.silence",
        "schema.version",
        "ledger.lag",
    ] {
        assert_eq!(visit.level(code), "unknown", "{code}");
    }
    assert_eq!(visit.level("kafka.reachable"), "ok");
    assert_eq!(visit.level("kafka.topic"), "error", "nobody made it yet");
    assert_eq!(visit.finds("kafka.topic")["remedy"], "onrecord migrate");
}

#[tokio::test(flavor = "multi_thread")]
async fn with_kafka_away_the_rest_is_looked_at() {
    let (url, _) = migrated_database().await;
    let visit = visit(&settings(&url, NO_KAFKA, "")).await;
    assert_eq!(visit.code, 1);
    assert_eq!(visit.level("kafka.reachable"), "error");
    assert!(visit.sentence("kafka.reachable").contains("refused"));
    assert_eq!(visit.level("ledger.lag"), "unknown");
    assert_eq!(visit.level("kafka.retention"), "unknown");
    for code in ["postgres.reachable", "schema.version", "spool.age"] {
        assert_eq!(visit.level(code), "ok", "{code}");
    }
    assert_eq!(visit.level("ledger.owners"), "error", "nobody serves");
    assert_eq!(visit.level("source.silence"), "warning", "nothing came");
}

#[tokio::test(flavor = "multi_thread")]
async fn stores_that_take_a_connection_and_never_answer_cost_seconds() {
    let silent = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = silent.local_addr().unwrap();
    let url = format!("postgres://onrecord@{address}/onrecord");
    let visit = visit(&settings(&url, &address.to_string(), "")).await;
    assert_eq!(visit.code, 1);
    assert_eq!(visit.level("postgres.reachable"), "error");
    assert_eq!(visit.level("kafka.reachable"), "error");
    assert!(visit.took < Duration::from_secs(12), "{:?}", visit.took);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_schema_that_nobody_migrated_is_an_error_and_its_tables_are_unknown() {
    let url = fresh_database().await;
    let visit = visit(&settings(&url, NO_KAFKA, "")).await;
    assert_eq!(visit.level("schema.version"), "error");
    assert_eq!(visit.finds("schema.version")["remedy"], "onrecord migrate");
    assert_eq!(visit.level("postgres.fsync"), "ok");
    for code in ["spool.age", "quarantine.recent", "schema.partitions"] {
        assert_eq!(visit.level(code), "unknown", "{code}");
        assert!(visit.sentence(code).contains("not migrated"), "{code}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_schema_of_a_later_version_is_an_error() {
    let (url, pool) = migrated_database().await;
    executes(&pool, "insert into _sqlx_migrations (version, description, success, checksum, execution_time) values (99990101, 'later', true, 'x', 0)").await;
    let visit = visit(&settings(&url, NO_KAFKA, "")).await;
    assert_eq!(visit.level("schema.version"), "error");
    assert!(visit.sentence("schema.version").contains("99990101"));
    assert_eq!(visit.level("spool.age"), "ok", "what it knows is there");
}

#[tokio::test(flavor = "multi_thread")]
async fn old_rows_of_spool_and_quarantine_gaps_and_stale_owners_are_found() {
    let (url, pool) = migrated_database().await;
    executes(&pool, "insert into spool (tenant, message, stored) values ('contoso', '{}', now() - interval '3 hours')").await;
    executes(&pool, "insert into quarantine (id, tenant, key, source, reason, detail, size, sha256, redacted, received) values (gen_random_uuid(), 'contoso', 'k', 'eg', 'invalid-json', 'd', 1, 's', '{}', now() - interval '1 hour')").await;
    executes(&pool, "insert into stream_gap (topic, partition, wanted, resumed, reason, noticed) values ('calling-events.v1', 3, 10, 30, 'gone', now() - interval '1 hour')").await;
    executes(&pool, "insert into stream_position (topic, partition, owner, lease_until, complete_through) values ('calling-events.v1', 0, 'somebody', now() - interval '2 hours', now() - interval '2 hours')").await;
    executes(&pool, "insert into source_use values ('contoso', 'eg', '0123456789ab', now() - interval '5 hours')").await;
    let visit = visit(&settings(&url, NO_KAFKA, "")).await;
    for (code, level, word) in [
        ("spool.age", "error", "3 h"),
        ("quarantine.recent", "warning", "1 invalid-json"),
        ("stream.gaps", "error", "20 messages gone unread"),
        ("ledger.owners", "error", "stale owner ended 2 h ago"),
        ("ledger.complete_through", "error", "2 h ago"),
    ] {
        assert_eq!(visit.level(code), level, "{code}");
        let sentence = visit.sentence(code);
        assert!(sentence.contains(word), "{code}: {sentence}");
    }
    let findings = visit.report["findings"].as_array().unwrap();
    let keys = findings
        .iter()
        .find(|found| found["code"] == "source.keys" && found["subject"] == "eg")
        .unwrap();
    assert_eq!(keys["level"], "warning", "the key is out of the settings");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_topic_with_too_small_limits_is_an_error_with_the_command_that_mends_it() {
    let Some(kafka) = shared_kafka().await.real() else {
        return;
    };
    let prefix = format!("t{}.", Uuid::new_v4().simple());
    let admin: AdminClient<DefaultClientContext> = ClientConfig::new()
        .set("bootstrap.servers", kafka.bootstrap_servers())
        .create()
        .unwrap();
    let names = ["calling-events.v1", "notice-facts.v1", "quarantine.v1"]
        .map(|name| format!("{prefix}{name}"));
    let topics = names.each_ref().map(|name| {
        NewTopic::new(name, 4, TopicReplication::Fixed(-1))
            .set("max.message.bytes", "1048588")
            .set("retention.ms", "-1")
            .set("cleanup.policy", "compact")
    });
    let patience = AdminOptions::new().operation_timeout(Some(Duration::from_secs(30)));
    for made in admin.create_topics(&topics, &patience).await.unwrap() {
        made.unwrap();
    }
    let brokers = kafka.bootstrap_servers();
    let visit = until("all partitions are known", || async {
        let visit = visit(&settings(NO_POSTGRES, brokers, &prefix)).await;
        (visit.level("kafka.topic") == "ok").then_some(visit)
    })
    .await;
    assert_eq!(visit.code, 1);
    for (code, level) in [
        ("kafka.message_size", "error"),
        ("kafka.retention", "error"),
        ("kafka.cleanup", "error"),
        ("kafka.partitions", "warning"),
        ("kafka.replicas", "warning"),
    ] {
        assert_eq!(visit.level(code), level, "{code}");
    }
    let found = visit.finds("kafka.message_size");
    assert_eq!(text(&found["subject"]), names[0]);
    assert!(text(&found["remedy"]).contains("max.message.bytes=12582912"));
}

#[tokio::test(flavor = "multi_thread")]
async fn an_ordinary_role_that_owns_its_database_is_well_and_a_stranger_is_told() {
    let admin_url = fresh_database().await;
    let admin = PgPool::connect(&admin_url).await.unwrap();
    let id = Uuid::new_v4().simple().to_string();
    let (owner, stranger) = (format!("owner_{id}"), format!("stranger_{id}"));
    for role in [&owner, &stranger] {
        executes(&admin, format!("create role {role} login password 'pass'")).await;
    }
    executes(&admin, format!("create database db_{id} owner {owner}")).await;
    // As README says for a role without createrole. Other tests do the same at the same moment.
    until("the readers' role is granted", || async {
        let grant = format!("grant onrecord_reader to {owner} with admin option");
        let granted = sqlx::query(AssertSqlSafe(grant)).execute(&admin).await;
        if granted.is_err() {
            let create = sqlx::query("create role onrecord_reader nologin");
            let _perhaps_there = create.execute(&admin).await;
        }
        granted.ok()
    })
    .await;
    let url = |role: &str| {
        let rest = admin_url.split_once('@').unwrap().1;
        let (server, _) = rest.split_once('/').unwrap();
        format!("postgres://{role}:pass@{server}/db_{id}?sslmode=disable")
    };
    let store = Store::new(&url(&owner), 2).unwrap();
    store.migrate(Utc::now()).await.unwrap();
    store.close().await;

    let well = visit(&settings(&url(&owner), NO_KAFKA, "")).await;
    for code in ["role", "owner", "readers", "row_security"] {
        let code = format!("postgres.{code}");
        assert_eq!(well.level(&code), "ok", "{:?}", well.finds(&code));
    }
    let strange = visit(&settings(&url(&stranger), NO_KAFKA, "")).await;
    assert_eq!(strange.code, 1);
    for code in ["postgres.owner", "postgres.readers"] {
        assert_eq!(strange.level(code), "error", "{code}");
    }
    assert_eq!(strange.level("spool.age"), "unknown");
    assert!(strange.sentence("spool.age").contains("permission denied"));

    // Nobody must be able to read another tenant's rows.
    let owners = PgPool::connect(&url(&owner)).await.unwrap();
    executes(&owners, "alter table call disable row level security").await;
    let open = visit(&settings(&url(&owner), NO_KAFKA, "")).await;
    assert_eq!(open.level("postgres.row_security"), "error");
    assert!(open.sentence("postgres.row_security").contains("call"));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_property_that_the_client_library_refuses_is_named_and_its_value_is_not_repeated() {
    let mut settings = settings(NO_POSTGRES, NO_KAFKA, "");
    settings += "[kafka.properties]\n\"sasl.pasword\" = \"hunter2\"\n";
    let visit = visit(&settings).await;
    assert_eq!(visit.level("kafka.reachable"), "error");
    assert!(visit.sentence("kafka.reachable").contains("sasl.pasword"));
    assert!(!visit.report.to_string().contains("hunter2"));
}

#[tokio::test(flavor = "multi_thread")]
async fn settings_that_cannot_be_used_are_one_error() {
    let visit = visit("lisen = \"127.0.0.1:1\"").await;
    assert_eq!(visit.code, 1);
    assert_eq!(visit.complaints(), ["error settings.load"]);
    assert!(
        visit
            .sentence("settings.load")
            .contains("unknown setting lisen")
    );
}
