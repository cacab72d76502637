//! Tests of the compact form: a call that was compacted is like one that never was.

use std::sync::Arc;

use proptest::prelude::*;

use super::*;
use onrecord_evidence::event::calling_event::SessionStatement;

const BEN: &str = "8:acs:r_ben";
const C2: &str = "c0000000-0000-4000-8000-000000000002";
const DAY: Millis = 24 * HOUR;

/// A state that keeps at most so many closed calls whole.
fn keeping(closed_limit: usize) -> LiveCalls {
    let live_calls = caught_up();
    live_calls.lock().closed_limit = closed_limit;
    live_calls
}

fn compact_count(live_calls: &LiveCalls) -> usize {
    live_calls.lock().tenants.values().map(TenantCalls::compact_count).sum()
}

/// All calls, and those of them that are compact.
fn counts(live_calls: &LiveCalls) -> (usize, usize) {
    let calls = live_calls.lock().calls();
    (calls, compact_count(live_calls))
}

fn joined(t: Millis, ids: Ids, raw_id: &str) -> IncomingEvent {
    let participant = Some(participant(raw_id));
    let ids = Ids { participant_id: Some(format!("p {raw_id}")), ..ids };
    let joined = SessionStatement { participant, user_agent: None, reason: None };
    incoming(t, ids, Statement::SessionJoined(joined))
}

fn body(message: &StreamMessage) -> String {
    format!("{} {}", message.kind.as_str(), message.body(None))
}

fn bodies(subscription: &mut TestSubscription) -> Vec<String> {
    std::iter::from_fn(|| subscription.try_next()).map(|message| body(&message)).collect()
}

/// A recorded call with a client, which has ended and is closed.
fn apply_call(live_calls: &LiveCalls, t: Millis) {
    let here = || ids(Some(C1), Some(S1), None);
    let events = [
        started(t, here()),
        joined(t, here(), BEN),
        recorded(t + 1, here(), ProviderState::Active),
        report(t + 2, 1, ids(None, Some(S1), Some("a")), Level::On),
        ended(t + 3, here()),
    ];
    for event in events {
        live_calls.apply(vec![event], EventOrigin::Log, t + 3);
    }
    live_calls.tick(t + MINUTE);
}

/// The scopes by which a call of the tests may be asked for.
fn scopes() -> Vec<SubscriptionScope> {
    let anchors = [
        Anchor::correlation(C1),
        Anchor::correlation(C2),
        Anchor::server(S1),
        Anchor::server(S2),
        Anchor::attachment("a"),
        Anchor::attachment("b"),
        Anchor::recording("r1"),
    ];
    let subjects = [None, Some(TokenSubject::plain(ANNA)), Some(TokenSubject::plain(BEN))];
    let mut scopes = Vec::new();
    for subject in subjects {
        scopes.extend(anchors.iter().map(|anchor| SubscriptionScope::Call {
            anchors: vec![anchor.clone()],
            subject: subject.clone(),
        }));
        if let Some(subject) = subject {
            scopes.extend(["a", "b"].map(|attachment| SubscriptionScope::Attachment {
                attachment: attachment.into(),
                subject: Arc::clone(&subject),
            }));
        }
    }
    scopes
}

/// All that may be asked of the calls.
fn answers(live_calls: &LiveCalls, now: Millis) -> Vec<String> {
    let asked = scopes();
    let snapshots = asked.iter().map(|scope| body(&live_calls.snapshot(&tenant(), scope, now)));
    let mut answers: Vec<String> = snapshots.collect();
    for person in [ANNA, BEN] {
        for attachment in ["a", "b", "c"] {
            for server in [None, Some(S1), Some(S2)] {
                let admitted = live_calls.admits(&tenant(), attachment, person, server);
                answers.push(format!("{person} {attachment} {server:?}: {admitted:?}"));
            }
        }
        for scope in &asked {
            for anchor in scope.one_call().unwrap_or_default() {
                let since = live_calls.read_tenant(&tenant(), Some(&anchor), |calls| {
                    let known = calls.and_then(|calls| calls.known_call(&anchor, person));
                    known.map(|known| (known.trust.clone(), known.since))
                });
                answers.push(format!("{person} {anchor}: {since:?}"));
            }
        }
    }
    answers
}

