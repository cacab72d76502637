//! `/metrics`: what it has, and where it is served.

use std::io::{Read as _, Write as _};
use std::net::{TcpListener, TcpStream};

use onrecord::http::api_role::ApiRole;
use reqwest::StatusCode;

use super::process::Program;
use crate::support::app::{TestApp, TestStores, until};
use crate::support::client::http;
use crate::support::postgres::fresh_database;

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
            "onrecord_kafka_consumer_lag_messages{client=\"ledger\",",
            "onrecord_kafka_consumer_lag_messages{client=\"live\",",
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

/// Posts this often on one connection, with a key that no source has. All answers are 503.
fn posts(address: &str, count: usize) {
    const AT_ONCE: usize = 50;
    const STATUS: &str = "HTTP/1.1 503";
    let mut connection = TcpStream::connect(address).unwrap();
    let post = format!(
        "POST /ingest/event-grid/eg HTTP/1.1\r\nhost: {address}\r\nx-onrecord-key: another\r\ncontent-type: application/json\r\ncontent-length: 2\r\n\r\n[]"
    );
    let posts = post.repeat(AT_ONCE);
    let mut received = Vec::new();
    let mut buffer = [0; 64 * 1024];
    for _ in 0..count / AT_ONCE {
        connection.write_all(posts.as_bytes()).unwrap();
        received.clear();
        // The last answer may still be incomplete; the rest of it is read with the next ones.
        while String::from_utf8_lossy(&received).matches(STATUS).count() < AT_ONCE {
            let read = connection.read(&mut buffer).unwrap();
            assert_ne!(read, 0, "the connection ended");
            received.extend_from_slice(&buffer[..read]);
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn memory_does_not_grow_with_two_hundred_thousand_posts_that_nothing_scrapes() {
    const POSTS: usize = 200_000;
    const CONNECTIONS: usize = 4;
    let database_url = fresh_database().await;
    let hash = onrecord::config::KeyHash::of("the key");
    let settings = format!(
        "listen = \"127.0.0.1:0\"\ndatabase_url = \"{database_url}\"\nkafka_brokers = \"127.0.0.1:1\"\n[sources.eg]\nkind = \"event-grid\"\ntenant = \"contoso\"\nkeys = [\"{hash}\"]\n"
    );
    let program = Program::with_settings(|file| std::fs::write(file, settings).unwrap()).await;
    let address = program.address.trim_start_matches("http://").to_owned();
    let all_post = async |count: usize| {
        let connections = (0..CONNECTIONS).map(|_| {
            let address = address.clone();
            tokio::task::spawn_blocking(move || posts(&address, count / CONNECTIONS))
        });
        for connection in connections.collect::<Vec<_>>() {
            connection.await.unwrap();
        }
    };
    all_post(POSTS / 2).await;
    let before = program.resident_kib();
    all_post(POSTS / 2).await;
    let after = program.resident_kib();
    assert!(after < before + 8 * 1024, "{before} KiB, then {after} KiB");
    let metrics = http().get(format!("{}/metrics", program.address)).send().await.unwrap();
    let metrics = metrics.text().await.unwrap();
    let count = format!("onrecord_ingest_response_seconds_count {POSTS}");
    assert!(metrics.contains(&count), "{metrics}");
    program.ends();
}
