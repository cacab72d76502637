mod attacks;
mod honest;
pub(crate) mod properties;

use crate::call::parameters::Parameters;
use crate::call::snapshot::call_snapshot;
use crate::event::instant::Millis;
use crate::fact::kinds::{FactKind, Identity};
use crate::identity::grant::Grant;
use crate::session::presence::SessionPresence;

use super::*;
use crate::tests::test_events::*;

const ANNA: &str = "8:acs:res_anna";
const BEN: &str = "8:acs:res_ben";
const TEAMS: &str = "8:orgid:daba101a-91c5-44c9-bb9b-e2a9a790571a";

/// The names of the sessions, sorted.
fn names(events: &[ObservedEvent]) -> Vec<String> {
    let resolved = resolve(events);
    resolved.sessions.into_iter().map(|who| who.session).collect()
}

/// The joined and left facts as `name +t` and `name -t`, in the order of time.
fn moves(events: &[ObservedEvent]) -> Vec<String> {
    let mut moves: Vec<(Millis, String)> = resolve(events)
        .facts
        .iter()
        .filter_map(|fact| match fact.kind() {
            FactKind::SessionJoined { session, .. } => {
                Some((fact.at(), format!("{session} +{}", fact.at())))
            }
            FactKind::SessionLeft { session } => {
                Some((fact.at(), format!("{session} -{}", fact.at())))
            }
            _ => None,
        })
        .collect();
    moves.sort();
    moves.into_iter().map(|(_, text)| text).collect()
}

fn sessions_at(events: &[ObservedEvent], now: Millis) -> Vec<SessionPresence> {
    call_snapshot(&resolve(events).facts, now, &Parameters::default()).sessions
}

#[test]
fn participant_roster_and_attachment_of_one_person_are_one_session() {
    let all = [
        joined("p1", ANNA, 1_000),
        roster("leg", Some(1), 900, &[ANNA]),
        report("a1", ANNA, 1, 1_200),
    ];
    assert_eq!(names(&all), ["p:p1"]);
    assert_eq!(resolve(&all).session_of("a1", ANNA), Some("p:p1"));
    assert_eq!(moves(&all), ["p:p1 +1000"]);
}

#[test]
fn two_devices_of_one_person_are_two_sessions() {
    let all = [
        joined("p1", ANNA, 0),
        joined("p2", ANNA, 60_000),
        report_naming("p1", "a1", ANNA, 1, 500),
        report_naming("p2", "a2", ANNA, 1, 60_500),
        roster("leg", Some(1), 100, &[ANNA]),
    ];
    assert_eq!(names(&all), ["p:p1", "p:p2"]);
    let resolved = resolve(&all);
    assert_eq!(resolved.session_of("a2", ANNA), Some("p:p2"));
    assert_eq!(resolved.only_session_of(ANNA), None);
}

#[test]
fn an_attachment_that_could_belong_to_two_sessions_is_a_session_of_its_own() {
    let all = [joined("p1", ANNA, 0), joined("p2", ANNA, 1_000), report("a1", ANNA, 1, 2_000)];
    assert_eq!(names(&all), ["p:p1", "p:p2", "t:a1"]);
}

#[test]
fn a_first_report_within_the_edge_belongs_to_a_session() {
    for (t, session) in [(4_999, "t:a1"), (5_000, "p:p1"), (24_999, "p:p1"), (25_000, "t:a1")] {
        let all = [
            joined("p1", ANNA, 10_000),
            left("p1", ANNA, 20_000),
            report("a1", ANNA, 1, t),
            report("a1", ANNA, 2, 15_000.max(t)),
        ];
        assert_eq!(resolve(&all).session_of("a1", ANNA), Some(session), "{t}");
    }
}

#[test]
fn an_attachment_does_not_belong_to_a_session_of_another_raw_id() {
    let all = [joined("p1", BEN, 0), report("a1", ANNA, 1, 100)];
    assert_eq!(names(&all), ["p:p1", "t:a1"]);
}

#[test]
fn a_participant_id_that_only_a_client_names_is_no_session() {
    let all = [report_naming("P1", "a1", ANNA, 1, 100), report("a2", ANNA, 1, 3_000)];
    assert_eq!(names(&all), ["t:a1", "t:a2"]);
    // The platform names no participant, so nothing contradicts the claim.
    assert_eq!(resolve(&all).sessions[0].flags, []);
}

