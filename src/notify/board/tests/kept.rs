//! What is kept and for how long, and who may add to it.

use proptest::prelude::*;

use super::*;
use crate::domain::indication::Indications;
use crate::domain::parameters::Parameters;
use crate::domain::picture::account;

#[test]
fn a_call_that_is_forgotten_is_unknown_to_those_who_heard_of_it() {
    let board = live();
    let mut ears = [
        Listening::open(&board, call(Anchor::server(S1))),
        Listening::open(&board, Reach::Everything),
    ];
    board.enter(
        vec![recorded(
            NOW,
            ids(None, Some(S1), None),
            ProviderState::Active,
        )],
        Way::Log,
        NOW,
    );
    for ear in &mut ears {
        ear.hears();
    }
    board.tidy(None, Some(26 * HOUR), NOW + 27 * HOUR);
    for ear in &mut ears {
        assert_eq!(ear.hears(), heard(&[("snapshot", "unknown")]));
    }
    assert_eq!(board.lock().calls(), 0);
}

#[test]
fn calls_that_ended_are_closed_while_the_log_is_read() {
    let board = Board::new(64, 100);
    board.turn(Stage::CatchingUp, true, NOW);
    let mut most = 0;
    for minute in 0..24 * 60 {
        let t = NOW - 24 * HOUR + minute * MINUTE;
        let server = format!("https://call/{minute}");
        let here = || ids(None, Some(&server), None);
        board.enter(
            vec![
                recorded(t, here(), ProviderState::Active),
                ended(t + 30_000, here()),
            ],
            Way::Log,
            NOW,
        );
        board.tidy(None, None, NOW);
        board.tidy(Some(t), None, NOW);
        let state = board.lock();
        most = most.max(
            state
                .desks
                .values()
                .map(Desk::number_of_testimonies)
                .sum::<usize>(),
        );
    }
    assert!(most < 8, "two a minute for a minute: {most}");
    let mut ear = Listening::open(&board, call(Anchor::server("https://call/0")));
    assert_eq!(ear.hears(), heard(&[("snapshot", "off")]));
    read_to_the_end(&board, Stage::Live, NOW);
    assert_eq!(ear.hears(), []);
}

fn presumed_to_have_ended(t: Millis, ids: Ids) -> Arrival {
    let mut event = ended(t, ids);
    if let Some(testimony) = &mut event.testimony
        && let Statement::CallEnded(ended) = &mut testimony.event.statement
    {
        ended.presumed = true;
    }
    event
}

#[test]
fn a_call_that_was_presumed_to_have_ended_goes_on_at_a_sign_of_life_however_late() {
    let board = live();
    let here = || ids(None, Some(S1), None);
    board.enter(
        vec![recorded(NOW, here(), ProviderState::Active)],
        Way::Log,
        NOW,
    );
    let presumed = NOW + 8 * HOUR;
    let mut end = presumed_to_have_ended(NOW + 90_000, here());
    end.at = presumed;
    board.enter(vec![end], Way::Log, presumed);
    let mut ear = Listening::open(&board, call(Anchor::server(S1)));
    assert_eq!(ear.hears(), heard(&[("snapshot", "off")]));
    let late = presumed + 20 * HOUR;
    board.tidy(None, Some(26 * HOUR), late);
    let alive = report(late, 1, ids(None, Some(S1), Some("a")), Level::Off);
    board.enter(vec![alive], Way::Log, late);
    // The recording that nobody stopped is still one.
    assert_eq!(ear.hears(), heard(&[("notice", "on")]));
    board.tidy(None, None, late + 25 * HOUR);
    assert_eq!(board.lock().calls(), 1, "it goes on");
}

#[test]
fn who_comes_back_to_a_call_that_is_over_hears_its_last_changes_once_more() {
    let board = live();
    let here = || ids(None, Some(S1), None);
    let mut ear = Listening::open(&board, call(Anchor::server(S1)));
    board.enter(
        vec![recorded(NOW, here(), ProviderState::Active)],
        Way::Log,
        NOW,
    );
    board.enter(vec![ended(NOW + 10, here())], Way::Log, NOW + 10);
    let told = |ear: &mut Ear| -> Vec<serde_json::Value> {
        std::iter::from_fn(|| ear.try_next())
            .filter_map(|message| serde_json::from_str(&message.body(None)).ok())
            .collect()
    };
    let first = told(&mut ear.0);
    board.tidy(None, None, NOW + 5 * MINUTE);
    assert_eq!(board.lock().desks[&tenant()].number_of_testimonies(), 0);
    let reach = call(Anchor::server(S1));
    let since = Some(NOW - 1);
    let mut opening = board.listen(&tenant(), reach, since, NOW).unwrap();
    let again = told(&mut opening.ear);
    // Before these, it was told that nothing is known; after them comes the level as it is.
    assert_eq!(first.get(1..), again.get(..first.len() - 1));
    assert_eq!(again.len(), first.len());
}

