//! Exceptions that are recorded when something occurs: a quarantine, a gap of the log, a wrong
//! clock.
//!
//! Each stands for all occurrences of its subject since it was opened: later ones are counted, and
//! open it again if it was closed.

use chrono::{DateTime, SecondsFormat, Utc};
use serde_json::{Map, Value, json};

use super::{ExceptionKind, ExistingException, ExpectedException};

/// Something that occurred, once or several times.
#[derive(Clone, Debug)]
pub struct Occurrence {
    /// The kind of the exception.
    pub kind: ExceptionKind,
    /// Distinguishes it from others of its kind.
    pub subject: String,
    /// The call, where it is known.
    pub call: Option<String>,
    /// The number of occurrences.
    pub count: u64,
    /// The first occurrence.
    pub first_at: DateTime<Utc>,
    /// The last occurrence.
    pub last_at: DateTime<Utc>,
    facts: Map<String, Value>,
}

impl Occurrence {
    /// One occurrence at an instant.
    #[must_use]
    pub fn once(kind: ExceptionKind, facts: Value, at: DateTime<Utc>) -> Self {
        let facts = super::expected::members(facts);
        let subject = kind.subject(&facts);
        Self { kind, subject, call: None, count: 1, first_at: at, last_at: at, facts }
    }

    /// Counts another occurrence of the same subject.
    pub fn merge(&mut self, other: &Self) {
        self.count += other.count;
        self.first_at = self.first_at.min(other.first_at);
        self.last_at = self.last_at.max(other.last_at);
    }

    /// The exception that is expected after this occurrence, beside the existing one of its subject.
    #[must_use]
    pub fn added_to(&self, existing: Option<&ExistingException>) -> ExpectedException {
        let before = existing.map(|existing| &existing.content.facts);
        let counted = before.and_then(|facts| facts.get("count")?.as_u64());
        let since = before.and_then(|facts| facts.get("first_at")?.as_str());
        let first = text(self.first_at);
        let first = since.map_or(first.as_str(), |since| since.min(&first));
        let mut facts = self.facts.clone();
        facts.insert("count".to_owned(), json!(counted.unwrap_or(0) + self.count));
        facts.insert("first_at".to_owned(), json!(first));
        facts.insert("last_at".to_owned(), json!(text(self.last_at)));
        ExpectedException { kind: self.kind, subject: self.subject.clone(), at: None, facts }
    }
}

/// With a fixed number of digits, so that the order of the texts is that of the instants.
fn text(at: DateTime<Utc>) -> String {
    at.to_rfc3339_opts(SecondsFormat::Micros, true)
}

#[cfg(test)]
mod tests {
    use uuid::Uuid;

    use super::*;
    use crate::exception::{ExceptionChange, ExceptionState, reconcile};

    fn occurred(second: i64) -> Occurrence {
        let at = |second| DateTime::from_timestamp(second, 0).unwrap();
        let facts = json!({ "source": "eg", "reason": "not_json" });
        let mut occurrence = Occurrence::once(ExceptionKind::Quarantine, facts.clone(), at(second));
        occurrence.merge(&Occurrence::once(ExceptionKind::Quarantine, facts, at(second + 1)));
        occurrence
    }

    #[test]
    fn a_repetition_is_counted_and_reopens_a_closed_exception() {
        let first = occurred(100).added_to(None);
        assert_eq!(first.subject, "eg not_json");
        let existing =
            |state| ExistingException { id: Uuid::from_u128(1), state, content: first.clone() };
        let open = existing(ExceptionState::Open);
        let again = occurred(50).added_to(Some(&open));
        assert_eq!(again.facts["count"], 4);
        assert_eq!(again.facts["first_at"], "1970-01-01T00:00:50.000000Z");
        assert_eq!(again.facts["last_at"], "1970-01-01T00:00:51.000000Z");
        for (state, change) in [
            (ExceptionState::Open, ExceptionChange::Changed),
            (ExceptionState::ClosedByHand, ExceptionChange::Reopened),
            (ExceptionState::Resolved, ExceptionChange::Reopened),
        ] {
            let existing = [existing(state)];
            let steps = reconcile(&existing, std::slice::from_ref(&again));
            assert_eq!(steps.len(), 1);
            assert_eq!(steps[0].change, change);
        }
    }
}
