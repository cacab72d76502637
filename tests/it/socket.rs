//! A client app that listens over a WebSocket, as strict about the handshake as a browser.

use std::net::SocketAddr;

use futures_util::{SinkExt as _, StreamExt as _};
use reqwest::StatusCode;
use serde_json::Value;
use tokio::net::{TcpSocket, TcpStream};
use tokio_tungstenite::tungstenite::client::IntoClientRequest as _;
use tokio_tungstenite::tungstenite::http::{HeaderName, HeaderValue, Request};
use tokio_tungstenite::tungstenite::{Error, Message};
use tokio_tungstenite::{WebSocketStream, client_async};

use crate::client::Heard;
use crate::house::{DEADLINE, TestHouse};

/// What comes over a WebSocket.
#[derive(Debug)]
pub enum Said {
    Frame(Heard),
    Closed(u16),
}

/// An open WebSocket.
pub struct Socket {
    inner: WebSocketStream<TcpStream>,
    /// The subprotocol that the server chose.
    pub protocol: Option<String>,
}

/// How a handshake is asked for.
pub struct Handshake {
    address: SocketAddr,
    request: Request<()>,
    receive_buffer: Option<u32>,
}

impl Handshake {
    pub fn new(house: &TestHouse, query: &str) -> Self {
        Self::at(house.address, query)
    }

    pub fn at(address: SocketAddr, query: &str) -> Self {
        let url = format!("ws://{address}/v1/notices/ws?{query}");
        Self {
            address,
            request: url.into_client_request().unwrap(),
            receive_buffer: None,
        }
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

    /// The open socket, or what was answered instead.
    pub async fn shake(self) -> Result<Socket, (StatusCode, Value)> {
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
        match self.shake().await {
            Ok(socket) => socket,
            Err((status, problem)) => panic!("refused: {status} {problem}"),
        }
    }
}

impl Socket {
    /// Opens one as a browser does.
    pub async fn open(house: &TestHouse, token: &str, query: &str) -> Self {
        let token = format!("onrecord.token.{token}");
        let handshake = Handshake::new(house, query).protocols(&["onrecord.v1", &token]);
        handshake.opens().await
    }

    pub async fn says(&mut self, frame: Value) {
        self.sends(Message::text(frame.to_string())).await;
    }

    pub async fn sends(&mut self, frame: Message) {
        // Whoever is being sent away may be unable to say more.
        let _ = self.inner.send(frame).await;
    }

    /// What comes next; `None` when the connection has ended. Fails if nothing comes in time.
    pub async fn next(&mut self) -> Option<Said> {
        loop {
            let frame = tokio::time::timeout(DEADLINE, self.inner.next()).await;
            match frame.expect("nothing was heard in time")? {
                Ok(Message::Text(text)) => return Some(Said::Frame(read(text.as_str()))),
                Ok(Message::Close(Some(close))) => return Some(Said::Closed(close.code.into())),
                Ok(_) => {}
                Err(_) => return None,
            }
        }
    }

    /// The next frame. Fails if the server closes.
    pub async fn hears_next(&mut self) -> Heard {
        match self.next().await {
            Some(Said::Frame(heard)) => heard,
            other => panic!("no frame was heard: {other:?}"),
        }
    }

    /// The next frame of this kind; others are passed over.
    pub async fn hears(&mut self, kind: &str) -> Heard {
        loop {
            let heard = self.hears_next().await;
            if heard.kind == kind {
                return heard;
            }
        }
    }

    /// The next frame whose recording level is this.
    pub async fn hears_recording(&mut self, state: &str) -> Heard {
        loop {
            let heard = self.hears_next().await;
            if heard.recording() == state {
                return heard;
            }
        }
    }

    /// All frames that still come, and the code with which the server closes.
    pub async fn hears_the_end(&mut self) -> (Vec<Heard>, u16) {
        let mut all = Vec::new();
        loop {
            match self.next().await {
                Some(Said::Frame(heard)) => all.push(heard),
                Some(Said::Closed(code)) => return (all, code),
                None => panic!("cut off without a goodbye after {all:?}"),
            }
        }
    }
}

/// A frame as the event that it is: kind, cursor, and the body that server-sent events have.
fn read(text: &str) -> Heard {
    let mut body: Value = serde_json::from_str(text).unwrap();
    let kind = body.as_object_mut().unwrap().remove("type").unwrap();
    Heard {
        kind: kind.as_str().unwrap().to_owned(),
        id: body["cursor"].as_str().unwrap_or_default().to_owned(),
        body,
    }
}
