//! When a call that nobody ends is taken for ended.
//!
//! A CallEnded may never come: the subscription was removed, the sender gave up. After a quiet time
//! the sweeper presumes the end, which is a fact of its own like any other: it is entered, listed
//! and flagged, and void as soon as the call shows a sign of life after it (evidence rules,
//! section 2).

use super::alias::{Anchor, Naming};
use super::dossier::Dossier;
use super::fold::fold;
use super::ids::{Digest, Ids};
use super::instant::Millis;
use super::notice_fact::Place;
use super::parameters::Parameters;

/// An end that is to be presumed.
#[derive(Clone, Debug, PartialEq)]
pub struct Presumption {
    /// The end: a client is believed for so long after its last word.
    pub t: Millis,
    /// The last sign of life.
    pub last: Millis,
    /// By which the call is named.
    pub ids: Ids,
    /// The same presumption, made twice, has the same id.
    pub id: String,
}

/// The last instant of which anything is said, as known at `now`.
#[must_use]
pub fn last_sign(instants: impl IntoIterator<Item = Millis>, now: Millis) -> Option<Millis> {
    instants.into_iter().filter(|t| *t <= now).max()
}

/// Presumes the end of `call`, if it is open and was quiet for longer than `quiet` (ms).
#[must_use]
pub fn presume(
    call: &Anchor,
    dossier: &Dossier,
    now: Millis,
    quiet: Millis,
    parameters: &Parameters,
) -> Option<Presumption> {
    let last = last_sign(dossier.instants(), now)?;
    if now.saturating_sub(last) < quiet {
        return None;
    }
    let picture = fold(&dossier.resolved().facts, now, parameters);
    if picture.call?.end.is_some() {
        return None;
    }
    let by_events = dossier
        .testimonies()
        .find_map(|testimony| ids_of(call, &testimony.event.ids));
    // Of a client that never reported only acknowledgements may be known.
    let ids = by_events.or_else(|| {
        let notices = dossier.notices.iter();
        notices
            .map(|line| &line.said.by)
            .find_map(|by| match &by.place {
                Place::Attachment(attachment) => ids_of(
                    call,
                    &Ids {
                        attachment: Some(attachment.clone()),
                        ..Ids::default()
                    },
                ),
                Place::Call(_) => None,
            })
    })?;
    Some(Presumption {
        t: last.saturating_add(parameters.stale),
        last,
        id: Digest::of_parts(&[call.as_str(), &last.to_string()]).to_string(),
        ids,
    })
}

/// The one id of an event by which it leads to the call itself; it teaches nothing about others.
fn ids_of(call: &Anchor, ids: &Ids) -> Option<Ids> {
    let alone = [
        Ids {
            correlation_id: ids.correlation_id.clone(),
            ..Ids::default()
        },
        Ids {
            server_call_id: ids.server_call_id.clone(),
            ..Ids::default()
        },
        Ids {
            call_connection_id: ids.call_connection_id.clone(),
            ..Ids::default()
        },
        Ids {
            recording_id: ids.recording_id.clone(),
            ..Ids::default()
        },
        Ids {
            attachment: ids.attachment.clone(),
            ..Ids::default()
        },
    ];
    alone
        .into_iter()
        .find(|ids| Naming::of(ids).anchor.as_ref() == Some(call))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::calling_event::{
        CallEnded, CallStarted, CallingEvent, Statement, Testimony,
    };
    use crate::domain::dossier::Line;

    const CALL: &str = "6fc1bd42-6ad5-4c16-8c5a-9c3b0a1d3f11";
    const HOUR: Millis = 3_600_000;

    fn said(statement: Statement, t: Millis) -> Testimony {
        let event = CallingEvent {
            statement,
            ids: Ids {
                correlation_id: Some(CALL.to_owned()),
                group_id: Some("a group".to_owned()),
                ..Ids::default()
            },
            source_type: "test".to_owned(),
            generation: None,
            redacted: Vec::new(),
        };
        Testimony::new(Digest::of(t.to_string().as_bytes()), t, event)
    }

    fn started(t: Millis) -> Testimony {
        said(
            Statement::CallStarted(CallStarted {
                started_by: None,
                is_two_party: None,
                is_rooms_call: None,
                room_id: None,
            }),
            t,
        )
    }

    fn dossier(testimonies: Vec<Testimony>) -> Dossier {
        let line = |said| Line {
            anchor: CALL.to_owned(),
            xid: 3,
            past: Vec::new(),
            said,
        };
        Dossier {
            testimonies: testimonies.into_iter().map(line).collect(),
            notices: Vec::new(),
        }
    }

    #[test]
    fn a_quiet_call_is_presumed_to_have_ended_after_its_last_sign_of_life() {
        let call = Anchor::correlation(CALL);
        let parameters = Parameters::default();
        let dossier = dossier(vec![started(1_000)]);
        let at = |now| presume(&call, &dossier, now, HOUR, &parameters);
        assert_eq!(at(HOUR), None);
        let presumed = at(HOUR + 1_000).unwrap();
        assert_eq!((presumed.last, presumed.t), (1_000, 91_000));
        assert_eq!(presumed.ids.correlation_id.as_deref(), Some(CALL));
        assert_eq!(presumed.ids.group_id, None);
        assert_eq!(at(2 * HOUR).unwrap().id, presumed.id);
    }

    #[test]
    fn a_call_that_only_an_acknowledgement_tells_of_is_presumed_to_end_as_well() {
        let attachment = "6ba7b810-9dad-11d1-80b4-00c04fd430c8";
        let fact = serde_json::json!({
            "id": Digest::of(b"1").to_string(), "t": 1_000, "kind": "notice.displayed", "type": "recording",
            "state": "on", "by": {"raw_id": "anna", "attachment": attachment}, "client_id": "1",
        });
        let call = Anchor::attachment(attachment);
        let line = Line {
            anchor: call.to_string(),
            xid: 3,
            past: Vec::new(),
            said: serde_json::from_value(fact).unwrap(),
        };
        let dossier = Dossier {
            testimonies: Vec::new(),
            notices: vec![line],
        };
        let presumed = presume(&call, &dossier, 9 * HOUR, HOUR, &Parameters::default()).unwrap();
        assert_eq!(presumed.ids.attachment.as_deref(), Some(attachment));
    }

    #[test]
    fn a_call_that_ended_or_is_not_known_to_have_begun_is_not_presumed_to_end() {
        let call = Anchor::correlation(CALL);
        let parameters = Parameters::default();
        let ended = said(
            Statement::CallEnded(CallEnded {
                started_by: None,
                ended_by: None,
                reason: None,
                duration_s: None,
                presumed: true,
            }),
            2_000,
        );
        let over = dossier(vec![started(1_000), ended]);
        for dossier in [over, Dossier::default()] {
            assert_eq!(presume(&call, &dossier, 9 * HOUR, HOUR, &parameters), None);
        }
    }
}
