//! Where code is, and what it may import.

use std::collections::BTreeMap;

use super::assert_none;
use super::source::{Source, rust_sources, section, text};

/// The modules that pass events to each other through a topic or a table, and never import each
/// other.
const FEATURES: [&str; 11] = [
    "ingest",
    "ledger",
    "live",
    "streams",
    "clients",
    "client_api",
    "query",
    "export",
    "console",
    "flat_records",
    "webhooks",
];
/// The exceptions.
const FEATURE_IMPORTS: [(&str, &str); 10] = [
    // Client apps subscribe to the live state, and report to it.
    ("streams", "live"),
    ("clients", "live"),
    // A client returns the cursor of its stream.
    ("clients", "streams"),
    // The routes of both.
    ("client_api", "streams"),
    ("client_api", "clients"),
    ("client_api", "live"),
    // Pages show what the query API answers, and write CSV as exports do.
    ("console", "query"),
    ("console", "export"),
    // The cursor of a notice is one of a stream of all calls.
    ("webhooks", "streams"),
    ("webhooks", "live"),
];
/// The commands that import a feature all the same.
const COMMAND_IMPORTS: [(&str, &str); 8] = [
    // An audit computes the content of an original as ingest did.
    ("src/cli/evidence/entry_check.rs", "ingest"),
    // The command makes and changes subscriptions as the routes do.
    ("src/cli/webhook.rs", "webhooks"),
    // The command writes the files of an export as a node does.
    ("src/cli/export.rs", "export"),
    // Generated calls become rows by the functions of the service, without log and streams.
    ("src/cli/simulate/history_calls.rs", "clients"),
    ("src/cli/simulate/history_calls.rs", "ingest"),
    ("src/cli/simulate/history_calls.rs", "ledger"),
    // The file of the command is the document of the console.
    ("src/cli/evidence/evidence_html.rs", "console"),
    ("src/cli/evidence/show.rs", "console"),
];
/// The modules with the client of one store each.
const STORES: [&str; 2] = ["kafka", "postgres"];
/// The other modules, which features may import.
const SHARED: [&str; 9] = [
    "publish",
    "doctor",
    "http",
    "openapi",
    "config",
    "lifecycle",
    "telemetry",
    "clock",
    "failpoint",
];
/// The command line, which may import everything.
const COMMAND_LINE: [&str; 3] = ["cli", "lib", "main"];
/// Maximum number of Rust files in a folder.
const MAX_FILES: usize = 15;
/// The folders with our Rust code.
const CODE: [&str; 4] = ["src", "crates", "tests", "benches"];

/// Whether a module of the service may import another one.
fn may_import(from: &str, to: &str) -> bool {
    if from == to || COMMAND_LINE.contains(&from) || FEATURE_IMPORTS.contains(&(from, to)) {
        return true;
    }
    let between_stores = STORES.contains(&from) && STORES.contains(&to);
    !FEATURES.contains(&to) && !COMMAND_LINE.contains(&to) && !between_stores
}

#[test]
fn no_module_of_the_service_imports_a_feature_module() {
    let mut violations = Vec::new();
    for source in &rust_sources("src") {
        let from = source.module();
        let known = [&FEATURES[..], &STORES, &SHARED, &COMMAND_LINE].concat();
        assert!(
            known.contains(&from.as_str()),
            "{}: add the module {from} to the lists of this test, to src/lib.rs and to docs/architecture.md",
            source.path
        );
        for import in source.imports() {
            let to = import.path.first().map(String::as_str).unwrap_or_default();
            if !may_import(&from, to) {
                violations.push(format!("{}:{} imports crate::{to}", source.path, import.line));
            }
        }
    }
    assert_none(
        &violations,
        "features meet through a topic, a table or a type of onrecord-evidence; move shared code to a module that is no feature:",
    );
}

#[test]
fn only_serve_puts_the_features_together() {
    let mut violations = Vec::new();
    for source in
        rust_sources("src/cli").iter().filter(|source| !source.path.starts_with("src/cli/serve"))
    {
        for import in source.imports() {
            let to = import.path.first().map(String::as_str).unwrap_or_default();
            if FEATURES.contains(&to) && !COMMAND_IMPORTS.contains(&(source.path.as_str(), to)) {
                violations.push(format!("{}:{} imports crate::{to}", source.path, import.line));
            }
        }
    }
    assert_none(
        &violations,
        "src/cli/serve puts the features together, so that there is one way only; call it instead:",
    );
}

