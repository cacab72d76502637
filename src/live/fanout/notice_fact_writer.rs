//! Writes notice facts: which level was dispatched to which recipient, and which was delivered.
//!
//! Streams put facts into a bounded queue. A background task collects them for
//! [`COALESCE_INTERVAL`], merges equal statements to many recipients into shared facts, and
//! publishes them like every event. No stream waits for it.
//!
//! # Why
//!
//! *A message counts as dispatched when its connection asks for the next one.* From then on its
//! bytes belong to the connection. A crash before that loses the fact; the client returns without
//! the message, the level is stated again, and that dispatch gets a fact.
//!
//! *A cursor carries what was stated with it* ([`StatedLevels`]), so that any node can record the
//! delivery. It stands for the message that it came with and for no other.
//!
//! *Once* (`ONCE`). A node removes its own duplicates by fact id; the ledger removes those of
//! several nodes.
//!
//! *The queue is bounded.* With both stores unavailable for long, or in a flood, facts are dropped,
//! counted and logged. A participant whose notice was dispatched then counts as not notified until
//! the level is stated again; the error is on the safe side (`ABSENCE_IS_NOT_COMPLIANCE`).

use std::collections::{BTreeMap, HashMap, HashSet};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use metrics::counter;
use tokio::sync::mpsc;

use super::stated_levels::StatedLevels;
use super::subscriber::SubscriptionScope;
use crate::clock;
use crate::http::subscriber_token::token_subject::TokenSubject;
use crate::kafka::{MAX_FACTS_PER_MESSAGE, NoticeFactsToWrite, WireMessage};
use crate::lifecycle::Lifecycle;
use crate::publish::DurablePublisher;
use crate::telemetry::dropped::{DroppedContent, record_dropped};
use crate::telemetry::names;
use onrecord_evidence::event::ids::{Digest, Tenant};
use onrecord_evidence::event::instant::Millis;
use onrecord_evidence::fact::kinds::{CaptureType, JsonWord as _, Level};
use onrecord_evidence::identity::alias_graph::Anchor;
use onrecord_evidence::notice::notice_fact::{
    NoticeKind, NoticePlace, SharedNoticeFact, SharedRecipient, StatedBy, Transport,
    id_by_transport,
};

/// Interval over which facts are collected before they are written together.
const COALESCE_INTERVAL: Duration = Duration::from_millis(50);
/// Maximum number of facts written at once.
const MAX_BATCH: usize = 5_000;
/// Maximum number of facts that wait to be written, for each stream that the node may serve. A
/// returning client causes a delivery and a dispatch at the same time.
const MAX_PENDING_PER_STREAM: usize = 4;
/// Interval between attempts to publish while neither store accepts messages.
const RETRY_INTERVAL: Duration = Duration::from_secs(1);
/// Minimum time of a shutdown that remains for other components when unwritten facts are given up.
const SHUTDOWN_RESERVE: Duration = Duration::from_secs(4);
/// Minimum number of remembered fact ids; the maximum is twice that.
const MIN_KNOWN_IDS: usize = 1 << 16;

/// The participant to whom a stream belongs. A stream opened with an API key has no recipient and
/// yields no facts: an auditor is no participant.
#[derive(Clone, Debug)]
pub(crate) struct Recipient {
    tenant: Tenant,
    /// The one of the scope, for its raw id.
    subject: Arc<TokenSubject>,
    /// `None`: the stream covers any number of calls, and each fact names its call.
    attachment: Option<Arc<str>>,
    transport: Transport,
}

impl Recipient {
    /// The recipient of a scope.
    #[must_use]
    pub(crate) fn of(
        tenant: &Tenant,
        scope: &SubscriptionScope,
        transport: Transport,
    ) -> Option<Self> {
        let subject = Arc::clone(scope.subject()?);
        let attachment = scope.attachment().cloned();
        Some(Self { tenant: tenant.clone(), subject, attachment, transport })
    }

