//! Records occurrences as exceptions: those of the origins `Counted` and `Logged`.

use std::collections::BTreeMap;

use chrono::{DateTime, Utc};
use sqlx::PgConnection;

use super::history::{
    ExceptionCounts, ExceptionStep, HistoryLine, exceptions_of_subjects, store_exception_steps,
};
use crate::postgres::StoreError;
use crate::postgres::call::call_terms::refresh_exception_terms;
use onrecord_evidence::exception::{
    ExceptionChange, ExceptionKind, ExceptionOrigin, ExpectedException, Occurrence, reconcile,
};

/// Records occurrences of a tenant, one for each kind and subject.
///
/// # Errors
///
/// [`StoreError`].
pub async fn record_occurrences(
    connection: &mut PgConnection,
    tenant: &str,
    occurrences: &[Occurrence],
    now: DateTime<Utc>,
) -> Result<ExceptionCounts, StoreError> {
    let mut counts = ExceptionCounts::default();
    let mut by_kind: BTreeMap<ExceptionKind, Vec<&Occurrence>> = BTreeMap::new();
    for one in occurrences {
        by_kind.entry(one.kind).or_default().push(one);
    }
    for (kind, mut remaining) in by_kind {
        // An exception that another transaction opens at the same time exists in the second pass.
        while !remaining.is_empty() {
            let subjects: Vec<&str> = remaining.iter().map(|one| one.subject.as_str()).collect();
            let existing = exceptions_of_subjects(connection, tenant, kind, &subjects).await?;
            let expected: Vec<ExpectedException> = remaining
                .iter()
                .map(|one| {
                    let mut existing = existing.iter();
                    one.added_to(existing.find(|it| it.content.subject == one.subject))
                })
                .collect();
            let steps = reconcile(&existing, &expected).into_iter().map(|step| {
                let is_logged = kind.row().origin == ExceptionOrigin::Logged
                    || step.change != ExceptionChange::Changed;
                let line =
                    is_logged.then(|| HistoryLine::of("it happened".to_owned(), step.content));
                let mut remaining = remaining.iter();
                let occurred = remaining.find(|one| one.subject == step.content.subject);
                ExceptionStep::new(&step, occurred.and_then(|one| one.call.as_deref()), line)
            });
            let steps: Vec<ExceptionStep> = steps.collect();
            let not_opened = store_exception_steps(connection, tenant, &steps, now).await?;
            let (not_opened, done): (Vec<ExceptionStep>, Vec<ExceptionStep>) =
                steps.into_iter().partition(|step| not_opened.contains(&step.id));
            counts.add(&ExceptionCounts::of(&done));
            remaining
                .retain(|one| not_opened.iter().any(|step| step.content.subject == one.subject));
        }
    }
    let calls: Vec<&str> = occurrences.iter().filter_map(|one| one.call.as_deref()).collect();
    refresh_exception_terms(connection, tenant, &calls).await?;
    Ok(counts)
}

/// All tenants that have a source or an API key.
///
/// # Errors
///
/// [`StoreError`].
pub async fn tenants(connection: &mut PgConnection) -> Result<Vec<String>, StoreError> {
    Ok(sqlx::query_scalar(SELECT_TENANTS).fetch_all(connection).await?)
}

statements! {
    const SELECT_TENANTS: &str = "select tenant from source_use union select tenant from api_key where revoked_at is null order by 1";
}
