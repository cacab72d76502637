//! A node is killed while many listen: they come back to another one and miss nothing.

use futures_util::future::join_all;
use serde_json::{Value, json};
use uuid::Uuid;

use super::bench::Bench;
use crate::azure::{ALICE, Call, report};
use crate::client::{Heard, Stream, http};
use crate::corridor::urlencoded;

const CLIENTS: usize = 500;

/// The client that sees the recording states what it sees.
async fn states(bench: &Bench, node: usize, token: &str, report: &Value) {
    let asked = http()
        .post(bench.nodes[node].url("/v1/reports"))
        .bearer_auth(token)
        .json(report);
    assert_eq!(asked.send().await.unwrap().status(), 200);
}

#[tokio::test(flavor = "multi_thread")]
async fn five_hundred_clients_of_a_killed_node_resume_on_the_other_and_miss_nothing() {
    let Some(mut bench) = Bench::open(2).await else {
        return;
    };
    let (call, attachment) = (Call::new(), Uuid::new_v4());
    let token = bench.token(ALICE).await;
    let says = |sequence, recording: &str, transcription: &str| {
        let more = json!({ "server_call_id": call.server_call_id, "recording": recording, "transcription": transcription });
        report(&attachment, sequence, &more)
    };
    states(&bench, 0, &token, &says(1, "off", "off")).await;
    let path = format!(
        "/v1/notices/stream?server_call_id={}",
        urlencoded(&call.server_call_id)
    );
    let mut streams = Vec::with_capacity(CLIENTS);
    for _ in 0..CLIENTS / 50 {
        let opening = (0..50).map(|_| Stream::open(bench.nodes[0].url(&path), &token, None));
        streams.extend(join_all(opening).await);
    }
    states(&bench, 0, &token, &says(2, "on", "off")).await;
    let heard = join_all(
        streams
            .iter_mut()
            .map(|stream| stream.hears_recording("on")),
    )
    .await;
    let cursors: Vec<String> = heard.into_iter().map(|heard| heard.id).collect();
    drop(streams);
    bench.nodes[0].kill().await;

    // Two transitions that nobody hears.
    states(&bench, 1, &token, &says(3, "on", "on")).await;
    states(&bench, 1, &token, &says(4, "paused", "on")).await;
    for some in cursors.chunks(50) {
        let resuming = some.iter().map(|cursor| async {
            let url = bench.nodes[1].url(&path);
            let mut stream = Stream::open(url, &token, Some(cursor)).await;
            let mut heard: Vec<Heard> = Vec::new();
            while heard.last().is_none_or(|it| it.kind != "snapshot") {
                heard.push(stream.next().await.expect("the stream goes on"));
            }
            heard
        });
        for heard in join_all(resuming).await {
            let level = &heard.last().unwrap().body["indication"];
            let states = [
                &level["recording"]["state"],
                &level["transcription"]["state"],
            ];
            assert_eq!(states, [&json!("paused"), &json!("on")]);
            let told = |recording: &str, transcription: &str| {
                heard.iter().any(|it| {
                    it.kind == "notice"
                        && it.recording() == recording
                        && it.body["indication"]["transcription"]["state"] == transcription
                })
            };
            let has_gap = heard.iter().any(|it| it.kind == "gap");
            let kinds: Vec<&str> = heard.iter().map(|it| it.kind.as_str()).collect();
            assert!(
                has_gap || (told("on", "on") && told("paused", "on")),
                "{kinds:?}"
            );
        }
    }
    bench.close().await;
}
