//! One tenant asks for the evidence of a very large call many times at once; the others do not wait.

use std::time::{Duration, Instant};

use chrono::Utc;
use futures_util::future::join_all;
use onrecord::http::api_role::ApiRole;
use reqwest::StatusCode;
use serde_json::{Value, json};
use uuid::Uuid;

use crate::support::app::TestApp;
use crate::support::azure::{ALICE, Call};
use crate::support::client::http;
use crate::support::requirements::print_line;

/// Number of participants of the call.
const PARTICIPANTS: usize = 1_000;
/// Number of events in a delivery.
const DELIVERY: usize = 250;
/// Number of requests at once: as many as the query API has connections.
const REQUESTS: usize = 8;

async fn get(app: &TestApp, path: &str, key: &str) -> (StatusCode, Duration) {
    let began = Instant::now();
    let response = http().get(app.url(path)).bearer_auth(key).send().await.unwrap();
    let status = response.status();
    response.bytes().await.unwrap();
    (status, began.elapsed())
}

#[tokio::test(flavor = "multi_thread")]
async fn eight_requests_for_the_evidence_of_a_very_large_call_keep_no_other_tenant_waiting() {
    let mut app = TestApp::open().await;
    let call = Call::new();
    app.event_grid_posts(&call.started()).await;
    let mut joined: Vec<Value> = Vec::new();
    for number in 0..PARTICIPANTS {
        let raw_id = format!("{ALICE}{number:04x}");
        joined.push(call.joined(&raw_id, &Uuid::new_v4().to_string())[0].take());
    }
    for delivery in joined.chunks(DELIVERY) {
        app.event_grid_posts(&json!(delivery)).await;
    }
    app.call_automation_posts(&call.recording("active", Utc::now())).await;
    app.sees(&format!("/v1/calls/{}", call.correlation), |seen| {
        seen["recorded"] == true
            && seen["participants"].as_array().is_some_and(|all| all.len() >= PARTICIPANTS)
    })
    .await;

    let (large, other) = (
        app.api_key("contoso", ApiRole::Auditor).await,
        app.api_key("fabrikam", ApiRole::Auditor).await,
    );
    let evidence = format!("/v1/calls/{}/evidence", call.correlation);
    let began = Instant::now();
    let requests = (0..REQUESTS).map(|_| get(&app, &evidence, &large));
    let mut requests = Box::pin(join_all(requests));
    let mut waits = Vec::new();
    let answers = loop {
        tokio::select! {
            answers = &mut requests => break answers,
            (status, waited) = get(&app, "/v1/calls", &other) => {
                assert_eq!(status, StatusCode::OK);
                waits.push(waited);
            }
        }
    };
    let took = began.elapsed();
    assert!(answers.iter().all(|(status, _)| *status == StatusCode::OK), "{answers:?}");
    let longest = waits.iter().max().copied().unwrap_or_default();
    print_line(&format!(
        "{REQUESTS} answers took {took:.1?}; {} of the other tenant waited {longest:.1?} at most",
        waits.len()
    ));
    assert!(waits.len() > REQUESTS && longest < took / 3, "{longest:?} of {took:?}");
    drop(requests);
    app.stop().await;
}
