//! `onrecord`: arguments → command → exit code.

use std::process::ExitCode;

use clap::Parser as _;

fn main() -> ExitCode {
    match onrecord::cli::run(onrecord::cli::Arguments::parse()) {
        Ok(code) => code,
        Err(error) => {
            eprintln!("onrecord: {error:#}");
            ExitCode::FAILURE
        }
    }
}
