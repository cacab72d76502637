//! The door beside a handler that only awaits Kafka; the whole service at a steady rate.

#[path = "measure/mod.rs"]
mod measure;

fn main() -> std::process::ExitCode {
    measure::run(env!("CARGO_CRATE_NAME"))
}
