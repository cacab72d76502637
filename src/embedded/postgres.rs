//! A PostgreSQL server of our own, in a temporary folder, for as long as this process lives.
//!
//! # Why
//!
//! It listens on the loopback address only, under a random password, so that another user of the
//! machine cannot look in. `fsync` stays on, so that the latencies seen are honest. The server
//! writes into its own `postmaster.pid` when it is ready and who it is, which tells our server
//! from a stranger on the same port without speaking SQL.

use std::fmt;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use tokio::time::{Instant, sleep};

use super::account::Account;
use super::binaries::{Binaries, BinarySource};
use super::child::{self, OwnedChild, Signal};
use super::port::free_port;
use super::scratch::Scratch;
use super::{EmbeddedError, Surroundings};

/// The role that owns everything in the private server; it is a superuser there.
const ROLE: &str = "onrecord";

/// The database that every new server has.
const FIRST_DATABASE: &str = "postgres";

/// Many tests share one server, each with its own pools.
const MAX_CONNECTIONS: &str = "400";

const INITDB_DEADLINE: Duration = Duration::from_secs(120);
const READY_DEADLINE: Duration = Duration::from_secs(120);
const PORT_TRIES: usize = 5;

/// How a server is stopped.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Shutdown {
    /// Connections are broken, all is written, the next start is clean.
    Fast,
    /// All processes end at once, the next start recovers.
    Immediate,
    /// All processes are killed, as by a power cut that spares the disk cache.
    Kill,
}

/// A private PostgreSQL server. Dropping it stops it at once and removes its folder; [`Self::stop`]
/// does so in order.
pub struct PrivatePostgres {
    /// The process that works on the data: for a moment initdb, then the server. It is ended
    /// before its folder is removed.
    server: Option<OwnedChild>,
    scratch: Scratch,
    binaries: Binaries,
    account: Account,
    port: u16,
    password: String,
}

