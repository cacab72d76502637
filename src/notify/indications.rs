//! `GET /v1/indications`: the level now, by any alias.

use axum::extract::rejection::QueryRejection;
use axum::extract::{Query, State};
use axum::http::{HeaderMap, HeaderValue, header};
use axum::response::{IntoResponse, Response};

use super::Notify;
use super::cursor::CursorPen;
use super::listening::{Asking, Listening, ReachQuery, listening, reach_query};
use crate::clock;
use crate::http::problem::Problem;

pub(super) async fn level(
    State(notify): State<Notify>,
    headers: HeaderMap,
    query: Result<Query<ReachQuery>, QueryRejection>,
) -> Result<Response, Problem> {
    let query = reach_query(query)?;
    let asking = Asking::new(&headers, &query);
    let Listening { tenant, reach, .. } = listening(&notify, &asking).await?;
    if reach.one_call().is_none() {
        return Err(Problem::invalid(
            "attachment",
            "name the call: attachment=…, server_call_id=…, or with an API key call=…",
        ));
    }
    let found = notify.board.level(&tenant, &reach, clock::now_ms());
    let pen = CursorPen::new(&notify.tokens, &notify.board.incarnation(), &tenant, &reach);
    let body = found.message.body(Some(&pen.write(found.message.at, None)));
    let headers = [
        (
            header::CONTENT_TYPE,
            HeaderValue::from_static("application/json"),
        ),
        (header::CACHE_CONTROL, HeaderValue::from_static("no-store")),
    ];
    Ok((headers, body).into_response())
}
