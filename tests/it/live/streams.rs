//! Streams: snapshot, notice, gap, bye; cursors; stale events; authorization.

use std::time::Duration;

use onrecord::http::api_role::ApiRole;
use reqwest::StatusCode;
use serde_json::{Value, json};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpSocket;
use uuid::Uuid;

use crate::end_to_end::urlencoded;
use crate::support::app::{DEADLINE, TestApp, TestStores, until};
use crate::support::azure::{ALICE, BOB, Call, report};
use crate::support::client::http;

#[tokio::test(flavor = "multi_thread")]
async fn a_cursor_resumes_on_another_node_with_what_was_missed() {
    let stores = TestStores::shared().await;
    let (one, two) = (TestApp::on(stores.clone()).await, TestApp::on(stores).await);
    // One node has the ledger's partitions; both have the live state.
    until("both nodes are live", || async {
        for app in [&one, &two] {
            let view: Value =
                http().get(app.url("/readyz")).send().await.ok()?.json().await.ok()?;
            if view["components"]["live"]["health"] != "healthy"
                || view["components"]["postgres"]["health"] != "healthy"
            {
                return None;
            }
        }
        Some(())
    })
    .await;
    let call = Call::new();
    let token = one.token(ALICE).await;
    let query = format!("server_call_id={}", urlencoded(&call.server_call_id));
    let mut stream = one.subscribes(&token, &query).await;
    one.call_automation_posts(&call.recording("active", chrono::Utc::now())).await;
    let on = stream.receives_recording("on").await;
    drop(stream);
    one.call_automation_posts(&call.recording("inactive", chrono::Utc::now())).await;
    let mut watch = two.subscribes(&token, &query).await;
    watch.receives_recording("off").await;
    one.stop().await;

    let mut resumed = two.subscribes_from(&token, &query, Some(&on.id)).await;
    let mut received = Vec::new();
    loop {
        let next = resumed.next().await.unwrap();
        let is_snapshot = next.kind == "snapshot";
        received.push((next.kind.clone(), next.recording().to_owned()));
        if is_snapshot {
            break;
        }
    }
    assert!(
        received.contains(&("notice".to_owned(), "off".to_owned())),
        "the missed stop is sent: {received:?}"
    );
    assert_eq!(received.last(), Some(&("snapshot".to_owned(), "off".to_owned())));
    assert!(!received.iter().any(|(kind, _)| kind == "gap"), "{received:?}");

    let forged =
        two.subscribes_from(&token, &query, Some("18c0000000.AAAA")).await.next().await.unwrap();
    assert_eq!(forged.kind, "gap");
    two.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_slow_reader_is_disconnected_with_gap_and_does_not_slow_others() {
    let stores = TestStores::shared().await;
    let app = TestApp::with(stores, "[streams]\nqueue = 4").await;
    app.is_ready().await;
    let token = app.api_key("contoso", ApiRole::App).await;
    let mut quick = app.subscribes(&token, "").await;
    // A client with tiny buffers that reads nothing.
    let socket = TcpSocket::new_v4().unwrap();
    socket.set_recv_buffer_size(2048).unwrap();
    let mut slow = socket.connect(app.address).await.unwrap();
    let request = format!(
        "GET /v1/notices/stream HTTP/1.1\r\nhost: x\r\nconnection: close\r\nauthorization: Bearer {token}\r\n\r\n"
    );
    slow.write_all(request.as_bytes()).await.unwrap();
    app.sends_more_than_a_socket_buffers(&mut quick).await;
    // What was sent until then arrives quickly.
    socket2::SockRef::from(&slow).set_recv_buffer_size(1 << 20).unwrap();
    let mut rest = Vec::new();
    tokio::time::timeout(DEADLINE, slow.read_to_end(&mut rest)).await.unwrap().unwrap();
    let rest = String::from_utf8(rest).unwrap();
    let last = rest.lines().rev().find_map(|line| line.strip_prefix("event: "));
    assert_eq!(last, Some("gap"), "the gap is sent before the close");
    app.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_stale_event_sends_no_notice_but_updates_the_level() {
    let app = TestApp::open().await;
    let call = Call::new();
    let token = app.token(ALICE).await;
    let mut stream = app
        .subscribes(&token, &format!("server_call_id={}", urlencoded(&call.server_call_id)))
        .await;
    assert_eq!(stream.receives("snapshot").await.recording(), "unknown");
    let yesterday = chrono::Utc::now() - chrono::TimeDelta::days(1);
    app.event_grid_posts(&call.event("CallStarted", yesterday, &json!({}))).await;
    app.call_automation_posts(&call.recording("active", yesterday)).await;
    let level = stream.receives_recording("on").await;
    assert_eq!(level.kind, "snapshot", "a day-old start is a level, not a notice");
    app.event_grid_posts(&call.ended()).await;
    assert_eq!(stream.next().await.unwrap().kind, "snapshot");
    app.call_automation_posts(&call.recording("active", yesterday + chrono::TimeDelta::minutes(1)))
        .await;
    app.event_grid_posts(&Call::new().started()).await;
    assert!(
        stream.is_silent_for(Duration::from_secs(1)).await,
        "an active event of yesterday after the end changes nothing"
    );
    app.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_backlog_read_at_start_states_the_level_and_nothing_else() {
    let stores = TestStores::shared().await;
    let app = TestApp::on(stores.clone()).await;
    app.is_ready().await;
    let call = Call::new();
    app.event_grid_posts(&call.started()).await;
    let begin = chrono::Utc::now() - chrono::TimeDelta::seconds(60);
    for chunk in 0..10 {
        let batch: Vec<Value> = (0..1000)
            .map(|n| {
                let n = chunk * 1000 + n;
                call.recording(
                    if n % 2 == 0 { "active" } else { "inactive" },
                    begin + chrono::TimeDelta::milliseconds(n),
                )[0]
                .clone()
            })
            .collect();
        app.call_automation_posts(&Value::Array(batch)).await;
    }
    app.call_automation_posts(&call.recording("active", chrono::Utc::now())).await;
    let token = app.token(ALICE).await;
    app.stop().await;

    let second = TestApp::on(stores).await;
    let query = format!("server_call_id={}", urlencoded(&call.server_call_id));
    let mut stream = second.subscribes(&token, &query).await;
    let mut kinds = Vec::new();
    loop {
        let received = stream.next().await.unwrap();
        kinds.push(received.kind.clone());
        if received.recording() == "on" {
            break;
        }
        assert!(kinds.len() < 3, "{kinds:?}");
    }
    assert!(kinds.iter().all(|kind| kind == "snapshot"), "{kinds:?}");
    assert!(stream.is_silent_for(Duration::from_secs(1)).await);
    second.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_stop_sends_bye_to_every_stream() {
    let app = TestApp::open().await;
    let token = app.token(ALICE).await;
    let mut stream = app.subscribes(&token, &format!("attachment={}", Uuid::new_v4())).await;
    stream.receives("snapshot").await;
    app.stop().await;
    assert_eq!(stream.next().await.unwrap().kind, "bye");
    assert!(stream.next().await.is_none());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_caller_can_neither_stream_nor_read_calls_of_others() {
    let mut app = TestApp::open().await;
    let (call, attachment) = (Call::new(), Uuid::new_v4());
    let (alice, bob) = (app.token(ALICE).await, app.token(BOB).await);
    let on = report(
        &attachment,
        1,
        &json!({ "server_call_id": call.server_call_id, "recording": "on" }),
    );
    assert_eq!(app.reports(&alice, &on).await.0, StatusCode::OK);
    app.event_grid_posts(&call.started()).await;
    app.sees(&format!("/v1/calls/{}", call.correlation), |call| call["recorded"] == true).await;

    // Another participant of the same tenant: neither by the attachment nor by a report about it.
    let mut foreign = app.subscribes(&bob, &format!("attachment={attachment}")).await;
    assert_eq!(foreign.next().await.unwrap().body["call"], Value::Null);
    let claim = report(&attachment, 9, &json!({ "recording": "off" }));
    assert_eq!(app.reports(&bob, &claim).await.0, StatusCode::CONFLICT);
    let level = http()
        .get(app.url(&format!("/v1/indications?attachment={attachment}")))
        .bearer_auth(&bob)
        .send()
        .await
        .unwrap();
    assert_eq!(level.json::<Value>().await.unwrap()["call"], Value::Null);

    // Another tenant.
    let key = app.api_key("fabrikam", ApiRole::Admin).await;
    for path in [
        format!("/v1/calls/{}", call.correlation),
        format!("/v1/calls/{}/timeline", call.correlation),
        format!("/v1/calls/{attachment}"),
        format!("/v1/calls/{}", urlencoded(&call.server_call_id)),
        format!("/v1/events?call={}", call.correlation),
    ] {
        let answer = http().get(app.url(&path)).bearer_auth(&key).send().await.unwrap();
        assert_eq!(answer.status(), StatusCode::NOT_FOUND, "{path}");
        assert_eq!(answer.headers()["content-type"], "application/problem+json");
    }
    for (path, member) in
        [("/v1/calls", "calls"), ("/v1/events", "events"), ("/v1/quarantine", "quarantined")]
    {
        let answer: Value =
            http().get(app.url(path)).bearer_auth(&key).send().await.unwrap().json().await.unwrap();
        assert_eq!(answer[member], json!([]), "{path}");
    }
    let level: Value = http()
        .get(app.url(&format!("/v1/indications?call={}", call.correlation)))
        .bearer_auth(&key)
        .send()
        .await
        .unwrap()
        .json()
        .await
        .unwrap();
    assert_eq!(level["call"], Value::Null);

    // The last barrier: the role for reads sees the rows of one tenant, whatever the query.
    let database = app.stores.database().await;
    for (tenant, rows) in [("contoso", 1_i64), ("fabrikam", 0)] {
        let mut reader = database.begin().await.unwrap();
        sqlx::query("select set_config('role', 'onrecord_reader', true), set_config('onrecord.tenant', $1, true)").bind(tenant).execute(&mut *reader).await.unwrap();
        for table in ["call", "session", "capture", "call_alias where anchor like 's-%'"] {
            let count: i64 =
                sqlx::query_scalar(sqlx::AssertSqlSafe(format!("select count(*) from {table}")))
                    .fetch_one(&mut *reader)
                    .await
                    .unwrap();
            assert_eq!(count, rows, "{tenant} {table}");
        }
        assert!(
            sqlx::query("select from spool").execute(&mut *reader).await.is_err(),
            "no right at all"
        );
    }

    // Without a tenant it is refused, because no rows would look like an answer.
    let mut reader = database.begin().await.unwrap();
    sqlx::query("set local role onrecord_reader").execute(&mut *reader).await.unwrap();
    let refused = sqlx::query("select count(*) from call").execute(&mut *reader).await;
    assert!(refused.unwrap_err().to_string().contains("no tenant is set"));
    drop(reader);

    // Roles.
    let app_key = app.api_key("contoso", ApiRole::App).await;
    assert_eq!(
        http().get(app.url("/v1/calls")).bearer_auth(&app_key).send().await.unwrap().status(),
        StatusCode::FORBIDDEN
    );
    let analyst = app.api_key("contoso", ApiRole::Analyst).await;
    assert_eq!(
        http().get(app.url("/v1/quarantine")).bearer_auth(&analyst).send().await.unwrap().status(),
        StatusCode::FORBIDDEN
    );
    assert_eq!(
        http().get(app.url("/v1/calls")).send().await.unwrap().status(),
        StatusCode::UNAUTHORIZED
    );
    assert_eq!(
        http().get(app.url("/v1/calls")).bearer_auth("onr_nonsense").send().await.unwrap().status(),
        StatusCode::UNAUTHORIZED
    );
    app.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_wrong_request_is_answered_with_a_problem_that_names_the_member() {
    let app = TestApp::open().await;
    let token = app.token(ALICE).await;
    let attachment = Uuid::new_v4();
    for (body, member) in [
        (
            json!({ "report_id": "1", "attachment": attachment, "sequence": 1, "recording": "maybe" }),
            "/recording",
        ),
        (json!({ "report_id": "1", "attachment": "x", "sequence": 1 }), "/attachment"),
        (json!({ "report_id": "", "attachment": attachment, "sequence": 1 }), "/report_id"),
        (json!({ "report_id": "1", "attachment": attachment, "sequence": -1 }), "/sequence"),
        (
            json!({ "report_id": "1", "attachment": attachment, "sequence": 1, "shown": [{ "type": "recording", "state": "on", "elapsed_ms": -5 }] }),
            "/shown/0/elapsed_ms",
        ),
    ] {
        let (status, problem) = app.reports(&token, &body).await;
        assert_eq!(status, StatusCode::BAD_REQUEST, "{problem}");
        assert_eq!(problem["type"], "urn:onrecord:problem:invalid-request");
        assert_eq!(problem["member"], member, "{problem}");
    }
    let key = app.api_key("contoso", ApiRole::Admin).await;
    for (path, member) in [
        ("/v1/calls?limit=0", "limit"),
        ("/v1/calls?state=gone", "state"),
        ("/v1/calls?from=yesterday", "from"),
        ("/v1/calls?cursor=x", "cursor"),
        ("/v1/indications?server_call_id=short", "server_call_id"),
    ] {
        let answer = http().get(app.url(path)).bearer_auth(&key).send().await.unwrap();
        assert_eq!(answer.status(), StatusCode::BAD_REQUEST, "{path}");
        assert_eq!(answer.json::<Value>().await.unwrap()["member"], member, "{path}");
    }
    for path in ["/nothing", "/v1/nothing"] {
        let answer = http().get(app.url(path)).send().await.unwrap();
        assert_eq!(answer.status(), StatusCode::NOT_FOUND);
        assert_eq!(answer.headers()["content-type"], "application/problem+json");
    }
    app.stop().await;
}
