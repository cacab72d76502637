//! An object of an event whose members may be missing, null, of another name or of another type.
//!
//! A null member is missing. A member with another type than documented is flagged, and counts as
//! absent unless its text is a value of the right type. Where that would change the meaning of the
//! event, the strict functions return a [`QuarantineReason`] with its JSON pointer instead.

use std::borrow::Cow;

use chrono::{DateTime, Utc};

use super::member_flags::MemberFlags;
use crate::ingest::quarantine::{ParseResult, QuarantineReason};
use onrecord_evidence::event::calling_event::FlagReason;
use onrecord_evidence::event::instant::{Millis, SourceTime, read_source_time};
use onrecord_json::{ValueKind, ValueRef};

/// An object of an event. It may be missing; then all its members are.
pub(crate) struct AzureObject<'d, 'p> {
    value: Option<ValueRef<'d>>,
    parent: Option<&'p AzureObject<'d, 'p>>,
    /// The steps of the pointer from the parent: the name of a member as written, and the index of
    /// an element in it. The event itself has none.
    name: Option<Cow<'d, str>>,
    index: Option<usize>,
    /// What is wrong with members of the event.
    flags: &'p MemberFlags,
}

impl<'d, 'p> AzureObject<'d, 'p> {
    /// The event itself.
    pub(crate) fn event(value: ValueRef<'d>, flags: &'p MemberFlags) -> Self {
        Self { value: Some(value), parent: None, name: None, index: None, flags }
    }

    /// The object that is the event's `data`, as written or decoded.
    pub(crate) fn data(value: Option<ValueRef<'d>>, flags: &'p MemberFlags) -> Self {
        Self { value, parent: None, name: Some(Cow::Borrowed("data")), index: None, flags }
    }
}

