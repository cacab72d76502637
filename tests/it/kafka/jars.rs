//! Apache Kafka's jars, fetched by Maven once and kept below the target folder.

use std::fs::{self, File};
use std::io;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use onrecord::embedded::child::{last_words, run_to_end};
use sha2::{Digest, Sha256};

/// What is fetched. The folder is named after its hash, so that another version is fetched anew.
const POM: &str = include_str!("pom.xml");

/// Kafka 4 needs it.
const OLDEST_JAVA: u32 = 17;

const PATIENCE: Duration = Duration::from_secs(300);

/// The folder with the jars; else a clause that says why there is none.
pub async fn fetched() -> Result<PathBuf, String> {
    let scratch = tempfile::tempdir().map_err(|refused| refused.to_string())?;
    check_java(scratch.path()).await?;

    let libraries = Path::new(env!("CARGO_TARGET_TMPDIR")).join("kafka-libs");
    let digest = Sha256::digest(POM);
    let jars = libraries.join(format!(
        "{:02x}{:02x}{:02x}",
        digest[0], digest[1], digest[2]
    ));
    if jars.is_dir() {
        return Ok(jars);
    }

    // Another test process may be fetching, so only the holder of the lock does.
    let lock = fs::create_dir_all(&libraries)
        .and_then(|()| File::create(libraries.join("lock")))
        .and_then(|lock| lock.lock().map(|()| lock));
    let _lock = lock.map_err(|refused| format!("{}: {refused}", libraries.display()))?;
    if jars.is_dir() {
        return Ok(jars);
    }
    let beside = libraries.join("fetching");
    fetch(&beside, scratch.path()).await?;
    fs::rename(&beside, &jars).map_err(|refused| refused.to_string())?;
    Ok(jars)
}

async fn fetch(into: &Path, scratch: &Path) -> Result<(), String> {
    match fs::remove_dir_all(into) {
        Err(refused) if refused.kind() != io::ErrorKind::NotFound => {
            return Err(refused.to_string());
        }
        _ => {}
    }
    let pom = scratch.join("pom.xml");
    fs::write(&pom, POM).map_err(|refused| refused.to_string())?;

    let mut maven = Command::new("mvn");
    maven
        .args(["-q", "-B", "-f"])
        .arg(&pom)
        .arg("dependency:copy-dependencies")
        .arg(format!("-DoutputDirectory={}", into.display()));
    let log = scratch.join("mvn.log");
    run_to_end(maven, &log, PATIENCE).await.map_err(|refused| {
        let words = last_words(&log);
        let error = words.lines().find_map(|line| line.split_once("[ERROR] "));
        let reason = error.map_or_else(|| refused.to_string(), |(_, error)| error.into());
        format!("maven brought no jars: {reason}")
    })
}

async fn check_java(scratch: &Path) -> Result<(), String> {
    let log = scratch.join("java.log");
    let mut java = Command::new("java");
    java.args(["-XX:-UsePerfData", "--version"]);
    run_to_end(java, &log, PATIENCE)
        .await
        .map_err(|refused| format!("there is no java: {refused}"))?;
    match java_major(&last_words(&log)) {
        Some(major) if major >= OLDEST_JAVA => Ok(()),
        found => Err(format!("java is {found:?} and not {OLDEST_JAVA} or later")),
    }
}

/// The major version in `openjdk 17.0.15 2025-04-15` and the like, which lines about
/// options picked up from the environment may precede.
pub fn java_major(told: &str) -> Option<u32> {
    told.lines().find_map(|line| {
        let mut words = line.split(' ');
        let (_vendor, version) = (words.next()?, words.next()?);
        version.split(['.', '-', '+']).next()?.parse().ok()
    })
}
