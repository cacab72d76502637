//! The untyped tree of settings: tables and values, each with its place.
//!
//! The default settings, the file and the environment are merged into one tree. Each key and value
//! keeps its place, so that an error can name it.

use std::collections::BTreeMap;
use std::collections::btree_map::Entry;
use std::sync::Arc;

use anyhow::anyhow;
use toml::Spanned;
use toml::de::{DeTable, DeValue};

/// The place of a key or value, as errors name it: `line 2, column 12 of onrecord.toml`, or `the
/// environment variable ONRECORD_LISTEN`.
pub(super) type ConfigPlace = Arc<str>;

/// Gives the place of an offset in a text.
type PlaceAt<'p> = dyn Fn(usize) -> ConfigPlace + 'p;

/// A value, its place, and that of its key; for a value without a key, both are the same.
#[derive(Clone)]
pub(super) struct ConfigNode {
    pub key_place: ConfigPlace,
    pub place: ConfigPlace,
    pub value: ConfigValue,
}

/// A value. It has no `Debug`, because it may be a secret.
#[derive(Clone)]
pub(super) enum ConfigValue {
    Table(BTreeMap<String, ConfigNode>),
    List(Vec<ConfigNode>),
    Text(String),
    Integer(i64),
    /// The text of an environment variable; the type of the setting decides how it is parsed.
    Variable(String),
    /// A kind that no setting has: a boolean, a fraction, a date, an integer above 64 bits.
    Other,
}

impl ConfigNode {
    /// Parses a TOML document; errors refer to it by `name`.
    ///
    /// # Errors
    ///
    /// The text is not TOML. The error has a fixed text of the parser, which never quotes the input.
    pub(super) fn parse(name: &str, text: &str) -> anyhow::Result<Self> {
        let place = |offset| -> ConfigPlace {
            let before = text.get(..offset).unwrap_or(text);
            let line_start = before.rfind('\n').map_or(0, |at| at + 1);
            let line = before.matches('\n').count() + 1;
            let column = before[line_start..].chars().count() + 1;
            format!("line {line}, column {column} of {name}").into()
        };
        let table = DeTable::parse(text).map_err(|error| {
            let place = place(error.span().map_or(text.len(), |span| span.start));
            let kind = error.message().replace('\n', ", ");
            anyhow!("the settings ({place}) are not TOML: {kind}")
        })?;
        let value = ConfigValue::table(table.get_ref(), &place);
        Ok(Self { key_place: place(0), place: place(0), value })
    }

    /// Whether this is a table with this key.
    pub(super) fn has(&self, key: &str) -> bool {
        matches!(&self.value, ConfigValue::Table(members) if members.contains_key(key))
    }

    /// Merges `over` into this: tables key by key; any other value is replaced.
    pub(super) fn merge(&mut self, mut over: Self) {
        // A table may be written in one variable, and a member of it in another one or in the file.
        if matches!(self.value, ConfigValue::Table(_)) {
            over.parse_variable();
        }
        if matches!(over.value, ConfigValue::Table(_)) {
            self.parse_variable();
        }
        match (&mut self.value, over.value) {
            (ConfigValue::Table(below), ConfigValue::Table(above)) => {
                for (key, node) in above {
                    match below.entry(key) {
                        Entry::Occupied(mut known) => known.get_mut().merge(node),
                        Entry::Vacant(free) => {
                            free.insert(node);
                        }
                    }
                }
            }
            (value, above) => *value = above,
        }
        (self.key_place, self.place) = (over.key_place, over.place);
    }

    /// Merges the value of one environment variable into this; `key` is `a__b` for the setting `a.b`.
    pub(super) fn merge_variable(&mut self, variable: &str, key: &str, text: String) {
        let place: ConfigPlace = format!("the environment variable {variable}").into();
        let node = |value| Self { key_place: place.clone(), place: place.clone(), value };
        let leaf = node(ConfigValue::Variable(text));
        let over = key.rsplit("__").fold(leaf, |member, key| {
            node(ConfigValue::Table(BTreeMap::from([(key.to_owned(), member)])))
        });
        self.merge(over);
    }

    /// Parses the list, table or quoted text in a variable, if it is written as in TOML.
    pub(super) fn parse_variable(&mut self) {
        if let ConfigValue::Variable(text) = &self.value
            && let Ok(value) = DeValue::parse(text.trim())
        {
            self.value = ConfigValue::of(value.get_ref(), &|_| self.place.clone());
        }
    }
}

fn node(key_at: usize, value: &Spanned<DeValue<'_>>, place: &PlaceAt<'_>) -> ConfigNode {
    ConfigNode {
        key_place: place(key_at),
        place: place(value.span().start),
        value: ConfigValue::of(value.get_ref(), place),
    }
}

impl ConfigValue {
    fn of(value: &DeValue<'_>, place: &PlaceAt<'_>) -> Self {
        match value {
            DeValue::Table(table) => Self::table(table, place),
            DeValue::Array(list) => {
                let nodes = list.iter().map(|value| node(value.span().start, value, place));
                Self::List(nodes.collect())
            }
            DeValue::String(text) => Self::Text(text.clone().into_owned()),
            DeValue::Integer(digits) => {
                let number = i64::from_str_radix(digits.as_str(), digits.radix());
                number.map_or(Self::Other, Self::Integer)
            }
            DeValue::Boolean(_) | DeValue::Float(_) | DeValue::Datetime(_) => Self::Other,
        }
    }

    fn table(table: &DeTable<'_>, place: &PlaceAt<'_>) -> Self {
        let nodes = table.iter().map(|(key, value)| {
            (key.get_ref().clone().into_owned(), node(key.span().start, value, place))
        });
        Self::Table(nodes.collect())
    }
}
