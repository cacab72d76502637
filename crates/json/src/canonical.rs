//! The canonical form of a JSON value; two contents are compared by its digest (`ONCE`).
//!
//! Members are sorted by the bytes of their names; duplicates keep their order. There is no white
//! space. A string is escaped only where necessary. A number stays as written. An event that is
//! delivered again has the same canonical form, however white space and escapes differ.

use std::fmt::Write as _;

use super::entry::ValueKind;
use super::index::{ValueRef, string_units};

/// The canonical form of a value.
#[must_use]
pub fn canonical_text(value: ValueRef<'_>) -> String {
    let mut text = String::with_capacity(value.range().len());
    write(&mut text, value);
    text
}

/// The recursion is limited by [`super::entry::MAX_DEPTH`].
fn write(text: &mut String, value: ValueRef<'_>) {
    match value.kind() {
        ValueKind::Object => {
            let names = value.members().map(|(name, _)| name.decoded());
            if names.is_sorted() {
                write_members(text, value.members());
            } else {
                let mut members = Vec::with_capacity(16);
                members.extend(value.members().map(|it| (it.0.decoded(), it)));
                members.sort_by(|(one, _), (other, _)| one.cmp(other));
                write_members(text, members.into_iter().map(|(_, member)| member));
            }
        }
        ValueKind::Array => {
            text.push('[');
            for (index, element) in value.elements().enumerate() {
                if index > 0 {
                    text.push(',');
                }
                write(text, element);
            }
            text.push(']');
        }
        ValueKind::String => write_string(text, value),
        _ => text.push_str(value.raw()),
    }
}

fn write_members<'d>(
    text: &mut String,
    members: impl Iterator<Item = (ValueRef<'d>, ValueRef<'d>)>,
) {
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

fn write_string(text: &mut String, value: ValueRef<'_>) {
    if !value.is_escaped() {
        text.push_str(value.raw());
        return;
    }
    text.push('"');
    for unit in string_units(value.body()) {
        match unit {
            Ok(special @ ('"' | '\\')) => text.extend(['\\', special]),
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
    use super::*;
    use crate::index::JsonIndex;
    use proptest::prelude::*;

    fn canonical(text: &str) -> String {
        let mut canonical = String::new();
        write(&mut canonical, JsonIndex::parse(text).unwrap().root());
        canonical
    }

    #[test]
    fn white_space_order_and_escapes_make_no_difference() {
        assert_eq!(
            canonical(
                "{ \"b\" : [1.50, \"\\u002B\\/\\u0001\"],\n \"a\":{\"\\u0063\":null}, \"b\":true }"
            ),
            "{\"a\":{\"c\":null},\"b\":[1.50,\"+/\\u0001\"],\"b\":true}"
        );
    }

    #[test]
    fn different_lone_surrogates_stay_different() {
        assert_eq!(canonical("\"\\uD800\\uDC00\\ud800\""), "\"\u{10000}\\ud800\"");
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
