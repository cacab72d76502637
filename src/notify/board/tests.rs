//! The board by itself: what is told to whom, whatever came in which order.

use super::*;
use crate::domain::calling_event::{
    CallEnded, CallStarted, CallingEvent, Participant, ProviderStateChanged, Report, Statement,
};
use crate::domain::fact::{CaptureType, Identity, Level, ProviderState};
use crate::domain::identity::{Cloud, IdentifierKind};
use crate::domain::ids::Ids;

mod kept;

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

fn arrival(t: Millis, ids: Ids, statement: Statement) -> Arrival {
    let event = CallingEvent {
        source_type: statement.name().to_owned(),
        statement,
        ids,
        generation: None,
        redacted: Vec::new(),
    };
    let key = Digest::of_parts(&[
        &t.to_string(),
        &serde_json::to_string(&event).unwrap_or_default(),
    ]);
    Arrival {
        tenant: tenant(),
        naming: Naming::of(&event.ids),
        testimony: event
            .statement
            .bears_facts()
            .then(|| Testimony::new(key, t, event)),
        received: t,
        at: t,
    }
}

fn started(t: Millis, ids: Ids) -> Arrival {
    let started = CallStarted {
        started_by: None,
        is_two_party: None,
        is_rooms_call: None,
        room_id: None,
    };
    arrival(t, ids, Statement::CallStarted(started))
}

fn ended(t: Millis, ids: Ids) -> Arrival {
    let ended = CallEnded {
        started_by: None,
        ended_by: None,
        reason: None,
        duration_s: None,
        presumed: false,
    };
    arrival(t, ids, Statement::CallEnded(ended))
}

fn recorded(t: Millis, ids: Ids, state: ProviderState) -> Arrival {
    let changed = ProviderStateChanged {
        capture: CaptureType::Recording,
        recording: "rec".to_owned(),
        capture_kind: None,
        state,
        start: None,
        recorder_leg: None,
    };
    arrival(t, ids, Statement::ProviderState(changed))
}

