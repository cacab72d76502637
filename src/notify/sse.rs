//! `GET /v1/notices/stream`: a conversation as server-sent events.
//!
//! # Why
//!
//! A browser's `EventSource` gives up for ever on any answer but 200, and shows the page no status:
//! a page whose token has expired overnight would go blind without a word. So whoever comes with
//! the token in the query, and could listen with another token or a moment later, is answered 200
//! and `bye`. A token that is none of ours is refused as ever.
//!
//! An event is written as one piece: ten thousand listeners of one call have ten thousand of them
//! written at each change, and axum's own `Event` looks at every byte of each several times.

use std::convert::Infallible;
use std::time::Duration;

use axum::body::{Body, Bytes};
use axum::extract::rejection::QueryRejection;
use axum::extract::{Query, State};
use axum::http::{HeaderMap, HeaderValue, header};
use axum::response::Response;
use futures_util::stream::{self, Stream};

use super::Notify;
use super::conversation::{Conversation, End, Refusal, Said};
use super::cursor::is_written_like_one;
use super::listening::{Asking, ReachQuery, reach_query};
use super::message::Message;
use crate::domain::notice_fact::Transport;
use crate::failpoint;
use crate::http::problem::Problem;

/// A comment so often keeps proxies from closing the connection, and brings the cursor up to date:
/// an event without data is none, but a browser keeps its id.
const COMMENT_EVERY: Duration = Duration::from_secs(15);

/// A browser whose page does not close a stream after `bye` comes back by itself, but not sooner.
const COME_BACK_AFTER: Duration = Duration::from_secs(15);

pub(super) async fn stream(
    State(notify): State<Notify>,
    headers: HeaderMap,
    query: Result<Query<ReachQuery>, QueryRejection>,
) -> Result<Response, Problem> {
    let query = reach_query(query)?;
    let asking = Asking::new(&headers, &query);
    match Conversation::begin(&notify, &asking, Transport::Sse).await {
        Ok(conversation) => Ok(answer(events(conversation))),
        Err(Refusal::Ends(end)) if asking.sees_no_status() => {
            let bye = farewell(&notify, end, asking.cursor());
            Ok(answer(stream::iter([Ok::<_, Infallible>(bye)])))
        }
        Err(refusal) => Err(refusal.into()),
    }
}

fn answer<S>(events: S) -> Response
where
    S: Stream<Item = Result<Bytes, Infallible>> + Send + 'static,
{
    let mut response = Response::new(Body::from_stream(events));
    let headers = response.headers_mut();
    headers.insert(
        header::CONTENT_TYPE,
        HeaderValue::from_static("text/event-stream"),
    );
    headers.insert(header::CACHE_CONTROL, HeaderValue::from_static("no-store"));
    // nginx and its like buffer otherwise.
    headers.insert("x-accel-buffering", HeaderValue::from_static("no"));
    response
}

/// The only event of a stream that ends before it begins. The client keeps the cursor that it came
/// with: it was told nothing.
fn farewell(notify: &Notify, end: End, cursor: Option<&str>) -> Bytes {
    let cursor = cursor.filter(|cursor| is_written_like_one(cursor));
    let message = end.last_word(notify.board.told_through());
    let mut text = event(&message, cursor);
    // A line before the empty one that ends the event.
    text.pop();
    text.push_str(&format!("retry: {}\n\n", COME_BACK_AFTER.as_millis()));
    text.into()
}

fn events(conversation: Conversation) -> impl Stream<Item = Result<Bytes, Infallible>> + Send {
    let comment =
        tokio::time::interval_at(tokio::time::Instant::now() + COMMENT_EVERY, COMMENT_EVERY);
    stream::unfold(
        (conversation, comment),
        |(mut conversation, mut comment)| async move {
            let event = next(&mut conversation, &mut comment).await?;
            Some((Ok(event), (conversation, comment)))
        },
    )
}

async fn next(
    conversation: &mut Conversation,
    comment: &mut tokio::time::Interval,
) -> Option<Bytes> {
    // The message before this one is the connection's.
    failpoint::reached("notice-yielded");
    loop {
        tokio::select! {
            biased;
            said = conversation.next() => return said.map(|said| write(&said).into()),
            _ = comment.tick() => {
                if let Some(cursor) = conversation.cursor() {
                    return Some(format!("id: {cursor}\n:\n\n").into());
                }
            }
        }
    }
}

fn write(said: &Said) -> String {
    event(&said.message, Some(&said.cursor))
}

/// The text of an event. Neither a body, which is JSON, nor a cursor has the end of a line in it.
fn event(message: &Message, cursor: Option<&str>) -> String {
    let cursors = 2 * cursor.map_or(0, str::len);
    let mut text = String::with_capacity(message.length() + cursors + 64);
    text.extend(["event: ", message.kind.as_str(), "\n"]);
    if let Some(cursor) = cursor {
        text.extend(["id: ", cursor, "\n"]);
    }
    text.push_str("data: ");
    message.write_body(cursor, &mut text);
    text.push_str("\n\n");
    text
}
