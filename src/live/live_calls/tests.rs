//! Tests of the live state: which subscriber gets which message, in whatever order events arrive.

mod compaction;
mod grants;
mod large_calls;
pub(crate) mod retention;
mod ringing;
mod trust;

use super::*;
use crate::config::ClientPolicy;
use crate::http::subscriber_token::token_subject::TokenSubject;
use crate::live::fanout::queue::Queued;
use onrecord_evidence::event::calling_event::{
    CallEnded, CallStarted, CallingEvent, ObservedEvent, Participant, ProviderStateChanged,
    ReportStatement, Statement,
};
use onrecord_evidence::event::ids::Ids;
use onrecord_evidence::fact::kinds::{CaptureType, Identity, Level, ProviderState};
use onrecord_evidence::identity::alias_graph::{Anchor, CallIds};
use onrecord_evidence::identity::grant::Grant;
use onrecord_evidence::identity::raw_id::{Cloud, IdentifierKind};

const NOW: Millis = 1_700_000_000_000;
const MINUTE: Millis = 60_000;
const HOUR: Millis = 60 * MINUTE;
const ANNA: &str = "8:acs:r_anna";
const C1: &str = "c0000000-0000-4000-8000-000000000001";
const S1: &str = "https://s1";
const S2: &str = "https://s2";

fn tenant() -> Tenant {
    Tenant::parse("t").unwrap()
}

fn ids(correlation: Option<&str>, server: Option<&str>, attachment: Option<&str>) -> Ids {
    Ids {
        correlation_id: correlation.map(str::to_owned),
        server_call_id: server.map(str::to_owned),
        attachment: attachment.map(str::to_owned),
        ..Ids::default()
    }
}

fn incoming(t: Millis, ids: Ids, statement: Statement) -> IncomingEvent {
    let event = CallingEvent {
        source_type: statement.name().to_owned(),
        statement,
        ids,
        generation: None,
        redacted: Vec::new(),
        flagged: Vec::new(),
    };
    let key =
        Digest::of_parts(&[&t.to_string(), &serde_json::to_string(&event).unwrap_or_default()]);
    IncomingEvent {
        tenant: tenant(),
        ids: CallIds::of(&event.ids),
        observed: event.statement.yields_facts().then(|| ObservedEvent::new(key, t, event)),
        received_at: t,
        stored_at: t,
    }
}

fn started(t: Millis, ids: Ids) -> IncomingEvent {
    let started =
        CallStarted { started_by: None, is_two_party: None, is_rooms_call: None, room_id: None };
    incoming(t, ids, Statement::CallStarted(started))
}

fn ended(t: Millis, ids: Ids) -> IncomingEvent {
    let ended = CallEnded {
        started_by: None,
        ended_by: None,
        reason: None,
        duration_s: None,
        presumed: false,
    };
    incoming(t, ids, Statement::CallEnded(ended))
}

fn recorded(t: Millis, ids: Ids, state: ProviderState) -> IncomingEvent {
    let changed = ProviderStateChanged {
        capture_type: CaptureType::Recording,
        recording: "rec".to_owned(),
        capture_kind: None,
        state,
        started_at: None,
        recorder_leg: None,
    };
    incoming(t, ids, Statement::ProviderState(changed))
}

fn participant(raw_id: &str) -> Participant {
    Participant {
        raw_id: raw_id.to_owned(),
        kind: IdentifierKind::CommunicationUser,
        cloud: Cloud::Public,
        identity: Identity::Acs,
        display_name: None,
        role: None,
    }
}

fn report(t: Millis, sequence: i64, ids: Ids, recording: Level) -> IncomingEvent {
    report_by(&TokenSubject::plain(ANNA), t, sequence, ids, recording)
}

