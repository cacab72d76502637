//! Compares the exceptions that exist with those that are expected now.
//!
//! # Why
//!
//! *A cause that moves stays one exception.* When a file shows that a recording began earlier, all
//! obligations are due earlier: the same exceptions change, and none is closed and opened anew. So
//! exceptions of one kind and subject are matched by their instant first, and the rest in the order
//! of time. A resolved exception that is expected again at its old instant is reopened; at another
//! instant it is a new exception.
//!
//! *A decision of an auditor holds.* An exception that an auditor closed stays closed as long as its
//! facts are those that the auditor saw, and is reopened if they change.

use std::collections::BTreeMap;

use serde_json::Value;
use uuid::Uuid;

use super::description::rest_on_same_facts;
use super::{ExceptionKind, ExpectedException};

/// The state of an exception.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum ExceptionState {
    /// It needs a review.
    Open,
    /// An auditor closed it, and it is still expected.
    ClosedByHand,
    /// It is not expected any more.
    Resolved,
}

/// An exception that exists.
#[derive(Clone, Debug, PartialEq)]
pub struct ExistingException {
    /// Its id. It never changes.
    pub id: Uuid,
    /// Its state.
    pub state: ExceptionState,
    /// The expected exception at its last change.
    pub content: ExpectedException,
}

/// How an exception changes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ExceptionChange {
    /// It is new.
    Opened,
    /// It is open, and its facts changed.
    Changed,
    /// Its facts are the same, and what describes them changed.
    Described,
    /// It was closed, and is expected again or with other facts.
    Reopened,
    /// It was open, and is not expected any more.
    Closed,
    /// An auditor closed it, and it is not expected any more.
    Resolved,
}

/// One change of one exception.
#[derive(Clone, Debug, PartialEq)]
pub struct ReconcileStep<'a> {
    /// How it changes.
    pub change: ExceptionChange,
    /// The exception that changes. None: it is opened.
    pub existing: Option<&'a ExistingException>,
    /// Its content afterwards.
    pub content: &'a ExpectedException,
}

impl ReconcileStep<'_> {
    /// Whether the exception is expected afterwards.
    #[must_use]
    pub fn is_expected(&self) -> bool {
        !matches!(self.change, ExceptionChange::Closed | ExceptionChange::Resolved)
    }
}

/// The changes after which exactly the `expected` exceptions are open or closed by hand. `existing`
/// are all exceptions of one call, or of another common scope. Neither order nor repetition matters,
/// and a second call with the result returns no change.
#[must_use]
pub fn reconcile<'a>(
    existing: &'a [ExistingException],
    expected: &'a [ExpectedException],
) -> Vec<ReconcileStep<'a>> {
    let mut groups: BTreeMap<(ExceptionKind, &str), Group<'a>> = BTreeMap::new();
    for one in existing {
        let key = (one.content.kind, one.content.subject.as_str());
        groups.entry(key).or_default().existing.push(one);
    }
    for one in expected {
        let key = (one.kind, one.subject.as_str());
        groups.entry(key).or_default().expected.push(one);
    }
    groups.into_values().flat_map(Group::reconcile).collect()
}

/// The exceptions of one kind and subject.
#[derive(Default)]
struct Group<'a> {
    existing: Vec<&'a ExistingException>,
    expected: Vec<&'a ExpectedException>,
}

