//! Sign-in by a real OpenID provider: the way there and back, roles, tenants, sessions, sign-out.

use onrecord::http::api_role::ApiRole;
use reqwest::StatusCode;
use serde_json::{Value, json};

use crate::console::browser::{ConsoleBrowser, LoadedPage};
use crate::console::pages::recorded_call;
use crate::support::app::{TestApp, TestStores};
use crate::support::openid_provider::{CLIENT_ID, OpenidProvider};

/// The address of the console in the settings. The app has another port, so its browsers state it.
pub const BASE_URL: &str = "http://localhost:4711";
const SESSION: &str = "onrecord-session";

/// A browser that asks at the address of the settings.
pub fn browser_of(app: &TestApp) -> ConsoleBrowser {
    let mut browser = ConsoleBrowser::of(app);
    browser.headers = vec![("host", BASE_URL.strip_prefix("http://").unwrap().to_owned())];
    browser
}

/// The value of a parameter in an address.
pub fn parameter(url: &str, name: &str) -> String {
    let query = url.split_once('?').unwrap().1;
    let pairs: Vec<(String, String)> = serde_urlencoded::from_str(query).unwrap();
    let found = pairs.into_iter().find(|(found, _)| found == name);
    found.unwrap_or_else(|| panic!("no {name} in {url}")).1
}

/// A console and its provider.
struct Consoles {
    provider: OpenidProvider,
    app: TestApp,
}

impl Consoles {
    async fn open(more: &str, claims_in_id_token: bool) -> Option<Self> {
        let provider = OpenidProvider::start(BASE_URL, claims_in_id_token).await?;
        let settings = provider.settings(BASE_URL, more);
        let app = TestApp::with(TestStores::shared().await, &settings).await;
        app.is_ready().await;
        Some(Self { provider, app })
    }

    /// The browser goes to the provider and signs in there as an account. Returns the path of the way back.
    async fn way_back(&self, browser: &mut ConsoleBrowser, then: &str, account: &str) -> String {
        self.way_back_with(browser, then, &[("account", account)]).await
    }

    async fn way_back_with(
        &self,
        browser: &mut ConsoleBrowser,
        then: &str,
        answer: &[(&str, &str)],
    ) -> String {
        let query = serde_urlencoded::to_string([("then", then)]).unwrap();
        let begun = browser.gets(&format!("/console/oidc/sign-in?{query}")).await;
        assert_eq!(begun.status, StatusCode::SEE_OTHER, "{}", begun.html);
        let issuer = &self.provider.issuer;
        let mut there = ConsoleBrowser::at(issuer);
        let path = |page: &LoadedPage| {
            page.location().strip_prefix(issuer.as_str()).unwrap_or(page.location()).to_owned()
        };
        let asked = there.gets(&path(&begun)).await;
        let interaction = path(&asked);
        assert!(interaction.starts_with("/interaction/"), "{} {}", asked.status, asked.html);
        let answered = there.posts(&interaction, answer).await;
        let resumed = there.gets(&path(&answered)).await;
        let back = resumed.location();
        back.strip_prefix(BASE_URL)
            .unwrap_or_else(|| panic!("{} {}", resumed.status, resumed.html))
            .to_owned()
    }

    /// A browser that is signed in as an account.
    async fn signed_in(&self, account: &str) -> ConsoleBrowser {
        let mut browser = browser_of(&self.app);
        let back = self.way_back(&mut browser, "/console/", account).await;
        let page = browser.gets(&back).await;
        assert_eq!(page.status, StatusCode::SEE_OTHER, "{}", page.html);
        browser
    }

    async fn stop(self) {
        self.app.stop().await;
    }
}

fn account(name: &str, roles: &[&str]) -> Value {
    json!({ "name": name, "preferred_username": "ada@contoso.example", "roles": roles })
}

