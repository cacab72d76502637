//! Several nodes on the same stores.

use std::time::{Duration, Instant};

use onrecord::http::api_role::ApiRole;
use onrecord_evidence::event::calling_event::Statement;
use onrecord_evidence::fact::kinds::ProviderState;
use serde_json::json;
use uuid::Uuid;

use crate::end_to_end::{ORDERS, post_recording_with_id, urlencoded};
use crate::live::notices::{bulk_producer, put, recorded_for_a_while};
use crate::support::app::{TestApp, TestStores, until};
use crate::support::azure::{ALICE, Call, report};
use crate::support::client::{ReceivedEvent, Stream};
use crate::support::kafka::own_kafka;
use crate::support::postgres::own_postgres;
use crate::support::requirements::print_line;

/// How many partitions of the events' topic each follower has, in order of size; a node has three.
async fn shares(stores: &TestStores) -> Vec<i64> {
    let topic = format!("{}calling-events.v1", stores.prefix);
    sqlx::query_scalar(
        "select count(*) from stream_position where topic = $1 and owner is not null group by owner order by 1",
    )
    .bind(topic)
    .fetch_all(&stores.database().await)
    .await
    .unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn nodes_share_the_partitions_and_a_stopped_node_releases_its_own() {
    let stores = TestStores::shared().await;
    let first = TestApp::on(stores.clone()).await;
    first.is_ready().await;
    until("the first has all", || async { (shares(&stores).await == [4; 3]).then_some(()) }).await;
    let second = TestApp::on(stores.clone()).await;
    let third = TestApp::on(stores.clone()).await;
    until("each has a third", || async {
        (shares(&stores).await == [1, 1, 1, 1, 1, 1, 2, 2, 2]).then_some(())
    })
    .await;
    second.stop().await;
    until("each of two has half", || async { (shares(&stores).await == [2; 6]).then_some(()) })
        .await;
    third.stop().await;
    first.stop().await;
}

/// Maximum time until an event is appended after the first start. Without optimization, and beside other
/// tests, everything takes several times as long.
const MAX_FIRST_LAG: Duration = Duration::from_secs(if cfg!(debug_assertions) { 4 } else { 2 });
/// Number of events after the first start, so that every partition has some.
const FIRST_EVENTS: usize = 100;

#[tokio::test(flavor = "multi_thread")]
async fn every_partition_of_new_topics_is_read_soon_after_the_first_start() {
    let app = TestApp::open().await;
    assert_eq!(shares(&app.stores).await, [4; 3], "no partition changes its follower");
    let database = app.stores.database().await;
    let began = Instant::now();
    let mut longest = Duration::ZERO;
    for _ in 0..FIRST_EVENTS {
        let started = Call::new().started();
        app.event_grid_posts(&started).await;
        let posted = Instant::now();
        let id = started[0]["id"].as_str().unwrap();
        until("it is appended", || async {
            let query = "select exists (select from entry where ce_id = $1)";
            let found: bool =
                sqlx::query_scalar(query).bind(id).fetch_one(&database).await.unwrap();
            found.then_some(())
        })
        .await;
        longest = longest.max(posted.elapsed());
    }
    print_line(&format!("{longest:.1?} at most, in {:.1?}", began.elapsed()));
    assert!(longest < MAX_FIRST_LAG, "{longest:?}");
    app.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_call_known_by_two_ids_is_one_call_on_two_nodes_in_every_order_with_a_restart_between() {
    let stores = TestStores::shared().await;
    let mut nodes = [TestApp::on(stores.clone()).await, TestApp::on(stores.clone()).await];
    for node in &nodes {
        node.is_ready().await;
    }
    let token = nodes[0].token(ALICE).await;
    for (round, order) in ORDERS.into_iter().enumerate() {
        let (call, attachment) = (Call::new(), Uuid::new_v4());
        for (at, step) in order.into_iter().enumerate() {
            // In each round one node is restarted, before another step.
            if at == round % 3 {
                let which = round % 2;
                let again = TestApp::on(stores.clone()).await;
                std::mem::replace(&mut nodes[which], again).stop().await;
                nodes[which].is_ready().await;
            }
            let node = &nodes[(at + round) % 2];
            post_recording_with_id(step, node, &token, &call, &attachment).await;
        }
        let mut streams = Vec::new();
        for node in &nodes {
            let mut stream = node.subscribes(&token, &format!("attachment={attachment}")).await;
            stream.receives_recording("on").await;
            streams.push(stream);
        }
        nodes[round % 2].event_grid_posts(&call.ended()).await;
        for stream in &mut streams {
            stream.receives_recording("off").await;
        }
        for node in &mut nodes {
            for name in
                [&call.correlation, &attachment.to_string(), &urlencoded(&call.server_call_id)]
            {
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
    assert_eq!(calls["calls"].as_array().unwrap().len(), ORDERS.len(), "one call each: {calls:#}");
    for node in nodes {
        node.stop().await;
    }
}

/// An event that a subscriber received: its kind, its call and the state of the recording.
type Seen = (String, String, String);

fn seen(event: ReceivedEvent) -> Seen {
    let call = event.body["call"].as_str().unwrap_or_default().to_owned();
    let state = event.recording().to_owned();
    (event.kind, call, state)
}

/// Everything that a subscriber of the tenant receives up to a wanted event, and until the stream has been
/// silent for a while.
async fn receives_and_then_nothing(
    stream: &mut Stream,
    wanted: impl Fn(&Seen) -> bool,
) -> Vec<Seen> {
    let mut all = Vec::new();
    while !all.last().is_some_and(&wanted) {
        let event = stream.next().await.unwrap_or_else(|| panic!("the stream ended: {all:?}"));
        all.push(seen(event));
    }
    all.extend(received(stream).await);
    all
}

/// Everything that a subscriber of the tenant receives until the stream has been silent for a while.
async fn received(stream: &mut Stream) -> Vec<Seen> {
    let mut all = Vec::new();
    while let Ok(Some(event)) = tokio::time::timeout(Duration::from_secs(2), stream.next()).await {
        all.push(seen(event));
    }
    all
}

fn notices(received: &[Seen]) -> Vec<(&str, &str)> {
    received
        .iter()
        .filter(|(kind, ..)| kind == "notice")
        .map(|(_, call, state)| (call.as_str(), state.as_str()))
        .collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn restarts_a_replayed_spool_and_a_backlog_of_10_000_events_send_no_false_notice() {
    let Some(mut kafka) = own_kafka().await else {
        return;
    };
    let postgres = own_postgres().await;
    let stores = TestStores {
        database_url: postgres.admin_url(),
        brokers: kafka.bootstrap_servers().to_owned(),
        prefix: String::new(),
    };
    let (mut first, mut second) =
        (TestApp::on(stores.clone()).await, TestApp::on(stores.clone()).await);
    first.is_ready().await;
    second.is_ready().await;
    let key = first.api_key("contoso", ApiRole::App).await;
    let token = first.token(ALICE).await;
    let (spooled, old) = (Call::new(), Call::new());
    let attachment = Uuid::new_v4();
    let report_of = |sequence, state: &str| {
        report(
            &attachment,
            sequence,
            &json!({ "server_call_id": spooled.server_call_id, "recording": state }),
        )
    };
    first.event_grid_posts(&spooled.started()).await;
    first.event_grid_posts(&old.started()).await;

    // A spooled event sends one notice on each node, and none when the spool is drained.
    let mut subscribers = [first.subscribes(&key, "").await, second.subscribes(&key, "").await];
    for subscriber in &mut subscribers {
        received(subscriber).await;
    }
    kafka.stop().await;
    assert_eq!(first.reports(&token, &report_of(1, "on")).await.0, 200);
    let is_announced = |(kind, call, state): &Seen| {
        kind == "notice" && *call == spooled.correlation && state == "on"
    };
    for subscriber in &mut subscribers {
        let all = receives_and_then_nothing(subscriber, is_announced).await;
        assert_eq!(notices(&all), [(&*spooled.correlation, "on")], "{all:?}");
    }
    kafka.start_again().await.unwrap();
    stores.spool_is_drained().await;
    for subscriber in &mut subscribers {
        let all = received(subscriber).await;
        assert!(notices(&all).is_empty(), "{all:?}");
    }

    // The replay at a node's start sends no notice to subscribers that are connected during it.
    let producer = bulk_producer(&stores.brokers);
    let a_minute_ago = chrono::Utc::now().timestamp_millis() - 60_000;
    let mut history = recorded_for_a_while(&old, 10_000);
    // The last messages of the replay switch on and off too.
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
    let mut subscribers = Vec::new();
    for node in [&mut first, &mut second] {
        let again = TestApp::on(stores.clone()).await;
        std::mem::replace(node, again).stop().await;
        subscribers.push(node.subscribes(&key, "").await);
    }
    for (node, subscriber) in [&first, &second].into_iter().zip(&mut subscribers) {
        node.is_ready().await;
        let is_stated = |(_, call, state): &Seen| *call == spooled.correlation && state == "on";
        let all = receives_and_then_nothing(subscriber, is_stated).await;
        assert!(notices(&all).is_empty(), "{all:?}");
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
