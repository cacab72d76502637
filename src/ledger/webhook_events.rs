//! Which events of outbound webhooks a projection of a call makes.
//!
//! # Why
//!
//! *A change is what differs from the stored row of the call*, which this transaction locks. So each change
//! is found once, whatever order the facts came in, and however often they are repeated (`ORDER_FREE`).
//!
//! *A notice has the id of the streams.* The fact that decided it is chosen as the live state chooses it:
//! of the events of a batch the latest, and without one the instant that has passed.

use std::collections::BTreeMap;

use chrono::{DateTime, Utc};
use serde_json::{Value, json};

use super::append::decoded_message::DecodedEvent;
use super::project::call_projection::CallProjection;
use super::verdict_versions::NewVerdict;
use crate::http::timestamp::micros;
use crate::postgres::event_name::{CALL_ENDED, NOTICE_PREFIX, VERDICT_CHANGED};
use crate::postgres::{
    self, CallBefore, CaptureRow, NewWebhookEvent, StoreError, SubscribedTenants, Tx,
};
use onrecord_evidence::event::ids::{Digest, Tenant};
use onrecord_evidence::event::instant::Millis;
use onrecord_evidence::fact::kinds::JsonWord as _;
use onrecord_evidence::identity::alias_graph::Anchor;
use onrecord_evidence::notice::indication::{Indication, IndicationState, Indications};
use onrecord_evidence::notice::variant::{NoticeCause, announces, notice_id, variant};

/// What a transaction knows about subscriptions, and about the events that it appends.
pub(crate) struct WebhookContext {
    subscribed: SubscribedTenants,
    /// When each appended event of a tenant with subscriptions was received.
    received: BTreeMap<Digest, Millis>,
}

impl WebhookContext {
    /// Of a transaction that appends no event.
    pub(crate) fn new(subscribed: SubscribedTenants) -> Self {
        Self { subscribed, received: BTreeMap::new() }
    }

    /// Of a transaction that appends these events.
    pub(crate) fn of_events(subscribed: &SubscribedTenants, events: &[&DecodedEvent]) -> Self {
        let of_subscribed =
            events.iter().filter(|event| subscribed.may_have(event.message.tenant.as_str()));
        let received =
            of_subscribed.map(|event| (event.key, event.message.received.timestamp_millis()));
        Self { received: received.collect(), subscribed: subscribed.clone() }
    }

    /// What is stored of these calls, if their tenant may have a subscription.
    pub(crate) async fn calls_before(
        &self,
        tx: &mut Tx<'_>,
        tenant: &str,
        calls: &[&str],
    ) -> Result<Option<CallsBefore>, StoreError> {
        if !self.subscribed.may_have(tenant) {
            return Ok(None);
        }
        Ok(Some(CallsBefore(postgres::calls_before(tx, tenant, calls).await?)))
    }
}

/// What was stored of calls before they were projected.
pub(crate) struct CallsBefore(BTreeMap<String, CallBefore>);

impl CallsBefore {
    /// Makes the messages of what these projections changed.
    pub(crate) async fn make_messages(
        &self,
        tx: &mut Tx<'_>,
        context: &WebhookContext,
        projections: &[CallProjection],
        verdicts: &BTreeMap<String, NewVerdict>,
        now: DateTime<Utc>,
    ) -> Result<(), StoreError> {
        let events: Vec<NewWebhookEvent> = projections
            .iter()
            .flat_map(|projection| {
                let call = projection.rows.call.as_str();
                let before = self.0.get(call);
                events_of(before, projection, verdicts.get(call), &context.received, now)
            })
            .collect();
        match projections.first() {
            Some(first) => postgres::make_webhook_messages(tx, &first.rows.tenant, &events).await,
            None => Ok(()),
        }
    }
}

/// The events that a projection makes.
fn events_of(
    before: Option<&CallBefore>,
    projection: &CallProjection,
    verdict: Option<&NewVerdict>,
    received: &BTreeMap<Digest, Millis>,
    now: DateTime<Utc>,
) -> Vec<NewWebhookEvent> {
    let notice = notice(before, projection, received, now);
    let ended = ended(before, projection);
    let verdict = verdict.and_then(|verdict| verdict_changed(before, projection, verdict, now));
    notice.into_iter().chain(ended).chain(verdict).collect()
}

fn notice(
    before: Option<&CallBefore>,
    projection: &CallProjection,
    received: &BTreeMap<Digest, Millis>,
    now: DateTime<Utc>,
) -> Option<NewWebhookEvent> {
    let previous = before.map(levels_before).unwrap_or_default();
    let current = projection.levels;
    if previous == current {
        return None;
    }
    let rows = &projection.rows;
    let deciding = deciding_fact(projection, before, received, now);
    let tenant = Tenant::parse(&rows.tenant).ok()?;
    let call = Anchor::from_stored(rows.call.clone());
    let id = notice_id(&tenant, &call, &current, deciding.cause);
    let variant = json!(variant(Some(&previous), &current));
    let name = variant.as_str().unwrap_or_default();
    let at = now.timestamp_millis();
    let more = json!({
        "aliases": projection.call_facts.anchors(),
        "app": rows.apps,
        "kind": rows.kind,
        "started_at": micros(rows.started_at),
        "captures": rows.captures.iter().filter(|it| it.ended_at.is_none()).map(open_capture).collect::<Vec<_>>(),
    });
    Some(NewWebhookEvent {
        decided_at: DateTime::from_timestamp_millis(deciding.at),
        log_at: DateTime::from_timestamp_millis(deciding.log_at),
        is_stale: !announces(at, rows.ended_at.is_none(), deciding.at),
        data: json!({
            "id": id,
            "call": rows.call,
            "indication": current,
            "previous": previous,
            "variant": variant,
        }),
        more,
        ..of_call(projection, id, format!("{NOTICE_PREFIX}{name}"), now)
    })
}

