//! A call that rings: streams and reports say that nothing is connected yet.

use reqwest::StatusCode;
use serde_json::{Value, json};
use uuid::Uuid;

use crate::end_to_end::urlencoded;
use crate::support::app::TestApp;
use crate::support::azure::{ALICE, Call, report};
use crate::support::socket::Socket;

/// The banner of a body, and why it is unknown.
fn banner(body: &Value) -> (&str, Option<&str>) {
    (body["variant"].as_str().unwrap_or_default(), body["reason"].as_str())
}

const RINGS: (&str, Option<&str>) = ("unknown", Some("not_connected_yet"));
const UNKNOWN: (&str, Option<&str>) = ("unknown", None);

#[tokio::test(flavor = "multi_thread")]
async fn a_ringing_call_is_said_to_be_unconnected_and_a_report_is_answered_with_its_banner() {
    let mut app = TestApp::open().await;
    let (call, attachment) = (Call::new(), Uuid::new_v4());
    let token = app.token(ALICE).await;
    let query = format!("attachment={attachment}");
    let mut events = app.subscribes(&token, &query).await;
    let mut socket = Socket::open(&app, &token, &query).await;
    assert_eq!(banner(&events.next().await.unwrap().body), RINGS);
    assert_eq!(banner(&socket.receives_next().await.body), RINGS);
    let mut sequence = 0;
    let mut reports = async |more: Value| {
        sequence += 1;
        let (status, answer) = app.reports(&token, &report(&attachment, sequence, &more)).await;
        assert_eq!(status, StatusCode::OK, "{answer}");
        answer
    };
    // The client rings: it has no serverCallId yet.
    assert_eq!(banner(&reports(json!({})).await), RINGS);
    // Connected, but its SDK states nothing.
    let connected = json!({ "server_call_id": call.server_call_id });
    assert_eq!(banner(&reports(connected).await), UNKNOWN);
    assert_eq!(banner(&events.next().await.unwrap().body), UNKNOWN);
    assert_eq!(banner(&socket.receives_next().await.body), UNKNOWN);
    for (recording, transcription, variant) in
        [("off", "off", "none"), ("on", "off", "recording_on"), ("on", "on", "both_on")]
    {
        let state = json!({ "server_call_id": call.server_call_id, "recording": recording, "transcription": transcription });
        assert_eq!(banner(&reports(state).await), (variant, None));
        assert_eq!(banner(&socket.receives_next().await.body), (variant, None));
    }

    // The same question without a stream.
    let other = Call::new();
    let path = format!("/v1/indications?server_call_id={}", urlencoded(&other.server_call_id));
    assert_eq!(banner(&app.reads(&path).await), RINGS);
    app.event_grid_posts(&other.started()).await;
    app.sees(&path, |body| banner(body) == UNKNOWN).await;
    app.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_token_for_a_raw_id_of_an_unknown_form_is_refused() {
    let app = TestApp::open().await;
    let key = app.api_key("contoso", onrecord::http::api_role::ApiRole::App).await;
    for raw_id in [
        "alice",
        "alice@contoso.com",
        "8:acs:…",
        "8:acs:...",
        "8:acs:<resource>_<user>",
        "8:acs:11111111-1111-4111-8111-111111111111",
        "8:orgid:…",
        "8:echo123",
        "28:11111111-1111-4111-8111-111111111111",
        "4:",
    ] {
        let (status, problem) =
            app.mints(&key, &json!({ "participant": { "raw_id": raw_id } })).await;
        assert_eq!(status, StatusCode::BAD_REQUEST, "{raw_id}");
        assert_eq!(problem["member"], "/participant/raw_id", "{raw_id}: {problem}");
        let other = json!({ "participant": { "raw_id": ALICE, "other_raw_ids": [raw_id] } });
        let (status, problem) = app.mints(&key, &other).await;
        assert_eq!(status, StatusCode::BAD_REQUEST, "{raw_id}");
        assert_eq!(problem["member"], "/participant/other_raw_ids/0", "{raw_id}: {problem}");
        // No token has it, and an answer must not look as if one were revoked.
        let body = json!({ "raw_id": raw_id });
        let (status, problem) = app.posts_json("/v1/token-revocations", &key, &body).await;
        assert_eq!(status, StatusCode::BAD_REQUEST, "{raw_id}");
        assert_eq!(problem["member"], "/raw_id", "{raw_id}: {problem}");
    }
    for raw_id in [ALICE, "8:orgid:22222222-2222-4222-8222-222222222222", "4:+4930123456"] {
        let (status, _) = app.mints(&key, &json!({ "participant": { "raw_id": raw_id } })).await;
        assert_eq!(status, StatusCode::CREATED, "{raw_id}");
    }
    app.stop().await;
}
