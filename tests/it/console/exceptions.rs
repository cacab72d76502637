//! What people do about exceptions.

use onrecord::http::api_role::ApiRole;
use reqwest::StatusCode;
use serde_json::Value;

use super::browser::ConsoleBrowser;
use crate::support::app::{TestApp, until};

/// An exception of each of these sources: content that is no JSON.
async fn quarantined(app: &mut TestApp, sources: &[&str]) -> Vec<String> {
    for source in sources {
        let (status, _) = app.posts(&format!("/ingest/event-grid/{source}"), "no JSON").await;
        assert_eq!(status, StatusCode::OK);
    }
    let listed = app
        .sees("/v1/exceptions", |it| it["exceptions"].as_array().unwrap().len() == sources.len())
        .await;
    let ids = listed["exceptions"].as_array().unwrap().iter();
    ids.map(|it| it["id"].as_str().unwrap().to_owned()).collect()
}

async fn changes(app: &mut TestApp, id: &str) -> Vec<(String, String)> {
    let one = app.reads(&format!("/v1/exceptions/{id}")).await;
    let text = |line: &Value, name: &str| line[name].as_str().unwrap().to_owned();
    let history = one["history"].as_array().unwrap().iter();
    history.map(|line| (text(line, "change"), text(line, "reason"))).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn an_auditor_takes_notes_closes_and_opens_an_exception_again() {
    let mut app = TestApp::open().await;
    let id = quarantined(&mut app, &["eg"]).await.remove(0);
    let mut browser = ConsoleBrowser::signed_in(&app, "contoso", ApiRole::Auditor).await;
    let queue = browser.opens("/console/exceptions").await;
    assert!(queue.html.contains(&format!("/console/exceptions/{id}")));
    let page = browser.opens(&format!("/console/exceptions/{id}")).await;
    let token = page.hidden("form_token");
    let own = page.hidden("assignee");
    let path = |action: &str| format!("/console/exceptions/{id}/{action}");
    for (action, field, value) in [
        ("assign", "assignee", own.as_str()),
        ("note", "reason", "The sender was asked; it answers tomorrow."),
        ("close", "reason", "The sender posted a test by hand."),
        ("reopen", "reason", "It came again, from another sender."),
    ] {
        let done = browser.posts(&path(action), &[("form_token", &token), (field, value)]).await;
        assert_eq!(done.status, StatusCode::SEE_OTHER, "{action}: {}", done.html);
        assert_eq!(done.location(), format!("/console/exceptions/{id}"));
    }
    let history = changes(&mut app, &id).await;
    let names: Vec<&str> = history.iter().map(|(change, _)| change.as_str()).collect();
    assert_eq!(names, ["opened", "assigned", "noted", "closed", "reopened"]);
    assert_eq!(history[1].1, "test");
    let mine = browser.opens("/console/exceptions?assignee=me").await;
    assert!(mine.html.contains(&id));
    let unassigned = browser.opens("/console/exceptions?assignee=none").await;
    assert!(!unassigned.html.contains(&id));
    // What is open is not opened again, and a reason has ten characters.
    let again = browser
        .posts(
            &path("reopen"),
            &[("form_token", &token), ("reason", "a reason that is long enough")],
        )
        .await;
    assert_eq!(again.status, StatusCode::CONFLICT);
    let short = browser.posts(&path("close"), &[("form_token", &token), ("reason", "done")]).await;
    assert_eq!(short.status, StatusCode::BAD_REQUEST);
    app.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn several_exceptions_are_closed_with_one_reason_and_others_stay() {
    let mut app = TestApp::open().await;
    let ids = quarantined(&mut app, &["eg"]).await;
    let (status, _) = app.posts("/ingest/event-grid/other", "no JSON").await;
    assert_eq!(status, StatusCode::OK);
    let database = app.stores.database().await;
    let foreign: uuid::Uuid = until("the exception of the other tenant", async || {
        sqlx::query_scalar("select id from exception where tenant = 'fabrikam'")
            .fetch_optional(&database)
            .await
            .ok()?
    })
    .await;
    let foreign = foreign.to_string();
    let mut browser = ConsoleBrowser::signed_in(&app, "contoso", ApiRole::Auditor).await;
    let token = browser.opens("/console/exceptions").await.hidden("form_token");
    let reason = "Test deliveries of the new sender.";
    let fields = [
        ("form_token", token.as_str()),
        ("id", ids[0].as_str()),
        ("id", foreign.as_str()),
        ("reason", reason),
    ];
    let closed = browser.posts("/console/exceptions/close", &fields).await;
    assert_eq!(closed.location(), "/console/exceptions?closed=1", "{}", closed.html);
    let page = browser.opens(closed.location()).await;
    assert!(page.html.contains("Exceptions closed: 1"));
    // `TENANT_ISOLATION`: that of the other tenant is open.
    let open: bool =
        sqlx::query_scalar("select closed_at is null from exception where tenant = 'fabrikam'")
            .fetch_one(&database)
            .await
            .unwrap();
    assert!(open);
    for action in ["close", "note", "reopen", "assign"] {
        let path = format!("/console/exceptions/{foreign}/{action}");
        let field = if action == "assign" { ("assignee", "") } else { ("reason", reason) };
        let refused = browser.posts(&path, &[("form_token", &token), field]).await;
        assert_eq!(refused.status, StatusCode::NOT_FOUND, "{action}");
    }
    assert_eq!(browser.gets(&format!("/console/exceptions/{foreign}")).await.status, 404);
    app.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_analyst_reads_exceptions_and_changes_none() {
    let mut app = TestApp::open().await;
    let id = quarantined(&mut app, &["eg"]).await.remove(0);
    let mut browser = ConsoleBrowser::signed_in(&app, "contoso", ApiRole::Analyst).await;
    let page = browser.opens(&format!("/console/exceptions/{id}")).await;
    assert!(!page.html.contains("/close\""));
    let token = page.hidden("form_token");
    for path in [
        format!("/console/exceptions/{id}/close"),
        format!("/console/exceptions/{id}/note"),
        format!("/console/exceptions/{id}/reopen"),
        format!("/console/exceptions/{id}/assign"),
        "/console/exceptions/close".to_owned(),
    ] {
        let reason = "a reason that is long enough";
        let refused = browser.posts(&path, &[("form_token", &token), ("reason", reason)]).await;
        assert_eq!(refused.status, StatusCode::FORBIDDEN, "{path}");
    }
    assert_eq!(changes(&mut app, &id).await.len(), 1);
    app.stop().await;
}
