//! The clerk: writes down what left for whom, and what came back.
//!
//! A fact is noted where it happens, in a queue, and written in the background by the same road as
//! every event: those of one call together, some of [`GATHERED`] at a time. Nobody who listens
//! waits for it.
//!
//! # Why
//!
//! *A message is dispatched when its connection asks for the next one.* Then the bytes of it are the
//! connection's. A crash in between loses the fact, and the client too comes back without the
//! message: it is stated again, and has its fact then.
//!
//! *A cursor says itself what was stated with it* ([`Stated`]), so that any node can write that it
//! was delivered. It speaks for the message that it came with and for no other.
//!
//! *Once.* What this node has noted it knows by its id; what another has, the ledger knows.
//!
//! *What is noted is bounded.* With both stores away for long, or a flood, facts are given up: counted,
//! and said in the log. A participant whose notice was dispatched then counts as one to whom
//! nothing was, until it is stated again; the error is on the safe side.

use std::collections::{BTreeMap, HashSet};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use metrics::counter;
use tokio::sync::mpsc;
use tokio::sync::mpsc::error::TrySendError;

use super::listener::Reach;
use super::stated::Stated;
use crate::clock;
use crate::domain::alias::Anchor;
use crate::domain::ids::{Digest, Tenant};
use crate::domain::instant::Millis;
use crate::domain::notice_fact::{By, NoticeFact, NoticeKind, Place, Transport, id_by_transport};
use crate::lifecycle::Lifecycle;
use crate::road::Road;
use crate::stream::{MOST_FACTS, NoticeFactsMessage, WireMessage};
use crate::telemetry::names;

/// What is noted within this time is written together.
const GATHERED: Duration = Duration::from_millis(50);
/// So many are written at one go.
const AT_ONCE: usize = 5_000;
/// So many may wait to be written for each stream that the node may serve: a client that comes back
/// takes and is told two types at one time.
const WAITING_PER_STREAM: usize = 4;
/// After a road that took nothing.
const PAUSE: Duration = Duration::from_secs(1);
/// So much of the time for a stop is left when what could not be written is given up.
const FOR_OTHERS: Duration = Duration::from_secs(4);
/// Ids that are known at least; twice as many at most.
const KNOWN: usize = 1 << 16;

/// Whom a stream tells. A stream that was opened with an API key yields no facts: a listening
/// auditor is no participant.
#[derive(Clone, Debug)]
pub struct Hearer {
    tenant: Tenant,
    raw_id: String,
    /// `None`: whatever call it is that is told of.
    attachment: Option<String>,
    transport: Transport,
}

impl Hearer {
    /// Whom a reach is of.
    #[must_use]
    pub fn of(tenant: &Tenant, reach: &Reach, transport: Transport) -> Option<Self> {
        let raw_id = reach.person()?.to_owned();
        let attachment = match reach {
            Reach::Attachment { attachment, .. } => Some(attachment.clone()),
            Reach::Call { .. } | Reach::Person(_) | Reach::Everything => None,
        };
        Some(Self {
            tenant: tenant.clone(),
            raw_id,
            attachment,
            transport,
        })
    }

    /// Whether a call must be named to know where a fact belongs.
    #[must_use]
    pub fn is_of_many(&self) -> bool {
        self.attachment.is_none()
    }

    fn by(&self, stated: &Stated) -> Option<By> {
        let place = match (&self.attachment, &stated.call) {
            (Some(attachment), _) => Place::Attachment(attachment.clone()),
            (None, Some(call)) => Place::Call(call.to_string()),
            (None, None) => return None,
        };
        Some(By {
            raw_id: self.raw_id.clone(),
            place,
        })
    }
}

/// Notes facts.
#[derive(Clone)]
pub struct Clerk {
    notes: mpsc::Sender<Note>,
    known: Arc<Mutex<Known>>,
}

/// A fact that is not yet written.
pub struct Note {
    tenant: Tenant,
    /// With which others it is written.
    call: Anchor,
    fact: NoticeFact,
}

/// The ids that were noted last, in two generations.
#[derive(Default)]
struct Known {
    young: HashSet<Digest>,
    old: HashSet<Digest>,
    /// Some are given up, and that was said.
    giving_up: bool,
}

impl Known {
    /// Whether it was not known.
    fn learn(&mut self, id: Digest) -> bool {
        if self.young.contains(&id) || self.old.contains(&id) {
            return false;
        }
        if self.young.len() >= KNOWN {
            self.old = std::mem::take(&mut self.young);
        }
        self.young.insert(id)
    }

