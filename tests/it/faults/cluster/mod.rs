//! Nodes, a Kafka and a Postgres for one test, and proxies between each of them.

pub mod node;
pub mod proxy;

use onrecord::cli::key;
use onrecord::http::api_role::ApiRole;
use onrecord::postgres::Postgres;
use onrecord_devstack::{PrivatePostgres, RealKafka};
use onrecord_evidence::event::ids::Tenant;
use reqwest::StatusCode;
use serde_json::{Value, json};
use sqlx::PgPool;

use crate::support::app::{SOURCE_KEY, TestStores, until};
use crate::support::client::http;
use crate::support::kafka::own_kafka_behind;
use crate::support::postgres::own_postgres;
use node::Node;
use proxy::Proxy;

/// Everything that a fault can disturb.
pub struct Cluster {
    // Nodes are dropped first, before their stores.
    pub nodes: Vec<Node>,
    pub kafka: RealKafka,
    pub postgres: PrivatePostgres,
    /// The link of each node to Kafka.
    pub to_kafka: Vec<Proxy>,
    /// The link of each node to Postgres.
    pub to_postgres: Vec<Proxy>,
}

impl Cluster {
    /// So many nodes, with their stores. `None` if the test is skipped.
    pub async fn open(nodes: usize) -> Option<Self> {
        let mut cluster = Self::without_nodes(nodes).await?;
        for _ in 0..nodes {
            cluster.add_node(&[]).await;
        }
        cluster.is_ready().await;
        Some(cluster)
    }

    /// The stores, and the links for so many nodes, which are added later.
    pub async fn without_nodes(links: usize) -> Option<Self> {
        let (mut to_kafka, mut to_postgres) = (Vec::new(), Vec::new());
        for _ in 0..links {
            to_kafka.push(Proxy::start().await);
            to_postgres.push(Proxy::start().await);
        }
        let proxies: Vec<u16> = to_kafka.iter().map(Proxy::port).collect();
        let kafka = own_kafka_behind(&proxies).await?;
        let postgres = own_postgres().await;
        for (proxy, port) in to_kafka.iter().zip(kafka.ports_behind_proxies()) {
            proxy.forwards_to(port);
        }
        for proxy in &to_postgres {
            proxy.forwards_to(postgres.port());
        }
        Some(Self { nodes: Vec::new(), kafka, postgres, to_kafka, to_postgres })
    }

    /// Starts the next node behind its proxies.
    pub async fn add_node(&mut self, arguments: &[&str]) {
        self.add_node_with(arguments, "").await;
    }

    /// The same with additional settings.
    pub async fn add_node_with(&mut self, arguments: &[&str], more: &str) {
        let number = self.nodes.len();
        let (direct, proxied) = (self.postgres.port(), self.to_postgres[number].port());
        let url = self.postgres.admin_url();
        let stores = TestStores {
            database_url: url.replacen(&format!(":{direct}/"), &format!(":{proxied}/"), 1),
            brokers: format!("127.0.0.1:{}", self.to_kafka[number].port()),
            prefix: String::new(),
        };
        let name = format!("node {number}");
        self.nodes.push(Node::with_settings(&name, &stores, arguments, more).await);
    }

    /// Waits until every node is healthy.
    pub async fn is_ready(&self) {
        for node in &self.nodes {
            until("everything is healthy", || async { node.is_ready().await.then_some(()) }).await;
        }
    }

    /// The stores without proxies.
    pub fn direct_stores(&self) -> TestStores {
        TestStores {
            database_url: self.postgres.admin_url(),
            brokers: self.kafka.bootstrap_servers(),
            prefix: String::new(),
        }
    }

    /// A direct connection, whatever the state of the network.
    pub async fn database(&self) -> PgPool {
        PgPool::connect(&self.postgres.admin_url()).await.unwrap()
    }

    /// A subscriber token for a participant of `contoso`. The schema and a node must exist.
    pub async fn token(&self, raw_id: &str) -> String {
        self.tokens(&[raw_id.to_owned()]).await.remove(0)
    }

    /// An API key that may do everything for `contoso`.
    pub async fn api_key(&self) -> String {
        let store = Postgres::new(&self.postgres.admin_url(), 2).unwrap();
        let tenant = Tenant::parse("contoso").unwrap();
        until("the schema is there", || async {
            key::create(&store, &tenant, ApiRole::Admin, "cluster").await.ok()
        })
        .await
    }

    /// A subscriber token for each of these participants.
    pub async fn tokens(&self, raw_ids: &[String]) -> Vec<String> {
        let store = Postgres::new(&self.postgres.admin_url(), 2).unwrap();
        let tenant = Tenant::parse("contoso").unwrap();
        let key = key::create(&store, &tenant, ApiRole::App, "cluster").await.unwrap();
        let mut tokens = Vec::with_capacity(raw_ids.len());
        for raw_id in raw_ids {
            let body = json!({ "participant": { "raw_id": raw_id } });
            tokens.push(self.mint(&key, &body).await);
        }
        tokens
    }

    async fn mint(&self, key: &str, body: &Value) -> String {
        // A node reads keys every few seconds.
        until("a token", || async {
            let asked = http()
                .post(self.nodes[0].url("/v1/subscriber-tokens"))
                .bearer_auth(key)
                .json(body)
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

    /// Posts a body to a node's Event Grid endpoint; `None` if no answer came.
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

    /// Posts Event Grid events to a node, which must accept them. Returns their ids.
    pub async fn event_grid_posts(&self, node: usize, events: &Value) -> Vec<String> {
        let answer = self.posts(node, events.to_string()).await;
        assert_eq!(answer, Some(StatusCode::OK));
        ids_of(events)
    }

    /// Waits until each of these events is appended, and fails if one is appended twice.
    pub async fn are_appended_once(&self, ids: &[String]) {
        let database = self.database().await;
        until("everything is appended", || async {
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
        assert_eq!(usize::try_from(entries).unwrap(), ids.len(), "appended once");
    }

    /// The number of messages in the spool.
    pub async fn spooled(&self) -> i64 {
        sqlx::query_scalar("select count(*) from spool")
            .fetch_one(&self.database().await)
            .await
            .unwrap()
    }

    /// The recorded gaps: partition, wanted, resumed, reason.
    pub async fn gaps(&self) -> Vec<(i32, i64, i64, String)> {
        sqlx::query_as(
            "select partition, expected_offset, resumed_offset, reason from stream_gap order by id",
        )
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
    events.filter_map(|event| event["id"].as_str().map(str::to_owned)).collect()
}
