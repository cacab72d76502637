//! The envelope of one event: Event Grid's schema or CloudEvents, told by its shape.
//!
//! Headers and content types do not decide: specification examples of Event Grid carry CloudEvents
//! envelopes, dead-letter records lack `specversion`, proxies rewrite content types.

use std::borrow::Cow;

use super::azure::Object;
use super::json::{Kind, Node};
use super::reason::Reason;
use crate::config::SourceKind;

/// The common start of the types of ACS.
const COMMUNICATION: &str = "Microsoft.Communication.";

/// How the types begin, behind [`COMMUNICATION`], that are about calls: Event Grid's own and Call
/// Automation's. `call` covers CallStarted, CallConnected, CallTransferAccepted and so on.
const ABOUT_CALLS: &[&str] = &[
    "addparticipant",
    "answer",
    "call",
    "canceladdparticipant",
    "connect",
    "continuousdtmf",
    "createcall",
    "dialog",
    "hold",
    "incomingcall",
    "mediastreaming",
    "moveparticipant",
    "participant",
    "play",
    "recognize",
    "recording",
    "removeparticipant",
    "senddtmf",
    "startrecording",
    "teamscompliancerecording",
    "teamsrecording",
    "transcription",
    "userdisconnected",
];

/// How the types of ACS begin that are not about calls. From a Call Automation source everything
/// else is.
const NOT_ABOUT_CALLS: &[&str] = &["advancedmessage", "chat", "email", "router", "sms"];

/// Whether a type is about calls, as far as its source lets suppose.
pub(super) fn is_about_calls(kind: SourceKind, source_type: &str) -> bool {
    if let Some(name) = communication_type(source_type) {
        let begins = |starts: &[&str]| {
            let name = name.to_ascii_lowercase();
            starts.iter().any(|start| name.starts_with(start))
        };
        return match kind {
            SourceKind::EventGrid => begins(ABOUT_CALLS),
            SourceKind::CallAutomation => !begins(NOT_ABOUT_CALLS),
        };
    }
    if after_ignoring_case(source_type, "Microsoft.EventGrid.").is_some() {
        // About our own subscription.
        return true;
    }
    kind == SourceKind::CallAutomation && after_ignoring_case(source_type, "Microsoft.").is_none()
}

/// The type behind `Microsoft.Communication.`, as written.
pub(super) fn communication_type(source_type: &str) -> Option<&str> {
    after_ignoring_case(source_type, COMMUNICATION)
}

fn after_ignoring_case<'t>(text: &'t str, start: &str) -> Option<&'t str> {
    let (found, rest) = text.split_at_checked(start.len())?;
    found.eq_ignore_ascii_case(start).then_some(rest)
}

/// The type of an event.
///
/// # Errors
///
/// [`Reason::NoEnvelope`], or the type is no string.
pub(super) fn event_type<'d>(event: Node<'d>) -> Result<Cow<'d, str>, Reason> {
    let object = Object::event(event);
    if let Some(event_type) = object.text(["eventType"])?.filter(|text| !text.is_empty()) {
        return Ok(event_type);
    }
    if !is_cloud_event(event) {
        return Err(Reason::NoEnvelope);
    }
    let event_type = object.text(["type"])?.filter(|text| !text.is_empty());
    event_type.ok_or(Reason::NoEnvelope)
}

/// `type` alone is no envelope: many objects have one.
fn is_cloud_event(event: Node<'_>) -> bool {
    let has = |name| event.member(name).is_some();
    has("type")
        && ["source", "specversion", "data", "data_base64"]
            .into_iter()
            .any(has)
}

/// The envelope of one event, with what it holds.
pub(super) struct Envelope<'d> {
    pub(super) source_type: Cow<'d, str>,
    pub(super) id: Option<Cow<'d, str>>,
    /// `topic` or `source`.
    pub(super) source: Option<Cow<'d, str>>,
    pub(super) time: Option<Cow<'d, str>>,
    pub(super) subject: Option<Cow<'d, str>>,
    event: Node<'d>,
    hidden: Option<Hidden<'d>>,
}