/// A call at [`S1`] that was recorded, is over, and was let go of.
fn closed(board: &Board) {
    let here = || ids(None, Some(S1), None);
    let events = vec![
        recorded(NOW - MINUTE, here(), ProviderState::Active),
        ended(NOW - MINUTE, here()),
    ];
    board.enter(events, Way::Log, NOW);
    board.tidy(None, None, NOW);
    assert_eq!(board.lock().desks[&tenant()].number_of_testimonies(), 0);
}

#[test]
fn who_reports_to_a_call_that_is_over_belongs_to_it() {
    let board = live();
    closed(&board);
    let own = || ids(None, Some(S1), Some("a"));
    board.enter(vec![report(NOW, 1, own(), Level::On)], Way::Log, NOW);
    let mut ear = Listening::open(&board, attachment("a"));
    assert_eq!(ear.hears(), heard(&[("snapshot", "off")]));
    let ben = "8:acs:r_ben";
    assert_eq!(
        board.admits(&tenant(), "a", ben, Some(S1)),
        Err(NotAdmitted::Foreign)
    );
    let reach = Reach::Call {
        anchors: vec![Anchor::server(S1)],
        person: Some(ben.to_owned()),
    };
    let body = board.level(&tenant(), &reach, NOW).message.body(None);
    let attachment = Anchor::attachment("a");
    assert!(!body.contains(attachment.as_str()), "{body}");
}

#[test]
fn who_heard_only_of_a_part_hears_that_the_call_is_over() {
    let board = live();
    closed(&board);
    let mut ear = Listening::open(&board, Reach::Everything);
    let alone = ids(None, None, Some("a"));
    board.enter(vec![report(NOW, 1, alone, Level::On)], Way::Log, NOW);
    assert_eq!(ear.hears(), heard(&[("notice", "on")]));
    let linked = ids(None, Some(S1), Some("a"));
    board.enter(vec![report(NOW, 2, linked, Level::On)], Way::Log, NOW);
    assert_eq!(ear.hears(), heard(&[("snapshot", "off")]));
}

#[test]
fn what_the_spool_tells_of_in_many_pages_is_told_although_its_call_is_over_by_then() {
    let board = live();
    let here = || ids(None, Some(S1), None);
    let mut ear = Listening::open(&board, call(Anchor::server(S1)));
    let on = recorded(NOW, here(), ProviderState::Active);
    board.enter(vec![on], Way::Log, NOW);
    ear.hears();
    board.collect(vec![ended(NOW + 1, here())], NOW + MINUTE);
    board.tidy(None, None, NOW + 2 * MINUTE);
    board.tick(NOW + 2 * MINUTE);
    assert_eq!(ear.hears(), []);
    board.tell_collected(NOW + 2 * MINUTE);
    assert_eq!(ear.hears(), heard(&[("snapshot", "off")]));
}

proptest! {
    /// What is told late of a call that is closed, or makes it part of one, changes its level as
    /// it would if everything were kept.
    #[test]
    fn a_closed_call_has_the_level_that_all_its_events_come_to(
        said in prop::collection::vec((0..7_u8, 0..4_usize, 0..600_i64, 0..4_u8), 1..12),
    ) {
        let board = live();
        let places = || [
            ids(Some(C1), None, None),
            ids(Some(C1), Some(S1), None),
            ids(None, Some(S1), None),
            ids(None, Some(S1), Some("a")),
        ];
        let now = NOW + 10 * MINUTE;
        let mut all = Vec::new();
        // At last everybody knows that the names are of one call.
        let link = started(NOW, ids(Some(C1), Some(S1), None));
        let events = said.into_iter().enumerate().map(|(n, (kind, place, second, way))| {
            let t = NOW + second * 1000 + n as Millis;
            let here = places()[place].clone();
            let event = match kind {
                0 => recorded(t, here, ProviderState::Active),
                1 => recorded(t, here, ProviderState::Inactive),
                2 => report(t, n as i64, ids(None, Some(S1), Some("a")), Level::On),
                3 => report(t, n as i64, ids(None, Some(S1), Some("a")), Level::Off),
                4 => presumed_to_have_ended(t, here),
                _ => ended(t, here),
            };
            (event, way)
        });
        for (event, way) in events.chain([(link, 0)]) {
            all.extend(event.testimony.clone());
            match way {
                0 => board.enter(vec![event], Way::Log, now),
                1 => board.collect(vec![event], now),
                _ => {
                    board.turn(Stage::CatchingUp, true, now);
                    board.enter(vec![event], Way::Log, now);
                }
            }
            board.tidy(Some(now + 2 * MINUTE), None, now);
            if way == 3 {
                read_to_the_end(&board, Stage::Live, now);
            }
        }
        read_to_the_end(&board, Stage::Live, now);
        let picture = account(&all, [], now, &Parameters::default()).picture;
        let found = board.lock();
        let levels: Vec<Indications> =
            found.desks[&tenant()].calls.values().map(|live| live.level).collect();
        prop_assert_eq!(levels, vec![picture.indications]);
    }
}

