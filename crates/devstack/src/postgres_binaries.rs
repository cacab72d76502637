//! PostgreSQL's programs, and where they are installed on this machine.
//!
//! # Why
//!
//! One trial run checks a candidate: `postgres --version` under the account of the server. It answers
//! three questions: whether the program exists, whether that account can reach it, and whether it is
//! recent enough.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};
use std::thread;
use std::time::Duration;

use super::host_environment::HostEnvironment;
use super::os_account::OsAccount;
use super::versions::MIN_POSTGRES_MAJOR;

/// A folder with `initdb` and `postgres` that have run under the account in question.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PostgresBinaries {
    folder: PathBuf,
    /// The version from `postgres --version`, such as `15.13` or `18beta1`.
    pub version: String,
}

impl PostgresBinaries {
    /// The first installed programs that the account can run.
    pub fn installed(environment: &HostEnvironment, account: &OsAccount) -> Option<Self> {
        let folders = candidates(&environment.search_path, Path::new("/"));
        folders.iter().find_map(|folder| {
            Self::on_trial(folder, account)
                .inspect_err(|reason| {
                    tracing::debug!(folder = %folder.display(), reason, "postgres passed over");
                })
                .ok()
        })
    }

    /// Runs a folder's programs on trial under the account.
    ///
    /// # Errors
    /// A sentence that says why they cannot be used.
    pub fn on_trial(folder: &Path, account: &OsAccount) -> Result<Self, String> {
        // The programs find their shared files relative to themselves, so links are followed.
        let initdb = folder.join("initdb").canonicalize();
        let folder = initdb.as_deref().ok().and_then(Path::parent).ok_or("there is no initdb")?;

        let mut trial = Command::new(folder.join("postgres"));
        trial.arg("--version").env_clear().stdin(Stdio::null()).current_dir("/");
        account.apply_to(&mut trial);
        let answer = output_when_free(&mut trial).map_err(|refused| refused.to_string())?;
        let output = String::from_utf8_lossy(&answer.stdout);
        let (version, major) = version_in(&output).ok_or_else(|| {
            let complaint = String::from_utf8_lossy(&answer.stderr);
            format!("postgres --version ended with {}: {}", answer.status, complaint.trim())
        })?;
        if major < MIN_POSTGRES_MAJOR {
            return Err(format!("version {version} is older than {MIN_POSTGRES_MAJOR}"));
        }
        Ok(Self { folder: folder.into(), version: version.into() })
    }

    /// The path of a program.
    pub fn program(&self, name: &str) -> PathBuf {
        self.folder.join(name)
    }
}

/// The output of a program. A program that has just been written cannot be started while another
/// thread is between fork and exec with the file still open for writing, so this retries.
fn output_when_free(command: &mut Command) -> io::Result<Output> {
    const TRIES: usize = 50;
    for _ in 1..TRIES {
        match command.output() {
            Err(refused) if refused.kind() == io::ErrorKind::ExecutableFileBusy => {
                thread::sleep(Duration::from_millis(20));
            }
            outcome => return outcome,
        }
    }
    command.output()
}

/// The version and its major number in an answer such as
/// `postgres (PostgreSQL) 15.13 (Debian 15.13-0+deb12u1)`.
fn version_in(output: &str) -> Option<(&str, u32)> {
    let (_, rest) = output.split_once("(PostgreSQL) ")?;
    let version = rest.split_whitespace().next()?;
    let digits = version.bytes().take_while(u8::is_ascii_digit).count();
    let major = version.get(..digits)?.parse().ok()?;
    Some((version, major))
}

