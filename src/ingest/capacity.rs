//! Divides the capacity for deliveries among the sources: bytes in flight, parsing, handshakes.
//!
//! # Why
//!
//! Sources of several tenants share a node, so none may stop the others.
//!
//! * *Bytes.* A quarter of `ingest.bytes_in_flight` is reserved for the sources in equal parts. The
//!   rest is a pool, from which a source may hold at most twice what is left, and the sources of a
//!   tenant together three times: a source alone has two thirds of the pool, and the next one always
//!   finds some (dynamic thresholds, as in the buffers of switches). A delivery holds what has
//!   arrived of it, not the length that its head states: a sender that states 4 MiB and sends
//!   nothing holds nothing.
//! * *Parsing.* A body waits for its turn first among those of its source, then of its tenant. At
//!   most as many of one tenant as there are threads are in the common queue, so a source with many
//!   bodies delays the body of another by the time of one.
//! * *Handshakes.* Each source has places of its own besides the common ones.
//!
//! A small delivery fits into the reserve of its source, and then costs one atomic operation.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use tokio::sync::{OwnedSemaphorePermit, Semaphore};

use onrecord_evidence::event::ids::Tenant;

/// The reserves of all sources together are the total divided by this.
const RESERVED_PART: usize = 4;
/// Maximum bytes of the pool that a source holds, in multiples of what is left.
const MAX_SOURCE_MULTIPLE: usize = 2;
/// Maximum bytes of the pool that the sources of a tenant hold, in multiples of what is left.
const MAX_TENANT_MULTIPLE: usize = 3;
/// Maximum bodies that are parsed concurrently, if there are as many processors.
const MAX_CONCURRENT_PARSES: usize = 4;
/// Maximum concurrent handshakes without credential for which each source has places of its own.
const MAX_SOURCE_HANDSHAKES: usize = 2;
/// Maximum concurrent handshakes without credential beyond those, of all sources.
const MAX_COMMON_HANDSHAKES: usize = 16;

fn parse_threads() -> usize {
    std::thread::available_parallelism().map_or(1, usize::from).min(MAX_CONCURRENT_PARSES)
}

/// What the sources of a tenant hold together.
#[derive(Debug)]
struct TenantShare {
    /// Bytes of the pool. Changed under the lock of the pool only.
    pooled: AtomicUsize,
    parses: Arc<Semaphore>,
}

/// What a source holds of the capacity.
#[derive(Debug)]
pub(crate) struct SourceShare {
    /// Bytes of the reserve of the source.
    reserved: AtomicUsize,
    /// Bytes of the pool. Changed under the lock of the pool only.
    pooled: AtomicUsize,
    parses: Arc<Semaphore>,
    handshakes: Arc<Semaphore>,
    tenant_name: Tenant,
    tenant: Arc<TenantShare>,
}

/// The shares of the configured sources, by their names.
#[derive(Debug, Default)]
pub(crate) struct Shares {
    sources: BTreeMap<String, Arc<SourceShare>>,
}

impl Shares {
    /// The shares of these sources. One that was configured before keeps its share, because its
    /// deliveries are in progress.
    pub(crate) fn of<'s>(
        before: &Self,
        sources: impl Iterator<Item = (&'s String, &'s Tenant)>,
    ) -> Self {
        let known = before.sources.values();
        let mut tenants: BTreeMap<Tenant, Arc<TenantShare>> =
            known.map(|share| (share.tenant_name.clone(), Arc::clone(&share.tenant))).collect();
        let semaphore = |permits| Arc::new(Semaphore::new(permits));
        let mut share_of = |name: &String, tenant: &Tenant| {
            let kept = before.sources.get(name).filter(|share| share.tenant_name == *tenant);
            if let Some(share) = kept {
                return Arc::clone(share);
            }
            let of_tenant = tenants.entry(tenant.clone()).or_insert_with(|| {
                let parses = semaphore(parse_threads());
                Arc::new(TenantShare { pooled: AtomicUsize::new(0), parses })
            });
            Arc::new(SourceShare {
                reserved: AtomicUsize::new(0),
                pooled: AtomicUsize::new(0),
                parses: semaphore(parse_threads()),
                handshakes: semaphore(MAX_SOURCE_HANDSHAKES),
                tenant_name: tenant.clone(),
                tenant: Arc::clone(of_tenant),
            })
        };
        let shares = sources.map(|(name, tenant)| (name.clone(), share_of(name, tenant)));
        Self { sources: shares.collect() }
    }

    /// The share of a source.
    pub(crate) fn get(&self, name: &str) -> Option<&Arc<SourceShare>> {
        self.sources.get(name)
    }

    fn count(&self) -> usize {
        self.sources.len()
    }
}

