//! A measured server: a process, with the CPU time and memory that the system counts for it.

use std::fs;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::{Duration, Instant};

use anyhow::{Context as _, anyhow, bail};
use onrecord_devstack::child::{ChildProcess, ProcessSignal, children_of, log_tail, write_to};

use super::load::Connection;

/// Timeout until it serves, and until it is ready.
const START_TIMEOUT: Duration = Duration::from_secs(60);
/// Timeout of each step of a stop.
const STOP_TIMEOUT: Duration = Duration::from_secs(30);
/// The unit of /proc/{pid}/stat on every Linux of today.
const TICKS_PER_SECOND: f64 = 100.0;

/// A process that serves HTTP.
pub struct Process {
    child: ChildProcess,
    address: SocketAddr,
    log: PathBuf,
}

impl Process {
    /// Starts it, and waits until its log names its address.
    pub async fn start(mut command: Command, log: &Path) -> anyhow::Result<Self> {
        write_to(&mut command, log)?;
        let child = ChildProcess::spawn(command, ProcessSignal::Kill).await?;
        let began = Instant::now();
        loop {
            let text = fs::read_to_string(log).unwrap_or_default();
            if let Some(address) = served_address(&text) {
                return Ok(Self { child, address, log: log.to_owned() });
            }
            if child.ended().is_some() || began.elapsed() > START_TIMEOUT {
                bail!("it does not serve; its log ends with:\n{}", log_tail(log));
            }
            tokio::time::sleep(Duration::from_millis(2)).await;
        }
    }

    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// Seconds of CPU time so far.
    pub fn cpu(&self) -> anyhow::Result<f64> {
        cpu_of(self.child.pid())
    }

    /// Memory now, MB.
    pub fn rss(&self) -> anyhow::Result<f64> {
        memory_of(self.child.pid(), "VmRSS:")
    }

    /// Peak memory, MB.
    pub fn peak(&self) -> anyhow::Result<f64> {
        memory_of(self.child.pid(), "VmHWM:")
    }

    /// Its log.
    pub fn log(&self) -> String {
        fs::read_to_string(&self.log).unwrap_or_default()
    }

    /// Waits until `/readyz` reports every component as healthy.
    pub async fn is_ready(&self) -> anyhow::Result<()> {
        let request = b"GET /readyz HTTP/1.1\r\nhost: localhost\r\n\r\n";
        let began = Instant::now();
        loop {
            let answer = Connection::open(self.address)?.request(request)?;
            let text = String::from_utf8_lossy(&answer.body).into_owned();
            let is_unhealthy =
                ["starting", "unhealthy", "stale"].iter().any(|word| text.contains(word));
            if answer.status == 200 && !is_unhealthy {
                return Ok(());
            }
            if began.elapsed() > START_TIMEOUT {
                bail!("it is not ready: {text}\n{}", log_tail(&self.log));
            }
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    }

    /// A metric of `serve`, all its labels together.
    pub fn metric(&self, name: &str) -> anyhow::Result<f64> {
        let request = b"GET /metrics HTTP/1.1\r\nhost: localhost\r\n\r\n";
        let answer = Connection::open(self.address)?.request(request)?;
        let text = String::from_utf8_lossy(&answer.body);
        let values = text.lines().filter_map(|line| {
            let rest = line.strip_prefix(name)?;
            let (labels, value) = rest.rsplit_once(' ')?;
            (labels.is_empty() || labels.starts_with('{'))
                .then(|| value.parse::<f64>().ok())
                .flatten()
        });
        Ok(values.fold(0.0, |sum, value| sum + value))
    }

    /// Ends it in order.
    pub async fn stop(self) {
        self.child
            .end(&[(ProcessSignal::Terminate, STOP_TIMEOUT), (ProcessSignal::Kill, STOP_TIMEOUT)])
            .await;
    }
}

/// Runs a program to its end. Returns how long it took, and its peak memory in MB.
pub async fn run_to_end(mut command: Command, log: &Path) -> anyhow::Result<(Duration, f64)> {
    write_to(&mut command, log)?;
    let began = Instant::now();
    let child = ChildProcess::spawn(command, ProcessSignal::Kill).await?;
    let mut peak: f64 = 0.0;
    loop {
        if let Some(status) = child.ended() {
            if !status.success() {
                bail!("it ended with {status}; its log ends with:\n{}", log_tail(log));
            }
            return Ok((began.elapsed(), peak));
        }
        // Between the two looks it may have ended.
        peak = peak.max(memory_of(child.pid(), "VmHWM:").unwrap_or(0.0));
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
}

fn served_address(log: &str) -> Option<SocketAddr> {
    let (_, rest) = log.split_once("serving on http://")?;
    let end = rest.find(['"', ' ', '\n'])?;
    rest[..end].parse().ok()
}

/// Seconds of CPU time of a process by itself.
fn cpu_of(pid: i32) -> anyhow::Result<f64> {
    Ok(times_of(pid)?.0)
}

/// CPU time of a process, and of its children that have ended, in seconds.
fn times_of(pid: i32) -> anyhow::Result<(f64, f64)> {
    let stat = fs::read_to_string(format!("/proc/{pid}/stat"))
        .with_context(|| format!("process {pid} is gone"))?;
    let (_, fields) =
        stat.rsplit_once(") ").ok_or_else(|| anyhow!("/proc/{pid}/stat has another form"))?;
    let ticks: Vec<f64> = fields.split(' ').map(|field| field.parse().unwrap_or(0.0)).collect();
    // utime, stime, cutime, cstime are the fields 14 to 17.
    let of = |from: usize| ticks.iter().skip(from).take(2).sum::<f64>() / TICKS_PER_SECOND;
    Ok((of(11), of(13)))
}

fn memory_of(pid: i32, line: &str) -> anyhow::Result<f64> {
    let status = fs::read_to_string(format!("/proc/{pid}/status"))?;
    let found = status.lines().find_map(|it| it.strip_prefix(line));
    let kib: f64 = found
        .and_then(|it| it.trim().trim_end_matches(" kB").parse().ok())
        .ok_or_else(|| anyhow!("/proc/{pid}/status has no {line}"))?;
    Ok(kib * 1024.0 / 1e6)
}

/// CPU time of a server with all its processes, found among our children by the program's name.
pub fn cpu_of_server(program: &str) -> f64 {
    let me = std::process::id().cast_signed();
    let servers = children_of(me).into_iter().filter(|pid| {
        fs::read_to_string(format!("/proc/{pid}/comm")).is_ok_and(|name| name.trim() == program)
    });
    servers
        .map(|pid| {
            let (own, of_ended) = times_of(pid).unwrap_or_default();
            let of_children = children_of(pid).into_iter().filter_map(|it| cpu_of(it).ok());
            own + of_ended + of_children.sum::<f64>()
        })
        .sum()
}
