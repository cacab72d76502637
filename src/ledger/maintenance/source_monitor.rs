//! Monitors sources that are silent, or rejected beside a silence, and counts the open exceptions.
//!
//! # Why
//!
//! No event arrives when a source falls silent. So the node that runs the maintenance compares the
//! expected exceptions with the existing ones at an interval, as for a call: the next comparison
//! finds what was missed while no node ran.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use chrono::{DateTime, SecondsFormat, TimeDelta, Utc};
use futures_util::FutureExt as _;
use metrics::gauge;
use serde_json::json;
use strum::IntoEnumIterator as _;

use crate::clock;
use crate::ledger::context::{LedgerContext, is_due};
use crate::ledger::exceptions::write_steps;
use crate::postgres::{
    self, ExceptionCounts, ExceptionStep, HistoryLine, LastDelivery, RejectionRun, StoreError, Tx,
};
use crate::telemetry::names;
use onrecord_evidence::exception::{ExceptionKind, ExpectedException, RejectionSeries, reconcile};
use onrecord_evidence::fact::kinds::JsonWord as _;

/// Interval of the comparison.
pub(crate) const INTERVAL: Duration = Duration::from_secs(2);
/// Interval of the count of open exceptions.
const COUNT_INTERVAL: Duration = Duration::from_secs(15);
/// Time after the last rejection until the exception of a rejected source ends.
const REJECTION_PERIOD: TimeDelta = TimeDelta::hours(1);
/// The value of the gauge of the lag while the lag is unknown; `max` in PromQL leaves it out if another
/// node has a number.
const UNKNOWN_LAG: f64 = f64::NAN;

/// Compares once, and sets the gauges. `counted_at` is when the open exceptions were last counted.
pub(crate) async fn reconcile_once(
    ledger: &LedgerContext,
    counted_at: &mut Option<Instant>,
) -> Result<(), StoreError> {
    let now = clock::now();
    // Beyond the range of the type no source is silent.
    let max_silence = TimeDelta::from_std(ledger.silent_source_after).unwrap_or(TimeDelta::MAX);
    let known_through = postgres::complete_through(&ledger.store).await?;
    let counts = ledger
        .store
        .run_tx("monitor sources", move |tx| {
            async move { reconcile_sources(tx, max_silence, known_through, now).await }.boxed()
        })
        .await?;
    counts.report();
    if is_due(*counted_at, COUNT_INTERVAL) {
        *counted_at = Some(Instant::now());
        count_open(ledger).await?;
    }
    report_ages(ledger, known_through, now).await
}

/// Sets the gauges to zero, because another node reports them from now on. The lag is unknown here.
pub(crate) fn reset_gauges() {
    for kind in ExceptionKind::iter() {
        gauge!(names::EXCEPTIONS_OPEN, "kind" => kind.as_str()).set(0);
    }
    for work in ["call", "merge"] {
        gauge!(names::LEDGER_POSTPONED, "work" => work).set(0);
    }
    gauge!(names::SPOOL_AGE_SECONDS).set(0);
    gauge!(names::LEDGER_LAG_SECONDS).set(UNKNOWN_LAG);
}

/// The lag in seconds; [`UNKNOWN_LAG`] before anything is complete.
fn lag_seconds(complete_through: Option<DateTime<Utc>>, now: DateTime<Utc>) -> f64 {
    complete_through.map_or(UNKNOWN_LAG, |through| age_seconds(through, now))
}

fn age_seconds(since: DateTime<Utc>, now: DateTime<Utc>) -> f64 {
    (now - since).as_seconds_f64().max(0.0)
}

async fn count_open(ledger: &LedgerContext) -> Result<(), StoreError> {
    let open: BTreeMap<ExceptionKind, i64> =
        postgres::open_exceptions(&ledger.store).await?.into_iter().collect();
    for kind in ExceptionKind::iter() {
        let count = open.get(&kind).copied().unwrap_or(0);
        gauge!(names::EXCEPTIONS_OPEN, "kind" => kind.as_str()).set(count as f64);
    }
    let postponed = postgres::postponed_work(&ledger.store).await?;
    gauge!(names::LEDGER_POSTPONED, "work" => "call").set(postponed.calls as f64);
    gauge!(names::LEDGER_POSTPONED, "work" => "merge").set(postponed.merges as f64);
    Ok(())
}

async fn report_ages(
    ledger: &LedgerContext,
    complete_through: Option<DateTime<Utc>>,
    now: DateTime<Utc>,
) -> Result<(), StoreError> {
    let oldest = ledger.store.oldest_in_spool().await?;
    // An empty spool is no age.
    gauge!(names::SPOOL_AGE_SECONDS).set(oldest.map_or(0.0, |oldest| age_seconds(oldest, now)));
    gauge!(names::LEDGER_LAG_SECONDS).set(lag_seconds(complete_through, now));
    Ok(())
}

