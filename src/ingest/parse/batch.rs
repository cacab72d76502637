//! Splits the body of a delivery into its elements.
//!
//! # Why
//!
//! One broken element must not affect the others of its batch. If an element is not JSON, its end is
//! found by brackets and quotation marks alone. If the brackets are not balanced, no element of the
//! body is reliable, and the body is kept whole.

use onrecord_json::{JsonError, JsonIndex, MAX_VALUES, WHITESPACE};

/// Maximum elements of a delivery. Event Grid sends at most 5,000.
pub(crate) const MAX_ELEMENTS: usize = 10_000;

/// The structure of a body.
#[derive(Debug)]
pub(crate) enum BatchBody<'t> {
    /// One value that is not an array.
    Single(JsonIndex<'t>),
    /// The elements of an array.
    Batch(Vec<BatchElement<'t>>),
}

/// One element of a batch.
#[derive(Debug)]
pub(crate) enum BatchElement<'t> {
    /// A JSON value.
    Value(JsonIndex<'t>),
    /// An element that is not JSON, or exceeds a limit.
    Broken { text: &'t str, error: JsonError },
}

/// Why a body cannot be split.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum BatchError {
    /// The body is not JSON, and its elements cannot be separated.
    NotJson(JsonError),
    /// An array with more than [`MAX_ELEMENTS`].
    TooManyElements,
}

impl<'t> BatchBody<'t> {
    /// Splits a text.
    ///
    /// # Errors
    ///
    /// [`BatchError`]: the text can only be kept whole.
    pub(crate) fn parse(text: &'t str) -> Result<Self, BatchError> {
        let value = text.trim_start_matches(WHITESPACE);
        match value.strip_prefix('[') {
            Some(first) => Self::batch(text, first),
            None => JsonIndex::parse(text)
                .map(Self::Single)
                .map_err(BatchError::NotJson),
        }
    }

    fn batch(text: &'t str, first: &'t str) -> Result<Self, BatchError> {
        let broken_at = |rest: &str| {
            BatchError::NotJson(JsonError::Syntax {
                at: text.len() - rest.len(),
            })
        };
        let mut elements = Vec::new();
        let mut values = 0;
        let mut rest = first.trim_start_matches(WHITESPACE);
        if let Some(after) = rest.strip_prefix(']') {
            return end_of(after)
                .map(|()| Self::Batch(elements))
                .ok_or_else(|| broken_at(after));
        }
        loop {
            if elements.len() == MAX_ELEMENTS {
                return Err(BatchError::TooManyElements);
            }
            let (element, after) = element(rest).ok_or_else(|| broken_at(rest))?;
            // All elements are in memory at once, so their values are counted together.
            if let BatchElement::Value(index) = &element {
                values += index.value_count();
            }
            if values > MAX_VALUES {
                return Err(BatchError::NotJson(JsonError::Values));
            }
            elements.push(element);
            let after = after.trim_start_matches(WHITESPACE);
            if let Some(next) = after.strip_prefix(',') {
                rest = next.trim_start_matches(WHITESPACE);
                continue;
            }
            let after = after.strip_prefix(']').ok_or_else(|| broken_at(after))?;
            end_of(after).ok_or_else(|| broken_at(after))?;
            return Ok(Self::Batch(elements));
        }
    }
}

/// `Some` if only white space is left.
fn end_of(rest: &str) -> Option<()> {
    rest.trim_start_matches(WHITESPACE).is_empty().then_some(())
}

/// The element that `text` begins with, and the rest; `None` if its end is unknown.
fn element(text: &str) -> Option<(BatchElement<'_>, &str)> {
    match JsonIndex::parse_prefix(text) {
        Ok((index, rest)) if ends_element(rest) => Some((BatchElement::Value(index), rest)),
        Ok((index, _)) => broken(
            text,
            JsonError::Syntax {
                at: index.text().len(),
            },
        ),
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

    fn shapes(text: &str) -> Result<Vec<Result<&str, &str>>, BatchError> {
        match BatchBody::parse(text)? {
            BatchBody::Single(_) => panic!("{text} is not an array"),
            BatchBody::Batch(elements) => Ok(elements
                .into_iter()
                .map(|element| match element {
                    BatchElement::Value(index) => Ok(index.text()),
                    BatchElement::Broken { text, .. } => Err(text),
                })
                .collect()),
        }
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
            assert!(
                matches!(shapes(text), Err(BatchError::NotJson(_))),
                "{text}"
            );
        }
    }

    #[test]
    fn an_array_above_the_maximum_of_elements_cannot_be_split() {
        let numbers = |count: usize| format!("[0{}]", ",0".repeat(count - 1));
        assert_eq!(
            shapes(&numbers(MAX_ELEMENTS)).map(|elements| elements.len()),
            Ok(MAX_ELEMENTS)
        );
        assert_eq!(
            shapes(&numbers(MAX_ELEMENTS + 1)),
            Err(BatchError::TooManyElements)
        );
    }

    #[test]
    fn the_values_of_all_elements_are_counted_together() {
        let element = format!("[0{}]", ",0".repeat(999));
        let batch = |count: usize| format!("[{}]", vec![element.as_str(); count].join(","));
        assert!(shapes(&batch(500)).is_ok());
        assert_eq!(
            shapes(&batch(600)),
            Err(BatchError::NotJson(JsonError::Values))
        );
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
