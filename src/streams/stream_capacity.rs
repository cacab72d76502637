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

use super::subscription::Authorization;
use crate::http::shared_capacity::{
    CallerId, CapacityExceeded, CapacityReservation, ShareHolder, SharedCapacity,
};
use crate::live::fanout::queue::{QueueEnd, Receiver};
use onrecord_evidence::event::ids::Tenant;

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
    open: HashMap<CallerId, VecDeque<OpenStream>>,
}

/// The place of a participant's stream.
struct OpenStream {
    number: u64,
    reservation: CapacityReservation,
    /// Ends its queue when a newer stream takes the place.
    queue: Option<QueueEnd>,
}

/// The place of an open stream, until it is dropped.
pub(super) enum StreamPlace {
    /// Nobody takes it.
    Key { _reservation: CapacityReservation },
    /// A newer stream of the participant may take it.
    Participant(ParticipantPlace),
}

/// The entry of a participant's stream.
pub(super) struct ParticipantPlace {
    participants: Arc<Mutex<ParticipantStreams>>,
    participant: CallerId,
    number: u64,
}

impl ParticipantPlace {
    /// Looks at the open stream; `None`: a newer one has taken the place.
    fn with_open<T>(&self, look: impl FnOnce(&mut OpenStream) -> T) -> Option<T> {
        let mut streams = lock(&self.participants);
        let open = streams.open.get_mut(&self.participant)?;
        open.iter_mut().find(|stream| stream.number == self.number).map(look)
    }
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
    /// Ends the queue of the stream when a newer stream takes the place, or now if one has.
    pub(super) fn ends(&self, receiver: &Receiver) {
        let Self::Participant(place) = self else {
            return;
        };
        if place.with_open(|stream| stream.queue = Some(receiver.end())).is_none() {
            receiver.end().close();
        }
    }

    /// Whether a newer stream has taken the place.
    pub(super) fn is_taken(&self) -> bool {
        match self {
            Self::Key { .. } => false,
            Self::Participant(place) => place.with_open(|_| ()).is_none(),
        }
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
        Ok(StreamPlace::Key { _reservation: reservation })
    }

    fn place_of_participant(&self, holder: ShareHolder) -> Result<StreamPlace, CapacityExceeded> {
        let participant = holder.caller;
        let mut reservation = self.shared.reserve(holder, MAX_PARTICIPANT_STREAMS);
        let mut streams = lock(&self.participants);
        match reservation.grow(1) {
            Ok(()) => {}
            Err(CapacityExceeded::Caller) => {
                let oldest = streams.open.get_mut(&participant).and_then(VecDeque::pop_front);
                let oldest = oldest.ok_or(CapacityExceeded::Caller)?;
                if let Some(queue) = oldest.queue {
                    queue.close();
                }
                reservation = oldest.reservation;
            }
            Err(exceeded) => return Err(exceeded),
        }
        streams.next += 1;
        let number = streams.next;
        let stream = OpenStream { number, reservation, queue: None };
        // Nearly all participants have one stream, and a queue would begin with room for four.
        let open = streams.open.entry(participant);
        open.or_insert_with(|| VecDeque::with_capacity(1)).push_back(stream);
        drop(streams);
        let participants = Arc::clone(&self.participants);
        Ok(StreamPlace::Participant(ParticipantPlace { participants, participant, number }))
    }
}

#[cfg(test)]
mod tests {
    use futures_util::FutureExt as _;

    use super::*;
    use crate::live::fanout::queue::queue;

    fn anna(capacity: &StreamCapacity) -> Result<StreamPlace, CapacityExceeded> {
        let tenant = Tenant::parse("t").unwrap();
        capacity.place_of_participant(ShareHolder::participant(&tenant, "8:acs:r_anna"))
    }

    #[test]
    fn the_oldest_stream_of_a_participant_makes_room_for_the_newest_one() {
        let capacity = StreamCapacity::new(1_000);
        let mut places: Vec<StreamPlace> =
            (0..MAX_PARTICIPANT_STREAMS).map(|_| anna(&capacity).unwrap()).collect();
        let mut queues: Vec<_> = places.iter().map(|_| queue()).collect();
        for (place, (_, receiver)) in places.iter().zip(&queues) {
            place.ends(receiver);
        }
        assert!(!places.iter().any(StreamPlace::is_taken));
        let _newest = anna(&capacity).unwrap();
        let (first, others) = places.split_first().unwrap();
        assert!(first.is_taken() && !others.iter().any(StreamPlace::is_taken));
        let ended: Vec<bool> = queues
            .iter_mut()
            .map(|(_, receiver)| receiver.next().now_or_never().is_some())
            .collect();
        assert!(ended[0] && !ended[1..].contains(&true));
        // The end of the oldest stream frees nothing: its place passed over.
        places.remove(0);
        let _one_more = anna(&capacity).unwrap();
        assert!(places[0].is_taken());
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
        let (one, two) = (anna(&capacity).unwrap(), anna(&capacity).unwrap());
        assert_eq!(anna(&capacity).err(), Some(CapacityExceeded::Total));
        assert!(!one.is_taken() && !two.is_taken());
        drop((one, two));
        assert!(lock(&capacity.participants).open.is_empty());
        assert!(anna(&capacity).is_ok());
    }
}
