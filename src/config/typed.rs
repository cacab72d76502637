//! Deserializes the tree of settings into their types, with errors that name the key and its place.
//!
//! # Why
//!
//! A settings file contains passwords, and its errors are logged (`NO_SECRETS`). So an error contains
//! the key, the place and the allowed values, and never the value itself, which serde's own texts
//! quote.

use anyhow::anyhow;
use serde::de::value::{MapDeserializer, SeqDeserializer};
use serde::de::{Deserializer, Error as _, Expected, IntoDeserializer, Unexpected, Visitor};
use serde::forward_to_deserialize_any;
use serde_path_to_error::Segment;

use super::nearest::nearest;
use super::settings::Settings;
use super::tree::{ConfigNode, ConfigValue};

/// Deserializes the tree. The error is a sentence that names the key and its place.
pub(super) fn deserialize(tree: &ConfigNode) -> anyhow::Result<Settings> {
    serde_path_to_error::deserialize(tree.clone()).map_err(|error| {
        let path = error.path().clone();
        anyhow!(sentence(tree, &path, error.into_inner()))
    })
}

/// A key or value does not match the types of the settings.
#[derive(Debug, thiserror::Error)]
pub(super) enum TypedError {
    #[error("unknown setting")]
    UnknownKey { key: String, known: &'static [&'static str] },
    #[error("the setting {0} is missing")]
    MissingKey(&'static str),
    /// The end of a sentence about the value.
    #[error("the setting {0}")]
    Value(String),
}

fn sentence(tree: &ConfigNode, path: &serde_path_to_error::Path, error: TypedError) -> String {
    let node = path.iter().fold(tree, child);
    let (place, key_place) = (&node.place, &node.key_place);
    match error {
        TypedError::UnknownKey { key, known } => {
            let path = path.to_string();
            let section = match path.strip_suffix(&key).unwrap_or_default().trim_end_matches('.') {
                "" => "the top level".to_owned(),
                section => format!("[{section}]"),
            };
            let nearest = nearest(&key, known.iter().copied());
            let nearest =
                nearest.map_or_else(String::new, |known| format!("; perhaps {known} is meant"));
            let known = known.join(", ");
            format!(
                "unknown setting {path} ({key_place}){nearest}; the keys of {section} are: {known}"
            )
        }
        TypedError::MissingKey(key) => format!("the setting {path}.{key} is missing ({place})"),
        TypedError::Value(is_wrong) => format!("the setting {path} ({place}) {is_wrong}"),
    }
}

/// The value at a step of the path; what a variable contains has the place of the variable.
fn child<'n>(node: &'n ConfigNode, segment: &Segment) -> &'n ConfigNode {
    let child = match (&node.value, segment) {
        (ConfigValue::Table(entries), Segment::Map { key }) => entries.get(key),
        (ConfigValue::List(nodes), Segment::Seq { index }) => nodes.get(*index),
        _ => None,
    };
    child.unwrap_or(node)
}

fn must_be(expected: &dyn Expected) -> TypedError {
    TypedError::Value(format!("must be {expected}"))
}

impl serde::de::Error for TypedError {
    fn custom<T: std::fmt::Display>(text: T) -> Self {
        Self::Value(format!("is wrong: {text}"))
    }

    fn invalid_type(_: Unexpected<'_>, expected: &dyn Expected) -> Self {
        must_be(expected)
    }

    fn invalid_value(_: Unexpected<'_>, expected: &dyn Expected) -> Self {
        must_be(expected)
    }

    fn unknown_variant(_: &str, known: &'static [&'static str]) -> Self {
        must_be(&format!("one of: {}", known.join(", ")).as_str())
    }

    fn unknown_field(key: &str, known: &'static [&'static str]) -> Self {
        Self::UnknownKey { key: key.to_owned(), known }
    }

    fn missing_field(key: &'static str) -> Self {
        Self::MissingKey(key)
    }
}

