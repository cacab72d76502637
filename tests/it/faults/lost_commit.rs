//! Postgres commits, and its word is lost.

use std::time::{Duration, Instant};

use super::bench::Bench;
use super::node::Order;
use super::proxy::{Direction, Flow};
use crate::azure::{ALICE, Call};

/// Longer than the node waits for the answer to COMMIT.
const SILENCE: Duration = Duration::from_secs(4);
/// After the silence the ledger must go on within this time.
const PROGRESS: Duration = Duration::from_secs(5);

#[tokio::test(flavor = "multi_thread")]
async fn a_lost_answer_to_commit_has_no_second_effect_and_the_ledger_soon_goes_on() {
    let Some(bench) = Bench::open(1).await else {
        return;
    };
    for flow in [Flow::Swallow, Flow::Hold] {
        let (node, call) = (&bench.nodes[0], Call::new());
        node.arm("ledger-before-commit", Order::Freeze);
        let posting = bench.posts(0, call.started().to_string());
        let frozen = async {
            node.has_frozen().await;
            bench.to_postgres[0].set(Direction::ToClient, flow);
            node.thaw();
        };
        // The ledger may be quicker than the answer to the post.
        tokio::join!(posting, frozen);
        tokio::time::sleep(SILENCE).await;
        bench.to_postgres[0].heal();
        let healed = Instant::now();
        let next = call.joined(ALICE, "3c7a2c5e-1f6f-4a7e-9d55-2f9b7e1f6a01");
        let ids = bench.event_grid_posts(0, &next).await;
        bench.are_entered_once(&ids).await;
        assert!(
            healed.elapsed() < PROGRESS,
            "{flow:?}: {:?}\n{}",
            healed.elapsed(),
            node.log()
        );
        let entries: i64 = sqlx::query_scalar("select count(*) from entry where anchor = $1")
            .bind(&call.correlation)
            .fetch_one(&bench.database().await)
            .await
            .unwrap();
        assert_eq!(entries, 2, "{flow:?}: each event was entered once");
    }
    bench.close().await;
}
