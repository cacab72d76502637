//! Exports in the console: requested by a form, followed, downloaded and deleted.

use onrecord::http::api_role::ApiRole;
use reqwest::StatusCode;

use super::browser::{ConsoleBrowser, LoadedPage};
use super::pages::{assert_strict, recorded_call};
use crate::support::app::{TestApp, until};

/// The fields of the form for the calls of this year and the next.
fn fields<'a>(token: &'a str, what: &'a str) -> Vec<(&'a str, &'a str)> {
    vec![
        ("form_token", token),
        ("what", what),
        ("from", "2020-01-01"),
        ("to", "2099-01-01"),
        ("tz", "Europe/Berlin"),
        ("format", "csv"),
        ("app", ""),
        ("kind", ""),
    ]
}

/// Waits until the page of an export says that it is done.
async fn done(browser: &mut ConsoleBrowser, path: &str) -> LoadedPage {
    let browser = tokio::sync::Mutex::new(browser);
    until("the export is done", || async {
        let page = browser.lock().await.opens(path).await;
        assert!(!page.html.contains("It has no files."), "{}", page.html);
        page.html.contains("Its files are complete.").then_some(page)
    })
    .await
}

#[tokio::test(flavor = "multi_thread")]
async fn an_export_is_requested_followed_downloaded_and_deleted() {
    let mut app = TestApp::open().await;
    let call = recorded_call(&mut app).await.correlation;
    let mut browser = ConsoleBrowser::signed_in(&app, "contoso", ApiRole::Analyst).await;
    let form = browser.opens("/console/exports").await;
    assert!(form.html.contains("Your tenant has no exports."));
    let token = form.hidden("form_token");
    let mut calls_and_more = fields(&token, "calls");
    calls_and_more.push(("what", "obligations"));
    let requested = browser.posts("/console/exports", &calls_and_more).await;
    assert_eq!(requested.status, StatusCode::SEE_OTHER, "{}", requested.html);
    let path = requested.location().to_owned();
    let page = done(&mut browser, &path).await;
    assert_strict(&path, &page);
    // The last day is included, in the zone of the form.
    assert!(page.html.contains("datetime=\"2099-01-01T23:00:00.000Z\""), "{}", page.html);
    let files: Vec<String> = page
        .html
        .split("href=\"")
        .filter_map(|it| it.split('"').next())
        .filter(|it| it.contains("/files/"))
        .map(str::to_owned)
        .collect();
    assert_eq!(files.len(), 3, "{files:?}");
    let calls = browser.opens(&format!("{path}/files/calls-1.csv")).await;
    assert!(calls.html.contains(&call));
    assert!(calls.headers["content-disposition"].to_str().unwrap().starts_with("attachment"));
    assert!(calls.headers.contains_key("repr-digest"));
    let manifest = browser.opens(&format!("{path}/files/manifest.json")).await;
    assert!(manifest.html.contains("\"complete_through\""));
    // A download is in the access log, as one of the console.
    let log = app.reads("/v1/access-log?what=export").await;
    let routes = log["accesses"].as_array().unwrap().iter();
    let routes: Vec<&str> = routes.map(|it| it["route"].as_str().unwrap()).collect();
    assert_eq!(routes, ["GET /console/exports/{id}/files/{name}"; 2]);
    let list = browser.opens("/console/exports").await;
    assert!(
        list.html.contains(&format!("href=\"{path}\"")) && list.html.contains("Calls, Who had")
    );

    // Another tenant sees nothing of it, and can do nothing to it.
    let mut other = ConsoleBrowser::signed_in(&app, "fabrikam", ApiRole::Admin).await;
    let foreign = other.opens("/console/exports").await;
    assert!(!foreign.html.contains(&path));
    let foreign_token = [("form_token", foreign.hidden("form_token"))];
    let foreign_token = [(foreign_token[0].0, foreign_token[0].1.as_str())];
    for path in [path.clone(), format!("{path}/files/calls-1.csv")] {
        assert_eq!(other.gets(&path).await.status, StatusCode::NOT_FOUND, "{path}");
    }
    let refused = other.posts(&format!("{path}/delete"), &foreign_token).await;
    assert_eq!(refused.status, StatusCode::NOT_FOUND);

    // Without the token of the session nothing is deleted or requested.
    let refused = browser.posts(&format!("{path}/delete"), &[]).await;
    assert_eq!(refused.status, StatusCode::FORBIDDEN);
    let refused = browser.posts("/console/exports", &fields("wrong", "calls")).await;
    assert_eq!(refused.status, StatusCode::FORBIDDEN);
    let deleted = browser.posts(&format!("{path}/delete"), &[("form_token", &token)]).await;
    assert_eq!(deleted.location(), "/console/exports");
    assert_eq!(browser.gets(&path).await.status, StatusCode::NOT_FOUND);
    app.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_request_that_cannot_be_read_keeps_what_was_typed_and_says_why() {
    let app = TestApp::open().await;
    let mut browser = ConsoleBrowser::signed_in(&app, "contoso", ApiRole::Auditor).await;
    let token = browser.opens("/console/exports").await.hidden("form_token");
    for (name, value, kept, why) in [
        ("from", "yesterday", "value=\"yesterday\"", "from is an instant"),
        ("app", "shop", "value=\"shop\"", "the view calls has no column app"),
        ("what", "", "value=\"2020-01-01\"", "what has one view or more"),
        ("to", "2019-01-01", "value=\"2019-01-01\"", "from is before to"),
    ] {
        let typed = fields(&token, "calls").into_iter();
        let typed: Vec<(&str, &str)> =
            typed.map(|it| if it.0 == name { (name, value) } else { it }).collect();
        let typed: Vec<_> = typed.into_iter().filter(|it| *it != ("what", "")).collect();
        let page = browser.posts("/console/exports", &typed).await;
        assert_eq!(page.status, StatusCode::BAD_REQUEST, "{name}");
        assert!(page.html.contains("role=\"alert\"") && page.html.contains(why), "{}", page.html);
        assert!(page.html.contains(kept), "{name}: {}", page.html);
        assert_strict(name, &page);
    }
    let list = app.stores.database().await;
    let count: i64 =
        sqlx::query_scalar("select count(*) from export").fetch_one(&list).await.unwrap();
    assert_eq!(count, 0);
    app.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_export_that_failed_says_why_and_offers_the_same_again() {
    let app = TestApp::open().await;
    let mut browser = ConsoleBrowser::signed_in(&app, "contoso", ApiRole::Auditor).await;
    let token = browser.opens("/console/exports").await.hidden("form_token");
    let requested = browser.posts("/console/exports", &fields(&token, "events")).await;
    let path = requested.location().to_owned();
    done(&mut browser, &path).await;
    let database = app.stores.database().await;
    let change =
        "update export set state = 'failed', reason = 'the disk is <full>', kept_in = null";
    sqlx::query(change).execute(&database).await.unwrap();
    let page = browser.opens(&path).await;
    for part in ["failed", "the disk is &#60;full&#62;", "The same once more", "It has no files."] {
        assert!(page.html.contains(part), "{part}: {}", page.html);
    }
    let again = page.html.split("href=\"/console/exports?").nth(1).unwrap();
    let again = again.split('"').next().unwrap().replace("&amp;", "&").replace("&#38;", "&");
    let form = browser.opens(&format!("/console/exports?{again}")).await;
    assert!(form.html.contains("value=\"events\" checked"), "{again}: {}", form.html);
    assert!(form.html.contains("value=\"2019-12-31T23:00:00.000000Z\""), "{}", form.html);
    app.stop().await;
}
