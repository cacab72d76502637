//! Texts that PostgreSQL does not store are refused before the log or a store takes them.

use onrecord::http::api_role::ApiRole;
use reqwest::{Method, StatusCode};
use serde_json::Value;
use uuid::Uuid;

use super::{DocumentedResource, documented_resources};
use crate::end_to_end::urlencoded;
use crate::support::app::TestApp;
use crate::support::azure::{ALICE, Call, report};
use crate::support::client::http;

/// Sends a request; returns the status and the answer.
async fn sends(
    app: &TestApp,
    credential: &str,
    method: &str,
    path: &str,
    body: Option<&str>,
) -> (StatusCode, Value) {
    let method = Method::from_bytes(method.as_bytes()).unwrap();
    let mut request = http().request(method, app.url(path)).bearer_auth(credential);
    if let Some(body) = body {
        request = request.header("content-type", "application/json").body(body.to_owned());
    }
    let response = request.send().await.unwrap();
    (response.status(), response.json().await.unwrap())
}

#[tokio::test(flavor = "multi_thread")]
async fn every_resource_refuses_a_text_that_cannot_be_stored_and_names_its_member() {
    let app = TestApp::open().await;
    let (admin, alice) = (app.api_key("contoso", ApiRole::Admin).await, app.token(ALICE).await);
    let resources = documented_resources();
    assert!(resources.len() >= 20, "{resources:?}");
    for DocumentedResource { method, path, has_body, .. } in &resources {
        let by_client = matches!(path.as_str(), "/v1/reports" | "/v1/acknowledgements");
        let credential = if by_client { &alice } else { &admin };
        if method == "GET" {
            let (status, problem) =
                sends(&app, credential, method, &format!("{path}?cursor=a%00b"), None).await;
            let is_checked = (status, problem["member"].as_str());
            // A resource without parameters looks none up.
            assert!(
                is_checked == (StatusCode::BAD_REQUEST, Some("cursor"))
                    || status == StatusCode::NOT_FOUND,
                "{path}: {problem}"
            );
            continue;
        }
        if !has_body {
            continue;
        }
        for escape in [r"\u0000", r"\ud800", r"x\udc00y"] {
            // An item of a batch is refused by itself.
            if path == "/v1/acknowledgements" {
                let item = format!(
                    r#"[{{"id":"1","attachment":"{}","type":"recording","kind":"displayed","state":"on","text":{{"version":"{escape}","sha256":"0","locale":"de"}}}}]"#,
                    Uuid::new_v4()
                );
                let (_, results) = sends(&app, credential, method, path, Some(&item)).await;
                assert_eq!(results[0]["problem"]["status"], 400, "{results}");
                assert_eq!(results[0]["problem"]["member"], "/0/text/version", "{results}");
                continue;
            }
            for (body, member) in [
                (format!(r#"{{"a":[{{"b/c":"{escape}"}}]}}"#), "/a/0/b~1c"),
                (format!(r#"{{"a":{{"{escape}":1}}}}"#), "/a"),
            ] {
                let (status, problem) = sends(&app, credential, method, path, Some(&body)).await;
                assert_eq!(status, StatusCode::BAD_REQUEST, "{method} {path}: {problem}");
                assert_eq!(problem["member"], member, "{method} {path}: {problem}");
            }
        }
    }
    app.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_id_in_a_path_that_cannot_be_stored_names_nothing() {
    let app = TestApp::open().await;
    let admin = app.api_key("contoso", ApiRole::Admin).await;
    let id = "5b3c1f6e-6d0a-4c86-8a34-0d7cf2f2f6a1";
    for DocumentedResource { method, path, .. } in documented_resources() {
        // The last two are an id of a call in the form of an alias, and an invalid escape.
        for wrong in ["a%00b", "s-%00", "a-%00%ed%a0%80"] {
            let path = path.replace(id, wrong).replace("texts/1", &format!("texts/{wrong}"));
            if !path.contains(wrong) {
                continue;
            }
            let body = (method != "GET")
                .then_some(r#"{"reason":"long enough a reason","texts":{"de":"x"}}"#);
            let (status, problem) = sends(&app, &admin, &method, &path, body).await;
            assert!(
                status == StatusCode::BAD_REQUEST || status == StatusCode::NOT_FOUND,
                "{method} {path}: {status} {problem}"
            );
        }
    }
    app.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_refused_report_is_in_no_state_and_the_next_ones_are_taken() {
    let app = TestApp::open().await;
    let (alice, call, attachment) = (app.token(ALICE).await, Call::new(), Uuid::new_v4());
    let states = |more: Value| {
        let mut stated =
            serde_json::json!({ "server_call_id": call.server_call_id, "recording": "on" });
        stated.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
        report(&attachment, 1, &stated)
    };
    let too_long = "x".repeat(257);
    for (more, member) in [
        (serde_json::json!({ "app": "a\u{0}b" }), "/app"),
        (serde_json::json!({ "thread_id": "\u{0}" }), "/thread_id"),
        (serde_json::json!({ "participant_id": "\u{1}" }), "/participant_id"),
        (serde_json::json!({ "app": too_long }), "/app"),
        (serde_json::json!({ "sdk": too_long }), "/sdk"),
        (
            serde_json::json!({ "shown": [{ "type": "recording", "state": "on", "text": { "version": too_long, "sha256": "0", "locale": "de" } }] }),
            "/shown/0/text/version",
        ),
    ] {
        let (status, problem) = app.reports(&alice, &states(more)).await;
        assert_eq!(status, StatusCode::BAD_REQUEST, "{problem}");
        assert_eq!(problem["member"], member, "{problem}");
    }
    let query = format!("server_call_id={}", urlencoded(&call.server_call_id));
    let path = format!("/v1/indications?{query}");
    let (_, level) = sends(&app, &alice, "GET", &path, None).await;
    assert_eq!(level["indication"]["recording"]["state"], "unknown", "{level}");
    let (status, answer) = app.reports(&alice, &states(serde_json::json!({}))).await;
    assert_eq!(status, StatusCode::OK, "{answer}");
    assert_eq!(answer["indication"]["recording"]["state"], "on", "{answer}");
    app.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_batch_of_acknowledgements_has_a_maximum_size() {
    let app = TestApp::open().await;
    let alice = app.token(ALICE).await;
    let large = format!("[{}1]", " ".repeat(256 * 1024));
    let (status, problem) = sends(&app, &alice, "POST", "/v1/acknowledgements", Some(&large)).await;
    assert_eq!(status, StatusCode::PAYLOAD_TOO_LARGE, "{problem}");
    app.stop().await;
}
