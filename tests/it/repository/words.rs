//! The words of the repository: plain ones, and only about the product.

use super::assert_none;
use super::source::repository_texts;

/// Metaphors that must not come back.
const METAPHORS: [&str; 16] = [
    "door",
    "bell",
    "shelf",
    "clerk",
    "scribe",
    "cellar",
    "furniture",
    "reading room",
    "front desk",
    "mouth",
    "haste",
    "road",
    "board",
    "intake",
    "sweeper",
    "house",
];
/// Where one of them is meant literally: a path, and a part of the line.
const LITERAL: [(&str, &str); 0] = [];
/// This file has to spell them.
const THIS_FILE: &str = "tests/it/repository/words.rs";
/// Maximum number of persons for processes in `src` and `crates`.
const MAX_PERSONS: usize = 30;

/// The words of a line in lower case, with one space between them, and one at each end.
fn words_of(line: &str) -> String {
    let words: Vec<String> = line
        .split(|c: char| !c.is_ascii_alphanumeric())
        .filter(|word| !word.is_empty())
        .map(str::to_ascii_lowercase)
        .collect();
    format!(" {} ", words.join(" "))
}

#[test]
fn no_metaphor_stands_for_a_part_of_the_service() {
    const PLACES: [&str; 7] =
        ["src/", "crates/", "docs/", "tests/it/", "benches/", "migrations/", "README.md"];
    let mut violations = Vec::new();
    for (path, text) in repository_texts() {
        let is_checked = PLACES.iter().any(|place| path.starts_with(place)) && path != THIS_FILE;
        if !is_checked {
            continue;
        }
        for (number, line) in text.lines().enumerate() {
            let words = words_of(line);
            let found = METAPHORS.iter().find(|metaphor| words.contains(&format!(" {metaphor} ")));
            let is_literal =
                LITERAL.iter().any(|(file, part)| *file == path && line.contains(part));
            if let Some(metaphor) = found.filter(|_| !is_literal) {
                violations.push(format!("{path}:{} has {metaphor}", number + 1));
            }
        }
    }
    assert_none(
        &violations,
        "use the word of docs/glossary.md, or add the line to LITERAL if it is meant literally:",
    );
}

#[test]
fn processes_are_rarely_called_persons() {
    let persons = ["nobody", "somebody", "whoever"];
    let places: Vec<String> = repository_texts()
        .into_iter()
        .filter(|(path, _)| path.starts_with("src/") || path.starts_with("crates/"))
        .flat_map(|(path, text)| {
            text.lines()
                .enumerate()
                .filter(|(_, line)| {
                    let words = words_of(line);
                    persons.iter().any(|it| words.contains(&format!(" {it} ")))
                })
                .map(|(number, _)| format!("{path}:{}", number + 1))
                .collect::<Vec<_>>()
        })
        .collect();
    assert!(
        places.len() <= MAX_PERSONS,
        "name the process, caller or user instead of {persons:?}; {} lines have them, at most {MAX_PERSONS} may:\n{}",
        places.len(),
        places.join("\n")
    );
}

#[test]
fn the_repository_is_only_about_the_product() {
    // Spelled apart, so that this file does not find itself.
    let unfinished = [
        concat!("TO", "DO"),
        concat!("FIX", "ME"),
        concat!("XX", "X"),
        // Placeholders of measured times.
        concat!("TIME", "_DEMO"),
        concat!("TIME", "_TEST"),
        concat!("todo", "!("),
        concat!("unimplemented", "!("),
    ];
    let machines = [
        concat!("/wo", "rk/"),
        concat!("/wo", "rkspace/"),
        concat!("wo", "rk/main"),
        concat!("/Us", "ers/"),
        concat!("/ro", "ot/"),
    ];
    let home = concat!("/ho", "me/");
    // Users in examples and tests.
    let invented = ["ada"];
    let mut violations = Vec::new();
    for (path, text) in repository_texts() {
        for (number, line) in text.lines().enumerate() {
            let at = format!("{path}:{}", number + 1);
            if let Some(word) = unfinished.iter().find(|word| line.contains(**word)) {
                violations.push(format!("{at} has {word}: finish it"));
            }
            let is_real_home = line
                .split(home)
                .skip(1)
                .any(|rest| !invented.iter().any(|name| rest.starts_with(name)));
            if is_real_home || machines.iter().any(|machine| line.contains(machine)) {
                violations.push(format!("{at} names a path of one machine"));
            }
        }
    }
    assert_none(&violations, "what is in the repository is finished, and true on every machine:");
}

#[test]
fn words_are_found_inside_identifiers_and_across_punctuation() {
    assert_eq!(words_of("a_door: Reading-room"), " a door reading room ");
}
