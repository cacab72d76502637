//! The envelope of one event: Event Grid's schema or CloudEvents, recognized by its members.
//!
//! Headers and content types are not used: some specification examples of Event Grid have a
//! CloudEvents envelope, dead-letter records lack `specversion`, proxies rewrite content types.

use std::borrow::Cow;

use crate::config::SourceKind;
use crate::ingest::normalize::azure::member_flags::MemberFlags;
use crate::ingest::normalize::azure::object::AzureObject;
use crate::ingest::normalize::azure::path::strip_prefix_ignoring_case;
use crate::ingest::quarantine::{ParseResult, QuarantineReason};
use onrecord_json::{EncodedMember, ValueKind, ValueRef};

/// The prefix of the types of ACS.
const COMMUNICATION: &str = "Microsoft.Communication.";

/// The prefixes, after [`COMMUNICATION`], of the types about calls, of Event Grid and of Call
/// Automation. `call` covers CallStarted, CallConnected, CallTransferAccepted and so on.
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

/// The prefixes of the ACS types that are not about calls. All others of a Call Automation source
/// are.
const NOT_ABOUT_CALLS: &[&str] = &["advancedmessage", "chat", "email", "router", "sms"];

/// Whether events of that type, from a source of that kind, are about calls.
pub(crate) fn is_about_calls(kind: SourceKind, source_type: &str) -> bool {
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
    if strip_prefix_ignoring_case(source_type, "Microsoft.EventGrid.").is_some() {
        // Events about the subscription itself.
        return true;
    }
    kind == SourceKind::CallAutomation
        && strip_prefix_ignoring_case(source_type, "Microsoft.").is_none()
}

/// The part of the type after `Microsoft.Communication.`, as written.
pub(crate) fn communication_type(source_type: &str) -> Option<&str> {
    strip_prefix_ignoring_case(source_type, COMMUNICATION)
}

/// The type of an event.
///
/// # Errors
///
/// [`QuarantineReason`]: there is no envelope, or its type is not a string.
pub(crate) fn event_type<'d>(event: ValueRef<'d>) -> ParseResult<Cow<'d, str>> {
    let flags = MemberFlags::default();
    let object = AzureObject::event(event, &flags);
    if let Some(event_type) = object.strict_text(&["eventType"])?.filter(|text| !text.is_empty()) {
        return Ok(event_type);
    }
    if !is_cloud_event(event) {
        return Err(QuarantineReason::NoEnvelope);
    }
    let event_type = object.strict_text(&["type"])?.filter(|text| !text.is_empty());
    event_type.ok_or(QuarantineReason::NoEnvelope)
}

/// Whether the object is a CloudEvent. `type` alone is not enough: many objects have it.
fn is_cloud_event(event: ValueRef<'_>) -> bool {
    let has = |name| event.member(name).is_some();
    has("type") && ["source", "specversion", "data", "data_base64"].into_iter().any(has)
}

/// The data of an event.
#[derive(Clone, Copy)]
pub(crate) enum EventData<'d> {
    /// The member `data`; it may be missing.
    Written(Option<ValueRef<'d>>),
    /// Data that was written in a string, decoded; `None` if it is not JSON.
    Encoded(EncodedMember, Option<ValueRef<'d>>),
}

impl<'d> EventData<'d> {
    /// The member `data` of an event.
    pub(crate) fn of(event: ValueRef<'d>) -> Self {
        Self::Written(event.member("data").map(|(_, data)| data))
    }

    /// The value.
    pub(crate) fn value(self) -> Option<ValueRef<'d>> {
        match self {
            Self::Written(data) | Self::Encoded(_, data) => data,
        }
    }
}

/// The envelope of one event, and its data.
pub(crate) struct Envelope<'d> {
    pub(crate) source_type: Cow<'d, str>,
    pub(crate) id: Option<Cow<'d, str>>,
    /// `topic` or `source`.
    pub(crate) source: Option<Cow<'d, str>>,
    pub(crate) time: Option<Cow<'d, str>>,
    pub(crate) subject: Option<Cow<'d, str>>,
    event: ValueRef<'d>,
    data: EventData<'d>,
    /// What is wrong with members of the envelope, and of the data that is read from it.
    pub(crate) flags: MemberFlags,
}

