//! A client app that subscribes by WebSocket, as strict about the handshake as a browser.

use std::net::SocketAddr;

use futures_util::{SinkExt as _, StreamExt as _};
use reqwest::StatusCode;
use serde_json::Value;
use tokio::net::{TcpSocket, TcpStream};
use tokio_tungstenite::tungstenite::client::IntoClientRequest as _;
use tokio_tungstenite::tungstenite::http::{HeaderName, HeaderValue, Request};
use tokio_tungstenite::tungstenite::{Error, Message};
use tokio_tungstenite::{WebSocketStream, client_async};

use crate::support::app::{DEADLINE, TestApp};
use crate::support::client::ReceivedEvent;

/// A message of the server.
#[derive(Debug)]
pub enum SocketMessage {
    Frame(ReceivedEvent),
    Closed(u16),
}

/// An open WebSocket.
pub struct Socket {
    inner: WebSocketStream<TcpStream>,
    /// The subprotocol that the server chose.
    pub protocol: Option<String>,
}

/// The request of a handshake.
pub struct Handshake {
    address: SocketAddr,
    request: Request<()>,
    receive_buffer: Option<u32>,
}

impl Handshake {
    pub fn new(app: &TestApp, query: &str) -> Self {
        Self::at(app.address, query)
    }

    pub fn at(address: SocketAddr, query: &str) -> Self {
        let url = format!("ws://{address}/v1/notices/ws?{query}");
        Self { address, request: url.into_client_request().unwrap(), receive_buffer: None }
    }

    pub fn header(mut self, name: &'static str, value: &str) -> Self {
        let value = HeaderValue::from_str(value).unwrap();
        let name = HeaderName::from_static(name);
        self.request.headers_mut().insert(name, value);
        self
    }

    pub fn bearer(self, token: &str) -> Self {
        self.header("authorization", &format!("Bearer {token}"))
    }

    pub fn protocols(self, protocols: &[&str]) -> Self {
        self.header("sec-websocket-protocol", &protocols.join(", "))
    }

    pub fn receive_buffer(mut self, bytes: u32) -> Self {
        self.receive_buffer = Some(bytes);
        self
    }

    /// The open socket, or the status and body of the refusal.
    pub async fn connect(self) -> Result<Socket, (StatusCode, Value)> {
        let tcp = TcpSocket::new_v4().unwrap();
        if let Some(bytes) = self.receive_buffer {
            tcp.set_recv_buffer_size(bytes).unwrap();
        }
        let tcp = tcp.connect(self.address).await.unwrap();
        match client_async(self.request, tcp).await {
            Ok((inner, response)) => {
                let chosen = response.headers().get("sec-websocket-protocol");
                let protocol = chosen.map(|it| it.to_str().unwrap().to_owned());
                Ok(Socket { inner, protocol })
            }
            Err(Error::Http(response)) => {
                let status = StatusCode::from_u16(response.status().as_u16()).unwrap();
                let body = response.body().as_deref().unwrap_or_default();
                Err((status, serde_json::from_slice(body).unwrap_or_default()))
            }
            Err(error) => panic!("no handshake: {error}"),
        }
    }

    pub async fn opens(self) -> Socket {
        match self.connect().await {
            Ok(socket) => socket,
            Err((status, problem)) => panic!("refused: {status} {problem}"),
        }
    }
}

impl Socket {
    /// Opens a WebSocket as a browser does.
    pub async fn open(app: &TestApp, token: &str, query: &str) -> Self {
        let token = format!("onrecord.token.{token}");
        let handshake = Handshake::new(app, query).protocols(&["onrecord.v1", &token]);
        handshake.opens().await
    }

    pub async fn sends_json(&mut self, frame: Value) {
        self.sends(Message::text(frame.to_string())).await;
    }

    pub async fn sends(&mut self, frame: Message) {
        // The server may have closed the connection already.
        let _ = self.inner.send(frame).await;
    }

    /// The next message other than a beat; `None` when the connection has ended. Fails after
    /// [`DEADLINE`].
    pub async fn next(&mut self) -> Option<SocketMessage> {
        loop {
            match self.next_of_any_kind().await {
                Some(SocketMessage::Frame(frame)) if frame.kind == "beat" => {}
                next => return next,
            }
        }
    }

    /// The next message if it is a beat. Fails after [`DEADLINE`].
    pub async fn receives_beat(&mut self) -> ReceivedEvent {
        match self.next_of_any_kind().await {
            Some(SocketMessage::Frame(frame)) if frame.kind == "beat" => frame,
            other => panic!("no beat was received: {other:?}"),
        }
    }

    async fn next_of_any_kind(&mut self) -> Option<SocketMessage> {
        loop {
            let frame = tokio::time::timeout(DEADLINE, self.inner.next()).await;
            match frame.expect("nothing was received in time")? {
                Ok(Message::Text(text)) => return Some(SocketMessage::Frame(read(text.as_str()))),
                Ok(Message::Close(Some(close))) => {
                    return Some(SocketMessage::Closed(close.code.into()));
                }
                Ok(_) => {}
                Err(_) => return None,
            }
        }
    }

    /// The next frame. Fails if the server closes.
    pub async fn receives_next(&mut self) -> ReceivedEvent {
        match self.next().await {
            Some(SocketMessage::Frame(received)) => received,
            other => panic!("no frame was received: {other:?}"),
        }
    }

    /// The next frame of this kind; others are skipped.
    pub async fn receives(&mut self, kind: &str) -> ReceivedEvent {
        loop {
            let received = self.receives_next().await;
            if received.kind == kind {
                return received;
            }
        }
    }

    /// The next frame whose recording level is this.
    pub async fn receives_recording(&mut self, state: &str) -> ReceivedEvent {
        loop {
            let received = self.receives_next().await;
            if received.recording() == state {
                return received;
            }
        }
    }

    /// All remaining frames, and the code with which the server closes.
    pub async fn receives_until_close(&mut self) -> (Vec<ReceivedEvent>, u16) {
        let mut all = Vec::new();
        loop {
            match self.next().await {
                Some(SocketMessage::Frame(received)) => all.push(received),
                Some(SocketMessage::Closed(code)) => return (all, code),
                None => panic!("cut off without a goodbye after {all:?}"),
            }
        }
    }
}

/// A frame as an event: kind, cursor, and the same body as a server-sent event.
fn read(text: &str) -> ReceivedEvent {
    let mut body: Value = serde_json::from_str(text).unwrap();
    let kind = body.as_object_mut().unwrap().remove("type").unwrap();
    ReceivedEvent {
        kind: kind.as_str().unwrap().to_owned(),
        id: body["cursor"].as_str().unwrap_or_default().to_owned(),
        body,
    }
}
