//! A node crashes at the worst lines: acknowledged events are appended, once.

use serde_json::{Value, json};
use uuid::Uuid;

use super::cluster::node::FailpointAction;
use super::cluster::{Cluster, ids_of};
use crate::operations::flat_records::{CALL_FACTS_ON, TopicReader, follows, is_known};
use crate::support::app::{SOURCE_KEY, until};
use crate::support::azure::{ALICE, Call, report};
use crate::support::client::{Stream, http};
use crate::support::requirements::has_failpoints;

/// Posts until the delivery is accepted, as a sender that retries.
async fn posts_until_accepted(cluster: &Cluster, events: &Value) {
    until("the sender's next attempt is accepted", || async {
        let answer = cluster.posts(0, events.to_string()).await;
        answer.is_some_and(|status| status.is_success()).then_some(())
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_crash_between_the_stores_and_the_answer_loses_and_duplicates_nothing() {
    if !has_failpoints() {
        return;
    }
    let Some(mut cluster) = Cluster::open(1).await else {
        return;
    };
    let call = Call::new();

    // Kafka has it, and the sender has no answer.
    cluster.nodes[0].arm("publish-confirmed", FailpointAction::Crash);
    let published = call.started();
    assert_eq!(cluster.posts(0, published.to_string()).await, None);
    cluster.nodes[0].has_crashed().await;
    cluster.nodes[0].start_again().await;
    posts_until_accepted(&cluster, &published).await;

    // The spool has it, and the sender has no answer.
    cluster.to_kafka[0].cut();
    cluster.nodes[0].arm("publish-spooled", FailpointAction::Crash);
    let spooled = call.joined(ALICE, "3c7a2c5e-1f6f-4a7e-9d55-2f9b7e1f6a01");
    assert_eq!(cluster.posts(0, spooled.to_string()).await, None);
    cluster.nodes[0].has_crashed().await;
    assert_eq!(cluster.spooled().await, 1);
    cluster.nodes[0].start_again().await;
    posts_until_accepted(&cluster, &spooled).await;

    // Kafka has the message, and the spool still has it too.
    cluster.nodes[0].arm("drain-published", FailpointAction::Crash);
    cluster.to_kafka[0].heal();
    cluster.nodes[0].has_crashed().await;
    assert!(cluster.spooled().await > 0, "it crashed before the deletion");
    cluster.nodes[0].start_again().await;

    let ids = [ids_of(&published), ids_of(&spooled)].concat();
    cluster.are_appended_once(&ids).await;
    until("the spool is drained", || async { (cluster.spooled().await == 0).then_some(()) }).await;
    cluster.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_crash_of_the_ledger_at_any_step_of_its_transaction_appends_everything_once() {
    if !has_failpoints() {
        return;
    }
    let Some(mut cluster) = Cluster::open(1).await else {
        return;
    };
    for point in [
        "ledger-before-append",
        "ledger-before-commit",
        "ledger-after-commit",
        "ledger-lease-taken",
    ] {
        cluster.nodes[0].arm(point, FailpointAction::Crash);
        let events = Call::new().started();
        // The crash may come before or after the answer.
        cluster.posts(0, events.to_string()).await;
        cluster.nodes[0].has_crashed().await;
        cluster.nodes[0].start_again().await;
        posts_until_accepted(&cluster, &events).await;
        cluster.are_appended_once(&ids_of(&events)).await;
    }
    assert_eq!(cluster.gaps().await, []);
    cluster.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_client_whose_node_crashed_receives_the_level_again_and_its_dispatch_is_recorded() {
    if !has_failpoints() {
        return;
    }
    let Some(mut cluster) = Cluster::open(1).await else {
        return;
    };
    let (call, attachment) = (Call::new(), Uuid::new_v4());
    let token = cluster.token(ALICE).await;
    let address = cluster.nodes[0].url(&format!("/v1/notices/stream?attachment={attachment}"));
    let mut stream = Stream::open(address.clone(), &token, None).await;
    let cursor = stream.receives("snapshot").await.id;
    cluster.nodes[0].arm("notice-yielded", FailpointAction::Crash);
    let on = report(
        &attachment,
        1,
        &json!({ "server_call_id": call.server_call_id, "recording": "on" }),
    );
    let reports_url = cluster.nodes[0].url("/v1/reports");
    let reports = || async {
        let asked = http().post(&reports_url).bearer_auth(&token).json(&on);
        let answer = asked.send().await.ok()?;
        answer.status().is_success().then_some(())
    };
    // The answer may be lost with the node.
    let _ = reports().await;
    cluster.nodes[0].has_crashed().await;
    cluster.nodes[0].start_again().await;
    until("the report is accepted", reports).await;
    // The dispatch before the crash is not recorded; the repeated one is.
    let dispatched = || async {
        let rows: i64 = sqlx::query_scalar(
            "select count(*) from notice_fact where kind = 'notice.dispatched' and fact ->> 'state' = 'on'",
        )
        .fetch_one(&cluster.database().await)
        .await
        .ok()?;
        Some(rows)
    };
    assert_eq!(dispatched().await, Some(0));
    let mut stream = Stream::open(address, &token, Some(&cursor)).await;
    stream.receives_recording("on").await;
    until("the notice has its fact", || async { (dispatched().await == Some(1)).then_some(()) })
        .await;
    let id = on["report_id"].as_str().unwrap().to_owned();
    cluster.are_appended_once(&[id]).await;
    cluster.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_crash_after_flat_records_are_published_leaves_none_behind_and_none_wrong() {
    if !has_failpoints() {
        return;
    }
    let Some(mut cluster) = Cluster::without_nodes(1).await else {
        return;
    };
    cluster.add_node_with(&[], CALL_FACTS_ON).await;
    cluster.is_ready().await;
    let database = cluster.database().await;
    let (call, another) = (Call::new(), Call::new());
    let ago = |seconds| chrono::Utc::now() - chrono::TimeDelta::seconds(seconds);
    // Known by its serverCallId only, until an event names both.
    let mut alone = call.recording("active", ago(20));
    alone[0]["data"]["correlationId"] = Value::Null;
    let started = call.event("CallStarted", ago(30), &serde_json::json!({}));
    for events in [&alone, &another.started(), &started] {
        cluster.nodes[0].arm("flat-records-published", FailpointAction::Crash);
        let is_callback = events[0]["source"].is_string();
        let path = if is_callback { "/ingest/call-automation/ca" } else { "/ingest/event-grid/eg" };
        let request = http().post(cluster.nodes[0].url(path)).header("x-onrecord-key", SOURCE_KEY);
        let request = request.header("content-type", "application/json").body(events.to_string());
        let sent = request.send().await;
        assert!(sent.is_ok_and(|answer| answer.status().is_success()));
        cluster.nodes[0].has_crashed().await;
        cluster.nodes[0].start_again().await;
    }
    // A node may crash when it publishes what it had before the event.
    is_known(&database, &another).await;
    is_known(&database, &call).await;
    let mut reader = TopicReader::open(&cluster.direct_stores());
    follows(&mut reader, &database).await;
    assert!(reader.last.values().any(Option::is_none), "the former call has a tombstone");
    cluster.close().await;
}
