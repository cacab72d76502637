//! Deserializes the tree of settings into their types, with errors that name the key and its place.
//!
//! # Why
//!
//! A settings file contains passwords, and its errors are logged (`NO_SECRETS`). So an error contains
//! the key, the place and the allowed values, and never the value itself, which serde's own texts
//! quote.

use std::fmt;

use serde::de::value::StrDeserializer;
use serde::de::{
    DeserializeSeed, Deserializer, Error as _, Expected, IntoDeserializer as _, MapAccess,
    SeqAccess, Unexpected, Visitor,
};
use serde::forward_to_deserialize_any;

use super::tree::{ConfigEntry, ConfigNode, ConfigPlace, ConfigValue, inline};

/// Minimum similarity (0 to 1) of an unknown key to a known one that the error suggests.
const MIN_SIMILARITY: f64 = 0.8;

/// A key or value does not match the types of the settings.
#[derive(Debug)]
pub(super) struct TypedError {
    /// The keys from the top level to the error.
    path: Vec<String>,
    place: Option<ConfigPlace>,
    kind: TypedErrorKind,
}

#[derive(Debug)]
enum TypedErrorKind {
    UnknownKey {
        key: String,
        known: &'static [&'static str],
    },
    MissingKey(&'static str),
    NotOneOf(&'static [&'static str]),
    Not(String),
    /// The text of a type about its value.
    Invalid(String),
}

impl TypedError {
    fn new(kind: TypedErrorKind) -> Self {
        Self {
            path: Vec::new(),
            place: None,
            kind,
        }
    }

    /// Adds the outer key of the error; the innermost place is kept.
    fn within(mut self, key: String, place: &ConfigPlace) -> Self {
        self.path.insert(0, key);
        self.at(place)
    }

    fn at(mut self, place: &ConfigPlace) -> Self {
        self.place.get_or_insert_with(|| place.clone());
        self
    }
}

impl fmt::Display for TypedError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut section = String::new();
        for key in &self.path {
            if !section.is_empty() && !key.starts_with('[') {
                section.push('.');
            }
            section.push_str(key);
        }
        let below = |key: &str| match section.as_str() {
            "" => key.to_owned(),
            section => format!("{section}.{key}"),
        };
        let place = self
            .place
            .as_ref()
            .map_or_else(String::new, |place| format!(" ({place})"));
        match &self.kind {
            TypedErrorKind::UnknownKey { key, known } => {
                write!(f, "unknown setting {}{place}", below(key))?;
                if let Some(nearest) = nearest(key, known) {
                    write!(f, "; perhaps {nearest} is meant")?;
                }
                match section.as_str() {
                    "" => f.write_str("; the keys of the top level are: ")?,
                    section => write!(f, "; the keys of [{section}] are: ")?,
                }
                f.write_str(&known.join(", "))
            }
            TypedErrorKind::MissingKey(key) => {
                write!(f, "the setting {} is missing{place}", below(key))
            }
            TypedErrorKind::NotOneOf(allowed) => write!(
                f,
                "the setting {section}{place} must be one of: {}",
                allowed.join(", ")
            ),
            TypedErrorKind::Not(expected) => {
                write!(f, "the setting {section}{place} must be {expected}")
            }
            TypedErrorKind::Invalid(text) => {
                write!(f, "the setting {section}{place} is wrong: {text}")
            }
        }
    }
}

