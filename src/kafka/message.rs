//! The messages of the log: CloudEvents 1.0 in binary mode.
//!
//! The headers have the envelope and the redacted original, the value is the normalized event. The spool
//! has the same message as JSON. Other consumers of the topics rely on this form (docs/kafka.md).

use std::borrow::Cow;

use chrono::{DateTime, SecondsFormat, Utc};
use serde::{Deserialize, Serialize};

use super::cloudevent_attributes;
use onrecord_evidence::event::calling_event::{CallingEvent, ObservedEvent, event_key};
use onrecord_evidence::event::ids::{Digest, Tenant};
use onrecord_evidence::event::instant::{self, Millis};
use onrecord_evidence::identity::alias_graph::CallIds;

/// The header with the credential that authenticated the source.
const CREDENTIAL: &str = "onrecord_credential";
/// The header with the source as it identifies the event, where `ce_source` has to encode it.
const SOURCE_VERBATIM: &str = "onrecord_source_verbatim";
/// The header with the time as its source states it, where `ce_time` is another text or absent.
const TIME_VERBATIM: &str = "onrecord_time";
/// The header with the content codings of the delivery.
const CONTENT_CODING: &str = "onrecord_content_coding";
/// The header with the charset of the delivery.
const CHARSET: &str = "onrecord_charset";
/// The header with the time at which the delivery was received.
const RECEIVED: &str = "onrecord_received";

/// The compacted topic of flat records, without the configured prefix. The service does not read it.
pub const CALL_FACTS: &str = "call-facts.v1";

/// The topics of this service that it reads, without the configured prefix.
#[derive(
    Clone,
    Copy,
    Debug,
    PartialEq,
    Eq,
    Hash,
    PartialOrd,
    Ord,
    Serialize,
    Deserialize,
    strum::IntoStaticStr,
)]
pub enum Topic {
    /// Normalized events.
    #[serde(rename = "calling-events.v1")]
    #[strum(serialize = "calling-events.v1")]
    Events,
    /// The progress of notices, and the answers of participants.
    #[serde(rename = "notice-facts.v1")]
    #[strum(serialize = "notice-facts.v1")]
    NoticeFacts,
    /// Content that could not be parsed, whole.
    #[serde(rename = "quarantine.v1")]
    #[strum(serialize = "quarantine.v1")]
    Quarantine,
}

impl Topic {
    /// Every topic.
    pub const ALL: [Self; 3] = [Self::Events, Self::NoticeFacts, Self::Quarantine];

    /// Its name without prefix.
    #[must_use]
    pub fn name(self) -> &'static str {
        self.into()
    }
}

/// A header with its name; the names of this service are static, and cost no memory.
pub(crate) type MessageHeader = (Cow<'static, str>, String);

/// A message before it is published, or as it is in the spool.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct WireMessage {
    pub topic: Topic,
    /// For locality only; correctness does not depend on it.
    pub key: String,
    pub headers: Vec<MessageHeader>,
    /// JSON.
    pub value: String,
}

impl WireMessage {
    /// The value of a header.
    #[must_use]
    pub fn header(&self, name: &str) -> Option<&str> {
        self.headers.iter().find(|(header, _)| header == name).map(|(_, value)| value.as_str())
    }

    pub(super) fn required_header(&self, name: &'static str) -> Result<&str, MessageError> {
        self.header(name).ok_or(MessageError::NoHeader(name))
    }

    /// Parses a required header; `None` means that it cannot be read.
    pub(super) fn parse_header<T>(
        &self,
        name: &'static str,
        parse: impl FnOnce(&str) -> Option<T>,
    ) -> Result<T, MessageError> {
        parse(self.required_header(name)?).ok_or(MessageError::BadHeader(name))
    }

    pub(super) fn tenant(&self) -> Result<Tenant, MessageError> {
        self.parse_header("ce_tenant", |tenant| Tenant::parse(tenant).ok())
    }
}

