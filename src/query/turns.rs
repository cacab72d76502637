//! Divides what the query API does at a time among the tenants.
//!
//! # Why
//!
//! Connections to PostgreSQL are few, and the evidence of a very large call takes seconds and much memory. Without
//! shares, one tenant that asks for it eight times at once would keep all others waiting.

use std::collections::{HashMap, VecDeque};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use tokio::sync::oneshot;

use onrecord_evidence::event::ids::Tenant;

/// Maximum number of waiting requests of a tenant.
const MAX_WAITING_OF_TENANT: usize = 256;

/// A number of places. A tenant has a part of them at most, and its further requests wait in order; a place that
/// becomes free goes to the waiting tenant that has the fewest.
#[derive(Clone)]
pub(crate) struct Turns(Arc<TurnsState>);

struct TurnsState {
    /// Maximum number of places of a tenant.
    of_tenant: usize,
    places: Mutex<Places>,
}

struct Places {
    free: usize,
    held: HashMap<Tenant, usize>,
    waiting: VecDeque<(Tenant, oneshot::Sender<Turn>)>,
}

/// A place, given back when it is dropped.
pub(crate) struct Turn {
    turns: Turns,
    tenant: Tenant,
}

/// The tenant has too many requests that wait.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct TooManyWaiting;

impl Turns {
    /// `places` in all, `of_tenant` of them at most for one tenant.
    pub(crate) fn new(places: usize, of_tenant: usize) -> Self {
        let places = Places { free: places.max(1), held: HashMap::new(), waiting: VecDeque::new() };
        Self(Arc::new(TurnsState { of_tenant: of_tenant.max(1), places: Mutex::new(places) }))
    }

    /// Waits for a place. A request that ends meanwhile waits no longer.
    ///
    /// # Errors
    ///
    /// [`TooManyWaiting`].
    pub(crate) async fn take(&self, tenant: &Tenant) -> Result<Turn, TooManyWaiting> {
        let waiting = {
            let mut places = self.places();
            if places.is_free_for(tenant, self.0.of_tenant) {
                places.give(tenant);
                return Ok(self.turn(tenant));
            }
            places.waiting.retain(|(_, request)| !request.is_closed());
            let of_tenant = places.waiting.iter().filter(|(other, _)| other == tenant);
            if of_tenant.count() >= MAX_WAITING_OF_TENANT {
                return Err(TooManyWaiting);
            }
            let (given, waiting) = oneshot::channel();
            places.waiting.push_back((tenant.clone(), given));
            waiting
        };
        // The sender stays in the queue until it gives the place.
        waiting.await.map_err(|_| TooManyWaiting)
    }

    fn turn(&self, tenant: &Tenant) -> Turn {
        Turn { turns: self.clone(), tenant: tenant.clone() }
    }

    /// Takes a place back, and gives what is free to those that wait.
    fn give_back(&self, tenant: &Tenant) {
        self.places().take_back(tenant);
        loop {
            let mut places = self.places();
            let Some((tenant, request)) = places.next_waiting(self.0.of_tenant) else {
                return;
            };
            places.give(&tenant);
            drop(places);
            // The drop of a turn that could not be sent gives its place back, which takes the lock.
            drop(request.send(self.turn(&tenant)));
        }
    }

    fn places(&self) -> MutexGuard<'_, Places> {
        self.0.places.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Places {
    fn held_by(&self, tenant: &Tenant) -> usize {
        self.held.get(tenant).copied().unwrap_or(0)
    }

    fn is_free_for(&self, tenant: &Tenant, of_tenant: usize) -> bool {
        self.free > 0 && self.held_by(tenant) < of_tenant
    }

    fn give(&mut self, tenant: &Tenant) {
        self.free -= 1;
        *self.held.entry(tenant.clone()).or_default() += 1;
    }

    fn take_back(&mut self, tenant: &Tenant) {
        self.free += 1;
        if let Some(held) = self.held.get_mut(tenant) {
            *held -= 1;
            if *held == 0 {
                self.held.remove(tenant);
            }
        }
    }

    /// Removes the request that has the next turn: the first one of the tenant with the fewest places.
    fn next_waiting(&mut self, of_tenant: usize) -> Option<(Tenant, oneshot::Sender<Turn>)> {
        self.waiting.retain(|(_, request)| !request.is_closed());
        let may_go = self.waiting.iter().enumerate();
        let may_go = may_go.filter(|(_, (tenant, _))| self.is_free_for(tenant, of_tenant));
        let (next, _) = may_go.min_by_key(|(_, (tenant, _))| self.held_by(tenant))?;
        self.waiting.remove(next)
    }
}

impl Drop for Turn {
    fn drop(&mut self) {
        self.turns.give_back(&self.tenant);
    }
}

#[cfg(test)]
mod tests {
    use futures_util::FutureExt as _;
    use proptest::prelude::*;

