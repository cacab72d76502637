//! A child process that cannot outlive this one.
//!
//! # Why
//!
//! Linux can send a child a signal when its parent dies, but by "parent" it means the *thread*
//! that forked: a child started from a pool of threads would die with an idle thread. So each
//! child has a thread of its own, which forks, waits for the end, and lives exactly as long as the
//! child does. The same thread is the only one that reaps, under the lock that guards signals, so
//! that no signal ever reaches a process which has inherited the number.
//!
//! The child leads its own process group. Ctrl-C at the terminal reaches this process and not the
//! child, which is then stopped in order.

use std::fs::{self, File};
use std::io;
use std::mem::MaybeUninit;
use std::os::unix::process::{CommandExt, ExitStatusExt};
use std::path::Path;
use std::process::{Child, Command, ExitStatus, Stdio};
use std::thread;
use std::time::{Duration, Instant};

use tokio::sync::{oneshot, watch};

use super::error::DevstackError;

/// The signals that can be sent.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(i32)]
pub enum ProcessSignal {
    Terminate = libc::SIGTERM,
    /// To PostgreSQL: break connections, then shut down cleanly.
    Interrupt = libc::SIGINT,
    /// To PostgreSQL: shut down at once, recover at the next start.
    Quit = libc::SIGQUIT,
    Kill = libc::SIGKILL,
    Stop = libc::SIGSTOP,
    Continue = libc::SIGCONT,
}

/// A running or ended child process. Dropping it kills it.
#[derive(Debug)]
pub struct ChildProcess {
    program: String,
    pid: libc::pid_t,
    /// Set when the process is reaped and its number may belong to another. Who sends a signal holds
    /// the lock of this value, and so does who reaps.
    ended: watch::Receiver<Option<ExitStatus>>,
}

impl ChildProcess {
    /// Starts a command that gets `death_signal` when this process dies, however it dies (on
    /// Linux; elsewhere a killed parent leaves its children behind).
    ///
    /// # Errors
    /// [`DevstackError::Spawn`] if the program is missing, not executable, or the account of the
    /// command may not be taken on.
    pub async fn spawn(
        mut command: Command,
        death_signal: ProcessSignal,
    ) -> Result<Self, DevstackError> {
        let program = command.get_program().to_string_lossy().into_owned();
        command.process_group(0);
        die_with_parent(&mut command, death_signal);

        let (started, start) = oneshot::channel();
        let name = program.clone();
        let owner = thread::Builder::new()
            .name("owner of a child".into())
            .spawn(move || run_owner_thread(command, name, started));
        let spawned = match owner {
            Ok(_) => start.await.unwrap_or(Err(io::ErrorKind::BrokenPipe.into())),
            Err(refused) => Err(refused),
        };
        spawned.map_err(|source| DevstackError::Spawn { program, source })
    }

    /// The process id.
    pub fn pid(&self) -> i32 {
        self.pid
    }

    /// Sends a signal, unless the process has ended.
    pub fn signal(&self, signal: ProcessSignal) {
        let ended = self.ended.borrow();
        if ended.is_none() {
            send_to(self.pid, signal);
        }
    }

    /// How the process ended, `None` while it runs.
    pub fn ended(&self) -> Option<ExitStatus> {
        *self.ended.borrow()
    }

    /// Waits for the end; `None` if the process still runs when the deadline is over.
    pub async fn ended_within(&self, deadline: Duration) -> Option<ExitStatus> {
        let mut ended = self.ended.clone();
        // A timeout and a dropped sender both leave the state that is read below.
        let _ = tokio::time::timeout(deadline, ended.wait_for(Option::is_some)).await;
        self.ended()
    }

    /// Waits for a successful end. `log` is the file that the process writes to.
    ///
    /// # Errors
    /// [`DevstackError::Ended`] if it fails, [`DevstackError::TooSlow`] if it still runs when the
    /// deadline is over.
    pub async fn succeeds_within(
        &self,
        deadline: Duration,
        log: &Path,
    ) -> Result<(), DevstackError> {
        match self.ended_within(deadline).await {
            Some(status) if status.success() => Ok(()),
            Some(status) => Err(self.exit_error(status, log)),
            None => Err(self.timeout_error(deadline, log)),
        }
    }

    /// The error that this process has ended, with the end of `log`.
    pub fn exit_error(&self, status: ExitStatus, log: &Path) -> DevstackError {
        DevstackError::Ended { program: self.program.clone(), status, log_tail: log_tail(log) }
    }

    /// The error that this process has exceeded its timeout, with the end of `log`.
    pub fn timeout_error(&self, deadline: Duration, log: &Path) -> DevstackError {
        DevstackError::TooSlow { program: self.program.clone(), deadline, log_tail: log_tail(log) }
    }

