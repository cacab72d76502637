//! The ingest role beside a handler that only awaits Kafka; the whole service at a steady rate.

#![expect(
    unreachable_pub,
    reason = "one binary: what its modules share is reachable inside it only"
)]

#[path = "measure/mod.rs"]
mod measure;

fn main() -> std::process::ExitCode {
    measure::run(env!("CARGO_CRATE_NAME"))
}
