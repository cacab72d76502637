//! What a listener is told, with which cursor, and when and why it ends; whatever carries it.
//!
//! The snapshot first, then changes. A conversation begins before its call is known and binds when
//! the attachment or serverCallId is. It ends by `bye` when we stop or the right to it ends, and by
//! `gap` when the client read too slowly; the cursor brings it back.
//!
//! # Why
//!
//! Server-sent events and WebSocket differ in how words are written, in what keeps a connection
//! alive, and in what a client may say. Everything else is decided here, once, so that neither can
//! tell more, or last longer, than the other.

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::Duration;

use futures_util::future::BoxFuture;
use tokio_util::sync::CancellationToken;

use super::Notify;
use super::board::{Board, NoPlace, Opening};
use super::clerk::{Clerk, Hearer};
use super::cursor::CursorPen;
use super::listener::ListenerId;
use super::listening::{Asking, Listening, Right, listening};
use super::message::{Kind, Message};
use super::queue::Ear;
use super::stated::Stated;
use super::token::{SubscriberTokens, TokenError};
use crate::clock;
use crate::domain::ids::Tenant;
use crate::domain::instant::Millis;
use crate::domain::notice_fact::Transport;
use crate::http::access::KeyBook;
use crate::http::problem::{Problem, ProblemKind};

/// A receipt speaks for so many messages at most.
const MOST_UNTAKEN: usize = 64;

/// Why a conversation ends, or does not begin although the client did nothing wrong.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum End {
    /// This node stops.
    Stopping,
    /// This node has no place left.
    Full,
    TokenExpired,
    KeyRevoked,
    /// Too much was waiting for too long.
    TooSlow,
}

impl End {
    /// A sentence for the client.
    pub fn reason(self) -> &'static str {
        match self {
            Self::Stopping => "the server is shutting down; come back with the cursor",
            Self::Full => "this node serves as many streams as it may; come back in a while",
            Self::TokenExpired => {
                "the subscriber token has expired; come back with another one and the cursor"
            }
            Self::KeyRevoked => "the API key was revoked",
            Self::TooSlow => {
                "this stream was read too slowly and is closed; come back with the cursor"
            }
        }
    }

    /// The last word of a conversation.
    pub fn last_word(self, at: Millis) -> Message {
        let now = clock::now_ms();
        match self {
            Self::TooSlow => Message::gap(self.reason(), at, now),
            _ => Message::bye(self.reason(), at, now),
        }
    }
}

/// Why no conversation begins.
pub(super) enum Refusal {
    /// It would have to end at once.
    Ends(End),
    /// The question or the credential is wrong.
    Wrong(Problem),
}

impl From<Problem> for Refusal {
    fn from(problem: Problem) -> Self {
        Self::Wrong(problem)
    }
}

impl From<Refusal> for Problem {
    fn from(refusal: Refusal) -> Self {
        let end = match refusal {
            Refusal::Wrong(problem) => return problem,
            Refusal::Ends(end) => end,
        };
        match end {
            End::TokenExpired => {
                Self::new(ProblemKind::Unauthorized, TokenError::Expired.to_string())
            }
            End::KeyRevoked => Self::new(ProblemKind::Unauthorized, end.reason()),
            End::Stopping => Self::try_again(end.reason(), Duration::from_secs(1)),
            End::Full | End::TooSlow => Self::try_again(end.reason(), Duration::from_secs(5)),
        }
    }
}

/// One word of a conversation, to be written out.
pub(super) struct Said {
    pub message: Message,
    pub cursor: String,
    /// It is the last one.
    pub end: Option<End>,
}

/// One listener and what it is told.
pub(super) struct Conversation {
    seat: Seat,
    ear: Ear,
    pen: CursorPen,
    /// Is cancelled when the stop begins, before the board drops everybody.
    soft: CancellationToken,
    right: Right,
    /// Ends with the right.
    lapses: BoxFuture<'static, End>,
    clerk: Clerk,
    /// Whom it tells; `None`: nobody who takes part in a call.
    hearer: Option<Arc<Hearer>>,
    /// What was stated last.
    stated: Option<Arc<Stated>>,
    /// What was handed to the connection, which has not asked for more since.
    handed: Option<Arc<Stated>>,
    /// What was stated, and with which instant in its cursor, that the client has not said it took.
    /// Kept only where it can say so.
    untaken: Option<VecDeque<(Millis, Arc<Stated>)>>,
    /// The latest instant that a cursor of this conversation says, ms.
    told: Millis,
    over: bool,
}

