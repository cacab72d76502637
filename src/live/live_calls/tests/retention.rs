//! Tests of retention and of the limits for reports.

use proptest::prelude::*;

use super::*;
use onrecord_evidence::call::parameters::Parameters;
use onrecord_evidence::call::project::project_call;
use onrecord_evidence::notice::indication::Indications;

#[test]
fn subscribers_of_an_evicted_call_get_the_level_unknown() {
    let live_calls = caught_up();
    let mut subscriptions = [
        TestSubscription::open(&live_calls, call(Anchor::server(S1))),
        TestSubscription::open(&live_calls, SubscriptionScope::Everything),
    ];
    live_calls.apply(
        vec![recorded(NOW, ids(None, Some(S1), None), ProviderState::Active)],
        EventOrigin::Log,
        NOW,
    );
    for subscription in &mut subscriptions {
        subscription.received();
    }
    live_calls.evict(None, Some(26 * HOUR), NOW + 27 * HOUR);
    for subscription in &mut subscriptions {
        assert_eq!(subscription.received(), expected(&[("snapshot", "unknown")]));
    }
    assert_eq!(live_calls.lock().calls(), 0);
}

#[test]
fn ended_calls_are_closed_during_the_replay() {
    let live_calls = LiveCalls::new(64);
    live_calls.set_stage(ReplayStage::CatchingUp, true, NOW);
    let mut max_events = 0;
    for minute in 0..24 * 60 {
        let t = NOW - 24 * HOUR + minute * MINUTE;
        let server = format!("https://call/{minute}");
        let here = || ids(None, Some(&server), None);
        live_calls.apply(
            vec![recorded(t, here(), ProviderState::Active), ended(t + 30_000, here())],
            EventOrigin::Log,
            NOW,
        );
        live_calls.evict(None, None, NOW);
        live_calls.evict(Some(t), None, NOW);
        let state = live_calls.lock();
        max_events =
            max_events.max(state.tenants.values().map(TenantCalls::event_count).sum::<usize>());
    }
    assert!(max_events < 8, "two a minute for a minute: {max_events}");
    let mut subscription =
        TestSubscription::open(&live_calls, call(Anchor::server("https://call/0")));
    assert_eq!(subscription.received(), expected(&[("snapshot", "off")]));
    read_to_the_end(&live_calls, ReplayStage::Live, NOW);
    assert_eq!(subscription.received(), []);
}

fn presumed_to_have_ended(t: Millis, ids: Ids) -> IncomingEvent {
    let mut event = ended(t, ids);
    if let Some(observed) = &mut event.observed
        && let Statement::CallEnded(ended) = &mut observed.event.statement
    {
        ended.presumed = true;
    }
    event
}

#[test]
fn a_late_sign_of_life_revokes_a_presumed_end() {
    let live_calls = caught_up();
    let here = || ids(None, Some(S1), None);
    live_calls.apply(vec![recorded(NOW, here(), ProviderState::Active)], EventOrigin::Log, NOW);
    let presumed = NOW + 8 * HOUR;
    let mut end = presumed_to_have_ended(NOW + 90_000, here());
    end.stored_at = presumed;
    live_calls.apply(vec![end], EventOrigin::Log, presumed);
    let mut subscription = TestSubscription::open(&live_calls, call(Anchor::server(S1)));
    assert_eq!(subscription.received(), expected(&[("snapshot", "off")]));
    let late = presumed + 20 * HOUR;
    live_calls.evict(None, Some(26 * HOUR), late);
    let alive = report(late, 1, ids(None, Some(S1), Some("a")), Level::Off);
    live_calls.apply(vec![alive], EventOrigin::Log, late);
    // The recording was never stopped and goes on.
    assert_eq!(subscription.received(), expected(&[("notice", "on")]));
    live_calls.evict(None, None, late + 25 * HOUR);
    assert_eq!(live_calls.lock().calls(), 1, "it goes on");
}

