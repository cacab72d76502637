//! `GET /v1/notices/stream`: a conversation as server-sent events.
//!
//! # Why
//!
//! A browser's `EventSource` gives up for ever on any answer but 200, and shows the page no status:
//! a page whose token has expired overnight would go blind without a word. So whoever comes with
//! the token in the query, and could listen with another token or a moment later, is answered 200
//! and `bye`. A token that is none of ours is refused as ever.

use std::convert::Infallible;
use std::time::Duration;

use axum::extract::rejection::QueryRejection;
use axum::extract::{Query, State};
use axum::http::{HeaderMap, HeaderValue, header};
use axum::response::sse::{Event, Sse};
use axum::response::{IntoResponse, Response};
use futures_util::stream::{self, Stream};

use super::Notify;
use super::conversation::{Conversation, End, Refusal, Said};
use super::cursor::is_written_like_one;
use super::listening::{Asking, ReachQuery, reach_query};
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
    S: Stream<Item = Result<Event, Infallible>> + Send + 'static,
{
    let mut response = Sse::new(events).into_response();
    let headers = response.headers_mut();
    headers.insert(header::CACHE_CONTROL, HeaderValue::from_static("no-store"));
    // nginx and its like buffer otherwise.
    headers.insert("x-accel-buffering", HeaderValue::from_static("no"));
    response
}

/// The only event of a stream that ends before it begins. The client keeps the cursor that it came
/// with: it was told nothing.
fn farewell(notify: &Notify, end: End, cursor: Option<&str>) -> Event {
    let cursor = cursor.filter(|cursor| is_written_like_one(cursor));
    let message = end.last_word(notify.board.told_through());
    let event = Event::default()
        .event(message.kind.as_str())
        .retry(COME_BACK_AFTER)
        .data(message.body(cursor));
    match cursor {
        Some(cursor) => event.id(cursor),
        None => event,
    }
}

fn events(conversation: Conversation) -> impl Stream<Item = Result<Event, Infallible>> + Send {
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
) -> Option<Event> {
    // The message before this one is the connection's.
    failpoint::reached("notice-yielded");
    loop {
        tokio::select! {
            biased;
            said = conversation.next() => return said.map(|said| write(&said)),
            _ = comment.tick() => {
                if let Some(cursor) = conversation.cursor() {
                    return Some(Event::default().id(cursor).comment(""));
                }
            }
        }
    }
}

fn write(said: &Said) -> Event {
    Event::default()
        .event(said.message.kind.as_str())
        .id(&said.cursor)
        .data(said.message.body(Some(&said.cursor)))
}
