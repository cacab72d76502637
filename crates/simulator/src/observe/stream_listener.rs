//! A client that receives the stream of notices: server-sent events, resumed at the cursor after a
//! disconnection.

use std::time::{Duration, Instant};

use futures_util::StreamExt as _;
use reqwest::Url;
use serde_json::Value;
use tokio::sync::mpsc;

use crate::http::{ServerAddressError, address, client_builder, error_text, parse_base};
use crate::sse::SseParser;

/// Timeout of a stream without any byte: the server sends something more often than that.
const READ_TIMEOUT: Duration = Duration::from_secs(45);
/// The kind of event that states nothing but that the connection lives.
const BEAT: &str = "beat";
/// Interval before a stream is opened again.
const RECONNECT_INTERVAL: Duration = Duration::from_millis(200);

/// A message of a stream, or a change of its connection.
#[derive(Clone, Debug, PartialEq)]
pub enum StreamEvent {
    /// The stream is open.
    Opened,
    /// A `snapshot`, `notice`, `gap` or `bye`, and when its last byte was received.
    Message { kind: String, body: Value, at: Instant },
    /// The stream ended or could not be opened; it is opened again.
    Disconnected(String),
}

/// Receives every notice that a key or token gives access to.
pub struct StreamListener {
    http: reqwest::Client,
    stream: Url,
    bearer: String,
}

impl StreamListener {
    /// Makes a listener; it does not connect yet.
    ///
    /// # Errors
    ///
    /// [`ServerAddressError`].
    pub fn new(url: &str, bearer: String) -> Result<Self, ServerAddressError> {
        let stream = address(&parse_base(url)?, &["v1", "notices", "stream"]);
        let http = client_builder(false).read_timeout(READ_TIMEOUT).build()?;
        Ok(Self { http, stream, bearer })
    }

    /// Receives until the channel is closed. The future can be dropped to stop earlier.
    pub async fn listen(self, events: mpsc::Sender<StreamEvent>) {
        let mut cursor = None;
        while !events.is_closed() {
            let reason = match self.listen_once(&mut cursor, &events).await {
                Ok(()) => "the stream ended".to_owned(),
                Err(error) => error_text(error),
            };
            if events.send(StreamEvent::Disconnected(reason)).await.is_err() {
                return;
            }
            tokio::time::sleep(RECONNECT_INTERVAL).await;
        }
    }

    async fn listen_once(
        &self,
        cursor: &mut Option<String>,
        events: &mpsc::Sender<StreamEvent>,
    ) -> reqwest::Result<()> {
        let mut request = self.http.get(self.stream.clone()).bearer_auth(&self.bearer);
        if let Some(cursor) = cursor {
            request = request.header("last-event-id", cursor.as_str());
        }
        let mut chunks = request.send().await?.error_for_status()?.bytes_stream();
        if events.send(StreamEvent::Opened).await.is_err() {
            return Ok(());
        }
        let mut parser = SseParser::default();
        while let Some(chunk) = chunks.next().await {
            for event in parser.push(&chunk?) {
                let at = Instant::now();
                if !event.id.is_empty() {
                    *cursor = Some(event.id);
                }
                if event.kind == BEAT {
                    continue;
                }
                // A message that is no JSON has no members, and shows as a missing change.
                let body = serde_json::from_str(&event.data).unwrap_or(Value::Null);
                let message = StreamEvent::Message { kind: event.kind, body, at };
                if events.send(message).await.is_err() {
                    return Ok(());
                }
            }
        }
        Ok(())
    }
}