#[test]
fn one_person_has_not_any_number_of_attachments_in_a_call() {
    let board = live();
    let server = |n: usize| ids(None, Some(S1), Some(&format!("a{n}")));
    for n in 0..32 {
        let attachment = format!("a{n}");
        assert_eq!(board.admits(&tenant(), &attachment, ANNA, Some(S1)), Ok(()));
        board.enter(vec![report(NOW, 1, server(n), Level::On)], Way::Log, NOW);
    }
    assert_eq!(
        board.admits(&tenant(), "another", ANNA, Some(S1)),
        Err(NotAdmitted::TooManyAttachments)
    );
    assert_eq!(board.admits(&tenant(), "a0", ANNA, Some(S1)), Ok(()));
    assert_eq!(board.admits(&tenant(), "another", ANNA, Some(S2)), Ok(()));
    assert_eq!(
        board.admits(&tenant(), "a0", "8:acs:r_ben", Some(S1)),
        Err(NotAdmitted::Foreign)
    );
    for n in 0..256 {
        let level = if n % 2 == 0 { Level::Off } else { Level::On };
        board.enter(vec![report(NOW, n + 2, server(0), level)], Way::Log, NOW);
    }
    assert_eq!(
        board.admits(&tenant(), "a0", ANNA, Some(S1)),
        Err(NotAdmitted::TooManyChanges)
    );
}

#[test]
fn who_waits_for_an_event_and_goes_away_leaves_nothing_behind() {
    let board = live();
    let event = started(NOW, ids(None, Some(S1), None));
    let key = event.testimony.as_ref().unwrap().id;
    drop(board.awaits(key));
    assert!(board.lock().awaited.is_empty());
    let mut waits = board.awaits(key);
    board.enter(vec![event], Way::Log, NOW);
    assert_eq!(
        futures_util::FutureExt::now_or_never(waits.seen()),
        Some(())
    );
}

#[test]
fn an_attachment_that_two_calls_claimed_is_forgotten_with_them() {
    let board = live();
    // A tenant with a listener is not forgotten as a whole.
    let _ear = Listening::open(&board, Reach::Everything);
    for (sequence, server) in [(1, S1), (2, S2)] {
        let said = report(
            NOW,
            sequence,
            ids(None, Some(server), Some("a0")),
            Level::On,
        );
        board.enter(vec![said], Way::Log, NOW);
    }
    let ben = "8:acs:r_ben";
    assert_eq!(
        board.admits(&tenant(), "a0", ben, Some(S1)),
        Err(NotAdmitted::Foreign)
    );
    board.tidy(None, Some(26 * HOUR), NOW + 27 * HOUR);
    assert_eq!(board.admits(&tenant(), "a0", ben, Some(S1)), Ok(()));
    assert_eq!(board.lock().calls(), 0);
}

#[test]
fn a_client_that_says_the_same_changes_nothing_however_late_or_garbled_it_arrives() {
    let own = || ids(None, Some(S1), Some("a0"));
    let admitted = |board: &Board| board.admits(&tenant(), "a0", ANNA, Some(S1));
    let late = live();
    for n in (0..300).rev() {
        let said = report(NOW + n * 30_000, n, own(), Level::On);
        late.enter(vec![said], Way::Log, NOW + 300 * 30_000);
    }
    assert_eq!(admitted(&late), Ok(()));

    let garbled = live();
    let first = report(NOW, 1, own(), Level::On);
    let mut other = report(NOW, 1, own(), Level::Paused);
    other.testimony.as_mut().unwrap().id = first.testimony.as_ref().unwrap().id;
    garbled.enter(vec![first, other], Way::Log, NOW);
    for n in 1..300 {
        let t = NOW + n * 30_000;
        garbled.enter(vec![report(t, n + 1, own(), Level::On)], Way::Log, t);
    }
    assert_eq!(admitted(&garbled), Ok(()));
}

#[test]
fn one_that_is_in_stays_in_however_many_there_are() {
    let board = live();
    for n in 0..40 {
        let own = ids(None, Some(S1), Some(&format!("a{n}")));
        board.enter(vec![report(NOW, 1, own, Level::On)], Way::Log, NOW);
    }
    assert_eq!(board.admits(&tenant(), "a39", ANNA, Some(S1)), Ok(()));
    assert_eq!(
        board.admits(&tenant(), "another", ANNA, Some(S1)),
        Err(NotAdmitted::TooManyAttachments)
    );
}

#[test]
fn at_the_stop_a_queue_ends_with_what_is_in_it_and_nobody_comes_in() {
    let board = live();
    let opening = board
        .listen(&tenant(), Reach::Everything, None, NOW)
        .unwrap();
    board.enter(
        vec![report(NOW, 1, ids(None, Some(S1), Some("a0")), Level::On)],
        Way::Log,
        NOW,
    );
    board.close();
    let mut ear = opening.ear;
    assert!(ear.try_next().is_some());
    let end = futures_util::FutureExt::now_or_never(ear.next());
    assert!(matches!(end, Some(None)));
    let refused = board.listen(&tenant(), Reach::Everything, None, NOW);
    assert!(matches!(refused, Err(NoPlace::Closed)));
}
