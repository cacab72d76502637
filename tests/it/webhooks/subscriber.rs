//! A node whose webhooks go to receivers of this machine, with the keys of their owners.

use onrecord::http::api_role::ApiRole;
use reqwest::{Method, StatusCode};
use serde_json::{Value, json};

use super::receiver::Receiver;
use crate::support::app::{TestApp, TestStores, until};
use crate::support::client::http;

/// The settings of these tests: time is scaled.
pub const SETTINGS: &str = r#"
    webhooks.keys = ["CQkJCQkJCQkJCQkJCQkJCQkJCQkJCQkJCQkJCQkJCQk="]
    webhooks.schemes = "https-and-http"
    webhooks.ports = []
    webhooks.allow = ["127.0.0.0/8"]
    webhooks.timeout = "1s"
    webhooks.ladder = ["100ms", "200ms", "400ms", "1s", "1s", "1s", "1s", "1s"]
    webhooks.circuit_min = "100ms"
    webhooks.circuit_max = "300ms"
"#;

/// A node with an admin of `contoso`.
pub struct Subscriber {
    pub app: TestApp,
    pub key: String,
}

impl Subscriber {
    pub async fn open() -> Self {
        Self::with("").await
    }

    /// With further settings, and others than the usual ones.
    pub async fn with(more: &str) -> Self {
        let stores = TestStores::shared().await;
        let key = |line: &str| line.split('=').next().unwrap_or_default().trim().to_owned();
        let keys: Vec<String> = more.lines().map(key).collect();
        let usual = SETTINGS.lines().filter(|line| !keys.contains(&key(line)));
        let settings: Vec<&str> = usual.chain(more.lines()).collect();
        Self::on(stores, &settings.join("\n")).await
    }

    pub async fn on(stores: TestStores, settings: &str) -> Self {
        let app = TestApp::with(stores, settings).await;
        app.is_ready().await;
        let key = app.api_key("contoso", ApiRole::Admin).await;
        Self { app, key }
    }

    /// Sends a request as the admin; returns status and body.
    pub async fn sends(
        &self,
        method: Method,
        path: &str,
        body: Option<&Value>,
    ) -> (StatusCode, Value) {
        self.sends_as(&self.key, method, path, body).await
    }

    pub async fn sends_as(
        &self,
        key: &str,
        method: Method,
        path: &str,
        body: Option<&Value>,
    ) -> (StatusCode, Value) {
        until("an answer", || async {
            let request = http().request(method.clone(), self.app.url(path)).bearer_auth(key);
            let request = match body {
                Some(body) => request.json(body),
                None => request,
            };
            let answer = request.send().await.unwrap();
            let status = answer.status();
            if status == StatusCode::SERVICE_UNAVAILABLE {
                return None;
            }
            Some((status, answer.json().await.unwrap_or_default()))
        })
        .await
    }

    pub async fn creates(&self, body: &Value) -> (StatusCode, Value) {
        self.sends(Method::POST, "/v1/webhooks", Some(body)).await
    }

    /// Subscribes a receiver, which answers its challenge. Returns the subscription with its secret.
    pub async fn subscribes(&self, receiver: &Receiver, events: &[&str], more: &Value) -> Value {
        let mut body = json!({ "url": receiver.url("/hook"), "events": events });
        for (name, value) in more.as_object().into_iter().flatten() {
            body[name] = value.clone();
        }
        let (status, created) = self.creates(&body).await;
        assert_eq!(status, StatusCode::CREATED, "{created:#}");
        assert_eq!(created["state"], "pending", "{created:#}");
        self.reaches(created["id"].as_str().unwrap(), "active").await;
        created
    }

    /// Waits for a state of a subscription, and returns it.
    pub async fn reaches(&self, id: &str, state: &str) -> Value {
        until(&format!("the webhook is {state}"), || async {
            let webhook = self.reads(&format!("/v1/webhooks/{id}")).await;
            (webhook["state"] == state).then_some(webhook)
        })
        .await
    }

    pub async fn reads(&self, path: &str) -> Value {
        let (status, body) = self.sends(Method::GET, path, None).await;
        assert_eq!(status, StatusCode::OK, "{path}: {body:#}");
        body
    }

    /// The messages of a subscription, without challenges, last made first.
    pub async fn messages(&self, id: &str, query: &str) -> Vec<Value> {
        let list = self.reads(&format!("/v1/webhooks/{id}/messages?{query}")).await;
        let messages = list["messages"].as_array().unwrap().iter();
        messages.filter(|it| it["type"] != "webhook.challenge").cloned().collect()
    }

    /// Waits until a subscription has this many messages in a state, and returns them.
    pub async fn has_messages(&self, id: &str, state: &str, number: usize) -> Vec<Value> {
        until(&format!("{number} messages are {state}"), || async {
            let messages = self.messages(id, &format!("state={state}")).await;
            (messages.len() >= number).then_some(messages)
        })
        .await
    }

    /// Sends a test message.
    pub async fn tests(&self, id: &str) {
        let path = format!("/v1/webhooks/{id}/test");
        let (status, body) = self.sends(Method::POST, &path, None).await;
        assert_eq!(status, StatusCode::OK, "{body:#}");
    }

    /// One message with its attempts.
    pub async fn message(&self, id: &str, message: &str) -> Value {
        self.reads(&format!("/v1/webhooks/{id}/messages/{message}")).await
    }
}
