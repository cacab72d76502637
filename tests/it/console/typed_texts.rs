//! What a reader types, or what another one wrote into an address, is text on the page that shows it again.

use onrecord::http::api_role::ApiRole;

use super::browser::ConsoleBrowser;
use super::injection::PAYLOADS;
use crate::support::app::TestApp;

/// A text as a part of an address.
fn encoded(text: &str) -> String {
    text.bytes().map(|byte| format!("%{byte:02X}")).collect()
}

/// Fails if a page has a tag of a payload.
fn assert_text(path: &str, html: &str) {
    for tag in ["<script>", "<img", "<svg/", "<a hx-get", "href=\"javascript:"] {
        assert!(!html.contains(tag), "{path} has {tag}");
    }
    let scripts = html.matches("<script").count();
    assert_eq!(scripts, html.matches("<script src=\"/console/assets/").count(), "{path}");
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_typed_is_text_on_the_pages_that_show_it_again() {
    let app = TestApp::open().await;
    let mut browser = ConsoleBrowser::signed_in(&app, "contoso", ApiRole::Auditor).await;
    let token = browser.opens("/console/exports").await.hidden("form_token");
    for payload in PAYLOADS {
        let text = encoded(payload);
        for path in [
            "/console/analytics?from={}".to_owned(),
            "/console/analytics/1?from={}".to_owned(),
            "/console/analytics/1?tz={}".to_owned(),
            "/console/analytics/17?person={}&purpose={}".to_owned(),
            "/console/exports?what={}&from={}&app={}&kind={}&format={}".to_owned(),
            "/console/sources/setup?source={}".to_owned(),
            "/console/sources/setup?origin={}&name={}&group={}&resource={}&storage={}".to_owned(),
        ] {
            let path = path.replace("{}", &text);
            assert_text(&path, &browser.gets(&path).await.html);
        }
        let typed = [
            ("form_token", token.as_str()),
            ("what", payload),
            ("from", payload),
            ("to", payload),
            ("app", payload),
            ("kind", payload),
        ];
        assert_text("exports", &browser.posts("/console/exports", &typed).await.html);
        let named = [("form_token", token.as_str()), ("name", payload), ("query", "state=open")];
        browser.posts("/console/calls/filters", &named).await;
    }
    let list = browser.opens("/console/calls").await;
    assert_text("/console/calls", &list.html);
    assert!(list.html.contains("&#60;script&#62;"), "{}", list.html);
    app.stop().await;
}
