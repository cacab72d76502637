//! A paused ledger resumes after another one has taken over its partitions.

use std::time::{Duration, Instant};

use super::cluster::Cluster;
use super::cluster::node::FailpointAction;
use crate::support::app::until;
use crate::support::azure::{ALICE, Call};
use crate::support::requirements::has_failpoints;

/// Maximum time until another node has taken over.
const TAKEOVER_DEADLINE: Duration = Duration::from_secs(15);

#[tokio::test(flavor = "multi_thread")]
async fn a_ledger_frozen_before_its_first_statement_commits_nothing_when_it_resumes() {
    a_ledger_frozen_at("ledger-before-append").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_ledger_frozen_before_its_commit_commits_nothing_when_it_resumes() {
    a_ledger_frozen_at("ledger-before-commit").await;
}

async fn a_ledger_frozen_at(point: &str) {
    if !has_failpoints() {
        return;
    }
    let Some(mut cluster) = Cluster::without_nodes(2).await else {
        return;
    };
    // The first node starts alone, so that it holds all partitions.
    cluster.add_node(&[]).await;
    cluster.is_ready().await;
    let call = Call::new();
    cluster.nodes[0].arm(point, FailpointAction::Pause);
    let events = call.started();
    tokio::join!(cluster.posts(0, events.to_string()), cluster.nodes[0].has_paused());
    let frozen = Instant::now();
    cluster.add_node(&[]).await;
    let more = call.joined(ALICE, "3c7a2c5e-1f6f-4a7e-9d55-2f9b7e1f6a01");
    let mut ids = super::cluster::ids_of(&events);
    until("the other node accepts it", || async {
        let answer = cluster.posts(1, more.to_string()).await;
        answer.is_some_and(|status| status.is_success()).then_some(())
    })
    .await;
    ids.extend(super::cluster::ids_of(&more));
    cluster.are_appended_once(&ids).await;
    let taken_over = frozen.elapsed();
    let before = cluster.positions().await;

    cluster.nodes[0].resume();
    cluster.is_ready().await;
    assert_eq!(cluster.positions().await, before, "the first node committed nothing");
    cluster.are_appended_once(&ids).await;
    for node in [0, 1] {
        let later = call.joined(ALICE, &uuid::Uuid::new_v4().to_string());
        ids.extend(cluster.event_grid_posts(node, &later).await);
    }
    cluster.are_appended_once(&ids).await;
    let facts: i32 = sqlx::query_scalar("select fact_count from call where call = $1")
        .bind(&call.correlation)
        .fetch_one(&cluster.database().await)
        .await
        .unwrap();
    assert_eq!(usize::try_from(facts).unwrap(), ids.len(), "as by one node");
    assert_eq!(cluster.gaps().await, []);
    assert!(taken_over < TAKEOVER_DEADLINE, "{taken_over:?}");
    cluster.close().await;
}

impl Cluster {
    /// The position of each partition.
    async fn positions(&self) -> Vec<(String, i32, i64)> {
        sqlx::query_as("select topic, partition, next_offset from stream_position order by 1, 2")
            .fetch_all(&self.database().await)
            .await
            .unwrap()
    }
}
