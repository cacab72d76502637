//! Crash points: lines at which a test lets the process end or freeze.
//!
//! Behind the cargo feature `failpoints`; without it, [`reached`] is nothing. With it, and with
//! `ONRECORD_TEST_FAILPOINTS` naming a folder, a point is armed by a file of its name there, which
//! says `crash` (SIGKILL) or `freeze` (SIGSTOP). The file is renamed to `….reached`, so that a
//! point acts once, and that the test sees it.
//!
//! # Why
//!
//! Files rather than counts of passes: a test lets the process come to life undisturbed, and arms
//! the point just before the request that is to run into it.

/// Says that the process stands at this point.
#[cfg(not(feature = "failpoints"))]
#[inline]
pub const fn reached(_point: &'static str) {}

/// Says that the process stands at this point; it may go no further.
#[cfg(feature = "failpoints")]
pub fn reached(point: &'static str) {
    armed::reached(point);
}

#[cfg(feature = "failpoints")]
mod armed {
    use std::fs;
    use std::path::PathBuf;
    use std::sync::OnceLock;

    use crate::config;

    pub fn reached(point: &str) {
        static FOLDER: OnceLock<Option<PathBuf>> = OnceLock::new();
        let Some(folder) = FOLDER.get_or_init(config::failpoints) else {
            return;
        };
        let file = folder.join(point);
        let Ok(order) = fs::read_to_string(&file) else {
            return;
        };
        // Whoever renames it is the one that acts.
        if fs::rename(&file, file.with_added_extension("reached")).is_err() {
            return;
        }
        match order.trim() {
            "crash" => raise(libc::SIGKILL),
            "freeze" => raise(libc::SIGSTOP),
            other => tracing::error!("the crash point {point} knows no order {other:?}"),
        }
    }

    #[expect(
        unsafe_code,
        reason = "the standard library cannot stop this very thread at this very line"
    )]
    fn raise(signal: libc::c_int) {
        // SAFETY: raise has no preconditions, and neither signal runs a handler.
        unsafe {
            libc::raise(signal);
        }
    }
}
