//! Measures the product beside bare counterparts, in the same run, on the same machine.
//!
//! # Why
//!
//! Machines differ and drift, so every figure that is judged is a ratio to something bare that was
//! measured a moment before or after. Whoever is measured is a process of its own, so that its CPU
//! time and memory are the operating system's word: `serve` as it is shipped, and this program once
//! more for a counterpart. The same generator loads both sides.
//!
//! # Layout
//!
//! * [`arguments`]: what one may ask for. [`figures`]: percentiles, medians, the report.
//! * [`ground`]: real Kafka and Postgres. [`process`]: whoever is measured.
//! * [`calls`]: simulated calls, event by event. [`stencil`]: quick copies of a text.
//!   [`tape`]: messages as they are on the log.
//! * [`load`]: posts at a rate, or as fast as it is answered. [`ears`]: many open streams.
//! * [`counterpart`]: the bare ones.
//! * [`ingest`], [`ledger`], [`latency`], [`start`], [`fanout`]: what is measured.

mod arguments;
mod calls;
mod counterpart;
mod ears;
mod fanout;
mod figures;
mod ground;
mod ingest;
mod latency;
mod ledger;
mod load;
mod process;
mod start;
mod stencil;
mod tape;

use std::process::ExitCode;

use anyhow::Context as _;
use clap::Parser as _;

use arguments::Arguments;
use figures::Report;

/// Measures what the program is called after, and prints what came out.
pub fn run(subject: &str) -> ExitCode {
    let arguments: Vec<String> = std::env::args().collect();
    let outcome = match arguments.get(1).map(String::as_str) {
        Some(counterpart::WORD) => counterpart::serve(arguments.get(2..).unwrap_or_default()),
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
        // `cargo test --all-targets` runs benchmarks too, for no measure.
        println!("nothing is measured without `cargo bench`");
        return Ok(());
    }
    // For this program's own questions; whoever is measured has a process of its own.
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(1)
        .enable_all()
        .build()?;
    let mut report = Report::default();
    runtime.block_on(async {
        let ground = ground::Ground::lay().await?;
        for run in 1..=arguments.runs {
            eprintln!("run {run} of {}", arguments.runs);
            let sheet = match subject {
                "ingest" => ingest::measure(&ground, arguments).await,
                "ledger" => ledger::measure(&ground, arguments).await,
                "latency" => latency::measure(&ground, arguments).await,
                "start" => start::measure(&ground, arguments).await,
                "fanout" => fanout::measure(&ground, arguments).await,
                other => anyhow::bail!("nothing is called {other}"),
            };
            report.add(sheet?);
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
