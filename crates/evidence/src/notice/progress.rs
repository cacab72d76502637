//! The progress of the notices of one session and type: dispatched, delivered, displayed,
//! acknowledged, removed (`docs/evidence-rules.md`, sections 4 and 5).

use std::collections::BTreeMap;

use super::consent::Consents;
use crate::capture::reporter::{CountedReport, Reporter};
use crate::event::instant::Millis;
use crate::fact::fact_set::FactSet;
use crate::fact::kinds::{CaptureType, FactKind, Level, NoticeFactKind, NoticeStep};

/// The facts about the notices of one session and type, each list in the order of time.
#[derive(Debug, Default)]
pub(crate) struct NoticeProgress<'f> {
    /// Notices of on that were handed to a transport.
    pub(crate) dispatched: ProgressSteps<'f>,
    /// Notices of on that the client's machine received.
    pub(crate) delivered: ProgressSteps<'f>,
    /// Notices of on that were displayed.
    pub(crate) displayed: ProgressSteps<'f>,
    /// Notices of on that the participant confirmed.
    pub(crate) acknowledged: ProgressSteps<'f>,
    /// The statements that a notice of on is on the screen, in no order.
    pub(crate) statements: Vec<ScreenStatement<'f>>,
    /// The instants (Unix milliseconds) at which a notice of on was hidden, or replaced by one of
    /// another level.
    pub(crate) removed_at: Vec<Millis>,
    /// The answers of the participant.
    pub(crate) consents: Consents,
}

/// A statement of a client that a notice of on is on the screen.
#[derive(Clone, Copy, Debug)]
pub(crate) struct ScreenStatement<'f> {
    /// The latest instant from which it is there (Unix milliseconds): when the statement counts.
    pub(crate) at: Millis,
    /// The earliest instant from which it is there (Unix milliseconds), by the client's stopwatch.
    pub(crate) since: Millis,
    /// The id of the fact.
    pub(crate) id: &'f str,
}

/// The progress of the notices of a call, by session and type.
#[derive(Debug, Default)]
pub(crate) struct NoticeProgressMap<'f> {
    by_session: BTreeMap<(&'f str, CaptureType), NoticeProgress<'f>>,
    /// The progress of all others.
    none: NoticeProgress<'f>,
}

impl<'f> NoticeProgressMap<'f> {
    /// Collects the progress of all sessions.
    pub(crate) fn of(facts: &FactSet<'f>, reporters: &[Reporter<'f>]) -> Self {
        let mut all = Self::default();
        for fact in facts.iter() {
            match fact.kind() {
                FactKind::Notice(notice) => all
                    .entry(&notice.session, notice.capture_type)
                    .record_step(fact.at(), fact.id(), notice),
                FactKind::Consent(consent) => all
                    .entry(&consent.session, consent.capture_type)
                    .consents
                    .record_answer(fact.at(), consent.decision),
                _ => {}
            }
        }
        for reporter in reporters {
            for counted in &reporter.reports {
                all.report(reporter.session, counted);
            }
        }
        for progress in all.by_session.values_mut() {
            progress.sort();
        }
        all
    }

    /// The progress of one session and type.
    pub(crate) fn get<'t>(
        &'t self,
        session: &'t str,
        capture_type: CaptureType,
    ) -> &'t NoticeProgress<'f> {
        self.by_session.get(&(session, capture_type)).unwrap_or(&self.none)
    }

    fn entry(&mut self, session: &'f str, capture_type: CaptureType) -> &mut NoticeProgress<'f> {
        self.by_session.entry((session, capture_type)).or_default()
    }

    fn report(&mut self, session: &'f str, counted: &CountedReport<'f>) {
        for &capture_type in &counted.report.consent_required {
            self.entry(session, capture_type).consents.record_required();
        }
        for shown in &counted.report.shown {
            self.entry(session, shown.capture_type).record_screen(
                shown.state,
                counted.at,
                shown.elapsed_ms,
                counted.id,
            );
        }
    }
}

impl<'f> NoticeProgress<'f> {
    fn record_step(&mut self, at: Millis, id: &'f str, notice: &NoticeFactKind) {
        let steps = match notice.step {
            NoticeStep::Dispatched => &mut self.dispatched,
            NoticeStep::Delivered => &mut self.delivered,
            NoticeStep::Displayed => &mut self.displayed,
            NoticeStep::Acknowledged => &mut self.acknowledged,
            NoticeStep::Hidden => {
                self.removed_at.push(at);
                return;
            }
        };
        if notice.state == Level::On {
            steps.0.push(ProgressStep { at, id });
        }
        if matches!(notice.step, NoticeStep::Displayed | NoticeStep::Acknowledged) {
            self.record_screen(notice.state, at, notice.elapsed_ms, id);
        }
    }

    fn record_screen(&mut self, state: Level, at: Millis, elapsed: Option<u64>, id: &'f str) {
        match state {
            Level::On => self.statements.push(ScreenStatement {
                at,
                since: at.saturating_sub_unsigned(elapsed.unwrap_or(0)),
                id,
            }),
            Level::Paused | Level::Off => self.removed_at.push(at),
        }
    }

    fn sort(&mut self) {
        self.dispatched.0.sort_unstable();
        self.delivered.0.sort_unstable();
        self.displayed.0.sort_unstable();
        self.acknowledged.0.sort_unstable();
        self.removed_at.sort_unstable();
    }
}

/// A step of a notice, with its fact.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct ProgressStep<'f> {
    /// Its instant (Unix milliseconds).
    pub(crate) at: Millis,
    /// The id of the fact.
    pub(crate) id: &'f str,
}

/// The steps of one kind, in the order of time.
#[derive(Debug, Default)]
pub(crate) struct ProgressSteps<'f>(Vec<ProgressStep<'f>>);

impl<'f> ProgressSteps<'f> {
    /// The first step after `after` (None: no lower bound) and not after `to`, in Unix milliseconds.
    pub(crate) fn first_within(
        &self,
        after: Option<Millis>,
        to: Millis,
    ) -> Option<ProgressStep<'f>> {
        let first = self.not_after(after);
        self.0.get(first).copied().filter(|step| step.at <= to)
    }

    /// The number of steps after `after` and before `before` (None: no upper bound), in Unix
    /// milliseconds.
    pub(crate) fn count_between(&self, after: Millis, before: Option<Millis>) -> usize {
        let before = before.unwrap_or(Millis::MAX);
        let end = self.0.partition_point(|step| step.at < before);
        end.saturating_sub(self.not_after(Some(after)))
    }

    fn not_after(&self, instant: Option<Millis>) -> usize {
        instant.map_or(0, |instant| self.0.partition_point(|step| step.at <= instant))
    }
}
