//! The difference of two reports on one call, and the facts that are new between them.
//!
//! # Why
//!
//! *Reports are compared as JSON*: a stored one may be of an older version of the rules, with
//! members that no type of ours has any more.
//!
//! *Like is compared with like.* An earlier start moves `due`, and with it every obligation; to say
//! that all are gone and as many are new would hide what happened. So what has no counterpart of the
//! same name is compared with the next one of the same session and type.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;

use serde::Serialize;
use serde_json::{Map, Value};

use super::fact::Fact;
use super::obligation::Obligation;

/// One thing that two reports state differently.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Change {
    /// Where it stands: members parted by `/`, the elements of a list by what names them, as in the
    /// later report.
    pub path: String,
    /// What the earlier report states. None: nothing.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub before: Option<Value>,
    /// What the later report states. None: nothing.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub after: Option<Value>,
}

impl Change {
    /// Whether it is a change of how an obligation stands.
    #[must_use]
    pub fn is_about(&self, obligation: &Obligation) -> bool {
        let Obligation {
            session,
            capture,
            due,
            ..
        } = obligation;
        let name = format!("{session} {} {due}", capture.as_str());
        self.path
            .strip_prefix("obligations/")
            .and_then(|path| path.strip_prefix(&name))
            .is_some_and(|rest| rest.is_empty() || rest.starts_with('/'))
    }
}

impl fmt::Display for Change {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let path = &self.path;
        match (&self.before, &self.after) {
            (Some(before), Some(after)) => write!(f, "{path} was {before}, is {after}"),
            (None, Some(after)) => write!(f, "{path} is new: {after}"),
            (Some(before), None) => write!(f, "{path} is gone: {before}"),
            (None, None) => write!(f, "{path} is as it was"),
        }
    }
}

/// What is different in the `later` of two reports. Empty: they are equal.
#[must_use]
pub fn difference(earlier: &Value, later: &Value) -> Vec<Change> {
    let mut changes = Vec::new();
    compare(String::new(), Some(earlier), Some(later), &mut changes);
    changes
}

/// The facts that are new since there were only those of the ids `earlier`, each once, by id.
#[must_use]
pub fn new_facts<'f>(
    earlier: &BTreeSet<&str>,
    later: impl IntoIterator<Item = &'f Fact>,
) -> Vec<&'f Fact> {
    let mut new: Vec<&Fact> = later
        .into_iter()
        .filter(|fact| !earlier.contains(fact.id()))
        .collect();
    new.sort_unstable_by_key(|fact| fact.id());
    new.dedup_by_key(|fact| fact.id());
    new
}

fn compare(path: String, before: Option<&Value>, after: Option<&Value>, changes: &mut Vec<Change>) {
    match (before, after) {
        (Some(before), Some(after)) if before == after => {}
        (Some(Value::Object(before)), Some(Value::Object(after))) => {
            members(&path, before, after, changes);
        }
        (Some(Value::Array(before)), Some(Value::Array(after))) => {
            elements(&path, before, after, changes);
        }
        (None, None) => {}
        _ => changes.push(Change {
            path,
            before: before.cloned(),
            after: after.cloned(),
        }),
    }
}

fn members(
    path: &str,
    before: &Map<String, Value>,
    after: &Map<String, Value>,
    changes: &mut Vec<Change>,
) {
    let names: BTreeSet<&String> = before.keys().chain(after.keys()).collect();
    for name in names {
        compare(
            below(path, name),
            before.get(name),
            after.get(name),
            changes,
        );
    }
}

/// Compares what has the same name; then, in order, what is about the same; what is left is gone or
/// new.
fn elements(path: &str, before: &[Value], after: &[Value], changes: &mut Vec<Change>) {
    let mut before: Vec<Option<&Value>> = before.iter().map(Some).collect();
    let mut partners: Vec<Option<&Value>> = vec![None; after.len()];
    for likeness in [name as fn(&Value) -> String, subject] {
        let mut waiting: BTreeMap<String, Vec<usize>> = BTreeMap::new();
        for (index, element) in before.iter().enumerate().rev() {
            if let Some(element) = element {
                waiting.entry(likeness(element)).or_default().push(index);
            }
        }
        for (element, partner) in after.iter().zip(&mut partners) {
            if partner.is_none()
                && let Some(indices) = waiting.get_mut(&likeness(element))
                && let Some(index) = indices.pop()
            {
                *partner = before[index].take();
            }
        }
    }
    for (element, partner) in after.iter().zip(partners) {
        compare(below(path, &name(element)), partner, Some(element), changes);
    }
    for gone in before.into_iter().flatten() {
        compare(below(path, &name(gone)), Some(gone), None, changes);
    }
}

