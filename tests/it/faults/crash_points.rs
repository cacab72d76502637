//! A node crashes at the worst of lines: what was acknowledged is entered, once.

use serde_json::{Value, json};
use uuid::Uuid;

use super::bench::{Bench, ids_of};
use super::node::Order;
use crate::azure::{ALICE, Call, report};
use crate::client::{Stream, http};
use crate::house::until;

/// How often an event is posted before it is known to be taken: the sender tries again.
async fn is_posted_until_taken(bench: &Bench, events: &Value) {
    until("the sender's next attempt is taken", || async {
        let answer = bench.posts(0, events.to_string()).await;
        answer
            .is_some_and(|status| status.is_success())
            .then_some(())
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_crash_between_the_stores_and_the_answer_loses_and_doubles_nothing() {
    let Some(mut bench) = Bench::open(1).await else {
        return;
    };
    let call = Call::new();

    // Kafka has it, and the sender has no answer.
    bench.nodes[0].arm("road-published", Order::Crash);
    let published = call.started();
    assert_eq!(bench.posts(0, published.to_string()).await, None);
    bench.nodes[0].has_crashed().await;
    bench.nodes[0].start_again().await;
    is_posted_until_taken(&bench, &published).await;

    // The spool has it, and the sender has no answer.
    bench.to_kafka[0].cut();
    bench.nodes[0].arm("road-spooled", Order::Crash);
    let spooled = call.joined(ALICE, "3c7a2c5e-1f6f-4a7e-9d55-2f9b7e1f6a01");
    assert_eq!(bench.posts(0, spooled.to_string()).await, None);
    bench.nodes[0].has_crashed().await;
    assert_eq!(bench.spooled().await, 1);
    bench.nodes[0].start_again().await;
    is_posted_until_taken(&bench, &spooled).await;

    // Kafka has what the spool still has, too.
    bench.nodes[0].arm("drain-published", Order::Crash);
    bench.to_kafka[0].heal();
    bench.nodes[0].has_crashed().await;
    assert!(bench.spooled().await > 0, "it crashed before the deletion");
    bench.nodes[0].start_again().await;

    let ids = [ids_of(&published), ids_of(&spooled)].concat();
    bench.are_entered_once(&ids).await;
    until("the spool is drained", || async {
        (bench.spooled().await == 0).then_some(())
    })
    .await;
    bench.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_crash_of_the_ledger_at_any_step_of_its_transaction_enters_everything_once() {
    let Some(mut bench) = Bench::open(1).await else {
        return;
    };
    for point in [
        "ledger-before-entering",
        "ledger-before-commit",
        "ledger-after-commit",
        "ledger-claimed",
    ] {
        bench.nodes[0].arm(point, Order::Crash);
        let events = Call::new().started();
        // The ledger may be quicker than the answer, or not get so far at all.
        bench.posts(0, events.to_string()).await;
        bench.nodes[0].has_crashed().await;
        bench.nodes[0].start_again().await;
        is_posted_until_taken(&bench, &events).await;
        bench.are_entered_once(&ids_of(&events)).await;
    }
    assert_eq!(bench.gaps().await, []);
    bench.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_client_whose_node_crashes_with_its_notice_hears_the_level_and_has_its_fact_when_it_comes_back()
 {
    let Some(mut bench) = Bench::open(1).await else {
        return;
    };
    let (call, attachment) = (Call::new(), Uuid::new_v4());
    let token = bench.token(ALICE).await;
    let address = bench.nodes[0].url(&format!("/v1/notices/stream?attachment={attachment}"));
    let mut stream = Stream::open(address.clone(), &token, None).await;
    let cursor = stream.hears("snapshot").await.id;
    bench.nodes[0].arm("notice-yielded", Order::Crash);
    let on = report(
        &attachment,
        1,
        &json!({ "server_call_id": call.server_call_id, "recording": "on" }),
    );
    let door = bench.nodes[0].url("/v1/reports");
    let reports = || async {
        let asked = http().post(&door).bearer_auth(&token).json(&on);
        let answer = asked.send().await.ok()?;
        answer.status().is_success().then_some(())
    };
    // Its answer may be lost with the node.
    let _ = reports().await;
    bench.nodes[0].has_crashed().await;
    bench.nodes[0].start_again().await;
    until("the report is taken", reports).await;
    // What the crash took with it is not on record; what is stated again is.
    let dispatched = || async {
        let rows: i64 = sqlx::query_scalar(
            "select count(*) from notice_fact where kind = 'notice.dispatched' and fact ->> 'state' = 'on'",
        )
        .fetch_one(&bench.database().await)
        .await
        .ok()?;
        Some(rows)
    };
    assert_eq!(dispatched().await, Some(0));
    let mut stream = Stream::open(address, &token, Some(&cursor)).await;
    stream.hears_recording("on").await;
    until("the notice has its fact", || async {
        (dispatched().await == Some(1)).then_some(())
    })
    .await;
    let id = on["report_id"].as_str().unwrap().to_owned();
    bench.are_entered_once(&[id]).await;
    bench.close().await;
}