    /// Sends signal after signal, each with the time it has to work, until the process has ended.
    pub async fn end(&self, steps: &[(ProcessSignal, Duration)]) -> Option<ExitStatus> {
        for (signal, timeout) in steps {
            self.signal(*signal);
            self.ended_within(*timeout).await;
        }
        self.ended()
    }

    /// [`Self::end`] without `await`: for a `Drop`, and for the exit of the process.
    pub fn end_blocking(&self, steps: &[(ProcessSignal, Duration)]) -> Option<ExitStatus> {
        for (signal, timeout) in steps {
            self.signal(*signal);
            let begun = Instant::now();
            while self.ended().is_none() && begun.elapsed() < *timeout {
                thread::sleep(Duration::from_millis(5));
            }
        }
        self.ended()
    }
}

impl Drop for ChildProcess {
    fn drop(&mut self) {
        // The owner thread reaps the process. This may be that thread, so it must not wait.
        self.signal(ProcessSignal::Kill);
    }
}

/// Runs a command to its end, with all that it writes in `log`.
///
/// # Errors
/// As [`ChildProcess::spawn`]; [`DevstackError::Ended`] if it fails; [`DevstackError::TooSlow`] if it
/// is not done in time, in which case it is killed.
pub async fn run_to_end(
    mut command: Command,
    log: &Path,
    deadline: Duration,
) -> Result<(), DevstackError> {
    write_to(&mut command, log)?;
    let child = ChildProcess::spawn(command, ProcessSignal::Kill).await?;
    child.succeeds_within(deadline, log).await
}

/// Sends a command's standard output and error to a new file, and closes its standard input.
///
/// # Errors
/// [`DevstackError::Folder`] if the file cannot be made.
pub fn write_to(command: &mut Command, log: &Path) -> Result<(), DevstackError> {
    let cannot_create = || DevstackError::folder("cannot create", log);
    let output = File::create(log).map_err(cannot_create())?;
    let errors = output.try_clone().map_err(cannot_create())?;
    command.stdin(Stdio::null()).stdout(output).stderr(errors);
    Ok(())
}

/// The end of a log, some thirty lines.
pub fn log_tail(log: &Path) -> String {
    const BYTES: usize = 4_000;
    match fs::read(log) {
        Ok(text) => {
            let end = String::from_utf8_lossy(&text[text.len().saturating_sub(BYTES)..]);
            if end.trim().is_empty() { "(nothing)".into() } else { end.trim_end().into() }
        }
        Err(refused) => format!("({} cannot be read: {refused})", log.display()),
    }
}

/// The children of a process, by `/proc`; none where there is no such folder.
pub fn children_of(parent: i32) -> Vec<i32> {
    fs::read_dir("/proc")
        .into_iter()
        .flatten()
        .flatten()
        .filter_map(|process| process.file_name().to_str()?.parse::<i32>().ok())
        .filter(|pid| {
            fs::read_to_string(format!("/proc/{pid}/stat"))
                .is_ok_and(|stat| parent_in(&stat) == Some(parent))
        })
        .collect()
}

/// The parent's number in a line of `/proc/{pid}/stat`: the second field after the name, which
/// stands in parentheses and may itself contain spaces and parentheses.
fn parent_in(stat: &str) -> Option<i32> {
    let (_, after_name) = stat.rsplit_once(')')?;
    after_name.split_whitespace().nth(1)?.parse().ok()
}

/// Runs in the owner thread: fork, report the start, wait, reap, report the end.
fn run_owner_thread(
    mut command: Command,
    program: String,
    started: oneshot::Sender<io::Result<ChildProcess>>,
) {
    let mut child = match command.spawn() {
        Ok(child) => child,
        Err(refused) => {
            // The starter may be gone; then the report is not needed.
            let _ = started.send(Err(refused));
            return;
        }
    };
    let (end, ended) = watch::channel(None);
    let owned = ChildProcess { program, pid: child.id().cast_signed(), ended };
    // If the starter has gone away, the child comes back here and is killed by its drop.
    drop(started.send(Ok(owned)));

    wait_for_end(&child);
    // A child that cannot be waited for is gone, and counts as killed.
    let killed = |_| ExitStatus::from_raw(libc::SIGKILL);
    end.send_modify(|status| *status = Some(child.wait().unwrap_or_else(killed)));
}

/// Waits until the child has ended, and leaves it unreaped so that its number stays its own.
#[expect(unsafe_code, reason = "the standard library can only wait and reap in one")]
fn wait_for_end(child: &Child) {
    let mut ignored = MaybeUninit::<libc::siginfo_t>::zeroed();
    let flags = libc::WEXITED | libc::WNOWAIT;
    // SAFETY: the pointer is to a live siginfo_t, which waitid only writes to.
    let mut wait = || unsafe { libc::waitid(libc::P_PID, child.id(), ignored.as_mut_ptr(), flags) };
    while wait() == -1 && io::Error::last_os_error().kind() == io::ErrorKind::Interrupted {}
}

