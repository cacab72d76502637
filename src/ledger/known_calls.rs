//! Makes the rows of calls all of whose events are known: what the ledger writes for them, by the functions of
//! the ledger, without reading the store.
//!
//! # Why
//!
//! The ledger looks in each transaction for what is stored already. Of generated calls nothing is, so their rows
//! are functions of their events alone, and can be made in parallel and copied.

use std::collections::{BTreeMap, BTreeSet};

use chrono::{DateTime, NaiveDate, TimeDelta, Utc};
use uuid::{Builder, Uuid};

use super::append::decoded_message::{DecodedContent, DecodedEvent, DecodedMessage};
use super::append::events::{entry, fact};
use super::exceptions::CallExceptions;
use super::maintenance::presumed_ends::message;
use super::project::call_projection::CallProjection;
use super::verdict_versions::{NewVerdict, verdict_row};
use crate::kafka::{ConsumedMessage, MessageError, Topic, WireMessage};
use crate::postgres::{
    DedupOutcome, ExceptionClosing, ExceptionStep, HistoryRows, NewEntry, NewFact, NewNoticeFact,
    OpenedException, ResolvedAlias, StoreError,
};
use onrecord_evidence::call::call_facts::{CallFacts, StoredEntry};
use onrecord_evidence::call::parameters::Parameters;
use onrecord_evidence::call::presumed_end::presumed_end;
use onrecord_evidence::event::calling_event::ObservedEvent;
use onrecord_evidence::event::ids::{Digest, Tenant};
use onrecord_evidence::event::instant::Millis;
use onrecord_evidence::fact::kinds::JsonWord as _;
use onrecord_evidence::identity::alias_graph::{AliasGraph, AliasLink, Anchor};
use onrecord_evidence::notice::notice_fact::NoticeFact;

/// Time within which the maintenance presumes an end that is due, ms.
const PRESUMED_WITHIN: Millis = 5_000;

/// Why the rows of a call cannot be made.
#[derive(Debug, thiserror::Error)]
pub(crate) enum KnownCallError {
    #[error("a presumed end cannot be encoded: {0}")]
    Message(#[from] MessageError),
    #[error("an event does not have the form of the log: {0}")]
    Foreign(String),
    #[error(
        "the clock of an event differs from that of its receipt, which opens an exception of its source"
    )]
    Clock,
    #[error(transparent)]
    Store(#[from] StoreError),
    #[error("a row cannot be written: {0}")]
    Json(#[from] serde_json::Error),
}

/// The events of one or more calls that no other call is part of.
pub(crate) struct KnownCalls<'a> {
    pub events: &'a [WireMessage],
    pub notices: &'a [NoticeFact],
    /// When the calls are evaluated first: after their last event.
    pub evaluated_at: DateTime<Utc>,
    /// Now. What time alone changes until then, a later evaluation has found.
    pub now: DateTime<Utc>,
    pub keeps_keys_from: NaiveDate,
    /// After which time without activity the end of a call is presumed.
    pub presume_end_after: TimeDelta,
    /// Determines the ids of rows.
    pub seed: u64,
}

