//! `GET /v1/notices/ws`: a stream over a WebSocket.
//!
//! The server writes `{"type":"snapshot|notice|gap|bye|beat|error",…}`, the client
//! `{"type":"ack","cursor"}` and `{"type":"token","token"}`.
//!
//! # Why
//!
//! *The token as a subprotocol.* A page cannot set headers of a handshake except the subprotocols
//! that it offers, and proxies log the address. A browser requires that the server selects one of
//! them: `onrecord.v1`, so that the token is not returned. If the token is the only one offered, it
//! is selected.
//!
//! *`bye` instead of an error status.* A page cannot see the status of a handshake that failed. So
//! a request that could succeed with another token or a moment later is upgraded, and receives
//! `bye` and a close code.
//!
//! *An invalid frame is answered by an error, and the stream continues:* an app that misspells a
//! receipt must not lose its notices. A client that sends too many frames is disconnected.

use std::time::Duration;

use axum::Error;
use axum::extract::State;
use axum::extract::ws::rejection::WebSocketUpgradeRejection;
use axum::extract::ws::{CloseCode, CloseFrame, Message, WebSocketUpgrade, close_code};
use axum::http::{HeaderMap, HeaderValue};
use axum::response::Response;
use futures_util::{Sink, SinkExt as _, Stream, StreamExt as _};
use tokio::time::{Instant, MissedTickBehavior, interval_at, sleep_until, timeout};

use super::client_frame::{ClientFrame, FrameBudget, error_frame};
use super::close_reason::{CloseReason, SubscribeError};
use super::cursor::is_well_formed;
use super::stream_session::{BEAT_INTERVAL, StreamContext, StreamSession};
use super::subscription::{ScopeQuery, SubscribeRequest};
use crate::http::auth::bearer_token;
use crate::http::body::{self, QueryParameters};
use crate::http::problem::{Problem, ProblemKind};
use crate::http::subscriber_token::SubscriberTokens;
use crate::openapi::named_schemas::ServerFrameSchema;
use crate::openapi::problem_sets::{LimitProblems, TokenProblems};
use onrecord_evidence::notice::notice_fact::Transport;

/// The subprotocol that is selected.
const PROTOCOL: &str = "onrecord.v1";
/// Prefix of the subprotocol that contains the token.
const TOKEN_PROTOCOL: &str = "onrecord.token.";

/// Timeout of the next frame of the client, and of the write of a frame.
const CLIENT_TIMEOUT: Duration = Duration::from_secs(45);
/// Timeout of the close handshake.
const CLOSE_TIMEOUT: Duration = Duration::from_secs(2);

/// Maximum size of a frame of a client, in bytes. A token is far smaller.
const MAX_FRAME_BYTES: usize = 8 * 1024;
/// Maximum size of a frame that is read, in bytes. A larger frame ends the connection as
/// unreadable; one between the two limits is closed with the reason.
const MAX_READ_BYTES: usize = 64 * 1024;
/// Size of the read buffer of each connection, in bytes. The frames of clients are small.
const READ_BUFFER_BYTES: usize = 4 * 1024;

/// Close code: the authorization has ended.
const UNAUTHORIZED: CloseCode = 4401;
/// Close code: the token does not grant the call.
const NOT_GRANTED: CloseCode = 4403;
/// Close code: the client reads too slowly, or sends nothing.
const TIMED_OUT: CloseCode = 4408;

