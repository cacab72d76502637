//! One event: redacted, then read from what is left.

use super::azure::People;
use super::blank::blank;
use super::canonical;
use super::delivery::{Door, Normalized};
use super::envelope::{Envelope, Hidden, event_type, is_about_calls};
use super::hidden::HiddenContent;
use super::json::{Document, Kind};
use super::normalize::{self, Reading};
use super::reason::Reason;
use super::redact::{Scope, TooMuch, redact};
use crate::domain::calling_event::{CallingEvent, Statement, Unrecognized};
use crate::domain::ids::{Digest, Ids};

/// An event that was not understood.
pub(super) struct Refused {
    pub(super) reason: Reason,
    /// What may be kept of it.
    pub(super) content: String,
    /// JSON pointers of what was taken out.
    pub(super) redacted: Vec<String>,
}

impl Refused {
    /// With what may be kept of a text that is no JSON, or cannot be treated as such.
    fn blanked(text: &str, reason: Reason) -> Self {
        Self {
            reason,
            content: blank(text).text,
            redacted: Vec::new(),
        }
    }

    /// An event of which nobody can tell what it is about.
    pub(super) fn untold(document: &Document<'_>, reason: Reason) -> Self {
        match redact(document, Scope::Untold) {
            Ok(redacted) => Self {
                reason,
                content: redacted.text,
                redacted: redacted.pointers,
            },
            Err(TooMuch) => Self::blanked(document.text(), reason),
        }
    }
}

/// Reads one event. `received` is what the sender sent of it, byte for byte.
///
/// # Errors
///
/// [`Refused`], with what goes to quarantine.
pub(super) fn take(
    door: &Door<'_>,
    document: &Document<'_>,
    received: &[u8],
) -> Result<Normalized, Refused> {
    let event = document.root();
    if event.kind() != Kind::Object {
        return Err(Refused::untold(document, Reason::NotAnObject));
    }
    let source_type = event_type(event).map_err(|reason| Refused::untold(document, reason))?;
    let about_calls = is_about_calls(door.kind, &source_type);
    let hidden = HiddenContent::of(event);
    let scope = if about_calls {
        Scope::Calls {
            base64_is_clean: hidden.as_ref().is_some_and(HiddenContent::is_clean),
        }
    } else {
        Scope::Foreign
    };
    let redacted = redact(document, scope)
        .map_err(|TooMuch| Refused::blanked(document.text(), Reason::TooMuchForbidden))?;
    // Everything below is read from what is kept, so that nothing passes by the redaction.
    let reread;
    let kept = if redacted.pointers.is_empty() {
        document
    } else {
        reread = Document::parse(&redacted.text)
            .map_err(|fault| Refused::blanked(document.text(), fault.into()))?;
        &reread
    };
    let revealed = hidden.as_ref().and_then(HiddenContent::json);
    let hidden = hidden.is_some().then(|| match &revealed {
        Some(json) => Hidden::Json(json.root()),
        None => Hidden::Unreadable,
    });
    let sha256 = Digest::of(received);
    let content = if about_calls {
        canonical::digest(kept.root())
    } else {
        sha256
    };
    let understood = Envelope::of(kept.root(), hidden).and_then(|envelope| {
        let reading = read(door, &envelope, about_calls, received.len())?;
        Ok((Named::by(door, &envelope, content), reading))
    });
    let (named, reading) = match understood {
        Ok(understood) => understood,
        Err(reason) => {
            return Err(Refused {
                reason,
                content: redacted.text,
                redacted: redacted.pointers,
            });
        }
    };
    Ok(Normalized {
        ce_source: named.source,
        ce_id: named.id,
        ce_time: named.time,
        event: CallingEvent {
            statement: reading.statement,
            ids: reading.ids,
            source_type: named.source_type,
            generation: reading.generation,
            redacted: redacted.pointers,
        },
        original: redacted.text,
        sha256,
        content,
    })
}

/// By what an event is known.
struct Named {
    source: String,
    id: String,
    time: Option<String>,
    source_type: String,
}

impl Named {
    fn by(door: &Door<'_>, envelope: &Envelope<'_>, content: Digest) -> Self {
        let source = envelope.source.as_deref().unwrap_or(door.source);
        let id = envelope.id.as_deref().map(str::to_owned);
        Self {
            source: source.to_lowercase(),
            id: id.unwrap_or_else(|| format!("sha256:{content}")),
            time: envelope.time.as_deref().map(str::to_owned),
            source_type: envelope.source_type.as_ref().to_owned(),
        }
    }
}

fn read(
    door: &Door<'_>,
    envelope: &Envelope<'_>,
    about_calls: bool,
    size: usize,
) -> Result<Reading, Reason> {
    let unrecognized = |kept, ids| Reading {
        statement: Statement::Unrecognized(Unrecognized { size, kept }),
        ids,
        generation: None,
    };
    if !about_calls {
        return Ok(unrecognized(false, Ids::default()));
    }
    let people = People {
        resource_ids: door.resource_ids,
    };
    let reading = normalize::read(envelope, people)?;
    Ok(reading.unwrap_or_else(|| unrecognized(true, normalize::ids_of_unknown(envelope))))
}
