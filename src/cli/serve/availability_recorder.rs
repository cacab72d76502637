//! Records in the background when this node was healthy in each of its roles.
//!
//! # Why
//!
//! An outage cannot be recorded while it lasts: it is what is left between the recorded intervals
//! (`onrecord_evidence::exception::outage`). So an interval ends at the last moment at which the role
//! reported that it was healthy, not at the moment at which it was found to be stale. A new interval
//! starts when the last report is too old, also after the process was frozen. The checks run beside
//! the writer: a store that hangs is no outage of ingest.

use std::collections::BTreeMap;
use std::time::Duration;

use chrono::{DateTime, TimeDelta, Utc};
use metrics::gauge;
use uuid::Uuid;

use crate::clock;
use crate::lifecycle::background_writer::{BackgroundWriter, Merge, WriteEntries};
use crate::lifecycle::{Health, Lifecycle, Readiness};
use crate::postgres::{AvailabilityInterval, Postgres, StoreError};
use crate::telemetry::names;

/// Interval between two checks of the health of the roles.
const CHECK_INTERVAL: Duration = Duration::from_secs(2);
/// Maximum interval between two reports of one availability interval. The health in a longer one is
/// unknown.
const MAX_REPORT_INTERVAL: TimeDelta = TimeDelta::seconds(10);

