//! Reporters: clients that report, what they last stated, and for how long they are believed.

use std::collections::BTreeMap;

use super::fact::{CaptureType, FactKind, Level, Report};
use super::fact_set::FactSet;
use super::instant::Millis;
use super::span::{FOR_EVER, Span, SpanSet};

/// A client's attachment with its reports. A reporter belongs to one session; the same name
/// under another session is another reporter.
#[derive(Debug)]
pub struct Reporter<'f> {
    session: &'f str,
    reports: Vec<CountedReport<'f>>,
}

/// A report, and the instant at which it counts.
#[derive(Clone, Copy, Debug)]
pub struct CountedReport<'f> {
    /// In Unix milliseconds: the least `t` of the report and its successors. A report that
    /// was overtaken on its way counts when the overtaker came, because by then the client
    /// had already stated it.
    pub at: Millis,
    /// The fact's.
    pub id: &'f str,
    /// What it says.
    pub report: &'f Report,
}

/// A report with its fact's time and id.
type DatedReport<'f> = (Millis, &'f str, &'f Report);

impl<'f> Reporter<'f> {
    /// All reporters of the set, by session and name.
    #[must_use]
    pub fn all(facts: &FactSet<'f>) -> Vec<Self> {
        let mut by_reporter: BTreeMap<(&str, &str), Vec<DatedReport<'_>>> = BTreeMap::new();
        for fact in facts.iter() {
            if let FactKind::Report(report) = fact.kind() {
                by_reporter
                    .entry((&report.session, &report.reporter))
                    .or_default()
                    .push((fact.t(), fact.id(), report));
            }
        }
        by_reporter
            .into_iter()
            .map(|((session, _), mut reports)| {
                reports.sort_unstable_by_key(|&(t, id, report)| (report.sequence, t, id));
                Self {
                    session,
                    reports: counted(&reports),
                }
            })
            .collect()
    }

    /// The session that it belongs to.
    #[must_use]
    pub fn session(&self) -> &'f str {
        self.session
    }

    /// Its reports in their order, which is also the order of the instants at which they count.
    #[must_use]
    pub fn reports(&self) -> &[CountedReport<'f>] {
        &self.reports
    }

    /// The first instant at which its last report is more than `stale` ago.
    #[must_use]
    pub fn believed_to(&self, stale: Millis) -> Option<Millis> {
        self.reports.last().map(|last| believed_to(last.at, stale))
    }

    /// The last level that it stated of `capture`.
    #[must_use]
    pub fn last_level(&self, capture: CaptureType) -> Option<Level> {
        self.reports
            .iter()
            .rev()
            .find_map(|counted| counted.report.level(capture))
    }

    /// When it is live for `capture`: it has stated a level by then, its session is present,
    /// and its last report by then is at most `stale` ago.
    #[must_use]
    pub fn live(&self, capture: CaptureType, presence: Option<Span>, stale: Millis) -> SpanSet {
        self.live_with_levels(capture, presence, stale)
            .map(|(span, _)| span)
            .collect()
    }

    /// The spans of [`Self::live`], each with the level of `capture` that was last stated.
    pub fn live_with_levels(
        &self,
        capture: CaptureType,
        presence: Option<Span>,
        stale: Millis,
    ) -> impl Iterator<Item = (Span, Level)> {
        self.with_levels(capture, presence, move |at| believed_to(at, stale))
    }

    /// When it observes `capture`: from each report by which it has stated a level to the next, or
    /// for `stale` if that comes later, while its session is present.
    pub fn observing(
        &self,
        capture: CaptureType,
        presence: Option<Span>,
        stale: Millis,
    ) -> impl Iterator<Item = Span> {
        self.with_levels(capture, presence, move |at| at.saturating_add(stale))
            .map(|(span, _)| span)
    }

    /// From each report to the next one, or up to where `lasting` says, with the level last stated.
    fn with_levels(
        &self,
        capture: CaptureType,
        presence: Option<Span>,
        lasting: impl Fn(Millis) -> Millis,
    ) -> impl Iterator<Item = (Span, Level)> {
        let mut stated = None;
        let followers = self.reports.iter().skip(1).map(Some).chain([None]);
        self.until_next()
            .zip(followers)
            .filter_map(move |((at, next, report), follower)| {
                stated = report.level(capture).or(stated);
                let unbroken = follower.is_some_and(|follower| follower.report.unbroken);
                let to = if unbroken {
                    next
                } else {
                    next.min(lasting(at))
                };
                Some((Span::new(at, to)?.intersection(presence?)?, stated?))
            })
    }

    /// Each report with the instant at which it counts and that of the next one, or
    /// [`FOR_EVER`].
    pub fn until_next(&self) -> impl Iterator<Item = (Millis, Millis, &'f Report)> {
        let next = self.reports.iter().skip(1).map(|counted| counted.at);
        self.reports
            .iter()
            .zip(next.chain([FOR_EVER]))
            .map(|(counted, next)| (counted.at, next, counted.report))
    }
}

