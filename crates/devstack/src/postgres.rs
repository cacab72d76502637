//! A private PostgreSQL server in a temporary folder. It ends with this process.
//!
//! # Why
//!
//! It listens on the loopback address only, under a random password, so that other users of the
//! machine cannot connect. `fsync` stays on, so that latencies are realistic. The server writes its
//! process id and its readiness into its own `postmaster.pid`, which distinguishes it from another
//! server on the same port without SQL.

use std::fs;
use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use tempfile::NamedTempFile;
use tokio::time::{Instant, sleep};

use super::child::{self, ChildProcess, ProcessSignal};
use super::error::DevstackError;
use super::host_environment::HostEnvironment;
use super::os_account::OsAccount;
use super::port::free_port;
use super::postgres_archive::{BinarySource, locate_binaries};
use super::postgres_binaries::PostgresBinaries;
use super::temporary_folder::TemporaryFolder;

/// The role that owns everything in the private server; it is a superuser there.
const ROLE: &str = "onrecord";

/// The database that every new server has.
const FIRST_DATABASE: &str = "postgres";

/// Maximum number of connections. Many tests share one server, each with its own pools.
const MAX_CONNECTIONS: &str = "max_connections=400";

/// Timeout of `initdb`.
const INITDB_TIMEOUT: Duration = Duration::from_secs(120);
/// Timeout until the server accepts connections.
const READY_TIMEOUT: Duration = Duration::from_secs(120);
/// Maximum number of starts until one finds its port free.
const MAX_STARTS: usize = 5;

/// How a server is stopped, the gentlest way first.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum PostgresShutdown {
    /// Connections are broken, all is written, the next start is clean.
    Fast,
    /// All processes end at once, the next start recovers.
    Immediate,
    /// All processes are killed, as by a power cut that spares the disk cache.
    Kill,
}

impl PostgresShutdown {
    /// Fast, then at once, then killed. The server itself kills processes that have not ended five
    /// seconds after the second signal; the last waits for the kernel only.
    const STEPS: [(ProcessSignal, Duration); 3] = [
        (ProcessSignal::Interrupt, Duration::from_secs(10)),
        (ProcessSignal::Quit, Duration::from_secs(6)),
        (ProcessSignal::Kill, Duration::from_secs(5)),
    ];

    /// The steps from this one's own signal on.
    fn steps(self) -> &'static [(ProcessSignal, Duration)] {
        &Self::STEPS[self as usize..]
    }
}

/// A private PostgreSQL server. Dropping it stops it at once and removes its folder; [`Self::stop`]
/// does so in order.
pub struct PrivatePostgres {
    /// The process that works on the data: first initdb, then the server. It is ended before its
    /// folder is removed.
    server: Option<ChildProcess>,
    scratch: TemporaryFolder,
    binaries: PostgresBinaries,
    account: OsAccount,
    port: u16,
    password: String,
    /// Further settings of the server, as `name=value`.
    settings: &'static [&'static str],
}

impl PrivatePostgres {
    /// Creates and starts a server. Without an installed PostgreSQL this fetches one first, once.
    ///
    /// # Errors
    /// Every variant of [`DevstackError`] except the broker's, each of which says what to do.
    pub async fn start(
        source: BinarySource,
        environment: &HostEnvironment,
    ) -> Result<Self, DevstackError> {
        Self::start_with(source, environment, &[]).await
    }

