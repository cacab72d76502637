//! Decides which calls a transaction projects itself, and which are left to the maintenance.
//!
//! # Why
//!
//! A batch has events of several tenants, and its transaction ends when all of them are projected. So
//! every tenant has a share of what one transaction may project: the large calls of one tenant delay
//! its own record, and not the others'. How long a projection takes shows only when it is done, so a
//! transaction projects the calls in parts, and begins none after [`MAX_PROJECTION_TIME`].

use std::collections::BTreeMap;
use std::time::Duration;

use crate::postgres::{CallSize, LockLimits, TouchedCalls};
use onrecord_evidence::identity::alias_graph::Anchor;

/// Maximum facts of a call that is projected with every event.
const MAX_CALL_FACTS: i64 = 1_000;
/// Maximum facts of all calls that are projected in one transaction: it has a timeout, and the facts
/// are in memory.
const MAX_BATCH_FACTS: i64 = 20_000;
/// Maximum calls of a part.
const PART_CALLS: usize = 150;
/// Time after which a transaction that appends events begins to project no other part: the messages behind it
/// wait for its end.
pub(crate) const MAX_PROJECTION_TIME: Duration = Duration::from_millis(300);

/// The calls of one tenant that events of a batch touched.
#[derive(Debug, Default, PartialEq, Eq)]
pub(crate) struct ProjectionShare {
    /// Projected in the transaction of the batch.
    pub now: Vec<CallSize>,
    /// Left to the maintenance.
    pub later: Vec<CallSize>,
}

impl ProjectionShare {
    /// The calls that are projected in the transaction, in parts. The first one has those that others became
    /// part of, because what is stored of these is replaced with it.
    pub(crate) fn parts(self, touched: &TouchedCalls) -> Vec<Vec<CallSize>> {
        let (mut first, others): (Vec<CallSize>, Vec<CallSize>) =
            self.now.into_iter().partition(|size| {
                let into = |call: &Anchor| call.as_str() == size.call;
                touched.gone.values().any(into)
            });
        let mut others = others.into_iter();
        first.extend(others.by_ref().take(PART_CALLS.saturating_sub(first.len())));
        let mut parts = vec![first];
        loop {
            let part: Vec<CallSize> = others.by_ref().take(PART_CALLS).collect();
            if part.is_empty() {
                return parts;
            }
            parts.push(part);
        }
    }
}

/// The number of facts of each touched call, with those of the calls that became part of it.
pub(crate) fn with_merged(touched: &TouchedCalls, sizes: Vec<CallSize>) -> Vec<CallSize> {
    let mut merged: BTreeMap<&Anchor, i32> = BTreeMap::new();
    let (gone, mut now): (Vec<CallSize>, Vec<CallSize>) = sizes
        .into_iter()
        .partition(|size| touched.gone.contains_key(&Anchor::from_stored(size.call.clone())));
    for size in gone {
        if let Some(into) = touched.gone.get(&Anchor::from_stored(size.call)) {
            let facts = merged.entry(into).or_default();
            *facts = facts.saturating_add(size.facts);
        }
    }
    for size in &mut now {
        let more = merged.get(&Anchor::from_stored(size.call.clone())).copied().unwrap_or(0);
        size.facts = size.facts.saturating_add(more);
    }
    now
}

