//! Times that cannot be, and clocks that are hours behind.

use chrono::{TimeDelta, Utc};
use serde_json::{Value, json};

use crate::support::app::TestApp;
use crate::support::azure::Call;

#[tokio::test(flavor = "multi_thread")]
async fn a_time_before_2015_counts_as_absent_and_is_flagged() {
    let mut app = TestApp::open().await;
    let before = Utc::now().timestamp_millis();
    for (at, time) in ["0001-01-01T00:00:00Z", "1970-01-01T00:00:00Z", "2014-12-31T23:59:59Z"]
        .into_iter()
        .enumerate()
    {
        let call = Call::new();
        let mut state = call.recording("active", Utc::now());
        state[0]["time"] = json!(time);
        state[0]["data"]["startDateTime"] = json!(time);
        app.call_automation_posts(&state).await;
        let list = app
            .sees("/v1/events", |list| {
                list["events"].as_array().is_some_and(|events| events.len() == at + 1)
            })
            .await;
        let event = &list["events"][at];
        assert_eq!(event["ce_time"], time);
        let instant = event["at"].as_str().unwrap().parse::<chrono::DateTime<Utc>>().unwrap();
        assert!(instant.timestamp_millis() >= before, "{event}");
        assert_eq!(event["event"]["started_at"], Value::Null, "{event}");
        let flagged = &event["event"]["flagged"];
        assert_eq!(
            flagged,
            &json!([
                { "pointer": "/time", "reason": "out_of_range" },
                { "pointer": "/data/startDateTime", "reason": "out_of_range" }
            ])
        );
    }
    app.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_recording_that_is_stated_to_precede_its_call_begins_with_it() {
    let mut app = TestApp::open().await;
    let (call, now) = (Call::new(), Utc::now());
    let started = now - TimeDelta::minutes(2);
    app.event_grid_posts(&call.event("CallStarted", started, &json!({}))).await;
    let mut state = call.recording("active", now - TimeDelta::minutes(1));
    state[0]["data"]["startDateTime"] = json!((now - TimeDelta::hours(9)).to_rfc3339());
    app.call_automation_posts(&state).await;
    let seen = app
        .sees(&format!("/v1/calls/{}", call.correlation), |call| {
            call["captures"].as_array().is_some_and(|captures| captures.len() == 1)
                && call["started_at"].is_string()
        })
        .await;
    let start = |value: &Value| value["started_at"].as_str().unwrap().to_owned();
    assert_eq!(start(&seen["captures"][0]), start(&seen), "{seen}");
    assert!(seen["flags"].to_string().contains("START_CUT:"), "{seen}");
    app.stop().await;
}
