//! What operators do: pause, resume, send again, delete; limits; what nodes delete.

use std::time::Duration;

use chrono::Utc;
use reqwest::{Method, StatusCode};
use serde_json::{Value, json};

use super::receiver::{Behaviour, Received, Receiver};
use super::subscriber::Subscriber;
use crate::support::app::until;
use crate::support::azure::Call;
use crate::support::client::http;

async fn acts(subscriber: &Subscriber, id: &str, action: &str) -> (StatusCode, Value) {
    subscriber.sends(Method::POST, &format!("/v1/webhooks/{id}/{action}"), None).await
}

#[tokio::test(flavor = "multi_thread")]
async fn a_paused_subscription_gets_its_messages_when_it_is_resumed() {
    let subscriber = Subscriber::open().await;
    let receiver = Receiver::start().await;
    let webhook = subscriber.subscribes(&receiver, &["notice.*"], &json!({})).await;
    let id = webhook["id"].as_str().unwrap();
    assert_eq!(acts(&subscriber, id, "resume").await.0, StatusCode::CONFLICT);
    assert_eq!(acts(&subscriber, id, "pause").await.1["state"], "paused");
    assert_eq!(acts(&subscriber, id, "pause").await.0, StatusCode::CONFLICT);
    assert_eq!(acts(&subscriber, id, "test").await.0, StatusCode::CONFLICT);
    subscriber.app.call_automation_posts(&Call::new().recording("active", Utc::now())).await;
    subscriber.has_messages(id, "due", 1).await;
    assert_eq!(receiver.received().len(), 0);
    assert_eq!(acts(&subscriber, id, "resume").await.1["state"], "active");
    receiver.receives("notice.recording_on", 1).await;
    subscriber.app.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn messages_are_sent_again_one_those_that_failed_and_all_of_a_period() {
    let more = "webhooks.ladder = [\"50ms\"]\nwebhooks.circuit_failures = 100";
    let subscriber = Subscriber::with(more).await;
    let receiver = Receiver::start().await;
    let webhook = subscriber.subscribes(&receiver, &["*"], &json!({})).await;
    let id = webhook["id"].as_str().unwrap();
    let since = Utc::now().to_rfc3339();
    subscriber.tests(id).await;
    let delivered = subscriber.has_messages(id, "delivered", 1).await.remove(0);
    receiver.behaves(Behaviour::Answers(500, ""));
    subscriber.tests(id).await;
    let exhausted = subscriber.has_messages(id, "exhausted", 1).await.remove(0);
    receiver.behaves(Behaviour::Works);

    let redeliver = format!("/v1/webhooks/{id}/redeliver");
    let failed = json!({ "since": since, "which": "failed" });
    let (_, answer) = subscriber.sends(Method::POST, &redeliver, Some(&failed)).await;
    assert_eq!(answer["messages"], 1, "{answer:#}");
    subscriber.has_messages(id, "delivered", 2).await;
    let received = receiver.received();
    assert_eq!(received.last().unwrap().id(), exhausted["id"]);

    let one = format!("/v1/webhooks/{id}/messages/{}/redeliver", delivered["id"].as_str().unwrap());
    let (status, _) = subscriber.sends(Method::POST, &one, None).await;
    assert_eq!(status, StatusCode::ACCEPTED);
    let number = received.len();
    receiver.receives("webhook.test", number + 1).await;
    assert_eq!(receiver.received().last().unwrap().id(), delivered["id"]);
    subscriber.has_messages(id, "delivered", 2).await;

    let all = json!({ "since": since, "which": "all" });
    let (_, answer) = subscriber.sends(Method::POST, &redeliver, Some(&all)).await;
    assert_eq!(answer["messages"], 2, "{answer:#}");
    let received = receiver.receives("webhook.test", number + 3).await;
    // Both at a time, so they arrive in any order.
    let mut ids: Vec<&str> = received[number + 1..].iter().map(Received::id).collect();
    let mut both = [delivered["id"].as_str().unwrap(), exhausted["id"].as_str().unwrap()];
    ids.sort_unstable();
    both.sort_unstable();
    assert_eq!(ids, both);
    let unknown = format!("/v1/webhooks/{id}/messages/msg_0/redeliver");
    assert_eq!(subscriber.sends(Method::POST, &unknown, None).await.0, StatusCode::NOT_FOUND);
    subscriber.app.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_limits_of_a_subscription_hold() {
    let subscriber = Subscriber::open().await;
    let receiver = Receiver::start().await;
    let limits = json!({ "rate_limit": 5, "concurrency": 2 });
    let webhook = subscriber.subscribes(&receiver, &["*"], &limits).await;
    let id = webhook["id"].as_str().unwrap();
    for _ in 0..15 {
        subscriber.tests(id).await;
    }
    let received = receiver.receives("webhook.test", 15).await;
    let took = received[14].at - received[0].at;
    // 5 at once, and then 5 each second.
    assert!(took >= Duration::from_millis(1_500), "{took:?}");
    for (at, one) in received.iter().enumerate().skip(10) {
        let window = one.at - received[at - 10].at;
        assert!(window >= Duration::from_millis(800), "{at}: {window:?}");
    }
    subscriber.app.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_subscription_that_is_deleted_gets_nothing_and_its_messages_go() {
    let subscriber = Subscriber::open().await;
    let receiver = Receiver::start().await;
    let webhook = subscriber.subscribes(&receiver, &["notice.*"], &json!({})).await;
    let id = webhook["id"].as_str().unwrap();
    let path = format!("/v1/webhooks/{id}");
    assert_eq!(subscriber.sends(Method::DELETE, &path, None).await.0, StatusCode::NO_CONTENT);
    assert_eq!(subscriber.sends(Method::GET, &path, None).await.0, StatusCode::NOT_FOUND);
    assert_eq!(subscriber.sends(Method::DELETE, &path, None).await.0, StatusCode::NOT_FOUND);
    subscriber.app.call_automation_posts(&Call::new().recording("active", Utc::now())).await;
    let database = subscriber.app.stores.database().await;
    until("the call is recorded", || async {
        let calls: i64 =
            sqlx::query_scalar("select count(*) from call").fetch_one(&database).await.unwrap();
        (calls == 1).then_some(())
    })
    .await;
    let made: i64 =
        sqlx::query_scalar("select count(*) from webhook_message where type like 'notice.%'")
            .fetch_one(&database)
            .await
            .unwrap();
    assert_eq!((made, receiver.received().len()), (0, 0));
    subscriber.app.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_list_of_messages_has_pages_and_filters() {
    let subscriber = Subscriber::open().await;
    let receiver = Receiver::start().await;
    let webhook = subscriber.subscribes(&receiver, &["*"], &json!({})).await;
    let id = webhook["id"].as_str().unwrap();
    for _ in 0..3 {
        subscriber.tests(id).await;
    }
    subscriber.has_messages(id, "delivered", 3).await;
    let path = format!("/v1/webhooks/{id}/messages?type=webhook.test&limit=2");
    let first = subscriber.reads(&path).await;
    assert_eq!(first["messages"].as_array().unwrap().len(), 2);
    let next = first["next"].as_str().unwrap();
    let second = subscriber.reads(&format!("{path}&cursor={next}")).await;
    assert_eq!(second["messages"].as_array().unwrap().len(), 1);
    assert!(second.get("next").is_none());
    let event = second["messages"][0]["event"].as_str().unwrap();
    assert_eq!(subscriber.messages(id, &format!("event={event}")).await.len(), 1);
    assert_eq!(subscriber.messages(id, "state=exhausted").await.len(), 0);
    subscriber.app.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn attempts_failures_and_lag_are_metrics() {
    let subscriber = Subscriber::open().await;
    let receiver = Receiver::start().await;
    let webhook = subscriber.subscribes(&receiver, &["*"], &json!({})).await;
    let id = webhook["id"].as_str().unwrap();
    receiver.behaves(Behaviour::Answers(500, ""));
    subscriber.tests(id).await;
    receiver.receives("webhook.test", 1).await;
    let failures = format!("onrecord_webhook_failures_total{{webhook=\"{id}\"}}");
    until("the metrics", || async {
        let metrics = http().get(subscriber.app.url("/metrics")).send().await.unwrap();
        let metrics = metrics.text().await.unwrap();
        let has = |text: &str| metrics.contains(text);
        (has(&failures)
            && has("onrecord_webhook_attempts_total{outcome=\"failed\"}")
            && has("onrecord_webhook_attempt_seconds")
            && has("onrecord_webhook_subscriptions{state=\"active\"}"))
        .then_some(())
    })
    .await;
    subscriber.app.stop().await;
}
