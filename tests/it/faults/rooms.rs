//! Rooms in processes of their own: each leaves the event at rest, and the next picks it up.

use serde_json::{Value, json};
use uuid::Uuid;

use super::bench::Bench;
use crate::azure::{ALICE, Call, report};
use crate::client::{Stream, http};
use crate::house::until;

const DOOR: usize = 0;
const BELL: usize = 2;
const READING: usize = 3;

#[tokio::test(flavor = "multi_thread")]
async fn an_event_walks_the_corridor_through_four_processes() {
    let Some(mut bench) = Bench::without_nodes(4).await else {
        return;
    };
    for rooms in ["intake", "ledger", "board", "web"] {
        bench.add_node(&["--rooms", rooms]).await;
    }
    let key = bench.api_key().await;
    let order = json!({ "participant": { "raw_id": ALICE } });
    let token = until("a token of the board's process", || async {
        let asked = http()
            .post(bench.nodes[BELL].url("/v1/subscriber-tokens"))
            .bearer_auth(&key)
            .json(&order);
        let answer: Value = asked.send().await.ok()?.json().await.ok()?;
        Some(answer["token"].as_str()?.to_owned())
    })
    .await;
    let (call, attachment) = (Call::new(), Uuid::new_v4());
    until("the door takes events", || async {
        let answer = bench.posts(DOOR, call.started().to_string()).await?;
        answer.is_success().then_some(())
    })
    .await;
    let address = bench.nodes[BELL].url(&format!("/v1/notices/stream?attachment={attachment}"));
    let mut stream = Stream::open(address, &token, None).await;
    let on = report(
        &attachment,
        1,
        &json!({ "server_call_id": call.server_call_id, "recording": "on" }),
    );
    let reported = http()
        .post(bench.nodes[BELL].url("/v1/reports"))
        .bearer_auth(&token)
        .json(&on);
    assert!(reported.send().await.unwrap().status().is_success());
    stream.hears_recording("on").await;
    until("the reading room shows the call", || async {
        let asked = http()
            .get(bench.nodes[READING].url(&format!("/v1/calls/{}", call.correlation)))
            .bearer_auth(&key);
        let seen: Value = asked.send().await.ok()?.json().await.ok()?;
        (seen["recorded"] == true).then_some(())
    })
    .await;
    // What is no room of a process is not there, and the door's answers are never final.
    assert_eq!(
        bench.posts(READING, call.ended().to_string()).await,
        Some(reqwest::StatusCode::SERVICE_UNAVAILABLE)
    );
    bench.close().await;
}