    fn by(&self, stated: &StatedLevels) -> Option<StatedBy> {
        let place = match (&self.attachment, &stated.call) {
            (Some(attachment), _) => NoticePlace::Attachment(attachment.to_string()),
            (None, Some(call)) => NoticePlace::Call(call.to_string()),
            (None, None) => return None,
        };
        Some(StatedBy { raw_id: self.subject.raw_id.clone(), place })
    }
}

/// Accepts facts for writing. Clones share one queue.
#[derive(Clone)]
pub(crate) struct NoticeFactWriter {
    pending: mpsc::Sender<PendingFact>,
    /// Facts are being dropped, and a warning was logged.
    dropping: Arc<AtomicBool>,
}

/// A fact that waits to be written.
pub(crate) struct PendingFact {
    /// When it happened, ms.
    at: Millis,
    kind: NoticeKind,
    recipient: Arc<Recipient>,
    stated: Arc<StatedLevels>,
}

/// The fact ids written last, in two generations.
#[derive(Default)]
struct KnownFactIds {
    young: HashSet<Digest>,
    old: HashSet<Digest>,
}

impl KnownFactIds {
    /// Adds an id. Returns false if it was known.
    fn insert(&mut self, id: Digest) -> bool {
        if self.young.contains(&id) || self.old.contains(&id) {
            return false;
        }
        if self.young.len() >= MIN_KNOWN_IDS {
            self.old = std::mem::take(&mut self.young);
        }
        self.young.insert(id)
    }
}

impl NoticeFactWriter {
    /// Starts the background task, on a node that serves at most `streams` streams.
    #[must_use]
    pub(crate) fn start(
        publisher: DurablePublisher,
        streams: usize,
        lifecycle: &Lifecycle,
    ) -> Self {
        let (pending, queue) = mpsc::channel(streams.max(1) * MAX_PENDING_PER_STREAM);
        let dropping = Arc::default();
        lifecycle.run(
            "notice facts",
            write_pending(queue, Arc::clone(&dropping), publisher, lifecycle.clone()),
        );
        Self { pending, dropping }
    }

    /// Records what happened at `at` (ms): a message was handed to the connection of this recipient
    /// (`Dispatched`), or the recipient returned its cursor (`Delivered`).
    pub(crate) fn record(
        &self,
        kind: NoticeKind,
        recipient: &Arc<Recipient>,
        stated: Arc<StatedLevels>,
        at: Millis,
    ) {
        let fact = PendingFact { at, kind, recipient: Arc::clone(recipient), stated };
        let Err(rejected) = self.pending.try_send(fact) else {
            return;
        };
        let lost = rejected.into_inner().stated.levels().count();
        counter!(names::NOTICE_FACTS_LOST).increment(lost as u64);
        if !self.dropping.swap(true, Ordering::Relaxed) {
            tracing::warn!(
                "notice facts are dropped, because too many wait to be written: make kafka or postgres available again"
            );
        }
    }
}

/// Publishes facts until all writers are dropped, which is when a shutdown has ended all streams.
async fn write_pending(
    mut queue: mpsc::Receiver<PendingFact>,
    dropping: Arc<AtomicBool>,
    publisher: DurablePublisher,
    lifecycle: Lifecycle,
) {
    let writing = async {
        let (mut pending, mut known) = (Vec::new(), KnownFactIds::default());
        while queue.recv_many(&mut pending, MAX_BATCH).await > 0 {
            if pending.len() < MAX_BATCH {
                tokio::select! {
                    () = tokio::time::sleep(COALESCE_INTERVAL) => {}
                    () = lifecycle.soft().cancelled() => {}
                }
            }
            while pending.len() < MAX_BATCH
                && let Ok(fact) = queue.try_recv()
            {
                pending.push(fact);
            }
            let messages = messages_of(&pending, &mut known);
            pending.clear();
            while publisher.publish(messages.clone(), clock::now()).await.is_err() {
                tokio::time::sleep(RETRY_INTERVAL).await;
            }
            dropping.store(false, Ordering::Relaxed);
        }
    };
    tokio::select! {
        () = writing => {}
        () = lifecycle.until_remaining(SHUTDOWN_RESERVE) => tracing::warn!(
            "some notice facts were not written before the shutdown: neither kafka nor postgres accepted them, or streams did not end"
        ),
    }
}