#[test]
fn a_granted_participant_id_is_a_session() {
    let granted = report_with("a1", ANNA, 1, 100, |report, ids| {
        report.grant = Grant::new([], ["P1".to_owned()]);
        ids.participant_id = Some("P1".to_owned());
    });
    assert_eq!(names(std::slice::from_ref(&granted)), ["p:P1"]);
    let named = [granted, joined("P1", TEAMS, 50)];
    assert_eq!(names(&named), ["p:P1"]);
    assert_eq!(resolve(&named).sessions[0].flags, []);
}

#[test]
fn an_attachment_with_two_participant_ids_of_its_participant_belongs_to_the_first() {
    let all = [
        joined("p1", ANNA, 0),
        joined("p2", ANNA, 0),
        report("a1", ANNA, 1, 0),
        report_naming("p2", "a1", ANNA, 9, 200),
        report_naming("p1", "a1", ANNA, 3, 300),
    ];
    assert_eq!(resolve(&all).session_of("a1", ANNA), Some("p:p1"));
    assert_eq!(names(&all), ["p:p1", "p:p2"]);
}

#[test]
fn a_session_with_only_a_leaving_was_present_from_the_start() {
    let all = [left("p1", ANNA, 50_000), report("a1", ANNA, 1, 2_000)];
    assert_eq!(names(&all), ["p:p1"]);
    assert_eq!(moves(&all), ["p:p1 -50000"]);
}

#[test]
fn events_without_a_participant_id_make_one_session_per_raw_id() {
    let mut anonymous = [joined("x", ANNA, 0), left("x", ANNA, 9_000)];
    for observed in &mut anonymous {
        observed.event.ids.participant_id = Some("{participantId}".to_owned());
    }
    assert_eq!(moves(&anonymous), ["u:8:acs:res_anna +0", "u:8:acs:res_anna -9000"]);
}

#[test]
fn a_raw_id_that_only_rosters_list_is_a_session_and_a_rejoin_is_another() {
    let all = [
        roster("leg", Some(1), 100, &[TEAMS, "4:+1"]),
        roster("leg", Some(3), 700, &["4:+1"]),
        roster("leg", Some(4), 900, &["4:+1", TEAMS]),
    ];
    let teams = format!("r:{TEAMS}");
    assert_eq!(
        moves(&all),
        [
            "r:4:+1@100 +100".to_owned(),
            format!("{teams}@100 +100"),
            format!("{teams}@100 -700"),
            format!("{teams}@900 +900"),
        ]
    );
}

#[test]
fn a_roster_presence_is_a_session_only_where_no_other_of_the_raw_id_overlaps_it() {
    let all = [
        joined("p1", ANNA, 1_000),
        left("p1", ANNA, 2_000),
        // Partly before, so it is the same session.
        roster("leg", Some(1), 500, &[ANNA]),
        roster("leg", Some(2), 1_500, &[]),
        // Afterwards, so it is another.
        roster("leg", Some(3), 2_000, &[ANNA]),
    ];
    assert_eq!(names(&all), ["p:p1", "r:8:acs:res_anna@2000"]);
    assert_eq!(moves(&all), ["p:p1 +1000", "p:p1 -2000", "r:8:acs:res_anna@2000 +2000"]);
}

#[test]
fn a_stale_client_does_not_hide_a_rejoin() {
    let stale = report("a1", ANNA, 1, 0);
    let soon = roster("leg", Some(1), 89_999, &[ANNA]);
    let late = roster("leg", Some(1), 90_000, &[ANNA]);
    assert_eq!(names(&[stale.clone(), soon]), ["t:a1"]);
    assert_eq!(names(&[stale, late]), ["r:8:acs:res_anna@90000", "t:a1"]);
}

#[test]
fn rosters_stand_in_for_missing_participant_events() {
    let seen = [roster("leg", Some(1), 1_000, &[ANNA]), roster("leg", Some(2), 60_000, &[])];
    let with = |more: ObservedEvent| moves(&[seen[0].clone(), seen[1].clone(), more]);
    assert_eq!(with(report("a1", ANNA, 1, 20_000)), ["t:a1 +1000", "t:a1 -60000"]);
    assert_eq!(with(joined("p1", ANNA, 1_500)), ["p:p1 +1500", "p:p1 -60000"]);
    assert_eq!(with(left("p1", ANNA, 59_000)), ["p:p1 +1000", "p:p1 -59000"]);
}

