//! Exceptions, settled in the transaction that judges the calls.
//!
//! # Why
//!
//! An exception that is settled later could contradict the verdict that a reader sees beside it. So
//! what a call's account calls for is compared with what is known in the same transaction, for all
//! calls of a batch with one question; where nothing is open and nothing called for, that is all.

use std::collections::BTreeMap;

use chrono::{DateTime, Utc};
use metrics::counter;
use serde_json::{Value, json};
use uuid::Uuid;

use super::account::Account;
use super::judge::Judgement;
use crate::domain::exception::{
    Called, Known, Severity, Step, called_for_by, settle as settle_known, statuses,
};
use crate::domain::instant::Millis;
use crate::domain::parameters::Parameters;
use crate::store::{self, ExceptionStep, ExceptionTally, StoreError, StoredException, Turn, Work};
use crate::telemetry::names;

/// A call with what its account calls for.
pub(super) struct Judged<'a> {
    pub call: &'a str,
    pub called: Vec<Called>,
    /// Of its verdict, if it has one.
    pub version: Option<i32>,
    /// The facts by which that differs from the version before.
    pub changed_by: &'a Value,
    /// How each obligation stands, by session and type, and due.
    pub statuses: BTreeMap<(String, Millis), &'static str>,
}

/// Settles the exceptions of these calls; those of `gone` go with the call that it is part of now.
///
/// # Errors
///
/// [`StoreError`].
pub(super) async fn settle(
    work: &mut Work<'_>,
    tenant: &str,
    judged: Vec<Judged<'_>>,
    gone: &[&str],
    now: DateTime<Utc>,
) -> Result<ExceptionTally, StoreError> {
    store::move_exceptions(work, tenant, gone, now).await?;
    let calls: Vec<&str> = judged.iter().map(|one| one.call).collect();
    if calls.is_empty() {
        return Ok(ExceptionTally::default());
    }
    let (stored, ambiguities) = store::exceptions_of_calls(work, tenant, &calls).await?;
    let mut by_call: BTreeMap<String, Vec<StoredException>> = BTreeMap::new();
    for one in stored
        .into_iter()
        .filter(|stored| stored.known.kind.is_judged())
    {
        let call = one.call.clone().unwrap_or_default();
        by_call.entry(call).or_default().push(one);
    }
    let mut all = Vec::new();
    for mut one in judged {
        let ambiguous = ambiguities.iter().filter(|it| it.call == one.call);
        one.called
            .extend(ambiguous.map(|it| Called::ambiguous(&it.id, &it.calls)));
        let stored = by_call.remove(one.call).unwrap_or_default();
        let found = steps(&stored, &one.called, Some(&one), |stored| {
            one.cure(&stored.known)
        });
        all.extend(found);
    }
    write_steps(work, tenant, all, now).await
}

static NOTHING: Value = Value::Null;

impl<'a> Judged<'a> {
    /// What the account of a call calls for.
    pub fn of(account: &'a Account, judgement: Option<&'a Judgement>) -> Self {
        let parameters = Parameters::default();
        let report = account.report.as_ref();
        let conflicts = account.fold.flags.iter();
        let conflicts = conflicts.filter_map(|flag| flag.strip_prefix("CONFLICT:"));
        Self {
            call: &account.fold.call,
            called: report
                .map(|report| called_for_by(report, &parameters))
                .into_iter()
                .flatten()
                .chain(conflicts.map(Called::conflicting))
                .chain(account.disagreements.iter().map(Called::disagreeing))
                .collect(),
            version: judgement.map(|judgement| judgement.version),
            changed_by: judgement.map_or(&NOTHING, |judgement| &judgement.changed_by),
            statuses: report.map(statuses).unwrap_or_default(),
        }
    }
}

impl Judged<'_> {
    /// Why an exception of the call is called for no more.
    fn cure(&self, known: &Known) -> (String, Value) {
        let status = known
            .at
            .and_then(|due| self.statuses.get(&(known.subject.clone(), due)));
        let reason = match status {
            Some(status) => format!("the obligation is {status} now"),
            None => "what is known of the call now does not call for it".to_owned(),
        };
        (reason, json!({ "changed_by": self.changed_by }))
    }
}

