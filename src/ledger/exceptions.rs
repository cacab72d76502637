//! Reconciles exceptions, in the transaction that projects the calls or appends the events.
//!
//! # Why
//!
//! An exception that is written later could contradict the verdict beside it. So one query compares
//! the expected exceptions of all calls of a batch with the existing ones in the same transaction;
//! where none is open and none is expected, nothing more happens.

use std::collections::{BTreeMap, BTreeSet};

use chrono::{DateTime, Utc};
use serde_json::{Value, json};

use crate::ledger::append::decoded_message::DecodedEvent;
use crate::ledger::project::call_projection::CallProjection;
use crate::ledger::verdict_versions::NewVerdict;
use crate::postgres::{
    self, CallRowSet, ExceptionCounts, ExceptionStep, HistoryLine, StoreError, Tx,
};
use onrecord_evidence::call::parameters::Parameters;
use onrecord_evidence::event::instant::Millis;
use onrecord_evidence::exception::{
    CallDescription, ExceptionChange, ExceptionKind, ExceptionOrigin, ExistingException,
    ExpectedException, Occurrence, OutsiderStatements, expected_of_report, obligation_statuses,
    reconcile,
};
use onrecord_evidence::identity::alias_graph::Anchor;
use onrecord_evidence::identity::person_name::person_name;

/// The expected exceptions of a call.
pub(crate) struct CallExceptions<'a> {
    call: &'a str,
    expected: Vec<ExpectedException>,
    description: CallDescription,
    verdict: Option<&'a NewVerdict>,
    /// The status of each obligation, by subject and due time.
    statuses: BTreeMap<(String, Millis), &'static str>,
    of_outsiders: &'a OutsiderStatements,
}

impl<'a> CallExceptions<'a> {
    pub(crate) fn of(projection: &'a CallProjection, verdict: Option<&'a NewVerdict>) -> Self {
        let parameters = Parameters::default();
        let report = projection.report.as_ref();
        let conflicts = projection.rows.flags.iter();
        let of_outsiders = &projection.of_outsiders;
        let conflicts = conflicts
            .filter_map(|flag| flag.strip_prefix("CONFLICT:"))
            .filter(|key| !of_outsiders.has_key(key));
        let disagreements = projection.disagreements.iter();
        let expected = report
            .map(|report| expected_of_report(report, &parameters))
            .into_iter()
            .flatten()
            .chain(conflicts.map(ExpectedException::conflicting_content))
            .chain(disagreements.map(ExpectedException::disagreeing_reporters));
        let description = description(&projection.rows);
        Self {
            call: &projection.rows.call,
            expected: expected.map(|one| description.describe(one)).collect(),
            description,
            verdict,
            statuses: report.map(obligation_statuses).unwrap_or_default(),
            of_outsiders,
        }
    }

    /// The history line of an exception that is expected.
    fn line_of_expected(&self, expected: &ExpectedException) -> HistoryLine {
        let mut facts = expected.facts.clone();
        if let Some(verdict) = self.verdict.filter(|verdict| !verdict.changed_by.is_null()) {
            facts.insert("changed_by".to_owned(), verdict.changed_by.clone());
        }
        let version = self.verdict.map(|verdict| verdict.version);
        HistoryLine { reason: expected.sentence(), facts: Value::Object(facts), version }
    }

    /// The history line of an exception that is no longer expected.
    fn line_of_ended(&self, ended: &ExpectedException) -> HistoryLine {
        let status = ended.at.and_then(|due| self.statuses.get(&(ended.subject.clone(), due)));
        let reason = match status {
            Some(status) => format!("the obligation is {status} now"),
            None => "the facts of the call do not require it now".to_owned(),
        };
        let facts = json!({ "changed_by": self.verdict.map(|verdict| &verdict.changed_by) });
        HistoryLine { reason, facts, version: self.verdict.map(|verdict| verdict.version) }
    }

    /// The changes of the existing exceptions of the call.
    pub(crate) fn steps(&self, existing: &[ExistingException]) -> Vec<ExceptionStep> {
        let steps = reconcile(existing, &self.expected).into_iter();
        steps
            .map(|step| {
                let line = match step.change {
                    // The sentence has other words, and says the same.
                    ExceptionChange::Described => None,
                    _ if step.is_expected() => Some(self.line_of_expected(step.content)),
                    _ => Some(self.line_of_ended(step.content)),
                };
                ExceptionStep::new(&step, Some(self.call), line)
            })
            .collect()
    }
}

