//! Every resource of `/v1` that the document has: the roles that it names may use it and no other, and a caller gets
//! nothing of another tenant, whatever ids it knows.

use std::collections::BTreeSet;
use std::fs;
use std::path::PathBuf;

use onrecord::http::api_role::ApiRole;
use reqwest::{Method, StatusCode};
use serde_json::{Value, json};
use sqlx::PgPool;

use super::call_filters::HistoryApp;
use crate::support::app::{TestApp, until};
use crate::support::client::http;

const ROLES: [ApiRole; 4] = [ApiRole::App, ApiRole::Analyst, ApiRole::Auditor, ApiRole::Admin];

/// A method and path of the document, and the roles of API keys that it names.
#[derive(Clone, Debug)]
struct DocumentedResource {
    method: Method,
    path: String,
    roles: BTreeSet<&'static str>,
}

/// All resources below `/v1`.
fn documented() -> Vec<DocumentedResource> {
    let path = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("docs/http.md");
    let document = fs::read_to_string(path).unwrap();
    let mut resources = Vec::new();
    let mut last: BTreeSet<&'static str> = BTreeSet::new();
    for line in document.lines() {
        let cells: Vec<&str> = line.split('|').map(str::trim).collect();
        let [_, resource, credential, ..] = cells.as_slice() else { continue };
        let quoted: Vec<&str> = resource.split('`').skip(1).step_by(2).collect();
        let methods = quoted.iter().filter_map(|it| {
            it.parse::<Method>().ok().filter(|_| it.chars().all(|it| it.is_ascii_uppercase()))
        });
        let methods: Vec<Method> = methods.collect();
        let paths: Vec<&&str> = quoted.iter().filter(|it| it.starts_with("/v1/")).collect();
        if methods.is_empty() || paths.is_empty() {
            continue;
        }
        if *credential != "as above" {
            last = ROLES
                .iter()
                .map(|role| role.as_str())
                .filter(|role| credential.contains(&format!("`{role}`")))
                .collect();
            if !last.is_empty() {
                last.insert(ApiRole::Admin.as_str());
            }
        }
        for path in paths {
            for method in &methods {
                let (method, path) = (method.clone(), (*path).to_owned());
                resources.push(DocumentedResource { method, path, roles: last.clone() });
            }
        }
    }
    resources
}

/// The path with these ids.
fn filled(path: &str, call: &str, id: &str, raw_id: &str) -> String {
    let purpose = if path.contains("{raw_id}") { "?purpose=a%20test" } else { "" };
    let path = path.replace("{call}", call).replace("{id}", id).replace("{version}", "9");
    path.replace("{raw_id}", &raw_id.replace(':', "%3A")).replace("{name}", "manifest.json")
        + purpose
}

async fn asks(app: &TestApp, method: &Method, path: &str, key: &str) -> (StatusCode, String) {
    let mut request = http().request(method.clone(), app.url(path)).bearer_auth(key);
    if *method != Method::GET && *method != Method::DELETE {
        request = request.json(&json!({}));
    }
    let answer = request.send().await.unwrap();
    let status = answer.status();
    let is_stream = answer
        .headers()
        .get("content-type")
        .is_some_and(|it| it.as_bytes().starts_with(b"text/event-stream"));
    let text = if is_stream { String::new() } else { answer.text().await.unwrap_or_default() };
    (status, text)
}

async fn known_key(app: &TestApp, tenant: &str, role: ApiRole) -> String {
    let key = app.api_key(tenant, role).await;
    until("the key is known", || async {
        let (status, _) = asks(app, &Method::GET, "/v1/calls?limit=1", &key).await;
        matches!(status, StatusCode::OK | StatusCode::FORBIDDEN).then_some(())
    })
    .await;
    key
}

