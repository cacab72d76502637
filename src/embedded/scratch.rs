//! A temporary folder that does not outlive its owner by much.
//!
//! # Why
//!
//! A process that is killed cannot clean up. So each folder holds a file that its owner keeps
//! locked; the kernel lets go of the lock when the owner dies, and the next [`Scratch`] in the same
//! place removes every folder of ours whose lock is free. The lock file appears under its name only
//! once it is locked, so that a folder in the making is never mistaken for an abandoned one.

use std::fs::{self, File};
use std::io;
use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::path::{Path, PathBuf};
use std::thread;
use std::time::Duration;

use super::EmbeddedError;
use super::account::{Account, effective_user};

const PREFIX: &str = "onrecord-";
const OWNER_LOCK: &str = "owner.lock";

/// A temporary folder of ours, removed when dropped.
#[derive(Debug)]
pub struct Scratch {
    path: PathBuf,
    /// Held, never read: its lock tells that the owner lives.
    _owner: File,
}

impl Scratch {
    /// Makes a folder named after its purpose in the first of `roots` that the account can enter
    /// and we can write to. Nobody else can list it; a stand-in account can pass through it.
    ///
    /// # Errors
    /// [`EmbeddedError::Folder`] with the last root's reason.
    pub fn create(
        roots: &[PathBuf],
        purpose: &str,
        account: &Account,
    ) -> Result<Self, EmbeddedError> {
        let mut refusal = None;
        for root in roots {
            let made = if account.can_enter(root) {
                remove_abandoned(root);
                make(root, purpose, account)
            } else {
                Err(io::ErrorKind::PermissionDenied.into())
            };
            match made {
                Ok(scratch) => return Ok(scratch),
                Err(source) => refusal = Some((root.clone(), source)),
            }
        }
        let (path, source) =
            refusal.unwrap_or_else(|| (PathBuf::new(), io::ErrorKind::NotFound.into()));
        Err(EmbeddedError::folder(
            "cannot make a temporary folder in",
            path,
        )(source))
    }

    /// Where the folder is.
    pub fn path(&self) -> &Path {
        &self.path
    }
}

impl Drop for Scratch {
    fn drop(&mut self) {
        remove_patiently(&self.path);
    }
}

fn make(root: &Path, purpose: &str, account: &Account) -> io::Result<Scratch> {
    let folder = tempfile::Builder::new()
        .prefix(&format!("{PREFIX}{purpose}-"))
        .tempdir_in(root)?;
    let mode = match account {
        Account::Own => 0o700,
        Account::StandIn { .. } => 0o711,
    };
    fs::set_permissions(folder.path(), fs::Permissions::from_mode(mode))?;

    let unlocked = folder.path().join("owner.new");
    let owner = File::create_new(&unlocked)?;
    owner.lock()?;
    fs::rename(&unlocked, folder.path().join(OWNER_LOCK))?;
    Ok(Scratch {
        path: folder.keep(),
        _owner: owner,
    })
}

/// Removes folders of ours whose owner has died without doing it. What cannot be judged stays.
fn remove_abandoned(root: &Path) {
    let Ok(entries) = fs::read_dir(root) else {
        return;
    };
    for entry in entries.flatten() {
        let is_named_like_ours = entry.file_name().to_string_lossy().starts_with(PREFIX);
        if is_named_like_ours && is_abandoned(&entry.path()) {
            remove_patiently(&entry.path());
        }
    }
}

fn is_abandoned(folder: &Path) -> bool {
    let is_our_folder = fs::symlink_metadata(folder)
        .is_ok_and(|found| found.is_dir() && found.uid() == effective_user());
    is_our_folder && File::open(folder.join(OWNER_LOCK)).is_ok_and(|owner| owner.try_lock().is_ok())
}

/// A server that has just been killed may still be writing its last file.
fn remove_patiently(folder: &Path) {
    const TRIES: usize = 20;
    for _ in 0..TRIES {
        match fs::remove_dir_all(folder) {
            Err(refused) if refused.kind() != io::ErrorKind::NotFound => {
                thread::sleep(Duration::from_millis(50));
            }
            _ => return,
        }
    }
    tracing::warn!(folder = %folder.display(), "a temporary folder could not be removed");
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_folder_is_removed_with_its_owner() {
        let root = tempfile::tempdir().unwrap();
        let scratch = Scratch::create(&[root.path().into()], "trial", &Account::Own).unwrap();
        fs::write(scratch.path().join("file"), "x").unwrap();
        drop(scratch);
        assert_eq!(fs::read_dir(root.path()).unwrap().count(), 0);
    }

    #[test]
    fn the_next_owner_removes_what_a_dead_one_left_and_nothing_else() {
        let root = tempfile::tempdir().unwrap();
        let abandoned = root.path().join("onrecord-trial-dead");
        fs::create_dir(&abandoned).unwrap();
        fs::write(abandoned.join(OWNER_LOCK), "").unwrap();
        let in_the_making = root.path().join("onrecord-trial-new");
        fs::create_dir(&in_the_making).unwrap();
        let foreign = root.path().join("another");
        fs::create_dir(&foreign).unwrap();
        fs::write(foreign.join(OWNER_LOCK), "").unwrap();

        let first = Scratch::create(&[root.path().into()], "trial", &Account::Own).unwrap();
        let second = Scratch::create(&[root.path().into()], "trial", &Account::Own).unwrap();

        assert!(!abandoned.exists());
        assert!(in_the_making.exists());
        assert!(foreign.exists());
        assert!(first.path().exists());
        assert!(second.path().exists());
    }

    #[test]
    fn a_root_that_cannot_be_used_is_passed_over() {
        let root = tempfile::tempdir().unwrap();
        let roots = [root.path().join("absent"), root.path().into()];
        let scratch = Scratch::create(&roots, "trial", &Account::Own).unwrap();
        assert!(scratch.path().starts_with(root.path()));
        assert!(Scratch::create(&roots[..1], "trial", &Account::Own).is_err());
    }
}
