//! The clerk: writes down what left for whom, and what came back.
//!
//! What happened is noted where it happens, in a queue, and written in the background by the same
//! road as every event: what was stated alike to many in one piece, some of [`GATHERED`] at a time.
//! Nobody who listens waits for it.
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
//! *Once.* What this node has written it knows by its id; what another has, the ledger knows.
//!
//! *What is noted is bounded.* With both stores away for long, or a flood, facts are given up: counted,
//! and said in the log. A participant whose notice was dispatched then counts as one to whom
//! nothing was, until it is stated again; the error is on the safe side.

use std::collections::{BTreeMap, HashMap, HashSet};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use metrics::counter;
use tokio::sync::mpsc;

use super::listener::Reach;
use super::stated::Stated;
use crate::clock;
use crate::domain::alias::Anchor;
use crate::domain::fact::{CaptureType, Level};
use crate::domain::ids::{Digest, Tenant};
use crate::domain::instant::Millis;
use crate::domain::notice_fact::{
    By, HearerOfShared, NoticeKind, Place, SharedNoticeFact, Transport, id_by_transport,
};
use crate::lifecycle::Lifecycle;
use crate::road::Road;
use crate::stream::{MOST_FACTS, NoticeFactsToWrite, WireMessage};
use crate::telemetry::names;

/// What is noted within this time is written together.
const GATHERED: Duration = Duration::from_millis(50);
/// So many are written at one go.
const AT_ONCE: usize = 5_000;
/// So many may wait to be written for each stream that the node may serve: a client that comes back
/// takes and is told at one time.
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

/// Notes what happened.
#[derive(Clone)]
pub struct Clerk {
    notes: mpsc::Sender<Note>,
    /// Some was given up, and that was said.
    giving_up: Arc<AtomicBool>,
}

/// What is not yet written: that this was handed to a hearer, or came back from it.
pub struct Note {
    /// ms.
    t: Millis,
    kind: NoticeKind,
    hearer: Arc<Hearer>,
    stated: Arc<Stated>,
}

/// The ids that were written last, in two generations.
#[derive(Default)]
struct Known {
    young: HashSet<Digest>,
    old: HashSet<Digest>,
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
}

impl Clerk {
    /// Starts writing, on a node that serves at most so many streams.
    #[must_use]
    pub fn start(road: Road, streams: usize, lifecycle: &Lifecycle) -> Self {
        let (notes, waiting) = mpsc::channel(streams.max(1) * WAITING_PER_STREAM);
        let giving_up = Arc::default();
        lifecycle.run(
            "notice facts",
            write_down(waiting, Arc::clone(&giving_up), road, lifecycle.clone()),
        );
        Self { notes, giving_up }
    }

    /// A message was handed to the connection of this hearer, at `t` (ms).
    pub fn dispatched(&self, hearer: &Arc<Hearer>, stated: Arc<Stated>, t: Millis) {
        self.note(NoticeKind::Dispatched, hearer, stated, t);
    }

    /// This hearer has returned the cursor that came with this, at `t` (ms).
    pub fn took(&self, hearer: &Arc<Hearer>, stated: Arc<Stated>, t: Millis) {
        self.note(NoticeKind::Delivered, hearer, stated, t);
    }

    fn note(&self, kind: NoticeKind, hearer: &Arc<Hearer>, stated: Arc<Stated>, t: Millis) {
        let note = Note {
            t,
            kind,
            hearer: Arc::clone(hearer),
            stated,
        };
        let Err(refused) = self.notes.try_send(note) else {
            return;
        };
        let lost = refused.into_inner().stated.levels().count();
        counter!(names::NOTICE_FACTS_LOST).increment(lost as u64);
        if !self.giving_up.swap(true, Ordering::Relaxed) {
            tracing::warn!(
                "facts about notices are given up, because too many wait to be written: bring kafka or postgres back"
            );
        }
    }
}

/// Writes until nobody is left who could note anything: when a stop has ended all streams.
async fn write_down(
    mut waiting: mpsc::Receiver<Note>,
    giving_up: Arc<AtomicBool>,
    road: Road,
    lifecycle: Lifecycle,
) {
    let writing = async {
        let (mut notes, mut known) = (Vec::new(), Known::default());
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
            let messages = messages_of(&notes, &mut known);
            notes.clear();
            while road.take(messages.clone(), clock::now()).await.is_err() {
                tokio::time::sleep(PAUSE).await;
            }
            giving_up.store(false, Ordering::Relaxed);
        }
    };
    tokio::select! {
        () = writing => {}
        () = lifecycle.nearly_over(FOR_OTHERS) => tracing::warn!(
            "some facts about notices were not written before the stop: neither kafka nor postgres took them, or streams did not end"
        ),
    }
}

