//! The asynchronous runtime of a command.

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
