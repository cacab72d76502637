//! The list of all SQL statements. A test prepares each of them on the migrated schema.

#[cfg(feature = "demo")]
use super::bulk;
use super::sql_statement::SqlStatement;
use super::{
    call, connect, diagnostics, exception, export, flat_records, log, operations, query, record,
    webhook,
};

/// All SQL statements of this module, except migrations, utility commands (`begin`, `set`,
/// `create table`) and what `sqlx` sends itself: PostgreSQL prepares none of those.
#[must_use]
pub fn statements() -> Vec<SqlStatement> {
    [
        #[cfg(feature = "demo")]
        bulk::history_store::STATEMENTS,
        call::alias::STATEMENTS,
        call::call_facts::STATEMENTS,
        call::call_rows::STATEMENTS,
        call::call_terms::STATEMENTS,
        call::locks::STATEMENTS,
        call::pending_merge::STATEMENTS,
        call::postponed_call::STATEMENTS,
        call::verdict::STATEMENTS,
        connect::pool::STATEMENTS,
        connect::schema::STATEMENTS,
        diagnostics::STATEMENTS,
        exception::close_exception::STATEMENTS,
        exception::exception_work::STATEMENTS,
        exception::history::STATEMENTS,
        exception::record_occurrence::STATEMENTS,
        export::chunks::STATEMENTS,
        export::exported_view::STATEMENTS,
        export::job::STATEMENTS,
        export::job_claims::STATEMENTS,
        export::snapshot_rows::STATEMENTS,
        flat_records::changed_calls::STATEMENTS,
        flat_records::published::STATEMENTS,
        log::lease::STATEMENTS,
        log::log_end::STATEMENTS,
        log::position::STATEMENTS,
        log::spool::STATEMENTS,
        operations::access_log::STATEMENTS,
        operations::api_key::STATEMENTS,
        operations::availability::STATEMENTS,
        operations::console_filter::STATEMENTS,
        operations::console_session::STATEMENTS,
        operations::console_user::STATEMENTS,
        operations::planner_statistics::STATEMENTS,
        operations::reader_login::STATEMENTS,
        operations::rollup::STATEMENTS,
        operations::source_setup::STATEMENTS,
        operations::source_use::STATEMENTS,
        operations::token_revocation::STATEMENTS,
        query::call_list::STATEMENTS,
        query::exceptions::STATEMENTS,
        query::live_page::STATEMENTS,
        query::person::STATEMENTS,
        query::snapshot::STATEMENTS,
        query::stats::STATEMENTS,
        query::stored_facts::STATEMENTS,
        query::unseen::STATEMENTS,
        query::verdict_versions::STATEMENTS,
        record::entry::STATEMENTS,
        record::notice::STATEMENTS,
        record::quarantine::STATEMENTS,
        webhook::attempt_results::STATEMENTS,
        webhook::claim::STATEMENTS,
        webhook::message::STATEMENTS,
        webhook::new_event::STATEMENTS,
        webhook::overview::STATEMENTS,
        webhook::redelivery::STATEMENTS,
        webhook::retention::STATEMENTS,
        webhook::secret::STATEMENTS,
        webhook::subscription::STATEMENTS,
        webhook::subscription_change::STATEMENTS,
    ]
    .concat()
}