/// What facts have in common that differ in nothing but whom and when.
#[derive(PartialEq, Eq, Hash)]
struct Alike<'n> {
    tenant: &'n Tenant,
    call: Anchor,
    kind: NoticeKind,
    transport: Transport,
    notice: Option<&'n str>,
    /// The level, and the stretch that it is of.
    stated: (CaptureType, Level, Option<Millis>),
}

/// The messages of what was not known, and counts it. Notes are taken in their order: of two that
/// say the same the earlier one is written.
fn messages_of(notes: &[Note], known: &mut Known) -> Vec<WireMessage> {
    let mut alike: HashMap<Alike<'_>, Vec<(Millis, By)>> = HashMap::new();
    for note in notes {
        let (hearer, kind) = (&*note.hearer, note.kind);
        let Some(by) = hearer.by(&note.stated) else {
            continue;
        };
        let call = note.stated.call.clone().unwrap_or_else(|| by.anchor());
        for stated @ (capture, state, stretch) in note.stated.levels() {
            let tenant = &hearer.tenant;
            if !known.learn(id_by_transport(tenant, kind, &by, capture, state, stretch)) {
                continue;
            }
            let together = Alike {
                tenant,
                call: call.clone(),
                kind,
                transport: hearer.transport,
                notice: note.stated.notice.as_deref(),
                stated,
            };
            let hearers = alike.entry(together).or_default();
            hearers.push((note.t, by.clone()));
        }
    }
    let mut calls: BTreeMap<(&Tenant, Anchor), Vec<SharedNoticeFact>> = BTreeMap::new();
    for (alike, hearers) in alike {
        let of_call = calls.entry((alike.tenant, alike.call.clone()));
        of_call.or_default().push(shared_fact(&alike, hearers));
    }
    let of_calls = calls.into_iter();
    of_calls
        .flat_map(|((tenant, call), shared)| messages(tenant, &call, shared))
        .collect()
}

fn shared_fact(alike: &Alike<'_>, hearers: Vec<(Millis, By)>) -> SharedNoticeFact {
    let kind = alike.kind;
    counter!(names::NOTICE_FACTS, "kind" => kind.as_str()).increment(hearers.len() as u64);
    let (capture, state, stretch) = alike.stated;
    let t = hearers.iter().map(|(t, _)| *t).min().unwrap_or_default();
    let hearers = hearers.into_iter().map(|(at, by)| HearerOfShared {
        by,
        after_ms: u32::try_from(at - t).unwrap_or(u32::MAX),
    });
    SharedNoticeFact {
        t,
        kind,
        capture,
        state,
        stretch,
        notice: alike.notice.map(str::to_owned),
        transport: alike.transport,
        hearers: hearers.collect(),
    }
}

