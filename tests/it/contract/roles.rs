//! The credentials that the description states are those that the service accepts.

use std::collections::BTreeMap;

use onrecord::http::api_role::ApiRole;
use reqwest::{Method, StatusCode};
use serde_json::{Value, json};
use uuid::Uuid;

use super::schemas::{document, operations};
use crate::support::app::TestApp;
use crate::support::azure::ALICE;
use crate::support::client::http;

const ROLES: [ApiRole; 4] = [ApiRole::App, ApiRole::Analyst, ApiRole::Auditor, ApiRole::Admin];

/// The roles that an operation states for one of its schemes.
fn stated(operation: &Value, scheme: &str) -> Option<Vec<String>> {
    let alternatives = operation["security"].as_array().unwrap();
    let roles = alternatives.iter().find_map(|it| it.get(scheme))?;
    Some(serde_json::from_value(roles.clone()).unwrap())
}

#[tokio::test(flavor = "multi_thread")]
async fn each_operation_accepts_exactly_the_credentials_that_its_description_states() {
    let app = TestApp::open().await;
    let mut keys = BTreeMap::new();
    for role in ROLES {
        keys.insert(role.as_str(), app.api_key("contoso", role).await);
    }
    let token = app.token(ALICE).await;
    let mut wrong = Vec::new();
    let mut checked = 0;
    for (method, path, operation) in operations(&document()) {
        if !path.starts_with("/v1/") {
            continue;
        }
        let place = format!("{method} {path}");
        let with = |bearer: Option<&str>| {
            let url =
                app.url(&path.replace("{id}", &Uuid::nil().to_string()).replace(['{', '}'], ""));
            let method = Method::from_bytes(method.to_uppercase().as_bytes()).unwrap();
            let mut request = http().request(method, url);
            if let Some(bearer) = bearer {
                request = request.bearer_auth(bearer);
            }
            // A body that no resource takes: the credential is checked first.
            request.json(&json!({ "no": "member" })).send()
        };
        let anonymous = with(None).await.unwrap().status();
        if anonymous != StatusCode::UNAUTHORIZED && path != "/v1/notices/ws" {
            wrong.push(format!("{place}: {anonymous} without a credential"));
        }
        let roles = stated(&operation, "api_key").unwrap_or_default();
        assert_eq!(stated(&operation, "api_key_header").unwrap_or_default(), roles);
        for (role, key) in &keys {
            let status = with(Some(key)).await.unwrap().status();
            let accepted = !matches!(status, StatusCode::UNAUTHORIZED | StatusCode::FORBIDDEN);
            if accepted != roles.iter().any(|it| it == role) {
                wrong.push(format!("{place}: {status} for the role {role}, stated are {roles:?}"));
            }
            checked += 1;
        }
        let status = with(Some(&token)).await.unwrap().status();
        let accepted = !matches!(status, StatusCode::UNAUTHORIZED | StatusCode::FORBIDDEN);
        if accepted != stated(&operation, "subscriber_token").is_some() {
            wrong.push(format!("{place}: {status} for a subscriber token"));
        }
    }
    assert!(checked > 100, "{checked}");
    assert!(wrong.is_empty(), "{wrong:#?}");
    app.stop().await;
}
