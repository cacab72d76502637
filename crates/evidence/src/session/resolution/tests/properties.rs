//! Properties of the resolution (`ORDER_FREE`), for random calls of a few participants that join,
//! leave, rejoin and report.

use std::collections::BTreeSet;

use proptest::prelude::*;
use proptest::sample::subsequence;

use super::*;
use crate::event::calling_event::Statement;
use crate::fact::kinds::{Fact, FactKind};
use crate::tests::test_events::*;

const RAW_IDS: [&str; 4] = ["8:acs:res_anna", "8:acs:res_ben", "8:orgid:t", "REDACTED"];

fn raw_id() -> impl Strategy<Value = &'static str> {
    prop::sample::select(RAW_IDS.to_vec())
}

const SERVER_CALL_ID: &str = "https://api.flightproxy.skype.com/conv/this";

/// The other raw ids of a token, the calls that it grants, and the participantIds.
fn any_authority() -> impl Strategy<Value = (Vec<String>, Vec<String>, Vec<String>)> {
    let some = |texts: Vec<&'static str>| {
        let texts = prop::option::weighted(0.2, prop::sample::select(texts));
        texts.prop_map(|text| text.map(str::to_owned).into_iter().collect())
    };
    (some(RAW_IDS.to_vec()), some(vec!["a group", SERVER_CALL_ID, "other"]), some(vec!["p1", "p7"]))
}

fn any_event() -> impl Strategy<Value = ObservedEvent> {
    let t = 0..40i64;
    let t = t.prop_map(|step| step * 5_000);
    let participant = prop::sample::select(vec!["p0", "p1", "p2", "REDACTED"]);
    let attachment = prop::sample::select(vec!["a0", "a1", "a2"]);
    prop_oneof![
        (participant.clone(), raw_id(), t.clone()).prop_map(|(p, raw, t)| joined(p, raw, t)),
        (participant.clone(), raw_id(), t.clone()).prop_map(|(p, raw, t)| left(p, raw, t)),
        (
            prop::sample::select(vec!["leg", "other leg"]),
            prop::option::weighted(0.8, 0..8i64),
            t.clone(),
            subsequence(RAW_IDS.to_vec(), 0..=RAW_IDS.len()),
        )
            .prop_map(|(leg, sequence, t, present)| roster(leg, sequence, t, &present)),
        (
            attachment,
            raw_id(),
            0..8i64,
            t.clone(),
            prop::option::weighted(0.2, participant),
            prop::bool::weighted(0.2),
            any_authority(),
        )
            .prop_map(
                |(attachment, raw, sequence, t, named, leaving, (others, calls, own))| {
                    report_with(attachment, raw, sequence, t, |report, ids| {
                        report.leaving = leaving;
                        report.other_raw_ids = others;
                        report.grant = Grant::new(calls, own);
                        ids.server_call_id = Some(SERVER_CALL_ID.to_owned());
                        ids.participant_id = named.map(str::to_owned);
                    })
                }
            ),
        t.prop_map(|t| leg_disconnected("leg", t)),
    ]
}

fn any_call() -> impl Strategy<Value = Vec<ObservedEvent>> {
    prop::collection::vec(any_event(), 0..24)
}

fn session_of_fact(fact: &Fact) -> Option<&str> {
    match fact.kind() {
        FactKind::SessionJoined { session, .. } | FactKind::SessionLeft { session } => {
            Some(session)
        }
        FactKind::Report(report) => Some(&report.session),
        _ => None,
    }
}

/// All permutations of `items`.
pub(super) fn permutations<T: Clone>(items: &[T]) -> Vec<Vec<T>> {
    let Some((first, rest)) = items.split_first() else {
        return vec![Vec::new()];
    };
    let mut all = Vec::new();
    for permutation in permutations(rest) {
        for at in 0..=permutation.len() {
            let mut longer = permutation.clone();
            longer.insert(at, first.clone());
            all.push(longer);
        }
    }
    all
}

/// The same events with more members, and some a second time with different contents.
fn with_more_members(call: &[ObservedEvent], again: &[bool]) -> Vec<ObservedEvent> {
    let mut all = Vec::new();
    for (observed, again) in call.iter().zip(again) {
        let mut named = observed.clone();
        named.event.source_type = "Microsoft.Communication.Any".to_owned();
        named.event.ids.group_id = Some("a group".to_owned());
        match &mut named.event.statement {
            Statement::SessionJoined(change) | Statement::SessionLeft(change) => {
                change.user_agent = Some("an agent".to_owned());
                if let Some(participant) = &mut change.participant {
                    participant.display_name = Some("Anna".to_owned());
                }
            }
            Statement::Report(report) => report.app = Some("an app".to_owned()),
            _ => {}
        }
        if *again {
            let mut other = named.clone();
            other.event.source_type = "Another".to_owned();
            if let Statement::Report(report) = &mut other.event.statement {
                report.leaving = !report.leaving;
            }
            all.push(other);
        }
        all.push(named);
    }
    all
}

