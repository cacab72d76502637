//! The repository keeps its own rules: who may import whom, who speaks to the outside, and that
//! what is written about the product is so.
//!
//! # Why
//!
//! One crate compiles any import, and no lint knows our rooms. So the sources are read as text:
//! comments and strings are blanked, and every path that begins with `crate` or `super` is
//! resolved. That is enough for code that rustfmt has laid out, and each failure says what to do.

mod docs;
mod source;

use source::{Source, repository_texts, rust_sources};

/// The words: import nothing of ours.
const DOMAIN: &str = "domain";
/// What belongs to the process; everybody but the words may use it.
const PROCESS: [&str; 5] = ["clock", "config", "failpoint", "lifecycle", "telemetry"];
/// Speak to one store each.
const CELLARS: [&str; 2] = ["stream", "store"];
/// What every room uses.
const FURNITURE: [&str; 2] = ["road", "http"];
/// Leave events at rest for each other, and never call each other.
const ROOMS: [&str; 4] = ["intake", "ledger", "notify", "api"];
/// Plays Azure and the clients, from outside: speaks to the product by HTTP only.
const SIMULATOR: &str = "simulator";
/// A private Postgres and broker: knows nothing of the product.
const EMBEDDED: &str = "embedded";
/// The front desk: may know everybody.
const DESK: [&str; 3] = ["cli", "lib", "main"];

/// The longest file that can still be proofread in one sitting.
const MOST_LINES: usize = 600;

/// Whether somebody has said where the module stands.
fn is_known(module: &str) -> bool {
    let (few, many) = (
        [DOMAIN, SIMULATOR, EMBEDDED],
        [&PROCESS[..], &CELLARS, &FURNITURE, &ROOMS, &DESK],
    );
    few.contains(&module) || many.iter().any(|modules| modules.contains(&module))
}

/// Whether a module of the crate may import another one.
fn may_import(from: &str, to: &str) -> bool {
    if from == to || DESK.contains(&from) {
        return true;
    }
    let mut below = vec![DOMAIN];
    if [&PROCESS[..], &CELLARS, &FURNITURE, &ROOMS, &[SIMULATOR]]
        .concat()
        .contains(&from)
    {
        below.extend(PROCESS);
    }
    if [&FURNITURE[..], &ROOMS].concat().contains(&from) {
        below.extend(CELLARS);
    }
    if ROOMS.contains(&from) {
        below.extend(FURNITURE);
    }
    from != EMBEDDED && below.contains(&to)
}

fn teaching(from: &str) -> &'static str {
    if from == DOMAIN {
        "the words import nothing of ours: pass what is needed as an argument"
    } else if from == EMBEDDED {
        "the embedded servers know nothing of the product: pass what is needed as an argument"
    } else if from == SIMULATOR {
        "the simulator is outside: it knows the words, and speaks to the product by HTTP"
    } else if PROCESS.contains(&from) {
        "what belongs to the process knows only the words"
    } else if CELLARS.contains(&from) {
        "a cellar knows neither rooms nor furniture nor the other cellar: furniture that may know both brings them together"
    } else if FURNITURE.contains(&from) {
        "furniture stands on the cellars and knows no room: move what it wants into a cellar or the words"
    } else {
        "rooms never call each other: leave the event at rest (a topic, a table), and let the other room pick it up"
    }
}

fn assert_none(violations: &[String], rule: &str) {
    const SHOWN: usize = 30;
    let shown = violations.get(..SHOWN).unwrap_or(violations).join("\n");
    let number = violations.len();
    assert!(number == 0, "{rule}\n{shown}\n({number} in all)");
}