/// Streams notices over a WebSocket.
///
/// The same messages as the server-sent events, each a text frame; the client sends `ack` and
/// `token` frames (`docs/asyncapi.yaml` describes both). A page offers the subprotocols
/// `onrecord.v1` and `onrecord.token.` followed by its subscriber token.
#[utoipa::path(
    get,
    path = "/v1/notices/ws",
    operation_id = "connectWebSocket",
    tag = "clients",
    security(("subscriber_token" = []), ("subscriber_token_query" = []), ("subscriber_token_protocol" = []), ("api_key" = ["app", "analyst", "auditor", "admin"])),
    params(
        ScopeQuery,
        ("upgrade" = String, Header, description = "`websocket`."),
        ("connection" = String, Header, description = "`Upgrade`."),
        ("sec-websocket-version" = String, Header, description = "`13`."),
        ("sec-websocket-key" = String, Header, description = "The key of the handshake (RFC 6455)."),
    ),
    responses(
        (status = 101, description = "The connection is a WebSocket.", content_type = "application/json", item_schema = ServerFrameSchema),
        TokenProblems,
        LimitProblems,
    ),
)]
pub(crate) async fn socket(
    State(context): State<StreamContext>,
    headers: HeaderMap,
    query: Result<QueryParameters<ScopeQuery>, Problem>,
    upgrade: Result<WebSocketUpgrade, WebSocketUpgradeRejection>,
) -> Result<Response, Problem> {
    // A page cannot set the header. If its credential is not valid, the handshake is rejected.
    let is_page = bearer_token(&headers).is_none();
    if is_page && !context.origins.allows(&headers) {
        return Err(Problem::new(
            ProblemKind::Forbidden,
            "pages of this origin may not open a WebSocket here; [cors] origins lists those that may, and a client that is no page sends its token as `Authorization: Bearer …`",
        ));
    }
    let QueryParameters(query) = query?;
    let mut upgrade = upgrade.map_err(|rejection| {
        let detail =
            format!("this resource requires a WebSocket handshake: {}", rejection.body_text());
        Problem::new(ProblemKind::InvalidRequest, detail)
    })?;
    let protocols: Vec<HeaderValue> = upgrade.requested_protocols().cloned().collect();
    let token = protocols.iter().find(|it| token_in(it).is_some());
    if let Some(selected) = protocols.iter().find(|it| **it == PROTOCOL).or(token) {
        upgrade.set_selected_protocol(selected.clone());
    }
    let request = SubscribeRequest {
        handshake_token: token.and_then(token_in),
        ..SubscribeRequest::new(&headers, &query)
    };
    let opened = match StreamSession::open(&context, &request, Transport::Websocket).await {
        Ok(session) => Ok(session),
        Err(SubscribeError::Closed(reason)) if request.is_status_hidden() => Err(reason),
        Err(error) => return Err(error.into()),
    };
    // A client that receives only `bye` keeps its cursor.
    let cursor = request.cursor().filter(|cursor| is_well_formed(cursor));
    let cursor = cursor.map(str::to_owned);
    let hold = context.lifecycle.hold_shutdown();
    let upgrade = upgrade
        .read_buffer_size(READ_BUFFER_BYTES)
        .write_buffer_size(0)
        .max_frame_size(MAX_READ_BYTES)
        .max_message_size(MAX_READ_BYTES);
    Ok(upgrade.on_upgrade(move |mut socket| {
        hold.run(async move {
            let closing = match opened {
                Ok(session) => run(&mut socket, session, &context.access.tokens).await,
                Err(reason) => {
                    let message = reason.last_message(context.live_calls.announced_through());
                    let bye = message.frame(cursor.as_deref());
                    let sent = send(&mut socket, Message::text(bye)).await;
                    sent.map(|()| ClosingFrame::of(reason))
                }
            };
            if let Ok(closing) = closing {
                close(&mut socket, closing).await;
            }
        })
    }))
}

fn token_in(protocol: &HeaderValue) -> Option<&str> {
    protocol.to_str().ok()?.strip_prefix(TOKEN_PROTOCOL)
}

/// The connection has ended.
#[derive(Debug, PartialEq, Eq)]
struct SocketGone;

/// The content of the close frame.
#[derive(Debug, PartialEq, Eq)]
struct ClosingFrame {
    code: CloseCode,
    reason: &'static str,
}

impl ClosingFrame {
    const UNREADABLE: Self =
        Self { code: close_code::PROTOCOL, reason: "the frame cannot be read" };
    const TOO_LARGE: Self = Self { code: close_code::SIZE, reason: "a frame has at most 8 KiB" };
    const TOO_MANY: Self = Self {
        code: close_code::POLICY,
        reason: "too many frames; send no more than you are sent, and one a second",
    };
    const NO_FRAMES: Self =
        Self { code: TIMED_OUT, reason: "nothing came from the client for 45 s" };

    fn of(reason: CloseReason) -> Self {
        let code = match reason {
            CloseReason::Stopping => close_code::AWAY,
            CloseReason::Full(_) | CloseReason::Replaced => close_code::AGAIN,
            CloseReason::TokenExpired | CloseReason::TokenRevoked | CloseReason::KeyRevoked => {
                UNAUTHORIZED
            }
            CloseReason::NotGranted(_) => NOT_GRANTED,
            CloseReason::TooSlow => TIMED_OUT,
        };
        let reason = reason.sentence();
        Self { code, reason }
    }
}

