//! The binary `onrecord`: arguments → command → exit code.

use std::process::ExitCode;

use clap::Parser as _;
use tikv_jemallocator::Jemalloc;

/// The allocator of Rust code. An event is parsed and written again as many small values; the
/// allocator of glibc would take a quarter of that time.
#[global_allocator]
static ALLOCATOR: Jemalloc = Jemalloc;

/// Settings of jemalloc: one arena per processor instead of four, no large allocations in the
/// caches of threads, and free memory returned after one second instead of ten. This saves a tenth
/// of the memory at no measurable cost. Only Linux has arenas per processor.
#[cfg(target_os = "linux")]
#[used]
#[expect(unsafe_code, reason = "jemalloc reads its settings from a symbol of this name")]
// SAFETY: no other symbol has this name, and jemalloc expects a pointer to a text that ends with
// NUL.
#[unsafe(export_name = "_rjem_malloc_conf")]
static ALLOCATOR_SETTINGS: &[u8; 73] =
    b"percpu_arena:percpu,tcache_max:4096,dirty_decay_ms:1000,muzzy_decay_ms:0\0";

fn main() -> ExitCode {
    #[cfg(all(target_os = "linux", target_env = "gnu"))]
    return_large_allocations();
    match onrecord::cli::run(onrecord::cli::Arguments::parse()) {
        Ok(code) => code,
        Err(error) => {
            eprintln!("onrecord: {error:#}");
            ExitCode::FAILURE
        }
    }
}

/// Makes glibc return large allocations to the system.
///
/// # Why
///
/// librdkafka allocates its prefetched messages with glibc. After the first large allocation was
/// freed, glibc keeps later ones of that size: tens of megabytes in a process that has read a log.
/// The buffers of each compressed batch are smaller, and keeping them is faster.
#[cfg(all(target_os = "linux", target_env = "gnu"))]
#[expect(unsafe_code, reason = "a setting of the C library, which no crate wraps")]
fn return_large_allocations() {
    const LARGE_BYTES: libc::c_int = 256 * 1024;
    // SAFETY: mallopt changes settings of glibc, and no other thread exists yet.
    unsafe {
        libc::mallopt(libc::M_MMAP_THRESHOLD, LARGE_BYTES);
        libc::mallopt(libc::M_TRIM_THRESHOLD, 2 * LARGE_BYTES);
    }
}
