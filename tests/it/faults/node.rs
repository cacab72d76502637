//! One node: `onrecord serve` as a process, which may be killed, frozen, stopped, and come back.

use std::fs;
use std::path::PathBuf;
use std::process::{Command, ExitStatus};
use std::time::{Duration, Instant};

use onrecord::embedded::child::{OwnedChild, Signal, write_to};
use onrecord::embedded::port::free_port;
use serde_json::Value;
use tempfile::TempDir;

use crate::client::http;
use crate::house::Ground;
#[cfg(feature = "failpoints")]
use crate::house::{DEADLINE, until};
use crate::kafka::tell;

/// It listens within this time, or it will not.
const START_PATIENCE: Duration = Duration::from_secs(30);
/// It must have stopped in order within this time.
const STOP_PATIENCE: Duration = Duration::from_secs(25);
const PORT_TRIES: usize = 5;

/// What the process does at a crash point.
#[cfg(feature = "failpoints")]
#[derive(Clone, Copy, Debug)]
pub enum Order {
    Crash,
    Freeze,
}

/// A node with settings, a port, and logs of its own. Dropping it kills the process.
pub struct Node {
    name: String,
    folder: TempDir,
    port: u16,
    /// Of `serve`.
    arguments: Vec<String>,
    lives: usize,
    child: Option<OwnedChild>,
}

impl Node {
    /// Starts a node on this ground. It listens when this returns; whether anything works is
    /// another matter.
    pub async fn start(name: &str, ground: &Ground, arguments: &[&str]) -> Self {
        let mut node = Self {
            name: name.to_owned(),
            folder: tempfile::tempdir().unwrap(),
            port: 0,
            arguments: arguments.iter().map(ToString::to_string).collect(),
            lives: 0,
            child: None,
        };
        for _ in 0..PORT_TRIES {
            // Not port 0: a node that comes back must find its port free.
            node.port = free_port().unwrap();
            let listen = format!("127.0.0.1:{}", node.port);
            let settings = ground.toml(&listen, "info", "");
            fs::write(node.folder.path().join("onrecord.toml"), settings).unwrap();
            if node.comes_to_life().await {
                return node;
            }
        }
        panic!("no node could be started");
    }

    /// Starts it on the same port with the same settings.
    pub async fn start_again(&mut self) {
        assert!(self.child.is_none(), "{} runs", self.name);
        for _ in 0..PORT_TRIES {
            if self.comes_to_life().await {
                return;
            }
        }
        panic!("{} does not come back", self.name);
    }

    /// Whether it listens; not, if somebody else has its port.
    async fn comes_to_life(&mut self) -> bool {
        self.lives += 1;
        let mut command = Command::new(env!("CARGO_BIN_EXE_onrecord"));
        for (name, _) in std::env::vars_os() {
            // What the tests are told is not for the node.
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
        write_to(&mut command, &self.log_of(self.lives)).unwrap();
        let child = OwnedChild::spawn(command, Signal::Kill).await.unwrap();
        let began = Instant::now();
        while !self.log().contains("serving on ") {
            if let Some(status) = child.ended() {
                let log = self.log();
                assert!(
                    log.contains("cannot listen"),
                    "{} ended with {status}: {log}",
                    self.name
                );
                return false;
            }
            assert!(
                began.elapsed() < START_PATIENCE,
                "{} does not start: {}",
                self.name,
                self.log()
            );
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
        self.child = Some(child);
        true
    }

    pub fn url(&self, path: &str) -> String {
        format!("http://127.0.0.1:{}{path}", self.port)
    }

    /// Ends it as a crash would.
    pub async fn kill(&mut self) {
        self.end(&[(Signal::Kill, Duration::from_secs(10))]).await;
    }

    /// Ends it in order, as SIGTERM does, and gives how long that took.
    pub async fn stop(&mut self) -> Duration {
        let began = Instant::now();
        let status = self.end(&[(Signal::Terminate, STOP_PATIENCE)]).await;
        assert!(
            status.is_some_and(|status| status.success()),
            "{} does not stop in order ({status:?}):\n{}",
            self.name,
            self.log()
        );
        began.elapsed()
    }

    /// It stands still: connections stay open and nothing answers.
    pub fn freeze(&self) {
        self.signal(Signal::Stop);
    }

    /// It goes on.
    pub fn thaw(&self) {
        self.signal(Signal::Continue);
    }

    /// Waits until the process has crashed at a point that was armed.
    #[cfg(feature = "failpoints")]
    pub async fn has_crashed(&mut self) {
        if let Some(child) = self.child.take() {
            let ended = child.ended_within(DEADLINE).await;
            assert!(
                ended.is_some(),
                "{} did not crash:\n{}",
                self.name,
                self.log()
            );
        }
    }

    /// Waits until the process has frozen at a point that was armed.
    #[cfg(feature = "failpoints")]
    pub async fn has_frozen(&self) {
        let pid = self.child.as_ref().unwrap().pid();
        until("the process stands still", || async move {
            let state = fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
            state.rsplit_once(") ")?.1.starts_with('T').then_some(())
        })
        .await;
    }

    async fn end(&mut self, steps: &[(Signal, Duration)]) -> Option<ExitStatus> {
        let child = self.child.take()?;
        let mut status = child.ended();
        if status.is_none() {
            status = child.end(steps).await;
        }
        status
    }

    fn signal(&self, signal: Signal) {
        if let Some(child) = &self.child {
            child.signal(signal);
        }
    }

    /// Lets the process crash or freeze when it comes to this point.
    #[cfg(feature = "failpoints")]
    pub fn arm(&self, point: &str, order: Order) {
        let order = match order {
            Order::Crash => "crash",
            Order::Freeze => "freeze",
        };
        // Whole at once: a point may look at any moment.
        let beside = self.folder.path().join("arming");
        fs::write(&beside, order).unwrap();
        fs::rename(beside, self.folder.path().join(point)).unwrap();
    }

    /// What `/readyz` says of each component; `None` if it does not answer.
    pub async fn health(&self) -> Option<Value> {
        let asked = http()
            .get(self.url("/readyz"))
            .timeout(Duration::from_secs(2))
            .send()
            .await;
        asked.ok()?.json().await.ok()
    }

    /// Whether everything is well.
    pub async fn is_ready(&self) -> bool {
        let Some(view) = self.health().await else {
            return false;
        };
        ["kafka", "postgres", "ledger", "board"]
            .iter()
            .all(|name| view["components"][name]["health"] == "well")
    }

    /// What it has written in this life.
    pub fn log(&self) -> String {
        fs::read_to_string(self.log_of(self.lives)).unwrap_or_default()
    }

    /// What it has written in all its lives.
    pub fn whole_log(&self) -> String {
        (1..=self.lives)
            .map(|life| fs::read_to_string(self.log_of(life)).unwrap_or_default())
            .collect()
    }

    fn log_of(&self, life: usize) -> PathBuf {
        self.folder.path().join(format!("{life}.log"))
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
        tell(&format!("last words of {}:", self.name));
        for line in &lines[last..] {
            tell(&format!("  {line}"));
        }
    }
}