async fn reconcile_sources(
    tx: &mut Tx<'_>,
    max_silence: TimeDelta,
    known_through: Option<DateTime<Utc>>,
    now: DateTime<Utc>,
) -> Result<ExceptionCounts, StoreError> {
    let deliveries = postgres::last_deliveries(tx).await?;
    let mut expected: BTreeMap<String, Vec<ExpectedException>> = BTreeMap::new();
    for delivery in &deliveries {
        let silent = silent(delivery, max_silence, now);
        expected.entry(delivery.tenant.clone()).or_default().extend(silent);
    }
    for run in postgres::last_rejections(tx).await? {
        let last = last_delivery(&deliveries, &run.tenant, &run.source);
        let Some(silent_from) = silent_from(&run, last, known_through) else {
            continue;
        };
        postgres::record_silence(tx, &run, silent_from).await?;
        let rejected = rejected(&run, silent_from, now);
        expected.entry(run.tenant).or_default().extend(rejected);
    }
    let mut existing = postgres::exceptions_of_sources(tx).await?;
    for tenant in existing.keys() {
        expected.entry(tenant.clone()).or_default();
    }
    let mut counts = ExceptionCounts::default();
    for (tenant, expected) in expected {
        let existing = existing.remove(&tenant).unwrap_or_default();
        let steps = reconcile(&existing, &expected).into_iter();
        let steps = steps.map(|step| {
            let line = if step.is_expected() {
                HistoryLine::of(step.content.sentence(), step.content)
            } else {
                line_of_ended(&tenant, step.content, &deliveries)
            };
            ExceptionStep::new(&step, None, Some(line))
        });
        counts.add(&write_steps(tx, &tenant, steps.collect(), now).await?);
    }
    Ok(counts)
}

fn silent(
    delivery: &LastDelivery,
    max_silence: TimeDelta,
    now: DateTime<Utc>,
) -> Option<ExpectedException> {
    (now - delivery.last_used_at > max_silence)
        .then(|| ExpectedException::silent_source(&delivery.source, delivery.last_used_at))
}

/// The instant since which the source of rejected deliveries delivered nothing else, if they may be
/// its own.
fn silent_from(
    run: &RejectionRun,
    last_accepted: Option<DateTime<Utc>>,
    known_through: Option<DateTime<Utc>>,
) -> Option<DateTime<Utc>> {
    let millis = |at: DateTime<Utc>| at.timestamp_millis();
    let series = RejectionSeries {
        started_at: millis(run.started_at),
        ended_at: millis(run.ended_at),
        deliveries: run.deliveries.unsigned_abs(),
    };
    let silence = series.beside_silence(last_accepted.map(millis), known_through.map(millis))?;
    DateTime::from_timestamp_millis(silence.from())
}

fn rejected(
    run: &RejectionRun,
    silent_from: DateTime<Utc>,
    now: DateTime<Utc>,
) -> Option<ExpectedException> {
    (now - run.ended_at <= REJECTION_PERIOD)
        .then(|| ExpectedException::rejected_credentials(&run.source, &run.reason, silent_from))
}

fn last_delivery(deliveries: &[LastDelivery], tenant: &str, source: &str) -> Option<DateTime<Utc>> {
    let mut of_source = deliveries.iter();
    of_source.find(|it| it.tenant == tenant && it.source == source).map(|it| it.last_used_at)
}

/// The history line of an exception that is no longer expected.
fn line_of_ended(
    tenant: &str,
    ended: &ExpectedException,
    deliveries: &[LastDelivery],
) -> HistoryLine {
    let source = ended.source().unwrap_or_default();
    let last = last_delivery(deliveries, tenant, source)
        .map(|last| last.to_rfc3339_opts(SecondsFormat::Millis, true));
    let reason = match (&last, ended.kind) {
        (None, ExceptionKind::RejectedCredentials) => {
            "no delivery of the source was rejected for this reason for an hour".to_owned()
        }
        (Some(last), ExceptionKind::RejectedCredentials) => format!(
            "the source delivered at {last}, or no delivery of it was rejected for this reason for an hour"
        ),
        (Some(last), _) => format!("the source delivered at {last}"),
        (None, _) => "no delivery of the source is known".to_owned(),
    };
    let facts = json!({ "last_at": last });
    HistoryLine { reason, facts, version: None }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_lag_is_unknown_before_anything_is_complete() {
        assert!(lag_seconds(None, at(2)).is_nan());
        assert_eq!(lag_seconds(Some(at(1)), at(2)), 3600.0);
        assert_eq!(lag_seconds(Some(at(3)), at(2)), 0.0);
    }

    fn at(hour: i64) -> DateTime<Utc> {
        DateTime::from_timestamp(hour * 3600, 0).unwrap()
    }

    #[test]
    fn a_source_is_silent_after_the_configured_time_without_a_delivery() {
        let delivery = LastDelivery {
            tenant: "contoso".to_owned(),
            source: "eg".to_owned(),
            last_used_at: at(0),
        };
        assert_eq!(silent(&delivery, TimeDelta::hours(24), at(24)), None);
        let expected = silent(&delivery, TimeDelta::hours(24), at(25)).unwrap();
        assert_eq!(
            expected.sentence(),
            "No event of eg has arrived since 1970-01-01T00:00:00.000Z."
        );
    }

    #[test]
    fn a_source_is_rejected_until_an_hour_after_the_last_rejection() {
        let run = RejectionRun {
            tenant: "contoso".to_owned(),
            source: "eg".to_owned(),
            reason: "wrong_key".to_owned(),
            started_at: at(0),
            ended_at: at(5),
            deliveries: 12,
        };
        let since = silent_from(&run, Some(at(1)), Some(at(5))).unwrap();
        assert_eq!(since, at(1));
        let expected = rejected(&run, since, at(6)).unwrap();
        assert_eq!(expected.subject, "eg wrong_key");
        assert_eq!(expected.facts["started_at"], "1970-01-01T01:00:00.000Z");
        assert_eq!(rejected(&run, since, at(7)), None);
    }
}