/// The folders in which an `initdb` lies: those of the search path in its order, then the usual
/// places, the newest version of each first.
fn candidates(search_path: &[PathBuf], root: &Path) -> Vec<PathBuf> {
    let searched = search_path.iter().filter(|folder| folder.is_absolute()).cloned();
    let versioned = [
        // Debian and Ubuntu; Red Hat and SUSE; Alpine; Homebrew on Apple's and on Intel's chips.
        ("usr/lib/postgresql", "", "bin"),
        ("usr", "pgsql-", "bin"),
        ("usr/lib", "postgresql", "bin"),
        ("usr/libexec", "postgresql", ""),
        ("opt/homebrew/opt", "postgresql@", "bin"),
        ("usr/local/opt", "postgresql@", "bin"),
    ]
    .into_iter()
    .flat_map(|(parent, prefix, below)| newest_first(&root.join(parent), prefix, below));
    let unversioned = ["usr/local/pgsql/bin", "usr/local/bin", "usr/bin"]
        .into_iter()
        .map(|folder| root.join(folder));

    let mut folders: Vec<PathBuf> = Vec::new();
    for folder in searched.chain(versioned).chain(unversioned) {
        if folder.join("initdb").exists() && !folders.contains(&folder) {
            folders.push(folder);
        }
    }
    folders
}

/// The folders `{parent}/{prefix}{number}/{below}`, the highest number first.
fn newest_first(parent: &Path, prefix: &str, below: &str) -> Vec<PathBuf> {
    let mut numbered: Vec<(u32, PathBuf)> = fs::read_dir(parent)
        .into_iter()
        .flatten()
        .flatten()
        .filter_map(|entry| {
            let name = entry.file_name();
            let number = name.to_str()?.strip_prefix(prefix)?.parse().ok()?;
            Some((number, entry.path().join(below)))
        })
        .collect();
    numbered.sort_by(|left, right| right.cmp(left));
    numbered.into_iter().map(|(_, folder)| folder).collect()
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt;

    use super::*;

    fn install(folder: &Path, version: &str) {
        fs::create_dir_all(folder).unwrap();
        for name in ["initdb", "postgres"] {
            let program = folder.join(name);
            fs::write(&program, format!("#!/bin/sh\necho 'postgres (PostgreSQL) {version}'\n"))
                .unwrap();
            fs::set_permissions(&program, fs::Permissions::from_mode(0o755)).unwrap();
        }
    }

    #[test]
    fn a_version_is_read_from_releases_and_betas() {
        assert_eq!(
            version_in("postgres (PostgreSQL) 15.13 (Debian 15.13-0+deb12u1)\n"),
            Some(("15.13", 15))
        );
        assert_eq!(version_in("postgres (PostgreSQL) 18beta1\n"), Some(("18beta1", 18)));
        assert_eq!(version_in("postgres (PostgreSQL) devel\n"), None);
        assert_eq!(version_in("postgres: not found"), None);
    }

    #[test]
    fn the_search_path_comes_first_and_then_the_newest_version() {
        let root = tempfile::tempdir().unwrap();
        let on_path = root.path().join("opt/pg/bin");
        let nine = root.path().join("usr/lib/postgresql/9/bin");
        let fifteen = root.path().join("usr/lib/postgresql/15/bin");
        let seventeen = root.path().join("usr/pgsql-17/bin");
        for folder in [&on_path, &nine, &fifteen, &seventeen] {
            install(folder, "16.1");
        }
        let search_path = [PathBuf::from("relative"), root.path().join("absent"), on_path.clone()];
        assert_eq!(candidates(&search_path, root.path()), [on_path, fifteen, nine, seventeen]);
    }

    #[test]
    fn a_link_to_initdb_leads_to_the_real_folder() {
        let root = tempfile::tempdir().unwrap();
        let real = root.path().canonicalize().unwrap().join("real");
        install(&real, "16.1");
        let linked = root.path().join("linked");
        fs::create_dir(&linked).unwrap();
        std::os::unix::fs::symlink(real.join("initdb"), linked.join("initdb")).unwrap();
        let binaries = PostgresBinaries::on_trial(&linked, &OsAccount::Own).unwrap();
        assert_eq!(binaries.program("postgres"), real.join("postgres"));
        assert_eq!(binaries.version, "16.1");
    }

    #[test]
    fn a_version_below_fifteen_is_refused_with_the_reason() {
        let root = tempfile::tempdir().unwrap();
        install(root.path(), "14.9");
        assert_eq!(
            PostgresBinaries::on_trial(root.path(), &OsAccount::Own),
            Err("version 14.9 is older than 15".into())
        );
    }
}
