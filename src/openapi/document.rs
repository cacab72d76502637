//! The OpenAPI document: the routes with what they do not state themselves.

use serde_json::{Map, Value, json};
use utoipa::openapi::OpenApi;
use utoipa::{PartialSchema as _, ToSchema as _};

use super::named_schemas;
use crate::http::problem::Problem;

/// What the whole document says about credentials, times, paging and errors.
const DESCRIPTION: &str = include_str!("description.md");
/// By operation: an example of its body and of its answer.
const EXAMPLES: &str = include_str!("examples.json");
/// The scheme to which each resource for API keys refers.
const API_KEY: &str = "api_key";
/// The same key in another header.
const API_KEY_HEADER: &str = "api_key_header";

/// The document of all routes.
///
/// # Errors
///
/// A part of it is no JSON; a test makes the document.
pub(crate) fn document(routes: &OpenApi) -> Result<Value, serde_json::Error> {
    let mut document = serde_json::to_value(routes)?;
    tidy(&mut document);
    let components = &mut document["components"];
    components["securitySchemes"] = security_schemes();
    let schemas = &mut components["schemas"];
    schemas[Problem::name().as_ref()] = serde_json::to_value(Problem::schema())?;
    for (name, schema) in named_schemas::of_files()? {
        schemas[name] = schema;
    }
    document["webhooks"] = webhooks();
    remove_unused_schemas(&mut document);
    let examples: Map<String, Value> = serde_json::from_str(EXAMPLES)?;
    for operation in operations_mut(&mut document) {
        add_header_key(operation);
        add_examples(operation, &examples);
    }
    let described = json!({
        "openapi": "3.2.0",
        "info": {
            "title": "onrecord",
            "summary": "The compliance record and live recording notices of Azure Communication Services calls with Microsoft Teams.",
            "description": DESCRIPTION,
            "license": { "name": "Apache-2.0", "identifier": "Apache-2.0" },
            "version": env!("CARGO_PKG_VERSION"),
        },
        "servers": [{ "url": "/", "description": "This service." }],
        "tags": [
            { "name": "ingest", "summary": "Ingest", "description": "Deliveries of Event Grid and Call Automation." },
            { "name": "clients", "summary": "Clients", "description": "Client apps and their backends: tokens, reports, acknowledgements, streams of notices." },
            { "name": "history", "summary": "History", "description": "The record of calls, for analysts and auditors." },
            { "name": "exports", "summary": "Exports", "description": "Rows of the record as files." },
            { "name": "webhooks", "summary": "Webhooks", "description": "Signed messages to receivers that have a server." },
            { "name": "operations", "summary": "Operations", "description": "Health, metrics, and this description." },
        ],
        "paths": document["paths"].take(),
        "webhooks": document["webhooks"].take(),
        "components": document["components"].take(),
    });
    Ok(described)
}

/// The messages that the service posts to receivers.
fn webhooks() -> Value {
    let header = |name: &str, description: &str, example: &str| {
        json!({
            "name": name,
            "in": "header",
            "required": true,
            "description": description,
            "schema": { "type": "string" },
            "example": example,
        })
    };
    let message = |operation: &str, summary: &str, schema: &str, accepted: &str| {
        json!({ "post": {
            "operationId": operation,
            "tags": ["webhooks"],
            "summary": summary,
            "description": "A signed message (Standard Webhooks) with a CloudEvent 1.0 in structured mode. It may come more than once, with the same `webhook-id`.",
            "security": [],
            "parameters": [
                header("webhook-id", "The id of the message, the same for every attempt.", "msg_3c1f0c9d7e5b4a2f8d6e1b0a9c8f7e6d"),
                header("webhook-timestamp", "When the attempt was made, in seconds since 1970-01-01 UTC.", "1796904000"),
                header("webhook-signature", "Signatures over `{webhook-id}.{webhook-timestamp}.{body}`, separated by spaces; two during a rotation.", "v1,g0hM9SsE+OTPJTGt/tmIKtSyZlE3uFJELVlNIOLJ1OE="),
            ],
            "requestBody": {
                "required": true,
                "description": "The event.",
                "content": { "application/cloudevents+json": {
                    "schema": { "$ref": format!("#/components/schemas/{schema}") },
                } },
            },
            "responses": {
                "2XX": { "description": accepted },
                "410": { "description": "The receiver wants nothing more: the subscription is disabled." },
                "default": { "description": "The message is sent again later. A redirect is not followed." },
            },
        } })
    };
    let has_it = "The receiver has the message.";
    json!({
        "notice": message("receiveNotice", "The level of a call changed.", "WebhookNotice", has_it),
        "callEnded": message("receiveCallEnded", "A call is over.", "WebhookCallEnded", has_it),
        "verdictChanged": message("receiveVerdictChanged", "A call has another verdict.", "WebhookVerdictChanged", has_it),
        "exception": message("receiveException", "An exception was opened or closed.", "WebhookException", has_it),
        "sourceSilent": message("receiveSourceSilent", "A source sends nothing any more.", "WebhookSourceSilent", has_it),
        "challenge": message("receiveChallenge", "The challenge of a new address.", "WebhookChallenge", "The body is the challenge, or JSON with the member `challenge`."),
        "test": message("receiveTest", "A test.", "WebhookTest", has_it),
        "disabled": message("receiveDisabled", "The last notice, to the fallback address.", "WebhookDisabled", has_it),
    })
}

