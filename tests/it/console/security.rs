//! Each route of the console, by each role, by another tenant, with each wrong form. A route without a row in the
//! table fails these tests.

use std::collections::BTreeSet;

use onrecord::http::api_role::ApiRole;
use reqwest::StatusCode;
use uuid::Uuid;

use super::browser::{ConsoleBrowser, LoadedPage};
use super::pages::recorded_call;
use crate::support::app::{TestApp, TestStores};

/// Who may use a route.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Allowed {
    /// Also a browser without a session.
    Everybody,
    /// Each reader who is signed in.
    Readers,
    Auditors,
    Admins,
}

/// What `{…}` in a path stands for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Names {
    Nothing,
    Call,
    Event,
    Exception,
    Key,
    User,
    Quarantined,
}

/// A route: method, path, who may use it, what its path names, and the fields of its form.
type Route = (&'static str, &'static str, Allowed, Names, &'static [(&'static str, &'static str)]);

const REASON: &[(&str, &str)] = &[("reason", "The sender posted a test by hand.")];

use Allowed::{Admins, Auditors, Everybody, Readers};

const ROUTES: &[Route] = &[
    ("get", "/", Everybody, Names::Nothing, &[]),
    ("get", "/console", Everybody, Names::Nothing, &[]),
    ("get", "/console/assets/{name}", Everybody, Names::Nothing, &[]),
    ("get", "/console/", Readers, Names::Nothing, &[]),
    ("get", "/console/calls", Readers, Names::Nothing, &[]),
    ("get", "/console/calls.csv", Readers, Names::Nothing, &[]),
    ("post", "/console/calls/filters", Readers, Names::Nothing, &[("name", "")]),
    ("post", "/console/calls/filters/{id}", Readers, Names::Nothing, &[("name", "")]),
    ("post", "/console/calls/filters/{id}/delete", Readers, Names::Nothing, &[]),
    ("get", "/console/calls/{call}", Readers, Names::Call, &[]),
    ("get", "/console/calls/{call}/entries", Readers, Names::Call, &[]),
    ("get", "/console/calls/{call}/report", Readers, Names::Call, &[]),
    ("get", "/console/events/{id}", Readers, Names::Event, &[]),
    ("get", "/console/exceptions", Readers, Names::Nothing, &[]),
    ("post", "/console/exceptions/close", Auditors, Names::Nothing, REASON),
    ("get", "/console/exceptions/{id}", Readers, Names::Exception, &[]),
    ("post", "/console/exceptions/{id}/close", Auditors, Names::Exception, REASON),
    ("post", "/console/exceptions/{id}/assign", Auditors, Names::Exception, &[("assignee", "")]),
    ("post", "/console/exceptions/{id}/note", Auditors, Names::Exception, REASON),
    ("post", "/console/exceptions/{id}/reopen", Auditors, Names::Exception, REASON),
    ("get", "/console/live", Readers, Names::Nothing, &[]),
    ("get", "/console/live/changes", Readers, Names::Nothing, &[]),
    ("get", "/console/people", Readers, Names::Nothing, &[]),
    ("get", "/console/people/file", Readers, Names::Nothing, &[]),
    ("get", "/console/analytics", Readers, Names::Nothing, &[]),
    ("get", "/console/analytics/{number}", Readers, Names::Nothing, &[]),
    ("get", "/console/analytics/{number}/answer", Readers, Names::Nothing, &[]),
    ("get", "/console/analytics/{number}/csv", Readers, Names::Nothing, &[]),
    ("get", "/console/exports", Readers, Names::Nothing, &[]),
    ("post", "/console/exports", Readers, Names::Nothing, &[("what", "nothing")]),
    ("get", "/console/exports/{id}", Readers, Names::Nothing, &[]),
    ("post", "/console/exports/{id}/delete", Readers, Names::Nothing, &[]),
    ("get", "/console/exports/{id}/files/{name}", Readers, Names::Nothing, &[]),
    ("get", "/console/sources", Readers, Names::Nothing, &[]),
    ("get", "/console/sources/setup", Readers, Names::Nothing, &[]),
    ("get", "/console/settings", Admins, Names::Nothing, &[]),
    ("post", "/console/settings/keys", Admins, Names::Nothing, &[("name", ""), ("role", "root")]),
    ("post", "/console/settings/keys/{id}/revoke", Admins, Names::Key, &[]),
    ("get", "/console/settings/users", Admins, Names::Nothing, &[]),
    ("post", "/console/settings/users/{id}/end", Admins, Names::User, &[]),
    ("get", "/console/settings/readers", Admins, Names::Nothing, &[]),
    ("post", "/console/settings/readers", Admins, Names::Nothing, &[("name", "")]),
    ("post", "/console/settings/readers/drop", Admins, Names::Nothing, &[("name", "postgres")]),
    ("get", "/console/health", Readers, Names::Nothing, &[]),
    ("get", "/console/access", Auditors, Names::Nothing, &[]),
    ("get", "/console/deliveries", Auditors, Names::Nothing, &[]),
    ("post", "/console/deliveries/{webhook}/{action}", Admins, Names::Nothing, &[]),
    ("get", "/console/deliveries/{webhook}/messages/{message}", Auditors, Names::Nothing, &[]),
    (
        "post",
        "/console/deliveries/{webhook}/messages/{message}/redeliver",
        Admins,
        Names::Nothing,
        &[],
    ),
    ("get", "/console/quarantine", Auditors, Names::Nothing, &[]),
    ("get", "/console/quarantine/{id}/sealed", Auditors, Names::Quarantined, &[]),
    ("get", "/console/glossary", Readers, Names::Nothing, &[]),
    ("get", "/console/styleguide", Readers, Names::Nothing, &[]),
    ("get", "/console/preferences", Everybody, Names::Nothing, &[]),
    ("get", "/console/demo", Everybody, Names::Nothing, &[]),
    ("get", "/console/sign-in", Everybody, Names::Nothing, &[]),
    ("post", "/console/sign-in", Everybody, Names::Nothing, &[("key", "onr_wrong")]),
    ("post", "/console/sign-out", Readers, Names::Nothing, &[]),
    ("post", "/console/tenant", Readers, Names::Nothing, &[("tenant", "fabrikam")]),
    ("get", "/console/oidc/sign-in", Everybody, Names::Nothing, &[]),
    ("get", "/console/oidc/callback", Everybody, Names::Nothing, &[]),
    ("get", "/console/oidc/sign-out", Everybody, Names::Nothing, &[]),
    ("get", "/console/{*other}", Everybody, Names::Nothing, &[]),
];

/// The methods and paths that `src/console/routes.rs` declares.
fn declared() -> BTreeSet<(String, String)> {
    let source = include_str!("../../../src/console/routes.rs");
    let mut found = BTreeSet::new();
    for call in source.split(".route(").skip(1) {
        // A route ends with its line, or where the next one begins.
        let call = call.split("\n    }").next().unwrap();
        let quoted = call.trim_start().strip_prefix('"');
        let quoted = quoted.unwrap_or_else(|| panic!("the path of a route is a text: {call}"));
        let (path, methods) = quoted.split_once('"').unwrap();
        let methods = methods.split("\n        .").next().unwrap();
        let before = found.len();
        for method in ["get", "post", "put", "delete", "patch", "any"] {
            if methods.contains(&format!("{method}(")) {
                found.insert((method.to_owned(), path.to_owned()));
            }
        }
        assert!(found.len() > before, "{path} has no method: {methods}");
    }
    found
}

#[test]
fn each_route_of_the_console_is_in_the_table_of_these_tests() {
    let known: BTreeSet<(String, String)> = ROUTES
        .iter()
        .map(|(method, path, ..)| ((*method).to_owned(), (*path).to_owned()))
        .collect();
    let declared = declared();
    assert!(declared.len() > 40);
    let differing: Vec<_> = known.symmetric_difference(&declared).collect();
    assert!(differing.is_empty(), "{differing:?}");
}

/// What belongs to `contoso`.
struct Record {
    call: String,
    event: String,
    exception: String,
    key: Uuid,
    user: Uuid,
    quarantined: String,
}

impl Record {
    async fn of(app: &mut TestApp) -> Self {
        let call = recorded_call(app).await.correlation;
        let timeline = app.reads(&format!("/v1/calls/{call}/timeline")).await;
        let events = timeline["events"].as_array().unwrap();
        let event = events.iter().find(|it| it["sha256"].is_string()).unwrap()["id"].clone();
        let (status, _) = app.posts("/ingest/event-grid/eg", "no JSON").await;
        assert_eq!(status, StatusCode::OK);
        let has_one = |it: &serde_json::Value, list: &str| !it[list].as_array().unwrap().is_empty();
        let quarantine = app.sees("/v1/quarantine", |it| has_one(it, "quarantined")).await;
        let exceptions = app.sees("/v1/exceptions", |it| has_one(it, "exceptions")).await;
        let database = app.stores.database().await;
        app.api_key("contoso", ApiRole::Analyst).await;
        let key = "select id from api_key where tenant = 'contoso' and role = 'analyst' limit 1";
        let user = Uuid::new_v4();
        for statement in [
            "insert into console_user (id, issuer, subject, name, first_sign_in_at, last_sign_in_at)
             values ($1, 'https://login.example', 'user-1', 'Ada Lindqvist', now(), now())",
            "insert into console_grant (user_id, tenant, role, stated_at) values ($1, 'contoso', 'auditor', now())",
        ] {
            sqlx::query(statement).bind(user).execute(&database).await.unwrap();
        }
        let text = |value: &serde_json::Value| value.as_str().unwrap().to_owned();
        Self {
            call,
            event: text(&event),
            exception: text(&exceptions["exceptions"][0]["id"]),
            key: sqlx::query_scalar(key).fetch_one(&database).await.unwrap(),
            user,
            quarantined: text(&quarantine["quarantined"][0]["id"]),
        }
    }

    /// The path with the id of what belongs to `contoso`.
    fn path(&self, path: &str, names: Names) -> String {
        let id = match names {
            Names::Nothing => "x".to_owned(),
            Names::Call => self.call.clone(),
            Names::Event => self.event.clone(),
            Names::Exception => self.exception.clone(),
            Names::Key => self.key.to_string(),
            Names::User => self.user.to_string(),
            Names::Quarantined => self.quarantined.clone(),
        };
        match (path.find('{'), path.find('}')) {
            (Some(from), Some(to)) => format!("{}{id}{}", &path[..from], &path[to + 1..]),
            _ => path.to_owned(),
        }
    }

    /// What could have been changed.
    async fn state(&self, app: &TestApp) -> String {
        let database = app.stores.database().await;
        let statement = "select concat_ws(' ',
             (select count(*) from exception_history), (select count(*) from exception where closed_at is not null),
             (select count(*) from api_key where revoked_at is not null), (select count(*) from api_key),
             (select count(*) from console_session where ended_by = 'admin'), (select count(*) from tenant_role))";
        sqlx::query_scalar(statement).fetch_one(&database).await.unwrap()
    }
}

