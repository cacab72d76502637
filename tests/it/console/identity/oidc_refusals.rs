//! Sign-in by OpenID Connect where something is wrong: each check, and what the user reads.

use chrono::Utc;
use reqwest::StatusCode;
use serde_json::{Value, json};

use super::oidc::{BASE_URL, browser_of, parameter};
use crate::console::browser::{ConsoleBrowser, LoadedPage};
use crate::console::pages::assert_strict;
use crate::support::app::{TestApp, TestStores, until};
use crate::support::openid_provider::{CLIENT_ID, console_settings};
use crate::support::openid_stand_in::{
    ACCESS_TOKEN, OpenidStandIn, ProviderKey, access_token_hash, signed_by_secret, unsigned,
};

const SESSION: &str = "onrecord-session";

struct Console {
    app: TestApp,
    provider: OpenidStandIn,
}

/// A sign-in that a browser began.
struct Begun {
    browser: ConsoleBrowser,
    state: String,
    challenge: String,
    /// Claims that are accepted.
    claims: Value,
}

impl Begun {
    /// The browser comes back with this query.
    async fn comes_back(&mut self, fields: &[(&str, &str)]) -> LoadedPage {
        let query = serde_urlencoded::to_string(fields).unwrap();
        self.browser.gets(&format!("/console/oidc/callback?{query}")).await
    }

    async fn comes_back_with_a_code(&mut self) -> LoadedPage {
        let state = self.state.clone();
        self.comes_back(&[("code", "a-code"), ("state", &state)]).await
    }
}

impl Console {
    async fn open() -> Self {
        let provider = OpenidStandIn::start().await;
        let settings = console_settings(&provider.issuer(), BASE_URL, "tenant = \"contoso\"");
        let app = TestApp::with(TestStores::shared().await, &settings).await;
        app.is_ready().await;
        Self { app, provider }
    }

    async fn begins(&self) -> Begun {
        let mut browser = browser_of(&self.app);
        let begun = browser.gets("/console/oidc/sign-in?then=%2Fconsole%2Fcalls").await;
        let url = begun.location();
        assert!(
            url.starts_with(&format!("{}/authorize?", self.provider.issuer())),
            "{}",
            begun.html
        );
        assert_eq!(parameter(url, "response_type"), "code");
        assert_eq!(parameter(url, "client_id"), CLIENT_ID);
        assert_eq!(parameter(url, "code_challenge_method"), "S256");
        assert_eq!(parameter(url, "redirect_uri"), format!("{BASE_URL}/console/oidc/callback"));
        assert_eq!(parameter(url, "scope"), "openid profile email");
        let now = Utc::now().timestamp();
        let claims = json!({
            "iss": self.provider.issuer(), "aud": CLIENT_ID, "sub": "user-1", "name": "Ada Lindqvist",
            "nonce": parameter(url, "nonce"), "iat": now, "exp": now + 300, "roles": ["auditor"],
        });
        let (state, challenge) = (parameter(url, "state"), parameter(url, "code_challenge"));
        Begun { browser, state, challenge, claims }
    }
}

fn assert_refused(what: &str, page: &LoadedPage, begun: &Begun, text: &str) {
    assert_eq!(page.status, StatusCode::FORBIDDEN, "{what}: {}", page.html);
    assert!(
        page.html.contains(text) && page.html.contains("role=\"alert\""),
        "{what}: {}",
        page.html
    );
    assert!(!begun.browser.cookies.contains_key(SESSION), "{what}");
    assert_strict("/console/sign-in", page);
}

