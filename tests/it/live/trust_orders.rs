//! What participants and outsiders are stated while the facts of the platform arrive in any order:
//! rejoins, two devices, and a call of very many events.

use std::time::Duration;

use reqwest::StatusCode;
use serde_json::{Value, json};
use uuid::Uuid;

use crate::end_to_end::urlencoded;
use crate::support::app::TestApp;
use crate::support::azure::{ALICE, BOB, Call, report};

const MALLORY: &str = "8:acs:11111111-1111-4111-8111-111111111111_0000000m-mallory";

async fn states(
    app: &TestApp,
    call: &Call,
    token: &str,
    client: (&Uuid, i64),
    level: &str,
) -> String {
    let stated = json!({ "server_call_id": call.server_call_id, "recording": level });
    let (status, answer) = app.reports(token, &report(client.0, client.1, &stated)).await;
    assert_eq!(status, StatusCode::OK, "{answer}");
    answer["indication"]["recording"]["state"].as_str().unwrap_or_default().to_owned()
}

#[tokio::test(flavor = "multi_thread")]
async fn the_own_banner_is_right_in_every_order_of_the_platforms_facts_and_an_outsider_is_unheard()
{
    let app = TestApp::open().await;
    let [alice, bob, mallory] =
        [app.token(ALICE).await, app.token(BOB).await, app.token(MALLORY).await];
    for order in [[0, 1, 2], [0, 2, 1], [1, 0, 2], [1, 2, 0], [2, 0, 1], [2, 1, 0]] {
        let (call, own, foreign) = (Call::new(), Uuid::new_v4(), Uuid::new_v4());
        let query = format!("server_call_id={}", urlencoded(&call.server_call_id));
        let mut by_bob = app.subscribes(&bob, &query).await;
        assert_eq!(by_bob.next().await.unwrap().recording(), "unknown");
        app.event_grid_posts(&call.joined(BOB, "p2")).await;
        for step in order {
            match step {
                // Alice's client reports, the platform names her, and a stranger's client reports.
                0 => assert_eq!(states(&app, &call, &alice, (&own, 1), "on").await, "on"),
                1 => app.event_grid_posts(&call.joined(ALICE, "p1")).await,
                _ => assert_eq!(states(&app, &call, &mallory, (&foreign, 1), "paused").await, {
                    // It hears what a participant states, and its own client.
                    let is_on = order.iter().position(|it| *it == 2) == Some(2);
                    if is_on { "on" } else { "paused" }
                }),
            }
        }
        // The participants' level is Alice's: the stranger's was not stated to Bob.
        by_bob.receives_recording("on").await;
        // The off of a client settles first.
        states(&app, &call, &alice, (&own, 2), "off").await;
        let next = by_bob.next().await.unwrap();
        assert_eq!(next.recording(), "off", "{order:?}");
    }
    app.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_participant_that_rejoins_and_one_with_two_devices_are_heard_with_each_attachment() {
    let app = TestApp::open().await;
    let (call, alice) = (Call::new(), app.token(ALICE).await);
    let [first, second, other] = [Uuid::new_v4(), Uuid::new_v4(), Uuid::new_v4()];
    app.event_grid_posts(&call.joined(ALICE, "p1")).await;
    assert_eq!(states(&app, &call, &alice, (&first, 1), "on").await, "on");
    assert_eq!(states(&app, &call, &alice, (&other, 1), "on").await, "on");
    let leaving = json!({ "server_call_id": call.server_call_id, "leaving": true });
    let (status, answer) = app.reports(&alice, &report(&first, 2, &leaving)).await;
    assert_eq!(status, StatusCode::OK, "{answer}");
    // The platform names the second leg only after its client has reported.
    let mut banner = app.subscribes(&alice, &format!("attachment={second}")).await;
    assert_eq!(states(&app, &call, &alice, (&second, 1), "on").await, "on");
    banner.receives_recording("on").await;
    app.event_grid_posts(&call.joined(ALICE, "p3")).await;
    assert_eq!(states(&app, &call, &alice, (&second, 2), "on").await, "on");
    app.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_report_in_a_call_of_very_many_events_is_answered_with_its_level() {
    let app = TestApp::open().await;
    let (call, own) = (Call::new(), Uuid::new_v4());
    let (alice, bob) = (app.token(ALICE).await, app.token(BOB).await);
    let query = format!("server_call_id={}", urlencoded(&call.server_call_id));
    let mut by_bob = app.subscribes(&bob, &query).await;
    let named: Vec<Value> = (0..700)
        .map(|n| call.joined(&format!("8:acs:{}_r{n}", Uuid::nil()), &format!("q{n}")))
        .chain([call.joined(ALICE, "p1"), call.joined(BOB, "p2")])
        .flat_map(|batch| batch.as_array().cloned().unwrap_or_default())
        .collect();
    app.event_grid_posts(&json!(named)).await;
    for (sequence, level) in [(1, "on"), (2, "paused"), (3, "on")] {
        assert_eq!(states(&app, &call, &alice, (&own, sequence), level).await, level);
        let heard = tokio::time::timeout(Duration::from_secs(5), by_bob.receives_recording(level));
        heard.await.unwrap();
    }
    app.stop().await;
}
