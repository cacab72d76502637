//! The description as a page for people. It is one document without scripts, which asks no other host for
//! anything.

use axum::http::HeaderValue;
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde_json::Value;

use super::document::operations;
use super::markdown::{blocks, escape, inline};
use onrecord_evidence::event::ids::Digest;

const STYLE: &str = include_str!("page.css");

/// The page, and the policy by which a browser uses its style and nothing else.
pub(crate) fn page(document: &Value) -> (String, HeaderValue) {
    let digest = STANDARD.encode(Digest::of(STYLE.as_bytes()).as_bytes());
    let policy = format!(
        "default-src 'none'; style-src 'sha256-{digest}'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
    );
    // Base64 is visible ASCII.
    let policy = policy.parse().unwrap_or_else(|_| HeaderValue::from_static("default-src 'none'"));
    (html(document), policy)
}

fn html(document: &Value) -> String {
    let info = &document["info"];
    let title = format!("{} {}", text(&info["title"]), text(&info["version"]));
    let mut contents = String::new();
    let mut sections = String::new();
    for tag in document["tags"].as_array().into_iter().flatten() {
        let (name, summary) = (text(&tag["name"]), text(&tag["summary"]));
        contents.push_str(&format!("<h3>{}</h3><ul>", escape(summary)));
        sections.push_str(&format!(
            "<h2 id=\"{}\">{}</h2>{}",
            escape(name),
            escape(summary),
            blocks(text(&tag["description"]))
        ));
        for (method, path, operation) in operations(document) {
            if operation["tags"].as_array().is_some_and(|tags| tags.iter().any(|it| it == name)) {
                contents.push_str(&content_line(method, path, operation));
                sections.push_str(&operation_section(method, path, operation, document));
            }
        }
        contents.push_str("</ul>");
    }
    let schemas = document["components"]["schemas"].as_object().into_iter().flatten();
    let schemas: String = schemas.map(|(name, schema)| schema_section(name, schema)).collect();
    format!(
        "<!doctype html><html lang=\"en\"><head><meta charset=\"utf-8\"><meta name=\"viewport\" content=\"width=device-width, initial-scale=1\"><title>{title}</title><style>{STYLE}</style></head><body><main><h1>{title}</h1><p>{summary}</p>{description}<p>This page is made of <a href=\"/openapi.json\">openapi.json</a> (OpenAPI {version}).</p></main><nav aria-label=\"Resources\"><h2>Resources</h2>{contents}</nav><main><h2 id=\"credentials\">Credentials</h2>{credentials}{sections}<h2 id=\"schemas\">Schemas</h2>{schemas}</main></body></html>",
        title = escape(&title),
        summary = inline(text(&info["summary"])),
        description = blocks(text(&info["description"])),
        version = escape(text(&document["openapi"])),
        credentials = credentials(document),
    )
}

fn content_line(method: &str, path: &str, operation: &Value) -> String {
    format!(
        "<li><a href=\"#{}\"><span class=\"method\">{}</span> {}</a></li>",
        escape(text(&operation["operationId"])),
        escape(method),
        escape(path)
    )
}

fn credentials(document: &Value) -> String {
    let schemes = document["components"]["securitySchemes"].as_object().into_iter().flatten();
    let rows = schemes.map(|(name, scheme)| {
        let place = match text(&scheme["type"]) {
            "http" => "<code>authorization: Bearer …</code>".to_owned(),
            _ => format!(
                "{} <code>{}</code>",
                escape(text(&scheme["in"])),
                escape(text(&scheme["name"]))
            ),
        };
        format!(
            "<tr><td><code>{}</code></td><td>{place}</td><td>{}</td></tr>",
            escape(name),
            inline(text(&scheme["description"]))
        )
    });
    table(&["name", "place", ""], rows)
}

fn operation_section(method: &str, path: &str, operation: &Value, document: &Value) -> String {
    let mut html = format!(
        "<section class=\"operation\" id=\"{}\"><h3><span class=\"method\">{}</span> <code>{}</code></h3><p><strong>{}</strong></p>{}<p class=\"quiet\">Credential: {}</p>",
        escape(text(&operation["operationId"])),
        escape(method),
        escape(path),
        inline(text(&operation["summary"])),
        blocks(text(&operation["description"])),
        alternatives(&operation["security"])
    );
    let parameters = operation["parameters"].as_array().into_iter().flatten();
    let parameters = parameters.map(|parameter| {
        let required = if parameter["required"] == true { ", required" } else { "" };
        format!(
            "<tr><td><code>{}</code></td><td class=\"quiet\">{}{required}</td><td>{}</td><td>{}</td></tr>",
            escape(text(&parameter["name"])),
            escape(text(&parameter["in"])),
            type_of(&parameter["schema"]),
            inline(text(&parameter["description"]))
        )
    });
    html.push_str(&table(&["parameter", "in", "type", ""], parameters));
    if let Some(body) = operation.get("requestBody") {
        html.push_str(&format!(
            "<h4>Body</h4><p>{}</p>{}",
            inline(text(&body["description"])),
            contents(&body["content"])
        ));
    }
    let responses = operation["responses"].as_object().into_iter().flatten();
    let responses = responses.map(|(status, response)| {
        let response = resolved(response, document);
        format!(
            "<tr><td>{}</td><td>{}{}</td></tr>",
            escape(status),
            inline(text(&response["description"])),
            contents(&response["content"])
        )
    });
    html.push_str(&table(&["status", ""], responses));
    html.push_str("</section>");
    html
}