#[test]
fn a_cursor_of_an_ended_call_gets_its_last_changes_again() {
    let live_calls = caught_up();
    let here = || ids(None, Some(S1), None);
    let mut subscription = TestSubscription::open(&live_calls, call(Anchor::server(S1)));
    live_calls.apply(vec![recorded(NOW, here(), ProviderState::Active)], EventOrigin::Log, NOW);
    live_calls.apply(vec![ended(NOW + 10, here())], EventOrigin::Log, NOW + 10);
    let bodies = |subscription: &mut TestSubscription| -> Vec<serde_json::Value> {
        std::iter::from_fn(|| subscription.try_next())
            .filter_map(|message| serde_json::from_str(&message.body(None)).ok())
            .collect()
    };
    let first = bodies(&mut subscription);
    live_calls.evict(None, None, NOW + 5 * MINUTE);
    assert_eq!(live_calls.lock().tenants[&tenant()].event_count(), 0);
    let scope = call(Anchor::server(S1));
    let since = Some(NOW - 1);
    let again = bodies(&mut TestSubscription::resume(&live_calls, scope, since, NOW));
    // The first message stated that nothing is known; after the repeated ones comes the current
    // level.
    assert_eq!(first.get(1..), again.get(..first.len() - 1));
    assert_eq!(again.len(), first.len());
}

/// A call at [`S1`] that was recorded, has ended and is closed.
fn closed(live_calls: &LiveCalls) {
    let here = || ids(None, Some(S1), None);
    let events =
        vec![recorded(NOW - MINUTE, here(), ProviderState::Active), ended(NOW - MINUTE, here())];
    live_calls.apply(events, EventOrigin::Log, NOW);
    live_calls.evict(None, None, NOW);
    assert_eq!(live_calls.lock().tenants[&tenant()].event_count(), 0);
}

#[test]
fn a_report_to_a_closed_call_makes_its_attachment_part_of_it() {
    let live_calls = caught_up();
    closed(&live_calls);
    let own = || ids(None, Some(S1), Some("a"));
    live_calls.apply(vec![report(NOW, 1, own(), Level::On)], EventOrigin::Log, NOW);
    let mut subscription = TestSubscription::open(&live_calls, attachment("a"));
    assert_eq!(subscription.received(), expected(&[("snapshot", "off")]));
    let ben = "8:acs:r_ben";
    assert_eq!(live_calls.admits(&tenant(), "a", ben, Some(S1)), Err(NotAdmitted::Foreign));
    let scope = SubscriptionScope::Call {
        anchors: vec![Anchor::server(S1)],
        subject: Some(TokenSubject::plain(ben)),
    };
    let body = live_calls.snapshot(&tenant(), &scope, NOW).body(None);
    let attachment = Anchor::attachment("a");
    assert!(!body.contains(attachment.as_str()), "{body}");
}

#[test]
fn a_subscriber_that_knows_only_a_part_gets_the_end_of_the_whole_call() {
    let live_calls = caught_up();
    closed(&live_calls);
    let mut subscription = TestSubscription::open(&live_calls, SubscriptionScope::Everything);
    let alone = ids(None, None, Some("a"));
    live_calls.apply(vec![report(NOW, 1, alone, Level::On)], EventOrigin::Log, NOW);
    assert_eq!(subscription.received(), expected(&[("notice", "on")]));
    let linked = ids(None, Some(S1), Some("a"));
    live_calls.apply(vec![report(NOW, 2, linked, Level::On)], EventOrigin::Log, NOW);
    assert_eq!(subscription.received(), expected(&[("snapshot", "off")]));
}

#[test]
fn several_pages_of_the_spool_are_announced_although_their_call_has_ended_by_then() {
    let live_calls = caught_up();
    let here = || ids(None, Some(S1), None);
    let mut subscription = TestSubscription::open(&live_calls, call(Anchor::server(S1)));
    let on = recorded(NOW, here(), ProviderState::Active);
    live_calls.apply(vec![on], EventOrigin::Log, NOW);
    subscription.received();
    live_calls.collect_spooled(vec![ended(NOW + 1, here())], NOW + MINUTE);
    live_calls.evict(None, None, NOW + 2 * MINUTE);
    live_calls.tick(NOW + 2 * MINUTE);
    assert_eq!(subscription.received(), []);
    live_calls.announce_spooled(NOW + 2 * MINUTE);
    assert_eq!(subscription.received(), expected(&[("snapshot", "off")]));
}

