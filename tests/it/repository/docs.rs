//! The documents are complete, and what they name exists.

use std::collections::BTreeSet;

use clap::Parser as _;
use onrecord::cli::Arguments;
use onrecord::cli::serve::api_description;
use onrecord::config::Settings;

use super::assert_none;
use super::source::{repository_texts, root, rust_sources, text};

/// Maximum number of lines of the README.
const MAX_README_LINES: usize = 200;

/// The documents, with their paths.
fn documents() -> Vec<(String, String)> {
    repository_texts()
        .into_iter()
        .filter(|(path, _)| path.ends_with(".md") && !path.starts_with("tests/data/"))
        .collect()
}

/// The texts in backticks, outside blocks of code.
fn quoted(markdown: &str) -> Vec<&str> {
    let prose = markdown.split("```").step_by(2);
    prose.flat_map(|part| part.split('`').skip(1).step_by(2)).collect()
}

/// The names of all metrics.
fn metric_names() -> BTreeSet<String> {
    rust_sources("src")
        .iter()
        .filter(|source| source.module() == "telemetry")
        .flat_map(|source| {
            let text = text(&source.path);
            text.split('"')
                .filter(|word| word.starts_with("onrecord_"))
                .map(str::to_owned)
                .collect::<Vec<_>>()
        })
        .collect()
}

/// Fails with each name that a document does not have in backticks.
fn assert_documented(names: impl IntoIterator<Item = String>, document: &str, what: &str) {
    let names = Vec::from_iter(names);
    assert!(names.len() > 10, "{what} were not found in the sources");
    let markdown = text(document);
    let missing: Vec<String> = names
        .into_iter()
        // Alone in backticks, or after a method: `GET /v1/calls`.
        .filter(|name| {
            !markdown.contains(&format!("`{name}`")) && !markdown.contains(&format!(" {name}`"))
        })
        .collect();
    assert_none(&missing, &format!("{document} documents {what}:"));
}

#[test]
fn the_readme_has_at_most_200_lines() {
    let lines = text("README.md").lines().count();
    assert!(
        lines <= MAX_README_LINES,
        "README.md has {lines} lines, at most {MAX_README_LINES} are allowed; move the rest to docs"
    );
}

#[test]
fn every_key_of_the_default_settings_is_known_and_none_is_without_a_default() {
    // Unknown keys are refused, and so are missing ones: the file has exactly the existing keys.
    let (_, defaults) = repository_texts()
        .into_iter()
        .find(|(path, _)| path.starts_with("src/") && path.ends_with("/default.toml"))
        .expect("the default settings were not found");
    Settings::from_toml(&defaults).unwrap();
}

#[test]
fn every_metric_is_documented() {
    assert_documented(metric_names(), "docs/metrics.md", "every metric");
}

#[test]
fn every_alert_watches_existing_metrics_and_has_a_remedy() {
    let rules = text("docs/alerts.yaml");
    let names = metric_names();
    let is_known = |word: &str| {
        // A histogram has derived series.
        let histogram = word.strip_suffix("_bucket");
        names.contains(word) || histogram.is_some_and(|histogram| names.contains(histogram))
    };
    let mut wrong = Vec::new();
    let alerts: Vec<&str> = rules.split("- alert: ").skip(1).collect();
    assert!(alerts.len() > 15, "the alerts were not found");
    let runbook = text("docs/operate.md");
    for alert in alerts {
        let name = alert.lines().next().unwrap_or_default();
        let has = |member: &str| {
            let mut lines = alert.lines().map(str::trim_start);
            lines.any(|line| {
                line.strip_prefix(member)
                    .is_some_and(|rest| rest.len() > 3 && rest.starts_with(' '))
            })
        };
        for member in ["expr:", "severity:", "summary:", "do:"] {
            if !has(member) {
                wrong.push(format!("{name} has no {member}"));
            }
        }
        if !runbook.contains(&format!("### {name}\n")) {
            wrong.push(format!("{name} has no section in docs/operate.md"));
        }
        let words = alert.split(|c: char| !(c.is_ascii_alphanumeric() || c == '_'));
        let unknown = words.filter(|word| word.starts_with("onrecord_") && !is_known(word));
        wrong.extend(unknown.map(|word| format!("{name} watches {word}")));
    }
    // The file is simple YAML: no tabs, and plain scalars contain no ": " and no " #".
    for (number, line) in rules.lines().enumerate() {
        let value = line.split_once(": ").map_or("", |(_, value)| value);
        let is_quoted = value.starts_with('"') && value.ends_with('"');
        let is_plain = !value.starts_with(['{', '[', '*', '&', '%', '@', '`', '"'])
            && !value.contains(": ")
            && !value.contains(" #");
        if line.contains('\t') || !(line.starts_with('#') || is_quoted || is_plain) {
            wrong.push(format!("line {}: {line}", number + 1));
        }
    }
    assert_none(
        &wrong,
        "docs/alerts.yaml watches metrics of src/telemetry, and each alert has its remedy and its section in docs/operate.md:",
    );
}

