//! A client app: it posts, and listens by server-sent events.

use std::collections::VecDeque;
use std::pin::Pin;
use std::sync::OnceLock;
use std::time::Duration;

use futures_util::StreamExt as _;
use reqwest::StatusCode;
use serde_json::Value;

use crate::house::DEADLINE;

/// The client of all tests.
pub fn http() -> reqwest::Client {
    static PROVIDER: OnceLock<()> = OnceLock::new();
    PROVIDER.get_or_init(|| {
        // Another part of the process may have been first.
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
pub struct Heard {
    pub kind: String,
    pub id: String,
    pub body: Value,
}

impl Heard {
    /// The state that it states of the recording.
    pub fn recording(&self) -> &str {
        self.body["indication"]["recording"]["state"]
            .as_str()
            .unwrap_or_default()
    }
}

type Chunks = Pin<Box<dyn futures_util::Stream<Item = reqwest::Result<bytes::Bytes>> + Send>>;

/// An open stream.
pub struct Stream {
    chunks: Chunks,
    buffer: String,
    heard: VecDeque<Heard>,
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
            buffer: String::new(),
            heard: VecDeque::new(),
        }
    }

    /// The next event; `None` when the stream has ended. Fails if nothing comes in time.
    pub async fn next(&mut self) -> Option<Heard> {
        match tokio::time::timeout(DEADLINE, self.take()).await {
            Ok(heard) => heard,
            Err(_) => panic!("nothing was heard in time"),
        }
    }

    /// The next event of this kind; others are passed over.
    pub async fn hears(&mut self, kind: &str) -> Heard {
        loop {
            match self.next().await {
                Some(heard) if heard.kind == kind => return heard,
                Some(_) => {}
                None => panic!("the stream ended before {kind} was heard"),
            }
        }
    }

    /// The next event whose recording level is this.
    pub async fn hears_recording(&mut self, state: &str) -> Heard {
        loop {
            match self.next().await {
                Some(heard) if heard.recording() == state => return heard,
                Some(_) => {}
                None => panic!("the stream ended before recording {state} was heard"),
            }
        }
    }

    /// Whether nothing comes within this time (a silence can only be waited for).
    pub async fn is_silent_for(&mut self, time: Duration) -> bool {
        tokio::time::timeout(time, self.take()).await.is_err()
    }

    /// What comes within this time (that nothing more comes can only be waited for).
    pub async fn hears_within(&mut self, time: Duration) -> Vec<Heard> {
        let until = tokio::time::Instant::now() + time;
        let mut all = Vec::new();
        while let Ok(Some(heard)) = tokio::time::timeout_at(until, self.take()).await {
            all.push(heard);
        }
        all
    }

    async fn take(&mut self) -> Option<Heard> {
        loop {
            if let Some(heard) = self.heard.pop_front() {
                return Some(heard);
            }
            let chunk = self.chunks.next().await?.ok()?;
            self.buffer.push_str(std::str::from_utf8(&chunk).unwrap());
            while let Some(end) = self.buffer.find("\n\n") {
                let block: String = self.buffer.drain(..end + 2).collect();
                self.heard.extend(read(&block));
            }
        }
    }
}

fn read(block: &str) -> Option<Heard> {
    let field = |name: &str| {
        block.lines().find_map(|line| {
            line.strip_prefix(name)?
                .strip_prefix(": ")
                .or(line.strip_prefix(name)?.strip_prefix(':'))
        })
    };
    let data = field("data")?;
    Some(Heard {
        kind: field("event")?.to_owned(),
        id: field("id").unwrap_or_default().to_owned(),
        body: serde_json::from_str(data).unwrap(),
    })
}
