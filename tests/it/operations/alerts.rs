//! The counters begin at 0, and each alert of docs/alerts.yaml fires at the first occurrence.

use std::process::Command;

use crate::repository::source::{root, text};
use crate::support::app::{TestApp, TestStores};
use crate::support::client::http;
use crate::support::requirements::has_promtool;

/// The names in the first column of the tables of docs/metrics.md whose second column is this.
fn documented(kind: &str) -> Vec<String> {
    let metrics = text("docs/metrics.md");
    let rows = metrics.lines().filter(|line| line.contains(&format!("` | {kind} |")));
    rows.filter_map(|row| row.split('`').nth(1)).map(str::to_owned).collect()
}

/// The reasons in docs/metrics.md why a delivery to a configured source is rejected.
fn reasons_of_rejection() -> Vec<String> {
    let metrics = text("docs/metrics.md");
    let (_, reasons) = metrics.split_once("### Reasons of rejection\n").unwrap();
    let (reasons, _) = reasons.split_once("\n## ").unwrap();
    let rows = reasons.lines().filter(|line| line.starts_with("| `") && !line.contains("`reason`"));
    let cells = rows.filter_map(|row| row.split('|').nth(1));
    let names = cells.flat_map(|cell| cell.split('`').skip(1).step_by(2)).map(str::to_owned);
    names.collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn every_counter_is_exported_as_0_from_the_start() {
    // A source of its own, for which no other test of the process counts.
    let source = format!(
        "[sources.fresh-eg]\nkind = \"event-grid\"\ntenant = \"contoso\"\nkeys = [\"sha256:{}\"]",
        "0".repeat(64)
    );
    let app = TestApp::with(TestStores::shared().await, &source).await;
    app.is_ready().await;
    let metrics = http().get(app.url("/metrics")).send().await.unwrap().text().await.unwrap();
    let counters = documented("counter");
    assert!(counters.len() > 15, "{counters:?}");
    for name in counters {
        let has_value =
            |line: &str| line.strip_prefix(&*name).is_some_and(|rest| rest.starts_with(['{', ' ']));
        assert!(metrics.lines().any(has_value), "{name} has no value");
    }
    let reasons = reasons_of_rejection();
    assert!(reasons.len() > 15, "{reasons:?}");
    for reason in reasons {
        let line = format!(
            "onrecord_ingest_rejected_total{{source=\"fresh-eg\",reason=\"{reason}\"}} 0\n"
        );
        assert!(metrics.contains(&line), "{line}");
    }
    for line in [
        "onrecord_ingest_deliveries_total{source=\"fresh-eg\",status=\"200\"} 0\n",
        "onrecord_ingest_quarantined_total{source=\"fresh-eg\",reason=\"not_json\"} 0\n",
        "onrecord_ingest_events_total{source=\"fresh-eg\",type=\"call.started\"} 0\n",
        "onrecord_ingest_flagged_members_total{source=\"fresh-eg\",reason=\"wrong_type\"} 0\n",
    ] {
        assert!(metrics.contains(line), "{line}");
    }
    for counter in [
        "onrecord_publish_messages_total{destination=\"none\"} ",
        "onrecord_stream_gaps_total{reader=\"live\"} ",
        "onrecord_ledger_entries_total{outcome=\"conflict\"} ",
        "onrecord_ingest_jwks_fetches_total{outcome=\"succeeded\"} ",
        "onrecord_exceptions_opened_total{kind=\"NOT_SENT\"} ",
        "onrecord_exceptions_closed_total{kind=\"NOT_SENT\",by=\"hand\"} ",
        "onrecord_notice_facts_lost_total ",
    ] {
        assert!(metrics.contains(counter), "{counter}");
    }
    app.stop().await;
}

#[test]
fn each_alert_fires_at_the_first_occurrence_and_not_before() {
    let rules = text("docs/alerts.yaml");
    let tests = text("tests/data/alerts_test.yaml");
    let alerts = rules.split("- alert: ").skip(1).filter_map(|alert| alert.lines().next());
    let untested: Vec<&str> = alerts
        .filter(|alert| {
            let fires = format!("labels: 'ALERTS{{alertname=\"{alert}\", alertstate=\"firing\"");
            !tests.contains(&fires)
        })
        .collect();
    assert!(untested.is_empty(), "tests/data/alerts_test.yaml does not test {untested:?}");
    if !has_promtool() {
        return;
    }
    let promtool = |arguments: &[&str]| {
        let ran = Command::new("promtool").args(arguments).current_dir(root()).output().unwrap();
        let said = [ran.stdout, ran.stderr].concat();
        assert!(ran.status.success(), "{}", String::from_utf8_lossy(&said));
    };
    promtool(&["check", "rules", "docs/alerts.yaml"]);
    promtool(&["test", "rules", "tests/data/alerts_test.yaml"]);
}
