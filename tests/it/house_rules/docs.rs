//! What is written about the product is so.

use std::collections::BTreeSet;

use clap::Parser as _;
use onrecord::cli::Arguments;
use onrecord::config::Settings;

use super::assert_none;
use super::source::{rust_sources, text};

#[test]
fn every_key_of_the_default_settings_is_known_and_none_is_without_a_default() {
    // Unknown keys are refused, and so are missing ones: the file has exactly the keys that are.
    Settings::from_toml(&text("src/default.toml")).unwrap();
}

#[test]
fn every_metric_is_told_in_the_readme() {
    let readme = text("README.md");
    let telemetry = text("src/telemetry.rs");
    let names: Vec<&str> = telemetry
        .split('"')
        .filter(|word| word.starts_with("onrecord_"))
        .collect();
    assert!(
        names.len() > 10,
        "the names of metrics are not where they were"
    );
    let untold: Vec<String> = names
        .iter()
        .filter(|name| !readme.contains(&format!("`{name}`")))
        .map(ToString::to_string)
        .collect();
    assert_none(
        &untold,
        "README.md tells the operator of every metric of src/telemetry.rs:",
    );
}

#[test]
fn every_alert_watches_metrics_that_there_are_and_says_what_to_do() {
    let rules = text("docs/alerts.yaml");
    let telemetry = text("src/telemetry.rs");
    let names: BTreeSet<&str> = telemetry
        .split('"')
        .filter(|word| word.starts_with("onrecord_"))
        .collect();
    let is_known = |word: &str| {
        // A histogram has series of its own.
        let histogram = word.strip_suffix("_bucket");
        names.contains(word) || histogram.is_some_and(|histogram| names.contains(histogram))
    };
    let mut wrong = Vec::new();
    let alerts: Vec<&str> = rules.split("- alert: ").skip(1).collect();
    assert!(alerts.len() > 15, "the rules are not where they were");
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
        let words = alert.split(|c: char| !(c.is_ascii_alphanumeric() || c == '_'));
        let unknown = words.filter(|word| word.starts_with("onrecord_") && !is_known(word));
        wrong.extend(unknown.map(|word| format!("{name} watches {word}")));
    }
    // What this file is written in is plain: no tabs, and plain scalars hold no ": " and no " #".
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
        "docs/alerts.yaml watches what src/telemetry.rs names, and tells what to do:",
    );
}

#[test]
fn every_code_of_the_doctor_is_told_in_the_readme() {
    let readme = text("README.md");
    let mut codes = BTreeSet::new();
    for source in rust_sources("src/cli/doctor") {
        let text = text(&source.path);
        let constants = text.split(": &str = \"").skip(1);
        codes.extend(
            constants
                .filter_map(|rest| rest.split('"').next())
                .filter(|value| value.contains('.') && !value.contains([' ', '/']))
                .map(str::to_owned),
        );
    }
    assert!(codes.len() > 30, "the codes are not where they were");
    let untold: Vec<String> = codes
        .into_iter()
        .filter(|code| !readme.contains(&format!("`{code}`")))
        .collect();
    assert_none(&untold, "README.md tells of every code of the doctor:");
}

#[test]
fn every_resource_is_told_in_the_readme() {
    let readme = text("README.md");
    let mut routes = BTreeSet::new();
    for source in rust_sources("src") {
        let text = text(&source.path);
        // A test may serve what it likes.
        let product = text.split("#[cfg(test)]").next().unwrap_or_default();
        routes.extend(
            product
                .split(".route(\"")
                .skip(1)
                .filter_map(|rest| rest.split('"').next().map(str::to_owned)),
        );
    }
    assert!(
        routes.contains("/v1/calls/{call}"),
        "the routes are not where they were"
    );
    let untold: Vec<String> = routes
        .into_iter()
        .filter(|route| !readme.contains(&format!("{route}`")))
        .collect();
    assert_none(&untold, "README.md tells of every resource:");
}

