//! Checks that every text of a JSON body and of a query can be stored: no NUL, no lone surrogate.
//!
//! # Why
//!
//! PostgreSQL stores neither. A text that a store refuses after the log has taken it would be in the
//! live state and not in the ledger. So it is refused here, for all resources and members.

use std::fmt;

use serde::Deserialize;
use serde::de::{Deserializer, Error, MapAccess, SeqAccess, Visitor};

use super::deserialize::deserialize;
use crate::http::problem::Problem;

const NUL: &str = "a text has no NUL (U+0000), because it could not be stored";

/// Whether a text can be stored.
pub(super) fn is_storable(text: &str) -> bool {
    !text.contains('\0')
}

/// The problem of a text that cannot be stored.
pub(super) fn not_storable(member: &str) -> Problem {
    Problem::invalid(member, NUL)
}

/// Checks all texts and names of a JSON text.
///
/// # Errors
///
/// A problem that names the member by its JSON pointer. A wrong name has the pointer of its object.
pub(super) fn check(json: &[u8]) -> Result<(), Problem> {
    // Only an escape can produce such a character: JSON has no control characters in strings, and
    // UTF-8 no surrogates. Almost no body has one.
    if !json.windows(2).any(|pair| pair == b"\\u") {
        return Ok(());
    }
    deserialize(&mut serde_json::Deserializer::from_slice(json)).map(|StorableValue| ())
}

/// Any JSON value whose texts can be stored. The parser refuses lone surrogates.
struct StorableValue;

impl<'de> Deserialize<'de> for StorableValue {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(StorableVisitor)
    }
}

struct StorableVisitor;

impl<'de> Visitor<'de> for StorableVisitor {
    type Value = StorableValue;

    fn expecting(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str("a JSON value")
    }

    fn visit_str<E: Error>(self, text: &str) -> Result<StorableValue, E> {
        if is_storable(text) { Ok(StorableValue) } else { Err(E::custom(NUL)) }
    }

    fn visit_bool<E: Error>(self, _: bool) -> Result<StorableValue, E> {
        Ok(StorableValue)
    }

    fn visit_i64<E: Error>(self, _: i64) -> Result<StorableValue, E> {
        Ok(StorableValue)
    }

    fn visit_u64<E: Error>(self, _: u64) -> Result<StorableValue, E> {
        Ok(StorableValue)
    }

    fn visit_f64<E: Error>(self, _: f64) -> Result<StorableValue, E> {
        Ok(StorableValue)
    }

    fn visit_unit<E: Error>(self) -> Result<StorableValue, E> {
        Ok(StorableValue)
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut elements: A) -> Result<StorableValue, A::Error> {
        while elements.next_element::<StorableValue>()?.is_some() {}
        Ok(StorableValue)
    }

    fn visit_map<A: MapAccess<'de>>(self, mut members: A) -> Result<StorableValue, A::Error> {
        while let Some(name) = members.next_key::<String>()? {
            if !is_storable(&name) {
                return Err(A::Error::custom(NUL));
            }
            members.next_value::<StorableValue>()?;
        }
        Ok(StorableValue)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn problem_of(json: &str) -> Option<String> {
        check(json.as_bytes()).err().map(|problem| serde_json::to_string(&problem).unwrap())
    }

    #[test]
    fn a_text_that_cannot_be_stored_is_refused_with_the_pointer_of_its_member() {
        for (json, member) in [
            (r#"{"a":[{"b":"x\u0000"}]}"#, "/a/0/b"),
            (r#"{"a/b":"\ud800"}"#, "/a~1b"),
            (r#"{"a":["x","\udc00\ud800"]}"#, "/a/1"),
            (r#"{"a":{"\u0000":1}}"#, "/a"),
            (r#"["\u0000"]"#, "/0"),
            (r#""\u0000""#, ""),
        ] {
            let problem = problem_of(json).unwrap_or_else(|| panic!("{json} is accepted"));
            assert!(problem.contains(&format!("\"member\":\"{member}\"")), "{json}: {problem}");
        }
    }

    #[test]
    fn every_other_text_is_accepted() {
        for json in [
            r#"{"a":["\u00e4\ud83d\ude00\u0001","\\u0000",1,-2,3.5,true,null]}"#,
            r#"{"a":"no escape"}"#,
        ] {
            assert_eq!(problem_of(json), None, "{json}");
        }
    }
}
