//! The facts that count at an instant: later facts do not count yet, and one id is one fact
//! (`docs/evidence-rules.md`, section 1).

use std::cmp::Ordering;
use std::collections::BTreeSet;

use super::kinds::{Fact, FactKind};
use crate::event::instant::Millis;

/// The facts that count at an instant, one for each id, in the order of their ids.
#[derive(Debug)]
pub(crate) struct FactSet<'f> {
    facts: Vec<&'f Fact>,
    /// The ids that had facts with different contents.
    pub(crate) conflicts: BTreeSet<&'f str>,
    /// The instant of the earliest fact that does not count yet, in Unix milliseconds.
    pub(crate) next_at: Option<Millis>,
}

impl<'f> FactSet<'f> {
    /// Selects the facts that count at `now` (Unix milliseconds): facts later than `now` do not count;
    /// of facts with one id and different contents, the one whose canonical JSON sorts first counts.
    pub(crate) fn at(facts: impl IntoIterator<Item = &'f Fact>, now: Millis) -> Self {
        let (mut counted, later): (Vec<&Fact>, Vec<&Fact>) =
            facts.into_iter().partition(|fact| fact.at() <= now);
        let next_at = later.into_iter().map(Fact::at).min();
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
        Self { facts: counted, conflicts, next_at }
    }

    /// The facts that count, without those of unknown kinds.
    pub(crate) fn iter(&self) -> impl Iterator<Item = &'f Fact> {
        self.facts.iter().copied().filter(|fact| !matches!(fact.kind(), FactKind::Other { .. }))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn started(id: &str, at: Millis) -> Fact {
        Fact::new(id, at, FactKind::CallStarted)
    }

    fn counted(set: &FactSet<'_>) -> Vec<Millis> {
        set.iter().map(Fact::at).collect()
    }

    #[test]
    fn later_facts_do_not_count_yet() {
        let facts = [started("a", 10), started("b", 11), started("c", 20)];
        let set = FactSet::at(&facts, 10);
        assert_eq!(counted(&set), [10]);
        assert_eq!(set.next_at, Some(11));
    }

    #[test]
    fn of_three_contents_under_one_id_the_one_that_sorts_first_counts() {
        let facts = [started("a", 20), started("a", 3), started("a", 100), started("b", 7)];
        let set = FactSet::at(&facts, 1_000);
        // As text 100 sorts before 20 and 3.
        assert_eq!(counted(&set), [100, 7]);
        assert_eq!(set.conflicts, BTreeSet::from(["a"]));
    }

    #[test]
    fn a_later_fact_with_different_contents_is_not_a_conflict_yet() {
        let facts = [started("a", 20), started("a", 100)];
        let set = FactSet::at(&facts, 50);
        assert_eq!(counted(&set), [20]);
        assert_eq!(set.conflicts.len(), 0);
    }

    #[test]
    fn a_repeated_fact_is_one_fact() {
        let facts = [started("a", 20), started("b", 7), started("a", 20)];
        let set = FactSet::at(&facts, 50);
        assert_eq!(counted(&set), [20, 7]);
        assert_eq!(set.conflicts.len(), 0);
    }
}
