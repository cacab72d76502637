//! Addresses that may not be called: when they are given, and at each attempt.

use reqwest::{Method, StatusCode};
use serde_json::json;

use super::receiver::Receiver;
use super::subscriber::{SETTINGS, Subscriber};
use crate::support::app::{TestStores, until};

/// The settings of these tests without an allowed network.
fn strict() -> String {
    SETTINGS.replace("webhooks.allow = [\"127.0.0.0/8\"]", "")
}

#[tokio::test(flavor = "multi_thread")]
async fn an_address_that_may_not_be_called_is_refused_with_the_rule() {
    let subscriber = Subscriber::on(TestStores::shared().await, &strict()).await;
    for (url, rule) in [
        ("http://127.0.0.1/", "127.0.0.1 is a loopback address"),
        ("http://2130706433/", "127.0.0.1 is a loopback address"),
        ("http://[::1]:8080/", "::1 is a loopback address"),
        ("http://[::ffff:10.0.0.1]/", "v4-mapped"),
        ("http://10.1.2.3/", "10.1.2.3 is a private address"),
        ("http://169.254.169.254/latest/meta-data", "169.254.169.254 is an address of metadata"),
        ("http://[64:ff9b::a9fe:a9fe]/", "a NAT64 address"),
        ("http://[2002:7f00:1::]/", "a 6to4 address"),
        ("http://100.64.1.1/", "an address of a carrier (CGNAT)"),
        ("http://localhost:1/", "a loopback address"),
        ("ftp://contoso.com/", "begin with https:// or http://"),
        ("https://user@contoso.com/", "what looks like a credential"),
        // A signed address: the signature of the message is the credential.
        ("https://contoso.com/?token=eyJhbGciOiJub25lIn0.eyJzdWIiOiIxIn0.c2ln", "credential"),
        ("contoso.com", "no absolute URL"),
    ] {
        let body = json!({ "url": url, "events": ["*"] });
        let (status, problem) = subscriber.creates(&body).await;
        assert_eq!(status, StatusCode::BAD_REQUEST, "{url}: {problem:#}");
        assert_eq!(problem["member"], "/url");
        assert!(problem["detail"].as_str().unwrap().contains(rule), "{url}: {problem:#}");
        let body =
            json!({ "url": "https://contoso.invalid/", "events": ["*"], "fallback_url": url });
        let (status, problem) = subscriber.creates(&body).await;
        assert_eq!(status, StatusCode::BAD_REQUEST, "{url}: {problem:#}");
        assert_eq!(problem["member"], "/fallback_url");
    }
    subscriber.app.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_default_settings_permit_https_on_its_port_only() {
    let keys = SETTINGS.lines().find(|line| line.contains("webhooks.keys")).unwrap();
    let subscriber = Subscriber::on(TestStores::shared().await, keys).await;
    for (url, rule) in [
        ("http://contoso.invalid/", "begin with https://"),
        ("https://contoso.invalid:8443/", "its port is 8443, and only 443"),
    ] {
        let (status, problem) = subscriber.creates(&json!({ "url": url, "events": ["*"] })).await;
        assert_eq!(status, StatusCode::BAD_REQUEST, "{problem:#}");
        assert!(problem["detail"].as_str().unwrap().contains(rule), "{problem:#}");
    }
    subscriber.app.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn without_a_key_in_the_settings_no_subscription_is_created() {
    let subscriber = Subscriber::on(TestStores::shared().await, "").await;
    let body = json!({ "url": "https://contoso.invalid/", "events": ["*"] });
    let (status, problem) = subscriber.creates(&body).await;
    assert_eq!(status, StatusCode::NOT_IMPLEMENTED, "{problem:#}");
    assert!(problem["detail"].as_str().unwrap().contains("webhooks.keys"), "{problem:#}");
    subscriber.app.stop().await;
}

/// A name that led to a public address when the subscription was made, and leads to this machine at the
/// attempt (DNS rebinding): the settings allow it first, and then no longer.
#[tokio::test(flavor = "multi_thread")]
async fn a_name_that_leads_elsewhere_at_the_attempt_is_not_called() {
    let stores = TestStores::shared().await;
    let named = SETTINGS.replace("\"127.0.0.0/8\"", "\"127.0.0.0/8\", \"localhost\"");
    let subscriber = Subscriber::on(stores.clone(), &named).await;
    let receiver = Receiver::start().await;
    let url = receiver.url("/hook").replace("127.0.0.1", "localhost");
    let (status, created) = subscriber.creates(&json!({ "url": url, "events": ["*"] })).await;
    assert_eq!(status, StatusCode::CREATED, "{created:#}");
    let id = created["id"].as_str().unwrap().to_owned();
    subscriber.reaches(&id, "active").await;
    subscriber.app.stop().await;

    let subscriber = Subscriber::on(stores, &strict()).await;
    let connections = receiver.connections();
    let (_, _) = subscriber.sends(Method::POST, &format!("/v1/webhooks/{id}/test"), None).await;
    let message = until("a failed attempt", || async {
        let messages = subscriber.messages(&id, "").await;
        let message = subscriber.message(&id, messages.first()?["id"].as_str()?).await;
        (message["timeline"] != json!([])).then_some(message)
    })
    .await;
    let error = message["timeline"][0]["error"].as_str().unwrap();
    assert!(error.contains("a loopback address"), "{error}");
    assert_eq!(receiver.connections(), connections, "nothing connected");
    subscriber.app.stop().await;
}
