//! Requests for exports, their files, and their end.

use std::collections::BTreeMap;

use reqwest::{Method, StatusCode, header};
use serde_json::{Value, json};
use sqlx::AssertSqlSafe;

use super::history::{Exporter, request, sha256};
use crate::support::app::until;
use crate::support::client::http;

#[tokio::test(flavor = "multi_thread")]
async fn the_files_of_an_export_have_the_rows_of_every_view_and_its_manifest_proves_them() {
    let exporter = Exporter::with("").await;
    let views = [
        "calls",
        "participants",
        "sessions",
        "captures",
        "obligations",
        "obligations_all",
        "exceptions",
        "exception_history",
        "notices",
        "events",
        "outages",
        "notice_latency_hourly",
        "captures_hourly",
    ];
    let (status, accepted) = exporter.requests(&request(&views, "ndjson")).await;
    assert_eq!(status, StatusCode::ACCEPTED, "{accepted:#}");
    assert!(accepted["estimated_rows"].as_i64().unwrap() > 0, "{accepted:#}");
    let export = exporter.ended(accepted["id"].as_str().unwrap()).await;
    assert_eq!(export["state"], "done", "{export:#}");
    let manifest = exporter.file(&export, "manifest.json").await;
    let manifest: Value = serde_json::from_slice(&manifest).unwrap();
    assert_eq!(manifest["complete_through"], export["complete_through"]);
    assert!(manifest["complete_through"].is_string(), "{manifest:#}");
    assert_eq!(manifest["what"], json!(views));
    assert_eq!(manifest["format"], "ndjson");

    let mut rows_by_view = BTreeMap::new();
    for file in manifest["files"].as_array().unwrap() {
        let content = exporter.file(&export, file["name"].as_str().unwrap()).await;
        assert_eq!(file["sha256"], sha256(&content), "{file:#}");
        assert_eq!(file["bytes"], content.len(), "{file:#}");
        let rows: Vec<Value> = content
            .split(|byte| *byte == b'\n')
            .filter(|line| !line.is_empty())
            .map(|line| serde_json::from_slice(line).unwrap())
            .collect();
        assert_eq!(file["rows"], rows.len(), "{file:#}");
        rows_by_view.insert(file["view"].as_str().unwrap().to_owned(), rows);
    }
    let database = exporter.app.stores.database().await;
    for described in manifest["views"].as_array().unwrap() {
        let view = described["view"].as_str().unwrap();
        let rows = &rows_by_view[view];
        assert!(!rows.is_empty(), "{view}");
        let query = format!(
            "select count(*) from reading.{view} where coalesce(tenant, 'contoso') = 'contoso'"
        );
        let expected: i64 =
            sqlx::query_scalar(AssertSqlSafe(query)).fetch_one(&database).await.unwrap();
        // All of the history, but for an outage that began when its heartbeats ended.
        if view != "outages" {
            assert_eq!(i64::try_from(rows.len()).unwrap(), expected, "{view}");
        }
        assert!(described["comment"].as_str().unwrap().contains(" · row: "), "{described:#}");
        let columns = described["columns"].as_array().unwrap();
        let names: Vec<&str> = columns.iter().map(|it| it["name"].as_str().unwrap()).collect();
        let first = rows[0].as_object().unwrap();
        assert!(first.keys().all(|name| names.contains(&name.as_str())), "{view}");
        assert_eq!(first.len(), names.len());
        assert!(columns.iter().all(|it| it["comment"].as_str().unwrap().len() > 10), "{view}");
        let time = described["time_column"].as_str().unwrap();
        let times: Vec<Option<&str>> = rows.iter().map(|row| row[time].as_str()).collect();
        let known = times.iter().flatten();
        assert!(known.is_sorted(), "{view} is sorted by {time}");
    }
    exporter.app.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_request_that_makes_no_sense_is_answered_400_with_the_member_and_the_allowed_values() {
    let exporter = Exporter::with("").await;
    let good = request(&["calls"], "csv");
    for (change, member, said) in [
        (json!({ "what": ["call"] }), "/what/0", "obligations_all"),
        (json!({ "what": [] }), "/what", "one view or more"),
        (json!({ "what": ["calls", "calls"] }), "/what", "each of them once"),
        (json!({ "format": "xlsx" }), "/format", "ndjson"),
        (json!({ "from": "yesterday" }), "/from", "RFC 3339"),
        (json!({ "to": "2025-10-16T00:00:00Z" }), "/to", "to is after from"),
        (json!({ "filter": { "app": ["x"] } }), "/filter/app", "calls has no column app"),
        (json!({ "filter": { "verdict": ["GOOD"] } }), "/filter/verdict", "UNOBSERVED"),
        (json!({ "filter": { "kind": ["phone"] } }), "/filter/kind", "two_party"),
        (json!({ "filter": { "name": ["x"] } }), "/filter/name", "unknown field"),
        (json!({ "filters": {} }), "/filters", "unknown field"),
    ] {
        let mut wrong = good.clone();
        for (name, value) in change.as_object().unwrap() {
            wrong[name] = value.clone();
        }
        let (status, problem) = exporter.requests(&wrong).await;
        assert_eq!(status, StatusCode::BAD_REQUEST, "{change}: {problem:#}");
        assert_eq!(problem["member"], member, "{problem:#}");
        assert!(problem.to_string().contains(said), "{said}: {problem:#}");
    }
    assert_eq!(exporter.count("export").await, 0);
    exporter.app.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_export_that_is_too_large_is_refused_before_it_starts() {
    let exporter = Exporter::with("exports.max_rows = 20").await;
    let (status, problem) = exporter.requests(&request(&["calls", "events"], "csv")).await;
    assert_eq!(status, StatusCode::UNPROCESSABLE_ENTITY, "{problem:#}");
    let detail = problem["detail"].as_str().unwrap();
    assert!(detail.contains("calls and events would have about"), "{detail}");
    assert!(detail.contains("at most 20"), "{detail}");
    assert_eq!(exporter.count("export").await, 0);
    exporter.app.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_export_that_the_estimate_took_for_smaller_fails_with_the_limit_and_leaves_no_file() {
    let exporter = Exporter::with("").await;
    let id = exporter.requested(&request(&["calls", "events"], "csv")).await;
    exporter.ended(&id).await;
    let stores = exporter.app.stores.clone();
    exporter.app.stop().await;
    // The same request, taken before the limit was lowered.
    let database = stores.database().await;
    let again =
        "update export set state = 'queued', finished_at = null, expires_at = null, attempts = 0";
    sqlx::query(again).execute(&database).await.unwrap();
    sqlx::query("delete from export_file").execute(&database).await.unwrap();
    let exporter = Exporter::on(stores, "exports.max_rows = 100").await;
    let export = exporter.ended(&id).await;
    assert_eq!(export["state"], "failed", "{export:#}");
    let reason = export["reason"].as_str().unwrap();
    assert!(reason.contains("more than 100 rows"), "{reason}");
    assert_eq!(export["files"], json!([]));
    until("the chunks are deleted", || async {
        (exporter.count("export_chunk").await == 0).then_some(())
    })
    .await;
    exporter.app.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_download_is_continued_where_it_stopped() {
    let exporter = Exporter::with("").await;
    let export = exporter.exported(&["events"], "ndjson").await;
    let url = exporter.file_url(&export, "events-1.ndjson");
    let whole = exporter.file(&export, "events-1.ndjson").await;
    let head = exporter.sends(http().head(&url)).await;
    assert_eq!(head.status(), StatusCode::OK);
    let header_of = |answer: &reqwest::Response, name: &str| {
        answer.headers().get(name).map(|value| value.to_str().unwrap().to_owned())
    };
    let length = whole.len();
    assert_eq!(header_of(&head, "content-length"), Some(length.to_string()));
    assert_eq!(header_of(&head, "accept-ranges").as_deref(), Some("bytes"));
    assert_eq!(header_of(&head, "content-type").as_deref(), Some("application/x-ndjson"));
    let etag = header_of(&head, "etag").unwrap();
    assert_eq!(etag, format!("\"{}\"", sha256(&whole)));
    assert!(header_of(&head, "repr-digest").unwrap().starts_with("sha-256=:"));
    assert!(length > 3000, "{length}");

    let get = |range: &str| http().get(&url).header(header::RANGE, range);
    let first = exporter.sends(get("bytes=0-999")).await;
    assert_eq!(first.status(), StatusCode::PARTIAL_CONTENT);
    assert_eq!(header_of(&first, "content-range"), Some(format!("bytes 0-999/{length}")));
    let mut joined = first.bytes().await.unwrap().to_vec();
    let rest = get("bytes=1000-").header(header::IF_RANGE, &etag);
    let rest = exporter.sends(rest).await;
    assert_eq!(rest.status(), StatusCode::PARTIAL_CONTENT);
    joined.extend(rest.bytes().await.unwrap());
    assert!(joined == whole);
    let last = exporter.sends(get("bytes=-100")).await;
    assert_eq!(last.bytes().await.unwrap(), whole[length - 100..]);

    // Of another file, the whole one is sent.
    let other = get("bytes=1000-").header(header::IF_RANGE, "\"another\"");
    let other = exporter.sends(other).await;
    assert_eq!(other.status(), StatusCode::OK);
    assert!(other.bytes().await.unwrap() == whole);
    let beyond = exporter.sends(get(&format!("bytes={length}-"))).await;
    assert_eq!(beyond.status(), StatusCode::RANGE_NOT_SATISFIABLE);
    assert_eq!(header_of(&beyond, "content-range"), Some(format!("bytes */{length}")));
    let known = exporter.sends(http().get(&url).header(header::IF_NONE_MATCH, &etag)).await;
    assert_eq!(known.status(), StatusCode::NOT_MODIFIED);
    exporter.app.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_download_across_chunks_has_every_byte() {
    let exporter = Exporter::with("").await;
    let database = exporter.app.stores.database().await;
    // Some 3 MiB of events.
    let more = "update entry set ce_id = ce_id || repeat('x', 4000) where tenant = 'contoso'";
    sqlx::query(more).execute(&database).await.unwrap();
    let export = exporter.exported(&["events"], "csv").await;
    let whole = exporter.file(&export, "events-1.csv").await;
    assert!(exporter.count("export_chunk").await > 2, "{}", whole.len());
    assert_eq!(export["files"][0]["sha256"], sha256(&whole));
    let (start, end) = ((1 << 20) - 5, (2 << 20) + 5);
    let part = http().get(exporter.file_url(&export, "events-1.csv"));
    let part = part.header(header::RANGE, format!("bytes={start}-{}", end - 1));
    let part = exporter.sends(part).await.bytes().await.unwrap();
    assert!(part == whole[start..end]);
    exporter.app.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_large_export_is_split_into_files_that_together_have_each_row_once() {
    let exporter = Exporter::with("exports.file_rows = 50").await;
    let export = exporter.exported(&["calls"], "csv").await;
    let files = export["files"].as_array().unwrap();
    let rows: i64 = files.iter().map(|file| file["rows"].as_i64().unwrap()).sum();
    assert_eq!(export["rows"], rows);
    assert!(files.len() > 3, "{export:#}");
    let mut calls = Vec::new();
    for file in files.iter().filter(|file| file["view"] == "calls") {
        assert!(file["rows"].as_i64().unwrap() <= 50, "{file:#}");
        let content = exporter.file(&export, file["name"].as_str().unwrap()).await;
        let text = String::from_utf8(content).unwrap();
        let (header, lines) = text.split_once("\r\n").unwrap();
        assert!(header.starts_with("tenant,call,"), "{header}");
        calls.extend(lines.lines().map(|line| line.split(',').nth(1).unwrap().to_owned()));
    }
    assert_eq!(i64::try_from(calls.len()).unwrap(), rows);
    calls.sort();
    calls.dedup();
    assert_eq!(i64::try_from(calls.len()).unwrap(), rows);
    exporter.app.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_export_ends_with_its_content_when_it_is_deleted_or_its_time_is_over() {
    let exporter = Exporter::with("").await;
    let deleted = exporter.exported(&["calls"], "csv").await;
    let expired = exporter.exported(&["calls"], "csv").await;
    let url = |export: &Value| {
        exporter.app.url(&format!("/v1/exports/{}", export["id"].as_str().unwrap()))
    };
    let (status, _) = exporter.asks(http().delete(url(&deleted))).await;
    assert_eq!(status, StatusCode::NO_CONTENT);
    for (method, path) in [
        (Method::GET, url(&deleted)),
        (Method::DELETE, url(&deleted)),
        (Method::GET, exporter.file_url(&deleted, "calls-1.csv")),
    ] {
        let (status, problem) = exporter.asks(http().request(method, path)).await;
        assert_eq!(status, StatusCode::NOT_FOUND, "{problem:#}");
    }
    let database = exporter.app.stores.database().await;
    sqlx::query("update export set expires_at = now() where state = 'done'")
        .execute(&database)
        .await
        .unwrap();
    until("both are deleted", || async {
        let left = exporter.count("export").await
            + exporter.count("export_file").await
            + exporter.count("export_chunk").await;
        (left == 0).then_some(())
    })
    .await;
    let (status, _) = exporter.asks(http().get(url(&expired))).await;
    assert_eq!(status, StatusCode::NOT_FOUND);
    exporter.app.stop().await;
}
