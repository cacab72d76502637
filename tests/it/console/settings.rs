//! The keys of a tenant.

use onrecord::http::api_role::ApiRole;
use reqwest::StatusCode;

use super::browser::ConsoleBrowser;
use super::pages::assert_strict;
use crate::support::app::{TestApp, until};

#[tokio::test(flavor = "multi_thread")]
async fn an_admin_creates_a_key_that_signs_in_and_revokes_it() {
    let app = TestApp::open().await;
    let mut admin = ConsoleBrowser::signed_in(&app, "contoso", ApiRole::Admin).await;
    let page = admin.opens("/console/settings").await;
    assert_strict("/console/settings", &page);
    let token = page.hidden("form_token");
    let fields = [("form_token", token.as_str()), ("name", "Ada Lindqvist"), ("role", "auditor")];
    let created = admin.posts("/console/settings/keys", &fields).await;
    assert_eq!(created.status, StatusCode::OK, "{}", created.html);
    let key = created.html.split("<code>onr_").nth(1).unwrap().split('<').next().unwrap();
    let key = format!("onr_{key}");
    // It is shown once.
    assert!(!admin.opens("/console/settings").await.html.contains(&key));
    let mut ada = ConsoleBrowser::of(&app);
    assert_eq!(ada.signs_in(&key, "/console/").await.status, StatusCode::SEE_OTHER);
    ada.opens("/console/access").await;
    assert_eq!(ada.gets("/console/settings").await.status, StatusCode::FORBIDDEN);

    let database = app.stores.database().await;
    let id: uuid::Uuid = sqlx::query_scalar("select id from api_key where name = 'Ada Lindqvist'")
        .fetch_one(&database)
        .await
        .unwrap();
    let path = format!("/console/settings/keys/{id}/revoke");
    // `TENANT_ISOLATION`.
    let mut other = ConsoleBrowser::signed_in(&app, "fabrikam", ApiRole::Admin).await;
    let page = other.opens("/console/settings").await;
    assert!(!page.html.contains("Ada Lindqvist"));
    let foreign = page.hidden("form_token");
    let refused = other.posts(&path, &[("form_token", &foreign)]).await;
    assert_eq!(refused.status, StatusCode::NOT_FOUND);
    ada.opens("/console/calls").await;

    let revoked = admin.posts(&path, &[("form_token", &token)]).await;
    assert_eq!(revoked.status, StatusCode::SEE_OTHER);
    assert_eq!(ada.gets("/console/calls").await.status, StatusCode::SEE_OTHER);
    until("the key is unknown", async || {
        let mut again = ConsoleBrowser::of(&app);
        (again.signs_in(&key, "/console/").await.status == StatusCode::UNAUTHORIZED).then_some(())
    })
    .await;
    for fields in [[("name", "x"), ("role", "admin")], [("name", "Ada"), ("role", "root")]] {
        let fields = [&fields[..], &[("form_token", token.as_str())]].concat();
        let refused = admin.posts("/console/settings/keys", &fields).await;
        assert_eq!(refused.status, StatusCode::BAD_REQUEST);
    }
    app.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn only_an_admin_has_the_settings() {
    let app = TestApp::open().await;
    for role in [ApiRole::Analyst, ApiRole::Auditor] {
        let mut browser = ConsoleBrowser::signed_in(&app, "contoso", role).await;
        let token = browser.opens("/console/calls").await.hidden("form_token");
        assert_eq!(browser.gets("/console/settings").await.status, StatusCode::FORBIDDEN);
        let fields = [("form_token", token.as_str()), ("name", "Eve"), ("role", "admin")];
        for path in [
            "/console/settings/keys",
            "/console/settings/keys/11111111-2222-4333-8444-555555555555/revoke",
        ] {
            assert_eq!(browser.posts(path, &fields).await.status, StatusCode::FORBIDDEN, "{path}");
        }
    }
    app.stop().await;
}
