//! Honest participants come out right, in every order of arrival.

use std::collections::BTreeSet;

use super::properties::permutations;
use super::*;
use crate::call::project::{ProjectedCall, project_call};
use crate::event::calling_event::Statement;
use crate::fact::kinds::{CaptureType, Level, Witness};
use crate::notice::indication::{IndicationState, Indications};

const NOW: Millis = 100_000;

/// A report that states that the call is recorded.
fn recorded(attachment: &str, raw_id: &str, named: Option<&str>, at: Millis) -> ObservedEvent {
    report_with(attachment, raw_id, 1, at, |report, ids| {
        report.recording = Some(Level::On);
        ids.participant_id = named.map(str::to_owned);
    })
}

fn project<'t>(events: impl IntoIterator<Item = &'t ObservedEvent>) -> ProjectedCall {
    project_call(events, [], NOW, &Parameters::default())
}

/// What the client of a participant shows.
fn banner(call: &ProjectedCall, attachment: &str, raw_id: &str) -> Indications {
    let own = own_level(call, attachment, raw_id).map(|own| own.indications);
    call.snapshot.indications.strongest(own.unwrap_or_default())
}

/// Checks each arrival of all events in every order.
fn after_each_arrival(events: &[ObservedEvent], check: impl Fn(&[ObservedEvent], &ProjectedCall)) {
    for order in permutations(events) {
        for arrived in 1..=order.len() {
            check(&order[..arrived], &project(&order[..arrived]));
        }
    }
}

fn grade(call: &ProjectedCall, attachment: &str) -> Option<Witness> {
    let mut clients = call.sessions.iter().flat_map(|who| &who.attachments);
    clients.find(|client| client.attachment == attachment).map(|client| client.trust)
}

/// Anna's client reports, and the platform names Anna late; another participant's event, Ben's, comes at
/// any time. Anna sees her banner from the first moment, and in the end her record is right.
#[test]
fn the_own_banner_is_right_at_once_and_the_record_in_the_end() {
    let report = recorded("a1", ANNA, Some("p1"), 50_000);
    let events = [
        report.clone(),
        joined("p1", ANNA, 40_000),
        joined("p2", BEN, 10_000),
        roster("leg", Some(1), 45_000, &[ANNA, BEN]),
    ];
    after_each_arrival(&events, |arrived, call| {
        if arrived.contains(&report) {
            let shown = banner(call, "a1", ANNA);
            assert_eq!(shown.recording.state, IndicationState::On, "{arrived:?}");
            let is_outsider = grade(call, "a1") == Some(Witness::Outsider);
            assert_eq!(own_level(call, "a1", ANNA).is_some(), is_outsider);
        }
    });
    let call = project(&events);
    assert_eq!(call.outsiders, []);
    assert_eq!(grade(&call, "a1"), Some(Witness::Platform));
    let names: Vec<&str> = call.sessions.iter().map(|who| who.session.as_str()).collect();
    assert_eq!(names, ["p:p1", "p:p2"]);
    assert!(call.sessions.iter().all(|who| who.flags.is_empty()));
    assert_eq!(call.snapshot.indications.recording.state, IndicationState::On);
    assert_eq!(call.snapshot.unconfirmed, BTreeSet::new());
}

#[test]
fn a_participant_that_rejoins_is_two_sessions_with_an_attachment_each() {
    let events = [
        joined("p1", ANNA, 1_000),
        left("p1", ANNA, 20_000),
        joined("p2", ANNA, 30_000),
        recorded("a1", ANNA, Some("p1"), 2_000),
        recorded("a2", ANNA, Some("p2"), 31_000),
    ];
    for order in permutations(&events) {
        let resolved = resolve(&order);
        assert_eq!(resolved.session_of("a1", ANNA), Some("p:p1"));
        assert_eq!(resolved.session_of("a2", ANNA), Some("p:p2"));
        assert_eq!(resolved.sessions.len(), 2);
        assert!(resolved.sessions.iter().all(|who| who.flags.is_empty()));
    }
}

#[test]
fn a_participant_that_rejoins_with_its_attachment_is_not_refused() {
    let later = report_with("a1", ANNA, 2, 31_000, |_, ids| {
        ids.participant_id = Some("p2".to_owned());
    });
    let events = [
        joined("p1", ANNA, 1_000),
        joined("p2", ANNA, 30_000),
        recorded("a1", ANNA, Some("p1"), 2_000),
        later,
    ];
    for order in permutations(&events) {
        let resolved = resolve(&order);
        assert_eq!(resolved.session_of("a1", ANNA), Some("p:p1"));
        assert!(resolved.sessions.iter().all(|who| who.flags.is_empty()));
    }
}

#[test]
fn two_devices_of_one_participant_belong_to_their_own_joins() {
    let events = [
        joined("p1", ANNA, 0),
        joined("p2", ANNA, 10_000),
        recorded("a1", ANNA, Some("p1"), 1_000),
        recorded("a2", ANNA, Some("p2"), 11_000),
        roster("leg", Some(1), 12_000, &[ANNA]),
    ];
    for order in permutations(&events) {
        let resolved = resolve(&order);
        assert_eq!(resolved.session_of("a1", ANNA), Some("p:p1"));
        assert_eq!(resolved.session_of("a2", ANNA), Some("p:p2"));
        assert_eq!(resolved.sessions.len(), 2);
    }
}

