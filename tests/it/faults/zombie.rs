//! A ledger that stood still comes back, and another one has its partitions.

use std::time::{Duration, Instant};

use super::bench::Bench;
use super::node::Order;
use crate::azure::{ALICE, Call};
use crate::house::until;

/// Another node goes on within this time.
const TAKEN_OVER: Duration = Duration::from_secs(15);

#[tokio::test(flavor = "multi_thread")]
async fn a_ledger_frozen_before_its_first_statement_lands_nothing_when_it_goes_on() {
    a_ledger_frozen_at("ledger-before-entering").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_ledger_frozen_before_its_commit_lands_nothing_when_it_goes_on() {
    a_ledger_frozen_at("ledger-before-commit").await;
}

async fn a_ledger_frozen_at(point: &str) {
    let Some(mut bench) = Bench::without_nodes(2).await else {
        return;
    };
    // The first one alone, so that all partitions are its own.
    bench.add_node(&[]).await;
    bench.is_ready().await;
    let call = Call::new();
    bench.nodes[0].arm(point, Order::Freeze);
    let events = call.started();
    tokio::join!(
        bench.posts(0, events.to_string()),
        bench.nodes[0].has_frozen()
    );
    let frozen = Instant::now();
    bench.add_node(&[]).await;
    let more = call.joined(ALICE, "3c7a2c5e-1f6f-4a7e-9d55-2f9b7e1f6a01");
    let mut ids = super::bench::ids_of(&events);
    until("the other node takes it", || async {
        let answer = bench.posts(1, more.to_string()).await;
        answer
            .is_some_and(|status| status.is_success())
            .then_some(())
    })
    .await;
    ids.extend(super::bench::ids_of(&more));
    bench.are_entered_once(&ids).await;
    let taken_over = frozen.elapsed();
    let before = bench.positions().await;

    bench.nodes[0].thaw();
    bench.is_ready().await;
    assert_eq!(
        bench.positions().await,
        before,
        "nothing of the first one's landed"
    );
    bench.are_entered_once(&ids).await;
    for node in [0, 1] {
        let later = call.joined(ALICE, &uuid::Uuid::new_v4().to_string());
        ids.extend(bench.event_grid_posts(node, &later).await);
    }
    bench.are_entered_once(&ids).await;
    let facts: i32 = sqlx::query_scalar("select facts from call where call = $1")
        .bind(&call.correlation)
        .fetch_one(&bench.database().await)
        .await
        .unwrap();
    assert_eq!(usize::try_from(facts).unwrap(), ids.len(), "as by one node");
    assert_eq!(bench.gaps().await, []);
    assert!(taken_over < TAKEN_OVER, "{taken_over:?}");
    bench.close().await;
}

impl Bench {
    /// How far each partition is entered.
    async fn positions(&self) -> Vec<(String, i32, i64)> {
        sqlx::query_as("select topic, partition, next_offset from stream_position order by 1, 2")
            .fetch_all(&self.database().await)
            .await
            .unwrap()
    }
}
