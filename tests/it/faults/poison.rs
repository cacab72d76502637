//! Events that a store or a parser cannot process are kept, and the others are not delayed.

use std::time::{Duration, Instant};

use reqwest::StatusCode;
use serde_json::{Value, json};
use sha2::{Digest as _, Sha256};
use uuid::Uuid;

use super::cluster::{Cluster, ids_of};
use crate::support::app::until;
use crate::support::azure::{ALICE, Call};
use crate::support::requirements::print_line;

/// Maximum time until the next event is appended. Without optimization, and beside the other tests,
/// everything takes several times as long.
const APPEND_DEADLINE: Duration = Duration::from_secs(if cfg!(debug_assertions) { 10 } else { 2 });

/// A body that is hard to process, and a marker to find it by.
struct Poison {
    what: &'static str,
    body: Vec<u8>,
    marker: String,
}

/// Each body with its own marker.
fn poisons() -> Vec<Poison> {
    let mut poisons = Vec::new();
    let mut add = |what, edit: &dyn Fn(&mut Value, &str)| {
        let marker = Uuid::new_v4().to_string();
        let mut events = Call::new().joined(ALICE, &marker);
        edit(&mut events, &marker);
        let body = events.to_string().into_bytes();
        poisons.push(Poison { what, body, marker });
    };
    add("NUL in a text", &|events, _| {
        events[0]["data"]["displayName"] = json!("nul \u{0} in a name");
    });
    add("half a pair", &|events, _| {
        events[0]["data"]["displayName"] = json!("REPLACED");
    });
    add("the year 10000", &|events, _| {
        events[0]["eventTime"] = json!("10000-01-01T00:00:00Z");
    });
    add("1 MiB", &|events, _| {
        events[0]["data"]["displayName"] = json!("x".repeat(1024 * 1024));
    });
    add("an id of 10 kB", &|events, marker| {
        events[0]["id"] = json!(format!("{marker}{}", "x".repeat(10_000)));
    });
    add("one bad event among 5,000", &|events, marker| {
        let good = events[0].clone();
        let mut batch = vec![json!({ "eventType": 7, "marker": marker })];
        let call = Call::new();
        while batch.len() < 5_000 {
            let mut next = good.clone();
            next["id"] = json!(Uuid::new_v4());
            next["data"] =
                json!({ "serverCallId": call.server_call_id, "correlationId": call.correlation });
            next["eventType"] = json!("Microsoft.Communication.CallStarted");
            batch.push(next);
        }
        *events = Value::Array(batch);
    });
    for poison in &mut poisons {
        if poison.what == "half a pair" {
            let text = String::from_utf8(std::mem::take(&mut poison.body)).unwrap();
            poison.body = text.replace("REPLACED", r"half \ud800 a pair").into_bytes();
        }
    }
    let marker = Uuid::new_v4().to_string();
    poisons.push(Poison {
        what: "NUL in no text",
        body: format!("{{\"id\": \"{marker}\", \u{0}}}").into_bytes(),
        marker,
    });
    poisons
}

#[tokio::test(flavor = "multi_thread")]
async fn poison_is_answered_200_and_stored_and_later_events_are_soon_appended() {
    let Some(cluster) = Cluster::open(1).await else {
        return;
    };
    for poison in poisons() {
        cluster.accepts(&poison).await;
        let next = Call::new().started();
        let posted = Instant::now();
        cluster.event_grid_posts(0, &next).await;
        cluster.are_appended_once(&ids_of(&next)).await;
        let took = posted.elapsed();
        print_line(&format!("{}: the next event was appended after {took:.1?}", poison.what));
        assert!(took < APPEND_DEADLINE, "{}: {took:?}", poison.what);
        cluster.finds(&poison).await;
    }
    cluster.a_conflict_is_kept().await;
    cluster.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn poison_from_the_spool_is_stored_and_later_events_are_soon_appended() {
    let Some(cluster) = Cluster::open(1).await else {
        return;
    };
    cluster.to_kafka[0].cut();
    let poisons = poisons();
    let mut ids = Vec::new();
    for poison in &poisons {
        cluster.accepts(poison).await;
        ids.extend(cluster.event_grid_posts(0, &Call::new().started()).await);
    }
    assert!(cluster.spooled().await > 5_000);
    cluster.to_kafka[0].heal();
    until("the spool is drained", || async { (cluster.spooled().await == 0).then_some(()) }).await;
    let drained = Instant::now();
    cluster.are_appended_once(&ids).await;
    for poison in &poisons {
        cluster.finds(poison).await;
    }
    let next = Call::new().started();
    let posted = Instant::now();
    cluster.event_grid_posts(0, &next).await;
    cluster.are_appended_once(&ids_of(&next)).await;
    assert!(
        posted.elapsed() < APPEND_DEADLINE,
        "{:?}, {:?} after the drain",
        posted.elapsed(),
        drained.elapsed()
    );
    cluster.close().await;
}

impl Cluster {
    async fn accepts(&self, poison: &Poison) {
        let answer = self.posts(0, poison.body.clone()).await;
        assert_eq!(answer, Some(StatusCode::OK), "{}", poison.what);
    }

    /// Waits until it is in the ledger or in quarantine, by its marker or by its hash.
    async fn finds(&self, poison: &Poison) {
        let database = self.database().await;
        until(poison.what, || async {
            let found: bool = sqlx::query_scalar(
                "select exists (select from entry where position($1 in original) > 0)
                     or exists (select from quarantine where position($1 in content) > 0 or sha256 = $2)",
            )
            .bind(poison.marker.as_bytes())
            .bind(Sha256::digest(&poison.body).to_vec())
            .fetch_one(&database)
            .await
            .ok()?;
            found.then_some(())
        })
        .await;
    }

    /// A repeated id with different content is kept too, and flagged as a conflict.
    async fn a_conflict_is_kept(&self) {
        let first = Call::new().started();
        let mut second = first.clone();
        second[0]["data"]["isTwoParty"] = json!(false);
        self.event_grid_posts(0, &first).await;
        self.event_grid_posts(0, &second).await;
        let id = ids_of(&first).remove(0);
        let database = self.database().await;
        until("both are appended, one as a conflict", || async {
            let flags: Vec<Vec<String>> =
                sqlx::query_scalar("select flags from entry where ce_id = $1 order by flags")
                    .bind(&id)
                    .fetch_all(&database)
                    .await
                    .ok()?;
            (flags == [vec![], vec!["conflict".to_owned()]]).then_some(())
        })
        .await;
    }
}
