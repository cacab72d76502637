//! `POST /v1/acknowledgements`: a client states what happened to notices (delivered, displayed,
//! hidden, acknowledged) and what the participant answered (consented, declined).
//!
//! Each item of the batch is validated by itself; an invalid one does not affect the others. An
//! item that is answered `accepted` is durable (`DURABLE_ACK`). An `id` that was sent before has no
//! second effect (`ONCE`): the response is the same, and the ledger keeps the earlier item.

use std::collections::BTreeMap;
use std::time::Duration;

use axum::Json;
use axum::extract::State;
use chrono::{DateTime, Utc};
use serde::{Deserialize, Deserializer, Serialize};
use serde_json::Value;
use serde_json::value::RawValue;
use utoipa::ToSchema;
use uuid::Uuid;

use super::bounded_text::{self, MAX_TEXT_BYTES};
use super::client_context::Subscriber;
use super::member::RoundedMillis;
use super::report::rejection;
use super::report_body::MAX_ELAPSED_MS;
use crate::clock;
use crate::http::body::{self, CallerBody, RequestBody, secrets};
use crate::http::problem::{Problem, ProblemKind};
use crate::http::subscriber_token::SubscriberClaims;
use crate::http::timestamp::millis;
use crate::kafka::{MAX_FACTS_PER_MESSAGE, NoticeFactsToWrite};
use crate::live::call_access::{CallAccess, NamedCall};
use crate::live::live_calls::LiveCalls;
use crate::live::tenant_calls::max_unreported;
use crate::openapi::named_schemas::{CaptureTypeSchema, LevelSchema, ShownTextSchema};
use crate::openapi::problem_sets::{BodyProblems, TokenProblems};
use crate::publish::DurablePublisher;
use onrecord_evidence::event::calling_event::ShownText;
use onrecord_evidence::event::instant::Millis;
use onrecord_evidence::fact::kinds::{CaptureType, Level};
use onrecord_evidence::identity::alias_graph::Anchor;
use onrecord_evidence::notice::notice_fact::{
    NoticeFact, NoticeKind, NoticePlace, StatedBy, id_by_client,
};

/// Maximum number of items in a batch: those of one call become one message.
const MAX_ITEMS: usize = MAX_FACTS_PER_MESSAGE;
/// Maximum number of attachments in a batch: each may become a message of its own.
const MAX_ATTACHMENTS: usize = 32;

/// A batch of items. Each is parsed by itself, so that invalid JSON in one does not affect the
/// others.
#[derive(Deserialize)]
#[serde(transparent)]
pub(crate) struct AcknowledgementBatch(Vec<ParsedItem>);

struct ParsedItem {
    /// The id, if it may be repeated in the answer.
    id: Option<String>,
    item: Result<AcknowledgementItem, Problem>,
}

impl RequestBody for AcknowledgementBatch {
    const MAX_BYTES: usize = 256 * 1024;

    fn of_bytes(json: &[u8]) -> Result<Self, Problem> {
        body::parse_unchecked(json)
    }
}

impl<'de> Deserialize<'de> for ParsedItem {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let item = Box::<RawValue>::deserialize(deserializer)?;
        Ok(Self::of_json(item.get().as_bytes()))
    }
}

impl ParsedItem {
    fn of_json(json: &[u8]) -> Self {
        let item = secrets::check(json).and_then(|()| body::parse::<Value>(json));
        let id = item.as_ref().ok().and_then(|item| item.get("id"));
        let id = id.and_then(Value::as_str).map(str::to_owned);
        Self { id, item: item.and_then(body::deserialize) }
    }
}

