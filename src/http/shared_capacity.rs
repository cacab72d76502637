//! A capacity that tenants and callers share fairly: memory for bodies, streams.
//!
//! # Why
//!
//! A limit for all callers together lets one caller take the whole capacity. A fixed part for each
//! tenant would waste capacity where there is one tenant, and be too large where there are many. So
//! what one tenant may hold depends on what is free: at most [`TENANT_FACTOR`] times as much. One
//! tenant alone gets four fifths of the capacity, two get four ninths each; there is always a place
//! for another one, without a list of tenants.

use std::collections::HashMap;
use std::collections::hash_map::Entry;
use std::hash::Hash;
use std::sync::{Arc, Mutex, PoisonError};

use onrecord_evidence::event::ids::{Digest, Tenant};

/// Maximum ratio of what a tenant holds to what is free.
const TENANT_FACTOR: usize = 4;

/// Identifies a caller among all callers of all tenants: half a digest of what names it. A node keeps several of
/// each stream.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) struct CallerId([u8; 16]);

impl CallerId {
    fn of(digest: &Digest) -> Self {
        let (id, _) = digest.as_bytes().split_first_chunk().unwrap_or((&[0; 16], &[]));
        Self(*id)
    }
}

/// The caller whose share is used: a participant by its subscriber token, or an API key.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct ShareHolder {
    pub tenant: Tenant,
    pub caller: CallerId,
}

impl ShareHolder {
    /// A participant, by its raw id.
    pub(crate) fn participant(tenant: &Tenant, raw_id: &str) -> Self {
        let caller = Digest::of_parts(&["participant", tenant.as_str(), raw_id]);
        Self { tenant: tenant.clone(), caller: CallerId::of(&caller) }
    }

    /// All that sign in to the console, who have no tenant yet: together they have the share of one caller.
    pub(crate) fn signing_in(tenant: Tenant) -> Self {
        Self { tenant, caller: CallerId::of(&Digest::of(b"sign-in to the console")) }
    }

    /// An API key, by its hash.
    pub(crate) fn api_key(tenant: &Tenant, key: Digest) -> Self {
        Self { tenant: tenant.clone(), caller: CallerId::of(&key) }
    }
}

/// A capacity, and what is held of it.
#[derive(Clone)]
pub(crate) struct SharedCapacity(Arc<CapacityState>);

struct CapacityState {
    /// Maximum that is held at a time.
    total: usize,
    held: Mutex<Held>,
}

#[derive(Default)]
struct Held {
    total: usize,
    by_tenant: HashMap<Tenant, usize>,
    by_caller: HashMap<CallerId, usize>,
}

/// The limit that a reservation would exceed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum CapacityExceeded {
    /// The caller holds its maximum.
    Caller,
    /// The tenant holds its share of what is free.
    Tenant,
    /// Nothing is free.
    Total,
}

impl SharedCapacity {
    /// A capacity of which nothing is held.
    pub(crate) fn new(total: usize) -> Self {
        Self(Arc::new(CapacityState { total, held: Mutex::default() }))
    }

    /// A reservation of nothing, which can grow to `max`, together with the other reservations of
    /// this caller.
    pub(crate) fn reserve(&self, holder: ShareHolder, max: usize) -> CapacityReservation {
        CapacityReservation { capacity: self.clone(), holder, max, amount: 0 }
    }

    fn take(
        &self,
        holder: &ShareHolder,
        max: usize,
        amount: usize,
    ) -> Result<(), CapacityExceeded> {
        let mut held = self.0.held.lock().unwrap_or_else(PoisonError::into_inner);
        let of_caller = held.by_caller.get(&holder.caller).copied().unwrap_or(0);
        if of_caller.saturating_add(amount) > max {
            return Err(CapacityExceeded::Caller);
        }
        let free = self.0.total.saturating_sub(held.total);
        if amount > free {
            return Err(CapacityExceeded::Total);
        }
        let of_tenant = held.by_tenant.get(&holder.tenant).copied().unwrap_or(0);
        if of_tenant >= free.saturating_mul(TENANT_FACTOR) {
            return Err(CapacityExceeded::Tenant);
        }
        held.total += amount;
        *held.by_tenant.entry(holder.tenant.clone()).or_default() += amount;
        *held.by_caller.entry(holder.caller).or_default() += amount;
        Ok(())
    }

    fn give_back(&self, holder: &ShareHolder, amount: usize) {
        let mut held = self.0.held.lock().unwrap_or_else(PoisonError::into_inner);
        held.total = held.total.saturating_sub(amount);
        subtract(held.by_tenant.entry(holder.tenant.clone()), amount);
        subtract(held.by_caller.entry(holder.caller), amount);
    }
}

