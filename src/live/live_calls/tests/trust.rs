//! Tests of what participants, strangers and outsiders are told, in every order of arrival.

use std::sync::Arc;

use proptest::prelude::*;
use serde_json::Value;

use super::*;
use onrecord_evidence::event::calling_event::SessionStatement;

const BEN: &str = "8:acs:r_ben";
const MALLORY: &str = "8:acs:r_mallory";
const TEAMS_ANNA: &str = "8:orgid:anna";

/// The platform names a participant of the call.
fn named(t: Millis, raw_id: &str) -> IncomingEvent {
    let participant = Some(participant(raw_id));
    let joined = SessionStatement { participant, user_agent: None, reason: None };
    let ids = Ids { participant_id: Some(format!("p {raw_id}")), ..ids(Some(C1), Some(S1), None) };
    incoming(t, ids, Statement::SessionJoined(joined))
}

fn on(subject: &TokenSubject, t: Millis, attachment: &str) -> IncomingEvent {
    report_by(subject, t, 1, ids(None, Some(S1), Some(attachment)), Level::On)
}

fn of_attachment(subject: &Arc<TokenSubject>, attachment: &str) -> SubscriptionScope {
    let (attachment, subject) = (attachment.into(), Arc::clone(subject));
    SubscriptionScope::Attachment { attachment, subject }
}

fn of_call(subject: &Arc<TokenSubject>) -> SubscriptionScope {
    let subject = Some(Arc::clone(subject));
    SubscriptionScope::Call { anchors: vec![Anchor::server(S1)], subject }
}

fn body(message: &StreamMessage) -> Value {
    serde_json::from_str(&message.body(None)).unwrap()
}

fn snapshot(live_calls: &LiveCalls, scope: &SubscriptionScope) -> Value {
    body(&live_calls.snapshot(&tenant(), scope, NOW))
}

fn recording(body: &Value) -> &str {
    body["indication"]["recording"]["state"].as_str().unwrap()
}

fn applied(events: impl IntoIterator<Item = IncomingEvent>) -> LiveCalls {
    let live_calls = caught_up();
    for event in events {
        live_calls.apply(vec![event], EventOrigin::Log, NOW);
    }
    live_calls
}

#[test]
fn an_outsider_hears_the_call_and_its_own_client_and_changes_nothing_for_others() {
    let (ben, mallory) = (TokenSubject::plain(BEN), TokenSubject::plain(MALLORY));
    let live_calls = applied([named(NOW, BEN)]);
    let mut by_ben = TestSubscription::open(&live_calls, of_call(&ben));
    let mut by_key = TestSubscription::open(&live_calls, SubscriptionScope::Everything);
    let mut own = TestSubscription::open(&live_calls, of_attachment(&mallory, "m"));
    let mut heard = TestSubscription::open(&live_calls, of_call(&mallory));
    for subscription in [&mut by_ben, &mut by_key, &mut own, &mut heard] {
        subscription.received();
    }
    live_calls.apply(vec![on(&mallory, NOW, "m")], EventOrigin::Log, NOW);
    assert_eq!(by_ben.received(), []);
    assert_eq!(by_key.received(), []);
    assert_eq!(own.received(), expected(&[("notice", "on")]));
    assert_eq!(heard.received(), expected(&[("notice", "on")]));
    let found = live_calls.level(&tenant(), &of_attachment(&mallory, "m"), NOW);
    assert_eq!(found.call, Some(Anchor::server(S1)));
    assert_eq!(serde_json::json!(found.view)["recording"]["state"], "on");
    assert_eq!(serde_json::json!(found.view)["recording"]["confirmed"], false);
    assert_eq!(recording(&snapshot(&live_calls, &of_call(&ben))), "unknown");

    // The call is recorded, and the outsider hears it whatever its own client states.
    let off = report_by(&mallory, NOW, 2, ids(None, Some(S1), Some("m")), Level::Off);
    let here = ids(Some(C1), Some(S1), None);
    let active = recorded(NOW, here, ProviderState::Active);
    live_calls.apply(vec![active, off], EventOrigin::Log, NOW);
    assert_eq!(by_ben.received(), expected(&[("notice", "on")]));
    for subscription in [&mut own, &mut heard] {
        assert_eq!(subscription.received(), [], "it was stated that already");
    }
    live_calls.tick(NOW + MINUTE);
    assert_eq!(recording(&snapshot(&live_calls, &of_attachment(&mallory, "m"))), "on");
}

