//! `GET /v1/notices/stream`: server-sent events.
//!
//! The snapshot first, then changes. A stream opens before its call is known and binds when the
//! attachment or serverCallId is. It ends by `bye` when we stop or the token expires, and by `gap`
//! when the client read too slowly; the cursor brings it back.

use std::convert::Infallible;
use std::time::Duration;

use axum::extract::rejection::QueryRejection;
use axum::extract::{Query, State};
use axum::http::{HeaderMap, HeaderValue, header};
use axum::response::sse::{Event, Sse};
use axum::response::{IntoResponse, Response};
use futures_util::future::BoxFuture;
use futures_util::stream;
use serde::Deserialize;
use tokio::sync::mpsc;
use tokio_util::sync::CancellationToken;
use uuid::Uuid;

use super::Notify;
use super::board::{Board, Opening};
use super::cursor::CursorPen;
use super::listener::{ListenerId, Reach};
use super::message::Message;
use super::report::subscriber;
use crate::clock;
use crate::domain::alias::Anchor;
use crate::domain::ids::{self, Digest, Tenant};
use crate::domain::instant::Millis;
use crate::failpoint;
use crate::http::access::{KEY_PREFIX, KeyBook, bearer};
use crate::http::problem::{Problem, ProblemKind};
use crate::store::Role;

/// A comment so often keeps proxies from closing the connection, and brings the cursor up to date:
/// an event without data is none, but a browser keeps its id.
const COMMENT_EVERY: Duration = Duration::from_secs(15);

/// Which calls, and from where on.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct ReachQuery {
    attachment: Option<String>,
    server_call_id: Option<String>,
    /// Any id of a call; with an API key.
    call: Option<String>,
    last_event_id: Option<String>,
    /// A subscriber token, for `EventSource`, which cannot send headers.
    token: Option<String>,
}

/// A misspelt member would be lost silently, and with an API key the stream be that of a tenant.
pub(super) fn reach_query(
    query: Result<Query<ReachQuery>, QueryRejection>,
) -> Result<ReachQuery, Problem> {
    match query {
        Ok(Query(query)) => Ok(query),
        Err(rejection) => Err(Problem::invalid("query", rejection.body_text())),
    }
}

/// Who listens, to what, and by what right.
pub(super) struct Listening {
    pub tenant: Tenant,
    pub reach: Reach,
    by: Credential,
}

/// A stream ends with the right to it.
enum Credential {
    /// An API key, by its hash: until it is revoked.
    Key(Digest),
    /// A subscriber token: until it expires, in seconds since 1970.
    Token { until: i64 },
}

/// Finds out who asks and what they may hear.
pub(super) async fn listening(
    notify: &Notify,
    headers: &HeaderMap,
    query: &ReachQuery,
) -> Result<Listening, Problem> {
    let token = bearer(headers).or(query.token.as_deref());
    if token.is_none_or(|token| token.starts_with(KEY_PREFIX)) {
        // Keys are not taken from the query: they live long, and addresses are logged on the way.
        let caller = notify.keys.caller(headers).await?;
        caller.must_be(&[Role::App, Role::Analyst, Role::Auditor])?;
        let anchors = match (&query.attachment, &query.server_call_id, &query.call) {
            (Some(attachment), None, None) => vec![Anchor::attachment(&attachment_id(attachment)?)],
            (None, Some(id), None) => vec![Anchor::server(&server_call_id(id)?)],
            (None, None, Some(call)) => any_anchor(call),
            (None, None, None) => Vec::new(),
            _ => return Err(only_one()),
        };
        let reach = if anchors.is_empty() {
            Reach::Everything
        } else {
            let person = None;
            Reach::Call { anchors, person }
        };
        return Ok(Listening {
            tenant: caller.tenant,
            reach,
            by: Credential::Key(caller.key),
        });
    }
    let subscriber = subscriber(notify, token)?;
    let reach = match (&query.attachment, &query.server_call_id, &query.call) {
        (Some(attachment), None, None) => Reach::Attachment {
            attachment: attachment_id(attachment)?,
            person: subscriber.sub,
        },
        (None, Some(id), None) => Reach::Call {
            anchors: vec![Anchor::server(&server_call_id(id)?)],
            person: Some(subscriber.sub),
        },
        (None, None, None) => Reach::Person(subscriber.sub),
        (None, None, Some(_)) => {
            return Err(Problem::new(
                ProblemKind::Forbidden,
                "call=… needs an API key; with a subscriber token name attachment=… or server_call_id=…",
            ));
        }
        _ => return Err(only_one()),
    };
    Ok(Listening {
        tenant: subscriber.tenant,
        reach,
        by: Credential::Token {
            until: subscriber.exp,
        },
    })
}

fn only_one() -> Problem {
    Problem::invalid(
        "attachment",
        "name the call by one of attachment, server_call_id and call",
    )
}

fn attachment_id(text: &str) -> Result<String, Problem> {
    let id = Uuid::try_parse(text).map_err(|_| {
        Problem::invalid(
            "attachment",
            "an attachment is the UUID under which the client reports",
        )
    })?;
    Ok(id.hyphenated().to_string())
}