    /// The same, with further settings of the server, as `name=value`.
    ///
    /// # Errors
    /// As for [`Self::start`].
    pub async fn start_with(
        source: BinarySource,
        environment: &HostEnvironment,
        settings: &'static [&'static str],
    ) -> Result<Self, DevstackError> {
        let account = OsAccount::for_postgres()?;
        let binaries = locate_binaries(source, environment, &account).await?;
        let scratch =
            TemporaryFolder::create(&environment.temporary_roots(), "postgres", &account)?;
        let mut postgres = Self {
            server: None,
            scratch,
            binaries,
            account,
            port: free_port()?,
            password: uuid::Uuid::new_v4().simple().to_string(),
            settings,
        };
        postgres.make_cluster().await?;
        postgres.start_on_a_free_port().await?;
        tracing::debug!(
            postgres.version = postgres.version(),
            postgres.port = postgres.port,
            "a private postgres is ready",
        );
        Ok(postgres)
    }

    /// The URL of a database, with the role and the password. `database` is not escaped.
    pub fn url(&self, database: &str) -> String {
        let Self { password, port, .. } = self;
        format!("postgres://{ROLE}:{password}@127.0.0.1:{port}/{database}?sslmode=disable")
    }

    /// The URL of the database that every new server has.
    pub fn admin_url(&self) -> String {
        self.url(FIRST_DATABASE)
    }

    /// The port on 127.0.0.1; it stays the same across [`Self::stop_server`] and
    /// [`Self::start_server`].
    pub fn port(&self) -> u16 {
        self.port
    }

    /// The server's version, such as `15.13`.
    pub fn version(&self) -> &str {
        &self.binaries.version
    }

    /// Shuts down in order and removes the folder.
    pub async fn stop(mut self) {
        self.stop_server(PostgresShutdown::Fast).await;
    }

    /// Stops the server and keeps its data and its port. Nothing happens if it is stopped.
    pub async fn stop_server(&mut self, shutdown: PostgresShutdown) {
        let Some(server) = &self.server else {
            return;
        };
        if shutdown == PostgresShutdown::Kill {
            // Paused first, so that no new process is missing from the list.
            self.pause();
            for process in child::children_of(server.pid()) {
                child::send_to(process, ProcessSignal::Kill);
            }
        } else {
            self.resume();
        }
        server.end(shutdown.steps()).await;
        self.server = None;
    }

    /// Starts a stopped server on the same data and port, and waits until it is ready. Nothing
    /// happens if it runs.
    ///
    /// # Errors
    /// [`DevstackError::Ended`] with the end of the server's log, for example if the port is taken.
    pub async fn start_server(&mut self) -> Result<(), DevstackError> {
        if self.is_running() {
            return Ok(());
        }
        let mut command = self.command("postgres");
        command.arg("-D").arg(self.cluster_folder());
        for setting in [
            &*format!("port={}", self.port),
            "listen_addresses=127.0.0.1",
            "unix_socket_directories=",
            MAX_CONNECTIONS,
            "timezone=UTC",
            "log_timezone=UTC",
            // Values of statements stay out of the log, even when a statement fails.
            "log_min_error_statement=panic",
            "log_error_verbosity=terse",
        ] {
            command.args(["-c", setting]);
        }
        for setting in self.settings {
            command.args(["-c", setting]);
        }
        child::write_to(&mut command, &self.log())?;
        // When this process dies, the server shuts down at once rather than being killed, so that all
        // its processes and its shared memory go too.
        let (pid_file, log) = (self.cluster_folder().join("postmaster.pid"), self.log());
        let server = ChildProcess::spawn(command, ProcessSignal::Quit).await?;
        // Kept before it is ready, so that a caller that stops waiting still ends it in order.
        let outcome = wait_until_ready(self.server.insert(server), &pid_file, &log).await;
        if outcome.is_err() {
            self.stop_server(PostgresShutdown::Immediate).await;
        }
        outcome
    }

    /// Whether the server exists, paused or not.
    pub fn is_running(&self) -> bool {
        self.server.as_ref().is_some_and(|server| server.ended().is_none())
    }

    /// Pauses the server and its connections: they stay open and nothing answers.
    pub fn pause(&self) {
        self.signal_all(ProcessSignal::Stop);
    }

    /// Resumes a paused server.
    pub fn resume(&self) {
        self.signal_all(ProcessSignal::Continue);
    }

    fn signal_all(&self, signal: ProcessSignal) {
        let Some(server) = self.server.as_ref().filter(|server| server.ended().is_none()) else {
            return;
        };
        // The parent first, so that a pause finds all processes that it has started.
        server.signal(signal);
        for process in child::children_of(server.pid()) {
            child::send_to(process, signal);
        }
    }

    async fn make_cluster(&mut self) -> Result<(), DevstackError> {
        let data = self.cluster_folder();
        fs::create_dir(&data).map_err(DevstackError::folder("cannot create", &data))?;
        // Only its owner can read such a file.
        let scratch = self.scratch.path();
        let password = NamedTempFile::with_prefix_in("password", scratch)
            .and_then(|mut file| file.write_all(self.password.as_bytes()).map(|()| file))
            .map_err(DevstackError::folder("cannot write to", scratch))?;
        for path in [data.as_path(), password.path()] {
            self.account
                .give_ownership(path)
                .map_err(DevstackError::folder("cannot give away", path))?;
        }

        let mut command = self.command("initdb");
        command
            .args([Path::new("--pgdata"), &data, Path::new("--pwfile"), password.path()])
            .args(["--username", ROLE, "--auth", "scram-sha-256"])
            .args(["--encoding", "UTF8", "--locale", "C"])
            // The new cluster's own files need not be on disk: none of them survives this process.
            .arg("--no-sync");
        let log = self.scratch.path().join("initdb.log");
        child::write_to(&mut command, &log)?;
        let initdb = ChildProcess::spawn(command, ProcessSignal::Quit).await?;
        let initdb = self.server.insert(initdb);
        initdb.succeeds_within(INITDB_TIMEOUT, &log).await?;
        self.server = None;
        password.close().map_err(DevstackError::folder("cannot remove a file from", scratch))
    }

    /// Another process may take the port between the search and the start.
    async fn start_on_a_free_port(&mut self) -> Result<(), DevstackError> {
        for _ in 1..MAX_STARTS {
            match self.start_server().await {
                Err(DevstackError::Ended { log_tail, .. })
                    if log_tail.contains("could not create any TCP/IP sockets") =>
                {
                    self.port = free_port()?;
                }
                outcome => return outcome,
            }
        }
        self.start_server().await
    }

    /// A program of the server under its account, without this process's environment, whose `PG…`
    /// variables would change its behaviour.
    fn command(&self, program: &str) -> Command {
        let mut command = Command::new(self.binaries.program(program));
        command
            .env_clear()
            .env("PATH", "/usr/local/bin:/usr/bin:/bin")
            .env("LC_ALL", "C")
            .env("TZ", "UTC")
            .current_dir("/");
        self.account.apply_to(&mut command);
        command
    }

    fn cluster_folder(&self) -> PathBuf {
        self.scratch.path().join("data")
    }

    fn log(&self) -> PathBuf {
        self.scratch.path().join("server.log")
    }
}