#[test]
fn only_kafka_uses_rdkafka_and_only_postgres_uses_sqlx() {
    let mut violations = Vec::new();
    for source in rust_sources("src").into_iter().chain(rust_sources("crates")) {
        for (library, module) in [("rdkafka", "src/kafka/"), ("sqlx", "src/postgres/")] {
            // The devstack is the in-process broker of demo and tests.
            let is_broker = library == "rdkafka" && source.path.starts_with("crates/devstack/");
            if !source.path.starts_with(module) && !is_broker {
                violations.extend(
                    source
                        .lines_with_word(library)
                        .map(|line| format!("{}:{line} uses {library}", source.path)),
                );
            }
        }
    }
    assert_none(
        &violations,
        "src/kafka is the only module with rdkafka, src/postgres the only one with sqlx; let it offer a type or a function:",
    );
}

#[test]
fn the_clock_and_the_environment_are_read_in_one_place_each() {
    let mut violations = Vec::new();
    for source in rust_sources("src").into_iter().chain(rust_sources("crates")) {
        for (words, is_home, instead) in [
            (
                ["Utc::now", "SystemTime::now", "Local::now"].as_slice(),
                source.path.ends_with("/clock.rs"),
                "take `now` as an argument, or call crate::clock",
            ),
            (
                ["std::env", "env::var", "env::vars"].as_slice(),
                source.path.starts_with("src/config"),
                "make it a setting, or a function of crate::config",
            ),
        ] {
            if is_home {
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
    assert_none(&violations, "time and environment are read in one place each:");
}

#[test]
fn a_mod_rs_is_a_map() {
    /// The entry points of a module: its routes, its tasks, its command.
    const ENTRY_POINTS: [&str; 3] = ["router", "start", "run"];
    let mut violations = Vec::new();
    let mut sources = rust_sources("src");
    sources.extend(rust_sources("crates"));
    for source in sources.iter().filter(|source| source.path.ends_with("/mod.rs")) {
        for (line, name) in source.functions() {
            if line < source.first_test_line() && !ENTRY_POINTS.contains(&name.as_str()) {
                violations.push(format!("{}:{line} defines fn {name}", source.path));
            }
        }
    }
    assert_none(
        &violations,
        "a mod.rs has modules, `pub use`, and the module's entry (router, start, run); move the rest to a file with a name:",
    );
}

#[test]
fn no_folder_has_more_than_fifteen_files() {
    let mut files_by_folder: BTreeMap<String, usize> = BTreeMap::new();
    for source in CODE.into_iter().flat_map(rust_sources) {
        let folder = source.path.rsplit_once('/').map_or("", |(folder, _)| folder);
        *files_by_folder.entry(folder.to_owned()).or_default() += 1;
    }
    let violations: Vec<String> = files_by_folder
        .into_iter()
        .filter(|(_, files)| *files > MAX_FILES)
        .map(|(folder, files)| format!("{folder} has {files} files"))
        .collect();
    assert_none(&violations, "a folder groups files that change together; split it into folders:");
}

#[test]
fn no_type_name_is_defined_twice() {
    let glossary = text("docs/glossary.md");
    let allowed: Vec<&str> =
        section(&glossary, "Type names used twice").split('`').skip(1).step_by(2).collect();
    let mut places: BTreeMap<String, Vec<String>> = BTreeMap::new();
    for source in rust_sources("src").into_iter().chain(rust_sources("crates")) {
        for (line, name) in source.types() {
            let place = format!("{}:{line}", source.path);
            places.entry(name).or_default().push(place);
        }
    }
    let violations: Vec<String> = places
        .into_iter()
        .filter(|(name, places)| places.len() > 1 && !allowed.contains(&name.as_str()))
        .map(|(name, places)| format!("{name}: {}", places.join(", ")))
        .collect();
    assert_none(
        &violations,
        "each type name means one thing; rename all but one, or list it with the reason in docs/glossary.md, \"Type names used twice\":",
    );
}

#[test]
fn exceptions_to_lints_are_expected_with_a_reason() {
    let violations: Vec<String> = CODE
        .into_iter()
        .flat_map(rust_sources)
        .flat_map(|source| {
            source
                .lines_with("[allow(")
                .map(|line| format!("{}:{line}", source.path))
                .collect::<Vec<_>>()
        })
        .collect();
    assert_none(
        &violations,
        "write #[expect(lint, reason = \"…\")]: it gives the reason, and fails when it is not needed any more:",
    );
}

#[test]
fn the_rule_of_imports_is_the_one_of_the_architecture() {
    for (from, to, may) in [
        ("ingest", "ledger", false),
        ("query", "live", false),
        ("console", "query", true),
        ("query", "console", false),
        ("streams", "live", true),
        ("live", "streams", false),
        ("live", "clients", false),
        ("clients", "query", false),
        ("streams", "clients", false),
        ("clients", "live", true),
        ("ingest", "publish", true),
        ("ledger", "postgres", true),
        ("kafka", "postgres", false),
        ("postgres", "kafka", false),
        ("publish", "kafka", true),
        ("publish", "ingest", false),
        ("http", "ingest", false),
        ("ingest", "cli", false),
        ("cli", "ingest", true),
    ] {
        assert_eq!(may_import(from, to), may, "{from} → {to}");
    }
}

#[test]
fn types_are_found_outside_tests_only() {
    let source = Source::of(
        "src/ingest/routes.rs",
        "pub struct One<'a>(&'a str);\npub(super) enum Two { A }\ntype Three = One;\n\
         impl Iterator for Two {\n    type Item = One;\n}\nfn f() {\n    struct Four;\n}\n\
         #[cfg(test)]\nmod tests {\n    struct Five;\n}\n",
    );
    let names: Vec<String> = source.types().into_iter().map(|(_, name)| name).collect();
    assert_eq!(names, ["One", "Two", "Three", "Four"]);
}

#[test]
fn a_body_of_v1_is_read_in_one_place_after_its_caller_was_authenticated() {
    let mut violations = Vec::new();
    for source in rust_sources("src") {
        if source.path == "src/http/body.rs" || source.module() == "ingest" {
            continue;
        }
        let until = source.first_test_line();
        // An extractor of a body, or what is needed to write one.
        for word in ["FromRequest", "from_request", "RawForm", "Form", "Multipart"] {
            let lines = source.lines_with_word(word).filter(|line| *line < until);
            violations.extend(lines.map(|line| format!("{}:{line} has {word}", source.path)));
        }
        for text in ["): Json<", ": Bytes,", "body: Body,"] {
            let lines = source.lines_with(text).filter(|line| *line < until);
            violations.extend(lines.map(|line| format!("{}:{line} has `{text}`", source.path)));
        }
    }
    assert_none(
        &violations,
        "a handler takes crate::http::body::CallerBody, which reads the body of an authenticated caller only:",
    );
}

#[test]
fn every_route_is_declared_with_its_description() {
    let mut violations = Vec::new();
    for source in rust_sources("src") {
        // The pages of the console and of the demonstration are no interface.
        if ["src/console/", "src/cli/demo/"].iter().any(|pages| source.path.starts_with(pages)) {
            continue;
        }
        let until = source.first_test_line();
        for text in [".route(", "route_service(", "nest_service("] {
            let lines = source.lines_with(text).filter(|line| *line < until);
            violations.extend(lines.map(|line| format!("{}:{line} has `{text}`", source.path)));
        }
    }
    assert_none(
        &violations,
        "OpenApiRouter::routes takes a handler with its description (#[utoipa::path]):",
    );
}

#[test]
fn tasks_are_started_by_the_lifecycle_only() {
    let mut violations = Vec::new();
    for source in rust_sources("src") {
        if source.module() == "lifecycle" {
            continue;
        }
        let until = source.first_test_line();
        for text in ["tokio::spawn(", "task::spawn(", "runtime.spawn(", "spawn_local("] {
            let lines = source.lines_with(text).filter(|line| *line < until);
            violations.extend(lines.map(|line| format!("{}:{line} has `{text}`", source.path)));
        }
    }
    assert_none(&violations, "Lifecycle runs tasks, so that the stop waits for them:");
}