impl<'a> Group<'a> {
    fn reconcile(mut self) -> Vec<ReconcileStep<'a>> {
        self.existing.sort_unstable_by_key(|one| (one.content.at, one.state, one.id));
        // Of two that are expected at one instant, the one whose text sorts first.
        self.expected
            .sort_by_cached_key(|one| (one.at, Value::Object(one.facts.clone()).to_string()));
        self.expected.dedup_by_key(|one| one.at);
        let mut steps = self.match_by_instant();
        // The rest in the order of time. A resolved one is not moved: it belongs to the past.
        let mut moved = self.expected.into_iter();
        for one in self.existing {
            let (if_expected, if_not) = match one.state {
                ExceptionState::Resolved => continue,
                ExceptionState::Open => (ExceptionChange::Changed, ExceptionChange::Closed),
                ExceptionState::ClosedByHand => {
                    (ExceptionChange::Reopened, ExceptionChange::Resolved)
                }
            };
            let expected = moved.next();
            steps.push(ReconcileStep {
                change: expected.map_or(if_not, |_| if_expected),
                existing: Some(one),
                content: expected.unwrap_or(&one.content),
            });
        }
        steps.extend(moved.map(|expected| ReconcileStep {
            change: ExceptionChange::Opened,
            existing: None,
            content: expected,
        }));
        steps
    }

    /// Matches and removes those that are expected at the instant of an existing one.
    fn match_by_instant(&mut self) -> Vec<ReconcileStep<'a>> {
        let mut steps = Vec::new();
        self.expected.retain(|expected| {
            let mut existing = self.existing.iter();
            let Some(found) = existing.position(|one| one.content.at == expected.at) else {
                return true;
            };
            let existing = self.existing.remove(found);
            let is_same = rest_on_same_facts(&existing.content.facts, &expected.facts);
            let change = match existing.state {
                ExceptionState::Resolved => ExceptionChange::Reopened,
                ExceptionState::Open | ExceptionState::ClosedByHand if is_same => {
                    if existing.content.facts == expected.facts {
                        return false;
                    }
                    ExceptionChange::Described
                }
                ExceptionState::Open => ExceptionChange::Changed,
                ExceptionState::ClosedByHand => ExceptionChange::Reopened,
            };
            steps.push(ReconcileStep { change, existing: Some(existing), content: expected });
            false
        });
        steps
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use serde_json::json;

    use super::*;
    use crate::event::instant::Millis;

    fn expected(subject: &str, at: Millis, shown: i64) -> ExpectedException {
        let facts = json!({ "due_at": at, "shown_at": shown });
        ExpectedException {
            kind: ExceptionKind::Late,
            subject: subject.to_owned(),
            at: Some(at),
            facts: facts.as_object().unwrap().clone(),
        }
    }

    fn existing(id: u128, of: &ExpectedException, state: ExceptionState) -> ExistingException {
        ExistingException { id: Uuid::from_u128(id), state, content: of.clone() }
    }

    fn step<'a>(
        change: ExceptionChange,
        existing: &'a ExistingException,
        expected: Option<&'a ExpectedException>,
    ) -> ReconcileStep<'a> {
        ReconcileStep {
            change,
            existing: Some(existing),
            content: expected.unwrap_or(&existing.content),
        }
    }

    /// The exceptions in the store after the steps.
    fn apply(before: &[ExistingException], steps: &[ReconcileStep<'_>]) -> Vec<ExistingException> {
        let mut after = before.to_vec();
        let mut next = 1_000;
        for step in steps {
            let state =
                if step.is_expected() { ExceptionState::Open } else { ExceptionState::Resolved };
            match step.existing {
                None => {
                    next += 1;
                    after.push(existing(next, step.content, state));
                }
                Some(one) => {
                    let place = after.iter().position(|it| it.id == one.id).unwrap();
                    after[place] = existing(one.id.as_u128(), step.content, state);
                }
            }
        }
        after
    }

    #[test]
    fn a_late_fact_closes_an_exception_and_another_one_reopens_it() {
        let late = [expected("a", 100, 9_000)];
        let open = [existing(1, &late[0], ExceptionState::Open)];
        assert_eq!(reconcile(&open, &[]), [step(ExceptionChange::Closed, &open[0], None)]);
        let closed = [existing(1, &late[0], ExceptionState::Resolved)];
        assert_eq!(reconcile(&closed, &[]), []);
        assert_eq!(
            reconcile(&closed, &late),
            [step(ExceptionChange::Reopened, &closed[0], Some(&late[0]))]
        );
        // For another capture of the same session it is another exception.
        let other = [expected("a", 5_000, 9_000)];
        let opened =
            ReconcileStep { change: ExceptionChange::Opened, existing: None, content: &other[0] };
        assert_eq!(reconcile(&closed, &other), [opened]);
    }

    #[test]
    fn an_earlier_start_changes_open_exceptions_and_opens_none() {
        let before = [expected("a", 100, 9_000), expected("a", 50_000, 60_000)];
        let open = [
            existing(1, &before[1], ExceptionState::Open),
            existing(2, &before[0], ExceptionState::Open),
        ];
        let after = [expected("a", 50_000, 60_000), expected("a", 40, 9_000)];
        assert_eq!(
            reconcile(&open, &after),
            [step(ExceptionChange::Changed, &open[1], Some(&after[1]))]
        );
    }

    #[test]
    fn an_exception_closed_by_hand_stays_closed_until_its_facts_change() {
        let late = [expected("a", 100, 9_000)];
        let closed = [existing(1, &late[0], ExceptionState::ClosedByHand)];
        assert_eq!(reconcile(&closed, &late), []);
        let worse = [expected("a", 100, 12_000)];
        assert_eq!(
            reconcile(&closed, &worse),
            [step(ExceptionChange::Reopened, &closed[0], Some(&worse[0]))]
        );
        assert_eq!(reconcile(&closed, &[]), [step(ExceptionChange::Resolved, &closed[0], None)]);
    }

    #[test]
    fn a_name_that_arrives_late_changes_the_sentence_and_reopens_nothing() {
        let late = [expected("a", 100, 9_000)];
        let mut named = late.clone();
        named[0].facts.insert("person".to_owned(), json!("Ada"));
        for state in [ExceptionState::Open, ExceptionState::ClosedByHand] {
            let existing = [existing(1, &late[0], state)];
            assert_eq!(
                reconcile(&existing, &named),
                [step(ExceptionChange::Described, &existing[0], Some(&named[0]))]
            );
        }
        let resolved = [existing(1, &late[0], ExceptionState::Resolved)];
        assert_eq!(
            reconcile(&resolved, &named),
            [step(ExceptionChange::Reopened, &resolved[0], Some(&named[0]))]
        );
    }

    fn some_expected() -> impl Strategy<Value = Vec<ExpectedException>> {
        let one = (0..3_u8, 0..6_i64, 0..3_i64)
            .prop_map(|(subject, at, shown)| expected(&subject.to_string(), at, shown));
        proptest::collection::vec(one, 0..8)
    }

    fn some_existing() -> impl Strategy<Value = Vec<ExistingException>> {
        let state = prop_oneof![
            Just(ExceptionState::Open),
            Just(ExceptionState::ClosedByHand),
            Just(ExceptionState::Resolved),
        ];
        let one = (0..3_u8, 0..6_i64, 0..3_i64, state);
        proptest::collection::vec(one, 0..8).prop_map(|all| {
            let all = all.into_iter().zip(1..);
            all.map(|((subject, at, shown, state), id)| {
                existing(id, &expected(&subject.to_string(), at, shown), state)
            })
            .collect()
        })
    }

    fn unresolved(all: &[ExistingException]) -> Vec<(String, Option<Millis>)> {
        let mut unresolved: Vec<_> = all
            .iter()
            .filter(|one| one.state != ExceptionState::Resolved)
            .map(|one| (one.content.subject.clone(), one.content.at))
            .collect();
        unresolved.sort();
        unresolved
    }

    proptest! {
        #[test]
        fn after_the_steps_the_expected_exceptions_exist_and_a_second_time_nothing_changes(
            existing in some_existing(),
            expected in some_expected(),
        ) {
            let after = apply(&existing, &reconcile(&existing, &expected));
            let mut wanted: Vec<_> = expected
                .iter()
                .map(|one| (one.subject.clone(), one.at))
                .collect();
            wanted.sort();
            wanted.dedup();
            prop_assert_eq!(unresolved(&after), wanted);
            prop_assert_eq!(reconcile(&after, &expected), vec![]);
        }

        #[test]
        fn the_order_of_existing_and_expected_exceptions_does_not_matter(
            existing in some_existing().prop_flat_map(|all| (Just(all.clone()), Just(all).prop_shuffle())),
            expected in some_expected().prop_flat_map(|all| (Just(all.clone()), Just(all).prop_shuffle())),
        ) {
            let one = reconcile(&existing.0, &expected.0);
            let other = reconcile(&existing.1, &expected.1);
            prop_assert_eq!(format!("{one:?}"), format!("{other:?}"));
        }

        #[test]
        fn an_exception_that_can_change_is_not_closed_and_opened_anew(
            existing in some_existing(),
            expected in some_expected(),
        ) {
            let steps = reconcile(&existing, &expected);
            for ended in steps.iter().filter(|step| !step.is_expected()) {
                let opens = steps.iter().any(|step| {
                    step.change == ExceptionChange::Opened && step.content.subject == ended.content.subject
                });
                prop_assert!(!opens, "{steps:?}");
            }
        }
    }
}
