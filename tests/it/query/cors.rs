//! Browsers of other origins may read `/v1` if their origin is configured, and nothing else.

use onrecord::http::api_role::ApiRole;
use reqwest::{Method, RequestBuilder, StatusCode};
use serde_json::json;

use crate::support::app::{SOURCE_KEY, TestApp, TestStores};
use crate::support::azure::{ALICE, Call};
use crate::support::client::http;
use crate::support::socket::Handshake;

const APP: &str = "https://app.contoso.com";
const LOCAL: &str = "http://localhost:5173";
/// The origin of an app in a web view.
const WEB_VIEW: &str = "capacitor://localhost";
/// Configured with the usual port, which no browser sends.
const USUAL_PORT: &str = "https://visits.contoso.com";

async fn app() -> TestApp {
    let stores = TestStores::shared().await;
    let origins =
        format!("cors.origins = [\"{APP}\", \"{LOCAL}\", \"{WEB_VIEW}\", \"{USUAL_PORT}:443\"]");
    let app = TestApp::with(stores, &origins).await;
    app.is_ready().await;
    app
}

/// Status, and the CORS headers, sorted.
async fn answered(request: RequestBuilder) -> (StatusCode, Vec<(String, String)>) {
    let response = request.send().await.unwrap();
    let headers = response.headers().iter();
    let mut cors: Vec<_> = headers
        .filter(|(name, _)| name.as_str().starts_with("access-control-"))
        .map(|(name, value)| (name.to_string(), value.to_str().unwrap().to_lowercase()))
        .collect();
    cors.sort();
    (response.status(), cors)
}

fn value<'a>(headers: &'a [(String, String)], name: &str) -> Option<&'a str> {
    let header = headers.iter().find(|(it, _)| it == name);
    header.map(|(_, value)| value.as_str())
}

