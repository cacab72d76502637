//! Each role in its own process: they meet only through Kafka and Postgres.

use serde_json::{Value, json};
use uuid::Uuid;

use super::cluster::Cluster;
use crate::support::app::until;
use crate::support::azure::{ALICE, Call, report};
use crate::support::client::{Stream, http};

const INGEST: usize = 0;
const LIVE: usize = 2;
const QUERY: usize = 3;

#[tokio::test(flavor = "multi_thread")]
async fn an_event_passes_through_four_processes_of_one_role_each() {
    let Some(mut cluster) = Cluster::without_nodes(4).await else {
        return;
    };
    for role in ["ingest", "ledger", "live", "query"] {
        cluster.add_node(&["--roles", role]).await;
    }
    let key = cluster.api_key().await;
    let body = json!({ "participant": { "raw_id": ALICE } });
    let token = until("a token of the live node", || async {
        let asked = http()
            .post(cluster.nodes[LIVE].url("/v1/subscriber-tokens"))
            .bearer_auth(&key)
            .json(&body);
        let answer: Value = asked.send().await.ok()?.json().await.ok()?;
        Some(answer["token"].as_str()?.to_owned())
    })
    .await;
    let (call, attachment) = (Call::new(), Uuid::new_v4());
    until("the ingest node accepts events", || async {
        let answer = cluster.posts(INGEST, call.started().to_string()).await?;
        answer.is_success().then_some(())
    })
    .await;
    let address = cluster.nodes[LIVE].url(&format!("/v1/notices/stream?attachment={attachment}"));
    let mut stream = Stream::open(address, &token, None).await;
    let on = report(
        &attachment,
        1,
        &json!({ "server_call_id": call.server_call_id, "recording": "on" }),
    );
    let reported =
        http().post(cluster.nodes[LIVE].url("/v1/reports")).bearer_auth(&token).json(&on);
    assert!(reported.send().await.unwrap().status().is_success());
    stream.receives_recording("on").await;
    until("the query node shows the call", || async {
        let asked = http()
            .get(cluster.nodes[QUERY].url(&format!("/v1/calls/{}", call.correlation)))
            .bearer_auth(&key);
        let seen: Value = asked.send().await.ok()?.json().await.ok()?;
        (seen["recorded"] == true).then_some(())
    })
    .await;
    // A process without the ingest role answers 503, which no sender takes as final.
    assert_eq!(
        cluster.posts(QUERY, call.ended().to_string()).await,
        Some(reqwest::StatusCode::SERVICE_UNAVAILABLE)
    );
    cluster.close().await;
}
