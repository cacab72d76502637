//! `TENANT_ISOLATION`: another tenant tries every route with every id.

use chrono::Utc;
use onrecord::http::api_role::ApiRole;
use reqwest::{Method, StatusCode};
use serde_json::{Value, json};
use uuid::Uuid;

use crate::end_to_end::urlencoded;
use crate::live::acknowledgements::{are_accepted, displayed, reports_state};
use crate::support::app::{TestApp, until};
use crate::support::azure::{ALICE, Call};
use crate::support::client::{Stream, http};

/// A session that forgot its tenant must not look like a tenant without data.
#[tokio::test(flavor = "multi_thread")]
async fn a_reader_without_a_tenant_gets_an_error_from_every_table_of_a_tenant() {
    let app = TestApp::open().await;
    let database = app.stores.database().await;
    let tables: Vec<String> =
        sqlx::query_scalar("select name from readable_tables() where of_tenant")
            .fetch_all(&database)
            .await
            .unwrap();
    assert!(tables.len() > 15, "{tables:?}");
    let mut connection = database.acquire().await.unwrap();
    for settings in ["", "set onrecord.tenant = '';", "set onrecord.tenant = 'contoso';"] {
        for table in &tables {
            let read =
                format!("set role onrecord_reader; {settings} select count(*) from {table};");
            let read = sqlx::raw_sql(sqlx::AssertSqlSafe(read)).execute(&mut *connection).await;
            match read {
                Ok(_) => assert!(settings.contains("contoso"), "{table} {settings}"),
                Err(error) => {
                    assert!(error.to_string().contains("no tenant is set"), "{table}: {error}");
                    assert!(!settings.contains("contoso"), "{table}: {error}");
                }
            }
        }
    }
    app.stop().await;
}

/// The data of one tenant.
struct TenantData {
    call: Call,
    attachment: Uuid,
    token: String,
    cursor: String,
    event: String,
    exception: String,
}

/// A recorded call with every kind of data.
async fn tenant_data(app: &mut TestApp) -> TenantData {
    let (call, attachment) = (Call::new(), Uuid::new_v4());
    let token = app.token(ALICE).await;
    let mut stream = app.subscribes(&token, &format!("attachment={attachment}")).await;
    app.event_grid_posts(&call.started()).await;
    app.call_automation_posts(&call.callback("CallConnected", Utc::now(), &json!({}))).await;
    app.call_automation_posts(&call.recording("active", Utc::now())).await;
    let on = json!({ "server_call_id": call.server_call_id, "recording": "on" });
    reports_state(app, &token, &attachment, 1, &on).await;
    are_accepted(app, &token, &[displayed(&attachment, &json!({}))]).await;
    let cursor = stream.receives_recording("on").await.id;
    let (status, _) = app.posts("/ingest/event-grid/eg", "no JSON").await;
    assert_eq!(status, StatusCode::OK);
    let key = app.api_key("contoso", ApiRole::Admin).await;
    until("a text", || async {
        let registered = http()
            .put(app.url("/v1/notice-texts/1"))
            .bearer_auth(&key)
            .json(&json!({ "texts": { "en": "This call is recorded." } }));
        (registered.send().await.unwrap().status() == StatusCode::CREATED).then_some(())
    })
    .await;
    // Enough wrong keys beside a silence of the source are an outage.
    for _ in 0..10 {
        let refused = http()
            .post(app.url("/ingest/event-grid/eg"))
            .header("x-onrecord-key", "a wrong one")
            .body("[]");
        assert_eq!(refused.send().await.unwrap().status(), 503);
    }
    let database = app.stores.database().await;
    until("the source is known", async || {
        let set_back = "update source_use set last_used_at = last_used_at - interval '1 hour' where source = 'eg'";
        let found = sqlx::query(set_back).execute(&database).await.unwrap();
        (found.rows_affected() > 0).then_some(())
    })
    .await;
    app.sees("/v1/outages", |it| it["outages"] != json!([])).await;
    let quarantined = app.sees("/v1/exceptions", |it| it["exceptions"] != json!([])).await;
    let events = app.sees("/v1/events", |it| it["events"].as_array().unwrap().len() >= 4).await;
    TenantData {
        call,
        attachment,
        token,
        cursor,
        event: events["events"][0]["id"].as_str().unwrap().to_owned(),
        exception: quarantined["exceptions"][0]["id"].as_str().unwrap().to_owned(),
    }
}

