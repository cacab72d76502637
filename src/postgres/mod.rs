//! The PostgreSQL adapter: the only module that uses `sqlx`. One file per aggregate.
//!
//! The ledger writes batches, `publish` writes and reads the spool, the query API reads snapshots of
//! one tenant, `onrecord doctor` reads diagnostics. Errors are [`StoreError`]s, whose variants state
//! what the caller must do. `docs/data-model.md` describes the tables.
//!
//! # Why
//!
//! *A statement of a batch looks up each id separately* (`unnest … cross join lateral (… offset 0)`),
//! never with `= any`. When a table has grown since it was last analyzed, the planner estimates that
//! a tenant has few rows, and chooses a plan that reads all rows of the tenant for each batch.
//! PostgreSQL keeps such a plan with the prepared statement.

/// Declares the SQL statements of a file as constants, and lists them as `STATEMENTS`. A test prepares
/// each of them on the migrated schema.
macro_rules! statements {
    ($($(#[$attribute:meta])* const $name:ident: &str = $text:expr;)+) => {
        $($(#[$attribute])* const $name: &str = $text;)+

        pub(crate) const STATEMENTS: &[crate::postgres::SqlStatement] = &[
            $(crate::postgres::SqlStatement {
                file: file!(),
                name: stringify!($name),
                sql: $name,
            }),+
        ];
    };
}

#[cfg(feature = "demo")]
pub(crate) mod bulk;
pub(crate) mod call;
pub(crate) mod column;
pub(crate) mod connect;
pub(crate) mod diagnostics;
pub(crate) mod exception;
pub(crate) mod export;
pub(crate) mod flat_records;
pub(crate) mod log;
pub(crate) mod operations;
pub(crate) mod query;
pub(crate) mod record;
pub(crate) mod sql_statement;
pub(crate) mod statement;
pub(crate) mod webhook;

#[cfg(feature = "demo")]
pub(crate) use bulk::history_rows::{
    ExceptionClosing, HistoryRows, OpenedException, ResolvedAlias,
};
#[cfg(feature = "demo")]
pub(crate) use bulk::history_store::HistoryStore;
pub use call::alias::{TouchedCalls, calls_of, insert_links, move_ids, resolve};
pub use call::call_facts::{KnownEvents, read_call_facts, read_facts_of_anchors};
pub use call::call_row_set::{CallRowSet, CaptureRow, SessionRow};
pub use call::call_rows::{QuietCall, quiet_calls, store_calls};
pub use call::call_summary::{CallSummary, CaptureSummary};
pub use call::call_terms::{CallTermColumns, refresh_exception_terms, store_call_terms};
pub use call::locks::{
    HeldLocks, LockLimits, MAX_TRANSACTION_LOCKS, MIN_TRANSACTION_LOCKS, lock_slots,
};
pub use call::pending_merge::{
    PendingMerge, continue_merge, next_ids_of_merge, pending_merges, retry_merge_at,
};
pub use call::postponed_call::{
    CallSize, DueCall, PostponedWork, call_sizes, calls_due, evaluated_calls, postpone_calls,
    postponed_work, set_retry_at,
};
pub use call::verdict::{LatestVerdict, VerdictRow, latest_verdicts, store_verdicts};
pub use connect::error::StoreError;
pub use connect::pool::Postgres;
pub use connect::timed_pool::Tx;
pub use diagnostics::{
    GapDiagnostics, PositionDiagnostics, PostgresDiagnostics, PostgresUnreachable,
    QuarantineDiagnostics, RejectionDiagnostics, SchemaDiagnostics, ServerDiagnostics,
    SourceUseDiagnostics, SpoolDiagnostics, TableCheck, TableDiagnostics, WebhookDiagnostics,
    diagnose_postgres,
};
pub use exception::close_exception::{CloseOutcome, ClosingKey, close_exception};
pub use exception::exception_work::{ExceptionWork, WorkOutcome, work_on_exception};
pub use exception::history::{
    AmbiguousId, ExceptionCounts, ExceptionStep, ExceptionsByKey, HistoryLine, exceptions_of_calls,
    exceptions_of_sources, move_exceptions, open_exceptions, store_exception_steps,
};
pub use exception::record_occurrence::{record_occurrences, tenants};
pub use exception::record_quarantine::record_quarantine;
pub(crate) use exception::record_quarantine::{merge_by_subject, subject_text};
pub use export::binary_rows::{BinaryRowError, BinaryRows, Cell, ColumnType, next_cell};
pub(crate) use export::chunks::{Attempts, CHUNK_BYTES, ChunkPlace};
pub use export::exported_view::ExportedView;
pub use export::job::{
    ExportAdmission, ExportFileRow, ExportState, KeptIn, NewExport, StoredExport,
};
pub(crate) use export::job_claims::{AttemptEnd, ClaimedExport, ExportLimits, WrittenFile};
pub use export::request::{ExportFilter, ExportFormat, ExportRequest, RequestError};
pub use export::snapshot_rows::ExportedColumn;
pub use flat_records::changed_calls::{
    FlatCall, FlatCallRows, FlatPosition, FlatRow, FlatView, PublishedRecords, flat_call_rows,
};
pub use flat_records::published::{FlatRecordName, PublishedStep};
pub use log::lease::{extend, hold, release};
pub use log::log_end::{LogEnd, StoredPosition, stored_positions};
pub use log::position::{
    PartitionLease, PartitionPosition, RewoundPartition, advance, complete_through,
    complete_through_before, position_of, raise_complete_through, record_gap, record_recreation,
    register_followers, release_all_partitions, release_partitions, renew_partitions,
    take_partitions,
};
pub use log::spool::{SpoolListener, SpoolTail, SpooledMessage, SpooledPage};
pub use operations::access_log::{AccessFilter, AccessRow};
pub use operations::api_key::ApiKey;
pub use operations::availability::{
    AvailabilityInterval, LastDelivery, RejectedDeliveries, RejectionRun, last_deliveries,
    last_rejections, record_silence,
};
pub(crate) use operations::console_filter::{FilterOwner, SavedFilter};
pub(crate) use operations::console_session::{
    ListedSession, NewConsoleSession, SessionActor, SessionLimits, SignOut,
};
pub(crate) use operations::console_user::StatedUser;
pub use operations::planner_statistics::analyze_new_tables;
pub(crate) use operations::reader_login::{DropOutcome, LoginRefusal, ReaderLoginRow};
pub use operations::rollup::make_rollups;
pub use operations::source_setup::{
    AnsweredHandshake, EventOfSource, HandshakeSchema, LastHandshake, ReportedCall,
};
pub use operations::source_use::{LastSourceUse, SourceRejection, SourceUse, record_source_uses};
pub(crate) use operations::token_revocation::UnreadRevocations;
pub use query::call_list::{
    CallCount, CallFilter, CallOrder, CallPage, CallPosition, ChangedCall, MAX_NAMES, TermFilter,
};
pub use query::live_page::CurrentObligation;
pub use query::person::{MentionRow, ObligationRow, PersonRows, SessionOfCall, StatementRow};
pub(crate) use query::questions::{
    QuestionAnswer, QuestionPeriod, QuestionPerson, ReadingQuestion,
};
pub use query::snapshot::{
    CallDetails, CallRow, CaptureDetailRow, EntryFilter, EntryOrder, EntryRow, ExceptionActor,
    ExceptionFilter, ExceptionHistoryRow, ExceptionRow, MAX_COUNTED_OPEN,
    MAX_QUARANTINE_PAGE_BYTES, OpenExceptionCount, QuarantineFilter, QuarantineRow,
    SessionDetailRow, TenantSnapshot, Unassigned, UnseenInterval, UnseenKind,
};
pub use query::stats::{HistogramRow, StatIntervals, StatSubject};
pub(crate) use query::stored_facts::{EntryOriginal, FactWithEntry, StoredNoticeFact};
pub use query::verdict_versions::{VersionRow, VersionSelector, VersionWithFacts};
pub use record::entry::{
    DedupOutcome, NewEntry, NewFact, deduplicate, delete_event_keys, insert_entries, insert_facts,
    lower_fact_times,
};
pub use record::notice::{
    NewNoticeFact, NoticeRow, NoticeText, TextRegistration, append_notice_facts,
};
pub(crate) use record::quarantine::NewQuarantine;
pub use sql_statement::SqlStatement;
pub use statement::statements;
pub(crate) use webhook::attempt_results::{
    AttemptResult, CircuitPolicy, MessageStep, ReceiverHealth,
};
pub(crate) use webhook::claim::{ClaimedMessage, MAX_CLAIMED_SUBSCRIPTIONS, StoredEndpoint};
pub(crate) use webhook::event_name;
pub(crate) use webhook::listener::WebhookNotification;
pub use webhook::message::{
    MESSAGE_STATES, MessageFilter, MessageState, StoredAttempt, StoredMessage,
};
pub use webhook::new_event::{
    CallBefore, NewWebhookEvent, SubscribedTenants, calls_before, make_webhook_messages,
};
pub(crate) use webhook::overview::WebhookLag;
pub use webhook::redelivery::RedeliveredMessages;
pub(crate) use webhook::secret::NewSecret;
pub use webhook::secret::SecretInfo;
pub(crate) use webhook::subscription::NewWebhook;
pub use webhook::subscription::{
    SignatureAlgorithm, StaleNotices, StoredWebhook, WebhookContent, WebhookFilter, WebhookOrder,
    WebhookState,
};
pub use webhook::subscription_change::WebhookChange;
