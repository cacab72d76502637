//! Which facts count at an instant: those of the future do not, and one id is one fact.

use std::cmp::Ordering;
use std::collections::BTreeSet;

use super::fact::{Fact, FactKind};
use super::instant::Millis;

/// The facts that count at an instant, one per id, in the order of their ids.
#[derive(Debug)]
pub struct FactSet<'f> {
    facts: Vec<&'f Fact>,
    conflicts: BTreeSet<&'f str>,
    next_at: Option<Millis>,
}

impl<'f> FactSet<'f> {
    /// Sifts `facts`: those later than `now` are dropped; of those with one id and different
    /// contents the one whose canonical JSON sorts first counts.
    pub fn at(facts: impl IntoIterator<Item = &'f Fact>, now: Millis) -> Self {
        let mut next_at: Option<Millis> = None;
        let mut counted = Vec::new();
        for fact in facts {
            if fact.t() > now {
                next_at = Some(next_at.map_or(fact.t(), |t| t.min(fact.t())));
            } else {
                counted.push(fact);
            }
        }
        counted.sort_unstable_by_key(|fact| fact.id());

        let mut conflicts = BTreeSet::new();
        counted.dedup_by(|later, kept| {
            if later.id() != kept.id() {
                return false;
            }
            match kept.compare_contents(later) {
                Ordering::Equal => return true,
                Ordering::Less => {}
                Ordering::Greater => *kept = later,
            }
            conflicts.insert(kept.id());
            true
        });
        Self {
            facts: counted,
            conflicts,
            next_at,
        }
    }

    /// The facts of kinds that the rules know.
    pub fn iter(&self) -> impl Iterator<Item = &'f Fact> {
        self.facts
            .iter()
            .copied()
            .filter(|fact| !matches!(fact.kind(), FactKind::Other { .. }))
    }

    /// The ids under which there were different contents.
    pub fn conflicts(&self) -> impl Iterator<Item = &'f str> {
        self.conflicts.iter().copied()
    }

    /// When the first of the facts that do not count yet will count, in Unix milliseconds.
    #[must_use]
    pub fn next_at(&self) -> Option<Millis> {
        self.next_at
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn started(id: &str, t: Millis) -> Fact {
        Fact::new(id, t, FactKind::CallStarted)
    }

    fn counted(set: &FactSet<'_>) -> Vec<Millis> {
        set.iter().map(Fact::t).collect()
    }

    #[test]
    fn facts_of_the_future_do_not_count_yet() {
        let facts = [started("a", 10), started("b", 11), started("c", 20)];
        let set = FactSet::at(&facts, 10);
        assert_eq!(counted(&set), [10]);
        assert_eq!(set.next_at(), Some(11));
    }

    #[test]
    fn of_three_contents_under_one_id_the_one_that_sorts_first_counts() {
        let facts = [
            started("a", 20),
            started("a", 3),
            started("a", 100),
            started("b", 7),
        ];
        let set = FactSet::at(&facts, 1_000);
        // As text 100 sorts before 20 and 3.
        assert_eq!(counted(&set), [100, 7]);
        assert_eq!(set.conflicts().collect::<Vec<_>>(), ["a"]);
    }

    #[test]
    fn a_contradiction_from_the_future_is_none_yet() {
        let facts = [started("a", 20), started("a", 100)];
        let set = FactSet::at(&facts, 50);
        assert_eq!(counted(&set), [20]);
        assert_eq!(set.conflicts().count(), 0);
    }

    #[test]
    fn a_repeated_fact_is_one_fact() {
        let facts = [started("a", 20), started("b", 7), started("a", 20)];
        let set = FactSet::at(&facts, 50);
        assert_eq!(counted(&set), [20, 7]);
        assert_eq!(set.conflicts().count(), 0);
    }
}
