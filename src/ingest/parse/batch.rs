//! Splits the body of a delivery into its elements.
//!
//! # Why
//!
//! One broken element must not affect the others of its batch. If an element is not JSON, its end is
//! found by brackets and quotation marks alone. If the brackets are not balanced, no element of the
//! body is reliable, and the body is kept whole.

use onrecord_json::{JsonError, JsonIndex, MAX_VALUES, WHITESPACE};

use crate::ingest::quarantine::{ParseResult, QuarantineReason};

/// Maximum elements of a delivery. Event Grid sends at most 5,000.
pub(crate) const MAX_ELEMENTS: usize = 10_000;

/// One element of a batch.
#[derive(Debug)]
pub(crate) enum BatchElement<'t> {
    /// A JSON value.
    Value(JsonIndex<'t>),
    /// An element that is not JSON, or exceeds a limit.
    Broken { text: &'t str, error: JsonError },
}

/// Splits a body: the elements of an array, or the only value.
///
/// # Errors
///
/// [`QuarantineReason`]: the text can only be kept whole.
pub(crate) fn split_batch(text: &str) -> ParseResult<Vec<BatchElement<'_>>> {
    let Some(first) = text.trim_start_matches(WHITESPACE).strip_prefix('[') else {
        return Ok(vec![BatchElement::Value(JsonIndex::parse(text)?)]);
    };
    let broken_at = |rest: &str| QuarantineReason::NotJson { at: text.len() - rest.len() };
    let mut elements = Vec::new();
    let mut values = 0;
    let mut rest = first.trim_start_matches(WHITESPACE);
    let mut after_array = rest.strip_prefix(']');
    while after_array.is_none() {
        if elements.len() == MAX_ELEMENTS {
            return Err(QuarantineReason::TooManyElements { max: MAX_ELEMENTS });
        }
        let (element, after) = element(rest).ok_or_else(|| broken_at(rest))?;
        // All elements are in memory at once, so their values are counted together.
        if let BatchElement::Value(index) = &element {
            values += index.value_count();
        }
        if values > MAX_VALUES {
            return Err(QuarantineReason::TooManyValues);
        }
        elements.push(element);
        rest = after.trim_start_matches(WHITESPACE);
        match rest.strip_prefix(',') {
            Some(next) => rest = next.trim_start_matches(WHITESPACE),
            None => after_array = Some(rest.strip_prefix(']').ok_or_else(|| broken_at(rest))?),
        }
    }
    let after_array = after_array.unwrap_or_default();
    if !after_array.trim_start_matches(WHITESPACE).is_empty() {
        return Err(broken_at(after_array));
    }
    Ok(elements)
}

/// The element that `text` begins with, and the rest; `None` if its end is unknown.
fn element(text: &str) -> Option<(BatchElement<'_>, &str)> {
    match JsonIndex::parse_prefix(text) {
        Ok((index, rest)) if ends_element(rest) => Some((BatchElement::Value(index), rest)),
        Ok((index, _)) => broken(text, JsonError::Syntax { at: index.text().len() }),
        Err(error) => broken(text, error),
    }
}

fn ends_element(rest: &str) -> bool {
    rest.trim_start_matches(WHITESPACE).starts_with([',', ']'])
}

fn broken(text: &str, error: JsonError) -> Option<(BatchElement<'_>, &str)> {
    let (broken, rest) = text.split_at_checked(end_by_brackets(text)?)?;
    let text = broken.trim_end_matches(WHITESPACE);
    Some((BatchElement::Broken { text, error }, rest))
}

/// The offset of the first comma or closing bracket outside of strings and brackets.
fn end_by_brackets(text: &str) -> Option<usize> {
    let mut open = 0_usize;
    let mut in_string = false;
    let mut bytes = text.bytes().enumerate();
    while let Some((at, byte)) = bytes.next() {
        match byte {
            b'"' => in_string = !in_string,
            b'\\' if in_string => {
                bytes.next();
            }
            _ if in_string => {}
            b'{' | b'[' => open += 1,
            b',' | b']' if open == 0 => return Some(at),
            b'}' | b']' => open = open.checked_sub(1)?,
            _ => {}
        }
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn shapes(text: &str) -> ParseResult<Vec<Result<&str, &str>>> {
        let shapes = split_batch(text)?.into_iter().map(|element| match element {
            BatchElement::Value(index) => Ok(index.text()),
            BatchElement::Broken { text, .. } => Err(text),
        });
        Ok(shapes.collect())
    }

    #[test]
    fn an_array_is_split_into_its_elements() {
        assert_eq!(shapes(" [ ] "), Ok(vec![]));
        assert_eq!(
            shapes("[ {\"a\":[1]} ,\n2,\"]\"]\n"),
            Ok(vec![Ok("{\"a\":[1]}"), Ok("2"), Ok("\"]\"")])
        );
    }

    #[test]
    fn a_broken_element_does_not_affect_the_others() {
        assert_eq!(
            shapes(r#"[{"a":1}, {"a":01,"b":"]},{"} ,{"a":,}, tru, {"b":2}]"#),
            Ok(vec![
                Ok(r#"{"a":1}"#),
                Err(r#"{"a":01,"b":"]},{"}"#),
                Err(r#"{"a":,}"#),
                Err("tru"),
                Ok(r#"{"b":2}"#)
            ])
        );
        assert_eq!(
            shapes("[{\"a\":1} x, {\"b\":2}]"),
            Ok(vec![Err("{\"a\":1} x"), Ok("{\"b\":2}")])
        );
        assert_eq!(shapes("[1,,2]"), Ok(vec![Ok("1"), Err(""), Ok("2")]));
    }

    #[test]
    fn a_body_with_unbalanced_brackets_cannot_be_split() {
        for text in [
            "[",
            "[{\"a\":1}",
            "[{\"a\":1},",
            "[{\"a\":1}]]",
            "[{\"a\":\"b\"c\"}, {}]",
            "[{\"a\":1}}, {}]",
        ] {
            assert!(matches!(shapes(text), Err(QuarantineReason::NotJson { .. })), "{text}");
        }
    }

    #[test]
    fn an_array_above_the_maximum_of_elements_cannot_be_split() {
        let numbers = |count: usize| format!("[0{}]", ",0".repeat(count - 1));
        assert_eq!(shapes(&numbers(MAX_ELEMENTS)).map(|elements| elements.len()), Ok(MAX_ELEMENTS));
        assert_eq!(
            shapes(&numbers(MAX_ELEMENTS + 1)),
            Err(QuarantineReason::TooManyElements { max: MAX_ELEMENTS })
        );
    }

    #[test]
    fn the_values_of_all_elements_are_counted_together() {
        let element = format!("[0{}]", ",0".repeat(999));
        let batch = |count: usize| format!("[{}]", vec![element.as_str(); count].join(","));
        assert!(shapes(&batch(500)).is_ok());
        assert_eq!(shapes(&batch(600)), Err(QuarantineReason::TooManyValues));
    }

    proptest! {
        #[test]
        fn no_element_is_lost_or_invented(
            elements in prop::collection::vec(r#"\{"[a-z]":"[^"\\\x00-\x1f]{0,8}"\}|[0-9]x|\{:\[,\]\}"#, 1..20),
        ) {
            let text = format!("[{}]", elements.join(" ,\n"));
            let found: Vec<String> = shapes(&text).unwrap().into_iter().map(|shape| match shape {
                Ok(text) | Err(text) => text.to_owned(),
            }).collect();
            prop_assert_eq!(found, elements);
        }
    }
}
