//! Who may export, and how much at a time.

use onrecord::http::api_role::ApiRole;
use reqwest::{Method, StatusCode};
use serde_json::{Value, json};

use super::history::{Exporter, request};
use crate::support::client::http;

#[tokio::test(flavor = "multi_thread")]
async fn no_route_of_exports_is_open_to_another_tenant_or_to_an_app() {
    let exporter = Exporter::with("").await;
    let export = exporter.exported(&["calls"], "csv").await;
    let id = export["id"].as_str().unwrap();
    let body = request(&["calls"], "csv");
    let routes = [
        (Method::GET, "/v1/exports".to_owned()),
        (Method::POST, "/v1/exports".to_owned()),
        (Method::GET, format!("/v1/exports/{id}")),
        (Method::GET, format!("/v1/exports/{id}/files/calls-1.csv")),
        (Method::GET, format!("/v1/exports/{id}/files/manifest.json")),
        (Method::DELETE, format!("/v1/exports/{id}")),
    ];
    let asks = async |exporter: &Exporter, (method, path): &(Method, String)| {
        let mut asked = http().request(method.clone(), exporter.app.url(path));
        if *method == Method::POST {
            asked = asked.json(&body);
        }
        exporter.asks(asked).await
    };
    let app_key = exporter.app.api_key("contoso", ApiRole::App).await;
    let fabrikam = exporter.app.api_key("fabrikam", ApiRole::Admin).await;
    let analyst = exporter.key.clone();
    let exporter = Exporter { key: app_key, ..exporter };
    for route in &routes {
        let (status, problem) = asks(&exporter, route).await;
        assert_eq!(status, StatusCode::FORBIDDEN, "{route:?}: {problem:#}");
    }
    let exporter = Exporter { key: "onr_unknown".to_owned(), ..exporter };
    for route in &routes {
        let (status, problem) = asks(&exporter, route).await;
        assert_eq!(status, StatusCode::UNAUTHORIZED, "{route:?}: {problem:#}");
    }
    let exporter = Exporter { key: fabrikam, ..exporter };
    let (status, list) = asks(&exporter, &routes[0]).await;
    assert_eq!((status, &list["exports"]), (StatusCode::OK, &json!([])), "{list:#}");
    for route in &routes[2..] {
        let (status, problem) = asks(&exporter, route).await;
        assert_eq!(status, StatusCode::NOT_FOUND, "{route:?}: {problem:#}");
    }
    for role in [ApiRole::Analyst, ApiRole::Auditor, ApiRole::Admin] {
        let key = exporter.app.api_key("contoso", role).await;
        let answer = http().get(exporter.app.url(&routes[2].1)).bearer_auth(&key).send().await;
        assert_eq!(answer.unwrap().status(), StatusCode::OK, "{role:?}");
    }
    // The download of its own tenant is in the access log, and no other.
    let exporter = Exporter { key: analyst.clone(), ..exporter };
    exporter.file(&export, "calls-1.csv").await;
    let logged = async || -> Vec<(String, Option<String>, Option<String>)> {
        let database = exporter.app.stores.database().await;
        sqlx::query_as(
            "select tenant, subject, purpose from access_log where what = 'export' order by at",
        )
        .fetch_all(&database)
        .await
        .unwrap()
    };
    let row = |purpose: Option<&str>| {
        ("contoso".to_owned(), Some(id.to_owned()), purpose.map(str::to_owned))
    };
    assert_eq!(logged().await, [row(None)]);
    let stated = http()
        .get(exporter.app.url(&format!("/v1/exports/{id}/files/calls-1.csv")))
        .bearer_auth(&exporter.key)
        .header("x-onrecord-purpose", "case 17");
    assert_eq!(stated.send().await.unwrap().status(), StatusCode::OK);
    assert_eq!(logged().await, [row(None), row(Some("case 17"))]);
    // It is still there for its own tenant.
    let exporter = Exporter { key: analyst, ..exporter };
    let (status, list) = asks(&exporter, &routes[0]).await;
    assert_eq!(status, StatusCode::OK);
    let ids: Vec<&Value> = list["exports"].as_array().unwrap().iter().map(|it| &it["id"]).collect();
    assert_eq!(ids, [&export["id"]]);
    exporter.app.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_tenant_has_a_limited_number_of_unfinished_exports_and_of_running_ones() {
    let exporter = Exporter::with("").await;
    let database = exporter.app.stores.database().await;
    // One that runs on another node for a while.
    let id = exporter.exported(&["calls"], "csv").await["id"].as_str().unwrap().to_owned();
    sqlx::query("delete from export_file").execute(&database).await.unwrap();
    sqlx::query(
        "update export set state = 'running', owner = 'another', lease_until = now() + interval '1 hour', finished_at = null, expires_at = null",
    )
    .execute(&database)
    .await
    .unwrap();
    for _ in 1..20 {
        exporter.requested(&request(&["calls"], "csv")).await;
    }
    let (status, problem) = exporter.requests(&request(&["calls"], "csv")).await;
    assert_eq!(status, StatusCode::TOO_MANY_REQUESTS, "{problem:#}");
    let running: i64 =
        sqlx::query_scalar("select count(*) from export where state <> 'queued' or attempts > 0")
            .fetch_one(&database)
            .await
            .unwrap();
    assert_eq!(running, 1, "those of the tenant wait for the one that runs");
    // Another tenant does not wait for it.
    let key = exporter.app.api_key("fabrikam", ApiRole::Analyst).await;
    let other = Exporter { key, app: exporter.app };
    other.exported(&["calls"], "csv").await;
    // When its node is gone, it is begun again, and all of them are done.
    sqlx::query("update export set lease_until = now() where owner = 'another'")
        .execute(&database)
        .await
        .unwrap();
    let key = other.app.api_key("contoso", ApiRole::Analyst).await;
    let exporter = Exporter { key, app: other.app };
    let export = exporter.ended(&id).await;
    assert_eq!(export["state"], "done", "{export:#}");
    exporter.app.stop().await;
}