#[test]
fn every_command_in_the_readme_is_one_that_the_program_takes() {
    let readme = text("README.md");
    let mut commands = 0;
    let mut refused = Vec::new();
    for command in shell_commands(&readme) {
        let Some(arguments) = our_arguments(&command) else {
            continue;
        };
        commands += 1;
        if let Err(error) = Arguments::try_parse_from(std::iter::once("onrecord").chain(arguments))
            && error.use_stderr()
        {
            refused.push(format!("{command}\n{error}"));
        }
    }
    assert!(commands > 5, "the commands are not where they were");
    assert_none(
        &refused,
        "README.md has commands that the program does not take:",
    );
}

/// The lines of all `sh` blocks, continued ones joined, without what the shell itself takes.
fn shell_commands(markdown: &str) -> Vec<String> {
    let blocks = markdown
        .split("```sh\n")
        .skip(1)
        .filter_map(|rest| rest.split("```").next());
    let lines = blocks.flat_map(|block| {
        block
            .replace("\\\n", " ")
            .lines()
            .map(str::to_owned)
            .collect::<Vec<_>>()
    });
    lines
        .map(|line| {
            line.split(['#', '|', '<', '>', '&', ';'])
                .next()
                .unwrap_or_default()
                .trim()
                .to_owned()
        })
        .filter(|line| !line.is_empty())
        .collect()
}

/// What our program would be given, if the command is one of it.
fn our_arguments(command: &str) -> Option<Vec<&str>> {
    const WAYS: [&str; 3] = [
        "cargo run --release -- ",
        "docker compose exec onrecord onrecord ",
        "docker compose run --rm --no-deps onrecord ",
    ];
    let bare = command
        .rsplit_once("./target/release/onrecord ")
        .map(|(_, rest)| rest);
    let rest = WAYS
        .iter()
        .find_map(|way| command.strip_prefix(way))
        .or(bare)
        .or_else(|| command.strip_prefix("onrecord "))?;
    Some(rest.split_whitespace().collect())
}

#[test]
fn the_architecture_tells_the_life_of_every_table_and_topic() {
    let architecture = text("docs/architecture.md");
    let migrations: String = std::fs::read_dir(super::source::root().join("migrations"))
        .unwrap()
        .map(|file| std::fs::read_to_string(file.unwrap().path()).unwrap())
        .collect();
    let tables = migrations
        .split("create table ")
        .skip(1)
        .filter_map(|rest| rest.split([' ', '\n', '(']).next());
    let message = text("src/stream/message.rs");
    let topics = message.split('"').filter(|word| word.ends_with(".v1"));
    let told = |name: &str| architecture.contains(&format!("`{name}`"));
    let untold: BTreeSet<String> = tables
        .chain(topics)
        .filter(|name| *name != "entry_default" && !told(name))
        .map(str::to_owned)
        .collect();
    assert_none(
        &Vec::from_iter(untold),
        "docs/architecture.md tells of everything that is at rest:",
    );
}

#[test]
fn every_test_and_file_that_the_architecture_names_exists() {
    let architecture = text("docs/architecture.md");
    let sources: Vec<_> = rust_sources("src")
        .into_iter()
        .chain(rust_sources("tests"))
        .collect();
    let functions: BTreeSet<String> = sources
        .iter()
        .flat_map(|source| source.functions().map(|(_, name)| name).collect::<Vec<_>>())
        .collect();
    let mut missing = Vec::new();
    // What stands in backticks, outside blocks of code.
    for quoted in architecture.split('`').skip(1).step_by(2) {
        let is_sentence = quoted.matches('_').count() >= 3
            && quoted
                .chars()
                .all(|c| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '_');
        let is_setting = quoted.starts_with("onrecord_");
        if is_sentence && !is_setting && !functions.contains(quoted) {
            missing.push(format!("no test is called {quoted}"));
        }
        let is_file = ["src/", "tests/", "migrations/"]
            .iter()
            .any(|folder| quoted.starts_with(folder));
        if is_file && !super::source::root().join(quoted).exists() {
            missing.push(format!("there is no {quoted}"));
        }
    }
    assert_none(&missing, "docs/architecture.md names what is not there:");
}
