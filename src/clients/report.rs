//! `POST /v1/reports`: a client states what its Calling SDK observes, and what the client shows.
//!
//! A report is published like every event. The response waits until the live state of this node has
//! read the report (some milliseconds, at most [`REPLAY_TIMEOUT`]). So it states the indication
//! including this report, and a client without a stream can poll by reporting.

use std::sync::Arc;
use std::time::Duration;

use axum::Json;
use axum::extract::State;
use chrono::{DateTime, Utc};
use serde::Serialize;
use utoipa::ToSchema;

use super::client_context::{ClientAccess, Subscriber};
use super::report_body::ReportBody;
use crate::clock;
use crate::http::body::CallerBody;
use crate::http::problem::{Problem, ProblemKind};
use crate::http::subscriber_token::SubscriberClaims;
use crate::kafka::{EventMessage, Provenance};
use crate::live::call_access::{CallAccess, NamedCall};
use crate::live::fanout::message::UnknownReason;
use crate::live::fanout::subscriber::SubscriptionScope;
use crate::live::live_calls::LiveCalls;
use crate::live::resource_ids::ResourceIdsOf;
use crate::live::tenant_calls::NotAdmitted;
use crate::openapi::named_schemas::{IndicationSchema, VariantSchema};
use crate::openapi::problem_sets::{BodyProblems, ConflictProblems, TokenProblems};
use crate::publish::DurablePublisher;
use crate::streams::cursor::CursorCodec;
use onrecord_evidence::call::parameters::Parameters;
use onrecord_evidence::event::ids::Digest;
use onrecord_evidence::event::instant;
use onrecord_evidence::identity::alias_graph::Anchor;
use onrecord_evidence::notice::variant::{IndicationView, Variant};

/// Timeout of the wait for the live state; after it the response states the indication without the
/// report.
const REPLAY_TIMEOUT: Duration = Duration::from_millis(1000);

/// The detail of the problem of an attachment that another participant owns.
const FOREIGN_ATTACHMENT: &str =
    "this attachment belongs to another participant; draw a new UUID for each leg of a call";

/// The indication after a report.
#[derive(Serialize, ToSchema)]
#[schema(as = ReportAnswer)]
pub(crate) struct ReportResponse {
    /// The id of the call. Null: it is not known yet.
    #[schema(required = true)]
    call: Option<String>,
    /// The current indication.
    #[schema(value_type = IndicationSchema)]
    indication: IndicationView,
    /// The banner of the indication.
    #[schema(value_type = VariantSchema)]
    variant: Variant,
    /// `not_connected_yet`: the level is unknown because nothing is connected. Absent: the level is
    /// known, or unknown for another reason.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<String>)]
    reason: Option<UnknownReason>,
    /// The cursor from which a stream of the attachment resumes.
    cursor: String,
    /// Report again before this instant, else the report becomes stale.
    #[schema(format = DateTime, required = true)]
    lease_until: Option<String>,
    /// The clock of the service.
    #[schema(format = DateTime, required = true)]
    server_time: Option<String>,
}

