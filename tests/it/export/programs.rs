//! What analysts read exports with: DuckDB and Arrow, from PyPI.

use std::fs;
use std::path::{Path, PathBuf};

use serde_json::Value;
use tokio::process::Command;

use super::history::Exporter;
use crate::support::python::python;

/// The questions that DuckDB answers with the SQL of the document.
const QUESTIONS: std::ops::RangeInclusive<u32> = 1..=20;

/// The views that the questions and the formats are examined with.
const VIEWS: [&str; 10] = [
    "calls",
    "participants",
    "sessions",
    "captures",
    "obligations",
    "exceptions",
    "outages",
    "events",
    "notice_latency_hourly",
    "captures_hourly",
];

fn root() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR"))
}

/// The cells of an answer, and numbers as numbers: 0.0 is 0.
fn values(answer: &str) -> Vec<Vec<String>> {
    let value = |cell: &str| {
        let number = cell.parse::<f64>().map(|number| number.to_string());
        number.unwrap_or_else(|_| cell.to_owned())
    };
    answer.lines().map(|line| line.split(',').map(value).collect()).collect()
}

/// Downloads all files of an export.
async fn download(exporter: &Exporter, format: &str, folder: &Path) {
    let export = exporter.exported(&VIEWS, format).await;
    for file in export["files"].as_array().unwrap() {
        let name = file["name"].as_str().unwrap();
        fs::write(folder.join(name), exporter.file(&export, name).await).unwrap();
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn duckdb_over_parquet_gives_the_answers_of_sql_and_arrow_reads_real_types() {
    let Some(python) = tokio::task::spawn_blocking(python).await.unwrap() else {
        return;
    };
    let exporter = Exporter::with("exports.file_rows = 100").await;
    let (parquet, csv) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    download(&exporter, "parquet", parquet.path()).await;
    download(&exporter, "csv", csv.path()).await;
    let output = Command::new(python)
        .arg(root().join("tests/data/export/questions.py"))
        .arg(root().join("docs/sql.md"))
        .args([parquet.path(), csv.path()])
        .output()
        .await
        .unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let found: Value = serde_json::from_slice(&output.stdout).unwrap();
    let mut differences = Vec::new();
    for number in QUESTIONS {
        let expected = root().join(format!("tests/data/sql/answers/{number:02}.csv"));
        let expected = fs::read_to_string(expected).unwrap();
        let answered = found["answers"][number.to_string()].as_str().unwrap();
        if values(answered) != values(&expected) {
            differences.push(format!("question {number}:\n{expected}\nand by DuckDB:\n{answered}"));
        }
    }
    assert!(differences.is_empty(), "{}", differences.join("\n"));

    let manifest = fs::read_to_string(parquet.path().join("manifest.json")).unwrap();
    let manifest: Value = serde_json::from_str(&manifest).unwrap();
    for view in manifest["views"].as_array().unwrap() {
        let name = view["view"].as_str().unwrap();
        let read = &found["read"][name];
        for program in ["arrow_rows", "duckdb_rows", "csv_rows_of_duckdb", "csv_rows_of_arrow"] {
            assert_eq!(read[program], view["rows"], "{name} {program}");
        }
        assert_eq!(read["compression"], serde_json::json!(["ZSTD"]), "{name}");
        assert_eq!(read["has_dictionaries"], true, "{name}");
    }
    for (view, column, arrow_type) in [
        ("calls", "started_at", "timestamp[us, tz=UTC]"),
        ("calls", "duration_ms", "int64"),
        ("calls", "verdict_version", "int32"),
        ("calls", "recorded", "bool"),
        ("calls", "verdict", "string"),
        ("events", "event", "string"),
        ("events", "xid", "uint64"),
    ] {
        assert_eq!(found["read"][view]["types"][column], arrow_type, "{view}.{column}");
    }
    let flags = found["read"]["calls"]["types"]["flags"].as_str().unwrap();
    assert!(flags.starts_with("list<element: string"), "{flags}");
    exporter.app.stop().await;
}
