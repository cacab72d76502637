//! Apache Kafka on this machine: one node in KRaft mode that a test can stop, kill and pause.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::{Duration, Instant};

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use rdkafka::ClientConfig;
use rdkafka::consumer::{BaseConsumer, Consumer as _};
use uuid::Uuid;

use crate::child::{ChildProcess, ProcessSignal, log_tail, run_to_end, write_to};
use crate::os_account::OsAccount;
use crate::port::free_port;
use crate::temporary_folder::TemporaryFolder;

/// Timeout of formatting the storage.
const FORMAT_TIMEOUT: Duration = Duration::from_secs(60);
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
}

impl RealKafka {
    /// Formats its storage in a folder below one of `temporary_roots`, and starts it. It is ready when
    /// this returns.
    ///
    /// # Errors
    ///
    /// A sentence that ends with the end of its log.
    pub async fn start(
        jars: &Path,
        options: &'static [&'static str],
        temporary_roots: &[PathBuf],
    ) -> Result<Self, String> {
        Self::start_behind(jars, options, temporary_roots, &[]).await
    }

    /// The same, with a listener for each of these ports of proxies. Clients that connect through a
    /// proxy are given the proxy's address, so that they stay behind it.
    ///
    /// # Errors
    ///
    /// As [`Self::start`].
    pub async fn start_behind(
        jars: &Path,
        options: &'static [&'static str],
        temporary_roots: &[PathBuf],
        proxies: &[u16],
    ) -> Result<Self, String> {
        let scratch = TemporaryFolder::create(temporary_roots, "kafka", &OsAccount::Own);
        let mut kafka = Self {
            server: None,
            scratch: scratch.map_err(|refused| refused.to_string())?,
            jars: jars.into(),
            options,
            cluster: cluster_id(),
            port: 0,
            controller_port: 0,
            proxied: proxies.iter().map(|proxy| (*proxy, 0)).collect(),
        };
        kafka.choose_ports()?;
        kafka.format().await?;
        for _ in 1..MAX_STARTS {
            match kafka.start_again().await {
                // Another process took a port between the search and the start.
                Err(log) if log.contains("Address already in use") => kafka.choose_ports()?,
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

    /// The port that each proxy must forward to, in the order of [`Self::start_behind`].
    pub fn ports_behind_proxies(&self) -> impl Iterator<Item = u16> + '_ {
        self.proxied.iter().map(|(_, port)| *port)
    }

    /// Shuts down in order and keeps the data.
    pub async fn stop(&mut self) {
        let in_order = (ProcessSignal::Terminate, Duration::from_secs(30));
        self.end(&[(ProcessSignal::Continue, Duration::ZERO), in_order, KILLED])
            .await;
    }

    /// Kills it, as a crash would, and keeps the data.
    pub async fn kill(&mut self) {
        self.end(&[KILLED]).await;
    }

    /// Whether the process exists, paused or not.
    #[must_use]
    pub fn is_running(&self) -> bool {
        self.server
            .as_ref()
            .is_some_and(|server| server.ended().is_none())
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
    pub async fn start_again(&mut self) -> Result<(), String> {
        let mut java = self.java();
        java.args(self.options)
            .arg("kafka.Kafka")
            .arg(self.properties());
        let log = self.log();
        write_to(&mut java, &log).map_err(|refused| refused.to_string())?;
        let server = ChildProcess::spawn(java, ProcessSignal::Kill)
            .await
            .map_err(|refused| refused.to_string())?;
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
    async fn wait_until_ready(&self, server: &ChildProcess) -> Result<(), String> {
        let bootstrap_servers = self.bootstrap_servers();
        let (answer, mut answers) = tokio::sync::mpsc::channel(1);
        let client: BaseConsumer = ClientConfig::new()
            .set("bootstrap.servers", bootstrap_servers)
            .set("reconnect.backoff.ms", "20")
            .set("reconnect.backoff.max.ms", "100")
            .create()
            .map_err(|refused| refused.to_string())?;
        let asker = tokio::task::spawn_blocking(move || {
            let pause = Duration::from_millis(200);
            let ask = || client.client().fetch_cluster_id(pause);
            while answer.blocking_send(ask()).is_ok() {}
        });

        let begun = Instant::now();
        let outcome = loop {
            let answer = answers.recv().await.flatten();
            if answer.as_ref() == Some(&self.cluster) {
                break Ok(());
            }
            if let Some(status) = server.ended() {
                break Err(format!("kafka ended with {status}"));
            }
            if begun.elapsed() > START_TIMEOUT {
                break Err(format!("kafka does not answer after {START_TIMEOUT:?}"));
            }
        };
        drop(answers);
        // The client is dropped before the server is used. A panic of its task has no consequence.
        let _ = asker.await;
        outcome.map_err(|reason| format!("{reason}; its log ends with:\n{}", log_tail(&self.log())))
    }

    async fn format(&self) -> Result<(), String> {
        let mut java = self.java();
        java.args(SHORT_LIVED_JVM);
        java.args([
            "kafka.tools.StorageTool",
            "format",
            "-t",
            &self.cluster,
            "-c",
        ])
        .arg(self.properties());
        let log = self.scratch.path().join("format.log");
        run_to_end(java, &log, FORMAT_TIMEOUT)
            .await
            .map_err(|refused| refused.to_string())
    }

    fn choose_ports(&mut self) -> Result<(), String> {
        let free = || free_port().map_err(|refused| refused.to_string());
        self.port = free()?;
        self.controller_port = free()?;
        for (_, port) in &mut self.proxied {
            *port = free()?;
        }
        let Self {
            port,
            controller_port,
            proxied,
            ..
        } = self;
        let (mut listeners, mut advertised, mut protocols) =
            (String::new(), String::new(), String::new());
        for (number, (proxy, port)) in proxied.iter().enumerate() {
            listeners += &format!(",PROXIED{number}://127.0.0.1:{port}");
            advertised += &format!(",PROXIED{number}://127.0.0.1:{proxy}");
            protocols += &format!(",PROXIED{number}:PLAINTEXT");
        }
        let data = self.scratch.path().join("data");
        let properties = format!(
            "process.roles=broker,controller\n\
             node.id=1\n\
             controller.quorum.voters=1@127.0.0.1:{controller_port}\n\
             controller.listener.names=CONTROLLER\n\
             listeners=PLAINTEXT://127.0.0.1:{port},CONTROLLER://127.0.0.1:{controller_port}{listeners}\n\
             advertised.listeners=PLAINTEXT://127.0.0.1:{port}{advertised}\n\
             listener.security.protocol.map=PLAINTEXT:PLAINTEXT,CONTROLLER:PLAINTEXT{protocols}\n\
             inter.broker.listener.name=PLAINTEXT\n\
             log.dirs={data}\n\
             auto.create.topics.enable=false\n\
             offsets.topic.num.partitions=1\n\
             offsets.topic.replication.factor=1\n\
             transaction.state.log.num.partitions=1\n\
             transaction.state.log.replication.factor=1\n\
             transaction.state.log.min.isr=1\n\
             share.coordinator.state.topic.num.partitions=1\n\
             share.coordinator.state.topic.replication.factor=1\n\
             share.coordinator.state.topic.min.isr=1\n\
             group.initial.rebalance.delay.ms=0\n\
             # A killed broker may register again once its last session is over.\n\
             broker.session.timeout.ms=4000\n\
             broker.heartbeat.interval.ms=500\n\
             # Messages of 12 MiB and their envelope.\n\
             message.max.bytes=16777216\n\
             replica.fetch.max.bytes=16777216\n\
             # Small machines, many topics of twelve partitions.\n\
             num.network.threads=2\n\
             num.io.threads=4\n\
             background.threads=2\n\
             log.cleaner.dedupe.buffer.size=4194304\n\
             log.index.size.max.bytes=1048576\n",
            data = data.display(),
        );
        fs::write(self.properties(), properties).map_err(|refused| refused.to_string())
    }

    /// Java that leaves no file outside this folder.
    fn java(&self) -> Command {
        let mut java = Command::new("java");
        java.arg("-XX:-UsePerfData")
            .arg(format!(
                "-Djava.io.tmpdir={}",
                self.scratch.path().display()
            ))
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
