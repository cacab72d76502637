//! A bare receiver of webhooks: it answers at once, and notes what arrived when.

use std::collections::HashMap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use anyhow::bail;
use axum::Router;
use axum::body::Bytes;
use axum::extract::State;
use axum::routing::post;
use serde_json::Value;
use tokio::net::TcpListener;

/// A receiver on a thread of its own.
pub struct WebhookReceiver {
    url: String,
    arrivals: Arrivals,
}

#[derive(Clone, Default)]
struct Arrivals {
    /// Messages without challenges.
    count: Arc<AtomicU64>,
    /// By the app of the call, where the message names it.
    by_app: Arc<Mutex<HashMap<String, Instant>>>,
}

impl WebhookReceiver {
    pub async fn start() -> anyhow::Result<Self> {
        let listener = TcpListener::bind("127.0.0.1:0").await?;
        let url = format!("http://{}/hook", listener.local_addr()?);
        let arrivals = Arrivals::default();
        let router = Router::new().route("/hook", post(receive)).with_state(arrivals.clone());
        let listener = listener.into_std()?;
        std::thread::spawn(move || {
            let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
            runtime.block_on(async { axum::serve(TcpListener::from_std(listener)?, router).await })
        });
        Ok(Self { url, arrivals })
    }

    pub fn url(&self) -> String {
        self.url.clone()
    }

    /// Messages so far, without challenges.
    pub fn count(&self) -> u64 {
        self.arrivals.count.load(Ordering::Relaxed)
    }

    /// When the first message arrived that names this app.
    pub fn arrival_of(&self, app: &str) -> Option<Instant> {
        self.arrivals.by_app.lock().unwrap_or_else(PoisonError::into_inner).get(app).copied()
    }

    /// Waits for so many messages in all.
    pub async fn receives(&self, number: u64, timeout: Duration) -> anyhow::Result<()> {
        let until = Instant::now() + timeout;
        while self.count() < number {
            if Instant::now() > until {
                bail!("{} of {number} messages arrived", self.count());
            }
            tokio::time::sleep(Duration::from_micros(200)).await;
        }
        Ok(())
    }
}

async fn receive(State(arrivals): State<Arrivals>, body: Bytes) -> String {
    let at = Instant::now();
    // Most messages of a measurement name neither, and are not parsed.
    let has = |text: &[u8]| body.windows(text.len()).any(|it| it == text);
    if has(b"\"challenge\"") || has(b"\"app\"") {
        let event: Value = serde_json::from_slice(&body).unwrap_or_default();
        if let Some(challenge) = event["data"]["challenge"].as_str() {
            return challenge.to_owned();
        }
        if let Some(app) = event["data"]["app"][0].as_str() {
            let mut by_app = arrivals.by_app.lock().unwrap_or_else(PoisonError::into_inner);
            by_app.entry(app.to_owned()).or_insert(at);
        }
    }
    arrivals.count.fetch_add(1, Ordering::Relaxed);
    "{\"ok\":true}".to_owned()
}
