//! `onrecord`: arguments → command → exit code.

use std::process::ExitCode;

use clap::Parser as _;
use tikv_jemallocator::Jemalloc;

/// An event is read, judged and written again as many small values: with the allocator of glibc a
/// quarter of the time goes to it.
#[global_allocator]
static ALLOCATOR: Jemalloc = Jemalloc;

fn main() -> ExitCode {
    #[cfg(all(target_os = "linux", target_env = "gnu"))]
    give_large_memory_back();
    match onrecord::cli::run(onrecord::cli::Arguments::parse()) {
        Ok(code) => code,
        Err(error) => {
            eprintln!("onrecord: {error:#}");
            ExitCode::FAILURE
        }
    }
}

/// What librdkafka fetches ahead is taken from glibc, which after the first large piece was freed
/// keeps such pieces for itself: tens of megabytes in a process that has read a log.
#[cfg(all(target_os = "linux", target_env = "gnu"))]
#[expect(
    unsafe_code,
    reason = "a setting of the C library, which no crate wraps"
)]
fn give_large_memory_back() {
    const LARGE: libc::c_int = 64 * 1024;
    // SAFETY: it sets a number of glibc's, before there is another thread.
    unsafe {
        libc::mallopt(libc::M_MMAP_THRESHOLD, LARGE);
    }
}
