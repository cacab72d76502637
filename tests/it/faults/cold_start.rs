//! A node that starts without its stores answers 503, and recovers by itself.

use onrecord_devstack::PostgresShutdown;
use reqwest::StatusCode;

use super::cluster::{Cluster, ids_of};
use crate::support::app::until;
use crate::support::azure::{ALICE, Call, report};
use crate::support::client::http;

#[tokio::test(flavor = "multi_thread")]
async fn a_cold_node_answers_200_or_503_and_recovers_by_itself() {
    let Some(mut cluster) = Cluster::open(1).await else {
        return;
    };
    // The token is from before the outage.
    let token = cluster.token(ALICE).await;
    let mut ids = Vec::new();
    for (no_kafka, no_postgres) in [(true, false), (false, true), (true, true)] {
        let case = format!("without kafka: {no_kafka}, without postgres: {no_postgres}");
        cluster.nodes[0].stop().await;
        if no_kafka {
            cluster.kafka.stop().await;
        }
        if no_postgres {
            cluster.postgres.stop_server(PostgresShutdown::Fast).await;
        }
        cluster.nodes[0].start_again().await;
        let expected: &[u16] = if no_kafka && no_postgres { &[503] } else { &[200, 503] };
        let mut accepted = false;
        for _ in 0..4 {
            let events = Call::new().started();
            let status = cluster.posts(0, events.to_string()).await.unwrap();
            assert!(expected.contains(&status.as_u16()), "{case}: {status}");
            if status == StatusCode::OK {
                accepted = true;
                ids.extend(ids_of(&events));
            }
            let more = serde_json::json!({ "server_call_id": Call::new().server_call_id });
            let asked = http()
                .post(cluster.nodes[0].url("/v1/reports"))
                .bearer_auth(&token)
                .json(&report(&uuid::Uuid::new_v4(), 1, &more))
                .send();
            let status = asked.await.unwrap().status();
            assert!(expected.contains(&status.as_u16()), "{case}: report {status}");
        }
        assert_eq!(accepted, !(no_kafka && no_postgres), "{case}");
        cluster.heal_stores().await;
        cluster.is_ready().await;
        until("it accepts events", || async {
            let events = Call::new().started();
            let accepted = cluster.posts(0, events.to_string()).await == Some(StatusCode::OK);
            accepted.then_some(())
        })
        .await;
    }
    cluster.are_appended_once(&ids).await;
    cluster.close().await;
}
