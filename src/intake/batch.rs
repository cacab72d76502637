//! A delivery's body, taken apart into its elements.
//!
//! # Why
//!
//! One broken element must not take its batch with it. Where an element is no JSON, the next one
//! is looked for by brackets and quotes alone; if the brackets do not come out even, nothing of
//! the body can be trusted and it is kept whole.

use super::json::{BLANKS, Document, Fault, MOST_VALUES};

/// More elements than this are no delivery: Event Grid sends 5,000 at most.
pub(super) const MOST_ELEMENTS: usize = 10_000;

/// What a body is.
#[derive(Debug)]
pub(super) enum Body<'t> {
    /// One value that is no array.
    Single(Document<'t>),
    /// The elements of an array.
    Batch(Vec<Element<'t>>),
}

/// One element of a batch.
#[derive(Debug)]
pub(super) enum Element<'t> {
    Value(Document<'t>),
    /// Not JSON that we take.
    Faulty {
        text: &'t str,
        fault: Fault,
    },
}

/// Why a body cannot be taken apart.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Indivisible {
    Faulty(Fault),
    /// An array with more than [`MOST_ELEMENTS`].
    TooMany,
}

impl<'t> Body<'t> {
    /// Takes a text apart.
    ///
    /// # Errors
    ///
    /// [`Indivisible`]: it can only be kept whole.
    pub(super) fn of(text: &'t str) -> Result<Self, Indivisible> {
        let value = text.trim_start_matches(BLANKS);
        match value.strip_prefix('[') {
            Some(first) => Self::batch(text, first),
            None => Document::parse(text)
                .map(Self::Single)
                .map_err(Indivisible::Faulty),
        }
    }

    fn batch(text: &'t str, first: &'t str) -> Result<Self, Indivisible> {
        let broken_at = |rest: &str| {
            Indivisible::Faulty(Fault::Syntax {
                at: text.len() - rest.len(),
            })
        };
        let mut elements = Vec::new();
        let mut values = 0;
        let mut rest = first.trim_start_matches(BLANKS);
        if let Some(after) = rest.strip_prefix(']') {
            return end_of(after)
                .map(|()| Self::Batch(elements))
                .ok_or_else(|| broken_at(after));
        }
        loop {
            if elements.len() == MOST_ELEMENTS {
                return Err(Indivisible::TooMany);
            }
            let (element, after) = element(rest).ok_or_else(|| broken_at(rest))?;
            // All elements are held at once, so they are counted together.
            if let Element::Value(document) = &element {
                values += document.values();
            }
            if values > MOST_VALUES {
                return Err(Indivisible::Faulty(Fault::Values));
            }
            elements.push(element);
            let after = after.trim_start_matches(BLANKS);
            if let Some(next) = after.strip_prefix(',') {
                rest = next.trim_start_matches(BLANKS);
                continue;
            }
            let after = after.strip_prefix(']').ok_or_else(|| broken_at(after))?;
            end_of(after).ok_or_else(|| broken_at(after))?;
            return Ok(Self::Batch(elements));
        }
    }
}

/// Nothing but blanks is left.
fn end_of(rest: &str) -> Option<()> {
    rest.trim_start_matches(BLANKS).is_empty().then_some(())
}

/// The element that `text` begins with, and what follows it; `None` if its end cannot be told.
fn element(text: &str) -> Option<(Element<'_>, &str)> {
    match Document::read(text) {
        Ok((document, rest)) if ends_element(rest) => Some((Element::Value(document), rest)),
        Ok((document, _)) => faulty(
            text,
            Fault::Syntax {
                at: document.text().len(),
            },
        ),
        Err(fault) => faulty(text, fault),
    }
}

fn ends_element(rest: &str) -> bool {
    rest.trim_start_matches(BLANKS).starts_with([',', ']'])
}

fn faulty(text: &str, fault: Fault) -> Option<(Element<'_>, &str)> {
    let (broken, rest) = text.split_at_checked(end_by_brackets(text)?)?;
    let text = broken.trim_end_matches(BLANKS);
    Some((Element::Faulty { text, fault }, rest))
}

/// Where the first comma or closing bracket is that is in no string and in no bracket.
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

    fn shapes(text: &str) -> Result<Vec<Result<&str, &str>>, Indivisible> {
        match Body::of(text)? {
            Body::Single(_) => panic!("{text} is no array"),
            Body::Batch(elements) => Ok(elements
                .into_iter()
                .map(|element| match element {
                    Element::Value(document) => Ok(document.text()),
                    Element::Faulty { text, .. } => Err(text),
                })
                .collect()),
        }
    }

    #[test]
    fn an_array_falls_into_its_elements() {
        assert_eq!(shapes(" [ ] "), Ok(vec![]));
        assert_eq!(
            shapes("[ {\"a\":[1]} ,\n2,\"]\"]\n"),
            Ok(vec![Ok("{\"a\":[1]}"), Ok("2"), Ok("\"]\"")])
        );
    }

    #[test]
    fn a_broken_element_stands_alone() {
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
    fn what_does_not_come_out_even_is_kept_whole() {
        for text in [
            "[",
            "[{\"a\":1}",
            "[{\"a\":1},",
            "[{\"a\":1}]]",
            "[{\"a\":\"b\"c\"}, {}]",
            "[{\"a\":1}}, {}]",
        ] {
            assert!(
                matches!(shapes(text), Err(Indivisible::Faulty(_))),
                "{text}"
            );
        }
    }

    #[test]
    fn an_array_of_ten_thousand_is_taken_and_a_longer_one_is_no_delivery() {
        let numbers = |count: usize| format!("[0{}]", ",0".repeat(count - 1));
        assert_eq!(
            shapes(&numbers(MOST_ELEMENTS)).map(|elements| elements.len()),
            Ok(MOST_ELEMENTS)
        );
        assert_eq!(
            shapes(&numbers(MOST_ELEMENTS + 1)),
            Err(Indivisible::TooMany)
        );
    }

    #[test]
    fn the_values_of_all_elements_are_counted_together() {
        let element = format!("[0{}]", ",0".repeat(999));
        let batch = |count: usize| format!("[{}]", vec![element.as_str(); count].join(","));
        assert!(shapes(&batch(500)).is_ok());
        assert_eq!(shapes(&batch(600)), Err(Indivisible::Faulty(Fault::Values)));
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
