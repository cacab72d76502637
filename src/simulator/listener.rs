//! A client app that listens: server-sent events, taken up again at the cursor when they break off.

use std::time::{Duration, Instant};

use futures_util::StreamExt as _;
use reqwest::Url;
use serde_json::Value;
use tokio::sync::mpsc;

use super::client::{AddressError, http, reason};

/// The server says something so often at least; a connection that is silent for longer is dead.
const SILENCE: Duration = Duration::from_secs(45);
/// Before a stream is opened anew.
const PAUSE: Duration = Duration::from_millis(200);

/// One event of a stream, or what became of the stream.
#[derive(Clone, Debug, PartialEq)]
pub enum Sound {
    /// The stream is open.
    Opened,
    /// `snapshot`, `notice`, `gap` or `bye`, and when its last byte came.
    Heard {
        kind: String,
        body: Value,
        at: Instant,
    },
    /// It broke off or could not be opened, and is opened anew.
    BrokeOff(String),
}

/// Listens to everything that a key or token may hear.
pub struct Listener {
    http: reqwest::Client,
    stream: Url,
    bearer: String,
}

impl Listener {
    /// Prepares to listen at a server's address.
    ///
    /// # Errors
    ///
    /// [`AddressError`].
    pub fn new(url: &str, bearer: String) -> Result<Self, AddressError> {
        let base = Url::parse(url).map_err(|_| AddressError::NoUrl(url.to_owned()))?;
        let stream = base
            .join("v1/notices/stream")
            .map_err(|_| AddressError::NoUrl(url.to_owned()))?;
        let http = http(false).read_timeout(SILENCE).build()?;
        Ok(Self {
            http,
            stream,
            bearer,
        })
    }

    /// Listens until nobody takes what is heard. It is to be dropped to end it otherwise.
    pub async fn listen(self, sounds: mpsc::Sender<Sound>) {
        let mut cursor = None;
        while !sounds.is_closed() {
            let why = match self.listen_once(&mut cursor, &sounds).await {
                Ok(()) => "the stream ended".to_owned(),
                Err(error) => reason(error),
            };
            if sounds.send(Sound::BrokeOff(why)).await.is_err() {
                return;
            }
            tokio::time::sleep(PAUSE).await;
        }
    }

    async fn listen_once(
        &self,
        cursor: &mut Option<String>,
        sounds: &mpsc::Sender<Sound>,
    ) -> reqwest::Result<()> {
        let mut request = self.http.get(self.stream.clone()).bearer_auth(&self.bearer);
        if let Some(cursor) = cursor {
            request = request.header("last-event-id", cursor.as_str());
        }
        let mut chunks = request.send().await?.error_for_status()?.bytes_stream();
        if sounds.send(Sound::Opened).await.is_err() {
            return Ok(());
        }
        let mut reader = EventReader::default();
        while let Some(chunk) = chunks.next().await {
            for event in reader.read(&chunk?) {
                let at = Instant::now();
                if !event.id.is_empty() {
                    *cursor = Some(event.id);
                }
                let body = serde_json::from_str(&event.data).unwrap_or(Value::Null);
                if sounds
                    .send(Sound::Heard {
                        kind: event.kind,
                        body,
                        at,
                    })
                    .await
                    .is_err()
                {
                    return Ok(());
                }
            }
        }
        Ok(())
    }
}

/// Takes a stream of server-sent events apart, however it is cut into chunks.
#[derive(Default)]
struct EventReader {
    unread: Vec<u8>,
}

#[derive(Debug, Default, PartialEq, Eq)]
struct ServerSentEvent {
    kind: String,
    id: String,
    data: String,
}

impl EventReader {
    /// The events that are whole by now. The server ends its lines with a line feed.
    fn read(&mut self, chunk: &[u8]) -> Vec<ServerSentEvent> {
        self.unread.extend_from_slice(chunk);
        let mut events = Vec::new();
        while let Some(end) = self.unread.windows(2).position(|pair| pair == b"\n\n") {
            let block: Vec<u8> = self.unread.drain(..end + 2).collect();
            events.extend(event(&String::from_utf8_lossy(&block)));
        }
        events
    }
}

/// `None`: a comment.
fn event(block: &str) -> Option<ServerSentEvent> {
    let mut event = ServerSentEvent::default();
    let mut data = Vec::new();
    for line in block.lines() {
        let (name, value) = line.split_once(':').unwrap_or((line, ""));
        let value = value.strip_prefix(' ').unwrap_or(value);
        match name {
            "event" => event.kind = value.to_owned(),
            "id" => event.id = value.to_owned(),
            "data" => data.push(value),
            _ => {}
        }
    }
    event.data = data.join("\n");
    (!event.data.is_empty()).then_some(event)
}

#[cfg(test)]
mod tests {
    use super::*;

    const STREAM: &str = "event: snapshot\nid: a.b\ndata: {\"x\":\"é\"}\n\n:\n\nevent: notice\nid: a.c\ndata: {\ndata: }\n\n";

    #[test]
    fn a_stream_is_read_however_it_is_cut() {
        let expected = [
            ("snapshot", "a.b", "{\"x\":\"é\"}"),
            ("notice", "a.c", "{\n}"),
        ];
        for size in 1..STREAM.len() {
            let mut reader = EventReader::default();
            let events: Vec<ServerSentEvent> = STREAM
                .as_bytes()
                .chunks(size)
                .flat_map(|chunk| reader.read(chunk))
                .collect();
            let read: Vec<(&str, &str, &str)> = events
                .iter()
                .map(|event| (&*event.kind, &*event.id, &*event.data))
                .collect();
            assert_eq!(read, expected, "{size}");
        }
    }
}
