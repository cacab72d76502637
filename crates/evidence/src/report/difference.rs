//! The difference of two reports on one call.
//!
//! # Why
//!
//! *Reports are compared as JSON.* A stored report may be of an older version of the rules, with
//! members that no type has any more.
//!
//! *An obligation that moved is compared with itself.* An earlier start moves `due_at` of every
//! obligation; to list all of them as removed and as many as new would hide what happened. So an
//! element without a counterpart of the same name is compared with the next one of the same session
//! and type.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;

use serde::Serialize;
use serde_json::{Map, Value};

use super::obligation::Obligation;
use crate::fact::kinds::JsonWord as _;

/// One value that differs between two reports.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct ReportChange {
    /// The path of the value: members separated by `/`, elements of a list by their name in the later
    /// report (session, type and start).
    pub path: String,
    /// The value in the earlier report. None: absent.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub before: Option<Value>,
    /// The value in the later report. None: absent.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub after: Option<Value>,
}

impl ReportChange {
    /// Whether it is a change of this obligation.
    #[must_use]
    pub fn is_about(&self, obligation: &Obligation) -> bool {
        let Obligation { session, capture_type, due_at, .. } = obligation;
        let name = format!("{session} {} {due_at}", capture_type.as_str());
        self.path
            .strip_prefix("obligations/")
            .and_then(|path| path.strip_prefix(&name))
            .is_some_and(|rest| rest.is_empty() || rest.starts_with('/'))
    }
}

impl fmt::Display for ReportChange {
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

/// The differences of the `later` report from the `earlier` one. Empty: they are equal.
#[must_use]
pub fn difference(earlier: &Value, later: &Value) -> Vec<ReportChange> {
    let mut changes = Vec::new();
    compare(String::new(), Some(earlier), Some(later), &mut changes);
    changes
}

fn compare(
    path: String,
    before: Option<&Value>,
    after: Option<&Value>,
    changes: &mut Vec<ReportChange>,
) {
    match (before, after) {
        (Some(before), Some(after)) if before == after => {}
        (Some(Value::Object(before)), Some(Value::Object(after))) => {
            members(&path, before, after, changes);
        }
        (Some(Value::Array(before)), Some(Value::Array(after))) => {
            elements(&path, before, after, changes);
        }
        (None, None) => {}
        _ => changes.push(ReportChange { path, before: before.cloned(), after: after.cloned() }),
    }
}

fn members(
    path: &str,
    before: &Map<String, Value>,
    after: &Map<String, Value>,
    changes: &mut Vec<ReportChange>,
) {
    let names: BTreeSet<&String> = before.keys().chain(after.keys()).collect();
    for name in names {
        compare(below(path, name), before.get(name), after.get(name), changes);
    }
}

/// Compares elements of the same name; then, in order, those of the same session and type; the rest
/// is removed or new.
fn elements(path: &str, before: &[Value], after: &[Value], changes: &mut Vec<ReportChange>) {
    let mut before: Vec<Option<&Value>> = before.iter().map(Some).collect();
    let mut counterparts: Vec<Option<&Value>> = vec![None; after.len()];
    for key in [name as fn(&Value) -> String, |it| named_by(it, &["session", "type"])] {
        let mut unmatched: BTreeMap<String, Vec<usize>> = BTreeMap::new();
        for (index, element) in before.iter().enumerate().rev() {
            if let Some(element) = element {
                unmatched.entry(key(element)).or_default().push(index);
            }
        }
        for (element, counterpart) in after.iter().zip(&mut counterparts) {
            if counterpart.is_none()
                && let Some(indices) = unmatched.get_mut(&key(element))
                && let Some(index) = indices.pop()
            {
                *counterpart = before[index].take();
            }
        }
    }
    for (element, counterpart) in after.iter().zip(counterparts) {
        let path = below(path, &name(element));
        compare(path, counterpart, Some(element), changes);
    }
    for removed in before.into_iter().flatten() {
        compare(below(path, &name(removed)), Some(removed), None, changes);
    }
}

fn below(path: &str, name: &str) -> String {
    if path.is_empty() {
        return name.to_owned();
    }
    format!("{path}/{name}")
}

/// The name of an element of a list: session, type, and start or due time.
fn name(element: &Value) -> String {
    named_by(element, &["session", "type", "started_at", "due_at"])
}

fn named_by(element: &Value, members: &[&str]) -> String {
    let text = |value: &Value| value.as_str().map_or_else(|| value.to_string(), str::to_owned);
    let Some(object) = element.as_object() else {
        return text(element);
    };
    let names = members.iter().filter_map(|member| object.get(*member)).map(text);
    names.collect::<Vec<_>>().join(" ")
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn sentences(earlier: &Value, later: &Value) -> Vec<String> {
        let changes = difference(earlier, later);
        changes.iter().map(ToString::to_string).collect()
    }

    fn obligation(session: &str, due: i64, status: &str) -> Value {
        json!({"session": session, "type": "recording", "due_at": due, "status": status})
    }

    #[test]
    fn equal_reports_have_no_difference() {
        let report = json!({"verdict": "PENDING", "obligations": [obligation("a", 5, "MET")]});
        assert_eq!(difference(&report, &report), []);
    }

    #[test]
    fn a_change_has_the_value_before_and_after() {
        let earlier = json!({
            "verdict": "COMPLIANT", "call": {"ended_at": null}, "flags": ["START_INFERRED"],
            "obligations": [obligation("a", 5, "MET"), obligation("b", 5, "MET")],
        });
        let later = json!({
            "verdict": "EXCEPTIONS", "call": {"ended_at": 90}, "flags": ["STOP_INFERRED:r1"],
            "obligations": [obligation("a", 5, "MET"), obligation("b", 5, "LATE")],
        });
        let expected = [
            "call/ended_at was null, is 90",
            "flags/STOP_INFERRED:r1 is new: \"STOP_INFERRED:r1\"",
            "flags/START_INFERRED is gone: \"START_INFERRED\"",
            "obligations/b recording 5/status was \"MET\", is \"LATE\"",
            "verdict was \"COMPLIANT\", is \"EXCEPTIONS\"",
        ];
        assert_eq!(sentences(&earlier, &later), expected);
    }

    #[test]
    fn an_obligation_that_moved_is_compared_with_itself() {
        let earlier =
            json!({"obligations": [obligation("a", 60, "MET"), obligation("a", 90, "MET")]});
        let later =
            json!({"obligations": [obligation("a", 50, "LATE"), obligation("a", 90, "MET")]});
        let expected = [
            "obligations/a recording 50/due_at was 60, is 50",
            "obligations/a recording 50/status was \"MET\", is \"LATE\"",
        ];
        assert_eq!(sentences(&earlier, &later), expected);
    }

    #[test]
    fn an_element_without_counterpart_is_new_or_removed() {
        let none = json!({"obligations": []});
        let one = json!({"obligations": [obligation("a", 60, "MET")]});
        assert_eq!(difference(&none, &one)[0].before, None);
        assert_eq!(difference(&one, &none)[0].after, None);
        assert_eq!(difference(&none, &one).len(), 1);
    }
}
