//! A receiver of webhooks that can misbehave in every way that matters.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use reqwest::header::{HeaderMap, HeaderName, HeaderValue};
use serde_json::Value;
use standardwebhooks::Webhook;
use tokio::io::{AsyncBufReadExt as _, AsyncReadExt as _, AsyncWriteExt as _, BufReader};
use tokio::net::{TcpListener, TcpStream};

use crate::support::app::until;

/// How a receiver answers.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Behaviour {
    /// 200; a challenge is answered.
    Works,
    /// This status, with these lines of the head.
    Answers(u16, &'static str),
    /// A redirect to this address.
    Redirects(String),
    /// No answer.
    Hangs,
    /// The connection is closed before the answer.
    Closes,
    /// The connection is closed in the middle of the head.
    ClosesHalfWay,
    /// 200, and then the body a byte at a time, for longer than any timeout.
    Drips,
    /// 200, and then 10 GB.
    Floods,
    /// 200 with this body.
    Says(&'static str),
}

/// A request that arrived.
#[derive(Clone, Debug)]
pub struct Received {
    pub path: String,
    pub headers: BTreeMap<String, String>,
    pub body: String,
    pub at: Instant,
}

impl Received {
    pub fn json(&self) -> Value {
        serde_json::from_str(&self.body).unwrap()
    }

    pub fn id(&self) -> &str {
        &self.headers["webhook-id"]
    }

    /// The name of the event.
    pub fn name(&self) -> String {
        let name = self.json()["type"].as_str().unwrap_or_default().to_owned();
        name.strip_prefix("onrecord.").unwrap_or_default().to_owned()
    }

    /// Whether the published library accepts the signature by this secret.
    pub fn is_signed_by(&self, secret: &str) -> bool {
        let headers: HeaderMap = self
            .headers
            .iter()
            .filter(|(name, _)| name.starts_with("webhook-"))
            .map(|(name, value)| {
                (name.parse::<HeaderName>().unwrap(), HeaderValue::from_str(value).unwrap())
            })
            .collect();
        Webhook::new(secret).unwrap().verify(self.body.as_bytes(), &headers).is_ok()
    }
}

/// A server on a port of its own.
#[derive(Clone)]
pub struct Receiver {
    address: SocketAddr,
    behaviour: Arc<Mutex<Behaviour>>,
    received: Arc<Mutex<Vec<Received>>>,
    connections: Arc<Mutex<u64>>,
    sent: Arc<Mutex<u64>>,
}

impl Receiver {
    pub async fn start() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let receiver = Self {
            address: listener.local_addr().unwrap(),
            behaviour: Arc::new(Mutex::new(Behaviour::Works)),
            received: Arc::default(),
            connections: Arc::default(),
            sent: Arc::default(),
        };
        let serving = receiver.clone();
        tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                *serving.connections.lock().unwrap() += 1;
                let receiver = serving.clone();
                tokio::spawn(async move {
                    // A client that closes is no failure of the receiver.
                    let _ = receiver.serve(stream).await;
                });
            }
        });
        receiver
    }

    pub fn url(&self, path: &str) -> String {
        format!("http://{}{path}", self.address)
    }

    pub fn behaves(&self, behaviour: Behaviour) {
        *self.behaviour.lock().unwrap() = behaviour;
    }

    /// What arrived, without challenges.
    pub fn received(&self) -> Vec<Received> {
        let received = self.received.lock().unwrap();
        received.iter().filter(|it| it.name() != "webhook.challenge").cloned().collect()
    }

    /// Everything that arrived.
    pub fn all(&self) -> Vec<Received> {
        self.received.lock().unwrap().clone()
    }

    pub fn connections(&self) -> u64 {
        *self.connections.lock().unwrap()
    }

    /// Bytes of bodies that were written.
    pub fn sent(&self) -> u64 {
        *self.sent.lock().unwrap()
    }

    /// Waits until this many messages of this event arrived, and returns them.
    pub async fn receives(&self, name: &str, number: usize) -> Vec<Received> {
        until(&format!("{number} messages of {name}"), || async {
            let received = self.received();
            let of_name: Vec<Received> =
                received.into_iter().filter(|it| it.name() == name).collect();
            (of_name.len() >= number).then_some(of_name)
        })
        .await
    }

    async fn serve(&self, stream: TcpStream) -> std::io::Result<()> {
        stream.set_nodelay(true)?;
        let (read, mut write) = stream.into_split();
        let mut read = BufReader::new(read);
        loop {
            let mut line = String::new();
            if read.read_line(&mut line).await? == 0 {
                return Ok(());
            }
            let path = line.split(' ').nth(1).unwrap_or_default().to_owned();
            let mut headers = BTreeMap::new();
            loop {
                let mut line = String::new();
                read.read_line(&mut line).await?;
                let Some((name, value)) = line.trim_end().split_once(':') else { break };
                headers.insert(name.to_ascii_lowercase(), value.trim().to_owned());
            }
            let length = headers.get("content-length").map_or(0, |it| it.parse().unwrap());
            let mut body = vec![0; length];
            read.read_exact(&mut body).await?;
            let body = String::from_utf8(body).unwrap();
            let received = Received { path, headers, body, at: Instant::now() };
            let challenge = received.json()["data"]["challenge"].as_str().map(str::to_owned);
            self.received.lock().unwrap().push(received);
            let behaviour = self.behaviour.lock().unwrap().clone();
            let answer = |status: u16, lines: &str, body: &str| {
                format!(
                    "HTTP/1.1 {status} X\r\n{lines}content-length: {}\r\n\r\n{body}",
                    body.len()
                )
            };
            let answer = match behaviour {
                Behaviour::Works => match challenge {
                    Some(challenge) => {
                        answer(200, "", &format!("{{\"challenge\":\"{challenge}\"}}"))
                    }
                    None => answer(200, "", "{\"ok\":true}"),
                },
                Behaviour::Answers(status, lines) => answer(status, lines, "no"),
                Behaviour::Redirects(url) => answer(307, &format!("location: {url}\r\n"), ""),
                Behaviour::Says(body) => answer(200, "", body),
                Behaviour::Hangs => {
                    // Until the client closes.
                    let mut rest = Vec::new();
                    read.read_to_end(&mut rest).await?;
                    return Ok(());
                }
                Behaviour::Closes => return Ok(()),
                Behaviour::ClosesHalfWay => {
                    write.write_all(b"HTTP/1.1 200 OK\r\ncontent-le").await?;
                    return Ok(());
                }
                Behaviour::Drips => {
                    write.write_all(b"HTTP/1.1 200 OK\r\ncontent-length: 1000000\r\n\r\n").await?;
                    loop {
                        write.write_all(b"x").await?;
                        *self.sent.lock().unwrap() += 1;
                        tokio::time::sleep(Duration::from_millis(50)).await;
                    }
                }
                Behaviour::Floods => {
                    write
                        .write_all(b"HTTP/1.1 200 OK\r\ncontent-length: 10000000000\r\n\r\n")
                        .await?;
                    let chunk = vec![b'x'; 64 * 1024];
                    loop {
                        write.write_all(&chunk).await?;
                        *self.sent.lock().unwrap() += chunk.len() as u64;
                    }
                }
            };
            write.write_all(answer.as_bytes()).await?;
        }
    }
}
