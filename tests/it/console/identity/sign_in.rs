//! Sign-in, sessions and sign-out.

use std::time::Duration;

use onrecord::http::api_role::ApiRole;
use reqwest::StatusCode;
use serde_json::Value;
use tokio::time::Instant;

use crate::console::browser::ConsoleBrowser;
use crate::support::app::{TestApp, until};

const SESSION: &str = "onrecord-session";

#[tokio::test(flavor = "multi_thread")]
async fn a_reader_signs_in_comes_to_the_page_that_was_asked_for_and_signs_out() {
    let mut app = TestApp::open().await;
    let key = app.api_key("contoso", ApiRole::Analyst).await;
    let mut browser = ConsoleBrowser::of(&app);
    let refused = browser.gets("/console/calls?state=open").await;
    assert_eq!(refused.status, StatusCode::SEE_OTHER);
    assert_eq!(refused.location(), "/console/sign-in?then=%2Fconsole%2Fcalls%3Fstate%3Dopen");
    let signed_in = browser.signs_in(&key, "/console/calls?state=open").await;
    assert_eq!(signed_in.status, StatusCode::SEE_OTHER);
    assert_eq!(signed_in.location(), "/console/calls?state=open");
    let page = browser.opens("/console/calls").await;
    assert!(page.html.contains("<h1>Calls</h1>") && page.html.contains("Sign out"));
    // The token of the cookie is not in the page.
    assert!(!page.html.contains(&browser.cookies[SESSION]));

    let (token, session) = (page.hidden("form_token"), browser.cookies.clone());
    let out = browser.posts("/console/sign-out", &[("form_token", &token)]).await;
    assert_eq!((out.status, out.location()), (StatusCode::SEE_OTHER, "/console/sign-in"));
    // A copy of the cookie opens nothing.
    browser.cookies = session;
    assert_eq!(browser.gets("/console/calls").await.status, StatusCode::SEE_OTHER);

    let log = app.reads("/v1/access-log").await;
    let what: Vec<&str> =
        log["accesses"].as_array().unwrap().iter().map(|it| it["what"].as_str().unwrap()).collect();
    assert_eq!(what, ["sign_out", "sign_in"]);
    app.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_unknown_key_is_refused_slowly_and_that_of_an_app_has_no_pages() {
    let mut app = TestApp::open().await;
    let app_key = app.api_key("contoso", ApiRole::App).await;
    let mut browser = ConsoleBrowser::of(&app);
    let began = Instant::now();
    let refused = browser.signs_in("onr_wrong", "/console/calls").await;
    assert_eq!(refused.status, StatusCode::UNAUTHORIZED);
    assert!(began.elapsed() >= Duration::from_secs(1));
    assert!(refused.html.contains("role=\"alert\"") && !refused.html.contains("onr_wrong"));
    assert!(!browser.cookies.contains_key(SESSION));
    let refused = browser.signs_in(&app_key, "/console/calls").await;
    assert_eq!(refused.status, StatusCode::FORBIDDEN);
    assert!(!browser.cookies.contains_key(SESSION));
    let log = app.reads("/v1/access-log?what=sign_in_refused").await;
    assert_eq!(log["accesses"][0]["role"], "app");
    app.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_form_without_the_token_of_the_session_or_from_another_site_changes_nothing() {
    let app = TestApp::open().await;
    let key = app.api_key("contoso", ApiRole::Auditor).await;
    let mut browser = ConsoleBrowser::of(&app);
    for fields in [vec![("key", key.as_str())], vec![("key", &key), ("form_token", "x")]] {
        let refused = browser.posts("/console/sign-in", &fields).await;
        assert_eq!(refused.status, StatusCode::FORBIDDEN);
    }
    browser.signs_in(&key, "/console/").await;
    let token = browser.opens("/console/calls").await.hidden("form_token");
    let mut other = ConsoleBrowser::signed_in(&app, "contoso", ApiRole::Auditor).await;
    let foreign = other.opens("/console/calls").await.hidden("form_token");
    for wrong in ["", "x", &foreign] {
        let refused = browser.posts("/console/sign-out", &[("form_token", wrong)]).await;
        assert_eq!(refused.status, StatusCode::FORBIDDEN, "{wrong}");
    }
    browser.headers = vec![("sec-fetch-site", "cross-site".to_owned())];
    let refused = browser.posts("/console/sign-out", &[("form_token", &token)]).await;
    assert_eq!(refused.status, StatusCode::FORBIDDEN);
    browser.headers.clear();
    browser.opens("/console/calls").await;
    app.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_session_ends_with_its_key_by_its_limits_and_by_a_sign_out_everywhere() {
    let app = TestApp::open().await;
    let key = app.api_key("contoso", ApiRole::Auditor).await;
    let database = app.stores.database().await;
    let mut browser = ConsoleBrowser::of(&app);
    for set_back in [
        "update console_session set last_used_at = now() - interval '62 minutes', created_at = now() - interval '2 hours'",
        "update console_session set created_at = now() - interval '13 hours'",
    ] {
        browser.signs_in(&key, "/console/").await;
        browser.opens("/console/calls").await;
        sqlx::query(set_back).execute(&database).await.unwrap();
        assert_eq!(browser.gets("/console/calls").await.status, StatusCode::SEE_OTHER);
    }
    let mut second = ConsoleBrowser::of(&app);
    browser.signs_in(&key, "/console/").await;
    second.signs_in(&key, "/console/").await;
    let token = second.opens("/console/calls").await.hidden("form_token");
    let out =
        second.posts("/console/sign-out", &[("form_token", &token), ("everywhere", "1")]).await;
    assert_eq!(out.status, StatusCode::SEE_OTHER);
    assert_eq!(browser.gets("/console/calls").await.status, StatusCode::SEE_OTHER);

    browser.signs_in(&key, "/console/").await;
    browser.opens("/console/calls").await;
    let revoke = "update api_key set revoked_at = now() where tenant = 'contoso'";
    sqlx::query(revoke).execute(&database).await.unwrap();
    assert_eq!(browser.gets("/console/calls").await.status, StatusCode::SEE_OTHER);
    until("the node knows that the key is revoked", async || {
        let mut again = ConsoleBrowser::of(&app);
        (again.signs_in(&key, "/console/").await.status == StatusCode::UNAUTHORIZED).then_some(())
    })
    .await;
    app.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_cookie_of_a_session_is_new_at_each_sign_in_and_of_tls_except_on_this_machine() {
    let app = TestApp::open().await;
    let key = app.api_key("contoso", ApiRole::Auditor).await;
    let mut browser = ConsoleBrowser::of(&app);
    // A token that somebody else has put there is not taken over.
    browser.cookies.insert(SESSION.to_owned(), "fixed".to_owned());
    browser.signs_in(&key, "/console/").await;
    let first = browser.cookies[SESSION].clone();
    assert_ne!(first, "fixed");
    browser.cookies.remove(SESSION);
    browser.signs_in(&key, "/console/").await;
    assert_ne!(browser.cookies[SESSION], first);

    let mut far = ConsoleBrowser::of(&app);
    far.headers = vec![("host", "onrecord.contoso.example".to_owned())];
    let page = far.signs_in(&key, "/console/").await;
    let cookies = page.cookies().join("\n");
    assert!(cookies.contains("__Host-onrecord-session="), "{cookies}");
    for line in cookies.lines() {
        for flag in ["HttpOnly", "SameSite=Lax", "Secure", "Path=/"] {
            assert!(line.contains(flag), "{line}");
        }
        assert!(!line.contains("Domain"), "{line}");
    }
    far.opens("/console/calls").await;
    // At the name of this machine it is another cookie.
    far.headers.clear();
    assert_eq!(far.gets("/console/calls").await.status, StatusCode::SEE_OTHER);
    app.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_sign_in_leads_to_no_other_site() {
    let app = TestApp::open().await;
    let key = app.api_key("contoso", ApiRole::Auditor).await;
    for then in ["https://attacker.example/", "//attacker.example", "/console/\\attacker.example"] {
        let mut browser = ConsoleBrowser::of(&app);
        let page = browser.signs_in(&key, then).await;
        assert_eq!((page.status, page.location()), (StatusCode::SEE_OTHER, "/console/"), "{then}");
    }
    app.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_console_is_a_role_of_its_own() {
    let stores = crate::support::app::TestStores::shared().await;
    let options = onrecord::cli::serve::ServeOptions::of_roles(vec![
        onrecord::cli::serve::Role::Ingest,
        onrecord::cli::serve::Role::Query,
    ]);
    let app = TestApp::with_options(stores, "", options).await;
    let mut browser = ConsoleBrowser::of(&app);
    let page = browser.gets("/console/sign-in").await;
    assert_eq!(page.status, StatusCode::NOT_FOUND);
    let problem: Value = serde_json::from_str(&page.html).unwrap();
    assert_eq!(problem["type"], "urn:onrecord:problem:not-found");
    app.stop().await;
}
