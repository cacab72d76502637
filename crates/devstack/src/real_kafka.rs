//! Apache Kafka on this machine: one node in KRaft mode that a test can stop, kill and pause.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::Arc;
use std::time::{Duration, Instant};

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use rdkafka::ClientConfig;
use rdkafka::consumer::{BaseConsumer, Consumer as _};
use tokio::task::spawn_blocking;
use tokio::time::sleep;
use uuid::Uuid;

use crate::child::{ChildProcess, ProcessSignal, run_to_end, write_to};
use crate::error::DevstackError;
use crate::os_account::OsAccount;
use crate::port::free_port;
use crate::secured_listener::SecuredListener;
use crate::temporary_folder::TemporaryFolder;

/// The properties that do not depend on ports and folders.
const COMMON_PROPERTIES: &str = include_str!("real_kafka.properties");
/// Timeout of formatting the storage.
const FORMAT_TIMEOUT: Duration = Duration::from_secs(60);
/// Interval between two questions whether the broker answers.
const ASK_INTERVAL: Duration = Duration::from_millis(50);
/// Timeout of a start.
const START_TIMEOUT: Duration = Duration::from_secs(120);
/// Maximum number of starts until one finds its ports free.
const MAX_STARTS: usize = 5;

/// Options of a virtual machine that starts quickly and takes little memory. Its code stays slow,
/// which suits a run of minutes.
pub const SHORT_LIVED_JVM: &[&str] = &["-Xmx512m", "-XX:+UseSerialGC", "-XX:TieredStopAtLevel=1"];

/// A Kafka with a folder of its own. Dropping it kills the server and removes the folder.
pub struct RealKafka {
    // The server is dropped, and thereby killed, before its folder is removed.
    server: Option<ChildProcess>,
    scratch: TemporaryFolder,
    jars: PathBuf,
    /// Options of its virtual machine.
    options: &'static [&'static str],
    cluster: String,
    port: u16,
    controller_port: u16,
    /// Listeners behind proxies: the proxy's port, which clients are given, and the listener's.
    proxied: Vec<(u16, u16)>,
    secured: Option<SecuredListener>,
}

