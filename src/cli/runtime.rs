//! What a command runs in.

/// A runtime for a command. Every connection is a file, and systems give a process few of them
/// unless it asks: it gets as many as it may have.
///
/// # Errors
///
/// The system gives no threads.
pub(super) fn runtime() -> anyhow::Result<tokio::runtime::Runtime> {
    if let Err(error) = rlimit::increase_nofile_limit(u64::MAX) {
        tracing::debug!(error = %error, "the number of open files stays as it is: {error}");
    }
    Ok(tokio::runtime::Builder::new_multi_thread()
        .enable_all()
        .build()?)
}

/// How many files, and so connections, this process may have open.
pub(super) fn files() -> u64 {
    rlimit::Resource::NOFILE
        .get_soft()
        .unwrap_or(rlimit::INFINITY)
}
