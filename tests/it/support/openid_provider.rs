//! A real OpenID provider: `oidc-provider` of npm, a certified one, with accounts that a test sets.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::sync::OnceLock;

use serde_json::{Value, json};
use tokio::io::{AsyncBufReadExt as _, BufReader};
use tokio::process::{Child, Command};

use super::client::http;
use super::requirements::{Requirement, skip};

/// The client id of the console at each provider of the tests.
pub const CLIENT_ID: &str = "onrecord-console";
/// Its secret.
pub const CLIENT_SECRET: &str = "the-secret-of-the-console-of-the-tests";

/// A running provider.
pub struct OpenidProvider {
    pub issuer: String,
    /// It ends when its standard input is closed, and with this at the latest.
    _process: Child,
}

impl OpenidProvider {
    /// Starts a provider for a console at this address. `None`: this machine has no Node.js, or cannot reach npm;
    /// the test is counted as skipped then.
    pub async fn start(base_url: &str, claims_in_id_token: bool) -> Option<Self> {
        let folder = match installed() {
            Ok(folder) => folder,
            Err(reason) => {
                skip(Requirement::NpmPackages, reason);
                return None;
            }
        };
        let port = free_port();
        let client = json!({
            "client_id": CLIENT_ID,
            "client_secret": CLIENT_SECRET,
            "redirect_uris": [format!("{base_url}/console/oidc/callback")],
            "post_logout_redirect_uris": [format!("{base_url}/console/sign-in")],
        });
        let options =
            json!({ "port": port, "clients": [client], "claimsInIdToken": claims_in_id_token });
        let mut process = Command::new("node")
            .arg(folder.join("provider.mjs"))
            .arg(options.to_string())
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .kill_on_drop(true)
            .spawn()
            .unwrap();
        let mut lines = BufReader::new(process.stdout.take().unwrap()).lines();
        assert_eq!(lines.next_line().await.unwrap().as_deref(), Some("listening"));
        Some(Self { issuer: format!("http://127.0.0.1:{port}"), _process: process })
    }

    /// The settings of a console that signs in by this provider.
    pub fn settings(&self, base_url: &str, more: &str) -> String {
        console_settings(&self.issuer, base_url, more)
    }

    /// Sets the claims of an account.
    pub async fn sets(&self, account: &str, claims: &Value) {
        let url = format!("{}/accounts/{account}", self.issuer);
        let answer = http().put(url).body(claims.to_string()).send().await.unwrap();
        assert_eq!(answer.status(), 204);
    }
}

/// The settings of a console that signs in by a provider.
pub fn console_settings(issuer: &str, base_url: &str, more: &str) -> String {
    format!(
        r#"
        [console.oidc]
        issuer = "{issuer}"
        client_id = "{CLIENT_ID}"
        client_secret = "{CLIENT_SECRET}"
        base_url = "{base_url}"
        {more}
        "#
    )
}

/// A port that is free now. The provider states its address before it listens.
fn free_port() -> u16 {
    std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port()
}

/// The folder with the provider and its packages.
fn installed() -> Result<&'static Path, &'static str> {
    static FOLDER: OnceLock<Result<PathBuf, String>> = OnceLock::new();
    FOLDER.get_or_init(install).as_deref().map_err(String::as_str)
}

fn install() -> Result<PathBuf, String> {
    let from = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/openid-provider");
    let folder = Path::new(env!("CARGO_TARGET_TMPDIR")).join("openid-provider");
    fs::create_dir_all(&folder).map_err(|error| error.to_string())?;
    let is_same = |file: &str| {
        let read = |folder: &Path| fs::read(folder.join(file)).unwrap_or_default();
        read(&from) == read(&folder)
    };
    let has_packages = is_same("package-lock.json") && folder.join("node_modules").is_dir();
    for file in ["package.json", "package-lock.json", "provider.mjs"] {
        fs::copy(from.join(file), folder.join(file)).map_err(|error| error.to_string())?;
    }
    if !has_packages {
        let arguments = ["ci", "--ignore-scripts", "--no-audit", "--no-fund"];
        let ran = std::process::Command::new("npm").args(arguments).current_dir(&folder).output();
        let ran = ran.map_err(|error| format!("npm does not run: {error}"))?;
        if !ran.status.success() {
            return Err(String::from_utf8_lossy(&ran.stderr).into_owned());
        }
    }
    Ok(folder)
}