#[test]
fn every_code_of_the_doctor_is_documented() {
    const AREAS: [&str; 10] = [
        "settings",
        "postgres",
        "schema",
        "kafka",
        "source",
        "spool",
        "quarantine",
        "stream",
        "ledger",
        "webhook",
    ];
    let is_code = |literal: &&str| {
        let area = literal.split_once('.').map(|(area, _)| area);
        let is_name = |c: char| c.is_ascii_lowercase() || c == '_' || c == '.';
        area.is_some_and(|area| AREAS.contains(&area)) && literal.chars().all(is_name)
    };
    let mut codes = BTreeSet::new();
    for source in rust_sources("src/doctor") {
        let text = text(&source.path);
        let product = text.split("#[cfg(test)]").next().unwrap_or_default();
        let literals = product.split('"').skip(1).step_by(2);
        codes.extend(literals.filter(is_code).map(str::to_owned));
    }
    assert!(codes.len() > 30, "the codes were not found");
    assert_documented(codes, "docs/operate.md", "every code of the doctor");
}

#[test]
fn every_resource_is_documented() {
    // The description has every route of the service; the pages of the demonstration have none.
    let description = api_description::document().unwrap();
    let mut routes: BTreeSet<String> =
        description["paths"].as_object().unwrap().keys().cloned().collect();
    assert!(routes.len() > 35, "{}", routes.len());
    for source in rust_sources("src") {
        let text = text(&source.path);
        // A test may serve any path.
        let product = text.split("#[cfg(test)]").next().unwrap_or_default();
        routes.extend(
            product
                .split(".route(\"")
                .skip(1)
                .filter_map(|rest| rest.split('"').next().map(str::to_owned)),
        );
    }
    assert_documented(routes, "docs/http.md", "every resource");
}

#[test]
fn every_documented_command_is_accepted_by_the_program() {
    let mut commands = 0;
    let mut refused = Vec::new();
    for (path, markdown) in documents() {
        for command in shell_commands(&markdown) {
            let Some(arguments) = our_arguments(&command) else {
                continue;
            };
            commands += 1;
            let arguments = std::iter::once("onrecord").chain(arguments);
            if let Err(error) = Arguments::try_parse_from(arguments)
                && error.use_stderr()
            {
                refused.push(format!("{path}: {command}\n{error}"));
            }
        }
    }
    assert!(commands > 10, "the commands were not found");
    assert_none(&refused, "the documents have commands that the program rejects:");
}

/// The lines of all `sh` blocks, with continued lines joined, without redirections and comments.
fn shell_commands(markdown: &str) -> Vec<String> {
    let blocks = markdown.split("```sh\n").skip(1).filter_map(|rest| rest.split("```").next());
    let lines = blocks.flat_map(|block| {
        block.replace("\\\n", " ").lines().map(str::to_owned).collect::<Vec<_>>()
    });
    lines
        .map(|line| {
            line.split(['#', '|', '<', '>', '&', ';']).next().unwrap_or_default().trim().to_owned()
        })
        .filter(|line| !line.is_empty())
        .collect()
}

/// The arguments of our program, if the command runs it.
fn our_arguments(command: &str) -> Option<Vec<&str>> {
    const PREFIXES: [&str; 3] = [
        "cargo run --release -- ",
        "docker compose exec onrecord onrecord ",
        "docker compose run --rm --no-deps onrecord ",
    ];
    let bare = command.rsplit_once("./target/release/onrecord ").map(|(_, rest)| rest);
    let rest = PREFIXES
        .iter()
        .find_map(|prefix| command.strip_prefix(prefix))
        .or(bare)
        .or_else(|| command.strip_prefix("onrecord "))?;
    Some(rest.split_whitespace().collect())
}