proptest! {
    /// Late events change the level of a closed call as if all its events were kept.
    #[test]
    fn a_closed_call_has_the_level_of_all_its_events(
        reported in prop::collection::vec((0..7_u8, 0..4_usize, 0..600_i64, 0..4_u8), 1..12),
        fold_limit in prop::sample::select(vec![0, usize::MAX]),
    ) {
        let live_calls = caught_up_with(fold_limit);
        let places = || [
            ids(Some(C1), None, None),
            ids(Some(C1), Some(S1), None),
            ids(None, Some(S1), None),
            ids(None, Some(S1), Some("a")),
        ];
        let now = NOW + 10 * MINUTE;
        let mut all = Vec::new();
        // The last event proves that all these ids belong to one call.
        let link = started(NOW, ids(Some(C1), Some(S1), None));
        let events = reported.into_iter().enumerate().map(|(n, (kind, place, second, origin))| {
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
            (event, origin)
        });
        for (event, origin) in events.chain([(link, 0)]) {
            all.extend(event.observed.clone());
            match origin {
                0 => live_calls.apply(vec![event], EventOrigin::Log, now),
                1 => live_calls.collect_spooled(vec![event], now),
                _ => {
                    live_calls.set_stage(ReplayStage::CatchingUp, true, now);
                    live_calls.apply(vec![event], EventOrigin::Log, now);
                }
            }
            live_calls.evict(Some(now + 2 * MINUTE), None, now);
            if origin == 1 {
                fold_large_calls(&live_calls, now);
            }
            if origin == 3 {
                read_to_the_end(&live_calls, ReplayStage::Live, now);
            }
        }
        read_to_the_end(&live_calls, ReplayStage::Live, now);
        fold_large_calls(&live_calls, now);
        let snapshot = project_call(&all, [], now, &Parameters::default()).snapshot;
        let found = live_calls.lock();
        let levels: Vec<Indications> =
            found.tenants[&tenant()].calls.values().map(|live| live.current.level).collect();
        prop_assert_eq!(levels, vec![snapshot.indications]);
    }
}

#[test]
fn attachments_and_changes_of_one_person_in_a_call_are_limited() {
    let live_calls = caught_up();
    let server = |n: usize| ids(None, Some(S1), Some(&format!("a{n}")));
    for n in 0..32 {
        let attachment = format!("a{n}");
        assert_eq!(live_calls.admits(&tenant(), &attachment, ANNA, Some(S1)), Ok(()));
        live_calls.apply(vec![report(NOW, 1, server(n), Level::On)], EventOrigin::Log, NOW);
    }
    assert_eq!(
        live_calls.admits(&tenant(), "another", ANNA, Some(S1)),
        Err(NotAdmitted::TooManyAttachments)
    );
    assert_eq!(live_calls.admits(&tenant(), "a0", ANNA, Some(S1)), Ok(()));
    assert_eq!(live_calls.admits(&tenant(), "another", ANNA, Some(S2)), Ok(()));
    assert_eq!(
        live_calls.admits(&tenant(), "a0", "8:acs:r_ben", Some(S1)),
        Err(NotAdmitted::Foreign)
    );
    for n in 0..256 {
        let level = if n % 2 == 0 { Level::Off } else { Level::On };
        live_calls.apply(vec![report(NOW, n + 2, server(0), level)], EventOrigin::Log, NOW);
    }
    assert_eq!(
        live_calls.admits(&tenant(), "a0", ANNA, Some(S1)),
        Err(NotAdmitted::TooManyChanges)
    );
}

