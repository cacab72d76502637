//! Texts of strangers in pages: names, user agents and ids are shown as texts, whatever they contain.

use chrono::Utc;
use onrecord::http::api_role::ApiRole;
use serde_json::json;
use uuid::Uuid;

use super::browser::ConsoleBrowser;
use super::pages::assert_strict;
use crate::support::app::TestApp;
use crate::support::azure::{ALICE, Call};

pub(super) const PAYLOADS: [&str; 8] = [
    "<script>alert(1)</script>",
    "\"><img src=x onerror=alert(1)>",
    "'><svg/onload=alert(1)>",
    "</title><script src=//attacker.example></script>",
    "{{7*7}}{% raw %}",
    "javascript:alert(1)",
    "<a hx-get=/console/sign-out hx-trigger=load>",
    "=HYPERLINK(\"http://attacker.example\")",
];

#[tokio::test(flavor = "multi_thread")]
async fn what_strangers_write_is_text_on_each_page() {
    let mut app = TestApp::open().await;
    let call = Call::new();
    app.event_grid_posts(&call.started()).await;
    for payload in PAYLOADS {
        let mut joined = call.joined(ALICE, &Uuid::new_v4().to_string());
        joined[0]["data"]["displayName"] = json!(payload);
        joined[0]["data"]["userAgent"] = json!(payload);
        joined[0]["id"] = json!(format!("{payload}{}", Uuid::new_v4()));
        app.event_grid_posts(&joined).await;
    }
    app.call_automation_posts(&call.recording("active", Utc::now())).await;
    let path = format!("/v1/calls/{}", call.correlation);
    let detail = app
        .sees(&path, |it| {
            it["participants"].as_array().is_some_and(|them| them.len() == PAYLOADS.len())
                && it["recorded"] == true
        })
        .await;
    assert!(detail["names"].to_string().contains("<script>"));
    let timeline = app.reads(&format!("{path}/timeline?limit=1000")).await;
    let mut browser = ConsoleBrowser::signed_in(&app, "contoso", ApiRole::Auditor).await;
    let of_call = format!("/console/calls/{}", call.correlation);
    let mut paths =
        vec!["/console/calls".to_owned(), of_call.clone(), format!("{of_call}/entries")];
    let events = timeline["events"].as_array().unwrap().iter();
    let originals = events.filter(|it| it["sha256"].is_string());
    paths.extend(originals.map(|it| format!("/console/events/{}", it["id"].as_str().unwrap())));
    for payload in PAYLOADS {
        paths.push(format!("/console/calls?q={}", crate::end_to_end::urlencoded(payload)));
    }
    for path in paths {
        let page = browser.gets(&path).await;
        let html = &page.html;
        for tag in ["<script>", "<img", "<svg/", "<a hx-get", "onerror=alert(1)>\""] {
            assert!(!html.contains(tag), "{path} has {tag}");
        }
        let scripts = html.matches("<script").count();
        assert_eq!(scripts, html.matches("<script src=\"/console/assets/").count(), "{path}");
    }
    let page = browser.opens("/console/glossary").await;
    assert_strict("/console/glossary", &page);
    let csv = browser.opens("/console/calls.csv").await;
    assert!(!csv.html.contains(",=HYPERLINK") && !csv.html.contains("\n=HYPERLINK"));
    app.stop().await;
}
