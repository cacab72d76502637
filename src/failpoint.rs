//! Failpoints: lines at which a test may crash or freeze the process.
//!
//! Without the cargo feature `failpoints`, [`reached`] does nothing. With it, the environment
//! variable `ONRECORD_TEST_FAILPOINTS` names a folder. A test arms a failpoint by a file of its
//! name in that folder; the file contains `crash` (SIGKILL) or `freeze` (SIGSTOP). [`reached`]
//! renames the file to `….reached`, so that the failpoint acts once and the test can observe it.
//!
//! # Why
//!
//! Files instead of counters: the process starts undisturbed, and the test arms the failpoint just
//! before the request that must reach it.

/// Marks a failpoint; without the feature `failpoints` it does nothing.
#[cfg(not(feature = "failpoints"))]
#[inline]
pub(crate) const fn reached(_point: &'static str) {}

/// Crashes or freezes the process if this failpoint is armed.
#[cfg(feature = "failpoints")]
pub(crate) fn reached(point: &'static str) {
    armed::act_once(point);
}

#[cfg(feature = "failpoints")]
mod armed {
    use std::fs;
    use std::path::PathBuf;
    use std::sync::OnceLock;

    use crate::config;

    pub(super) fn act_once(point: &str) {
        static FOLDER: OnceLock<Option<PathBuf>> = OnceLock::new();
        let Some(folder) = FOLDER.get_or_init(config::failpoints) else {
            return;
        };
        let file = folder.join(point);
        let Ok(action) = fs::read_to_string(&file) else {
            return;
        };
        // Of several threads at this line, only the one that renames the file acts.
        if fs::rename(&file, file.with_added_extension("reached")).is_err() {
            return;
        }
        match action.trim() {
            "crash" => send_signal(libc::SIGKILL),
            "freeze" => send_signal(libc::SIGSTOP),
            other => tracing::error!("the failpoint {point} has no action {other:?}"),
        }
    }

    #[expect(
        unsafe_code,
        reason = "the standard library cannot stop this very thread at this very line"
    )]
    fn send_signal(signal: libc::c_int) {
        // SAFETY: raise has no preconditions, and neither signal runs a handler.
        unsafe {
            libc::raise(signal);
        }
    }
}
