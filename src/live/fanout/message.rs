//! Messages of a stream: snapshot, notice, gap, bye, beat.
//!
//! A message is composed once and shared by all its recipients. The stream that sends it adds the
//! cursor, which is signed for the scope of each subscriber.

use std::sync::Arc;

use serde::Serialize;

use super::stated_levels::StatedLevels;
use onrecord_evidence::event::ids::Tenant;
use onrecord_evidence::event::instant::{self, Millis};
use onrecord_evidence::identity::alias_graph::Anchor;
use onrecord_evidence::notice::indication::Indications;
use onrecord_evidence::notice::variant::{
    IndicationView, NoticeCause, Variant, notice_id, variant,
};

/// The kind of a message; the name of the SSE event.
#[derive(Clone, Copy, Debug, PartialEq, Eq, strum::IntoStaticStr)]
#[strum(serialize_all = "snake_case")]
pub(crate) enum MessageKind {
    /// The current level.
    Snapshot,
    /// A change of the level.
    Notice,
    /// Completeness cannot be shown.
    Gap,
    /// The service ends the stream.
    Bye,
    /// The connection lives.
    Beat,
}

impl MessageKind {
    /// The name on the wire.
    pub(crate) fn as_str(self) -> &'static str {
        self.into()
    }
}

/// The instants that a message carries.
#[derive(Clone, Copy)]
pub(crate) struct BuildInstant {
    /// The log time through which events were folded, ms.
    pub at: Millis,
    /// The server time, ms.
    pub now: Millis,
}

/// A message without its cursor.
#[derive(Clone, Debug)]
pub(crate) struct StreamMessage {
    pub kind: MessageKind,
    /// A JSON object.
    body: Arc<str>,
    /// The log time through which events were folded when the message was built, ms.
    pub at: Millis,
    /// The call as the recipient is told it; `None`: no call.
    pub call: Option<Anchor>,
    /// The levels that the message states; `None`: none that is known.
    pub stated: Option<Arc<StatedLevels>>,
}

#[derive(Serialize)]
struct LevelBody<'a> {
    id: String,
    call: Option<&'a str>,
    aliases: &'a [&'a str],
    indication: &'a IndicationView,
    #[serde(skip_serializing_if = "Option::is_none")]
    previous: Option<&'a Indications>,
    variant: Variant,
    #[serde(skip_serializing_if = "Option::is_none")]
    reason: Option<UnknownReason>,
    server_time: Option<String>,
}

/// Why a level is unknown, where a client shows something else by it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum UnknownReason {
    /// The call is not connected yet: it rings, or this service has read nothing of it.
    NotConnectedYet,
}

#[derive(Serialize)]
struct BeatBody {
    server_time: Option<String>,
}

#[derive(Serialize)]
struct ReasonBody<'a> {
    #[serde(skip_serializing_if = "Option::is_none")]
    code: Option<&'a str>,
    reason: &'a str,
    server_time: Option<String>,
}

/// What one subscriber is stated of a call.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct SeenLevel {
    pub level: Indications,
    pub unknown_reason: Option<UnknownReason>,
}

/// The level of a call.
#[derive(Clone, Debug, Default, PartialEq)]
pub(crate) struct CallLevel {
    pub level: Indications,
    pub view: IndicationView,
    /// The fact that decided the level.
    pub cause: NoticeCause,
}

impl CallLevel {
    /// The stronger of this level and that of an outsider's own client, type by type.
    pub(crate) fn strongest(&self, own: Option<&Self>) -> Self {
        let Some(own) = own else {
            return self.clone();
        };
        let level = self.level.strongest(own.level);
        let cause = if level == self.level { self.cause } else { own.cause };
        Self { level, view: self.view.strongest(&own.view), cause }
    }
}

impl StreamMessage {
    /// The level of a call: a notice of the change from `previous`, or a snapshot without it.
    /// `call` and `aliases` are the ids of the call that the recipient is told.
    pub(crate) fn level(
        tenant: &Tenant,
        call: &Anchor,
        aliases: &[&str],
        current: &CallLevel,
        previous: Option<&Indications>,
        unknown_reason: Option<UnknownReason>,
        time: BuildInstant,
    ) -> Self {
        let id = notice_id(tenant, call, &current.level, current.cause);
        let stated = StatedLevels::of(call, &id, &current.view);
        let body = LevelBody {
            id,
            call: Some(call.as_str()),
            aliases,
            indication: &current.view,
            previous,
            variant: variant(previous, &current.level),
            reason: unknown_reason,
            server_time: instant::text(time.now),
        };
        let kind = if previous.is_some() { MessageKind::Notice } else { MessageKind::Snapshot };
        let message = Self::new(kind, &body, time);
        Self { call: Some(call.clone()), stated: stated.map(Arc::new), ..message }
    }

    /// The snapshot of a call that was stated before and has been removed, or of a call that is not
    /// known (yet).
    pub(crate) fn unknown_level(
        call: Option<&Anchor>,
        reason: Option<UnknownReason>,
        time: BuildInstant,
    ) -> Self {
        let named = call.map(Anchor::as_str);
        let body = LevelBody {
            id: "unknown".to_owned(),
            call: named,
            aliases: named.as_slice(),
            indication: &IndicationView::default(),
            previous: None,
            variant: Variant::Unknown,
            reason,
            server_time: instant::text(time.now),
        };
        Self { call: call.cloned(), ..Self::new(MessageKind::Snapshot, &body, time) }
    }

    /// A sign of life of the stream.
    pub(crate) fn beat(time: BuildInstant) -> Self {
        Self::new(MessageKind::Beat, &BeatBody { server_time: instant::text(time.now) }, time)
    }

    /// A message without a level, for this reason: a gap.
    pub(crate) fn reason(kind: MessageKind, reason: &str, time: BuildInstant) -> Self {
        let server_time = instant::text(time.now);
        Self::new(kind, &ReasonBody { code: None, reason, server_time }, time)
    }

    /// The last message of a stream, with the stable code of its reason: a bye, or a gap.
    pub(crate) fn closing(kind: MessageKind, code: &str, reason: &str, time: BuildInstant) -> Self {
        let server_time = instant::text(time.now);
        Self::new(kind, &ReasonBody { code: Some(code), reason, server_time }, time)
    }

    fn new<T: Serialize>(kind: MessageKind, body: &T, time: BuildInstant) -> Self {
        // Strings and numbers always serialize.
        let body = serde_json::to_string(body).unwrap_or_else(|_| "{}".to_owned());
        Self { kind, body: body.into(), at: time.at, call: None, stated: None }
    }

    /// The whole body, with the cursor as its first member.
    pub(crate) fn body(&self, cursor: Option<&str>) -> String {
        let mut text = String::from("{");
        self.write_members(cursor, &mut text);
        text
    }

    /// The WebSocket frame: the body with its kind as the member `type`.
    pub(crate) fn frame(&self, cursor: Option<&str>) -> String {
        let mut text = format!("{{\"type\":\"{}\",", self.kind.as_str());
        self.write_members(cursor, &mut text);
        text
    }

    /// Appends the body without its opening brace, with the cursor as its first member. A cursor is
    /// base64url and dots: it needs no escaping.
    pub(crate) fn write_members(&self, cursor: Option<&str>, text: &mut String) {
        if let Some(cursor) = cursor {
            text.extend(["\"cursor\":\"", cursor, "\","]);
        }
        text.push_str(self.body.strip_prefix('{').unwrap_or(&self.body));
    }

    /// The length of the body without a cursor, in bytes.
    pub(crate) fn length(&self) -> usize {
        self.body.len()
    }
}
