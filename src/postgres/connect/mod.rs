//! Connections to PostgreSQL: pools, transactions with retries, errors, migrations.

pub(crate) mod error;
pub(crate) mod pool;
pub(crate) mod schema;
pub(crate) mod timed_pool;
