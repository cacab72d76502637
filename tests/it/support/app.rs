//! An app for each test: the real `serve` on port 0, with its own database and topics.

use std::net::SocketAddr;
use std::sync::OnceLock;
use std::time::Duration;

use metrics_exporter_prometheus::PrometheusHandle;
use onrecord::cli::key;
use onrecord::cli::serve::{Application, ServeOptions};
use onrecord::config::{KeyHash, Settings};
use onrecord::http::api_role::ApiRole;
use onrecord::lifecycle::Lifecycle;
use onrecord::postgres::Postgres;
use onrecord::telemetry;
use onrecord_evidence::event::ids::Tenant;
use reqwest::StatusCode;
use serde_json::{Value, json};
use sqlx::PgPool;
use tokio::net::TcpListener;
use tokio::task::JoinHandle;
use uuid::Uuid;

use crate::support::azure::Call;
use crate::support::client::{Stream, http};
use crate::support::kafka::shared_kafka;
use crate::support::postgres::fresh_database;

/// The key of every source.
pub const SOURCE_KEY: &str = "the-source-key-of-the-tests";
/// The key of subscriber tokens, the same on every node of a test.
const TOKEN_KEY: &str = "a-token-key-of-the-tests-that-is-long-enough";
/// Timeout of every awaited condition.
pub const DEADLINE: Duration = Duration::from_secs(20);

/// The stores of a test, which one or more nodes use.
#[derive(Clone)]
pub struct TestStores {
    pub database_url: String,
    pub brokers: String,
    pub prefix: String,
}

