//! The projection of the retained reports equals the projection of all reports.

use std::collections::BTreeMap;

use proptest::prelude::*;

use super::*;
use crate::call::parameters::Parameters;
use crate::call::project::{ProjectedCall, project_call};
use crate::event::calling_event::{CallEnded, ProviderStateChanged};
use crate::event::ids::Ids;
use crate::fact::kinds::{CaptureType, Level, ProviderState};
use crate::tests::test_events::{joined, left, observed_event, report, report_with, roster};

const ANNA: &str = "8:acs:res_anna";
const BEN: &str = "8:acs:res_ben";
const STALE: Millis = 90_000;
/// An instant after all events of a random call.
const AFTER_ALL: Millis = 2_000_000;

fn projected<'t>(
    events: impl IntoIterator<Item = &'t ObservedEvent>,
    now: Millis,
) -> ProjectedCall {
    project_call(events, [], now, &Parameters::default())
}

/// One report of a client. Times in ms.
#[derive(Clone, Debug)]
struct TestReport {
    /// The time since the report before.
    after: Millis,
    /// The time until it arrives.
    delay: Millis,
    recording: Option<Level>,
    leaving: bool,
}

fn test_report() -> impl Strategy<Value = TestReport> {
    let after = prop_oneof![
        8 => Just(30_000_i64),
        2 => 0..100_000_i64,
        1 => 85_000..200_000_i64,
    ];
    let delay = prop_oneof![8 => Just(0_i64), 1 => 0..150_000_i64];
    // Mostly the same level again.
    let level = prop_oneof![
        12 => Just(Some(Level::On)),
        2 => Just(Some(Level::Off)),
        1 => Just(Some(Level::Paused)),
        1 => Just(None),
    ];
    (after, delay, level, prop::bool::weighted(0.03)).prop_map(
        |(after, delay, recording, leaving)| TestReport { after, delay, recording, leaving },
    )
}

fn client(
    attachment: &'static str,
    raw_id: &'static str,
) -> impl Strategy<Value = Vec<ObservedEvent>> {
    (0..300_000_i64, prop::collection::vec(test_report(), 0..24)).prop_map(
        move |(begin, statements)| {
            let mut clock = begin;
            let reports = statements.into_iter().zip(1..).map(|(sent, sequence)| {
                clock += sent.after;
                report_with(attachment, raw_id, sequence, clock + sent.delay, |report, _| {
                    report.recording = sent.recording;
                    report.leaving = sent.leaving;
                })
            });
            reports.collect()
        },
    )
}

fn platform_event() -> impl Strategy<Value = ObservedEvent> {
    let t = 0..900_000_i64;
    let raw_id = prop::sample::select(vec![ANNA, BEN]);
    prop_oneof![
        2 => (raw_id.clone(), t.clone()).prop_map(|(raw, t)| joined("p1", raw, t)),
        2 => (raw_id.clone(), t.clone()).prop_map(|(raw, t)| left("p1", raw, t)),
        2 => (t.clone(), prop::sample::subsequence(vec![ANNA, BEN], 0..=2))
            .prop_map(|(t, present)| roster("leg", None, t, &present)),
        2 => (t.clone(), any::<bool>()).prop_map(|(t, active)| {
            let statement = Statement::ProviderState(ProviderStateChanged {
                capture_type: CaptureType::Recording,
                recording: "rec".to_owned(),
                capture_kind: None,
                state: if active { ProviderState::Active } else { ProviderState::Inactive },
                started_at: None,
                recorder_leg: None,
            });
            observed_event(t, statement, Ids::default())
        }),
        1 => (t, any::<bool>()).prop_map(|(t, presumed)| {
            let statement = Statement::CallEnded(CallEnded {
                started_by: None,
                ended_by: None,
                reason: None,
                duration_s: None,
                presumed,
            });
            observed_event(t, statement, Ids::default())
        }),
    ]
}

