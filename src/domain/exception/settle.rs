//! What is known of exceptions, compared with what is called for now.
//!
//! # Why
//!
//! *A matter that moves stays one.* When a file shows that a recording began earlier, everybody's
//! obligation is due earlier: the same exceptions, changed, not old ones closed and new ones
//! opened. So what has the same kind and subject is matched by its instant first, and what is left
//! of it in the order of time. What was closed by itself and comes back at its old instant is its
//! own next chapter; at another instant it is another matter.
//!
//! *Whoever closed one by hand has decided.* It stays closed as long as the matter is what they saw,
//! and is opened again if it becomes another one.

use std::collections::BTreeMap;

use serde_json::{Map, Value};
use uuid::Uuid;

use super::{Called, ExceptionKind};
use crate::domain::instant::Millis;

/// How it stands with an exception.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Standing {
    /// Somebody must look at it.
    Open,
    /// Somebody closed it, and it is still called for.
    ClosedByHand,
    /// It is called for no more.
    Cured,
}

/// An exception as it is known.
#[derive(Clone, Debug, PartialEq)]
pub struct Known {
    pub id: Uuid,
    pub kind: ExceptionKind,
    pub subject: String,
    pub at: Option<Millis>,
    pub facts: Map<String, Value>,
    pub standing: Standing,
}