proptest! {
    #[test]
    fn the_members_that_the_live_state_does_not_store_change_no_fact(call in any_call(), again in prop::collection::vec(any::<bool>(), 24)) {
        let all = with_more_members(&call, &again);
        let reduced: Vec<ObservedEvent> = all
            .iter()
            .map(|observed| ObservedEvent { event: observed.event.clone().for_projection(), ..observed.clone() })
            .collect();
        let (all, reduced) = (resolve(&all), resolve(&reduced));
        prop_assert_eq!(all.facts, reduced.facts);
        prop_assert_eq!(all.clients, reduced.clients);
        prop_assert_eq!(all.trust, reduced.trust);
    }

    #[test]
    fn order_and_repetition_do_not_matter(
        (call, shuffled) in any_call().prop_flat_map(|call| {
            let doubled = [call.clone(), call.clone()].concat();
            (Just(call), Just(doubled).prop_shuffle())
        }),
    ) {
        prop_assert_eq!(resolve(&call), resolve(&shuffled));
    }

    #[test]
    fn the_ids_of_facts_are_unique(call in any_call()) {
        let resolved = resolve(&call);
        let ids: BTreeSet<&str> = resolved.facts.iter().map(Fact::id).collect();
        prop_assert_eq!(ids.len(), resolved.facts.len());
    }

    #[test]
    fn the_sessions_of_the_facts_are_described(call in any_call()) {
        let resolved = resolve(&call);
        let named: BTreeSet<&str> = resolved.facts.iter().filter_map(session_of_fact).collect();
        let described: BTreeSet<&str> =
            resolved.sessions.iter().map(|who| who.session.as_str()).collect();
        prop_assert_eq!(named, described);
        prop_assert!(resolved.sessions.iter().map(|who| &who.session).is_sorted());
    }

    #[test]
    fn a_reporter_belongs_to_one_session(call in any_call()) {
        let resolved = resolve(&call);
        for fact in &resolved.facts {
            if let FactKind::Report(report) = fact.kind() {
                let client = resolved.clients().find(|it| it.reporter == report.reporter).unwrap();
                prop_assert_eq!(
                    resolved.session_of(client.attachment, client.raw_id),
                    Some(report.session.as_str())
                );
            }
        }
    }

    #[test]
    fn each_participant_id_of_a_participant_event_is_a_session(call in any_call()) {
        let resolved = resolve(&call);
        let names: BTreeSet<&str> =
            resolved.sessions.iter().map(|who| who.session.as_str()).collect();
        let by_platform = call.iter().filter(|observed| observed.event.ids.attachment.is_none());
        for id in by_platform.filter_map(|observed| crate::session::key::participant_id(&observed.event.ids)) {
            let expected = format!("p:{id}");
            prop_assert!(names.contains(expected.as_str()));
        }
    }

    #[test]
    fn one_participant_is_one_session_after_each_arrival(
        participant_first in -4_999..5_000i64,
        roster_first in -5_000..5_000i64,
        at in 10_000..1_000_000i64,
        sequence in prop::option::of(0..9i64),
        names_its_id in any::<bool>(),
    ) {
        let raw = "8:acs:res_anna";
        let first = at + participant_first;
        let all = [
            joined("p1", raw, first),
            roster("leg", sequence, at + roster_first, &[raw]),
            if names_its_id {
                report_naming("p1", "a1", raw, 1, at)
            } else {
                report("a1", raw, 1, at)
            },
            report("a1", raw, 2, at + 30_000),
        ];
        for order in permutations(&all) {
            for arrived in 1..=order.len() {
                let so_far = &order[..arrived];
                prop_assert_eq!(resolve(so_far).sessions.len(), 1, "{:?}", so_far);
            }
            prop_assert_eq!(&resolve(&order).sessions[0].session, "p:p1");
        }
    }

    #[test]
    fn two_devices_are_two_sessions_with_any_number_of_rosters(
        seen in prop::collection::vec(1_000..400_000i64, 0..6),
        second in 0..300_000i64,
    ) {
        let raw = "8:acs:res_anna";
        let mut all = vec![
            joined("p1", raw, 0),
            joined("p2", raw, second),
            report_naming("p1", "a1", raw, 1, 400),
            report_naming("p2", "a2", raw, 1, second + 400),
        ];
        all.extend(seen.iter().map(|&t| roster("leg", None, t, &[raw])));
        let names: Vec<String> =
            resolve(&all).sessions.into_iter().map(|who| who.session).collect();
        prop_assert_eq!(names, ["p:p1", "p:p2"]);
    }
}