/// Sends a signal to a process. The caller must know that the number still belongs to that process.
#[expect(unsafe_code, reason = "the standard library can only send SIGKILL")]
pub fn send_to(pid: i32, signal: ProcessSignal) {
    // SAFETY: kill touches no memory of ours; a process that is gone is an error that is ignored.
    unsafe {
        libc::kill(pid, signal as libc::c_int);
    }
}

#[cfg(target_os = "linux")]
#[expect(unsafe_code, reason = "the parent-death signal is set between fork and exec")]
fn die_with_parent(command: &mut Command, death_signal: ProcessSignal) {
    let parent = std::process::id().cast_signed();
    let bind_to_parent = move || {
        // SAFETY: a system call without pointers.
        if unsafe { libc::prctl(libc::PR_SET_PDEATHSIG, death_signal as libc::c_ulong) } == -1 {
            return Err(io::Error::last_os_error());
        }
        // SAFETY: as above. A parent that died before the call sends no signal.
        if unsafe { libc::getppid() } != parent {
            return Err(io::Error::from_raw_os_error(libc::ESRCH));
        }
        Ok(())
    };
    // SAFETY: after the fork the closure makes two async-signal-safe system calls and allocates
    // nothing. It runs after the change of user, which would clear the setting.
    unsafe {
        command.pre_exec(bind_to_parent);
    }
}

#[cfg(not(target_os = "linux"))]
fn die_with_parent(_command: &mut Command, _death_signal: ProcessSignal) {}

#[cfg(test)]
mod tests {
    use super::*;

    fn sleep() -> Command {
        let mut command = Command::new("sleep");
        command.arg("60");
        command
    }

    fn is_alive(pid: i32) -> bool {
        fs::read_to_string(format!("/proc/{pid}/stat"))
            .is_ok_and(|stat| !stat.rsplit_once(')').unwrap().1.starts_with(" Z"))
    }

    #[tokio::test]
    async fn a_child_runs_until_it_is_ended() {
        let child = ChildProcess::spawn(sleep(), ProcessSignal::Kill).await.unwrap();
        assert!(children_of(std::process::id().cast_signed()).contains(&child.pid()));
        assert_eq!(child.ended_within(Duration::from_millis(50)).await, None);
        let steps = [(ProcessSignal::Terminate, Duration::from_secs(10))];
        let status = child.end(&steps).await.unwrap();
        assert!(!status.success());
        assert_eq!(child.end_blocking(&steps), Some(status));
    }

    #[tokio::test]
    async fn a_child_survives_the_thread_that_asked_for_it() {
        let child = thread::spawn(|| {
            let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
            runtime.block_on(ChildProcess::spawn(sleep(), ProcessSignal::Kill)).unwrap()
        })
        .join()
        .unwrap();
        assert_eq!(child.ended_within(Duration::from_millis(100)).await, None);
    }

    #[tokio::test]
    async fn a_dropped_child_is_killed() {
        let child = ChildProcess::spawn(sleep(), ProcessSignal::Kill).await.unwrap();
        let pid = child.pid();
        drop(child);
        for _ in 0..500 {
            if !is_alive(pid) {
                return;
            }
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
        panic!("{pid} still runs");
    }

    #[tokio::test]
    async fn a_missing_program_is_named() {
        let refused = ChildProcess::spawn(Command::new("/absent/program"), ProcessSignal::Kill)
            .await
            .unwrap_err();
        assert_eq!(refused.to_string(), "cannot start /absent/program");
    }

    #[tokio::test]
    async fn the_error_of_a_failed_run_ends_with_its_log() {
        let folder = tempfile::tempdir().unwrap();
        let mut command = Command::new("sh");
        command.args(["-c", "echo that was all; exit 3"]);
        let log = folder.path().join("log");
        let failed = run_to_end(command, &log, Duration::from_secs(10)).await;
        assert!(failed.unwrap_err().to_string().contains("that was all"));
    }

    #[tokio::test]
    async fn a_run_that_hangs_is_killed() {
        let folder = tempfile::tempdir().unwrap();
        let log = folder.path().join("log");
        let failed = run_to_end(sleep(), &log, Duration::from_millis(50)).await;
        assert!(matches!(failed, Err(DevstackError::TooSlow { .. })));
    }

    #[test]
    fn a_parent_is_read_behind_any_name() {
        assert_eq!(parent_in("42 (a) b (c)) S 7 42 42 0"), Some(7));
        assert_eq!(parent_in("42"), None);
    }
}