/// One thing that becomes of an exception.
#[derive(Clone, Debug, PartialEq)]
pub enum Step<'a> {
    /// There is a new one.
    Open(&'a Called),
    /// It is open, and its matter has moved.
    Change(&'a Known, &'a Called),
    /// It was closed, and is called for again, or as another matter than the one that was closed.
    Reopen(&'a Known, &'a Called),
    /// It was open, and is called for no more.
    Close(&'a Known),
    /// It was closed by hand, and is called for no more.
    Cure(&'a Known),
}

/// What becomes of the exceptions of one call (or of whatever `known` is all of), so that those that
/// stand are those that are called for. Blind to order and repetition; a second time it has nothing
/// to do.
#[must_use]
pub fn settle<'a>(known: &'a [Known], called: &'a [Called]) -> Vec<Step<'a>> {
    let mut groups: BTreeMap<(ExceptionKind, &str), Group<'a>> = BTreeMap::new();
    for one in known {
        let group = groups.entry((one.kind, &one.subject)).or_default();
        group.known.push(one);
    }
    for one in called {
        let group = groups.entry((one.kind, &one.subject)).or_default();
        group.called.push(one);
    }
    groups.into_values().flat_map(Group::settle).collect()
}

/// What has one kind and subject.
#[derive(Default)]
struct Group<'a> {
    known: Vec<&'a Known>,
    called: Vec<&'a Called>,
}

impl<'a> Group<'a> {
    fn settle(mut self) -> Vec<Step<'a>> {
        self.known
            .sort_unstable_by_key(|one| (one.at, one.standing, one.id));
        // Of two that are called for at one instant, the one whose text sorts first.
        self.called
            .sort_by_cached_key(|one| (one.at, Value::Object(one.facts.clone()).to_string()));
        self.called.dedup_by_key(|one| one.at);
        let mut steps = Vec::new();
        self.match_those_at_one_instant(&mut steps);
        // In order of time: what is neither open nor closed by hand is another matter's past.
        let mut moved = self.called.into_iter();
        for one in self.known {
            match (one.standing, moved.as_slice().first()) {
                (Standing::Cured, _) => {}
                (Standing::Open, Some(to)) => {
                    steps.push(Step::Change(one, to));
                    moved.next();
                }
                (Standing::ClosedByHand, Some(to)) => {
                    steps.push(Step::Reopen(one, to));
                    moved.next();
                }
                (Standing::Open, None) => steps.push(Step::Close(one)),
                (Standing::ClosedByHand, None) => steps.push(Step::Cure(one)),
            }
        }
        steps.extend(moved.map(Step::Open));
        steps
    }

    fn match_those_at_one_instant(&mut self, steps: &mut Vec<Step<'a>>) {
        self.called.retain(|called| {
            let Some(found) = self.known.iter().position(|known| known.at == called.at) else {
                return true;
            };
            let known = self.known.remove(found);
            let is_what_it_was = known.facts == called.facts;
            match known.standing {
                Standing::Open if is_what_it_was => {}
                Standing::Open => steps.push(Step::Change(known, called)),
                Standing::ClosedByHand if is_what_it_was => {}
                Standing::ClosedByHand | Standing::Cured => {
                    steps.push(Step::Reopen(known, called));
                }
            }
            false
        });
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use serde_json::json;

    use super::*;

    fn called(subject: &str, at: Millis, told: i64) -> Called {
        Called {
            kind: ExceptionKind::Late,
            subject: subject.to_owned(),
            at: Some(at),
            facts: json!({ "due": at, "told": told })
                .as_object()
                .unwrap()
                .clone(),
        }
    }

    fn known(id: u128, of: &Called, standing: Standing) -> Known {
        Known {
            id: Uuid::from_u128(id),
            kind: of.kind,
            subject: of.subject.clone(),
            at: of.at,
            facts: of.facts.clone(),
            standing,
        }
    }

    /// What the store makes of the steps.
    fn apply(known: &[Known], steps: &[Step<'_>]) -> Vec<Known> {
        let mut after = known.to_vec();
        let mut next = 1_000;
        for step in steps {
            let (id, becomes) = match step {
                Step::Open(one) => {
                    next += 1;
                    after.push(self::known(next, one, Standing::Open));
                    continue;
                }
                Step::Change(known, called) | Step::Reopen(known, called) => (
                    known.id,
                    self::known(known.id.as_u128(), called, Standing::Open),
                ),
                Step::Close(known) | Step::Cure(known) => {
                    let cured = Known {
                        standing: Standing::Cured,
                        ..(*known).clone()
                    };
                    (known.id, cured)
                }
            };
            let place = after.iter().position(|one| one.id == id).unwrap();
            after[place] = becomes;
        }
        after
    }

    #[test]
    fn a_late_fact_closes_and_what_comes_back_is_the_same_story() {
        let late = called("a", 100, 9_000);
        let open = [known(1, &late, Standing::Open)];
        assert_eq!(settle(&open, &[]), [Step::Close(&open[0])]);
        let closed = [known(1, &late, Standing::Cured)];
        assert_eq!(settle(&closed, &[]), []);
        assert_eq!(
            settle(&closed, std::slice::from_ref(&late)),
            [Step::Reopen(&closed[0], &late)]
        );
        // Of another capture of the same session it is another story.
        let other = called("a", 5_000, 9_000);
        assert_eq!(
            settle(&closed, std::slice::from_ref(&other)),
            [Step::Open(&other)]
        );
    }

    #[test]
    fn an_earlier_start_changes_what_is_open_and_opens_nothing() {
        let before = [called("a", 100, 9_000), called("a", 50_000, 60_000)];
        let open = [
            known(1, &before[1], Standing::Open),
            known(2, &before[0], Standing::Open),
        ];
        let after = [called("a", 50_000, 60_000), called("a", 40, 9_000)];
        assert_eq!(settle(&open, &after), [Step::Change(&open[1], &after[1])]);
    }

    #[test]
    fn what_was_closed_by_hand_stays_so_until_it_is_another_matter() {
        let late = called("a", 100, 9_000);
        let closed = [known(1, &late, Standing::ClosedByHand)];
        assert_eq!(settle(&closed, std::slice::from_ref(&late)), []);
        let worse = called("a", 100, 12_000);
        assert_eq!(
            settle(&closed, std::slice::from_ref(&worse)),
            [Step::Reopen(&closed[0], &worse)]
        );
        assert_eq!(settle(&closed, &[]), [Step::Cure(&closed[0])]);
    }

    fn some_called() -> impl Strategy<Value = Vec<Called>> {
        let one = (0..3_u8, 0..6_i64, 0..3_i64)
            .prop_map(|(subject, at, told)| called(&subject.to_string(), at, told));
        proptest::collection::vec(one, 0..8)
    }

    fn some_known() -> impl Strategy<Value = Vec<Known>> {
        let standing = prop_oneof![
            Just(Standing::Open),
            Just(Standing::ClosedByHand),
            Just(Standing::Cured),
        ];
        let one = (0..3_u8, 0..6_i64, 0..3_i64, standing);
        proptest::collection::vec(one, 0..8).prop_map(|all| {
            let all = all.into_iter().zip(1..);
            all.map(|((subject, at, told, standing), id)| {
                known(id, &called(&subject.to_string(), at, told), standing)
            })
            .collect()
        })
    }

    fn standing(known: &[Known]) -> Vec<(String, Option<Millis>)> {
        let mut standing: Vec<_> = known
            .iter()
            .filter(|one| one.standing != Standing::Cured)
            .map(|one| (one.subject.clone(), one.at))
            .collect();
        standing.sort();
        standing
    }

    proptest! {
        #[test]
        fn what_stands_is_what_is_called_for_and_a_second_look_changes_nothing(
            known in some_known(),
            called in some_called(),
        ) {
            let after = apply(&known, &settle(&known, &called));
            let mut wanted: Vec<_> = called
                .iter()
                .map(|one| (one.subject.clone(), one.at))
                .collect();
            wanted.sort();
            wanted.dedup();
            prop_assert_eq!(standing(&after), wanted);
            prop_assert_eq!(settle(&after, &called), vec![]);
        }

        #[test]
        fn the_order_of_what_is_known_and_called_for_does_not_matter(
            known in some_known().prop_flat_map(|all| (Just(all.clone()), Just(all).prop_shuffle())),
            called in some_called().prop_flat_map(|all| (Just(all.clone()), Just(all).prop_shuffle())),
        ) {
            let one = settle(&known.0, &called.0);
            let other = settle(&known.1, &called.1);
            prop_assert_eq!(format!("{one:?}"), format!("{other:?}"));
        }

        #[test]
        fn no_story_is_closed_and_opened_where_it_can_go_on(
            known in some_known(),
            called in some_called(),
        ) {
            let steps = settle(&known, &called);
            for step in &steps {
                if let Step::Close(closed) | Step::Cure(closed) = step {
                    let opens = steps.iter().any(|step| {
                        matches!(step, Step::Open(one) if one.subject == closed.subject)
                    });
                    prop_assert!(!opens, "{steps:?}");
                }
            }
        }
    }
}
