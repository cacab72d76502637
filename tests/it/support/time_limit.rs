//! Ends the run when a test hangs, and names the test.
//!
//! # Why
//!
//! The test harness waits for a hanging test forever. Every test that can hang takes a store, so
//! taking one starts the test's clock, and the end of the test's thread stops it.

use std::cell::RefCell;
use std::collections::BTreeMap;
use std::sync::{Mutex, MutexGuard, Once, PoisonError};
use std::thread;
use std::time::{Duration, Instant};

use super::requirements::print_line;

/// Maximum time of a test that does not extend it.
const TIME_LIMIT: Duration = Duration::from_secs(600);
/// Interval between two looks at the running tests.
const CHECK_INTERVAL: Duration = Duration::from_secs(1);

/// The running tests, and when each must have ended.
static DEADLINES: Mutex<BTreeMap<String, Instant>> = Mutex::new(BTreeMap::new());

thread_local! {
    static CLOCK: RefCell<Option<Clock>> = const { RefCell::new(None) };
}

/// Stops the clock of a test when its thread ends.
struct Clock {
    test: String,
}

impl Drop for Clock {
    fn drop(&mut self) {
        deadlines().remove(&self.test);
    }
}

/// Starts the clock of the running test, if it does not run yet.
pub fn start_time_limit() {
    let is_started = CLOCK.with_borrow(Option::is_some);
    if !is_started {
        extend_time_limit(TIME_LIMIT);
    }
}

/// Gives the running test this much time from now.
pub fn extend_time_limit(limit: Duration) {
    static WATCHDOG: Once = Once::new();
    let current = thread::current();
    // The harness names a test's thread after its path. With one test thread, all tests run in the
    // main thread, which does not end with a test.
    let Some(test) = current.name().filter(|name| name.contains("::")) else {
        return;
    };
    WATCHDOG.call_once(|| drop(thread::spawn(end_run_when_a_test_hangs)));
    deadlines().insert(test.to_owned(), Instant::now() + limit);
    let test = test.to_owned();
    CLOCK.with_borrow_mut(|clock| {
        clock.get_or_insert_with(|| Clock { test });
    });
}

fn end_run_when_a_test_hangs() {
    loop {
        thread::sleep(CHECK_INTERVAL);
        let now = Instant::now();
        let late =
            deadlines().iter().find(|(_, deadline)| **deadline < now).map(|(test, _)| test.clone());
        if let Some(test) = late {
            print_line(&format!("{test} has not ended within its time limit; the run is ended"));
            std::process::exit(101);
        }
    }
}

fn deadlines() -> MutexGuard<'static, BTreeMap<String, Instant>> {
    DEADLINES.lock().unwrap_or_else(PoisonError::into_inner)
}

#[test]
fn the_clock_of_a_test_stops_with_its_thread() {
    let name = "a::thread::with_a_clock";
    let has_clock = || deadlines().contains_key(name);
    let started = thread::Builder::new().name(name.to_owned()).spawn(move || {
        start_time_limit();
        has_clock()
    });
    assert!(started.unwrap().join().unwrap());
    assert!(!has_clock());
}
