//! Whatever of the reports is left out, the fold's answer is the same.

use std::collections::BTreeMap;

use proptest::prelude::*;

use super::*;
use crate::domain::calling_event::{CallEnded, ProviderStateChanged};
use crate::domain::fact::{CaptureType, Level, ProviderState};
use crate::domain::ids::Ids;
use crate::domain::parameters::Parameters;
use crate::domain::picture::{CallAccount, account};
use crate::domain::session::testimonies::{joined, left, report, report_with, roster, testimony};

const ANNA: &str = "8:acs:res_anna";
const BEN: &str = "8:acs:res_ben";
const STALE: Millis = 90_000;
/// Every testimony of a random call lies before this.
const AFTER_ALL: Millis = 2_000_000;

fn folded<'t>(testimonies: impl IntoIterator<Item = &'t Testimony>, now: Millis) -> CallAccount {
    account(testimonies, [], now, &Parameters::default())
}

/// One statement of a client: how long after the one before, how long on its way, what it says.
#[derive(Clone, Debug)]
struct Said {
    after: Millis,
    on_its_way: Millis,
    recording: Option<Level>,
    leaving: bool,
}

fn said() -> impl Strategy<Value = Said> {
    let after = prop_oneof![
        8 => Just(30_000_i64),
        2 => 0..100_000_i64,
        1 => 85_000..200_000_i64,
    ];
    let on_its_way = prop_oneof![8 => Just(0_i64), 1 => 0..150_000_i64];
    // Mostly the same once more.
    let level = prop_oneof![
        12 => Just(Some(Level::On)),
        2 => Just(Some(Level::Off)),
        1 => Just(Some(Level::Paused)),
        1 => Just(None),
    ];
    (after, on_its_way, level, prop::bool::weighted(0.03)).prop_map(
        |(after, on_its_way, recording, leaving)| Said {
            after,
            on_its_way,
            recording,
            leaving,
        },
    )
}

fn client(attachment: &'static str, raw_id: &'static str) -> impl Strategy<Value = Vec<Testimony>> {
    (0..300_000_i64, prop::collection::vec(said(), 0..24)).prop_map(move |(begin, statements)| {
        let mut clock = begin;
        let reports = statements.into_iter().zip(1..).map(|(said, sequence)| {
            clock += said.after;
            report_with(
                attachment,
                raw_id,
                sequence,
                clock + said.on_its_way,
                |report, _| {
                    report.recording = said.recording;
                    report.leaving = said.leaving;
                },
            )
        });
        reports.collect()
    })
}

fn of_the_platform() -> impl Strategy<Value = Testimony> {
    let t = 0..900_000_i64;
    let raw_id = prop::sample::select(vec![ANNA, BEN]);
    prop_oneof![
        2 => (raw_id.clone(), t.clone()).prop_map(|(raw, t)| joined("p1", raw, t)),
        2 => (raw_id.clone(), t.clone()).prop_map(|(raw, t)| left("p1", raw, t)),
        2 => (t.clone(), prop::sample::subsequence(vec![ANNA, BEN], 0..=2))
            .prop_map(|(t, present)| roster("leg", None, t, &present)),
        2 => (t.clone(), any::<bool>()).prop_map(|(t, active)| {
            let statement = Statement::ProviderState(ProviderStateChanged {
                capture: CaptureType::Recording,
                recording: "rec".to_owned(),
                capture_kind: None,
                state: if active { ProviderState::Active } else { ProviderState::Inactive },
                start: None,
                recorder_leg: None,
            });
            testimony(t, statement, Ids::default())
        }),
        1 => (t, any::<bool>()).prop_map(|(t, presumed)| {
            let statement = Statement::CallEnded(CallEnded {
                started_by: None,
                ended_by: None,
                reason: None,
                duration_s: None,
                presumed,
            });
            testimony(t, statement, Ids::default())
        }),
    ]
}

/// All testimonies of a call, in the order of their arrival.
fn any_call() -> impl Strategy<Value = Vec<Testimony>> {
    let clients = (client("a1", ANNA), client("a2", ANNA), client("a3", BEN));
    let platform = prop::collection::vec(of_the_platform(), 0..4);
    let twice = prop::collection::vec(
        (
            any::<prop::sample::Index>(),
            -60_000..60_000_i64,
            any::<bool>(),
        ),
        0..3,
    );
    let misplaced = prop::collection::vec(
        (any::<prop::sample::Index>(), any::<prop::sample::Index>()),
        0..6,
    );
    (clients, platform, twice, misplaced).prop_map(
        |((one, two, three), platform, twice, misplaced)| {
            let mut call = [one, two, three, platform].concat();
            call.sort_by_key(|testimony| testimony.t);
            for (which, shift, contradicts) in twice {
                if call.is_empty() {
                    break;
                }
                let mut again = which.get(&call).clone();
                again.t += shift;
                if contradicts && let Statement::Report(report) = &mut again.event.statement {
                    report.recording = Some(Level::Off);
                    report.sequence += 2;
                }
                call.push(again);
            }
            for (from, to) in misplaced {
                if !call.is_empty() {
                    let (from, to) = (from.index(call.len()), to.index(call.len()));
                    call.swap(from, to);
                }
            }
            call
        },
    )
}

