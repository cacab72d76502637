//! The asynchronous runtime of a command, and the limit of open files.

/// Creates a runtime, and raises the soft limit of open files to the hard one, because every
/// connection is a file.
///
/// # Errors
///
/// The system cannot start threads.
pub(super) fn runtime() -> anyhow::Result<tokio::runtime::Runtime> {
    if let Err(error) = rlimit::increase_nofile_limit(u64::MAX) {
        tracing::debug!(error = %error, "the number of open files stays as it is: {error}");
    }
    Ok(tokio::runtime::Builder::new_multi_thread().enable_all().build()?)
}

/// The maximum number of open files, and so of connections, of this process.
pub(super) fn max_files() -> u64 {
    rlimit::Resource::NOFILE.get_soft().unwrap_or(rlimit::INFINITY)
}
