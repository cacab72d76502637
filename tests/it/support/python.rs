//! Runs programs in Python with packages of PyPI, for tests against the libraries that others use.

use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::OnceLock;

use super::requirements::{Requirement, skip};

/// The packages that the tests use.
const PACKAGES: &[&str] = &[
    "PyNaCl==1.6.2",
    "cloudevents==2.2.0",
    "duckdb==2.0.1",
    "pyarrow==26.0.1",
    "schemathesis==4.32.5",
    "standardwebhooks==1.1.0",
];

/// Python with the packages; `None` if this machine has no Python or cannot reach PyPI. Then the test
/// is counted as skipped.
pub fn python() -> Option<&'static Path> {
    static PYTHON: OnceLock<Result<PathBuf, String>> = OnceLock::new();
    match PYTHON.get_or_init(install) {
        Ok(python) => Some(python),
        Err(reason) => {
            skip(Requirement::PythonPackages, reason);
            None
        }
    }
}

fn install() -> Result<PathBuf, String> {
    let folder = Path::new(env!("CARGO_TARGET_TMPDIR")).join("python");
    let python = folder.join("bin/python");
    let run = |program: &Path, arguments: &[&str]| {
        let output = Command::new(program).args(arguments).output();
        let output =
            output.map_err(|error| format!("{} does not run: {error}", program.display()))?;
        let said = String::from_utf8_lossy(&output.stderr).into_owned();
        output.status.success().then_some(()).ok_or(said)
    };
    if !python.is_file() {
        run(Path::new("python3"), &["-m", "venv", &folder.to_string_lossy()])?;
    }
    let install = ["-m", "pip", "install", "--quiet", "--disable-pip-version-check"];
    run(&python, &[&install[..], PACKAGES].concat())?;
    Ok(python)
}
