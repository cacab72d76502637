//! The table at the end of `demo --once`.

use std::time::Duration;

use super::event_comparison::EventComparison;
use super::report_comparison::ReportComparison;
use super::stream_monitor::{ChangeLatencies, milliseconds};

/// Maximum number of differences that are printed.
const MAX_PRINTED: usize = 50;

/// The results of a run.
pub(super) struct DemoSummary<'s> {
    pub events: &'s EventComparison,
    pub reports: &'s ReportComparison,
    pub latencies: ChangeLatencies,
    pub stores: &'s str,
    pub seed: u64,
    pub withheld: u64,
    pub duration: Duration,
}

impl DemoSummary<'_> {
    pub(super) fn text(&self) -> String {
        let (events, reports) = (self.events, self.reports);
        let verdicts = reports.verdicts.iter().map(|(verdict, calls)| format!("{verdict} {calls}"));
        let mut rows = vec![
            ("calls", events.calls.len().to_string()),
            (
                "deliveries accepted",
                format!("{}, {} of them repetitions", events.deliveries, events.repetitions),
            ),
            ("events posted", events.posted.len().to_string()),
        ];
        if self.withheld > 0 {
            rows.push(("  withheld", format!("{} of them", self.withheld)));
        }
        let quarantine = match events.quarantine.len() {
            0 => "empty".to_owned(),
            events => events.to_string(),
        };
        rows.extend([
            ("ledger entries", events.entries.to_string()),
            ("quarantine", quarantine),
            (
                "acknowledgements",
                format!("{} of {} on record", reports.on_record, reports.acknowledgements()),
            ),
            ("reports recomputed", format!("{} of {} equal", reports.equal, reports.calls.len())),
            ("  verdicts", verdicts.collect::<Vec<_>>().join(", ")),
            (
                "changes observed",
                format!("{} of {}", events.changes_observed, events.changes_expected),
            ),
            ("latency", percentiles(&self.latencies.of_delivery)),
            ("  after the bridge", percentiles(&self.latencies.after_bridge)),
        ]);
        if self.latencies.gaps > 0 {
            rows.push(("gaps", self.latencies.gaps.to_string()));
        }
        rows.extend([
            ("wall time", format!("{:.1} s", self.duration.as_secs_f64())),
            ("stores", self.stores.to_owned()),
            ("seed", self.seed.to_string()),
        ]);
        let mut text = String::from("\n");
        for (name, value) in rows {
            text += &format!("{name:<20} {value}\n");
        }
        let mut differences = events.differences();
        differences.extend_from_slice(&reports.differences);
        text.push('\n');
        if differences.is_empty() {
            text.push_str(
                "Every posted event is in the ledger once, every change was observed, every acknowledgement \
                 is on record, and every stored report equals the one that its facts give.",
            );
            return text;
        }
        text += &format!("{} differences:", differences.len());
        for difference in differences.iter().take(MAX_PRINTED) {
            text += &format!("\n  {difference}");
        }
        if differences.len() > MAX_PRINTED {
            text += &format!("\n  and {} more", differences.len() - MAX_PRINTED);
        }
        text
    }
}

fn percentiles(latencies: &[Duration]) -> String {
    let mut sorted = latencies.to_vec();
    sorted.sort_unstable();
    // Nearest rank.
    let at = |percent: usize| {
        sorted.get((sorted.len() * percent).div_ceil(100).saturating_sub(1)).copied()
    };
    match (at(50), at(99), at(100)) {
        (Some(median), Some(most), Some(all)) => {
            format!(
                "p50 {}, p99 {}, max {} ({} changes)",
                milliseconds(median),
                milliseconds(most),
                milliseconds(all),
                sorted.len()
            )
        }
        _ => "none measured".to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn percentiles_have_the_nearest_rank() {
        let latencies: Vec<Duration> = (1..=200).rev().map(Duration::from_millis).collect();
        assert_eq!(
            percentiles(&latencies),
            "p50 100.0 ms, p99 198.0 ms, max 200.0 ms (200 changes)"
        );
        assert_eq!(
            percentiles(&latencies[..1]),
            "p50 200.0 ms, p99 200.0 ms, max 200.0 ms (1 changes)"
        );
        assert_eq!(percentiles(&[]), "none measured");
    }
}
