//! `onrecord`: arguments → command → exit code.

use std::process::ExitCode;

use clap::Parser as _;
use mimalloc::MiMalloc;

/// An event is read, judged and written again as many small values: with the allocator of glibc a
/// quarter of the ledger's time goes to it.
#[global_allocator]
static ALLOCATOR: MiMalloc = MiMalloc;

fn main() -> ExitCode {
    match onrecord::cli::run(onrecord::cli::Arguments::parse()) {
        Ok(code) => code,
        Err(error) => {
            eprintln!("onrecord: {error:#}");
            ExitCode::FAILURE
        }
    }
}
