//! Facts about notices: dispatched, delivered by a returned cursor, displayed. Each once.

use onrecord::http::api_role::ApiRole;
use reqwest::StatusCode;
use serde_json::{Value, json};
use uuid::Uuid;

use crate::end_to_end::urlencoded;
use crate::live::acknowledgements::{
    acknowledges, are_accepted, displayed, of_kind, reports_state, timeline,
};
use crate::support::app::{TestApp, TestStores, until};
use crate::support::azure::{ALICE, Call};
use crate::support::client::http;
use crate::support::kafka::own_kafka;
use crate::support::postgres::own_postgres;
use crate::support::socket::Socket;

/// The dispatched and delivered facts of a call: kind, state of the recording.
async fn fact_states(app: &mut TestApp, call: &str) -> Vec<(String, String)> {
    let seen = app.reads(&timeline(call)).await;
    let events = seen["events"].as_array().unwrap().clone();
    let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
    events
        .iter()
        .filter(|event| event["fact"]["type"] == "recording")
        .map(|event| (text(&event["type"]), text(&event["fact"]["state"])))
        .collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_notice_is_dispatched_once_however_often_its_receiver_reconnects() {
    let stores = TestStores::shared().await;
    let mut nodes = [TestApp::on(stores.clone()).await, TestApp::on(stores.clone()).await];
    for node in &nodes {
        node.is_ready().await;
    }
    let (call, attachment) = (Call::new(), Uuid::new_v4());
    let token = nodes[0].token(ALICE).await;
    let query = format!("attachment={attachment}");
    let on = json!({ "server_call_id": call.server_call_id, "recording": "on" });
    nodes[0].event_grid_posts(&call.started()).await;
    reports_state(&nodes[0], &token, &attachment, 1, &on).await;
    // An auditor is not a participant.
    let key = nodes[0].api_key("contoso", ApiRole::Auditor).await;
    let mut auditor = nodes[0].subscribes(&key, &format!("call={}", call.correlation)).await;
    auditor.receives_recording("on").await;
    let mut streams = Vec::new();
    for node in [&nodes[0], &nodes[1], &nodes[0], &nodes[1]] {
        let mut stream = node.subscribes(&token, &query).await;
        stream.receives_recording("on").await;
        streams.push(stream);
    }
    reports_state(
        &nodes[0],
        &token,
        &attachment,
        2,
        &json!({ "server_call_id": call.server_call_id, "recording": "off" }),
    )
    .await;
    for stream in &mut streams {
        stream.receives_recording("off").await;
    }
    // Facts of one call are appended in the order in which a node wrote them, and each stream of
    // each node has passed "on" by now.
    let states = {
        let (app, call) = (&mut nodes[1], call.correlation.clone());
        app.sees(&timeline(&call), |seen| {
            of_kind(seen, "notice.dispatched").iter().any(|event| event["fact"]["state"] == "off")
        })
        .await;
        fact_states(app, &call).await
    };
    let dispatched = |state: &str| {
        let wanted = ("notice.dispatched".to_owned(), state.to_owned());
        states.iter().filter(|it| **it == wanted).count()
    };
    assert_eq!(dispatched("off"), 1, "{states:?}");
    assert_eq!(dispatched("on"), 1, "{states:?}");
    for node in nodes {
        node.stop().await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_returned_cursor_confirms_delivery_on_any_node_and_nothing_else_does() {
    let stores = TestStores::shared().await;
    let mut first = TestApp::on(stores.clone()).await;
    let second = TestApp::on(stores.clone()).await;
    first.is_ready().await;
    second.is_ready().await;
    let (call, attachment) = (Call::new(), Uuid::new_v4());
    let token = first.token(ALICE).await;
    let query = format!("attachment={attachment}");
    let mut stream = first.subscribes(&token, &query).await;
    let unknown = stream.receives("snapshot").await;
    first.event_grid_posts(&call.started()).await;
    let on = json!({ "server_call_id": call.server_call_id, "recording": "on" });
    reports_state(&first, &token, &attachment, 1, &on).await;
    let received = stream.receives_recording("on").await;
    // A cursor from before the notice proves nothing.
    let mut early = second.subscribes_from(&token, &query, Some(&unknown.id)).await;
    early.receives_recording("on").await;
    let dispatched = |seen: &Value| of_kind(seen, "notice.dispatched").len() == 1;
    let path = timeline(&call.correlation);
    let seen = first.sees(&path, dispatched).await;
    assert_eq!(of_kind(&seen, "notice.delivered").len(), 0);
    let mut again = second.subscribes_from(&token, &query, Some(&received.id)).await;
    again.receives_recording("on").await;
    let delivered = |seen: &Value| of_kind(seen, "notice.delivered").len() == 1;
    let seen = first.sees(&path, delivered).await;
    let fact = &of_kind(&seen, "notice.delivered")[0]["fact"];
    assert_eq!((&fact["type"], &fact["state"]), (&json!("recording"), &json!("on")));
    assert_eq!(fact["transport"], "sse");

    // An acknowledgement counts without a dispatch, and is flagged if no notice had that state.
    let notice = json!({ "notice": "an id of another node" });
    let off = json!({ "notice": "of no notice", "state": "off" });
    let items = [displayed(&attachment, &notice), displayed(&attachment, &off)];
    are_accepted(&first, &token, &items).await;
    let both = |seen: &Value| of_kind(seen, "notice.displayed").len() == 2;
    let seen = first.sees(&path, both).await;
    for fact in of_kind(&seen, "notice.displayed") {
        let flags = match fact["fact"]["state"].as_str() {
            Some("on") => json!([]),
            _ => json!(["notice_unknown"]),
        };
        assert_eq!(fact["flags"], flags, "{fact}");
    }
    first.stop().await;
    second.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_websocket_receipt_confirms_everything_sent_before_it() {
    let mut app = TestApp::open().await;
    let (call, attachment) = (Call::new(), Uuid::new_v4());
    let token = app.token(ALICE).await;
    let mut socket = Socket::open(&app, &token, &format!("attachment={attachment}")).await;
    app.event_grid_posts(&call.started()).await;
    let state = |level: &str| json!({ "server_call_id": call.server_call_id, "recording": level });
    reports_state(&app, &token, &attachment, 1, &state("on")).await;
    socket.receives_recording("on").await;
    reports_state(&app, &token, &attachment, 2, &state("paused")).await;
    let paused = socket.receives_recording("paused").await;
    socket.sends_json(json!({ "type": "ack", "cursor": paused.id })).await;
    let seen = app
        .sees(&timeline(&call.correlation), |seen| {
            of_kind(seen, "notice.delivered").len() == 2
                && of_kind(seen, "notice.dispatched").len() == 2
        })
        .await;
    let delivered = of_kind(&seen, "notice.delivered");
    let states: Vec<&Value> = delivered.iter().map(|it| &it["fact"]["state"]).collect();
    assert!(states.contains(&&json!("on")) && states.contains(&&json!("paused")));
    assert_eq!(delivered[0]["fact"]["transport"], "websocket");
    app.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_dispatch_just_before_a_stop_is_recorded_and_a_stream_without_attachment_counts() {
    let stores = TestStores::shared().await;
    let app = TestApp::on(stores.clone()).await;
    app.is_ready().await;
    let call = Call::new();
    let token = app.token(ALICE).await;
    let participant = Uuid::new_v4().to_string();
    app.event_grid_posts(&call.joined(ALICE, &participant)).await;
    let query = format!("server_call_id={}", urlencoded(&call.server_call_id));
    let mut stream = app.subscribes(&token, &query).await;
    app.call_automation_posts(&call.recording("active", chrono::Utc::now())).await;
    stream.receives_recording("on").await;
    app.stop().await;
    let mut next = TestApp::on(stores).await;
    let seen = next
        .sees(&timeline(&call.correlation), |seen| of_kind(seen, "notice.dispatched").len() == 1)
        .await;
    let by = &of_kind(&seen, "notice.dispatched")[0]["fact"]["by"];
    assert_eq!(by, &json!({ "raw_id": ALICE, "call": call.correlation }));
    next.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn acknowledgements_and_dispatch_facts_survive_the_loss_of_either_store() {
    let Some(mut kafka) = own_kafka().await else {
        return;
    };
    let mut postgres = own_postgres().await;
    let stores = TestStores {
        database_url: postgres.admin_url(),
        brokers: kafka.bootstrap_servers().to_owned(),
        prefix: String::new(),
    };
    let mut app = TestApp::on(stores).await;
    app.is_ready().await;
    let (call, attachment) = (Call::new(), Uuid::new_v4());
    let token = app.token(ALICE).await;
    let query = format!("attachment={attachment}");
    let mut stream = app.subscribes(&token, &query).await;
    app.event_grid_posts(&call.started()).await;

    kafka.stop().await;
    let on = json!({ "server_call_id": call.server_call_id, "recording": "on" });
    reports_state(&app, &token, &attachment, 1, &on).await;
    stream.receives_recording("on").await;
    are_accepted(&app, &token, &[displayed(&attachment, &json!({}))]).await;
    kafka.start_again().await.unwrap();
    let path = timeline(&call.correlation);
    app.sees(&path, |seen| {
        of_kind(seen, "notice.displayed").len() == 1
            && of_kind(seen, "notice.dispatched").len() == 1
    })
    .await;

    postgres.stop_server(onrecord_devstack::PostgresShutdown::Fast).await;
    let hidden = json!({ "kind": "hidden" });
    are_accepted(&app, &token, &[displayed(&attachment, &hidden)]).await;
    kafka.stop().await;
    let item = displayed(&attachment, &json!({ "kind": "acknowledged" }));
    let refused = http()
        .post(app.url("/v1/acknowledgements"))
        .bearer_auth(&token)
        .json(&[&item])
        .send()
        .await
        .unwrap();
    assert_eq!(refused.status(), StatusCode::SERVICE_UNAVAILABLE);
    assert!(refused.headers().contains_key("retry-after"));
    kafka.start_again().await.unwrap();
    postgres.start_server().await.unwrap();
    until("the next attempt is accepted", || async {
        let (status, _) = acknowledges(&app, &token, std::slice::from_ref(&item)).await;
        (status == StatusCode::OK).then_some(())
    })
    .await;
    app.sees(&path, |seen| {
        of_kind(seen, "notice.hidden").len() == 1 && of_kind(seen, "notice.acknowledged").len() == 1
    })
    .await;
    app.stop().await;
    postgres.stop().await;
    kafka.stop().await;
}