#[test]
fn an_outsider_does_not_close_a_stale_on() {
    let ben = TokenSubject::plain(BEN);
    let live_calls = applied([named(NOW, BEN), on(&ben, NOW, "b")]);
    let later = NOW + 2 * MINUTE;
    live_calls.tick(later);
    let mallory = TokenSubject::plain(MALLORY);
    let off = report_by(&mallory, later, 1, ids(None, Some(S1), Some("m")), Level::Off);
    live_calls.apply(vec![off], EventOrigin::Log, later);
    live_calls.tick(later + MINUTE);
    let stated = snapshot(&live_calls, &of_call(&ben));
    assert_eq!(
        (recording(&stated), &stated["indication"]["recording"]["stale"]),
        ("on", &Value::Bool(true))
    );
}

#[test]
fn a_stranger_is_told_only_the_ids_that_it_brought() {
    let anna = TokenSubject::plain(ANNA);
    let mallory = TokenSubject::plain(MALLORY);
    let here = || ids(Some(C1), Some(S1), None);
    // Before the platform names anyone, and afterwards.
    for platform in [vec![started(NOW, here())], vec![started(NOW, here()), named(NOW, BEN)]] {
        let live_calls = applied(platform);
        let mut resumed = Vec::new();
        live_calls.apply(vec![on(&anna, NOW, "a"), on(&mallory, NOW, "m")], EventOrigin::Log, NOW);
        live_calls.apply(vec![recorded(NOW, here(), ProviderState::Active)], EventOrigin::Log, NOW);
        let person = of_person(Arc::clone(&mallory));
        for scope in [of_call(&mallory), of_attachment(&mallory, "m"), person] {
            let mut opened = TestSubscription::resume(&live_calls, scope, Some(NOW), NOW);
            resumed.extend(std::iter::from_fn(|| opened.try_next()));
        }
        // An outsider whose client observed the recording itself saw no change.
        assert!(resumed.len() >= 3, "{}", resumed.len());
        let own = [Anchor::server(S1), Anchor::attachment("m")];
        let foreign = [C1.to_owned(), Anchor::attachment("a").to_string()];
        for message in resumed {
            let text = message.body(None);
            assert!(foreign.iter().all(|id| !text.contains(id)), "{text}");
            assert_eq!(body(&message)["call"], own[0].as_str());
            assert_eq!(
                body(&message)["aliases"],
                serde_json::json!([own[0].as_str(), own[1].as_str()])
            );
            // Cursors and notice facts name the call by what was stated.
            let stated = message.stated.unwrap();
            assert_eq!(stated.call, Some(own[0].clone()));
            let by_key = snapshot(&live_calls, &call(Anchor::server(S1)));
            assert_ne!(stated.notice.as_deref(), by_key["id"].as_str());
        }
    }
}

#[test]
fn a_participant_by_another_of_its_raw_ids_and_a_granted_one_are_told_the_ids() {
    let live_calls = applied([named(NOW, TEAMS_ANNA), named(NOW, BEN)]);
    let granted = |id: &str| Grant::new([id.to_owned()], []);
    let teams = TokenSubject {
        raw_id: ANNA.to_owned(),
        other_raw_ids: vec![TEAMS_ANNA.to_owned()],
        grant: Grant::default(),
    };
    let by_server =
        TokenSubject { raw_id: MALLORY.to_owned(), other_raw_ids: Vec::new(), grant: granted(S1) };
    let by_correlation = TokenSubject { grant: granted(C1), ..by_server.clone() };
    let of_another_call = TokenSubject { grant: granted(S2), ..by_server.clone() };
    for (subject, told) in [
        (teams, C1),
        (by_server, C1),
        (by_correlation, C1),
        (of_another_call, Anchor::server(S1).as_str()),
    ] {
        assert_eq!(snapshot(&live_calls, &of_call(&Arc::new(subject)))["call"], told);
    }
}

