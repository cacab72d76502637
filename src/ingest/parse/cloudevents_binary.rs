//! CloudEvents in binary mode: the envelope is in `ce-*` headers, the body is `data`.
//!
//! The event is converted to the structured form, so that the rest of ingest handles one form only.
//! The body is in it as received.

use std::borrow::Cow;

/// The prefix of the headers of attributes.
const PREFIX: &str = "ce-";

/// Whether the headers state the type of an event.
pub(crate) fn states_type(headers: &[(String, String)]) -> bool {
    headers
        .iter()
        .any(|(name, value)| name.eq_ignore_ascii_case("ce-type") && !unquoted(value).is_empty())
}

/// The event in structured form; `data` is JSON.
pub(crate) fn structured(
    headers: &[(String, String)],
    content_type: Option<&str>,
    data: Option<&str>,
) -> String {
    let member = |name: &str, json: &str| format!("{}:{json}", quoted(name));
    let mut members = Vec::new();
    for (name, value) in headers {
        let name = name.to_ascii_lowercase();
        let attribute = name.strip_prefix(PREFIX);
        // `data` and `data_base64` are not attributes; they would replace the body.
        if let Some(attribute) = attribute.filter(|name| !matches!(*name, "data" | "data_base64")) {
            members.push(member(attribute, &quoted(&percent_decoded(&unquoted(value)))));
        }
    }
    members.extend(content_type.map(|text| member("datacontenttype", &quoted(text))));
    members.extend(data.map(|data| member("data", data)));
    format!("{{{}}}", members.join(","))
}

/// The text as a JSON string.
fn quoted(text: &str) -> String {
    serde_json::Value::from(text).to_string()
}

/// A header value without its quotation marks: a value may be written as a quoted string (CloudEvents
/// HTTP binding, 3.1.3.2).
fn unquoted(value: &str) -> Cow<'_, str> {
    let value = value.trim();
    let inside = value.strip_prefix('"').and_then(|value| value.strip_suffix('"'));
    let Some(inside) = inside else {
        return Cow::Borrowed(value);
    };
    let mut unquoted = String::with_capacity(inside.len());
    let mut characters = inside.chars();
    while let Some(character) = characters.next() {
        // A backslash at the end escapes nothing.
        let kept = if character == '\\' { characters.next().unwrap_or('\\') } else { character };
        unquoted.push(kept);
    }
    Cow::Owned(unquoted)
}

/// Decodes a header value: characters beyond ASCII are percent-encoded (CloudEvents HTTP binding,
/// 3.1.3.2).
fn percent_decoded(value: &str) -> String {
    let mut bytes = Vec::with_capacity(value.len());
    let mut rest = value.as_bytes();
    while let Some((&first, tail)) = rest.split_first() {
        let code = tail.get(..2).and_then(|code| std::str::from_utf8(code).ok());
        let decoded = code
            .filter(|code| first == b'%' && !code.starts_with('+'))
            .and_then(|code| u8::from_str_radix(code, 16).ok());
        bytes.push(decoded.unwrap_or(first));
        let consumed = if decoded.is_some() { 2 } else { 0 };
        rest = tail.get(consumed..).unwrap_or_default();
    }
    String::from_utf8(bytes).unwrap_or_else(|_| value.to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn headers(pairs: &[(&str, &str)]) -> Vec<(String, String)> {
        pairs.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect()
    }

    #[test]
    fn headers_become_members_and_the_body_is_unchanged() {
        let headers = headers(&[
            ("CE-Type", "t"),
            ("ce-subject", "J%C3%BCrgen 100% %zz"),
            ("ce-data", "x"),
            ("host", "h"),
        ]);
        assert!(states_type(&headers) && !states_type(&[]));
        assert_eq!(
            structured(&headers, Some("application/json"), Some("{ \"a\": 1.0 }")),
            r#"{"type":"t","subject":"Jürgen 100% %zz","datacontenttype":"application/json","data":{ "a": 1.0 }}"#
        );
        assert_eq!(structured(&[], None, None), "{}");
        for (value, unquoted) in [
            (r#""a b""#, "a b"),
            (r#""a \"b\" \\ c""#, r#"a \"b\" \\ c"#),
            (r#""J%C3%BCrgen""#, "Jürgen"),
            (r#""""#, ""),
            (r#"""#, r#"\""#),
            (r#"a"b"#, r#"a\"b"#),
        ] {
            let headers = self::headers(&[("ce-id", value)]);
            let expected = format!(r#"{{"id":"{unquoted}"}}"#);
            assert_eq!(structured(&headers, None, None), expected, "{value}");
        }
        assert_eq!(structured(&[], None, Some("null")), r#"{"data":null}"#);
    }
}
