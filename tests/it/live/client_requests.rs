//! What libraries of clients add to requests, and how they encode bodies.

use reqwest::StatusCode;
use serde_json::{Value, json};
use uuid::Uuid;

use crate::end_to_end::urlencoded;
use crate::live::acknowledgements::{are_accepted, displayed, reports_state};
use crate::support::app::TestApp;
use crate::support::azure::{ALICE, Call, report};
use crate::support::client::Stream;
use crate::support::socket::Handshake;

#[tokio::test(flavor = "multi_thread")]
async fn a_stream_ignores_unknown_parameters_and_resumes_by_the_parameter_of_a_polyfill() {
    let app = TestApp::open().await;
    let call = Call::new();
    let token = app.token(ALICE).await;
    let of_call = format!("server_call_id={}", urlencoded(&call.server_call_id));
    let mut events = app.subscribes(&token, &format!("_=17&{of_call}&utm_source=x")).await;
    events.receives("snapshot").await;
    app.call_automation_posts(&call.recording("active", chrono::Utc::now())).await;
    let on = events.receives_recording("on").await;
    app.call_automation_posts(&call.recording("inactive", chrono::Utc::now())).await;
    events.receives_recording("off").await;
    // The polyfill adds its parameter to the address, which may have an older cursor.
    for query in [
        format!("{of_call}&lastEventId={}", on.id),
        format!("{of_call}&last_event_id=1.AAAA&lastEventId={}", on.id),
        format!("{of_call}&lastEventId=1.AAAA&lastEventId={}", on.id),
    ] {
        let mut resumed = app.subscribes(&token, &query).await;
        let missed = resumed.next().await.unwrap();
        assert_ne!(missed.kind, "gap", "{query}");
        resumed.receives_recording("off").await;
        let mut socket = Handshake::new(&app, &query).bearer(&token).opens().await;
        assert_ne!(socket.receives_next().await.kind, "gap", "{query}");
    }
    // An empty header hides no parameter.
    let url = app.url(&format!("/v1/notices/stream?{of_call}&last_event_id=1.AAAA"));
    let mut unreadable = Stream::open(url, &token, Some("")).await;
    assert_eq!(unreadable.next().await.unwrap().kind, "gap");
    app.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn fractions_are_rounded_null_is_absence_and_an_unknown_member_is_refused() {
    let mut app = TestApp::open().await;
    let (call, attachment) = (Call::new(), Uuid::new_v4());
    let token = app.token(ALICE).await;
    app.event_grid_posts(&call.joined(ALICE, &Uuid::new_v4().to_string())).await;
    let state = json!({
        "server_call_id": call.server_call_id, "recording": "on", "transcription": null,
        "participant_id": null, "group_id": null, "thread_id": null, "consent_required": null,
        "leaving": null, "app": null, "sdk": null,
        "shown": [{ "type": "recording", "state": "on", "elapsed_ms": 120.4999, "text": null }],
    });
    reports_state(&app, &token, &attachment, 1, &state).await;
    let nothing =
        json!({ "server_call_id": call.server_call_id, "recording": "on", "shown": null });
    reports_state(&app, &token, &attachment, 2, &nothing).await;
    let more = json!({ "elapsed_ms": 40.5, "notice": null, "text": null, "visible": null });
    are_accepted(&app, &token, &[displayed(&attachment, &more)]).await;
    let path = format!("/v1/calls/{}/timeline?limit=1000", call.correlation);
    let elapsed = |timeline: &Value, pointer: &str| -> Vec<Value> {
        let events = timeline["events"].as_array().into_iter().flatten();
        events.filter_map(|event| event.pointer(pointer).cloned()).collect()
    };
    app.sees(&path, |timeline| {
        elapsed(timeline, "/fact/elapsed_ms") == [json!(41)]
            && elapsed(timeline, "/event/shown/0/elapsed_ms") == [json!(120)]
    })
    .await;

    let grant = json!({
        "participant": { "raw_id": ALICE, "other_raw_ids": null }, "ttl_s": null, "app": null, "grant": null,
    });
    let key = app.api_key("contoso", onrecord::http::api_role::ApiRole::App).await;
    assert_eq!(app.mints(&key, &grant).await.0, StatusCode::CREATED);

    for (more, member) in [
        (json!({ "recordnig": null }), "/recordnig"),
        (
            json!({ "shown": [{ "type": "recording", "state": "on", "elapsed": 1 }] }),
            "/shown/0/elapsed",
        ),
        (json!({ "report_id": null }), "/report_id"),
        (json!({ "shown": [null] }), "/shown/0"),
    ] {
        let (status, problem) = app.reports(&token, &report(&attachment, 3, &more)).await;
        assert_eq!((status, &problem["member"]), (StatusCode::BAD_REQUEST, &json!(member)));
    }
    app.stop().await;
}