#[test]
fn a_roster_does_not_state_which_device_joined_but_that_all_left() {
    let all = [
        report("a1", ANNA, 1, 2_000),
        report("a2", ANNA, 1, 3_000),
        roster("leg", Some(1), 1_000, &[ANNA]),
        roster("leg", Some(2), 9_000, &[]),
    ];
    assert_eq!(moves(&all), ["t:a1 -9000", "t:a2 -9000"]);
}

#[test]
fn a_participant_that_left_and_is_listed_again_is_another_session() {
    let all = [
        report("a1", ANNA, 1, 1_000),
        report_leaving("a1", ANNA, 2, 5_000),
        roster("leg", Some(1), 5_000, &[ANNA]),
    ];
    assert_eq!(names(&all), ["r:8:acs:res_anna@5000", "t:a1"]);
}

#[test]
fn a_session_has_not_left_if_a_later_roster_lists_its_raw_id() {
    let all = [
        joined("p1", ANNA, 0),
        roster("leg", Some(1), 100, &[ANNA]),
        roster("leg", Some(2), 500, &[]),
        roster("leg", Some(3), 600, &[ANNA]),
    ];
    assert_eq!(moves(&all), ["p:p1 +0"]);
}

#[test]
fn placeholder_raw_ids_count_once_and_have_no_client() {
    let all = [
        roster("leg", Some(1), 0, &["REDACTED", "REDACTED", ""]),
        joined("p1", "rawId", 0),
        report("a1", "rawId", 1, 100),
    ];
    assert_eq!(names(&all), ["p:p1", "r:@0", "r:REDACTED@0", "t:a1"]);
    assert_eq!(resolve(&all).only_session_of("REDACTED"), None);
}

#[test]
fn a_token_for_a_teams_identity_states_teams_custom_for_each_joining() {
    let custom = |named: Option<&str>, sequence, t| {
        report_with("a1", TEAMS, sequence, t, |report, ids| {
            report.participant.identity = Identity::TeamsCustom;
            report.other_raw_ids = vec![ANNA.to_owned()];
            ids.participant_id = named.map(str::to_owned);
        })
    };
    let identity = |events: &[ObservedEvent]| -> Vec<Identity> {
        let sessions = sessions_at(events, 10_000);
        sessions.iter().map(|session| session.identity).collect()
    };
    let only_the_client = [custom(None, 2, 900), custom(None, 1, 1_000)];
    assert_eq!(identity(&only_the_client), [Identity::TeamsCustom]);
    assert_eq!(moves(&only_the_client), ["t:a1 +900"]);

    let on_a_roster = [custom(None, 1, 1_000), roster("leg", None, 500, &[TEAMS])];
    assert_eq!(identity(&on_a_roster), [Identity::TeamsCustom]);
    assert_eq!(moves(&on_a_roster), ["t:a1 +500"]);

    let under_another_raw_id = [custom(Some("p1"), 1, 1_000), joined("p1", ANNA, 900)];
    assert_eq!(identity(&under_another_raw_id), [Identity::Acs]);
    let in_a_teams_client = [roster("leg", None, 500, &[TEAMS])];
    assert_eq!(identity(&in_a_teams_client), [Identity::TeamsUser]);
}

#[test]
fn a_session_that_only_its_client_states_can_be_lost() {
    let sessions = sessions_at(&[report("a1", ANNA, 1, 1_000)], 200_000);
    assert_eq!(sessions[0].left_at, Some(91_000));
    assert_eq!(sessions[0].identity, Identity::Acs);
    // A roster states the next one.
    let on_a_roster = [report("a1", ANNA, 1, 1_000), roster("leg", None, 500, &[ANNA])];
    assert_eq!(sessions_at(&on_a_roster, 200_000)[0].left_at, None);
}

#[test]
fn one_key_is_one_event_and_a_conflict_is_listed() {
    let first = joined("p1", ANNA, 1_000);
    let mut again = first.clone();
    again.at = 2_000;
    assert_eq!(moves(&[again.clone(), first.clone()]), ["p:p1 +1000"]);
    assert_eq!(resolve(&[again, first.clone()]).conflicts, []);

    let mut other = joined("p0", ANNA, 3_000);
    other.id = first.id;
    let one = resolve(&[first.clone(), other.clone()]);
    assert_eq!(one.conflicts, [first.id]);
    assert_eq!(one, resolve(&[other.clone(), first, other]));
    assert_eq!(one.facts.len(), 1);
}
