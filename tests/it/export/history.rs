//! A node with the role `query` on the history of `tests/data/sql`, and its exports.

use chrono::Utc;
use clap::{Args as _, FromArgMatches as _};
use onrecord::cli::serve::ServeOptions;
use onrecord::http::api_role::ApiRole;
use onrecord::postgres::Postgres;
use reqwest::{RequestBuilder, Response, StatusCode};
use serde_json::{Value, json};
use sha2::{Digest as _, Sha256};
use sqlx::{AssertSqlSafe, Connection as _, PgConnection};

use crate::support::app::{TestApp, TestStores, until};
use crate::support::client::http;
use crate::support::history::write_history;

/// The period of the history, with a margin.
pub const FROM: &str = "2025-10-16T00:00:00Z";
pub const TO: &str = "2025-10-29T00:00:00Z";

/// Stores with the schema and the history. The API key of its rows exists.
pub async fn stores_with_history() -> TestStores {
    let stores = TestStores::shared().await;
    let store = Postgres::new(&stores.database_url, 2).unwrap();
    store.migrate(Utc::now()).await.unwrap();
    store.close().await;
    let mut owner = PgConnection::connect(&stores.database_url).await.unwrap();
    write_history(&mut owner).await;
    // The estimates of the planner are those of tables that it knows.
    sqlx::raw_sql("analyze").execute(&mut owner).await.unwrap();
    stores
}

/// The role `query` alone: nothing evaluates the history again.
pub fn query_only() -> ServeOptions {
    let command = ServeOptions::augment_args(clap::Command::new("serve"));
    let matches = command.get_matches_from(["serve", "--roles", "query"]);
    ServeOptions::from_arg_matches(&matches).unwrap()
}

/// A node, and a caller of `contoso`.
pub struct Exporter {
    pub app: TestApp,
    pub key: String,
}

impl Exporter {
    /// A node on the history, with additional settings.
    pub async fn with(settings: &str) -> Self {
        Self::on(stores_with_history().await, settings).await
    }

    pub async fn on(stores: TestStores, settings: &str) -> Self {
        let app = TestApp::with_options(stores, settings, query_only()).await;
        let key = app.api_key("contoso", ApiRole::Analyst).await;
        Self { app, key }
    }

    /// Sends a request, until the node knows the key of its caller.
    pub async fn sends(&self, request: RequestBuilder) -> Response {
        until("an answer", || async {
            let request = request.try_clone().unwrap().bearer_auth(&self.key);
            let answer = request.send().await.unwrap();
            (answer.status() != StatusCode::SERVICE_UNAVAILABLE).then_some(answer)
        })
        .await
    }

    pub async fn asks(&self, request: RequestBuilder) -> (StatusCode, Value) {
        let answer = self.sends(request).await;
        (answer.status(), answer.json().await.unwrap_or_default())
    }

    pub async fn requests(&self, body: &Value) -> (StatusCode, Value) {
        self.asks(http().post(self.app.url("/v1/exports")).json(body)).await
    }

    /// Requests an export, which is accepted, and returns its id.
    pub async fn requested(&self, body: &Value) -> String {
        let (status, export) = self.requests(body).await;
        assert_eq!(status, StatusCode::ACCEPTED, "{export:#}");
        export["id"].as_str().unwrap().to_owned()
    }

    /// Waits until an export has ended.
    pub async fn ended(&self, id: &str) -> Value {
        let path = format!("/v1/exports/{id}");
        until("the export has ended", || async {
            let (status, export) = self.asks(http().get(self.app.url(&path))).await;
            assert_eq!(status, StatusCode::OK, "{export:#}");
            let state = export["state"].as_str().unwrap();
            matches!(state, "done" | "failed").then_some(export)
        })
        .await
    }

    /// Requests an export and waits until it is done.
    pub async fn exported(&self, what: &[&str], format: &str) -> Value {
        let id = self.requested(&request(what, format)).await;
        let export = self.ended(&id).await;
        assert_eq!(export["state"], "done", "{export:#}");
        export
    }

    pub fn file_url(&self, export: &Value, name: &str) -> String {
        self.app.url(&format!("/v1/exports/{}/files/{name}", export["id"].as_str().unwrap()))
    }

    /// A whole file.
    pub async fn file(&self, export: &Value, name: &str) -> Vec<u8> {
        let answer = self.sends(http().get(self.file_url(export, name))).await;
        assert_eq!(answer.status(), StatusCode::OK, "{name}");
        answer.bytes().await.unwrap().to_vec()
    }

    /// Number of rows in a table of exports.
    pub async fn count(&self, table: &str) -> i64 {
        let query = format!("select count(*) from {table}");
        let database = self.app.stores.database().await;
        sqlx::query_scalar(AssertSqlSafe(query)).fetch_one(&database).await.unwrap()
    }
}

/// The body of a request for the whole history.
pub fn request(what: &[&str], format: &str) -> Value {
    json!({ "what": what, "from": FROM, "to": TO, "format": format })
}

/// In hexadecimal digits.
pub fn sha256(bytes: &[u8]) -> String {
    Sha256::digest(bytes).iter().map(|byte| format!("{byte:02x}")).collect()
}