impl Drop for PrivatePostgres {
    fn drop(&mut self) {
        self.resume();
        if let Some(server) = self.server.take() {
            server.end_blocking(PostgresShutdown::Immediate.steps());
        }
    }
}

/// Waits until a server has written into its own file that it accepts connections.
async fn wait_until_ready(
    server: &ChildProcess,
    pid_file: &Path,
    log: &Path,
) -> Result<(), DevstackError> {
    let begun = Instant::now();
    loop {
        let lines = fs::read_to_string(pid_file);
        if lines.is_ok_and(|lines| says_ready(&lines, server.pid())) {
            return Ok(());
        }
        if let Some(status) = server.ended() {
            return Err(server.exit_error(status, log));
        }
        if begun.elapsed() > READY_TIMEOUT {
            return Err(server.timeout_error(READY_TIMEOUT, log));
        }
        sleep(Duration::from_millis(10)).await;
    }
}

/// Whether `postmaster.pid` is that of this server (first line) and states that it accepts
/// connections (eighth line). The file of a killed server stays and names another process.
fn says_ready(lines: &str, pid: i32) -> bool {
    let is_ours = lines.lines().next().and_then(|line| line.trim().parse().ok()) == Some(pid);
    let is_ready = lines.lines().nth(7).is_some_and(|line| line.trim() == "ready");
    is_ours && is_ready
}

#[cfg(test)]
mod tests {
    use super::*;

    const READY: &str = "4711\n/tmp/data\n1763935933\n15432\n\n127.0.0.1\n  5432 1\nready   \n";

    #[test]
    fn a_server_is_ready_when_its_own_file_says_so() {
        assert!(says_ready(READY, 4711));
        assert!(!says_ready(&READY.replace("ready   ", "starting"), 4711));
        assert!(!says_ready("4711\n/tmp/data\n", 4711));
    }

    #[test]
    fn the_file_of_an_earlier_server_is_ignored() {
        assert!(!says_ready(READY, 4712));
    }
}
