//! Azure's dialect: members that may be missing, null, spelled differently by generation, or of a
//! type that we do not expect.
//!
//! Missing and null are one. A member that is there and has another type than documented is a
//! [`Reason`] with its JSON pointer: what we would guess from it might be false.

mod identifier;
mod path;

use std::borrow::Cow;

pub(super) use identifier::People;
pub(super) use path::{
    RecordingPath, connection_in_source, recording_in_source, recording_in_subject,
    server_call_in_subject,
};

use super::json::{Kind, Node};
use super::reason::Reason;
use crate::domain::instant::{Millis, parse_source_time};

/// An object of the event, or the place where one is missing: reading from that gives nothing.
pub(super) struct Object<'d, 'p> {
    node: Option<Node<'d>>,
    parent: Option<&'p Object<'d, 'p>>,
    step: Step<'d>,
}

/// The last step of the way to an object.
enum Step<'d> {
    /// The event itself.
    Root,
    /// As written.
    Name(Cow<'d, str>),
    Index(usize),
}

impl<'d> Object<'d, '_> {
    /// An event.
    pub(super) fn event(node: Node<'d>) -> Self {
        Self {
            node: Some(node),
            parent: None,
            step: Step::Root,
        }
    }

    /// The object that is an event's `data`, wherever it was written.
    pub(super) fn content(node: Option<Node<'d>>) -> Self {
        Self {
            node,
            parent: None,
            step: Step::Name(Cow::Borrowed("data")),
        }
    }

    /// Whether the object is there.
    pub(super) fn is_present(&self) -> bool {
        self.node.is_some()
    }

    /// Whether one of the names is there.
    pub(super) fn has<const N: usize>(&self, names: [&'static str; N]) -> bool {
        self.find(&names).is_some()
    }

    /// A string.
    pub(super) fn text<const N: usize>(
        &self,
        names: [&'static str; N],
    ) -> Result<Option<Cow<'d, str>>, Reason> {
        let found = self.of_kind(&names, &[Kind::Text], "a string")?;
        Ok(found.map(|node| node.decoded()))
    }

    /// A string of our own.
    pub(super) fn string<const N: usize>(
        &self,
        names: [&'static str; N],
    ) -> Result<Option<String>, Reason> {
        Ok(self.text(names)?.map(Cow::into_owned))
    }

    /// `true` or `false`.
    pub(super) fn boolean<const N: usize>(
        &self,
        names: [&'static str; N],
    ) -> Result<Option<bool>, Reason> {
        let found = self.of_kind(&names, &[Kind::True, Kind::False], "true or false")?;
        Ok(found.map(|node| node.kind() == Kind::True))
    }

    /// A whole number; `2.0` and `2e0` are whole.
    pub(super) fn integer<const N: usize>(
        &self,
        names: [&'static str; N],
    ) -> Result<Option<i64>, Reason> {
        const EXPECTED: &str = "a whole number";
        let Some(node) = self.of_kind(&names, &[Kind::Number], EXPECTED)? else {
            return Ok(None);
        };
        if let Ok(number) = node.raw().parse::<i64>() {
            return Ok(Some(number));
        }
        let number = node.raw().parse::<f64>().unwrap_or(f64::INFINITY);
        let pointer = || self.pointer_to(&names);
        // Floating point holds whole numbers exactly up to 2^53.
        if number.abs() > 9_007_199_254_740_992.0 {
            return Err(Reason::OutOfRange { pointer: pointer() });
        }
        if number.fract() != 0.0 {
            return Err(Reason::WrongType {
                pointer: pointer(),
                expected: EXPECTED,
            });
        }
        Ok(Some(number as i64))
    }

    /// A number.
    pub(super) fn number<const N: usize>(
        &self,
        names: [&'static str; N],
    ) -> Result<Option<f64>, Reason> {
        let Some(node) = self.of_kind(&names, &[Kind::Number], "a number")? else {
            return Ok(None);
        };
        match node.raw().parse::<f64>() {
            Ok(number) if number.is_finite() => Ok(Some(number)),
            _ => Err(Reason::OutOfRange {
                pointer: self.pointer_to(&names),
            }),
        }
    }

    /// A time, ms; what cannot be read as one is absent.
    pub(super) fn time<const N: usize>(
        &self,
        names: [&'static str; N],
    ) -> Result<Option<Millis>, Reason> {
        let text = self.text(names)?;
        Ok(text
            .and_then(|text| parse_source_time(&text))
            .map(|time| time.timestamp_millis()))
    }

    /// A string or a number as it is written; anything else is absent.
    pub(super) fn scalar(&self, name: &'static str) -> Option<String> {
        let (_, node) = self.node?.member(name)?;
        match node.kind() {
            Kind::Text => Some(node.decoded().into_owned()),
            Kind::Number => Some(node.raw().to_owned()),
            _ => None,
        }
    }

    /// An object; a missing one is there to be read from.
    pub(super) fn object<'s, const N: usize>(
        &'s self,
        names: [&'static str; N],
    ) -> Result<Object<'d, 's>, Reason> {
        let node = self.of_kind(&names, &[Kind::Object], "an object")?;
        Ok(Object {
            node,
            parent: Some(self),
            step: Step::Name(self.name_of(&names)),
        })
    }

    /// An array of objects.
    pub(super) fn objects<'s, const N: usize>(
        &'s self,
        names: [&'static str; N],
        mut read: impl FnMut(&Object<'d, '_>) -> Result<(), Reason>,
    ) -> Result<bool, Reason> {
        let Some(array) = self.of_kind(&names, &[Kind::Array], "an array")? else {
            return Ok(false);
        };
        let holder: Object<'d, 's> = Object {
            node: Some(array),
            parent: Some(self),
            step: Step::Name(self.name_of(&names)),
        };
        for (index, node) in array.elements().enumerate() {
            let element = Object {
                node: Some(node),
                parent: Some(&holder),
                step: Step::Index(index),
            };
            if node.kind() != Kind::Object {
                return Err(Reason::WrongType {
                    pointer: element.pointer(),
                    expected: "an object",
                });
            }
            read(&element)?;
        }
        Ok(true)
    }

    /// That the member is missing, and is needed.
    pub(super) fn missing(&self, name: &'static str) -> Reason {
        Reason::Missing {
            pointer: self.pointer_to(&[name]),
        }
    }

    /// The JSON pointer of the member that goes by one of these names.
    pub(super) fn pointer_to(&self, names: &[&'static str]) -> String {
        let mut pointer = self.pointer();
        push_step(&mut pointer, &self.name_of(names));
        pointer
    }

    /// The JSON pointer of the object.
    fn pointer(&self) -> String {
        let mut pointer = self.parent.map(Object::pointer).unwrap_or_default();
        match &self.step {
            Step::Root => {}
            Step::Name(name) => push_step(&mut pointer, name),
            Step::Index(index) => push_step(&mut pointer, &index.to_string()),
        }
        pointer
    }

    fn name_of(&self, names: &[&'static str]) -> Cow<'d, str> {
        match self.find(names) {
            Some((name, _)) => name.decoded(),
            None => Cow::Borrowed(names.first().copied().unwrap_or_default()),
        }
    }

    /// The first of the names that is there.
    fn find(&self, names: &[&'static str]) -> Option<(Node<'d>, Node<'d>)> {
        let node = self.node?;
        names.iter().find_map(|name| node.member(name))
    }

    fn of_kind(
        &self,
        names: &[&'static str],
        kinds: &[Kind],
        expected: &'static str,
    ) -> Result<Option<Node<'d>>, Reason> {
        match self.find(names) {
            Some((_, node)) if !kinds.contains(&node.kind()) => Err(Reason::WrongType {
                pointer: self.pointer_to(names),
                expected,
            }),
            found => Ok(found.map(|(_, node)| node)),
        }
    }
}

fn push_step(pointer: &mut String, step: &str) {
    pointer.push('/');
    pointer.push_str(&step.replace('~', "~0").replace('/', "~1"));
}

#[cfg(test)]
mod tests {
    use super::super::json::Document;
    use super::*;

    fn wrong(pointer: &str, expected: &'static str) -> Reason {
        Reason::WrongType {
            pointer: pointer.to_owned(),
            expected,
        }
    }

    #[test]
    fn missing_and_null_read_as_nothing_at_any_depth() {
        let document = Document::parse(r#"{"a":null}"#).unwrap();
        let event = Object::event(document.root());
        assert_eq!(event.text(["a"]), Ok(None));
        let deep = event.object(["a"]).unwrap();
        assert_eq!(deep.object(["b"]).unwrap().integer(["c"]), Ok(None));
    }

    #[test]
    fn a_wrong_type_is_told_by_its_pointer_as_written() {
        let document = Document::parse(
            r#"{"data":{"Participants":[{"identifier":{"rawId":"a"}},{"identifier":{"rawId":7}},3]}}"#,
        )
        .unwrap();
        let event = Object::event(document.root());
        assert_eq!(event.text(["data"]), Err(wrong("/data", "a string")));
        let data = event.object(["data"]).unwrap();
        let read =
            |entry: &Object<'_, '_>| entry.object(["identifier"])?.text(["rawId"]).map(|_| ());
        assert_eq!(
            data.objects(["participants"], read),
            Err(wrong("/data/Participants/1/identifier/rawId", "a string"))
        );
        assert_eq!(
            data.objects(["participants"], |_| Ok(())),
            Err(wrong("/data/Participants/2", "an object"))
        );
    }

    #[test]
    fn numbers_are_read_as_far_as_they_can_be_held() {
        let document = Document::parse(
            r#"{"a":7,"b":2.0,"c":2.5,"d":1e999,"e":9223372036854775808,"f":-9223372036854775808}"#,
        )
        .unwrap();
        let event = Object::event(document.root());
        let out_of_range = |pointer: &str| Reason::OutOfRange {
            pointer: pointer.to_owned(),
        };
        assert_eq!(event.integer(["a"]), Ok(Some(7)));
        assert_eq!(event.integer(["b"]), Ok(Some(2)));
        assert_eq!(event.integer(["c"]), Err(wrong("/c", "a whole number")));
        assert_eq!(event.integer(["d"]), Err(out_of_range("/d")));
        assert_eq!(event.integer(["e"]), Err(out_of_range("/e")));
        assert_eq!(event.integer(["f"]), Ok(Some(i64::MIN)));
        assert_eq!(event.number(["c"]), Ok(Some(2.5)));
        assert_eq!(event.number(["d"]), Err(out_of_range("/d")));
    }

    #[test]
    fn the_first_name_that_is_there_counts() {
        let document = Document::parse(r#"{"endpointType":"x","time":"soon"}"#).unwrap();
        let event = Object::event(document.root());
        assert_eq!(
            event.string(["userAgent", "endpointType"]),
            Ok(Some("x".to_owned()))
        );
        assert_eq!(event.time(["time"]), Ok(None));
    }
}
