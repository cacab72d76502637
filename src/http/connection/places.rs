//! The places for connections: those for all callers, and a reserve for deliveries and operations.
//!
//! # Why
//!
//! A connection is an open file. Callers with more connections than the process may open files would
//! lock out deliveries, health checks and the connections to the stores, without any credential. So
//! connections end below that limit, and the last places serve no client: a connection there serves
//! one request, which must come soon, so that the places of the reserve are free again soon whatever
//! is connected to them.

use std::sync::Arc;

use tokio::sync::{OwnedSemaphorePermit, Semaphore};

/// The reserve is this part of all places.
const RESERVE_DIVISOR: usize = 8;
/// Minimum places of the reserve.
const MIN_RESERVE: usize = 2;
/// Maximum places of the reserve.
const MAX_RESERVE: usize = 256;

/// Whom a connection may serve.
#[derive(Clone, Copy, Debug, PartialEq, Eq, strum::IntoStaticStr)]
#[strum(serialize_all = "snake_case")]
pub(crate) enum PlaceKind {
    /// All callers.
    Shared,
    /// Deliveries and operations.
    Reserve,
}

/// The place of one connection, until it is dropped.
pub(crate) struct ConnectionPlace {
    pub kind: PlaceKind,
    _permit: OwnedSemaphorePermit,
}

/// All places of a node.
#[derive(Clone)]
pub(crate) struct ConnectionPlaces {
    shared: Arc<Semaphore>,
    reserve: Arc<Semaphore>,
}

impl ConnectionPlaces {
    /// Places for this many connections.
    pub(crate) fn new(max_connections: usize) -> Self {
        let max_connections = max_connections.min(Semaphore::MAX_PERMITS);
        let shared = shared_places(max_connections);
        Self {
            shared: Arc::new(Semaphore::new(shared)),
            reserve: Arc::new(Semaphore::new(max_connections - shared)),
        }
    }

    /// The next free place; waits until there is one. Cancel safe.
    pub(crate) async fn next(&self) -> ConnectionPlace {
        tokio::select! {
            biased;
            place = place_of(&self.shared, PlaceKind::Shared) => place,
            place = place_of(&self.reserve, PlaceKind::Reserve) => place,
        }
    }
}

/// How many of all places serve all callers.
pub(crate) fn shared_places(max_connections: usize) -> usize {
    let reserve = (max_connections / RESERVE_DIVISOR).clamp(MIN_RESERVE, MAX_RESERVE);
    max_connections.saturating_sub(reserve)
}

async fn place_of(places: &Arc<Semaphore>, kind: PlaceKind) -> ConnectionPlace {
    match Arc::clone(places).acquire_owned().await {
        Ok(permit) => ConnectionPlace { kind, _permit: permit },
        // The semaphores are never closed.
        Err(_) => std::future::pending().await,
    }
}

#[cfg(test)]
mod tests {
    use futures_util::FutureExt as _;

    use super::*;

    #[test]
    fn the_last_places_are_the_reserve_and_a_shared_one_that_becomes_free_is_next() {
        let places = ConnectionPlaces::new(16);
        let next = || places.next().now_or_never();
        let mut taken: Vec<ConnectionPlace> = std::iter::from_fn(next).collect();
        let kinds: Vec<PlaceKind> = taken.iter().map(|place| place.kind).collect();
        assert_eq!(kinds[..14], [PlaceKind::Shared; 14]);
        assert_eq!(kinds[14..], [PlaceKind::Reserve; 2]);
        drop(taken.swap_remove(3));
        assert_eq!(next().map(|place| place.kind), Some(PlaceKind::Shared));
        assert!(places.next().now_or_never().is_some());
    }

    #[test]
    fn the_reserve_is_a_part_within_bounds() {
        for (max_connections, shared) in [(8, 6), (16, 14), (800, 700), (30_000, 29_744)] {
            assert_eq!(shared_places(max_connections), shared);
        }
    }
}
