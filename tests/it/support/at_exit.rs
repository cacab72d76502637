//! Whatever all tests of the process share ends with the process.
//!
//! Rust never drops a static, and the test harness leaves by `exit`. So the C library's exit
//! handler runs the last actions. A killed process runs nothing: then the parent-death signal ends
//! the servers, and the next run removes their folders.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::{Mutex, Once, PoisonError};

type ExitAction = Box<dyn FnOnce() + Send>;

static EXIT_ACTIONS: Mutex<Vec<ExitAction>> = Mutex::new(Vec::new());

/// Runs an action when the process exits, the latest first. It must not use thread locals or an
/// async runtime, and prints with [`write_to_stderr`] only.
pub fn at_exit(action: impl FnOnce() + Send + 'static) {
    static REGISTERED: Once = Once::new();
    REGISTERED.call_once(register);
    EXIT_ACTIONS.lock().unwrap_or_else(PoisonError::into_inner).push(Box::new(action));
}

/// Writes to standard error without the locks and thread locals of the standard library, which an
/// exiting process may have torn down.
#[expect(unsafe_code, reason = "the standard library's streams use thread locals")]
pub fn write_to_stderr(text: &str) {
    // SAFETY: the pointer and the length are of a live string. What cannot be written is left out.
    unsafe {
        libc::write(libc::STDERR_FILENO, text.as_ptr().cast(), text.len());
    }
}

#[expect(unsafe_code, reason = "the standard library has no exit handler")]
fn register() {
    // SAFETY: the handler is a plain function that never unwinds.
    let refused = unsafe { libc::atexit(run) };
    assert_eq!(refused, 0, "the exit handler was refused");
}

extern "C" fn run() {
    let mut actions = EXIT_ACTIONS.lock().unwrap_or_else(PoisonError::into_inner);
    for action in actions.drain(..).rev() {
        // An action that fails must not keep the next one from running.
        let _ = catch_unwind(AssertUnwindSafe(action));
    }
}
