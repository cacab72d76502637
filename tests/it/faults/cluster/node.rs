//! One node: `onrecord serve` as a process that a test can kill, pause, stop, and start again.

use std::fs;
use std::path::PathBuf;
use std::process::{Command, ExitStatus};
use std::time::{Duration, Instant};

use onrecord_devstack::child::{ChildProcess, ProcessSignal, write_to};
use onrecord_devstack::port::free_port;
use serde_json::Value;
use tempfile::TempDir;

use crate::support::app::TestStores;
use crate::support::app::{DEADLINE, until};
use crate::support::client::http;
use crate::support::requirements::print_line;

/// The settings of webhooks: they may go to this machine, and time is scaled.
const WEBHOOKS: &str = crate::webhooks::subscriber::SETTINGS;
/// Timeout until it listens.
const START_TIMEOUT: Duration = Duration::from_secs(30);
/// Timeout of an orderly stop.
const STOP_TIMEOUT: Duration = Duration::from_secs(25);
/// Maximum number of starts until one finds its port free.
const MAX_STARTS: usize = 5;

/// What the process does at a failpoint.
#[derive(Clone, Copy, Debug)]
pub enum FailpointAction {
    Crash,
    Pause,
}

/// A node with its own settings, port, and logs. Dropping it kills the process.
pub struct Node {
    name: String,
    folder: TempDir,
    port: u16,
    /// Arguments of `serve`.
    arguments: Vec<String>,
    starts: usize,
    child: Option<ChildProcess>,
}

impl Node {
    /// Starts a node on these stores. It listens when this returns, whatever the state of the stores.
    pub async fn start(name: &str, stores: &TestStores, arguments: &[&str]) -> Self {
        Self::with_settings(name, stores, arguments, "").await
    }

    /// The same with additional settings.
    pub async fn with_settings(
        name: &str,
        stores: &TestStores,
        arguments: &[&str],
        more: &str,
    ) -> Self {
        let mut node = Self {
            name: name.to_owned(),
            folder: tempfile::tempdir().unwrap(),
            port: 0,
            arguments: arguments.iter().map(ToString::to_string).collect(),
            starts: 0,
            child: None,
        };
        for _ in 0..MAX_STARTS {
            // Not port 0: a restarted node must find its port free.
            node.port = free_port().unwrap();
            let listen = format!("127.0.0.1:{}", node.port);
            let settings = stores.toml(
                &listen,
                "info",
                &format!(
                    "{WEBHOOKS}
{more}"
                ),
            );
            fs::write(node.folder.path().join("onrecord.toml"), settings).unwrap();
            if node.starts_serving().await {
                return node;
            }
        }
        panic!("no node could be started");
    }

    /// Starts it on the same port with the same settings.
    pub async fn start_again(&mut self) {
        assert!(self.child.is_none(), "{} runs", self.name);
        for _ in 0..MAX_STARTS {
            if self.starts_serving().await {
                return;
            }
        }
        panic!("{} does not start again", self.name);
    }