/// Who the persons of a call are, and when it began.
fn description(rows: &CallRowSet) -> CallDescription {
    let persons = rows.sessions.iter().map(|session| {
        let (name, raw_id) = (session.display_name.as_deref(), session.raw_id.as_deref());
        (session.session.clone(), person_name(name, raw_id, &session.session))
    });
    CallDescription::new(rows.started_at.timestamp_millis(), persons.collect())
}

/// The result of a reconciliation.
#[derive(Default)]
pub(crate) struct ReconciledExceptions {
    pub counts: ExceptionCounts,
    /// The calls of which an exception changed.
    pub changed: BTreeSet<String>,
}

/// Reconciles the exceptions of these calls. The exceptions of a `gone` call move to the call that it
/// became part of.
///
/// # Errors
///
/// [`StoreError`].
pub(crate) async fn reconcile_calls(
    tx: &mut Tx<'_>,
    tenant: &str,
    mut calls: Vec<CallExceptions<'_>>,
    gone: &[&str],
    now: DateTime<Utc>,
) -> Result<ReconciledExceptions, StoreError> {
    postgres::move_exceptions(tx, tenant, gone, now).await?;
    let names: Vec<&str> = calls.iter().map(|one| one.call).collect();
    if names.is_empty() {
        return Ok(ReconciledExceptions::default());
    }
    let (mut existing, mut ambiguities) = postgres::exceptions_of_calls(tx, tenant, &names).await?;
    let mut steps = Vec::new();
    for one in &mut calls {
        let of_outsiders = one.of_outsiders;
        let ambiguous = ambiguities.remove(one.call).unwrap_or_default().into_iter();
        let ambiguous = ambiguous.filter(|it| !of_outsiders.has_id(&it.id));
        let ambiguous =
            ambiguous.map(|it| ExpectedException::conflicting_identity(&it.id, &it.calls));
        one.expected.extend(ambiguous.map(|expected| one.description.describe(expected)));
        let mut existing = existing.remove(one.call).unwrap_or_default();
        existing.retain(|one| one.content.kind.row().origin == ExceptionOrigin::Call);
        steps.extend(one.steps(&existing));
    }
    let changed = steps.iter().filter_map(|step| step.call.clone()).collect();
    Ok(ReconciledExceptions { counts: write_steps(tx, tenant, steps, now).await?, changed })
}

/// Writes the changes of a tenant's exceptions.
///
/// # Errors
///
/// [`StoreError`].
pub(crate) async fn write_steps(
    tx: &mut Tx<'_>,
    tenant: &str,
    mut steps: Vec<ExceptionStep>,
    now: DateTime<Utc>,
) -> Result<ExceptionCounts, StoreError> {
    if steps.is_empty() {
        return Ok(ExceptionCounts::default());
    }
    let refused = postgres::store_exception_steps(tx, tenant, &steps, now).await?;
    steps.retain(|step| !refused.contains(&step.id));
    Ok(ExceptionCounts::of(&steps))
}

/// The occurrences of events whose source's clock differs from the clock of the service: one for each
/// source and call, else day. `resolves_to` has the call of each anchor.
pub(crate) fn clock_occurrences(
    events: &[&DecodedEvent],
    resolves_to: &BTreeMap<Anchor, Anchor>,
) -> Vec<Occurrence> {
    let events = events.iter().filter(|event| event.clock_differs);
    postgres::merge_by_subject(events.map(|event| {
        let received = event.message.received;
        let anchor = event.call_ids.anchor.as_ref();
        let place = anchor.map_or_else(|| received.date_naive().to_string(), Anchor::to_string);
        let source = postgres::subject_text(&event.message.source);
        let facts = json!({ "source": source, "call_or_day": place });
        let mut one = Occurrence::once(ExceptionKind::Clock, facts, received);
        one.call = anchor.map(|anchor| resolves_to.get(anchor).unwrap_or(anchor).to_string());
        one
    }))
}
