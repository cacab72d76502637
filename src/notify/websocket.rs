//! `GET /v1/notices/ws`: a conversation over a WebSocket.
//!
//! The server writes `{"type":"snapshot|notice|gap|bye|error",…}`, the client
//! `{"type":"ack","cursor"}` and `{"type":"token","token"}`.
//!
//! # Why
//!
//! *The token as a subprotocol.* A browser sends no header of the page's with a handshake but the
//! subprotocols that it offers, and addresses are logged on the way. It insists that one of those
//! is chosen: `onrecord.v1`, so that the token is not sent back. Only if nothing else is offered is
//! it the token's.
//!
//! *Whoever cannot listen now is let in, and told.* A page sees no status of a handshake that
//! failed. So what another token or another moment would mend is said by `bye` and a close code.
//!
//! *What is wrong with a frame is answered, and the stream goes on:* an app that misspells a receipt
//! must not lose its notices by it. Whoever sends too much is cut off.

use std::time::Duration;

use axum::Error;
use axum::extract::rejection::QueryRejection;
use axum::extract::ws::rejection::WebSocketUpgradeRejection;
use axum::extract::ws::{CloseCode, CloseFrame, Message, WebSocketUpgrade, close_code};
use axum::extract::{Query, State};
use axum::http::{HeaderMap, HeaderValue};
use axum::response::Response;
use futures_util::{Sink, SinkExt as _, Stream, StreamExt as _};
use tokio::time::{Instant, MissedTickBehavior, interval_at, sleep_until, timeout};

use super::Notify;
use super::client_frame::{Allowance, ClientFrame, error_frame, not_text};
use super::conversation::{Conversation, End, Refusal};
use super::cursor::is_written_like_one;
use super::listening::{Asking, ReachQuery, reach_query};
use super::token::SubscriberTokens;
use crate::domain::notice_fact::Transport;
use crate::http::problem::{Problem, ProblemKind};

/// The subprotocol that is chosen.
const PROTOCOL: &str = "onrecord.v1";
/// And the one in which a token comes.
const TOKEN_PROTOCOL: &str = "onrecord.token.";

/// A ping so often keeps proxies from closing the connection, and shows whether the client lives.
const PING_EVERY: Duration = Duration::from_secs(15);
/// A client of which nothing came for so long, or that took nothing of a frame, is gone.
const SILENT_FOR: Duration = Duration::from_secs(45);
/// So long the client may take to say goodbye too.
const CLOSING: Duration = Duration::from_secs(2);

/// The largest frame of a client. A token is far below it.
const LARGEST: usize = 8 * 1024;
/// A larger frame is not even read to its end: we would not hear why.
const UNREADABLE: usize = 64 * 1024;
/// A client's frames are small; each connection has such a buffer.
const READ_BUFFER: usize = 4 * 1024;

/// The right to listen has ended.
const NO_RIGHT: CloseCode = 4401;
/// The client reads too slowly, or is silent.
const TOO_SLOW: CloseCode = 4408;

pub(super) async fn socket(
    State(notify): State<Notify>,
    headers: HeaderMap,
    query: Result<Query<ReachQuery>, QueryRejection>,
    upgrade: Result<WebSocketUpgrade, WebSocketUpgradeRejection>,
) -> Result<Response, Problem> {
    if !notify.origins.admit(&headers) {
        return Err(Problem::new(
            ProblemKind::Forbidden,
            "pages of this origin may not open a WebSocket here; [cors] origins lists those that may",
        ));
    }
    let query = reach_query(query)?;
    let mut upgrade = upgrade.map_err(|rejection| {
        let detail = format!("this resource speaks WebSocket: {}", rejection.body_text());
        Problem::new(ProblemKind::InvalidRequest, detail)
    })?;
    let protocols: Vec<HeaderValue> = upgrade.requested_protocols().cloned().collect();
    let token = protocols.iter().find(|it| token_in(it).is_some());
    if let Some(chosen) = protocols.iter().find(|it| **it == PROTOCOL).or(token) {
        upgrade.set_selected_protocol(chosen.clone());
    }
    let asking = Asking {
        offered: token.and_then(token_in),
        ..Asking::new(&headers, &query)
    };
    let begun = match Conversation::begin(&notify, &asking, Transport::Websocket).await {
        Ok(conversation) => Ok(conversation),
        Err(Refusal::Ends(end)) if asking.sees_no_status() => Err(end),
        Err(refusal) => return Err(refusal.into()),
    };
    // Nothing was told, so the client keeps the cursor that it came with.
    let cursor = asking.cursor().filter(|cursor| is_written_like_one(cursor));
    let cursor = cursor.map(str::to_owned);
    let stay = notify.lifecycle.stay();
    let upgrade = upgrade
        .read_buffer_size(READ_BUFFER)
        .write_buffer_size(0)
        .max_frame_size(UNREADABLE)
        .max_message_size(UNREADABLE);
    Ok(upgrade.on_upgrade(move |mut socket| {
        stay.of(async move {
            let last_word = match begun {
                Ok(conversation) => talk(&mut socket, conversation, &notify.tokens).await,
                Err(end) => {
                    let message = end.last_word(notify.board.told_through());
                    let bye = message.frame(cursor.as_deref());
                    let sent = send(&mut socket, Message::text(bye)).await;
                    sent.map(|()| LastWord::of(end))
                }
            };
            if let Ok(last_word) = last_word {
                part(&mut socket, last_word).await;
            }
        })
    }))
}