/// Reports what a client observes.
///
/// What its Calling SDK states about recording and transcription, and what the client shows. Repeat
/// it on every change and every 30 s; the answer is the current indication.
#[utoipa::path(
    post,
    path = "/v1/reports",
    operation_id = "report",
    tag = "clients",
    security(("subscriber_token" = [])),
    request_body(content = ReportBody, description = "The report."),
    responses(
        (status = 200, description = "The indication, this report included.", body = ReportResponse),
        TokenProblems,
        BodyProblems,
        ConflictProblems,
    ),
)]
pub(crate) async fn report(
    State(access): State<ClientAccess>,
    State(call_access): State<CallAccess>,
    State(live_calls): State<LiveCalls>,
    State(publisher): State<DurablePublisher>,
    State(resources): State<ResourceIdsOf>,
    request: CallerBody<Subscriber, ReportBody>,
) -> Result<Json<ReportResponse>, Problem> {
    let CallerBody { caller: Subscriber(subscriber), value: body, bytes, .. } = request;
    body.validate()?;
    let attachment = body.attachment();
    let server_call_id = body.server_call_id();
    check_call(&call_access, &subscriber, &attachment, server_call_id.as_deref())?;
    live_calls
        .admits(
            &subscriber.tenant,
            &attachment,
            &subscriber.subject.raw_id,
            server_call_id.as_deref(),
        )
        .map_err(rejection)?;

    let received = clock::now();
    let resource_ids = resources(&subscriber.tenant);
    let message = event_message(&subscriber, &resource_ids, body, &bytes, received);
    let key = message.key();
    let wire = message
        .to_wire()
        .map_err(|_| Problem::new(ProblemKind::Internal, "the report cannot be written"))?;

    let mut replay = live_calls.wait_for(key);
    let published = publisher.publish(vec![wire], received).await;
    if published.is_ok() {
        let _replayed = tokio::time::timeout(REPLAY_TIMEOUT, replay.applied()).await;
    }
    published.map_err(|_| Problem::try_again("neither kafka nor postgres takes events now; send the report again with the same report_id", Duration::from_secs(2)))?;

    let now = clock::now_ms();
    let subject = Arc::clone(&subscriber.subject);
    let scope = SubscriptionScope::Attachment { attachment: attachment.into(), subject };
    let level = live_calls.level(&subscriber.tenant, &scope, now);
    let codec =
        CursorCodec::new(&access.tokens, &live_calls.incarnation(), &subscriber.tenant, &scope);
    Ok(Json(ReportResponse {
        call: level.call.map(|call| call.to_string()),
        indication: level.view,
        variant: level.variant,
        reason: level.unknown_reason,
        cursor: codec.write(level.at, None),
        lease_until: instant::text(received.timestamp_millis() + Parameters::default().stale),
        server_time: instant::text(now),
    }))
}

/// The message of a report.
pub(crate) fn event_message(
    subscriber: &SubscriberClaims,
    resource_ids: &[String],
    mut body: ReportBody,
    bytes: &[u8],
    received: DateTime<Utc>,
) -> EventMessage {
    EventMessage {
        tenant: subscriber.tenant.clone(),
        provenance: Provenance::Client,
        source: subscriber.app.clone().unwrap_or_else(|| "client".to_owned()),
        credential: None,
        ce_source: format!("onrecord/attachments/{}", body.attachment()),
        ce_id: body.report_id.clone(),
        ce_time: None,
        received,
        sha256: Digest::of(bytes),
        content: Digest::of(bytes),
        original: std::mem::take(&mut body.original),
        content_coding: None,
        charset: None,
        event: body.into_event(subscriber, resource_ids),
    }
}

/// Checks whether the token covers the call of a report: that of its serverCallId, else that of its
/// attachment.
fn check_call(
    call_access: &CallAccess,
    subscriber: &SubscriberClaims,
    attachment: &str,
    server_call_id: Option<&str>,
) -> Result<(), Problem> {
    let checked = match server_call_id.map(Anchor::server) {
        Some(anchor) => call_access.check(subscriber, NamedCall::ServerCallId(&anchor)),
        None => {
            let anchor = Anchor::attachment(attachment);
            call_access.check(subscriber, NamedCall::Attachment(&anchor))
        }
    };
    checked.map(|_| ()).map_err(Problem::from)
}

/// The response to a report or an acknowledgement that is not admitted.
pub(super) fn rejection(not_admitted: NotAdmitted) -> Problem {
    // By then the call may have ended, and the attachment may have been removed.
    let retry_after = Duration::from_secs(60);
    match not_admitted {
        NotAdmitted::Foreign => Problem::new(ProblemKind::Conflict, FOREIGN_ATTACHMENT),
        NotAdmitted::TooManyAttachments => Problem::too_many(
            "this participant has too many attachments in the call; keep one for each leg of it",
            retry_after,
        ),
        NotAdmitted::TooManyCalls => Problem::too_many(
            "this participant has too many attachments in all calls together; keep one for each leg of a call",
            retry_after,
        ),
        NotAdmitted::TooManyChanges => {
            let detail = "this attachment has stated too many changes; draw a new UUID";
            // By the member a client distinguishes it from limits that it must wait for.
            Problem::too_many(detail, retry_after).within("/attachment")
        }
        NotAdmitted::TooManyBytes => Problem::too_many(
            "the reports of this participant in calls in progress take too many bytes; send shorter texts, and only what changed in `shown`",
            retry_after,
        ),
    }
}
