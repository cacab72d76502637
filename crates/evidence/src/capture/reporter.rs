//! Reporters: the clients that report, the levels that they stated, and when they are live.

use std::collections::BTreeMap;

use super::span::{OPEN_END, Span, SpanSet};
use crate::event::instant::{Millis, lower_to_successors};
use crate::fact::fact_set::FactSet;
use crate::fact::kinds::{CaptureType, FactKind, Level, ReportFact};

/// An attachment with its reports. A reporter belongs to one session; the same attachment in another
/// session is another reporter.
#[derive(Debug)]
pub(crate) struct Reporter<'f> {
    /// The session that the reporter belongs to.
    pub(crate) session: &'f str,
    /// The reports in the order of their sequence, which is also the order of the instants at which
    /// they count.
    pub(crate) reports: Vec<CountedReport<'f>>,
}

/// A report with the instant at which it counts.
#[derive(Clone, Copy, Debug)]
pub(crate) struct CountedReport<'f> {
    /// The least instant of the report and its successors, in Unix milliseconds. A report that a later
    /// report overtook counts when the later one arrived.
    pub(crate) at: Millis,
    /// The id of the fact.
    pub(crate) id: &'f str,
    /// The report.
    pub(crate) report: &'f ReportFact,
}

impl<'f> Reporter<'f> {
    /// All reporters of the facts, in the order of session and attachment.
    pub(crate) fn all(facts: &FactSet<'f>) -> Vec<Self> {
        let mut by_reporter: BTreeMap<(&str, &str), Vec<CountedReport<'_>>> = BTreeMap::new();
        for fact in facts.iter() {
            if let FactKind::Report(report) = fact.kind() {
                by_reporter
                    .entry((&report.session, &report.reporter))
                    .or_default()
                    .push(CountedReport { at: fact.at(), id: fact.id(), report });
            }
        }
        by_reporter
            .into_iter()
            .map(|((session, _), mut reports)| {
                reports.sort_unstable_by_key(|it| (it.report.sequence, it.at, it.id));
                lower_to_successors(reports.iter_mut().map(|it| &mut it.at));
                Self { session, reports }
            })
            .collect()
    }

    /// The first instant at which the last report is more than `stale` ms ago.
    pub(crate) fn live_until(&self, stale: Millis) -> Option<Millis> {
        self.reports.last().map(|last| live_until(last.at, stale))
    }

    /// The last level that the reporter stated for `capture_type`.
    pub(crate) fn last_level(&self, capture_type: CaptureType) -> Option<Level> {
        self.reports.iter().rev().find_map(|counted| counted.report.level(capture_type))
    }

    /// When the reporter is live for `capture_type`: it has stated a level, its session is present, and
    /// its last report is at most `stale` ms ago.
    pub(crate) fn live(
        &self,
        capture_type: CaptureType,
        presence: Option<Span>,
        stale: Millis,
    ) -> SpanSet {
        self.live_with_levels(capture_type, presence, stale).map(|(span, _)| span).collect()
    }

    /// The spans of [`Self::live`], each with the last stated level of `capture_type`.
    pub(crate) fn live_with_levels(
        &self,
        capture_type: CaptureType,
        presence: Option<Span>,
        stale: Millis,
    ) -> impl Iterator<Item = (Span, Level)> {
        self.with_levels(capture_type, presence, move |at| live_until(at, stale))
    }

    /// When the reporter observes `capture_type`: from each report after which a level is stated to the
    /// next report, but for at most `stale` ms, while its session is present.
    pub(crate) fn observing(
        &self,
        capture_type: CaptureType,
        presence: Option<Span>,
        stale: Millis,
    ) -> impl Iterator<Item = Span> {
        self.with_levels(capture_type, presence, move |at| at.saturating_add(stale))
            .map(|(span, _)| span)
    }