/// Takes the listener off the board, however the conversation ends.
struct Seat {
    board: Board,
    tenant: Tenant,
    id: ListenerId,
}

impl Drop for Seat {
    fn drop(&mut self) {
        self.board.forget_listener(&self.tenant, self.id);
    }
}

impl Conversation {
    /// Begins one, if whoever asks may listen. A cursor that is not of this tenant, person, call
    /// and log asks for everything there is to know: gap, then level.
    pub async fn begin(
        notify: &Notify,
        asking: &Asking<'_>,
        transport: Transport,
    ) -> Result<Self, Refusal> {
        let listening = listening(notify, asking).await?;
        if notify.lifecycle.is_stopping() {
            return Err(Refusal::Ends(End::Stopping));
        }
        let lapses = lapse(&listening.right, &notify.keys);
        let soft = notify.lifecycle.soft().clone();
        let (board, tokens) = (&notify.board, &notify.tokens);
        let clerk = (notify.clerk.clone(), transport);
        Self::of(
            listening,
            asking.cursor(),
            lapses,
            board,
            tokens,
            soft,
            clerk,
        )
    }

    /// One that ends when `lapses` does, or when the board drops it: that is a stop if `soft` is
    /// cancelled.
    pub fn of(
        listening: Listening,
        cursor: Option<&str>,
        lapses: BoxFuture<'static, End>,
        board: &Board,
        tokens: &SubscriberTokens,
        soft: CancellationToken,
        (clerk, transport): (Clerk, Transport),
    ) -> Result<Self, Refusal> {
        let Listening {
            tenant,
            reach,
            right,
        } = listening;
        let pen = CursorPen::new(tokens, &board.incarnation(), &tenant, &reach);
        let hearer = Hearer::of(&tenant, &reach, transport).map(Arc::new);
        let returned = cursor.and_then(|cursor| pen.read(cursor));
        let since = cursor.map(|_| returned.as_ref().map_or(0, |told| told.at));
        let now = clock::now_ms();
        let opened = board.listen(&tenant, reach, since, now);
        let Opening { id, ear } = opened.map_err(|no_place| match no_place {
            NoPlace::Full => Refusal::Ends(End::Full),
            NoPlace::Closed => Refusal::Ends(End::Stopping),
        })?;
        let stated = returned.and_then(|told| told.stated).map(Arc::new);
        if let (Some(hearer), Some(stated)) = (&hearer, &stated) {
            clerk.took(hearer, Arc::clone(stated), now);
        }
        Ok(Self {
            seat: Seat {
                board: board.clone(),
                tenant,
                id,
            },
            ear,
            pen,
            soft,
            right,
            lapses,
            clerk,
            untaken: (hearer.is_some() && transport == Transport::Websocket).then(VecDeque::new),
            hearer,
            stated,
            handed: None,
            told: since.unwrap_or(0),
            over: false,
        })
    }

    /// What is said next; `None` after the last word. May be dropped and asked again.
    pub async fn next(&mut self) -> Option<Said> {
        // Whoever asks for more has written what they were given before.
        if let (Some(hearer), Some(stated)) = (&self.hearer, self.handed.take()) {
            self.clerk.dispatched(hearer, stated, clock::now_ms());
        }
        if self.over {
            return None;
        }
        let end = tokio::select! {
            // What is queued is told before the end is.
            biased;
            message = self.ear.next() => match message {
                // Here a message leaves the queue for the socket.
                Some(message) => return Some(self.say(message, None)),
                // The board dropped everybody, or us.
                None if self.soft.is_cancelled() => End::Stopping,
                None => End::TooSlow,
            },
            end = &mut self.lapses => end,
        };
        self.over = true;
        let last_word = end.last_word(self.seat.board.told_through());
        Some(self.say(last_word, Some(end)))
    }

