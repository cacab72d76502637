//! Apache Kafka's jars: Maven downloads them once into a folder that the caller names.

use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use sha2::{Digest, Sha256};

use crate::child::{log_tail, run_to_end};
use crate::temporary_folder::remove_if_present;

/// The list of jars. The folder is named after its hash, so another version is downloaded again.
const POM: &str = include_str!("kafka_jars.pom.xml");
/// Minimum version of Java for Kafka 4.
const MIN_JAVA: u32 = 17;
/// Timeout of one run of Java or Maven.
const RUN_TIMEOUT: Duration = Duration::from_secs(300);

/// Why there are no jars.
#[derive(Clone, Debug, thiserror::Error)]
pub enum KafkaJarsError {
    /// The machine has no Java of a sufficient version, or no Maven.
    #[error("{0}")]
    NoTools(String),
    /// Maven could not download them.
    #[error("{0}")]
    NotFetched(String),
}

impl KafkaJarsError {
    /// Whether this machine cannot have a real Kafka.
    #[must_use]
    pub fn is_machine_without_tools(&self) -> bool {
        matches!(self, Self::NoTools(_))
    }
}

/// The folder with the jars, below `libraries`. Programs are searched in the folders of
/// `search_path`.
///
/// # Errors
///
/// [`KafkaJarsError`].
pub async fn fetch_jars(
    search_path: &[PathBuf],
    libraries: &Path,
) -> Result<PathBuf, KafkaJarsError> {
    let scratch = tempfile::tempdir().map_err(not_fetched)?;
    check_java(scratch.path()).await?;

    let digest = Sha256::digest(POM);
    let jars = libraries.join(format!("{:02x}{:02x}{:02x}", digest[0], digest[1], digest[2]));
    if jars.is_dir() {
        return Ok(jars);
    }
    if !search_path.iter().any(|folder| folder.join("mvn").exists()) {
        return Err(KafkaJarsError::NoTools("there is no mvn".to_owned()));
    }

    // Another process may be downloading, so only the holder of the lock does.
    let lock = fs::create_dir_all(libraries)
        .and_then(|()| File::create(libraries.join("lock")))
        .and_then(|lock| lock.lock().map(|()| lock));
    let _lock =
        lock.map_err(|refused| not_fetched(format!("{}: {refused}", libraries.display())))?;
    if jars.is_dir() {
        return Ok(jars);
    }
    let incomplete = libraries.join("fetching");
    run_maven(&incomplete, scratch.path()).await?;
    fs::rename(&incomplete, &jars).map_err(not_fetched)?;
    Ok(jars)
}

fn not_fetched(reason: impl ToString) -> KafkaJarsError {
    KafkaJarsError::NotFetched(reason.to_string())
}

async fn run_maven(into: &Path, scratch: &Path) -> Result<(), KafkaJarsError> {
    remove_if_present(into).map_err(not_fetched)?;
    let pom = scratch.join("pom.xml");
    fs::write(&pom, POM).map_err(not_fetched)?;

    let mut maven = Command::new("mvn");
    maven
        .args(["-q", "-B", "-f"])
        .arg(&pom)
        .arg("dependency:copy-dependencies")
        .arg(format!("-DoutputDirectory={}", into.display()));
    let log = scratch.join("mvn.log");
    run_to_end(maven, &log, RUN_TIMEOUT).await.map_err(|refused| {
        let output = log_tail(&log);
        let error = output.lines().find_map(|line| line.split_once("[ERROR] "));
        let reason = error.map_or_else(|| refused.to_string(), |(_, error)| error.into());
        not_fetched(format!("maven downloaded no jars: {reason}"))
    })
}

async fn check_java(scratch: &Path) -> Result<(), KafkaJarsError> {
    let log = scratch.join("java.log");
    let mut java = Command::new("java");
    java.args(["-XX:-UsePerfData", "--version"]);
    run_to_end(java, &log, RUN_TIMEOUT)
        .await
        .map_err(|refused| KafkaJarsError::NoTools(format!("there is no java: {refused}")))?;
    match java_major(&log_tail(&log)) {
        Some(major) if major >= MIN_JAVA => Ok(()),
        found => {
            Err(KafkaJarsError::NoTools(format!("java is {found:?} and not {MIN_JAVA} or later")))
        }
    }
}

/// The major version in `openjdk 17.0.15 2025-04-15` and the like. Lines about options from the
/// environment may precede it.
fn java_major(output: &str) -> Option<u32> {
    output.lines().find_map(|line| {
        let mut words = line.split(' ');
        let (_vendor, version) = (words.next()?, words.next()?);
        version.split(['.', '-', '+']).next()?.parse().ok()
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_java_version_is_read_after_lines_about_options() {
        assert_eq!(java_major("openjdk 17.0.15 2025-04-15\nOpenJDK Runtime"), Some(17));
        assert_eq!(java_major("java 21 2023-09-19 LTS\n"), Some(21));
        assert_eq!(java_major("openjdk 24-ea 2025-03-18\n"), Some(24));
        assert_eq!(
            java_major("Picked up JAVA_TOOL_OPTIONS: -Dx=1\nopenjdk 17.0.1 2021\n"),
            Some(17)
        );
        assert_eq!(java_major("no such thing"), None);
    }
}