impl<'d> AzureObject<'d, '_> {
    /// Whether the object exists.
    pub(crate) fn is_present(&self) -> bool {
        self.value.is_some()
    }

    /// Whether a member with one of the names exists.
    pub(crate) fn has(&self, names: &[&'static str]) -> bool {
        self.find(names).is_some()
    }

    /// A string of any length, without what no store holds.
    pub(crate) fn text(&self, names: &[&'static str]) -> Option<Cow<'d, str>> {
        let value = self.of_kind(names, &[ValueKind::String])?;
        Some(self.replaced(names, value))
    }

    /// The same, or a reason if it has another type.
    pub(crate) fn strict_text(&self, names: &[&'static str]) -> ParseResult<Option<Cow<'d, str>>> {
        let found = self.strict(names, &[ValueKind::String], "a string")?;
        Ok(found.map(|value| self.replaced(names, value)))
    }

    /// A string as it is stored: not longer than the maximum.
    pub(crate) fn short_text(&self, names: &[&'static str]) -> Option<Cow<'d, str>> {
        let text = self.text(names)?;
        Some(self.shortened(names, text))
    }

    /// The name of a person, as it is stored: NUL is no part of it.
    pub(crate) fn name(&self, names: &[&'static str]) -> Option<String> {
        let value = self.of_kind(names, &[ValueKind::String])?;
        let written = value.decoded();
        if !written.contains('\0') {
            return self.string(names);
        }
        self.flag(names, FlagReason::Replaced);
        let name = self.shortened(names, written.replace('\0', "").into());
        Some(name.into_owned())
    }

    /// A string as it is stored, owned.
    pub(crate) fn string(&self, names: &[&'static str]) -> Option<String> {
        self.short_text(names).map(Cow::into_owned)
    }

    fn replaced(&self, names: &[&'static str], value: ValueRef<'d>) -> Cow<'d, str> {
        let text = value.decoded();
        if !value.is_escaped() {
            return text;
        }
        if value.has_lone_surrogate() {
            self.flag(names, FlagReason::Replaced);
        }
        self.flags.replaced(text, || self.pointer_to(names))
    }

    /// A text of the member, not longer than the maximum.
    pub(crate) fn shortened<'t>(&self, names: &[&'static str], text: Cow<'t, str>) -> Cow<'t, str> {
        self.flags.shortened(text, || self.pointer_to(names))
    }

    /// `true` or `false`.
    pub(crate) fn boolean(&self, names: &[&'static str]) -> Option<bool> {
        const KINDS: [ValueKind; 3] = [ValueKind::True, ValueKind::False, ValueKind::String];
        let value = self.of_kind(names, &KINDS)?;
        if value.kind() != ValueKind::String {
            return Some(value.kind() == ValueKind::True);
        }
        self.flag(names, FlagReason::WrongType);
        value.decoded().to_ascii_lowercase().parse().ok()
    }

    /// A whole number; `2.0` and `2e0` are whole.
    pub(crate) fn integer(&self, names: &[&'static str]) -> Option<i64> {
        let raw = self.number_text(names)?;
        if let Ok(number) = raw.parse::<i64>() {
            return Some(number);
        }
        let number = raw.parse::<f64>().ok()?;
        // Floating point represents whole numbers exactly up to 2^53.
        if number.abs() > 9_007_199_254_740_992.0 {
            self.flag(names, FlagReason::OutOfRange);
            return None;
        }
        if number.fract() != 0.0 {
            self.flag(names, FlagReason::WrongType);
            return None;
        }
        Some(number as i64)
    }

    /// A length in milliseconds: a whole number from 0 to `max`.
    pub(crate) fn length_ms(&self, names: &[&'static str], max: i64) -> Option<i64> {
        let length = self.integer(names)?;
        let is_length = (0..=max).contains(&length);
        if !is_length {
            self.flag(names, FlagReason::OutOfRange);
        }
        is_length.then_some(length)
    }

    /// A number.
    pub(crate) fn number(&self, names: &[&'static str]) -> Option<f64> {
        let number = self.number_text(names)?.parse::<f64>().ok()?;
        if number.is_infinite() {
            self.flag(names, FlagReason::OutOfRange);
            return None;
        }
        Some(number)
    }

    /// A number as it is written, also in a text.
    fn number_text(&self, names: &[&'static str]) -> Option<Cow<'d, str>> {
        let value = self.of_kind(names, &[ValueKind::Number, ValueKind::String])?;
        if value.kind() == ValueKind::Number {
            return Some(Cow::Borrowed(value.raw()));
        }
        self.flag(names, FlagReason::WrongType);
        // Rust also parses words (`infinity`), which are no numbers of JSON.
        let is_number = |text: &str| {
            text.bytes().all(|b| matches!(b, b'0'..=b'9' | b'-' | b'+' | b'.' | b'e' | b'E'))
        };
        Some(value.decoded()).filter(|text| is_number(text))
    }

    /// A time in milliseconds.
    pub(crate) fn time(&self, names: &[&'static str]) -> Option<Millis> {
        let text = self.text(names).filter(|text| !text.is_empty())?;
        self.read_time(names, &text).map(|time| time.timestamp_millis())
    }

    /// The time in a text of the member. What is no time, or none at which anything can have happened,
    /// is flagged.
    pub(crate) fn read_time(&self, names: &[&'static str], text: &str) -> Option<DateTime<Utc>> {
        match read_source_time(text) {
            SourceTime::At(time) => Some(time),
            SourceTime::Impossible => {
                self.flag(names, FlagReason::OutOfRange);
                None
            }
            SourceTime::Invalid => {
                self.flag(names, FlagReason::NotATime);
                None
            }
        }
    }

    /// A string, or a number as written.
    pub(crate) fn scalar(&self, name: &'static str) -> Option<String> {
        let value = self.of_kind(&[name], &[ValueKind::String, ValueKind::Number])?;
        match value.kind() {
            ValueKind::Number => Some(self.shortened(&[name], value.raw().into()).into_owned()),
            _ => self.string(&[name]),
        }
    }

    /// An object, which may be missing.
    pub(crate) fn object<'s>(&'s self, names: &[&'static str]) -> AzureObject<'d, 's> {
        let value = self.of_kind(names, &[ValueKind::Object]);
        let name = Some(self.name_of(names));
        AzureObject { value, parent: Some(self), name, index: None, flags: self.flags }
    }

    /// The objects of an array; other elements are flagged.
    pub(crate) fn objects<'s>(&'s self, names: &[&'static str]) -> Vec<AzureObject<'d, 's>> {
        let Some(array) = self.of_kind(names, &[ValueKind::Array]) else {
            return Vec::new();
        };
        let mut objects: Vec<AzureObject<'d, 's>> = self.elements(names, array).collect();
        objects.retain(|object| {
            let is_object = object.value.is_some_and(|value| value.kind() == ValueKind::Object);
            if !is_object {
                self.flags.add(object.pointer(), FlagReason::WrongType);
            }
            is_object
        });
        objects
    }

    /// The objects of an array, each with a reason if it is not an object; `None` if the array is
    /// missing, and a reason if it is no array.
    pub(crate) fn strict_objects<'s>(
        &'s self,
        names: &[&'static str],
    ) -> ParseResult<Option<impl Iterator<Item = ParseResult<AzureObject<'d, 's>>>>> {
        let Some(array) = self.strict(names, &[ValueKind::Array], "an array")? else {
            return Ok(None);
        };
        Ok(Some(self.elements(names, array).map(|element| {
            let is_object = element.value.is_some_and(|value| value.kind() == ValueKind::Object);
            if is_object {
                return Ok(element);
            }
            let pointer = element.pointer();
            Err(QuarantineReason::WrongType { pointer, expected: "an object" })
        })))
    }

    fn elements<'s>(
        &'s self,
        names: &[&'static str],
        array: ValueRef<'d>,
    ) -> impl Iterator<Item = AzureObject<'d, 's>> + use<'d, 's> {
        let name = self.name_of(names);
        array.elements().enumerate().map(move |(index, value)| AzureObject {
            value: Some(value),
            parent: Some(self),
            name: Some(name.clone()),
            index: Some(index),
            flags: self.flags,
        })
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

    /// The member, if it has one of these types; else it is flagged.
    fn of_kind(&self, names: &[&'static str], kinds: &[ValueKind]) -> Option<ValueRef<'d>> {
        let (_, value) = self.find(names)?;
        let is_of_kind = kinds.contains(&value.kind());
        if !is_of_kind {
            self.flag(names, FlagReason::WrongType);
        }
        is_of_kind.then_some(value)
    }

    fn strict(
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

    fn flag(&self, names: &[&'static str], reason: FlagReason) {
        self.flags.add(self.pointer_to(names), reason);
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

    /// What is read from an event, and the flags that this raises.
    fn read<T>(
        json: &str,
        read: impl FnOnce(&AzureObject<'_, '_>) -> T,
    ) -> (T, Vec<(String, FlagReason)>) {
        let index = JsonIndex::parse(json).unwrap();
        let flags = MemberFlags::default();
        let result = read(&AzureObject::event(index.root(), &flags));
        let flagged = flags.into_members_below("").into_iter();
        (result, flagged.map(|member| (member.pointer, member.reason)).collect())
    }

    fn flagged(pointer: &str, reason: FlagReason) -> Vec<(String, FlagReason)> {
        vec![(pointer.to_owned(), reason)]
    }

    #[test]
    fn missing_and_null_members_are_none_at_any_depth() {
        let deep = read(r#"{"a":null}"#, |event| {
            assert_eq!(event.text(&["a"]), None);
            event.object(&["a"]).object(&["b"]).integer(&["c"])
        });
        assert_eq!(deep, (None, Vec::new()));
    }

    #[test]
    fn a_wrong_type_is_flagged_with_its_pointer_as_written() {
        let json = r#"{"data":{"Participants":[{"identifier":{"rawId":"a"}},{"identifier":{"rawId":7}},3]}}"#;
        let wrong = FlagReason::WrongType;
        assert_eq!(read(json, |event| event.string(&["data"])), (None, flagged("/data", wrong)));
        let second = read(json, |event| {
            let data = event.object(&["data"]);
            let entries = data.objects(&["participants"]);
            assert_eq!(entries.len(), 2);
            let raw_id = entries[1].object(&["identifier"]).text(&["rawId"]);
            raw_id.map(Cow::into_owned)
        });
        let expected = ["/data/Participants/2", "/data/Participants/1/identifier/rawId"];
        assert_eq!(second, (None, expected.map(|it| (it.to_owned(), wrong)).to_vec()));
        let (strict, _) = read(json, |event| {
            let data = event.object(&["data"]);
            let entries: ParseResult<Vec<_>> =
                data.strict_objects(&["participants"]).unwrap().unwrap().collect();
            entries.err().unwrap()
        });
        assert_eq!(strict.pointer(), Some("/data/Participants/2"));
        let (strict, _) = read(json, |event| event.strict_text(&["data"]).unwrap_err());
        assert_eq!(strict.pointer(), Some("/data"));
    }

    #[test]
    fn numbers_that_cannot_be_represented_are_flagged() {
        let json =
            r#"{"a":7,"b":2.0,"c":2.5,"d":1e999,"e":9223372036854775808,"f":-9223372036854775808}"#;
        let integer = |name| read(json, |event| event.integer(&[name]));
        assert_eq!(integer("a"), (Some(7), Vec::new()));
        assert_eq!(integer("b"), (Some(2), Vec::new()));
        assert_eq!(integer("c"), (None, flagged("/c", FlagReason::WrongType)));
        assert_eq!(integer("d"), (None, flagged("/d", FlagReason::OutOfRange)));
        assert_eq!(integer("e"), (None, flagged("/e", FlagReason::OutOfRange)));
        assert_eq!(integer("f"), (Some(i64::MIN), Vec::new()));
        let number = |name| read(json, |event| event.number(&[name]));
        assert_eq!(number("c"), (Some(2.5), Vec::new()));
        assert_eq!(number("d"), (None, flagged("/d", FlagReason::OutOfRange)));
        let length = |name| read(json, |event| event.length_ms(&[name], 5));
        assert_eq!(length("b"), (Some(2), Vec::new()));
        assert_eq!(length("a"), (None, flagged("/a", FlagReason::OutOfRange)));
        assert_eq!(length("f"), (None, flagged("/f", FlagReason::OutOfRange)));
    }

    #[test]
    fn a_number_or_a_truth_value_in_a_text_is_read_and_flagged() {
        let json = r#"{"a":"7","b":"2.5","c":"PT5M","d":"True","e":"yes","f":"inf","g":""}"#;
        let wrong = |pointer: &str| flagged(pointer, FlagReason::WrongType);
        let integer = |name| read(json, |event| event.integer(&[name]));
        assert_eq!(integer("a"), (Some(7), wrong("/a")));
        assert_eq!(integer("b"), (None, wrong("/b")));
        assert_eq!(integer("c"), (None, wrong("/c")));
        assert_eq!(integer("g"), (None, wrong("/g")));
        let number = |name| read(json, |event| event.number(&[name]));
        assert_eq!(number("b"), (Some(2.5), wrong("/b")));
        assert_eq!(number("f"), (None, wrong("/f")));
        let boolean = |name| read(json, |event| event.boolean(&[name]));
        assert_eq!(boolean("d"), (Some(true), wrong("/d")));
        assert_eq!(boolean("e"), (None, wrong("/e")));
    }

    #[test]
    fn what_no_store_holds_is_replaced_and_flagged() {
        let json = r#"{"a":"x\u0000y","b":"x\ud800y","c":"\ufffd"}"#;
        let string = |name| read(json, |event| event.string(&[name]));
        let replaced = |pointer: &str| flagged(pointer, FlagReason::Replaced);
        assert_eq!(string("a"), (Some("x\u{fffd}y".to_owned()), replaced("/a")));
        assert_eq!(string("b"), (Some("x\u{fffd}y".to_owned()), replaced("/b")));
        assert_eq!(string("c"), (Some("\u{fffd}".to_owned()), Vec::new()));
    }

    #[test]
    fn the_first_name_that_exists_is_used() {
        let json = r#"{"endpointType":"x","time":"soon"}"#;
        let text = read(json, |event| event.string(&["userAgent", "endpointType"]));
        assert_eq!(text, (Some("x".to_owned()), Vec::new()));
        let time = read(json, |event| event.time(&["time"]));
        assert_eq!(time, (None, flagged("/time", FlagReason::NotATime)));
    }
}
