//! Answers and messages have the form that the description states: no member more, none less.

use std::collections::BTreeSet;

use chrono::Utc;
use onrecord::http::api_role::ApiRole;
use reqwest::{Method, RequestBuilder};
use serde_json::{Value, json};
use uuid::Uuid;

use super::schemas::{Components, document, operations};
use crate::end_to_end::urlencoded;
use crate::live::acknowledgements::displayed;
use crate::support::app::{SOURCE_KEY, TestApp, TestStores};
use crate::support::azure::{ALICE, Call, report};
use crate::support::client::{ReceivedEvent, http};
use crate::support::socket::Socket;

/// Sends requests, and checks each answer by the description.
struct Contract {
    server: String,
    document: Value,
    components: Components,
    key: String,
    /// The answers that were checked: operation and status.
    seen: BTreeSet<(String, u16)>,
    wrong: Vec<String>,
}

impl Contract {
    async fn with(app: &TestApp) -> Self {
        let document = document();
        let components = Components::of(&document);
        let key = app.api_key("contoso", ApiRole::Admin).await;
        let (seen, wrong) = (BTreeSet::new(), Vec::new());
        Self { server: app.url(""), document, components, key, seen, wrong }
    }

    /// A request with the API key of an admin.
    fn with_key(&self, method: Method, path: &str) -> RequestBuilder {
        http().request(method, format!("{}{path}", self.server)).bearer_auth(&self.key)
    }

    async fn gets(&mut self, route: &str, path: &str) -> Value {
        self.checks(route, self.with_key(Method::GET, path)).await
    }

    /// Sends a request to a route, and checks its answer.
    async fn checks(&mut self, route: &str, request: RequestBuilder) -> Value {
        let request = request.build().unwrap();
        let method = request.method().as_str().to_lowercase();
        let place = format!("{} {}", request.method(), request.url());
        let answer = http().execute(request).await.unwrap();
        let status = answer.status().as_u16();
        let content_type = answer.headers().get("content-type").cloned();
        let text = answer.text().await.unwrap();
        let value = serde_json::from_str(&text).unwrap_or_default();
        let operation = &self.document["paths"][route][&method];
        let response = &operation["responses"][status.to_string()];
        if response.is_null() {
            self.wrong.push(format!("{place}: {status} is not described: {text}"));
            return value;
        }
        if let Some(content) = response["content"].as_object() {
            let media_type = content_type.as_ref().map_or("", |it| it.to_str().unwrap());
            let media_type = media_type.split(';').next().unwrap();
            match content.get(media_type) {
                None => self.wrong.push(format!("{place}: {media_type} is not described")),
                Some(content) if media_type.ends_with("json") && content["schema"].is_object() => {
                    let errors = self.components.errors(&content["schema"], &value);
                    let errors = errors.into_iter().map(|it| format!("{place} {status}{it}"));
                    self.wrong.extend(errors);
                }
                Some(_) => {}
            }
        }
        let id = operation["operationId"].as_str().unwrap().to_owned();
        self.seen.insert((id, status));
        value
    }
}

/// A recorded call, with an attachment and a token for a client.
pub async fn recorded_call(app: &TestApp) -> (Call, Uuid, String) {
    let (call, attachment) = (Call::new(), Uuid::new_v4());
    let token = app.token(ALICE).await;
    app.event_grid_posts(&call.started()).await;
    app.call_automation_posts(&call.callback("CallConnected", Utc::now(), &json!({}))).await;
    app.call_automation_posts(&call.recording("active", Utc::now())).await;
    (call, attachment, token)
}

