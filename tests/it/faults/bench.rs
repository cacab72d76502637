//! The bench: nodes, a Kafka and a Postgres of its own, and proxies between each of them.

use onrecord::cli::key;
use onrecord::domain::ids::Tenant;
use onrecord::embedded::PrivatePostgres;
use onrecord::store::{Role, Store};
use reqwest::StatusCode;
use serde_json::{Value, json};
use sqlx::PgPool;

use super::node::Node;
use super::proxy::Proxy;
use crate::client::http;
use crate::house::{Ground, SOURCE_KEY, until};
use crate::kafka::{RealKafka, kafka_behind};
use crate::postgres::postgres_of_its_own;

/// Everything that a fault can befall.
pub struct Bench {
    // Nodes first: they are to end before their stores.
    pub nodes: Vec<Node>,
    pub kafka: RealKafka,
    pub postgres: PrivatePostgres,
    /// For each node, its way to Kafka.
    pub to_kafka: Vec<Proxy>,
    /// For each node, its way to Postgres.
    pub to_postgres: Vec<Proxy>,
}

impl Bench {
    /// So many nodes, with everything that they need. `None` where there is no real Kafka.
    pub async fn open(nodes: usize) -> Option<Self> {
        let mut bench = Self::without_nodes(nodes).await?;
        for _ in 0..nodes {
            bench.add_node(&[]).await;
        }
        bench.is_ready().await;
        Some(bench)
    }

    /// The stores, and the ways to them for so many nodes that are to come.
    pub async fn without_nodes(ways: usize) -> Option<Self> {
        let (mut to_kafka, mut to_postgres) = (Vec::new(), Vec::new());
        for _ in 0..ways {
            to_kafka.push(Proxy::start().await);
            to_postgres.push(Proxy::start().await);
        }
        let proxies: Vec<u16> = to_kafka.iter().map(Proxy::port).collect();
        let kafka = kafka_behind(&proxies).await?;
        let postgres = postgres_of_its_own().await;
        for (proxy, port) in to_kafka.iter().zip(kafka.ports_behind_proxies()) {
            proxy.leads_to(port);
        }
        for proxy in &to_postgres {
            proxy.leads_to(postgres.port());
        }
        Some(Self {
            nodes: Vec::new(),
            kafka,
            postgres,
            to_kafka,
            to_postgres,
        })
    }

    /// Starts the next node behind its proxies.
    pub async fn add_node(&mut self, arguments: &[&str]) {
        let number = self.nodes.len();
        let (direct, proxied) = (self.postgres.port(), self.to_postgres[number].port());
        let url = self.postgres.admin_url();
        let ground = Ground {
            database_url: url.replacen(&format!(":{direct}/"), &format!(":{proxied}/"), 1),
            brokers: format!("127.0.0.1:{}", self.to_kafka[number].port()),
            prefix: String::new(),
        };
        let name = format!("node {number}");
        self.nodes
            .push(Node::start(&name, &ground, arguments).await);
    }

    /// Waits until all is well with every node.
    pub async fn is_ready(&self) {
        for node in &self.nodes {
            until("everything is well", || async {
                node.is_ready().await.then_some(())
            })
            .await;
        }
    }

    /// Direct, whatever the network does.
    pub async fn database(&self) -> PgPool {
        PgPool::connect(&self.postgres.admin_url()).await.unwrap()
    }

    /// A subscriber token for a participant of `contoso`; the schema and a node must be there.
    pub async fn token(&self, raw_id: &str) -> String {
        self.tokens(&[raw_id.to_owned()]).await.remove(0)
    }

    /// An API key that may do everything for `contoso`.
    pub async fn api_key(&self) -> String {
        let store = Store::new(&self.postgres.admin_url(), 2).unwrap();
        let tenant = Tenant::parse("contoso").unwrap();
        until("the schema is there", || async {
            key::create(&store, &tenant, Role::Admin, "bench")
                .await
                .ok()
        })
        .await
    }

    /// One for each of these participants.
    pub async fn tokens(&self, raw_ids: &[String]) -> Vec<String> {
        let store = Store::new(&self.postgres.admin_url(), 2).unwrap();
        let tenant = Tenant::parse("contoso").unwrap();
        let key = key::create(&store, &tenant, Role::App, "bench")
            .await
            .unwrap();
        let mut tokens = Vec::with_capacity(raw_ids.len());
        for raw_id in raw_ids {
            let order = json!({ "participant": { "raw_id": raw_id } });
            tokens.push(self.mint(&key, &order).await);
        }
        tokens
    }

    async fn mint(&self, key: &str, order: &Value) -> String {
        // A node reads the keys every few seconds.
        until("a token", || async {
            let asked = http()
                .post(self.nodes[0].url("/v1/subscriber-tokens"))
                .bearer_auth(key)
                .json(order)
                .send()
                .await
                .ok()?;
            let token: Value = match asked.status() {
                StatusCode::CREATED => asked.json().await.ok()?,
                _ => return None,
            };
            Some(token["token"].as_str()?.to_owned())
        })
        .await
    }

    /// Posts a body to a node's Event Grid door; `None` if no answer came.
    pub async fn posts(&self, node: usize, body: impl Into<reqwest::Body>) -> Option<StatusCode> {
        let asked = http()
            .post(self.nodes[node].url("/ingest/event-grid/eg"))
            .header("x-onrecord-key", SOURCE_KEY)
            .header("content-type", "application/json")
            .body(body)
            .send()
            .await;
        asked.ok().map(|answer| answer.status())
    }

    /// Posts Event Grid events to a node, which must take them. Gives their ids.
    pub async fn event_grid_posts(&self, node: usize, events: &Value) -> Vec<String> {
        let answer = self.posts(node, events.to_string()).await;
        assert_eq!(answer, Some(StatusCode::OK));
        ids_of(events)
    }

    /// Waits until each of these events is entered, and fails if one is entered twice.
    pub async fn are_entered_once(&self, ids: &[String]) {
        let database = self.database().await;
        until("everything is entered", || async {
            let found: i64 =
                sqlx::query_scalar("select count(distinct ce_id) from entry where ce_id = any($1)")
                    .bind(ids)
                    .fetch_one(&database)
                    .await
                    .ok()?;
            (usize::try_from(found).unwrap() == ids.len()).then_some(())
        })
        .await;
        let entries: i64 = sqlx::query_scalar("select count(*) from entry where ce_id = any($1)")
            .bind(ids)
            .fetch_one(&database)
            .await
            .unwrap();
        assert_eq!(usize::try_from(entries).unwrap(), ids.len(), "entered once");
    }

    /// How many messages are in the spool.
    pub async fn spooled(&self) -> i64 {
        sqlx::query_scalar("select count(*) from spool")
            .fetch_one(&self.database().await)
            .await
            .unwrap()
    }

    /// The gaps on record: partition, wanted, resumed, reason.
    pub async fn gaps(&self) -> Vec<(i32, i64, i64, String)> {
        sqlx::query_as("select partition, wanted, resumed, reason from stream_gap order by id")
            .fetch_all(&self.database().await)
            .await
            .unwrap()
    }

    /// Ends everything in order.
    pub async fn close(mut self) {
        for node in &mut self.nodes {
            node.kill().await;
        }
        self.kafka.kill().await;
        self.postgres.stop().await;
    }
}

/// The ids of some Event Grid events.
pub fn ids_of(events: &Value) -> Vec<String> {
    let events = events.as_array().into_iter().flatten();
    events
        .filter_map(|event| event["id"].as_str().map(str::to_owned))
        .collect()
}
