//! The access log: each read of a call, a person, an original or the quarantine is a row; without the row
//! there is no answer; nothing changes a row.

use chrono::Utc;
use onrecord::http::api_role::ApiRole;
use reqwest::StatusCode;
use serde_json::{Value, json};

use crate::support::app::{TestApp, until};
use crate::support::azure::{ALICE, Call};
use crate::support::client::http;

/// A node with one call that Alice joined, and a key of each role.
struct LoggedApp {
    app: TestApp,
    call: Call,
    event: String,
    analyst: String,
    auditor: String,
}

impl LoggedApp {
    async fn open() -> Self {
        let mut app = TestApp::open().await;
        let call = Call::new();
        app.event_grid_posts(&call.started()).await;
        app.event_grid_posts(&call.joined(ALICE, "11111111-1111-4111-8111-111111111111")).await;
        app.call_automation_posts(&call.recording("active", Utc::now())).await;
        app.sees(&format!("/v1/calls/{}/evidence", call.correlation), |it| {
            it["version"].is_number() && it["report"]["obligations"][0].is_object()
        })
        .await;
        let events = app.reads("/v1/events").await;
        let event = events["events"][0]["id"].as_str().unwrap().to_owned();
        let analyst = known_key(&app, "contoso", ApiRole::Analyst).await;
        let auditor = known_key(&app, "contoso", ApiRole::Auditor).await;
        Self { app, call, event, analyst, auditor }
    }

    async fn get(&self, path: &str, key: &str) -> (StatusCode, Value) {
        get(&self.app, path, key).await
    }

    async fn log(&self, query: &str) -> Vec<Value> {
        let (status, answer) = self.get(&format!("/v1/access-log?{query}"), &self.auditor).await;
        assert_eq!(status, StatusCode::OK, "{answer:#}");
        answer["accesses"].as_array().unwrap().clone()
    }
}

async fn get(app: &TestApp, path: &str, key: &str) -> (StatusCode, Value) {
    let response = http().get(app.url(path)).bearer_auth(key).send().await.unwrap();
    (response.status(), response.json().await.unwrap_or_default())
}

/// A key that the node has looked up.
async fn known_key(app: &TestApp, tenant: &str, role: ApiRole) -> String {
    let key = app.api_key(tenant, role).await;
    until("the key is known", || async {
        (get(app, "/v1/notice-texts", &key).await.0 == StatusCode::OK).then_some(())
    })
    .await;
    key
}

