//! Revoked subscriber tokens: they are refused, and their streams end, on every node.

use std::time::{Duration, Instant};

use onrecord::http::api_role::ApiRole;
use onrecord_devstack::PostgresShutdown;
use reqwest::StatusCode;
use serde_json::{Value, json};
use uuid::Uuid;

use crate::support::app::{TestApp, TestStores, until};
use crate::support::azure::{ALICE, BOB, report};
use crate::support::client::{Stream, http};
use crate::support::postgres::own_postgres;
use crate::support::socket::Socket;

/// Maximum time until every node applies a revocation.
const MAX_DELAY: Duration = Duration::from_secs(5);
const REVOKED: &str = "urn:onrecord:problem:token-revoked";

async fn two_nodes() -> [TestApp; 2] {
    let stores = TestStores::shared().await;
    let nodes = [TestApp::on(stores.clone()).await, TestApp::on(stores).await];
    for node in &nodes {
        node.is_ready().await;
    }
    nodes
}

async fn mint(node: &TestApp, key: &str, raw_id: &str) -> String {
    let (status, minted) = node.mints(key, &json!({ "participant": { "raw_id": raw_id } })).await;
    assert_eq!(status, StatusCode::CREATED, "{minted}");
    minted["token"].as_str().unwrap().to_owned()
}

async fn revoke(node: &TestApp, key: &str, which: &Value) -> Value {
    let (status, answer) = node.posts_json("/v1/token-revocations", key, which).await;
    assert_eq!(status, StatusCode::CREATED, "{answer}");
    answer
}

/// The id of the API key that minted a token.
fn key_of(token: &str) -> Value {
    use base64::Engine as _;
    let payload = token.split('.').nth(1).unwrap();
    let payload = base64::engine::general_purpose::URL_SAFE_NO_PAD.decode(payload).unwrap();
    serde_json::from_slice::<Value>(&payload).unwrap()["key"].clone()
}

/// An open stream of each transport on each node.
async fn open_streams(nodes: &[TestApp; 2], token: &str) -> (Vec<Stream>, Vec<Socket>) {
    let (mut streams, mut sockets) = (Vec::new(), Vec::new());
    for node in nodes {
        let query = format!("attachment={}", Uuid::new_v4());
        let mut stream = node.subscribes(token, &query).await;
        stream.receives("snapshot").await;
        streams.push(stream);
        let mut socket = Socket::open(node, token, &query).await;
        socket.receives("snapshot").await;
        sockets.push(socket);
    }
    (streams, sockets)
}

/// Waits until the streams have ended for this reason.
async fn end_as_revoked((mut streams, mut sockets): (Vec<Stream>, Vec<Socket>), since: Instant) {
    for stream in &mut streams {
        let bye = stream.receives("bye").await;
        assert_eq!(bye.body["code"], "token_revoked", "{bye:?}");
        assert!(stream.next().await.is_none());
    }
    for socket in &mut sockets {
        let (received, code) = socket.receives_until_close().await;
        assert_eq!(received.last().unwrap().body["code"], "token_revoked");
        assert_eq!(code, 4401);
    }
    assert!(since.elapsed() < MAX_DELAY, "{:?}", since.elapsed());
}

async fn is_refused(node: &TestApp, token: &str) {
    let (status, problem) = node.reports(token, &report(&Uuid::new_v4(), 1, &json!({}))).await;
    assert_eq!((status, &problem["type"]), (StatusCode::UNAUTHORIZED, &json!(REVOKED)));
    assert!(problem["detail"].as_str().unwrap().contains("backend"), "{problem}");
    for path in
        ["/v1/notices/stream", "/v1/indications?attachment=6ba7b810-9dad-11d1-80b4-00c04fd430c8"]
    {
        let response = http().get(node.url(path)).bearer_auth(token).send().await.unwrap();
        assert_eq!(response.status(), StatusCode::UNAUTHORIZED);
        assert_eq!(response.json::<Value>().await.unwrap()["type"], REVOKED);
    }
    // A browser shows no status, so it receives the reason as a message.
    let mut socket = Socket::open(node, token, "").await;
    assert_eq!(socket.receives_until_close().await.1, 4401);
}

async fn is_accepted(node: &TestApp, token: &str) {
    let (status, answer) = node.reports(token, &report(&Uuid::new_v4(), 1, &json!({}))).await;
    assert_eq!(status, StatusCode::OK, "{answer}");
}

