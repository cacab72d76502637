//! A node with many subscribers is killed: they resume on another node and miss nothing.

use futures_util::future::join_all;
use serde_json::{Value, json};
use uuid::Uuid;

use super::cluster::Cluster;
use crate::end_to_end::urlencoded;
use crate::support::azure::{ALICE, Call, report};
use crate::support::client::{ReceivedEvent, Stream, http};

const CLIENTS: usize = 500;
/// Each participant may have 64 streams.
const STREAMS_OF_A_PARTICIPANT: usize = 50;

/// Reports the state that the client sees.
async fn reports_state(cluster: &Cluster, node: usize, token: &str, report: &Value) {
    let asked = http().post(cluster.nodes[node].url("/v1/reports")).bearer_auth(token).json(report);
    assert_eq!(asked.send().await.unwrap().status(), 200);
}

#[tokio::test(flavor = "multi_thread")]
async fn five_hundred_clients_of_a_killed_node_resume_on_the_other_and_miss_nothing() {
    let Some(mut cluster) = Cluster::open(2).await else {
        return;
    };
    let (call, attachment) = (Call::new(), Uuid::new_v4());
    let token = cluster.token(ALICE).await;
    let state = |sequence, recording: &str, transcription: &str| {
        let more = json!({ "server_call_id": call.server_call_id, "recording": recording, "transcription": transcription });
        report(&attachment, sequence, &more)
    };
    reports_state(&cluster, 0, &token, &state(1, "off", "off")).await;
    let path = format!("/v1/notices/stream?server_call_id={}", urlencoded(&call.server_call_id));
    let mut streams = Vec::with_capacity(CLIENTS);
    let participants: Vec<String> = (0..CLIENTS / STREAMS_OF_A_PARTICIPANT)
        .map(|number| format!("8:acs:11111111-1111-4111-8111-111111111111_{number:08x}-client"))
        .collect();
    let tokens = cluster.tokens(&participants).await;
    for token in &tokens {
        let opening = (0..STREAMS_OF_A_PARTICIPANT)
            .map(|_| Stream::open(cluster.nodes[0].url(&path), token, None));
        streams.extend(join_all(opening).await);
    }
    reports_state(&cluster, 0, &token, &state(2, "on", "off")).await;
    let received = join_all(streams.iter_mut().map(|stream| stream.receives_recording("on"))).await;
    let cursors: Vec<String> = received.into_iter().map(|received| received.id).collect();
    drop(streams);
    cluster.nodes[0].kill().await;

    // Two transitions without a subscriber.
    reports_state(&cluster, 1, &token, &state(3, "on", "on")).await;
    reports_state(&cluster, 1, &token, &state(4, "paused", "on")).await;
    for (token, some) in tokens.iter().zip(cursors.chunks(STREAMS_OF_A_PARTICIPANT)) {
        let resuming = some.iter().map(|cursor| async {
            let url = cluster.nodes[1].url(&path);
            let mut stream = Stream::open(url, token, Some(cursor)).await;
            let mut received: Vec<ReceivedEvent> = Vec::new();
            while received.last().is_none_or(|it| it.kind != "snapshot") {
                received.push(stream.next().await.expect("the stream goes on"));
            }
            received
        });
        for received in join_all(resuming).await {
            let level = &received.last().unwrap().body["indication"];
            let reports_state = [&level["recording"]["state"], &level["transcription"]["state"]];
            assert_eq!(reports_state, [&json!("paused"), &json!("on")]);
            let has_notice = |recording: &str, transcription: &str| {
                received.iter().any(|it| {
                    it.kind == "notice"
                        && it.recording() == recording
                        && it.body["indication"]["transcription"]["state"] == transcription
                })
            };
            let has_gap = received.iter().any(|it| it.kind == "gap");
            let kinds: Vec<&str> = received.iter().map(|it| it.kind.as_str()).collect();
            assert!(has_gap || (has_notice("on", "on") && has_notice("paused", "on")), "{kinds:?}");
        }
    }
    cluster.close().await;
}