fn nearest(key: &str, known: &[&'static str]) -> Option<&'static str> {
    let similarity = |known: &&'static str| (strsim::jaro_winkler(key, known), *known);
    known
        .iter()
        .map(similarity)
        .filter(|(similarity, _)| *similarity >= MIN_SIMILARITY)
        .max_by(|(one, _), (other, _)| one.total_cmp(other))
        .map(|(_, known)| known)
}

impl std::error::Error for TypedError {}

impl serde::de::Error for TypedError {
    fn custom<T: fmt::Display>(text: T) -> Self {
        Self::new(TypedErrorKind::Invalid(text.to_string()))
    }

    fn invalid_type(_: Unexpected<'_>, expected: &dyn Expected) -> Self {
        Self::new(TypedErrorKind::Not(expected.to_string()))
    }

    fn invalid_value(_: Unexpected<'_>, expected: &dyn Expected) -> Self {
        Self::new(TypedErrorKind::Not(expected.to_string()))
    }

    fn invalid_length(_: usize, expected: &dyn Expected) -> Self {
        Self::new(TypedErrorKind::Not(expected.to_string()))
    }

    fn unknown_variant(_: &str, expected: &'static [&'static str]) -> Self {
        Self::new(TypedErrorKind::NotOneOf(expected))
    }

    fn unknown_field(key: &str, known: &'static [&'static str]) -> Self {
        Self::new(TypedErrorKind::UnknownKey {
            key: key.to_owned(),
            known,
        })
    }

    fn missing_field(key: &'static str) -> Self {
        Self::new(TypedErrorKind::MissingKey(key))
    }
}

fn not(expected: &str) -> TypedError {
    TypedError::new(TypedErrorKind::Not(expected.to_owned()))
}

/// Deserializes a node of the tree.
pub(super) struct NodeDeserializer(pub ConfigNode);

impl NodeDeserializer {
    /// The text. That of a variable is trimmed, because a file that is mounted as a variable ends with
    /// a newline; in quotes it is used unchanged.
    fn text(self) -> Result<String, TypedError> {
        match self.0.value {
            ConfigValue::Text(text) => Ok(text),
            ConfigValue::Variable(text) if text.trim_start().starts_with('"') => {
                match inline(&text, &self.0.place).map(|node| node.value) {
                    Some(ConfigValue::Text(quoted)) => Ok(quoted),
                    _ => Ok(text),
                }
            }
            ConfigValue::Variable(text) => Ok(text.trim().to_owned()),
            _ => Err(not("a text in quotes")),
        }
    }

    fn integer<T>(&self, lowest: T, highest: T) -> Result<T, TypedError>
    where
        T: TryFrom<i64> + fmt::Display,
    {
        let number = match &self.0.value {
            ConfigValue::Integer(number) => Some(*number),
            ConfigValue::Variable(text) => text.trim().parse().ok(),
            _ => None,
        };
        number
            .and_then(|number| T::try_from(number).ok())
            .ok_or_else(|| not(&format!("a whole number from {lowest} to {highest}")))
    }

    /// The node, with the inline list or table of a variable parsed.
    fn inline(self) -> ConfigNode {
        match &self.0.value {
            ConfigValue::Variable(text) => inline(text, &self.0.place).unwrap_or(self.0),
            _ => self.0,
        }
    }
}

macro_rules! integers {
    ($($deserialize:ident $visit:ident $type:ty),*) => {$(
        fn $deserialize<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, TypedError> {
            let number = self.integer(<$type>::MIN, <$type>::MAX).map_err(|error| error.at(&self.0.place))?;
            visitor.$visit(number)
        }
    )*};
}

impl<'de> Deserializer<'de> for NodeDeserializer {
    type Error = TypedError;

    integers! {
        deserialize_i32 visit_i32 i32,
        deserialize_i64 visit_i64 i64,
        deserialize_u16 visit_u16 u16,
        deserialize_u32 visit_u32 u32,
        deserialize_u64 visit_u64 u64
    }

    fn deserialize_any<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, TypedError> {
        match self.0.value {
            ConfigValue::Table(_) => self.deserialize_map(visitor),
            ConfigValue::List(_) => self.deserialize_seq(visitor),
            ConfigValue::Text(_) | ConfigValue::Variable(_) => self.deserialize_string(visitor),
            ConfigValue::Integer(number) => visitor.visit_i64(number),
            ConfigValue::Boolean(is_set) => visitor.visit_bool(is_set),
            ConfigValue::Other => Err(TypedError::custom("no setting has a value of this kind")),
        }
    }

    fn deserialize_bool<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, TypedError> {
        match &self.0.value {
            ConfigValue::Boolean(is_set) => visitor.visit_bool(*is_set),
            ConfigValue::Variable(text) if text.trim() == "true" => visitor.visit_bool(true),
            ConfigValue::Variable(text) if text.trim() == "false" => visitor.visit_bool(false),
            _ => Err(not("true or false").at(&self.0.place)),
        }
    }

