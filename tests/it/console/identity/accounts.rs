//! Logins for SQL clients, and users as those who work on exceptions.

use onrecord::http::api_role::ApiRole;
use reqwest::StatusCode;
use sqlx::{AssertSqlSafe, Connection as _, PgConnection};
use uuid::Uuid;

use crate::console::browser::ConsoleBrowser;
use crate::console::pages::assert_strict;
use crate::support::app::{TestApp, TestStores, until};

const PATH: &str = "/console/settings/readers";

/// The address of the database for another user.
fn url_of(app: &TestApp, name: &str, password: &str) -> String {
    let (scheme, rest) = app.stores.database_url.split_once("://").unwrap();
    let (_, address) = rest.split_once('@').unwrap();
    format!("{scheme}://{name}:{password}@{address}")
}

#[tokio::test(flavor = "multi_thread")]
async fn an_admin_creates_a_login_that_sees_the_tenant_and_drops_it_with_its_connections() {
    let app = TestApp::open().await;
    app.event_grid_posts(&crate::support::azure::Call::new().started()).await;
    let mut admin = ConsoleBrowser::signed_in(&app, "contoso", ApiRole::Admin).await;
    let page = admin.opens(PATH).await;
    assert_strict(PATH, &page);
    assert!(page.html.contains("There is none."));
    let token = page.hidden("form_token");
    // Roles belong to the whole server, so no other test has this name; and it needs quoting.
    let name = format!("anna \"o'{}", Uuid::new_v4().simple());
    let fields = [("form_token", token.as_str()), ("name", name.as_str())];
    let created = admin.posts(PATH, &fields).await;
    assert_eq!(created.status, StatusCode::OK, "{}", created.html);
    let password = created.html.split("<code>").nth(2).unwrap().split('<').next().unwrap();
    assert_eq!(password.len(), 43);
    // It is shown once.
    let page = admin.opens(PATH).await;
    assert!(!page.html.contains(password) && page.html.contains("anna"));
    let encoded = name.replace(' ', "%20").replace('"', "%22").replace('\'', "%27");
    let url = url_of(&app, &encoded, password);
    let mut login = PgConnection::connect(&url).await.unwrap();
    until("the call of the tenant", async || {
        let mut login = PgConnection::connect(&url).await.ok()?;
        let calls: i64 = sqlx::query_scalar("select count(*) from reading.calls")
            .fetch_one(&mut login)
            .await
            .ok()?;
        (calls == 1).then_some(())
    })
    .await;

    let taken = admin.posts(PATH, &fields).await;
    assert_eq!(taken.status, StatusCode::CONFLICT);
    assert!(taken.html.contains("has this name already"), "{}", taken.html);
    let reserved = admin.posts(PATH, &[("form_token", &token), ("name", "pg_anna")]).await;
    assert_eq!(reserved.status, StatusCode::CONFLICT);
    let long = "x".repeat(64);
    for wrong in ["", "  ", "a\nb", &long] {
        let refused = admin.posts(PATH, &[("form_token", &token), ("name", wrong)]).await;
        assert_eq!(refused.status, StatusCode::BAD_REQUEST, "{wrong}");
    }

    // `TENANT_ISOLATION`; and no role but a login of the tenant is dropped.
    let mut other = ConsoleBrowser::signed_in(&app, "fabrikam", ApiRole::Admin).await;
    let foreign = other.opens(PATH).await;
    assert!(!foreign.html.contains("anna"));
    let drop = format!("{PATH}/drop");
    let foreign = foreign.hidden("form_token");
    let refused = other.posts(&drop, &[("form_token", &foreign), ("name", &name)]).await;
    assert_eq!(refused.status, StatusCode::NOT_FOUND);
    for role in ["postgres", "onrecord_reader", "onrecord_reading"] {
        let refused = admin.posts(&drop, &[("form_token", &token), ("name", role)]).await;
        assert_eq!(refused.status, StatusCode::NOT_FOUND, "{role}");
    }
    let dropped = admin.posts(&drop, &fields).await;
    assert_eq!(dropped.status, StatusCode::OK, "{}", dropped.html);
    assert!(dropped.html.contains("The login is dropped."));
    assert!(sqlx::query("select 1").execute(&mut login).await.is_err());
    assert!(PgConnection::connect(&url).await.is_err());
    assert!(admin.opens(PATH).await.html.contains("There is none."));
    app.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn where_the_service_may_not_create_logins_the_page_names_the_command_for_an_administrator() {
    let mut stores = TestStores::shared().await;
    // The roles of the schema are made by its first database on the server.
    let app = TestApp::on(stores.clone()).await;
    app.is_ready().await;
    app.stop().await;
    let server = stores.database().await;
    let name = format!("plain_{}", Uuid::new_v4().simple());
    for statement in [
        format!("create role {name} login password 'x'"),
        format!("grant onrecord_reader to {name}"),
        format!("create database {name} owner {name}"),
    ] {
        sqlx::query(AssertSqlSafe(statement)).execute(&server).await.unwrap();
    }
    let (before, _) = stores.database_url.rsplit_once('/').unwrap();
    let (scheme, rest) = before.split_once("://").unwrap();
    let (_, host) = rest.rsplit_once('@').unwrap();
    stores.database_url = format!("{scheme}://{name}:x@{host}/{name}");
    let app = TestApp::on(stores).await;
    app.is_ready().await;
    let mut admin = ConsoleBrowser::signed_in(&app, "contoso", ApiRole::Admin).await;
    let token = admin.opens(PATH).await.hidden("form_token");
    let refused = admin.posts(PATH, &[("form_token", &token), ("name", "anna")]).await;
    assert_eq!(refused.status, StatusCode::CONFLICT, "{}", refused.html);
    assert!(
        refused.html.contains("onrecord reader create --tenant contoso --name anna --print-sql")
    );
    app.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_exception_is_given_to_a_user_of_the_tenant_and_to_no_other() {
    let mut app = TestApp::open().await;
    app.posts("/ingest/event-grid/eg", "no JSON").await;
    let listed =
        app.sees("/v1/exceptions", |it| !it["exceptions"].as_array().unwrap().is_empty()).await;
    let id = listed["exceptions"][0]["id"].as_str().unwrap().to_owned();
    let database = app.stores.database().await;
    let users = [("Ada Lindqvist", "contoso"), ("Grace Hopper", "fabrikam")]
        .map(|(name, tenant)| (Uuid::new_v4(), name, tenant));
    for (user, name, tenant) in users {
        let statement = "with person as (
             insert into console_user (id, issuer, subject, name, first_sign_in_at, last_sign_in_at)
             values ($1, 'https://login.example', $2, $2, now(), now()) returning id)
             insert into console_grant (user_id, tenant, role, stated_at) select id, $3, 'auditor', now() from person";
        sqlx::query(statement).bind(user).bind(name).bind(tenant).execute(&database).await.unwrap();
    }
    let mut browser = ConsoleBrowser::signed_in(&app, "contoso", ApiRole::Auditor).await;
    let path = format!("/console/exceptions/{id}");
    let page = browser.opens(&path).await;
    assert!(page.html.contains("Ada Lindqvist") && !page.html.contains("Grace Hopper"));
    let token = page.hidden("form_token");
    let [ada, grace] = users.map(|(user, ..)| user.to_string());
    let assign = format!("{path}/assign");
    let refused = browser.posts(&assign, &[("form_token", &token), ("assignee", &grace)]).await;
    assert_eq!(refused.status, StatusCode::BAD_REQUEST);
    let assigned = browser.posts(&assign, &[("form_token", &token), ("assignee", &ada)]).await;
    assert_eq!(assigned.status, StatusCode::SEE_OTHER);
    let one = app.reads(&format!("/v1/exceptions/{id}")).await;
    assert_eq!(one["assignee"]["name"], "Ada Lindqvist");
    app.stop().await;
}
