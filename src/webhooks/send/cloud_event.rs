//! The body of a message: a CloudEvent 1.0 in structured mode.

use chrono::{DateTime, Utc};
use serde::Serialize;
use serde_json::value::RawValue;

use crate::http::timestamp::micros;

/// The media type of the body.
pub(crate) const MEDIA_TYPE: &str = "application/cloudevents+json; charset=utf-8";
/// Prefix of the type of each event.
pub(crate) const TYPE_PREFIX: &str = "onrecord.";

/// An event, as far as the body of its message needs it.
pub(crate) struct WebhookEventContent<'a> {
    pub id: &'a str,
    /// Its name, such as `notice.recording_on`.
    pub name: &'a str,
    pub tenant: &'a str,
    pub call: Option<&'a str>,
    pub occurred_at: DateTime<Utc>,
    pub data: &'a RawValue,
    /// The cursor by which a stream continues after a notice.
    pub cursor: Option<&'a str>,
    /// A notice that cannot be announced any more.
    pub is_stale: bool,
}

#[derive(Serialize)]
struct CloudEventBody<'a> {
    specversion: &'static str,
    id: &'a str,
    source: String,
    r#type: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    subject: Option<&'a str>,
    time: String,
    datacontenttype: &'static str,
    tenant: &'a str,
    data: Box<RawValue>,
}

/// The body of an event. Each attempt has the same one, unless the event became stale in between.
///
/// # Errors
///
/// The data is no JSON object; the store has none.
pub(crate) fn body(event: &WebhookEventContent<'_>) -> serde_json::Result<String> {
    let envelope = CloudEventBody {
        specversion: "1.0",
        id: event.id,
        source: format!("/tenants/{}", event.tenant),
        r#type: format!("{TYPE_PREFIX}{}", event.name),
        subject: event.call,
        time: micros(event.occurred_at),
        datacontenttype: "application/json",
        tenant: event.tenant,
        data: with_members(event)?,
    };
    serde_json::to_string(&envelope)
}

/// The data with what is known at the attempt only.
fn with_members(event: &WebhookEventContent<'_>) -> serde_json::Result<Box<RawValue>> {
    let mut data = String::from("{");
    if let Some(cursor) = event.cursor {
        // A cursor is base64url and dots: it needs no escaping.
        data.extend(["\"cursor\":\"", cursor, "\","]);
    }
    if event.is_stale {
        data.push_str("\"stale\":true,");
    }
    let members = event.data.get().trim();
    let members = members.strip_prefix('{').unwrap_or(members).trim_start();
    if members == "}" {
        data.truncate(data.trim_end_matches(',').len());
    }
    data.push_str(members);
    RawValue::from_string(data)
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;

    fn built(data: &Value, cursor: Option<&str>, is_stale: bool) -> Value {
        let data = RawValue::from_string(data.to_string()).unwrap();
        let event = WebhookEventContent {
            id: "0123",
            name: "notice.recording_on",
            tenant: "contoso",
            call: Some("c-1"),
            occurred_at: DateTime::UNIX_EPOCH,
            data: &data,
            cursor,
            is_stale,
        };
        serde_json::from_str(&body(&event).unwrap()).unwrap()
    }

    #[test]
    fn the_body_is_a_cloud_event_whose_data_has_the_cursor() {
        assert_eq!(
            built(&json!({ "call": "c-1" }), Some("18f.abc"), false),
            json!({
                "specversion": "1.0",
                "id": "0123",
                "source": "/tenants/contoso",
                "type": "onrecord.notice.recording_on",
                "subject": "c-1",
                "time": "1970-01-01T00:00:00.000000Z",
                "datacontenttype": "application/json",
                "tenant": "contoso",
                "data": { "cursor": "18f.abc", "call": "c-1" },
            })
        );
    }

    #[test]
    fn what_is_stale_says_so_and_empty_data_stays_an_object() {
        assert_eq!(built(&json!({ "a": 1 }), None, true)["data"], json!({ "stale": true, "a": 1 }));
        for (cursor, is_stale) in [(None, false), (Some("c"), false), (Some("c"), true)] {
            assert!(built(&json!({}), cursor, is_stale)["data"].is_object());
        }
    }
}