/// One person cannot fill the live state, however many calls it names.
#[test]
fn the_attachments_of_one_person_in_all_calls_are_limited_and_ended_calls_do_not_count() {
    let live_calls = caught_up();
    let of_call = |n: usize| {
        let (server, attachment) = (format!("https://call/{n}"), format!("a{n}"));
        (server.clone(), attachment.clone(), ids(None, Some(&server), Some(&attachment)))
    };
    let admitted = |n: usize| {
        let (server, attachment, _) = of_call(n);
        live_calls.admits(&tenant(), &attachment, ANNA, Some(&server))
    };
    for n in 0..1_024 {
        assert_eq!(admitted(n), Ok(()));
        live_calls.apply(vec![report(NOW, 1, of_call(n).2, Level::On)], EventOrigin::Log, NOW);
    }
    assert_eq!(admitted(1_024), Err(NotAdmitted::TooManyCalls));
    assert_eq!(admitted(1_023), Ok(()), "it is in its call already");
    let (server, _, _) = of_call(1_024);
    assert_eq!(live_calls.admits(&tenant(), "b", "8:acs:r_ben", Some(&server)), Ok(()));
    // The platform ends a call, whose events are dropped then.
    let (server, _, _) = of_call(0);
    live_calls.apply(vec![ended(NOW, ids(None, Some(&server), None))], EventOrigin::Log, NOW);
    live_calls.evict(None, None, NOW + MINUTE);
    assert_eq!(admitted(1_024), Ok(()));
}

/// An acknowledgement that is earlier than the report of its attachment is a call by itself.
#[test]
fn attachments_that_only_acknowledge_share_the_limit_of_those_that_report() {
    let live_calls = caught_up();
    let acknowledged = |attachment: &str, max| {
        live_calls.admit_acknowledgement(&tenant(), attachment, ANNA, max, NOW)
    };
    for n in 0..32 {
        assert_eq!(acknowledged(&format!("a{n}"), 32), Ok(()));
    }
    assert_eq!(acknowledged("another", 32), Err(NotAdmitted::TooManyCalls), "the grant decides");
    assert_eq!(acknowledged("a31", 32), Ok(()), "it counts already");
    for n in 32..1_024 {
        assert_eq!(acknowledged(&format!("a{n}"), 1_024), Ok(()));
    }
    assert_eq!(acknowledged("another", 1_024), Err(NotAdmitted::TooManyCalls));
    let reported = |attachment| live_calls.admits(&tenant(), attachment, ANNA, Some(S1));
    assert_eq!(reported("another"), Err(NotAdmitted::TooManyCalls));
    assert_eq!(reported("a0"), Ok(()), "its report was late");
    // A report of another person does not count, and one's own is a call that exists.
    live_calls.apply(
        vec![report(NOW, 1, ids(None, Some(S1), Some("a0")), Level::On)],
        EventOrigin::Log,
        NOW,
    );
    assert_eq!(acknowledged("another", 1_024), Err(NotAdmitted::TooManyCalls));
    let ben = "8:acs:r_ben";
    let by_ben =
        |attachment| live_calls.admit_acknowledgement(&tenant(), attachment, ben, 1_024, NOW);
    assert_eq!(by_ben("a0"), Err(NotAdmitted::Foreign));
    assert_eq!(by_ben("b"), Ok(()));
    // After a day they count no longer.
    live_calls.evict(None, None, NOW + 25 * HOUR);
    assert_eq!(acknowledged("another", 32), Ok(()));
}

#[test]
fn the_reports_of_one_person_are_limited_by_bytes() {
    let live_calls = caught_up();
    let text = "x".repeat(100_000);
    let mut sent = 0;
    for n in 0..200 {
        let (server, attachment) = (format!("https://call/{n}"), format!("a{n}"));
        if live_calls.admits(&tenant(), &attachment, ANNA, Some(&server)).is_err() {
            break;
        }
        let mut large = report(NOW, 1, ids(None, Some(&server), Some(&attachment)), Level::On);
        if let Some(observed) = &mut large.observed
            && let Statement::Report(report) = &mut observed.event.statement
        {
            report.app = Some(text.clone());
        }
        live_calls.apply(vec![large], EventOrigin::Log, NOW);
        sent += text.len();
    }
    assert!((7 << 20..9 << 20).contains(&sent), "{sent}");
    let refused = live_calls.admits(&tenant(), "a0", ANNA, Some("https://call/0"));
    assert_eq!(refused, Err(NotAdmitted::TooManyBytes));
    assert_eq!(live_calls.admits(&tenant(), "b", "8:acs:r_ben", Some(S1)), Ok(()));
}

