//! Whom a server runs as: PostgreSQL refuses to run as root.

use std::fs;
use std::io;
use std::os::unix::fs::{MetadataExt, PermissionsExt, chown};
use std::os::unix::process::CommandExt;
use std::path::Path;
use std::process::Command;

use super::EmbeddedError;

/// Who may run a server in root's stead, in order of preference.
const STAND_INS: [&str; 2] = ["postgres", "nobody"];

/// The account that a server runs under.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Account {
    /// The one that runs this process.
    Own,
    /// An unprivileged one, because this process is run by root.
    StandIn {
        /// The numeric user id.
        user: u32,
        /// The numeric id of the user's first group.
        group: u32,
    },
}

/// The user whose rights this process has.
#[expect(
    unsafe_code,
    reason = "the standard library offers no effective user id"
)]
pub fn effective_user() -> u32 {
    // SAFETY: geteuid has no preconditions and cannot fail.
    unsafe { libc::geteuid() }
}

impl Account {
    /// The account for a PostgreSQL server: our own, or a stand-in if we are root.
    ///
    /// # Errors
    /// [`EmbeddedError::NoUnprivilegedUser`] if we are root and there is no stand-in.
    pub fn for_postgres() -> Result<Self, EmbeddedError> {
        if effective_user() != 0 {
            return Ok(Self::Own);
        }
        let accounts = fs::read_to_string("/etc/passwd")
            .map_err(EmbeddedError::folder("cannot read", "/etc/passwd"))?;
        STAND_INS
            .iter()
            .find_map(|name| stand_in(&accounts, name))
            .ok_or(EmbeddedError::NoUnprivilegedUser)
    }

    /// Lets a command run under this account.
    pub fn put_on(&self, command: &mut Command) {
        if let Self::StandIn { user, group } = self {
            // With these, the standard library also drops root's supplementary groups.
            command.gid(*group).uid(*user);
        }
    }

    /// Gives a file or folder to this account.
    ///
    /// # Errors
    /// The system's, if we may not.
    pub fn give(&self, path: &Path) -> io::Result<()> {
        match self {
            Self::Own => Ok(()),
            Self::StandIn { user, group } => chown(path, Some(*user), Some(*group)),
        }
    }

    /// Whether this account may pass through the folder and all that it lies in.
    pub fn can_enter(&self, folder: &Path) -> bool {
        let Self::StandIn { user, group } = self else {
            return folder.is_dir();
        };
        let Ok(folder) = folder.canonicalize() else {
            return false;
        };
        folder.ancestors().all(|ancestor| {
            fs::metadata(ancestor).is_ok_and(|found| {
                let mode = found.permissions().mode();
                let search_bit = if found.uid() == *user {
                    0o100
                } else if found.gid() == *group {
                    0o010
                } else {
                    0o001
                };
                found.is_dir() && mode & search_bit != 0
            })
        })
    }
}

/// Finds an unprivileged account by its name in the text of `/etc/passwd`.
fn stand_in(accounts: &str, name: &str) -> Option<Account> {
    accounts.lines().find_map(|line| {
        let mut fields = line.split(':');
        if fields.next() != Some(name) {
            return None;
        }
        let user = fields.nth(1)?.parse().ok().filter(|user| *user != 0)?;
        let group = fields.next()?.parse().ok()?;
        Some(Account::StandIn { user, group })
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    const ACCOUNTS: &str = "root:x:0:0:root:/root:/bin/bash\n\
        postgres2:x:7:7::/:/bin/sh\n\
        postgres:x:101:104:PostgreSQL administrator,,,:/var/lib/postgresql:/bin/bash\n\
        nobody:x:65534:65533:nobody:/nonexistent:/usr/sbin/nologin\n";

    #[test]
    fn a_stand_in_is_found_by_its_whole_name() {
        let expected = Account::StandIn {
            user: 101,
            group: 104,
        };
        assert_eq!(stand_in(ACCOUNTS, "postgres"), Some(expected));
        assert_eq!(stand_in(ACCOUNTS, "post"), None);
    }

    #[test]
    fn a_second_name_of_root_is_no_stand_in() {
        assert_eq!(stand_in("postgres:x:0:0::/:/bin/sh\n", "postgres"), None);
    }

    #[test]
    fn a_line_without_numbers_is_no_account() {
        assert_eq!(stand_in("nobody\nnobody:x:a:b\n", "nobody"), None);
    }

    #[test]
    fn a_stand_in_cannot_enter_what_lies_in_a_closed_folder() {
        let outer = tempfile::tempdir().unwrap();
        let inner = outer.path().join("inner");
        fs::create_dir(&inner).unwrap();
        fs::set_permissions(&inner, fs::Permissions::from_mode(0o755)).unwrap();
        let stranger = Account::StandIn {
            user: u32::MAX - 7,
            group: u32::MAX - 7,
        };
        fs::set_permissions(outer.path(), fs::Permissions::from_mode(0o700)).unwrap();
        assert!(!stranger.can_enter(&inner));
        fs::set_permissions(outer.path(), fs::Permissions::from_mode(0o711)).unwrap();
        assert_eq!(
            stranger.can_enter(&inner),
            stranger.can_enter(outer.path().parent().unwrap())
        );
        assert!(!stranger.can_enter(&outer.path().join("absent")));
    }
}