/// A WebSocket; in tests another implementation.
trait FrameSocket:
    Stream<Item = Result<Message, Error>> + Sink<Message, Error = Error> + Unpin
{
}

impl<S> FrameSocket for S where
    S: Stream<Item = Result<Message, Error>> + Sink<Message, Error = Error> + Unpin
{
}

/// Runs a stream until the client or the server ends it.
async fn run(
    socket: &mut impl FrameSocket,
    mut session: StreamSession,
    tokens: &SubscriberTokens,
) -> Result<ClosingFrame, SocketGone> {
    let mut last_frame_at = Instant::now();
    let mut budget = FrameBudget::new(last_frame_at);
    let mut beat = interval_at(last_frame_at + BEAT_INTERVAL, BEAT_INTERVAL);
    beat.set_missed_tick_behavior(MissedTickBehavior::Delay);
    loop {
        tokio::select! {
            // Received frames come before the timeout that they prevent, and beats before messages,
            // so that many messages do not delay them.
            biased;
            frame = socket.next() => {
                last_frame_at = Instant::now();
                let frame = match frame {
                    Some(Ok(frame)) => frame,
                    Some(Err(_)) => return Ok(ClosingFrame::UNREADABLE),
                    None => return Err(SocketGone),
                };
                if !budget.count_received(last_frame_at) {
                    return Ok(ClosingFrame::TOO_MANY);
                }
                if matches!(&frame, Message::Text(text) if text.len() > MAX_FRAME_BYTES) {
                    return Ok(ClosingFrame::TOO_LARGE);
                }
                if let Err(problem) = apply(&frame, &mut session, tokens) {
                    send(socket, Message::text(error_frame(&problem))).await?;
                }
            }
            _ = beat.tick() => {
                // The ping detects a dead client: a page does not see it, and its browser answers it.
                // The beat is what a page sees.
                budget.count_sent();
                send(socket, Message::Ping(bytes::Bytes::new())).await?;
                if let Some(beat) = session.beat() {
                    budget.count_sent();
                    send(socket, Message::text(beat.message.frame(Some(&beat.cursor)))).await?;
                }
            }
            outgoing = session.next() => {
                let Some(outgoing) = outgoing else { return Err(SocketGone) };
                budget.count_sent();
                let frame = outgoing.message.frame(Some(&outgoing.cursor));
                send(socket, Message::text(frame)).await?;
                if let Some(reason) = outgoing.close {
                    return Ok(ClosingFrame::of(reason));
                }
            }
            () = sleep_until(last_frame_at + CLIENT_TIMEOUT) => {
                return Ok(ClosingFrame::NO_FRAMES);
            }
        }
    }
}

/// Applies a frame of the client to its stream.
fn apply(
    frame: &Message,
    session: &mut StreamSession,
    tokens: &SubscriberTokens,
) -> Result<(), Problem> {
    let text = match frame {
        Message::Text(text) => text,
        Message::Binary(_) => {
            return Err(Problem::new(
                ProblemKind::InvalidRequest,
                "a frame is text: a JSON object with type ack or token",
            ));
        }
        // axum answers pings and close frames.
        Message::Ping(_) | Message::Pong(_) | Message::Close(_) => return Ok(()),
    };
    match body::parse::<ClientFrame>(text.as_bytes())? {
        ClientFrame::Ack { cursor } => session.confirm(&cursor),
        ClientFrame::Token { token } => session.renew(tokens, &token),
    }
}

async fn send(socket: &mut impl FrameSocket, frame: Message) -> Result<(), SocketGone> {
    match timeout(CLIENT_TIMEOUT, socket.send(frame)).await {
        Ok(Ok(())) => Ok(()),
        Ok(Err(_)) | Err(_) => Err(SocketGone),
    }
}

/// Sends a close frame and waits for that of the client.
async fn close(socket: &mut impl FrameSocket, ClosingFrame { code, reason }: ClosingFrame) {
    let reason = reason.into();
    let close_handshake = async {
        let frame = Message::Close(Some(CloseFrame { code, reason }));
        if socket.send(frame).await.is_ok() {
            while let Some(Ok(_)) = socket.next().await {}
        }
    };
    // After the timeout the connection ends without the close frame of the client.
    let _ = timeout(CLOSE_TIMEOUT, close_handshake).await;
}

#[cfg(test)]
mod tests;