    fn deserialize_string<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, TypedError> {
        let place = self.0.place.clone();
        self.text()
            .and_then(|text| visitor.visit_string(text))
            .map_err(|error| error.at(&place))
    }

    fn deserialize_str<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, TypedError> {
        self.deserialize_string(visitor)
    }

    fn deserialize_option<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, TypedError> {
        visitor.visit_some(self)
    }

    fn deserialize_newtype_struct<V: Visitor<'de>>(
        self,
        _: &'static str,
        visitor: V,
    ) -> Result<V::Value, TypedError> {
        visitor.visit_newtype_struct(self)
    }

    fn deserialize_seq<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, TypedError> {
        let node = self.inline();
        match node.value {
            ConfigValue::List(nodes) => visitor
                .visit_seq(ListAccess(nodes.into_iter().enumerate()))
                .map_err(|error| error.at(&node.place)),
            _ => Err(not("a list: [\"…\"]").at(&node.place)),
        }
    }

    fn deserialize_map<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, TypedError> {
        let node = self.inline();
        match node.value {
            ConfigValue::Table(entries) => {
                let entries = entries.into_iter();
                visitor
                    .visit_map(TableAccess {
                        entries,
                        value: None,
                    })
                    .map_err(|error| error.at(&node.place))
            }
            _ => Err(not("a table").at(&node.place)),
        }
    }

    fn deserialize_struct<V: Visitor<'de>>(
        self,
        _: &'static str,
        _: &'static [&'static str],
        visitor: V,
    ) -> Result<V::Value, TypedError> {
        self.deserialize_map(visitor)
    }

    fn deserialize_enum<V: Visitor<'de>>(
        self,
        _: &'static str,
        variants: &'static [&'static str],
        visitor: V,
    ) -> Result<V::Value, TypedError> {
        let place = self.0.place.clone();
        let text = self
            .text()
            .map_err(|_| TypedError::new(TypedErrorKind::NotOneOf(variants)));
        text.and_then(|text| {
            let variant: StrDeserializer<'_, TypedError> = text.as_str().into_deserializer();
            visitor.visit_enum(variant)
        })
        .map_err(|error| error.at(&place))
    }

    forward_to_deserialize_any! {
        i8 i16 i128 u8 u128 f32 f64 char bytes byte_buf unit unit_struct tuple tuple_struct
        identifier ignored_any
    }
}

struct ListAccess(std::iter::Enumerate<std::vec::IntoIter<ConfigNode>>);

impl<'de> SeqAccess<'de> for ListAccess {
    type Error = TypedError;

    fn next_element_seed<T: DeserializeSeed<'de>>(
        &mut self,
        seed: T,
    ) -> Result<Option<T::Value>, TypedError> {
        let Some((at, node)) = self.0.next() else {
            return Ok(None);
        };
        let place = node.place.clone();
        seed.deserialize(NodeDeserializer(node))
            .map(Some)
            .map_err(|error| error.within(format!("[{at}]"), &place))
    }
}

struct TableAccess {
    entries: std::collections::btree_map::IntoIter<String, ConfigEntry>,
    /// The entry of the last key.
    value: Option<(String, ConfigNode)>,
}

impl<'de> MapAccess<'de> for TableAccess {
    type Error = TypedError;

    fn next_key_seed<K: DeserializeSeed<'de>>(
        &mut self,
        seed: K,
    ) -> Result<Option<K::Value>, TypedError> {
        let Some((key, entry)) = self.entries.next() else {
            return Ok(None);
        };
        let deserializer: StrDeserializer<'_, TypedError> = key.as_str().into_deserializer();
        let read = seed
            .deserialize(deserializer)
            .map_err(|error| error.at(&entry.key_place))?;
        self.value = Some((key, entry.node));
        Ok(Some(read))
    }

    fn next_value_seed<V: DeserializeSeed<'de>>(
        &mut self,
        seed: V,
    ) -> Result<V::Value, TypedError> {
        let (key, node) = self
            .value
            .take()
            .ok_or_else(|| TypedError::custom("a value was requested before its key"))?;
        let place = node.place.clone();
        seed.deserialize(NodeDeserializer(node))
            .map_err(|error| error.within(key, &place))
    }
}