/// What facts have in common that differ only in recipient and time.
#[derive(PartialEq, Eq, Hash)]
struct SharedFactKey<'n> {
    tenant: &'n Tenant,
    call: Anchor,
    kind: NoticeKind,
    transport: Transport,
    notice: Option<&'n str>,
    /// The capture type, its level, and the start of the capture that the level belongs to, ms.
    stated: (CaptureType, Level, Option<Millis>),
}

/// The messages of all facts that are not known yet; counts them. Facts are read in order, so that
/// of two equal facts the earlier one is written.
fn messages_of(pending: &[PendingFact], known: &mut KnownFactIds) -> Vec<WireMessage> {
    let mut shared: HashMap<SharedFactKey<'_>, Vec<(Millis, StatedBy)>> = HashMap::new();
    for fact in pending {
        let (recipient, kind) = (&*fact.recipient, fact.kind);
        let Some(by) = recipient.by(&fact.stated) else {
            continue;
        };
        let call = fact.stated.call.clone().unwrap_or_else(|| by.anchor());
        for stated @ (capture_type, state, capture_start) in fact.stated.levels() {
            let tenant = &recipient.tenant;
            if !known.insert(id_by_transport(tenant, kind, &by, capture_type, state, capture_start))
            {
                continue;
            }
            let key = SharedFactKey {
                tenant,
                call: call.clone(),
                kind,
                transport: recipient.transport,
                notice: fact.stated.notice.as_deref(),
                stated,
            };
            let recipients = shared.entry(key).or_default();
            recipients.push((fact.at, by.clone()));
        }
    }
    let mut calls: BTreeMap<(&Tenant, Anchor), Vec<SharedNoticeFact>> = BTreeMap::new();
    for (key, recipients) in shared {
        let of_call = calls.entry((key.tenant, key.call.clone()));
        of_call.or_default().push(shared_fact(&key, recipients));
    }
    calls.into_iter().flat_map(|((tenant, call), shared)| messages(tenant, &call, shared)).collect()
}

fn shared_fact(key: &SharedFactKey<'_>, recipients: Vec<(Millis, StatedBy)>) -> SharedNoticeFact {
    let kind = key.kind;
    counter!(names::NOTICE_FACTS, "kind" => kind.as_str()).increment(recipients.len() as u64);
    let (capture_type, state, capture_start) = key.stated;
    let t = recipients.iter().map(|(t, _)| *t).min().unwrap_or_default();
    let recipients = recipients.into_iter().map(|(at, by)| SharedRecipient {
        by,
        after_ms: u32::try_from(at - t).unwrap_or(u32::MAX),
    });
    SharedNoticeFact {
        at: t,
        kind,
        capture_type,
        state,
        capture_started_at: capture_start,
        notice: key.notice.map(str::to_owned),
        transport: key.transport,
        recipients: recipients.collect(),
    }
}