fn report_by(
    subject: &TokenSubject,
    t: Millis,
    sequence: i64,
    ids: Ids,
    recording: Level,
) -> IncomingEvent {
    let report = ReportStatement {
        participant: participant(&subject.raw_id),
        other_raw_ids: subject.other_raw_ids.clone(),
        grant: subject.grant.clone(),
        sequence,
        recording: Some(recording),
        transcription: None,
        consent_required: Vec::new(),
        shown: Vec::new(),
        leaving: false,
        thread_id: None,
        app: None,
        sdk: None,
    };
    incoming(t, ids, Statement::Report(report))
}

/// A state that has read its log.
fn caught_up() -> LiveCalls {
    caught_up_with(MAX_EVENTS_FOLDED_AT_ONCE)
}

/// A state that has read its log, and folds calls with more events than this while its lock is free.
fn caught_up_with(fold_limit: usize) -> LiveCalls {
    let live_calls = LiveCalls::with_fold_limit(64, fold_limit);
    live_calls.set_stage(ReplayStage::Live, false, NOW - HOUR);
    live_calls
}

/// Folds the calls whose fold is requested.
fn fold_large_calls(live_calls: &LiveCalls, now: Millis) {
    live_calls.tick(now);
    while live_calls.fold_large_call(|| now) {
        live_calls.tick(now);
    }
}

fn read_to_the_end(live_calls: &LiveCalls, stage: ReplayStage, now: Millis) {
    while live_calls.fold_deferred(1, now) {}
    live_calls.set_stage(stage, false, now);
}

struct TestSubscription {
    live_calls: LiveCalls,
    id: SubscriberId,
    receiver: Receiver,
    /// When the stream takes its messages, ms.
    now: Millis,
}

impl TestSubscription {
    fn open(live_calls: &LiveCalls, scope: SubscriptionScope) -> Self {
        Self::resume(live_calls, scope, None, NOW)
    }

    fn resume(
        live_calls: &LiveCalls,
        scope: SubscriptionScope,
        since: Option<Millis>,
        now: Millis,
    ) -> Self {
        let since = since.map(|at| CursorPoint { at, has_stated: at > 0 });
        let (id, receiver) = live_calls.subscribe(&tenant(), scope, since, now).unwrap();
        Self { live_calls: live_calls.clone(), id, receiver, now }
    }

    /// The next message, as a stream builds it.
    fn try_next(&mut self) -> Option<StreamMessage> {
        loop {
            match self.receiver.try_next()? {
                Queued::Message(message) => return Some(message),
                Queued::Level(call) => {
                    let built = self.live_calls.level_message(&tenant(), self.id, &call, self.now);
                    if built.is_some() {
                        return built;
                    }
                }
            }
        }
    }

    /// The messages received since the last call: kind, and level of the recording.
    fn received(&mut self) -> Vec<(String, String)> {
        let mut received = Vec::new();
        while let Some(message) = self.try_next() {
            let body: serde_json::Value =
                serde_json::from_str(&message.body(None)).unwrap_or_default();
            let state = body["indication"]["recording"]["state"].as_str();
            received.push((message.kind.as_str().to_owned(), state.unwrap_or_default().to_owned()));
        }
        received
    }
}

fn expected(all: &[(&str, &str)]) -> Vec<(String, String)> {
    all.iter().map(|(kind, state)| ((*kind).to_owned(), (*state).to_owned())).collect()
}

fn call(anchor: Anchor) -> SubscriptionScope {
    SubscriptionScope::Call { anchors: vec![anchor], subject: None }
}

fn of_person(subject: Arc<TokenSubject>) -> SubscriptionScope {
    SubscriptionScope::Person { subject, clients: ClientPolicy::Open }
}

fn attachment(id: &str) -> SubscriptionScope {
    SubscriptionScope::Attachment { attachment: id.into(), subject: TokenSubject::plain(ANNA) }
}

