//! The page of the demonstration: the calls that it plays, and who may start them.

use std::time::Duration;

use reqwest::{Method, StatusCode};
use serde_json::{Value, json};

use super::demo::RunningDemo;
use crate::support::app::until;
use crate::support::client::{Stream, http};

impl RunningDemo {
    async fn ask(&self, method: Method, path: &str) -> (StatusCode, Value) {
        let answer = http().request(method, format!("{}{path}", self.url)).send().await.unwrap();
        (answer.status(), answer.json().await.unwrap_or_default())
    }

    /// Starts a call, and returns its correlation id.
    async fn start_call(&self) -> String {
        let (status, call) = self.ask(Method::POST, "/demo/calls").await;
        assert_eq!(status, StatusCode::CREATED, "{call}");
        call["correlation_id"].as_str().unwrap().to_owned()
    }

    async fn sdks(&self, call: &str) -> Stream {
        Stream::open(format!("{}/demo/calls/{call}/stream", self.url), "", None).await
    }

    /// Waits until the timeline of a call has an event of this type that contains this text.
    async fn until_stored(&self, call: &str, name: &str, text: &str) {
        let (_, setup) = self.ask(Method::GET, "/demo/setup.json").await;
        let address = format!("{}/v1/calls/{call}/timeline?limit=100", self.url);
        until(&format!("{name} of the call is stored"), async || {
            let request = http().get(&address).bearer_auth(setup["admin_key"].as_str().unwrap());
            let timeline: Value = request.send().await.unwrap().json().await.unwrap();
            let entries = timeline["events"].as_array()?.iter();
            let mut entries = entries.map(Value::to_string);
            entries.any(|entry| entry.contains(name) && entry.contains(text)).then_some(())
        })
        .await;
    }
}

/// What the SDKs of the three participants state.
fn states(recording: [bool; 3]) -> Value {
    let state =
        |recording| json!({ "connected": true, "recording": recording, "transcription": false });
    recording.map(state).into_iter().collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn the_page_plays_a_call_whose_events_and_callbacks_are_stored() {
    let demo = RunningDemo::start(&[], &[]).await;
    let call = demo.start_call().await;
    let mut sdks = demo.sdks(&call).await;
    assert_eq!(sdks.next().await.unwrap().body, states([false; 3]));
    let recording = format!("/demo/calls/{call}/recording");
    let (status, _) = demo.ask(Method::PUT, &recording).await;
    assert_eq!(status, StatusCode::NO_CONTENT);
    for expected in [[true, false, false], [true, true, false]] {
        assert_eq!(sdks.next().await.unwrap().body, states(expected));
    }
    for name in ["CallStarted", "CallParticipantAdded", "CallConnected", "ParticipantsUpdated"] {
        demo.until_stored(&call, name, "").await;
    }
    demo.until_stored(&call, "RecordingStateChanged", r#""state":"active""#).await;

    let (status, _) = demo.ask(Method::DELETE, &format!("/demo/calls/{call}")).await;
    assert_eq!(status, StatusCode::NO_CONTENT);
    let mut last = None;
    while let Some(event) = sdks.next().await {
        last = Some(event.body);
    }
    let off = json!({ "connected": false, "recording": false, "transcription": false });
    assert_eq!(last, Some(json!([off, off, off])));
    demo.until_stored(&call, "RecordingStateChanged", r#""state":"inactive""#).await;
    for name in ["CallParticipantRemoved", "CallEnded", "CallDisconnected"] {
        demo.until_stored(&call, name, "").await;
    }
    let ended = [
        (Method::PUT, recording),
        (Method::DELETE, format!("/demo/calls/{call}")),
        (Method::GET, format!("/demo/calls/{call}/stream")),
    ];
    for (method, path) in ended {
        let (status, problem) = demo.ask(method, &path).await;
        assert_eq!(status, StatusCode::NOT_FOUND, "{path}");
        assert_eq!(problem["type"], "urn:onrecord:problem:not-found");
    }
    demo.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn pages_have_a_call_each_up_to_a_maximum_and_a_call_without_its_page_ends() {
    let demo = RunningDemo::start(&[], &[]).await;
    let mut pages = Vec::new();
    for _ in 0..4 {
        let call = demo.start_call().await;
        pages.push((demo.sdks(&call).await, call));
    }
    let (status, problem) = demo.ask(Method::POST, "/demo/calls").await;
    assert_eq!(status, StatusCode::TOO_MANY_REQUESTS);
    assert_eq!(problem["type"], "urn:onrecord:problem:too-many-requests");
    let (stream, gone) = pages.pop().unwrap();
    drop(stream);
    let another = until("the place of the call whose page is gone", async || {
        let (status, call) = demo.ask(Method::POST, "/demo/calls").await;
        (status == StatusCode::CREATED).then_some(call)
    });
    let another = another.await["correlation_id"].as_str().unwrap().to_owned();
    demo.until_stored(&gone, "CallEnded", "").await;
    // A recording in one call is none in another.
    let (_, first) = &pages[0];
    demo.ask(Method::PUT, &format!("/demo/calls/{first}/recording")).await;
    demo.until_stored(first, "RecordingStateChanged", r#""state":"active""#).await;
    let mut other = demo.sdks(&another).await;
    assert_eq!(other.next().await.unwrap().body, states([false; 3]));
    assert!(other.is_silent_for(Duration::from_millis(300)).await);
    // Open streams and calls do not delay the end.
    let end = tokio::time::timeout(Duration::from_secs(15), demo.stop());
    assert_eq!(end.await.unwrap().code(), Some(130));
}

#[tokio::test(flavor = "multi_thread")]
async fn only_a_page_of_this_server_on_this_machine_gets_keys_and_starts_calls() {
    let demo = RunningDemo::start(&[], &[]).await;
    let call = demo.start_call().await;
    let routes = [
        (Method::GET, "/demo/setup.json".to_owned()),
        (Method::POST, "/demo/calls".to_owned()),
        (Method::GET, format!("/demo/calls/{call}/stream")),
        (Method::PUT, format!("/demo/calls/{call}/recording")),
        (Method::DELETE, format!("/demo/calls/{call}/transcription")),
        (Method::DELETE, format!("/demo/calls/{call}")),
    ];
    for (method, path) in &routes {
        for (header, value) in [("host", "attacker.example"), ("origin", "http://attacker.example")]
        {
            let request = http().request(method.clone(), format!("{}{path}", demo.url));
            let status = request.header(header, value).send().await.unwrap().status();
            assert_eq!(status, StatusCode::FORBIDDEN, "{method} {path} with {header} {value}");
        }
    }
    let (_, setup) = demo.ask(Method::GET, "/demo/setup.json").await;
    let keys: Vec<&String> = setup.as_object().unwrap().keys().collect();
    assert_eq!(keys, ["admin_key", "app_key"]);
    demo.stop().await;
}
