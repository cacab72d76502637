//! Several nodes on the same stores.

use std::time::Duration;

use onrecord::domain::calling_event::Statement;
use onrecord::domain::fact::ProviderState;
use onrecord::store::Role;
use serde_json::json;
use uuid::Uuid;

use crate::azure::{ALICE, Call, report};
use crate::client::Stream;
use crate::corridor::{ORDERS, tells_by, urlencoded};
use crate::house::{Ground, TestHouse, until};
use crate::kafka::kafka_of_its_own;
use crate::notices::{bulk_producer, put, recorded_for_a_while};
use crate::postgres::postgres_of_its_own;

/// How many partitions of the events' topic each follower has, in order of size; a node has three.
async fn shares(ground: &Ground) -> Vec<i64> {
    let topic = format!("{}calling-events.v1", ground.prefix);
    sqlx::query_scalar(
        "select count(*) from stream_position where topic = $1 and owner is not null group by owner order by 1",
    )
    .bind(topic)
    .fetch_all(&ground.database().await)
    .await
    .unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn nodes_share_the_partitions_out_and_one_that_stops_leaves_its_own_to_the_others() {
    let ground = Ground::shared().await;
    let first = TestHouse::on(ground.clone()).await;
    first.is_ready().await;
    until("the first has all", || async {
        (shares(&ground).await == [4; 3]).then_some(())
    })
    .await;
    let second = TestHouse::on(ground.clone()).await;
    let third = TestHouse::on(ground.clone()).await;
    until("each has a third", || async {
        (shares(&ground).await == [1, 1, 1, 1, 1, 1, 2, 2, 2]).then_some(())
    })
    .await;
    second.stop().await;
    until("each of two has half", || async {
        (shares(&ground).await == [2; 6]).then_some(())
    })
    .await;
    third.stop().await;
    first.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_call_known_by_two_names_is_one_call_on_two_nodes_in_every_order_with_a_restart_between()
{
    let ground = Ground::shared().await;
    let mut nodes = [
        TestHouse::on(ground.clone()).await,
        TestHouse::on(ground.clone()).await,
    ];
    for node in &nodes {
        node.is_ready().await;
    }
    let token = nodes[0].token(ALICE).await;
    for (round, order) in ORDERS.into_iter().enumerate() {
        let (call, attachment) = (Call::new(), Uuid::new_v4());
        for (at, step) in order.into_iter().enumerate() {
            // Once in a round one of them is another process, before each of the steps in turn.
            if at == round % 3 {
                let which = round % 2;
                let again = TestHouse::on(ground.clone()).await;
                std::mem::replace(&mut nodes[which], again).stop().await;
                nodes[which].is_ready().await;
            }
            let node = &nodes[(at + round) % 2];
            tells_by(step, node, &token, &call, &attachment).await;
        }
        let mut streams = Vec::new();
        for node in &nodes {
            let mut stream = node
                .listens(&token, &format!("attachment={attachment}"))
                .await;
            stream.hears_recording("on").await;
            streams.push(stream);
        }
        nodes[round % 2].event_grid_posts(&call.ended()).await;
        for stream in &mut streams {
            stream.hears_recording("off").await;
        }
        for node in &mut nodes {
            for name in [
                &call.correlation,
                &attachment.to_string(),
                &urlencoded(&call.server_call_id),
            ] {
                node.sees(&format!("/v1/calls/{name}"), |seen| {
                    seen["call"] == call.correlation.as_str()
                        && seen["recorded"] == true
                        && seen["indication"]["recording"]["state"] == "off"
                })
                .await;
            }
        }
    }
    let calls = nodes[0].reads("/v1/calls").await;
    assert_eq!(
        calls["calls"].as_array().unwrap().len(),
        ORDERS.len(),
        "one call each: {calls:#}"
    );
    for node in nodes {
        node.stop().await;
    }
}

/// Everything that a listener of the tenant hears until it has been silent for a while.
async fn heard(stream: &mut Stream) -> Vec<(String, String, String)> {
    let mut all = Vec::new();
    while let Ok(Some(heard)) = tokio::time::timeout(Duration::from_secs(2), stream.next()).await {
        let call = heard.body["call"].as_str().unwrap_or_default().to_owned();
        let state = heard.recording().to_owned();
        all.push((heard.kind, call, state));
    }
    all
}

fn notices(heard: &[(String, String, String)]) -> Vec<(&str, &str)> {
    heard
        .iter()
        .filter(|(kind, ..)| kind == "notice")
        .map(|(_, call, state)| (call.as_str(), state.as_str()))
        .collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn no_notice_is_invented_by_restarts_a_replayed_spool_or_a_backlog_of_10_000_events() {
    let Some(mut kafka) = kafka_of_its_own().await else {
        return;
    };
    let postgres = postgres_of_its_own().await;
    let ground = Ground {
        database_url: postgres.admin_url(),
        brokers: kafka.bootstrap_servers().to_owned(),
        prefix: String::new(),
    };
    let (mut first, mut second) = (
        TestHouse::on(ground.clone()).await,
        TestHouse::on(ground.clone()).await,
    );
    first.is_ready().await;
    second.is_ready().await;
    let key = first.api_key("contoso", Role::App).await;
    let token = first.token(ALICE).await;
    let (spooled, old) = (Call::new(), Call::new());
    let attachment = Uuid::new_v4();
    let says = |sequence, state: &str| {
        report(
            &attachment,
            sequence,
            &json!({ "server_call_id": spooled.server_call_id, "recording": state }),
        )
    };
    first.event_grid_posts(&spooled.started()).await;
    first.event_grid_posts(&old.started()).await;

    // What goes through the spool rings once on each node, and not again when it is drained.
    let mut listeners = [
        first.listens(&key, "").await,
        second.listens(&key, "").await,
    ];
    for listener in &mut listeners {
        heard(listener).await;
    }
    kafka.stop().await;
    assert_eq!(first.reports(&token, &says(1, "on")).await.0, 200);
    for listener in &mut listeners {
        let all = heard(listener).await;
        assert_eq!(notices(&all), [(&*spooled.correlation, "on")], "{all:?}");
    }
    kafka.start_again().await.unwrap();
    ground.spool_is_drained().await;
    for listener in &mut listeners {
        let all = heard(listener).await;
        assert!(notices(&all).is_empty(), "{all:?}");
    }

    // What a node reads at its start was never news to whoever listens there from the beginning on.
    let producer = bulk_producer(&ground.brokers);
    let a_minute_ago = chrono::Utc::now().timestamp_millis() - 60_000;
    let mut history = recorded_for_a_while(&old, 10_000);
    // On and off within the last messages too, which are the last to be read.
    for (at, message) in history.iter_mut().enumerate().skip(9_900) {
        let Statement::ProviderState(changed) = &mut message.event.statement else {
            panic!("{message:?}");
        };
        changed.state = match at % 2 {
            0 => ProviderState::Active,
            _ => ProviderState::Inactive,
        };
    }
    put(&producer, "calling-events.v1", 0, &history, a_minute_ago).await;
    let mut listeners = Vec::new();
    for node in [&mut first, &mut second] {
        let again = TestHouse::on(ground.clone()).await;
        std::mem::replace(node, again).stop().await;
        listeners.push(node.listens(&key, "").await);
    }
    for (node, listener) in [&first, &second].into_iter().zip(&mut listeners) {
        node.is_ready().await;
        let all = heard(listener).await;
        assert!(notices(&all).is_empty(), "{all:?}");
        let on = all
            .iter()
            .any(|(_, call, state)| *call == spooled.correlation && state == "on");
        assert!(on, "the level is stated: {all:?}");
        let false_levels: Vec<_> = all
            .iter()
            .filter(|(_, call, state)| *call == old.correlation && state == "on")
            .collect();
        assert!(false_levels.is_empty(), "{all:?}");
    }
    first.stop().await;
    second.stop().await;
    postgres.stop().await;
    kafka.stop().await;
}