/// As few messages as there may be of these facts of one call.
fn messages(tenant: &Tenant, call: &Anchor, facts: Vec<SharedNoticeFact>) -> Vec<WireMessage> {
    let mut packs: Vec<Vec<SharedNoticeFact>> = Vec::new();
    let mut room = 0;
    for mut fact in facts {
        let mut hearers = std::mem::take(&mut fact.hearers);
        while !hearers.is_empty() {
            if room == 0 {
                packs.push(Vec::new());
                room = MOST_FACTS;
            }
            let later = hearers.split_off(room.min(hearers.len()));
            room -= hearers.len();
            let piece = SharedNoticeFact {
                hearers: std::mem::replace(&mut hearers, later),
                ..fact.clone()
            };
            if let Some(pack) = packs.last_mut() {
                pack.push(piece);
            }
        }
    }
    let written = packs.iter().map(|shared| NoticeFactsToWrite {
        tenant,
        call,
        facts: &[],
        shared,
    });
    // What is made of words and numbers of ours always serializes.
    written.filter_map(|it| it.to_wire().ok()).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::indication::IndicationState;
    use crate::domain::notice::{CaptureView, IndicationView};
    use crate::domain::notice_fact::NoticeFact;
    use crate::stream::NoticeFactsMessage;

    impl Clerk {
        /// One whose notes stay where they are.
        pub fn idle(most: usize) -> (Self, mpsc::Receiver<Note>) {
            let (notes, waiting) = mpsc::channel(most);
            let giving_up = Arc::default();
            (Self { notes, giving_up }, waiting)
        }
    }

    fn hearer(reach: &Reach) -> Option<Arc<Hearer>> {
        let tenant = Tenant::parse("contoso").unwrap();
        Hearer::of(&tenant, reach, Transport::Sse).map(Arc::new)
    }

    /// What is written of everything that waits.
    fn written(waiting: &mut mpsc::Receiver<Note>, known: &mut Known) -> Vec<Vec<NoticeFact>> {
        let notes: Vec<Note> = std::iter::from_fn(|| waiting.try_recv().ok()).collect();
        let messages = messages_of(&notes, known);
        let read = messages.iter().map(NoticeFactsMessage::from_wire);
        read.map(|message| message.unwrap().facts).collect()
    }

    fn of_attachment() -> Arc<Hearer> {
        hearer(&Reach::Attachment {
            attachment: "a".to_owned(),
            person: "anna".to_owned(),
        })
        .unwrap()
    }

    fn stated(state: IndicationState, stretch: Millis) -> Arc<Stated> {
        let view = IndicationView {
            recording: CaptureView::of_level(state.into(), Some(stretch)),
            ..IndicationView::default()
        };
        Arc::new(Stated::of(&Anchor::server("https://s"), "n", &view).unwrap())
    }

    #[test]
    fn a_level_is_dispatched_once_per_stretch_and_only_what_is_known_of() {
        let (clerk, mut waiting) = Clerk::idle(10);
        let (hearer, mut known) = (of_attachment(), Known::default());
        let on = stated(IndicationState::On, 5);
        clerk.dispatched(&hearer, on.clone(), 10);
        clerk.dispatched(&hearer, on.clone(), 11);
        clerk.took(&hearer, on.clone(), 12);
        clerk.dispatched(&hearer, stated(IndicationState::Off, 5), 13);
        let mut noted = written(&mut waiting, &mut known).concat();
        clerk.dispatched(&hearer, on, 14);
        clerk.dispatched(&hearer, stated(IndicationState::On, 20), 21);
        noted.extend(written(&mut waiting, &mut known).concat());
        noted.sort_by_key(|fact| fact.t);
        let noted: Vec<_> = noted
            .iter()
            .map(|fact| (fact.kind, fact.state, fact.t))
            .collect();
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
    fn of_two_notices_that_state_one_level_the_first_is_what_told_it() {
        let both = |transcription: IndicationState, notice| {
            let view = IndicationView {
                recording: CaptureView::of_level(IndicationState::On.into(), Some(5)),
                transcription: CaptureView::of_level(transcription.into(), None),
            };
            Arc::new(Stated::of(&Anchor::server("https://s"), notice, &view).unwrap())
        };
        let (clerk, mut waiting) = Clerk::idle(10);
        let hearer = of_attachment();
        clerk.dispatched(&hearer, both(IndicationState::Off, "first"), 10);
        clerk.dispatched(&hearer, both(IndicationState::On, "second"), 11);
        let facts = written(&mut waiting, &mut Known::default()).concat();
        let mut facts: Vec<_> = facts
            .into_iter()
            .map(|fact| (fact.capture, fact.state, fact.t, fact.notice))
            .collect();
        facts.sort_by_key(|(_, _, t, _)| *t);
        facts.sort_by_key(|(capture, ..)| *capture);
        let told =
            |capture, state, t, notice: &str| (capture, Some(state), t, Some(notice.to_owned()));
        assert_eq!(
            facts,
            [
                told(CaptureType::Recording, Level::On, 10, "first"),
                told(CaptureType::Transcription, Level::Off, 10, "first"),
                told(CaptureType::Transcription, Level::On, 11, "second"),
            ]
        );
    }

    #[test]
    fn what_was_given_up_is_noted_when_it_is_stated_again() {
        let (clerk, mut waiting) = Clerk::idle(1);
        let (hearer, mut known) = (of_attachment(), Known::default());
        clerk.dispatched(&hearer, stated(IndicationState::On, 1), 1);
        clerk.dispatched(&hearer, stated(IndicationState::On, 2), 2);
        assert_eq!(written(&mut waiting, &mut known).concat()[0].t, 1);
        clerk.dispatched(&hearer, stated(IndicationState::On, 2), 3);
        assert_eq!(written(&mut waiting, &mut known).concat()[0].t, 3);
    }

    #[test]
    fn facts_of_one_call_travel_together() {
        let (clerk, mut waiting) = Clerk::idle(4 * MOST_FACTS);
        let (on, off) = (
            stated(IndicationState::On, 1),
            stated(IndicationState::Off, 2),
        );
        for person in 0..=MOST_FACTS {
            let hearer = hearer(&Reach::Person(person.to_string())).unwrap();
            clerk.dispatched(&hearer, on.clone(), 1);
            clerk.dispatched(&hearer, off.clone(), 2 + person as Millis);
        }
        let written = written(&mut waiting, &mut Known::default());
        let sizes: Vec<usize> = written.iter().map(Vec::len).collect();
        assert_eq!(sizes, [MOST_FACTS, MOST_FACTS, 2]);
        let of_last = written
            .concat()
            .into_iter()
            .filter(|it| it.state == Some(Level::Off) && it.by.raw_id == MOST_FACTS.to_string());
        let times: Vec<Millis> = of_last.map(|fact| fact.t).collect();
        assert_eq!(times, [2 + MOST_FACTS as Millis]);
    }
}
