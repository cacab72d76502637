//! Tellings: what the facts say of how one session was told of one type of capture.

use std::collections::BTreeMap;

use super::consent::Consents;
use super::fact::{CaptureType, FactKind, Level, NoticeFact, NoticeStep};
use super::fact_set::FactSet;
use super::instant::Millis;
use super::reporter::{CountedReport, Reporter};

/// What is known of how one session was told of one type, each list in the order of time.
#[derive(Debug, Default)]
pub struct Telling<'f> {
    /// Notices of on that were handed to a transport.
    pub dispatched: Steps<'f>,
    /// Notices of on that the client's machine took.
    pub delivered: Steps<'f>,
    /// Notices of on that came on the screen.
    pub displayed: Steps<'f>,
    /// Notices of on that the participant confirmed.
    pub acknowledged: Steps<'f>,
    /// Everything that says that a notice of on is on the screen.
    pub statements: Vec<OnScreen<'f>>,
    /// When a notice of on was no longer on the screen: hidden, or replaced by one of another
    /// level. In order of time.
    pub gone: Vec<Millis>,
    /// Whether the participant agrees.
    pub consents: Consents,
}

/// A client's statement that a notice of on is on the screen.
#[derive(Clone, Copy, Debug)]
pub struct OnScreen<'f> {
    /// It is there at the latest then; this is also when the statement counts.
    pub at: Millis,
    /// It is there at the earliest then, by the client's own stopwatch.
    pub since: Millis,
    /// The fact's.
    pub id: &'f str,
}

/// All tellings of a call, by session and type.
#[derive(Debug, Default)]
pub struct Tellings<'f>(BTreeMap<(&'f str, CaptureType), Telling<'f>>);

impl<'f> Tellings<'f> {
    /// What the facts say of all sessions.
    #[must_use]
    pub fn of(facts: &FactSet<'f>, reporters: &[Reporter<'f>]) -> Self {
        let mut tellings = Self::default();
        for fact in facts.iter() {
            match fact.kind() {
                FactKind::Notice(notice) => tellings.entry(&notice.session, notice.capture).step(
                    fact.t(),
                    fact.id(),
                    notice,
                ),
                FactKind::Consent {
                    decision,
                    session,
                    capture,
                } => tellings
                    .entry(session, *capture)
                    .consents
                    .answered(fact.t(), *decision),
                _ => {}
            }
        }
        for reporter in reporters {
            for counted in reporter.reports() {
                tellings.report(reporter.session(), counted);
            }
        }
        for telling in tellings.0.values_mut() {
            telling.arrange();
        }
        tellings
    }

    /// What is known of one session and type, if anything.
    #[must_use]
    pub fn get<'t>(&'t self, session: &'t str, capture: CaptureType) -> Option<&'t Telling<'f>> {
        self.0.get(&(session, capture))
    }

    fn entry(&mut self, session: &'f str, capture: CaptureType) -> &mut Telling<'f> {
        self.0.entry((session, capture)).or_default()
    }

    fn report(&mut self, session: &'f str, counted: &CountedReport<'f>) {
        for &capture in &counted.report.consent_required {
            self.entry(session, capture).consents.required();
        }
        for shown in &counted.report.shown {
            self.entry(session, shown.capture).screen(
                shown.state,
                counted.at,
                shown.elapsed,
                counted.id,
            );
        }
    }
}

impl<'f> Telling<'f> {
    fn step(&mut self, t: Millis, id: &'f str, notice: &NoticeFact) {
        let on = notice.state == Level::On;
        let steps = match notice.step {
            NoticeStep::Dispatched => &mut self.dispatched,
            NoticeStep::Delivered => &mut self.delivered,
            NoticeStep::Displayed => &mut self.displayed,
            NoticeStep::Acknowledged => &mut self.acknowledged,
            NoticeStep::Hidden => {
                self.gone.push(t);
                return;
            }
        };
        if on {
            steps.0.push(Step { t, id });
        }
        if matches!(
            notice.step,
            NoticeStep::Displayed | NoticeStep::Acknowledged
        ) {
            self.screen(notice.state, t, notice.elapsed, id);
        }
    }

    fn screen(&mut self, state: Level, at: Millis, elapsed: Option<u64>, id: &'f str) {
        match state {
            Level::On => self.statements.push(OnScreen {
                at,
                since: at.saturating_sub_unsigned(elapsed.unwrap_or(0)),
                id,
            }),
            Level::Paused | Level::Off => self.gone.push(at),
        }
    }

    fn arrange(&mut self) {
        let lists = [
            &mut self.dispatched,
            &mut self.delivered,
            &mut self.displayed,
            &mut self.acknowledged,
        ];
        for steps in lists {
            steps.0.sort_unstable();
        }
        self.gone.sort_unstable();
    }
}

/// A notice's step, and its fact.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Step<'f> {
    /// When, in Unix milliseconds.
    pub t: Millis,
    /// The fact's.
    pub id: &'f str,
}

/// Steps of one kind, in the order of time.
#[derive(Debug, Default)]
pub struct Steps<'f>(Vec<Step<'f>>);

impl<'f> Steps<'f> {
    /// The first one after `after` (None: ever) and not after `to`.
    #[must_use]
    pub fn first_within(&self, after: Option<Millis>, to: Millis) -> Option<Step<'f>> {
        let first = self.not_after(after);
        self.0.get(first).copied().filter(|step| step.t <= to)
    }

    /// How many come after `after` and before `before` (None: whenever).
    #[must_use]
    pub fn count_between(&self, after: Millis, before: Option<Millis>) -> usize {
        let before = match before {
            Some(before) => self.0.partition_point(|step| step.t < before),
            None => self.0.len(),
        };
        before.saturating_sub(self.not_after(Some(after)))
    }

    fn not_after(&self, t: Option<Millis>) -> usize {
        t.map_or(0, |t| self.0.partition_point(|step| step.t <= t))
    }
}
