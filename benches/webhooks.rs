//! How soon and how fast events reach receivers of webhooks, beside a bare loop of POSTs, and what waiting
//! messages cost.

#![expect(
    unreachable_pub,
    reason = "one binary: what its modules share is reachable inside it only"
)]

#[path = "measure/mod.rs"]
mod measure;

fn main() -> std::process::ExitCode {
    measure::run(env!("CARGO_CRATE_NAME"))
}