/// What happened to a notice, or what the participant answered.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
#[schema(as = Acknowledgement)]
struct AcknowledgementItem {
    /// The client's own id of this item. Sent again, it has no second effect.
    #[schema(min_length = 1, max_length = 256)]
    id: String,
    /// The id of the notice.
    #[schema(min_length = 1, max_length = 256)]
    notice: Option<String>,
    /// The attachment of the client.
    attachment: Uuid,
    /// What the notice is about.
    #[serde(rename = "type")]
    #[schema(value_type = CaptureTypeSchema)]
    capture_type: CaptureType,
    /// The level that the notice stated. Required but for `consented` and `declined`.
    #[schema(value_type = Option<LevelSchema>)]
    state: Option<Level>,
    /// What happened.
    kind: AcknowledgedKind,
    /// Milliseconds since it happened, by the client's stopwatch, up to 24 h.
    #[schema(value_type = Option<f64>, minimum = 0, maximum = 86400000)]
    elapsed_ms: Option<RoundedMillis>,
    /// The words that were shown.
    #[schema(value_type = Option<ShownTextSchema>)]
    text: Option<ShownText>,
    /// Whether the page was visible; `displayed` with `false` counts as delivered. Default: true.
    visible: Option<bool>,
}

/// What happened to a notice (`delivered`, `displayed`, `hidden`, `acknowledged`), or what the
/// participant answered (`consented`, `declined`).
#[derive(Clone, Copy, Deserialize, ToSchema)]
#[serde(rename_all = "snake_case")]
#[schema(as = AcknowledgementKind)]
enum AcknowledgedKind {
    Delivered,
    Displayed,
    Hidden,
    Acknowledged,
    Consented,
    Declined,
}

/// The result of one item.
#[derive(Serialize, ToSchema)]
pub(crate) struct AcknowledgementResult {
    /// The id of the item. Null: it has none that can be repeated.
    #[schema(required = true)]
    id: Option<String>,
    /// `accepted` (it is durable) or `rejected`.
    status: &'static str,
    /// When the service received it.
    #[schema(format = DateTime)]
    received_at: String,
    /// Why it was rejected.
    #[serde(skip_serializing_if = "Option::is_none")]
    problem: Option<Problem>,
}

/// Acknowledges notices.
///
/// States what happened to notices, and what the participant answered: up to 500 items, each
/// answered by itself. An item that was sent before has no second effect.
#[utoipa::path(
    post,
    path = "/v1/acknowledgements",
    operation_id = "acknowledge",
    tag = "clients",
    security(("subscriber_token" = [])),
    request_body(content = Vec<AcknowledgementItem>, description = "The items."),
    responses(
        (status = 200, description = "One result for each item, in their order.", body = Vec<AcknowledgementResult>),
        TokenProblems,
        BodyProblems,
    ),
)]
pub(crate) async fn acknowledge(
    State(call_access): State<CallAccess>,
    State(live_calls): State<LiveCalls>,
    State(publisher): State<DurablePublisher>,
    request: CallerBody<Subscriber, AcknowledgementBatch>,
) -> Result<Json<Vec<AcknowledgementResult>>, Problem> {
    let CallerBody { caller, value, .. } = request;
    let (Subscriber(subscriber), AcknowledgementBatch(items)) = (caller, value);
    if items.len() > MAX_ITEMS {
        return Err(Problem::invalid(
            "",
            format!("at most {MAX_ITEMS} items; send the others in a batch of their own"),
        ));
    }
    // A client that is granted no call was shown no notice.
    call_access.check(&subscriber, NamedCall::All)?;

    let received = clock::now();
    let mut results = Vec::with_capacity(items.len());
    let mut facts: BTreeMap<Anchor, Vec<NoticeFact>> = BTreeMap::new();
    for (index, ParsedItem { id, item }) in items.into_iter().enumerate() {
        let fact = item
            .and_then(|item| notice_fact(&call_access, &live_calls, &subscriber, item, received));
        let added = fact.and_then(|fact| {
            let call = fact.by.anchor();
            if facts.len() >= MAX_ATTACHMENTS && !facts.contains_key(&call) {
                let detail = format!(
                    "a batch may name {MAX_ATTACHMENTS} attachments; keep one for each leg of a call"
                );
                let problem = Problem::new(ProblemKind::TooManyRequests, detail);
                return Err(problem.within("/attachment"));
            }
            facts.entry(call).or_default().push(fact);
            Ok(())
        });
        let problem = added.err().map(|problem| problem.within(&format!("/{index}")));
        results.push(AcknowledgementResult {
            id,
            status: if problem.is_none() { "accepted" } else { "rejected" },
            received_at: millis(received),
            problem,
        });
    }
    let messages = facts
        .iter()
        .map(|(call, facts)| NoticeFactsToWrite {
            tenant: &subscriber.tenant,
            call,
            facts,
            shared: &[],
        })
        .map(|facts| facts.to_wire())
        .collect::<Result<_, _>>()
        .map_err(|error| {
            tracing::error!(error = %error, "an acknowledgement cannot be encoded: {error}");
            Problem::new(ProblemKind::Internal, "the acknowledgements cannot be written")
        })?;
    publisher.publish(messages, received).await.map_err(|_| {
        Problem::try_again(
            "neither kafka nor postgres takes acknowledgements now; send the batch again with the same ids",
            Duration::from_secs(2),
        )
    })?;
    Ok(Json(results))
}