/// All events of a call, in the order in which they arrive.
fn any_call() -> impl Strategy<Value = Vec<ObservedEvent>> {
    // Ben also uses an attachment of Anna's.
    let clients = (client("a1", ANNA), client("a2", ANNA), client("a3", BEN), client("a2", BEN));
    let platform = prop::collection::vec(platform_event(), 0..4);
    let twice = prop::collection::vec(
        (any::<prop::sample::Index>(), -60_000..60_000_i64, any::<bool>()),
        0..3,
    );
    let misplaced =
        prop::collection::vec((any::<prop::sample::Index>(), any::<prop::sample::Index>()), 0..6);
    (clients, platform, twice, misplaced).prop_map(
        |((one, two, three, foreign), platform, twice, misplaced)| {
            let mut call = [one, two, three, foreign, platform].concat();
            call.sort_by_key(|observed| observed.at);
            for (which, shift, contradicts) in twice {
                if call.is_empty() {
                    break;
                }
                let mut again = which.get(&call).clone();
                again.at += shift;
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

/// The events of a call as the live state stores them: a report history for each attachment, and all
/// other events.
fn stored(
    call: &[ObservedEvent],
    now: Millis,
) -> (BTreeMap<String, ReportHistory>, Vec<ObservedEvent>) {
    let mut reports = BTreeMap::<String, ReportHistory>::new();
    let mut others = Vec::new();
    for observed in call {
        match &observed.event.ids.attachment {
            Some(attachment) => {
                let reports = reports.entry(attachment.clone()).or_default();
                reports.insert(observed.clone(), now, STALE);
            }
            None => others.push(observed.clone()),
        }
    }
    (reports, others)
}

fn heartbeats(count: i64) -> Vec<ObservedEvent> {
    (1..=count).map(|n| report("a1", ANNA, n, n * 30_000)).collect()
}

#[test]
fn a_day_of_heartbeats_retains_two_reports() {
    let (reports, _) = stored(&heartbeats(2_880), Millis::MAX);
    let reports = &reports["a1"];
    assert_eq!(reports.retained().count(), 2);
    assert_eq!(reports.changes(), 0);
    assert_eq!(reports.all(), heartbeats(2_880));
}

#[test]
fn a_repeated_heartbeat_is_a_duplicate() {
    let mut reports = ReportHistory::default();
    for heartbeat in heartbeats(9) {
        reports.insert(heartbeat, Millis::MAX, STALE);
    }
    assert_eq!(
        reports.insert(heartbeats(9).remove(4), Millis::MAX, STALE),
        ReportEffect::Duplicate
    );
    assert_eq!(reports.retained().count(), 2);
}

#[test]
fn a_late_report_divides_a_run() {
    let all = heartbeats(9);
    let other = report_with("a1", ANNA, 5, 150_000, |report, _| {
        report.recording = Some(Level::On);
    });
    let mut reports = ReportHistory::default();
    for heartbeat in all.iter().filter(|heartbeat| heartbeat.at != 150_000) {
        assert_ne!(reports.insert(heartbeat.clone(), Millis::MAX, STALE), ReportEffect::Duplicate);
    }
    assert_eq!(reports.changes(), 0);
    assert_eq!(reports.insert(other, Millis::MAX, STALE), ReportEffect::New);
    assert_eq!(reports.changes(), 2);
}

#[test]
fn a_report_that_does_not_count_yet_does_not_belong_to_a_run() {
    let mut reports = ReportHistory::default();
    for heartbeat in heartbeats(3) {
        reports.insert(heartbeat, 60_000, STALE);
    }
    assert_eq!(reports.retained().count(), 3);
    assert_eq!(reports.changes(), 0);
}

proptest! {
    #[test]
    fn the_projection_is_the_same_without_the_reports_within_runs(
        call in any_call(),
        arrived in prop_oneof![Just(AFTER_ALL), 0..1_000_000_i64],
        later in 0..400_000_i64,
    ) {
        let (reports, others) = stored(&call, arrived);
        let retained = || others.iter().chain(reports.values().flat_map(ReportHistory::retained));
        prop_assert!(retained().count() <= call.len());
        for now in [arrived, arrived + later, AFTER_ALL] {
            let (all, some) = (projected(&call, now), projected(retained(), now));
            prop_assert_eq!(all.snapshot, some.snapshot);
            prop_assert_eq!(all.sessions, some.sessions);
        }
    }

    #[test]
    fn the_stored_reports_do_not_depend_on_the_order_of_arrival(
        (call, shuffled) in any_call().prop_flat_map(|call| (Just(call.clone()), Just(call).prop_shuffle())),
    ) {
        let everything = |call: &[ObservedEvent]| -> Vec<Vec<ObservedEvent>> {
            stored(call, AFTER_ALL).0.values().map(ReportHistory::all).collect()
        };
        prop_assert_eq!(everything(&call), everything(&shuffled));
    }

    #[test]
    fn a_heartbeat_of_a_live_client_changes_no_level_and_brings_no_change_forward(
        call in any_call(),
        at in 0..1_200_000_i64,
        pause in 0..90_000_i64,
    ) {
        let before = projected(&call, at);
        let (mut reports, others) = stored(&call, at);
        for attachment in &before.present_attachments {
            let Some(last) = reports[attachment].runs.last().map(|run| run.end().clone()) else {
                continue;
            };
            let now = last.at.max(at) + pause;
            let mut next = last.clone();
            next.at = now;
            next.id = Digest::of(b"the next one");
            if let Statement::Report(report) = &mut next.event.statement {
                report.sequence += 1;
            }
            let due = before.snapshot.next_change.is_some_and(|due| due <= now);
            let mut with = reports[attachment].clone();
            if due || with.insert(next, now, STALE) != ReportEffect::Heartbeat {
                continue;
            }
            reports.insert(attachment.clone(), with);
            let after = projected(others.iter().chain(reports.values().flat_map(ReportHistory::retained)), now);
            prop_assert_eq!(after.snapshot.indications, before.snapshot.indications);
            prop_assert_eq!(&after.snapshot.captures, &before.snapshot.captures);
            prop_assert_eq!(&after.snapshot.call, &before.snapshot.call);
            prop_assert!(before.present_attachments.is_subset(&after.present_attachments));
            if let Some(earlier) = after.snapshot.next_change {
                prop_assert!(before.snapshot.next_change.is_some_and(|due| due <= earlier));
            }
            break;
        }
    }
}