/// What `data_base64` holds.
#[derive(Clone, Copy)]
pub(super) enum Hidden<'d> {
    /// JSON, redacted.
    Json(Node<'d>),
    /// Nothing that can be read.
    Unreadable,
}

impl<'d> Envelope<'d> {
    /// Reads the envelope of a redacted event.
    ///
    /// # Errors
    ///
    /// [`Reason`]: there is none, or a member of it is no string.
    pub(super) fn of(event: Node<'d>, hidden: Option<Hidden<'d>>) -> Result<Self, Reason> {
        let source_type = event_type(event)?;
        let object = Object::event(event);
        let text = |found: Option<Cow<'d, str>>| found.filter(|text| !text.is_empty());
        Ok(Self {
            source_type,
            id: text(object.text(["id"])?),
            source: text(object.text(["topic", "source"])?),
            time: text(object.text(["eventTime", "time"])?),
            subject: text(object.text(["subject"])?),
            event,
            hidden,
        })
    }

    /// The event's `data`, which may be missing.
    ///
    /// # Errors
    ///
    /// [`Reason`]: it is there, but is no object.
    pub(super) fn content(&self) -> Result<Object<'d, 'd>, Reason> {
        if let Some((_, content)) = self.event.member("data") {
            if content.kind() == Kind::Object {
                return Ok(Object::content(Some(content)));
            }
            return Err(Reason::WrongType {
                pointer: "/data".to_owned(),
                expected: "an object",
            });
        }
        match self.hidden {
            Some(Hidden::Json(content)) if content.kind() == Kind::Object => {
                Ok(Object::content(Some(content)))
            }
            Some(_) => Err(Reason::HiddenNotJson),
            None => Ok(Object::content(None)),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::json::Document;
    use super::*;

    fn type_of(json: &str) -> Result<String, Reason> {
        let document = Document::parse(json).unwrap();
        event_type(document.root()).map(Cow::into_owned)
    }

    #[test]
    fn an_envelope_is_told_by_its_shape() {
        for json in [
            r#"{"eventType":"t"}"#,
            r#"{"eventtype":"t","type":3}"#,
            r#"{"type":"t","source":"s"}"#,
            r#"{"type":"t","specVersion":"1.0"}"#,
            r#"{"type":"t","data":{}}"#,
        ] {
            assert_eq!(type_of(json), Ok("t".to_owned()), "{json}");
        }
        for json in [
            "{}",
            r#"{"type":"peerToPeer","id":"x","version":1}"#,
            r#"{"source":"s","specversion":"1.0"}"#,
            r#"{"eventType":""}"#,
            r#"{"eventType":null,"data":{}}"#,
        ] {
            assert_eq!(type_of(json), Err(Reason::NoEnvelope), "{json}");
        }
        assert_eq!(
            type_of(r#"{"eventType":3,"type":"t","source":"s"}"#)
                .unwrap_err()
                .pointer(),
            Some("/eventType")
        );
    }

    #[test]
    fn what_is_about_calls_is_told_from_what_is_not() {
        use SourceKind::{CallAutomation, EventGrid};
        for (source_type, by_event_grid, by_call_automation) in [
            ("Microsoft.Communication.CallStarted", true, true),
            ("microsoft.communication.INCOMINGCALL", true, true),
            ("Microsoft.Communication.CallLegStateChanged", true, true),
            (
                "Microsoft.Communication.TeamsRecordingStateChanged",
                true,
                true,
            ),
            ("Microsoft.Communication.SomethingNew", false, true),
            ("Microsoft.Communication.SMSReceived", false, false),
            ("Microsoft.Communication.ChatMessageReceived", false, false),
            ("Microsoft.Communication.RouterJobReceived", false, false),
            ("Microsoft.Storage.BlobCreated", false, false),
            ("Microsoft.EventGrid.SubscriptionDeletedEvent", true, true),
            ("Contoso.Something", false, true),
        ] {
            assert_eq!(
                is_about_calls(EventGrid, source_type),
                by_event_grid,
                "{source_type}"
            );
            assert_eq!(
                is_about_calls(CallAutomation, source_type),
                by_call_automation,
                "{source_type}"
            );
        }
    }
}
