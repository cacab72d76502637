//! Cellar 2: the audit store. The only room that speaks SQL; one file per aggregate.
//!
//! What comes in: batches of the ledger, spooled messages, questions of the reading room. What can
//! fail is a [`StoreError`], whose variants say what the caller must do.
//!
//! # Why
//!
//! *A batch asks for each of its ids by itself* (`unnest … cross join lateral (… offset 0)`), and
//! never with `= any`. Of a table that has grown since it was last analyzed the planner takes a
//! tenant for a small part, and reads everything that the tenant has, for every batch; and a plan
//! once made is kept with the prepared statement.

mod absence;
mod account;
mod alias;
mod call;
mod closing;
mod condition;
mod door;
mod dossier;
mod entry;
mod error;
mod exception;
mod key;
mod lease;
mod lending;
mod notice;
mod position;
mod quarantine;
mod raise;
mod reading;
mod schema;
mod source_use;
mod spool;
mod verdict;

pub use absence::{LastWord, Presence, RefusalRun, Refused, last_refusals, last_words};
pub use account::{AccountPage, VersionRow, Which};
pub use alias::{Touched, calls_of, leads_of, learn_links, lock_ids};
pub use call::{
    CallFold, QuietCall, SessionRow, StretchRow, due_for_refold, leave_to_sweeper, put_off_refold,
    quiet_calls, sizes_of, store_folds,
};
pub use closing::{Actor, Closing, close_exception};
pub use condition::{
    GapCondition, Look, PositionCondition, PostgresAway, PostgresCondition, QuarantineCondition,
    SchemaCondition, ServerCondition, SpoolCondition, TableCondition, UseCondition,
    postgres_condition,
};
pub use door::{Store, Work};
pub use dossier::{read_dossiers, read_lines};
pub use entry::{
    NewEntry, NewFact, Recognition, antedate_facts, forget_seen, insert_entries, insert_facts,
    recognize,
};
pub use error::StoreError;
pub use exception::{
    Ambiguity, ExceptionStep, ExceptionTally, StoredException, Turn, exceptions_of_calls,
    exceptions_of_sources, move_exceptions, open_exceptions, store_exception_steps,
};
pub use key::{ApiKey, NewApiKey, Role};
pub use lease::{hold, release};
pub use notice::{NewNoticeFact, NoticeRow, NoticeText, Registration, enter_notice_facts};
pub use position::{
    Claim, Position, advance, book_complete_through, complete_through, followers, let_go, note_gap,
    position_of, renew, retire, take,
};
pub use quarantine::{NewQuarantine, insert_quarantine};
pub use raise::{Raised, raise, tenants};
pub use reading::{
    CallFilter, CallPage, CallRow, EntryFilter, EntryRow, ExceptionFilter, ExceptionRow,
    PAGE_BYTES, QuarantineFilter, QuarantineRow, ReadingRoom, SessionView, StoryRow, StretchView,
    UnseenInterval, UnseenKind, WATCHED_ROOMS,
};
pub use source_use::{SourceUse, note_uses};
pub use spool::{SpoolListener, SpoolTail, SpooledMessage, SpooledPage};
pub use verdict::{LatestVerdict, ObligationRow, VerdictRow, latest_verdicts, store_verdicts};
