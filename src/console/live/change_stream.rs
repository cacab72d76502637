//! A stream of server-sent events: one when the calls of the tenant changed.

use std::convert::Infallible;
use std::time::Duration;

use axum::extract::State;
use axum::response::Sse;
use axum::response::sse::{Event, KeepAlive};
use futures_util::stream::{self, Stream};
use tokio::time::Instant;

use super::last_changes::MIN_INTERVAL;
use crate::console::context::ConsoleContext;
use crate::console::visit::PageVisit;
use crate::http::auth::ReaderRole;
use crate::http::problem::Problem;

/// Maximum time of a stream: its browser opens another one, and its session is checked again.
const MAX_STREAM_TIME: Duration = Duration::from_secs(120);
/// Interval of what keeps a quiet stream open.
const KEEP_ALIVE_INTERVAL: Duration = Duration::from_secs(15);

pub(in crate::console) async fn changes(
    State(context): State<ConsoleContext>,
    visit: PageVisit<ReaderRole>,
) -> Result<Sse<impl Stream<Item = Result<Event, Infallible>>>, Problem> {
    let reader = visit.reader;
    let seen = context.changes.of(&reader).await?;
    let until = Instant::now() + MAX_STREAM_TIME;
    let events =
        stream::unfold((context, reader, seen), move |(context, reader, seen)| async move {
            loop {
                tokio::select! {
                    () = tokio::time::sleep(MIN_INTERVAL) => {}
                    () = context.lifecycle.soft().cancelled() => return None,
                }
                if Instant::now() >= until {
                    return None;
                }
                match context.changes.of(&reader).await {
                    Ok(last) if last == seen => {}
                    Ok(last) => {
                        let event = Event::default().event("changed").data(last.to_string());
                        return Some((Ok(event), (context, reader, last)));
                    }
                    // The browser opens another one, which says what is wrong.
                    Err(_) => return None,
                }
            }
        });
    Ok(Sse::new(events).keep_alive(KeepAlive::new().interval(KEEP_ALIVE_INTERVAL)))
}
