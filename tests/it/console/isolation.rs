//! `TENANT_ISOLATION`: each page with the ids of another tenant, and each role.

use onrecord::http::api_role::ApiRole;
use reqwest::StatusCode;

use super::browser::ConsoleBrowser;
use super::pages::{AUDITOR_PAGES, READER_PAGES, recorded_call};
use crate::support::app::TestApp;

#[tokio::test(flavor = "multi_thread")]
async fn what_belongs_to_another_tenant_looks_like_what_does_not_exist() {
    let mut app = TestApp::open().await;
    let call = recorded_call(&mut app).await.correlation;
    let timeline = app.reads(&format!("/v1/calls/{call}/timeline")).await;
    let event = timeline["events"].as_array().unwrap().iter().find(|it| it["sha256"].is_string());
    let event = event.unwrap()["id"].as_str().unwrap().to_owned();
    let mut other = ConsoleBrowser::signed_in(&app, "fabrikam", ApiRole::Admin).await;
    for (path, id, unknown) in [
        ("/console/calls/{id}", call.as_str(), "11111111-2222-4333-8444-555555555555"),
        ("/console/calls/{id}/entries", &call, "11111111-2222-4333-8444-555555555555"),
        ("/console/events/{id}", &event, "11111111-2222-4333-8444-555555555555"),
    ] {
        let mut pages = Vec::new();
        for id in [id, unknown] {
            let page = other.gets(&path.replace("{id}", id)).await;
            assert_eq!(page.status, StatusCode::NOT_FOUND, "{path}");
            // The nonce, the instant of completeness and the id itself differ.
            let html = page.html.replace(id, "ID");
            let lines =
                html.lines().filter(|it| !it.contains("nonce=") && !it.contains("watermark"));
            pages.push(lines.collect::<Vec<_>>().join("\n"));
        }
        assert_eq!(pages[0], pages[1], "{path}");
    }
    let list = other.opens("/console/calls").await;
    assert!(list.html.contains("Found: 0") && !list.html.contains(&call));
    let csv = other.opens("/console/calls.csv").await;
    assert_eq!(csv.html.lines().count(), 1);
    app.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn each_role_has_its_pages_and_nobody_has_one_without_a_session() {
    let app = TestApp::open().await;
    let mut nobody = ConsoleBrowser::of(&app);
    let paths: Vec<&str> = READER_PAGES
        .into_iter()
        .chain(AUDITOR_PAGES)
        .chain([
            "/console/calls.csv",
            "/console/calls/x",
            "/console/calls/x/entries",
            "/console/events/x",
        ])
        .collect();
    for path in &paths {
        let page = nobody.gets(path).await;
        assert_eq!(page.status, StatusCode::SEE_OTHER, "{path}");
        assert!(page.location().starts_with("/console/sign-in?then="), "{path}");
    }
    for role in [ApiRole::Analyst, ApiRole::Auditor, ApiRole::Admin] {
        let mut browser = ConsoleBrowser::signed_in(&app, "contoso", role).await;
        for path in READER_PAGES {
            browser.opens(path).await;
        }
        let of_auditors = if role == ApiRole::Analyst { 403 } else { 200 };
        for path in AUDITOR_PAGES {
            assert_eq!(browser.gets(path).await.status, of_auditors, "{path}");
        }
    }
    // A key whose role is changed has the pages of the new role at once.
    let mut browser = ConsoleBrowser::signed_in(&app, "contoso", ApiRole::Auditor).await;
    let database = app.stores.database().await;
    let change = "update api_key set role = 'app' where tenant = 'contoso'";
    sqlx::query(change).execute(&database).await.unwrap();
    assert_eq!(browser.gets("/console/calls").await.status, StatusCode::FORBIDDEN);
    app.stop().await;
}