/// Packs the facts of one call into as few messages as possible.
fn messages(tenant: &Tenant, call: &Anchor, facts: Vec<SharedNoticeFact>) -> Vec<WireMessage> {
    let mut batches: Vec<Vec<SharedNoticeFact>> = Vec::new();
    let mut free = 0;
    for mut fact in facts {
        let mut recipients = std::mem::take(&mut fact.recipients);
        while !recipients.is_empty() {
            if free == 0 {
                batches.push(Vec::new());
                free = MAX_FACTS_PER_MESSAGE;
            }
            let later = recipients.split_off(free.min(recipients.len()));
            free -= recipients.len();
            let piece = SharedNoticeFact {
                recipients: std::mem::replace(&mut recipients, later),
                ..fact.clone()
            };
            if let Some(batch) = batches.last_mut() {
                batch.push(piece);
            }
        }
    }
    let written =
        batches.iter().map(|shared| NoticeFactsToWrite { tenant, call, facts: &[], shared });
    let encoded = written.filter_map(|it| match it.to_wire() {
        Ok(message) => Some(message),
        Err(error) => {
            record_dropped(DroppedContent::NoticeFacts, &error);
            None
        }
    });
    encoded.collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::ClientPolicy;
    use crate::http::subscriber_token::token_subject::TokenSubject;
    use crate::kafka::NoticeFactsMessage;
    use onrecord_evidence::notice::indication::IndicationState;
    use onrecord_evidence::notice::notice_fact::NoticeFact;
    use onrecord_evidence::notice::variant::{CaptureView, IndicationView};

    impl NoticeFactWriter {
        /// A writer whose facts stay in the queue.
        pub(crate) fn idle(capacity: usize) -> (Self, mpsc::Receiver<PendingFact>) {
            let (pending, queue) = mpsc::channel(capacity);
            let dropping = Arc::default();
            (Self { pending, dropping }, queue)
        }
    }

    fn recipient(scope: &SubscriptionScope) -> Option<Arc<Recipient>> {
        let tenant = Tenant::parse("contoso").unwrap();
        Recipient::of(&tenant, scope, Transport::Sse).map(Arc::new)
    }

    /// The facts that are written from the queue.
    fn written(
        queue: &mut mpsc::Receiver<PendingFact>,
        known: &mut KnownFactIds,
    ) -> Vec<Vec<NoticeFact>> {
        let pending: Vec<PendingFact> = std::iter::from_fn(|| queue.try_recv().ok()).collect();
        let messages = messages_of(&pending, known);
        let read = messages.iter().map(NoticeFactsMessage::from_wire);
        read.map(|message| message.unwrap().facts).collect()
    }

    fn of_attachment() -> Arc<Recipient> {
        recipient(&SubscriptionScope::Attachment {
            attachment: "a".into(),
            subject: TokenSubject::plain("anna"),
        })
        .unwrap()
    }

    fn stated(state: IndicationState, capture_start: Millis) -> Arc<StatedLevels> {
        let view = IndicationView {
            recording: CaptureView::of_level(state.into(), Some(capture_start)),
            ..IndicationView::default()
        };
        Arc::new(StatedLevels::of(&Anchor::server("https://s"), "n", &view).unwrap())
    }

    #[test]
    fn a_level_is_dispatched_once_per_capture_and_unknown_levels_are_left_out() {
        let (writer, mut queue) = NoticeFactWriter::idle(10);
        let (recipient, mut known) = (of_attachment(), KnownFactIds::default());
        let on = stated(IndicationState::On, 5);
        writer.record(NoticeKind::Dispatched, &recipient, on.clone(), 10);
        writer.record(NoticeKind::Dispatched, &recipient, on.clone(), 11);
        writer.record(NoticeKind::Delivered, &recipient, on.clone(), 12);
        writer.record(NoticeKind::Dispatched, &recipient, stated(IndicationState::Off, 5), 13);
        let mut noted = written(&mut queue, &mut known).concat();
        writer.record(NoticeKind::Dispatched, &recipient, on, 14);
        writer.record(NoticeKind::Dispatched, &recipient, stated(IndicationState::On, 20), 21);
        noted.extend(written(&mut queue, &mut known).concat());
        noted.sort_by_key(|fact| fact.at);
        let noted: Vec<_> = noted.iter().map(|fact| (fact.kind, fact.state, fact.at)).collect();
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
    fn a_stream_with_an_api_key_has_no_recipient() {
        assert!(recipient(&SubscriptionScope::Everything).is_none());
        let scope = SubscriptionScope::Call { anchors: Vec::new(), subject: None };
        assert!(recipient(&scope).is_none());
    }

    #[test]
    fn the_first_of_two_notices_with_the_same_level_gets_the_fact() {
        let both = |transcription: IndicationState, notice| {
            let view = IndicationView {
                recording: CaptureView::of_level(IndicationState::On.into(), Some(5)),
                transcription: CaptureView::of_level(transcription.into(), None),
            };
            Arc::new(StatedLevels::of(&Anchor::server("https://s"), notice, &view).unwrap())
        };
        let (writer, mut queue) = NoticeFactWriter::idle(10);
        let recipient = of_attachment();
        writer.record(NoticeKind::Dispatched, &recipient, both(IndicationState::Off, "first"), 10);
        writer.record(NoticeKind::Dispatched, &recipient, both(IndicationState::On, "second"), 11);
        let facts = written(&mut queue, &mut KnownFactIds::default()).concat();
        let mut facts: Vec<_> = facts
            .into_iter()
            .map(|fact| (fact.capture_type, fact.state, fact.at, fact.notice))
            .collect();
        facts.sort_by_key(|(_, _, t, _)| *t);
        facts.sort_by_key(|(capture, ..)| *capture);
        let fact =
            |capture, state, t, notice: &str| (capture, Some(state), t, Some(notice.to_owned()));
        assert_eq!(
            facts,
            [
                fact(CaptureType::Recording, Level::On, 10, "first"),
                fact(CaptureType::Transcription, Level::Off, 10, "first"),
                fact(CaptureType::Transcription, Level::On, 11, "second"),
            ]
        );
    }

    #[test]
    fn a_dropped_fact_is_written_when_its_level_is_stated_again() {
        let (writer, mut queue) = NoticeFactWriter::idle(1);
        let (recipient, mut known) = (of_attachment(), KnownFactIds::default());
        writer.record(NoticeKind::Dispatched, &recipient, stated(IndicationState::On, 1), 1);
        writer.record(NoticeKind::Dispatched, &recipient, stated(IndicationState::On, 2), 2);
        assert_eq!(written(&mut queue, &mut known).concat()[0].at, 1);
        writer.record(NoticeKind::Dispatched, &recipient, stated(IndicationState::On, 2), 3);
        assert_eq!(written(&mut queue, &mut known).concat()[0].at, 3);
    }

    #[test]
    fn facts_of_one_call_share_messages() {
        let (writer, mut queue) = NoticeFactWriter::idle(4 * MAX_FACTS_PER_MESSAGE);
        let (on, off) = (stated(IndicationState::On, 1), stated(IndicationState::Off, 2));
        for person in 0..=MAX_FACTS_PER_MESSAGE {
            let subject = TokenSubject::plain(&person.to_string());
            let scope = SubscriptionScope::Person { subject, clients: ClientPolicy::Open };
            let recipient = recipient(&scope).unwrap();
            writer.record(NoticeKind::Dispatched, &recipient, on.clone(), 1);
            writer.record(NoticeKind::Dispatched, &recipient, off.clone(), 2 + person as Millis);
        }
        let written = written(&mut queue, &mut KnownFactIds::default());
        let sizes: Vec<usize> = written.iter().map(Vec::len).collect();
        assert_eq!(sizes, [MAX_FACTS_PER_MESSAGE, MAX_FACTS_PER_MESSAGE, 2]);
        let of_last = written.concat().into_iter().filter(|it| {
            it.state == Some(Level::Off) && it.by.raw_id == MAX_FACTS_PER_MESSAGE.to_string()
        });
        let times: Vec<Millis> = of_last.map(|fact| fact.at).collect();
        assert_eq!(times, [2 + MAX_FACTS_PER_MESSAGE as Millis]);
    }
}