/// The headers that have a value.
pub(super) fn headers<const N: usize>(
    all: [(&'static str, Option<String>); N],
) -> Vec<MessageHeader> {
    all.into_iter().filter_map(|(name, value)| Some((name.into(), value?))).collect()
}

/// The reason for which a message of the log does not have the form of this service.
#[derive(Debug, thiserror::Error)]
pub enum MessageError {
    #[error("the header {0} is missing")]
    NoHeader(&'static str),
    #[error("the header {0} cannot be read")]
    BadHeader(&'static str),
    #[error("the notice fact {0} has no state")]
    NoState(Digest),
    #[error("the value is not a message of this topic: {0}")]
    BadValue(#[from] serde_json::Error),
}

/// How an event reached the service.
#[derive(Clone, Copy, Debug, PartialEq, Eq, strum::EnumString, strum::IntoStaticStr)]
#[strum(serialize_all = "snake_case")]
pub enum Provenance {
    /// Event Grid.
    #[strum(serialize = "eg")]
    EventGrid,
    /// Call Automation.
    #[strum(serialize = "ca")]
    CallAutomation,
    /// A client's report.
    Client,
    /// The maintenance of the ledger, which presumes an end.
    Maintenance,
}

impl Provenance {
    /// As in the header `onrecord_source`.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        self.into()
    }
}

/// A calling event with its origin, as it is published.
#[derive(Clone, Debug, PartialEq)]
pub struct EventMessage {
    pub tenant: Tenant,
    pub provenance: Provenance,
    /// The configured source's name, or the app's for reports.
    pub source: String,
    /// The credential that authenticated the source: the first 12 digits of a key's hash, or `jwt:`
    /// and the id of a signing key. A report has none.
    pub credential: Option<String>,
    /// The topic or CloudEvents source, lower case.
    pub ce_source: String,
    /// The source's own id, or `sha256:` and the digest of the content.
    pub ce_id: String,
    /// The source's own time, verbatim.
    pub ce_time: Option<String>,
    /// When the service received the delivery, in whole microseconds.
    pub received: DateTime<Utc>,
    /// Digest of the event's bytes as received.
    pub sha256: Digest,
    /// Digest of the canonical content: a redelivery has the same, a conflict another (`ONCE`).
    pub content: Digest,
    /// The event as received, without what is redacted (`NO_SECRETS`).
    pub original: String,
    /// The content codings of the delivery: `gzip`.
    pub content_coding: Option<String>,
    /// The charset of the delivery, if it was not UTF-8.
    pub charset: Option<String>,
    pub event: CallingEvent,
}

impl EventMessage {
    /// The key by which duplicates are recognized.
    #[must_use]
    pub fn key(&self) -> Digest {
        event_key(self.tenant.as_str(), &self.ce_source, &self.event.source_type, &self.ce_id)
    }

    /// The source's own time, if it can be read.
    #[must_use]
    pub fn source_time(&self) -> Option<DateTime<Utc>> {
        self.ce_time.as_deref().and_then(instant::parse_source_time)
    }

    /// The event with its key and its instant.
    #[must_use]
    pub fn into_observed_event(self) -> ObservedEvent {
        let at = instant::event_time(self.source_time(), self.received);
        let received_at = self.late_receipt();
        ObservedEvent::new(self.key(), at, self.event).received(received_at)
    }

    /// When it was received, in Unix milliseconds, if that is much later than its source's time. A
    /// presumed end is in the past, by the clock of the service itself.
    #[must_use]
    pub fn late_receipt(&self) -> Option<Millis> {
        let is_stated = self.provenance != Provenance::Maintenance;
        is_stated.then(|| instant::late_receipt(self.source_time(), self.received)).flatten()
    }

    /// Makes the message of the log.
    ///
    /// # Errors
    ///
    /// The event cannot be serialized, which no event of this service causes.
    pub fn to_wire(&self) -> Result<WireMessage, MessageError> {
        let anchor = CallIds::of(&self.event.ids).anchor;
        let ce_time = self.ce_time.as_deref().and_then(cloudevent_attributes::time);
        let time_verbatim = self.ce_time.clone().filter(|_| ce_time != self.ce_time);
        let ce_source = cloudevent_attributes::source(&self.ce_source);
        let source_verbatim = (ce_source != self.ce_source).then(|| self.ce_source.clone());
        let headers = headers([
            ("ce_specversion", Some("1.0".to_owned())),
            ("ce_type", Some(format!("onrecord.{}", self.event.statement.name()))),
            ("ce_source", Some(ce_source)),
            (SOURCE_VERBATIM, source_verbatim),
            ("ce_id", Some(self.ce_id.clone())),
            ("ce_time", ce_time),
            (TIME_VERBATIM, time_verbatim),
            ("ce_tenant", Some(self.tenant.to_string())),
            ("ce_subject", anchor.map(|anchor| anchor.to_string())),
            (CREDENTIAL, self.credential.clone()),
            ("content-type", Some("application/json".to_owned())),
            ("onrecord_source", Some(self.provenance.as_str().to_owned())),
            ("onrecord_source_name", Some(self.source.clone())),
            (RECEIVED, Some(self.received.to_rfc3339_opts(SecondsFormat::Micros, true))),
            ("onrecord_sha256", Some(self.sha256.to_string())),
            ("onrecord_content", Some(self.content.to_string())),
            (CONTENT_CODING, self.content_coding.clone()),
            (CHARSET, self.charset.clone()),
            ("original", Some(self.original.clone())),
        ]);
        let ids = &self.event.ids;
        let locality = ids
            .server_call_id
            .as_deref()
            .or(ids.correlation_id.as_deref())
            .or(ids.call_connection_id.as_deref())
            .or(ids.attachment.as_deref())
            .unwrap_or(&self.ce_source);
        Ok(WireMessage {
            topic: Topic::Events,
            key: format!("{}/{locality}", self.tenant),
            headers,
            value: serde_json::to_string(&self.event)?,
        })
    }

    /// Reads a message of the log or the spool.
    ///
    /// # Errors
    ///
    /// [`MessageError`]; the message has another form or version.
    pub fn from_wire(wire: &WireMessage) -> Result<Self, MessageError> {
        let required = |name: &'static str| wire.required_header(name).map(str::to_owned);
        Ok(Self {
            tenant: wire.tenant()?,
            provenance: wire.parse_header("onrecord_source", |text| text.parse().ok())?,
            source: required("onrecord_source_name")?,
            credential: wire.header(CREDENTIAL).map(str::to_owned),
            ce_source: match wire.header(SOURCE_VERBATIM) {
                Some(source) => source.to_owned(),
                None => required("ce_source")?,
            },
            ce_id: required("ce_id")?,
            ce_time: wire
                .header(TIME_VERBATIM)
                .or_else(|| wire.header("ce_time"))
                .map(str::to_owned),
            received: wire.parse_header(RECEIVED, instant::parse_source_time)?,
            sha256: wire.parse_header("onrecord_sha256", Digest::from_hex)?,
            content: wire.parse_header("onrecord_content", Digest::from_hex)?,
            original: required("original")?,
            content_coding: wire.header(CONTENT_CODING).map(str::to_owned),
            charset: wire.header(CHARSET).map(str::to_owned),
            event: CallingEvent::from_json(&wire.value)?,
        })
    }
}

/// Content that could not be parsed, whole except for what is redacted, with the reason
/// (`NOTHING_LOST`).
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct QuarantineMessage {
    pub tenant: Tenant,
    /// The configured source's name.
    pub source: String,
    /// As for an event; it is a header here too.
    #[serde(skip)]
    pub credential: Option<String>,
    /// Stable code of the reason.
    pub reason: String,
    /// The reason in a sentence.
    pub detail: String,
    /// JSON pointer to the member that is wrong.
    pub pointer: Option<String>,
    /// What of the content is JSON, redacted; in binary mode the envelope.
    pub content: Option<String>,
    /// The sealed box of the bytes, if the content is not all of them; base64 in the message.
    #[serde(default, skip_serializing_if = "Option::is_none", with = "base64_text")]
    pub sealed: Option<Vec<u8>>,
    pub content_type: Option<String>,
    /// As for an event.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub content_coding: Option<String>,
    /// As for an event.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub charset: Option<String>,
    /// The number of bytes as received.
    pub size: u64,
    /// The hash of the bytes as received.
    pub sha256: Digest,
    /// Pointers of the redacted members.
    pub redacted: Vec<String>,
    pub received: DateTime<Utc>,
}

impl QuarantineMessage {
    /// Two deliveries of the same bytes by the same source have the same key. The content is part of
    /// it, because in binary mode two envelopes may have the same body.
    #[must_use]
    pub fn key(&self) -> Digest {
        Digest::of_parts(&[
            self.tenant.as_str(),
            &self.source,
            &self.reason,
            &self.sha256.to_string(),
            // Absent content counts as empty: the digest of the bytes tells them apart.
            self.content.as_deref().unwrap_or_default(),
        ])
    }

    /// Makes the message of the log.
    ///
    /// # Errors
    ///
    /// The content cannot be serialized, which no content of this service causes.
    pub fn to_wire(&self) -> Result<WireMessage, MessageError> {
        let headers = headers([
            ("ce_specversion", Some("1.0".to_owned())),
            ("ce_type", Some("onrecord.quarantined".to_owned())),
            ("ce_source", Some(cloudevent_attributes::source(&self.source))),
            ("ce_id", Some(self.key().to_string())),
            ("ce_tenant", Some(self.tenant.to_string())),
            ("content-type", Some("application/json".to_owned())),
            (RECEIVED, Some(self.received.to_rfc3339_opts(SecondsFormat::Micros, true))),
            (CREDENTIAL, self.credential.clone()),
        ]);
        Ok(WireMessage {
            topic: Topic::Quarantine,
            key: format!("{}/{}", self.tenant, self.source),
            headers,
            value: serde_json::to_string(self)?,
        })
    }

    /// Reads a message of the log.
    ///
    /// # Errors
    ///
    /// [`MessageError::BadValue`].
    pub fn from_wire(wire: &WireMessage) -> Result<Self, MessageError> {
        Ok(Self {
            credential: wire.header(CREDENTIAL).map(str::to_owned),
            ..serde_json::from_str(&wire.value)?
        })
    }
}

/// Bytes as a text in base64.
mod base64_text {
    use base64::Engine as _;
    use base64::engine::general_purpose::STANDARD;
    use serde::de::Error as _;
    use serde::{Deserialize as _, Deserializer, Serialize as _, Serializer};

    pub(super) fn serialize<S: Serializer>(
        bytes: &Option<Vec<u8>>,
        serializer: S,
    ) -> Result<S::Ok, S::Error> {
        bytes.as_deref().map(|bytes| STANDARD.encode(bytes)).serialize(serializer)
    }

    pub(super) fn deserialize<'de, D: Deserializer<'de>>(
        deserializer: D,
    ) -> Result<Option<Vec<u8>>, D::Error> {
        let text = Option::<String>::deserialize(deserializer)?;
        text.map(|text| STANDARD.decode(text)).transpose().map_err(D::Error::custom)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use onrecord_evidence::event::calling_event::{LegStatement, Statement};
    use onrecord_evidence::event::ids::Ids;

    fn event() -> EventMessage {
        EventMessage {
            tenant: Tenant::parse("contoso").unwrap(),
            provenance: Provenance::CallAutomation,
            source: "contoso-ca".to_owned(),
            credential: Some("0123456789ab".to_owned()),
            ce_source: "calling/callconnections/x".to_owned(),
            ce_id: "1".to_owned(),
            ce_time: Some("2025-06-16T18:38:11.4159111+00:00".to_owned()),
            received: instant::parse_source_time("2025-06-16T18:38:12.000001Z").unwrap(),
            sha256: Digest::of(b"x"),
            content: Digest::of(b"y"),
            original: "{\"a\":\"\u{0}\"}".to_owned(),
            content_coding: Some("gzip".to_owned()),
            charset: None,
            event: CallingEvent {
                statement: Statement::LegConnected(LegStatement { outcome: None }),
                ids: Ids {
                    correlation_id: Some("5d169a62-eaa9-4cd1-9397-f77a623bd983".to_owned()),
                    ..Ids::default()
                },
                source_type: "Microsoft.Communication.CallConnected".to_owned(),
                generation: Some("2025-06-15".to_owned()),
                redacted: vec!["/data/incomingCallContext".to_owned()],
                flagged: Vec::new(),
            },
        }
    }

    #[test]
    fn a_written_message_is_read_back() {
        let message = event();
        let wire = message.to_wire().unwrap();
        assert_eq!(EventMessage::from_wire(&wire).unwrap(), message);
        assert_eq!(wire.header("ce_subject"), Some("5d169a62-eaa9-4cd1-9397-f77a623bd983"));
        let spooled = serde_json::to_string(&wire).unwrap();
        assert_eq!(serde_json::from_str::<WireMessage>(&spooled).unwrap(), wire);
    }

    #[test]
    fn a_source_and_a_time_that_no_reader_accepts_are_encoded_and_read_back_as_stated() {
        for (source, time, ce_source, ce_time) in [
            ("contoso calls", Some("soon"), "contoso%20calls", None),
            ("8:x", Some("2025-06-16 18:38:11Z"), "8%3Ax", Some("2025-06-16T18:38:11Z")),
            ("/t", Some("0001-01-01T00:00:00Z"), "/t", None),
            ("/t", None, "/t", None),
        ] {
            let stated = EventMessage {
                ce_source: source.to_owned(),
                ce_time: time.map(str::to_owned),
                ..event()
            };
            let wire = stated.to_wire().unwrap();
            assert_eq!(
                (wire.header("ce_source"), wire.header("ce_time")),
                (Some(ce_source), ce_time)
            );
            assert_eq!(EventMessage::from_wire(&wire).unwrap(), stated);
        }
    }

    #[test]
    fn the_value_has_the_documented_form() {
        let wire = event().to_wire().unwrap();
        let value: serde_json::Value = serde_json::from_str(&wire.value).unwrap();
        assert_eq!(value["type"], "leg.connected");
        assert_eq!(value["ids"]["correlation_id"], "5d169a62-eaa9-4cd1-9397-f77a623bd983");
        assert_eq!(value["ids"]["server_call_id"], serde_json::Value::Null);
    }

    #[test]
    fn a_foreign_message_is_refused_with_its_reason() {
        let mut wire = event().to_wire().unwrap();
        wire.headers.retain(|(name, _)| name != "ce_tenant");
        assert_eq!(
            EventMessage::from_wire(&wire).unwrap_err().to_string(),
            "the header ce_tenant is missing"
        );
    }
}