#[tokio::test(flavor = "multi_thread")]
async fn each_read_is_a_row_that_says_who_read_what_and_why() {
    let logged = LoggedApp::open().await;
    let call = &logged.call.correlation;
    let person = ALICE.replace(':', "%3A");
    let before = logged.log("limit=1000").await.len();
    for (path, what, route) in [
        (format!("/v1/calls/{call}"), "call", "GET /v1/calls/{call}"),
        (format!("/v1/calls/{call}/timeline"), "call", "GET /v1/calls/{call}/timeline"),
        (format!("/v1/calls/{call}/evidence"), "call", "GET /v1/calls/{call}/evidence"),
        (format!("/v1/calls/{call}/facts"), "call", "GET /v1/calls/{call}/facts"),
        (format!("/v1/events?call={call}"), "call", "GET /v1/events"),
        (format!("/v1/events/{}", logged.event), "original", "GET /v1/events/{id}"),
        (format!("/v1/calls?participant={person}"), "person", "GET /v1/calls"),
        (
            format!("/v1/participants/{person}?purpose=request%2017"),
            "person",
            "GET /v1/participants/{raw_id}",
        ),
    ] {
        let (status, answer) = logged.get(&path, &logged.analyst).await;
        assert_eq!(status, StatusCode::OK, "{path}: {answer:#}");
        let row = logged.log("limit=1").await.remove(0);
        assert_eq!((&row["what"], &row["route"]), (&json!(what), &json!(route)), "{path}: {row:#}");
        assert_eq!((&row["role"], &row["key_name"]), (&json!("analyst"), &json!("test")), "{path}");
        match what {
            "person" => assert_eq!(row["person"], ALICE, "{path}"),
            _ => assert_eq!(row["call"], call.as_str(), "{path}"),
        }
    }
    let (status, _) = logged.get("/v1/quarantine?source=eg", &logged.auditor).await;
    assert_eq!(status, StatusCode::OK);
    let rows = logged.log("limit=1000").await;
    assert_eq!(rows.len(), before + 9);
    assert_eq!(
        (&rows[0]["what"], &rows[0]["subject"]),
        (&json!("quarantine"), &json!("source=eg"))
    );
    assert_eq!((&rows[1]["purpose"], &rows[1]["person"]), (&json!("request 17"), &json!(ALICE)));

    // Lists without a person, statistics and refused reads are no reads of a call.
    for path in
        ["/v1/calls", "/v1/events", "/v1/stats/calls", "/v1/calls/unknown", "/v1/access-log"]
    {
        logged.get(path, &logged.analyst).await;
    }
    assert_eq!(logged.log("limit=1000").await.len(), before + 9);

    // The filters, and pages.
    assert_eq!(logged.log("what=person").await.len(), 2);
    assert_eq!(logged.log(&format!("person={person}")).await.len(), 2);
    assert!(logged.log(&format!("call={call}")).await.len() >= 6);
    assert_eq!(logged.log("to=2020-01-01").await.len(), 0);
    let key = rows[1]["api_key"].as_str().unwrap();
    assert_eq!(logged.log(&format!("key={key}")).await.len(), 8);
    let (_, first) = logged.get("/v1/access-log?what=call&limit=2", &logged.auditor).await;
    let next = first["next"].as_str().unwrap();
    let second = logged.log(&format!("what=call&limit=2&cursor={next}")).await;
    assert!(!first["accesses"].as_array().unwrap().contains(&second[0]));

    let stated = http()
        .get(logged.app.url(&format!("/v1/calls/{call}")))
        .bearer_auth(&logged.analyst)
        .header("x-onrecord-purpose", "case 4711");
    assert_eq!(stated.send().await.unwrap().status(), StatusCode::OK);
    assert_eq!(logged.log("limit=1").await[0]["purpose"], "case 4711");
    logged.app.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn without_a_row_there_is_no_answer_and_nothing_changes_a_row() {
    let logged = LoggedApp::open().await;
    let database = logged.app.stores.database().await;
    let path = format!("/v1/calls/{}", logged.call.correlation);
    assert_eq!(logged.get(&path, &logged.analyst).await.0, StatusCode::OK);
    for change in [
        "update access_log set purpose = 'another'",
        "delete from access_log",
        "truncate access_log",
    ] {
        let refused = sqlx::raw_sql(change).execute(&database).await.unwrap_err();
        assert!(refused.to_string().contains("append-only"), "{change}: {refused}");
    }
    sqlx::raw_sql("alter table access_log rename to hidden").execute(&database).await.unwrap();
    for path in [
        path.clone(),
        format!("{path}/timeline"),
        format!("{path}/evidence"),
        format!("{path}/facts"),
        format!("/v1/events/{}", logged.event),
    ] {
        let (status, answer) = logged.get(&path, &logged.analyst).await;
        assert_eq!(status, StatusCode::SERVICE_UNAVAILABLE, "{path}: {answer:#}");
        assert!(answer.get("call").is_none() && answer.get("original").is_none(), "{answer:#}");
    }
    // A list of calls is no read of a call.
    assert_eq!(logged.get("/v1/calls", &logged.analyst).await.0, StatusCode::OK);
    sqlx::raw_sql("alter table hidden rename to access_log").execute(&database).await.unwrap();
    assert_eq!(logged.get(&path, &logged.analyst).await.0, StatusCode::OK);
    logged.app.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn everything_about_a_person_needs_a_purpose_and_stays_in_the_tenant() {
    let logged = LoggedApp::open().await;
    let path = format!("/v1/participants/{}", ALICE.replace(':', "%3A"));
    for (query, status) in
        [("", 400), ("?purpose=", 400), ("?purpose=x", 400), ("?purpose=request", 200)]
    {
        let (answered, answer) = logged.get(&format!("{path}{query}"), &logged.analyst).await;
        assert_eq!(answered.as_u16(), status, "{query}: {answer:#}");
        if status == 400 {
            assert_eq!(answer["member"], "purpose", "{answer:#}");
        }
    }
    let (_, answer) = logged.get(&format!("{path}?purpose=request"), &logged.auditor).await;
    let call = &answer["calls"][0];
    assert_eq!(call["call"], logged.call.correlation.as_str(), "{answer:#}");
    assert_eq!(call["of_person"]["sessions"][0]["raw_id"], ALICE, "{answer:#}");
    assert_eq!(call["of_person"]["obligations"][0]["type"], "recording", "{answer:#}");
    let events = call["of_person"]["events"].as_array().unwrap();
    let events: Vec<&str> = events.iter().map(|event| event["type"].as_str().unwrap()).collect();
    assert_eq!(events, ["call.started", "session.joined"], "{answer:#}");
    assert_eq!(answer["count"], json!({ "value": 1, "exact": true }));

    // Another tenant sees neither the person nor the reads.
    let other = known_key(&logged.app, "fabrikam", ApiRole::Admin).await;
    let (status, answer) = logged.get(&format!("{path}?purpose=request"), &other).await;
    assert_eq!((status, &answer["calls"]), (StatusCode::OK, &json!([])), "{answer:#}");
    for (subject, number) in [
        ("calls", "calls"),
        ("notices", "obligations"),
        ("captures", "captures"),
        ("exceptions", "opened"),
    ] {
        let path = format!("/v1/stats/{subject}");
        let (_, answer) = logged.get(&path, &other).await;
        assert_eq!(answer["total"][number], 0, "{path}: {answer:#}");
    }
    let (_, answer) = logged.get("/v1/stats/calls", &logged.analyst).await;
    assert_eq!(answer["total"]["calls"], 1, "{answer:#}");
    let (_, answer) = logged.get("/v1/calls?changed_after=beginning", &other).await;
    assert_eq!(answer["calls"], json!([]), "{answer:#}");
    let (status, answer) = logged.get("/v1/access-log", &other).await;
    assert_eq!(status, StatusCode::OK);
    assert_eq!(answer["accesses"].as_array().unwrap().len(), 1, "its own read: {answer:#}");
    logged.app.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn each_role_reads_what_it_may() {
    let logged = LoggedApp::open().await;
    let app = known_key(&logged.app, "contoso", ApiRole::App).await;
    let admin = known_key(&logged.app, "contoso", ApiRole::Admin).await;
    let call = &logged.call.correlation;
    let person = format!("/v1/participants/{ALICE}?purpose=request");
    for (path, is_for_analysts) in [
        ("/v1/calls".to_owned(), true),
        ("/v1/calls?changed_after=beginning".to_owned(), true),
        (format!("/v1/calls/{call}"), true),
        (format!("/v1/calls/{call}/timeline"), true),
        (format!("/v1/calls/{call}/evidence"), true),
        (format!("/v1/calls/{call}/facts"), true),
        (person, true),
        ("/v1/events".to_owned(), true),
        (format!("/v1/events/{}", logged.event), true),
        ("/v1/stats/calls".to_owned(), true),
        ("/v1/stats/notices".to_owned(), true),
        ("/v1/stats/captures".to_owned(), true),
        ("/v1/stats/exceptions".to_owned(), true),
        ("/v1/quarantine".to_owned(), false),
        ("/v1/access-log".to_owned(), false),
    ] {
        let analyst = if is_for_analysts { 200 } else { 403 };
        for (key, status) in [
            (&app, 403),
            (&logged.analyst, analyst),
            (&logged.auditor, 200),
            (&admin, 200),
            (&"onr_unknown".to_owned(), 401),
        ] {
            let (answered, answer) = logged.get(&path, key).await;
            assert_eq!(answered.as_u16(), status, "{path}: {answer:#}");
        }
    }
    logged.app.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_evidence_has_names_and_wall_clock_times_beside_the_report() {
    let logged = LoggedApp::open().await;
    let path = format!("/v1/calls/{}/evidence", logged.call.correlation);
    let (status, evidence) = logged.get(&format!("{path}?tz=Asia/Kolkata"), &logged.analyst).await;
    assert_eq!(status, StatusCode::OK, "{evidence:#}");
    let readable = &evidence["readable"];
    assert_eq!(readable["tz"], "Asia/Kolkata");
    assert_eq!(readable["sessions"][0]["raw_id"], ALICE, "{readable:#}");
    let obligation = &readable["obligations"][0];
    assert_eq!(obligation["raw_id"], ALICE, "{readable:#}");
    let raw = evidence["report"]["obligations"][0]["due_at"].as_i64().unwrap();
    for name in ["utc", "local"] {
        let text = obligation["due_at"][name].as_str().unwrap();
        let instant = chrono::DateTime::parse_from_rfc3339(text).unwrap();
        assert_eq!(instant.timestamp_millis(), raw, "{text}");
        assert!(text.ends_with(if name == "utc" { "Z" } else { "+05:30" }), "{text}");
    }
    let (status, problem) = logged.get(&format!("{path}?tz=India"), &logged.analyst).await;
    assert_eq!((status, &problem["member"]), (StatusCode::BAD_REQUEST, &json!("tz")));
    logged.app.stop().await;
}
