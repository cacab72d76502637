//! `NO_SECRETS`: what was said in a call, and the reason of a call, is never stored.

use serde_json::{Value, json};

use crate::support::app::TestApp;
use crate::support::azure::{ALICE, Call};

const PLANTED: &str = "PLANTED-CONTENT-51c0";

/// The type, whether Event Grid sends it, its planted data, and a text of it that is kept.
fn planted_events() -> Vec<(&'static str, bool, Value, &'static str)> {
    let details = json!({
        "teamsPhoneCallDetails": {
            "sessionId": "kept-session", "intent": PLANTED, "callTopic": PLANTED, "callContext": PLANTED,
            "transcriptUrl": format!("https://contoso.example/{PLANTED}"), "callSentiment": PLANTED,
            "suggestedActions": PLANTED,
            "teamsPhoneCallerDetails": {
                "name": PLANTED, "recordId": PLANTED, "screenPopUrl": PLANTED, "isAuthenticated": true,
                "additionalCallerInformation": { "why": PLANTED }, "caller": { "rawId": ALICE }
            },
            "teamsPhoneSourceDetails": { "language": PLANTED, "status": PLANTED, "intendedTargets": {} }
        },
        "sipHeaders": { "X-MS-Custom-Why": PLANTED }, "voipHeaders": { "why": PLANTED }
    });
    vec![
        (
            "IncomingCall",
            true,
            json!({ "from": { "rawId": ALICE }, "to": { "rawId": ALICE }, "customContext": details }),
            "kept-session",
        ),
        (
            "TranscriptionCallSummaryUpdated",
            false,
            json!({ "transcriptionUpdate": { "transcriptionStatus": "transcriptionUpdated", "transcriptionMessage": PLANTED, "locale": "de-DE", "summary": { "recap": [PLANTED] }, "headline": PLANTED } }),
            "de-DE",
        ),
        (
            "TranscriptionUpdated",
            false,
            json!({ "transcriptionUpdate": { "transcriptionStatus": "transcriptionUpdated", "transcriptionStatusDetails": "transcriptionLocaleUpdated", "text": PLANTED } }),
            "transcriptionLocaleUpdated",
        ),
        (
            "DialogUpdated",
            false,
            json!({ "dialogId": "kept-dialog", "ivrContext": { "lastUtterance": PLANTED, "initialUtterance": PLANTED, "botReply": PLANTED, "turns": [{ "said": PLANTED }] } }),
            "kept-dialog",
        ),
        (
            "RecognizeCompleted",
            false,
            json!({ "recognitionType": "choices", "choiceResult": { "label": PLANTED, "recognizedPhrase": PLANTED }, "speechResult": { "speech": PLANTED, "words": [PLANTED] } }),
            "choices",
        ),
        (
            "ContinuousDtmfRecognitionToneReceived",
            false,
            json!({ "tone": PLANTED, "sequenceId": 1, "operationContext": "kept-context" }),
            "kept-context",
        ),
        (
            "SomethingNew",
            false,
            json!({ "operationContext": "kept-context", "anything": PLANTED, "deep": { "er": [PLANTED, { "x": PLANTED }] }, "resultInformation": { "code": 200, "message": "kept-message" } }),
            "kept-message",
        ),
    ]
}

#[tokio::test(flavor = "multi_thread")]
async fn contents_of_calls_are_stored_of_no_type_and_ids_and_states_are() {
    let mut app = TestApp::open().await;
    let now = chrono::Utc::now();
    let mut kept_texts = Vec::new();
    for (name, by_event_grid, data, kept) in planted_events() {
        let call = Call::new();
        if by_event_grid {
            app.event_grid_posts(&call.event(name, now, &data)).await;
        } else {
            app.call_automation_posts(&call.callback(name, now, &data)).await;
        }
        kept_texts.push((name, call.correlation, kept));
    }
    // An unknown type with its data in base64, and as a text.
    let unknown = |data: Value| json!([{ "id": "u", "source": "calling/callConnections/x", "type": "Microsoft.Communication.Unknown", "specversion": "1.0", "data": data }]);
    let as_text = json!({ "said": PLANTED, "correlationId": Call::new().correlation }).to_string();
    app.call_automation_posts(&unknown(json!(as_text))).await;
    app.call_automation_posts(&unknown(json!(format!("no JSON: {PLANTED}")))).await;
    let list = app
        .sees("/v1/events", |list| {
            list["events"].as_array().is_some_and(|events| events.len() == kept_texts.len() + 2)
        })
        .await;
    for (name, correlation, kept) in kept_texts {
        let events = list["events"].as_array().unwrap();
        let event = events.iter().find(|event| event["call"] == correlation.as_str());
        let id = event.unwrap_or_else(|| panic!("{name} has its call: {list}"))["id"].clone();
        let one = app.reads(&format!("/v1/events/{}", id.as_str().unwrap())).await;
        let original = one["original"].as_str().unwrap();
        assert!(original.contains(kept), "{name}: {original}");
        assert!(!one["event"]["redacted"].as_array().unwrap().is_empty(), "{one}");
    }
    let database = app.stores.database().await;
    for statement in
        ["select encode(original, 'escape') || event::text from entry", "select event from fact"]
    {
        let rows: Vec<String> = sqlx::query_scalar(statement).fetch_all(&database).await.unwrap();
        assert!(!rows.is_empty());
        for row in rows {
            assert!(!row.contains(PLANTED), "{statement}: {row}");
        }
    }
    app.stop().await;
}