impl ConfigNode {
    /// The text. That of a variable is trimmed, because a file that is mounted as a variable ends with
    /// a newline; in quotes it is used unchanged.
    fn text(mut self) -> Result<String, TypedError> {
        if matches!(&self.value, ConfigValue::Variable(text) if text.trim_start().starts_with('"'))
        {
            self.parse_variable();
        }
        match self.value {
            ConfigValue::Text(text) => Ok(text),
            ConfigValue::Variable(text) => Ok(text.trim().to_owned()),
            _ => Err(must_be(&"a text in quotes")),
        }
    }

    fn integer<T: TryFrom<i64> + std::fmt::Display>(self, min: T, max: T) -> Result<T, TypedError> {
        let number = match self.value {
            ConfigValue::Integer(number) => Some(number),
            // An error must not quote the value, which may be a misplaced secret.
            ConfigValue::Variable(text) => text.trim().parse().ok(),
            _ => None,
        };
        number
            .and_then(|number| T::try_from(number).ok())
            .ok_or_else(|| must_be(&format!("a whole number from {min} to {max}").as_str()))
    }
}

impl IntoDeserializer<'_, TypedError> for ConfigNode {
    type Deserializer = Self;

    fn into_deserializer(self) -> Self {
        self
    }
}

/// The kinds of values that settings have; another kind of type fails in the test of the defaults.
impl<'de> Deserializer<'de> for ConfigNode {
    type Error = TypedError;

    fn deserialize_any<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, TypedError> {
        visitor.visit_string(self.text()?)
    }

    fn deserialize_i32<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, TypedError> {
        visitor.visit_i32(self.integer(i32::MIN, i32::MAX)?)
    }

    fn deserialize_u32<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, TypedError> {
        visitor.visit_u32(self.integer(u32::MIN, u32::MAX)?)
    }

    fn deserialize_u64<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, TypedError> {
        visitor.visit_u64(self.integer(u64::MIN, u64::MAX)?)
    }

    fn deserialize_option<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, TypedError> {
        visitor.visit_some(self)
    }

    fn deserialize_seq<V: Visitor<'de>>(mut self, visitor: V) -> Result<V::Value, TypedError> {
        self.parse_variable();
        match self.value {
            ConfigValue::List(nodes) => visitor.visit_seq(SeqDeserializer::new(nodes.into_iter())),
            _ => Err(must_be(&"a list: [\"…\"]")),
        }
    }

    fn deserialize_map<V: Visitor<'de>>(mut self, visitor: V) -> Result<V::Value, TypedError> {
        self.parse_variable();
        match self.value {
            ConfigValue::Table(nodes) => visitor.visit_map(MapDeserializer::new(nodes.into_iter())),
            _ => Err(must_be(&"a table")),
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
        let text = self.text().map_err(|_| TypedError::unknown_variant("", variants))?;
        visitor.visit_enum(text.into_deserializer())
    }

    forward_to_deserialize_any! {
        bool i8 i16 i64 i128 u8 u16 u128 f32 f64 char str string bytes byte_buf unit unit_struct
        newtype_struct tuple tuple_struct identifier ignored_any
    }
}

#[cfg(test)]
mod tests {
    use crate::config::Settings;

    const PLANTED: &str = "hunter2";

    #[test]
    fn the_error_of_a_broken_file_has_line_and_column_and_never_quotes_the_file() {
        for (toml, place) in [
            ("\ndatabase_url = \"postgres://u:hunter2@h/d", "line 2, column 41"),
            ("database_url = postgres://u:hunter2@h/d", "line 1"),
            ("[tokens]\nkeys = [\"hunter2\", hunter2]", "line 2"),
            ("[tokens]\nkeys = [\"hunter2\"", "line 2"),
            ("hunter2", "line 1"),
            ("listen = \"x\" hunter2", "line 1"),
            ("listen = '''\nhunter2", "line"),
            ("hunter2 = 1\nhunter2 = 2", "line 2"),
            ("a = 1\na.hunter2.b = 2", "line 2"),
            ("[kafka.properties]\n\"sasl.password\" = hunter2", "line 2"),
            ("[kafka.properties]\n\"sasl.password\" = \"\\hunter2\"", "line 2"),
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
