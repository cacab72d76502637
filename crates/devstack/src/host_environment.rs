//! The caller's environment, as an argument: this code reads no environment variable.

use std::path::PathBuf;

/// The parts of a process's environment that decide where binaries are looked for and files kept.
#[derive(Debug, Clone, Default)]
pub struct HostEnvironment {
    /// The folders of `PATH`, where installed programs are looked for first.
    pub search_path: Vec<PathBuf>,
    /// `XDG_CACHE_HOME`; a relative one is ignored, as the XDG base directory specification says.
    pub cache_home: Option<PathBuf>,
    /// `HOME`.
    pub home: Option<PathBuf>,
    /// The temporary folder, as in `std::env::temp_dir()`.
    pub temporary: Option<PathBuf>,
}

impl HostEnvironment {
    /// Where a temporary folder may be created, the preferred place first.
    ///
    /// The usual places follow the configured one, because a server that root starts runs as another
    /// user, which may be unable to enter a `TMPDIR` below root's home.
    pub fn temporary_roots(&self) -> Vec<PathBuf> {
        let usual = ["/tmp", "/var/tmp"].map(PathBuf::from);
        let mut roots: Vec<PathBuf> = self.temporary.iter().cloned().collect();
        roots.extend(usual.into_iter().filter(|root| Some(root) != self.temporary.as_ref()));
        roots
    }

    /// Where fetched binaries may be kept, the preferred place first.
    ///
    /// Root's folder is not below its home, which is commonly closed to the user that runs the
    /// binaries. The temporary folders serve users without a home.
    pub fn cache_folders(&self, effective_user: u32) -> Vec<PathBuf> {
        let mut folders = Vec::new();
        if effective_user == 0 {
            folders.push(PathBuf::from("/var/cache/onrecord"));
        } else {
            let cache_home = self.cache_home.as_deref().filter(|path| path.is_absolute());
            let home = self.home.as_deref().filter(|path| path.is_absolute());
            folders.extend(cache_home.map(|path| path.join("onrecord")));
            folders.extend(home.map(|path| path.join(".cache/onrecord")));
        }
        let name = format!("onrecord-cache-{effective_user}");
        folders.extend(self.temporary_roots().into_iter().map(|root| root.join(&name)));
        folders
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn environment() -> HostEnvironment {
        HostEnvironment {
            search_path: Vec::new(),
            cache_home: Some("/x/cache".into()),
            home: Some("/home/ada".into()),
            temporary: Some("/scratch".into()),
        }
    }

    #[test]
    fn the_archive_of_an_ordinary_user_is_in_the_xdg_cache_else_below_home() {
        let folders = environment().cache_folders(1000);
        assert_eq!(
            folders,
            [
                PathBuf::from("/x/cache/onrecord"),
                PathBuf::from("/home/ada/.cache/onrecord"),
                PathBuf::from("/scratch/onrecord-cache-1000"),
                PathBuf::from("/tmp/onrecord-cache-1000"),
                PathBuf::from("/var/tmp/onrecord-cache-1000"),
            ]
        );
    }

    #[test]
    fn a_relative_cache_home_is_ignored() {
        let mut environment = environment();
        environment.cache_home = Some("cache".into());
        assert_eq!(
            environment.cache_folders(1000).first(),
            Some(&PathBuf::from("/home/ada/.cache/onrecord"))
        );
    }

    #[test]
    fn the_archive_of_root_is_never_below_its_home() {
        let mut environment = environment();
        environment.home = Some("/root".into());
        for folder in environment.cache_folders(0) {
            assert!(!folder.starts_with("/root"), "{}", folder.display());
        }
    }

    #[test]
    fn the_usual_temporary_folders_follow_the_configured_one() {
        let roots = environment().temporary_roots();
        assert_eq!(roots, ["/scratch", "/tmp", "/var/tmp"].map(PathBuf::from));
    }
}
