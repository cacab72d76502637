//! What is shared by all tests of the process has to end with the process.
//!
//! Rust never drops a static, and the test harness leaves by `exit`. So the last acts are run by
//! the C library's exit handler. A killed process runs nothing: then the parent-death signal ends
//! the servers, and the next run removes their folders.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::{Mutex, Once, PoisonError};

type LastAct = Box<dyn FnOnce() + Send>;

static LAST_ACTS: Mutex<Vec<LastAct>> = Mutex::new(Vec::new());

/// Has something done when the process exits, the latest first. It must not use thread locals, an
/// async runtime, or print.
pub fn at_exit(act: impl FnOnce() + Send + 'static) {
    static REGISTERED: Once = Once::new();
    REGISTERED.call_once(register);
    LAST_ACTS
        .lock()
        .unwrap_or_else(PoisonError::into_inner)
        .push(Box::new(act));
}

#[expect(unsafe_code, reason = "the standard library has no exit handler")]
fn register() {
    // SAFETY: the handler is a plain function that never unwinds.
    let refused = unsafe { libc::atexit(run) };
    assert_eq!(refused, 0, "the exit handler was refused");
}

extern "C" fn run() {
    let mut acts = LAST_ACTS.lock().unwrap_or_else(PoisonError::into_inner);
    for act in acts.drain(..).rev() {
        // One that fails must not keep the next from being done.
        let _ = catch_unwind(AssertUnwindSafe(act));
    }
}
