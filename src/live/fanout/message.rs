//! Messages of a stream: snapshot, notice, gap, bye.
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
}

impl MessageKind {
    /// The name on the wire.
    #[must_use]
    pub(crate) fn as_str(self) -> &'static str {
        self.into()
    }
}

/// A message without its cursor.
#[derive(Clone, Debug)]
pub(crate) struct StreamMessage {
    pub kind: MessageKind,
    /// A JSON object.
    body: Arc<str>,
    /// The log time through which events were folded when the message was built, ms.
    pub at: Millis,
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
    server_time: Option<String>,
}

#[derive(Serialize)]
struct ReasonBody<'a> {
    reason: &'a str,
    server_time: Option<String>,
}

/// The content of a level message.
pub(crate) struct CallLevel<'a> {
    pub tenant: &'a Tenant,
    pub call: &'a Anchor,
    /// The anchors of the call that the recipient may see.
    pub members: &'a [&'a str],
    pub level: Indications,
    pub view: &'a IndicationView,
    /// The fact that decided the level.
    pub cause: NoticeCause,
}

impl StreamMessage {
    fn level(
        kind: MessageKind,
        level: &CallLevel<'_>,
        previous: Option<&Indications>,
        at: Millis,
        now: Millis,
    ) -> Self {
        let id = notice_id(level.tenant, level.call, &level.level, level.cause);
        let stated = StatedLevels::of(level.call, &id, level.view);
        let body = LevelBody {
            id,
            call: Some(level.call.as_str()),
            aliases: level.members,
            indication: level.view,
            previous,
            variant: variant(previous, &level.level),
            server_time: instant::text(now),
        };
        Self {
            stated: stated.map(Arc::new),
            ..Self::new(kind, &body, at)
        }
    }

    /// The current level of a call.
    #[must_use]
    pub(crate) fn snapshot(level: &CallLevel<'_>, at: Millis, now: Millis) -> Self {
        Self::level(MessageKind::Snapshot, level, None, at, now)
    }

    /// A change of the level of a call.
    #[must_use]
    pub(crate) fn notice(
        level: &CallLevel<'_>,
        previous: &Indications,
        at: Millis,
        now: Millis,
    ) -> Self {
        Self::level(MessageKind::Notice, level, Some(previous), at, now)
    }

    /// The snapshot for a call that is not known (yet).
    #[must_use]
    pub(crate) fn unknown_call(at: Millis, now: Millis) -> Self {
        let body = LevelBody {
            id: "unknown".to_owned(),
            call: None,
            aliases: &[],
            indication: &IndicationView::default(),
            previous: None,
            variant: Variant::Unknown,
            server_time: instant::text(now),
        };
        Self::new(MessageKind::Snapshot, &body, at)
    }

    /// The snapshot for a call that was stated before and has been removed.
    #[must_use]
    pub(crate) fn evicted_call(call: &Anchor, at: Millis, now: Millis) -> Self {
        let body = LevelBody {
            id: "unknown".to_owned(),
            call: Some(call.as_str()),
            aliases: &[call.as_str()],
            indication: &IndicationView::default(),
            previous: None,
            variant: Variant::Unknown,
            server_time: instant::text(now),
        };
        Self::new(MessageKind::Snapshot, &body, at)
    }

    /// Changes may have been missed, for this reason.
    #[must_use]
    pub(crate) fn gap(reason: &str, at: Millis, now: Millis) -> Self {
        Self::new(
            MessageKind::Gap,
            &ReasonBody {
                reason,
                server_time: instant::text(now),
            },
            at,
        )
    }

    /// The stream ends, for this reason.
    #[must_use]
    pub(crate) fn bye(reason: &str, at: Millis, now: Millis) -> Self {
        Self::new(
            MessageKind::Bye,
            &ReasonBody {
                reason,
                server_time: instant::text(now),
            },
            at,
        )
    }

    fn new<T: Serialize>(kind: MessageKind, body: &T, at: Millis) -> Self {
        // Strings and numbers always serialize.
        let body = serde_json::to_string(body).unwrap_or_else(|_| "{}".to_owned());
        Self {
            kind,
            body: body.into(),
            at,
            stated: None,
        }
    }

    /// The whole body, with the cursor as its first member.
    #[must_use]
    pub(crate) fn body(&self, cursor: Option<&str>) -> String {
        let mut text = String::with_capacity(self.length() + cursor.map_or(0, str::len) + 16);
        self.write_body(cursor, &mut text);
        text
    }

    /// Appends the whole body, with the cursor as its first member.
    pub(crate) fn write_body(&self, cursor: Option<&str>, text: &mut String) {
        text.push('{');
        if let Some(cursor) = cursor {
            text.extend(["\"cursor\":\"", cursor, "\","]);
        }
        text.push_str(self.members_text());
    }

    /// The length of the body without a cursor, in bytes.
    #[must_use]
    pub(crate) fn length(&self) -> usize {
        self.body.len()
    }

    /// The body without its opening brace.
    fn members_text(&self) -> &str {
        self.body.strip_prefix('{').unwrap_or(&self.body)
    }

    /// The WebSocket frame: the body with its kind as the member `type`.
    #[must_use]
    pub(crate) fn frame(&self, cursor: Option<&str>) -> String {
        let (kind, cursor) = (self.kind.as_str(), cursor_member(cursor));
        self.with_leading_members(&format!("\"type\":\"{kind}\",{cursor}"))
    }

    fn with_leading_members(&self, members: &str) -> String {
        format!("{{{members}{}", self.members_text())
    }
}

/// A cursor is base64url and dots: it needs no escaping.
fn cursor_member(cursor: Option<&str>) -> String {
    cursor.map_or_else(String::new, |cursor| format!("\"cursor\":\"{cursor}\","))
}
