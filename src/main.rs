//! `onrecord`: arguments → command → exit code.

use std::process::ExitCode;

use clap::Parser as _;
use tikv_jemallocator::Jemalloc;

/// An event is read, judged and written again as many small values: with the allocator of glibc a
/// quarter of the time goes to it.
#[global_allocator]
static ALLOCATOR: Jemalloc = Jemalloc;

/// One arena for each processor instead of four, large pieces not kept by each thread, and what is
/// free given back after a second instead of ten: a tenth less memory, at no cost that can be
/// measured. Elsewhere jemalloc knows no arenas of processors.
#[cfg(target_os = "linux")]
#[used]
#[expect(
    unsafe_code,
    reason = "jemalloc reads its settings from a symbol of this name"
)]
// SAFETY: nothing else has this name, and jemalloc expects a pointer to a text that ends with NUL.
#[unsafe(export_name = "_rjem_malloc_conf")]
static ALLOCATOR_SETTINGS: &[u8; 73] =
    b"percpu_arena:percpu,tcache_max:4096,dirty_decay_ms:1000,muzzy_decay_ms:0\0";

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
/// keeps such pieces for itself: tens of megabytes in a process that has read a log. What it takes
/// and frees for each batch that it compresses is smaller, and is better kept.
#[cfg(all(target_os = "linux", target_env = "gnu"))]
#[expect(
    unsafe_code,
    reason = "a setting of the C library, which no crate wraps"
)]
fn give_large_memory_back() {
    const LARGE: libc::c_int = 256 * 1024;
    // SAFETY: it sets numbers of glibc's, before there is another thread.
    unsafe {
        libc::mallopt(libc::M_MMAP_THRESHOLD, LARGE);
        libc::mallopt(libc::M_TRIM_THRESHOLD, 2 * LARGE);
    }
}
