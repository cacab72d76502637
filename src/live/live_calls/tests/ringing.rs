//! Calls that ring: the level is unknown because nothing is connected yet, and says so until the call
//! is connected.

use serde_json::Value;

use super::*;
use crate::live::fanout::message::UnknownReason;
use onrecord_evidence::event::calling_event::CallOffered;

/// A report of a client whose call rings: it has no serverCallId and sees no state.
fn ringing(t: Millis, attachment: &str) -> IncomingEvent {
    let report = ReportStatement {
        participant: participant(ANNA),
        other_raw_ids: Vec::new(),
        grant: Grant::default(),
        sequence: 1,
        recording: None,
        transcription: None,
        consent_required: Vec::new(),
        shown: Vec::new(),
        leaving: false,
        thread_id: None,
        app: None,
        sdk: None,
    };
    incoming(t, ids(None, None, Some(attachment)), Statement::Report(report))
}

/// A connected client that sees no state.
fn connected(t: Millis, attachment: &str, server: &str) -> IncomingEvent {
    let ringing = ringing(t, attachment);
    let Some(observed) = ringing.observed else { panic!("a report yields facts") };
    let ids = ids(None, Some(server), Some(attachment));
    incoming(t, ids, observed.event.statement.clone())
}

/// The messages since the last call: variant and reason.
fn stated(subscription: &mut TestSubscription) -> Vec<(String, Option<String>)> {
    let mut stated = Vec::new();
    while let Some(message) = subscription.try_next() {
        let body: Value = serde_json::from_str(&message.body(None)).unwrap();
        let text = |member: &str| body[member].as_str().map(str::to_owned);
        stated.push((text("variant").unwrap_or_default(), text("reason")));
    }
    stated
}

fn unknown(reason: Option<&str>) -> (String, Option<String>) {
    ("unknown".to_owned(), reason.map(str::to_owned))
}

const RINGS: Option<&str> = Some("not_connected_yet");

fn apply(live_calls: &LiveCalls, event: IncomingEvent) {
    live_calls.apply(vec![event], EventOrigin::Log, NOW);
}

#[test]
fn a_stream_says_that_its_call_is_not_connected_until_it_is() {
    let live_calls = caught_up();
    let mut early = TestSubscription::open(&live_calls, attachment("a"));
    assert_eq!(stated(&mut early), [unknown(RINGS)]);
    apply(&live_calls, ringing(NOW - 3, "a"));
    assert_eq!(stated(&mut early), [], "nothing else is known");
    let mut late = TestSubscription::open(&live_calls, attachment("a"));
    assert_eq!(stated(&mut late), [unknown(RINGS)]);
    let mut all = TestSubscription::open(&live_calls, SubscriptionScope::Everything);
    assert_eq!(stated(&mut all), [unknown(RINGS)]);
    assert_eq!(
        live_calls.level(&tenant(), &attachment("a"), NOW).unknown_reason,
        Some(UnknownReason::NotConnectedYet)
    );

    // Connected, and no client observes a state: now it is unknown, and says so.
    apply(&live_calls, connected(NOW - 2, "a", S1));
    for subscription in [&mut early, &mut late, &mut all] {
        assert_eq!(stated(subscription), [unknown(None)]);
    }
    assert_eq!(live_calls.level(&tenant(), &attachment("a"), NOW).unknown_reason, None);
    apply(&live_calls, recorded(NOW - 1, ids(Some(C1), Some(S1), None), ProviderState::Active));
    for subscription in [&mut early, &mut late, &mut all] {
        assert_eq!(stated(subscription), [("recording_on".to_owned(), None)]);
    }
}

#[test]
fn an_offered_call_rings_and_a_started_one_does_not() {
    let live_calls = caught_up();
    let mut stream = TestSubscription::open(&live_calls, call(Anchor::server(S1)));
    assert_eq!(stated(&mut stream), [unknown(RINGS)]);
    let (from, to) = (None, Some(participant(ANNA)));
    let offered = Statement::CallOffered(CallOffered { from, to, on_behalf_of: None });
    apply(&live_calls, incoming(NOW - 2, ids(Some(C1), Some(S1), None), offered));
    assert_eq!(stated(&mut stream), []);
    let mut late = TestSubscription::open(&live_calls, call(Anchor::correlation(C1)));
    assert_eq!(stated(&mut late), [unknown(RINGS)]);
    apply(&live_calls, started(NOW - 1, ids(Some(C1), Some(S1), None)));
    for subscription in [&mut stream, &mut late] {
        assert_eq!(stated(subscription), [unknown(None)]);
    }
}

#[test]
fn what_a_node_has_not_read_is_not_said_to_ring() {
    let live_calls = LiveCalls::new(64);
    for (stage, unread) in [
        (ReplayStage::Disconnected, true),
        (ReplayStage::Disconnected, false),
        (ReplayStage::CatchingUp, true),
    ] {
        live_calls.set_stage(stage, unread, NOW);
        let mut stream = TestSubscription::open(&live_calls, attachment("a"));
        assert_eq!(stated(&mut stream), [unknown(None)], "{stage:?}");
    }
    read_to_the_end(&live_calls, ReplayStage::Live, NOW);
    let mut stream = TestSubscription::open(&live_calls, attachment("a"));
    assert_eq!(stated(&mut stream), [unknown(RINGS)]);
}

#[test]
fn a_stream_that_stated_a_level_before_its_cursor_does_not_say_that_the_call_rings() {
    let live_calls = caught_up();
    for (at, reason) in [(0, RINGS), (NOW, None)] {
        let mut resumed = TestSubscription::resume(&live_calls, attachment("a"), Some(at), NOW);
        assert_eq!(stated(&mut resumed).pop(), Some(unknown(reason)), "{at}");
    }
}
