//! What streams told, and what came back by cursor: on its way into the record, each once.

use onrecord::store::Role;
use reqwest::StatusCode;
use serde_json::{Value, json};
use uuid::Uuid;

use crate::acknowledgements::{acknowledges, are_accepted, displayed, of_kind, says, timeline};
use crate::azure::{ALICE, Call};
use crate::client::http;
use crate::corridor::urlencoded;
use crate::house::{Ground, TestHouse, until};
use crate::kafka::kafka_of_its_own;
use crate::postgres::postgres_of_its_own;
use crate::socket::Socket;

/// The dispatched and delivered facts of a call: kind, state of the recording.
async fn told(house: &mut TestHouse, call: &str) -> Vec<(String, String)> {
    let seen = house.reads(&timeline(call)).await;
    let events = seen["events"].as_array().unwrap().clone();
    let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
    events
        .iter()
        .filter(|event| event["fact"]["type"] == "recording")
        .map(|event| (text(&event["type"]), text(&event["fact"]["state"])))
        .collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_told_is_dispatched_once_however_often_and_wherever_its_hearer_comes_back() {
    let ground = Ground::shared().await;
    let mut nodes = [
        TestHouse::on(ground.clone()).await,
        TestHouse::on(ground.clone()).await,
    ];
    for node in &nodes {
        node.is_ready().await;
    }
    let (call, attachment) = (Call::new(), Uuid::new_v4());
    let token = nodes[0].token(ALICE).await;
    let query = format!("attachment={attachment}");
    let on = json!({ "server_call_id": call.server_call_id, "recording": "on" });
    nodes[0].event_grid_posts(&call.started()).await;
    says(&nodes[0], &token, &attachment, 1, &on).await;
    // An auditor is no participant.
    let key = nodes[0].api_key("contoso", Role::Auditor).await;
    let mut auditor = nodes[0]
        .listens(&key, &format!("call={}", call.correlation))
        .await;
    auditor.hears_recording("on").await;
    let mut streams = Vec::new();
    for node in [&nodes[0], &nodes[1], &nodes[0], &nodes[1]] {
        let mut stream = node.listens(&token, &query).await;
        stream.hears_recording("on").await;
        streams.push(stream);
    }
    says(
        &nodes[0],
        &token,
        &attachment,
        2,
        &json!({ "server_call_id": call.server_call_id, "recording": "off" }),
    )
    .await;
    for stream in &mut streams {
        stream.hears_recording("off").await;
    }
    // Facts of one call are entered in the order in which a node wrote them, and each stream of
    // each node is through with "on" by now.
    let told = {
        let (house, call) = (&mut nodes[1], call.correlation.clone());
        house
            .sees(&timeline(&call), |seen| {
                of_kind(seen, "notice.dispatched")
                    .iter()
                    .any(|event| event["fact"]["state"] == "off")
            })
            .await;
        told(house, &call).await
    };
    let dispatched = |state: &str| {
        let wanted = ("notice.dispatched".to_owned(), state.to_owned());
        told.iter().filter(|it| **it == wanted).count()
    };
    assert_eq!(dispatched("off"), 1, "{told:?}");
    assert_eq!(dispatched("on"), 1, "{told:?}");
    for node in nodes {
        node.stop().await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_returned_cursor_is_a_receipt_on_any_node_and_nothing_else_is() {
    let ground = Ground::shared().await;
    let mut first = TestHouse::on(ground.clone()).await;
    let second = TestHouse::on(ground.clone()).await;
    first.is_ready().await;
    second.is_ready().await;
    let (call, attachment) = (Call::new(), Uuid::new_v4());
    let token = first.token(ALICE).await;
    let query = format!("attachment={attachment}");
    let mut stream = first.listens(&token, &query).await;
    let unknown = stream.hears("snapshot").await;
    first.event_grid_posts(&call.started()).await;
    let on = json!({ "server_call_id": call.server_call_id, "recording": "on" });
    says(&first, &token, &attachment, 1, &on).await;
    let heard = stream.hears_recording("on").await;
    // One from before it was told proves nothing.
    let mut early = second.listens_from(&token, &query, Some(&unknown.id)).await;
    early.hears_recording("on").await;
    let dispatched = |seen: &Value| of_kind(seen, "notice.dispatched").len() == 1;
    let path = timeline(&call.correlation);
    let seen = first.sees(&path, dispatched).await;
    assert_eq!(of_kind(&seen, "notice.delivered").len(), 0);
    let mut again = second.listens_from(&token, &query, Some(&heard.id)).await;
    again.hears_recording("on").await;
    let delivered = |seen: &Value| of_kind(seen, "notice.delivered").len() == 1;
    let seen = first.sees(&path, delivered).await;
    let fact = &of_kind(&seen, "notice.delivered")[0]["fact"];
    assert_eq!(
        (&fact["type"], &fact["state"]),
        (&json!("recording"), &json!("on"))
    );
    assert_eq!(fact["transport"], "sse");

    // Whoever answers what was handed to them is believed; that nothing was of that level is told.
    let notice = json!({ "notice": "an id of another node" });
    let off = json!({ "notice": "of no notice", "state": "off" });
    let items = [
        displayed(&attachment, &notice),
        displayed(&attachment, &off),
    ];
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
async fn a_receipt_over_a_websocket_speaks_for_everything_that_was_said_before() {
    let mut house = TestHouse::open().await;
    let (call, attachment) = (Call::new(), Uuid::new_v4());
    let token = house.token(ALICE).await;
    let mut socket = Socket::open(&house, &token, &format!("attachment={attachment}")).await;
    house.event_grid_posts(&call.started()).await;
    let state = |level: &str| json!({ "server_call_id": call.server_call_id, "recording": level });
    says(&house, &token, &attachment, 1, &state("on")).await;
    socket.hears_recording("on").await;
    says(&house, &token, &attachment, 2, &state("paused")).await;
    let paused = socket.hears_recording("paused").await;
    socket
        .says(json!({ "type": "ack", "cursor": paused.id }))
        .await;
    let seen = house
        .sees(&timeline(&call.correlation), |seen| {
            of_kind(seen, "notice.delivered").len() == 2
                && of_kind(seen, "notice.dispatched").len() == 2
        })
        .await;
    let delivered = of_kind(&seen, "notice.delivered");
    let states: Vec<&Value> = delivered.iter().map(|it| &it["fact"]["state"]).collect();
    assert!(states.contains(&&json!("on")) && states.contains(&&json!("paused")));
    assert_eq!(delivered[0]["fact"]["transport"], "websocket");
    house.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_was_dispatched_just_before_a_stop_is_written_and_a_stream_without_attachment_counts()
{
    let ground = Ground::shared().await;
    let house = TestHouse::on(ground.clone()).await;
    house.is_ready().await;
    let call = Call::new();
    let token = house.token(ALICE).await;
    let participant = Uuid::new_v4().to_string();
    house
        .event_grid_posts(&call.joined(ALICE, &participant))
        .await;
    let query = format!("server_call_id={}", urlencoded(&call.server_call_id));
    let mut stream = house.listens(&token, &query).await;
    house
        .call_automation_posts(&call.recording("active", chrono::Utc::now()))
        .await;
    stream.hears_recording("on").await;
    house.stop().await;
    let mut next = TestHouse::on(ground).await;
    let seen = next
        .sees(&timeline(&call.correlation), |seen| {
            of_kind(seen, "notice.dispatched").len() == 1
        })
        .await;
    let by = &of_kind(&seen, "notice.dispatched")[0]["fact"]["by"];
    assert_eq!(by, &json!({ "raw_id": ALICE, "call": call.correlation }));
    next.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn acknowledgements_and_what_was_dispatched_survive_the_loss_of_either_store() {
    let Some(mut kafka) = kafka_of_its_own().await else {
        return;
    };
    let mut postgres = postgres_of_its_own().await;
    let ground = Ground {
        database_url: postgres.admin_url(),
        brokers: kafka.bootstrap_servers().to_owned(),
        prefix: String::new(),
    };
    let mut house = TestHouse::on(ground).await;
    house.is_ready().await;
    let (call, attachment) = (Call::new(), Uuid::new_v4());
    let token = house.token(ALICE).await;
    let query = format!("attachment={attachment}");
    let mut stream = house.listens(&token, &query).await;
    house.event_grid_posts(&call.started()).await;

    kafka.stop().await;
    let on = json!({ "server_call_id": call.server_call_id, "recording": "on" });
    says(&house, &token, &attachment, 1, &on).await;
    stream.hears_recording("on").await;
    are_accepted(&house, &token, &[displayed(&attachment, &json!({}))]).await;
    kafka.start_again().await.unwrap();
    let path = timeline(&call.correlation);
    house
        .sees(&path, |seen| {
            of_kind(seen, "notice.displayed").len() == 1
                && of_kind(seen, "notice.dispatched").len() == 1
        })
        .await;

    postgres
        .stop_server(onrecord::embedded::Shutdown::Fast)
        .await;
    let hidden = json!({ "kind": "hidden" });
    are_accepted(&house, &token, &[displayed(&attachment, &hidden)]).await;
    kafka.stop().await;
    let item = displayed(&attachment, &json!({ "kind": "acknowledged" }));
    let refused = http()
        .post(house.url("/v1/acknowledgements"))
        .bearer_auth(&token)
        .json(&[&item])
        .send()
        .await
        .unwrap();
    assert_eq!(refused.status(), StatusCode::SERVICE_UNAVAILABLE);
    assert!(refused.headers().contains_key("retry-after"));
    kafka.start_again().await.unwrap();
    postgres.start_server().await.unwrap();
    until("the next attempt is taken", || async {
        let (status, _) = acknowledges(&house, &token, std::slice::from_ref(&item)).await;
        (status == StatusCode::OK).then_some(())
    })
    .await;
    house
        .sees(&path, |seen| {
            of_kind(seen, "notice.hidden").len() == 1
                && of_kind(seen, "notice.acknowledged").len() == 1
        })
        .await;
    house.stop().await;
    postgres.stop().await;
    kafka.stop().await;
}
