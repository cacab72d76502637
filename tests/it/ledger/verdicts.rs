//! Verdicts: computed from facts, stored in versions, and recomputed.

use std::io::Write as _;
use std::process::{Command, Stdio};

use chrono::{DateTime, TimeDelta, Utc};
use onrecord::kafka::{EventMessage, Provenance};
use onrecord_evidence::event::calling_event::{CallingEvent, Statement};
use onrecord_evidence::event::ids::{self, Digest, Ids, Tenant};
use serde_json::{Value, json};
use uuid::Uuid;

use crate::live::notices::{bulk_producer, put};
use crate::support::app::{TestApp, until};
use crate::support::azure::{ALICE, Call};

/// A call that began a minute ago and is recorded since 50 s, without any notice.
async fn recorded_without_notice(app: &TestApp, call: &Call) {
    let ago = |seconds| Utc::now() - TimeDelta::seconds(seconds);
    app.event_grid_posts(&call.event("CallStarted", ago(60), &json!({}))).await;
    let joined = call.joined(ALICE, &Uuid::new_v4().to_string());
    let mut joined = joined.clone();
    joined[0]["eventTime"] = json!(ago(60).to_rfc3339());
    app.event_grid_posts(&joined).await;
    app.call_automation_posts(&call.recording("active", ago(50))).await;
}

fn recompute(exported: &Value) -> (Option<i32>, String) {
    let mut child = Command::new(env!("CARGO_BIN_EXE_onrecord"))
        .args(["evidence", "recompute", "-"])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let mut stdin = child.stdin.take().unwrap();
    stdin.write_all(exported.to_string().as_bytes()).unwrap();
    drop(stdin);
    let output = child.wait_with_output().unwrap();
    let text = String::from_utf8(output.stdout).unwrap();
    (output.status.code(), text)
}

fn recompute_stored(app: &TestApp, wanted: &[&str]) -> (Option<i32>, String) {
    let output = Command::new(env!("CARGO_BIN_EXE_onrecord"))
        .args(["evidence", "recompute", "--tenant", "contoso"])
        .args(wanted)
        .env("ONRECORD_DATABASE_URL", &app.stores.database_url)
        .output()
        .unwrap();
    let text = String::from_utf8(output.stdout).unwrap();
    (output.status.code(), text)
}