fn below(path: &str, name: &str) -> String {
    if path.is_empty() {
        return name.to_owned();
    }
    format!("{path}/{name}")
}

/// What tells an element of a report's lists from the others: session, type, and when it begins.
fn name(element: &Value) -> String {
    named_by(element, &["session", "type", "start", "due"])
}

/// What an element is about.
fn subject(element: &Value) -> String {
    named_by(element, &["session", "type"])
}

fn named_by(element: &Value, members: &[&str]) -> String {
    let Some(object) = element.as_object() else {
        return match element {
            Value::String(text) => text.clone(),
            other => other.to_string(),
        };
    };
    let names: Vec<String> = members
        .iter()
        .filter_map(|member| object.get(*member))
        .map(|value| match value {
            Value::String(text) => text.clone(),
            other => other.to_string(),
        })
        .collect();
    names.join(" ")
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::domain::fact::FactKind;

    fn sentences(earlier: &Value, later: &Value) -> Vec<String> {
        let changes = difference(earlier, later);
        changes.iter().map(ToString::to_string).collect()
    }

    fn obligation(session: &str, due: i64, status: &str) -> Value {
        json!({"session": session, "type": "recording", "due": due, "status": status})
    }

    #[test]
    fn equal_reports_differ_in_nothing() {
        let report = json!({"verdict": "PENDING", "obligations": [obligation("a", 5, "MET")]});
        assert_eq!(difference(&report, &report), []);
    }

    #[test]
    fn what_was_and_what_is_stand_beside_each_other() {
        let earlier = json!({
            "verdict": "COMPLIANT", "call": {"end": null}, "flags": ["START_INFERRED"],
            "obligations": [obligation("a", 5, "MET"), obligation("b", 5, "MET")],
        });
        let later = json!({
            "verdict": "EXCEPTIONS", "call": {"end": 90}, "flags": ["STOP_INFERRED:r1"],
            "obligations": [obligation("a", 5, "MET"), obligation("b", 5, "LATE")],
        });
        let expected = [
            "call/end was null, is 90",
            "flags/STOP_INFERRED:r1 is new: \"STOP_INFERRED:r1\"",
            "flags/START_INFERRED is gone: \"START_INFERRED\"",
            "obligations/b recording 5/status was \"MET\", is \"LATE\"",
            "verdict was \"COMPLIANT\", is \"EXCEPTIONS\"",
        ];
        assert_eq!(sentences(&earlier, &later), expected);
    }

    #[test]
    fn an_obligation_that_moved_is_compared_with_what_it_was() {
        let earlier =
            json!({"obligations": [obligation("a", 60, "MET"), obligation("a", 90, "MET")]});
        let later =
            json!({"obligations": [obligation("a", 50, "LATE"), obligation("a", 90, "MET")]});
        let expected = [
            "obligations/a recording 50/due was 60, is 50",
            "obligations/a recording 50/status was \"MET\", is \"LATE\"",
        ];
        assert_eq!(sentences(&earlier, &later), expected);
    }

    #[test]
    fn what_has_no_counterpart_is_new_or_gone() {
        let none = json!({"obligations": []});
        let one = json!({"obligations": [obligation("a", 60, "MET")]});
        assert_eq!(difference(&none, &one)[0].before, None);
        assert_eq!(difference(&one, &none)[0].after, None);
        assert_eq!(difference(&none, &one).len(), 1);
    }

    #[test]
    fn new_facts_are_listed_once() {
        let facts = ["b", "a", "c", "b"].map(|id| Fact::new(id, 1, FactKind::CallStarted));
        let new = new_facts(&BTreeSet::from(["c"]), &facts);
        assert_eq!(
            new.iter().map(|fact| fact.id()).collect::<Vec<_>>(),
            ["a", "b"]
        );
    }
}
