//! How fast the query API answers on a large history, beside the same SQL run bare.

#![expect(
    unreachable_pub,
    reason = "one binary: what its modules share is reachable inside it only"
)]

#[path = "measure/mod.rs"]
mod measure;

fn main() -> std::process::ExitCode {
    measure::run(env!("CARGO_CRATE_NAME"))
}
