//! A house of its own for each test: the real `serve` on port 0, its own database, its own topics.

use std::net::SocketAddr;
use std::sync::OnceLock;
use std::time::Duration;

use metrics_exporter_prometheus::PrometheusHandle;
use onrecord::cli::key;
use onrecord::cli::serve::{House, Options};
use onrecord::config::{KeyHash, Settings};
use onrecord::domain::ids::Tenant;
use onrecord::lifecycle::Lifecycle;
use onrecord::store::{Role, Store};
use onrecord::telemetry;
use reqwest::StatusCode;
use serde_json::{Value, json};
use sqlx::PgPool;
use tokio::net::TcpListener;
use tokio::task::JoinHandle;
use uuid::Uuid;

use crate::azure::Call;
use crate::client::{Stream, http};
use crate::kafka::shared_kafka;
use crate::postgres::fresh_database;

/// What the door wants to see.
pub const SOURCE_KEY: &str = "the-source-key-of-the-tests";
/// The keys of subscriber tokens: the same on every node of a test.
const TOKEN_KEY: &str = "a-token-key-of-the-tests-that-is-long-enough";
/// A sight that does not come within this is missing.
pub const DEADLINE: Duration = Duration::from_secs(20);

/// The stores of a test, on which one or more nodes stand.
#[derive(Clone)]
pub struct Ground {
    pub database_url: String,
    pub brokers: String,
    pub prefix: String,
}

impl Ground {
    /// A fresh database on the shared Postgres, fresh topics on the shared Kafka.
    pub async fn shared() -> Self {
        let kafka = shared_kafka().await;
        let prefix = format!("t{}.", Uuid::new_v4().simple());
        if !kafka.is_real() {
            // The mock makes topics by itself, but with 4 partitions.
            for topic in ["calling-events.v1", "notice-facts.v1", "quarantine.v1"] {
                kafka.create_topic(&format!("{prefix}{topic}"), 12).await;
            }
        }
        Self {
            database_url: fresh_database().await,
            brokers: kafka.bootstrap_servers().to_owned(),
            prefix,
        }
    }

    fn settings(&self, more: &str) -> Settings {
        let log = std::env::var("ONRECORD_TEST_LOG").unwrap_or_else(|_| "off".to_owned());
        Settings::from_toml(&self.toml("127.0.0.1:0", &log, more)).unwrap()
    }

    /// The settings of a node on this ground, with more of them (top level).
    pub fn toml(&self, listen: &str, log: &str, more: &str) -> String {
        let hash = KeyHash::of(SOURCE_KEY);
        format!(
            r#"
            listen = "{listen}"
            database_url = "{}"
            kafka_brokers = "{}"
            topic_prefix = "{}"
            {more}
            [log]
            filter = "{log}"
            format = "pretty"
            [board]
            history = "all"
            [tokens]
            keys = ["{TOKEN_KEY}"]
            [sources.eg]
            kind = "event-grid"
            tenant = "contoso"
            keys = ["{hash}"]
            [sources.ca]
            kind = "call-automation"
            tenant = "contoso"
            keys = ["{hash}"]
            [sources.other]
            kind = "event-grid"
            tenant = "fabrikam"
            keys = ["{hash}"]
            "#,
            self.database_url, self.brokers, self.prefix,
        )
    }

    /// Waits until all that was spooled is on the log.
    pub async fn spool_is_drained(&self) {
        let database = self.database().await;
        until("the spool is empty", || async {
            let left: i64 = sqlx::query_scalar("select count(*) from spool")
                .fetch_one(&database)
                .await
                .ok()?;
            (left == 0).then_some(())
        })
        .await;
    }

    /// A connection for a look at the tables.
    pub async fn database(&self) -> PgPool {
        PgPool::connect(&self.database_url).await.unwrap()
    }
}

/// A running node.
pub struct TestHouse {
    pub ground: Ground,
    pub address: SocketAddr,
    pub lifecycle: Lifecycle,
    served: JoinHandle<anyhow::Result<()>>,
    api_key: String,
}