impl PrivatePostgres {
    /// Makes and starts a server. Without an installed PostgreSQL this fetches one first, once.
    ///
    /// # Errors
    /// Every variant of [`EmbeddedError`] except the broker's, each with what to do about it.
    pub async fn start(
        source: BinarySource,
        surroundings: &Surroundings,
    ) -> Result<Self, EmbeddedError> {
        let account = Account::for_postgres()?;
        let binaries = Binaries::locate(source, surroundings, &account).await?;
        let scratch = Scratch::create(&surroundings.temporary_roots(), "postgres", &account)?;
        let mut postgres = Self {
            server: None,
            scratch,
            binaries,
            account,
            port: free_port()?,
            password: uuid::Uuid::new_v4().simple().to_string(),
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

    /// The address of a database, with the role and the password. `database` stands in it as it
    /// is, so it must need no escaping in a URL.
    pub fn url(&self, database: &str) -> String {
        let Self { password, port, .. } = self;
        format!("postgres://{ROLE}:{password}@127.0.0.1:{port}/{database}?sslmode=disable")
    }

    /// The address of the database that is there from the beginning.
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
        self.binaries.version()
    }

    /// Shuts down in order and removes all that was made.
    pub async fn stop(mut self) {
        self.stop_server(Shutdown::Fast).await;
    }

    /// Stops the server and keeps its data and its port. Nothing happens if it is stopped.
    pub async fn stop_server(&mut self, shutdown: Shutdown) {
        let Some(server) = &self.server else {
            return;
        };
        match shutdown {
            Shutdown::Fast => {
                self.thaw();
                server.end(&FAST).await;
            }
            Shutdown::Immediate => {
                self.thaw();
                server.end(&IMMEDIATE).await;
            }
            Shutdown::Kill => {
                // Frozen first, so that no new process escapes the list.
                self.freeze();
                for process in child::children_of(server.pid()) {
                    child::send_to(process, Signal::Kill);
                }
                server.end(&KILL).await;
            }
        }
        self.server = None;
    }

    /// Starts a stopped server on the same data and port, and waits until it is ready. Nothing
    /// happens if it runs.
    ///
    /// # Errors
    /// [`EmbeddedError::Ended`] with the server's words, for one if the port has been taken.
    pub async fn start_server(&mut self) -> Result<(), EmbeddedError> {
        if self.is_running() {
            return Ok(());
        }
        let mut command = self.command("postgres");
        command.arg("-D").arg(self.cluster_folder());
        for setting in [
            &*format!("port={}", self.port),
            "listen_addresses=127.0.0.1",
            "unix_socket_directories=",
            &*format!("max_connections={MAX_CONNECTIONS}"),
            "timezone=UTC",
            "log_timezone=UTC",
            // What a statement carried stays out of the log, also when it fails.
            "log_min_error_statement=panic",
            "log_error_verbosity=terse",
        ] {
            command.args(["-c", setting]);
        }
        child::write_to(&mut command, &self.log())?;
        // At our death a quick shutdown rather than a kill: it takes all the server's processes
        // and its shared memory with it.
        let (pid_file, log) = (self.cluster_folder().join("postmaster.pid"), self.log());
        let server = OwnedChild::spawn(command, Signal::Quit).await?;
        // Kept before it is ready, so that whoever gives up waiting stops it in order.
        let outcome = ready(self.server.insert(server), &pid_file, &log).await;
        if outcome.is_err() {
            self.stop_server(Shutdown::Immediate).await;
        }
        outcome
    }

    /// Whether the server runs, frozen or not.
    pub fn is_running(&self) -> bool {
        self.server
            .as_ref()
            .is_some_and(|server| server.ended().is_none())
    }

    /// Freezes the server and its connections: they stay open and nothing answers.
    pub fn freeze(&self) {
        self.signal_all(Signal::Stop);
    }

    /// Lets a frozen server go on.
    pub fn thaw(&self) {
        self.signal_all(Signal::Continue);
    }

    /// The end of what the server wrote since its last start.
    pub fn last_words(&self) -> String {
        child::last_words(&self.log())
    }

    fn signal_all(&self, signal: Signal) {
        let Some(server) = self
            .server
            .as_ref()
            .filter(|server| server.ended().is_none())
        else {
            return;
        };
        // The parent first, so that a freeze finds all that it has started.
        server.signal(signal);
        for process in child::children_of(server.pid()) {
            child::send_to(process, signal);
        }
    }

    async fn make_cluster(&mut self) -> Result<(), EmbeddedError> {
        let data = self.cluster_folder();
        fs::create_dir(&data).map_err(EmbeddedError::folder("cannot create", &data))?;
        let password = self.scratch.path().join("password");
        write_private(&password, &self.password)
            .map_err(EmbeddedError::folder("cannot write", &password))?;
        for path in [&data, &password] {
            self.account
                .give(path)
                .map_err(EmbeddedError::folder("cannot give away", path))?;
        }

        let mut command = self.command("initdb");
        command
            .arg("--pgdata")
            .arg(&data)
            .arg("--pwfile")
            .arg(&password)
            .args(["--username", ROLE, "--auth", "scram-sha-256"])
            .args(["--encoding", "UTF8", "--locale", "C"])
            // Only the new cluster's own files are not forced to disk: none of it is to survive.
            .arg("--no-sync");
        let log = self.scratch.path().join("initdb.log");
        child::write_to(&mut command, &log)?;
        let initdb = OwnedChild::spawn(command, Signal::Quit).await?;
        let initdb = self.server.insert(initdb);
        initdb.succeeds_within(INITDB_DEADLINE, &log).await?;
        self.server = None;
        fs::remove_file(&password).map_err(EmbeddedError::folder("cannot remove", &password))
    }

    /// Between our finding a port free and the server's taking it, another process may take it.
    async fn start_on_a_free_port(&mut self) -> Result<(), EmbeddedError> {
        for _ in 1..PORT_TRIES {
            match self.start_server().await {
                Err(EmbeddedError::Ended { last_words, .. }) if is_port_taken(&last_words) => {
                    self.port = free_port()?;
                }
                outcome => return outcome,
            }
        }
        self.start_server().await
    }

    /// A program of the server under the right account, with nothing of our environment, in which
    /// `PG…` variables would change its mind.
    fn command(&self, program: &str) -> Command {
        let mut command = Command::new(self.binaries.program(program));
        command
            .env_clear()
            .env("PATH", "/usr/local/bin:/usr/bin:/bin")
            .env("LC_ALL", "C")
            .env("TZ", "UTC")
            .current_dir("/");
        self.account.put_on(&mut command);
        command
    }

    fn cluster_folder(&self) -> PathBuf {
        self.scratch.path().join("data")
    }

    fn log(&self) -> PathBuf {
        self.scratch.path().join("server.log")
    }
}

/// Fast, then at once, then killed. The last waits for the kernel only.
const FAST: [(Signal, Duration); 3] = [
    (Signal::Interrupt, Duration::from_secs(10)),
    (Signal::Quit, Duration::from_secs(6)),
    (Signal::Kill, Duration::from_secs(5)),
];
/// The server itself kills processes that have not ended after five seconds.
const IMMEDIATE: [(Signal, Duration); 2] = [
    (Signal::Quit, Duration::from_secs(6)),
    (Signal::Kill, Duration::from_secs(5)),
];
const KILL: [(Signal, Duration); 1] = [(Signal::Kill, Duration::from_secs(5))];

impl Drop for PrivatePostgres {
    fn drop(&mut self) {
        self.thaw();
        if let Some(server) = self.server.take() {
            server.end_blocking(&IMMEDIATE);
        }
    }
}

impl fmt::Debug for PrivatePostgres {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter
            .debug_struct("PrivatePostgres")
            .field("version", &self.version())
            .field("port", &self.port)
            .field("folder", &self.scratch.path())
            .finish_non_exhaustive()
    }
}

