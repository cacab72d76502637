//! Filters of the list of calls under names.

use onrecord::http::api_role::ApiRole;
use reqwest::StatusCode;

use super::browser::ConsoleBrowser;
use crate::support::app::TestApp;

/// The id of the first filter of a page.
fn first_id(html: &str) -> String {
    let rest = html.split("action=\"/console/calls/filters/").nth(1).unwrap();
    rest.split(['/', '"']).next().unwrap().to_owned()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_filter_is_saved_renamed_shared_by_its_address_and_deleted_by_its_reader_only() {
    let app = TestApp::open().await;
    let mut anna = ConsoleBrowser::signed_in(&app, "contoso", ApiRole::Analyst).await;
    let mut bob = ConsoleBrowser::signed_in(&app, "contoso", ApiRole::Analyst).await;
    let page = anna.opens("/console/calls?verdict=EXCEPTIONS&min_duration=15m&cursor=&q=").await;
    let (token, query) = (page.hidden("form_token"), page.hidden("query"));
    let query = query.replace("&#38;", "&").replace("&amp;", "&");
    assert_eq!(query, "verdict=EXCEPTIONS&min_duration=15m");
    let saves = [("form_token", token.as_str()), ("name", " Long <calls> "), ("query", &query)];
    let saved = anna.posts("/console/calls/filters", &saves).await;
    assert_eq!(saved.status, StatusCode::SEE_OTHER, "{}", saved.html);
    assert_eq!(saved.location(), format!("/console/calls?{query}"));
    let page = anna.opens(saved.location()).await;
    assert!(page.html.contains("Long &#60;calls&#62;"), "{}", page.html);
    assert_eq!(page.html.matches("aria-current=\"true\"").count(), 2, "{}", page.html);

    // A name that is taken is replaced by saving, and refused by renaming.
    let other = [("form_token", token.as_str()), ("name", "Long <calls>"), ("query", "state=open")];
    assert_eq!(
        anna.posts("/console/calls/filters", &other).await.location(),
        "/console/calls?state=open"
    );
    let second = [("form_token", token.as_str()), ("name", "Zoo"), ("query", "kind=room")];
    anna.posts("/console/calls/filters", &second).await;
    let page = anna.opens("/console/calls").await;
    assert!(
        page.html.contains("/console/calls?state=open") && !page.html.contains("min_duration=15m")
    );
    let id = first_id(&page.html);
    let path = format!("/console/calls/filters/{id}");
    let taken = anna.posts(&path, &[("form_token", &token), ("name", "Zoo")]).await;
    assert_eq!(taken.status, StatusCode::CONFLICT);
    let renamed = anna.posts(&path, &[("form_token", &token), ("name", "Open calls")]).await;
    assert_eq!(renamed.location(), "/console/calls?state=open", "{}", renamed.html);

    // Another reader has none of them, and cannot change them.
    let page = bob.opens("/console/calls").await;
    assert!(!page.html.contains("Open calls"));
    let bobs = page.hidden("form_token");
    let refused = bob.posts(&path, &[("form_token", &bobs), ("name", "Mine")]).await;
    assert_eq!(refused.status, StatusCode::CONFLICT);
    let refused = bob.posts(&format!("{path}/delete"), &[("form_token", &bobs)]).await;
    assert_eq!(refused.status, StatusCode::NOT_FOUND);
    let refused = anna.posts(&format!("{path}/delete"), &[("form_token", &bobs)]).await;
    assert_eq!(refused.status, StatusCode::FORBIDDEN);
    anna.posts(&format!("{path}/delete"), &[("form_token", &token)]).await;
    let page = anna.opens("/console/calls").await;
    assert!(!page.html.contains("Open calls") && page.html.contains("Zoo"));
    app.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_must_not_be_kept_is_no_filter() {
    let app = TestApp::open().await;
    let mut browser = ConsoleBrowser::signed_in(&app, "contoso", ApiRole::Analyst).await;
    let token = browser.opens("/console/calls").await.hidden("form_token");
    let secret = "q=https%3A%2F%2Fx.blob.core.windows.net%2Fa%3Fsig%3Dabcdefghijklmnopqrstuvwxyz0123456789ABCDE%253D";
    let (long_name, long_query) = ("x".repeat(81), format!("q={}", "x".repeat(4001)));
    for (name, query) in [
        ("", "state=open"),
        (&long_name, "state=open"),
        ("a", &long_query),
        ("a", secret),
        ("a\u{1}", ""),
    ] {
        let fields = [("form_token", token.as_str()), ("name", name), ("query", query)];
        let refused = browser.posts("/console/calls/filters", &fields).await;
        assert_eq!(refused.status, StatusCode::BAD_REQUEST, "{name} {query}");
    }
    for at in 0..50 {
        let name = format!("filter {at}");
        let fields = [("form_token", token.as_str()), ("name", &name), ("query", "state=open")];
        let saved = browser.posts("/console/calls/filters", &fields).await;
        assert_eq!(saved.status, StatusCode::SEE_OTHER, "{name}");
    }
    let fields = [("form_token", token.as_str()), ("name", "one more"), ("query", "state=open")];
    let refused = browser.posts("/console/calls/filters", &fields).await;
    assert_eq!(refused.status, StatusCode::CONFLICT);
    let page = browser.opens("/console/calls").await;
    assert!(page.html.len() < 150_000, "{}", page.html.len());
    app.stop().await;
}
