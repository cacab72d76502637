//! The lookout: sources that are silent or refused, and how many exceptions are open.
//!
//! # Why
//!
//! Nothing happens when a source falls silent, so somebody must look. It is the node that sweeps,
//! which compares what is called for with what is known, as for a call: so whatever was missed while
//! nobody looked is seen at the next look.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use chrono::{DateTime, SecondsFormat, TimeDelta, Utc};
use futures_util::FutureExt as _;
use metrics::gauge;
use serde_json::{Value, json};

use super::Ledger;
use super::exceptions::{tell, write_steps};
use crate::clock;
use crate::domain::exception::{Called, ExceptionKind};
use crate::store::{self, ExceptionTally, LastWord, RefusalRun, StoreError, StoredException, Work};
use crate::telemetry::names;

/// How often it looks, and how often it counts what is open.
pub(super) const EVERY: Duration = Duration::from_secs(2);
const COUNTED_EVERY: Duration = Duration::from_secs(15);
/// A source that was not refused for so long is refused no more.
const REFUSED_NO_MORE: TimeDelta = TimeDelta::hours(1);

/// Looks once. `counted` is when it last counted what is open.
pub(super) async fn look(ledger: &Ledger, counted: &mut Option<Instant>) -> Result<(), StoreError> {
    let now = clock::now();
    let silence = TimeDelta::from_std(ledger.silence).unwrap_or(TimeDelta::MAX);
    let tally = ledger
        .store
        .run("look out", move |work| {
            async move { settle_sources(work, silence, now).await }.boxed()
        })
        .await?;
    tell(&tally);
    if counted.is_none_or(|counted| counted.elapsed() >= COUNTED_EVERY) {
        *counted = Some(Instant::now());
        count_open(ledger).await?;
    }
    say_how_late(ledger, now).await
}

/// Nobody looks here any more: what was told is another node's to tell.
pub(super) fn rest() {
    for kind in ExceptionKind::ALL {
        gauge!(names::EXCEPTIONS_OPEN, "kind" => kind.as_str()).set(0);
    }
    gauge!(names::SPOOL_AGE).set(0);
    gauge!(names::LEDGER_BEHIND).set(0);
}

async fn count_open(ledger: &Ledger) -> Result<(), StoreError> {
    let open: BTreeMap<ExceptionKind, i64> = store::open_exceptions(&ledger.store)
        .await?
        .into_iter()
        .collect();
    for kind in ExceptionKind::ALL {
        let count = open.get(&kind).copied().unwrap_or(0);
        gauge!(names::EXCEPTIONS_OPEN, "kind" => kind.as_str()).set(count as f64);
    }
    Ok(())
}

async fn say_how_late(ledger: &Ledger, now: DateTime<Utc>) -> Result<(), StoreError> {
    let seconds = |since: Option<DateTime<Utc>>| {
        since.map_or(0.0, |since| (now - since).as_seconds_f64().max(0.0))
    };
    gauge!(names::SPOOL_AGE).set(seconds(ledger.store.oldest_in_spool().await?));
    gauge!(names::LEDGER_BEHIND).set(seconds(store::book_complete_through(&ledger.store).await?));
    Ok(())
}

async fn settle_sources(
    work: &mut Work<'_>,
    silence: TimeDelta,
    now: DateTime<Utc>,
) -> Result<ExceptionTally, StoreError> {
    let words = store::last_words(work).await?;
    let refusals = store::last_refusals(work).await?;
    let mut called: BTreeMap<&str, Vec<Called>> = BTreeMap::new();
    for word in &words {
        let silent = silent(word, silence, now);
        called.entry(&word.tenant).or_default().extend(silent);
    }
    for run in &refusals {
        let refused = refused(run, now);
        called.entry(&run.tenant).or_default().extend(refused);
    }
    let mut there: BTreeMap<String, Vec<StoredException>> = BTreeMap::new();
    for stored in store::exceptions_of_sources(work).await? {
        there.entry(stored.tenant.clone()).or_default().push(stored);
    }
    let tenants = called.keys().map(ToString::to_string);
    let tenants: Vec<String> = tenants.chain(there.keys().cloned()).collect();
    let mut tally = ExceptionTally::default();
    for tenant in std::collections::BTreeSet::from_iter(tenants) {
        let called = called.remove(tenant.as_str()).unwrap_or_default();
        let stored = there.remove(&tenant).unwrap_or_default();
        let steps = super::exceptions::steps(&stored, &called, None, |one| cure(one, &words));
        tally.add(&write_steps(work, &tenant, steps, now).await?);
    }
    Ok(tally)
}

fn silent(word: &LastWord, silence: TimeDelta, now: DateTime<Utc>) -> Option<Called> {
    (now - word.last > silence).then(|| Called {
        kind: ExceptionKind::SilentSource,
        subject: word.source.clone(),
        at: None,
        facts: facts(json!({ "source": word.source, "last": text(word.last) })),
    })
}

fn refused(run: &RefusalRun, now: DateTime<Utc>) -> Option<Called> {
    (now - run.until <= REFUSED_NO_MORE).then(|| Called {
        kind: ExceptionKind::RefusedCredentials,
        subject: format!("{} {}", run.source, run.reason),
        at: None,
        facts: facts(json!({
            "source": run.source, "reason": run.reason, "since": text(run.since),
        })),
    })
}

/// Why an exception of a source is called for no more.
fn cure(stored: &StoredException, words: &[LastWord]) -> (String, Value) {
    if stored.known.kind == ExceptionKind::RefusedCredentials {
        let reason = "nothing of the source was refused for this reason for an hour";
        return (reason.to_owned(), json!({}));
    }
    let spoke = words
        .iter()
        .find(|word| word.tenant == stored.tenant && word.source == stored.known.subject)
        .map(|word| text(word.last));
    let told = json!({ "last": spoke });
    let reason = match spoke {
        Some(spoke) => format!("the source spoke at {spoke}"),
        None => "nothing is known of the source any more".to_owned(),
    };
    (reason, told)
}

fn facts(value: Value) -> serde_json::Map<String, Value> {
    value.as_object().cloned().unwrap_or_default()
}

fn text(at: DateTime<Utc>) -> String {
    at.to_rfc3339_opts(SecondsFormat::Millis, true)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(hour: i64) -> DateTime<Utc> {
        DateTime::from_timestamp(hour * 3600, 0).unwrap()
    }

    #[test]
    fn a_source_that_spoke_is_silent_after_the_time_that_was_set() {
        let word = LastWord {
            tenant: "contoso".to_owned(),
            source: "eg".to_owned(),
            last: at(0),
        };
        assert_eq!(silent(&word, TimeDelta::hours(24), at(24)), None);
        let called = silent(&word, TimeDelta::hours(24), at(25)).unwrap();
        assert_eq!(
            called.sentence(),
            "Nothing has come from eg since 1970-01-01T00:00:00.000Z."
        );
    }

    #[test]
    fn a_source_is_refused_until_an_hour_after_the_last_refusal() {
        let run = RefusalRun {
            tenant: "contoso".to_owned(),
            source: "eg".to_owned(),
            reason: "wrong_key".to_owned(),
            since: at(0),
            until: at(5),
        };
        let called = refused(&run, at(6)).unwrap();
        assert_eq!(called.subject, "eg wrong_key");
        assert_eq!(refused(&run, at(7)), None);
    }
}
