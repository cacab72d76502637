//! The pages: what they show, their headers, and what they do when something is wrong.

use chrono::Utc;
use onrecord::http::api_role::ApiRole;
use reqwest::StatusCode;
use serde_json::{Value, json};
use uuid::Uuid;

use super::browser::{ConsoleBrowser, LoadedPage};
use crate::live::acknowledgements::{are_accepted, displayed, reports_state};
use crate::support::app::TestApp;
use crate::support::azure::{ALICE, BOB, Call};

/// A recorded call of which its participant was told; it has ended.
pub async fn recorded_call(app: &mut TestApp) -> Call {
    let (call, attachment) = (Call::new(), Uuid::new_v4());
    let token = app.token(ALICE).await;
    let mut stream = app.subscribes(&token, &format!("attachment={attachment}")).await;
    app.event_grid_posts(&call.started()).await;
    let participant = Uuid::new_v4().to_string();
    app.event_grid_posts(&call.joined(ALICE, &participant)).await;
    app.event_grid_posts(&call.joined(BOB, &Uuid::new_v4().to_string())).await;
    app.call_automation_posts(&call.recording("active", Utc::now())).await;
    let on = json!({ "server_call_id": call.server_call_id, "participant_id": participant, "recording": "on" });
    reports_state(app, &token, &attachment, 1, &on).await;
    stream.receives_recording("on").await;
    are_accepted(app, &token, &[displayed(&attachment, &json!({}))]).await;
    app.call_automation_posts(&call.recording("inactive", Utc::now())).await;
    app.event_grid_posts(&call.ended()).await;
    let path = format!("/v1/calls/{}/evidence", call.correlation);
    app.sees(&path, |it| it["report"]["call"]["ended_at"].is_i64() && told(it).is_some()).await;
    call
}

/// The obligation of which the evidence says when the notice was shown.
fn told(evidence: &Value) -> Option<&Value> {
    let obligations = evidence["report"]["obligations"].as_array()?;
    obligations.iter().find(|it| it["shown_at"].is_i64())
}

/// The pages that each reader has.
pub const READER_PAGES: [&str; 14] = [
    "/console/",
    "/console/calls",
    "/console/live",
    "/console/exceptions",
    "/console/people",
    "/console/analytics",
    "/console/analytics/7",
    "/console/analytics/7/answer",
    "/console/exports",
    "/console/sources",
    "/console/sources/setup",
    "/console/health",
    "/console/glossary",
    "/console/styleguide",
];

/// The pages of auditors.
pub const AUDITOR_PAGES: [&str; 3] =
    ["/console/access", "/console/deliveries", "/console/quarantine"];

/// Fails if a page has what its content security policy forbids, or another host.
pub fn assert_strict(path: &str, page: &LoadedPage) {
    let header = |name: &str| page.headers[name].to_str().unwrap().to_owned();
    let policy = header("content-security-policy");
    for part in
        ["default-src 'none'", "frame-ancestors 'none'", "base-uri 'none'", "form-action 'self'"]
    {
        assert!(policy.contains(part), "{path}: {policy}");
    }
    assert!(!policy.contains("unsafe") && !policy.contains("http"), "{path}: {policy}");
    assert_eq!(header("x-frame-options"), "DENY");
    assert_eq!(header("x-content-type-options"), "nosniff");
    assert_eq!(header("cache-control"), "no-store");
    let html = &page.html;
    for forbidden in
        [" style=", "<style", "javascript:", " onclick", " onload", " onerror", "hx-on", "<iframe"]
    {
        assert!(!html.contains(forbidden), "{path} has {forbidden}");
    }
    for reference in html.split(" src=\"").skip(1).chain(html.split(" href=\"").skip(1)) {
        let target = reference.split('"').next().unwrap();
        let is_own = target.starts_with('/') || target.starts_with('#') || target.starts_with('?');
        assert!(is_own, "{path} refers to {target}");
    }
    assert_eq!(html.matches("<h1").count(), 1 + usize::from(path.contains("styleguide")), "{path}");
    assert!(html.len() < 150_000, "{path} has {} bytes", html.len());
}