    use super::*;

    fn tenant(name: &str) -> Tenant {
        Tenant::parse(name).unwrap()
    }

    #[tokio::test]
    async fn a_tenant_has_a_part_of_the_places_and_the_others_find_some() {
        let turns = Turns::new(8, 4);
        let (busy, other) = (tenant("busy"), tenant("other"));
        let mut held = Vec::new();
        for _ in 0..4 {
            held.push(turns.take(&busy).now_or_never().unwrap().unwrap());
        }
        let mut fifth = Box::pin(turns.take(&busy));
        assert!((&mut fifth).now_or_never().is_none());
        assert!(turns.take(&other).now_or_never().is_some());
        held.pop();
        assert!(fifth.now_or_never().is_some());
    }

    #[tokio::test]
    async fn a_free_place_goes_to_the_tenant_with_the_fewest() {
        let turns = Turns::new(2, 2);
        let (busy, other) = (tenant("busy"), tenant("other"));
        let first = turns.take(&busy).await.unwrap();
        let second = turns.take(&busy).await.unwrap();
        let mut earlier = Box::pin(turns.take(&busy));
        assert!((&mut earlier).now_or_never().is_none());
        let mut later = Box::pin(turns.take(&other));
        assert!((&mut later).now_or_never().is_none());
        drop(first);
        assert!((&mut earlier).now_or_never().is_none());
        let later = later.now_or_never().unwrap();
        drop(second);
        assert!(earlier.now_or_never().is_some());
        drop(later);
    }

    #[tokio::test]
    async fn a_request_that_ends_while_it_waits_takes_no_place() {
        let turns = Turns::new(1, 1);
        let name = tenant("t");
        let held = turns.take(&name).await.unwrap();
        let mut abandoned = Box::pin(turns.take(&name));
        assert!((&mut abandoned).now_or_never().is_none());
        let mut waiting = Box::pin(turns.take(&name));
        assert!((&mut waiting).now_or_never().is_none());
        drop(abandoned);
        drop(held);
        assert!(waiting.now_or_never().is_some());
        assert!(turns.take(&name).now_or_never().is_some(), "everything was given back");
    }

    #[tokio::test]
    async fn a_tenant_may_not_have_ever_more_requests_that_wait() {
        let turns = Turns::new(1, 1);
        let name = tenant("t");
        let _held = turns.take(&name).await.unwrap();
        let mut waiting: Vec<_> =
            (0..MAX_WAITING_OF_TENANT).map(|_| Box::pin(turns.take(&name))).collect();
        assert!(waiting.iter_mut().all(|it| it.now_or_never().is_none()));
        assert_eq!(turns.take(&name).await.err(), Some(TooManyWaiting));
    }

    proptest! {
        #[test]
        fn places_are_never_exceeded_and_all_come_back(
            steps in proptest::collection::vec((0..4_usize, proptest::bool::ANY), 0..60)
        ) {
            let turns = Turns::new(3, 2);
            let mut held = Vec::new();
            let mut waiting = Vec::new();
            for (of, ends) in steps {
                if ends && !held.is_empty() {
                    held.remove(of % held.len());
                } else {
                    let turns = turns.clone();
                    let name = tenant(&format!("t{of}"));
                    waiting.push(async move { turns.take(&name).await }.boxed());
                }
                let mut still = Vec::new();
                for mut request in waiting {
                    match (&mut request).now_or_never() {
                        Some(turn) => held.push(turn.unwrap()),
                        None => still.push(request),
                    }
                }
                waiting = still;
                let places = turns.places();
                prop_assert_eq!(places.free + held.len(), 3);
                prop_assert!(places.held.values().all(|held| *held <= 2));
            }
            drop(waiting);
            drop(held);
            prop_assert_eq!(turns.places().free, 3);
            prop_assert!(turns.places().held.is_empty());
        }
    }
}
