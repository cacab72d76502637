//! An index of the facts of a call by instant.
//!
//! # Why
//!
//! An explanation names the facts that decided when something started or ended. Long calls have
//! many captures and many facts, so it looks them up instead of reading all facts for each.

use std::collections::BTreeMap;

use crate::capture::reporter::{CountedReport, Reporter};
use crate::event::instant::Millis;
use crate::fact::fact_set::FactSet;
use crate::fact::kinds::{Fact, FactKind};

/// The facts of a call by the instants that they state, in Unix milliseconds.
#[derive(Debug, Default)]
pub(crate) struct FactIndex<'f> {
    facts: BTreeMap<Millis, Vec<&'f Fact>>,
    reports: BTreeMap<Millis, Vec<(&'f str, CountedReport<'f>)>>,
    joins: BTreeMap<&'f str, Vec<&'f Fact>>,
}

impl<'f> FactIndex<'f> {
    /// Indexes these facts and reports.
    pub(crate) fn of(facts: &FactSet<'f>, reporters: &[Reporter<'f>]) -> Self {
        let mut index = Self::default();
        for fact in facts.iter() {
            let mut instants = vec![fact.at()];
            match fact.kind() {
                FactKind::ProviderState(statement) => instants.extend(statement.started_at),
                FactKind::File(file) => instants.extend([file.started_at, file.end()]),
                FactKind::SessionJoined { session, .. } => {
                    index.joins.entry(session).or_default().push(fact);
                }
                _ => {}
            }
            instants.sort_unstable();
            instants.dedup();
            for instant in instants {
                index.facts.entry(instant).or_default().push(fact);
            }
        }
        for reporter in reporters {
            for &counted in &reporter.reports {
                let reports = index.reports.entry(counted.at).or_default();
                reports.push((reporter.session, counted));
            }
        }
        index
    }

    /// The facts of an instant, and those that state that something started or ended at it.
    pub(crate) fn at(&self, instant: Millis) -> impl Iterator<Item = &'f Fact> {
        self.facts.get(&instant).into_iter().flatten().copied()
    }

    /// The reports that count at an instant, each with the session of its reporter.
    pub(crate) fn reports_at(
        &self,
        instant: Millis,
    ) -> impl Iterator<Item = (&'f str, CountedReport<'f>)> {
        self.reports.get(&instant).into_iter().flatten().copied()
    }

    /// The facts that state that a session joined.
    pub(crate) fn joins(&self, session: &str) -> impl Iterator<Item = &'f Fact> {
        self.joins.get(session).into_iter().flatten().copied()
    }
}
