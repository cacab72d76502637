//! Exports: the rows of the schema `reading` as files, made by jobs.
//!
//! * [`requests`]: admits requests; [`routes`]: the resource of exports; [`download`]: their files.
//! * [`job_runner`]: claims a job under a lease, and ends it: done, failed, or left to another node.
//! * [`pipeline`]: reads the rows in one snapshot, encodes them ([`encode`]) and writes files ([`files`]), at once
//!   and in bounded memory.
//! * [`manifest`]: what the files of an export contain.
//! * [`retention`]: deletes the files of exports that were deleted or whose time is over.
//!
//! # Failures
//!
//! A file exists for readers only when its export is done. An attempt that ends otherwise deletes what it wrote;
//! what a node that was killed left behind, the next attempt or the retention deletes.

pub(crate) mod access;
pub(crate) mod byte_range;
pub(crate) mod context;
pub(crate) mod download;
pub(crate) mod encode;
pub(crate) mod files;
pub(crate) mod job_runner;
pub(crate) mod local_export;
pub(crate) mod manifest;
pub(crate) mod pipeline;
pub(crate) mod request_body;
pub(crate) mod requests;
pub(crate) mod retention;
pub(crate) mod routes;

use uuid::Uuid;

use self::context::ExportContext;
pub(crate) use self::routes::{router, routes};
use crate::lifecycle::Lifecycle;

/// Starts the workers, each of which runs one export at a time, and the retention.
pub(crate) fn start(context: &ExportContext, lifecycle: &Lifecycle) {
    let owner = Uuid::new_v4().to_string();
    for worker in 0..context.settings.max_running {
        let owner = format!("{owner}-{worker}");
        lifecycle.run("exports", job_runner::run(context.clone(), owner, lifecycle.clone()));
    }
    lifecycle.run("export retention", retention::run(context.clone(), owner, lifecycle.clone()));
}
