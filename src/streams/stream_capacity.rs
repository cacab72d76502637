//! The streams that one node may have, and how participants, API keys and tenants share them.
//!
//! # Why
//!
//! *The oldest stream of a participant makes room for the newest.* A phone that changes networks leaves
//! connections behind whose end no packet announces. If these counted, a participant that reconnects
//! often would get no stream, and no banner. So the newest stream takes the place of the oldest one,
//! which ends. The place passes over at once, because a dead connection may take a minute to end.

use std::collections::hash_map::Entry;
use std::collections::{HashMap, VecDeque};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use tokio::sync::oneshot;

use super::subscription::Authorization;
use crate::http::shared_capacity::{
    CapacityExceeded, CapacityReservation, ShareHolder, SharedCapacity,
};
use onrecord_evidence::event::ids::{Digest, Tenant};

/// Maximum number of streams of one participant: those of several devices, each with several tabs.
pub(super) const MAX_PARTICIPANT_STREAMS: usize = 64;
/// Maximum part of the streams of a node that one API key may have: one half.
const KEY_DIVISOR: usize = 2;

/// The streams that one node may have. Clones share it.
#[derive(Clone)]
pub(crate) struct StreamCapacity {
    shared: SharedCapacity,
    /// Maximum number of streams of one API key.
    max_of_key: usize,
    participants: Arc<Mutex<ParticipantStreams>>,
}

/// The open streams of the participants.
#[derive(Default)]
struct ParticipantStreams {
    next: u64,
    /// Of each participant, the oldest first.
    open: HashMap<Digest, VecDeque<OpenStream>>,
}

/// The place of a participant's stream.
struct OpenStream {
    number: u64,
    reservation: CapacityReservation,
    /// Is dropped when a newer stream takes the place.
    _keeps_open: oneshot::Sender<()>,
}

/// The place of an open stream, until it is dropped.
pub(super) struct StreamPlace {
    /// Completes with an error when a newer stream has taken the place.
    taken: oneshot::Receiver<()>,
    _held: HeldPlace,
}

/// What holds a place.
enum HeldPlace {
    Key { _reservation: CapacityReservation, _keeps_open: oneshot::Sender<()> },
    Participant { _entry: ParticipantPlace },
}

/// The entry of a participant's stream.
struct ParticipantPlace {
    participants: Arc<Mutex<ParticipantStreams>>,
    participant: Digest,
    number: u64,
}

impl Drop for ParticipantPlace {
    fn drop(&mut self) {
        let mut streams = lock(&self.participants);
        if let Entry::Occupied(mut open) = streams.open.entry(self.participant) {
            open.get_mut().retain(|stream| stream.number != self.number);
            if open.get().is_empty() {
                open.remove();
            }
        }
    }
}

fn lock(streams: &Mutex<ParticipantStreams>) -> MutexGuard<'_, ParticipantStreams> {
    streams.lock().unwrap_or_else(PoisonError::into_inner)
}

impl StreamPlace {
    /// Completes when a newer stream has taken the place. Cancel safe.
    pub(super) async fn taken(&mut self) {
        // Nothing is ever sent.
        let _ = (&mut self.taken).await;
    }
}

impl StreamCapacity {
    /// A capacity of this many streams, of which none is open.
    pub(crate) fn new(max_streams: usize) -> Self {
        Self {
            shared: SharedCapacity::new(max_streams),
            max_of_key: max_streams.div_ceil(KEY_DIVISOR),
            participants: Arc::default(),
        }
    }

    /// A place for one stream. The oldest stream of a participant with the maximum number of streams
    /// ends.
    pub(super) fn place(
        &self,
        tenant: &Tenant,
        by: &Authorization,
    ) -> Result<StreamPlace, CapacityExceeded> {
        match by {
            Authorization::Key(key) => self.place_of_key(ShareHolder::api_key(tenant, *key)),
            Authorization::Token(claims) => {
                self.place_of_participant(ShareHolder::participant(tenant, &claims.subject.raw_id))
            }
        }
    }

    fn place_of_key(&self, holder: ShareHolder) -> Result<StreamPlace, CapacityExceeded> {
        let mut reservation = self.shared.reserve(holder, self.max_of_key);
        reservation.grow(1)?;
        let (keeps_open, taken) = oneshot::channel();
        let held = HeldPlace::Key { _reservation: reservation, _keeps_open: keeps_open };
        Ok(StreamPlace { taken, _held: held })
    }

    fn place_of_participant(&self, holder: ShareHolder) -> Result<StreamPlace, CapacityExceeded> {
        let participant = holder.caller;
        let mut reservation = self.shared.reserve(holder, MAX_PARTICIPANT_STREAMS);
        let mut streams = lock(&self.participants);
        match reservation.grow(1) {
            Ok(()) => {}
            Err(CapacityExceeded::Caller) => {
                let oldest = streams.open.get_mut(&participant).and_then(VecDeque::pop_front);
                reservation = oldest.ok_or(CapacityExceeded::Caller)?.reservation;
            }
            Err(exceeded) => return Err(exceeded),
        }
        streams.next += 1;
        let number = streams.next;
        let (keeps_open, taken) = oneshot::channel();
        let stream = OpenStream { number, reservation, _keeps_open: keeps_open };
        // Nearly all participants have one stream, and a queue would begin with room for four.
        let open = streams.open.entry(participant);
        open.or_insert_with(|| VecDeque::with_capacity(1)).push_back(stream);
        drop(streams);
        let participants = Arc::clone(&self.participants);
        let entry = ParticipantPlace { participants, participant, number };
        Ok(StreamPlace { taken, _held: HeldPlace::Participant { _entry: entry } })
    }
}

#[cfg(test)]
mod tests {
    use futures_util::FutureExt as _;

    use super::*;

    fn anna(capacity: &StreamCapacity) -> Result<StreamPlace, CapacityExceeded> {
        let tenant = Tenant::parse("t").unwrap();
        capacity.place_of_participant(ShareHolder::participant(&tenant, "8:acs:r_anna"))
    }

    #[test]
    fn the_oldest_stream_of_a_participant_makes_room_for_the_newest_one() {
        let capacity = StreamCapacity::new(1_000);
        let mut places: Vec<StreamPlace> =
            (0..MAX_PARTICIPANT_STREAMS).map(|_| anna(&capacity).unwrap()).collect();
        assert!(places.iter_mut().all(|place| place.taken().now_or_never().is_none()));
        let _newest = anna(&capacity).unwrap();
        let taken = |place: &mut StreamPlace| place.taken().now_or_never().is_some();
        let (first, others) = places.split_first_mut().unwrap();
        assert!(taken(first) && !others.iter_mut().any(taken));
        // The end of the oldest stream frees nothing: its place passed over.
        places.remove(0);
        let _one_more = anna(&capacity).unwrap();
        assert!(taken(&mut places[0]));
        assert_eq!(
            lock(&capacity.participants).open.values().map(VecDeque::len).sum::<usize>(),
            64
        );
        drop(places);
        assert_eq!(lock(&capacity.participants).open.values().map(VecDeque::len).sum::<usize>(), 2);
    }

    #[test]
    fn a_full_node_ends_no_stream() {
        let capacity = StreamCapacity::new(2);
        let (mut one, mut two) = (anna(&capacity).unwrap(), anna(&capacity).unwrap());
        assert_eq!(anna(&capacity).err(), Some(CapacityExceeded::Total));
        assert!(one.taken().now_or_never().is_none() && two.taken().now_or_never().is_none());
        drop((one, two));
        assert!(lock(&capacity.participants).open.is_empty());
        assert!(anna(&capacity).is_ok());
    }
}
