//! `GET /v1/indications`: the level now, by any alias.

use axum::extract::{Query, State};
use axum::http::{HeaderMap, HeaderValue, header};
use axum::response::{IntoResponse, Response};

use super::Notify;
use super::cursor::CursorPen;
use super::listener::Reach;
use super::sse::{Listening, ReachQuery, listening};
use crate::clock;
use crate::domain::alias::Anchor;
use crate::http::problem::Problem;

pub(super) async fn level(
    State(notify): State<Notify>,
    headers: HeaderMap,
    Query(query): Query<ReachQuery>,
) -> Result<Response, Problem> {
    let Listening { tenant, reach, .. } = listening(&notify, &headers, &query).await?;
    let anchors = match &reach {
        Reach::Attachment { attachment, person } => {
            let own = notify
                .board
                .owner_of(&tenant, attachment)
                .is_some_and(|owner| owner == *person);
            if own {
                vec![Anchor::attachment(attachment)]
            } else {
                Vec::new()
            }
        }
        Reach::Call(anchor) => vec![anchor.clone()],
        Reach::Person(_) | Reach::Everything => {
            return Err(Problem::invalid(
                "attachment",
                "name the call: attachment=…, server_call_id=…, or with an API key call=…",
            ));
        }
    };
    let found = notify.board.level(&tenant, &anchors, clock::now_ms());
    let pen = CursorPen::new(&notify.tokens, &notify.board.incarnation(), &tenant, &reach);
    let body = found.message.with_cursor(&pen.write(found.message.at));
    let headers = [
        (
            header::CONTENT_TYPE,
            HeaderValue::from_static("application/json"),
        ),
        (header::CACHE_CONTROL, HeaderValue::from_static("no-store")),
    ];
    Ok((headers, body).into_response())
}