    /// Stated again, it may be noted again.
    fn give_up(&mut self, id: &Digest) {
        self.young.remove(id);
        self.old.remove(id);
        counter!(names::NOTICE_FACTS_LOST).increment(1);
        if !std::mem::replace(&mut self.giving_up, true) {
            tracing::warn!(
                "facts about notices are given up, because too many wait to be written: bring kafka or postgres back"
            );
        }
    }
}

impl Clerk {
    /// Starts writing, on a node that serves at most so many streams.
    #[must_use]
    pub fn start(road: Road, streams: usize, lifecycle: &Lifecycle) -> Self {
        let (notes, waiting) = mpsc::channel(streams.max(1) * WAITING_PER_STREAM);
        let known = Arc::new(Mutex::new(Known::default()));
        lifecycle.run(
            "notice facts",
            write_down(waiting, known.clone(), road, lifecycle.clone()),
        );
        Self { notes, known }
    }

    /// A message was handed to the connection of this hearer, at `t` (ms).
    pub fn dispatched(&self, hearer: &Hearer, stated: &Stated, t: Millis) {
        self.note(NoticeKind::Dispatched, hearer, stated, t);
    }

    /// This hearer has returned the cursor that came with this, at `t` (ms).
    pub fn took(&self, hearer: &Hearer, stated: &Stated, t: Millis) {
        self.note(NoticeKind::Delivered, hearer, stated, t);
    }

    fn note(&self, kind: NoticeKind, hearer: &Hearer, stated: &Stated, t: Millis) {
        let Some(by) = hearer.by(stated) else {
            return;
        };
        for (capture, state, stretch) in stated.levels() {
            let id = id_by_transport(&hearer.tenant, kind, &by, capture, state, stretch);
            if !lock(&self.known).learn(id) {
                continue;
            }
            let note = Note {
                tenant: hearer.tenant.clone(),
                call: stated.call.clone().unwrap_or_else(|| by.anchor()),
                fact: NoticeFact {
                    id,
                    t,
                    kind,
                    capture,
                    state: Some(state),
                    elapsed_ms: None,
                    by: by.clone(),
                    client_id: None,
                    notice: stated.notice.clone(),
                    text: None,
                    transport: Some(hearer.transport),
                },
            };
            if let Err(TrySendError::Full(note) | TrySendError::Closed(note)) =
                self.notes.try_send(note)
            {
                lock(&self.known).give_up(&note.fact.id);
            }
        }
    }
}

fn lock(known: &Mutex<Known>) -> MutexGuard<'_, Known> {
    known.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Writes until nobody is left who could note anything: when a stop has ended all streams.
async fn write_down(
    mut waiting: mpsc::Receiver<Note>,
    known: Arc<Mutex<Known>>,
    road: Road,
    lifecycle: Lifecycle,
) {
    let writing = async {
        let mut notes = Vec::new();
        while waiting.recv_many(&mut notes, AT_ONCE).await > 0 {
            if notes.len() < AT_ONCE {
                tokio::select! {
                    () = tokio::time::sleep(GATHERED) => {}
                    () = lifecycle.soft().cancelled() => {}
                }
            }
            while notes.len() < AT_ONCE
                && let Ok(note) = waiting.try_recv()
            {
                notes.push(note);
            }
            let messages = messages_of(notes.drain(..));
            while road.take(messages.clone(), clock::now()).await.is_err() {
                tokio::time::sleep(PAUSE).await;
            }
            lock(&known).giving_up = false;
        }
    };
    tokio::select! {
        () = writing => {}
        () = lifecycle.nearly_over(FOR_OTHERS) => tracing::warn!(
            "some facts about notices were not written before the stop: neither kafka nor postgres took them, or streams did not end"
        ),
    }
}

/// The messages of these facts, and counts them.
fn messages_of(notes: impl Iterator<Item = Note>) -> Vec<WireMessage> {
    let mut calls: BTreeMap<(Tenant, Anchor), Vec<NoticeFact>> = BTreeMap::new();
    for note in notes {
        counter!(names::NOTICE_FACTS, "kind" => note.fact.kind.as_str()).increment(1);
        let of_call = calls.entry((note.tenant, note.call)).or_default();
        of_call.push(note.fact);
    }
    let of_calls = calls.into_iter();
    of_calls
        .flat_map(|((tenant, call), facts)| messages(&tenant, &call, facts))
        .collect()
}