#[test]
fn a_dropped_waiter_leaves_nothing_behind() {
    let live_calls = caught_up();
    let event = started(NOW, ids(None, Some(S1), None));
    let key = event.observed.as_ref().unwrap().id;
    drop(live_calls.wait_for(key));
    assert!(live_calls.lock().waiters.is_empty());
    let mut waiter = live_calls.wait_for(key);
    live_calls.apply(vec![event], EventOrigin::Log, NOW);
    assert_eq!(futures_util::FutureExt::now_or_never(waiter.applied()), Some(()));
}

#[test]
fn an_attachment_that_two_calls_claim_is_evicted_with_them() {
    let live_calls = caught_up();
    // A tenant with a subscriber is not removed as a whole.
    let _subscription = TestSubscription::open(&live_calls, SubscriptionScope::Everything);
    for (sequence, server) in [(1, S1), (2, S2)] {
        let reported = report(NOW, sequence, ids(None, Some(server), Some("a0")), Level::On);
        live_calls.apply(vec![reported], EventOrigin::Log, NOW);
    }
    let ben = "8:acs:r_ben";
    assert_eq!(live_calls.admits(&tenant(), "a0", ben, Some(S1)), Err(NotAdmitted::Foreign));
    live_calls.evict(None, Some(26 * HOUR), NOW + 27 * HOUR);
    assert_eq!(live_calls.admits(&tenant(), "a0", ben, Some(S1)), Ok(()));
    assert_eq!(live_calls.lock().calls(), 0);
}

#[test]
fn repeated_reports_count_as_no_change_in_any_order_and_after_a_contradiction() {
    let own = || ids(None, Some(S1), Some("a0"));
    let admitted = |live_calls: &LiveCalls| live_calls.admits(&tenant(), "a0", ANNA, Some(S1));
    let late = caught_up();
    for n in (0..300).rev() {
        let reported = report(NOW + n * 30_000, n, own(), Level::On);
        late.apply(vec![reported], EventOrigin::Log, NOW + 300 * 30_000);
    }
    assert_eq!(admitted(&late), Ok(()));

    let garbled = caught_up();
    let first = report(NOW, 1, own(), Level::On);
    let mut other = report(NOW, 1, own(), Level::Paused);
    other.observed.as_mut().unwrap().id = first.observed.as_ref().unwrap().id;
    garbled.apply(vec![first, other], EventOrigin::Log, NOW);
    for n in 1..300 {
        let t = NOW + n * 30_000;
        garbled.apply(vec![report(t, n + 1, own(), Level::On)], EventOrigin::Log, t);
    }
    assert_eq!(admitted(&garbled), Ok(()));
}

#[test]
fn an_attachment_in_the_call_stays_admitted_above_the_limit() {
    let live_calls = caught_up();
    for n in 0..40 {
        let own = ids(None, Some(S1), Some(&format!("a{n}")));
        live_calls.apply(vec![report(NOW, 1, own, Level::On)], EventOrigin::Log, NOW);
    }
    assert_eq!(live_calls.admits(&tenant(), "a39", ANNA, Some(S1)), Ok(()));
    assert_eq!(
        live_calls.admits(&tenant(), "another", ANNA, Some(S1)),
        Err(NotAdmitted::TooManyAttachments)
    );
}

