//! The OpenAPI document: complete, in words, and the one that is committed and served.

use std::collections::BTreeSet;
use std::fs;
use std::path::PathBuf;

use reqwest::StatusCode;
use serde_json::Value;

use super::schemas::{Components, document, operations};
use crate::support::app::TestApp;
use crate::support::client::http;

#[test]
fn the_committed_description_is_the_one_of_the_code() {
    let path = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("docs/openapi.json");
    let committed = fs::read_to_string(&path).unwrap_or_default();
    assert!(
        committed == format!("{:#}\n", document()),
        "run `cargo run -- openapi > docs/openapi.json`, and look at what changed"
    );
}

#[test]
fn everything_has_a_description_in_words() {
    let document = document();
    let mut without = Vec::new();
    let mut ids = BTreeSet::new();
    for (method, path, operation) in operations(&document) {
        let place = format!("{method} {path}");
        assert!(ids.insert(operation["operationId"].to_string()), "{place}: its id is another's");
        if operation["summary"].as_str().is_none_or(str::is_empty) {
            without.push(format!("{place}: summary"));
        }
        for parameter in operation["parameters"].as_array().into_iter().flatten() {
            if parameter["description"].as_str().is_none_or(str::is_empty) {
                without.push(format!("{place}: {}", parameter["name"]));
            }
            if parameter.get("schema").is_none() {
                without.push(format!("{place}: {} has no schema", parameter["name"]));
            }
        }
        if operation["security"].as_array().is_none_or(Vec::is_empty) {
            without.push(format!("{place}: no security"));
        }
        for (status, response) in operation["responses"].as_object().unwrap() {
            if response["description"].as_str().is_none_or(str::is_empty) {
                without.push(format!("{place}: {status}"));
            }
        }
    }
    for (name, schema) in document["components"]["schemas"].as_object().unwrap() {
        collect_undescribed(name, schema, &mut without);
    }
    assert!(without.is_empty(), "without a description: {without:#?}");
}

fn collect_undescribed(place: &str, schema: &Value, without: &mut Vec<String>) {
    for (name, property) in schema["properties"].as_object().into_iter().flatten() {
        let place = format!("{place}.{name}");
        // A reference leads to a description, a constant is one.
        let is_described = property["description"].as_str().is_some_and(|it| !it.is_empty())
            || property.get("$ref").is_some()
            || property.get("const").is_some()
            || property["enum"].as_array().is_some_and(|values| values.len() == 1);
        if !is_described {
            without.push(place.clone());
        }
        collect_undescribed(&place, property, without);
    }
    for word in ["allOf", "oneOf", "anyOf"] {
        for part in schema[word].as_array().into_iter().flatten() {
            collect_undescribed(place, part, without);
        }
    }
    if let Some(items) = schema.get("items") {
        collect_undescribed(place, items, without);
    }
}

#[test]
fn every_reference_leads_to_a_schema_and_every_schema_is_used() {
    let document = document();
    let text = document.to_string();
    let prefix = "\"#/components/schemas/";
    let used: BTreeSet<&str> =
        text.split(prefix).skip(1).filter_map(|rest| rest.split('"').next()).collect();
    let known: BTreeSet<&str> =
        document["components"]["schemas"].as_object().unwrap().keys().map(String::as_str).collect();
    // The frames of clients over a WebSocket, which OpenAPI has no place for.
    let unused: Vec<_> =
        known.difference(&used).filter(|name| !["ClientFrame"].contains(name)).collect();
    assert!(unused.is_empty(), "not used: {unused:?}");
    let unknown: Vec<_> = used.difference(&known).collect();
    assert!(unknown.is_empty(), "not there: {unknown:?}");
}

#[test]
fn every_json_body_and_answer_has_an_example_that_fits_its_schema() {
    let document = document();
    let components = Components::of(&document);
    let mut wrong = Vec::new();
    for (method, path, operation) in operations(&document) {
        let mut contents = vec![("body", &operation["requestBody"]["content"]["application/json"])];
        let answer =
            operation["responses"].as_object().unwrap().iter().find_map(|(status, response)| {
                let json = &response["content"]["application/json"];
                (status.starts_with('2') && json.get("schema").is_some()).then_some(json)
            });
        contents.extend(answer.map(|json| ("answer", json)));
        for (which, content) in contents {
            let Some(schema) = content.get("schema") else { continue };
            let place = format!("{method} {path} {which}");
            // The description itself, and files.
            if path == "/openapi.json" {
                continue;
            }
            match content.get("example") {
                None => wrong.push(format!("{place}: no example")),
                Some(example) => wrong.extend(
                    components
                        .errors(schema, example)
                        .into_iter()
                        .map(|error| format!("{place}: {error}")),
                ),
            }
        }
    }
    assert!(wrong.is_empty(), "{wrong:#?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn the_description_and_its_page_are_served_without_a_key_and_the_page_asks_no_other_host() {
    let app = TestApp::open().await;
    let served = http().get(app.url("/openapi.json")).send().await.unwrap();
    assert_eq!(served.status(), StatusCode::OK);
    assert_eq!(served.headers()["content-type"], "application/json");
    assert_eq!(served.json::<Value>().await.unwrap(), document());

    let page = http().get(app.url("/openapi")).send().await.unwrap();
    assert_eq!(page.status(), StatusCode::OK);
    let policy = page.headers()["content-security-policy"].to_str().unwrap().to_owned();
    assert!(policy.starts_with("default-src 'none'; style-src 'sha256-"), "{policy}");
    let page = page.text().await.unwrap();
    for forbidden in
        ["<script", "src=", "href=\"http", "style=", "<img", "<link", "url(", "@import"]
    {
        assert!(!page.contains(forbidden), "the page has {forbidden}");
    }
    for (_, path, operation) in operations(&document()) {
        assert!(page.contains(&format!("<code>{path}</code>")), "the page lacks {path}");
        let id = operation["operationId"].as_str().unwrap();
        assert!(page.contains(&format!("id=\"{id}\"")), "the page lacks {id}");
    }
    for name in document()["components"]["schemas"].as_object().unwrap().keys() {
        assert!(page.contains(&format!("id=\"schema-{name}\"")), "the page lacks {name}");
    }
    app.stop().await;
}