/// A report is still believed when it is exactly `stale` ago, no longer a millisecond later.
fn believed_to(at: Millis, stale: Millis) -> Millis {
    at.saturating_add(stale).saturating_add(1)
}

/// Reports in order, each with the instant at which it counts.
fn counted<'f>(ordered: &[DatedReport<'f>]) -> Vec<CountedReport<'f>> {
    let mut at = FOR_EVER;
    let mut counted: Vec<CountedReport<'f>> = ordered
        .iter()
        .rev()
        .map(|&(t, id, report)| {
            at = at.min(t);
            CountedReport { at, id, report }
        })
        .collect();
    counted.reverse();
    counted
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::fact::Fact;

    fn report(id: &str, t: Millis, sequence: i64, recording: Option<Level>) -> Fact {
        let report = Report {
            session: "a".to_owned(),
            reporter: "a1".to_owned(),
            sequence,
            recording,
            transcription: None,
            consent_required: Vec::new(),
            shown: Vec::new(),
            leaving: false,
            unbroken: false,
        };
        Fact::new(id, t, FactKind::Report(report))
    }

    fn counted_at(facts: &[Fact]) -> Vec<(i64, Millis)> {
        let reporters = Reporter::all(&FactSet::at(facts, 1_000));
        let reports = reporters.iter().flat_map(Reporter::reports);
        reports
            .map(|counted| (counted.report.sequence, counted.at))
            .collect()
    }

    #[test]
    fn a_report_that_was_overtaken_counts_when_the_overtaker_came() {
        let facts = [
            report("f1", 50, 1, Some(Level::On)),
            report("f2", 90, 2, None),
            report("f3", 70, 3, Some(Level::Off)),
        ];
        assert_eq!(counted_at(&facts), [(1, 50), (2, 70), (3, 70)]);
    }

    #[test]
    fn reports_of_one_sequence_and_time_are_ordered_by_id() {
        let facts = [
            report("f2", 50, 1, Some(Level::Off)),
            report("f1", 50, 1, Some(Level::On)),
        ];
        let set = FactSet::at(&facts, 1_000);
        let reporters = Reporter::all(&set);
        assert_eq!(
            reporters[0].last_level(CaptureType::Recording),
            Some(Level::Off)
        );
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
        let live = reporters[0].live(CaptureType::Recording, Span::new(0, FOR_EVER), 30);
        // Not before it has stated a level; still when the report is exactly 30 ago.
        assert_eq!(live, Span::new(60, 101).into_iter().collect());
        assert_eq!(reporters[0].believed_to(30), Some(101));
        let nobody_there = reporters[0].live(CaptureType::Recording, None, 30);
        assert_eq!(nobody_there, SpanSet::default());
        let silent = reporters[0].live(CaptureType::Transcription, Span::new(0, FOR_EVER), 30);
        assert_eq!(silent, SpanSet::default());
    }
}
