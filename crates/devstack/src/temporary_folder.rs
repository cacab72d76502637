//! A temporary folder that its owner removes, or the next process after a crash.
//!
//! # Why
//!
//! A killed process cannot clean up. So each folder holds a file that its owner keeps locked. The
//! kernel releases the lock when the owner dies, and the next [`TemporaryFolder`] in the same parent removes
//! every such folder whose lock is free. The lock file gets its name only once it is locked, so that
//! a folder that is being created is never mistaken for an abandoned one.

use std::fs::{self, File};
use std::io;
use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::path::{Path, PathBuf};
use std::thread;
use std::time::Duration;

use super::error::DevstackError;
use super::os_account::{OsAccount, effective_user};

const PREFIX: &str = "onrecord-";
const OWNER_LOCK: &str = "owner.lock";

/// A temporary folder, removed when dropped.
#[derive(Debug)]
pub struct TemporaryFolder {
    path: PathBuf,
    /// Never read: its lock shows that the owner lives.
    _owner: File,
}

impl TemporaryFolder {
    /// Creates a folder named after its purpose in the first of `roots` that the account can enter
    /// and this process can write to. No other user can list it; an unprivileged account can pass
    /// through it.
    ///
    /// # Errors
    /// [`DevstackError::Folder`] with the last root's reason.
    pub fn create(
        roots: &[PathBuf],
        purpose: &str,
        account: &OsAccount,
    ) -> Result<Self, DevstackError> {
        let mut refusal = (PathBuf::new(), io::ErrorKind::NotFound.into());
        for root in roots {
            if !account.can_enter(root) {
                refusal = (root.clone(), io::ErrorKind::PermissionDenied.into());
                continue;
            }
            remove_abandoned(root);
            match create_in(root, purpose, account) {
                Ok(scratch) => return Ok(scratch),
                Err(source) => refusal = (root.clone(), source),
            }
        }
        let (path, source) = refusal;
        Err(DevstackError::folder("cannot create a temporary folder in", path)(source))
    }

    /// The folder's path.
    pub fn path(&self) -> &Path {
        &self.path
    }
}

impl Drop for TemporaryFolder {
    fn drop(&mut self) {
        remove_with_retries(&self.path);
    }
}

fn create_in(root: &Path, purpose: &str, account: &OsAccount) -> io::Result<TemporaryFolder> {
    let folder =
        tempfile::Builder::new().prefix(&format!("{PREFIX}{purpose}-")).tempdir_in(root)?;
    let mode = if *account == OsAccount::Own { 0o700 } else { 0o711 };
    fs::set_permissions(folder.path(), fs::Permissions::from_mode(mode))?;

    let unlocked = folder.path().join("owner.new");
    let owner = File::create_new(&unlocked)?;
    owner.lock()?;
    fs::rename(&unlocked, folder.path().join(OWNER_LOCK))?;
    Ok(TemporaryFolder { path: folder.keep(), _owner: owner })
}

/// Removes folders whose owner died without doing so. A folder of unknown state stays.
fn remove_abandoned(root: &Path) {
    for entry in fs::read_dir(root).into_iter().flatten().flatten() {
        let has_our_prefix = entry.file_name().to_string_lossy().starts_with(PREFIX);
        if has_our_prefix && is_abandoned(&entry.path()) {
            remove_with_retries(&entry.path());
        }
    }
}

fn is_abandoned(folder: &Path) -> bool {
    let is_our_folder = fs::symlink_metadata(folder)
        .is_ok_and(|found| found.is_dir() && found.uid() == effective_user());
    is_our_folder && File::open(folder.join(OWNER_LOCK)).is_ok_and(|owner| owner.try_lock().is_ok())
}

/// Removes a folder, unless there is none.
pub(super) fn remove_if_present(folder: &Path) -> io::Result<()> {
    match fs::remove_dir_all(folder) {
        Err(refused) if refused.kind() == io::ErrorKind::NotFound => Ok(()),
        removed => removed,
    }
}

/// A server that has just been killed may still be writing its last file.
fn remove_with_retries(folder: &Path) {
    const TRIES: usize = 20;
    for _ in 0..TRIES {
        if remove_if_present(folder).is_ok() {
            return;
        }
        thread::sleep(Duration::from_millis(50));
    }
    tracing::warn!(folder = %folder.display(), "a temporary folder could not be removed");
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_folder_is_removed_with_its_owner() {
        let root = tempfile::tempdir().unwrap();
        let scratch =
            TemporaryFolder::create(&[root.path().into()], "trial", &OsAccount::Own).unwrap();
        fs::write(scratch.path().join("file"), "x").unwrap();
        drop(scratch);
        assert_eq!(fs::read_dir(root.path()).unwrap().count(), 0);
    }

    #[test]
    fn the_next_owner_removes_folders_of_dead_owners_and_nothing_else() {
        let root = tempfile::tempdir().unwrap();
        let abandoned = root.path().join("onrecord-trial-dead");
        fs::create_dir(&abandoned).unwrap();
        fs::write(abandoned.join(OWNER_LOCK), "").unwrap();
        let being_created = root.path().join("onrecord-trial-new");
        fs::create_dir(&being_created).unwrap();
        let foreign = root.path().join("another");
        fs::create_dir(&foreign).unwrap();
        fs::write(foreign.join(OWNER_LOCK), "").unwrap();

        let first =
            TemporaryFolder::create(&[root.path().into()], "trial", &OsAccount::Own).unwrap();
        let second =
            TemporaryFolder::create(&[root.path().into()], "trial", &OsAccount::Own).unwrap();

        assert!(!abandoned.exists());
        assert!(being_created.exists());
        assert!(foreign.exists());
        assert!(first.path().exists());
        assert!(second.path().exists());
    }

    #[test]
    fn a_root_that_cannot_be_used_is_passed_over() {
        let root = tempfile::tempdir().unwrap();
        let roots = [root.path().join("absent"), root.path().into()];
        let scratch = TemporaryFolder::create(&roots, "trial", &OsAccount::Own).unwrap();
        assert!(scratch.path().starts_with(root.path()));
        assert!(TemporaryFolder::create(&roots[..1], "trial", &OsAccount::Own).is_err());
    }
}