#[test]
fn a_call_that_left_the_live_state_is_named_as_it_was_told() {
    let mallory = TokenSubject::plain(MALLORY);
    let live_calls = applied([named(NOW, BEN), on(&mallory, NOW, "m")]);
    let scope = of_person(mallory);
    let mut receiver = TestSubscription::open(&live_calls, scope);
    assert_eq!(body(&receiver.try_next().unwrap())["call"], Anchor::server(S1).as_str());
    live_calls.evict(None, Some(HOUR), NOW + 2 * HOUR);
    let gone = body(&receiver.try_next().unwrap());
    assert_eq!(
        (recording(&gone), &gone["call"]),
        ("unknown", &Value::from(Anchor::server(S1).as_str()))
    );
}

#[test]
fn late_events_of_a_closed_call_decide_who_is_an_outsider_in_it() {
    let (anna, mallory) = (TokenSubject::plain(ANNA), TokenSubject::plain(MALLORY));
    let here = || ids(Some(C1), Some(S1), None);
    let live_calls = applied([named(NOW, BEN), ended(NOW, here())]);
    live_calls.evict(None, None, NOW + MINUTE);
    assert_eq!(live_calls.lock().tenants[&tenant()].event_count(), 0);
    live_calls.apply(vec![on(&mallory, NOW, "m"), on(&anna, NOW, "a")], EventOrigin::Log, NOW);
    let level = |scope: &SubscriptionScope| recording(&snapshot(&live_calls, scope)).to_owned();
    assert_eq!(level(&call(Anchor::server(S1))), "unknown");
    assert_eq!(level(&of_attachment(&mallory, "m")), "off");
    assert_eq!(level(&of_attachment(&anna, "a")), "off");
    assert_eq!(snapshot(&live_calls, &of_call(&anna))["call"], Anchor::server(S1).as_str());
    live_calls.apply(vec![named(NOW, ANNA)], EventOrigin::Log, NOW);
    assert_eq!(level(&call(Anchor::server(S1))), "off");
    assert_eq!(snapshot(&live_calls, &of_call(&anna))["call"], C1);
    assert_eq!(snapshot(&live_calls, &of_call(&mallory))["call"], Anchor::server(S1).as_str());
}

proptest! {
    /// The platform names Ben at once or late, and Anna late; Mallory it never names.
    #[test]
    fn in_every_order_the_own_banner_is_right_and_an_outsider_changes_nothing_for_others(
        order in Just((0..5_usize).collect::<Vec<_>>()).prop_shuffle(),
    ) {
        let (anna, ben) = (TokenSubject::plain(ANNA), TokenSubject::plain(BEN));
        let mallory = TokenSubject::plain(MALLORY);
        let event = |n: usize| match n {
            0 => named(NOW, BEN),
            1 => named(NOW + 1, ANNA),
            2 => on(&anna, NOW + 2, "a"),
            3 => on(&mallory, NOW + 3, "m"),
            _ => started(NOW, ids(Some(C1), Some(S1), None)),
        };
        let now = NOW + 10;
        let live_calls = caught_up();
        let mut own = TestSubscription::open(&live_calls, of_attachment(&anna, "a"));
        let mut foreign = TestSubscription::open(&live_calls, of_attachment(&mallory, "m"));
        let mut last = [String::new(), String::new()];
        for arrived in 1..=order.len() {
            live_calls.apply(vec![event(order[arrived - 1])], EventOrigin::Log, now);
            let has = |n: usize| order[..arrived].contains(&n);
            let is_named = has(0) || has(1);
            for (subscription, last) in [&mut own, &mut foreign].into_iter().zip(&mut last) {
                if let Some((_, level)) = subscription.received().pop() {
                    *last = level;
                }
            }
            if has(2) {
                prop_assert_eq!(&last[0], "on");
            }
            if has(3) {
                prop_assert_eq!(&last[1], "on");
            }
            if !(has(0) || has(1) || has(2) || has(3) || has(4)) {
                continue;
            }
            let seen = snapshot(&live_calls, &of_call(&ben));
            let counts = (has(2) && (has(1) || !is_named)) || (has(3) && !is_named);
            let wanted = if counts { "on" } else { "unknown" };
            prop_assert_eq!(recording(&seen), wanted);
            let told = |subject: &Arc<TokenSubject>| {
                snapshot(&live_calls, &of_call(subject))["call"] == C1
            };
            prop_assert_eq!((told(&anna), told(&ben)), (has(1), has(0)));
            prop_assert!(!told(&mallory));
            if has(2) && has(1) {
                let confirmed = &seen["indication"]["recording"]["confirmed"];
                prop_assert_eq!(confirmed, &Value::Bool(true));
            }
        }
    }
}