/// The token names the ACS identity and lists the Teams identity, which is the one that the platform
/// names.
#[test]
fn a_teams_identity_in_our_own_client_is_one_session() {
    let by_platform = |observed: ObservedEvent| {
        let mut observed = observed;
        match &mut observed.event.statement {
            Statement::SessionJoined(change) => {
                change.participant.as_mut().unwrap().identity = Identity::TeamsUser;
            }
            Statement::Roster(roster) => roster.participants[0].identity = Identity::TeamsUser,
            _ => {}
        }
        observed
    };
    let of_teams = |named: Option<&str>| {
        report_with("a1", ANNA, 1, 2_000, |report, ids| {
            report.other_raw_ids = vec![TEAMS.to_owned()];
            ids.participant_id = named.map(str::to_owned);
        })
    };
    for named in [None, Some("p1")] {
        let events =
            [joined("p1", TEAMS, 1_000), of_teams(named), roster("leg", Some(1), 1_500, &[TEAMS])]
                .map(by_platform);
        for order in permutations(&events) {
            let call = project(&order);
            assert_eq!(call.sessions.len(), 1);
            assert_eq!(call.sessions[0].session, "p:p1");
            assert_eq!(call.sessions[0].flags, []);
            assert_eq!(grade(&call, "a1"), Some(Witness::Platform));
            assert_eq!(call.snapshot.sessions[0].identity, Identity::TeamsCustom);
        }
        let only_roster = [events[1].clone(), events[2].clone()];
        for order in permutations(&only_roster) {
            let call = project(&order);
            assert_eq!(call.sessions.len(), 1);
            assert_eq!(call.sessions[0].session, "t:a1");
            assert_eq!(grade(&call, "a1"), Some(Witness::Platform));
            assert_eq!(call.snapshot.sessions[0].identity, Identity::TeamsCustom);
        }
    }
}

#[test]
fn a_participant_whom_only_a_roster_names_counts() {
    // A roster names no participantIds, so it contradicts none.
    for named in [None, Some("p1")] {
        let events = [
            recorded("a1", ANNA, named, 2_000),
            roster("leg", Some(1), 1_000, &[ANNA, BEN]),
            roster("leg", Some(2), 9_000, &[ANNA, BEN]),
        ];
        for order in permutations(&events) {
            let call = project(&order);
            assert_eq!(grade(&call, "a1"), Some(Witness::Platform));
            assert_eq!(call.snapshot.indications.recording.state, IndicationState::On);
            assert_eq!(call.snapshot.unconfirmed, BTreeSet::new());
            let session = call.snapshot.sessions.iter().find(|it| it.id == "t:a1").unwrap();
            assert!(session.ours);
            assert!(call.sessions.iter().all(|who| who.flags.is_empty()));
        }
    }
}

#[test]
fn without_the_platform_the_clients_count_and_nothing_is_confirmed() {
    let events = [recorded("a1", ANNA, Some("p1"), 52_000), report("b1", BEN, 1, 53_000)];
    after_each_arrival(&events, |arrived, call| {
        assert!(call.sessions.iter().all(|who| who.flags.is_empty()));
        let mut clients = call.sessions.iter().flat_map(|who| &who.attachments);
        assert!(clients.all(|client| client.trust == Witness::Asserted));
        let recording = call.snapshot.indications.recording.state;
        let expected =
            if arrived.contains(&events[0]) { IndicationState::On } else { IndicationState::Off };
        assert_eq!(recording, expected);
        assert_eq!(call.snapshot.unconfirmed, BTreeSet::from([CaptureType::Recording]));
        assert!(call.snapshot.sessions.iter().all(|it| it.ours));
    });
}

/// Anna's first token grants nothing, and the platform names Ben only; her next token, for the same
/// attachment, grants the call. Then all her reports are those of a granted participant.
#[test]
fn a_grant_that_comes_with_a_later_token_counts_for_the_earlier_reports_too() {
    let mut by_group = joined("p2", BEN, 10_000);
    by_group.event.ids.group_id = Some("a group".to_owned());
    let granted = report_with("a1", ANNA, 2, 60_000, |report, _| {
        report.recording = Some(Level::On);
        report.grant = Grant::new(["a group".to_owned()], []);
    });
    let events = [by_group, recorded("a1", ANNA, None, 50_000), granted.clone()];
    after_each_arrival(&events, |arrived, call| {
        if arrived.contains(&granted) && arrived.contains(&events[0]) {
            assert_eq!(grade(call, "a1"), Some(Witness::Granted));
            let session = call.snapshot.sessions.iter().find(|it| it.id == "t:a1").unwrap();
            assert_eq!((session.identity, session.ours), (Identity::Acs, true));
            assert_eq!(call.outsiders, []);
        }
        if arrived.len() == events.len() {
            let recorded = &call.snapshot.captures[0];
            assert_eq!(recorded.started_at, 50_000, "the report before the grant counts");
        }
    });
    // The grant of another participant with the same attachment proves nothing about Anna.
    let foreign = report_with("a1", "8:acs:res_carl", 3, 60_000, |report, _| {
        report.grant = Grant::new(["a group".to_owned()], []);
    });
    let call = project(&[events[0].clone(), events[1].clone(), foreign]);
    let mut clients = call.sessions.iter().flat_map(|who| &who.attachments);
    let anna = clients.find(|client| client.raw_id.as_deref() == Some(ANNA)).unwrap();
    assert_eq!(anna.trust, Witness::Outsider);
}