#[tokio::test(flavor = "multi_thread")]
async fn the_tokens_of_a_person_are_revoked_on_every_node_and_the_next_one_is_valid() {
    let nodes = two_nodes().await;
    let key = nodes[0].api_key("contoso", ApiRole::App).await;
    let (alice, bob) = (mint(&nodes[0], &key, ALICE).await, mint(&nodes[0], &key, BOB).await);
    let streams = open_streams(&nodes, &alice).await;
    let began = Instant::now();
    // Raw ids are compared in lower case, and what would revoke nothing is refused.
    for odd in [format!(" {ALICE}"), format!("{ALICE}\u{200b}"), "8:acs:alice".to_owned()] {
        let which = json!({ "raw_id": odd });
        let (status, problem) = nodes[1].posts_json("/v1/token-revocations", &key, &which).await;
        assert_eq!((status, &problem["member"]), (StatusCode::BAD_REQUEST, &json!("/raw_id")));
    }
    let answer = revoke(&nodes[1], &key, &json!({ "raw_id": ALICE.to_uppercase() })).await;
    assert_eq!(answer["raw_id"], ALICE);
    assert!(answer["issued_before"].is_string(), "{answer}");
    end_as_revoked(streams, began).await;
    let again = mint(&nodes[0], &key, ALICE).await;
    for node in &nodes {
        is_refused(node, &alice).await;
        is_accepted(node, &again).await;
        is_accepted(node, &bob).await;
    }
    let [first, second] = nodes;
    first.stop().await;
    second.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_tokens_that_a_key_minted_are_revoked_and_those_of_other_keys_are_not() {
    let nodes = two_nodes().await;
    let (stolen, other) = (
        nodes[0].api_key("contoso", ApiRole::App).await,
        nodes[0].api_key("contoso", ApiRole::App).await,
    );
    let theirs = mint(&nodes[0], &stolen, ALICE).await;
    let ours = mint(&nodes[0], &other, ALICE).await;
    let streams = open_streams(&nodes, &theirs).await;
    let began = Instant::now();
    revoke(&nodes[0], &other, &json!({ "key": key_of(&theirs) })).await;
    end_as_revoked(streams, began).await;
    for node in &nodes {
        is_refused(node, &theirs).await;
        is_accepted(node, &ours).await;
    }
    // The id of a key of another tenant, or of none, is an error: it would revoke nothing.
    let foreign = nodes[0].api_key("fabrikam", ApiRole::App).await;
    for (key, id) in [(&foreign, key_of(&ours)), (&other, json!(Uuid::new_v4()))] {
        let (status, problem) =
            nodes[0].posts_json("/v1/token-revocations", key, &json!({ "key": id })).await;
        assert_eq!((status, &problem["member"]), (StatusCode::BAD_REQUEST, &json!("/key")));
    }
    let [first, second] = nodes;
    first.stop().await;
    second.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_tokens_of_a_tenant_that_were_issued_before_an_instant_are_revoked() {
    let nodes = two_nodes().await;
    let key = nodes[0].api_key("contoso", ApiRole::App).await;
    let before = mint(&nodes[0], &key, ALICE).await;
    let instant = chrono::Utc::now();
    let after = mint(&nodes[0], &key, BOB).await;
    let foreign_key = nodes[0].api_key("fabrikam", ApiRole::App).await;
    let foreign = mint(&nodes[0], &foreign_key, ALICE).await;
    let streams = open_streams(&nodes, &before).await;
    let began = Instant::now();
    revoke(&nodes[0], &key, &json!({ "issued_before": instant })).await;
    end_as_revoked(streams, began).await;
    for node in &nodes {
        is_refused(node, &before).await;
        is_accepted(node, &after).await;
        is_accepted(node, &foreign).await;
    }
    // Each of them wakes all streams, so an API key may do it once a second.
    until("a further revocation is rejected", || async {
        let which = json!({ "raw_id": "8:acs:r_somebody" });
        let (status, _) = nodes[1].posts_json("/v1/token-revocations", &key, &which).await;
        (status == StatusCode::TOO_MANY_REQUESTS).then_some(())
    })
    .await;
    let analyst = nodes[0].api_key("contoso", ApiRole::Analyst).await;
    for (credential, status) in
        [(&analyst, StatusCode::FORBIDDEN), (&after, StatusCode::UNAUTHORIZED)]
    {
        let which = json!({ "raw_id": ALICE });
        let refused = nodes[0].posts_json("/v1/token-revocations", credential, &which).await;
        assert_eq!(refused.0, status, "{}", refused.1);
    }
    let [first, second] = nodes;
    first.stop().await;
    second.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn without_postgres_a_node_keeps_the_revocations_and_a_new_node_reads_them_when_it_is_back() {
    let mut postgres = own_postgres().await;
    let stores = TestStores { database_url: postgres.admin_url(), ..TestStores::shared().await };
    let node = TestApp::on(stores.clone()).await;
    node.is_ready().await;
    let key = node.api_key("contoso", ApiRole::App).await;
    let (alice, bob) = (mint(&node, &key, ALICE).await, mint(&node, &key, BOB).await);
    revoke(&node, &key, &json!({ "raw_id": ALICE })).await;
    postgres.stop_server(PostgresShutdown::Immediate).await;
    is_refused(&node, &alice).await;
    is_accepted(&node, &bob).await;

    let second = TestApp::on(stores).await;
    until("the new node serves without Postgres", || async {
        let (status, _) = second.reports(&bob, &report(&Uuid::new_v4(), 1, &json!({}))).await;
        (status == StatusCode::OK).then_some(())
    })
    .await;
    postgres.start_server().await.unwrap();
    until("the new node has read the revocations", || async {
        let (status, _) = second.reports(&alice, &report(&Uuid::new_v4(), 1, &json!({}))).await;
        (status == StatusCode::UNAUTHORIZED).then_some(())
    })
    .await;
    node.stop().await;
    second.stop().await;
    postgres.stop().await;
}

/// Revokes an API key as `onrecord key revoke` does.
async fn revoke_key(stores: &TestStores, id: &Value) {
    let id = Uuid::parse_str(id.as_str().unwrap()).unwrap();
    let revoked = sqlx::query("update api_key set revoked_at = now() where id = $1").bind(id);
    assert_eq!(revoked.execute(&stores.database().await).await.unwrap().rows_affected(), 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_token_that_a_node_mints_for_a_key_after_its_revocation_is_refused() {
    let [first, second] = two_nodes().await;
    let ours = first.api_key("contoso", ApiRole::App).await;
    let mut minted = None;
    while minted.is_none() {
        let stolen = first.api_key("contoso", ApiRole::App).await;
        let id = key_of(&mint(&first, &stolen, ALICE).await);
        revoke_key(&first.stores, &id).await;
        let answer = revoke(&first, &ours, &json!({ "key": id })).await;
        assert_eq!(answer["issued_before"], Value::Null);
        // Stated again it is stored once.
        revoke(&second, &ours, &json!({ "key": id })).await;
        // A node accepts the key until it has read that it is revoked. Where it has read that at
        // once, there is nothing to see, and another key is used.
        let body = json!({ "participant": { "raw_id": ALICE } });
        let (status, answer) = first.mints(&stolen, &body).await;
        minted = (status == StatusCode::CREATED).then(|| answer["token"].to_string());
    }
    let minted = minted.unwrap().trim_matches('"').to_owned();
    is_refused(&first, &minted).await;
    until("the other node has read the revocation", || async {
        let report = report(&Uuid::new_v4(), 1, &json!({}));
        (second.reports(&minted, &report).await.0 == StatusCode::UNAUTHORIZED).then_some(())
    })
    .await;
    let rows = "select count(*) from token_revocation where api_key = $1";
    let id = Uuid::parse_str(key_of(&minted).as_str().unwrap()).unwrap();
    let rows: i64 =
        sqlx::query_scalar(rows).bind(id).fetch_one(&first.stores.database().await).await.unwrap();
    assert_eq!(rows, 1);
    first.stop().await;
    second.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn revocations_are_read_in_pages_and_deleted_when_their_tokens_have_expired() {
    let stores = TestStores::shared().await;
    let first = TestApp::on(stores.clone()).await;
    first.is_ready().await;
    let key = first.api_key("contoso", ApiRole::App).await;
    let alice = mint(&first, &key, ALICE).await;
    let database = stores.database().await;
    let insert = "insert into token_revocation (tenant, raw_id, last_issued_at, recorded_at)
         select 'contoso', '8:acs:' || number, now() - $1::interval, now() - $1::interval
         from generate_series(1, 2500) as _ (number)";
    for age in ["1 hour", "32 days"] {
        sqlx::query(insert).bind(age).execute(&database).await.unwrap();
    }
    revoke(&first, &key, &json!({ "raw_id": ALICE })).await;
    first.stop().await;
    // The revocation of Alice is on the last page. A start deletes those whose tokens have expired.
    let second = TestApp::on(stores).await;
    second.is_ready().await;
    until("the new node has read the revocations", || async {
        let (status, _) = second.reports(&alice, &report(&Uuid::new_v4(), 1, &json!({}))).await;
        (status == StatusCode::UNAUTHORIZED).then_some(())
    })
    .await;
    until("the expired revocations are deleted", || async {
        let kept: i64 = sqlx::query_scalar("select count(*) from token_revocation")
            .fetch_one(&database)
            .await
            .unwrap();
        (kept == 2501).then_some(())
    })
    .await;
    second.stop().await;
}