#[test]
fn a_compact_call_answers_by_each_of_its_ids_as_before() {
    let (whole, compact) = (keeping(usize::MAX), keeping(0));
    for live_calls in [&whole, &compact] {
        apply_call(live_calls, NOW);
    }
    assert_eq!((compact_count(&whole), compact_count(&compact)), (0, 1));
    assert_eq!(compact.lock().tenants[&tenant()].calls.len(), 0);
    let now = NOW + MINUTE;
    let asked = answers(&compact, now);
    assert!(asked.iter().any(|answer| answer.contains(r#""state":"off""#)), "{asked:?}");
    assert_eq!(asked, answers(&whole, now));
    // A question makes the call whole for a moment, and changes no record.
    assert_eq!(compact_count(&compact), 0);
    compact.tick(now);
    assert_eq!(compact_count(&compact), 1);
    assert_eq!(answers(&compact, now), answers(&whole, now));
}

#[test]
fn a_late_event_changes_the_level_of_a_compact_call() {
    let live_calls = keeping(0);
    let here = || ids(Some(C1), Some(S1), None);
    live_calls.apply(vec![started(NOW, here()), ended(NOW + 1, here())], EventOrigin::Log, NOW + 1);
    let now = NOW + MINUTE;
    live_calls.tick(now);
    assert_eq!(compact_count(&live_calls), 1);
    let late = recorded(NOW, ids(None, Some(S1), None), ProviderState::Active);
    live_calls.apply(vec![late], EventOrigin::Log, now);
    let mut subscription = TestSubscription::open(&live_calls, call(Anchor::correlation(C1)));
    assert_eq!(subscription.received(), expected(&[("snapshot", "off")]));
}

#[test]
fn a_call_with_an_open_stream_stays_whole_until_the_stream_ends() {
    let live_calls = keeping(0);
    let mut subscription = TestSubscription::open(&live_calls, call(Anchor::server(S1)));
    apply_call(&live_calls, NOW);
    assert_eq!(compact_count(&live_calls), 0);
    assert_eq!(subscription.received().last(), expected(&[("snapshot", "off")]).last());
    live_calls.unsubscribe(&tenant(), subscription.id);
    live_calls.tick(NOW + 10 * MINUTE);
    assert_eq!(compact_count(&live_calls), 1);
}

#[test]
fn a_closed_call_is_compacted_when_its_last_changes_are_not_kept_any_more() {
    let live_calls = caught_up();
    apply_call(&live_calls, NOW);
    live_calls.tick(NOW + 15 * MINUTE);
    assert_eq!(compact_count(&live_calls), 0);
    live_calls.tick(NOW + 16 * MINUTE);
    assert_eq!(compact_count(&live_calls), 1);
}

#[test]
fn a_stream_that_resumes_after_the_changes_of_its_call_were_dropped_gets_gap() {
    let first = |closed_limit: usize, scope: SubscriptionScope, since: Millis| {
        let live_calls = keeping(closed_limit);
        apply_call(&live_calls, NOW + MINUTE);
        let now = NOW + 5 * MINUTE;
        live_calls.tick(now);
        let mut resumed = TestSubscription::resume(&live_calls, scope, Some(since), now);
        resumed.received().first().map(|(kind, _)| kind.clone())
    };
    let of_call = || call(Anchor::server(S1));
    let of_anna = || of_person(TokenSubject::plain(ANNA));
    for scope in [of_call(), of_anna(), SubscriptionScope::Everything] {
        assert_eq!(first(0, scope.clone(), NOW).as_deref(), Some("gap"));
        assert_ne!(first(8, scope.clone(), NOW).as_deref(), Some("gap"));
        // All changes were before the cursor.
        assert_ne!(first(0, scope, NOW + 2 * MINUTE).as_deref(), Some("gap"));
    }
}

#[test]
fn compact_calls_are_forgotten_after_a_day() {
    let live_calls = keeping(0);
    let mut everything = TestSubscription::open(&live_calls, SubscriptionScope::Everything);
    apply_call(&live_calls, NOW);
    assert_eq!(everything.received().last(), expected(&[("snapshot", "off")]).last());
    // The message made the call whole for a moment.
    live_calls.tick(NOW + 2 * MINUTE);
    live_calls.evict(None, None, NOW + DAY - MINUTE);
    assert_eq!(counts(&live_calls), (1, 1));
    live_calls.evict(None, None, NOW + DAY + MINUTE);
    assert_eq!(counts(&live_calls), (0, 0));
    assert_eq!(everything.received(), []);
    live_calls.unsubscribe(&tenant(), everything.id);
    live_calls.evict(None, None, NOW + DAY + MINUTE);
    assert!(live_calls.lock().tenants.is_empty());
}

#[test]
fn calls_that_ended_long_ago_are_compacted_while_the_log_is_read() {
    let live_calls = LiveCalls::new(64);
    live_calls.set_stage(ReplayStage::CatchingUp, true, NOW);
    apply_call(&live_calls, NOW - 5 * HOUR);
    live_calls.evict(Some(NOW - 4 * HOUR), None, NOW);
    assert_eq!(compact_count(&live_calls), 1);
    read_to_the_end(&live_calls, ReplayStage::Live, NOW);
    let mut subscription = TestSubscription::open(&live_calls, call(Anchor::correlation(C1)));
    assert_eq!(subscription.received(), expected(&[("snapshot", "off")]));
}

#[test]
fn the_tenant_with_the_most_closed_calls_gives_up_its_own_first() {
    let live_calls = keeping(2);
    let end = |name: &str, call: usize| {
        let here = ids(None, Some(&format!("https://{name}/{call}")), None);
        let mut event = ended(NOW, here);
        event.tenant = Tenant::parse(name).unwrap();
        event
    };
    let calls = [end("large", 0), end("large", 1), end("large", 2), end("small", 0)];
    live_calls.apply(calls.into(), EventOrigin::Log, NOW);
    live_calls.tick(NOW + MINUTE);
    let compact =
        |name: &str| live_calls.lock().tenants[&Tenant::parse(name).unwrap()].compact_count();
    assert_eq!((compact("large"), compact("small")), (2, 0));
}

proptest! {
    /// Whatever is compacted and comes back is as what was never compacted: for questions, for streams
    /// of many calls, and for what later events make of it.
    #[test]
    fn a_call_that_was_compacted_is_as_one_that_was_not(
        events in prop::collection::vec((0..9_u8, 0..8_usize, 0..4_u8, any::<bool>()), 1..24),
    ) {
        let states = [keeping(usize::MAX), keeping(0)];
        let mut streams = states.each_ref().map(|live_calls| [
            TestSubscription::open(live_calls, SubscriptionScope::Everything),
            TestSubscription::open(live_calls, of_person(TokenSubject::plain(ANNA))),
        ]);
        let places = || [
            ids(Some(C1), Some(S1), None),
            ids(Some(C1), None, None),
            ids(None, Some(S1), Some("a")),
            ids(None, Some(S2), Some("b")),
            ids(None, None, Some("a")),
            ids(Some(C2), Some(S2), None),
            Ids { recording_id: Some("r1".to_owned()), ..ids(None, Some(S1), None) },
            // It makes two calls one.
            ids(Some(C1), Some(S2), None),
        ];
        let mut now = NOW;
        for (n, (kind, place, pause, is_asked)) in events.into_iter().enumerate() {
            now += [0, 1_000, 12_000, 40_000][usize::from(pause)];
            let here = places()[place].clone();
            let (t, sequence) = (now - 1_000, n as i64);
            let mallory = TokenSubject::plain("8:acs:r_mallory");
            let client = || Ids { attachment: Some("b".to_owned()), ..here.clone() };
            let event = || match kind {
                0 => recorded(t, here.clone(), ProviderState::Active),
                1 => recorded(t, here.clone(), ProviderState::Inactive),
                2 => report(t, sequence, places()[2].clone(), Level::On),
                3 => report_by(&mallory, t, sequence, client(), Level::On),
                4 => joined(t, here.clone(), BEN),
                5 => started(t, here.clone()),
                _ => ended(t, here.clone()),
            };
            for live_calls in &states {
                live_calls.apply(vec![event()], EventOrigin::Log, now);
            }
            now += 15_000;
            for live_calls in &states {
                live_calls.tick(now);
                live_calls.tick(now);
            }
            if is_asked {
                prop_assert_eq!(answers(&states[0], now), answers(&states[1], now));
            }
            let received = streams.each_mut().map(|streams| streams.each_mut().map(|stream| {
                stream.now = now;
                bodies(stream)
            }));
            prop_assert_eq!(&received[0], &received[1]);
        }
        prop_assert_eq!(compact_count(&states[0]), 0);
        prop_assert_eq!(answers(&states[0], now), answers(&states[1], now));
        let calls = states.each_ref().map(|live_calls| live_calls.lock().calls());
        prop_assert_eq!(calls[0], calls[1]);
    }
}