/// The credentials of an operation, with the roles of an API key.
fn alternatives(security: &Value) -> String {
    let alternatives = security.as_array().into_iter().flatten().filter_map(Value::as_object);
    let named = alternatives.flatten().map(|(name, roles)| {
        let roles: Vec<&str> =
            roles.as_array().into_iter().flatten().filter_map(Value::as_str).collect();
        let roles =
            if roles.is_empty() { String::new() } else { format!(" ({})", roles.join(", ")) };
        format!("<code>{}</code>{}", escape(name), escape(&roles))
    });
    let named: Vec<String> = named.collect();
    if named.is_empty() { "none".to_owned() } else { named.join(" or ") }
}

/// The media types of a body or answer, with their examples.
fn contents(content: &Value) -> String {
    let mut html = String::new();
    for (media_type, content) in content.as_object().into_iter().flatten() {
        let schema = match content.get("itemSchema") {
            Some(item) => format!("a sequence of {}", type_of(item)),
            None => type_of(&content["schema"]),
        };
        html.push_str(&format!("<div><code>{}</code> {schema}</div>", escape(media_type)));
        if let Some(example) = content.get("example") {
            html.push_str(&format!(
                "<details><summary>Example</summary><pre>{}</pre></details>",
                escape(&format!("{example:#}"))
            ));
        }
    }
    html
}

fn schema_section(name: &str, schema: &Value) -> String {
    let mut html = format!(
        "<section class=\"schema\" id=\"schema-{0}\"><h3>{0}</h3>{1}",
        escape(name),
        blocks(text(&schema["description"]))
    );
    let parts = ["allOf", "oneOf", "anyOf"].map(|word| (word, schema[word].as_array()));
    if schema.get("properties").is_none() {
        html.push_str(&format!("<p>{}</p>", type_of(schema)));
    }
    html.push_str(&properties(schema));
    for (word, parts) in parts {
        for part in parts.into_iter().flatten().filter(|part| part.get("properties").is_some()) {
            let word = if word == "allOf" { "and" } else { "or" };
            html.push_str(&format!("<p class=\"quiet\">{word}</p>{}", properties(part)));
        }
    }
    html.push_str("</section>");
    html
}

fn properties(schema: &Value) -> String {
    let required: Vec<&str> =
        schema["required"].as_array().into_iter().flatten().filter_map(Value::as_str).collect();
    let properties = schema["properties"].as_object().into_iter().flatten();
    let rows = properties.map(|(name, property)| {
        let always = if required.contains(&name.as_str()) { "always" } else { "" };
        format!(
            "<tr><td><code>{}</code></td><td>{}</td><td class=\"quiet\">{always}</td><td>{}</td></tr>",
            escape(name),
            type_of(property),
            inline(text(&property["description"]))
        )
    });
    table(&["member", "type", "present", ""], rows)
}

/// A table, or nothing if it has no rows.
fn table(heads: &[&str], rows: impl Iterator<Item = String>) -> String {
    let rows: String = rows.collect();
    if rows.is_empty() {
        return rows;
    }
    let heads: String = heads.iter().map(|head| format!("<th scope=\"col\">{head}</th>")).collect();
    format!("<table><thead><tr>{heads}</tr></thead><tbody>{rows}</tbody></table>")
}

/// A schema in a few words.
fn type_of(schema: &Value) -> String {
    if let Some(name) = schema["$ref"].as_str().and_then(|it| it.rsplit('/').next()) {
        return format!("<a href=\"#schema-{0}\">{0}</a>", escape(name));
    }
    for word in ["oneOf", "anyOf", "allOf"] {
        if let Some(parts) = schema[word].as_array() {
            let parts: Vec<String> = parts.iter().map(type_of).collect();
            return parts.join(if word == "allOf" { " and " } else { " or " });
        }
    }
    let values: Vec<String> = schema["enum"].as_array().into_iter().flatten().map(word).collect();
    if !values.is_empty() {
        return values.join(", ");
    }
    if let Some(value) = schema.get("const") {
        return word(value);
    }
    let types: Vec<&str> = match &schema["type"] {
        Value::Array(types) => types.iter().filter_map(Value::as_str).collect(),
        one => one.as_str().into_iter().collect(),
    };
    let format = schema["format"].as_str().map(|format| format!(" ({})", escape(format)));
    let of = match schema.get("items") {
        Some(items) => format!(" of {}", type_of(items)),
        None => String::new(),
    };
    let types = if types.is_empty() { "any".to_owned() } else { types.join(" or ") };
    format!("{}{}{of}", escape(&types), format.unwrap_or_default())
}

fn word(value: &Value) -> String {
    let text = value.as_str().map_or_else(|| value.to_string(), str::to_owned);
    format!("<code>{}</code>", escape(&text))
}

/// A response, or the one that it refers to.
fn resolved<'d>(response: &'d Value, document: &'d Value) -> &'d Value {
    let pointer = response["$ref"].as_str().and_then(|it| it.strip_prefix('#'));
    pointer.and_then(|pointer| document.pointer(pointer)).unwrap_or(response)
}

fn text(value: &Value) -> &str {
    value.as_str().unwrap_or_default()
}