    fn say(&mut self, message: Message, end: Option<End>) -> Said {
        if matches!(message.kind, Kind::Snapshot | Kind::Notice) {
            self.handed.clone_from(&message.stated);
            self.stated.clone_from(&message.stated);
            if let (Some(untaken), Some(stated)) = (&mut self.untaken, &message.stated) {
                untaken.push_back((message.at, stated.clone()));
                if untaken.len() > MOST_UNTAKEN {
                    untaken.pop_front();
                }
            }
        }
        Said {
            cursor: self.write(message.at),
            message,
            end,
        }
    }

    fn write(&mut self, at: Millis) -> String {
        self.told = self.told.max(at);
        // A cursor without a hearer proves nothing of anybody.
        let stated = self.stated.as_deref().filter(|_| self.hearer.is_some());
        self.pen.write(at, stated)
    }

    /// A cursor that says how far everything was told, though nothing is to be said. `None`: there
    /// is, and this cursor would skip it.
    pub fn cursor(&mut self) -> Option<String> {
        let at = self.seat.board.told_through();
        self.ear.is_empty().then(|| self.write(at))
    }

    /// The client states that it took everything through a cursor.
    ///
    /// # Errors
    ///
    /// This conversation has not said that cursor: it is no receipt.
    pub fn took(&mut self, cursor: &str) -> Result<(), Problem> {
        let told = self.pen.read(cursor).filter(|told| told.at <= self.told);
        let told = told.ok_or_else(|| {
            Problem::invalid(
                "/cursor",
                "acknowledge a cursor that came with a message of this stream",
            )
        })?;
        let (Some(hearer), Some(stated)) = (&self.hearer, told.stated) else {
            return Ok(());
        };
        let now = clock::now_ms();
        if let Some(untaken) = &mut self.untaken {
            let is_it = |it: &(Millis, Arc<Stated>)| it.0 == told.at && it.1.is(&stated);
            let last = untaken.iter().rposition(is_it);
            for (_, earlier) in untaken.drain(..last.map_or(0, |last| last + 1)) {
                self.clerk.took(hearer, earlier, now);
            }
        }
        // It may be a cursor of an earlier conversation, or too much was said since.
        self.clerk.took(hearer, Arc::new(stated), now);
        Ok(())
    }

    /// Goes on under another token of the same person, if that one lives longer.
    ///
    /// # Errors
    ///
    /// The token is no use here; the old one goes on.
    pub fn renew(&mut self, tokens: &SubscriberTokens, token: &str) -> Result<(), Problem> {
        let Right::Token { sub, until } = &mut self.right else {
            return Err(Problem::new(
                ProblemKind::Forbidden,
                "this stream was opened with an API key, and goes on with it",
            ));
        };
        let subscriber = tokens
            .check(token, clock::now_ms() / 1000)
            .map_err(|error| {
                Problem::new(
                    ProblemKind::Unauthorized,
                    format!("{error}; the stream goes on under the old token"),
                )
            })?;
        if subscriber.tenant != self.seat.tenant || subscriber.sub != *sub {
            return Err(Problem::new(
                ProblemKind::Forbidden,
                "this token is another participant's; the stream goes on under the old one",
            ));
        }
        if subscriber.exp > *until {
            *until = subscriber.exp;
            self.lapses = Box::pin(expiry(subscriber.exp));
        }
        Ok(())
    }
}

/// Ends with the right to listen.
fn lapse(right: &Right, keys: &KeyBook) -> BoxFuture<'static, End> {
    match right {
        Right::Key(key) => {
            let (keys, key) = (keys.clone(), *key);
            Box::pin(async move {
                keys.revoked(key).await;
                End::KeyRevoked
            })
        }
        Right::Token { until, .. } => Box::pin(expiry(*until)),
    }
}

/// Ends when a token expires, in seconds since 1970.
pub(super) async fn expiry(until: i64) -> End {
    let left = until.saturating_mul(1000).saturating_sub(clock::now_ms());
    tokio::time::sleep(Duration::from_millis(u64::try_from(left).unwrap_or(0))).await;
    End::TokenExpired
}
