//! What the sentences of exceptions say besides the facts that an exception rests on: who the persons
//! are, and when the call began.
//!
//! # Why
//!
//! A name or the start of a call may become known late. Neither is a reason to reopen an exception
//! that an auditor closed. So both stand beside the facts, and are left out where these are compared.

use std::collections::BTreeMap;

use serde_json::{Map, Value, json};

use super::ExpectedException;
use super::kind::{CALL_STARTED_AT, PERSON, PERSONS};
use crate::event::instant::{self, Millis};

/// Describes the call of an exception.
#[derive(Clone, Debug, Default)]
pub struct CallDescription {
    started_at: Option<String>,
    /// The name of the person of each session.
    persons: BTreeMap<String, String>,
}

impl CallDescription {
    /// Describes a call that started at this instant (Unix milliseconds) by the name of the person of
    /// each session.
    #[must_use]
    pub fn new(started_at: Millis, persons: BTreeMap<String, String>) -> Self {
        Self { started_at: instant::text(started_at), persons }
    }

    /// Adds the description to an exception.
    #[must_use]
    pub fn describe(&self, mut exception: ExpectedException) -> ExpectedException {
        let facts = &mut exception.facts;
        if let Some(started_at) = &self.started_at {
            facts.insert(CALL_STARTED_AT.to_owned(), json!(started_at));
        }
        let person = |session: &str| self.persons.get(session);
        if let Some(person) = facts.get("session").and_then(Value::as_str).and_then(person) {
            facts.insert(PERSON.to_owned(), json!(person));
        }
        if let Some(Value::Array(reporters)) = facts.get("reporters") {
            let named = reporters.iter().filter_map(Value::as_str).map(|stated| {
                let (session, level) = stated.rsplit_once(": ").unwrap_or((stated, "unknown"));
                let person = person(session).map_or(session, String::as_str);
                format!("{person}: {level}")
            });
            let named: Vec<String> = named.collect();
            facts.insert(PERSONS.to_owned(), json!(named));
        }
        exception
    }
}

/// Whether two exceptions rest on the same facts, whatever describes them.
pub(super) fn rest_on_same_facts(one: &Map<String, Value>, other: &Map<String, Value>) -> bool {
    let is_fact = |(name, _): &(&String, &Value)| {
        ![PERSON, PERSONS, CALL_STARTED_AT].contains(&name.as_str())
    };
    one.iter().filter(is_fact).eq(other.iter().filter(is_fact))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::exception::ExceptionKind;
    use crate::exception::expected::members;

    fn description() -> CallDescription {
        let persons = [("a", "Ada Lindqvist"), ("b", "ACS user …77e1")];
        let persons = persons.map(|(session, name)| (session.to_owned(), name.to_owned()));
        CallDescription::new(1_000, BTreeMap::from(persons))
    }

    fn exception(kind: ExceptionKind, facts: Value) -> ExpectedException {
        let facts = members(facts);
        ExpectedException { kind, subject: kind.subject(&facts), at: None, facts }
    }

    #[test]
    fn a_sentence_names_the_person_and_the_time_of_the_call() {
        let facts =
            json!({"session": "a", "type": "recording", "due_at": "1970-01-01T00:00:02.000Z"});
        let plain = exception(ExceptionKind::NotSent, facts);
        let described = description().describe(plain.clone());
        assert_eq!(
            described.sentence(),
            "In the call of 1970-01-01T00:00:01.000Z: Ada Lindqvist was captured (recording) from 1970-01-01T00:00:02.000Z on, and no notice was sent."
        );
        assert_eq!(described.subject, plain.subject);
        assert!(rest_on_same_facts(&described.facts, &plain.facts));
        let facts = json!({"type": "recording", "started_at": "1970-01-01T00:00:03.000Z", "reporters": ["a: on", "b: off", "c: on"]});
        let described =
            description().describe(exception(ExceptionKind::DisagreeingReporters, facts));
        assert_eq!(
            described.sentence(),
            "In the call of 1970-01-01T00:00:01.000Z: From 1970-01-01T00:00:03.000Z on clients stated different levels of the recording: Ada Lindqvist: on, ACS user …77e1: off, c: on."
        );
    }

    #[test]
    fn other_facts_are_compared() {
        let facts = |session: &str| members(json!({"session": session, "person": "Ada"}));
        assert!(!rest_on_same_facts(&facts("a"), &facts("b")));
        assert!(!rest_on_same_facts(&facts("a"), &members(json!({"person": "Ada"}))));
    }
}