/// Removes the schemas to which nothing refers: a generic schema has that of its parameter inside.
fn remove_unused_schemas(document: &mut Value) {
    let text = document.to_string();
    if let Some(schemas) = document["components"]["schemas"].as_object_mut() {
        schemas.retain(|name, _| {
            let reference = format!("\"#/components/schemas/{name}\"");
            // OpenAPI has no place for what a client sends over a WebSocket.
            name == "ClientFrame" || text.contains(&reference)
        });
    }
}

/// Descriptions come from comments: their lines become paragraphs, and the description of a member that may be null
/// moves from its type to the member.
fn tidy(value: &mut Value) {
    match value {
        Value::Array(items) => items.iter_mut().for_each(tidy),
        Value::Object(members) => {
            members.values_mut().for_each(tidy);
            if let Some(Value::String(text)) = members.get_mut("description") {
                *text = paragraphs(text);
            }
            let parts =
                members.get_mut("oneOf").and_then(Value::as_array_mut).into_iter().flatten();
            let described =
                parts.filter_map(Value::as_object_mut).find(|it| it.contains_key("$ref"));
            let description = described.and_then(|part| part.remove("description"));
            if let Some(description) = description {
                members.entry("description").or_insert(description);
            }
        }
        _ => {}
    }
}

/// A text whose paragraphs have one line each.
fn paragraphs(text: &str) -> String {
    let paragraphs = text.split("\n\n").map(|it| it.lines().collect::<Vec<_>>().join(" "));
    paragraphs.collect::<Vec<_>>().join("\n\n")
}

/// The operations of the paths of a document: method, path and content.
pub(crate) fn operations(document: &Value) -> impl Iterator<Item = (&str, &str, &Value)> {
    let paths = document["paths"].as_object().into_iter().flatten();
    paths.flat_map(|(path, item)| {
        let operations = item.as_object().into_iter().flatten();
        operations.map(move |(method, operation)| (method.as_str(), path.as_str(), operation))
    })
}

fn operations_mut(document: &mut Value) -> impl Iterator<Item = &mut Value> {
    let paths = document["paths"].as_object_mut().into_iter().flatten();
    paths.flat_map(|(_, item)| {
        item.as_object_mut().into_iter().flatten().map(|(_, operation)| operation)
    })
}

/// Wherever an API key is a credential, it is one in each of its two headers.
fn add_header_key(operation: &mut Value) {
    let Some(alternatives) = operation["security"].as_array_mut() else { return };
    let roles = alternatives.iter().find_map(|it| it.get(API_KEY)).cloned();
    if let Some(roles) = roles {
        alternatives.push(json!({ API_KEY_HEADER: roles }));
    }
}

/// Adds the examples of an operation to its JSON body and to its first answer of JSON.
fn add_examples(operation: &mut Value, examples: &Map<String, Value>) {
    let id = operation["operationId"].as_str().unwrap_or_default();
    let Some(example) = examples.get(id).cloned() else { return };
    if let Some(body) = example.get("request") {
        operation["requestBody"]["content"]["application/json"]["example"] = body.clone();
    }
    let Some(answer) = example.get("response") else { return };
    let responses = operation["responses"].as_object_mut().into_iter().flatten();
    let content = responses
        .filter(|(status, _)| status.starts_with('2'))
        .find_map(|(_, response)| response.get_mut("content")?.get_mut("application/json"));
    if let Some(content) = content {
        content["example"] = answer.clone();
    }
}

fn security_schemes() -> Value {
    json!({
        API_KEY: {
            "type": "http", "scheme": "bearer", "bearerFormat": "onr_…",
            "description": "An API key of the tenant (`onrecord key create`). Its role decides which resources it may use; `admin` may use those of all roles.",
        },
        API_KEY_HEADER: {
            "type": "apiKey", "in": "header", "name": "x-onrecord-key",
            "description": "The same API key, where `authorization` is not free.",
        },
        "subscriber_token": {
            "type": "http", "scheme": "bearer", "bearerFormat": "JWT",
            "description": "A token for one participant, which the backend of the app gets from `POST /v1/subscriber-tokens`.",
        },
        "subscriber_token_query": {
            "type": "apiKey", "in": "query", "name": "token",
            "description": "The same token, for `EventSource` and `WebSocket` of browsers, which send no headers.",
        },
        "subscriber_token_protocol": {
            "type": "apiKey", "in": "header", "name": "sec-websocket-protocol",
            "description": "The same token, as the subprotocol `onrecord.token.` followed by it.",
        },
        "source_key": {
            "type": "apiKey", "in": "header", "name": "x-onrecord-key",
            "description": "A key of the source (`onrecord key source`).",
        },
        "source_key_query": {
            "type": "apiKey", "in": "query", "name": "key",
            "description": "The same key, for senders that cannot set a header.",
        },
        "source_token": {
            "type": "http", "scheme": "bearer", "bearerFormat": "JWT",
            "description": "A token of the issuer that the source is configured with, such as Microsoft Entra ID.",
        },
    })
}