#[tokio::test(flavor = "multi_thread")]
async fn a_user_signs_in_at_the_provider_once_for_each_code_and_signs_out() {
    let Some(mut consoles) = Consoles::open("tenant = \"contoso\"", true).await else { return };
    consoles.provider.sets("ada", &account("Ada Lindqvist", &["auditor"])).await;
    let mut browser = browser_of(&consoles.app);
    let page = browser.opens("/console/sign-in?then=%2Fconsole%2Faccess%3Fwhat%3Dcall").await;
    let link = "/console/oidc/sign-in?then=%2Fconsole%2Faccess%3Fwhat%3Dcall\"";
    assert!(page.html.contains(link), "{}", page.html);
    let back = consoles.way_back(&mut browser, "/console/access?what=call", "ada").await;
    assert_eq!(parameter(&back, "iss"), consoles.provider.issuer);
    // A token that somebody else has put there is not taken over.
    browser.cookies.insert(SESSION.to_owned(), "fixed".to_owned());
    let before_the_way_back = browser.cookies.clone();
    let signed_in = browser.gets(&back).await;
    assert_eq!(signed_in.status, StatusCode::SEE_OTHER, "{}", signed_in.html);
    assert_eq!(signed_in.location(), "/console/access?what=call");
    assert_ne!(browser.cookies[SESSION], "fixed");
    let page = browser.opens("/console/access").await;
    assert!(page.html.contains("Ada Lindqvist") && page.html.contains("auditor"));
    assert_eq!(browser.gets("/console/settings").await.status, StatusCode::FORBIDDEN);

    // The same way back is closed, in this browser and in one with its cookies of that time.
    let mut copy = browser_of(&consoles.app);
    copy.cookies = before_the_way_back;
    for browser in [&mut copy, &mut browser_of(&consoles.app)] {
        let replayed = browser.gets(&back).await;
        assert_eq!(replayed.status, StatusCode::FORBIDDEN);
        assert!(replayed.html.contains("was used already"), "{}", replayed.html);
    }

    let log = consoles.app.reads("/v1/access-log?what=sign_in").await;
    let row = &log["accesses"][0];
    assert_eq!((&row["actor"], &row["key_name"]), (&json!("user"), &json!("Ada Lindqvist")));
    assert_eq!(row["role"], "auditor");

    let token = page.hidden("form_token");
    let out = browser.posts("/console/sign-out", &[("form_token", &token)]).await;
    assert_eq!(out.location(), "/console/sign-in?left=1");
    assert_eq!(browser.gets("/console/access").await.status, StatusCode::SEE_OTHER);
    let page = browser.opens("/console/sign-in?left=1").await;
    assert!(page.html.contains("href=\"/console/oidc/sign-out\""), "{}", page.html);
    let there = browser.gets("/console/oidc/sign-out").await;
    assert!(there.location().starts_with(&format!("{}/session/end?", consoles.provider.issuer)));
    assert_eq!(parameter(there.location(), "client_id"), CLIENT_ID);
    let signed_out = parameter(there.location(), "post_logout_redirect_uri");
    assert_eq!(signed_out, format!("{BASE_URL}/console/sign-in"));
    let path = there.location().strip_prefix(&consoles.provider.issuer).unwrap();
    assert_eq!(
        ConsoleBrowser::at(&consoles.provider.issuer).gets(path).await.status,
        StatusCode::OK
    );
    consoles.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn roles_are_those_of_the_last_sign_in_in_all_browsers_and_without_one_a_user_is_refused() {
    let Some(mut consoles) = Consoles::open("tenant = \"contoso\"", true).await else { return };
    consoles.provider.sets("ada", &account("Ada Lindqvist", &["analyst", "admin", "other"])).await;
    let mut first = consoles.signed_in("ada").await;
    first.opens("/console/settings").await;

    consoles.provider.sets("ada", &account("Ada Lindqvist", &["analyst"])).await;
    let mut second = consoles.signed_in("ada").await;
    second.opens("/console/calls").await;
    for browser in [&mut first, &mut second] {
        assert_eq!(browser.gets("/console/settings").await.status, StatusCode::FORBIDDEN);
    }

    consoles.provider.sets("ada", &account("Ada <b>Lindqvist</b>", &["other"])).await;
    let mut third = browser_of(&consoles.app);
    let back = consoles.way_back(&mut third, "/console/", "ada").await;
    let refused = third.gets(&back).await;
    assert_eq!(refused.status, StatusCode::FORBIDDEN);
    assert!(refused.html.contains("you have no role in this console"), "{}", refused.html);
    assert!(!refused.html.contains("<b>Lindqvist"));
    assert!(!third.cookies.contains_key(SESSION));
    for browser in [&mut first, &mut second] {
        assert_eq!(browser.gets("/console/calls").await.status, StatusCode::SEE_OTHER);
    }
    let log = consoles.app.reads("/v1/access-log?what=sign_in_refused").await;
    assert_eq!(log["accesses"][0]["actor"], "user");
    assert_eq!(log["accesses"][0]["role"], "");

    let mut fourth = browser_of(&consoles.app);
    let back = consoles.way_back_with(&mut fourth, "/console/", &[("cancel", "1")]).await;
    let cancelled = fourth.gets(&back).await;
    assert_eq!(cancelled.status, StatusCode::FORBIDDEN);
    assert!(cancelled.html.contains("The sign-in was cancelled"), "{}", cancelled.html);
    assert!(cancelled.html.contains("access_denied: the user cancelled the sign-in"));
    consoles.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn claims_that_only_the_answer_about_the_user_has_count_too() {
    let more = "tenant_claim = \"tenants\"\n[console.oidc.roles]\n\"group-7\" = \"auditor\"";
    let Some(consoles) = Consoles::open(more, false).await else { return };
    let claims = json!({ "name": "Grace", "roles": ["group-7"], "tenants": ["contoso"] });
    consoles.provider.sets("grace", &claims).await;
    let mut browser = consoles.signed_in("grace").await;
    let page = browser.opens("/console/quarantine").await;
    assert!(page.html.contains("Grace") && page.html.contains("contoso"));
    consoles.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_session_shows_one_tenant_at_a_time_and_a_form_of_another_one_does_nothing() {
    let Some(mut consoles) = Consoles::open("", true).await else { return };
    let call = recorded_call(&mut consoles.app).await.correlation;
    let roles = ["contoso/admin", "fabrikam/analyst", "Not A Tenant/admin"];
    consoles.provider.sets("ada", &account("Ada Lindqvist", &roles)).await;
    let mut browser = consoles.signed_in("ada").await;
    let path = format!("/console/calls/{call}");
    let page = browser.opens(&path).await;
    assert!(page.html.contains("action=\"/console/tenant\""));
    browser.opens("/console/settings").await;
    let token = page.hidden("form_token");
    let switched =
        browser.posts("/console/tenant", &[("form_token", &token), ("tenant", "fabrikam")]).await;
    assert_eq!((switched.status, switched.location()), (StatusCode::SEE_OTHER, "/console/"));
    // Tenant and role are those of fabrikam.
    assert_eq!(browser.gets(&path).await.status, StatusCode::NOT_FOUND);
    assert_eq!(browser.gets("/console/settings").await.status, StatusCode::FORBIDDEN);
    assert!(browser.opens("/console/calls").await.html.contains("Found: 0"));
    // The form of a page of contoso does nothing in fabrikam.
    let refused =
        browser.posts("/console/tenant", &[("form_token", &token), ("tenant", "contoso")]).await;
    assert_eq!(refused.status, StatusCode::FORBIDDEN);
    let fabrikam = browser.opens("/console/calls").await.hidden("form_token");
    for unknown in ["northwind", "Not A Tenant", ""] {
        let fields = [("form_token", fabrikam.as_str()), ("tenant", unknown)];
        assert_eq!(browser.posts("/console/tenant", &fields).await.status, StatusCode::BAD_REQUEST);
    }
    let entered = consoles.app.reads("/v1/access-log?what=sign_out").await;
    assert_eq!(entered["accesses"][0]["route"], "POST /console/tenant");
    // The next sign-in comes to the tenant that was shown last, and not to one that was taken away.
    let mut again = consoles.signed_in("ada").await;
    assert_eq!(again.gets("/console/settings").await.status, StatusCode::FORBIDDEN);
    consoles.provider.sets("ada", &account("Ada Lindqvist", &["contoso/admin"])).await;
    let mut admin = consoles.signed_in("ada").await;
    let page = admin.opens("/console/settings").await;
    assert!(!page.html.contains("action=\"/console/tenant\""));
    // The others show a tenant in which the user has no role any more.
    for browser in [&mut browser, &mut again] {
        assert_eq!(browser.gets("/console/calls").await.status, StatusCode::SEE_OTHER);
    }
    consoles.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn sessions_of_users_end_by_their_limits_by_an_admin_and_with_other_settings_of_the_sign_in()
{
    let Some(consoles) = Consoles::open("tenant = \"contoso\"", true).await else { return };
    let database = consoles.app.stores.database().await;
    consoles.provider.sets("ada", &account("Ada Lindqvist", &["auditor"])).await;
    for set_back in [
        "update console_session set last_used_at = now() - interval '62 minutes', created_at = now() - interval '2 hours'",
        "update console_session set created_at = now() - interval '13 hours'",
    ] {
        let mut browser = consoles.signed_in("ada").await;
        browser.opens("/console/calls").await;
        sqlx::query(set_back).execute(&database).await.unwrap();
        assert_eq!(browser.gets("/console/calls").await.status, StatusCode::SEE_OTHER);
    }

    let (mut one, mut two) = (consoles.signed_in("ada").await, consoles.signed_in("ada").await);
    let mut admin = ConsoleBrowser::signed_in(&consoles.app, "contoso", ApiRole::Admin).await;
    let page = admin.opens("/console/settings/users").await;
    assert!(page.html.contains("Ada Lindqvist") && page.html.contains("ada@contoso.example"));
    let id: uuid::Uuid =
        sqlx::query_scalar("select id from console_user").fetch_one(&database).await.unwrap();
    let path = format!("/console/settings/users/{id}/end");
    // `TENANT_ISOLATION`: the user has no role in fabrikam.
    let mut other = ConsoleBrowser::signed_in(&consoles.app, "fabrikam", ApiRole::Admin).await;
    let foreign = other.opens("/console/settings/users").await;
    assert!(!foreign.html.contains("Ada Lindqvist"));
    let refused = other.posts(&path, &[("form_token", &foreign.hidden("form_token"))]).await;
    assert_eq!(refused.status, StatusCode::NOT_FOUND);
    one.opens("/console/calls").await;
    let ended = admin.posts(&path, &[("form_token", &page.hidden("form_token"))]).await;
    assert_eq!(ended.status, StatusCode::SEE_OTHER);
    for browser in [&mut one, &mut two] {
        assert_eq!(browser.gets("/console/calls").await.status, StatusCode::SEE_OTHER);
    }

    let (mut one, mut two) = (consoles.signed_in("ada").await, consoles.signed_in("ada").await);
    let token = one.opens("/console/calls").await.hidden("form_token");
    one.posts("/console/sign-out", &[("form_token", &token), ("everywhere", "1")]).await;
    assert_eq!(two.gets("/console/calls").await.status, StatusCode::SEE_OTHER);

    // Another node of other settings: the same session is not valid there, nor is one of an API key.
    let mut user = consoles.signed_in("ada").await;
    let settings = consoles.provider.settings(BASE_URL, "tenant = \"fabrikam\"");
    let settings = format!("console.api_keys = \"refused\"\n{settings}");
    let node = TestApp::with(consoles.app.stores.clone(), &settings).await;
    node.is_ready().await;
    for browser in [&mut user, &mut admin] {
        browser.opens("/console/calls").await;
        let mut there = browser_of(&node);
        there.cookies = browser.cookies.clone();
        assert_eq!(there.gets("/console/calls").await.status, StatusCode::SEE_OTHER);
    }
    let mut there = browser_of(&node);
    let page = there.opens("/console/sign-in").await;
    assert!(!page.html.contains("name=\"key\"") && page.html.contains("/console/oidc/sign-in"));
    node.stop().await;
    consoles.stop().await;
}
