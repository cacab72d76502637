//! What a stream says: snapshot, notice, gap, bye.
//!
//! A message is composed once and shared by all who hear it; only the cursor, which is signed for
//! each listener's own reach, is put in by the stream that sends it.

use std::sync::Arc;

use serde::Serialize;

use super::stated::Stated;
use crate::domain::alias::Anchor;
use crate::domain::ids::Tenant;
use crate::domain::indication::Indications;
use crate::domain::instant::{self, Millis};
use crate::domain::notice::{Cause, IndicationView, Variant, notice_id, variant};

/// What sort of message it is; the name of the SSE event.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// The level as it is.
    Snapshot,
    /// A change.
    Notice,
    /// Completeness cannot be shown.
    Gap,
    /// The stream ends by our will.
    Bye,
}

impl Kind {
    /// As it is written.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Snapshot => "snapshot",
            Self::Notice => "notice",
            Self::Gap => "gap",
            Self::Bye => "bye",
        }
    }
}

/// A message without its cursor.
#[derive(Clone, Debug)]
pub struct Message {
    pub kind: Kind,
    /// A JSON object.
    body: Arc<str>,
    /// What had been folded when it was made, ms.
    pub at: Millis,
    /// What it states of a call; `None`: nothing that is known.
    pub stated: Option<Arc<Stated>>,
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
struct WordBody<'a> {
    reason: &'a str,
    server_time: Option<String>,
}

/// Everything that a level message states.
pub struct Level<'a> {
    pub tenant: &'a Tenant,
    pub call: &'a Anchor,
    /// All anchors of the call.
    pub members: &'a [&'a str],
    pub level: Indications,
    pub view: &'a IndicationView,
    /// What decided the level.
    pub cause: Cause,
}

impl Message {
    fn level(
        kind: Kind,
        level: &Level<'_>,
        previous: Option<&Indications>,
        at: Millis,
        now: Millis,
    ) -> Self {
        let id = notice_id(level.tenant, level.call, &level.level, level.cause);
        let stated = Stated::of(level.call, &id, level.view);
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
            ..Self::of(kind, &body, at)
        }
    }

    /// The level of a call.
    #[must_use]
    pub fn snapshot(level: &Level<'_>, at: Millis, now: Millis) -> Self {
        Self::level(Kind::Snapshot, level, None, at, now)
    }

    /// A change of the level of a call.
    #[must_use]
    pub fn notice(level: &Level<'_>, previous: &Indications, at: Millis, now: Millis) -> Self {
        Self::level(Kind::Notice, level, Some(previous), at, now)
    }

    /// The snapshot of a call that is not known (yet).
    #[must_use]
    pub fn nothing_known(at: Millis, now: Millis) -> Self {
        let body = LevelBody {
            id: "unknown".to_owned(),
            call: None,
            aliases: &[],
            indication: &IndicationView::default(),
            previous: None,
            variant: Variant::Unknown,
            server_time: instant::text(now),
        };
        Self::of(Kind::Snapshot, &body, at)
    }

    /// Nothing is known any more of a call that was told of.
    #[must_use]
    pub fn forgotten(call: &Anchor, at: Millis, now: Millis) -> Self {
        let body = LevelBody {
            id: "unknown".to_owned(),
            call: Some(call.as_str()),
            aliases: &[call.as_str()],
            indication: &IndicationView::default(),
            previous: None,
            variant: Variant::Unknown,
            server_time: instant::text(now),
        };
        Self::of(Kind::Snapshot, &body, at)
    }

    /// Something may have been missed, and why.
    #[must_use]
    pub fn gap(reason: &str, at: Millis, now: Millis) -> Self {
        Self::of(
            Kind::Gap,
            &WordBody {
                reason,
                server_time: instant::text(now),
            },
            at,
        )
    }

    /// The stream ends, and why.
    #[must_use]
    pub fn bye(reason: &str, at: Millis, now: Millis) -> Self {
        Self::of(
            Kind::Bye,
            &WordBody {
                reason,
                server_time: instant::text(now),
            },
            at,
        )
    }

    fn of<T: Serialize>(kind: Kind, body: &T, at: Millis) -> Self {
        // Strings and numbers of ours always serialize.
        let body = serde_json::to_string(body).unwrap_or_else(|_| "{}".to_owned());
        Self {
            kind,
            body: body.into(),
            at,
            stated: None,
        }
    }

    /// The whole body, led by this cursor.
    #[must_use]
    pub fn body(&self, cursor: Option<&str>) -> String {
        let mut text = String::with_capacity(self.length() + cursor.map_or(0, str::len) + 16);
        self.write_body(cursor, &mut text);
        text
    }

    /// Appends the whole body, led by this cursor.
    pub fn write_body(&self, cursor: Option<&str>, text: &mut String) {
        text.push('{');
        if let Some(cursor) = cursor {
            text.extend(["\"cursor\":\"", cursor, "\","]);
        }
        text.push_str(self.rest());
    }

    /// Bytes of the body without a cursor.
    #[must_use]
    pub fn length(&self) -> usize {
        self.body.len()
    }

    /// What follows the members that lead.
    fn rest(&self) -> &str {
        self.body.strip_prefix('{').unwrap_or(&self.body)
    }

    /// The same as a frame, which names its kind.
    #[must_use]
    pub fn frame(&self, cursor: Option<&str>) -> String {
        let (kind, cursor) = (self.kind.as_str(), cursor_member(cursor));
        self.led_by(&format!("\"type\":\"{kind}\",{cursor}"))
    }

    fn led_by(&self, members: &str) -> String {
        format!("{{{members}{}", self.rest())
    }
}

/// A cursor is base64url and dots: nothing to escape.
fn cursor_member(cursor: Option<&str>) -> String {
    cursor.map_or_else(String::new, |cursor| format!("\"cursor\":\"{cursor}\","))
}
