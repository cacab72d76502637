//! The book beside a bare batched insert of the same rows.

#[path = "measure/mod.rs"]
mod measure;

fn main() -> std::process::ExitCode {
    measure::run(env!("CARGO_CRATE_NAME"))
}