/// The capacity of a node for deliveries.
#[derive(Debug)]
pub(crate) struct DeliveryCapacity {
    /// Bytes that are reserved for the sources, in equal parts.
    reserve: usize,
    /// Bytes of the pool.
    pool: usize,
    /// Bytes of the pool that are held.
    pooled: Mutex<usize>,
    parses: Arc<Semaphore>,
    handshakes: Arc<Semaphore>,
}

impl DeliveryCapacity {
    /// The capacity for this number of bytes.
    pub(crate) fn new(bytes_in_flight: usize) -> Arc<Self> {
        let reserve = bytes_in_flight / RESERVED_PART;
        Arc::new(Self {
            reserve,
            pool: bytes_in_flight - reserve,
            pooled: Mutex::new(0),
            parses: Arc::new(Semaphore::new(parse_threads())),
            handshakes: Arc::new(Semaphore::new(MAX_COMMON_HANDSHAKES)),
        })
    }

    fn pooled(&self) -> MutexGuard<'_, usize> {
        self.pooled.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// A reservation of a delivery of this source, without bytes yet. `shares` are those of all
    /// sources.
    pub(crate) fn reservation(
        self: &Arc<Self>,
        shares: &Shares,
        share: &Arc<SourceShare>,
    ) -> DeliveryReservation {
        DeliveryReservation {
            capacity: Arc::clone(self),
            share: Arc::clone(share),
            max_reserved: self.reserve / shares.count().max(1),
            reserved: 0,
            pooled: 0,
        }
    }

    /// Takes bytes of the pool, unless the source, its tenant, or all together would hold too many.
    fn take_from_pool(&self, share: &SourceShare, bytes: usize) -> bool {
        let mut pooled = self.pooled();
        let Some(left) = self.pool.checked_sub(*pooled + bytes) else {
            return false;
        };
        let of_source = share.pooled.load(Ordering::Relaxed) + bytes;
        let of_tenant = share.tenant.pooled.load(Ordering::Relaxed) + bytes;
        if of_source > left * MAX_SOURCE_MULTIPLE || of_tenant > left * MAX_TENANT_MULTIPLE {
            return false;
        }
        *pooled += bytes;
        share.pooled.store(of_source, Ordering::Relaxed);
        share.tenant.pooled.store(of_tenant, Ordering::Relaxed);
        true
    }

    fn return_to_pool(&self, share: &SourceShare, bytes: usize) {
        let mut pooled = self.pooled();
        *pooled -= bytes;
        share.pooled.fetch_sub(bytes, Ordering::Relaxed);
        share.tenant.pooled.fetch_sub(bytes, Ordering::Relaxed);
    }

    /// Waits for a thread that parses a body of this source.
    pub(crate) async fn parse_turn(&self, share: &SourceShare) -> ParseTurn {
        // None of the semaphores is ever closed.
        let of_source = Arc::clone(&share.parses).acquire_owned().await.ok();
        let of_tenant = Arc::clone(&share.tenant.parses).acquire_owned().await.ok();
        let of_all = Arc::clone(&self.parses).acquire_owned().await.ok();
        ParseTurn { _permits: [of_source, of_tenant, of_all] }
    }

    /// A place for a handshake without credential: one of the source's own, else a common one.
    pub(crate) fn handshake_place(&self, share: &SourceShare) -> Option<HandshakePlace> {
        let own = Arc::clone(&share.handshakes).try_acquire_owned();
        let place = own.or_else(|_| Arc::clone(&self.handshakes).try_acquire_owned()).ok()?;
        Some(HandshakePlace { _permit: place })
    }
}

