//! What the misbehaviour of a receiver does: to its messages, and to those of others.

use std::time::{Duration, Instant};

use chrono::Utc;
use reqwest::Method;
use serde_json::{Value, json};

use super::receiver::{Behaviour, Receiver};
use super::subscriber::Subscriber;
use crate::support::app::until;
use crate::support::azure::Call;

/// Attempts fail once with this behaviour, and succeed afterwards. Returns the first attempt.
async fn first_attempt_at(behaviour: Behaviour) -> Value {
    let subscriber = Subscriber::open().await;
    let receiver = Receiver::start().await;
    let webhook = subscriber.subscribes(&receiver, &["*"], &json!({})).await;
    let id = webhook["id"].as_str().unwrap();
    receiver.behaves(behaviour);
    subscriber.tests(id).await;
    until("a failed attempt", || async {
        let messages = subscriber.messages(id, "").await;
        let message = subscriber.message(id, messages[0]["id"].as_str().unwrap()).await;
        (message["timeline"] != json!([])).then_some(())
    })
    .await;
    receiver.behaves(Behaviour::Works);
    let delivered = subscriber.has_messages(id, "delivered", 1).await;
    let message = subscriber.message(id, delivered[0]["id"].as_str().unwrap()).await;
    let ids: Vec<String> = receiver.received().iter().map(|it| it.id().to_owned()).collect();
    assert!(ids.iter().all(|id| *id == message["id"]), "one id: {ids:?}");
    let timeline = message["timeline"].as_array().unwrap();
    assert_eq!(timeline.last().unwrap()["outcome"], "delivered");
    assert_eq!(timeline.iter().filter(|it| it["outcome"] == "delivered").count(), 1);
    subscriber.app.stop().await;
    timeline[0].clone()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_receiver_that_answers_500_gets_the_message_again() {
    let attempt = first_attempt_at(Behaviour::Answers(500, "")).await;
    assert_eq!((&attempt["outcome"], &attempt["status"]), (&json!("failed"), &json!(500)));
    assert_eq!(attempt["error"], "the receiver answers 500");
    assert_eq!(attempt["answer"], "no");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_receiver_that_hangs_is_waited_for_until_the_timeout() {
    let attempt = first_attempt_at(Behaviour::Hangs).await;
    assert_eq!(attempt["error"], "no answer within 1000 ms");
    assert!(attempt["duration_ms"].as_i64().unwrap() >= 1_000, "{attempt}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_receiver_that_closes_before_its_answer_gets_the_message_again() {
    for behaviour in [Behaviour::Closes, Behaviour::ClosesHalfWay] {
        let attempt = first_attempt_at(behaviour).await;
        assert_eq!(attempt["status"], Value::Null);
        assert!(attempt["error"].as_str().unwrap().starts_with("no answer"), "{attempt}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_redirect_is_a_failure_and_is_not_followed() {
    let metadata = Receiver::start().await;
    let attempt = first_attempt_at(Behaviour::Redirects(metadata.url("/latest/meta-data"))).await;
    assert_eq!(attempt["status"], 307);
    assert_eq!(attempt["error"], "the receiver answers 307, and redirects are not followed");
    assert_eq!(metadata.connections(), 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn of_a_body_that_has_no_end_a_kilobyte_is_kept_and_the_head_decides() {
    let subscriber = Subscriber::open().await;
    let receiver = Receiver::start().await;
    let webhook = subscriber.subscribes(&receiver, &["*"], &json!({})).await;
    let id = webhook["id"].as_str().unwrap();
    for (number, behaviour) in [(1, Behaviour::Floods), (2, Behaviour::Drips)] {
        receiver.behaves(behaviour);
        subscriber.tests(id).await;
        let delivered = subscriber.has_messages(id, "delivered", number).await;
        let message = subscriber.message(id, delivered[0]["id"].as_str().unwrap()).await;
        assert_eq!(message["attempts"], 1, "{message:#}");
        let kept = message["timeline"][0]["answer"].as_str().unwrap();
        assert!(kept.len() <= 1_024 && kept.starts_with('x'), "{}", kept.len());
    }
    // The buffers of two sockets, and no more.
    assert!(receiver.sent() < 32 * 1024 * 1024, "{}", receiver.sent());
    subscriber.app.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn retry_after_is_honoured() {
    let subscriber = Subscriber::with("webhooks.circuit_max = \"10s\"").await;
    let receiver = Receiver::start().await;
    let webhook = subscriber.subscribes(&receiver, &["*"], &json!({})).await;
    receiver.behaves(Behaviour::Answers(429, "retry-after: 3\r\n"));
    subscriber.tests(webhook["id"].as_str().unwrap()).await;
    let first = receiver.receives("webhook.test", 1).await.remove(0);
    receiver.behaves(Behaviour::Works);
    let second = receiver.receives("webhook.test", 2).await.remove(1);
    let wait = second.at - first.at;
    assert!(wait >= Duration::from_secs(3) && wait < Duration::from_secs(6), "{wait:?}");
    subscriber.app.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn after_the_last_step_of_the_ladder_a_message_is_exhausted() {
    let more = "webhooks.ladder = [\"50ms\", \"50ms\"]\nwebhooks.circuit_failures = 100";
    let subscriber = Subscriber::with(more).await;
    let receiver = Receiver::start().await;
    let webhook = subscriber.subscribes(&receiver, &["*"], &json!({})).await;
    let id = webhook["id"].as_str().unwrap();
    receiver.behaves(Behaviour::Answers(503, ""));
    subscriber.tests(id).await;
    let message = subscriber.has_messages(id, "exhausted", 1).await.remove(0);
    assert_eq!(message["attempts"], 3);
    assert_eq!(message["reason"], "3 attempts failed");
    assert_eq!(receiver.received().len(), 3);
    subscriber.app.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_receiver_that_answers_410_is_disabled_at_once_with_an_exception_and_a_last_notice() {
    let subscriber = Subscriber::open().await;
    let (receiver, fallback) = (Receiver::start().await, Receiver::start().await);
    let more = json!({ "fallback_url": fallback.url("/fallback") });
    let webhook = subscriber.subscribes(&receiver, &["*"], &more).await;
    let (id, secret) = (webhook["id"].as_str().unwrap(), webhook["secret"].as_str().unwrap());
    receiver.behaves(Behaviour::Answers(410, ""));
    subscriber.tests(id).await;
    let disabled = subscriber.reaches(id, "disabled").await;
    assert_eq!(disabled["reason"], "the receiver answered 410");
    let message = subscriber.has_messages(id, "exhausted", 1).await.remove(0);
    assert_eq!(message["attempts"], 1);
    let last = fallback.receives("webhook.disabled", 1).await.remove(0);
    assert!(last.is_signed_by(secret));
    assert_eq!(last.json()["data"]["webhook"], id);
    let exceptions = subscriber.reads("/v1/exceptions?kind=WEBHOOK_DISABLED&state=open").await;
    let exception = &exceptions["exceptions"][0];
    assert_eq!(exception["facts"]["webhook"], id, "{exceptions:#}");

    // What happens meanwhile waits, and is sent when it is resumed.
    receiver.behaves(Behaviour::Works);
    let before = receiver.received().len();
    let call = Call::new();
    subscriber.app.call_automation_posts(&call.recording("active", Utc::now())).await;
    subscriber.has_messages(id, "due", 1).await;
    assert_eq!(receiver.received().len(), before);
    let (_, resumed) =
        subscriber.sends(Method::POST, &format!("/v1/webhooks/{id}/resume"), None).await;
    assert_eq!(resumed["state"], "active", "{resumed:#}");
    receiver.receives("notice.recording_on", 1).await;
    subscriber.app.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn consecutive_failures_disable_a_subscription() {
    let more = "webhooks.circuit_failures = 2\nwebhooks.disable_after = 4";
    let subscriber = Subscriber::with(more).await;
    let receiver = Receiver::start().await;
    let webhook = subscriber.subscribes(&receiver, &["*"], &json!({})).await;
    let id = webhook["id"].as_str().unwrap();
    receiver.behaves(Behaviour::Answers(500, ""));
    subscriber.tests(id).await;
    let disabled = subscriber.reaches(id, "disabled").await;
    assert_eq!(
        disabled["reason"],
        "4 attempts in succession failed, the last one: the receiver answers 500"
    );
    subscriber.app.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_receiver_that_is_down_for_long_loses_nothing_and_gets_each_message_once() {
    const CALLS: usize = 30;
    let subscriber = Subscriber::open().await;
    let receiver = Receiver::start().await;
    let webhook = subscriber.subscribes(&receiver, &["notice.recording_on"], &json!({})).await;
    let id = webhook["id"].as_str().unwrap();
    receiver.behaves(Behaviour::Closes);
    for _ in 0..CALLS {
        subscriber.app.call_automation_posts(&Call::new().recording("active", Utc::now())).await;
    }
    until("the circuit opens", || async {
        let webhook = subscriber.reads(&format!("/v1/webhooks/{id}")).await;
        webhook["circuit_until"].is_string().then_some(())
    })
    .await;
    // An open circuit spends few attempts.
    let spent = receiver.received().len();
    assert!(spent < CALLS * 2, "{spent}");
    receiver.behaves(Behaviour::Works);
    let delivered = subscriber.has_messages(id, "delivered", CALLS).await;
    assert_eq!(delivered.len(), CALLS);
    assert_eq!(subscriber.messages(id, "").await.len(), CALLS);
    let shown = subscriber.reads(&format!("/v1/webhooks/{id}")).await;
    assert_eq!(shown["consecutive_failures"], 0, "{shown:#}");
    assert_eq!(shown["waiting_since"], Value::Null);
    subscriber.app.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn receivers_that_hang_delay_no_other() {
    let subscriber = Subscriber::open().await;
    let (quick, slow) = (Receiver::start().await, Receiver::start().await);
    let on = &["notice.recording_on"];
    subscriber.subscribes(&quick, on, &json!({})).await;
    for _ in 0..5 {
        subscriber.subscribes(&slow, on, &json!({})).await;
    }
    let mut waits = Vec::new();
    for behaviour in [Behaviour::Works, Behaviour::Hangs] {
        slow.behaves(behaviour);
        let mut longest = Duration::ZERO;
        for number in 1..=10 {
            let began = Instant::now();
            let call = Call::new();
            subscriber.app.call_automation_posts(&call.recording("active", Utc::now())).await;
            let all = quick.receives("notice.recording_on", waits.len() * 10 + number).await;
            longest = longest.max(all.last().unwrap().at.saturating_duration_since(began));
        }
        waits.push(longest);
    }
    // The timeout is 1 s: a wait for a slow receiver would take that long.
    assert!(waits[1] < waits[0] + Duration::from_millis(500), "{waits:?}");
    subscriber.app.stop().await;
}
