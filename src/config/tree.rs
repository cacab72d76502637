//! The untyped tree of settings: tables and values, each with its place.
//!
//! The default settings, the file and the environment are merged into one tree. Each key and value
//! keeps its place, so that an error can name it.

use std::collections::BTreeMap;
use std::fmt;
use std::sync::Arc;

use toml::Spanned;
use toml::de::{DeArray, DeTable, DeValue};

/// The place of a key or value.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum ConfigPlace {
    /// In a TOML text; line and column count from 1.
    Text {
        name: Arc<str>,
        line: usize,
        column: usize,
    },
    /// In an environment variable.
    Variable(Arc<str>),
}

impl fmt::Display for ConfigPlace {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Text { name, line, column } => {
                write!(f, "line {line}, column {column} of {name}")
            }
            Self::Variable(name) => write!(f, "the environment variable {name}"),
        }
    }
}

/// A value and its place.
#[derive(Clone)]
pub(super) struct ConfigNode {
    pub place: ConfigPlace,
    pub value: ConfigValue,
}

/// A value. It has no `Debug`, because it may be a secret.
#[derive(Clone)]
pub(super) enum ConfigValue {
    Table(ConfigTable),
    List(Vec<ConfigNode>),
    Text(String),
    Integer(i64),
    Boolean(bool),
    /// The text of an environment variable; the type of the setting decides how it is parsed.
    Variable(String),
    /// A kind that no setting has: a fraction, a date, an integer above 64 bits.
    Other,
}

/// The keys of a table, each with its own place.
pub(super) type ConfigTable = BTreeMap<String, ConfigEntry>;

#[derive(Clone)]
pub(super) struct ConfigEntry {
    pub key_place: ConfigPlace,
    pub node: ConfigNode,
}

/// A text is not TOML. The kind of error is a fixed text of the parser, which never quotes the input.
pub(super) struct TomlSyntaxError {
    pub place: ConfigPlace,
    pub kind: String,
}

impl ConfigNode {
    /// Parses a TOML document; errors refer to it by `name`.
    ///
    /// # Errors
    ///
    /// [`TomlSyntaxError`].
    pub(super) fn parse(name: &str, text: &str) -> Result<Self, TomlSyntaxError> {
        let source = TextSource::new(name, text);
        match DeTable::parse(text) {
            Ok(table) => Ok(Self {
                place: source.place(0),
                value: ConfigValue::Table(source.table(table.get_ref())),
            }),
            Err(error) => Err(TomlSyntaxError {
                place: source.place(error.span().map_or(text.len(), |span| span.start)),
                kind: error.message().replace('\n', ", "),
            }),
        }
    }

    /// Merges `over` into this: tables key by key; any other value is replaced.
    pub(super) fn merge(&mut self, over: Self) {
        let over = match over.value {
            // A variable for a table may contain an inline table.
            ConfigValue::Variable(text) if matches!(self.value, ConfigValue::Table(_)) => {
                inline(&text, &over.place).unwrap_or(Self {
                    value: ConfigValue::Variable(text),
                    place: over.place,
                })
            }
            value => Self { value, ..over },
        };
        // A table written in one variable, and a member of it in another one.
        if let (ConfigValue::Variable(text), ConfigValue::Table(_)) = (&self.value, &over.value)
            && let Some(node) = inline(text, &self.place)
        {
            *self = node;
        }
        match (&mut self.value, over.value) {
            (ConfigValue::Table(below), ConfigValue::Table(above)) => {
                for (key, entry) in above {
                    match below.get_mut(&key) {
                        Some(known) => {
                            known.key_place = entry.key_place;
                            known.node.merge(entry.node);
                        }
                        None => {
                            below.insert(key, entry);
                        }
                    }
                }
            }
            (value, above) => *value = above,
        }
        self.place = over.place;
    }

    /// Merges the value of one environment variable into this, at `path`.
    pub(super) fn merge_variable(&mut self, variable: &str, path: &[String], text: String) {
        let place = ConfigPlace::Variable(variable.into());
        let leaf = Self {
            place: place.clone(),
            value: ConfigValue::Variable(text),
        };
        let over = path.iter().rev().fold(leaf, |node, key| Self {
            place: place.clone(),
            value: ConfigValue::Table(BTreeMap::from([(
                key.clone(),
                ConfigEntry {
                    key_place: place.clone(),
                    node,
                },
            )])),
        });
        self.merge(over);
    }
}

/// Parses the list, table or quoted text in a variable, written as in TOML.
pub(super) fn inline(text: &str, place: &ConfigPlace) -> Option<ConfigNode> {
    let value = DeValue::parse(text.trim()).ok()?;
    let source = TextSource {
        name: "".into(),
        text: "",
        variable: Some(place.clone()),
    };
    Some(source.node(&value))
}

/// Computes the places in a text.
struct TextSource<'t> {
    name: Arc<str>,
    text: &'t str,
    /// The variable that contains the text, if it is not a file.
    variable: Option<ConfigPlace>,
}

impl<'t> TextSource<'t> {
    fn new(name: &str, text: &'t str) -> Self {
        Self {
            name: name.into(),
            text,
            variable: None,
        }
    }

    fn place(&self, offset: usize) -> ConfigPlace {
        if let Some(variable) = &self.variable {
            return variable.clone();
        }
        let before = self.text.get(..offset).unwrap_or(self.text);
        let line_start = before.rfind('\n').map_or(0, |at| at + 1);
        ConfigPlace::Text {
            name: Arc::clone(&self.name),
            line: before.matches('\n').count() + 1,
            column: before[line_start..].chars().count() + 1,
        }
    }

    fn table(&self, table: &DeTable<'_>) -> ConfigTable {
        let entries = table.iter().map(|(key, value)| {
            let entry = ConfigEntry {
                key_place: self.place(key.span().start),
                node: self.node(value),
            };
            (key.get_ref().clone().into_owned(), entry)
        });
        entries.collect()
    }

    fn list(&self, list: &DeArray<'_>) -> Vec<ConfigNode> {
        list.iter().map(|node| self.node(node)).collect()
    }

    fn node(&self, value: &Spanned<DeValue<'_>>) -> ConfigNode {
        let place = self.place(value.span().start);
        let value = match value.get_ref() {
            DeValue::Table(table) => ConfigValue::Table(self.table(table)),
            DeValue::Array(list) => ConfigValue::List(self.list(list)),
            DeValue::String(text) => ConfigValue::Text(text.clone().into_owned()),
            DeValue::Boolean(is_set) => ConfigValue::Boolean(*is_set),
            DeValue::Integer(digits) => i64::from_str_radix(digits.as_str(), digits.radix())
                .map_or(ConfigValue::Other, ConfigValue::Integer),
            DeValue::Float(_) | DeValue::Datetime(_) => ConfigValue::Other,
        };
        ConfigNode { place, value }
    }
}