/// The bytes that a delivery holds, until it is dropped.
#[derive(Debug)]
pub(crate) struct DeliveryReservation {
    capacity: Arc<DeliveryCapacity>,
    share: Arc<SourceShare>,
    /// Maximum bytes of the reserve of the source, of all its deliveries.
    max_reserved: usize,
    reserved: usize,
    pooled: usize,
}

impl DeliveryReservation {
    /// Takes more bytes: of the reserve of the source, else of the pool. Returns whether there are
    /// as many.
    #[must_use]
    pub(crate) fn grow(&mut self, bytes: usize) -> bool {
        let fits = |held: usize| Some(held + bytes).filter(|sum| *sum <= self.max_reserved);
        let held = &self.share.reserved;
        if held.fetch_update(Ordering::Relaxed, Ordering::Relaxed, fits).is_ok() {
            self.reserved += bytes;
            return true;
        }
        let is_taken = self.capacity.take_from_pool(&self.share, bytes);
        if is_taken {
            self.pooled += bytes;
        }
        is_taken
    }
}

impl Drop for DeliveryReservation {
    fn drop(&mut self) {
        self.share.reserved.fetch_sub(self.reserved, Ordering::Relaxed);
        if self.pooled > 0 {
            self.capacity.return_to_pool(&self.share, self.pooled);
        }
    }
}

/// A turn to parse a body, until it is dropped.
#[derive(Debug)]
pub(crate) struct ParseTurn {
    _permits: [Option<OwnedSemaphorePermit>; 3],
}

/// A place for a handshake without credential, until it is dropped.
#[derive(Debug)]
pub(crate) struct HandshakePlace {
    _permit: OwnedSemaphorePermit,
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use proptest::prelude::*;

    use super::*;

    const TOTAL: usize = 64 << 10;

    fn shares(names: &[(&str, &str)]) -> Shares {
        let sources: Vec<(String, Tenant)> = names
            .iter()
            .map(|(name, tenant)| ((*name).to_owned(), Tenant::parse(tenant).unwrap()))
            .collect();
        Shares::of(&Shares::default(), sources.iter().map(|(name, tenant)| (name, tenant)))
    }

    /// Takes bytes in steps of 64, until there are no more. Returns how many.
    fn take_all(reservation: &mut DeliveryReservation) -> usize {
        let steps = std::iter::repeat_with(|| reservation.grow(64)).take_while(|taken| *taken);
        steps.count() * 64
    }

    #[test]
    fn a_source_alone_uses_most_of_the_bytes_and_leaves_some_to_each_other_one() {
        let capacity = DeliveryCapacity::new(TOTAL);
        let shares =
            shares(&[("a", "contoso"), ("b", "contoso"), ("c", "fabrikam"), ("d", "litware")]);
        let mut held = Vec::new();
        let mut take = |name: &str| {
            let mut reservation = capacity.reservation(&shares, shares.get(name).unwrap());
            let taken = take_all(&mut reservation);
            held.push(reservation);
            taken
        };
        let alone = take("a");
        assert!(alone > TOTAL / 2, "{alone}");
        assert_eq!(take("a"), 0);
        // Of the reserve each has a quarter, and of the pool each finds a part.
        let reserve = TOTAL / RESERVED_PART / 4;
        for other in ["b", "c", "d"] {
            let taken = take(other);
            assert!(taken > reserve, "{other}: {taken}");
        }
        drop(held);
        assert_eq!(*capacity.pooled(), 0);
        let mut again = capacity.reservation(&shares, shares.get("a").unwrap());
        assert_eq!(take_all(&mut again), alone);
    }

    #[test]
    fn a_source_keeps_its_share_when_the_sources_are_replaced() {
        let capacity = DeliveryCapacity::new(TOTAL);
        let before = shares(&[("a", "contoso")]);
        let mut held = capacity.reservation(&before, before.get("a").unwrap());
        assert!(held.grow(TOTAL / 2));
        let names = ["a".to_owned(), "b".to_owned()];
        let tenant = Tenant::parse("contoso").unwrap();
        let after = Shares::of(&before, names.iter().map(|name| (name, &tenant)));
        assert!(Arc::ptr_eq(before.get("a").unwrap(), after.get("a").unwrap()));
        let of_tenant = |name: &str| Arc::clone(&after.get(name).unwrap().tenant);
        assert!(Arc::ptr_eq(&of_tenant("a"), &of_tenant("b")));
        drop(held);
        assert_eq!(of_tenant("b").pooled.load(Ordering::Relaxed), 0);
    }

