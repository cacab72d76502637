//! The terms of calls, by which lists of calls are filtered.

use chrono::{DateTime, Utc};
use sqlx::PgConnection;

use super::call_row_set::CallRowSet;
use crate::postgres::StoreError;

/// The terms of calls, as the columns of the statement that stores them.
#[derive(Debug, Default)]
pub struct CallTermColumns {
    calls: Vec<String>,
    call_starts: Vec<DateTime<Utc>>,
    term_calls: Vec<String>,
    term_starts: Vec<DateTime<Utc>>,
    terms: Vec<String>,
}

impl CallTermColumns {
    /// Adds the terms of a call.
    pub fn add(&mut self, set: &CallRowSet) {
        for term in &set.terms {
            self.term_calls.push(set.call.clone());
            self.term_starts.push(set.started_at);
            self.terms.push(term.clone());
        }
        self.calls.push(set.call.clone());
        self.call_starts.push(set.started_at);
    }
}

/// Replaces the terms of calls whose rows and exceptions this transaction has written. `gone` are former calls that
/// are part of another one now.
///
/// # Errors
///
/// [`StoreError`].
pub async fn store_call_terms(
    connection: &mut PgConnection,
    tenant: &str,
    columns: &CallTermColumns,
    gone: &[&str],
) -> Result<(), StoreError> {
    if !columns.calls.is_empty() || !gone.is_empty() {
        sqlx::query(STORE_CALL_TERMS)
            .bind(tenant)
            .bind(&columns.calls)
            .bind(&columns.call_starts)
            .bind(&columns.term_calls)
            .bind(&columns.term_starts)
            .bind(&columns.terms)
            .bind(gone)
            .execute(connection)
            .await?;
    }
    Ok(())
}

/// Makes the term of the exceptions of these calls what their exceptions say. It is the last statement of a
/// transaction that changes exceptions and does not project their calls.
///
/// # Errors
///
/// [`StoreError`].
pub async fn refresh_exception_terms(
    connection: &mut PgConnection,
    tenant: &str,
    calls: &[&str],
) -> Result<(), StoreError> {
    if !calls.is_empty() {
        let query = sqlx::query(REFRESH_EXCEPTION_TERMS).bind(tenant).bind(calls);
        query.execute(connection).await?;
    }
    Ok(())
}

statements! {
    const STORE_CALL_TERMS: &str = "select store_call_terms($1, $2, $3, $4, $5, $6, $7)";

    const REFRESH_EXCEPTION_TERMS: &str = "select refresh_exception_terms($1, $2)";
}