/// An app whose quarantine keeps sealed bytes.
async fn sealing_app() -> TestApp {
    let sealing = "quarantine.seal_to = \"CQkJCQkJCQkJCQkJCQkJCQkJCQkJCQkJCQkJCQkJCQk=\"";
    let app = TestApp::with(TestStores::shared().await, sealing).await;
    app.is_ready().await;
    app
}

/// A browser uses a route, with the fields of its form and this token.
async fn uses(
    browser: &mut ConsoleBrowser,
    path: &str,
    (method, _, _, _, fields): &Route,
    token: Option<&str>,
) -> LoadedPage {
    if *method == "get" {
        return browser.gets_head(path).await;
    }
    let token = token.map(|token| ("form_token", token));
    let fields: Vec<(&str, &str)> = token.into_iter().chain(fields.iter().copied()).collect();
    browser.posts(path, &fields).await
}

fn is_to_sign_in(page: &LoadedPage) -> bool {
    page.status == StatusCode::SEE_OTHER && page.location().starts_with("/console/sign-in?then=")
}

#[tokio::test(flavor = "multi_thread")]
async fn each_route_is_for_its_roles_and_has_the_headers_of_the_console() {
    let mut app = sealing_app().await;
    let record = Record::of(&mut app).await;
    let mut nobody = ConsoleBrowser::of(&app);
    for route @ (method, path, allowed, names, _) in ROUTES {
        let path = record.path(path, *names);
        let page = uses(&mut nobody, &path, route, Some("x")).await;
        let refused = if *method == "get" {
            is_to_sign_in(&page)
        } else {
            page.status == StatusCode::UNAUTHORIZED
        };
        assert_eq!(refused, *allowed != Everybody, "{method} {path}: {}", page.status);
    }
    for role in [ApiRole::Analyst, ApiRole::Auditor, ApiRole::Admin] {
        let mut browser = ConsoleBrowser::signed_in(&app, "contoso", role).await;
        for route @ (method, path, allowed, names, _) in ROUTES {
            let shown = record.path(path, *names);
            let may = match allowed {
                Everybody | Readers => true,
                Auditors => role != ApiRole::Analyst,
                Admins => role == ApiRole::Admin,
            };
            // Each form is sent without its token: who may use it is told that, the others that they may not.
            let page = uses(&mut browser, &shown, route, None).await;
            if *method == "get" {
                let status = page.status;
                assert_eq!(status == StatusCode::FORBIDDEN, !may, "{role:?} {shown}: {status}");
                assert!(!is_to_sign_in(&page), "{role:?} {shown}");
                if *names != Names::Nothing && may {
                    assert_eq!(page.status, StatusCode::OK, "{role:?} {shown}");
                }
            } else {
                assert_eq!(page.status, StatusCode::FORBIDDEN, "{role:?} {shown}");
                let says_role = page.html.contains("this page needs the role");
                assert_eq!(says_role, !may, "{role:?} {shown}: {}", page.html);
            }
            if !path.starts_with("/console/assets") && path.len() > "/console".len() {
                assert_protected(&shown, &page);
            }
        }
    }
    app.stop().await;
}

