//! schemathesis sends requests that it makes of the description, valid ones and others, and compares the answers
//! with it: no failure of the server, no status and no form that is not described, no answer without the credential.

use std::path::PathBuf;
use std::process::Command;

use onrecord::http::api_role::ApiRole;
use serde_json::json;

use super::answers::recorded_call;
use crate::live::acknowledgements::{are_accepted, displayed};
use crate::support::app::{SOURCE_KEY, TestApp, TestStores};
use crate::support::azure::report;
use crate::support::extend_time_limit;
use crate::support::python::python;
use crate::webhooks::subscriber::SETTINGS as SUBSCRIBER_SETTINGS;

#[tokio::test(flavor = "multi_thread")]
#[ignore = "takes minutes; `.ci/run contract` runs it"]
async fn schemathesis_finds_no_answer_that_the_description_does_not_state() {
    let Some(python) = python() else { return };
    extend_time_limit(std::time::Duration::from_secs(900));
    let stores = TestStores::shared().await;
    let mut app = TestApp::with(stores, SUBSCRIBER_SETTINGS).await;
    app.is_ready().await;
    let (call, attachment, token) = recorded_call(&app).await;
    let on = json!({ "server_call_id": call.server_call_id, "recording": "on" });
    app.reports(&token, &report(&attachment, 1, &on)).await;
    are_accepted(&app, &token, &[displayed(&attachment, &json!({}))]).await;
    app.posts("/ingest/event-grid/eg", "no JSON").await;
    let timeline = format!("/v1/calls/{}/timeline", call.correlation);
    app.sees(&timeline, |it| it.to_string().contains("notice.displayed")).await;
    let key = app.api_key("contoso", ApiRole::Admin).await;
    let folder = PathBuf::from(env!("CARGO_MANIFEST_DIR"));
    let mut schemathesis = Command::new(python.with_file_name("schemathesis"));
    schemathesis
        .current_dir(env!("CARGO_TARGET_TMPDIR"))
        .arg("--config-file")
        .arg(folder.join("tests/data/schemathesis/schemathesis.toml"))
        .arg("run")
        .arg(folder.join("docs/openapi.json"))
        .env("ONRECORD_URL", app.url(""))
        .env("ONRECORD_API_KEY", key)
        .env("ONRECORD_TOKEN", token)
        .env("ONRECORD_SOURCE_KEY", SOURCE_KEY)
        .env("ONRECORD_CALL", &call.correlation);
    let output = tokio::task::spawn_blocking(move || schemathesis.output().unwrap()).await.unwrap();
    let said = String::from_utf8_lossy(&output.stdout);
    assert!(output.status.success(), "{said}\n{}", String::from_utf8_lossy(&output.stderr));
    println!("{said}");
    app.stop().await;
}
