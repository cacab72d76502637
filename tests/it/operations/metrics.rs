//! `/metrics`: what it has, and where it is served.

use std::net::TcpListener;

use onrecord::http::api_role::ApiRole;
use reqwest::StatusCode;

use crate::support::app::{TestApp, TestStores, until};
use crate::support::client::http;

#[tokio::test(flavor = "multi_thread")]
async fn metrics_are_described_and_cover_requests_stores_and_the_process() {
    let app = TestApp::open().await;
    let key = app.api_key("contoso", ApiRole::Analyst).await;
    for (path, status) in [("/v1/calls", 200), ("/v1/calls/unknown-call", 404), ("/v1/no", 404)] {
        until("an answer", || async {
            let answer = http().get(app.url(path)).bearer_auth(&key).send().await.unwrap();
            (answer.status() == status).then_some(())
        })
        .await;
    }
    let text = until("all metrics", || async {
        let text = http().get(app.url("/metrics")).send().await.ok()?.text().await.ok()?;
        let wanted = [
            "onrecord_http_requests_total{method=\"GET\",route=\"/v1/calls\",status=\"200\"}",
            "onrecord_http_requests_total{method=\"GET\",route=\"/v1/calls/{call}\",status=\"404\"}",
            "onrecord_http_response_seconds_bucket{method=\"GET\",route=\"/v1/calls\",le=",
            "onrecord_build_info{",
            "onrecord_postgres_connections{pool=\"readers\",state=\"idle\"}",
            "onrecord_kafka_round_trip_seconds{broker=",
            "onrecord_kafka_producer_queue_messages ",
            "process_resident_memory_bytes ",
            "process_open_fds ",
        ];
        wanted.iter().all(|metric| text.contains(metric)).then_some(text)
    })
    .await;
    for line in text.lines() {
        if let Some((name, _)) = line.strip_prefix("# TYPE ").and_then(|it| it.split_once(' ')) {
            assert!(text.contains(&format!("# HELP {name} ")), "{name} has no description");
        }
    }
    app.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn operations_have_an_address_of_their_own_if_it_is_set() {
    let free = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    let more = format!("[operations]\nlisten = \"{free}\"");
    let app = TestApp::with(TestStores::shared().await, &more).await;
    for path in ["/healthz", "/readyz", "/metrics"] {
        until("an answer of the operations", || async {
            let answer = http().get(format!("http://{free}{path}")).send().await.ok()?;
            (answer.status() == StatusCode::OK).then_some(())
        })
        .await;
        let answer = http().get(app.url(path)).send().await.unwrap();
        assert_eq!(answer.status(), StatusCode::NOT_FOUND, "{path}");
    }
    app.stop().await;
    assert!(http().get(format!("http://{free}/healthz")).send().await.is_err());
}