fn token_in(protocol: &HeaderValue) -> Option<&str> {
    protocol.to_str().ok()?.strip_prefix(TOKEN_PROTOCOL)
}

/// The client is not there any more.
#[derive(Debug, PartialEq, Eq)]
struct Gone;

/// What the close frame says.
#[derive(Debug, PartialEq, Eq)]
struct LastWord {
    code: CloseCode,
    reason: &'static str,
}

impl LastWord {
    const UNREADABLE: Self = Self {
        code: close_code::PROTOCOL,
        reason: "the frame cannot be read",
    };
    const TOO_LARGE: Self = Self {
        code: close_code::SIZE,
        reason: "a frame has at most 8 KiB",
    };
    const TOO_MUCH: Self = Self {
        code: close_code::POLICY,
        reason: "too many frames; send no more than you are sent, and one a second",
    };
    const SILENT: Self = Self {
        code: TOO_SLOW,
        reason: "nothing came from the client for 45 s",
    };

    fn of(end: End) -> Self {
        let code = match end {
            End::Stopping => close_code::AWAY,
            End::Full => close_code::AGAIN,
            End::TokenExpired | End::KeyRevoked => NO_RIGHT,
            End::TooSlow => TOO_SLOW,
        };
        let reason = end.reason();
        Self { code, reason }
    }
}

/// Speaks until one of both ends it.
async fn talk<S>(
    socket: &mut S,
    mut conversation: Conversation,
    tokens: &SubscriberTokens,
) -> Result<LastWord, Gone>
where
    S: Stream<Item = Result<Message, Error>> + Sink<Message, Error = Error> + Unpin,
{
    let mut heard = Instant::now();
    let mut allowance = Allowance::new(heard);
    let mut ping = interval_at(heard + PING_EVERY, PING_EVERY);
    ping.set_missed_tick_behavior(MissedTickBehavior::Delay);
    loop {
        tokio::select! {
            // Nobody is called silent whose frames are there; pings go out however much is told.
            biased;
            frame = socket.next() => {
                heard = Instant::now();
                let frame = match frame {
                    Some(Ok(frame)) => frame,
                    Some(Err(_)) => return Ok(LastWord::UNREADABLE),
                    None => return Err(Gone),
                };
                if !allowance.count(heard) {
                    return Ok(LastWord::TOO_MUCH);
                }
                if matches!(&frame, Message::Text(text) if text.len() > LARGEST) {
                    return Ok(LastWord::TOO_LARGE);
                }
                if let Err(problem) = take(&frame, &mut conversation, tokens) {
                    send(socket, Message::text(error_frame(&problem))).await?;
                }
            }
            _ = ping.tick() => {
                allowance.asks();
                send(socket, Message::Ping(bytes::Bytes::new())).await?;
            }
            said = conversation.next() => {
                let Some(said) = said else { return Err(Gone) };
                allowance.asks();
                send(socket, Message::text(said.message.frame(Some(&said.cursor)))).await?;
                if let Some(end) = said.end {
                    return Ok(LastWord::of(end));
                }
            }
            () = sleep_until(heard + SILENT_FOR) => {
                return Ok(LastWord::SILENT);
            }
        }
    }
}

/// Does what a client's frame asks for.
fn take(
    frame: &Message,
    conversation: &mut Conversation,
    tokens: &SubscriberTokens,
) -> Result<(), Problem> {
    let text = match frame {
        Message::Text(text) => text,
        Message::Binary(_) => return Err(not_text()),
        // A ping and a goodbye are answered by themselves.
        Message::Ping(_) | Message::Pong(_) | Message::Close(_) => return Ok(()),
    };
    match ClientFrame::read(text.as_bytes())? {
        ClientFrame::Ack { cursor } => conversation.took(&cursor),
        ClientFrame::Token { token } => conversation.renew(tokens, &token),
    }
}

async fn send<S>(socket: &mut S, frame: Message) -> Result<(), Gone>
where
    S: Sink<Message, Error = Error> + Unpin,
{
    match timeout(SILENT_FOR, socket.send(frame)).await {
        Ok(Ok(())) => Ok(()),
        Ok(Err(_)) | Err(_) => Err(Gone),
    }
}

/// Closes, and waits a moment until the client has taken it.
async fn part<S>(socket: &mut S, LastWord { code, reason }: LastWord)
where
    S: Stream<Item = Result<Message, Error>> + Sink<Message, Error = Error> + Unpin,
{
    let reason = reason.into();
    let goodbye = async {
        let close = Message::Close(Some(CloseFrame { code, reason }));
        if socket.send(close).await.is_ok() {
            while let Some(Ok(_)) = socket.next().await {}
        }
    };
    // Whoever does not answer is cut off.
    let _ = timeout(CLOSING, goodbye).await;
}

#[cfg(test)]
mod tests;
