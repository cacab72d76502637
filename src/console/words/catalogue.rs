//! The catalogue of a language: keys such as `calls.title`, and their texts.

use std::collections::HashMap;
use std::fmt::Display;
use std::sync::LazyLock;

use toml::de::{DeTable, DeValue};

use super::language::ConsoleLanguage;

static ENGLISH: LazyLock<HashMap<String, String>> =
    LazyLock::new(|| texts(include_str!("en.toml")));
static GERMAN: LazyLock<HashMap<String, String>> = LazyLock::new(|| texts(include_str!("de.toml")));

/// The texts of a language.
#[derive(Clone, Copy, Debug)]
pub(in crate::console) struct Words {
    pub language: ConsoleLanguage,
    texts: &'static HashMap<String, String>,
}

impl Words {
    /// The texts of this language.
    pub(in crate::console) fn of(language: ConsoleLanguage) -> Self {
        let texts = match language {
            ConsoleLanguage::En => &*ENGLISH,
            ConsoleLanguage::De => &*GERMAN,
        };
        Self { language, texts }
    }

    /// The text of a key. A test ensures that each key of the pages has one in each language.
    pub(in crate::console) fn t(self, key: &str) -> &'static str {
        self.find(key).unwrap_or_else(|| {
            tracing::error!(key, "the console has no text {key}");
            "…"
        })
    }

    /// The text of a key, if there is one.
    pub(in crate::console) fn find(self, key: &str) -> Option<&'static str> {
        self.texts.get(key).map(String::as_str)
    }

    /// The text of a key, with values in place of `{name}`.
    pub(in crate::console) fn with(self, key: &str, values: &[(&str, &dyn Display)]) -> String {
        let mut text = self.t(key).to_owned();
        for (name, value) in values {
            text = text.replace(&format!("{{{name}}}"), &value.to_string());
        }
        text
    }
}

/// The texts of a file, by their keys. A file that is no TOML has none, which the tests find.
fn texts(file: &'static str) -> HashMap<String, String> {
    let mut texts = HashMap::new();
    match DeTable::parse(file) {
        Ok(table) => collect("", table.into_inner(), &mut texts),
        Err(error) => tracing::error!(error = %error, "a file of texts is no TOML: {error}"),
    }
    texts
}

fn collect(prefix: &str, table: DeTable<'_>, texts: &mut HashMap<String, String>) {
    for (name, value) in table {
        let name = name.into_inner();
        let key = if prefix.is_empty() { name.into_owned() } else { format!("{prefix}.{name}") };
        match value.into_inner() {
            DeValue::String(text) => {
                texts.insert(key, text.into_owned());
            }
            DeValue::Table(table) => collect(&key, table, texts),
            _ => tracing::error!(key, "the text {key} is no text"),
        }
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;
    use std::fs;
    use std::path::Path;

    use strum::IntoEnumIterator as _;

    use super::*;

    fn keys(language: ConsoleLanguage) -> BTreeSet<&'static str> {
        Words::of(language).texts.keys().map(String::as_str).collect()
    }

    fn sources(folder: &Path, found: &mut Vec<(String, String)>) {
        for entry in fs::read_dir(folder).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() {
                sources(&path, found);
            } else if path.extension().is_some_and(|it| it == "html" || it == "rs") {
                found.push((path.display().to_string(), fs::read_to_string(&path).unwrap()));
            }
        }
    }

    #[test]
    fn each_language_has_the_same_keys_and_the_same_values() {
        let english = keys(ConsoleLanguage::En);
        assert!(english.len() > 50);
        let values = |text: &str| -> BTreeSet<String> {
            text.split('{')
                .skip(1)
                .filter_map(|it| it.split_once('}'))
                .map(|it| it.0.to_owned())
                .collect()
        };
        for language in ConsoleLanguage::iter() {
            let other = keys(language);
            let missing: Vec<_> = english.symmetric_difference(&other).collect();
            assert!(missing.is_empty(), "{language:?}: {missing:?}");
            for key in &english {
                let [one, two] =
                    [ConsoleLanguage::En, language].map(|it| values(Words::of(it).t(key)));
                assert_eq!(one, two, "{language:?} {key}");
                assert!(!Words::of(language).t(key).trim().is_empty(), "{language:?} {key}");
            }
        }
    }

    #[test]
    fn each_key_of_a_page_has_a_text() {
        let mut found = Vec::new();
        sources(&Path::new(env!("CARGO_MANIFEST_DIR")).join("src/console"), &mut found);
        let english = keys(ConsoleLanguage::En);
        let mut missing = Vec::new();
        for (path, text) in &found {
            for call in [".t(\"", ".with(\"", "tx(\""] {
                for part in text.split(call).skip(1) {
                    let key = part.split('"').next().unwrap_or_default();
                    if key.contains('.') && !english.contains(key) {
                        missing.push(format!("{path}: {key}"));
                    }
                }
            }
        }
        assert!(missing.is_empty(), "{missing:#?}");
    }
}
