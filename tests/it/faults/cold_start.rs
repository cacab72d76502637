//! A node that starts without its stores says so at the door, and comes to life by itself.

use onrecord::embedded::Shutdown;
use reqwest::StatusCode;

use super::bench::{Bench, ids_of};
use crate::azure::{ALICE, Call, report};
use crate::client::http;
use crate::house::until;

#[tokio::test(flavor = "multi_thread")]
async fn a_cold_node_answers_200_or_503_and_comes_to_life_by_itself() {
    let Some(mut bench) = Bench::open(1).await else {
        return;
    };
    // From a time when all was well.
    let token = bench.token(ALICE).await;
    let mut ids = Vec::new();
    for (no_kafka, no_postgres) in [(true, false), (false, true), (true, true)] {
        let case = format!("without kafka: {no_kafka}, without postgres: {no_postgres}");
        bench.nodes[0].stop().await;
        if no_kafka {
            bench.kafka.stop().await;
        }
        if no_postgres {
            bench.postgres.stop_server(Shutdown::Fast).await;
        }
        bench.nodes[0].start_again().await;
        let expected: &[u16] = if no_kafka && no_postgres {
            &[503]
        } else {
            &[200, 503]
        };
        let mut taken = false;
        for _ in 0..4 {
            let events = Call::new().started();
            let status = bench.posts(0, events.to_string()).await.unwrap();
            assert!(expected.contains(&status.as_u16()), "{case}: {status}");
            if status == StatusCode::OK {
                taken = true;
                ids.extend(ids_of(&events));
            }
            let more = serde_json::json!({ "server_call_id": Call::new().server_call_id });
            let asked = http()
                .post(bench.nodes[0].url("/v1/reports"))
                .bearer_auth(&token)
                .json(&report(&uuid::Uuid::new_v4(), 1, &more))
                .send();
            let status = asked.await.unwrap().status();
            assert!(
                expected.contains(&status.as_u16()),
                "{case}: report {status}"
            );
        }
        assert_eq!(taken, !(no_kafka && no_postgres), "{case}");
        bench.heal_stores().await;
        bench.is_ready().await;
        until("it takes events", || async {
            let events = Call::new().started();
            let taken = bench.posts(0, events.to_string()).await == Some(StatusCode::OK);
            taken.then_some(())
        })
        .await;
    }
    bench.are_entered_once(&ids).await;
    bench.close().await;
}