#[test]
fn a_fresh_heartbeat_does_not_announce_an_old_fact_of_its_burst() {
    let live_calls = caught_up();
    let mut subscription = TestSubscription::open(&live_calls, call(Anchor::server(S1)));
    let here = || ids(None, Some(S1), None);
    let burst = vec![
        recorded(NOW - 24 * HOUR, here(), ProviderState::Active),
        report(NOW, 1, ids(None, Some(S1), Some("a")), Level::Off),
    ];
    live_calls.apply(burst, EventOrigin::Log, NOW);
    assert_eq!(subscription.received(), expected(&[("snapshot", "unknown"), ("snapshot", "on")]));
}

#[test]
fn a_link_does_not_announce_an_old_level() {
    let live_calls = caught_up();
    let mut subscription = TestSubscription::open(&live_calls, call(Anchor::correlation(C1)));
    live_calls.apply(
        vec![report(NOW - MINUTE, 1, ids(None, Some(S1), Some("a")), Level::On)],
        EventOrigin::Log,
        NOW - MINUTE,
    );
    live_calls.apply(vec![started(NOW, ids(Some(C1), Some(S1), None))], EventOrigin::Log, NOW);
    assert_eq!(subscription.received(), expected(&[("snapshot", "unknown"), ("snapshot", "on")]));
}

#[test]
fn a_fresh_fact_is_announced_although_its_call_is_merged_in_the_same_burst() {
    let live_calls = caught_up();
    let mut subscription = TestSubscription::open(&live_calls, call(Anchor::server(S1)));
    let burst = vec![
        report(NOW, 1, ids(None, Some(S1), Some("a")), Level::On),
        started(NOW - HOUR, ids(Some(C1), Some(S1), None)),
    ];
    live_calls.apply(burst, EventOrigin::Log, NOW);
    // The old fact shows that the call is connected.
    let stated = [("snapshot", "unknown"), ("snapshot", "unknown"), ("notice", "on")];
    assert_eq!(subscription.received(), expected(&stated));
}

#[test]
fn a_client_that_joins_a_recorded_call_gets_a_snapshot_and_no_notice() {
    let live_calls = caught_up();
    live_calls.apply(
        vec![recorded(NOW - MINUTE, ids(Some(C1), Some(S1), None), ProviderState::Active)],
        EventOrigin::Log,
        NOW - MINUTE,
    );
    let mut subscription = TestSubscription::open(&live_calls, attachment("a"));
    live_calls.apply(
        vec![report(NOW, 1, ids(None, Some(S1), Some("a")), Level::On)],
        EventOrigin::Log,
        NOW,
    );
    assert_eq!(subscription.received(), expected(&[("snapshot", "unknown"), ("snapshot", "on")]));
}

#[test]
fn an_attachment_that_two_calls_claim_becomes_unknown() {
    let live_calls = caught_up();
    let mut subscriptions = [
        TestSubscription::open(&live_calls, attachment("a")),
        TestSubscription::open(&live_calls, of_person(TokenSubject::plain(ANNA))),
    ];
    live_calls.apply(
        vec![report(NOW, 1, ids(None, Some(S1), Some("a")), Level::On)],
        EventOrigin::Log,
        NOW,
    );
    for subscription in &mut subscriptions {
        assert_eq!(subscription.received().last(), expected(&[("notice", "on")]).last());
    }
    live_calls.apply(
        vec![report(NOW + 1, 2, ids(None, Some(S2), Some("a")), Level::On)],
        EventOrigin::Log,
        NOW + 1,
    );
    for subscription in &mut subscriptions {
        assert_eq!(subscription.received(), expected(&[("snapshot", "unknown")]));
    }
}

#[test]
fn an_event_without_facts_links_calls() {
    let live_calls = caught_up();
    let mut subscription = TestSubscription::open(&live_calls, call(Anchor::correlation(C1)));
    live_calls.apply(
        vec![report(NOW, 1, ids(None, Some(S1), Some("a")), Level::On)],
        EventOrigin::Log,
        NOW,
    );
    let media = Statement::Media(onrecord_evidence::event::calling_event::Media {
        operation: "PlayCompleted".to_owned(),
        status: None,
        status_details: None,
        outcome: None,
    });
    live_calls.apply(
        vec![incoming(NOW, ids(Some(C1), Some(S1), None), media)],
        EventOrigin::Log,
        NOW,
    );
    assert_eq!(subscription.received().last(), expected(&[("snapshot", "on")]).last());
}

