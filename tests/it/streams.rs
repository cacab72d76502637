//! Streams: snapshot, notice, gap, bye; cursors; old news; who may hear what.

use std::time::Duration;

use onrecord::store::Role;
use reqwest::StatusCode;
use serde_json::{Value, json};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpSocket;
use uuid::Uuid;

use crate::azure::{ALICE, BOB, Call, report};
use crate::client::http;
use crate::corridor::urlencoded;
use crate::house::{DEADLINE, Ground, TestHouse, until};

#[tokio::test(flavor = "multi_thread")]
async fn a_cursor_resumes_on_another_node_with_what_was_missed() {
    let ground = Ground::shared().await;
    let (one, two) = (
        TestHouse::on(ground.clone()).await,
        TestHouse::on(ground).await,
    );
    // The ledger's partitions go to one of them; the boards are on both.
    until("both boards are live", || async {
        for house in [&one, &two] {
            let view: Value = http()
                .get(house.url("/readyz"))
                .send()
                .await
                .ok()?
                .json()
                .await
                .ok()?;
            if view["components"]["board"]["health"] != "well"
                || view["components"]["postgres"]["health"] != "well"
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
    let mut stream = one.listens(&token, &query).await;
    one.call_automation_posts(&call.recording("active", chrono::Utc::now()))
        .await;
    let on = stream.hears_recording("on").await;
    drop(stream);
    one.call_automation_posts(&call.recording("inactive", chrono::Utc::now()))
        .await;
    let mut watch = two.listens(&token, &query).await;
    watch.hears_recording("off").await;
    one.stop().await;

    let mut resumed = two.listens_from(&token, &query, Some(&on.id)).await;
    let mut heard = Vec::new();
    loop {
        let next = resumed.next().await.unwrap();
        let is_snapshot = next.kind == "snapshot";
        heard.push((next.kind.clone(), next.recording().to_owned()));
        if is_snapshot {
            break;
        }
    }
    assert!(
        heard.contains(&("notice".to_owned(), "off".to_owned())),
        "the missed stop is told: {heard:?}"
    );
    assert_eq!(
        heard.last(),
        Some(&("snapshot".to_owned(), "off".to_owned()))
    );
    assert!(!heard.iter().any(|(kind, _)| kind == "gap"), "{heard:?}");

    let forged = two
        .listens_from(&token, &query, Some("18c0000000.AAAA"))
        .await
        .next()
        .await
        .unwrap();
    assert_eq!(forged.kind, "gap");
    two.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_slow_reader_is_dropped_with_gap_and_is_no_burden_to_others() {
    let ground = Ground::shared().await;
    let house = TestHouse::with(ground, "[notices]\nqueue = 4").await;
    house.is_ready().await;
    let token = house.api_key("contoso", Role::App).await;
    let mut quick = house.listens(&token, "").await;
    // A client with tiny buffers that reads nothing.
    let socket = TcpSocket::new_v4().unwrap();
    socket.set_recv_buffer_size(2048).unwrap();
    let mut slow = socket.connect(house.address).await.unwrap();
    let request = format!(
        "GET /v1/notices/stream HTTP/1.1\r\nhost: x\r\nconnection: close\r\nauthorization: Bearer {token}\r\n\r\n"
    );
    slow.write_all(request.as_bytes()).await.unwrap();
    house.tells_more_than_a_socket_holds(&mut quick).await;
    let mut rest = Vec::new();
    tokio::time::timeout(DEADLINE, slow.read_to_end(&mut rest))
        .await
        .unwrap()
        .unwrap();
    let rest = String::from_utf8(rest).unwrap();
    let last = rest
        .lines()
        .rev()
        .find_map(|line| line.strip_prefix("event: "));
    assert_eq!(last, Some("gap"), "it learns that it missed something");
    house.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn old_news_never_rings_but_the_level_is_told() {
    let house = TestHouse::open().await;
    let call = Call::new();
    let token = house.token(ALICE).await;
    let mut stream = house
        .listens(
            &token,
            &format!("server_call_id={}", urlencoded(&call.server_call_id)),
        )
        .await;
    assert_eq!(stream.hears("snapshot").await.recording(), "unknown");
    let yesterday = chrono::Utc::now() - chrono::TimeDelta::days(1);
    house
        .event_grid_posts(&call.event("CallStarted", yesterday, &json!({})))
        .await;
    house
        .call_automation_posts(&call.recording("active", yesterday))
        .await;
    let level = stream.next().await.unwrap();
    assert_eq!(
        (level.kind.as_str(), level.recording()),
        ("snapshot", "on"),
        "a day-old start is a level, not news"
    );
    house.event_grid_posts(&call.ended()).await;
    assert_eq!(stream.next().await.unwrap().kind, "snapshot");
    house
        .call_automation_posts(&call.recording("active", yesterday + chrono::TimeDelta::minutes(1)))
        .await;
    house.event_grid_posts(&Call::new().started()).await;
    assert!(
        stream.is_silent_for(Duration::from_secs(1)).await,
        "an active event of yesterday after the end changes nothing"
    );
    house.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_backlog_read_at_start_states_the_level_and_nothing_else() {
    let ground = Ground::shared().await;
    let house = TestHouse::on(ground.clone()).await;
    house.is_ready().await;
    let call = Call::new();
    house.event_grid_posts(&call.started()).await;
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
        house.call_automation_posts(&Value::Array(batch)).await;
    }
    house
        .call_automation_posts(&call.recording("active", chrono::Utc::now()))
        .await;
    let token = house.token(ALICE).await;
    house.stop().await;

    let second = TestHouse::on(ground).await;
    let query = format!("server_call_id={}", urlencoded(&call.server_call_id));
    let mut stream = second.listens(&token, &query).await;
    let mut kinds = Vec::new();
    loop {
        let heard = stream.next().await.unwrap();
        kinds.push(heard.kind.clone());
        if heard.recording() == "on" {
            break;
        }
        assert!(kinds.len() < 3, "{kinds:?}");
    }
    assert!(kinds.iter().all(|kind| kind == "snapshot"), "{kinds:?}");
    assert!(stream.is_silent_for(Duration::from_secs(1)).await);
    second.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_stop_says_bye_to_every_stream() {
    let house = TestHouse::open().await;
    let token = house.token(ALICE).await;
    let mut stream = house
        .listens(&token, &format!("attachment={}", Uuid::new_v4()))
        .await;
    stream.hears("snapshot").await;
    house.stop().await;
    assert_eq!(stream.next().await.unwrap().kind, "bye");
    assert!(stream.next().await.is_none());
}

#[tokio::test(flavor = "multi_thread")]
async fn nobody_hears_or_reads_another_s_calls() {
    let mut house = TestHouse::open().await;
    let (call, attachment) = (Call::new(), Uuid::new_v4());
    let (alice, bob) = (house.token(ALICE).await, house.token(BOB).await);
    let on = report(
        &attachment,
        1,
        &json!({ "server_call_id": call.server_call_id, "recording": "on" }),
    );
    assert_eq!(house.reports(&alice, &on).await.0, StatusCode::OK);
    house.event_grid_posts(&call.started()).await;
    house
        .sees(&format!("/v1/calls/{}", call.correlation), |call| {
            call["recorded"] == true
        })
        .await;

    // Another participant of the same tenant: not by the other's attachment, not by reporting on it.
    let mut foreign = house
        .listens(&bob, &format!("attachment={attachment}"))
        .await;
    assert_eq!(foreign.next().await.unwrap().body["call"], Value::Null);
    let claim = report(&attachment, 9, &json!({ "recording": "off" }));
    assert_eq!(house.reports(&bob, &claim).await.0, StatusCode::CONFLICT);
    let level = http()
        .get(house.url(&format!("/v1/indications?attachment={attachment}")))
        .bearer_auth(&bob)
        .send()
        .await
        .unwrap();
    assert_eq!(level.json::<Value>().await.unwrap()["call"], Value::Null);

    // Another tenant.
    let key = house.api_key("fabrikam", Role::Admin).await;
    for path in [
        format!("/v1/calls/{}", call.correlation),
        format!("/v1/calls/{}/timeline", call.correlation),
        format!("/v1/calls/{attachment}"),
        format!("/v1/calls/{}", urlencoded(&call.server_call_id)),
        format!("/v1/events?call={}", call.correlation),
    ] {
        let answer = http()
            .get(house.url(&path))
            .bearer_auth(&key)
            .send()
            .await
            .unwrap();
        assert_eq!(answer.status(), StatusCode::NOT_FOUND, "{path}");
        assert_eq!(answer.headers()["content-type"], "application/problem+json");
    }
    for (path, member) in [
        ("/v1/calls", "calls"),
        ("/v1/events", "events"),
        ("/v1/quarantine", "quarantined"),
    ] {
        let answer: Value = http()
            .get(house.url(path))
            .bearer_auth(&key)
            .send()
            .await
            .unwrap()
            .json()
            .await
            .unwrap();
        assert_eq!(answer[member], json!([]), "{path}");
    }
    let level: Value = http()
        .get(house.url(&format!("/v1/indications?call={}", call.correlation)))
        .bearer_auth(&key)
        .send()
        .await
        .unwrap()
        .json()
        .await
        .unwrap();
    assert_eq!(level["call"], Value::Null);

    // The backstop: whoever answers readers sees one tenant's rows, whatever the query says.
    let database = house.ground.database().await;
    for (tenant, rows) in [("contoso", 1_i64), ("fabrikam", 0), ("", 0)] {
        let mut reader = database.begin().await.unwrap();
        sqlx::query("select set_config('role', 'onrecord_reader', true), set_config('onrecord.tenant', $1, true)").bind(tenant).execute(&mut *reader).await.unwrap();
        for table in [
            "call",
            "session",
            "stretch",
            "alias_lead where anchor like 's-%'",
        ] {
            let count: i64 =
                sqlx::query_scalar(sqlx::AssertSqlSafe(format!("select count(*) from {table}")))
                    .fetch_one(&mut *reader)
                    .await
                    .unwrap();
            assert_eq!(count, rows, "{tenant} {table}");
        }
        assert!(
            sqlx::query("select from spool")
                .execute(&mut *reader)
                .await
                .is_err(),
            "no right at all"
        );
    }

    // Roles.
    let app = house.api_key("contoso", Role::App).await;
    assert_eq!(
        http()
            .get(house.url("/v1/calls"))
            .bearer_auth(&app)
            .send()
            .await
            .unwrap()
            .status(),
        StatusCode::FORBIDDEN
    );
    let analyst = house.api_key("contoso", Role::Analyst).await;
    assert_eq!(
        http()
            .get(house.url("/v1/quarantine"))
            .bearer_auth(&analyst)
            .send()
            .await
            .unwrap()
            .status(),
        StatusCode::FORBIDDEN
    );
    assert_eq!(
        http()
            .get(house.url("/v1/calls"))
            .send()
            .await
            .unwrap()
            .status(),
        StatusCode::UNAUTHORIZED
    );
    assert_eq!(
        http()
            .get(house.url("/v1/calls"))
            .bearer_auth("onr_nonsense")
            .send()
            .await
            .unwrap()
            .status(),
        StatusCode::UNAUTHORIZED
    );
    house.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_wrong_request_is_answered_with_a_problem_that_names_the_member() {
    let house = TestHouse::open().await;
    let token = house.token(ALICE).await;
    let attachment = Uuid::new_v4();
    for (body, member) in [
        (
            json!({ "report_id": "1", "attachment": attachment, "sequence": 1, "recording": "maybe" }),
            "/recording",
        ),
        (
            json!({ "report_id": "1", "attachment": "x", "sequence": 1 }),
            "/attachment",
        ),
        (
            json!({ "report_id": "", "attachment": attachment, "sequence": 1 }),
            "/report_id",
        ),
        (
            json!({ "report_id": "1", "attachment": attachment, "sequence": -1 }),
            "/sequence",
        ),
        (
            json!({ "report_id": "1", "attachment": attachment, "sequence": 1, "shown": [{ "type": "recording", "state": "on", "elapsed_ms": -5 }] }),
            "/shown/0/elapsed_ms",
        ),
    ] {
        let (status, problem) = house.reports(&token, &body).await;
        assert_eq!(status, StatusCode::BAD_REQUEST, "{problem}");
        assert_eq!(problem["type"], "urn:onrecord:problem:invalid-request");
        assert_eq!(problem["member"], member, "{problem}");
    }
    let key = house.api_key("contoso", Role::Admin).await;
    for (path, member) in [
        ("/v1/calls?limit=0", "limit"),
        ("/v1/calls?state=gone", "state"),
        ("/v1/calls?from=yesterday", "from"),
        ("/v1/calls?cursor=x", "cursor"),
        ("/v1/indications?server_call_id=short", "server_call_id"),
    ] {
        let answer = http()
            .get(house.url(path))
            .bearer_auth(&key)
            .send()
            .await
            .unwrap();
        assert_eq!(answer.status(), StatusCode::BAD_REQUEST, "{path}");
        assert_eq!(
            answer.json::<Value>().await.unwrap()["member"],
            member,
            "{path}"
        );
    }
    for path in ["/", "/v1/nothing"] {
        let answer = http().get(house.url(path)).send().await.unwrap();
        assert_eq!(answer.status(), StatusCode::NOT_FOUND);
        assert_eq!(answer.headers()["content-type"], "application/problem+json");
    }
    house.stop().await;
}