/// The messages of some facts of one call.
pub(super) fn messages(tenant: &Tenant, call: &Anchor, facts: Vec<NoticeFact>) -> Vec<WireMessage> {
    let parts = facts.chunks(MOST_FACTS).map(|facts| NoticeFactsMessage {
        tenant: tenant.clone(),
        call: call.clone(),
        facts: facts.to_vec(),
    });
    // What is made of words and numbers of ours always serializes.
    parts.filter_map(|part| part.to_wire().ok()).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::fact::Level;
    use crate::domain::indication::IndicationState;
    use crate::domain::notice::{CaptureView, IndicationView};

    impl Clerk {
        /// One whose notes stay where they are.
        pub fn idle(most: usize) -> (Self, mpsc::Receiver<Note>) {
            let (notes, waiting) = mpsc::channel(most);
            let known = Arc::default();
            (Self { notes, known }, waiting)
        }
    }

    fn hearer(reach: &Reach) -> Option<Hearer> {
        let tenant = Tenant::parse("contoso").unwrap();
        Hearer::of(&tenant, reach, Transport::Sse)
    }

    fn of_attachment() -> Hearer {
        hearer(&Reach::Attachment {
            attachment: "a".to_owned(),
            person: "anna".to_owned(),
        })
        .unwrap()
    }

    fn stated(state: IndicationState, stretch: Millis) -> Stated {
        let view = IndicationView {
            recording: CaptureView {
                state,
                stretch: Some(stretch),
                ..CaptureView::default()
            },
            ..IndicationView::default()
        };
        Stated::of(&Anchor::server("https://s"), "n", &view).unwrap()
    }

    #[test]
    fn a_level_is_dispatched_once_per_stretch_and_only_what_is_known_of() {
        let (clerk, mut waiting) = Clerk::idle(10);
        let hearer = of_attachment();
        let on = stated(IndicationState::On, 5);
        clerk.dispatched(&hearer, &on, 10);
        clerk.dispatched(&hearer, &on, 11);
        clerk.took(&hearer, &on, 12);
        clerk.dispatched(&hearer, &stated(IndicationState::Off, 5), 13);
        clerk.dispatched(&hearer, &stated(IndicationState::On, 20), 21);
        let mut noted = Vec::new();
        while let Ok(note) = waiting.try_recv() {
            noted.push((note.fact.kind, note.fact.state, note.fact.t));
        }
        assert_eq!(
            noted,
            [
                (NoticeKind::Dispatched, Some(Level::On), 10),
                (NoticeKind::Delivered, Some(Level::On), 12),
                (NoticeKind::Dispatched, Some(Level::Off), 13),
                (NoticeKind::Dispatched, Some(Level::On), 21),
            ]
        );
    }

    #[test]
    fn an_auditor_is_no_participant() {
        assert!(hearer(&Reach::Everything).is_none());
        let reach = Reach::Call {
            anchors: Vec::new(),
            person: None,
        };
        assert!(hearer(&reach).is_none());
    }

    #[test]
    fn what_was_given_up_is_noted_when_it_is_stated_again() {
        let (clerk, mut waiting) = Clerk::idle(1);
        let hearer = of_attachment();
        clerk.dispatched(&hearer, &stated(IndicationState::On, 1), 1);
        clerk.dispatched(&hearer, &stated(IndicationState::On, 2), 2);
        assert_eq!(waiting.try_recv().unwrap().fact.t, 1);
        clerk.dispatched(&hearer, &stated(IndicationState::On, 2), 3);
        assert_eq!(waiting.try_recv().unwrap().fact.t, 3);
    }

    #[test]
    fn facts_of_one_call_travel_together() {
        let (clerk, mut waiting) = Clerk::idle(2 * MOST_FACTS);
        for person in 0..=MOST_FACTS {
            let hearer = hearer(&Reach::Person(person.to_string())).unwrap();
            clerk.dispatched(&hearer, &stated(IndicationState::On, 1), 1);
        }
        let notes = std::iter::from_fn(|| waiting.try_recv().ok());
        let messages = messages_of(notes);
        let sizes: Vec<usize> = messages
            .iter()
            .map(|wire| NoticeFactsMessage::from_wire(wire).unwrap().facts.len())
            .collect();
        assert_eq!(sizes, [MOST_FACTS, 1]);
    }
}