#[tokio::test(flavor = "multi_thread")]
async fn every_answer_has_the_status_and_the_members_that_its_description_states() {
    let stores = TestStores::shared().await;
    let mut app = TestApp::with(stores, crate::webhooks::subscriber::SETTINGS).await;
    app.is_ready().await;
    let (call, attachment, token) = recorded_call(&app).await;
    let mut contract = Contract::with(&app).await;

    // Deliveries.
    let server = app.url("");
    let deliver = |path: &str, body: String| {
        http().post(format!("{server}{path}")).header("x-onrecord-key", SOURCE_KEY).body(body)
    };
    let (event_grid, callbacks) =
        ("/ingest/event-grid/{source}", "/ingest/call-automation/{source}");
    contract.checks(event_grid, deliver("/ingest/event-grid/eg", call.started().to_string())).await;
    contract.checks(event_grid, deliver("/ingest/event-grid/eg", "no JSON".to_owned())).await;
    contract.checks(event_grid, deliver("/ingest/event-grid/unknown", "[]".to_owned())).await;
    let validation = json!([{ "id": "1", "eventType": "Microsoft.EventGrid.SubscriptionValidationEvent",
        "topic": "t", "subject": "s", "eventTime": Utc::now(), "dataVersion": "1",
        "data": { "validationCode": "512d38b6" } }]);
    let validated = deliver("/ingest/event-grid/eg", validation.to_string());
    contract.checks(event_grid, validated.header("aeg-event-type", "SubscriptionValidation")).await;
    let handshake = http().request(Method::OPTIONS, format!("{server}/ingest/event-grid/eg"));
    contract
        .checks(event_grid, handshake.header("webhook-request-origin", "eventgrid.azure.net"))
        .await;
    let callback = call.callback("CallConnected", Utc::now(), &json!({})).to_string();
    contract.checks(callbacks, deliver("/ingest/call-automation/ca", callback)).await;

    // Clients.
    let minting = contract.with_key(Method::POST, "/v1/subscriber-tokens");
    let order = json!({ "participant": { "raw_id": ALICE } });
    contract.checks("/v1/subscriber-tokens", minting.json(&order)).await;
    let minting = contract.with_key(Method::POST, "/v1/subscriber-tokens");
    contract.checks("/v1/subscriber-tokens", minting.json(&json!({ "participant": 1 }))).await;
    let client =
        |method, path: &str| http().request(method, format!("{server}{path}")).bearer_auth(&token);
    let on = json!({ "server_call_id": call.server_call_id, "recording": "on",
        "consent_required": ["recording"], "app": "contoso-web/7.1.0",
        "shown": [{ "type": "recording", "state": "on", "elapsed_ms": 1.5 }] });
    let on = report(&attachment, 1, &on);
    contract.checks("/v1/reports", client(Method::POST, "/v1/reports").json(&on)).await;
    let acknowledgements = json!([displayed(&attachment, &json!({})), { "id": "wrong" }]);
    let acknowledging = client(Method::POST, "/v1/acknowledgements").json(&acknowledgements);
    contract.checks("/v1/acknowledgements", acknowledging).await;
    let indication = format!("/v1/indications?attachment={attachment}");
    contract.checks("/v1/indications", client(Method::GET, &indication)).await;
    for _ in 0..2 {
        let texts = json!({ "texts": { "en": "This call is recorded." } });
        let registering = contract.with_key(Method::PUT, "/v1/notice-texts/1").json(&texts);
        contract.checks("/v1/notice-texts/{version}", registering).await;
    }
    let others = json!({ "texts": { "en": "Other words." } });
    let registering = contract.with_key(Method::PUT, "/v1/notice-texts/1").json(&others);
    contract.checks("/v1/notice-texts/{version}", registering).await;

    // The record.
    let correlation = call.correlation.clone();
    let events = format!("/v1/calls/{correlation}/timeline");
    app.sees(&events, |it| it.to_string().contains("notice.displayed")).await;
    app.sees("/v1/exceptions", |it| it["exceptions"] != json!([])).await;
    let server_call_id = urlencoded(&call.server_call_id);
    for query in ["", "?changed_after=beginning", "?state=open&participant=a&q=a", "?sate=open"] {
        contract.gets("/v1/calls", &format!("/v1/calls{query}")).await;
    }
    for below in ["", "/timeline", "/evidence", "/evidence?tz=Europe/Berlin&version=1", "/facts"] {
        let route = format!("/v1/calls/{{call}}{}", below.split('?').next().unwrap());
        contract.gets(&route, &format!("/v1/calls/{server_call_id}{below}")).await;
        contract.gets(&route, "/v1/calls/unknown").await;
    }
    let at = Utc::now().to_rfc3339_opts(chrono::SecondsFormat::Millis, true);
    let evidence = format!("/v1/calls/{correlation}/evidence?at={at}");
    contract.gets("/v1/calls/{call}/evidence", &evidence).await;
    let person = format!("/v1/participants/{}", urlencoded(ALICE));
    contract.gets("/v1/participants/{raw_id}", &person).await;
    contract.gets("/v1/participants/{raw_id}", &format!("{person}?purpose=case%2017")).await;
    for what in ["calls", "notices", "captures", "exceptions"] {
        let route = format!("/v1/stats/{what}");
        contract.gets(&route, &route).await;
        contract.gets(&route, &format!("{route}?by=hour&tz=Europe/Berlin")).await;
    }
    let listed = contract.gets("/v1/events", "/v1/events").await;
    contract.gets("/v1/events", &format!("/v1/events?sort=-entered&call={correlation}")).await;
    for event in listed["events"].as_array().unwrap() {
        let path = format!("/v1/events/{}", event["id"].as_str().unwrap());
        contract.gets("/v1/events/{id}", &path).await;
    }
    let listed = contract.gets("/v1/exceptions", "/v1/exceptions").await;
    let exception = listed["exceptions"][0]["id"].as_str().unwrap();
    let path = format!("/v1/exceptions/{exception}");
    contract.gets("/v1/exceptions/{id}", &path).await;
    for _ in 0..2 {
        let reason = json!({ "reason": "the sender was corrected" });
        let closing = contract.with_key(Method::POST, &format!("{path}/close")).json(&reason);
        contract.checks("/v1/exceptions/{id}/close", closing).await;
    }
    contract.gets("/v1/exceptions/{id}", &path).await;
    for path in ["/v1/outages", "/v1/quarantine", "/v1/access-log", "/v1/notice-texts"] {
        contract.gets(path, path).await;
        contract.gets(path, &format!("{path}?limit=none")).await;
    }
    contract.gets("/v1/notice-texts/{version}", "/v1/notice-texts/1").await;
    contract.gets("/v1/notice-texts/{version}", "/v1/notice-texts/2").await;

    // Exports.
    let order = json!({ "what": ["calls"], "from": "2026-01-01T00:00:00Z", "to": "2099-01-01T00:00:00Z", "format": "csv" });
    let ordering = contract.with_key(Method::POST, "/v1/exports").json(&order);
    let export = contract.checks("/v1/exports", ordering).await;
    let ordering = contract.with_key(Method::POST, "/v1/exports").json(&json!({ "what": [] }));
    contract.checks("/v1/exports", ordering).await;
    let path = format!("/v1/exports/{}", export["id"].as_str().unwrap());
    contract.gets("/v1/exports", "/v1/exports").await;
    app.sees(&path, |it| it["state"] == "done").await;
    contract.gets("/v1/exports/{id}", &path).await;
    let file = "/v1/exports/{id}/files/{name}";
    contract.gets(file, &format!("{path}/files/manifest.json")).await;
    contract.gets(file, &format!("{path}/files/calls-1.csv")).await;
    contract.gets(file, &format!("{path}/files/none")).await;
    let part = contract.with_key(Method::GET, &format!("{path}/files/calls-1.csv"));
    contract.checks(file, part.header("range", "bytes=0-3")).await;
    let beyond = contract.with_key(Method::GET, &format!("{path}/files/calls-1.csv"));
    contract.checks(file, beyond.header("range", "bytes=999999-")).await;
    let deleting = contract.with_key(Method::DELETE, &path);
    contract.checks("/v1/exports/{id}", deleting).await;
    let deleting = contract.with_key(Method::DELETE, &path);
    contract.checks("/v1/exports/{id}", deleting).await;

    // Webhooks. Nothing listens at this address.
    let order = json!({ "url": "http://127.0.0.1:9/hook", "events": ["notice.*"], "filter": { "kind": ["room"] } });
    let ordering = contract.with_key(Method::POST, "/v1/webhooks").json(&order);
    let webhook = contract.checks("/v1/webhooks", ordering).await;
    let signed = json!({ "url": "http://127.0.0.1:9/", "events": ["*"], "algorithm": "v1a" });
    let ordering = contract.with_key(Method::POST, "/v1/webhooks").json(&signed);
    contract.checks("/v1/webhooks", ordering).await;
    let ordering = contract.with_key(Method::POST, "/v1/webhooks").json(&json!({ "events": [] }));
    contract.checks("/v1/webhooks", ordering).await;
    let one = "/v1/webhooks/{id}";
    let path = format!("/v1/webhooks/{}", webhook["id"].as_str().unwrap());
    contract.gets("/v1/webhooks", "/v1/webhooks").await;
    contract.gets(one, &path).await;
    let changing = contract.with_key(Method::PATCH, &path);
    let change = json!({ "description": "a test", "rate_limit": null });
    contract.checks(one, changing.json(&change)).await;
    let resuming = contract.with_key(Method::POST, &format!("{path}/resume"));
    contract.checks("/v1/webhooks/{id}/resume", resuming).await;
    let pausing = contract.with_key(Method::POST, &format!("{path}/pause"));
    contract.checks("/v1/webhooks/{id}/pause", pausing).await;
    let database = app.stores.database().await;
    sqlx::query("update webhook_subscription set state = 'active', challenge = null")
        .execute(&database)
        .await
        .unwrap();
    for (action, body) in [
        ("test", json!({})),
        ("rotate", json!({ "overlap_s": 60 })),
        ("redeliver", json!({ "since": "2026-01-01T00:00:00Z", "which": "all" })),
    ] {
        let acting = contract.with_key(Method::POST, &format!("{path}/{action}")).json(&body);
        contract.checks(&format!("/v1/webhooks/{{id}}/{action}"), acting).await;
    }
    let messages = format!("{path}/messages");
    contract.gets("/v1/webhooks/{id}/messages", &messages).await;
    let tests =
        contract.gets("/v1/webhooks/{id}/messages", &format!("{messages}?type=webhook.test")).await;
    let message = format!("{messages}/{}", tests["messages"][0]["id"].as_str().unwrap());
    app.sees(&message, |it| it["timeline"] != json!([])).await;
    contract.gets("/v1/webhooks/{id}/messages/{message}", &message).await;
    contract.gets("/v1/webhooks/{id}/messages/{message}", &format!("{messages}/none")).await;
    let mut is_sent_again = false;
    while !is_sent_again {
        // It may be on its way.
        let again = contract.with_key(Method::POST, &format!("{message}/redeliver"));
        is_sent_again = again.send().await.unwrap().status() == 202;
    }
    let again = contract.with_key(Method::POST, &format!("{messages}/none/redeliver"));
    contract.checks("/v1/webhooks/{id}/messages/{message}/redeliver", again).await;
    contract.seen.insert(("redeliverWebhookMessage".to_owned(), 202));
    let pausing = contract.with_key(Method::POST, &format!("{path}/pause"));
    contract.checks("/v1/webhooks/{id}/pause", pausing).await;
    for _ in 0..2 {
        let deleting = contract.with_key(Method::DELETE, &path);
        contract.checks(one, deleting).await;
    }
    let revoking = contract.with_key(Method::POST, "/v1/token-revocations");
    let revoked = json!({ "issued_before": "2026-01-01T00:00:00Z" });
    contract.checks("/v1/token-revocations", revoking.json(&revoked)).await;
    for path in ["/healthz", "/readyz", "/metrics", "/openapi", "/openapi.json"] {
        contract.gets(path, path).await;
    }

    assert!(contract.wrong.is_empty(), "{:#?}", contract.wrong);
    let succeeded: BTreeSet<&str> = contract
        .seen
        .iter()
        .filter(|(_, status)| (200..300).contains(status))
        .map(|(operation, _)| operation.as_str())
        .collect();
    let all = operations(&contract.document);
    let all = all.iter().map(|(_, _, operation)| operation["operationId"].as_str().unwrap());
    // The streams have a test of their own.
    let streams = ["streamNotices", "connectWebSocket"];
    let missing: Vec<&str> =
        all.filter(|id| !succeeded.contains(id) && !streams.contains(id)).collect();
    assert!(missing.is_empty(), "no answer of these was checked: {missing:?}");
    app.stop().await;
}

