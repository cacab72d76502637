//! The HTTP server and what all resources share: credentials, bodies, limits.

mod connections;
mod credentials_first;
mod storable_texts;

use serde_json::Value;

use crate::contract::schemas::{document, operations};

/// A resource of `/v1` as it is described.
#[derive(Debug)]
struct DocumentedResource {
    method: String,
    /// With an id in the place of each parameter.
    path: String,
    has_body: bool,
    /// The roles of API keys that may use it.
    roles: Vec<String>,
}

fn documented_resources() -> Vec<DocumentedResource> {
    let id = "5b3c1f6e-6d0a-4c86-8a34-0d7cf2f2f6a1";
    let resources = operations(&document()).into_iter().filter_map(|(method, path, operation)| {
        let path = path.starts_with("/v1/").then_some(path)?;
        let alternatives = operation["security"].as_array().unwrap();
        let roles = alternatives.iter().find_map(|it| it["api_key"].as_array());
        let roles = roles.into_iter().flatten().filter_map(Value::as_str).map(str::to_owned);
        Some(DocumentedResource {
            method: method.to_uppercase(),
            path: path
                .replace("{id}", id)
                .replace("{call}", id)
                .replace("{raw_id}", id)
                .replace("{version}", "1")
                .replace("{name}", "manifest.json"),
            has_body: operation.get("requestBody").is_some(),
            roles: roles.collect(),
        })
    });
    resources.collect()
}
