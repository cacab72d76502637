//! How fast rows are exported beside a bare `copy` of the same query, and how much memory that takes.

#![expect(
    unreachable_pub,
    reason = "one binary: what its modules share is reachable inside it only"
)]

#[path = "measure/mod.rs"]
mod measure;

fn main() -> std::process::ExitCode {
    measure::run(env!("CARGO_CRATE_NAME"))
}
