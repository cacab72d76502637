//! The ledger beside a bare batched insert of the same rows.

#![expect(
    unreachable_pub,
    reason = "one binary: what its modules share is reachable inside it only"
)]

#[path = "measure/mod.rs"]
mod measure;

fn main() -> std::process::ExitCode {
    measure::run(env!("CARGO_CRATE_NAME"))
}