#[tokio::test(flavor = "multi_thread")]
async fn each_page_is_strict_and_complete_in_both_languages() {
    let mut app = TestApp::open().await;
    let call = recorded_call(&mut app).await.correlation;
    let timeline = app.reads(&format!("/v1/calls/{call}/timeline")).await;
    let event = timeline["events"].as_array().unwrap().iter().find(|it| it["sha256"].is_string());
    let event = event.unwrap()["id"].as_str().unwrap().to_owned();
    let mut browser = ConsoleBrowser::signed_in(&app, "contoso", ApiRole::Auditor).await;
    let of_call = format!("/console/calls/{call}");
    let paths = [
        of_call.clone(),
        format!("{of_call}?version=1"),
        format!("{of_call}?window=0-500&tz=Europe%2FBerlin"),
        format!("{of_call}/entries"),
        format!("{of_call}/report"),
        format!("{of_call}/report?tz=Europe%2FBerlin"),
        format!("/console/events/{event}"),
    ];
    for (language, word) in [("en", "Sign out"), ("de-AT,de;q=0.9", "Abmelden")] {
        browser.headers = vec![("accept-language", language.to_owned())];
        let of_all = READER_PAGES.into_iter().chain(AUDITOR_PAGES).map(str::to_owned);
        for path in of_all.collect::<Vec<_>>().iter().chain(&paths) {
            let page = browser.opens(path).await;
            assert_strict(path, &page);
            assert!(page.html.contains(word) || path.contains("/report"), "{path}");
            let tag = &language[..2];
            assert!(page.html.contains(&format!("<html lang=\"{tag}\"")), "{path}");
            // A text without words would be one of the catalogue that is missing.
            assert!(!page.html.contains(">…<"), "{path}");
        }
    }
    let sign_in = ConsoleBrowser::of(&app).gets("/console/sign-in").await;
    assert_strict("/console/sign-in", &sign_in);
    app.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_page_of_a_call_has_what_the_api_answers() {
    let mut app = TestApp::open().await;
    let call = recorded_call(&mut app).await;
    let evidence = app.reads(&format!("/v1/calls/{}/evidence", call.correlation)).await;
    let mut browser = ConsoleBrowser::signed_in(&app, "contoso", ApiRole::Analyst).await;
    // Any id of the call leads to it.
    let by_other_id =
        format!("/console/calls/{}", crate::end_to_end::urlencoded(&call.server_call_id));
    for path in [format!("/console/calls/{}", call.correlation), by_other_id] {
        let page = browser.opens(&path).await;
        // Groups of digits have a narrow space between them.
        let exposure = told(&evidence).unwrap()["exposure_ms"].as_i64().unwrap();
        assert!(page.html.replace('\u{202f}', "").contains(&format!("{exposure} ms")), "{path}");
        let status = told(&evidence).unwrap()["status"].as_str().unwrap();
        let words = if status == "MET" { "shown in time" } else { "shown too late" };
        assert!(page.html.contains(words) && page.html.contains("another party notifies"));
        assert!(page.html.contains("<svg class=\"chart\"") && page.html.contains(ALICE));
        let why = evidence["why"].as_array().unwrap().iter().map(|it| it["rule"].as_str().unwrap());
        for rule in why.filter(|rule| !rule.contains("another party")) {
            assert!(page.html.contains(rule), "{rule}");
        }
        assert!(page.html.contains("Its facts give this report again"));
        // Each instant has a zone.
        let berlin = browser.opens(&format!("{path}?tz=Europe%2FBerlin")).await;
        assert!(berlin.html.contains(" CET") || berlin.html.contains(" CEST"));
    }
    let log = app.reads(&format!("/v1/access-log?call={}&what=call", call.correlation)).await;
    let routes: Vec<&str> = log["accesses"]
        .as_array()
        .unwrap()
        .iter()
        .map(|it| it["route"].as_str().unwrap())
        .collect();
    assert_eq!(routes.iter().filter(|it| **it == "GET /console/calls/{call}").count(), 4);
    app.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_report_has_each_person_and_is_a_file_without_references() {
    let mut app = TestApp::open().await;
    let call = recorded_call(&mut app).await.correlation;
    let mut browser = ConsoleBrowser::signed_in(&app, "contoso", ApiRole::Auditor).await;
    let path = format!("/console/calls/{call}/report?tz=Europe%2FBerlin");
    let page = browser.opens(&path).await;
    let file = browser.opens(&format!("{path}&file=1")).await;
    for document in [&page, &file] {
        for part in [
            "Evidence report",
            "Summary",
            ALICE,
            BOB,
            "another party notifies",
            "On the screen",
            "What this report does not prove",
            "onrecord evidence recompute",
            "Complete through",
            " UTC = ",
        ] {
            assert!(document.html.contains(part), "{part}");
        }
    }
    let disposition = file.headers["content-disposition"].to_str().unwrap();
    assert_eq!(disposition, format!("attachment; filename=\"evidence-{call}.html\""));
    for outside in ["<script", "<link", " src=", "@import", "href=\"/"] {
        assert!(!file.html.contains(outside), "{outside}");
    }
    app.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_list_has_the_rows_of_the_api_and_the_same_ones_as_csv() {
    let mut app = TestApp::open().await;
    let call = recorded_call(&mut app).await.correlation;
    let open = Call::new();
    app.event_grid_posts(&open.started()).await;
    app.sees("/v1/calls", |it| it["calls"].as_array().unwrap().len() == 2).await;
    let mut browser = ConsoleBrowser::signed_in(&app, "contoso", ApiRole::Analyst).await;
    let page = browser.opens("/console/calls").await;
    assert!(page.html.contains("Found: 2"));
    for id in [&call, &open.correlation] {
        assert!(page.html.contains(&format!("href=\"/console/calls/{id}\"")));
    }
    // Empty fields of the form are no filter.
    let path = "/console/calls?q=&from=&type=recording&has_exceptions=&columns=verdict&columns=id";
    let page = browser.opens(path).await;
    assert!(page.html.contains("Found: 1") && !page.html.contains(&open.correlation));
    let csv =
        browser.opens("/console/calls.csv?type=recording&columns=verdict&columns=people").await;
    assert!(csv.headers["content-type"].to_str().unwrap().starts_with("text/csv"));
    let lines: Vec<&str> = csv.html.lines().collect();
    assert_eq!(lines[0], "call,started_at,names,participants_ours,participants_others,verdict");
    assert!(lines[1].starts_with(&call) && lines.len() == 2, "{lines:?}");
    app.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_filter_that_cannot_be_read_keeps_what_was_typed_and_says_why() {
    let app = TestApp::open().await;
    let mut browser = ConsoleBrowser::signed_in(&app, "contoso", ApiRole::Analyst).await;
    for (query, kept, why) in [
        ("from=2026-11-31", "value=\"2026-11-31\"", "from is an instant"),
        ("min_duration=%22long%22&q=Ada", "value=\"&#34;long&#34;\"", "min_duration is"),
        ("verdict=good", "good", "verdict is one of"),
        ("sate=open", "sate", "did you mean state?"),
    ] {
        let page = browser.gets(&format!("/console/calls?{query}")).await;
        assert_eq!(page.status, StatusCode::BAD_REQUEST, "{query}");
        assert!(page.html.contains(kept) && page.html.contains(why), "{query}: {}", page.html);
        assert!(page.html.contains("role=\"alert\""), "{query}");
    }
    app.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_store_that_is_away_leaves_a_page_that_says_what_is_known_and_nothing_of_its_inside() {
    let app = TestApp::open().await;
    let mut browser = ConsoleBrowser::signed_in(&app, "contoso", ApiRole::Analyst).await;
    let database = app.stores.database().await;
    sqlx::query("alter table console_session rename to away").execute(&database).await.unwrap();
    let page = browser.gets("/console/calls").await;
    assert_eq!(page.status, StatusCode::SERVICE_UNAVAILABLE);
    assert!(page.headers.contains_key("retry-after"));
    for known in ["The store does not answer", "What is known now", "<code>kafka</code>"] {
        assert!(page.html.contains(known), "{known}: {}", page.html);
    }
    assert!(!page.html.contains("console_session"));
    sqlx::query("alter table away rename to console_session").execute(&database).await.unwrap();
    browser.opens("/console/calls").await;
    app.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_the_reader_chooses_stays() {
    let app = TestApp::open().await;
    let mut browser = ConsoleBrowser::signed_in(&app, "contoso", ApiRole::Analyst).await;
    let path =
        "/console/preferences?language=de&zone=Asia%2FTokyo&theme=dark&then=%2Fconsole%2Fglossary";
    let chosen = browser.gets(path).await;
    assert_eq!(chosen.location(), "/console/glossary");
    let page = browser.opens("/console/calls").await;
    assert!(page.html.contains("<html lang=\"de\" data-theme=\"dark\">"));
    assert!(page.html.contains("<option selected>Asia/Tokyo</option>"));
    app.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn files_have_names_of_their_content_and_are_kept_for_a_year() {
    let app = TestApp::open().await;
    let mut browser = ConsoleBrowser::of(&app);
    let page = browser.gets("/console/sign-in").await;
    let files: Vec<&str> =
        page.html.split('"').filter(|it| it.starts_with("/console/assets/")).collect();
    assert!(files.len() >= 4, "{files:?}");
    for file in files {
        let asset = browser.opens(file).await;
        assert_eq!(asset.headers["cache-control"], "public, max-age=31536000, immutable");
        assert_eq!(asset.headers["x-content-type-options"], "nosniff");
    }
    let missing = browser.gets("/console/assets/console.0000000000000000.css").await;
    assert_eq!(missing.status, StatusCode::NOT_FOUND);
    app.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_page_of_a_person_asks_for_the_purpose_and_logs_it() {
    let mut app = TestApp::open().await;
    let call = recorded_call(&mut app).await.correlation;
    let mut browser = ConsoleBrowser::signed_in(&app, "contoso", ApiRole::Analyst).await;
    let person = crate::end_to_end::urlencoded(ALICE);
    let refused = browser.gets(&format!("/console/people?person={person}")).await;
    assert_eq!(refused.status, StatusCode::BAD_REQUEST);
    assert!(!refused.html.contains(&call));
    let shown =
        browser.opens(&format!("/console/people?person={person}&purpose=DSR+2026-17")).await;
    assert!(shown.html.contains(&call) && shown.html.contains("On the screen"));
    let log = app.reads("/v1/access-log?what=person").await;
    assert_eq!(log["accesses"].as_array().unwrap().len(), 1);
    assert_eq!(log["accesses"][0]["purpose"], "DSR 2026-17");
    assert_eq!(log["accesses"][0]["person"], ALICE);
    let refused = browser.gets(&format!("/console/people/file?person={person}")).await;
    assert_eq!(refused.status, StatusCode::BAD_REQUEST);
    let file =
        browser.opens(&format!("/console/people/file?person={person}&purpose=DSR+2026-18")).await;
    assert_eq!(file.headers["content-disposition"], "attachment; filename=\"person.json\"");
    let file: Value = serde_json::from_str(&file.html).unwrap();
    let read = app.reads(&format!("/v1/participants/{person}?purpose=comparison")).await;
    // A capture that goes on is longer when it is read again.
    let of_person =
        |it: &Value| (it["calls"][0]["call"].clone(), it["calls"][0]["of_person"].clone());
    assert_eq!(of_person(&file), of_person(&read));
    assert_eq!(file["calls"].as_array().unwrap().len(), 1);
    assert_eq!(file["names"], read["names"]);
    assert_eq!((&file["raw_id"], &file["purpose"]), (&json!(ALICE), &json!("DSR 2026-18")));
    let log = app.reads("/v1/access-log?what=person").await;
    assert_eq!(log["accesses"].as_array().unwrap().len(), 3);
    app.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_page_of_calls_in_progress_hears_of_a_change() {
    use futures_util::StreamExt as _;
    let mut app = TestApp::open().await;
    let browser = ConsoleBrowser::signed_in(&app, "contoso", ApiRole::Analyst).await;
    let mut stream = browser.streams("/console/live/changes").await;
    let call = Call::new();
    app.event_grid_posts(&call.started()).await;
    app.sees("/v1/calls?state=open", |it| it["calls"].as_array().unwrap().len() == 1).await;
    let first = tokio::time::timeout(crate::support::app::DEADLINE, async {
        loop {
            let chunk = stream.next().await.unwrap().unwrap();
            if chunk.starts_with(b"event: changed") {
                return;
            }
        }
    });
    first.await.unwrap();
    let mut browser = browser;
    let page = browser.opens("/console/live").await;
    assert!(page.html.contains(&call.correlation));
    // The stream ends with the node.
    app.stop().await;
    while stream.next().await.is_some_and(|chunk| chunk.is_ok()) {}
}