/// Subtracts what is given back, and removes a holder that holds nothing, so that the maps have no
/// more entries than there are reservations.
fn subtract<K: Eq + Hash>(entry: Entry<'_, K, usize>, amount: usize) {
    if let Entry::Occupied(mut held) = entry {
        *held.get_mut() = held.get().saturating_sub(amount);
        if *held.get() == 0 {
            held.remove();
        }
    }
}

/// What one request or stream holds; it is given back when it is dropped.
pub(crate) struct CapacityReservation {
    capacity: SharedCapacity,
    holder: ShareHolder,
    /// Maximum of all reservations of the holder.
    max: usize,
    amount: usize,
}

impl CapacityReservation {
    /// Adds to the reservation.
    ///
    /// # Errors
    ///
    /// The limit that does not allow it; the reservation stays as it was.
    pub(crate) fn grow(&mut self, amount: usize) -> Result<(), CapacityExceeded> {
        if amount == 0 {
            return Ok(());
        }
        self.capacity.take(&self.holder, self.max, amount)?;
        self.amount += amount;
        Ok(())
    }
}

impl Drop for CapacityReservation {
    fn drop(&mut self) {
        if self.amount > 0 {
            self.capacity.give_back(&self.holder, self.amount);
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn holder(tenant: &str, raw_id: &str) -> ShareHolder {
        ShareHolder::participant(&Tenant::parse(tenant).unwrap(), raw_id)
    }

    /// Reserves one unit after the other until a limit is reached.
    fn fill(
        capacity: &SharedCapacity,
        tenant: &str,
        max: usize,
        of_callers: usize,
    ) -> (Vec<CapacityReservation>, CapacityExceeded) {
        let mut reservations = Vec::new();
        loop {
            let caller = (reservations.len() % of_callers).to_string();
            let mut reservation = capacity.reserve(holder(tenant, &caller), max);
            match reservation.grow(1) {
                Ok(()) => reservations.push(reservation),
                Err(exceeded) => return (reservations, exceeded),
            }
        }
    }

    #[test]
    fn a_caller_holds_no_more_than_its_maximum() {
        let capacity = SharedCapacity::new(100);
        let (held, exceeded) = fill(&capacity, "t", 3, 1);
        assert_eq!((held.len(), exceeded), (3, CapacityExceeded::Caller));
        drop(held);
        assert_eq!(fill(&capacity, "t", 3, 1).0.len(), 3);
    }

    #[test]
    fn a_tenant_alone_gets_four_fifths_and_each_further_one_finds_a_place() {
        let capacity = SharedCapacity::new(1000);
        let (first, exceeded) = fill(&capacity, "a", 1000, 1);
        assert_eq!((first.len(), exceeded), (800, CapacityExceeded::Tenant));
        let (second, _) = fill(&capacity, "b", 1000, 1);
        assert_eq!(second.len(), 160);
        let (third, _) = fill(&capacity, "c", 1000, 1);
        assert_eq!(third.len(), 32);
        drop(first);
        // The others may take from what the first one gave back.
        assert!(fill(&capacity, "c", 1000, 1).0.len() > 500);
    }

    #[test]
    fn a_small_capacity_can_be_used() {
        let one = SharedCapacity::new(1);
        let (held, exceeded) = fill(&one, "t", 1, 2);
        assert_eq!((held.len(), exceeded), (1, CapacityExceeded::Total));
        assert_eq!(fill(&SharedCapacity::new(0), "t", 1, 2).0.len(), 0);
    }

    proptest! {
        #[test]
        fn what_is_dropped_is_given_back(
            amounts in proptest::collection::vec((0..3_u8, 0..3_u8, 0..40_usize), 0..50)
        ) {
            let capacity = SharedCapacity::new(300);
            let mut reservations = Vec::new();
            for (tenant, caller, amount) in amounts {
                let holder = holder(&format!("t{tenant}"), &caller.to_string());
                let mut reservation = capacity.reserve(holder, 100);
                // A refused amount is not held.
                let _refused = reservation.grow(amount);
                reservations.push(reservation);
                let held = capacity.0.held.lock().unwrap();
                prop_assert!(held.total <= 300);
                prop_assert!(held.by_caller.values().all(|held| *held <= 100));
                prop_assert_eq!(held.by_tenant.values().sum::<usize>(), held.total);
                prop_assert_eq!(held.by_caller.values().sum::<usize>(), held.total);
            }
            drop(reservations);
            let held = capacity.0.held.lock().unwrap();
            prop_assert!(held.total == 0 && held.by_tenant.is_empty() && held.by_caller.is_empty());
        }
    }
}