impl RealKafka {
    /// Formats its storage in a folder below one of `temporary_roots`, and starts it. It is ready when
    /// this returns.
    ///
    /// It has a listener for each of these ports of `proxies`. Clients that connect through a proxy
    /// are given the proxy's address, so that they stay behind it.
    ///
    /// # Errors
    ///
    /// [`DevstackError`], which ends with the end of its log if it does not start.
    pub async fn start(
        jars: &Path,
        options: &'static [&'static str],
        temporary_roots: &[PathBuf],
        proxies: &[u16],
    ) -> Result<Self, DevstackError> {
        Self::new(jars, options, temporary_roots, proxies)?.started().await
    }

    /// The same, with a listener that has TLS and SASL besides. The key tool of Java makes its key.
    ///
    /// # Errors
    ///
    /// As [`Self::start`].
    pub async fn start_secured(
        jars: &Path,
        options: &'static [&'static str],
        temporary_roots: &[PathBuf],
    ) -> Result<Self, DevstackError> {
        let mut kafka = Self::new(jars, options, temporary_roots, &[])?;
        kafka.secured = Some(SecuredListener::create(kafka.scratch.path()).await?);
        kafka.started().await
    }

    fn new(
        jars: &Path,
        options: &'static [&'static str],
        temporary_roots: &[PathBuf],
        proxies: &[u16],
    ) -> Result<Self, DevstackError> {
        Ok(Self {
            server: None,
            scratch: TemporaryFolder::create(temporary_roots, "kafka", &OsAccount::Own)?,
            jars: jars.into(),
            options,
            cluster: cluster_id(),
            port: 0,
            controller_port: 0,
            proxied: proxies.iter().map(|proxy| (*proxy, 0)).collect(),
            secured: None,
        })
    }

    async fn started(self) -> Result<Self, DevstackError> {
        let mut kafka = self;
        kafka.choose_ports()?;
        kafka.format().await?;
        for _ in 1..MAX_STARTS {
            match kafka.start_again().await {
                // Another process took a port between the search and the start.
                Err(
                    DevstackError::Ended { log_tail, .. } | DevstackError::TooSlow { log_tail, .. },
                ) if log_tail.contains("Address already in use") => {
                    kafka.choose_ports()?;
                }
                outcome => return outcome.map(|()| kafka),
            }
        }
        kafka.start_again().await.map(|()| kafka)
    }

    /// The value for `bootstrap.servers`. A restart keeps it.
    #[must_use]
    pub fn bootstrap_servers(&self) -> String {
        format!("127.0.0.1:{}", self.port)
    }

    /// The port that each proxy must forward to, in the order of [`Self::start`].
    pub fn ports_behind_proxies(&self) -> impl Iterator<Item = u16> + '_ {
        self.proxied.iter().map(|(_, port)| *port)
    }

    /// The listener with TLS and SASL, if it was started with one.
    #[must_use]
    pub fn secured(&self) -> Option<&SecuredListener> {
        self.secured.as_ref()
    }

    /// The folder of its data: one below it for each partition.
    #[must_use]
    pub fn data(&self) -> PathBuf {
        self.scratch.path().join("data")
    }

    /// Shuts down in order and keeps the data.
    pub async fn stop(&mut self) {
        let in_order = (ProcessSignal::Terminate, Duration::from_secs(30));
        self.end(&[(ProcessSignal::Continue, Duration::ZERO), in_order, KILLED]).await;
    }

    /// Kills it, as a crash would, and keeps the data.
    pub async fn kill(&mut self) {
        self.end(&[KILLED]).await;
    }

    /// Whether the process exists, paused or not.
    #[must_use]
    pub fn is_running(&self) -> bool {
        self.server.as_ref().is_some_and(|server| server.ended().is_none())
    }

    /// Pauses the process: connections stay open and nothing answers.
    pub fn pause(&self) {
        self.signal(ProcessSignal::Stop);
    }

    /// Resumes a paused one.
    pub fn resume(&self) {
        self.signal(ProcessSignal::Continue);
    }

    /// Starts a stopped or killed one on the same ports and data, and waits until it answers.
    ///
    /// # Errors
    ///
    /// As [`Self::start`].
    pub async fn start_again(&mut self) -> Result<(), DevstackError> {
        let mut java = self.java();
        java.args(self.options).arg("kafka.Kafka").arg(self.properties());
        write_to(&mut java, &self.log())?;
        let server = ChildProcess::spawn(java, ProcessSignal::Kill).await?;
        self.wait_until_ready(&server).await?;
        self.server = Some(server);
        Ok(())
    }

    async fn end(&mut self, steps: &[(ProcessSignal, Duration)]) {
        if let Some(server) = self.server.take() {
            server.end(steps).await;
        }
    }

    fn signal(&self, signal: ProcessSignal) {
        if let Some(server) = &self.server {
            server.signal(signal);
        }
    }

    /// Waits until a broker answers with this cluster's id. Another broker on the same port, as of
    /// another test process, answers with its own id.
    async fn wait_until_ready(&self, server: &ChildProcess) -> Result<(), DevstackError> {
        let client: BaseConsumer = ClientConfig::new()
            .set("bootstrap.servers", self.bootstrap_servers())
            .set("reconnect.backoff.ms", "20")
            .set("reconnect.backoff.max.ms", "100")
            .create()
            .map_err(|refused| DevstackError::Spawn {
                program: "a kafka client".into(),
                source: io::Error::other(refused),
            })?;
        let client = Arc::new(client);
        let begun = Instant::now();
        loop {
            let client = Arc::clone(&client);
            let ask = move || client.client().fetch_cluster_id(Duration::from_millis(200));
            // A panic of the task counts as no answer.
            if spawn_blocking(ask).await.ok().flatten().as_ref() == Some(&self.cluster) {
                return Ok(());
            }
            if let Some(status) = server.ended() {
                return Err(server.exit_error(status, &self.log()));
            }
            if begun.elapsed() > START_TIMEOUT {
                return Err(server.timeout_error(START_TIMEOUT, &self.log()));
            }
            // Another broker on the port answers at once.
            sleep(ASK_INTERVAL).await;
        }
    }

    async fn format(&self) -> Result<(), DevstackError> {
        let mut java = self.java();
        java.args(SHORT_LIVED_JVM);
        java.args(["kafka.tools.StorageTool", "format", "-t", &self.cluster, "-c"])
            .arg(self.properties());
        if self.secured.is_some() {
            java.args(SecuredListener::format_arguments());
        }
        let log = self.scratch.path().join("format.log");
        run_to_end(java, &log, FORMAT_TIMEOUT).await
    }

    fn choose_ports(&mut self) -> Result<(), DevstackError> {
        self.port = free_port()?;
        self.controller_port = free_port()?;
        for (_, port) in &mut self.proxied {
            *port = free_port()?;
        }
        let Self { port, controller_port, proxied, secured, .. } = &*self;
        let (mut listeners, mut advertised, mut protocols) =
            (String::new(), String::new(), String::new());
        for (number, (proxy, port)) in proxied.iter().enumerate() {
            listeners += &format!(",PROXIED{number}://127.0.0.1:{port}");
            advertised += &format!(",PROXIED{number}://127.0.0.1:{proxy}");
            protocols += &format!(",PROXIED{number}:PLAINTEXT");
        }
        let mut more = String::new();
        if let Some(secured) = secured {
            let [listener, address, protocol] = secured.entries();
            listeners += &listener;
            advertised += &address;
            protocols += &protocol;
            more = secured.properties();
        }
        let data = self.data();
        let properties = format!(
            "{COMMON_PROPERTIES}\
             controller.quorum.voters=1@127.0.0.1:{controller_port}\n\
             listeners=PLAINTEXT://127.0.0.1:{port},CONTROLLER://127.0.0.1:{controller_port}{listeners}\n\
             advertised.listeners=PLAINTEXT://127.0.0.1:{port}{advertised}\n\
             listener.security.protocol.map=PLAINTEXT:PLAINTEXT,CONTROLLER:PLAINTEXT{protocols}\n\
             log.dirs={data}\n\
             {more}",
            data = data.display(),
        );
        let file = self.properties();
        fs::write(&file, properties).map_err(DevstackError::folder("cannot write", file))
    }

    /// Java that leaves no file outside this folder.
    fn java(&self) -> Command {
        let mut java = Command::new("java");
        java.arg("-XX:-UsePerfData")
            .arg(format!("-Djava.io.tmpdir={}", self.scratch.path().display()))
            .arg("-cp")
            .arg(self.jars.join("*"))
            .current_dir(self.scratch.path());
        java
    }

    fn properties(&self) -> PathBuf {
        self.scratch.path().join("server.properties")
    }

    fn log(&self) -> PathBuf {
        self.scratch.path().join("server.log")
    }
}

const KILLED: (ProcessSignal, Duration) = (ProcessSignal::Kill, Duration::from_secs(10));

impl Drop for RealKafka {
    fn drop(&mut self) {
        if let Some(server) = self.server.take() {
            server.end_blocking(&[KILLED]);
        }
    }
}

/// A random id in Kafka's form. One that begins with a dash would be parsed as an option.
fn cluster_id() -> String {
    loop {
        let id = URL_SAFE_NO_PAD.encode(Uuid::new_v4());
        if !id.starts_with('-') {
            return id;
        }
    }
}
