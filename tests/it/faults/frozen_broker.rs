//! A broker is frozen for longer than its session: every client reads and writes again afterwards.

use std::time::{Duration, Instant};

use chrono::Utc;
use serde_json::Value;

use crate::end_to_end::urlencoded;
use crate::support::app::{TestApp, TestStores};
use crate::support::azure::Call;
use crate::support::client::http;
use crate::support::kafka::own_kafka;
use crate::support::requirements::print_line;

/// Time for which the broker is frozen. It is longer than its session of 4 s, so that it answers for a moment that
/// the cluster has no brokers, and so long that the clients have connected anew: some of them do not survive
/// that answer.
const FREEZE: Duration = Duration::from_secs(46);
/// Number of times that it is frozen: not every time a client fails for good.
const FREEZES: usize = 2;
/// Maximum time from the end of a freeze until everything is well: a client is opened again after 10 s of
/// failure, then after 20 s.
const MAX_RECOVERY: Duration = Duration::from_secs(60);

async fn unhealthy_components(app: &TestApp) -> Vec<String> {
    let ready = http().get(app.url("/readyz")).send().await.unwrap();
    let ready: Value = ready.json().await.unwrap();
    let components = ready["components"].as_object().unwrap().iter();
    let unhealthy = components.filter(|(_, state)| state["health"] != "healthy");
    unhealthy.map(|(name, state)| format!("{name}: {state}")).collect()
}

async fn reopened_clients(app: &TestApp) -> u64 {
    let metrics = http().get(app.url("/metrics")).send().await.unwrap().text().await.unwrap();
    let counters =
        metrics.lines().filter(|line| line.starts_with("onrecord_kafka_clients_reopened_total"));
    counters.map(|line| line.rsplit(' ').next().unwrap().parse::<u64>().unwrap()).sum()
}

#[tokio::test(flavor = "multi_thread")]
async fn after_a_frozen_broker_every_client_of_kafka_reads_and_writes_again() {
    let Some(mut kafka) = own_kafka().await else {
        return;
    };
    let app = TestApp::on(TestStores {
        brokers: kafka.bootstrap_servers(),
        ..TestStores::shared().await
    });
    let mut app = app.await;
    app.is_ready().await;
    for round in 0..FREEZES {
        kafka.pause();
        tokio::time::sleep(FREEZE).await;
        kafka.resume();
        let resumed = Instant::now();
        loop {
            let unhealthy = unhealthy_components(&app).await;
            if unhealthy.is_empty() {
                break;
            }
            assert!(resumed.elapsed() < MAX_RECOVERY, "round {round}: {unhealthy:?}");
            tokio::time::sleep(Duration::from_millis(100)).await;
        }
        // So many that every partition has some.
        let calls: Vec<Call> = (0..40).map(|_| Call::new()).collect();
        for call in &calls {
            app.event_grid_posts(&call.started()).await;
            app.call_automation_posts(&call.recording("active", Utc::now())).await;
        }
        for call in &calls {
            app.sees(&format!("/v1/calls/{}", call.correlation), |seen| seen["recorded"] == true)
                .await;
            let of_call = format!("server_call_id={}", urlencoded(&call.server_call_id));
            app.sees(&format!("/v1/indications?{of_call}"), |seen| {
                seen["indication"]["recording"]["state"] == "on"
            })
            .await;
        }
        app.stores.spool_is_drained().await;
        let unhealthy = unhealthy_components(&app).await;
        assert!(unhealthy.is_empty(), "{unhealthy:?}");
        print_line(&format!(
            "well {:.1?} after a freeze, {} clients were opened again",
            resumed.elapsed(),
            reopened_clients(&app).await
        ));
    }
    app.stop().await;
    kafka.stop().await;
}