/// The fact that an item states.
fn notice_fact(
    call_access: &CallAccess,
    live_calls: &LiveCalls,
    subscriber: &SubscriberClaims,
    item: AcknowledgementItem,
    received: DateTime<Utc>,
) -> Result<NoticeFact, Problem> {
    let kind = item.notice_kind();
    item.validate(kind)?;
    let attachment = item.attachment.hyphenated().to_string();
    let (tenant, person) = (&subscriber.tenant, &subscriber.subject.raw_id);
    call_access
        .check(subscriber, NamedCall::Attachment(&Anchor::attachment(&attachment)))
        .map_err(|reason| Problem::from(reason).within("/attachment"))?;
    // An attachment that reported stays admitted: the limits of reports must not reject what was shown
    // in a call. Any other one may become a call, and counts as one.
    let max = max_unreported(call_access.clients_of(tenant), &subscriber.subject.grant);
    let at = received.timestamp_millis();
    live_calls
        .admit_acknowledgement(tenant, &attachment, person, max, at)
        .map_err(|not_admitted| rejection(not_admitted).within("/attachment"))?;
    Ok(item.into_fact(subscriber, kind, at))
}

#[cfg(feature = "demo")]
impl AcknowledgementBatch {
    /// The facts that the batch of a participant states.
    ///
    /// # Errors
    ///
    /// The problem of the first item that is not valid.
    pub(crate) fn into_facts(
        self,
        subscriber: &SubscriberClaims,
        received: DateTime<Utc>,
    ) -> Result<Vec<NoticeFact>, Problem> {
        let facts = self.0.into_iter().map(|ParsedItem { item, .. }| {
            let item = item?;
            let kind = item.notice_kind();
            item.validate(kind)?;
            Ok(item.into_fact(subscriber, kind, received.timestamp_millis()))
        });
        facts.collect()
    }
}

impl AcknowledgementItem {
    /// The fact that a validated item states.
    fn into_fact(self, subscriber: &SubscriberClaims, kind: NoticeKind, at: Millis) -> NoticeFact {
        let place = NoticePlace::Attachment(self.attachment.hyphenated().to_string());
        let by = StatedBy { raw_id: subscriber.subject.raw_id.clone(), place };
        NoticeFact {
            id: id_by_client(&subscriber.tenant, &by, &self.id),
            at,
            kind,
            capture_type: self.capture_type,
            state: self.state,
            // Its range is checked.
            elapsed_ms: self.elapsed_ms.and_then(|elapsed| u64::try_from(elapsed.0).ok()),
            by,
            client_id: Some(self.id),
            notice: self.notice,
            text: self.text,
            transport: None,
        }
    }

    /// The kind of the notice fact. A notice that was displayed but not visible counts as
    /// delivered.
    fn notice_kind(&self) -> NoticeKind {
        match self.kind {
            AcknowledgedKind::Displayed if self.visible.unwrap_or(true) => NoticeKind::Displayed,
            AcknowledgedKind::Delivered | AcknowledgedKind::Displayed => NoticeKind::Delivered,
            AcknowledgedKind::Hidden => NoticeKind::Hidden,
            AcknowledgedKind::Acknowledged => NoticeKind::Acknowledged,
            AcknowledgedKind::Consented => NoticeKind::ConsentGiven,
            AcknowledgedKind::Declined => NoticeKind::ConsentDeclined,
        }
    }

