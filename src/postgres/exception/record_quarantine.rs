//! Stores quarantined content, and records the exceptions of it in the same transaction.

use std::collections::BTreeMap;

use chrono::{DateTime, Utc};
use serde_json::json;
use sqlx::PgConnection;

use super::history::ExceptionCounts;
use super::record_occurrence::record_occurrences;
use crate::postgres::StoreError;
use crate::postgres::record::quarantine::{NewQuarantine, insert_quarantine};
use onrecord_evidence::exception::{ExceptionKind, Occurrence};

/// Maximum characters of a text that becomes part of an exception's subject.
const MAX_SUBJECT_CHARS: usize = 100;

/// Stores these rows, and records an occurrence for each source and reason. Rows that are stored
/// already have no effect. Returns how many rows are new, and the exceptions.
///
/// # Errors
///
/// [`StoreError`].
pub async fn record_quarantine(
    connection: &mut PgConnection,
    rows: &[NewQuarantine],
    now: DateTime<Utc>,
) -> Result<(u64, ExceptionCounts), StoreError> {
    let mut inserted: Vec<&NewQuarantine> = Vec::new();
    for row in rows {
        if insert_quarantine(connection, row).await? {
            inserted.push(row);
        }
    }
    let mut counts = ExceptionCounts::default();
    for (tenant, occurrences) in occurrences_by_tenant(&inserted) {
        counts.add(&record_occurrences(connection, &tenant, &occurrences, now).await?);
    }
    Ok((inserted.len() as u64, counts))
}

/// One occurrence for each tenant, source and reason.
fn occurrences_by_tenant(rows: &[&NewQuarantine]) -> BTreeMap<String, Vec<Occurrence>> {
    let mut by_tenant: BTreeMap<String, Vec<Occurrence>> = BTreeMap::new();
    for row in rows {
        let facts =
            json!({ "source": subject_text(&row.source), "reason": subject_text(&row.reason) });
        let one = Occurrence::once(ExceptionKind::Quarantine, facts, row.received_at);
        let tenant = row.tenant.replace('\0', "\u{fffd}");
        by_tenant.entry(tenant).or_default().push(one);
    }
    by_tenant.into_iter().map(|(tenant, all)| (tenant, merge_by_subject(all))).collect()
}

/// Merges occurrences of one kind: one for each subject is left.
pub(crate) fn merge_by_subject(all: impl IntoIterator<Item = Occurrence>) -> Vec<Occurrence> {
    let mut merged: BTreeMap<String, Occurrence> = BTreeMap::new();
    for one in all {
        merged.entry(one.subject.clone()).and_modify(|before| before.merge(&one)).or_insert(one);
    }
    merged.into_values().collect()
}

/// Makes a text from the log fit for a subject, which has an index: no NUL, limited length.
pub(crate) fn subject_text(text: &str) -> String {
    text.chars().map(|c| if c == '\0' { '\u{fffd}' } else { c }).take(MAX_SUBJECT_CHARS).collect()
}

#[cfg(test)]
mod tests {
    use uuid::Uuid;

    use super::*;
    use onrecord_evidence::event::ids::Digest;

    fn row(tenant: &str, reason: &str, second: i64) -> NewQuarantine {
        NewQuarantine {
            id: Uuid::now_v7(),
            tenant: tenant.to_owned(),
            key: Digest::of(reason.as_bytes()),
            source: "eg\0".to_owned() + &"x".repeat(500),
            reason: reason.to_owned(),
            detail: String::new(),
            pointer: None,
            content: None,
            sealed: None,
            content_type: None,
            content_coding: None,
            charset: None,
            size: 0,
            sha256: Digest::of(b""),
            redacted: Vec::new(),
            received_at: DateTime::from_timestamp(second, 0).unwrap(),
        }
    }

    #[test]
    fn rows_of_one_source_and_reason_are_one_exception() {
        let rows = [
            row("contoso", "not_json", 20),
            row("contoso", "not_json", 10),
            row("contoso", "too_deep", 10),
            row("fabrikam", "not_json", 10),
        ];
        let rows: Vec<&NewQuarantine> = rows.iter().collect();
        let occurrences = occurrences_by_tenant(&rows);
        assert_eq!(occurrences["fabrikam"].len(), 1);
        let counts: Vec<u64> = occurrences["contoso"].iter().map(|one| one.count).collect();
        assert_eq!(counts, [2, 1]);
        let one = &occurrences["contoso"][0];
        assert!(one.first_at < one.last_at);
        assert!(one.subject.chars().count() < 220 && !one.subject.contains('\0'));
    }
}
