//! Apache Kafka on this machine: one node in KRaft mode, which a test may stop, kill, and pause.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::{Duration, Instant};

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use onrecord::embedded::account::Account;
use onrecord::embedded::child::{OwnedChild, Signal, last_words, run_to_end, write_to};
use onrecord::embedded::port::free_port;
use onrecord::embedded::scratch::Scratch;
use rdkafka::ClientConfig;
use rdkafka::consumer::{BaseConsumer, Consumer};
use uuid::Uuid;

use super::surroundings;

const FORMAT_PATIENCE: Duration = Duration::from_secs(60);
const START_PATIENCE: Duration = Duration::from_secs(120);
const PORT_TRIES: usize = 5;

/// Options of a virtual machine that starts quickly, takes little memory, and whose code stays slow:
/// for minutes of tests.
pub const BRIEF: &[&str] = &["-Xmx512m", "-XX:+UseSerialGC", "-XX:TieredStopAtLevel=1"];

/// A Kafka of our own. Dropping it kills it and removes its folder.
pub struct RealKafka {
    // The server is dropped, and thereby killed, before its folder is removed.
    server: Option<OwnedChild>,
    scratch: Scratch,
    jars: PathBuf,
    /// Of its virtual machine.
    options: &'static [&'static str],
    cluster: String,
    port: u16,
    controller_port: u16,
    /// Doors for those who come through a proxy: its port, which clients are told, and ours.
    proxied: Vec<(u16, u16)>,
}

impl RealKafka {
    /// Formats its storage and starts it; ready when this returns. The error ends with its words.
    pub async fn start(jars: &Path, options: &'static [&'static str]) -> Result<Self, String> {
        Self::start_behind(jars, options, &[]).await
    }

    /// The same, and for each of these ports, on which a proxy listens, a listener of its own:
    /// whoever comes through the proxy is told the proxy's address and stays behind it.
    pub async fn start_behind(
        jars: &Path,
        options: &'static [&'static str],
        proxies: &[u16],
    ) -> Result<Self, String> {
        let roots = surroundings().temporary_roots();
        let scratch = Scratch::create(&roots, "kafka", &Account::Own);
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
        for _ in 1..PORT_TRIES {
            match kafka.start_again().await {
                // Between our finding a port free and its taking it, another process took it.
                Err(words) if words.contains("Address already in use") => kafka.choose_ports()?,
                outcome => return outcome.map(|()| kafka),
            }
        }
        kafka.start_again().await.map(|()| kafka)
    }

    /// The value for `bootstrap.servers`; it stays the same for the whole life.
    pub fn bootstrap_servers(&self) -> String {
        format!("127.0.0.1:{}", self.port)
    }

    /// Where each proxy must lead to, in the order of their naming.
    pub fn ports_behind_proxies(&self) -> impl Iterator<Item = u16> + '_ {
        self.proxied.iter().map(|(_, port)| *port)
    }

    /// Shuts down in order and keeps the data.
    pub async fn stop(&mut self) {
        let in_order = (Signal::Terminate, Duration::from_secs(30));
        self.end(&[(Signal::Continue, Duration::ZERO), in_order, KILLED])
            .await;
    }

    /// Kills it, as a crash would, and keeps the data.
    pub async fn kill(&mut self) {
        self.end(&[KILLED]).await;
    }

    /// Whether it runs, paused or not.
    pub fn is_running(&self) -> bool {
        self.server
            .as_ref()
            .is_some_and(|server| server.ended().is_none())
    }

    /// Lets it hang: connections stay open and nothing answers.
    pub fn pause(&self) {
        self.signal(Signal::Stop);
    }

    /// Lets a paused one go on.
    pub fn resume(&self) {
        self.signal(Signal::Continue);
    }

    /// Starts a stopped or killed one on the same ports and data, and waits until it answers.
    pub async fn start_again(&mut self) -> Result<(), String> {
        let mut java = self.java();
        java.args(self.options)
            .arg("kafka.Kafka")
            .arg(self.properties());
        let log = self.log();
        write_to(&mut java, &log).map_err(|refused| refused.to_string())?;
        let server = OwnedChild::spawn(java, Signal::Kill)
            .await
            .map_err(|refused| refused.to_string())?;
        self.ready(&server).await?;
        self.server = Some(server);
        Ok(())
    }

    async fn end(&mut self, steps: &[(Signal, Duration)]) {
        if let Some(server) = self.server.take() {
            server.end(steps).await;
        }
    }

    fn signal(&self, signal: Signal) {
        if let Some(server) = &self.server {
            server.signal(signal);
        }
    }

    /// Ready is a broker that answers with our own cluster's id: a stranger on the same port, as
    /// of another test process, answers with its own.
    async fn ready(&self, server: &OwnedChild) -> Result<(), String> {
        let bootstrap_servers = self.bootstrap_servers();
        let (answer, mut answers) = tokio::sync::mpsc::channel(1);
        let asker = tokio::task::spawn_blocking(move || {
            let client: BaseConsumer = ClientConfig::new()
                .set("bootstrap.servers", bootstrap_servers)
                .set("reconnect.backoff.ms", "20")
                .set("reconnect.backoff.max.ms", "100")
                .create()
                .unwrap();
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
            if begun.elapsed() > START_PATIENCE {
                break Err(format!("kafka does not answer after {START_PATIENCE:?}"));
            }
        };
        drop(answers);
        asker.await.unwrap();
        outcome.map_err(|reason| format!("{reason}; its last words:\n{}", last_words(&self.log())))
    }

    async fn format(&self) -> Result<(), String> {
        let mut java = self.java();
        java.args(BRIEF);
        java.args([
            "kafka.tools.StorageTool",
            "format",
            "-t",
            &self.cluster,
            "-c",
        ])
        .arg(self.properties());
        let log = self.scratch.path().join("format.log");
        run_to_end(java, &log, FORMAT_PATIENCE)
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
             # Messages of 12 MiB and what they are wrapped in.\n\
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

    /// Java that leaves no file outside our folder.
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

const KILLED: (Signal, Duration) = (Signal::Kill, Duration::from_secs(10));

impl Drop for RealKafka {
    fn drop(&mut self) {
        if let Some(server) = self.server.take() {
            server.end_blocking(&[KILLED]);
        }
    }
}

/// A random id in Kafka's form. One that begins with a dash would be read as an option.
fn cluster_id() -> String {
    loop {
        let id = URL_SAFE_NO_PAD.encode(Uuid::new_v4());
        if !id.starts_with('-') {
            return id;
        }
    }
}
