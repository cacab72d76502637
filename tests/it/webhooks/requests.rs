//! Requests that make no sense, other tenants, and other roles.

use onrecord::http::api_role::ApiRole;
use reqwest::{Method, StatusCode};
use serde_json::{Value, json};

use super::receiver::Receiver;
use super::subscriber::Subscriber;
use crate::support::azure::Call;

#[tokio::test(flavor = "multi_thread")]
async fn a_request_that_makes_no_sense_is_answered_400_with_the_member_and_the_allowed_values() {
    let subscriber = Subscriber::open().await;
    let good = json!({ "url": "http://127.0.0.1:1/", "events": ["notice.*"] });
    for (change, member, said) in [
        (json!({ "events": ["call.started"] }), "/events/0", "exception.opened"),
        (json!({ "events": ["notice.*", "notic*"] }), "/events/1", "notice.recording_on"),
        (json!({ "events": ["exception.opened|closed"] }), "/events/0", "exception.closed"),
        (json!({ "events": [] }), "/events", "1 to 100"),
        (json!({ "filter": { "kind": ["phone"] } }), "/filter/kind/0", "two_party"),
        (json!({ "filter": { "severity": ["bad"] } }), "/filter/severity/0", "critical"),
        (json!({ "filter": { "name": ["x"] } }), "/filter/name", "unknown field"),
        (json!({ "content": "all" }), "/content", "thin"),
        (json!({ "stale": "keep" }), "/stale", "drop"),
        (json!({ "algorithm": "v2" }), "/algorithm", "v1a"),
        (json!({ "rate_limit": 0 }), "/rate_limit", "per second"),
        (json!({ "concurrency": 1000 }), "/concurrency", "1 to 100"),
        (json!({ "secret": "whsec_x" }), "/secret", "/secret"),
        (json!({ "description": "x".repeat(1001) }), "/description", "1000 bytes"),
    ] {
        let mut wrong = good.clone();
        for (name, value) in change.as_object().unwrap() {
            wrong[name] = value.clone();
        }
        let (status, problem) = subscriber.creates(&wrong).await;
        assert_eq!(status, StatusCode::BAD_REQUEST, "{change}: {problem:#}");
        assert_eq!(problem["member"], member, "{problem:#}");
        assert!(problem.to_string().contains(said), "{said}: {problem:#}");
    }
    let (_, created) = subscriber.creates(&good).await;
    let id = created["id"].as_str().unwrap();
    for (path, body, member) in [
        ("redeliver", json!({ "since": "yesterday", "which": "all" }), "/since"),
        ("redeliver", json!({ "since": "2026-01-01T00:00:00Z", "which": "x" }), "/which"),
        (
            "redeliver",
            json!({ "since": "2026-01-02T00:00:00Z", "until": "2026-01-01T00:00:00Z", "which": "all" }),
            "/until",
        ),
        ("rotate", json!({ "overlap_s": 31 * 86_400 }), "/overlap_s"),
    ] {
        let path = format!("/v1/webhooks/{id}/{path}");
        let (status, problem) = subscriber.sends(Method::POST, &path, Some(&body)).await;
        assert_eq!(status, StatusCode::BAD_REQUEST, "{problem:#}");
        assert_eq!(problem["member"], member, "{problem:#}");
    }
    for (query, member) in
        [("state=late", "state"), ("type=call.started", "type"), ("limit=0", "limit")]
    {
        let path = format!("/v1/webhooks/{id}/messages?{query}");
        let (status, problem) = subscriber.sends(Method::GET, &path, None).await;
        assert_eq!(status, StatusCode::BAD_REQUEST, "{problem:#}");
        assert_eq!(problem["member"], member, "{problem:#}");
    }
    subscriber.app.stop().await;
}

