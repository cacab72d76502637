//! `GET /v1/notices/stream`: a stream as server-sent events.
//!
//! # Why
//!
//! *200 and `bye` instead of an error status.* The `EventSource` of a browser never reconnects
//! after a status other than 200, and does not show the page the status: a page whose token expired
//! overnight would receive no notices and no reason. So a request with its token in the query that
//! could succeed with another token or a moment later is answered 200 and `bye`. An invalid token
//! is rejected with 401 as elsewhere.
//!
//! *Events are formatted here.* A change in a call with ten thousand subscribers writes ten
//! thousand events, and `Event` of axum reads every byte of each several times.

use std::convert::Infallible;
use std::time::Duration;

use axum::body::{Body, Bytes};
use axum::extract::State;
use axum::http::{HeaderMap, HeaderName, header};
use axum::response::{IntoResponse as _, Response};
use futures_util::stream::{self, Stream};
use tokio::time::{Instant, Interval, MissedTickBehavior, interval_at};

use super::close_reason::{CloseReason, SubscribeError};
use super::cursor::is_well_formed;
use super::stream_session::{BEAT_INTERVAL, Outgoing, StreamContext, StreamSession};
use super::subscription::{ScopeQuery, SubscribeRequest};
use crate::failpoint;
use crate::http::body::QueryParameters;
use crate::http::problem::Problem;
use crate::live::fanout::message::StreamMessage;
use crate::live::live_calls::LiveCalls;
use crate::openapi::named_schemas::ServerSentEventSchema;
use crate::openapi::problem_sets::{LimitProblems, TokenProblems};
use onrecord_evidence::notice::notice_fact::Transport;

/// Minimum interval after which a browser reconnects whose page does not close the stream after
/// `bye`.
const RECONNECT_INTERVAL: Duration = Duration::from_secs(15);

/// Streams notices as server-sent events.
///
/// First a `snapshot` of each call, then a `notice` for each change, `gap` where completeness
/// cannot be shown, a `beat` every 15 s, and `bye` at the end. With a subscriber token: the calls
/// of its attachments; with an API key: all calls of the tenant; or the one call that a parameter
/// names. A request with its token in the query that could succeed with another token or a moment
/// later is answered 200 and `bye`, because a browser shows its page no other status.
#[utoipa::path(
    get,
    path = "/v1/notices/stream",
    operation_id = "streamNotices",
    tag = "clients",
    security(("subscriber_token" = []), ("subscriber_token_query" = []), ("api_key" = ["app", "analyst", "auditor", "admin"])),
    params(
        ScopeQuery,
        ("last-event-id" = Option<String>, Header, description = "The cursor after which the stream resumes; a browser sends it by itself."),
    ),
    responses(
        (status = 200, description = "The stream. It goes on until the service or the client ends it.", content_type = "text/event-stream", item_schema = ServerSentEventSchema),
        TokenProblems,
        LimitProblems,
    ),
)]
pub(crate) async fn stream(
    State(context): State<StreamContext>,
    headers: HeaderMap,
    QueryParameters(query): QueryParameters<ScopeQuery>,
) -> Result<Response, Problem> {
    let request = SubscribeRequest::new(&headers, &query);
    match StreamSession::open(&context, &request, Transport::Sse).await {
        Ok(session) => Ok(response(events(session))),
        Err(SubscribeError::Closed(reason)) if request.is_status_hidden() => {
            let bye = bye_event(&context.live_calls, reason, request.cursor());
            Ok(response(stream::iter([Ok::<_, Infallible>(bye)])))
        }
        Err(error) => Err(error.into()),
    }
}

fn response(events: impl Stream<Item = Result<Bytes, Infallible>> + Send + 'static) -> Response {
    let headers = [
        (header::CONTENT_TYPE, "text/event-stream"),
        // A proxy that compresses holds events back until its block is full, unless it must not
        // transform the response.
        (header::CACHE_CONTROL, "no-cache, no-store, no-transform"),
        // Keeps nginx and similar proxies from buffering.
        (HeaderName::from_static("x-accel-buffering"), "no"),
    ];
    (headers, Body::from_stream(events)).into_response()
}

/// The only event of a stream that is not opened. The client keeps its cursor, because it received
/// no messages.
fn bye_event(live_calls: &LiveCalls, reason: CloseReason, cursor: Option<&str>) -> Bytes {
    let cursor = cursor.filter(|cursor| is_well_formed(cursor));
    let message = reason.last_message(live_calls.announced_through());
    let mut text = event(&message, cursor);
    // `retry` goes before the empty line that ends the event.
    text.pop();
    text.push_str(&format!("retry: {}\n\n", RECONNECT_INTERVAL.as_millis()));
    text.into()
}

fn events(session: StreamSession) -> impl Stream<Item = Result<Bytes, Infallible>> + Send {
    let mut beat = interval_at(Instant::now() + BEAT_INTERVAL, BEAT_INTERVAL);
    beat.set_missed_tick_behavior(MissedTickBehavior::Delay);
    // In a box, because the stream has room for its state twice: between two events, and in the future of the next
    // one.
    stream::unfold(Box::new((session, beat)), |mut state| async move {
        let (session, beat) = &mut *state;
        let outgoing = next(session, beat).await?;
        let event = event(&outgoing.message, Some(&outgoing.cursor));
        Some((Ok(event.into()), state))
    })
}

async fn next(session: &mut StreamSession, beat: &mut Interval) -> Option<Outgoing> {
    // The connection has taken the message before this one.
    failpoint::reached("notice-yielded");
    loop {
        tokio::select! {
            biased;
            outgoing = session.next() => return outgoing,
            _ = beat.tick() => {
                if let Some(beat) = session.beat() {
                    return Some(beat);
                }
            }
        }
    }
}

/// The text of an event. Neither the body, which is JSON, nor the cursor contains a line end.
fn event(message: &StreamMessage, cursor: Option<&str>) -> String {
    let cursor_length = 2 * cursor.map_or(0, str::len);
    let mut text = String::with_capacity(message.length() + cursor_length + 64);
    text.extend(["event: ", message.kind.as_str(), "\n"]);
    if let Some(cursor) = cursor {
        text.extend(["id: ", cursor, "\n"]);
    }
    text.push_str("data: {");
    message.write_members(cursor, &mut text);
    text.push_str("\n\n");
    text
}