fn server_call_id(text: &str) -> Result<String, Problem> {
    ids::server_call_id(text).ok_or_else(|| Problem::invalid("server_call_id", "this is no serverCallId (a real one has some 200 characters); percent-encode it in a query"))
}

/// Everything that a text may name: which of it there is may be known only later.
fn any_anchor(text: &str) -> Vec<Anchor> {
    let candidates = Anchor::candidates(text);
    if candidates.is_empty() {
        return vec![Anchor::correlation(text)];
    }
    candidates
}

pub(super) async fn stream(
    State(notify): State<Notify>,
    headers: HeaderMap,
    query: Result<Query<ReachQuery>, QueryRejection>,
) -> Result<Response, Problem> {
    let query = reach_query(query)?;
    let Listening { tenant, reach, by } = listening(&notify, &headers, &query).await?;
    if notify.lifecycle.is_stopping() {
        return Err(Problem::try_again(
            "this node is shutting down",
            Duration::from_secs(1),
        ));
    }
    let pen = CursorPen::new(&notify.tokens, &notify.board.incarnation(), &tenant, &reach);
    let last = headers
        .get("last-event-id")
        .and_then(|value| value.to_str().ok())
        .or(query.last_event_id.as_deref())
        .filter(|last| !last.is_empty());
    // A cursor that is not of this stream asks for everything there is to know: gap, then level.
    let since = last.map(|last| pen.read(last).unwrap_or(0));
    let now = clock::now_ms();
    let opening = notify
        .board
        .listen(&tenant, reach, since, now)
        .map_err(|_| {
            Problem::try_again(
                "this node serves as many streams as it may",
                Duration::from_secs(5),
            )
        })?;
    let Opening { id, messages } = opening;
    let conversation = Conversation {
        guard: Guard {
            board: notify.board.clone(),
            tenant,
            id,
        },
        messages,
        pen,
        soft: notify.lifecycle.soft().clone(),
        end: Box::pin(end_of(by, notify.keys.clone(), now)),
        comment: tokio::time::interval_at(
            tokio::time::Instant::now() + COMMENT_EVERY,
            COMMENT_EVERY,
        ),
        over: false,
    };
    let events = stream::unfold(conversation, |mut conversation| async move {
        let event = conversation.next().await?;
        Some((Ok::<_, Infallible>(event), conversation))
    });
    let mut response = Sse::new(events).into_response();
    let headers = response.headers_mut();
    headers.insert(header::CACHE_CONTROL, HeaderValue::from_static("no-store"));
    // nginx and its like buffer otherwise.
    headers.insert("x-accel-buffering", HeaderValue::from_static("no"));
    Ok(response)
}

/// Takes the listener off the board, however the stream ends.
struct Guard {
    board: Board,
    tenant: Tenant,
    id: ListenerId,
}

impl Drop for Guard {
    fn drop(&mut self) {
        self.board.forget_listener(&self.tenant, self.id);
    }
}

/// Ends with the right to listen; gives the reason.
async fn end_of(by: Credential, keys: KeyBook, now: Millis) -> &'static str {
    match by {
        Credential::Key(key) => {
            keys.revoked(key).await;
            "the API key was revoked"
        }
        Credential::Token { until } => {
            let left = u64::try_from(until * 1000 - now).unwrap_or(0);
            tokio::time::sleep(Duration::from_millis(left)).await;
            "the subscriber token has expired; come back with another one and the cursor"
        }
    }
}

struct Conversation {
    guard: Guard,
    messages: mpsc::Receiver<Message>,
    pen: CursorPen,
    soft: CancellationToken,
    end: BoxFuture<'static, &'static str>,
    comment: tokio::time::Interval,
    over: bool,
}

impl Conversation {
    async fn next(&mut self) -> Option<Event> {
        // The message before this one is the connection's.
        failpoint::reached("notice-yielded");
        if self.over {
            return None;
        }
        let board = self.guard.board.clone();
        let bye = |reason: &str| Message::bye(reason, board.told_through(), clock::now_ms());
        let last_word = loop {
            tokio::select! {
                // What is queued is told before the end is.
                biased;
                message = self.messages.recv() => match message {
                    Some(message) => return Some(self.write(&message)),
                    // The board dropped us: too much was waiting for too long.
                    None => break Message::gap("this stream was read too slowly and is closed; come back with the cursor", board.told_through(), clock::now_ms()),
                },
                () = self.soft.cancelled() => break bye("the server is shutting down; come back with the cursor"),
                reason = &mut self.end => break bye(reason),
                _ = self.comment.tick() => {
                    let at = board.told_through();
                    // What was told by then and is not yet written would be skipped by this cursor.
                    if self.messages.is_empty() {
                        return Some(Event::default().id(self.pen.write(at)).comment(""));
                    }
                }
            }
        };
        self.over = true;
        Some(self.write(&last_word))
    }

    fn write(&self, message: &Message) -> Event {
        let cursor = self.pen.write(message.at);
        Event::default()
            .event(message.kind.as_str())
            .id(&cursor)
            .data(message.with_cursor(&cursor))
    }
}
