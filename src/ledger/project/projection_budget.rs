//! Decides which calls a transaction projects itself, and which are left to the maintenance.
//!
//! # Why
//!
//! A batch has events of several tenants, and its transaction ends when all of them are projected. So
//! every tenant has a share of what one transaction may project: the large calls of one tenant delay
//! its own record, and not the others'.

use std::collections::BTreeMap;

use crate::postgres::{CallSize, LockLimits, TouchedCalls};
use onrecord_evidence::identity::alias_graph::Anchor;

/// Maximum facts of a call that is projected with every event.
const MAX_CALL_FACTS: i64 = 1_000;
/// Maximum facts of all calls that are projected in one transaction: it has a timeout, and the facts
/// are in memory.
const MAX_BATCH_FACTS: i64 = 20_000;

/// The calls of one tenant that events of a batch touched.
#[derive(Debug, Default, PartialEq, Eq)]
pub(crate) struct ProjectionShare {
    /// Projected in the transaction of the batch.
    pub now: Vec<CallSize>,
    /// Left to the maintenance.
    pub later: Vec<CallSize>,
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
/// first; what a tenant leaves of its share is for those with more.
pub(crate) fn shares<T: Ord + Clone>(
    tenants: BTreeMap<T, Vec<CallSize>>,
    limits: LockLimits,
) -> BTreeMap<T, ProjectionShare> {
    let mut left = tenants.len();
    let mut facts = MAX_BATCH_FACTS;
    let mut calls = limits.projected_calls();
    let demand = |sizes: &[CallSize]| sizes.iter().map(|size| i64::from(size.facts)).sum::<i64>();
    let mut by_demand: Vec<(T, Vec<CallSize>)> = tenants.into_iter().collect();
    by_demand.sort_by_cached_key(|(tenant, sizes)| (demand(sizes), sizes.len(), tenant.clone()));
    let mut shares = BTreeMap::new();
    for (tenant, mut sizes) in by_demand {
        let divisor = left.max(1);
        let mut own_facts = facts / i64::try_from(divisor).unwrap_or(i64::MAX);
        let mut own_calls = calls.div_ceil(divisor);
        sizes.sort_by(|one, other| (one.facts, &one.call).cmp(&(other.facts, &other.call)));
        let mut share = ProjectionShare::default();
        for size in sizes {
            let cost = i64::from(size.facts);
            let fits = cost <= MAX_CALL_FACTS && cost <= own_facts && own_calls > 0;
            if fits && !size.is_delayed {
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
        shares.insert(tenant, share);
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
                is_delayed: false,
            })
            .collect()
    }

    fn left(facts: impl IntoIterator<Item = i64>) -> Vec<i64> {
        let tenants = BTreeMap::from([("a", sizes(facts))]);
        let mut shares = shares(tenants, LockLimits::default());
        let later = shares.remove("a").unwrap().later;
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
    fn a_call_that_the_maintenance_tries_later_is_left_to_it() {
        let mut of_tenant = sizes([1, 2, 3]);
        of_tenant[1].is_delayed = true;
        let tenants = BTreeMap::from([("a", of_tenant)]);
        let share = shares(tenants, LockLimits::default()).remove("a").unwrap();
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
        assert_eq!((shares["b"].later.len(), shares["c"].later.len()), (0, 0));
        assert_eq!(shares["a"].now.len(), 19);
        assert_eq!(shares["a"].later.len(), 81);
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