/// Every route, with a body that it accepts.
fn routes(id: &str, message: &str) -> Vec<(Method, String, Option<Value>)> {
    let one = format!("/v1/webhooks/{id}");
    let create = json!({ "url": "http://127.0.0.1:1/", "events": ["*"] });
    let redelivery = json!({ "since": "2026-01-01T00:00:00Z", "which": "failed" });
    vec![
        (Method::GET, "/v1/webhooks".to_owned(), None),
        (Method::POST, "/v1/webhooks".to_owned(), Some(create)),
        (Method::GET, one.clone(), None),
        (Method::PATCH, one.clone(), Some(json!({ "description": "mine" }))),
        (Method::GET, format!("{one}/messages"), None),
        (Method::GET, format!("{one}/messages/{message}"), None),
        (Method::POST, format!("{one}/messages/{message}/redeliver"), None),
        (Method::POST, format!("{one}/pause"), None),
        (Method::POST, format!("{one}/resume"), None),
        (Method::POST, format!("{one}/test"), None),
        (Method::POST, format!("{one}/rotate"), Some(json!({}))),
        (Method::POST, format!("{one}/redeliver"), Some(redelivery)),
        (Method::DELETE, one, None),
    ]
}

#[tokio::test(flavor = "multi_thread")]
async fn only_an_admin_manages_webhooks_an_auditor_reads_them_and_another_tenant_sees_none() {
    let subscriber = Subscriber::open().await;
    let receiver = Receiver::start().await;
    let webhook = subscriber.subscribes(&receiver, &["*"], &json!({})).await;
    let id = webhook["id"].as_str().unwrap();
    subscriber.tests(id).await;
    let message = subscriber.has_messages(id, "delivered", 1).await.remove(0);
    let message = message["id"].as_str().unwrap();
    for role in [ApiRole::App, ApiRole::Analyst, ApiRole::Auditor] {
        let key = subscriber.app.api_key("contoso", role).await;
        for (method, path, body) in routes(id, message) {
            let may = role == ApiRole::Auditor && method == Method::GET;
            let (status, answer) =
                subscriber.sends_as(&key, method.clone(), &path, body.as_ref()).await;
            let expected = if may { StatusCode::OK } else { StatusCode::FORBIDDEN };
            assert_eq!(status, expected, "{role:?} {method} {path}: {answer:#}");
        }
    }
    let other = subscriber.app.api_key("fabrikam", ApiRole::Admin).await;
    for (method, path, body) in routes(id, message) {
        let (status, answer) =
            subscriber.sends_as(&other, method.clone(), &path, body.as_ref()).await;
        if path == "/v1/webhooks" {
            assert!(status.is_success(), "{method}: {answer:#}");
            assert!(!answer.to_string().contains(id), "{answer:#}");
        } else {
            assert_eq!(status, StatusCode::NOT_FOUND, "{method} {path}: {answer:#}");
        }
    }
    // It is as it was.
    let shown = subscriber.reads(&format!("/v1/webhooks/{id}")).await;
    assert_eq!((&shown["state"], &shown["description"]), (&json!("active"), &json!("")));
    subscriber.app.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_subscription_gets_no_event_of_another_tenant() {
    let subscriber = Subscriber::open().await;
    let (ours, theirs) = (Receiver::start().await, Receiver::start().await);
    subscriber.subscribes(&ours, &["*"], &json!({})).await;
    let key = subscriber.app.api_key("fabrikam", ApiRole::Admin).await;
    let body = json!({ "url": theirs.url("/"), "events": ["*"] });
    let (_, other) = subscriber.sends_as(&key, Method::POST, "/v1/webhooks", Some(&body)).await;
    let path = format!("/v1/webhooks/{}", other["id"].as_str().unwrap());
    crate::support::app::until("their webhook is active", || async {
        let (_, webhook) = subscriber.sends_as(&key, Method::GET, &path, None).await;
        (webhook["state"] == "active").then_some(())
    })
    .await;
    let call = Call::new();
    // The same ids in both tenants.
    let (status, _) =
        subscriber.app.posts("/ingest/event-grid/other", call.started().to_string()).await;
    assert!(status.is_success());
    let (status, _) =
        subscriber.app.posts("/ingest/event-grid/other", call.ended().to_string()).await;
    assert!(status.is_success());
    let received = theirs.receives("call.ended", 1).await.remove(0);
    assert_eq!(received.json()["tenant"], "fabrikam");
    assert_eq!(ours.received().len(), 0);
    let (status, _) = subscriber.app.posts("/ingest/event-grid/eg", call.ended().to_string()).await;
    assert!(status.is_success());
    ours.receives("call.ended", 1).await;
    assert!(ours.received().iter().all(|it| it.json()["tenant"] == "contoso"));
    assert!(theirs.received().iter().all(|it| it.json()["tenant"] == "fabrikam"));
    subscriber.app.stop().await;
}