#[tokio::test(flavor = "multi_thread")]
async fn a_changed_verdict_is_a_new_version_and_each_version_follows_from_its_facts() {
    let mut app = TestApp::open().await;
    let call = Call::new();
    recorded_without_notice(&app, &call).await;
    let path = format!("/v1/calls/{}/evidence", call.correlation);
    let first = app.sees(&path, |it| it["verdict"] == "EXCEPTIONS").await;
    assert_eq!(first["recomputed"], "equal", "{first:#}");
    assert_eq!(first["report"]["obligations"][0]["status"], "NOT_SENT");
    assert_eq!(first["why"][0]["session"], first["report"]["obligations"][0]["session"]);

    app.event_grid_posts(&call.ended()).await;
    let ended = app.sees(&path, |it| !it["report"]["call"]["ended_at"].is_null()).await;
    let before = ended["report"]["obligations"][0]["due_at"].as_i64().unwrap();
    // The file shows that it began earlier.
    let start = Utc::now() - TimeDelta::seconds(58);
    app.event_grid_posts(&call.file(start, TimeDelta::seconds(57))).await;
    let last = app
        .sees(&path, |it| {
            let due = it["report"]["obligations"][0]["due_at"].as_i64();
            due.is_some_and(|due| due < before)
        })
        .await;
    assert_eq!(last["version"].as_i64(), Some(ended["version"].as_i64().unwrap() + 1));
    let versions = last["versions"].as_array().unwrap();
    let added = &versions[0]["changed_by"]["added"];
    assert_eq!(added.as_array().unwrap().len(), 1, "{added:#}");
    assert_eq!(added[0]["kind"], "file");
    assert_eq!(versions[0]["reason"], "facts");

    for version in versions {
        let number = &version["version"];
        let stored = app.reads(&format!("{path}?version={number}")).await;
        assert_eq!(stored["recomputed"], "equal", "{stored:#}");
        assert_eq!(stored["verdict"], version["verdict"]);
        let exported =
            app.reads(&format!("/v1/calls/{}/facts?version={number}", call.correlation)).await;
        let (code, output) = recompute(&exported);
        assert_eq!(code, Some(0), "{output}");
        let mut altered = exported.clone();
        altered["report"]["verdict"] = json!("COMPLIANT");
        let (code, output) = recompute(&altered);
        assert_eq!(code, Some(1), "{output}");
        assert!(output.contains("verdict was \"COMPLIANT\", is"), "{output}");
    }
    let (code, output) = recompute_stored(&app, &["--all"]);
    assert_eq!(code, Some(0), "{output}");
    assert!(output.starts_with(&format!("{} reports on 1 calls", versions.len())), "{output}");
    let (code, output) = recompute_stored(&app, &["--call", &call.server_call_id]);
    assert_eq!(code, Some(0), "{output}");
    let (code, _) = recompute_stored(&app, &["--call", "unknown"]);
    assert_eq!(code, Some(2));
    app.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_report_can_be_read_as_of_an_instant() {
    let mut app = TestApp::open().await;
    let call = Call::new();
    recorded_without_notice(&app, &call).await;
    let path = format!("/v1/calls/{}/evidence", call.correlation);
    app.sees(&path, |it| it["verdict"] == "EXCEPTIONS").await;
    let at = (Utc::now() - TimeDelta::seconds(55)).format("%FT%TZ");
    let then = app.reads(&format!("{path}?at={at}")).await;
    assert_eq!(then["verdict"], "PENDING");
    assert!(then["version"].is_null() && then["recomputed"].is_null());
    assert_eq!(then["report"]["captures"], json!([]));
    let ahead = (Utc::now() + TimeDelta::minutes(5)).format("%FT%TZ");
    let key = app.api_key("contoso", onrecord::http::api_role::ApiRole::Auditor).await;
    let refused =
        crate::support::client::http().get(app.url(&format!("{path}?at={ahead}"))).bearer_auth(key);
    assert_eq!(refused.send().await.unwrap().status(), 400);
    app.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn obligations_can_be_queried_in_sql_and_follow_the_latest_version() {
    let mut app = TestApp::open().await;
    let call = Call::new();
    recorded_without_notice(&app, &call).await;
    let path = format!("/v1/calls/{}/evidence", call.correlation);
    app.sees(&path, |it| it["verdict"] == "EXCEPTIONS").await;
    let database = app.stores.database().await;
    let rows: Vec<(String, String)> =
        sqlx::query_as("select type, status from obligation where call = $1")
            .bind(&call.correlation)
            .fetch_all(&database)
            .await
            .unwrap();
    assert_eq!(rows, [("recording".to_owned(), "NOT_SENT".to_owned())]);
    app.stop().await;
}

/// The start of a call, as a node published it that received it then.
fn started_at(call: &Call, received: DateTime<Utc>) -> EventMessage {
    EventMessage {
        credential: None,
        tenant: Tenant::parse("contoso").unwrap(),
        provenance: Provenance::EventGrid,
        source: "eg".to_owned(),
        ce_source: "/tests".to_owned(),
        ce_id: Uuid::new_v4().to_string(),
        ce_time: None,
        received,
        sha256: Digest::of(b"{}"),
        content: Digest::of(b"{}"),
        original: "{}".to_owned(),
        content_coding: None,
        charset: None,
        event: CallingEvent {
            statement: Statement::CallStarted(serde_json::from_value(json!({})).unwrap()),
            ids: Ids {
                server_call_id: ids::server_call_id(&call.server_call_id),
                correlation_id: Some(call.correlation.clone()),
                ..Ids::default()
            },
            source_type: "Microsoft.Communication.CallStarted".to_owned(),
            generation: None,
            redacted: Vec::new(),
            flagged: Vec::new(),
        },
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_call_without_an_end_event_gets_a_presumed_end() {
    let mut app = TestApp::open().await;
    let call = Call::new();
    // A clock that is hours behind ends no call, so the event arrived long ago too.
    let topic = format!("{}calling-events.v1", app.stores.prefix);
    let started = started_at(&call, Utc::now() - TimeDelta::hours(7));
    let stamp = Utc::now().timestamp_millis();
    put(&bulk_producer(&app.stores.brokers), &topic, 0, &[started], stamp).await;
    let seen =
        app.sees(&format!("/v1/calls/{}", call.correlation), |it| it["ended_at"].is_string()).await;
    assert_eq!(seen["end_presumed"], true);
    let evidence = app.reads(&format!("/v1/calls/{}/evidence", call.correlation)).await;
    assert!(evidence["report"]["flags"].as_array().unwrap().contains(&json!("END_PRESUMED")));
    let timeline = app.reads(&format!("/v1/calls/{}/timeline", call.correlation)).await;
    let presumed = &timeline["events"][1];
    assert_eq!(presumed["type"], "call.ended");
    assert_eq!(presumed["source"], "maintenance");

    // Later activity revokes the presumed end.
    app.event_grid_posts(&call.joined(ALICE, &Uuid::new_v4().to_string())).await;
    app.sees(&format!("/v1/calls/{}", call.correlation), |it| it["ended_at"].is_null()).await;
    app.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn merged_calls_keep_their_verdict_versions() {
    let mut app = TestApp::open().await;
    let call = Call::new();
    let ago = |seconds| Utc::now() - TimeDelta::seconds(seconds);
    // Known by its serverCallId only, until an event names both.
    let mut alone = call.recording("active", ago(50));
    alone[0]["data"]["correlationId"] = Value::Null;
    app.call_automation_posts(&alone).await;
    let path =
        format!("/v1/calls/{}/evidence", crate::end_to_end::urlencoded(&call.server_call_id));
    let before = app.sees(&path, |it| it["version"] == 1).await;
    app.event_grid_posts(&call.event("CallStarted", ago(60), &json!({}))).await;
    let after = app.sees(&path, |it| it["call"] == call.correlation.as_str()).await;
    assert_eq!(after["version"], 2);
    let names: Vec<&Value> =
        after["versions"].as_array().unwrap().iter().map(|it| &it["call"]).collect();
    assert_eq!(names, [&after["call"], &before["call"]]);
    let then = before["call"].as_str().unwrap();
    let old = app.reads(&format!("{path}?version=1&then={then}")).await;
    assert_eq!(old["recomputed"], "equal", "{old:#}");
    assert_eq!(old["call"], before["call"]);
    until("the obligations of one call", || async {
        let database = app.stores.database().await;
        let calls: Vec<String> =
            sqlx::query_scalar("select call from call where tenant = 'contoso'")
                .fetch_all(&database)
                .await
                .ok()?;
        (calls == [call.correlation.clone()]).then_some(())
    })
    .await;
    app.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_alias_that_is_split_off_takes_its_facts_and_earlier_versions_keep_them() {
    let mut app = TestApp::open().await;
    let (first, second) = (Call::new(), Call::new());
    let ago = |seconds| Utc::now() - TimeDelta::seconds(seconds);
    // With the serverCallId only, which resolves to the first call…
    let mut alone = first.recording("active", ago(50));
    alone[0]["data"]["correlationId"] = Value::Null;
    app.call_automation_posts(&alone).await;
    app.event_grid_posts(&first.event("CallStarted", ago(60), &json!({}))).await;
    let path = format!("/v1/calls/{}/evidence", first.correlation);
    app.event_grid_posts(&first.ended()).await;
    let together = app
        .sees(&path, |it| {
            let captures = it["report"]["captures"].as_array();
            captures.is_some_and(|it| it.len() == 1) && !it["report"]["call"]["ended_at"].is_null()
        })
        .await;
    // … until another call has the same serverCallId.
    let mut another = second.event("CallStarted", ago(40), &json!({}));
    another[0]["data"]["serverCallId"] = json!(first.server_call_id);
    app.event_grid_posts(&another).await;
    let parted = app.sees(&path, |it| it["report"]["captures"] == json!([])).await;
    assert_eq!(parted["recomputed"], "equal", "{parted:#}");
    let old = app.reads(&format!("{path}?version={}", together["version"])).await;
    assert_eq!(old["recomputed"], "equal", "{old:#}");
    let versions = parted["versions"].as_array().unwrap().iter();
    let mut removed =
        versions.flat_map(|version| version["changed_by"]["removed"].as_array().unwrap());
    assert!(removed.any(|fact| fact["kind"] == "provider.state"), "{parted:#}");
    app.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_client_that_joins_a_call_with_very_many_facts_is_recorded_and_its_reports_are_accepted()
{
    let mut app = TestApp::open().await;
    let (call, attachment) = (Call::new(), Uuid::new_v4());
    let mut crowd = Vec::new();
    for _ in 0..1_100 {
        let joined = call.joined(ALICE, &Uuid::new_v4().to_string());
        crowd.extend(joined.as_array().unwrap().clone());
    }
    app.event_grid_posts(&Value::Array(crowd)).await;
    let path = format!("/v1/calls/{}", call.correlation);
    app.sees(&path, |it| it["participants"].as_array().is_some_and(|it| it.len() == 1_100)).await;
    // The attachment is a new id of a call that only maintenance evaluates.
    let token = app.token(ALICE).await;
    let on = json!({ "server_call_id": call.server_call_id, "recording": "on" });
    crate::live::acknowledgements::reports_state(&app, &token, &attachment, 1, &on).await;
    app.sees(&path, |it| it["indication"]["recording"]["state"] == "on").await;
    let quarantine = app.reads("/v1/quarantine").await;
    assert_eq!(quarantine["quarantined"], json!([]));
    app.stop().await;
}