#[cfg(test)]
mod tests {
    use crate::config::Settings;

    const PLANTED: &str = "hunter2";

    #[test]
    fn the_error_of_a_broken_file_has_line_and_column_and_never_quotes_the_file() {
        for (toml, place) in [
            (
                "\ndatabase_url = \"postgres://u:hunter2@h/d",
                "line 2, column 41",
            ),
            ("database_url = postgres://u:hunter2@h/d", "line 1"),
            ("[tokens]\nkeys = [\"hunter2\", hunter2]", "line 2"),
            ("[tokens]\nkeys = [\"hunter2\"", "line 2"),
            ("hunter2", "line 1"),
            ("listen = \"x\" hunter2", "line 1"),
            ("listen = '''\nhunter2", "line"),
            ("hunter2 = 1\nhunter2 = 2", "line 2"),
            ("a = 1\na.hunter2.b = 2", "line 2"),
            ("[kafka.properties]\n\"sasl.password\" = hunter2", "line 2"),
            (
                "[kafka.properties]\n\"sasl.password\" = \"\\hunter2\"",
                "line 2",
            ),
        ] {
            let error = Settings::from_toml(toml).unwrap_err().to_string();
            assert!(!error.contains(PLANTED), "{error}");
            assert!(error.contains("are not TOML"), "{error}");
            assert!(error.contains(place), "{error}");
        }
    }

    #[test]
    fn a_wrong_value_is_never_repeated() {
        for toml in [
            "listen = \"hunter2\"",
            "log = \"hunter2\"",
            "[log]\nformat = \"hunter2\"",
            "[log]\nfilter = [\"hunter2\"]",
            "[ingest]\ndeadline = \"hunter2\"",
            "[ingest]\nbytes_in_flight = \"hunter2\"",
            "[live]\nhistory = \"hunter2\"",
            "[tokens]\nkeys = \"hunter2\"",
            "[tokens]\nkeys = [\"hunter2\"]",
            "[kafka]\npartitions = \"hunter2\"",
            "[kafka.properties]\n\"acks\" = \"hunter2\"",
            "[sources.a]\nkind = \"hunter2\"\ntenant = \"t\"",
            "[sources.a]\nkind = \"event-grid\"\ntenant = \"Hunter2 hunter2\"",
            "[sources.a]\nkind = \"event-grid\"\ntenant = \"t\"\nkeys = [\"hunter2\"]",
            "[sources.a]\nkind = \"event-grid\"\ntenant = \"t\"\njwt = \"hunter2\"",
        ] {
            let error = Settings::from_toml(toml).unwrap_err().to_string();
            assert!(!error.contains(PLANTED), "{toml}: {error}");
        }
    }

    #[test]
    fn an_error_names_key_line_and_column() {
        for (toml, sentence) in [
            (
                "[ingest]\ndeadline = \"15\"",
                "the setting ingest.deadline (line 2, column 12 of the settings) is wrong: this is not a duration",
            ),
            (
                "[kafka]\n  partitions = \"12\"",
                "the setting kafka.partitions (line 2, column 16 of the settings) must be a whole number from",
            ),
            (
                "[log]\nformat = 7",
                "the setting log.format (line 2, column 10 of the settings) must be one of: json, pretty",
            ),
            (
                "[tokens]\nkeys = [\n \"a\",\n 7]",
                "the setting tokens.keys[1] (line 4, column 2 of the settings) must be a text in quotes",
            ),
            (
                "[sources.a]\nkind = \"event-grid\"",
                "the setting sources.a.tenant is missing (line 1, column 1 of the settings)",
            ),
            (
                "[ingest]\nbytes_in_fligth = \"1MiB\"",
                "unknown setting ingest.bytes_in_fligth (line 2, column 1 of the settings); perhaps bytes_in_flight is meant;",
            ),
        ] {
            let error = Settings::from_toml(toml).unwrap_err().to_string();
            assert!(error.starts_with(sentence), "{error}");
        }
    }
}
