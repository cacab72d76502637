//! What a test may require beyond this machine's compiler, and what happens where it is missing.
//!
//! * **A real Kafka.** On a machine without Java or Maven such a test is skipped. On a machine that
//!   has both, and wherever `ONRECORD_TEST_KAFKA` is set, a missing Kafka fails the test, unless
//!   `ONRECORD_TEST_SKIP_KAFKA=1`.
//! * **Failpoints**, the cargo feature. Without it such a test is skipped. With
//!   `ONRECORD_TEST_KAFKA=real`, as CI runs the tests, it fails, unless
//!   `ONRECORD_TEST_SKIP_FAILPOINTS=1`.
//! * **promtool**, of the package `prometheus`. Where it is missing such a test fails, unless
//!   `ONRECORD_TEST_SKIP_PROMTOOL=1`.
//! * **Maven Central**, **Python with packages of PyPI**, **Go with the module proxy**, **Node.js with packages of
//!   npm.** Where they cannot be reached, such a test is
//!   skipped.
//! * **pg_dump and pg_restore.** Where they are missing such a test is skipped.
//! * **Node.js**, **Node.js with packages of npm.** On a machine without it, or without npm or its registry, such a
//!   test is skipped.
//!
//! A skipped test returns early and the harness reports it as passed, so each is counted, and the
//! end of the run says how many tests proved nothing and why.

use std::collections::BTreeMap;
use std::env;
use std::process::Command;
use std::sync::{Mutex, Once, PoisonError};
use std::thread;

use super::at_exit::{at_exit, write_to_stderr};

/// What a test requires.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Requirement {
    RealKafka,
    Failpoints,
    GoModules,
    MavenCentral,
    Node,
    NpmPackages,
    PostgresPrograms,
    Promtool,
    PythonPackages,
}

impl Requirement {
    fn name(self) -> &'static str {
        match self {
            Self::RealKafka => "a real Kafka",
            Self::Failpoints => "the cargo feature failpoints",
            Self::GoModules => "Go with the module proxy",
            Self::MavenCentral => "Maven Central",
            Self::Node => "Node.js",
            Self::NpmPackages => "Node.js with packages of npm",
            Self::PostgresPrograms => "pg_dump and pg_restore",
            Self::Promtool => "promtool",
            Self::PythonPackages => "Python with packages of PyPI",
        }
    }
}

/// Skipped tests by name, each with what it requires.
static SKIPPED: Mutex<BTreeMap<String, Requirement>> = Mutex::new(BTreeMap::new());

/// Counts the running test as skipped. The caller returns right after.
pub fn skip(requirement: Requirement, reason: &str) {
    static REGISTERED: Once = Once::new();
    REGISTERED.call_once(|| at_exit(|| write_to_stderr(&summary(&skipped()))));
    let test = thread::current().name().unwrap_or("a test").to_owned();
    print_line(&format!("{test} skipped: it requires {} ({reason})", requirement.name()));
    skipped().insert(test, requirement);
}

/// Whether the crash points are compiled in. If not, the test is counted as skipped, or fails.
pub fn has_failpoints() -> bool {
    if cfg!(feature = "failpoints") {
        return true;
    }
    let reason = "run cargo test with --features failpoints";
    let must_have = env::var("ONRECORD_TEST_KAFKA").is_ok_and(|wanted| wanted == "real");
    assert!(
        !must_have || is_set("ONRECORD_TEST_SKIP_FAILPOINTS"),
        "this test requires {}: {reason}, or set ONRECORD_TEST_SKIP_FAILPOINTS=1",
        Requirement::Failpoints.name()
    );
    skip(Requirement::Failpoints, reason);
    false
}

/// Whether `promtool` can be run. If not, the test fails, or is counted as skipped.
pub fn has_promtool() -> bool {
    if Command::new("promtool").arg("--version").output().is_ok_and(|ran| ran.status.success()) {
        return true;
    }
    let reason = "install the package prometheus";
    assert!(
        is_set("ONRECORD_TEST_SKIP_PROMTOOL"),
        "this test requires {}: {reason}, or set ONRECORD_TEST_SKIP_PROMTOOL=1",
        Requirement::Promtool.name()
    );
    skip(Requirement::Promtool, reason);
    false
}

/// Whether an environment variable is `1`.
pub fn is_set(name: &str) -> bool {
    env::var(name).is_ok_and(|value| value == "1")
}

/// Writes a line that is seen although the harness captures what tests print.
pub fn print_line(line: &str) {
    use std::io::Write as _;
    // A closed standard error is no reason to fail.
    let _ = writeln!(std::io::stderr(), "{line}");
}

fn skipped() -> std::sync::MutexGuard<'static, BTreeMap<String, Requirement>> {
    SKIPPED.lock().unwrap_or_else(PoisonError::into_inner)
}

fn summary(skipped: &BTreeMap<String, Requirement>) -> String {
    let mut tests_by_requirement: BTreeMap<Requirement, usize> = BTreeMap::new();
    for requirement in skipped.values() {
        *tests_by_requirement.entry(*requirement).or_default() += 1;
    }
    let parts: Vec<String> = tests_by_requirement
        .iter()
        .map(|(requirement, tests)| format!("{tests} of them: {}", requirement.name()))
        .collect();
    format!(
        "\n{} tests proved nothing here, because what they require is missing. {}\n",
        skipped.len(),
        parts.join("; ")
    )
}

#[test]
fn the_summary_counts_skipped_tests_by_what_they_require() {
    let skipped = BTreeMap::from([
        ("one".to_owned(), Requirement::RealKafka),
        ("two".to_owned(), Requirement::RealKafka),
        ("three".to_owned(), Requirement::Failpoints),
    ]);
    assert_eq!(
        summary(&skipped),
        "\n3 tests proved nothing here, because what they require is missing. \
         2 of them: a real Kafka; 1 of them: the cargo feature failpoints\n"
    );
}