/// The process has one recorder, whoever installs it.
fn metrics() -> PrometheusHandle {
    static METRICS: OnceLock<PrometheusHandle> = OnceLock::new();
    METRICS
        .get_or_init(|| telemetry::start_metrics().unwrap())
        .clone()
}

impl TestHouse {
    /// A node on ground of its own, with everything that it needs to work.
    pub async fn open() -> Self {
        let house = Self::on(Ground::shared().await).await;
        house.is_ready().await;
        house
    }

    /// A node on this ground; it may be that nothing there works.
    pub async fn on(ground: Ground) -> Self {
        Self::with(ground, "").await
    }

    /// The same with more settings (top level).
    pub async fn with(ground: Ground, more: &str) -> Self {
        let settings = ground.settings(more);
        telemetry::start_logging(&settings.log).unwrap();
        let lifecycle = Lifecycle::new();
        let listener = TcpListener::bind(settings.listen).await.unwrap();
        let address = listener.local_addr().unwrap();
        let house = House::new(settings, Options::default(), metrics(), lifecycle.clone()).unwrap();
        let served = tokio::spawn(house.serve(listener));
        Self {
            ground,
            address,
            lifecycle,
            served,
            api_key: String::new(),
        }
    }

    /// Waits until both stores, ledger and board are well.
    pub async fn is_ready(&self) {
        until("everything is well", || async {
            let view: Value = http()
                .get(self.url("/readyz"))
                .send()
                .await
                .ok()?
                .json()
                .await
                .ok()?;
            let components = view["components"].as_object()?;
            let all = ["kafka", "postgres", "ledger", "board"]
                .iter()
                .all(|name| components.get(*name).is_some_and(|c| c["health"] == "well"));
            all.then_some(())
        })
        .await;
    }

    pub fn url(&self, path: &str) -> String {
        format!("http://{}{path}", self.address)
    }

    /// Ends the node as SIGTERM would.
    pub async fn stop(self) {
        self.lifecycle.stop();
        self.served.await.unwrap().unwrap();
    }

    /// The same; gives how long it took.
    pub async fn stop_within(self) -> Duration {
        let began = tokio::time::Instant::now();
        self.stop().await;
        began.elapsed()
    }

    /// Starts recordings until whoever listens to everything and reads nothing has had too much
    /// waiting for too long; `quick` hears each of them. Gives how many there were.
    pub async fn tells_more_than_a_socket_holds(&self, quick: &mut Stream) -> usize {
        // Both kernels' buffers hold a third of it.
        const MORE: usize = 1 << 20;
        // Whoever has too much waiting for 2 s is dropped.
        const LONGER: Duration = Duration::from_secs(3);
        let (mut told, mut bytes, mut full_since) = (0, 0, None);
        while full_since.is_none_or(|since: tokio::time::Instant| since.elapsed() < LONGER) {
            let starts: Vec<Value> = (0..20)
                .map(|_| Call::new().recording("active", chrono::Utc::now())[0].clone())
                .collect();
            self.call_automation_posts(&Value::Array(starts)).await;
            for _ in 0..20 {
                bytes += quick.hears_recording("on").await.body.to_string().len();
                told += 1;
            }
            if bytes > MORE {
                full_since.get_or_insert_with(tokio::time::Instant::now);
            }
        }
        told
    }

    /// Posts a body to a source's door with its key.
    pub async fn posts(&self, path: &str, body: impl Into<reqwest::Body>) -> (StatusCode, String) {
        let request = http()
            .post(self.url(path))
            .header("x-onrecord-key", SOURCE_KEY)
            .header("content-type", "application/json")
            .body(body);
        let response = request.send().await.unwrap();
        (response.status(), response.text().await.unwrap())
    }

    /// Posts Event Grid events, which must be taken.
    pub async fn event_grid_posts(&self, events: &Value) {
        let (status, body) = self
            .posts("/ingest/event-grid/eg", events.to_string())
            .await;
        assert_eq!(status, StatusCode::OK, "{body}");
    }

    /// Posts callbacks, which must be taken.
    pub async fn call_automation_posts(&self, events: &Value) {
        let (status, body) = self
            .posts("/ingest/call-automation/ca", events.to_string())
            .await;
        assert_eq!(status, StatusCode::OK, "{body}");
    }

