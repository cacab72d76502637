//! Deserializes the parameters of a query: one may be given several times, and an unknown one is answered
//! with the nearest known name.

use std::fmt::{self, Display};

use serde::de::value::{MapDeserializer, SeqDeserializer};
use serde::de::{DeserializeOwned, Deserializer, Error, IntoDeserializer, Visitor};
use serde::forward_to_deserialize_any;

use crate::config::nearest;
use crate::http::problem::Problem;

/// The parameters of a query in their order.
///
/// # Errors
///
/// A problem that names the parameter.
pub(super) fn deserialize_query<T: DeserializeOwned>(
    pairs: Vec<(String, String)>,
) -> Result<T, Problem> {
    T::deserialize(QueryPairs(pairs)).map_err(Problem::from)
}

/// A query: a struct sees each parameter once, with all its values; a sequence sees each pair.
struct QueryPairs(Vec<(String, String)>);

impl<'de> Deserializer<'de> for QueryPairs {
    type Error = QueryError;

    fn deserialize_any<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, QueryError> {
        let mut parameters: Vec<Parameter> = Vec::new();
        for (name, value) in self.0 {
            match parameters.iter_mut().find(|parameter| parameter.name == name) {
                Some(parameter) => parameter.values.push(value),
                None => parameters.push(Parameter { name, values: vec![value] }),
            }
        }
        let named = parameters.into_iter().map(|parameter| (parameter.name.clone(), parameter));
        MapDeserializer::new(named).deserialize_any(visitor)
    }

    fn deserialize_seq<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, QueryError> {
        MapDeserializer::new(self.0.into_iter()).deserialize_seq(visitor)
    }

    forward_to_deserialize_any! {
        bool i8 i16 i32 i64 i128 u8 u16 u32 u64 u128 f32 f64 char str string bytes byte_buf option unit
        unit_struct newtype_struct tuple tuple_struct map struct enum identifier ignored_any
    }
}

#[derive(Debug)]
enum QueryError {
    Unknown { name: String, known: &'static [&'static str] },
    Repeated(String),
    Other(String),
}

impl From<QueryError> for Problem {
    fn from(error: QueryError) -> Self {
        match error {
            QueryError::Unknown { name, known } => {
                let meant = nearest(&name, known.iter().copied());
                let meant = meant.map(|meant| format!("; did you mean {meant}?"));
                let detail = format!("there is no parameter {name}{}", meant.unwrap_or_default());
                Self::invalid(name, detail).allowing(known)
            }
            QueryError::Repeated(name) => {
                let detail = format!("{name} is given once");
                Self::invalid(name, detail)
            }
            QueryError::Other(text) => Self::invalid("query", text),
        }
    }
}

impl Display for QueryError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Unknown { name, .. } => write!(f, "there is no parameter {name}"),
            Self::Repeated(name) => write!(f, "{name} is given once"),
            Self::Other(text) => f.write_str(text),
        }
    }
}

impl std::error::Error for QueryError {}

impl Error for QueryError {
    fn custom<T: Display>(text: T) -> Self {
        Self::Other(text.to_string())
    }

    fn unknown_field(name: &str, known: &'static [&'static str]) -> Self {
        Self::Unknown { name: name.to_owned(), known }
    }
}

/// A parameter with its values, at least one.
struct Parameter {
    name: String,
    values: Vec<String>,
}

impl IntoDeserializer<'_, QueryError> for Parameter {
    type Deserializer = Self;

    fn into_deserializer(self) -> Self {
        self
    }
}

impl<'de> Deserializer<'de> for Parameter {
    type Error = QueryError;

    fn deserialize_any<V: Visitor<'de>>(mut self, visitor: V) -> Result<V::Value, QueryError> {
        match self.values.pop() {
            Some(value) if self.values.is_empty() => visitor.visit_string(value),
            _ => Err(QueryError::Repeated(self.name)),
        }
    }

    fn deserialize_option<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, QueryError> {
        visitor.visit_some(self)
    }

    fn deserialize_seq<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, QueryError> {
        visitor.visit_seq(SeqDeserializer::new(self.values.into_iter()))
    }

    fn deserialize_ignored_any<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, QueryError> {
        visitor.visit_unit()
    }

    forward_to_deserialize_any! {
        bool i8 i16 i32 i64 i128 u8 u16 u32 u64 u128 f32 f64 char str string bytes byte_buf unit
        unit_struct newtype_struct tuple tuple_struct map struct enum identifier
    }
}

#[cfg(test)]
mod tests {
    use serde::Deserialize;
    use serde_json::{Value, json};

    use super::*;

    #[derive(Debug, Default, PartialEq, Deserialize)]
    #[serde(deny_unknown_fields)]
    struct Filter {
        from: Option<String>,
        #[serde(default)]
        state: Vec<String>,
    }

    fn read(pairs: &[(&str, &str)]) -> Result<Filter, Value> {
        let pairs = pairs.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned()));
        deserialize_query(pairs.collect()).map_err(|problem| json!(problem))
    }

    #[test]
    fn a_parameter_may_be_given_several_times_where_several_values_make_sense() {
        let read_filter = read(&[("state", "open"), ("from", "x"), ("state", "ended")]).unwrap();
        let expected = Filter {
            from: Some("x".to_owned()),
            state: vec!["open".to_owned(), "ended".to_owned()],
        };
        assert_eq!(read_filter, expected);
        assert_eq!(read(&[]).unwrap(), Filter::default());
        let twice = read(&[("from", "x"), ("from", "y")]).unwrap_err();
        assert_eq!(
            (&twice["member"], &twice["detail"]),
            (&json!("from"), &json!("from is given once"))
        );
    }

    #[test]
    fn a_sequence_has_each_pair_in_its_order() {
        let pairs = [("id", "1"), ("_", "17"), ("id", "2")];
        let pairs = pairs.map(|(name, value)| (name.to_owned(), value.to_owned()));
        let read: Vec<(String, String)> = deserialize_query(pairs.to_vec()).unwrap();
        assert_eq!(read, pairs);
    }

    #[test]
    fn an_unknown_parameter_is_answered_with_the_nearest_name_and_all_names() {
        let unknown = read(&[("sate", "open")]).unwrap_err();
        assert_eq!(unknown["member"], "sate");
        assert_eq!(unknown["detail"], "there is no parameter sate; did you mean state?");
        assert_eq!(unknown["allowed"], json!(["from", "state"]));
        let far = read(&[("zzz", "1")]).unwrap_err();
        assert_eq!(far["detail"], "there is no parameter zzz");
    }
}
