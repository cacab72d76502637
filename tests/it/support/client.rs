//! A client app that posts, and subscribes by server-sent events.

use std::collections::VecDeque;
use std::pin::Pin;
use std::sync::OnceLock;
use std::time::Duration;

use futures_util::StreamExt as _;
use onrecord_simulator::sse::{SseEvent, SseParser};
use reqwest::StatusCode;
use serde_json::Value;

use crate::support::app::DEADLINE;

/// The HTTP client of all tests.
pub fn http() -> reqwest::Client {
    static PROVIDER: OnceLock<()> = OnceLock::new();
    PROVIDER.get_or_init(|| {
        // Another part of the process may have installed it already.
        let _ = rustls::crypto::ring::default_provider().install_default();
        // A test may open a thousand streams.
        rlimit::increase_nofile_limit(u64::MAX).unwrap();
    });
    reqwest::Client::builder()
        // No root certificates: reading them takes longer than most requests here.
        .tls_certs_only([])
        .timeout(Duration::from_secs(120))
        .build()
        .unwrap()
}

/// One event of a stream.
#[derive(Clone, Debug)]
pub struct ReceivedEvent {
    pub kind: String,
    pub id: String,
    pub body: Value,
}

impl ReceivedEvent {
    /// The state of the recording in it.
    pub fn recording(&self) -> &str {
        self.body["indication"]["recording"]["state"].as_str().unwrap_or_default()
    }
}

type Chunks = Pin<Box<dyn futures_util::Stream<Item = reqwest::Result<bytes::Bytes>> + Send>>;

/// An open stream.
pub struct Stream {
    chunks: Chunks,
    parser: SseParser,
    received: VecDeque<ReceivedEvent>,
}

impl Stream {
    pub async fn open(url: String, token: &str, cursor: Option<&str>) -> Self {
        let mut request = http().get(url).bearer_auth(token);
        if let Some(cursor) = cursor {
            request = request.header("last-event-id", cursor);
        }
        let response = request.send().await.unwrap();
        assert_eq!(response.status(), StatusCode::OK);
        Self {
            chunks: Box::pin(response.bytes_stream()),
            parser: SseParser::default(),
            received: VecDeque::new(),
        }
    }

    /// The next event other than a beat; `None` when the stream has ended. Fails after
    /// [`DEADLINE`].
    pub async fn next(&mut self) -> Option<ReceivedEvent> {
        match tokio::time::timeout(DEADLINE, self.take()).await {
            Ok(received) => received,
            Err(_) => panic!("nothing was received in time"),
        }
    }

    /// The next event if it is a beat. Fails after [`DEADLINE`].
    pub async fn receives_beat(&mut self) -> ReceivedEvent {
        let event = tokio::time::timeout(DEADLINE, self.take_any()).await.unwrap().unwrap();
        assert_eq!(event.kind, "beat", "{event:?}");
        event
    }

    /// The next event of this kind; others are skipped.
    pub async fn receives(&mut self, kind: &str) -> ReceivedEvent {
        loop {
            match self.next().await {
                Some(received) if received.kind == kind => return received,
                Some(_) => {}
                None => panic!("the stream ended before {kind} was received"),
            }
        }
    }

    /// The next event whose recording level is this.
    pub async fn receives_recording(&mut self, state: &str) -> ReceivedEvent {
        loop {
            match self.next().await {
                Some(received) if received.recording() == state => return received,
                Some(_) => {}
                None => panic!("the stream ended before recording {state} was received"),
            }
        }
    }

    /// Whether nothing arrives within this time. The absence of events takes a real wait.
    pub async fn is_silent_for(&mut self, time: Duration) -> bool {
        tokio::time::timeout(time, self.take()).await.is_err()
    }

    /// The events that arrive within this time. The absence of more takes a real wait.
    pub async fn receives_within(&mut self, time: Duration) -> Vec<ReceivedEvent> {
        let until = tokio::time::Instant::now() + time;
        let mut all = Vec::new();
        while let Ok(Some(received)) = tokio::time::timeout_at(until, self.take()).await {
            all.push(received);
        }
        all
    }

    async fn take(&mut self) -> Option<ReceivedEvent> {
        loop {
            let event = self.take_any().await?;
            if event.kind != "beat" {
                return Some(event);
            }
        }
    }

    async fn take_any(&mut self) -> Option<ReceivedEvent> {
        loop {
            if let Some(received) = self.received.pop_front() {
                return Some(received);
            }
            let chunk = self.chunks.next().await?.ok()?;
            self.received.extend(self.parser.push(&chunk).into_iter().map(ReceivedEvent::from));
        }
    }
}

impl From<SseEvent> for ReceivedEvent {
    fn from(event: SseEvent) -> Self {
        Self { kind: event.kind, id: event.id, body: serde_json::from_str(&event.data).unwrap() }
    }
}