#[test]
fn every_table_and_topic_is_documented() {
    let migrations: String = std::fs::read_dir(root().join("migrations"))
        .unwrap()
        .map(|file| std::fs::read_to_string(file.unwrap().path()).unwrap())
        .collect();
    let named = |statement: &str| -> BTreeSet<&str> {
        let rests = migrations.split(statement).skip(1);
        rests
            .map(|rest| rest.trim_start_matches("if not exists "))
            .filter_map(|rest| rest.split([' ', '\n', '(', ';']).next())
            .collect()
    };
    let (created, dropped) = (named("create table "), named("drop table "));
    let tables = created
        .difference(&dropped)
        .filter(|name| **name != "entry_default")
        .map(|name| (*name).to_owned());
    assert_documented(tables.collect::<BTreeSet<_>>(), "docs/data-model.md", "every table");
    let kafka = text("docs/kafka.md");
    let mut missing = Vec::new();
    for topic in ["calling-events.v1", "notice-facts.v1", "quarantine.v1"] {
        if !kafka.contains(&format!("`{topic}`")) {
            missing.push(topic.to_owned());
        }
    }
    assert_none(&missing, "docs/kafka.md documents every topic:");
}

#[test]
fn every_test_and_file_that_a_document_names_exists() {
    const FOLDERS: [&str; 6] = ["src/", "crates/", "tests/", "benches/", "docs/", "migrations/"];
    let functions: BTreeSet<String> = ["src", "crates", "tests"]
        .into_iter()
        .flat_map(rust_sources)
        .flat_map(|source| source.functions().map(|(_, name)| name).collect::<Vec<_>>())
        .collect();
    let mut missing = Vec::new();
    let mut named_tests = 0;
    for (path, markdown) in documents() {
        for quoted in quoted(&markdown) {
            let is_sentence = quoted.matches('_').count() >= 3
                && quoted.chars().all(|c| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '_');
            let is_metric = quoted.starts_with("onrecord_");
            let is_test = is_sentence && !is_metric && path == "docs/testing.md";
            named_tests += usize::from(is_test);
            if is_test && !functions.contains(quoted) {
                missing.push(format!("{path}: no test is called {quoted}"));
            }
            let is_file = FOLDERS.iter().any(|folder| quoted.starts_with(folder))
                && !quoted.contains(['*', '{', ' ', '<', '…']);
            let file = quoted.split(['#', ':']).next().unwrap_or_default();
            if is_file && !root().join(file).exists() {
                missing.push(format!("{path}: there is no {quoted}"));
            }
        }
    }
    assert_none(&missing, "the documents name what does not exist:");
    assert!(named_tests > 30, "docs/testing.md names {named_tests} tests");
}

#[test]
fn every_relative_link_of_a_document_leads_to_a_file() {
    let mut broken = Vec::new();
    for (path, markdown) in documents() {
        let folder = path.rsplit_once('/').map_or("", |(folder, _)| folder);
        let prose = markdown.split("```").step_by(2);
        let targets = prose
            .flat_map(|part| part.split("](").skip(1))
            .filter_map(|rest| rest.split(')').next());
        for target in targets {
            let file = target.split('#').next().unwrap_or_default();
            let is_elsewhere =
                file.is_empty() || file.contains("://") || file.starts_with("mailto:");
            if !is_elsewhere && !root().join(folder).join(file).exists() {
                broken.push(format!("{path}: {target}"));
            }
        }
    }
    assert_none(&broken, "links lead to what does not exist:");
}

#[test]
fn every_document_that_the_sources_cite_exists() {
    let mut missing = Vec::new();
    for source in ["src", "crates", "tests", "benches"].into_iter().flat_map(rust_sources) {
        if source.path.starts_with("tests/it/repository/") {
            continue;
        }
        for (number, line) in text(&source.path).lines().enumerate() {
            let words = line.split(|c: char| !(c.is_ascii_alphanumeric() || "/._-".contains(c)));
            let words = words.map(|word| word.trim_start_matches('/'));
            for word in words.filter(|word| word.ends_with(".md") && word.len() > 3) {
                let in_crate = root().join(source.crate_folder()).join("..").join(word);
                let beside = root().join(&source.path).with_file_name(word);
                if !root().join(word).exists() && !in_crate.exists() && !beside.exists() {
                    missing.push(format!("{}:{} cites {word}", source.path, number + 1));
                }
            }
        }
    }
    assert_none(
        &missing,
        "comments cite documents of the repository only, by their path from its root:",
    );
}