/// Writes a file that only its owner can read.
fn write_private(path: &Path, text: &str) -> std::io::Result<()> {
    use std::io::Write;
    use std::os::unix::fs::OpenOptionsExt;
    let mut options = fs::OpenOptions::new();
    let mut file = options
        .write(true)
        .create_new(true)
        .mode(0o600)
        .open(path)?;
    file.write_all(text.as_bytes())
}

/// Waits until a server has told in its own file that it takes connections.
async fn ready(server: &OwnedChild, pid_file: &Path, log: &Path) -> Result<(), EmbeddedError> {
    let begun = Instant::now();
    loop {
        let lines = fs::read_to_string(pid_file);
        if lines.is_ok_and(|lines| says_ready(&lines, server.pid())) {
            return Ok(());
        }
        if let Some(status) = server.ended() {
            return Err(server.failure(status, log));
        }
        if begun.elapsed() > READY_DEADLINE {
            return Err(server.slowness(READY_DEADLINE, log));
        }
        sleep(Duration::from_millis(10)).await;
    }
}

/// Whether `postmaster.pid` is that of our server (first line) and says that it takes connections
/// (eighth line). The file of a server that was killed stays and names another process.
fn says_ready(lines: &str, pid: i32) -> bool {
    let is_ours = lines
        .lines()
        .next()
        .and_then(|line| line.trim().parse().ok())
        == Some(pid);
    let is_ready = lines
        .lines()
        .nth(7)
        .is_some_and(|line| line.trim() == "ready");
    is_ours && is_ready
}

fn is_port_taken(last_words: &str) -> bool {
    last_words.contains("could not create any TCP/IP sockets")
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
    fn the_file_of_an_earlier_server_says_nothing() {
        assert!(!says_ready(READY, 4712));
    }
}
