//! Tests of streams without parameters where a grant is required: they state the calls that the token
//! covers.

use super::*;
use onrecord_evidence::event::calling_event::SessionStatement;

const ROOM: &str = "99445276259151407";

fn anna(granted: &[&str]) -> Arc<TokenSubject> {
    let grant = Grant::new(granted.iter().map(|&id| id.to_owned()), []);
    let other_raw_ids = Vec::new();
    Arc::new(TokenSubject { raw_id: ANNA.to_owned(), other_raw_ids, grant })
}

fn granted(subject: &Arc<TokenSubject>) -> SubscriptionScope {
    SubscriptionScope::Person { subject: Arc::clone(subject), clients: ClientPolicy::Granted }
}

fn in_room(t: Millis, ids: Ids, room: &str) -> IncomingEvent {
    let started = CallStarted {
        started_by: None,
        is_two_party: None,
        is_rooms_call: Some(true),
        room_id: Some(room.to_owned()),
    };
    incoming(t, ids, Statement::CallStarted(started))
}

fn joined(t: Millis, ids: Ids, raw_id: &str) -> IncomingEvent {
    let participant = Some(participant(raw_id));
    let joined = SessionStatement { participant, user_agent: None, reason: None };
    incoming(t, ids, Statement::SessionJoined(joined))
}

fn here() -> Ids {
    ids(Some(C1), Some(S1), None)
}

fn apply(live_calls: &LiveCalls, event: IncomingEvent) {
    live_calls.apply(vec![event], EventOrigin::Log, NOW);
}

#[test]
fn a_call_is_not_stated_any_more_when_the_platform_states_that_it_is_of_another_room() {
    let subject = anna(&[ROOM]);
    let live_calls = caught_up();
    let mut stream = TestSubscription::open(&live_calls, granted(&subject));
    let mut open = TestSubscription::open(&live_calls, of_person(Arc::clone(&subject)));
    // The report was admitted before the platform stated the ids of the call.
    let on = report_by(&subject, NOW, 1, ids(None, Some(S1), Some("a")), Level::On);
    apply(&live_calls, on);
    assert_eq!(stream.received(), expected(&[("notice", "on")]));
    apply(&live_calls, in_room(NOW, here(), "11111111111111111"));
    assert_eq!(stream.received(), expected(&[("snapshot", "unknown")]));
    apply(&live_calls, recorded(NOW, here(), ProviderState::Active));
    apply(&live_calls, recorded(NOW + 1, here(), ProviderState::Inactive));
    assert_eq!(stream.received(), []);
    let mut again = TestSubscription::resume(&live_calls, granted(&subject), Some(NOW), NOW);
    assert_eq!(again.received(), []);
    assert!(!open.received().is_empty(), "where no grant is required, the call is stated");

    // The platform names the person late.
    apply(&live_calls, recorded(NOW + 2, here(), ProviderState::Active));
    assert_eq!(stream.received(), []);
    apply(&live_calls, joined(NOW, here(), ANNA));
    assert_eq!(stream.received().last(), expected(&[("snapshot", "on")]).last());
}

#[test]
fn a_call_of_an_earlier_token_is_not_stated_to_a_token_that_grants_another_one() {
    let (first, second) = (Anchor::server(S1), Anchor::server(S2));
    let (earlier, later) = (anna(&[first.as_str()]), anna(&[second.as_str()]));
    let live_calls = caught_up();
    for (subject, server, attachment) in [(&earlier, S1, "a"), (&later, S2, "b")] {
        let here = ids(None, Some(server), Some(attachment));
        apply(&live_calls, report_by(subject, NOW, 1, here, Level::On));
    }
    for (subject, stated) in [(&earlier, &first), (&later, &second)] {
        let mut stream = TestSubscription::open(&live_calls, granted(subject));
        let message = stream.try_next().unwrap();
        assert_eq!(message.call.as_ref(), Some(stated));
        assert_eq!(stream.received(), []);
    }

    // A stream that is renewed by the other token states its call, and the first one no more.
    let mut stream = TestSubscription::open(&live_calls, granted(&earlier));
    stream.received();
    live_calls.renew_scope(&tenant(), stream.id, granted(&later), NOW);
    let mut received = stream.received();
    received.sort();
    assert_eq!(received, expected(&[("snapshot", "on"), ("snapshot", "unknown")]));
    let off = |server, attachment| {
        report_by(&later, NOW + 1, 2, ids(None, Some(server), Some(attachment)), Level::Off)
    };
    for event in [off(S1, "a"), off(S2, "b")] {
        live_calls.apply(vec![event], EventOrigin::Log, NOW + 1);
    }
    live_calls.tick(NOW + MINUTE);
    assert_eq!(stream.received(), expected(&[("notice", "off")]));
}

#[test]
fn a_call_of_which_the_platform_states_nothing_is_not_stated_for_ever_by_a_grant_of_a_room() {
    let subject = anna(&[ROOM]);
    let live_calls = caught_up();
    let mut stream = TestSubscription::open(&live_calls, granted(&subject));
    let report = |t: Millis, sequence, level| {
        let event = report_by(&subject, t, sequence, ids(None, Some(S1), Some("a")), level);
        live_calls.apply(vec![event], EventOrigin::Log, t);
    };
    report(NOW, 1, Level::On);
    assert_eq!(stream.received(), expected(&[("notice", "on")]));
    stream.now = NOW + 11 * MINUTE;
    report(stream.now, 2, Level::Paused);
    assert_eq!(stream.received(), expected(&[("snapshot", "unknown")]));
}
