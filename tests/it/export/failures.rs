//! What an export leaves when something fails: the reason, and no file.

use std::fs;

use onrecord::http::api_role::ApiRole;
use reqwest::StatusCode;
use serde_json::json;

use super::history::{Exporter, request, sha256, stores_with_history};
use crate::faults::cluster::node::{FailpointAction, Node};
use crate::support::app::until;
use crate::support::client::http;
use crate::support::requirements::has_failpoints;

#[tokio::test(flavor = "multi_thread")]
async fn a_directory_that_cannot_be_written_fails_the_export_with_the_reason() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("a-file");
    fs::write(&file, "in the way").unwrap();
    let settings = format!("exports.store = \"file://{}/exports\"", file.display());
    let exporter = Exporter::with(&settings).await;
    let id = exporter.requested(&request(&["calls"], "csv")).await;
    let export = exporter.ended(&id).await;
    assert_eq!(export["state"], "failed", "{export:#}");
    let reason = export["reason"].as_str().unwrap();
    assert!(reason.contains("a-file/exports") && reason.contains("cannot be used"), "{reason}");
    assert_eq!(export["files"], json!([]));
    let url = exporter.file_url(&export, "calls-1.csv");
    let (status, problem) = exporter.asks(http().get(url)).await;
    assert_eq!(status, StatusCode::CONFLICT, "{problem:#}");
    assert_eq!(fs::read(&file).unwrap(), b"in the way");
    exporter.app.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_files_of_a_directory_are_served_and_deleted_with_their_export() {
    let folder = tempfile::tempdir().unwrap();
    let directory = folder.path().join("exports");
    let settings = format!("exports.store = \"file://{}\"", directory.display());
    let exporter = Exporter::with(&settings).await;
    let export = exporter.exported(&["calls", "events"], "csv").await;
    for file in export["files"].as_array().unwrap() {
        let content = exporter.file(&export, file["name"].as_str().unwrap()).await;
        assert_eq!(file["sha256"], sha256(&content), "{file:#}");
    }
    let part = http().get(exporter.file_url(&export, "events-1.csv"));
    let part = exporter.sends(part.header("range", "bytes=5-9")).await;
    assert_eq!(part.bytes().await.unwrap().len(), 5);
    assert_eq!(exporter.count("export_chunk").await, 0);
    let id = export["id"].as_str().unwrap();
    let of_export = directory.join("contoso").join(id);
    assert!(of_export.join("1/calls-1.csv").is_file());
    // What another attempt left goes with it.
    fs::create_dir_all(of_export.join("7")).unwrap();
    fs::write(of_export.join("7/calls-1.csv"), "half").unwrap();
    let path = exporter.app.url(&format!("/v1/exports/{id}"));
    let (status, _) = exporter.asks(http().delete(path)).await;
    assert_eq!(status, StatusCode::NO_CONTENT);
    until("the files are deleted", || async { (!of_export.exists()).then_some(()) }).await;
    exporter.app.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_export_whose_node_was_killed_is_begun_again_and_has_each_row_once() {
    if !has_failpoints() {
        return;
    }
    let stores = stores_with_history().await;
    let mut node = Node::start("exporter", &stores, &["--roles", "query"]).await;
    let exporter = Exporter::on(stores.clone(), "").await;
    // Only the node that is killed may claim it at first.
    let key = exporter.app.api_key("contoso", ApiRole::Analyst).await;
    exporter.app.stop().await;
    let (body, url) = (request(&["calls", "obligations"], "csv"), node.url("/v1/exports"));
    node.arm("export-block-written", FailpointAction::Crash);
    let accepted = until("the request is accepted", || async {
        let asked = http().post(&url).bearer_auth(&key).json(&body).send().await;
        match asked {
            Ok(answer) if answer.status() == StatusCode::ACCEPTED => Some(()),
            // It crashed before it answered.
            Err(_) => Some(()),
            Ok(_) => None,
        }
    });
    accepted.await;
    node.has_crashed().await;
    let exporter = Exporter::on(stores, "").await;
    let (_, list) = exporter.asks(http().get(exporter.app.url("/v1/exports"))).await;
    let id = list["exports"][0]["id"].as_str().unwrap().to_owned();
    let export = exporter.ended(&id).await;
    assert_eq!(export["state"], "done", "{export:#}");
    let (mut rows, mut named) = (0, Vec::new());
    for file in export["files"].as_array().unwrap() {
        let name = file["name"].as_str().unwrap();
        let content = exporter.file(&export, name).await;
        assert_eq!(file["sha256"], sha256(&content), "{file:#}");
        rows += file["rows"].as_i64().unwrap();
        named.push(name.to_owned());
    }
    assert_eq!(named, ["calls-1.csv", "obligations-1.csv", "manifest.json"]);
    assert_eq!(export["rows"], rows);
    let database = exporter.app.stores.database().await;
    let attempts: Vec<i32> = sqlx::query_scalar("select distinct attempt from export_chunk")
        .fetch_all(&database)
        .await
        .unwrap();
    assert_eq!(attempts, [2], "nothing is left of the first attempt");
    exporter.app.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_export_whose_nodes_end_each_time_fails_with_that_reason() {
    let exporter = Exporter::with("").await;
    let id = exporter.exported(&["calls"], "csv").await["id"].as_str().unwrap().to_owned();
    let database = exporter.app.stores.database().await;
    sqlx::query("delete from export_file").execute(&database).await.unwrap();
    sqlx::query(
        "update export set state = 'running', owner = 'another', lease_until = now(), attempts = 3, finished_at = null, expires_at = null",
    )
    .execute(&database)
    .await
    .unwrap();
    let export = exporter.ended(&id).await;
    assert_eq!(export["state"], "failed", "{export:#}");
    let reason = export["reason"].as_str().unwrap();
    assert!(reason.contains("the node that ran it ended 3 times"), "{reason}");
    exporter.app.stop().await;
}