/// Fails unless no other page can frame this one, and no cache keeps it.
fn assert_protected(path: &str, page: &LoadedPage) {
    let header = |name: &str| page.headers.get(name).map_or("", |it| it.to_str().unwrap());
    let policy = header("content-security-policy");
    for part in
        ["default-src 'none'", "frame-ancestors 'none'", "base-uri 'none'", "form-action 'self'"]
    {
        assert!(policy.contains(part), "{path}: {policy}");
    }
    assert!(!policy.contains("unsafe"), "{path}: {policy}");
    assert_eq!(header("x-frame-options"), "DENY", "{path}");
    assert_eq!(header("x-content-type-options"), "nosniff", "{path}");
    assert_eq!(header("cross-origin-opener-policy"), "same-origin", "{path}");
    // A stream has no end that a cache could keep.
    let kept_by_none = if path.ends_with("/changes") { "no-cache" } else { "no-store" };
    assert_eq!(header("cache-control"), kept_by_none, "{path}");
    for cookie in page.cookies() {
        assert!(cookie.contains("HttpOnly") && cookie.contains("SameSite=Lax"), "{path}: {cookie}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn an_admin_of_another_tenant_reaches_and_changes_nothing() {
    let mut app = sealing_app().await;
    let record = Record::of(&mut app).await;
    let mut other = ConsoleBrowser::signed_in(&app, "fabrikam", ApiRole::Admin).await;
    let token = other.opens("/console/settings").await.hidden("form_token");
    let before = record.state(&app).await;
    for route @ (method, path, _, names, _) in ROUTES {
        let shown = record.path(path, *names);
        if *names != Names::Nothing {
            let page = uses(&mut other, &shown, route, Some(&token)).await;
            assert_eq!(page.status, StatusCode::NOT_FOUND, "{method} {shown}: {}", page.html);
        } else if *method == "get"
            && path.starts_with("/console/")
            && *path != "/console/live/changes"
        {
            let page = other.gets(&shown).await;
            for secret in [&record.call, &record.event, &record.exception, &record.quarantined] {
                assert!(!page.html.contains(secret.as_str()), "{shown} has {secret}");
            }
            for secret in [record.key, record.user] {
                assert!(!page.html.contains(&secret.to_string()), "{shown} has {secret}");
            }
        }
    }
    // Several at once, and the logins of another tenant.
    let fields = [("form_token", token.as_str()), ("id", &record.exception), REASON[0]];
    let closed = other.posts("/console/exceptions/close", &fields).await;
    assert!(closed.location().ends_with("closed=0"), "{} {}", closed.status, closed.html);
    assert_eq!(record.state(&app).await, before);
    app.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_form_counts_with_the_token_of_its_session_only() {
    let mut app = sealing_app().await;
    let record = Record::of(&mut app).await;
    let mut admin = ConsoleBrowser::signed_in(&app, "contoso", ApiRole::Admin).await;
    let token = admin.opens("/console/settings").await.hidden("form_token");
    let mut second = ConsoleBrowser::signed_in(&app, "contoso", ApiRole::Admin).await;
    let foreign = second.opens("/console/settings").await.hidden("form_token");
    let session = admin.cookies["onrecord-session"].clone();
    let before = record.state(&app).await;
    let wrong = [None, Some(""), Some("x"), Some(foreign.as_str()), Some(session.as_str())];
    for route @ (method, path, _, names, fields) in ROUTES {
        if *method == "get" {
            continue;
        }
        let path = record.path(path, *names);
        for token in wrong {
            let page = uses(&mut admin, &path, route, token).await;
            assert_eq!(page.status, StatusCode::FORBIDDEN, "{path} {token:?}: {}", page.html);
        }
        // The right token twice, in the address, or in a form of another site.
        let twice: Vec<(&str, &str)> =
            [("form_token", token.as_str()); 2].into_iter().chain(fields.iter().copied()).collect();
        assert_eq!(admin.posts(&path, &twice).await.status, StatusCode::FORBIDDEN, "{path}");
        let in_address = format!("{path}?form_token={token}");
        assert_eq!(admin.posts(&in_address, fields).await.status, StatusCode::FORBIDDEN, "{path}");
        for site in ["cross-site", "same-site"] {
            admin.headers = vec![("sec-fetch-site", site.to_owned())];
            let page = uses(&mut admin, &path, route, Some(&token)).await;
            assert_eq!(page.status, StatusCode::FORBIDDEN, "{path} {site}");
            admin.headers.clear();
        }
        // No form is sent by its address.
        if !ROUTES.iter().any(|(other, same, ..)| *other == "get" && *same == route.1) {
            let page = admin.gets(&path).await;
            let status = page.status;
            let is_unknown =
                [StatusCode::METHOD_NOT_ALLOWED, StatusCode::NOT_FOUND].contains(&status);
            assert!(is_unknown, "{path}: {status}");
        }
    }
    assert_eq!(record.state(&app).await, before);
    // It is still signed in, with the same session.
    admin.opens("/console/settings").await;
    assert_eq!(admin.cookies["onrecord-session"], session);
    app.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn no_address_leads_to_another_site() {
    let app = TestApp::open().await;
    let mut browser = ConsoleBrowser::signed_in(&app, "contoso", ApiRole::Admin).await;
    for then in [
        "https://attacker.example/",
        "//attacker.example",
        "/console//attacker.example",
        "/console/\\attacker.example",
        "/console/\t/attacker.example",
        "javascript:alert(1)",
        "/console/..//attacker.example",
    ] {
        let query = serde_urlencoded::to_string([("then", then)]).unwrap();
        for path in ["/console/preferences", "/console/sign-in"] {
            let page = browser.gets(&format!("{path}?{query}")).await;
            assert_eq!(page.status, StatusCode::SEE_OTHER, "{path} {then}");
            assert!(page.location().starts_with("/console/"), "{path} {then}: {}", page.location());
            assert!(!page.location().starts_with("/console//"), "{path} {then}");
        }
    }
    app.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_new_sign_in_ends_the_session_that_the_browser_had() {
    let app = TestApp::open().await;
    let key = app.api_key("contoso", ApiRole::Auditor).await;
    let mut browser = ConsoleBrowser::of(&app);
    browser.signs_in(&key, "/console/").await;
    let mut copy = ConsoleBrowser::of(&app);
    copy.cookies = browser.cookies.clone();
    copy.opens("/console/calls").await;
    // The page of the sign-in leads on, but its form can be sent.
    let before = browser.cookies.remove("onrecord-session").unwrap();
    let form = browser.gets("/console/sign-in").await.hidden("form_token");
    browser.cookies.insert("onrecord-session".to_owned(), before);
    browser.posts("/console/sign-in", &[("form_token", &form), ("key", &key)]).await;
    browser.opens("/console/calls").await;
    assert_eq!(copy.gets("/console/calls").await.status, StatusCode::SEE_OTHER);
    app.stop().await;
}
