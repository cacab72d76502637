//! Which events a subscription gets, and what they have.

use chrono::{TimeDelta, Utc};
use serde_json::json;

use super::receiver::Receiver;
use super::subscriber::Subscriber;
use crate::support::app::until;
use crate::support::azure::{ALICE, Call};

#[tokio::test(flavor = "multi_thread")]
async fn a_call_that_is_recorded_ends_and_is_judged_makes_its_events_once() {
    let subscriber = Subscriber::open().await;
    let (all, ended, exceptions) =
        (Receiver::start().await, Receiver::start().await, Receiver::start().await);
    subscriber.subscribes(&all, &["*"], &json!({ "content": "full" })).await;
    let of_ended = subscriber.subscribes(&ended, &["call.ended"], &json!({})).await;
    let critical = json!({ "filter": { "severity": ["critical"] } });
    subscriber.subscribes(&exceptions, &["exception.*"], &critical).await;

    let call = Call::new();
    let app = &subscriber.app;
    let ago = |seconds| Utc::now() - TimeDelta::seconds(seconds);
    let start = call.event("CallStarted", ago(60), &json!({}));
    let mut joined = call.joined(ALICE, "p-1");
    joined[0]["eventTime"] = json!(ago(50).to_rfc3339());
    app.event_grid_posts(&start).await;
    app.event_grid_posts(&joined).await;
    app.call_automation_posts(&call.recording("active", ago(40))).await;
    all.receives("notice.recording_on", 1).await;
    app.call_automation_posts(&call.recording("inactive", ago(5))).await;
    let over = call.ended();
    app.event_grid_posts(&over).await;
    let event = ended.receives("call.ended", 1).await.remove(0).json();
    let data = &event["data"];
    assert_eq!(data["call"], event["subject"]);
    assert_eq!(data["end_presumed"], false);
    assert!(data["ended_at"].is_string() && data["verdict"].is_string(), "{event:#}");
    assert!(data.get("flags").is_none(), "thin: {event:#}");
    let verdict = all.receives("verdict.changed", 1).await.remove(0).json();
    assert!(verdict["data"]["version"].as_i64().unwrap() >= 1, "{verdict:#}");
    assert!(verdict["data"]["aliases"].is_array(), "full: {verdict:#}");
    let on = all.receives("notice.recording_on", 1).await.remove(0).json();
    assert_eq!(on["data"]["captures"][0]["type"], "recording", "full: {on:#}");

    // No client showed a notice, so an exception is opened.
    let opened = all.receives("exception.opened", 1).await.remove(0).json();
    assert_eq!(opened["data"]["call"], data["call"], "{opened:#}");
    assert!(opened["data"]["sentence"].is_string(), "full: {opened:#}");
    for received in exceptions.received() {
        assert_eq!(received.json()["data"]["severity"], "critical");
        assert!(received.json()["data"].get("sentence").is_none(), "thin");
    }

    // Repetitions and late copies make none.
    app.event_grid_posts(&over).await;
    app.event_grid_posts(&start).await;
    let keys = |receiver: &Receiver| {
        let mut keys: Vec<String> =
            receiver.received().iter().map(|it| it.id().to_owned()).collect();
        keys.sort();
        keys
    };
    let marker = Call::new();
    app.event_grid_posts(&marker.started()).await;
    app.event_grid_posts(&marker.ended()).await;
    ended.receives("call.ended", 2).await;
    for receiver in [&all, &ended, &exceptions] {
        let keys = keys(receiver);
        let mut once = keys.clone();
        once.dedup();
        assert_eq!(keys, once);
    }
    assert_eq!(ended.received().len(), 2);

    // To read a message about a call is to read something of the call.
    let id = of_ended["id"].as_str().unwrap();
    let message = subscriber.has_messages(id, "delivered", 2).await.remove(0);
    subscriber.message(id, message["id"].as_str().unwrap()).await;
    let log = subscriber.reads("/v1/access-log?limit=1").await;
    let row = &log["accesses"][0];
    assert_eq!((&row["what"], &row["call"]), (&json!("call"), &message["call"]), "{log:#}");
    assert_eq!(row["route"], "GET /v1/webhooks/{id}/messages/{message}");
    subscriber.app.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_exception_that_is_closed_by_hand_makes_an_event() {
    let subscriber = Subscriber::open().await;
    let receiver = Receiver::start().await;
    subscriber.subscribes(&receiver, &["exception.*"], &json!({})).await;
    let (status, _) = subscriber.app.posts("/ingest/event-grid/eg", "not json").await;
    assert!(status.is_success());
    let opened = receiver.receives("exception.opened", 1).await.remove(0).json();
    let id = opened["data"]["exception"].as_str().unwrap();
    assert_eq!(opened["data"]["kind"], "QUARANTINE");
    let path = format!("/v1/exceptions/{id}/close");
    let body = json!({ "reason": "the sender was corrected" });
    let (status, answer) = subscriber.sends(reqwest::Method::POST, &path, Some(&body)).await;
    assert!(status.is_success(), "{answer:#}");
    let closed = receiver.receives("exception.closed", 1).await.remove(0).json();
    assert_eq!(closed["data"]["exception"], id);
    assert_eq!(closed["data"]["change"], "closed");
    subscriber.app.stop().await;
}

/// NO_STALE_CHANGE: what happened ten minutes ago is not announced.
#[tokio::test(flavor = "multi_thread")]
async fn an_old_notice_is_dropped_or_sent_as_stale_as_the_subscription_says() {
    let subscriber = Subscriber::open().await;
    let (dropping, sending) = (Receiver::start().await, Receiver::start().await);
    let dropped = subscriber.subscribes(&dropping, &["notice.*"], &json!({})).await;
    subscriber.subscribes(&sending, &["notice.*"], &json!({ "stale": "send" })).await;
    let old = Utc::now() - TimeDelta::minutes(11);
    subscriber.app.call_automation_posts(&Call::new().recording("active", old)).await;
    let received = sending.receives("notice.recording_on", 1).await.remove(0);
    assert_eq!(received.json()["data"]["stale"], true, "{received:?}");
    // A young one afterwards.
    subscriber.app.call_automation_posts(&Call::new().recording("active", Utc::now())).await;
    let received = dropping.receives("notice.recording_on", 1).await;
    assert_eq!(received.len(), 1);
    assert!(received[0].json()["data"].get("stale").is_none());
    let id = dropped["id"].as_str().unwrap();
    assert_eq!(subscriber.messages(id, "").await.len(), 1);

    // One that waited for too long is dropped too.
    let pause = format!("/v1/webhooks/{id}/pause");
    subscriber.sends(reqwest::Method::POST, &pause, None).await;
    subscriber.app.call_automation_posts(&Call::new().recording("active", Utc::now())).await;
    subscriber.has_messages(id, "due", 1).await;
    let database = subscriber.app.stores.database().await;
    sqlx::query("update webhook_message set decided_at = decided_at - interval '10 minutes' where state = 'due'")
        .execute(&database)
        .await
        .unwrap();
    let resume = format!("/v1/webhooks/{id}/resume");
    subscriber.sends(reqwest::Method::POST, &resume, None).await;
    let message = subscriber.has_messages(id, "dropped", 1).await.remove(0);
    assert_eq!(message["reason"], "the notice can no longer be announced");
    assert_eq!(message["attempts"], 0);
    subscriber.app.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_filter_of_apps_and_kinds_selects_events() {
    let subscriber = Subscriber::open().await;
    let (mine, other, exceptions) =
        (Receiver::start().await, Receiver::start().await, Receiver::start().await);
    let filter = |filter: serde_json::Value| json!({ "filter": filter });
    subscriber.subscribes(&mine, &["call.ended"], &filter(json!({ "kind": ["two_party"] }))).await;
    subscriber.subscribes(&other, &["call.ended"], &filter(json!({ "app": ["none"] }))).await;
    let kinds = filter(json!({ "kind": ["QUARANTINE"] }));
    subscriber.subscribes(&exceptions, &["exception.opened"], &kinds).await;
    let call = Call::new();
    subscriber.app.event_grid_posts(&call.started()).await;
    subscriber.app.event_grid_posts(&call.ended()).await;
    mine.receives("call.ended", 1).await;
    subscriber.app.posts("/ingest/event-grid/eg", "not json").await;
    let opened = exceptions.receives("exception.opened", 1).await;
    assert!(opened.iter().all(|it| it.json()["data"]["kind"] == "QUARANTINE"));
    assert_eq!(other.received().len(), 0);
    subscriber.app.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_message_that_another_node_began_is_sent_again_under_its_id() {
    let subscriber = Subscriber::open().await;
    let receiver = Receiver::start().await;
    let webhook = subscriber.subscribes(&receiver, &["*"], &json!({})).await;
    let id = webhook["id"].as_str().unwrap();
    subscriber.tests(id).await;
    let message = subscriber.has_messages(id, "delivered", 1).await.remove(0);
    // As a node leaves it that was killed after the POST.
    let database = subscriber.app.stores.database().await;
    sqlx::query(
        "update webhook_message set state = 'in_flight', owner = 'gone', lease_until = now() - interval '1 second', finished_at = null
         where id = $1",
    )
    .bind(message["id"].as_str().unwrap())
    .execute(&database)
    .await
    .unwrap();
    let received = receiver.receives("webhook.test", 2).await;
    assert_eq!(received[0].id(), received[1].id());
    until("it is delivered once more", || async {
        let message = subscriber.message(id, received[0].id()).await;
        (message["state"] == "delivered" && message["attempts"] == 2).then_some(())
    })
    .await;
    subscriber.app.stop().await;
}