    /// Checks the constraints that the types do not express.
    fn validate(&self, kind: NoticeKind) -> Result<(), Problem> {
        bounded_text::check("/id", &self.id, MAX_TEXT_BYTES)?;
        if let Some(notice) = &self.notice {
            bounded_text::check("/notice", notice, MAX_TEXT_BYTES)?;
        }
        if let Some(text) = &self.text {
            bounded_text::check_shown(text)?;
        }
        if self.state.is_none() && kind.needs_state() {
            return Err(Problem::invalid(
                "/state",
                "which level the notice stated: on, paused or off",
            )
            .allowing(&["on", "paused", "off"]));
        }
        if self.elapsed_ms.is_some_and(|elapsed| !(0..=MAX_ELAPSED_MS).contains(&elapsed.0)) {
            return Err(Problem::invalid(
                "/elapsed_ms",
                format!(
                    "milliseconds since it happened, by the client's stopwatch: 0 to {MAX_ELAPSED_MS} (24 h)"
                ),
            ));
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    const ATTACHMENT: &str = "6ba7b810-9dad-11d1-80b4-00c04fd430c8";

    fn item(more: Value) -> Value {
        let mut item = json!({"id": "1", "attachment": ATTACHMENT, "type": "recording", "kind": "displayed", "state": "on"});
        if let (Some(item), Value::Object(more)) = (item.as_object_mut(), more) {
            item.extend(more);
        }
        item
    }

    fn kind_of(more: Value) -> Result<NoticeKind, String> {
        let kind = body::deserialize(item(more)).and_then(|item: AcknowledgementItem| {
            let kind = item.notice_kind();
            item.validate(kind).map(|()| kind)
        });
        kind.map_err(|problem| serde_json::to_string(&problem).unwrap())
    }

    #[test]
    fn a_notice_that_was_not_visible_counts_as_delivered() {
        assert_eq!(kind_of(json!({})), Ok(NoticeKind::Displayed));
        assert_eq!(kind_of(json!({"visible": false})), Ok(NoticeKind::Delivered));
        assert_eq!(
            kind_of(json!({"visible": false, "kind": "acknowledged"})),
            Ok(NoticeKind::Acknowledged)
        );
    }

    #[test]
    fn only_a_consent_needs_no_level() {
        assert_eq!(
            kind_of(json!({"kind": "consented", "state": null})),
            Ok(NoticeKind::ConsentGiven)
        );
        assert!(kind_of(json!({"state": null})).unwrap_err().contains("/state"));
    }

    #[test]
    fn a_wrong_member_is_named_with_what_is_expected() {
        for (more, member) in [
            (json!({"elapsed_ms": -1}), "/elapsed_ms"),
            (json!({"elapsed_ms": 86_400_001}), "/elapsed_ms"),
            (json!({"elapsed_ms": "x"}), "/elapsed_ms"),
            (json!({"elapsed_ms": -0.7}), "/elapsed_ms"),
            (json!({"elapsed_ms": 1e300}), "/elapsed_ms"),
            (json!({"id": ""}), "/id"),
            (json!({"id": "a\u{0}b"}), "/id"),
            (json!({"notice": "x".repeat(257)}), "/notice"),
            (json!({"attachment": "me"}), "/attachment"),
            (json!({"kind": "seen"}), "/kind"),
            (json!({"text": {"version": "1", "sha256": "", "locale": "de"}}), "/text/sha256"),
            (json!({"visibel": true}), "visibel"),
        ] {
            let problem = kind_of(more).unwrap_err();
            assert!(problem.contains(member), "{member}: {problem}");
        }
        for elapsed in [json!(86_400_000), json!(0), json!(40.25), json!(-0.3), json!(86_400_000.4)]
        {
            assert_eq!(kind_of(json!({"elapsed_ms": elapsed})), Ok(NoticeKind::Displayed));
        }
    }

    #[test]
    fn null_is_the_absence_of_an_optional_member() {
        let nulls = json!({"notice": null, "elapsed_ms": null, "text": null, "visible": null});
        assert_eq!(kind_of(nulls), Ok(NoticeKind::Displayed));
    }
}