#[tokio::test(flavor = "multi_thread")]
async fn an_id_token_that_fails_any_check_signs_nobody_in() {
    let console = Console::open().await;
    let mut begun = console.begins().await;
    begun.claims["at_hash"] = access_token_hash(ACCESS_TOKEN).into();
    begun.claims["azp"] = CLIENT_ID.into();
    console.provider.answers_token(Some(ProviderKey::One.signs(&begun.claims)));
    let page = begun.comes_back_with_a_code().await;
    assert_eq!((page.status, page.location()), (StatusCode::SEE_OTHER, "/console/calls"));
    console.provider.exchanged_with_verifier_of(&begun.challenge);
    begun.browser.opens("/console/access").await;

    let now = Utc::now().timestamp();
    for (what, member, value) in [
        ("another nonce", "nonce", json!("another")),
        ("no nonce", "nonce", Value::Null),
        ("another issuer", "iss", json!("https://attacker.example")),
        ("another audience", "aud", json!("another-client")),
        ("a second audience", "aud", json!([CLIENT_ID, "another-client"])),
        ("another authorized party", "azp", json!("another-client")),
        ("expired", "exp", json!(now - 180)),
        ("issued before the sign-in", "iat", json!(now - 900)),
        ("issued in the future", "iat", json!(now + 180)),
        ("another access token", "at_hash", json!(access_token_hash("another"))),
        ("no subject", "sub", Value::Null),
        ("an empty subject", "sub", json!("")),
        ("too long a subject", "sub", json!("x".repeat(300))),
    ] {
        let mut begun = console.begins().await;
        begun.claims[member] = value;
        if begun.claims[member].is_null() {
            begun.claims.as_object_mut().unwrap().remove(member);
        }
        console.provider.answers_token(Some(ProviderKey::One.signs(&begun.claims)));
        let page = begun.comes_back_with_a_code().await;
        assert_refused(what, &page, &begun, "does not prove who you are");
    }
    let mut begun = console.begins().await;
    let valid = ProviderKey::One.signs(&begun.claims);
    let (signed, _) = valid.rsplit_once('.').unwrap();
    for (what, token) in [
        ("no token", None),
        ("no signature", Some(unsigned(&begun.claims))),
        ("a signature by the secret of the client", Some(signed_by_secret(&begun.claims))),
        ("an empty signature", Some(format!("{signed}."))),
        ("no JWT", Some("no.jwt.at-all".to_owned())),
    ] {
        begun = console.begins().await;
        console.provider.answers_token(token);
        let page = begun.comes_back_with_a_code().await;
        assert_refused(what, &page, &begun, "does not prove who you are");
    }
    // The clocks of the provider and of the service may differ a little.
    for (member, seconds) in [("exp", -60), ("iat", 60)] {
        let mut begun = console.begins().await;
        begun.claims[member] = json!(Utc::now().timestamp() + seconds);
        console.provider.answers_token(Some(ProviderKey::One.signs(&begun.claims)));
        assert_eq!(begun.comes_back_with_a_code().await.status, StatusCode::SEE_OTHER, "{member}");
    }
    console.app.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_state_counts_in_the_browser_that_began_it_and_once() {
    let console = Console::open().await;
    let (mut begun, mut other) = (console.begins().await, console.begins().await);
    console.provider.answers_token(Some(ProviderKey::One.signs(&begun.claims)));
    let (state, foreign) = (begun.state.clone(), other.state.clone());
    let changed = state.replace('.', "x");
    for (what, fields) in [
        ("no state", vec![("code", "a")]),
        ("an empty state", vec![("code", "a"), ("state", "")]),
        ("a state of another browser", vec![("code", "a"), ("state", foreign.as_str())]),
        ("a changed state", vec![("code", "a"), ("state", changed.as_str())]),
        ("a changed state with an error", vec![("error", "access_denied"), ("state", "x")]),
    ] {
        let page = begun.comes_back(&fields).await;
        assert_refused(what, &page, &begun, "was not begun in this browser");
    }
    let page = other.browser.gets(&format!("/console/oidc/callback?code=a&state={state}")).await;
    assert_refused("the state of another browser", &page, &other, "was not begun in this browser");
    let mut without = browser_of(&console.app);
    let page = without.gets(&format!("/console/oidc/callback?code=a&state={state}")).await;
    assert_eq!(page.status, StatusCode::FORBIDDEN);
    assert_eq!(console.provider.exchanges(), 0);
    // The answer of another provider.
    let page = begun
        .comes_back(&[("code", "a"), ("state", &state), ("iss", "https://attacker.example")])
        .await;
    assert_refused("another issuer", &page, &begun, "does not prove who you are");
    assert_eq!(console.provider.exchanges(), 0);
    // The state is used up by that.
    let page = begun.comes_back_with_a_code().await;
    assert_refused("a used state", &page, &begun, "was used already");
    assert_eq!(console.provider.exchanges(), 0);
    // Two ways back at once: one of them signs in.
    let begun = console.begins().await;
    console.provider.answers_token(Some(ProviderKey::One.signs(&begun.claims)));
    let path = format!("/console/oidc/callback?code=a&state={}", begun.state);
    let (mut one, mut two) = (browser_of(&console.app), browser_of(&console.app));
    one.cookies.clone_from(&begun.browser.cookies);
    two.cookies.clone_from(&begun.browser.cookies);
    let (one, two) = tokio::join!(one.gets(&path), two.gets(&path));
    let mut statuses = [one.status, two.status];
    statuses.sort();
    assert_eq!(statuses, [StatusCode::SEE_OTHER, StatusCode::FORBIDDEN]);
    console.app.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_the_provider_refuses_is_said_in_words_and_shown_as_text() {
    let mut console = Console::open().await;
    for (answer, text) in [
        (
            json!({ "error": "invalid_grant", "error_description": "<script>alert(1)</script>" }),
            "valid once",
        ),
        (
            json!({ "error": "invalid_client", "error_description": "AADSTS7000215" }),
            "its client id or its secret",
        ),
        (json!({ "error": "temporarily_unavailable" }), "refused"),
    ] {
        let mut begun = console.begins().await;
        console.provider.refuses(StatusCode::BAD_REQUEST, &answer);
        let page = begun.comes_back_with_a_code().await;
        assert_refused("a refused code", &page, &begun, text);
        assert!(page.html.contains(answer["error"].as_str().unwrap()));
        assert!(!page.html.contains("<script>alert"));
    }
    for (code, text) in [
        ("access_denied", "was cancelled"),
        ("consent_required", "wants an answer from you"),
        ("<img/src=x/onerror=alert(1)>", "refused"),
    ] {
        let mut begun = console.begins().await;
        let state = begun.state.clone();
        let page = begun
            .comes_back(&[
                ("error", code),
                ("error_description", "\"><svg/onload=alert(1)>"),
                ("state", &state),
            ])
            .await;
        assert_refused(code, &page, &begun, text);
        assert!(!page.html.contains("<svg/onload") && !page.html.contains("<img/src"));
    }
    // A user without a role: the access log of the tenant says so.
    let mut begun = console.begins().await;
    begun.claims["roles"] = json!(["something else"]);
    console.provider.answers_token(Some(ProviderKey::One.signs(&begun.claims)));
    let page = begun.comes_back_with_a_code().await;
    assert_refused("no role", &page, &begun, "you have no role in this console");
    let log = console.app.reads("/v1/access-log?what=sign_in_refused").await;
    assert_eq!(log["accesses"][0]["key_name"], "Ada Lindqvist");
    console.app.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn new_keys_of_the_provider_are_read_and_while_it_is_away_the_old_ones_are_used() {
    let console = Console::open().await;
    console.provider.is_away(true);
    let mut browser = browser_of(&console.app);
    let page = browser.gets("/console/oidc/sign-in").await;
    assert_eq!(page.status, StatusCode::SERVICE_UNAVAILABLE);
    assert!(page.html.contains("does not answer now"), "{}", page.html);
    console.provider.is_away(false);

    let mut begun = console.begins().await;
    console.provider.answers_token(Some(ProviderKey::One.signs(&begun.claims)));
    assert_eq!(begun.comes_back_with_a_code().await.status, StatusCode::SEE_OTHER);
    assert_eq!(console.provider.fetched_keys(), 1);
    // An unknown key has the keys read again, but not at once: an attacker could have them read at will.
    let mut begun = console.begins().await;
    console.provider.publishes(&[ProviderKey::One, ProviderKey::Two]);
    console.provider.answers_token(Some(ProviderKey::Two.signs(&begun.claims)));
    let page = begun.comes_back_with_a_code().await;
    assert_refused("an unknown key", &page, &begun, "does not prove who you are");
    assert_eq!(console.provider.fetched_keys(), 1);
    until("the new key is read", async || {
        let mut begun = console.begins().await;
        console.provider.answers_token(Some(ProviderKey::Two.signs(&begun.claims)));
        let page = begun.comes_back_with_a_code().await;
        (page.status == StatusCode::SEE_OTHER).then_some(())
    })
    .await;
    assert_eq!(console.provider.fetched_keys(), 2);
    console.provider.is_away(true);
    let mut begun = console.begins().await;
    console.provider.answers_token(Some(ProviderKey::Two.signs(&begun.claims)));
    assert_eq!(begun.comes_back_with_a_code().await.status, StatusCode::SEE_OTHER);
    console.app.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_sign_in_begins_at_the_address_of_the_settings_and_leads_to_no_other_site() {
    let console = Console::open().await;
    let mut elsewhere = ConsoleBrowser::of(&console.app);
    let moved = elsewhere.gets("/console/oidc/sign-in?then=%2Fconsole%2Fcalls").await;
    let expected = format!("{BASE_URL}/console/oidc/sign-in?then=%2Fconsole%2Fcalls&moved=1");
    assert_eq!(moved.location(), expected);
    // A proxy that changes the host leads nowhere twice.
    let page = elsewhere.gets("/console/oidc/sign-in?moved=1").await;
    assert_eq!(page.status, StatusCode::FORBIDDEN);
    for then in [
        "https://attacker.example/",
        "//attacker.example",
        "/console/\\attacker.example",
        "/v1/calls",
    ] {
        let mut browser = browser_of(&console.app);
        let query = serde_urlencoded::to_string([("then", then)]).unwrap();
        let begun = browser.gets(&format!("/console/oidc/sign-in?{query}")).await;
        let (state, nonce) =
            (parameter(begun.location(), "state"), parameter(begun.location(), "nonce"));
        let now = Utc::now().timestamp();
        let claims = json!({ "iss": console.provider.issuer(), "aud": CLIENT_ID, "sub": "user-1", "nonce": nonce, "iat": now, "exp": now + 300, "roles": ["auditor"] });
        console.provider.answers_token(Some(ProviderKey::One.signs(&claims)));
        let page = browser.gets(&format!("/console/oidc/callback?code=a&state={state}")).await;
        assert_eq!((page.status, page.location()), (StatusCode::SEE_OTHER, "/console/"), "{then}");
    }
    console.app.stop().await;
}
