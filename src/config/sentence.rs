//! What is wrong with the settings, in one sentence.
//!
//! # Why
//!
//! A settings file holds passwords, and what is wrong with it goes to the log (law 9). So the
//! sentence names the place and the kind of error, and never repeats what stands there; the
//! parser's own text shows the whole line.

use figment::Metadata;
use figment::error::Kind;

/// How the parser's own text begins where it shows the line.
const SYNTAX: &str = "TOML parse error at ";

/// The sentence for figment's error: it names the key, where it stands and what is allowed.
pub(super) fn of(error: &figment::Error) -> String {
    let sentences = error.clone().into_iter().map(|error| one(&error));
    sentences.collect::<Vec<_>>().join("; ")
}

fn one(error: &figment::Error) -> String {
    let mut path = error.path.clone();
    if let Kind::UnknownField(field, _) = &error.kind
        && path.last() == Some(field)
    {
        // Where the value has a place of its own, the path ends with the key itself.
        path.pop();
    }
    let section = path.join(".");
    let place = error.metadata.as_ref().map_or_else(String::new, place);
    match &error.kind {
        Kind::UnknownField(field, expected) => {
            let whole = if section.is_empty() {
                field.clone()
            } else {
                format!("{section}.{field}")
            };
            let within = if section.is_empty() {
                "the top level".to_owned()
            } else {
                format!("[{section}]")
            };
            format!(
                "unknown setting {whole}{place}; the keys of {within} are: {}",
                expected.join(", ")
            )
        }
        Kind::MissingField(field) => format!(
            "the setting {section}{}{field} is missing{place}",
            if section.is_empty() { "" } else { "." }
        ),
        Kind::InvalidType(_, expected) | Kind::InvalidValue(_, expected) => {
            format!("the setting {section}{place} must be {expected}")
        }
        Kind::UnknownVariant(_, expected) => format!(
            "the setting {section}{place} must be one of: {}",
            expected.join(", ")
        ),
        Kind::Message(text) if text.contains('\n') => {
            format!("the settings{place} are no TOML: {}", syntax(text))
        }
        // Our own words about a value.
        Kind::Message(text) => format!("the setting {section}{place} is wrong: {text}"),
        _ => format!("the setting {section}{place} cannot be read"),
    }
}

fn place(metadata: &Metadata) -> String {
    match &metadata.source {
        Some(source) => format!(" (in {source})"),
        None => format!(" (in {})", metadata.name),
    }
}

/// Line, column and kind out of the parser's text, which shows the line between them.
fn syntax(text: &str) -> String {
    let Some((place, shown)) = text
        .strip_prefix(SYNTAX)
        .and_then(|text| text.split_once('\n'))
    else {
        return "it cannot be read".to_owned();
    };
    // The line is shown once, with a caret below it; what follows is the kind of error.
    let mut lines = shown.lines();
    let is_caret = |line: &str| line.trim_start().starts_with('|') && line.contains('^');
    let kind: Vec<String> = match lines.by_ref().find(|line| is_caret(line)) {
        Some(_) => lines.map(without_names).collect(),
        None => Vec::new(),
    };
    format!("{place}: {}", kind.join(", "))
}

/// The parser quotes marks that it expects, and names of the file, which may be anything.
fn without_names(kind: &str) -> String {
    let parts = kind.split('`').enumerate().map(|(at, part)| {
        let is_quoted = at % 2 == 1;
        match (is_quoted, part.contains(char::is_alphanumeric)) {
            (true, true) => "…".to_owned(),
            (true, false) => format!("`{part}`"),
            (false, _) => part.to_owned(),
        }
    });
    parts.collect()
}

#[cfg(test)]
mod tests {
    use crate::config::Settings;

    const PLANTED: &str = "hunter2";

    #[test]
    fn a_broken_file_is_told_by_line_and_column_and_no_word_of_it_is_repeated() {
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
            assert!(error.contains("are no TOML"), "{error}");
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
            "[intake]\ndeadline = \"hunter2\"",
            "[intake]\nbytes_in_flight = \"hunter2\"",
            "[board]\nhistory = \"hunter2\"",
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
}
