//! CSV, and the command, which writes the same files.

use onrecord::http::api_role::ApiRole;
use serde_json::{Value, json};
use tokio::process::Command;

use super::history::{Exporter, FROM, TO, request};

#[tokio::test(flavor = "multi_thread")]
async fn a_name_that_a_spreadsheet_would_compute_is_a_text_in_csv_and_unaltered_in_json() {
    let exporter = Exporter::with("").await;
    let database = exporter.app.stores.database().await;
    let name = "=HYPERLINK(\"http://x\",\"Ida\")";
    sqlx::query("update session set display_name = $1 where tenant = 'contoso'")
        .bind(name)
        .execute(&database)
        .await
        .unwrap();
    // A length below zero is a number and stays one.
    sqlx::query("update obligation set exposure_ms = -5 where tenant = 'contoso'")
        .execute(&database)
        .await
        .unwrap();
    let csv = exporter.exported(&["obligations"], "csv").await;
    let csv = String::from_utf8(exporter.file(&csv, "obligations-1.csv").await).unwrap();
    let quoted = ",\"'=HYPERLINK(\"\"http://x\"\",\"\"Ida\"\")\",";
    let lines: Vec<&str> = csv.split_terminator("\r\n").skip(1).collect();
    assert!(lines.len() > 100, "{}", lines.len());
    let named = lines.iter().filter(|line| line.contains(quoted)).count();
    assert!(named > 100, "{csv}");
    assert!(!csv.contains(",=") && !csv.contains(",\"="), "{csv}");
    assert!(lines.iter().all(|line| line.contains(",-5,")), "{csv}");

    let json = exporter.exported(&["obligations"], "ndjson").await;
    let json = exporter.file(&json, "obligations-1.ndjson").await;
    let first = json.split(|byte| *byte == b'\n').next().unwrap();
    let first: Value = serde_json::from_slice(first).unwrap();
    assert_eq!(first["exposure_ms"], -5);
    exporter.app.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_filter_and_a_period_select_rows() {
    let exporter = Exporter::with("").await;
    let rows = async |body: &Value| {
        let id = exporter.requested(body).await;
        let export = exporter.ended(&id).await;
        assert_eq!(export["state"], "done", "{export:#}");
        export["rows"].as_i64().unwrap()
    };
    let with = |what: &str, member: &str, value: Value| {
        let mut body = request(&[what], "csv");
        body[member] = value;
        body
    };
    let all = rows(&request(&["calls"], "csv")).await;
    let verdicts = json!({ "verdict": ["EXCEPTIONS", "PENDING"] });
    let some = rows(&with("calls", "filter", verdicts)).await;
    assert!(0 < some && some < all, "{some} of {all}");
    let app = json!({ "app": ["contoso-ios/5.4.0"] });
    let of_app = rows(&with("obligations", "filter", app)).await;
    let database = exporter.app.stores.database().await;
    let expected: i64 = sqlx::query_scalar(
        "select count(*) from reading.obligations where tenant = 'contoso' and app = 'contoso-ios/5.4.0'",
    )
    .fetch_one(&database)
    .await
    .unwrap();
    assert_eq!(of_app, expected);
    let day = rows(&with("calls", "to", json!("2025-10-25T00:00:00Z"))).await;
    assert!(0 < day && day < all, "{day} of {all}");
    let none = rows(&with("calls", "to", json!("2025-10-16T00:00:01Z"))).await;
    assert_eq!(none, 0);
    exporter.app.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_command_writes_the_files_of_an_export_or_nothing() {
    let exporter = Exporter::with("").await;
    let export = exporter.exported(&["exception_history"], "csv").await;
    let expected = exporter.file(&export, "exception_history-1.csv").await;
    let folder = tempfile::tempdir().unwrap();
    let out = folder.path().join("out");
    let url = exporter.app.stores.database_url.clone();
    let run = async |more: &[&str]| {
        let mut command = Command::new(env!("CARGO_BIN_EXE_onrecord"));
        command.args(["export", "--tenant", "contoso", "--format", "csv"]);
        command.args(["--from", FROM, "--to", TO, "--out"]).arg(&out).args(more);
        command.env("ONRECORD_DATABASE_URL", &url).current_dir(folder.path());
        let output = command.output().await.unwrap();
        let text = |bytes| String::from_utf8(bytes).unwrap();
        (output.status.success(), text(output.stdout), text(output.stderr))
    };
    let (is_done, _, error) = run(&["--what", "calls", "--app", "x"]).await;
    assert!(!is_done && error.contains("/filter/app: the view calls has no column app"), "{error}");
    assert!(folder.path().read_dir().unwrap().next().is_none());

    let (is_done, said, error) = run(&["--what", "exception_history,calls"]).await;
    assert!(is_done, "{error}");
    assert!(said.contains("calls-1.csv"), "{said}");
    assert_eq!(std::fs::read(out.join("exception_history-1.csv")).unwrap(), expected);
    let manifest = std::fs::read(out.join("manifest.json")).unwrap();
    let manifest: Value = serde_json::from_slice(&manifest).unwrap();
    assert_eq!(manifest["tenant"], "contoso");
    let names = || folder.path().read_dir().unwrap().map(|it| it.unwrap().file_name());
    assert_eq!(names().collect::<Vec<_>>(), ["out"]);

    let (is_done, _, error) = run(&["--what", "calls"]).await;
    assert!(!is_done && error.contains("is not empty"), "{error}");
    // Its parent is a file.
    let nowhere = out.join("manifest.json").join("out");
    let nowhere = nowhere.to_str().unwrap();
    let (is_done, _, error) = run(&["--what", "calls", "--out", nowhere]).await;
    assert!(!is_done, "{error}");
    exporter.app.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_export_has_the_rows_of_its_tenant_only() {
    let exporter = Exporter::with("").await;
    let key = exporter.app.api_key("fabrikam", ApiRole::Auditor).await;
    let exporter = Exporter { key, ..exporter };
    let views = ["calls", "obligations_all", "events", "exceptions", "notices", "captures_hourly"];
    let export = exporter.exported(&views, "ndjson").await;
    assert!(export["rows"].as_i64().unwrap() > 0, "{export:#}");
    for file in export["files"].as_array().unwrap() {
        let content = exporter.file(&export, file["name"].as_str().unwrap()).await;
        let text = String::from_utf8(content).unwrap();
        if file["view"].is_null() {
            assert!(text.contains("\"tenant\": \"fabrikam\""), "{text}");
            continue;
        }
        for line in text.lines() {
            assert!(line.starts_with("{\"tenant\":\"fabrikam\","), "{line}");
        }
    }
    exporter.app.stop().await;
}