/// An attachment that two calls claim belongs to neither, but its reports are a session of both.
#[test]
fn attachments_that_two_calls_claim_count_in_both() {
    let live_calls = caught_up();
    for n in 0..32 {
        for (sequence, server) in [(1, S1), (2, S2)] {
            let own = ids(None, Some(server), Some(&format!("a{n}")));
            let reported = report(NOW, sequence, own, Level::On);
            live_calls.apply(vec![reported], EventOrigin::Log, NOW);
        }
    }
    for server in [S1, S2] {
        let admitted = |id: &str| live_calls.admits(&tenant(), id, ANNA, Some(server));
        assert_eq!(admitted("another"), Err(NotAdmitted::TooManyAttachments));
        assert_eq!(admitted("a0"), Ok(()), "it is in the call already");
    }
    let elsewhere = live_calls.admits(&tenant(), "another", ANNA, Some("https://s3"));
    assert_eq!(elsewhere, Ok(()));
}

#[test]
fn at_shutdown_queues_are_drained_and_new_subscribers_are_refused() {
    let live_calls = caught_up();
    let opened = live_calls.subscribe(&tenant(), SubscriptionScope::Everything, None, NOW).unwrap();
    live_calls.apply(
        vec![report(NOW, 1, ids(None, Some(S1), Some("a0")), Level::On)],
        EventOrigin::Log,
        NOW,
    );
    live_calls.close();
    let mut subscription = opened.1;
    assert!(subscription.try_next().is_some());
    let end = futures_util::FutureExt::now_or_never(subscription.next());
    assert!(matches!(end, Some(None)));
    let refused = live_calls.subscribe(&tenant(), SubscriptionScope::Everything, None, NOW);
    assert!(matches!(refused, Err(LiveStateClosed)));
}

/// A state with this many recorded calls, and this many streams of everything that read nothing.
fn unread_streams(calls: usize, streams: usize) -> (LiveCalls, Vec<TestSubscription>) {
    let live_calls = LiveCalls::new(64);
    live_calls.set_stage(ReplayStage::Live, false, NOW - HOUR);
    let on = |n: usize| {
        let server = format!("https://call/{n}");
        recorded(NOW, ids(None, Some(&server), None), ProviderState::Active)
    };
    live_calls.apply((0..calls).map(on).collect(), EventOrigin::Log, NOW);
    let open = |_| TestSubscription::open(&live_calls, SubscriptionScope::Everything);
    let opened = (0..streams).map(open).collect();
    (live_calls, opened)
}

#[test]
fn a_stream_of_many_calls_is_stated_each_level_once_when_it_reads() {
    let (live_calls, mut opened) = unread_streams(100, 2);
    // Of two calls the level changes before the stream reads, and of one afterwards.
    let off = |n: usize, t: Millis| {
        let server = format!("https://call/{n}");
        recorded(t, ids(None, Some(&server), None), ProviderState::Inactive)
    };
    live_calls.apply(vec![off(0, NOW + 1), off(1, NOW + 1)], EventOrigin::Log, NOW + 1);
    let received = opened[0].received();
    assert_eq!(received[..2], expected(&[("notice", "off"), ("notice", "off")]));
    assert_eq!(received[2..], expected(&[("snapshot", "on"); 98]));
    live_calls.apply(vec![off(2, NOW + 2)], EventOrigin::Log, NOW + 2);
    assert_eq!(opened[0].received(), expected(&[("notice", "off")]));
    assert_eq!(opened[1].received()[..3], expected(&[("notice", "off"); 3]));
    assert_eq!(opened[1].received(), []);
}

/// Prints the memory that the streams take. Run by itself:
/// `cargo test --features failpoints --lib unread_streams -- --ignored --nocapture`.
#[test]
#[ignore = "measures the memory of the process, which other tests change"]
fn four_hundred_unread_streams_of_three_thousand_calls_take_less_than_100_mib() {
    let resident = || {
        let status = std::fs::read_to_string("/proc/self/status").unwrap();
        let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:")).unwrap();
        line.trim().trim_end_matches(" kB").parse::<usize>().unwrap()
    };
    let (live_calls, _none) = unread_streams(3_000, 0);
    let before = resident();
    let open = |_| TestSubscription::open(&live_calls, SubscriptionScope::Everything);
    let opened: Vec<TestSubscription> = (0..400).map(open).collect();
    let grown = resident().saturating_sub(before);
    println!("{} streams take {} KiB", opened.len(), grown);
    assert!(grown < 100 * 1024, "{grown} KiB");
}
