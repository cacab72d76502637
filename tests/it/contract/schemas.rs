//! JSON Schemas by which values are checked strictly: a member that a schema does not describe is an error,
//! although a reader has to ignore it.

use std::fs;
use std::path::PathBuf;

use jsonschema::Validator;
use serde_json::{Map, Value, json};

use onrecord::cli::serve::api_description;

/// What is appended to the name of a schema that another one completes.
const OPEN: &str = "~open";

/// The OpenAPI document of this build.
pub fn document() -> Value {
    api_description::document().unwrap()
}

/// The operations of a document: method, path, content.
pub fn operations(document: &Value) -> Vec<(String, String, Value)> {
    let paths = document["paths"].as_object().unwrap();
    paths
        .iter()
        .flat_map(|(path, item)| {
            let operations = item.as_object().unwrap();
            operations
                .iter()
                .map(|(method, operation)| (method.clone(), path.clone(), operation.clone()))
        })
        .collect()
}

/// Checks values against the schemas of the OpenAPI document.
pub struct Components(Value);

impl Components {
    pub fn of(document: &Value) -> Self {
        let mut all = Map::new();
        for (name, schema) in document["components"]["schemas"].as_object().unwrap() {
            all.insert(name.clone(), strict(schema, false));
            all.insert(format!("{name}{OPEN}"), strict(schema, true));
        }
        Self(json!({ "schemas": all }))
    }

    /// What is wrong with a value of a schema.
    pub fn errors(&self, schema: &Value, value: &Value) -> Vec<String> {
        let root = json!({
            "$schema": "https://json-schema.org/draft/2020-12/schema",
            "components": self.0,
            "allOf": [strict(schema, false)],
        });
        errors(&jsonschema::validator_for(&root).unwrap(), value)
    }
}

/// Checks values against a file of `docs/schemas`.
pub fn validator(file: &str) -> Validator {
    let read = |name: &str| -> Value {
        let path = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("docs/schemas").join(name);
        let text = fs::read_to_string(path).unwrap().replace("\"evidence.json#/", "\"#/");
        serde_json::from_str(&text).unwrap()
    };
    let mut definitions = Map::new();
    for file in ["evidence.json", file] {
        for (name, schema) in read(file)["$defs"].as_object().into_iter().flatten() {
            definitions.insert(name.clone(), strict(schema, false));
            definitions.insert(format!("{name}{OPEN}"), strict(schema, true));
        }
    }
    let mut schema = strict(&read(file), false);
    schema["$defs"] = Value::Object(definitions);
    jsonschema::validator_for(&schema).unwrap()
}

/// What is wrong with a value.
pub fn errors(validator: &Validator, value: &Value) -> Vec<String> {
    validator
        .iter_errors(value)
        .map(|error| format!("{}: {error}", error.instance_path()))
        .collect()
}

/// A schema that permits no member that it does not describe. `open` is for a part of another schema, which
/// describes further members.
fn strict(schema: &Value, open: bool) -> Value {
    let Value::Object(members) = schema else { return schema.clone() };
    let has = |name: &str| members.contains_key(name);
    let combined =
        has("allOf") || (has("properties") && (has("oneOf") || has("anyOf") || has("if")));
    let mut strict_members = Map::new();
    for (name, value) in members {
        let value = match (name.as_str(), value) {
            ("$ref", Value::String(target)) if open && !target.ends_with(OPEN) => {
                json!(format!("{target}{OPEN}"))
            }
            ("properties" | "$defs", Value::Object(properties)) => {
                let properties = properties.iter();
                properties.map(|(name, value)| (name.clone(), strict(value, false))).collect()
            }
            ("items" | "additionalProperties" | "contentSchema", value) => strict(value, false),
            ("allOf" | "oneOf" | "anyOf", Value::Array(parts)) => {
                let parts = parts.iter().map(|part| strict(part, open || combined));
                parts.collect()
            }
            ("if" | "then", value) => strict(value, true),
            (_, value) => value.clone(),
        };
        strict_members.insert(name.clone(), value);
    }
    let is_described = combined || has("properties");
    if is_described && !open && !has("additionalProperties") {
        strict_members.insert("unevaluatedProperties".to_owned(), json!(false));
    }
    Value::Object(strict_members)
}

#[test]
fn a_member_that_is_not_described_is_an_error() {
    let document = json!({ "components": { "schemas": {
        "Part": { "type": "object", "properties": { "a": { "type": "integer" } } },
        "Whole": { "allOf": [
            { "$ref": "#/components/schemas/Part" },
            { "type": "object", "properties": { "b": { "type": "integer" } }, "required": ["b"] },
        ] },
    } } });
    let components = Components::of(&document);
    let part = json!({ "$ref": "#/components/schemas/Part" });
    let whole = json!({ "$ref": "#/components/schemas/Whole" });
    assert!(components.errors(&part, &json!({ "a": 1 })).is_empty());
    assert!(!components.errors(&part, &json!({ "a": 1, "b": 2 })).is_empty());
    assert!(components.errors(&whole, &json!({ "a": 1, "b": 2 })).is_empty());
    assert!(!components.errors(&whole, &json!({ "a": 1, "b": 2, "c": 3 })).is_empty());
    assert!(!components.errors(&whole, &json!({ "a": 1 })).is_empty());
}