impl<'d> Envelope<'d> {
    /// Parses the envelope of an event that is the data of another one.
    ///
    /// # Errors
    ///
    /// As [`Envelope::of`].
    pub(crate) fn of_nested(event: ValueRef<'d>) -> ParseResult<Self> {
        Self::of(event, EventData::of(event))
    }

    /// Parses the envelope of a redacted event, with its data.
    ///
    /// # Errors
    ///
    /// [`QuarantineReason`]: there is no envelope, or its type is not a string.
    pub(crate) fn of(event: ValueRef<'d>, data: EventData<'d>) -> ParseResult<Self> {
        let flags = MemberFlags::default();
        let object = AzureObject::event(event, &flags);
        let written_type = event_type(event)?;
        let source_type = object.shortened(&["eventType", "type"], written_type);
        let text = |found: Option<Cow<'d, str>>| found.filter(|text| !text.is_empty());
        let id = text(object.short_text(&["id"]));
        let source = text(object.text(&["topic", "source"]));
        let time = text(object.short_text(&["eventTime", "time"]));
        if let Some(time) = &time {
            // It is kept verbatim; the flag says that it does not count.
            object.read_time(&["eventTime", "time"], time);
        }
        let subject = text(object.text(&["subject"]));
        Ok(Self { source_type, id, source, time, subject, event, data, flags })
    }

    /// The source in lower case, as the event is identified by it; `default` if the event states none.
    pub(crate) fn identifying_source(&self, default: &str) -> String {
        let source = self.source.as_deref().unwrap_or(default).to_lowercase();
        let object = AzureObject::event(self.event, &self.flags);
        object.shortened(&["topic", "source"], source.into()).into_owned()
    }

    /// The event's data; it may be missing.
    ///
    /// # Errors
    ///
    /// [`QuarantineReason`]: it is not an object.
    pub(crate) fn data(&self) -> ParseResult<AzureObject<'d, '_>> {
        let is_object = |value: ValueRef<'_>| value.kind() == ValueKind::Object;
        match (self.data.value(), self.data) {
            (Some(data), _) if is_object(data) => Ok(AzureObject::data(Some(data), &self.flags)),
            (None, EventData::Written(None)) => Ok(AzureObject::data(None, &self.flags)),
            (_, EventData::Encoded(EncodedMember::DataBase64, _)) => {
                Err(QuarantineReason::Base64NotJson)
            }
            _ => Err(QuarantineReason::WrongType {
                pointer: "/data".to_owned(),
                expected: "an object",
            }),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use onrecord_json::JsonIndex;

    fn type_of(json: &str) -> ParseResult<String> {
        let index = JsonIndex::parse(json).unwrap();
        event_type(index.root()).map(Cow::into_owned)
    }

    #[test]
    fn an_envelope_is_recognized_by_its_members() {
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
            assert_eq!(type_of(json), Err(QuarantineReason::NoEnvelope), "{json}");
        }
        assert_eq!(
            type_of(r#"{"eventType":3,"type":"t","source":"s"}"#).unwrap_err().pointer(),
            Some("/eventType")
        );
    }

    #[test]
    fn types_about_calls_are_recognized() {
        use SourceKind::{CallAutomation, EventGrid};
        for (source_type, by_event_grid, by_call_automation) in [
            ("Microsoft.Communication.CallStarted", true, true),
            ("microsoft.communication.INCOMINGCALL", true, true),
            ("Microsoft.Communication.CallLegStateChanged", true, true),
            ("Microsoft.Communication.TeamsRecordingStateChanged", true, true),
            ("Microsoft.Communication.SomethingNew", false, true),
            ("Microsoft.Communication.SMSReceived", false, false),
            ("Microsoft.Communication.ChatMessageReceived", false, false),
            ("Microsoft.Communication.RouterJobReceived", false, false),
            ("Microsoft.Storage.BlobCreated", false, false),
            ("Microsoft.EventGrid.SubscriptionDeletedEvent", true, true),
            ("Contoso.Something", false, true),
        ] {
            assert_eq!(is_about_calls(EventGrid, source_type), by_event_grid, "{source_type}");
            assert_eq!(
                is_about_calls(CallAutomation, source_type),
                by_call_automation,
                "{source_type}"
            );
        }
    }
}
