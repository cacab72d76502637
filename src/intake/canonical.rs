//! The canonical form of a JSON text: by its digest two contents are compared (law 4).
//!
//! Members are sorted by the bytes of their names, several of one name in their order; there are
//! no blanks; a text is escaped only where it must be; a number stays as it is written. A redelivered
//! event has the same canonical form whatever its writer's taste in blanks and escapes.

use std::fmt::Write as _;

use super::json::{Kind, Node, Units};
use crate::domain::ids::Digest;

/// The digest of the canonical form.
pub(super) fn digest(node: Node<'_>) -> Digest {
    let mut text = String::with_capacity(node.place().len());
    write(&mut text, node);
    Digest::of(text.as_bytes())
}

/// Recursion ends at [`super::json::DEEPEST`].
fn write(text: &mut String, node: Node<'_>) {
    match node.kind() {
        Kind::Object => {
            let names = node.members().map(|(name, _)| name.decoded());
            if names.is_sorted() {
                write_members(text, node.members());
            } else {
                let mut members = Vec::with_capacity(16);
                members.extend(node.members().map(|it| (it.0.decoded(), it)));
                members.sort_by(|(one, _), (other, _)| one.cmp(other));
                write_members(text, members.into_iter().map(|(_, member)| member));
            }
        }
        Kind::Array => {
            text.push('[');
            for (index, element) in node.elements().enumerate() {
                if index > 0 {
                    text.push(',');
                }
                write(text, element);
            }
            text.push(']');
        }
        Kind::Text => write_string(text, node),
        Kind::Number | Kind::True | Kind::False | Kind::Null => text.push_str(node.raw()),
    }
}

fn write_members<'d>(text: &mut String, members: impl Iterator<Item = (Node<'d>, Node<'d>)>) {
    text.push('{');
    for (index, (name, value)) in members.enumerate() {
        if index > 0 {
            text.push(',');
        }
        write_string(text, name);
        text.push(':');
        write(text, value);
    }
    text.push('}');
}

fn write_string(text: &mut String, node: Node<'_>) {
    let quoted = node.quoted();
    if !node.is_escaped() {
        text.push_str(node.raw());
        return;
    }
    text.push('"');
    for unit in Units::of(quoted) {
        match unit {
            Ok(mark @ ('"' | '\\')) => text.extend(['\\', mark]),
            Ok(character) if character >= ' ' => text.push(character),
            Ok(control) => escape(text, u32::from(control)),
            Err(lone) => escape(text, u32::from(lone)),
        }
    }
    text.push('"');
}

fn escape(text: &mut String, code: u32) {
    // Writing into a `String` cannot fail.
    let _ = write!(text, "\\u{code:04x}");
}

#[cfg(test)]
mod tests {
    use super::super::json::Document;
    use super::*;
    use proptest::prelude::*;

    fn canonical(text: &str) -> String {
        let mut canonical = String::new();
        write(&mut canonical, Document::parse(text).unwrap().root());
        canonical
    }

    #[test]
    fn blanks_order_and_escapes_make_no_difference() {
        assert_eq!(
            canonical(
                "{ \"b\" : [1.50, \"\\u002B\\/\\u0001\"],\n \"a\":{\"\\u0063\":null}, \"b\":true }"
            ),
            "{\"a\":{\"c\":null},\"b\":[1.50,\"+/\\u0001\"],\"b\":true}"
        );
    }

    #[test]
    fn a_lone_surrogate_stays_told_from_others() {
        assert_eq!(
            canonical("\"\\uD800\\uDC00\\ud800\""),
            "\"\u{10000}\\ud800\""
        );
        assert_ne!(canonical("\"\\ud800\""), canonical("\"\\ud801\""));
    }

    proptest! {
        #[test]
        fn the_canonical_form_is_a_fixed_point_that_means_the_same(value in any_json()) {
            let pretty = serde_json::to_string_pretty(&value).unwrap();
            let once = canonical(&pretty);
            prop_assert_eq!(&canonical(&once), &once);
            prop_assert_eq!(serde_json::from_str::<serde_json::Value>(&once).unwrap(), value);
        }
    }

    fn any_json() -> impl Strategy<Value = serde_json::Value> {
        let leaf = prop_oneof![
            Just(serde_json::Value::Null),
            any::<i32>().prop_map(serde_json::Value::from),
            ".{0,6}".prop_map(serde_json::Value::from),
        ];
        leaf.prop_recursive(4, 24, 4, |inner| {
            prop_oneof![
                prop::collection::vec(inner.clone(), 0..4).prop_map(serde_json::Value::from),
                prop::collection::btree_map(".{0,4}", inner, 0..4)
                    .prop_map(|map| serde_json::Value::Object(map.into_iter().collect())),
            ]
        })
    }
}
