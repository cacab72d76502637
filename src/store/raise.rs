//! Exceptions that are noted when something happens: a quarantine, a gap of the log, a clock.
//!
//! Each stands for everything of its subject that happened since it was opened: what comes later is
//! counted, and opens it again if somebody had closed it.

use chrono::{DateTime, SecondsFormat, Utc};
use serde_json::{Map, Value, json};
use sqlx::PgConnection;
use uuid::Uuid;

use super::StoreError;
use super::exception::{
    ExceptionStep, ExceptionTally, StoredException, Turn, exceptions_of_subjects,
    store_exception_steps,
};
use crate::domain::exception::{ExceptionKind, Standing};

/// Something that happened.
#[derive(Clone, Debug)]
pub struct Raised {
    pub kind: ExceptionKind,
    pub subject: String,
    pub call: Option<String>,
    pub source: Option<String>,
    /// How often.
    pub count: u64,
    pub first: DateTime<Utc>,
    pub last: DateTime<Utc>,
    /// What else is to be known of it.
    pub facts: Map<String, Value>,
    /// Each time is a line of the story.
    pub is_told: bool,
}

impl Raised {
    fn step(&self, before: Option<&StoredException>) -> ExceptionStep {
        let facts = self.facts_after(before.map(|stored| &stored.known.facts));
        let turn = match before.map(|stored| stored.known.standing) {
            None => Some(Turn::Opened),
            Some(Standing::Open) => self.is_told.then_some(Turn::Changed),
            Some(Standing::ClosedByHand | Standing::Cured) => Some(Turn::Reopened),
        };
        ExceptionStep {
            id: before.map_or_else(Uuid::now_v7, |stored| stored.known.id),
            kind: self.kind,
            call: self.call.clone(),
            source: self.source.clone(),
            subject: self.subject.clone(),
            at: None,
            told: Value::Object(facts.clone()),
            facts,
            turn,
            reason: "it happened".to_owned(),
            version: None,
        }
    }

    fn facts_after(&self, before: Option<&Map<String, Value>>) -> Map<String, Value> {
        let counted = before.and_then(|facts| facts.get("count")?.as_u64());
        let since = before.and_then(|facts| facts.get("first")?.as_str());
        let first = text(self.first);
        let first = since.map_or(first.clone(), |since| first.min(since.to_owned()));
        let mut facts = self.facts.clone();
        facts.insert("count".to_owned(), json!(counted.unwrap_or(0) + self.count));
        facts.insert("first".to_owned(), json!(first));
        facts.insert("last".to_owned(), json!(text(self.last)));
        facts
    }
}

/// In one form, so that the earlier text is the earlier instant.
fn text(at: DateTime<Utc>) -> String {
    at.to_rfc3339_opts(SecondsFormat::Micros, true)
}

/// Notes what happened to a tenant.
///
/// # Errors
///
/// [`StoreError`].
pub async fn raise(
    connection: &mut PgConnection,
    tenant: &str,
    raised: &[Raised],
    now: DateTime<Utc>,
) -> Result<ExceptionTally, StoreError> {
    let mut tally = ExceptionTally::default();
    let mut kinds: Vec<ExceptionKind> = raised.iter().map(|one| one.kind).collect();
    kinds.sort_unstable();
    kinds.dedup();
    for kind in kinds {
        let mut left: Vec<&Raised> = raised.iter().filter(|one| one.kind == kind).collect();
        // One that another transaction opens at the same time is there at the second look.
        while !left.is_empty() {
            let subjects: Vec<&str> = left.iter().map(|one| one.subject.as_str()).collect();
            let there = exceptions_of_subjects(connection, tenant, kind, &subjects).await?;
            let steps: Vec<ExceptionStep> = left
                .iter()
                .map(|one| {
                    let before = there
                        .iter()
                        .find(|stored| stored.known.subject == one.subject);
                    one.step(before)
                })
                .collect();
            let refused = store_exception_steps(connection, tenant, &steps, now).await?;
            let (refused, done): (Vec<ExceptionStep>, Vec<ExceptionStep>) = steps
                .into_iter()
                .partition(|step| refused.contains(&step.id));
            tally.add(&ExceptionTally::of(&done));
            left.retain(|one| refused.iter().any(|step| step.subject == one.subject));
        }
    }
    Ok(tally)
}

/// Everybody whose record the deployment keeps.
///
/// # Errors
///
/// [`StoreError`].
pub async fn tenants(connection: &mut PgConnection) -> Result<Vec<String>, StoreError> {
    Ok(sqlx::query_scalar(
        "select tenant from source_use union select tenant from api_key where revoked is null order by 1",
    )
    .fetch_all(connection)
    .await?)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::exception::Known;

    fn at(second: i64) -> DateTime<Utc> {
        DateTime::from_timestamp(second, 0).unwrap()
    }

    fn raised(second: i64, is_told: bool) -> Raised {
        Raised {
            kind: ExceptionKind::Quarantine,
            subject: "eg not_json".to_owned(),
            call: None,
            source: Some("eg".to_owned()),
            count: 2,
            first: at(second),
            last: at(second + 1),
            facts: Map::new(),
            is_told,
        }
    }

    fn stored(step: &ExceptionStep, standing: Standing) -> StoredException {
        StoredException {
            tenant: "contoso".to_owned(),
            call: None,
            source: None,
            known: Known {
                id: step.id,
                kind: step.kind,
                subject: step.subject.clone(),
                at: None,
                facts: step.facts.clone(),
                standing,
            },
        }
    }

    #[test]
    fn what_happens_again_is_counted_and_opens_what_was_closed() {
        let first = raised(100, false).step(None);
        assert_eq!(first.turn, Some(Turn::Opened));
        let open = stored(&first, Standing::Open);
        let again = raised(50, false).step(Some(&open));
        assert_eq!((again.id, again.turn), (first.id, None));
        assert_eq!(again.facts["count"], 4);
        assert_eq!(again.facts["first"], "1970-01-01T00:00:50.000000Z");
        let told = raised(200, true).step(Some(&open));
        assert_eq!(told.turn, Some(Turn::Changed));
        let closed = stored(&first, Standing::ClosedByHand);
        let reopened = raised(200, false).step(Some(&closed));
        assert_eq!(reopened.turn, Some(Turn::Reopened));
    }
}