#[tokio::test(flavor = "multi_thread")]
async fn pages_of_configured_origins_may_read_v1_only() {
    let app = app().await;
    let token = app.token(ALICE).await;
    let key = app.api_key("contoso", ApiRole::Analyst).await;
    let preflight = |path: &str, origin: &str, method: &str| {
        http()
            .request(Method::OPTIONS, app.url(path))
            .header("origin", origin)
            .header("access-control-request-method", method)
            .header("access-control-request-headers", "authorization,content-type,last-event-id")
    };
    for (path, method) in
        [("/v1/notices/stream", "GET"), ("/v1/reports", "POST"), ("/v1/calls", "GET")]
    {
        for origin in [APP, LOCAL, WEB_VIEW, USUAL_PORT] {
            let (status, cors) = answered(preflight(path, origin, method)).await;
            assert_eq!(status, StatusCode::OK);
            assert_eq!(value(&cors, "access-control-allow-origin"), Some(origin));
            let allowed = value(&cors, "access-control-allow-headers").unwrap();
            for header in [
                "authorization",
                "content-type",
                "last-event-id",
                "cache-control",
                "x-requested-with",
                "traceparent",
                "tracestate",
            ] {
                assert!(allowed.contains(header), "{allowed}");
            }
            let methods = value(&cors, "access-control-allow-methods").unwrap();
            assert!(methods.contains(&method.to_lowercase()), "{methods}");
            assert_eq!(value(&cors, "access-control-allow-credentials"), None);
        }
        for origin in [
            "https://evil.example",
            "https://app.contoso.com.evil.example",
            "http://app.contoso.com",
            "capacitor://localhost:8080",
            "ionic://localhost",
            "http://localhost",
            "https://visits.contoso.com:8443",
            "null",
        ] {
            let (_, cors) = answered(preflight(path, origin, method)).await;
            assert_eq!(value(&cors, "access-control-allow-origin"), None, "{origin}");
        }
    }

    // Answers and refusals alike, so that the page can read the error and when to retry.
    let get = |path: &str, origin: &str| http().get(app.url(path)).header("origin", origin);
    for (request, status) in [
        (get("/v1/calls", APP).bearer_auth(&key), 200),
        (get("/v1/calls", APP), 401),
        (get("/v1/indications", APP).bearer_auth(&token), 400),
        (get(&format!("/v1/notices/stream?token={token}"), APP), 200),
    ] {
        let (answer, cors) = answered(request).await;
        assert_eq!(answer.as_u16(), status);
        assert_eq!(value(&cors, "access-control-allow-origin"), Some(APP));
        assert_eq!(value(&cors, "access-control-expose-headers"), Some("retry-after"));
        assert_eq!(value(&cors, "access-control-allow-credentials"), None);
    }
    let (_, cors) = answered(get("/v1/calls", "https://evil.example").bearer_auth(&key)).await;
    assert_eq!(value(&cors, "access-control-allow-origin"), None);

    // The ingest endpoints and those for operators have no CORS headers.
    let call = Call::new().started().to_string();
    let deliver = http()
        .post(app.url("/ingest/event-grid/eg"))
        .header("origin", APP)
        .header("x-onrecord-key", SOURCE_KEY)
        .body(call);
    let handshake = http()
        .request(Method::OPTIONS, app.url("/ingest/event-grid/eg"))
        .header("origin", APP)
        .header("access-control-request-method", "POST")
        .header("webhook-request-origin", "eventgrid.azure.net");
    for (what, request) in [
        ("a delivery", deliver),
        ("a handshake", handshake),
        ("health", get("/healthz", APP)),
        ("readiness", get("/readyz", APP)),
        ("metrics", get("/metrics", APP)),
        ("operations", preflight("/metrics", APP, "GET")),
    ] {
        let (_, cors) = answered(request).await;
        assert_eq!(cors, [], "{what}");
    }
    app.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn without_configured_origins_no_cross_origin_page_may_read() {
    let app = TestApp::open().await;
    let request = http().get(app.url("/v1/calls")).header("origin", APP);
    let (_, cors) = answered(request).await;
    assert_eq!(value(&cors, "access-control-allow-origin"), None);
    app.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_page_of_an_origin_that_is_not_configured_opens_no_websocket() {
    let app = app().await;
    let token = format!("onrecord.token.{}", app.token(ALICE).await);
    let own = format!("http://{}", app.address);
    let shake = |origin: Option<&str>| {
        let handshake = Handshake::new(&app, "").protocols(&["onrecord.v1", &token]);
        match origin {
            Some(origin) => handshake.header("origin", origin),
            None => handshake,
        }
        .connect()
    };
    for origin in [None, Some(APP), Some(LOCAL), Some(WEB_VIEW), Some(USUAL_PORT), Some(&*own)] {
        assert!(shake(origin).await.is_ok(), "{origin:?}");
    }
    for origin in [
        "https://evil.example",
        "https://app.contoso.com.evil.example",
        "http://app.contoso.com",
        "http://127.0.0.1:1",
        "null",
    ] {
        let (status, problem) = shake(Some(origin)).await.err().unwrap();
        assert_eq!(status, StatusCode::FORBIDDEN, "{origin}");
        assert_eq!(problem["type"], json!("urn:onrecord:problem:forbidden"), "{origin}");
    }
    // A page cannot set the header: a client that can, names itself by it, whatever its origin.
    let bearer = app.token(ALICE).await;
    let key = app.api_key("contoso", ApiRole::App).await;
    for origin in ["https://evil.example", "null", "app://visits"] {
        for credential in [&bearer, &key] {
            let handshake = Handshake::new(&app, "").header("origin", origin).bearer(credential);
            assert!(handshake.connect().await.is_ok(), "{origin}");
        }
        let forged = Handshake::new(&app, "").header("origin", origin).bearer("a.b.c");
        assert_eq!(forged.connect().await.err().unwrap().0, StatusCode::UNAUTHORIZED);
        // The header does not speak for the token of a page.
        let forged = forged_beside(&app, origin, &token).connect().await;
        assert_eq!(forged.err().unwrap().0, StatusCode::UNAUTHORIZED);
    }
    app.stop().await;
}

/// A handshake with a forged token in the header beside a valid one as a subprotocol.
fn forged_beside(app: &TestApp, origin: &str, protocol: &str) -> Handshake {
    let handshake = Handshake::new(app, "").protocols(&["onrecord.v1", protocol]);
    handshake.header("origin", origin).bearer("a.b.c")
}

#[tokio::test(flavor = "multi_thread")]
async fn pages_without_an_origin_may_read_only_if_null_is_named() {
    let stores = TestStores::shared().await;
    let app = TestApp::with(stores, "cors.origins = [\"null\", \"http://localhost:*\"]").await;
    app.is_ready().await;
    let key = app.api_key("contoso", ApiRole::Analyst).await;
    for (origin, allowed) in [
        ("null", true),
        ("http://localhost", true),
        ("http://localhost:3000", true),
        ("https://localhost:3000", false),
        ("http://localhost.evil.example:3000", false),
        (APP, false),
    ] {
        let request = http().get(app.url("/v1/calls")).bearer_auth(&key).header("origin", origin);
        let (_, cors) = answered(request).await;
        let expected = allowed.then_some(origin);
        assert_eq!(value(&cors, "access-control-allow-origin"), expected, "{origin}");
    }
    app.stop().await;
}