    /// Whether it listens. It does not if another process has its port.
    async fn starts_serving(&mut self) -> bool {
        self.starts += 1;
        let mut command = Command::new(env!("CARGO_BIN_EXE_onrecord"));
        for (name, _) in std::env::vars_os() {
            // The settings of the tests are not for the node.
            if name.to_string_lossy().starts_with("ONRECORD_") {
                command.env_remove(name);
            }
        }
        command
            .args(["serve", "--config"])
            .arg(self.folder.path().join("onrecord.toml"))
            .args(&self.arguments)
            .env("ONRECORD_TEST_FAILPOINTS", self.folder.path())
            .env("NO_COLOR", "1")
            .current_dir(self.folder.path());
        write_to(&mut command, &self.log_of(self.starts)).unwrap();
        let child = ChildProcess::spawn(command, ProcessSignal::Kill).await.unwrap();
        let began = Instant::now();
        while !self.log().contains("serving on ") {
            if let Some(status) = child.ended() {
                let log = self.log();
                assert!(log.contains("cannot listen"), "{} ended with {status}: {log}", self.name);
                return false;
            }
            assert!(
                began.elapsed() < START_TIMEOUT,
                "{} does not start: {}",
                self.name,
                self.log()
            );
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
        self.child = Some(child);
        true
    }

    /// What `onrecord doctor` finds under a code, with the settings of this node.
    pub fn doctor_finds(&self, code: &str) -> Value {
        let mut command = Command::new(env!("CARGO_BIN_EXE_onrecord"));
        command.args(["doctor", "--json", "--config"]);
        let output = command.arg(self.folder.path().join("onrecord.toml")).output().unwrap();
        let report: Value = serde_json::from_slice(&output.stdout).unwrap();
        let findings = report["findings"].as_array().unwrap();
        findings.iter().find(|found| found["code"] == code).unwrap().clone()
    }

    pub fn url(&self, path: &str) -> String {
        format!("http://127.0.0.1:{}{path}", self.port)
    }

    /// Ends it as a crash would. It must not have ended by itself before.
    pub async fn kill(&mut self) {
        self.assert_runs();
        self.end(&[(ProcessSignal::Kill, Duration::from_secs(10))]).await;
    }

    /// Fails if it was started and has ended by itself.
    pub fn assert_runs(&self) {
        let ended = self.child.as_ref().and_then(ChildProcess::ended);
        assert!(ended.is_none(), "{} ended by itself: {ended:?}", self.name);
    }

    /// Stops it with SIGTERM, and returns how long that took.
    pub async fn stop(&mut self) -> Duration {
        let began = Instant::now();
        let status = self.end(&[(ProcessSignal::Terminate, STOP_TIMEOUT)]).await;
        assert!(
            status.is_some_and(|status| status.success()),
            "{} does not stop in order ({status:?}):\n{}",
            self.name,
            self.log()
        );
        began.elapsed()
    }

    /// Pauses it: connections stay open and nothing answers.
    pub fn pause(&self) {
        self.signal(ProcessSignal::Stop);
    }

    /// Resumes it.
    pub fn resume(&self) {
        self.signal(ProcessSignal::Continue);
    }

    /// Waits until the process has crashed at an armed failpoint.
    pub async fn has_crashed(&mut self) {
        if let Some(child) = self.child.take() {
            let ended = child.ended_within(DEADLINE).await;
            assert!(ended.is_some(), "{} did not crash:\n{}", self.name, self.log());
        }
    }

    /// Waits until the process has paused at an armed failpoint.
    pub async fn has_paused(&self) {
        let pid = self.child.as_ref().unwrap().pid();
        until("the process is paused", || async move {
            let state = fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
            state.rsplit_once(") ")?.1.starts_with('T').then_some(())
        })
        .await;
    }

    async fn end(&mut self, steps: &[(ProcessSignal, Duration)]) -> Option<ExitStatus> {
        let child = self.child.take()?;
        let mut status = child.ended();
        if status.is_none() {
            status = child.end(steps).await;
        }
        status
    }

    fn signal(&self, signal: ProcessSignal) {
        if let Some(child) = &self.child {
            child.signal(signal);
        }
    }

    /// Makes the process crash or pause at this failpoint.
    pub fn arm(&self, point: &str, action: FailpointAction) {
        let action = match action {
            FailpointAction::Crash => "crash",
            FailpointAction::Pause => "freeze",
        };
        // Renamed into place, because the failpoint may read the file at any moment.
        let beside = self.folder.path().join("arming");
        fs::write(&beside, action).unwrap();
        fs::rename(beside, self.folder.path().join(point)).unwrap();
    }

    /// The answer of `/readyz`; `None` if there is none.
    pub async fn health(&self) -> Option<Value> {
        let asked = http().get(self.url("/readyz")).timeout(Duration::from_secs(2)).send().await;
        asked.ok()?.json().await.ok()
    }

    /// Whether every component is healthy.
    pub async fn is_ready(&self) -> bool {
        let Some(view) = self.health().await else {
            return false;
        };
        ["kafka", "postgres", "ledger", "live"]
            .iter()
            .all(|name| view["components"][name]["health"] == "healthy")
    }

    /// The log since its last start.
    pub fn log(&self) -> String {
        fs::read_to_string(self.log_of(self.starts)).unwrap_or_default()
    }

    /// The log of all its starts.
    pub fn whole_log(&self) -> String {
        (1..=self.starts)
            .map(|start| fs::read_to_string(self.log_of(start)).unwrap_or_default())
            .collect()
    }

    fn log_of(&self, start: usize) -> PathBuf {
        self.folder.path().join(format!("{start}.log"))
    }
}

impl Drop for Node {
    fn drop(&mut self) {
        if !std::thread::panicking() {
            return;
        }
        const LINES: usize = 60;
        let log = self.whole_log();
        let lines: Vec<&str> = log.lines().collect();
        let last = lines.len().saturating_sub(LINES);
        print_line(&format!("end of the log of {}:", self.name));
        for line in &lines[last..] {
            print_line(&format!("  {line}"));
        }
    }
}