impl TestStores {
    /// A fresh database on the shared Postgres, fresh topics on the shared Kafka.
    pub async fn shared() -> Self {
        let kafka = shared_kafka().await;
        let prefix = format!("t{}.", Uuid::new_v4().simple());
        if !kafka.is_real() {
            // The mock creates topics by itself, but with 4 partitions.
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

    /// The settings of a node on these stores, with additional top-level ones.
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
            [live]
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

    /// Waits until the spool is drained to Kafka.
    pub async fn spool_is_drained(&self) {
        let database = self.database().await;
        until("the spool is empty", || async {
            let left: i64 =
                sqlx::query_scalar("select count(*) from spool").fetch_one(&database).await.ok()?;
            (left == 0).then_some(())
        })
        .await;
    }

    /// A connection for queries of the tables.
    pub async fn database(&self) -> PgPool {
        PgPool::connect(&self.database_url).await.unwrap()
    }
}

/// A running node.
pub struct TestApp {
    pub stores: TestStores,
    pub address: SocketAddr,
    pub lifecycle: Lifecycle,
    served: JoinHandle<anyhow::Result<()>>,
    api_key: String,
}

/// The process has one recorder of metrics, installed by the first test.
fn metrics() -> PrometheusHandle {
    static METRICS: OnceLock<PrometheusHandle> = OnceLock::new();
    METRICS.get_or_init(|| telemetry::start_metrics().unwrap()).clone()
}

impl TestApp {
    /// A healthy node on its own stores.
    pub async fn open() -> Self {
        let app = Self::on(TestStores::shared().await).await;
        app.is_ready().await;
        app
    }

    /// A node on these stores, whatever their state.
    pub async fn on(stores: TestStores) -> Self {
        Self::with(stores, "").await
    }

    /// The same with additional top-level settings.
    pub async fn with(stores: TestStores, more: &str) -> Self {
        Self::with_options(stores, more, ServeOptions::default()).await
    }

    /// The same with options of the command line.
    pub async fn with_options(stores: TestStores, more: &str, options: ServeOptions) -> Self {
        let settings = stores.settings(more);
        telemetry::start_logging(&settings.log).unwrap();
        let lifecycle = Lifecycle::new();
        let listener = TcpListener::bind(settings.listen).await.unwrap();
        let address = listener.local_addr().unwrap();
        let app = Application::new(settings, options, metrics(), lifecycle.clone()).unwrap();
        let served = tokio::spawn(app.serve(listener));
        Self { stores, address, lifecycle, served, api_key: String::new() }
    }

    /// Waits until both stores, the ledger and the live state are healthy.
    pub async fn is_ready(&self) {
        until("everything is healthy", || async {
            let view: Value =
                http().get(self.url("/readyz")).send().await.ok()?.json().await.ok()?;
            let components = view["components"].as_object()?;
            let all = ["kafka", "postgres", "ledger", "live"]
                .iter()
                .all(|name| components.get(*name).is_some_and(|c| c["health"] == "healthy"));
            all.then_some(())
        })
        .await;
    }

    pub fn url(&self, path: &str) -> String {
        format!("http://{}{path}", self.address)
    }

    /// Stops the node as SIGTERM does.
    pub async fn stop(self) {
        self.lifecycle.stop();
        self.served.await.unwrap().unwrap();
    }

    /// The same; returns how long it took.
    pub async fn stop_within(self) -> Duration {
        let began = tokio::time::Instant::now();
        self.stop().await;
        began.elapsed()
    }

    /// Starts recordings until a subscriber of everything that reads nothing has a full queue for too
    /// long; `quick` receives each of them. Returns how many there were.
    pub async fn sends_more_than_a_socket_buffers(&self, quick: &mut Stream) -> usize {
        // The socket buffers hold a third of it.
        const MORE: usize = 1 << 20;
        // A subscriber with a full queue for 2 s is disconnected.
        const LONGER: Duration = Duration::from_secs(3);
        let (mut sent, mut bytes, mut full_since) = (0, 0, None);
        while full_since.is_none_or(|since: tokio::time::Instant| since.elapsed() < LONGER) {
            let starts: Vec<Value> = (0..20)
                .map(|_| Call::new().recording("active", chrono::Utc::now())[0].clone())
                .collect();
            self.call_automation_posts(&Value::Array(starts)).await;
            for _ in 0..20 {
                bytes += quick.receives_recording("on").await.body.to_string().len();
                sent += 1;
            }
            if bytes > MORE {
                full_since.get_or_insert_with(tokio::time::Instant::now);
            }
        }
        sent
    }

    /// Posts a body to a source's endpoint with its key.
    pub async fn posts(&self, path: &str, body: impl Into<reqwest::Body>) -> (StatusCode, String) {
        let request = http()
            .post(self.url(path))
            .header("x-onrecord-key", SOURCE_KEY)
            .header("content-type", "application/json")
            .body(body);
        let response = request.send().await.unwrap();
        (response.status(), response.text().await.unwrap())
    }

    /// Posts Event Grid events, which must be accepted.
    pub async fn event_grid_posts(&self, events: &Value) {
        let (status, body) = self.posts("/ingest/event-grid/eg", events.to_string()).await;
        assert_eq!(status, StatusCode::OK, "{body}");
    }

    /// Posts callbacks, which must be accepted.
    pub async fn call_automation_posts(&self, events: &Value) {
        let (status, body) = self.posts("/ingest/call-automation/ca", events.to_string()).await;
        assert_eq!(status, StatusCode::OK, "{body}");
    }

    /// An API key of a tenant.
    pub async fn api_key(&self, tenant: &str, role: ApiRole) -> String {
        let store = Postgres::new(&self.stores.database_url, 2).unwrap();
        let tenant = Tenant::parse(tenant).unwrap();
        // On a busy machine a connection may time out.
        until("an API key", || async { key::create(&store, &tenant, role, "test").await.ok() })
            .await
    }

    /// A subscriber token for a participant of `contoso`.
    pub async fn token(&self, raw_id: &str) -> String {
        self.token_for(raw_id, 3600).await
    }

    /// A subscriber token with this lifetime.
    pub async fn token_for(&self, raw_id: &str, seconds: u32) -> String {
        self.minted(&json!({ "participant": { "raw_id": raw_id }, "ttl_s": seconds })).await
    }

    /// A subscriber token whose grant names these calls.
    pub async fn token_granting(&self, raw_id: &str, calls: &[&str]) -> String {
        let grant = json!({ "calls": calls });
        self.minted(&json!({ "participant": { "raw_id": raw_id }, "grant": grant })).await
    }

    /// The subscriber token of a request, which must be accepted.
    async fn minted(&self, body: &Value) -> String {
        let key = self.api_key("contoso", ApiRole::App).await;
        let (status, minted) = self.mints(&key, body).await;
        assert_eq!(status, StatusCode::CREATED, "{minted}");
        minted["token"].as_str().unwrap().to_owned()
    }

    /// Requests a subscriber token; returns status and body.
    pub async fn mints(&self, key: &str, body: &Value) -> (StatusCode, Value) {
        self.posts_json("/v1/subscriber-tokens", key, body).await
    }

    /// Posts to `/v1` with an API key; returns status and body.
    pub async fn posts_json(&self, path: &str, key: &str, body: &Value) -> (StatusCode, Value) {
        until("an answer", || async {
            let asked = http().post(self.url(path)).bearer_auth(key).json(body);
            let response = asked.send().await.unwrap();
            let status = response.status();
            // The node looks up an unknown key in Postgres, which may time out.
            if status == StatusCode::SERVICE_UNAVAILABLE {
                return None;
            }
            Some((status, response.json().await.unwrap_or_default()))
        })
        .await
    }

    /// Sends a report; returns status and body.
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
    pub async fn subscribes(&self, token: &str, query: &str) -> Stream {
        self.subscribes_from(token, query, None).await
    }

    /// Opens a stream that resumes after a cursor.
    pub async fn subscribes_from(&self, token: &str, query: &str, cursor: Option<&str>) -> Stream {
        Stream::open(self.url(&format!("/v1/notices/stream?{query}")), token, cursor).await
    }

    /// Reads `/v1` as an admin of `contoso`.
    pub async fn reads(&mut self, path: &str) -> Value {
        if self.api_key.is_empty() {
            self.api_key = self.api_key("contoso", ApiRole::Admin).await;
        }
        let response = http().get(self.url(path)).bearer_auth(&self.api_key).send().await.unwrap();
        let status = response.status();
        let body = response.text().await.unwrap();
        assert_eq!(status, StatusCode::OK, "{path}: {body}");
        serde_json::from_str(&body).unwrap()
    }

    /// Waits until a read of `/v1` returns what is wanted, and returns it.
    pub async fn sees(&mut self, path: &str, wanted: impl Fn(&Value) -> bool) -> Value {
        let end = tokio::time::Instant::now() + DEADLINE;
        loop {
            let key = if self.api_key.is_empty() {
                self.api_key("contoso", ApiRole::Admin).await
            } else {
                self.api_key.clone()
            };
            self.api_key = key;
            let response =
                http().get(self.url(path)).bearer_auth(&self.api_key).send().await.unwrap();
            let status = response.status();
            let body: Value = response.json().await.unwrap_or_default();
            if status == StatusCode::OK && wanted(&body) {
                return body;
            }
            assert!(tokio::time::Instant::now() < end, "not seen at {path}: {status} {body:#}");
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    }
}

/// Waits for a condition, until [`DEADLINE`].
pub async fn until<T, F>(what: &str, mut look: impl FnMut() -> F) -> T
where
    F: Future<Output = Option<T>>,
{
    let end = tokio::time::Instant::now() + DEADLINE;
    loop {
        if let Some(seen) = look().await {
            return seen;
        }
        assert!(tokio::time::Instant::now() < end, "not true in time: {what}");
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}
