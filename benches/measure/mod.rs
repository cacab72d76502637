//! Measures the service beside bare baselines, in the same run, on the same machine.
//!
//! # Why
//!
//! Machines differ and drift, so every figure with a target is a ratio to a baseline that was
//! measured a moment before or after. Each measured server is a separate process, so that the
//! operating system counts its CPU time and memory: `serve` as it is shipped, and this program again
//! for a baseline. The same generator loads both sides.
//!
//! # Layout
//!
//! * [`arguments`]: the command line. [`report`]: percentiles, medians, the report.
//! * [`environment`]: real Kafka and Postgres. [`process`]: a measured server. [`topics`]: their layout.
//! * [`calls`]: simulated calls, event by event. [`template`]: quick copies of a text.
//!   [`recorded_messages`]: messages as the ingest role writes them to Kafka.
//! * [`load`]: posts at a rate, or as fast as it is answered. [`sse_clients`]: many open streams.
//! * [`baseline`]: the bare servers. [`webhook_receiver`]: a bare receiver of webhooks.
//! * [`subjects`]: what is measured, one file for each benchmark.

mod arguments;
mod baseline;
mod calls;
mod environment;
mod load;
mod process;
mod recorded_messages;
mod report;
mod sse_clients;
mod subjects;
mod template;
mod topics;
mod webhook_receiver;

use std::process::ExitCode;

use anyhow::Context as _;
use clap::Parser as _;

use arguments::Arguments;
use report::Report;
use subjects::{export, fanout, ingest, latency, ledger, query, start, webhooks};

/// Measures the subject after which the program is named, and prints the report.
pub fn run(subject: &str) -> ExitCode {
    let arguments: Vec<String> = std::env::args().collect();
    let outcome = match arguments.get(1).map(String::as_str) {
        Some(baseline::BASELINE_ARGUMENT) => {
            baseline::serve(arguments.get(2..).unwrap_or_default())
        }
        _ => measure(subject, &Arguments::parse()),
    };
    match outcome {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("{error:#}");
            ExitCode::FAILURE
        }
    }
}

fn measure(subject: &str, arguments: &Arguments) -> anyhow::Result<()> {
    if !arguments.bench {
        // `cargo test --all-targets` runs benchmarks too, and measures nothing.
        println!("nothing is measured without `cargo bench`");
        return Ok(());
    }
    // For this program's own requests. The measured servers are separate processes.
    let runtime =
        tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build()?;
    let mut report = Report::default();
    runtime.block_on(async {
        let environment = environment::Environment::start().await?;
        for run in 1..=arguments.runs {
            eprintln!("run {run} of {}", arguments.runs);
            let figures = match subject {
                "ingest" => ingest::measure(&environment, arguments).await,
                "ledger" => ledger::measure(&environment, arguments).await,
                "latency" => latency::measure(&environment, arguments).await,
                "query" => query::measure(&environment, arguments).await,
                "start" => start::measure(&environment, arguments).await,
                "export" => export::measure(&environment, arguments).await,
                "fanout" => fanout::measure(&environment, arguments).await,
                "webhooks" => webhooks::measure(&environment, arguments).await,
                other => anyhow::bail!("there is no benchmark {other}"),
            };
            report.add(figures?);
        }
        anyhow::Ok(())
    })?;
    print!("{report}");
    if let Some(file) = &arguments.json {
        std::fs::write(file, report.json())
            .with_context(|| format!("cannot write {}", file.display()))?;
    }
    Ok(())
}