/// A frame as it was sent, with its kind.
fn frame(received: &ReceivedEvent) -> Value {
    let mut frame = received.body.clone();
    frame["type"] = json!(received.kind);
    frame
}

#[tokio::test(flavor = "multi_thread")]
async fn every_message_of_a_stream_has_the_form_that_its_schema_states() {
    let app = TestApp::open().await;
    let call = Call::new();
    let token = app.token(ALICE).await;
    let scope = format!("server_call_id={}", urlencoded(&call.server_call_id));
    let mut events = app.subscribes(&token, &scope).await;
    let mut socket = Socket::open(&app, &token, &scope).await;
    app.event_grid_posts(&call.started()).await;
    app.call_automation_posts(&call.recording("active", Utc::now())).await;
    let components = Components::of(&document());
    let check = |name: &str, value: &Value| {
        let schema = json!({ "$ref": format!("#/components/schemas/{name}") });
        let wrong = components.errors(&schema, value);
        assert!(wrong.is_empty(), "{name} {value:#}: {wrong:#?}");
    };
    check("Snapshot", &events.receives("snapshot").await.body);
    let notice = events.receives("notice").await;
    check("Notice", &notice.body);
    let event = json!({ "event": "notice", "id": notice.id, "data": notice.body.to_string() });
    check("ServerSentEvent", &event);
    for kind in ["snapshot", "notice"] {
        check("ServerFrame", &frame(&socket.receives(kind).await));
    }
    socket.sends_json(json!({ "type": "ack" })).await;
    check("ServerFrame", &frame(&socket.receives("error").await));
    let ack = json!({ "type": "ack", "cursor": notice.id });
    check("ClientFrame", &ack);
    socket.sends_json(ack).await;
    let beat = events.receives_beat().await;
    check("Beat", &beat.body);
    // A cursor of another stream shows no completeness.
    let mut other = app.subscribes_from(&token, "", Some(&notice.id)).await;
    check("Gap", &other.receives("gap").await.body);
    app.lifecycle.stop();
    check("Bye", &events.receives("bye").await.body);
    check("ServerFrame", &frame(&socket.receives("bye").await));
    app.stop().await;
}
