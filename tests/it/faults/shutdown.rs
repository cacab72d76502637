//! SIGTERM under load.

use std::time::Duration;

use futures_util::future::join_all;
use reqwest::StatusCode;
use tokio::task::JoinSet;
use uuid::Uuid;

use super::cluster::proxy::{Direction, Flow};
use super::cluster::{Cluster, ids_of};
use crate::support::azure::Call;
use crate::support::client::Stream;

const STREAMS: usize = 1_000;
/// Each participant may have 64 streams.
const STREAMS_OF_A_PARTICIPANT: usize = 50;
const POSTS: usize = 200;

#[tokio::test(flavor = "multi_thread")]
async fn a_stop_sends_bye_to_a_thousand_streams_and_finishes_two_hundred_posts() {
    let Some(mut cluster) = Cluster::open(1).await else {
        return;
    };
    let participants: Vec<String> = (0..STREAMS / STREAMS_OF_A_PARTICIPANT)
        .map(|number| format!("8:acs:11111111-1111-4111-8111-111111111111_{number:08x}-client"))
        .collect();
    let tokens = cluster.tokens(&participants).await;
    let mut streams = Vec::with_capacity(STREAMS);
    for token in &tokens {
        let opening = (0..STREAMS_OF_A_PARTICIPANT).map(|_| {
            let path = format!("/v1/notices/stream?attachment={}", Uuid::new_v4());
            Stream::open(cluster.nodes[0].url(&path), token, None)
        });
        streams.extend(join_all(opening).await);
    }
    // Kafka confirms late, so that the posts are in flight when the stop comes.
    let late = Flow::Delay(Duration::from_millis(500));
    cluster.to_kafka[0].set(Direction::ToClient, late);
    let mut posts = JoinSet::new();
    for _ in 0..POSTS {
        let events = Call::new().started();
        let url = cluster.nodes[0].url("/ingest/event-grid/eg");
        posts.spawn(async move {
            let asked = crate::support::client::http()
                .post(url)
                .header("x-onrecord-key", crate::support::app::SOURCE_KEY)
                .body(events.to_string())
                .send();
            let answer = asked.await.ok().map(|answer| answer.status());
            (ids_of(&events), answer)
        });
    }
    let first = posts.join_next().await.unwrap().unwrap();
    let stopping = cluster.nodes[0].stop();
    let bye_received = join_all(streams.iter_mut().map(|stream| async {
        stream.receives("bye").await;
        assert!(stream.next().await.is_none(), "and that is the end");
    }));
    let (took, _) = tokio::join!(stopping, bye_received);
    assert!(took < Duration::from_secs(25), "{took:?}");
    let mut answered = posts.join_all().await;
    answered.push(first);
    let acknowledged: Vec<String> = answered
        .into_iter()
        .filter(|(_, answer)| *answer == Some(StatusCode::OK))
        .flat_map(|(ids, _)| ids)
        .collect();
    assert!(acknowledged.len() > POSTS / 2, "{} were acknowledged", acknowledged.len());
    cluster.to_kafka[0].heal();
    cluster.nodes[0].start_again().await;
    cluster.are_appended_once(&acknowledged).await;
    cluster.close().await;
}
