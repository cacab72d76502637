//! The terms of calls, by which lists of calls are filtered.

use sqlx::PgConnection;

use crate::postgres::StoreError;

/// Makes the terms of these calls what their other rows say. It is the last statement of a transaction that
/// changes calls or their exceptions.
///
/// # Errors
///
/// [`StoreError`].
pub async fn refresh_call_terms(
    connection: &mut PgConnection,
    tenant: &str,
    calls: &[&str],
) -> Result<(), StoreError> {
    if !calls.is_empty() {
        let query = sqlx::query(REFRESH_CALL_TERMS).bind(tenant).bind(calls);
        query.execute(connection).await?;
    }
    Ok(())
}

statements! {
    const REFRESH_CALL_TERMS: &str = "select refresh_call_terms($1, $2)";
}