impl KnownCalls<'_> {
    /// Adds the rows of these calls. `closing` decides which exceptions are closed by hand.
    ///
    /// # Errors
    ///
    /// [`KnownCallError`].
    pub(crate) fn add_to(
        &self,
        rows: &mut HistoryRows,
        closing: impl Fn(&ExceptionStep, DateTime<Utc>) -> Option<ExceptionClosing>,
    ) -> Result<(), KnownCallError> {
        let events = self.decode()?;
        let tenant = rows.tenant().to_owned();
        let mut known: BTreeSet<Digest> = BTreeSet::new();
        let (mut anchors, mut links) = (BTreeSet::new(), BTreeSet::<AliasLink>::new());
        let mut by_anchor: BTreeMap<Anchor, CallFacts> = BTreeMap::new();
        for event in events.iter().filter(|event| known.insert(event.key)) {
            if event.clock_differs {
                return Err(KnownCallError::Clock);
            }
            self.add_entry(rows, event);
            links.extend(event.call_ids.links.iter().cloned());
            anchors.extend(event.call_ids.anchor.iter().cloned());
            let (Some(row), Some(anchor)) = (fact(event), &event.call_ids.anchor) else {
                continue;
            };
            rows.add_fact(&row);
            let stored = stored(anchor, observed(event, &row));
            by_anchor.entry(anchor.clone()).or_default().events.push(stored);
        }
        let mut notices: Vec<&NoticeFact> = self.notices.iter().collect();
        notices.sort_by_key(|notice| notice.at);
        for notice in notices.into_iter().filter(|notice| known.insert(notice.id)) {
            let anchor = notice.by.anchor();
            let at = DateTime::from_timestamp_millis(notice.at).unwrap_or(self.evaluated_at);
            let row = NewNoticeFact {
                timeline_id: self.id("notice fact", &notice.id, at),
                tenant: &tenant,
                anchor: anchor.to_string(),
                fact_id: notice.id,
                content_digest: notice.content(),
                at_ms: notice.at,
                kind: notice.kind.as_str(),
                fact: serde_json::to_string(notice)?,
            };
            rows.add_notice_fact(&row, at);
            let stored = stored(&anchor, notice.clone());
            anchors.insert(anchor.clone());
            by_anchor.entry(anchor).or_default().notices.push(stored);
        }
        let graph = add_ids(rows, anchors, &links);
        let mut by_call: BTreeMap<Anchor, CallFacts> = BTreeMap::new();
        for (anchor, facts) in by_anchor {
            by_call.entry(graph.call_of(&anchor)).or_default().extend(facts);
        }
        for (call, facts) in by_call {
            self.add_call(rows, &call, facts, &closing)?;
        }
        Ok(())
    }

    /// The events as the ledger decodes them.
    fn decode(&self) -> Result<Vec<DecodedEvent>, KnownCallError> {
        self.events.iter().map(|wire| decoded(wire.clone())).collect()
    }

    fn add_entry(&self, rows: &mut HistoryRows, event: &DecodedEvent) {
        let id = self.id("entry", &event.key, event.message.received);
        let content = event.message.content;
        let entry = NewEntry { id, ..entry(event, DedupOutcome::New) };
        rows.add_entry(&entry, content, self.keeps_keys_from);
    }

    /// The end that the maintenance has presumed, if the call has been quiet for too long. It names the call by
    /// its own id, so no id changes.
    fn presumed_end(
        &self,
        tenant: &str,
        call: &Anchor,
        facts: &CallFacts,
    ) -> Result<Option<DecodedEvent>, KnownCallError> {
        let quiet = self.presume_end_after.num_milliseconds();
        let now = self.now.timestamp_millis();
        let presumed = presumed_end(call, facts, now, quiet, &Parameters::default());
        let (Some(presumed), Ok(tenant)) = (presumed, Tenant::parse(tenant)) else {
            return Ok(None);
        };
        let received = presumed.last_activity_at + quiet + PRESUMED_WITHIN;
        let received = DateTime::from_timestamp_millis(received).unwrap_or(self.now).min(self.now);
        decoded(message(tenant, call.as_str(), presumed, received).to_wire()?).map(Some)
    }

    /// The rows of one call, its verdict and its exceptions.
    fn add_call(
        &self,
        rows: &mut HistoryRows,
        call: &Anchor,
        mut facts: CallFacts,
        closing: impl Fn(&ExceptionStep, DateTime<Utc>) -> Option<ExceptionClosing>,
    ) -> Result<(), KnownCallError> {
        let mut evaluated_at = self.evaluated_at;
        let tenant = rows.tenant().to_owned();
        if let Some(event) = self.presumed_end(&tenant, call, &facts)? {
            evaluated_at = evaluated_at.max(event.message.received);
            self.add_entry(rows, &event);
            if let Some(row) = fact(&event) {
                rows.add_fact(&row);
                facts.events.push(stored(call, observed(&event, &row)));
            }
        }
        let project =
            |facts: CallFacts, at| CallProjection::of(&tenant, call.to_string(), facts, at);
        let Some(mut projection) = project(facts, evaluated_at) else {
            return Ok(());
        };
        // The maintenance evaluates it again at each of these instants.
        while let Some(next) = projection.rows.next_evaluation_at.filter(|next| *next <= self.now) {
            evaluated_at = next.max(evaluated_at + TimeDelta::milliseconds(1));
            let Some(next) = project(projection.call_facts, evaluated_at) else {
                return Ok(());
            };
            projection = next;
        }
        rows.add_call(&projection.rows)?;
        let mut verdict = None;
        if let Some(report) = &projection.report {
            let none = (BTreeMap::new(), CallFacts::default());
            let row = verdict_row(&projection, report, &none.0, &none.1, evaluated_at)?;
            rows.add_verdict(&row)?;
            verdict = Some(NewVerdict { version: row.version, changed_by: row.changed_by });
        }
        let steps = CallExceptions::of(&projection, verdict.as_ref()).steps(&[]);
        for (number, step) in steps.into_iter().enumerate() {
            let name = Digest::of_parts(&[call.as_str(), &number.to_string()]);
            let step = ExceptionStep { id: self.id("exception", &name, evaluated_at), ..step };
            let closing = closing(&step, evaluated_at);
            rows.add_exception(&OpenedException { step, closing }, evaluated_at);
        }
        Ok(())
    }

    /// A UUID version 7 of an instant; the seed and the name determine its random part.
    fn id(&self, kind: &str, name: &Digest, at: DateTime<Utc>) -> Uuid {
        let digest = Digest::of_parts(&[kind, &self.seed.to_string(), &name.to_string()]);
        let random = digest.as_bytes().first_chunk().copied().unwrap_or_default();
        let millis = u64::try_from(at.timestamp_millis()).unwrap_or_default();
        Builder::from_unix_timestamp_millis(millis, &random).into_uuid()
    }
}

