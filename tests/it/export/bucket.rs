//! Exports into a bucket: a server that speaks as much of the protocol of S3 as they need.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};

use axum::Router;
use axum::body::Bytes;
use axum::extract::{Path, Query, State};
use axum::http::{HeaderMap, Method, StatusCode, header};
use axum::response::{IntoResponse, Response};
use axum::routing::any;
use reqwest::StatusCode as ClientStatus;
use serde_json::json;
use tokio::net::TcpListener;

use super::history::{Exporter, request, sha256};
use crate::support::app::until;
use crate::support::client::http;

#[derive(Clone, Default)]
struct FakeBucket(Arc<Mutex<Objects>>);

#[derive(Default)]
struct Objects {
    complete: BTreeMap<String, Vec<u8>>,
    /// By key: the parts by number.
    uploads: BTreeMap<String, BTreeMap<u32, Vec<u8>>>,
    /// Refuses parts, as a bucket whose quota is used up.
    is_full: bool,
}

impl FakeBucket {
    /// Starts the server, and returns its address.
    async fn serve(&self) -> String {
        let router = Router::new()
            .route("/bucket", any(list))
            .route("/bucket/{*key}", any(object))
            .with_state(self.clone());
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        tokio::spawn(async move { axum::serve(listener, router).await });
        format!("http://{address}")
    }

    fn keys(&self) -> Vec<String> {
        self.0.lock().unwrap().complete.keys().cloned().collect()
    }

    fn settings(address: &str) -> String {
        format!(
            "exports.store = \"s3://bucket/exports\"\nexports.s3.endpoint = \"{address}\"\nexports.s3.access_key_id = \"key\"\nexports.s3.secret_access_key = \"secret\""
        )
    }
}

type Parameters = Query<BTreeMap<String, String>>;

async fn list(State(bucket): State<FakeBucket>, Query(query): Parameters) -> String {
    let prefix = query.get("prefix").cloned().unwrap_or_default();
    let objects = bucket.0.lock().unwrap();
    let found = objects.complete.iter().filter(|(key, _)| key.starts_with(&prefix));
    let contents: String = found
        .map(|(key, bytes)| {
            format!(
                "<Contents><Key>{key}</Key><Size>{}</Size><LastModified>2026-11-29T10:00:00.000Z</LastModified><ETag>\"1\"</ETag></Contents>",
                bytes.len()
            )
        })
        .collect();
    format!("<ListBucketResult>{contents}</ListBucketResult>")
}

async fn object(
    State(bucket): State<FakeBucket>,
    Path(key): Path<String>,
    Query(query): Parameters,
    method: Method,
    headers: HeaderMap,
    body: Bytes,
) -> Response {
    let mut objects = bucket.0.lock().unwrap();
    let etag = [(header::ETAG, "\"1\"")];
    match (method.as_str(), query.contains_key("uploads"), query.get("partNumber")) {
        ("POST", true, _) => {
            objects.uploads.insert(key, BTreeMap::new());
            "<InitiateMultipartUploadResult><UploadId>1</UploadId></InitiateMultipartUploadResult>"
                .into_response()
        }
        ("PUT", _, Some(_)) if objects.is_full => {
            (StatusCode::FORBIDDEN, "<Error><Code>QuotaExceeded</Code></Error>").into_response()
        }
        ("PUT", _, Some(number)) => {
            let parts = objects.uploads.get_mut(&key).unwrap();
            parts.insert(number.parse().unwrap(), body.to_vec());
            etag.into_response()
        }
        ("POST", ..) => {
            let parts = objects.uploads.remove(&key).unwrap();
            objects.complete.insert(key, parts.into_values().flatten().collect());
            "<CompleteMultipartUploadResult><ETag>\"1\"</ETag></CompleteMultipartUploadResult>"
                .into_response()
        }
        ("DELETE", ..) => {
            if query.contains_key("uploadId") {
                objects.uploads.remove(&key);
            } else {
                objects.complete.remove(&key);
            }
            StatusCode::NO_CONTENT.into_response()
        }
        _ => {
            let Some(bytes) = objects.complete.get(&key) else {
                return (StatusCode::NOT_FOUND, "<Error><Code>NoSuchKey</Code></Error>")
                    .into_response();
            };
            let range = headers[header::RANGE].to_str().unwrap();
            let (first, last) = range.strip_prefix("bytes=").unwrap().split_once('-').unwrap();
            let (first, last): (usize, usize) = (first.parse().unwrap(), last.parse().unwrap());
            let content_range = format!("bytes {first}-{last}/{}", bytes.len());
            let head = [
                (header::ETAG, "\"1\"".to_owned()),
                (header::LAST_MODIFIED, "Sun, 29 Nov 2026 10:00:00 GMT".to_owned()),
                (header::CONTENT_RANGE, content_range),
            ];
            (StatusCode::PARTIAL_CONTENT, head, bytes[first..=last].to_vec()).into_response()
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn the_files_of_a_bucket_are_served_in_parts_and_deleted_with_their_export() {
    let bucket = FakeBucket::default();
    let address = bucket.serve().await;
    let exporter = Exporter::with(&FakeBucket::settings(&address)).await;
    let export = exporter.exported(&["calls", "events"], "ndjson").await;
    let id = export["id"].as_str().unwrap();
    let expected: Vec<String> = ["calls-1.ndjson", "events-1.ndjson", "manifest.json"]
        .iter()
        .map(|name| format!("exports/contoso/{id}/1/{name}"))
        .collect();
    assert_eq!(bucket.keys(), expected);
    for file in export["files"].as_array().unwrap() {
        let content = exporter.file(&export, file["name"].as_str().unwrap()).await;
        assert_eq!(file["sha256"], sha256(&content), "{file:#}");
    }
    let part = http().get(exporter.file_url(&export, "events-1.ndjson"));
    let part = exporter.sends(part.header("range", "bytes=10-19")).await;
    assert_eq!(part.status(), ClientStatus::PARTIAL_CONTENT);
    assert_eq!(part.bytes().await.unwrap().len(), 10);
    assert_eq!(exporter.count("export_chunk").await, 0);
    let url = exporter.app.url(&format!("/v1/exports/{id}"));
    assert_eq!(exporter.asks(http().delete(url)).await.0, ClientStatus::NO_CONTENT);
    until("the objects are deleted", || async { bucket.keys().is_empty().then_some(()) }).await;
    exporter.app.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_full_bucket_fails_the_export_with_the_reason_and_keeps_nothing() {
    let bucket = FakeBucket::default();
    bucket.0.lock().unwrap().is_full = true;
    let address = bucket.serve().await;
    let exporter = Exporter::with(&FakeBucket::settings(&address)).await;
    let id = exporter.requested(&request(&["calls"], "csv")).await;
    let export = exporter.ended(&id).await;
    assert_eq!(export["state"], "failed", "{export:#}");
    let reason = export["reason"].as_str().unwrap();
    assert!(reason.contains("the bucket cannot be used"), "{reason}");
    assert!(!reason.contains("secret"), "{reason}");
    assert_eq!(export["files"], json!([]));
    until("the upload is given up", || async {
        bucket.0.lock().unwrap().uploads.is_empty().then_some(())
    })
    .await;
    assert!(bucket.keys().is_empty());
    exporter.app.stop().await;
}
