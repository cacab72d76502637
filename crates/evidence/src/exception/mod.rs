//! Exceptions: findings that a person must review, each with a sentence that says what happened and
//! one that says what to do.
//!
//! [`ExceptionKind`] is the table of kinds; [`reconcile()`] compares the exceptions that exist with
//! those that are expected now.
//!
//! # Why
//!
//! *An exception is not a log line.* It is opened once, stays open until its cause ends or an
//! auditor closes it with a reason, and each change is a line of its history. So the expected
//! exceptions are computed at each evaluation, as a set, and compared with the existing ones: a late
//! fact that removes the cause closes the exception, and one that moves it changes it.

pub mod description;
pub mod expected;
pub mod kind;
pub mod occurrence;
pub mod outage;
pub mod outsider_statements;
pub mod reconcile;
pub mod rejection;

pub use description::CallDescription;
pub use expected::{ExpectedException, expected_of_report, obligation_statuses};
pub use kind::{ExceptionKind, ExceptionOrigin, Severity};
pub use occurrence::Occurrence;
pub use outsider_statements::OutsiderStatements;
pub use reconcile::{ExceptionChange, ExceptionState, ExistingException, ReconcileStep, reconcile};
pub use rejection::RejectionSeries;