    #[test]
    fn the_handshakes_of_one_source_leave_the_places_of_the_others() {
        let capacity = DeliveryCapacity::new(TOTAL);
        let shares = shares(&[("a", "contoso"), ("b", "contoso")]);
        let place = |name: &str| capacity.handshake_place(shares.get(name).unwrap());
        let held: Vec<HandshakePlace> = std::iter::from_fn(|| place("a")).collect();
        assert_eq!(held.len(), MAX_SOURCE_HANDSHAKES + MAX_COMMON_HANDSHAKES);
        assert!(place("b").is_some());
        drop(held);
        assert!(place("a").is_some());
    }

    #[tokio::test]
    async fn a_body_waits_for_one_body_of_a_source_that_has_many() {
        let capacity = DeliveryCapacity::new(TOTAL);
        let shares = Arc::new(shares(&[("a", "contoso"), ("b", "contoso"), ("c", "fabrikam")]));
        let mut running = Vec::new();
        for _ in 0..parse_threads() {
            running.push(capacity.parse_turn(shares.get("a").unwrap()).await);
        }
        let (sender, mut turns) = tokio::sync::mpsc::unbounded_channel();
        let wait = |name: &'static str| {
            let (capacity, shares, sender) =
                (Arc::clone(&capacity), Arc::clone(&shares), sender.clone());
            tokio::spawn(async move {
                let turn = capacity.parse_turn(shares.get(name).unwrap()).await;
                sender.send((name, turn)).unwrap();
            })
        };
        for name in ["a"; 50].into_iter().chain(["b", "c"]) {
            wait(name);
            tokio::task::yield_now().await;
        }
        assert!(turns.try_recv().is_err());
        drop(running.pop());
        let mut order = Vec::new();
        while order.len() < 5 {
            let (name, turn) = turns.recv().await.unwrap();
            order.push(name);
            drop(turn);
        }
        assert!(order[..2].contains(&"c"), "{order:?}");
        assert!(order[..4].contains(&"b"), "{order:?}");
        drop(running);
        let rest = async {
            while order.len() < 52 {
                order.push(turns.recv().await.unwrap().0)
            }
        };
        tokio::time::timeout(Duration::from_secs(5), rest).await.unwrap();
    }

    proptest! {
        #[test]
        fn each_source_always_has_its_reserve_and_the_total_is_never_exceeded(
            steps in prop::collection::vec((0_usize..4, 0_usize..8, 1_usize..6_000), 0..200),
        ) {
            let capacity = DeliveryCapacity::new(TOTAL);
            let names = ["a", "b", "c", "d"];
            let shares =
                shares(&[("a", "contoso"), ("b", "contoso"), ("c", "fabrikam"), ("d", "litware")]);
            let mut held: BTreeMap<(usize, usize), DeliveryReservation> = BTreeMap::new();
            for (source, delivery, bytes) in steps {
                if delivery == 0 {
                    held.retain(|(of, _), _| *of != source);
                    continue;
                }
                let share = shares.get(names[source]).unwrap();
                let reservation = held
                    .entry((source, delivery))
                    .or_insert_with(|| capacity.reservation(&shares, share));
                let before = share.reserved.load(Ordering::Relaxed);
                let taken = reservation.grow(bytes);
                prop_assert!(taken || before + bytes > TOTAL / RESERVED_PART / names.len());
                let total: usize = held.values().map(|one| one.reserved + one.pooled).sum();
                prop_assert!(total <= TOTAL);
            }
            drop(held);
            prop_assert_eq!(*capacity.pooled(), 0);
            for name in names {
                let share = shares.get(name).unwrap();
                prop_assert_eq!(share.reserved.load(Ordering::Relaxed), 0);
                prop_assert_eq!(share.pooled.load(Ordering::Relaxed), 0);
                prop_assert_eq!(share.tenant.pooled.load(Ordering::Relaxed), 0);
            }
        }
    }
}