    /// The span from each report to the next one, or to `lasting` of the report if that is earlier, with
    /// the last stated level. A span before an `unbroken` report is not shortened.
    fn with_levels(
        &self,
        capture_type: CaptureType,
        presence: Option<Span>,
        lasting: impl Fn(Millis) -> Millis,
    ) -> impl Iterator<Item = (Span, Level)> {
        let mut stated = None;
        let successors = self.reports.iter().skip(1).map(Some).chain([None]);
        self.until_next().zip(successors).filter_map(move |((at, next, report), successor)| {
            stated = report.level(capture_type).or(stated);
            let unbroken = successor.is_some_and(|successor| successor.report.unbroken);
            let to = if unbroken { next } else { next.min(lasting(at)) };
            Some((Span::new(at, to)?.intersection(presence?)?, stated?))
        })
    }

    /// Each report with the instant at which it counts and the instant of the next one, or
    /// [`OPEN_END`].
    pub(crate) fn until_next(&self) -> impl Iterator<Item = (Millis, Millis, &'f ReportFact)> {
        let next = self.reports.iter().skip(1).map(|counted| counted.at);
        self.reports
            .iter()
            .zip(next.chain([OPEN_END]))
            .map(|(counted, next)| (counted.at, next, counted.report))
    }
}

/// The end of the liveness that a report at `at` gives. A reporter is still live when its report is
/// exactly `stale` ago.
fn live_until(at: Millis, stale: Millis) -> Millis {
    at.saturating_add(stale).saturating_add(1)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::fact::kinds::{Fact, Witness};

    fn report(id: &str, t: Millis, sequence: i64, recording: Option<Level>) -> Fact {
        let report = ReportFact {
            session: "a".to_owned(),
            reporter: "a1".to_owned(),
            sequence,
            recording,
            transcription: None,
            consent_required: Vec::new(),
            shown: Vec::new(),
            leaving: false,
            witness: Witness::Platform,
            unbroken: false,
        };
        Fact::new(id, t, FactKind::Report(report))
    }

    fn counted_at(facts: &[Fact]) -> Vec<(i64, Millis)> {
        let reporters = Reporter::all(&FactSet::at(facts, 1_000));
        let reports = reporters.iter().flat_map(|reporter| &reporter.reports);
        reports.map(|counted| (counted.report.sequence, counted.at)).collect()
    }

    #[test]
    fn an_overtaken_report_counts_when_the_later_report_arrived() {
        let facts = [
            report("f1", 50, 1, Some(Level::On)),
            report("f2", 90, 2, None),
            report("f3", 70, 3, Some(Level::Off)),
        ];
        assert_eq!(counted_at(&facts), [(1, 50), (2, 70), (3, 70)]);
    }

    #[test]
    fn reports_of_one_sequence_and_time_are_ordered_by_id() {
        let facts = [report("f2", 50, 1, Some(Level::Off)), report("f1", 50, 1, Some(Level::On))];
        let set = FactSet::at(&facts, 1_000);
        let reporters = Reporter::all(&set);
        assert_eq!(reporters[0].last_level(CaptureType::Recording), Some(Level::Off));
    }

    #[test]
    fn a_reporter_is_live_until_its_last_report_is_more_than_stale_ago() {
        let facts = [
            report("f1", 50, 1, None),
            report("f2", 60, 2, Some(Level::On)),
            report("f3", 70, 3, None),
        ];
        let set = FactSet::at(&facts, 1_000);
        let reporters = Reporter::all(&set);
        let live = reporters[0].live(CaptureType::Recording, Span::new(0, OPEN_END), 30);
        // Not before it has stated a level; still live when the report is exactly 30 ms ago.
        assert_eq!(live, Span::new(60, 101).into_iter().collect());
        assert_eq!(reporters[0].live_until(30), Some(101));
        let absent = reporters[0].live(CaptureType::Recording, None, 30);
        assert_eq!(absent, SpanSet::default());
        let without_level =
            reporters[0].live(CaptureType::Transcription, Span::new(0, OPEN_END), 30);
        assert_eq!(without_level, SpanSet::default());
    }
}