/// What becomes of exceptions, each with the line of its story. `cure` says why one is called for no
/// more, and by what.
pub(super) fn steps(
    stored: &[StoredException],
    called: &[Called],
    judged: Option<&Judged<'_>>,
    cure: impl Fn(&StoredException) -> (String, Value),
) -> Vec<ExceptionStep> {
    let known: Vec<Known> = stored.iter().map(|one| one.known.clone()).collect();
    let of = |known: &Known| stored.iter().find(|one| one.known.id == known.id);
    let told = |called: &Called| {
        let mut told = called.facts.clone();
        if let Some(judged) = judged.filter(|judged| !judged.changed_by.is_null()) {
            told.insert("changed_by".to_owned(), judged.changed_by.clone());
        }
        Value::Object(told)
    };
    let step = |turn: Turn, before: Option<&StoredException>, called: Option<&Called>| {
        let facts = called.map(|called| called.facts.clone());
        let facts = facts.or_else(|| before.map(|before| before.known.facts.clone()));
        let facts = facts.unwrap_or_default();
        let (reason, told) = match (called, before) {
            (Some(called), _) => (called.sentence(), told(called)),
            (None, Some(before)) => cure(before),
            (None, None) => (String::new(), Value::Null),
        };
        let known = before.map(|before| &before.known);
        let kind = called
            .map(|called| called.kind)
            .or(known.map(|known| known.kind))?;
        let subject = called.map(|called| called.subject.clone());
        Some(ExceptionStep {
            id: known.map_or_else(Uuid::now_v7, |known| known.id),
            kind,
            call: judged.map(|judged| judged.call.to_owned()),
            source: facts
                .get("source")
                .and_then(Value::as_str)
                .map(str::to_owned),
            subject: subject.or_else(|| known.map(|known| known.subject.clone()))?,
            at: called.map_or_else(|| known.and_then(|known| known.at), |called| called.at),
            facts,
            turn: Some(turn),
            reason,
            told,
            version: judged.and_then(|judged| judged.version),
        })
    };
    settle_known(&known, called)
        .into_iter()
        .filter_map(|found| match found {
            Step::Open(called) => step(Turn::Opened, None, Some(called)),
            Step::Change(known, called) => step(Turn::Changed, of(known), Some(called)),
            Step::Reopen(known, called) => step(Turn::Reopened, of(known), Some(called)),
            Step::Close(known) => step(Turn::Closed, of(known), None),
            Step::Cure(known) => step(Turn::Cured, of(known), None),
        })
        .collect()
}

/// Writes the steps of a tenant's exceptions down.
///
/// # Errors
///
/// [`StoreError`].
pub(super) async fn write_steps(
    work: &mut Work<'_>,
    tenant: &str,
    mut steps: Vec<ExceptionStep>,
    now: DateTime<Utc>,
) -> Result<ExceptionTally, StoreError> {
    if steps.is_empty() {
        return Ok(ExceptionTally::default());
    }
    let refused = store::store_exception_steps(work, tenant, &steps, now).await?;
    steps.retain(|step| !refused.contains(&step.id));
    Ok(ExceptionTally::of(&steps))
}

/// Counts what was opened and closed, once it is committed.
pub(super) fn tell(tally: &ExceptionTally) {
    for (kind, count) in &tally.opened {
        counter!(names::EXCEPTIONS_OPENED, "kind" => kind.as_str()).increment(*count);
        // The others come with many calls, and are read by those who read of calls.
        if kind.severity() != Severity::Minor {
            tracing::warn!(
                exception.kind = kind.as_str(),
                exception.count = count,
                "{count} exception(s) of kind {} were opened",
                kind.as_str()
            );
        }
    }
    for (kind, count) in &tally.closed {
        counter!(names::EXCEPTIONS_CLOSED, "kind" => kind.as_str(), "by" => "itself")
            .increment(*count);
    }
}
