//! The chronicle: facts by the instants that they tell of.
//!
//! Whoever asks what decided that something began or ended asks for an instant. Long calls have
//! many of both, so that nobody should look through all facts for each.

use std::collections::BTreeMap;

use super::fact::{Fact, FactKind};
use super::fact_set::FactSet;
use super::instant::Millis;
use super::reporter::{CountedReport, Reporter};

/// The facts of a call by the instants that they tell of, in Unix milliseconds.
#[derive(Debug, Default)]
pub struct Chronicle<'f> {
    facts: BTreeMap<Millis, Vec<&'f Fact>>,
    reports: BTreeMap<Millis, Vec<(&'f str, CountedReport<'f>)>>,
    joinings: BTreeMap<&'f str, Vec<&'f Fact>>,
}

impl<'f> Chronicle<'f> {
    /// Of these facts.
    #[must_use]
    pub fn of(facts: &FactSet<'f>, reporters: &[Reporter<'f>]) -> Self {
        let mut chronicle = Self::default();
        for fact in facts.iter() {
            let mut told = vec![fact.t()];
            match fact.kind() {
                FactKind::ProviderState(statement) => told.extend(statement.start),
                FactKind::File(file) => told.extend([file.start, file.end()]),
                FactKind::SessionJoined { session, .. } => {
                    chronicle.joinings.entry(session).or_default().push(fact);
                }
                _ => {}
            }
            told.sort_unstable();
            told.dedup();
            for t in told {
                chronicle.facts.entry(t).or_default().push(fact);
            }
        }
        for reporter in reporters {
            for &counted in reporter.reports() {
                let reports = chronicle.reports.entry(counted.at).or_default();
                reports.push((reporter.session(), counted));
            }
        }
        chronicle
    }

    /// Those that happened at an instant, or say of something that it began or ended then.
    pub fn at(&self, t: Millis) -> impl Iterator<Item = &'f Fact> {
        self.facts.get(&t).into_iter().flatten().copied()
    }

    /// The reports that count at an instant, each with its session.
    pub fn reports_at(&self, t: Millis) -> impl Iterator<Item = (&'f str, CountedReport<'f>)> {
        self.reports.get(&t).into_iter().flatten().copied()
    }

    /// All that say that a session joined.
    pub fn joinings(&self, session: &str) -> impl Iterator<Item = &'f Fact> {
        self.joinings.get(session).into_iter().flatten().copied()
    }
}
