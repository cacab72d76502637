use crate::domain::fact::{FactKind, Identity};
use crate::domain::fold::fold;
use crate::domain::parameters::Parameters;
use crate::domain::presence::Session;

use super::testimonies::*;
use super::*;

const ANNA: &str = "8:acs:res_anna";
const BEN: &str = "8:acs:res_ben";
const TEAMS: &str = "8:orgid:daba101a-91c5-44c9-bb9b-e2a9a790571a";

/// The names of the sessions, sorted.
fn names(testimonies: &[Testimony]) -> Vec<String> {
    let resolved = resolve(testimonies);
    resolved
        .sessions
        .into_iter()
        .map(|who| who.session)
        .collect()
}

/// The joined and left facts as `name +t` and `name -t`, in the order of time.
fn moves(testimonies: &[Testimony]) -> Vec<String> {
    let mut moves: Vec<(Millis, String)> = resolve(testimonies)
        .facts
        .iter()
        .filter_map(|fact| match fact.kind() {
            FactKind::SessionJoined { session, .. } => {
                Some((fact.t(), format!("{session} +{}", fact.t())))
            }
            FactKind::SessionLeft { session } => {
                Some((fact.t(), format!("{session} -{}", fact.t())))
            }
            _ => None,
        })
        .collect();
    moves.sort();
    moves.into_iter().map(|(_, text)| text).collect()
}

fn folded(testimonies: &[Testimony], now: Millis) -> Vec<Session> {
    fold(&resolve(testimonies).facts, now, &Parameters::default()).sessions
}

#[test]
fn participant_roster_and_attachment_of_one_person_are_one_session() {
    let all = [
        joined("p1", ANNA, 1_000),
        roster("leg", Some(1), 900, &[ANNA]),
        report("a1", ANNA, 1, 1_200),
    ];
    assert_eq!(names(&all), ["p:p1"]);
    assert_eq!(resolve(&all).session_of("a1"), Some("p:p1"));
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
    assert_eq!(resolved.session_of("a2"), Some("p:p2"));
    assert_eq!(resolved.only_session_of(ANNA), None);
}

#[test]
fn an_attachment_that_two_sessions_could_own_is_one_of_its_own() {
    let all = [
        joined("p1", ANNA, 0),
        joined("p2", ANNA, 1_000),
        report("a1", ANNA, 1, 2_000),
    ];
    assert_eq!(names(&all), ["p:p1", "p:p2", "t:a1"]);
}

#[test]
fn a_first_report_belongs_to_a_session_within_the_edge() {
    for (t, session) in [
        (4_999, "t:a1"),
        (5_000, "p:p1"),
        (24_999, "p:p1"),
        (25_000, "t:a1"),
    ] {
        let all = [
            joined("p1", ANNA, 10_000),
            left("p1", ANNA, 20_000),
            report("a1", ANNA, 1, t),
            report("a1", ANNA, 2, 15_000.max(t)),
        ];
        assert_eq!(resolve(&all).session_of("a1"), Some(session), "{t}");
    }
}

#[test]
fn nobody_elses_session_is_taken_for_ones_own() {
    let all = [joined("p1", BEN, 0), report("a1", ANNA, 1, 100)];
    assert_eq!(names(&all), ["p:p1", "t:a1"]);
}

#[test]
fn a_participant_id_that_only_a_client_names_is_a_session() {
    let all = [
        report_naming("P1", "a1", ANNA, 1, 100),
        // Another client of the same person, at the time: there is no other session of theirs.
        report("a2", ANNA, 1, 3_000),
        report("a3", ANNA, 1, 500_000),
    ];
    assert_eq!(names(&all), ["p:P1", "t:a3"]);
    assert_eq!(resolve(&all).session_of("a2"), Some("p:P1"));
}

#[test]
fn an_attachment_that_names_two_participant_ids_stays_with_the_first() {
    let all = [
        report("a1", ANNA, 1, 0),
        report_naming("p2", "a1", ANNA, 9, 200),
        report_naming("p1", "a1", ANNA, 3, 300),
    ];
    assert_eq!(names(&all), ["p:p1"]);
}

#[test]
fn a_session_known_only_by_its_leaving_was_there_all_the_time() {
    let all = [left("p1", ANNA, 50_000), report("a1", ANNA, 1, 2_000)];
    assert_eq!(names(&all), ["p:p1"]);
    assert_eq!(moves(&all), ["p:p1 -50000"]);
}

#[test]
fn events_without_a_participant_id_make_one_session_per_raw_id() {
    let mut anonymous = [joined("x", ANNA, 0), left("x", ANNA, 9_000)];
    for testimony in &mut anonymous {
        testimony.event.ids.participant_id = Some("{participantId}".to_owned());
    }
    assert_eq!(
        moves(&anonymous),
        ["u:8:acs:res_anna +0", "u:8:acs:res_anna -9000"]
    );
}