#[test]
fn an_ambiguous_id_binds_to_the_first_known_anchor() {
    let id = "a0000000-0000-4000-8000-00000000000a";
    let live_calls = caught_up();
    let anchors = Anchor::candidates(id);
    let mut subscription =
        TestSubscription::open(&live_calls, SubscriptionScope::Call { anchors, subject: None });
    live_calls.apply(
        vec![report(NOW, 1, ids(None, Some(S1), Some(id)), Level::On)],
        EventOrigin::Log,
        NOW,
    );
    assert_eq!(subscription.received().last(), expected(&[("notice", "on")]).last());
}

#[test]
fn a_heartbeat_of_a_present_client_costs_no_fold() {
    let live_calls = caught_up();
    for beat in 0..100 {
        let t = NOW + beat * 30_000;
        live_calls.tick(t);
        live_calls.apply(
            vec![report(t, beat, ids(None, Some(S1), Some("a")), Level::On)],
            EventOrigin::Log,
            t,
        );
    }
    let end = NOW + 99 * 30_000;
    let mut subscription = TestSubscription::open(&live_calls, call(Anchor::server(S1)));
    // The client counts as lost 90 s after its last report, and not a millisecond before.
    live_calls.tick(end + 89_999);
    assert_eq!(subscription.received(), expected(&[("snapshot", "on")]));
    live_calls.tick(end + 90_000);
    assert_eq!(subscription.received(), expected(&[("notice", "on")]), "it is stale");
    let state = live_calls.lock();
    let tenant_calls = state.tenants.values().next().unwrap();
    assert_eq!(tenant_calls.event_count(), 2);
    assert!(tenant_calls.folds < 60, "{}", tenant_calls.folds);
}

#[test]
fn a_report_without_a_server_call_id_after_another_statement_is_no_heartbeat() {
    let live_calls = caught_up();
    let mut subscription = TestSubscription::open(&live_calls, attachment("a"));
    for (sequence, server, level) in
        [(1, None, Level::On), (2, Some(S1), Level::Paused), (3, None, Level::On)]
    {
        let stated = report(NOW + sequence, sequence, ids(None, server, Some("a")), level);
        live_calls.apply(vec![stated], EventOrigin::Log, NOW + sequence);
    }
    let last = subscription.received().pop().map(|(_, level)| level);
    assert_eq!(last.as_deref(), Some("on"));
}

#[test]
fn the_level_is_sent_after_the_replay_and_nothing_during_it() {
    let live_calls = LiveCalls::new(64);
    let mut subscription = TestSubscription::open(&live_calls, call(Anchor::server(S1)));
    live_calls.set_stage(ReplayStage::CatchingUp, true, NOW);
    let here = || ids(None, Some(S1), None);
    for n in 0..3 {
        let state = if n % 2 == 0 { ProviderState::Active } else { ProviderState::Inactive };
        let event = recorded(NOW - MINUTE + n, here(), state);
        live_calls.apply(vec![event], EventOrigin::Log, NOW);
    }
    live_calls.apply(vec![recorded(NOW - 1, here(), ProviderState::Active)], EventOrigin::Log, NOW);
    assert_eq!(subscription.received(), expected(&[("snapshot", "unknown")]));
    read_to_the_end(&live_calls, ReplayStage::Live, NOW);
    assert_eq!(subscription.received(), expected(&[("snapshot", "on")]));
}

