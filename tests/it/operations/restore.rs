//! A dump of the database is restored into a new cluster by the steps of docs/operate.md.

use std::path::{Path, PathBuf};
use std::process::Command;

use chrono::Utc;
use onrecord::cli::serve::ServeOptions;
use onrecord_devstack::PrivatePostgres;
use reqwest::StatusCode;
use serde_json::{Value, json};
use sqlx::{AssertSqlSafe, Connection as _, PgConnection};
use uuid::Uuid;

use crate::live::acknowledgements::{are_accepted, displayed, reports_state};
use crate::support::app::{TestApp, TestStores, until};
use crate::support::azure::{ALICE, Call};
use crate::support::client::http;
use crate::support::postgres::own_postgres;
use crate::support::requirements::{Requirement, skip};

/// Transactions of the first cluster, more than the second one ever has in this test.
const TRANSACTIONS: usize = 100_000;

/// A program of PostgreSQL that the private server does not need.
fn program(name: &str) -> Option<PathBuf> {
    let installed = std::fs::read_dir("/usr/lib/postgresql").into_iter().flatten().flatten();
    let mut folders: Vec<PathBuf> = installed.map(|version| version.path().join("bin")).collect();
    folders.sort();
    let in_path = std::env::var_os("PATH").unwrap_or_default();
    folders.reverse();
    folders.extend(std::env::split_paths(&in_path));
    folders.into_iter().map(|folder| folder.join(name)).find(|file| file.is_file())
}

async fn ran(mut command: Command) -> (bool, String) {
    let output = tokio::task::spawn_blocking(move || command.output()).await.unwrap().unwrap();
    let text = [output.stdout, output.stderr].concat();
    (output.status.success(), String::from_utf8(text).unwrap())
}

/// Runs `onrecord` with the settings of a node on these stores; its output.
async fn onrecord(stores: &TestStores, arguments: &[&str]) -> String {
    let folder = tempfile::tempdir().unwrap();
    let settings = folder.path().join("onrecord.toml");
    std::fs::write(&settings, stores.toml("127.0.0.1:0", "off", "")).unwrap();
    let mut command = Command::new(env!("CARGO_BIN_EXE_onrecord"));
    command.args(arguments).arg("--config").arg(&settings);
    let (succeeded, said) = ran(command).await;
    assert!(succeeded, "{arguments:?}: {said}");
    said
}

async fn execute(url: &str, statement: String) {
    let mut connection = PgConnection::connect(url).await.unwrap();
    sqlx::raw_sql(AssertSqlSafe(statement)).execute(&mut connection).await.unwrap();
}

async fn new_database(server: &PrivatePostgres, name: &str) -> String {
    execute(&server.admin_url(), format!("create database {name}")).await;
    server.url(name)
}

/// The restore of a dump; whether every statement of it succeeded.
async fn restore(program: &Path, dump: &Path, url: &str, more: &[&str]) -> bool {
    let mut command = Command::new(program);
    command.args(["--no-owner", "--dbname", url]).args(more).arg(dump);
    ran(command).await.0
}

async fn readiness(app: &TestApp) -> Option<(StatusCode, Value)> {
    let response = http().get(app.url("/readyz")).send().await.ok()?;
    Some((response.status(), response.json().await.ok()?))
}

async fn recomputed(stores: &TestStores) -> String {
    onrecord(stores, &["evidence", "recompute", "--all", "--tenant", "contoso"]).await
}

