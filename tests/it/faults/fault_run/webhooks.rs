//! A subscription of everything during the faults: what it is owed arrives, and nothing else.

use std::collections::BTreeSet;
use std::time::{Duration, Instant};

use reqwest::StatusCode;
use serde_json::{Value, json};

use crate::faults::cluster::Cluster;
use crate::support::app::until;
use crate::support::client::http;
use crate::support::requirements::print_line;
use crate::webhooks::receiver::Receiver;

/// Maximum time until all messages are sent.
const SETTLE_DEADLINE: Duration = Duration::from_secs(90);

/// A receiver of all events of `contoso`.
pub struct SubscribedReceiver(Receiver);

impl SubscribedReceiver {
    /// Subscribes; the cluster must be ready.
    pub async fn subscribe(cluster: &Cluster) -> Self {
        let receiver = Receiver::start().await;
        let key = cluster.api_key().await;
        let body = json!({ "url": receiver.url("/"), "events": ["*"], "stale": "send", "concurrency": 50 });
        let id = until("a webhook", || async {
            let url = cluster.nodes[0].url("/v1/webhooks");
            let answer = http().post(url).bearer_auth(&key).json(&body).send().await.ok()?;
            if answer.status() != StatusCode::CREATED {
                return None;
            }
            let created: Value = answer.json().await.ok()?;
            Some(created["id"].as_str()?.to_owned())
        })
        .await;
        until("the webhook is active", || async {
            let url = cluster.nodes[0].url(&format!("/v1/webhooks/{id}"));
            let answer = http().get(url).bearer_auth(&key).send().await.ok()?;
            let webhook: Value = answer.json().await.ok()?;
            (webhook["state"] == "active").then_some(())
        })
        .await;
        Self(receiver)
    }

    /// Fails if a message that was made did not arrive, or one arrived that was not made, or a change of a
    /// verdict made none.
    pub async fn assert_owed_is_delivered(&self, cluster: &Cluster) {
        let database = cluster.database().await;
        let began = Instant::now();
        let made = loop {
            let made: Vec<(String, String)> =
                sqlx::query_as("select id, state from webhook_message where target = 'url'")
                    .fetch_all(&database)
                    .await
                    .unwrap();
            let waiting = made
                .iter()
                .filter(|(_, state)| !["delivered", "dropped"].contains(&state.as_str()));
            if waiting.count() == 0 || began.elapsed() > SETTLE_DEADLINE {
                break made;
            }
            tokio::time::sleep(Duration::from_millis(200)).await;
        };
        let received: Vec<String> = self.0.received().iter().map(|it| it.id().to_owned()).collect();
        let delivered: BTreeSet<&str> = received.iter().map(String::as_str).collect();
        let owed: BTreeSet<&str> = made.iter().map(|(id, _)| id.as_str()).collect();
        print_line(&format!(
            "webhooks: {} messages were made, {} arrived, {} of them more than once",
            owed.len(),
            delivered.len(),
            received.len() - delivered.len()
        ));
        let missing: Vec<&&str> = owed.difference(&delivered).collect();
        // A message may be made and arrive after the others were read.
        let made_until_now: Vec<String> = sqlx::query_scalar("select id from webhook_message")
            .fetch_all(&database)
            .await
            .unwrap();
        let made_until_now: BTreeSet<&str> = made_until_now.iter().map(String::as_str).collect();
        let surplus: Vec<&&str> = delivered.difference(&made_until_now).collect();
        assert!(
            missing.is_empty() && surplus.is_empty(),
            "missing {missing:?}, surplus {surplus:?}"
        );
        // In one snapshot, because the ledger goes on.
        let mut snapshot =
            database.begin_with("begin isolation level repeatable read").await.unwrap();
        let mut of = async |query: &'static str| -> BTreeSet<(String, i32)> {
            let rows: Vec<(String, i32)> =
                sqlx::query_as(query).fetch_all(&mut *snapshot).await.unwrap();
            rows.into_iter().collect()
        };
        let changed = of(
            "select call, version from (
                 select call, version, verdict, lag(verdict) over (partition by call order by version) as before
                 from verdict where tenant = 'contoso') as versions
             where verdict is distinct from before",
        )
        .await;
        let announced = of(
            "select call, (data ->> 'version')::int from webhook_message where type = 'verdict.changed'",
        )
        .await;
        assert!(changed.len() > 10, "{}", changed.len());
        assert_eq!(announced, changed, "each change of a verdict has its message");
    }
}
