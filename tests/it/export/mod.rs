//! Exports: jobs, files, formats, and what happens when something fails.

mod bucket;
mod failures;
mod formats;
mod history;
mod jobs;
mod programs;
mod shares;
