//! Rejected deliveries of a source: whether they may be deliveries of the source itself.
//!
//! # Why
//!
//! Anybody can send deliveries with a wrong key. While the source itself delivers, such deliveries
//! are a matter of the operator (a metric, a log line, a check of `onrecord doctor`), because nothing
//! of the tenant's calls is missing. Many of them beside a silence of the source may be the source's
//! own deliveries, for example after a failed rotation of its key: then something may be missing.

use crate::capture::span::Span;
use crate::event::instant::Millis;

/// Minimum number of rejected deliveries. Event Grid sends each event several times within minutes,
/// so a source whose key is wrong has as many soon.
const MIN_REJECTIONS: u64 = 10;
/// Minimum time without an accepted delivery, ms.
const MIN_SILENCE: Millis = 5 * 60 * 1000;
/// Maximum time between the last rejection and the instant through which accepted deliveries are
/// known, ms. Beyond it, a source without an accepted delivery may merely wait for the ledger.
const MAX_LAG: Millis = 10 * 60 * 1000;

/// Rejected deliveries of one source for one reason, without a pause of an hour. Instants are Unix
/// milliseconds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RejectionSeries {
    /// The first rejection.
    pub started_at: Millis,
    /// The last rejection so far.
    pub ended_at: Millis,
    /// The number of deliveries.
    pub deliveries: u64,
}

impl RejectionSeries {
    /// The part of the series in which the source delivered nothing else, if the rejected deliveries
    /// may be its own. `last_accepted` is the last accepted delivery of the source, as it is known
    /// for all deliveries through `known_through`.
    #[must_use]
    pub fn beside_silence(
        self,
        last_accepted: Option<Millis>,
        known_through: Option<Millis>,
    ) -> Option<Span> {
        let known_through = known_through.filter(|_| self.deliveries >= MIN_REJECTIONS)?;
        let is_silent = match last_accepted {
            Some(last) => self.ended_at.min(known_through).saturating_sub(last) >= MIN_SILENCE,
            None => self.ended_at.saturating_sub(known_through) <= MAX_LAG,
        };
        let from = last_accepted.map_or(self.started_at, |last| last.max(self.started_at));
        // A single instant is a span too.
        Span::new(from, self.ended_at.saturating_add(1)).filter(|_| is_silent)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const MINUTE: Millis = 60_000;

    fn series(started: Millis, ended: Millis, deliveries: u64) -> RejectionSeries {
        RejectionSeries { started_at: started * MINUTE, ended_at: ended * MINUTE, deliveries }
    }

    fn silence(
        series: RejectionSeries,
        last_accepted: Option<Millis>,
        known_through: Option<Millis>,
    ) -> Option<(Millis, Millis)> {
        let minutes = |minutes: Millis| minutes * MINUTE;
        let span = series.beside_silence(last_accepted.map(minutes), known_through.map(minutes))?;
        Some((span.from() / MINUTE, span.to() / MINUTE))
    }

    #[test]
    fn deliveries_are_perhaps_of_the_source_only_if_they_are_many_beside_a_silence() {
        for (what, series, last_accepted, known_through, expected) in [
            ("a rotation that failed", series(100, 120, 50), Some(99), Some(119), Some((100, 120))),
            ("a source that delivers", series(0, 120, 1000), Some(118), Some(119), None),
            ("few", series(100, 120, 9), Some(50), Some(119), None),
            ("a stranger before", series(0, 120, 1000), Some(100), Some(119), Some((100, 120))),
            ("a short silence", series(100, 103, 1000), Some(99), Some(103), None),
            ("a ledger that lags", series(100, 120, 1000), Some(99), Some(101), None),
            (
                "a source that never delivered",
                series(100, 100, 10),
                None,
                Some(99),
                Some((100, 100)),
            ),
            ("nothing is known", series(100, 120, 1000), None, None, None),
            ("a ledger that lags, at first", series(100, 120, 1000), None, Some(90), None),
            ("a source that delivers again", series(100, 120, 50), Some(130), Some(140), None),
        ] {
            assert_eq!(silence(series, last_accepted, known_through), expected, "{what}");
        }
    }

    proptest! {
        #[test]
        fn beside_a_source_that_delivers_no_number_of_rejections_counts(
            started in 0..1_000_i64,
            length in 0..1_000_i64,
            deliveries: u64,
            since in 0..MIN_SILENCE,
            known in 0..5_000_i64,
        ) {
            let one = RejectionSeries {
                started_at: started * MINUTE,
                ended_at: (started + length) * MINUTE,
                deliveries,
            };
            let last = Some(one.ended_at - since);
            prop_assert_eq!(one.beside_silence(last, Some(known * MINUTE)), None);
        }
    }
}
