//! CloudEvents in binary mode: the envelope in `ce-*` headers, the body is `data`.
//!
//! It is put together as the structured form, so that everything behind it knows one form only.
//! The body stands in it as received.

/// The attributes' headers begin so.
const PREFIX: &str = "ce-";

/// The delivery's body, which is the event's `data`.
#[derive(Clone, Copy)]
pub(super) enum Body<'t> {
    /// JSON.
    Json(&'t str),
    /// Something else, that is not repeated.
    Other,
    /// There is none.
    Missing,
}

/// The type that the headers state, if they state one.
pub(super) fn event_type(headers: &[(String, String)]) -> Option<&str> {
    let found = headers
        .iter()
        .find(|(name, _)| name.eq_ignore_ascii_case("ce-type"));
    found.map(|(_, value)| value.as_str())
}

/// The event in structured form.
pub(super) fn structured(
    headers: &[(String, String)],
    content_type: Option<&str>,
    body: Body<'_>,
) -> String {
    let mut members: Vec<(String, String)> = Vec::new();
    for (name, value) in headers {
        let name = name.to_ascii_lowercase();
        let Some(attribute) = name.strip_prefix(PREFIX) else {
            continue;
        };
        // These are no attributes, and would take the place of the body.
        if !matches!(attribute, "data" | "data_base64") {
            members.push((quoted(attribute), quoted(&percent_decoded(value))));
        }
    }
    if let Some(content_type) = content_type {
        members.push((quoted("datacontenttype"), quoted(content_type)));
    }
    match body {
        Body::Json(text) => members.push((quoted("data"), text.to_owned())),
        Body::Other => members.push((quoted("data"), "null".to_owned())),
        Body::Missing => {}
    }
    let members: Vec<String> = members
        .into_iter()
        .map(|(name, value)| format!("{name}:{value}"))
        .collect();
    format!("{{{}}}", members.join(","))
}

/// An event in structured form without `data`, with a body as a string in its place.
pub(super) fn with_text(event: &str, body: &str) -> String {
    let members = event.strip_suffix('}').unwrap_or(event);
    let comma = if members.ends_with('{') { "" } else { "," };
    format!("{members}{comma}\"data\":{}}}", quoted(body))
}

/// A JSON string.
fn quoted(text: &str) -> String {
    serde_json::Value::from(text).to_string()
}

/// Header values carry what is not ASCII percent-encoded (CloudEvents HTTP binding 3.1.3.2).
fn percent_decoded(value: &str) -> String {
    let mut bytes = Vec::with_capacity(value.len());
    let mut rest = value.as_bytes();
    while let Some((&first, tail)) = rest.split_first() {
        let code = tail
            .get(..2)
            .and_then(|code| std::str::from_utf8(code).ok());
        let decoded = code
            .filter(|code| first == b'%' && !code.starts_with('+'))
            .and_then(|code| u8::from_str_radix(code, 16).ok());
        bytes.push(decoded.unwrap_or(first));
        let taken = if decoded.is_some() { 2 } else { 0 };
        rest = tail.get(taken..).unwrap_or_default();
    }
    String::from_utf8(bytes).unwrap_or_else(|_| value.to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn headers(pairs: &[(&str, &str)]) -> Vec<(String, String)> {
        pairs
            .iter()
            .map(|(name, value)| ((*name).to_owned(), (*value).to_owned()))
            .collect()
    }

    #[test]
    fn headers_become_members_and_the_body_stays_as_it_is() {
        let headers = headers(&[
            ("CE-Type", "t"),
            ("ce-subject", "J%C3%BCrgen 100% %zz"),
            ("ce-data", "x"),
            ("host", "h"),
        ]);
        assert_eq!(event_type(&headers), Some("t"));
        assert_eq!(
            structured(
                &headers,
                Some("application/json"),
                Body::Json("{ \"a\": 1.0 }")
            ),
            r#"{"type":"t","subject":"Jürgen 100% %zz","datacontenttype":"application/json","data":{ "a": 1.0 }}"#
        );
        assert_eq!(structured(&[], None, Body::Missing), "{}");
        assert_eq!(structured(&[], None, Body::Other), r#"{"data":null}"#);
        assert_eq!(with_text("{}", "\""), r#"{"data":"\""}"#);
        assert_eq!(with_text(r#"{"a":1}"#, ""), r#"{"a":1,"data":""}"#);
    }
}