#[test]
fn every_module_imports_only_what_stands_below_it() {
    let sources = rust_sources("src");
    let mut violations = Vec::new();
    for source in &sources {
        let from = source.room();
        assert!(
            is_known(&from),
            "{}: nobody said yet where the module {from} stands; add it to this test's lists, to the map in src/lib.rs and to docs/architecture.md",
            source.path,
        );
        for import in source.imports() {
            if is_known(&import.to) && !may_import(&from, &import.to) {
                violations.push(format!(
                    "{}:{} imports crate::{}; {}",
                    source.path,
                    import.line,
                    import.to,
                    teaching(&from)
                ));
            }
        }
    }
    assert_none(
        &violations,
        "the layer rule (design of the house, docs/architecture.md) is broken:",
    );
}

#[test]
fn only_the_composition_root_knows_the_rooms() {
    let mut violations = Vec::new();
    for source in rust_sources("src/cli")
        .iter()
        .filter(|source| source.path != "src/cli/serve.rs")
    {
        for import in source
            .imports()
            .iter()
            .filter(|import| ROOMS.contains(&import.to.as_str()))
        {
            violations.push(format!(
                "{}:{} imports crate::{}",
                source.path, import.line, import.to
            ));
        }
    }
    assert_none(
        &violations,
        "src/cli/serve.rs puts the rooms together, so that they are put together in one way only; call it instead:",
    );
}

#[test]
fn only_the_cellars_speak_to_the_stores() {
    let mut violations = Vec::new();
    for source in rust_sources("src") {
        let room = source.room();
        let may_speak = |word: &str| match word {
            "rdkafka" => {
                room == "stream"
                    || source.path == "src/embedded/broker.rs"
                    || source.path == "src/embedded/error.rs"
            }
            _ => room == "store",
        };
        for word in ["rdkafka", "sqlx"] {
            if !may_speak(word) {
                violations.extend(
                    source
                        .lines_with_word(word)
                        .map(|line| format!("{}:{line} speaks {word}", source.path)),
                );
            }
        }
    }
    assert_none(
        &violations,
        "Kafka is spoken in src/stream only (and by the in-process broker), SQL in src/store only; let the cellar offer a type or function of its own:",
    );
}

#[test]
fn clock_and_environment_have_one_address_each() {
    let mut violations = Vec::new();
    for source in rust_sources("src") {
        for (words, home, instead) in [
            (
                ["Utc::now", "SystemTime::now", "Local::now"].as_slice(),
                "src/clock.rs",
                "take `now` as an argument, or ask crate::clock",
            ),
            (
                ["std::env", "env::var", "env::vars"].as_slice(),
                "src/config.rs",
                "make it a setting, or a function of crate::config",
            ),
        ] {
            if source.path == home {
                continue;
            }
            for word in words {
                violations.extend(
                    source
                        .lines_with(word)
                        .map(|line| format!("{}:{line} has {word}: {instead}", source.path)),
                );
            }
        }
    }
    assert_none(
        &violations,
        "what comes from outside comes in at one place:",
    );
}

#[test]
fn every_file_can_be_read_in_one_sitting() {
    let sources = rust_sources("src").into_iter().chain(rust_sources("tests"));
    let violations: Vec<String> = sources
        .filter(|source| source.number_of_lines() > MOST_LINES)
        .map(|source| format!("{} has {} lines", source.path, source.number_of_lines()))
        .collect();
    assert_none(
        &violations,
        &format!("a file has at most {MOST_LINES} lines; split it at its second responsibility:"),
    );
}

#[test]
fn a_mod_rs_is_a_map() {
    /// How a room is entered: its resources, its tasks, its command.
    const DOORS: [&str; 3] = ["router", "start", "run"];
    let mut violations = Vec::new();
    for source in rust_sources("src")
        .iter()
        .filter(|source| source.path.ends_with("/mod.rs"))
    {
        let tests = source.lines_with("mod tests").next().unwrap_or(usize::MAX);
        for (line, name) in source.functions().filter(|(line, _)| *line < tests) {
            if !DOORS.contains(&name.as_str()) {
                violations.push(format!("{}:{line} defines fn {name}", source.path));
            }
        }
    }
    assert_none(
        &violations,
        "a mod.rs tells what is where: modules, `pub use`, and the room's door (router, start, run); move the rest to a file with a name:",
    );
}

