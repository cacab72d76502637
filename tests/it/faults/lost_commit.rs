//! Postgres commits, and its answer is lost.

use std::time::{Duration, Instant};

use super::cluster::Cluster;
use super::cluster::node::FailpointAction;
use super::cluster::proxy::{Direction, Flow};
use crate::support::azure::{ALICE, Call};
use crate::support::requirements::has_failpoints;

/// Longer than a node waits for the answer to COMMIT.
const SILENCE: Duration = Duration::from_secs(4);
/// Maximum time after the silence until the ledger continues.
const PROGRESS: Duration = Duration::from_secs(5);

#[tokio::test(flavor = "multi_thread")]
async fn a_lost_answer_to_commit_has_no_second_effect_and_the_ledger_soon_resumes() {
    if !has_failpoints() {
        return;
    }
    let Some(cluster) = Cluster::open(1).await else {
        return;
    };
    for flow in [Flow::Swallow, Flow::Hold] {
        let (node, call) = (&cluster.nodes[0], Call::new());
        node.arm("ledger-before-commit", FailpointAction::Pause);
        let delivery = cluster.posts(0, call.started().to_string());
        let frozen = async {
            node.has_paused().await;
            cluster.to_postgres[0].set(Direction::ToClient, flow);
            node.resume();
        };
        // The pause may come before the answer to the post.
        tokio::join!(delivery, frozen);
        tokio::time::sleep(SILENCE).await;
        cluster.to_postgres[0].heal();
        let healed = Instant::now();
        let next = call.joined(ALICE, "3c7a2c5e-1f6f-4a7e-9d55-2f9b7e1f6a01");
        let ids = cluster.event_grid_posts(0, &next).await;
        cluster.are_appended_once(&ids).await;
        assert!(healed.elapsed() < PROGRESS, "{flow:?}: {:?}\n{}", healed.elapsed(), node.log());
        let entries: i64 = sqlx::query_scalar("select count(*) from entry where anchor = $1")
            .bind(&call.correlation)
            .fetch_one(&cluster.database().await)
            .await
            .unwrap();
        assert_eq!(entries, 2, "{flow:?}: each event was appended once");
    }
    cluster.close().await;
}
