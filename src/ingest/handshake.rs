//! The validation of a subscription's endpoint.
//!
//! With Event Grid's schema, Event Grid sends one event with a code and expects the code within 30 s
//! with status 200. With CloudEvents it sends `OPTIONS` and reads the headers of the response.
//! Neither needs a credential: the response only shows that a source of that name is configured.

use std::fmt;

use axum::http::HeaderMap;
use serde::Serialize;
use utoipa::ToSchema;

use super::quarantine::{ParseResult, QuarantineReason};
use crate::ingest::normalize::azure::member_flags::MemberFlags;
use crate::ingest::normalize::azure::object::AzureObject;
use onrecord_json::ValueRef;

/// The type of the event that validates a subscription.
const VALIDATION: &str = "Microsoft.EventGrid.SubscriptionValidationEvent";

/// The type of the event that reports the deletion of a subscription.
const DELETED: &str = "Microsoft.EventGrid.SubscriptionDeletedEvent";

/// The handshake of Event Grid's schema; as JSON, the answer. Event Grid accepts only status 200.
#[derive(Clone, PartialEq, Eq, Serialize, ToSchema)]
#[schema(as = SubscriptionValidation)]
pub struct Handshake {
    /// The code of the subscription.
    #[serde(rename = "validationResponse")]
    code: String,
}

impl fmt::Debug for Handshake {
    /// Omits the code, because it confirms a subscription.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Handshake")
    }
}

impl Handshake {
    /// Parses a validation event.
    ///
    /// # Errors
    ///
    /// [`QuarantineReason`]: there is no code, or it is not a string.
    pub(crate) fn of(event: ValueRef<'_>) -> ParseResult<Self> {
        let flags = MemberFlags::default();
        let event = AzureObject::event(event, &flags);
        let code = event.object(&["data"]).strict_text(&["validationCode"])?;
        match code.filter(|code| !code.is_empty()) {
            Some(code) => Ok(Self { code: code.into_owned() }),
            None => Err(QuarantineReason::NoValidationCode),
        }
    }
}

/// Whether events of that type are handshakes.
pub(crate) fn is_validation(source_type: &str) -> bool {
    source_type.eq_ignore_ascii_case(VALIDATION)
}

/// Whether events of that type report the deletion of their subscription.
pub(crate) fn is_deletion(source_type: &str) -> bool {
    source_type.eq_ignore_ascii_case(DELETED)
}

/// The origin that the response to the CloudEvents handshake allows: the one of the request, without
/// which there is no handshake. Any is allowed, because each delivery needs a credential.
pub(crate) fn allowed_origin(headers: &HeaderMap) -> Option<String> {
    let origin = headers.get("webhook-request-origin")?.to_str().ok()?.trim();
    (!origin.is_empty()).then(|| origin.to_owned())
}

#[cfg(test)]
mod tests {
    use axum::http::{HeaderName, HeaderValue};

    use super::*;
    use onrecord_json::JsonIndex;

    #[test]
    fn the_answer_contains_the_code_and_debug_output_does_not() {
        let index = JsonIndex::parse(r#"{"data":{"validationCode":"a\"b"}}"#).unwrap();
        let handshake = Handshake::of(index.root()).unwrap();
        assert_eq!(serde_json::to_string(&handshake).unwrap(), r#"{"validationResponse":"a\"b"}"#);
        assert_eq!(format!("{handshake:?}"), "Handshake");
    }

    #[test]
    fn the_answer_is_as_documented() {
        let request = include_str!(concat!(
            env!("CARGO_MANIFEST_DIR"),
            "/tests/data/azure/egsys-subscription-validation.json"
        ));
        let expected = include_str!(concat!(
            env!("CARGO_MANIFEST_DIR"),
            "/tests/data/azure/egsys-validation-response.json"
        ));
        let index = JsonIndex::parse(request).unwrap();
        let event = index.root().elements().next().unwrap();
        let parse = |text: &str| serde_json::from_str::<serde_json::Value>(text).unwrap();
        assert_eq!(
            parse(&serde_json::to_string(&Handshake::of(event).unwrap()).unwrap()),
            parse(expected)
        );
    }

    #[test]
    fn a_validation_without_code_cannot_be_answered() {
        for (json, code) in [
            ("{}", "no_validation_code"),
            (r#"{"data":{"validationCode":""}}"#, "no_validation_code"),
            (r#"{"data":{"validationCode":7}}"#, "wrong_type"),
            (r#"{"data":[]}"#, "no_validation_code"),
        ] {
            let index = JsonIndex::parse(json).unwrap();
            assert_eq!(Handshake::of(index.root()).unwrap_err().code(), code);
        }
    }

    #[test]
    fn any_origin_that_sends_options_is_allowed() {
        let of = |origin: &'static str| {
            let header = HeaderName::from_static("webhook-request-origin");
            allowed_origin(&HeaderMap::from_iter([(header, HeaderValue::from_static(origin))]))
        };
        assert_eq!(of(" eventgrid.azure.net ").as_deref(), Some("eventgrid.azure.net"));
        assert_eq!(allowed_origin(&HeaderMap::new()), None);
        assert_eq!(of(" "), None);
    }
}