/// The start of an availability interval, and its role.
type IntervalKey = (DateTime<Utc>, &'static str);

/// The time of the last report that a role was healthy.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct LastSeen(DateTime<Utc>);

impl Merge for LastSeen {
    fn merge(&mut self, other: Self) {
        self.0 = self.0.max(other.0);
    }
}

/// The availability intervals of a node.
#[derive(Debug, Default)]
struct AvailabilityRecorder {
    /// The start of the current interval of each role, and its last report.
    current: BTreeMap<&'static str, (DateTime<Utc>, DateTime<Utc>)>,
    /// An interval that is dropped because too many wait counts as an outage.
    writer: BackgroundWriter<IntervalKey, LastSeen>,
}

impl AvailabilityRecorder {
    /// Records the outcome of a check: when the role last reported that it was healthy, if it counts
    /// as healthy.
    fn record(&mut self, role: &'static str, reported: Option<DateTime<Utc>>) {
        let Some(reported) = reported else {
            self.current.remove(role);
            return;
        };
        let started = match self.current.get(role) {
            Some((started, last))
                if *last <= reported && reported - *last <= MAX_REPORT_INTERVAL =>
            {
                *started
            }
            _ => reported,
        };
        self.current.insert(role, (started, reported));
        self.writer.add((started, role), LastSeen(reported));
    }
}

/// Writes the intervals to `role_heartbeat`.
struct AvailabilityTable {
    store: Postgres,
    /// The id of this process. A restarted process has another.
    node: Uuid,
}

impl WriteEntries<IntervalKey, LastSeen> for AvailabilityTable {
    type Error = StoreError;
    const NAME: &'static str = "availability";

    async fn write(&self, intervals: &BTreeMap<IntervalKey, LastSeen>) -> Result<(), StoreError> {
        self.store.record_heartbeats(self.node, &rows(intervals)).await
    }
}

fn rows(intervals: &BTreeMap<IntervalKey, LastSeen>) -> Vec<AvailabilityInterval> {
    let rows = intervals.iter();
    rows.map(|(&(started, role), &LastSeen(last_seen))| AvailabilityInterval {
        role,
        started_at: started,
        last_seen_at: last_seen,
    })
    .collect()
}

/// Records the availability of these roles until the stop.
pub(super) fn start(roles: Vec<&'static str>, store: &Postgres, lifecycle: &Lifecycle) {
    let recorder = AvailabilityRecorder::default();
    let table = AvailabilityTable { store: store.clone(), node: Uuid::new_v4() };
    let writing = recorder.writer.clone().run(table, lifecycle.clone());
    lifecycle.run("availability checks", check(roles, recorder, lifecycle.clone()));
    lifecycle.run("availability writer", writing);
}

/// Checks the roles until the stop, and sets the gauge of every component.
async fn check(roles: Vec<&'static str>, mut recorder: AvailabilityRecorder, lifecycle: Lifecycle) {
    let soft = lifecycle.soft().clone();
    while !soft.is_cancelled() {
        let view = lifecycle.readiness().view();
        for (component, health) in &view {
            let is_healthy = f64::from(u8::from(*health == Health::Healthy));
            gauge!(names::COMPONENT_HEALTHY, "component" => *component).set(is_healthy);
        }
        let now = clock::now();
        for role in &roles {
            let age = report_age(role, lifecycle.readiness());
            let reported = age.and_then(|age| Some(now - TimeDelta::from_std(age).ok()?));
            recorder.record(role, reported);
        }
        soft.run_until_cancelled(tokio::time::sleep(CHECK_INTERVAL)).await;
    }
}

/// The age of the last report that a role was healthy, if it counts as healthy: it does its work by
/// either store.
fn report_age(role: &str, readiness: &Readiness) -> Option<Duration> {
    let age = |component| readiness.healthy_report_age(component);
    match role {
        "ingest" => age("kafka").into_iter().chain(age("postgres")).min(),
        // The live state reports once that it is healthy, and is until it reports otherwise.
        "live" => age("live").map(|_| Duration::ZERO).or_else(|| age("spool")),
        _ => age(role),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(second: i64) -> DateTime<Utc> {
        DateTime::from_timestamp(second, 0).unwrap()
    }

    fn interval(role: &'static str, started: i64, last_seen: i64) -> AvailabilityInterval {
        AvailabilityInterval { role, started_at: at(started), last_seen_at: at(last_seen) }
    }

    #[test]
    fn an_interval_is_extended_and_a_new_one_starts_after_a_pause() {
        let mut recorder = AvailabilityRecorder::default();
        for second in [0, 2, 4] {
            recorder.record("ingest", Some(at(second)));
        }
        assert_eq!(rows(&recorder.writer.take()), [interval("ingest", 0, 4)]);
        recorder.record("ingest", Some(at(6)));
        // It still counts as healthy, and does not report any more.
        recorder.record("ingest", Some(at(6)));
        recorder.record("ingest", None);
        recorder.record("ingest", Some(at(20)));
        // The process was frozen, and its clock was set back.
        recorder.record("ingest", Some(at(60)));
        recorder.record("ingest", Some(at(59)));
        let expected = [(0, 6), (20, 20), (59, 59), (60, 60)];
        assert_eq!(
            rows(&recorder.writer.take()),
            expected.map(|(started, last_seen)| interval("ingest", started, last_seen))
        );
    }

    #[test]
    fn an_interval_that_could_not_be_written_is_kept_and_extended() {
        let mut recorder = AvailabilityRecorder::default();
        recorder.record("ledger", Some(at(0)));
        let taken = recorder.writer.take();
        recorder.record("ledger", Some(at(2)));
        for (key, last_seen) in taken {
            recorder.writer.add(key, last_seen);
        }
        assert_eq!(rows(&recorder.writer.take()), [interval("ledger", 0, 2)]);
    }

    #[test]
    fn a_role_is_healthy_if_it_works_by_either_store() {
        let readiness = Readiness::default();
        readiness.unhealthy("kafka", "no broker is reachable");
        readiness.starting("live");
        readiness.unhealthy("ledger", "no leader");
        assert_eq!(report_age("ingest", &readiness), None);
        readiness.healthy("postgres", Duration::from_secs(20));
        readiness.healthy("spool", Duration::from_secs(20));
        assert!(report_age("ingest", &readiness).is_some());
        assert!(report_age("live", &readiness).is_some());
        assert_eq!(report_age("ledger", &readiness), None);
        readiness.healthy("live", Duration::from_secs(20));
        assert_eq!(report_age("live", &readiness), Some(Duration::ZERO));
    }
}
