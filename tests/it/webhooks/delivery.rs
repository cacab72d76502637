//! From an event to its receiver: signed, once, and under the id of the streams.

use chrono::Utc;
use onrecord::http::api_role::ApiRole;
use reqwest::Method;
use serde_json::json;

use super::receiver::{Received, Receiver};
use super::subscriber::Subscriber;
use crate::support::azure::Call;

#[tokio::test(flavor = "multi_thread")]
async fn the_start_of_a_recording_is_posted_signed_once_under_the_id_of_the_streams() {
    let subscriber = Subscriber::open().await;
    let receiver = Receiver::start().await;
    let webhook = subscriber.subscribes(&receiver, &["notice.*"], &json!({})).await;
    let (id, secret) = (webhook["id"].as_str().unwrap(), webhook["secret"].as_str().unwrap());
    let challenge = receiver.all()[0].clone();
    assert_eq!(challenge.name(), "webhook.challenge");
    assert!(challenge.is_signed_by(secret));

    let app_key = subscriber.app.api_key("contoso", ApiRole::App).await;
    let mut stream = subscriber.app.subscribes(&app_key, "").await;
    let call = Call::new();
    let started = call.recording("active", Utc::now());
    subscriber.app.call_automation_posts(&started).await;
    let notice = stream.receives_recording("on").await;

    let received = receiver.receives("notice.recording_on", 1).await.remove(0);
    assert!(received.is_signed_by(secret), "{received:?}");
    assert!(!received.is_signed_by("whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw"));
    assert_eq!(received.path, "/hook");
    assert!(received.headers["content-type"].starts_with("application/cloudevents+json"));
    let event = received.json();
    assert_eq!(event["specversion"], "1.0");
    assert_eq!(event["type"], "onrecord.notice.recording_on");
    assert_eq!(event["source"], "/tenants/contoso");
    assert_eq!(event["id"], notice.body["id"], "{event:#} {:#}", notice.body);
    assert_eq!(event["subject"], notice.body["call"]);
    let data = &event["data"];
    assert_eq!(data["id"], event["id"]);
    assert_eq!(data["call"], notice.body["call"]);
    assert_eq!(data["variant"], notice.body["variant"]);
    assert_eq!(data["indication"]["recording"], json!({ "state": "on", "stale": false }));
    assert_eq!(data["previous"]["recording"]["state"], "unknown");
    assert!(data.get("aliases").is_none(), "thin: {data:#}");
    assert!(data.get("stale").is_none());

    // The cursor of the message is one of the stream.
    let cursor = data["cursor"].as_str().unwrap();
    let mut resumed = subscriber.app.subscribes_from(&app_key, "", Some(cursor)).await;
    let again = resumed.receives_recording("on").await;
    assert_eq!(again.body["id"], event["id"]);

    // The same event again, and another one that changes nothing.
    subscriber.app.call_automation_posts(&started).await;
    subscriber.app.call_automation_posts(&call.recording("active", Utc::now())).await;
    subscriber.tests(id).await;
    receiver.receives("webhook.test", 1).await;
    let names: Vec<String> = receiver.received().iter().map(Received::name).collect();
    assert_eq!(names, ["notice.recording_on", "webhook.test"]);

    let messages = subscriber.has_messages(id, "delivered", 2).await;
    let message = subscriber.message(id, messages[1]["id"].as_str().unwrap()).await;
    assert_eq!(message["id"], received.id());
    assert_eq!(message["event"], event["id"]);
    assert_eq!(message["attempts"], 1);
    assert_eq!(message["timeline"][0]["outcome"], "delivered");
    assert_eq!(message["timeline"][0]["status"], 200);
    assert_eq!(message["timeline"][0]["answer"], "{\"ok\":true}");
    let shown = subscriber.reads(&format!("/v1/webhooks/{id}")).await;
    assert!(!shown.to_string().contains("whsec_"), "a secret is shown once: {shown:#}");
    subscriber.app.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn during_a_rotation_both_secrets_sign_and_afterwards_the_new_one() {
    let subscriber = Subscriber::open().await;
    let receiver = Receiver::start().await;
    let webhook = subscriber.subscribes(&receiver, &["*"], &json!({})).await;
    let (id, first) = (webhook["id"].as_str().unwrap(), webhook["secret"].as_str().unwrap());
    let rotate = format!("/v1/webhooks/{id}/rotate");
    let (_, rotated) =
        subscriber.sends(Method::POST, &rotate, Some(&json!({ "overlap_s": 3600 }))).await;
    let second = rotated["secret"].as_str().unwrap();
    assert_ne!(first, second);
    subscriber.tests(id).await;
    let received = receiver.receives("webhook.test", 1).await.remove(0);
    assert!(received.is_signed_by(first) && received.is_signed_by(second));
    let secrets = subscriber.reads(&format!("/v1/webhooks/{id}")).await["secrets"].clone();
    assert_eq!(secrets.as_array().unwrap().len(), 2, "{secrets:#}");

    let (_, rotated) =
        subscriber.sends(Method::POST, &rotate, Some(&json!({ "overlap_s": 0 }))).await;
    let third = rotated["secret"].as_str().unwrap();
    subscriber.tests(id).await;
    let received = receiver.receives("webhook.test", 2).await.remove(1);
    assert!(received.is_signed_by(third));
    assert!(!received.is_signed_by(first) && !received.is_signed_by(second));
    subscriber.app.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_subscription_is_pending_until_its_challenge_is_answered() {
    let subscriber = Subscriber::open().await;
    let receiver = Receiver::start().await;
    receiver.behaves(super::receiver::Behaviour::Says("welcome"));
    let body = json!({ "url": receiver.url("/"), "events": ["*"] });
    let (_, created) = subscriber.creates(&body).await;
    let id = created["id"].as_str().unwrap();
    let pending = crate::support::app::until("a reason", || async {
        let webhook = subscriber.reads(&format!("/v1/webhooks/{id}")).await;
        webhook["reason"].is_string().then_some(webhook)
    })
    .await;
    assert_eq!(pending["state"], "pending");
    assert_eq!(pending["reason"], "the answer does not have the challenge");
    // Nothing else is sent to it.
    subscriber.app.call_automation_posts(&Call::new().recording("active", Utc::now())).await;
    receiver.behaves(super::receiver::Behaviour::Works);
    subscriber.reaches(id, "active").await;
    assert_eq!(receiver.received().len(), 0);
    assert_eq!(subscriber.messages(id, "").await.len(), 0);

    // Another address is challenged before it gets anything.
    let other = Receiver::start().await;
    let change = json!({ "url": other.url("/other") });
    let path = format!("/v1/webhooks/{id}");
    let (_, changed) = subscriber.sends(Method::PATCH, &path, Some(&change)).await;
    assert_eq!(changed["state"], "pending", "{changed:#}");
    subscriber.reaches(id, "active").await;
    subscriber.tests(id).await;
    other.receives("webhook.test", 1).await;
    assert_eq!(receiver.received().len(), 0);
    subscriber.app.stop().await;
}