/// Shares what a transaction may project among its tenants. Of each tenant the smallest calls come
/// first; what a tenant leaves of its share is for those with more. The tenant with the least comes first.
pub(crate) fn shares<T: Ord + Clone>(
    tenants: BTreeMap<T, Vec<CallSize>>,
    limits: LockLimits,
) -> Vec<(T, ProjectionShare)> {
    let mut left = tenants.len();
    let mut facts = MAX_BATCH_FACTS;
    let mut calls = limits.projected_calls();
    let demand = |sizes: &[CallSize]| sizes.iter().map(|size| i64::from(size.facts)).sum::<i64>();
    let mut by_demand: Vec<(T, Vec<CallSize>)> = tenants.into_iter().collect();
    by_demand.sort_by_cached_key(|(tenant, sizes)| (demand(sizes), sizes.len(), tenant.clone()));
    let mut shares = Vec::with_capacity(left);
    for (tenant, mut sizes) in by_demand {
        let divisor = left.max(1);
        let mut own_facts = facts / i64::try_from(divisor).unwrap_or(i64::MAX);
        let mut own_calls = calls.div_ceil(divisor);
        sizes.sort_by(|one, other| (one.facts, &one.call).cmp(&(other.facts, &other.call)));
        let mut share = ProjectionShare::default();
        for size in sizes {
            let cost = i64::from(size.facts);
            let fits = cost <= MAX_CALL_FACTS && cost <= own_facts && own_calls > 0;
            // What the maintenance has is projected by it, also while it is.
            if fits && size.generation == 0 {
                own_facts -= cost;
                own_calls -= 1;
                facts -= cost;
                calls -= 1;
                share.now.push(size);
            } else {
                share.later.push(size);
            }
        }
        left -= 1;
        shares.push((tenant, share));
    }
    shares
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sizes(facts: impl IntoIterator<Item = i64>) -> Vec<CallSize> {
        let numbered = facts.into_iter().enumerate();
        numbered
            .map(|(number, facts)| CallSize {
                call: format!("{number:04}"),
                facts: i32::try_from(facts).unwrap(),
                generation: 0,
            })
            .collect()
    }

    fn left(facts: impl IntoIterator<Item = i64>) -> Vec<i64> {
        let tenants = BTreeMap::from([("a", sizes(facts))]);
        let mut shares = shares(tenants, LockLimits::default());
        let later = shares.remove(0).1.later;
        later.into_iter().map(|size| i64::from(size.facts)).collect()
    }

    #[test]
    fn large_calls_and_those_beyond_a_transaction_are_left_to_the_maintenance() {
        assert_eq!(left([3, MAX_CALL_FACTS, MAX_CALL_FACTS + 1]), [MAX_CALL_FACTS + 1]);
        assert!(left(vec![500; 40]).is_empty());
        assert_eq!(left(vec![500; 45]), [500; 5]);
        let calls = LockLimits::default().projected_calls();
        assert_eq!(left(vec![0; calls + 7]), [0; 7]);
    }

    #[test]
    fn a_call_that_is_left_to_the_maintenance_stays_with_it() {
        let mut of_tenant = sizes([1, 2, 3]);
        of_tenant[1].generation = 7;
        let tenants = BTreeMap::from([("a", of_tenant)]);
        let share = shares(tenants, LockLimits::default()).remove(0).1;
        assert_eq!(share.now.len(), 2);
        assert_eq!(share.later[0].facts, 2);
    }

    #[test]
    fn a_tenant_with_large_calls_leaves_the_others_their_share() {
        let tenants = BTreeMap::from([
            ("a", sizes(vec![900; 100])),
            ("b", sizes(vec![20; 100])),
            ("c", sizes([900])),
        ]);
        let shares = shares(tenants, LockLimits::default());
        let numbers = shares.iter().map(|(tenant, it)| (*tenant, it.now.len(), it.later.len()));
        assert!(numbers.eq([("c", 1, 0), ("b", 100, 0), ("a", 19, 81)]), "{shares:?}");
    }

    #[test]
    fn the_first_part_has_the_calls_that_others_became_part_of() {
        let anchor = |text: &str| Anchor::from_stored(text.to_owned());
        let gone = [("a", "0600"), ("b", "0600"), ("c", "0599"), ("d", "left to the maintenance")];
        let gone = gone.into_iter().map(|(from, into)| (anchor(from), anchor(into)));
        let touched = TouchedCalls { gone: gone.collect(), ..TouchedCalls::default() };
        let share = ProjectionShare { now: sizes(vec![1; 601]), later: Vec::new() };
        let parts = share.parts(&touched);
        let lengths: Vec<usize> = parts.iter().map(Vec::len).collect();
        let rest = 601 % PART_CALLS;
        assert_eq!(lengths, [vec![PART_CALLS; 601 / PART_CALLS], vec![rest]].concat());
        assert_eq!((parts[0][0].call.as_str(), parts[0][1].call.as_str()), ("0599", "0600"));
        assert_eq!(ProjectionShare::default().parts(&touched), [Vec::new()]);
    }

    #[test]
    fn a_call_is_as_large_as_what_becomes_part_of_it() {
        let anchor = |text: &str| Anchor::from_stored(text.to_owned());
        let touched = TouchedCalls {
            calls: [anchor("0001")].into(),
            gone: BTreeMap::from([(anchor("0000"), anchor("0001"))]),
        };
        let merged = with_merged(&touched, sizes([800, 300]));
        assert_eq!(merged.len(), 1);
        assert_eq!((merged[0].call.as_str(), merged[0].facts), ("0001", 1_100));
    }
}