#[test]
fn an_unavailable_log_does_not_delay_events_of_the_spool() {
    let live_calls = LiveCalls::new(64);
    live_calls.set_stage(ReplayStage::CatchingUp, true, NOW);
    let mut spooled = TestSubscription::open(&live_calls, call(Anchor::server(S1)));
    let mut logged = TestSubscription::open(&live_calls, call(Anchor::server(S2)));
    live_calls.apply(
        vec![recorded(NOW, ids(None, Some(S2), None), ProviderState::Active)],
        EventOrigin::Log,
        NOW,
    );
    live_calls.apply(
        vec![report(NOW, 1, ids(None, Some(S1), Some("a")), Level::On)],
        EventOrigin::Spool,
        NOW,
    );
    assert_eq!(spooled.received(), expected(&[("snapshot", "unknown")]));
    live_calls.set_stage(ReplayStage::Disconnected, true, NOW + 2_001);
    assert_eq!(spooled.received(), expected(&[("snapshot", "on")]));
    live_calls.apply(
        vec![report(NOW + 3_000, 2, ids(None, Some(S1), Some("a")), Level::Paused)],
        EventOrigin::Spool,
        NOW + 3_000,
    );
    assert_eq!(spooled.received(), expected(&[("snapshot", "paused")]));
    // A level in the middle of the log was never true.
    assert_eq!(logged.received(), expected(&[("snapshot", "unknown")]));
    live_calls.set_stage(ReplayStage::CatchingUp, true, NOW + 4_000);
    read_to_the_end(&live_calls, ReplayStage::Live, NOW + 5_000);
    assert_eq!(logged.received(), expected(&[("snapshot", "on")]));
    assert_eq!(spooled.received(), []);
}

#[test]
fn several_pages_of_the_spool_are_announced_after_the_last_one() {
    let live_calls = caught_up();
    let mut subscription = TestSubscription::open(&live_calls, call(Anchor::server(S1)));
    let here = || ids(None, Some(S1), None);
    live_calls.collect_spooled(vec![recorded(NOW - 9, here(), ProviderState::Active)], NOW);
    live_calls.tick(NOW);
    live_calls.collect_spooled(vec![recorded(NOW - 8, here(), ProviderState::Inactive)], NOW);
    assert_eq!(subscription.received(), expected(&[("snapshot", "unknown")]));
    live_calls.announce_spooled(NOW);
    assert_eq!(subscription.received(), expected(&[("snapshot", "off")]));
}

#[test]
fn a_broker_clock_that_is_ahead_does_not_move_cursors() {
    let live_calls = caught_up();
    let mut event = started(NOW, ids(None, Some(S1), None));
    event.stored_at = NOW + HOUR;
    live_calls.apply(vec![event], EventOrigin::Log, NOW);
    assert_eq!(live_calls.announced_through(), NOW);
}

#[test]
fn a_stream_without_changes_resumes_without_gap_after_hours() {
    let live_calls = caught_up();
    live_calls.apply(vec![started(NOW, ids(None, Some(S1), None))], EventOrigin::Log, NOW);
    let later = NOW + 3 * HOUR;
    live_calls.evict(None, None, later);
    let scope = call(Anchor::server(S1));
    let mut opened = TestSubscription::resume(&live_calls, scope, Some(NOW), later);
    assert_eq!(opened.received(), expected(&[("snapshot", "unknown")]));
}

#[test]
fn an_attachment_is_named_only_to_its_owner() {
    let live_calls = caught_up();
    live_calls.apply(
        vec![report(NOW, 1, ids(None, Some(S1), Some("a")), Level::On)],
        EventOrigin::Log,
        NOW,
    );
    let aliases = |person: Option<&str>| {
        let scope = SubscriptionScope::Call {
            anchors: vec![Anchor::server(S1)],
            subject: person.map(TokenSubject::plain),
        };
        let found = live_calls.snapshot(&tenant(), &scope, NOW);
        let body: serde_json::Value = serde_json::from_str(&found.body(None)).unwrap_or_default();
        body["aliases"].as_array().map_or(0, Vec::len)
    };
    assert_eq!(aliases(None), 2);
    assert_eq!(aliases(Some(ANNA)), 2);
    assert_eq!(aliases(Some("8:acs:r_ben")), 1);
}
