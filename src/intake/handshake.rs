//! How a subscription proves that its endpoint wants events: what to answer.
//!
//! Event Grid's schema sends one event with a code and wants it back within 30 s, with status 200;
//! CloudEvents sends `OPTIONS` and decides by the answer's headers. Neither needs a key: the answer
//! only says that a source of that name is configured here.

use std::fmt;

use super::azure::Object;
use super::json::Node;
use super::reason::Reason;

/// Event Grid asks whether its subscription is wanted.
const VALIDATION: &str = "Microsoft.EventGrid.SubscriptionValidationEvent";

/// Event Grid tells that a subscription is gone.
const DELETED: &str = "Microsoft.EventGrid.SubscriptionDeletedEvent";

/// Event Grid's handshake, to be answered with status 200 and nothing else.
#[derive(Clone, PartialEq, Eq)]
pub struct Handshake {
    code: String,
}

impl fmt::Debug for Handshake {
    /// The code confirms a subscription, so it is never printed.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Handshake")
    }
}

impl Handshake {
    /// Reads a validation event.
    ///
    /// # Errors
    ///
    /// [`Reason::NoValidationCode`], or the code is no string.
    pub(super) fn of(event: Node<'_>) -> Result<Self, Reason> {
        let event = Object::event(event);
        let code = event.object(["data"])?.string(["validationCode"])?;
        match code.filter(|code| !code.is_empty()) {
            Some(code) => Ok(Self { code }),
            None => Err(Reason::NoValidationCode),
        }
    }

    /// The body of the answer, JSON.
    #[must_use]
    pub fn answer(&self) -> String {
        serde_json::json!({ "validationResponse": self.code }).to_string()
    }
}

/// Whether an event of that type asks for a handshake.
pub(super) fn is_validation(source_type: &str) -> bool {
    source_type.eq_ignore_ascii_case(VALIDATION)
}

/// Whether an event of that type says that nothing will come any more.
pub(super) fn is_deletion(source_type: &str) -> bool {
    source_type.eq_ignore_ascii_case(DELETED)
}

/// The headers that answer CloudEvents' handshake, with status 200.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Permission {
    /// `WebHook-Allowed-Origin`.
    pub allowed_origin: String,
    /// `WebHook-Allowed-Rate`: we take whatever comes.
    pub allowed_rate: &'static str,
    /// `Allow`.
    pub allow: &'static str,
}

/// Answers `OPTIONS` with the header `WebHook-Request-Origin`; without it, nobody asked. The one
/// who asks is allowed, whoever it is: events still need a key.
#[must_use]
pub fn permission(request_origin: Option<&str>) -> Option<Permission> {
    let origin = request_origin?.trim();
    (!origin.is_empty()).then(|| Permission {
        allowed_origin: origin.to_owned(),
        allowed_rate: "*",
        allow: "POST",
    })
}

#[cfg(test)]
mod tests {
    use super::super::json::Document;
    use super::*;

    #[test]
    fn the_code_goes_back_and_is_never_printed() {
        let document = Document::parse(r#"{"data":{"validationCode":"a\"b"}}"#).unwrap();
        let handshake = Handshake::of(document.root()).unwrap();
        assert_eq!(handshake.answer(), r#"{"validationResponse":"a\"b"}"#);
        assert_eq!(format!("{handshake:?}"), "Handshake");
    }

    #[test]
    fn the_answer_is_the_documented_one() {
        let asked = include_str!("../../tests/data/azure/egsys-subscription-validation.json");
        let answered = include_str!("../../tests/data/azure/egsys-validation-response.json");
        let document = Document::parse(asked).unwrap();
        let event = document.root().elements().next().unwrap();
        let parse = |text: &str| serde_json::from_str::<serde_json::Value>(text).unwrap();
        assert_eq!(
            parse(&Handshake::of(event).unwrap().answer()),
            parse(answered)
        );
    }

    #[test]
    fn a_validation_without_code_cannot_be_answered() {
        for (json, code) in [
            ("{}", "no_validation_code"),
            (r#"{"data":{"validationCode":""}}"#, "no_validation_code"),
            (r#"{"data":{"validationCode":7}}"#, "wrong_type"),
            (r#"{"data":[]}"#, "wrong_type"),
        ] {
            let document = Document::parse(json).unwrap();
            assert_eq!(Handshake::of(document.root()).unwrap_err().code(), code);
        }
    }

    #[test]
    fn whoever_asks_by_options_is_allowed_to_send() {
        assert_eq!(
            permission(Some(" eventgrid.azure.net ")),
            Some(Permission {
                allowed_origin: "eventgrid.azure.net".to_owned(),
                allowed_rate: "*",
                allow: "POST",
            })
        );
        assert_eq!(permission(None), None);
        assert_eq!(permission(Some(" ")), None);
    }
}