#[tokio::test(flavor = "multi_thread")]
async fn a_resource_answers_the_roles_that_the_document_names_and_refuses_the_others() {
    let app = TestApp::open().await;
    let resources = documented();
    assert!(resources.len() > 30, "{resources:#?}");
    let id = "6fc1bd42-6ad5-4c16-8c5a-9c3b0a1d3f11";
    let mut wrong = Vec::new();
    for role in ROLES {
        let key = known_key(&app, "contoso", role).await;
        for DocumentedResource { method, path, roles } in &resources {
            let path = filled(path, id, id, "8:acs:11111111-1111-4111-8111-111111111111_1");
            let (status, text) = asks(&app, method, &path, &key).await;
            let is_refused = matches!(status, StatusCode::FORBIDDEN | StatusCode::UNAUTHORIZED);
            if is_refused == roles.contains(role.as_str()) {
                wrong.push(format!("{method} {path} as {}: {status} {text:.120}", role.as_str()));
            }
        }
    }
    // Without a credential nothing is answered.
    for DocumentedResource { method, path, .. } in &resources {
        let path = filled(path, id, id, "8:acs:11111111-1111-4111-8111-111111111111_1");
        let answer = http().request(method.clone(), app.url(&path)).json(&json!({})).send().await;
        let status = answer.unwrap().status();
        // Without an upgrade it is no request of a WebSocket, whatever its credential.
        if status != StatusCode::UNAUTHORIZED && !path.ends_with("/ws") {
            wrong.push(format!("{method} {path} without a credential: {status}"));
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
    app.stop().await;
}

/// The ids of a tenant that no other tenant has.
async fn ids(database: &PgPool, tenant: &str) -> BTreeSet<String> {
    let found: Vec<String> = sqlx::query_scalar(
        "with id as (
             select tenant, call as id from call union select tenant, anchor from call_alias union select tenant, raw_id from session
             union select tenant, participant_id from session union select tenant, id::text from exception union select tenant, id::text from entry)
         select id from id where tenant = $1 and id is not null and length(id) > 8
             and not exists (select from id as other where other.id = id.id and other.tenant <> $1)",
    )
    .bind(tenant)
    .fetch_all(database)
    .await
    .unwrap();
    found.into_iter().collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_caller_gets_nothing_of_another_tenant_from_any_resource() {
    let history = HistoryApp::open().await;
    let app = &history.app;
    let key = known_key(app, "fabrikam", ApiRole::Admin).await;
    let foreign = ids(&history.database, "contoso").await;
    assert!(foreign.len() > 500, "{}", foreign.len());
    let one = |table: &str, column: &str| {
        format!("select {column}::text from {table} where tenant = 'contoso' order by 1 limit 3")
    };
    let of = async |query: String| -> Vec<String> {
        sqlx::query_scalar(sqlx::AssertSqlSafe(query)).fetch_all(&history.database).await.unwrap()
    };
    let calls = of(one("call", "call")).await;
    let raw_ids = of("select distinct raw_id from session where tenant = 'contoso' and raw_id is not null and not exists (select from session as other where other.tenant <> 'contoso' and other.raw_id = session.raw_id) order by 1 limit 3".to_owned()).await;
    let event_ids = of(one("entry", "id")).await;
    let exception_ids = of(one("exception", "id")).await;
    let mut wrong = Vec::new();
    let mut asked = 0;
    for DocumentedResource { method, path, .. } in documented() {
        // Streams and the resources of clients belong to other roles of a node: tests/it/query/tenants.rs.
        let is_of_query = [
            "/v1/calls",
            "/v1/participants",
            "/v1/stats",
            "/v1/events",
            "/v1/exceptions",
            "/v1/outages",
            "/v1/quarantine",
            "/v1/access-log",
            "/v1/exports",
            "/v1/webhooks",
        ]
        .iter()
        .any(|prefix| path.starts_with(prefix));
        if !is_of_query || method == Method::PUT {
            continue;
        }
        let ids = if path.contains("exceptions") { &exception_ids } else { &event_ids };
        let names_one = path.contains('{');
        for number in 0..if names_one { 3 } else { 1 } {
            let (call, id, raw_id) = (&calls[number], &ids[number], &raw_ids[number]);
            let asked_path = filled(&path, call, id, raw_id);
            let (status, text) = asks(app, &method, &asked_path, &key).await;
            asked += 1;
            // It has the ids that the caller itself asked for.
            if path == "/v1/access-log" {
                continue;
            }
            let leaked = foreign.iter().find(|foreign| {
                text.contains(foreign.as_str())
                    && !asked_path.replace("%3A", ":").contains(foreign.as_str())
            });
            if let Some(leaked) = leaked {
                wrong.push(format!("{method} {asked_path}: {status} has {leaked}"));
            }
            let is_empty_person = path.contains("{raw_id}")
                && serde_json::from_str::<Value>(&text).is_ok_and(|it| it["calls"] == json!([]));
            let is_refused = matches!(
                status,
                StatusCode::NOT_FOUND | StatusCode::BAD_REQUEST | StatusCode::UNPROCESSABLE_ENTITY
            );
            if names_one && !is_refused && !is_empty_person {
                wrong.push(format!("{method} {asked_path}: {status} {text:.200}"));
            }
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
    assert!(asked > 30, "{asked}");
    // Filters by ids of the other tenant find nothing, and numbers are the tenant's own.
    for query in [
        format!("/v1/calls?q={}", calls[0]),
        format!("/v1/calls?participant={}", raw_ids[0].replace(':', "%3A")),
        format!("/v1/exceptions?call={}", calls[0]),
    ] {
        let (status, text) = asks(app, &Method::GET, &query, &key).await;
        let answer: Value = serde_json::from_str(&text).unwrap();
        let found = answer["calls"].as_array().or(answer["exceptions"].as_array());
        assert!(
            status == StatusCode::NOT_FOUND || found.is_some_and(Vec::is_empty),
            "{query}: {status} {text}"
        );
    }
    let (own, all): (i64, i64) = sqlx::query_as(
        "select count(*) filter (where tenant = 'fabrikam'), count(*) from call where started_at >= '2025-10-01' and started_at < '2025-11-01'",
    )
    .fetch_one(&history.database)
    .await
    .unwrap();
    assert!(own < all);
    let (_, text) =
        asks(app, &Method::GET, "/v1/stats/calls?from=2025-10-01&to=2025-10-31", &key).await;
    let stats: Value = serde_json::from_str(&text).unwrap();
    assert_eq!(stats["total"]["calls"], own, "{text}");
    history.app.stop().await;
}
