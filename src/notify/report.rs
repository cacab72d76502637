//! `POST /v1/reports`: a client says what its Calling SDK sees and what it shows.
//!
//! A report takes the same road as every event. The answer waits until this node's board has seen
//! it (a few milliseconds, at most [`BOARD_PATIENCE`]), so that it states the level with the
//! client's own word in it: a client that cannot stream can poll by reporting.

use std::time::{Duration, Instant};

use axum::Json;
use axum::extract::State;
use axum::http::HeaderMap;
use serde::Serialize;

use super::Notify;
use super::cursor::CursorPen;
use super::desk::NotAdmitted;
use super::listener::Reach;
use super::report_body::{REPORT_TYPE, ReportBody};
use super::token::{Subscriber, TokenError};
use crate::clock;
use crate::domain::calling_event::event_key;
use crate::domain::ids::Digest;
use crate::domain::instant;
use crate::domain::notice::IndicationView;
use crate::domain::parameters::Parameters;
use crate::http::access::bearer;
use crate::http::body::JsonBody;
use crate::http::problem::{Problem, ProblemKind};
use crate::stream::{EventMessage, Provenance};

/// The level is answered without the report if the board has not seen it after so long.
const BOARD_PATIENCE: Duration = Duration::from_millis(1000);

pub(super) const FOREIGN_ATTACHMENT: &str =
    "this attachment belongs to another participant; draw a new UUID for each leg of a call";

#[derive(Serialize)]
pub(super) struct Answer {
    call: Option<String>,
    indication: IndicationView,
    cursor: String,
    /// Report again before this instant, or the client counts as silent.
    lease_until: Option<String>,
    server_time: Option<String>,
}

pub(super) async fn report(
    State(notify): State<Notify>,
    headers: HeaderMap,
    body: Result<JsonBody<ReportBody>, Problem>,
) -> Result<Json<Answer>, Problem> {
    let subscriber = subscriber(&notify, bearer(&headers))?;
    let JsonBody { value: body, bytes } = body?;
    body.validate()?;
    may_speak(
        &notify,
        &subscriber,
        "this client reports too often; report on every change and every 30 s",
    )?;
    let attachment = body.attachment();
    let server_call_id = body.server_call_id();
    notify
        .board
        .admits(
            &subscriber.tenant,
            &attachment,
            &subscriber.sub,
            server_call_id.as_deref(),
        )
        .map_err(refusal)?;

    let received = clock::now();
    let source = format!("onrecord/attachments/{attachment}");
    let report_id = body.report_id.clone();
    let resource_ids = (notify.resources)(&subscriber.tenant);
    let message = EventMessage {
        tenant: subscriber.tenant.clone(),
        provenance: Provenance::Client,
        source: subscriber
            .app
            .clone()
            .unwrap_or_else(|| "client".to_owned()),
        credential: None,
        ce_source: source.clone(),
        ce_id: report_id.clone(),
        ce_time: None,
        received,
        sha256: Digest::of(&bytes),
        content: Digest::of(&bytes),
        original: String::from_utf8_lossy(&bytes).into_owned(),
        event: body.into_event(subscriber.sub.clone(), &resource_ids),
    };
    let key = event_key(subscriber.tenant.as_str(), &source, REPORT_TYPE, &report_id);
    let wire = message
        .to_wire()
        .map_err(|_| Problem::new(ProblemKind::Internal, "the report cannot be written"))?;

    let mut on_board = notify.board.awaits(key);
    let taken = notify.road.take(vec![wire], received).await;
    if taken.is_ok() {
        let _seen = tokio::time::timeout(BOARD_PATIENCE, on_board.seen()).await;
    }
    taken.map_err(|_| Problem::try_again("neither kafka nor postgres takes events now; send the report again with the same report_id", Duration::from_secs(2)))?;

    let now = clock::now_ms();
    let reach = Reach::Attachment {
        attachment,
        person: subscriber.sub,
    };
    let found = notify.board.level(&subscriber.tenant, &reach, now);
    let pen = CursorPen::new(
        &notify.tokens,
        &notify.board.incarnation(),
        &subscriber.tenant,
        &reach,
    );
    Ok(Json(Answer {
        call: found.call.map(|call| call.to_string()),
        indication: found.view,
        cursor: pen.write(found.message.at, None),
        lease_until: instant::text(received.timestamp_millis() + Parameters::default().stale),
        server_time: instant::text(now),
    }))
}

fn refusal(not_admitted: NotAdmitted) -> Problem {
    // The call may be over by then, or the attachment forgotten.
    let later = Duration::from_secs(60);
    match not_admitted {
        NotAdmitted::Foreign => Problem::new(ProblemKind::Conflict, FOREIGN_ATTACHMENT),
        NotAdmitted::TooManyAttachments => Problem::too_many(
            "this participant has too many attachments in the call; keep one for each leg of it",
            later,
        ),
        NotAdmitted::TooManyChanges => Problem::too_many(
            "this attachment has stated too many changes; draw a new UUID",
            later,
        ),
    }
}

/// Whether what a client says is taken now: not by a node that stops, and not too often, of which the
/// client is told in these words.
pub(super) fn may_speak(
    notify: &Notify,
    subscriber: &Subscriber,
    too_often: &str,
) -> Result<(), Problem> {
    if notify.lifecycle.is_stopping() {
        return Err(Problem::try_again(
            "this node is shutting down",
            Duration::from_secs(1),
        ));
    }
    notify
        .pace
        .count(subscriber.tenant.as_str(), &subscriber.sub, Instant::now())
        .map_err(|after| Problem::too_many(too_often, after))
}

/// Whom a subscriber token speaks for.
pub(super) fn subscriber(notify: &Notify, token: Option<&str>) -> Result<Subscriber, Problem> {
    let token = token.ok_or_else(|| Problem::new(ProblemKind::Unauthorized, "send a subscriber token: `Authorization: Bearer …`; the app's backend gets one from POST /v1/subscriber-tokens"))?;
    notify
        .tokens
        .check(token, clock::now_ms() / 1000)
        .map_err(|error: TokenError| Problem::new(ProblemKind::Unauthorized, error.to_string()))
}
