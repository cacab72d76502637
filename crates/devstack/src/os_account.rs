//! The account that a server runs under: PostgreSQL refuses to run as root.

use std::fs;
use std::io;
use std::os::unix::fs::chown;
use std::os::unix::process::CommandExt;
use std::path::Path;
use std::process::{Command, Stdio};

use super::error::DevstackError;

/// Unprivileged users that run a server when this process is root, in order of preference.
const UNPRIVILEGED_USERS: [&str; 2] = ["postgres", "nobody"];

/// The account that a server runs under.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum OsAccount {
    /// The one that runs this process.
    Own,
    /// An unprivileged one, because this process is run by root.
    Unprivileged {
        /// The numeric user id.
        user: u32,
        /// The numeric id of the user's first group.
        group: u32,
    },
}

/// The user whose rights this process has.
#[expect(unsafe_code, reason = "the standard library offers no effective user id")]
pub fn effective_user() -> u32 {
    // SAFETY: geteuid has no preconditions and cannot fail.
    unsafe { libc::geteuid() }
}

impl OsAccount {
    /// The account for a PostgreSQL server: that of this process, or an unprivileged one under root.
    ///
    /// # Errors
    /// [`DevstackError::NoUnprivilegedUser`] under root without such a user.
    pub fn for_postgres() -> Result<Self, DevstackError> {
        if effective_user() != 0 {
            return Ok(Self::Own);
        }
        let accounts = fs::read_to_string("/etc/passwd")
            .map_err(DevstackError::folder("cannot read", "/etc/passwd"))?;
        UNPRIVILEGED_USERS
            .iter()
            .find_map(|name| unprivileged_user(&accounts, name))
            .ok_or(DevstackError::NoUnprivilegedUser)
    }

    /// Runs a command under this account.
    pub fn apply_to(&self, command: &mut Command) {
        if let Self::Unprivileged { user, group } = self {
            // With these, the standard library also drops root's supplementary groups.
            command.gid(*group).uid(*user);
        }
    }

    /// Gives a file or folder to this account.
    ///
    /// # Errors
    /// The system's, if this process may not.
    pub fn give_ownership(&self, path: &Path) -> io::Result<()> {
        match self {
            Self::Own => Ok(()),
            Self::Unprivileged { user, group } => chown(path, Some(*user), Some(*group)),
        }
    }

    /// Whether this account can enter the folder. A child process under this account tries it,
    /// because access rights depend on more than the mode bits.
    pub fn can_enter(&self, folder: &Path) -> bool {
        let mut trial = Command::new("/bin/sh");
        trial
            .args(["-c", ":"])
            .env_clear()
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .current_dir(folder);
        self.apply_to(&mut trial);
        trial.status().is_ok_and(|status| status.success())
    }
}

/// Finds an unprivileged account by its name in the text of `/etc/passwd`.
fn unprivileged_user(accounts: &str, name: &str) -> Option<OsAccount> {
    accounts.lines().find_map(|line| {
        let mut fields = line.split(':');
        if fields.next() != Some(name) {
            return None;
        }
        let user = fields.nth(1)?.parse().ok().filter(|user| *user != 0)?;
        let group = fields.next()?.parse().ok()?; // A line that is not as in passwd(5) is no account.
        Some(OsAccount::Unprivileged { user, group })
    })
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt as _;

    use super::*;

    const ACCOUNTS: &str = "root:x:0:0:root:/root:/bin/bash\n\
        postgres2:x:7:7::/:/bin/sh\n\
        postgres:x:101:104:PostgreSQL administrator,,,:/var/lib/postgresql:/bin/bash\n\
        nobody:x:65534:65533:nobody:/nonexistent:/usr/sbin/nologin\n";

    #[test]
    fn an_unprivileged_user_is_found_by_its_whole_name() {
        let expected = OsAccount::Unprivileged { user: 101, group: 104 };
        assert_eq!(unprivileged_user(ACCOUNTS, "postgres"), Some(expected));
        assert_eq!(unprivileged_user(ACCOUNTS, "post"), None);
    }

    #[test]
    fn another_name_of_root_is_not_an_unprivileged_user() {
        assert_eq!(unprivileged_user("postgres:x:0:0::/:/bin/sh\n", "postgres"), None);
    }

    #[test]
    fn a_line_without_numbers_is_no_account() {
        assert_eq!(unprivileged_user("nobody\nnobody:x:a:b\n", "nobody"), None);
    }

    #[test]
    fn an_unprivileged_user_cannot_enter_a_folder_inside_a_closed_one() {
        let outer = tempfile::tempdir().unwrap();
        let inner = outer.path().join("inner");
        fs::create_dir(&inner).unwrap();
        fs::set_permissions(&inner, fs::Permissions::from_mode(0o755)).unwrap();
        let unknown_user = OsAccount::Unprivileged { user: u32::MAX - 7, group: u32::MAX - 7 };
        fs::set_permissions(outer.path(), fs::Permissions::from_mode(0o700)).unwrap();
        assert!(!unknown_user.can_enter(&inner));
        fs::set_permissions(outer.path(), fs::Permissions::from_mode(0o711)).unwrap();
        assert_eq!(
            unknown_user.can_enter(&inner),
            unknown_user.can_enter(outer.path().parent().unwrap())
        );
        assert!(!unknown_user.can_enter(&outer.path().join("absent")));
    }
}