/// The ids of these calls: their links, and what each resolves to.
fn add_ids(
    rows: &mut HistoryRows,
    mut anchors: BTreeSet<Anchor>,
    links: &BTreeSet<AliasLink>,
) -> AliasGraph {
    let mut graph = AliasGraph::default();
    graph.insert_links(links.iter().cloned());
    for link in links {
        rows.add_link(link);
        anchors.extend([link.lower.clone(), link.upper.clone()]);
    }
    for anchor in anchors {
        let (call, is_ambiguous) = (graph.call_of(&anchor), graph.resolves_to(&anchor).is_none());
        rows.add_alias(&ResolvedAlias { anchor, call, is_ambiguous });
    }
    graph
}

/// An event as the ledger decodes it.
fn decoded(wire: WireMessage) -> Result<DecodedEvent, KnownCallError> {
    let consumed = ConsumedMessage { partition: 0, offset: 0, broker_time: 0, wire: Some(wire) };
    match DecodedMessage::of(Topic::Events, consumed).content {
        DecodedContent::Event(event) => Ok(*event),
        DecodedContent::Foreign { reason } => Err(KnownCallError::Foreign(reason)),
        DecodedContent::Notices(_) | DecodedContent::Quarantine(_) => {
            Err(KnownCallError::Foreign("it is a message of another topic".to_owned()))
        }
    }
}

fn observed(event: &DecodedEvent, row: &NewFact<'_>) -> ObservedEvent {
    let observed = ObservedEvent::new(event.key, row.at_ms, event.message.event.clone());
    observed.received(row.received_ms)
}

fn stored<C>(anchor: &Anchor, content: C) -> StoredEntry<C> {
    // Nothing was written before, so no version is compared with it.
    StoredEntry { anchor: anchor.to_string(), write: 0, previous_times: Vec::new(), content }
}