/// A caller of the other tenant.
struct OtherTenant<'h> {
    app: &'h TestApp,
    key: String,
    token: String,
}

impl<'h> OtherTenant<'h> {
    async fn to(app: &'h TestApp) -> Self {
        let key = app.api_key("fabrikam", ApiRole::Admin).await;
        let order = json!({ "participant": { "raw_id": ALICE } });
        // The same person, as the other tenant names them.
        let token = until("a token", || async {
            let asked =
                http().post(app.url("/v1/subscriber-tokens")).bearer_auth(&key).json(&order);
            let minted = asked.send().await.ok()?;
            if minted.status() != StatusCode::CREATED {
                return None;
            }
            let minted: Value = minted.json().await.ok()?;
            Some(minted["token"].as_str()?.to_owned())
        })
        .await;
        Self { app, key, token }
    }

    async fn asks(
        &self,
        method: Method,
        path: &str,
        bearer: &str,
        body: Option<&Value>,
    ) -> (StatusCode, Value) {
        let mut asked = http().request(method, self.app.url(path)).bearer_auth(bearer);
        if let Some(body) = body {
            asked = asked.json(body);
        }
        let answer = asked.send().await.unwrap();
        (answer.status(), answer.json().await.unwrap_or_default())
    }
}

/// Waits until the node knows a new key, which it looks up at its first use.
async fn key_is_known(app: &TestApp, key: &str) {
    until("the key is known", || async {
        let asked = http().get(app.url("/v1/calls")).bearer_auth(key);
        (asked.send().await.unwrap().status() == StatusCode::OK).then_some(())
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn no_route_returns_data_of_another_tenant() {
    let mut app = TestApp::open().await;
    let tenant_data = tenant_data(&mut app).await;
    let other = OtherTenant::to(&app).await;
    let TenantData { call, attachment, event, exception, .. } = &tenant_data;
    let attachment_text = attachment.to_string();
    let server_call_id = urlencoded(&call.server_call_id);
    let aliases = [
        call.correlation.as_str(),
        server_call_id.as_str(),
        call.leg.as_str(),
        attachment_text.as_str(),
    ];
    let mut unknown: Vec<(Method, String)> = Vec::new();
    for alias in aliases {
        for below in ["", "/timeline", "/evidence", "/facts"] {
            unknown.push((Method::GET, format!("/v1/calls/{alias}{below}")));
        }
    }
    unknown.extend([
        (Method::GET, format!("/v1/events/{event}")),
        (Method::GET, format!("/v1/exceptions/{exception}")),
        (Method::POST, format!("/v1/exceptions/{exception}/close")),
    ]);
    let reason = json!({ "reason": "it is not mine, but I try to close it" });
    for (method, path) in unknown {
        let body = (method == Method::POST).then_some(&reason);
        let (status, answer) = other.asks(method, &path, &other.key, body).await;
        assert_eq!(status, StatusCode::NOT_FOUND, "{path}: {answer:#}");
    }

    let correlation = &call.correlation;
    let key = app.api_key("contoso", ApiRole::Admin).await;
    key_is_known(&app, &key).await;
    for (path, list) in [
        ("/v1/calls".to_owned(), "calls"),
        ("/v1/events".to_owned(), "events"),
        (format!("/v1/events?call={correlation}"), "events"),
        ("/v1/quarantine".to_owned(), "quarantined"),
        ("/v1/outages".to_owned(), "outages"),
        ("/v1/exceptions".to_owned(), "exceptions"),
        (format!("/v1/exceptions?call={correlation}"), "exceptions"),
        ("/v1/notice-texts".to_owned(), "versions"),
    ] {
        // Data of a call of the first tenant is unknown or empty.
        let (status, answer) = other.asks(Method::GET, &path, &other.key, None).await;
        if status == StatusCode::OK {
            assert_eq!(answer[list], json!([]), "{path}: {answer:#}");
        } else {
            assert_eq!(status, StatusCode::NOT_FOUND, "{path}: {answer:#}");
        }
        let (status, own) = other.asks(Method::GET, &path, &key, None).await;
        let found = own[list].as_array().map_or(0, Vec::len);
        // No exception is of this call.
        if !path.starts_with("/v1/exceptions?") {
            assert!(status == StatusCode::OK && found > 0, "{path}: {own:#}");
        }
    }
    app.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn no_stream_or_report_crosses_tenants() {
    let mut app = TestApp::open().await;
    let tenant_data = tenant_data(&mut app).await;
    let other = OtherTenant::to(&app).await;
    let server_call_id = urlencoded(&tenant_data.call.server_call_id);
    let scopes = [
        format!("attachment={}", tenant_data.attachment),
        format!("server_call_id={server_call_id}"),
    ];
    for scope in &scopes {
        for bearer in [&other.key, &other.token] {
            let path = format!("/v1/indications?{scope}");
            let (status, level) = other.asks(Method::GET, &path, bearer, None).await;
            assert_eq!(status, StatusCode::OK, "{level:#}");
            assert_eq!(level["indication"]["recording"]["state"], "unknown", "{level:#}");
            assert!(level["call"].is_null(), "{level:#}");
            // Not even with the first tenant's cursor.
            let url = app.url(&format!("/v1/notices/stream?{scope}"));
            let mut stream = Stream::open(url, bearer, Some(&tenant_data.cursor)).await;
            stream.receives("gap").await;
            let snapshot = stream.receives("snapshot").await;
            assert_eq!(snapshot.recording(), "unknown");
        }
    }
    // Reports of the other tenant about the same ids stay in that tenant.
    let off = json!({
        "report_id": Uuid::new_v4(), "attachment": tenant_data.attachment, "sequence": 99,
        "server_call_id": tenant_data.call.server_call_id, "recording": "off",
    });
    let (status, answer) = other.asks(Method::POST, "/v1/reports", &other.token, Some(&off)).await;
    assert_eq!(status, StatusCode::OK, "{answer:#}");
    assert_ne!(answer["call"], tenant_data.call.correlation.as_str());
    assert_eq!(answer["indication"]["recording"]["state"], "off");
    let hidden = displayed(&tenant_data.attachment, &json!({ "kind": "hidden" }));
    let (status, _) = other
        .asks(Method::POST, "/v1/acknowledgements", &other.token, Some(&json!([hidden])))
        .await;
    assert_eq!(status, StatusCode::OK);
    let path_of_reported_call = format!("/v1/calls/{}/timeline?limit=1000", tenant_data.attachment);
    until("another tenant's text", || async {
        let (_, timeline) = other.asks(Method::GET, &path_of_reported_call, &other.key, None).await;
        timeline.to_string().contains("notice.hidden").then_some(())
    })
    .await;
    let path = format!("/v1/indications?attachment={}", tenant_data.attachment);
    let (_, level) = other.asks(Method::GET, &path, &tenant_data.token, None).await;
    assert_eq!(level["indication"]["recording"]["state"], "on", "{level:#}");
    let timeline =
        app.reads(&format!("/v1/calls/{}/timeline?limit=1000", tenant_data.call.correlation)).await;
    assert!(!timeline.to_string().contains("notice.hidden"), "{timeline:#}");
    app.stop().await;
}
