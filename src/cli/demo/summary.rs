//! The table at the end of `demo --once`.

use std::fmt::Write as _;
use std::time::Duration;

use super::accounts::Accounts;
use super::comparison::Comparison;
use super::hearing::{Latencies, milliseconds};

/// So many differences are named.
const NAMED: usize = 50;

/// What there is to sum up.
pub(super) struct Summary<'s> {
    pub comparison: &'s Comparison,
    pub accounts: &'s Accounts,
    pub latencies: Latencies,
    pub stores: &'s str,
    pub seed: u64,
    pub kept_back: u64,
    pub lasted: Duration,
}

impl Summary<'_> {
    pub fn text(&self) -> String {
        let (comparison, accounts) = (self.comparison, self.accounts);
        let mut rows = vec![
            ("calls", comparison.calls().to_string()),
            (
                "deliveries taken",
                format!(
                    "{}, {} of them for the second time",
                    comparison.deliveries, comparison.repetitions
                ),
            ),
            ("events posted", comparison.events().to_string()),
        ];
        if self.kept_back > 0 {
            rows.push(("  kept back", format!("{} of them", self.kept_back)));
        }
        let quarantine = if comparison.quarantined == 0 {
            "empty".to_owned()
        } else {
            comparison.quarantined.to_string()
        };
        rows.extend([
            ("events entered", comparison.entries.to_string()),
            ("quarantine", quarantine),
            (
                "acknowledgements",
                format!(
                    "{} of {} on record",
                    accounts.on_record,
                    accounts.acknowledgements()
                ),
            ),
            (
                "reports recomputed",
                format!("{} of {} equal", accounts.equal, accounts.calls()),
            ),
            ("  verdicts", verdicts(accounts)),
            (
                "changes heard",
                format!(
                    "{} of {}",
                    comparison.changes_heard, comparison.changes_expected
                ),
            ),
            ("latency", percentiles(&self.latencies.of_delivery)),
            (
                "  after the bridge",
                percentiles(&self.latencies.after_bridge),
            ),
        ]);
        if self.latencies.gaps > 0 {
            rows.push(("gaps told", self.latencies.gaps.to_string()));
        }
        rows.extend([
            ("wall time", format!("{:.1} s", self.lasted.as_secs_f64())),
            ("stores", self.stores.to_owned()),
            ("seed", self.seed.to_string()),
        ]);
        let mut text = String::from("\n");
        for (name, value) in rows {
            // Writing to a string does not fail.
            let _ = writeln!(text, "{name:<20} {value}");
        }
        let mut differences = comparison.differences();
        differences.extend_from_slice(&accounts.differences);
        text.push('\n');
        if differences.is_empty() {
            text.push_str(
                "Every event that was posted is entered once, every change was heard, every acknowledgement \
                 is on record, and every stored report is what its facts give.",
            );
            return text;
        }
        let _ = write!(text, "{} differences:", differences.len());
        for difference in differences.iter().take(NAMED) {
            let _ = write!(text, "\n  {difference}");
        }
        if differences.len() > NAMED {
            let _ = write!(text, "\n  and {} more", differences.len() - NAMED);
        }
        text
    }
}

fn verdicts(accounts: &Accounts) -> String {
    let verdicts = accounts.verdicts.iter();
    let counted: Vec<String> = verdicts
        .map(|(verdict, calls)| format!("{verdict} {calls}"))
        .collect();
    counted.join(", ")
}

fn percentiles(latencies: &[Duration]) -> String {
    let mut sorted = latencies.to_vec();
    sorted.sort_unstable();
    // Nearest rank.
    let at = |percent: usize| {
        sorted
            .get((sorted.len() * percent).div_ceil(100).saturating_sub(1))
            .copied()
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
    fn percentiles_are_of_the_nearest_rank() {
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