fn open_capture(capture: &CaptureRow) -> Value {
    json!({
        "type": capture.r#type,
        "started_at": micros(capture.started_at),
        "sources": capture.sources,
        "kinds": capture.kinds,
        "recordings": capture.recordings,
    })
}

fn ended(before: Option<&CallBefore>, projection: &CallProjection) -> Option<NewWebhookEvent> {
    let rows = &projection.rows;
    let ended_at = rows.ended_at?;
    if before.is_some_and(|before| before.ended_at.is_some()) {
        return None;
    }
    let name = CALL_ENDED;
    let instant = ended_at.timestamp_millis().to_string();
    let id = Digest::of_parts(&[name, &rows.tenant, &rows.call, &instant]).first_half();
    let verdict = projection.report.as_ref().map(|report| report.verdict);
    let captures = rows.captures.iter().map(|capture| {
        json!({
            "type": capture.r#type,
            "started_at": micros(capture.started_at),
            "ended_at": capture.ended_at.map(micros),
        })
    });
    let more = json!({
        "aliases": projection.call_facts.anchors(),
        "app": rows.apps,
        "kind": rows.kind,
        "group_id": rows.group_id,
        "captures": captures.collect::<Vec<_>>(),
        "flags": rows.flags,
    });
    Some(NewWebhookEvent {
        data: json!({
            "id": id,
            "call": rows.call,
            "started_at": micros(rows.started_at),
            "ended_at": micros(ended_at),
            "end_presumed": rows.end_presumed,
            "verdict": verdict,
        }),
        more,
        ..of_call(projection, id, name.to_owned(), ended_at)
    })
}

fn verdict_changed(
    before: Option<&CallBefore>,
    projection: &CallProjection,
    verdict: &NewVerdict,
    now: DateTime<Utc>,
) -> Option<NewWebhookEvent> {
    let rows = &projection.rows;
    let current = projection.report.as_ref()?.verdict.as_str();
    let previous = before.and_then(|before| before.verdict.as_deref());
    if previous == Some(current) {
        return None;
    }
    let name = VERDICT_CHANGED;
    let version = verdict.version.to_string();
    let id = Digest::of_parts(&[name, &rows.tenant, &rows.call, &version]).first_half();
    let more = json!({
        "aliases": projection.call_facts.anchors(),
        "app": rows.apps,
        "kind": rows.kind,
        "started_at": micros(rows.started_at),
        "ended_at": rows.ended_at.map(micros),
        "flags": rows.flags,
    });
    Some(NewWebhookEvent {
        data: json!({
            "id": id,
            "call": rows.call,
            "version": verdict.version,
            "verdict": current,
            "previous": previous,
        }),
        more,
        ..of_call(projection, id, name.to_owned(), now)
    })
}

fn of_call(
    projection: &CallProjection,
    id: String,
    name: String,
    occurred_at: DateTime<Utc>,
) -> NewWebhookEvent {
    NewWebhookEvent {
        id,
        name,
        call: Some(projection.rows.call.clone()),
        occurred_at,
        decided_at: None,
        log_at: None,
        is_stale: false,
        apps: projection.rows.apps.clone(),
        call_kind: projection.rows.kind,
        exception_kind: None,
        severity: None,
        data: Value::Null,
        more: Value::Null,
    }
}

/// The fact that decided the present level of a call.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct LevelCause {
    at: Millis,
    cause: NoticeCause,
    /// The instant of the log from which a stream must be read to have it.
    log_at: Millis,
}

fn deciding_fact(
    projection: &CallProjection,
    before: Option<&CallBefore>,
    received: &BTreeMap<Digest, Millis>,
    now: DateTime<Utc>,
) -> LevelCause {
    let events = || projection.call_facts.events().map(|event| (event.at, event.id));
    let of_event = |(at, id): (Millis, Digest)| LevelCause {
        at,
        cause: NoticeCause::Event(id),
        log_at: received.get(&id).copied().unwrap_or(at),
    };
    let appended = events().filter(|(_, id)| received.contains_key(id));
    let due_at = before.and_then(|before| before.next_evaluation_at).filter(|due| *due <= now);
    let by_time = due_at.map(|due| {
        let at = due.timestamp_millis();
        LevelCause { at, cause: NoticeCause::Time(at), log_at: at }
    });
    let latest = |one: (Millis, Digest), other: (Millis, Digest)| {
        if one.0 < other.0 { other } else { one }
    };
    appended
        .reduce(latest)
        .map(of_event)
        .or(by_time)
        .or_else(|| events().reduce(latest).map(of_event))
        .unwrap_or(LevelCause { at: 0, cause: NoticeCause::Nothing, log_at: 0 })
}

fn levels_before(before: &CallBefore) -> Indications {
    let level = |state: &str, stale| Indication { state: stored_state(state), stale };
    Indications {
        recording: level(&before.recording, before.recording_stale),
        transcription: level(&before.transcription, before.transcription_stale),
    }
}

/// A word that this version does not have counts as not known.
fn stored_state(word: &str) -> IndicationState {
    use IndicationState::{Off, On, Paused, Unknown};
    let known = [On, Paused, Off].into_iter().find(|state| state.as_str() == word);
    known.unwrap_or(Unknown)
}
