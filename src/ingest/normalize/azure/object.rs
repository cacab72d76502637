//! An object of an event whose members may be missing, null, of another name or of another type.
//!
//! A null member is missing. A member with another type than documented is a [`QuarantineReason`] with
//! its JSON pointer, because a guessed value may be wrong.

use std::borrow::Cow;

use crate::ingest::quarantine::{ParseResult, QuarantineReason};
use onrecord_evidence::event::instant::{Millis, parse_source_time};
use onrecord_json::{ValueKind, ValueRef};

/// An object of an event. It may be missing; then all its members are.
pub(crate) struct AzureObject<'d, 'p> {
    value: Option<ValueRef<'d>>,
    parent: Option<&'p AzureObject<'d, 'p>>,
    /// The steps of the pointer from the parent: the name of a member as written, and the index of
    /// an element in it. The event itself has none.
    name: Option<Cow<'d, str>>,
    index: Option<usize>,
}

impl<'d> AzureObject<'d, '_> {
    /// The event itself.
    pub(crate) fn event(value: ValueRef<'d>) -> Self {
        Self { value: Some(value), parent: None, name: None, index: None }
    }

    /// The object that is the event's `data`, as written or decoded.
    pub(crate) fn data(value: Option<ValueRef<'d>>) -> Self {
        Self { value, parent: None, name: Some(Cow::Borrowed("data")), index: None }
    }

    /// Whether the object exists.
    pub(crate) fn is_present(&self) -> bool {
        self.value.is_some()
    }

    /// Whether a member with one of the names exists.
    pub(crate) fn has(&self, names: &[&'static str]) -> bool {
        self.find(names).is_some()
    }

    /// A string.
    pub(crate) fn text(&self, names: &[&'static str]) -> ParseResult<Option<Cow<'d, str>>> {
        let found = self.of_kind(names, &[ValueKind::String], "a string")?;
        Ok(found.map(|value| value.decoded()))
    }

    /// A string, owned.
    pub(crate) fn string(&self, names: &[&'static str]) -> ParseResult<Option<String>> {
        Ok(self.text(names)?.map(Cow::into_owned))
    }

    /// `true` or `false`.
    pub(crate) fn boolean(&self, names: &[&'static str]) -> ParseResult<Option<bool>> {
        let found = self.of_kind(names, &[ValueKind::True, ValueKind::False], "true or false")?;
        Ok(found.map(|value| value.kind() == ValueKind::True))
    }

    /// A whole number; `2.0` and `2e0` are whole.
    pub(crate) fn integer(&self, names: &[&'static str]) -> ParseResult<Option<i64>> {
        const EXPECTED: &str = "a whole number";
        let Some(value) = self.of_kind(names, &[ValueKind::Number], EXPECTED)? else {
            return Ok(None);
        };
        if let Ok(number) = value.raw().parse::<i64>() {
            return Ok(Some(number));
        }
        let number = value.raw().parse::<f64>().unwrap_or(f64::INFINITY);
        let pointer = || self.pointer_to(names);
        // Floating point represents whole numbers exactly up to 2^53.
        if number.abs() > 9_007_199_254_740_992.0 {
            return Err(QuarantineReason::OutOfRange { pointer: pointer() });
        }
        if number.fract() != 0.0 {
            return Err(QuarantineReason::WrongType { pointer: pointer(), expected: EXPECTED });
        }
        Ok(Some(number as i64))
    }

    /// A number.
    pub(crate) fn number(&self, names: &[&'static str]) -> ParseResult<Option<f64>> {
        let found = self.of_kind(names, &[ValueKind::Number], "a number")?;
        let number = found.map(|value| value.raw().parse::<f64>().unwrap_or(f64::INFINITY));
        if number.is_some_and(f64::is_infinite) {
            return Err(QuarantineReason::OutOfRange { pointer: self.pointer_to(names) });
        }
        Ok(number)
    }

    /// A time in milliseconds; `None` for text that is not a time.
    pub(crate) fn time(&self, names: &[&'static str]) -> ParseResult<Option<Millis>> {
        let text = self.text(names)?;
        Ok(text.and_then(|text| parse_source_time(&text)).map(|time| time.timestamp_millis()))
    }

    /// A string, or a number as written; `None` for other kinds.
    pub(crate) fn scalar(&self, name: &'static str) -> Option<String> {
        let (_, value) = self.value?.member(name)?;
        match value.kind() {
            ValueKind::String => Some(value.decoded().into_owned()),
            ValueKind::Number => Some(value.raw().to_owned()),
            _ => None,
        }
    }

    /// An object, which may be missing.
    pub(crate) fn object<'s>(&'s self, names: &[&'static str]) -> ParseResult<AzureObject<'d, 's>> {
        let value = self.of_kind(names, &[ValueKind::Object], "an object")?;
        let name = Some(self.name_of(names));
        Ok(AzureObject { value, parent: Some(self), name, index: None })
    }

    /// The objects of an array, each with an error if it is not an object; `None` if the array is
    /// missing.
    pub(crate) fn objects<'s>(
        &'s self,
        names: &[&'static str],
    ) -> ParseResult<Option<impl Iterator<Item = ParseResult<AzureObject<'d, 's>>>>> {
        let Some(array) = self.of_kind(names, &[ValueKind::Array], "an array")? else {
            return Ok(None);
        };
        let name = self.name_of(names);
        Ok(Some(array.elements().enumerate().map(move |(index, value)| {
            let element = AzureObject {
                value: Some(value),
                parent: Some(self),
                name: Some(name.clone()),
                index: Some(index),
            };
            if value.kind() == ValueKind::Object {
                return Ok(element);
            }
            let pointer = element.pointer();
            Err(QuarantineReason::WrongType { pointer, expected: "an object" })
        })))
    }

    /// The reason that a mandatory member is missing.
    pub(crate) fn missing(&self, name: &'static str) -> QuarantineReason {
        QuarantineReason::Missing { pointer: self.pointer_to(&[name]) }
    }

    /// The JSON pointer of the member with one of these names.
    pub(crate) fn pointer_to(&self, names: &[&'static str]) -> String {
        let mut pointer = self.pointer();
        push_step(&mut pointer, &self.name_of(names));
        pointer
    }

    /// The JSON pointer of the object.
    fn pointer(&self) -> String {
        let mut pointer = self.parent.map(AzureObject::pointer).unwrap_or_default();
        if let Some(name) = &self.name {
            push_step(&mut pointer, name);
        }
        if let Some(index) = self.index {
            push_step(&mut pointer, &index.to_string());
        }
        pointer
    }

    fn name_of(&self, names: &[&'static str]) -> Cow<'d, str> {
        match self.find(names) {
            Some((name, _)) => name.decoded(),
            None => Cow::Borrowed(names.first().copied().unwrap_or_default()),
        }
    }

    /// The member with the first name that exists.
    fn find(&self, names: &[&'static str]) -> Option<(ValueRef<'d>, ValueRef<'d>)> {
        let value = self.value?;
        names.iter().find_map(|name| value.member(name))
    }

    fn of_kind(
        &self,
        names: &[&'static str],
        kinds: &[ValueKind],
        expected: &'static str,
    ) -> ParseResult<Option<ValueRef<'d>>> {
        match self.find(names) {
            Some((_, value)) if !kinds.contains(&value.kind()) => {
                Err(QuarantineReason::WrongType { pointer: self.pointer_to(names), expected })
            }
            found => Ok(found.map(|(_, value)| value)),
        }
    }
}

fn push_step(pointer: &mut String, step: &str) {
    pointer.push('/');
    pointer.push_str(&step.replace('~', "~0").replace('/', "~1"));
}

#[cfg(test)]
mod tests {
    use super::*;
    use onrecord_json::JsonIndex;

    fn wrong(pointer: &str, expected: &'static str) -> QuarantineReason {
        QuarantineReason::WrongType { pointer: pointer.to_owned(), expected }
    }

    #[test]
    fn missing_and_null_members_are_none_at_any_depth() {
        let index = JsonIndex::parse(r#"{"a":null}"#).unwrap();
        let event = AzureObject::event(index.root());
        assert_eq!(event.text(&["a"]), Ok(None));
        let deep = event.object(&["a"]).unwrap();
        assert_eq!(deep.object(&["b"]).unwrap().integer(&["c"]), Ok(None));
    }

    #[test]
    fn a_wrong_type_is_reported_with_its_pointer_as_written() {
        let index = JsonIndex::parse(
            r#"{"data":{"Participants":[{"identifier":{"rawId":"a"}},{"identifier":{"rawId":7}},3]}}"#,
        )
        .unwrap();
        let event = AzureObject::event(index.root());
        assert_eq!(event.text(&["data"]), Err(wrong("/data", "a string")));
        let data = event.object(&["data"]).unwrap();
        let entries: Vec<_> = data.objects(&["participants"]).unwrap().unwrap().collect();
        let second = entries[1].as_ref().unwrap().object(&["identifier"]).unwrap();
        assert_eq!(
            second.text(&["rawId"]),
            Err(wrong("/data/Participants/1/identifier/rawId", "a string"))
        );
        assert_eq!(entries[2].as_ref().err(), Some(&wrong("/data/Participants/2", "an object")));
    }

    #[test]
    fn numbers_that_cannot_be_represented_are_out_of_range() {
        let index = JsonIndex::parse(
            r#"{"a":7,"b":2.0,"c":2.5,"d":1e999,"e":9223372036854775808,"f":-9223372036854775808}"#,
        )
        .unwrap();
        let event = AzureObject::event(index.root());
        let out_of_range =
            |pointer: &str| QuarantineReason::OutOfRange { pointer: pointer.to_owned() };
        assert_eq!(event.integer(&["a"]), Ok(Some(7)));
        assert_eq!(event.integer(&["b"]), Ok(Some(2)));
        assert_eq!(event.integer(&["c"]), Err(wrong("/c", "a whole number")));
        assert_eq!(event.integer(&["d"]), Err(out_of_range("/d")));
        assert_eq!(event.integer(&["e"]), Err(out_of_range("/e")));
        assert_eq!(event.integer(&["f"]), Ok(Some(i64::MIN)));
        assert_eq!(event.number(&["c"]), Ok(Some(2.5)));
        assert_eq!(event.number(&["d"]), Err(out_of_range("/d")));
    }

    #[test]
    fn the_first_name_that_exists_is_used() {
        let index = JsonIndex::parse(r#"{"endpointType":"x","time":"soon"}"#).unwrap();
        let event = AzureObject::event(index.root());
        assert_eq!(event.string(&["userAgent", "endpointType"]), Ok(Some("x".to_owned())));
        assert_eq!(event.time(&["time"]), Ok(None));
    }
}