fn report(t: Millis, sequence: i64, ids: Ids, recording: Level) -> Arrival {
    let report = Report {
        participant: Participant {
            raw_id: ANNA.to_owned(),
            kind: IdentifierKind::CommunicationUser,
            cloud: Cloud::Public,
            identity: Identity::Acs,
            display_name: None,
            role: None,
        },
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
    arrival(t, ids, Statement::Report(report))
}

/// A board that has read its log.
fn live() -> Board {
    let board = Board::new(64, 100);
    board.turn(Stage::Live, false, NOW - HOUR);
    board
}

fn read_to_the_end(board: &Board, stage: Stage, now: Millis) {
    while board.fold_put_off(1, now) {}
    board.turn(stage, false, now);
}

struct Listening(Ear);

impl Listening {
    fn open(board: &Board, reach: Reach) -> Self {
        Self(board.listen(&tenant(), reach, None, NOW).unwrap().ear)
    }

    /// What was heard since: kind and level of the recording.
    fn hears(&mut self) -> Vec<(String, String)> {
        let mut heard = Vec::new();
        while let Some(message) = self.0.try_next() {
            let body: serde_json::Value =
                serde_json::from_str(&message.body(None)).unwrap_or_default();
            let state = body["indication"]["recording"]["state"].as_str();
            heard.push((
                message.kind.as_str().to_owned(),
                state.unwrap_or_default().to_owned(),
            ));
        }
        heard
    }
}

fn heard(all: &[(&str, &str)]) -> Vec<(String, String)> {
    all.iter()
        .map(|(kind, state)| ((*kind).to_owned(), (*state).to_owned()))
        .collect()
}

fn call(anchor: Anchor) -> Reach {
    Reach::Call {
        anchors: vec![anchor],
        person: None,
    }
}

fn attachment(id: &str) -> Reach {
    Reach::Attachment {
        attachment: id.to_owned(),
        person: ANNA.to_owned(),
    }
}

#[test]
fn a_fresh_heartbeat_does_not_make_news_of_an_old_fact_in_its_burst() {
    let board = live();
    let mut ear = Listening::open(&board, call(Anchor::server(S1)));
    let here = || ids(None, Some(S1), None);
    let burst = vec![
        recorded(NOW - 24 * HOUR, here(), ProviderState::Active),
        report(NOW, 1, ids(None, Some(S1), Some("a")), Level::Off),
    ];
    board.enter(burst, Way::Log, NOW);
    assert_eq!(
        ear.hears(),
        heard(&[("snapshot", "unknown"), ("snapshot", "on")])
    );
}

#[test]
fn a_link_makes_no_news_of_a_level_that_is_old() {
    let board = live();
    let mut ear = Listening::open(&board, call(Anchor::correlation(C1)));
    board.enter(
        vec![report(
            NOW - MINUTE,
            1,
            ids(None, Some(S1), Some("a")),
            Level::On,
        )],
        Way::Log,
        NOW - MINUTE,
    );
    board.enter(
        vec![started(NOW, ids(Some(C1), Some(S1), None))],
        Way::Log,
        NOW,
    );
    assert_eq!(
        ear.hears(),
        heard(&[("snapshot", "unknown"), ("snapshot", "on")])
    );
}

#[test]
fn a_fresh_fact_rings_although_its_call_is_merged_in_the_same_burst() {
    let board = live();
    let mut ear = Listening::open(&board, call(Anchor::server(S1)));
    let burst = vec![
        report(NOW, 1, ids(None, Some(S1), Some("a")), Level::On),
        started(NOW - HOUR, ids(Some(C1), Some(S1), None)),
    ];
    board.enter(burst, Way::Log, NOW);
    assert_eq!(
        ear.hears(),
        heard(&[("snapshot", "unknown"), ("notice", "on")])
    );
}

#[test]
fn who_joins_a_call_that_is_recorded_is_told_the_level_and_no_change() {
    let board = live();
    board.enter(
        vec![recorded(
            NOW - MINUTE,
            ids(Some(C1), Some(S1), None),
            ProviderState::Active,
        )],
        Way::Log,
        NOW - MINUTE,
    );
    let mut ear = Listening::open(&board, attachment("a"));
    board.enter(
        vec![report(NOW, 1, ids(None, Some(S1), Some("a")), Level::On)],
        Way::Log,
        NOW,
    );
    assert_eq!(
        ear.hears(),
        heard(&[("snapshot", "unknown"), ("snapshot", "on")])
    );
}

#[test]
fn an_attachment_that_joins_no_call_any_more_is_told_so() {
    let board = live();
    let mut ears = [
        Listening::open(&board, attachment("a")),
        Listening::open(&board, Reach::Person(ANNA.to_owned())),
    ];
    board.enter(
        vec![report(NOW, 1, ids(None, Some(S1), Some("a")), Level::On)],
        Way::Log,
        NOW,
    );
    for ear in &mut ears {
        assert_eq!(ear.hears().last(), heard(&[("notice", "on")]).last());
    }
    board.enter(
        vec![report(
            NOW + 1,
            2,
            ids(None, Some(S2), Some("a")),
            Level::On,
        )],
        Way::Log,
        NOW + 1,
    );
    for ear in &mut ears {
        assert_eq!(ear.hears(), heard(&[("snapshot", "unknown")]));
    }
}

#[test]
fn a_link_that_only_an_event_without_facts_carries_joins_all_the_same() {
    let board = live();
    let mut ear = Listening::open(&board, call(Anchor::correlation(C1)));
    board.enter(
        vec![report(NOW, 1, ids(None, Some(S1), Some("a")), Level::On)],
        Way::Log,
        NOW,
    );
    let media = Statement::Media(crate::domain::calling_event::Media {
        operation: "PlayCompleted".to_owned(),
        status: None,
        status_details: None,
        outcome: None,
    });
    board.enter(
        vec![arrival(NOW, ids(Some(C1), Some(S1), None), media)],
        Way::Log,
        NOW,
    );
    assert_eq!(ear.hears().last(), heard(&[("snapshot", "on")]).last());
}

#[test]
fn an_id_that_may_be_many_things_binds_to_what_it_turns_out_to_be() {
    let id = "a0000000-0000-4000-8000-00000000000a";
    let board = live();
    let anchors = Anchor::candidates(id);
    let mut ear = Listening::open(
        &board,
        Reach::Call {
            anchors,
            person: None,
        },
    );
    board.enter(
        vec![report(NOW, 1, ids(None, Some(S1), Some(id)), Level::On)],
        Way::Log,
        NOW,
    );
    assert_eq!(ear.hears().last(), heard(&[("notice", "on")]).last());
}

#[test]
fn a_heartbeat_of_a_client_that_is_there_costs_no_fold() {
    let board = live();
    for beat in 0..100 {
        let t = NOW + beat * 30_000;
        board.tick(t);
        board.enter(
            vec![report(t, beat, ids(None, Some(S1), Some("a")), Level::On)],
            Way::Log,
            t,
        );
    }
    let end = NOW + 99 * 30_000;
    let mut ear = Listening::open(&board, call(Anchor::server(S1)));
    // It counts as lost 90 s after its last word, and not a millisecond before.
    board.tick(end + 89_999);
    assert_eq!(ear.hears(), heard(&[("snapshot", "on")]));
    board.tick(end + 90_000);
    assert_eq!(ear.hears(), heard(&[("notice", "on")]), "it is stale");
    let state = board.lock();
    let desk = state.desks.values().next().unwrap();
    assert_eq!(desk.number_of_testimonies(), 2);
    assert!(desk.folds < 60, "{}", desk.folds);
}

#[test]
fn while_the_log_is_read_nothing_is_told_and_then_the_level() {
    let board = Board::new(64, 100);
    let mut ear = Listening::open(&board, call(Anchor::server(S1)));
    board.turn(Stage::CatchingUp, true, NOW);
    let here = || ids(None, Some(S1), None);
    for n in 0..3 {
        let state = if n % 2 == 0 {
            ProviderState::Active
        } else {
            ProviderState::Inactive
        };
        let event = recorded(NOW - MINUTE + n, here(), state);
        board.enter(vec![event], Way::Log, NOW);
    }
    board.enter(
        vec![recorded(NOW - 1, here(), ProviderState::Active)],
        Way::Log,
        NOW,
    );
    assert_eq!(ear.hears(), heard(&[("snapshot", "unknown")]));
    read_to_the_end(&board, Stage::Live, NOW);
    assert_eq!(ear.hears(), heard(&[("snapshot", "on")]));
}

#[test]
fn a_log_that_does_not_come_keeps_nothing_back_that_the_spool_brought() {
    let board = Board::new(64, 100);
    board.turn(Stage::CatchingUp, true, NOW);
    let mut spooled = Listening::open(&board, call(Anchor::server(S1)));
    let mut logged = Listening::open(&board, call(Anchor::server(S2)));
    board.enter(
        vec![recorded(
            NOW,
            ids(None, Some(S2), None),
            ProviderState::Active,
        )],
        Way::Log,
        NOW,
    );
    board.enter(
        vec![report(NOW, 1, ids(None, Some(S1), Some("a")), Level::On)],
        Way::Spool,
        NOW,
    );
    assert_eq!(spooled.hears(), heard(&[("snapshot", "unknown")]));
    board.turn(Stage::Blind, true, NOW + 2_001);
    assert_eq!(spooled.hears(), heard(&[("snapshot", "on")]));
    board.enter(
        vec![report(
            NOW + 3_000,
            2,
            ids(None, Some(S1), Some("a")),
            Level::Paused,
        )],
        Way::Spool,
        NOW + 3_000,
    );
    assert_eq!(spooled.hears(), heard(&[("snapshot", "paused")]));
    // A level in the middle of the log was never true.
    assert_eq!(logged.hears(), heard(&[("snapshot", "unknown")]));
    board.turn(Stage::CatchingUp, true, NOW + 4_000);
    read_to_the_end(&board, Stage::Live, NOW + 5_000);
    assert_eq!(logged.hears(), heard(&[("snapshot", "on")]));
    assert_eq!(spooled.hears(), []);
}

#[test]
fn what_fills_many_pages_of_the_spool_is_told_at_its_end() {
    let board = live();
    let mut ear = Listening::open(&board, call(Anchor::server(S1)));
    let here = || ids(None, Some(S1), None);
    board.collect(vec![recorded(NOW - 9, here(), ProviderState::Active)], NOW);
    board.tick(NOW);
    board.collect(
        vec![recorded(NOW - 8, here(), ProviderState::Inactive)],
        NOW,
    );
    assert_eq!(ear.hears(), heard(&[("snapshot", "unknown")]));
    board.tell_collected(NOW);
    assert_eq!(ear.hears(), heard(&[("snapshot", "off")]));
}

#[test]
fn a_clock_that_is_ahead_takes_no_cursor_with_it() {
    let board = live();
    let mut event = started(NOW, ids(None, Some(S1), None));
    event.at = NOW + HOUR;
    board.enter(vec![event], Way::Log, NOW);
    assert_eq!(board.told_through(), NOW);
}

#[test]
fn a_stream_of_calls_without_changes_resumes_without_gap_however_long_it_was_quiet() {
    let board = live();
    board.enter(vec![started(NOW, ids(None, Some(S1), None))], Way::Log, NOW);
    let later = NOW + 3 * HOUR;
    board.tidy(None, None, later);
    let reach = call(Anchor::server(S1));
    let opening = board.listen(&tenant(), reach, Some(NOW), later).unwrap();
    assert_eq!(
        Listening(opening.ear).hears(),
        heard(&[("snapshot", "unknown")])
    );
}

#[test]
fn nobody_is_named_another_s_attachment() {
    let board = live();
    board.enter(
        vec![report(NOW, 1, ids(None, Some(S1), Some("a")), Level::On)],
        Way::Log,
        NOW,
    );
    let aliases = |person: Option<&str>| {
        let reach = Reach::Call {
            anchors: vec![Anchor::server(S1)],
            person: person.map(str::to_owned),
        };
        let found = board.level(&tenant(), &reach, NOW);
        let body: serde_json::Value =
            serde_json::from_str(&found.message.body(None)).unwrap_or_default();
        body["aliases"].as_array().map_or(0, Vec::len)
    };
    assert_eq!(aliases(None), 2);
    assert_eq!(aliases(Some(ANNA)), 2);
    assert_eq!(aliases(Some("8:acs:r_ben")), 1);
}