#[test]
fn who_only_rosters_show_is_a_session_and_a_rejoin_is_another() {
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
    assert_eq!(
        moves(&all),
        ["p:p1 +1000", "p:p1 -2000", "r:8:acs:res_anna@2000 +2000"]
    );
}

#[test]
fn a_client_that_fell_silent_long_ago_does_not_hide_a_return() {
    let silent = report("a1", ANNA, 1, 0);
    let soon = roster("leg", Some(1), 89_999, &[ANNA]);
    let late = roster("leg", Some(1), 90_000, &[ANNA]);
    assert_eq!(names(&[silent.clone(), soon]), ["t:a1"]);
    assert_eq!(names(&[silent, late]), ["r:8:acs:res_anna@90000", "t:a1"]);
}

#[test]
fn rosters_stand_in_where_no_participant_event_tells() {
    let seen = [
        roster("leg", Some(1), 1_000, &[ANNA]),
        roster("leg", Some(2), 60_000, &[]),
    ];
    let with = |more: Testimony| moves(&[seen[0].clone(), seen[1].clone(), more]);
    assert_eq!(
        with(report("a1", ANNA, 1, 20_000)),
        ["t:a1 +1000", "t:a1 -60000"]
    );
    assert_eq!(
        with(joined("p1", ANNA, 1_500)),
        ["p:p1 +1500", "p:p1 -60000"]
    );
    assert_eq!(
        with(left("p1", ANNA, 59_000)),
        ["p:p1 +1000", "p:p1 -59000"]
    );
}

#[test]
fn a_roster_does_not_tell_which_device_came_but_that_all_are_gone() {
    let all = [
        report("a1", ANNA, 1, 2_000),
        report("a2", ANNA, 1, 3_000),
        roster("leg", Some(1), 1_000, &[ANNA]),
        roster("leg", Some(2), 9_000, &[]),
    ];
    assert_eq!(moves(&all), ["t:a1 -9000", "t:a2 -9000"]);
}

#[test]
fn who_takes_leave_and_is_seen_again_is_in_another_session() {
    let all = [
        report("a1", ANNA, 1, 1_000),
        report_leaving("a1", ANNA, 2, 5_000),
        roster("leg", Some(1), 5_000, &[ANNA]),
    ];
    assert_eq!(names(&all), ["r:8:acs:res_anna@5000", "t:a1"]);
}

#[test]
fn a_session_is_not_over_while_a_roster_shows_its_raw_id_again() {
    let all = [
        joined("p1", ANNA, 0),
        roster("leg", Some(1), 100, &[ANNA]),
        roster("leg", Some(2), 500, &[]),
        roster("leg", Some(3), 600, &[ANNA]),
    ];
    assert_eq!(moves(&all), ["p:p1 +0"]);
}

#[test]
fn raw_ids_that_name_nobody_are_counted_once_and_own_no_client() {
    let all = [
        roster("leg", Some(1), 0, &["REDACTED", "REDACTED", ""]),
        joined("p1", "rawId", 0),
        report("a1", "rawId", 1, 100),
    ];
    assert_eq!(names(&all), ["p:p1", "r:@0", "r:REDACTED@0", "t:a1"]);
    assert_eq!(resolve(&all).only_session_of("REDACTED"), None);
}

#[test]
fn a_token_for_a_teams_identity_claims_teams_custom_wherever_its_session_joined() {
    let custom = |named: Option<&str>, sequence, t| {
        report_with("a1", TEAMS, sequence, t, |report, ids| {
            report.participant.identity = Identity::TeamsCustom;
            ids.participant_id = named.map(str::to_owned);
        })
    };
    let identity = |testimonies: &[Testimony]| -> Vec<Identity> {
        let sessions = folded(testimonies, 10_000);
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
fn a_session_that_only_its_client_knows_can_be_lost() {
    let sessions = folded(&[report("a1", ANNA, 1, 1_000)], 200_000);
    assert_eq!(sessions[0].left, Some(91_000));
    assert_eq!(sessions[0].identity, Identity::Acs);
    // The roster vouches for the next one.
    let on_a_roster = [
        report("a1", ANNA, 1, 1_000),
        roster("leg", None, 500, &[ANNA]),
    ];
    assert_eq!(folded(&on_a_roster, 200_000)[0].left, None);
}

#[test]
fn one_key_is_one_event_and_a_conflict_is_listed() {
    let first = joined("p1", ANNA, 1_000);
    let mut again = first.clone();
    again.t = 2_000;
    assert_eq!(moves(&[again.clone(), first.clone()]), ["p:p1 +1000"]);
    assert_eq!(resolve(&[again, first.clone()]).conflicts, []);

    let mut other = joined("p0", ANNA, 3_000);
    other.id = first.id;
    let one = resolve(&[first.clone(), other.clone()]);
    assert_eq!(one.conflicts, [first.id]);
    assert_eq!(one, resolve(&[other.clone(), first, other]));
    assert_eq!(one.facts.len(), 1);
}