/// What the board keeps of a call: reports by attachment, everything else as it is.
fn kept(call: &[Testimony], now: Millis) -> (BTreeMap<String, Reports>, Vec<Testimony>) {
    let mut reports = BTreeMap::<String, Reports>::new();
    let mut others = Vec::new();
    for testimony in call {
        match &testimony.event.ids.attachment {
            Some(attachment) => {
                let reports = reports.entry(attachment.clone()).or_default();
                reports.take_in(testimony.clone(), now, STALE);
            }
            None => others.push(testimony.clone()),
        }
    }
    (reports, others)
}

fn beats(count: i64) -> Vec<Testimony> {
    (1..=count)
        .map(|n| report("a1", ANNA, n, n * 30_000))
        .collect()
}

#[test]
fn a_day_of_heartbeats_is_two_testimonies() {
    let (reports, _) = kept(&beats(2_880), Millis::MAX);
    let reports = &reports["a1"];
    assert_eq!(reports.testimonies().count(), 2);
    assert_eq!(reports.changes(), 0);
    assert_eq!(reports.all(), beats(2_880));
}

#[test]
fn a_heartbeat_that_comes_again_is_known() {
    let mut reports = Reports::default();
    for beat in beats(9) {
        reports.take_in(beat, Millis::MAX, STALE);
    }
    assert_eq!(
        reports.take_in(beats(9).remove(4), Millis::MAX, STALE),
        Taken::Known
    );
    assert_eq!(reports.testimonies().count(), 2);
}

#[test]
fn a_report_that_comes_late_parts_those_that_said_the_same() {
    let all = beats(9);
    let other = report_with("a1", ANNA, 5, 150_000, |report, _| {
        report.recording = Some(Level::On);
    });
    let mut reports = Reports::default();
    for beat in all.iter().filter(|beat| beat.t != 150_000) {
        assert_ne!(
            reports.take_in(beat.clone(), Millis::MAX, STALE),
            Taken::Known
        );
    }
    assert_eq!(reports.changes(), 0);
    assert_eq!(reports.take_in(other, Millis::MAX, STALE), Taken::New);
    assert_eq!(reports.changes(), 2);
}

#[test]
fn what_does_not_count_yet_lets_nothing_be_left_out() {
    let mut reports = Reports::default();
    for beat in beats(3) {
        reports.take_in(beat, 60_000, STALE);
    }
    assert_eq!(reports.testimonies().count(), 3);
    assert_eq!(reports.changes(), 0);
}

proptest! {
    #[test]
    fn the_fold_s_answer_is_the_same_without_the_reports_in_between(
        call in any_call(),
        arrived in prop_oneof![Just(AFTER_ALL), 0..1_000_000_i64],
        later in 0..400_000_i64,
    ) {
        let (reports, others) = kept(&call, arrived);
        let left = || others.iter().chain(reports.values().flat_map(Reports::testimonies));
        prop_assert!(left().count() <= call.len());
        for now in [arrived, arrived + later, AFTER_ALL] {
            let (all, some) = (folded(&call, now), folded(left(), now));
            prop_assert_eq!(all.picture, some.picture);
            prop_assert_eq!(all.who, some.who);
        }
    }

    #[test]
    fn no_order_of_arrival_matters_to_what_is_kept(
        (call, shuffled) in any_call().prop_flat_map(|call| (Just(call.clone()), Just(call).prop_shuffle())),
    ) {
        let everything = |call: &[Testimony]| -> Vec<Vec<Testimony>> {
            kept(call, AFTER_ALL).0.values().map(Reports::all).collect()
        };
        prop_assert_eq!(everything(&call), everything(&shuffled));
    }

    #[test]
    fn a_heartbeat_of_a_client_that_is_there_changes_no_level_and_no_instant_of_change_comes_earlier(
        call in any_call(),
        at in 0..1_200_000_i64,
        pause in 0..90_000_i64,
    ) {
        let before = folded(&call, at);
        let (mut reports, others) = kept(&call, at);
        for attachment in &before.there {
            let Some(last) = reports[attachment].runs.last().map(|run| run.end().clone()) else {
                continue;
            };
            let now = last.t.max(at) + pause;
            let mut next = last.clone();
            next.t = now;
            next.id = Digest::of(b"the next one");
            if let Statement::Report(report) = &mut next.event.statement {
                report.sequence += 1;
            }
            let due = before.picture.next_change.is_some_and(|due| due <= now);
            let mut with = reports[attachment].clone();
            if due || with.take_in(next, now, STALE) != Taken::Heartbeat {
                continue;
            }
            reports.insert(attachment.clone(), with);
            let after = folded(others.iter().chain(reports.values().flat_map(Reports::testimonies)), now);
            prop_assert_eq!(after.picture.indications, before.picture.indications);
            prop_assert_eq!(&after.picture.stretches, &before.picture.stretches);
            prop_assert_eq!(&after.picture.call, &before.picture.call);
            prop_assert!(before.there.is_subset(&after.there));
            if let Some(earlier) = after.picture.next_change {
                prop_assert!(before.picture.next_change.is_some_and(|due| due <= earlier));
            }
            break;
        }
    }
}
