//! Ctrl-C, SIGTERM and SIGHUP: the first stops the demonstration in order, the second at once.
//!
//! # Why
//!
//! Further signals change nothing, because the quick end takes a moment too: it removes folders.
//! SIGKILL is left for those who cannot wait for it.

use std::process::ExitCode;
use std::sync::Arc;
use std::sync::atomic::{AtomicU8, Ordering};

use tokio::signal::unix::{SignalKind, signal};
use tokio_util::sync::CancellationToken;

use crate::lifecycle::Lifecycle;
use crate::lifecycle::detached::spawn_detached;

/// What a shell adds to the number of a signal.
const BY_SIGNAL: u8 = 128;

/// The stop requests so far.
#[derive(Clone)]
pub(super) struct Signals {
    /// Cancelled by the first stop request.
    pub first: CancellationToken,
    /// Cancelled by the second stop request.
    pub second: CancellationToken,
    lifecycle: Lifecycle,
    code: Arc<AtomicU8>,
}

impl Signals {
    /// Catches the signals from now on.
    pub(super) fn catch(lifecycle: &Lifecycle) -> anyhow::Result<Self> {
        let signals = Self {
            first: CancellationToken::new(),
            second: CancellationToken::new(),
            lifecycle: lifecycle.clone(),
            code: Arc::default(),
        };
        let mut interrupt = signal(SignalKind::interrupt())?;
        let mut terminate = signal(SignalKind::terminate())?;
        let mut hangup = signal(SignalKind::hangup())?;
        let caught = signals.clone();
        drop(spawn_detached(async move {
            loop {
                let number = tokio::select! {
                    _ = interrupt.recv() => 2,
                    _ = terminate.recv() => 15,
                    _ = hangup.recv() => 1,
                };
                caught.stop(BY_SIGNAL + number);
            }
        }));
        Ok(signals)
    }

    /// Stops with this exit code; at once if the end has begun already.
    fn stop(&self, code: u8) {
        if self.first.is_cancelled() {
            self.second.cancel();
            return;
        }
        self.code.store(code, Ordering::Relaxed);
        self.lifecycle.stop();
        self.first.cancel();
    }

    /// Stops with this exit code, unless the end has begun already.
    pub(super) fn stop_once(&self, code: u8) {
        if !self.first.is_cancelled() {
            self.stop(code);
        }
    }

    /// The exit code of the process.
    pub(super) fn exit_code(&self) -> ExitCode {
        ExitCode::from(self.code.load(Ordering::Relaxed))
    }
}