/// The ids of the events, in the order of the API.
async fn events(app: &mut TestApp, count: usize) -> Vec<String> {
    let list = app
        .sees("/v1/events?limit=1000", |list| {
            list["events"].as_array().is_some_and(|events| events.len() == count)
        })
        .await;
    let events = list["events"].as_array().unwrap();
    events.iter().map(|event| event["id"].as_str().unwrap().to_owned()).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_dump_is_restored_into_a_new_cluster_with_the_same_evidence() {
    let (Some(dump), Some(restorer)) = (program("pg_dump"), program("pg_restore")) else {
        skip(Requirement::PostgresPrograms, "there is no pg_dump or pg_restore");
        return;
    };
    let (from, to) = tokio::join!(own_postgres(), own_postgres());
    let database_url = new_database(&from, "onrecord").await;
    let stores = TestStores { database_url, ..TestStores::shared().await };
    let mut app = TestApp::on(stores.clone()).await;
    app.is_ready().await;
    execute(
        &stores.database_url,
        format!("do $$ begin for i in 1..{TRANSACTIONS} loop perform pg_current_xact_id(); commit; end loop; end $$"),
    )
    .await;
    let (call, attachment) = (Call::new(), Uuid::new_v4());
    let token = app.token(ALICE).await;
    app.event_grid_posts(&call.started()).await;
    app.event_grid_posts(&call.joined(ALICE, "p1")).await;
    let on = json!({ "server_call_id": call.server_call_id, "recording": "on" });
    reports_state(&app, &token, &attachment, 1, &on).await;
    let path = format!("/v1/calls/{}/evidence", call.correlation);
    app.sees(&path, |seen| seen["report"]["captures"][0].is_object()).await;
    are_accepted(&app, &token, &[displayed(&attachment, &json!({}))]).await;
    app.sees(&path, |seen| seen["report"]["obligations"][0]["shown_at"].is_i64()).await;
    let before = events(&mut app, 3).await;
    app.stop().await;
    let evidence = recomputed(&stores).await;
    assert!(evidence.contains(": 0 differ"), "{evidence}");

    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("onrecord.dump");
    let mut command = Command::new(dump);
    command.args(["--format=custom", "--dbname", &stores.database_url, "--file"]).arg(&file);
    let (succeeded, said) = ran(command).await;
    assert!(succeeded, "{said}");

    // Without the role, the restore leaves out what is granted to it, and `migrate` adds it.
    let forgotten =
        TestStores { database_url: new_database(&to, "forgotten").await, ..stores.clone() };
    assert!(!restore(&restorer, &file, &forgotten.database_url, &[]).await);
    onrecord(&forgotten, &["migrate"]).await;
    assert_eq!(recomputed(&forgotten).await, evidence);

    // The steps of docs/operate.md.
    let restored =
        TestStores { database_url: new_database(&to, "restored").await, ..stores.clone() };
    onrecord(&restored, &["migrate", "--roles"]).await;
    assert!(restore(&restorer, &file, &restored.database_url, &["--exit-on-error"]).await);
    let options = ServeOptions::without_migration();
    let mut app = TestApp::with_options(restored.clone(), "", options).await;
    until("the node says why it is not ready", || async {
        let (status, view) = readiness(&app).await?;
        let reason = view["components"]["schema"]["reason"].as_str()?;
        assert_eq!(status, StatusCode::SERVICE_UNAVAILABLE, "{view}");
        assert!(reason.contains("another cluster; run `onrecord migrate`"), "{view}");
        Some(())
    })
    .await;
    onrecord(&restored, &["migrate"]).await;
    app.is_ready().await;
    until("the node is ready", || async {
        (readiness(&app).await?.0 == StatusCode::OK).then_some(())
    })
    .await;
    assert_eq!(recomputed(&restored).await, evidence);

    // What is appended now comes after what was restored, and changes no earlier version.
    assert_eq!(events(&mut app, 3).await, before);
    app.event_grid_posts(&call.event("CallEnded", Utc::now(), &json!({}))).await;
    let after = events(&mut app, 4).await;
    assert_eq!(after[..3], before);
    app.sees(&path, |seen| seen["report"]["call"]["ended_at"].is_i64()).await;
    let later = recomputed(&restored).await;
    assert!(later.contains(": 0 differ") && later != evidence, "{later}");
    app.stop().await;

    // A role that is lost makes the node unready too.
    execute(&restored.database_url, "revoke select on call from onrecord_reader".to_owned()).await;
    let options = ServeOptions::without_migration();
    let app = TestApp::with_options(restored, "", options).await;
    until("the node says what the role lacks", || async {
        let (status, view) = readiness(&app).await?;
        let reason = view["components"]["schema"]["reason"].as_str()?;
        assert_eq!(status, StatusCode::SERVICE_UNAVAILABLE, "{view}");
        reason.contains("may not read all tables of readers").then_some(())
    })
    .await;
    app.stop().await;
    from.stop().await;
    to.stop().await;
}