#[test]
fn exceptions_to_lints_are_expected_with_a_reason() {
    let violations: Vec<String> = rust_sources("src")
        .iter()
        .chain(&rust_sources("tests"))
        .flat_map(|source| {
            source
                .lines_with("[allow(")
                .map(|line| format!("{}:{line}", source.path))
                .collect::<Vec<_>>()
        })
        .collect();
    assert_none(
        &violations,
        "write #[expect(lint, reason = \"…\")]: it tells why, and that it is still needed:",
    );
}

#[test]
fn the_repository_speaks_only_of_the_product() {
    // Spelled apart, so that this file does not find itself.
    let unfinished = [
        concat!("TO", "DO"),
        concat!("FIX", "ME"),
        concat!("XX", "X"),
        // Places for measured times.
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
    // Who appears in examples and tests.
    let nobody = ["ada"];
    let mut violations = Vec::new();
    for (path, text) in repository_texts() {
        for (number, line) in text.lines().enumerate() {
            let at = format!("{path}:{}", number + 1);
            if let Some(word) = unfinished.iter().find(|word| line.contains(**word)) {
                violations.push(format!("{at} has {word}: finish it, or say in README.md, \"Not yet\", that it is not there"));
            }
            let somebodys = line
                .split(home)
                .skip(1)
                .any(|rest| !nobody.iter().any(|name| rest.starts_with(name)));
            if somebodys || machines.iter().any(|machine| line.contains(machine)) {
                violations.push(format!("{at} names a path of one machine"));
            }
        }
    }
    assert_none(
        &violations,
        "what is in the repository is finished, and true on every machine:",
    );
}

#[test]
fn the_layer_rule_sees_every_form_of_import() {
    let text = r##"
//! [`crate::ledger`] in a comment is no import.
use crate::store::{self, Store};
use crate::{
    domain::ids::{Digest, Tenant},
    http, ledger::start,
};
use super::super::notify::Board;
/* crate::api */
fn f() -> &'static str {
    let _quote = '"';
    let _lifetime: &'static str = "crate::road";
    let _raw = r#"crate::intake " "#;
    crate::telemetry::start()
}
mod tests {
    use super::*;
    use super::super::sse::Stream;
    use super::super::super::config::Settings;
}
"##;
    let source = Source::of("src/intake/door.rs", text);
    let imports: Vec<(usize, String)> = source
        .imports()
        .into_iter()
        .map(|import| (import.line, import.to))
        .collect();
    let expected = [
        (3, "store"),
        (5, "domain"),
        (6, "http"),
        (6, "ledger"),
        (8, "notify"),
        (14, "telemetry"),
        (19, "config"),
    ];
    assert_eq!(imports, expected.map(|(line, to)| (line, to.to_owned())));
    assert_eq!(source.room(), "intake");
    assert_eq!(
        source.functions().collect::<Vec<_>>(),
        [(10, "f".to_owned())]
    );
}

#[test]
fn the_layer_rule_is_the_one_of_the_design() {
    for (from, to, may) in [
        ("intake", "ledger", false),
        ("api", "notify", false),
        ("intake", "road", true),
        ("ledger", "store", true),
        ("stream", "store", false),
        ("store", "stream", false),
        ("stream", "http", false),
        ("road", "stream", true),
        ("road", "intake", false),
        ("http", "road", false),
        ("domain", "clock", false),
        ("clock", "domain", true),
        ("lifecycle", "store", false),
        ("embedded", "config", false),
        ("simulator", "domain", true),
        ("simulator", "intake", false),
        ("intake", "cli", false),
        ("cli", "intake", true),
    ] {
        assert_eq!(may_import(from, to), may, "{from} → {to}");
    }
}