    /// An API key of a tenant.
    pub async fn api_key(&self, tenant: &str, role: Role) -> String {
        let store = Store::new(&self.ground.database_url, 2).unwrap();
        let tenant = Tenant::parse(tenant).unwrap();
        // On a busy machine a connection takes its time.
        until("an API key", || async {
            key::create(&store, &tenant, role, "test").await.ok()
        })
        .await
    }

    /// A subscriber token for a participant of `contoso`.
    pub async fn token(&self, raw_id: &str) -> String {
        self.token_for(raw_id, 3600).await
    }

    /// One that lives so many seconds.
    pub async fn token_for(&self, raw_id: &str, seconds: u32) -> String {
        let key = self.api_key("contoso", Role::App).await;
        let order = json!({ "participant": { "raw_id": raw_id }, "ttl_s": seconds });
        until("a token", || async {
            let asked = http()
                .post(self.url("/v1/subscriber-tokens"))
                .bearer_auth(&key)
                .json(&order);
            let response = asked.send().await.unwrap();
            // The node asks Postgres for a key that it does not know yet.
            if response.status() == StatusCode::SERVICE_UNAVAILABLE {
                return None;
            }
            assert_eq!(response.status(), StatusCode::CREATED);
            let minted: Value = response.json().await.unwrap();
            Some(minted["token"].as_str().unwrap().to_owned())
        })
        .await
    }

    /// Sends a report; gives status and body.
    pub async fn reports(&self, token: &str, report: &Value) -> (StatusCode, Value) {
        let response = http()
            .post(self.url("/v1/reports"))
            .bearer_auth(token)
            .json(report)
            .send()
            .await
            .unwrap();
        (response.status(), response.json().await.unwrap_or_default())
    }

    /// Opens a stream.
    pub async fn listens(&self, token: &str, query: &str) -> Stream {
        self.listens_from(token, query, None).await
    }

    /// Opens a stream that goes on after a cursor.
    pub async fn listens_from(&self, token: &str, query: &str, cursor: Option<&str>) -> Stream {
        Stream::open(
            self.url(&format!("/v1/notices/stream?{query}")),
            token,
            cursor,
        )
        .await
    }

    /// Reads `/v1` as an admin of `contoso`.
    pub async fn reads(&mut self, path: &str) -> Value {
        if self.api_key.is_empty() {
            self.api_key = self.api_key("contoso", Role::Admin).await;
        }
        let response = http()
            .get(self.url(path))
            .bearer_auth(&self.api_key)
            .send()
            .await
            .unwrap();
        let status = response.status();
        let body = response.text().await.unwrap();
        assert_eq!(status, StatusCode::OK, "{path}: {body}");
        serde_json::from_str(&body).unwrap()
    }

    /// Waits until a look at `/v1` shows what is wanted, and gives it.
    pub async fn sees(&mut self, path: &str, wanted: impl Fn(&Value) -> bool) -> Value {
        let end = tokio::time::Instant::now() + DEADLINE;
        loop {
            let key = if self.api_key.is_empty() {
                self.api_key("contoso", Role::Admin).await
            } else {
                self.api_key.clone()
            };
            self.api_key = key;
            let response = http()
                .get(self.url(path))
                .bearer_auth(&self.api_key)
                .send()
                .await
                .unwrap();
            let status = response.status();
            let body: Value = response.json().await.unwrap_or_default();
            if status == StatusCode::OK && wanted(&body) {
                return body;
            }
            assert!(
                tokio::time::Instant::now() < end,
                "not seen at {path}: {status} {body:#}"
            );
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    }
}

/// Awaits the sight of something.
pub async fn until<T, F>(what: &str, mut look: impl FnMut() -> F) -> T
where
    F: Future<Output = Option<T>>,
{
    let end = tokio::time::Instant::now() + DEADLINE;
    loop {
        if let Some(seen) = look().await {
            return seen;
        }
        assert!(
            tokio::time::Instant::now() < end,
            "not seen in time: {what}"
        );
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}
