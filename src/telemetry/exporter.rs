//! The recorder behind `/metrics`, and its upkeep.

use std::sync::LazyLock;
use std::time::Duration;

use metrics::gauge;
use metrics_exporter_prometheus::{Matcher, PrometheusBuilder, PrometheusHandle};

use super::names;
use crate::lifecycle::Lifecycle;

/// Upper bounds of the histogram buckets, in seconds.
const BUCKETS: [f64; 14] =
    [0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 15.0];
/// Interval of the upkeep.
const UPKEEP_INTERVAL: Duration = Duration::from_secs(5);

/// Installs the recorder of the process and returns the handle that renders it.
///
/// # Errors
///
/// A recorder is already installed.
pub fn start_metrics() -> anyhow::Result<PrometheusHandle> {
    let handle = builder()?.install_recorder()?;
    names::describe_all();
    PROCESS.describe();
    let tls = if cfg!(feature = "kafka-tls") { "true" } else { "false" };
    gauge!(names::BUILD_INFO, "version" => env!("CARGO_PKG_VERSION"), "kafka_tls" => tls).set(1.0);
    // Descriptions become visible at the upkeep.
    handle.run_upkeep();
    Ok(handle)
}

/// The metrics of the process, by the names that Prometheus recommends: `process_…`.
static PROCESS: LazyLock<metrics_process::Collector> =
    LazyLock::new(metrics_process::Collector::default);

/// The text of `/metrics`.
pub(crate) fn render(metrics: &PrometheusHandle) -> String {
    PROCESS.collect();
    metrics.render()
}

fn builder() -> anyhow::Result<PrometheusBuilder> {
    Ok(PrometheusBuilder::new()
        .set_buckets_for_metric(Matcher::Suffix("_seconds".to_owned()), &BUCKETS)?)
}

/// Adds the samples of the histograms to their buckets, and reads gauges, until the stop.
///
/// # Why
///
/// A scrape does so too. Where nothing scrapes, each sample would stay in memory.
pub(crate) fn keep_up(
    metrics: PrometheusHandle,
    lifecycle: &Lifecycle,
    read_gauges: impl Fn() + Send + 'static,
) {
    let soft = lifecycle.soft().clone();
    lifecycle.run("metrics", async move {
        while !soft.is_cancelled() {
            read_gauges();
            metrics.run_upkeep();
            soft.run_until_cancelled(tokio::time::sleep(UPKEEP_INTERVAL)).await;
        }
    });
}

#[cfg(test)]
mod tests {
    use metrics::histogram;

    use super::*;

    #[tokio::test(start_paused = true)]
    async fn two_hundred_thousand_samples_without_a_scrape_take_no_memory() {
        let recorder = builder().unwrap().build_recorder();
        let handle = recorder.handle();
        let lifecycle = Lifecycle::new();
        keep_up(handle.clone(), &lifecycle, || {});
        let mut sizes = Vec::new();
        for _ in 0..4 {
            metrics::with_local_recorder(&recorder, || {
                for _ in 0..50_000 {
                    histogram!(names::INGEST_RESPONSE_SECONDS).record(0.002);
                }
            });
            tokio::time::sleep(UPKEEP_INTERVAL * 2).await;
            // A scrape would take the samples itself. This text has what the recorder holds.
            sizes.push(format!("{handle:?}").len());
        }
        assert!(sizes.iter().all(|size| size.abs_diff(sizes[0]) < 100), "{sizes:?}");
        assert!(format!("{handle:?}").contains("200000"));
        lifecycle.shut_down().await;
    }
}
