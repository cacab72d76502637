//! Presumes the end of a call for which no end arrives.
//!
//! A CallEnded event may never arrive: the subscription was removed, or the sender gave up. After a
//! quiet time the maintenance presumes the end. A presumed end is a fact like any other: it is
//! appended, listed and flagged, and void as soon as a later fact shows that the call is open
//! (`docs/evidence-rules.md`, section 2).

use super::call_facts::CallFacts;
use super::parameters::Parameters;
use super::snapshot::call_snapshot;
use crate::event::ids::{Digest, Ids};
use crate::event::instant::Millis;
use crate::identity::alias_graph::{Anchor, CallIds};
use crate::notice::notice_fact::NoticePlace;

/// The end to presume for a call.
#[derive(Clone, Debug, PartialEq)]
pub struct PresumedEnd {
    /// The presumed end (Unix milliseconds): [`Parameters::stale`] after the last activity.
    pub at: Millis,
    /// The last activity of the call (Unix milliseconds).
    pub last_activity_at: Millis,
    /// The one id of the call that leads to it.
    pub ids: Ids,
    /// The id of the event. It depends on the call and its last activity only, so the same
    /// presumption has the same id when it is made twice.
    pub id: String,
}

/// The last of these instants that is not after `now` (Unix milliseconds).
#[must_use]
pub fn last_activity(instants: impl IntoIterator<Item = Millis>, now: Millis) -> Option<Millis> {
    instants.into_iter().filter(|instant| *instant <= now).max()
}

/// The end to presume for `call` at `now` (Unix milliseconds). None: the call has ended, or its last
/// activity is less than `quiet` milliseconds ago.
#[must_use]
pub fn presumed_end(
    call: &Anchor,
    call_facts: &CallFacts,
    now: Millis,
    quiet: Millis,
    parameters: &Parameters,
) -> Option<PresumedEnd> {
    let last = last_activity(call_facts.instants(), now)?;
    if now.saturating_sub(last) < quiet {
        return None;
    }
    let snapshot = call_snapshot(&call_facts.resolved().facts, now, parameters);
    if snapshot.call?.ended_at.is_some() {
        return None;
    }
    let by_events = call_facts.events().find_map(|observed| ids_of(call, &observed.event.ids));
    // A client that never reported may be known from its acknowledgements only.
    let ids = by_events.or_else(|| {
        let notices = call_facts.notices.iter();
        notices.map(|entry| &entry.content.by).find_map(|by| match &by.place {
            NoticePlace::Attachment(attachment) => {
                ids_of(call, &Ids { attachment: Some(attachment.clone()), ..Ids::default() })
            }
            NoticePlace::Call(_) => None,
        })
    })?;
    Some(PresumedEnd {
        at: last.saturating_add(parameters.stale),
        last_activity_at: last,
        id: Digest::of_parts(&[call.as_str(), &last.to_string()]).to_string(),
        ids,
    })
}

/// The first id that alone leads to the call. One id states no alias between two ids.
fn ids_of(call: &Anchor, ids: &Ids) -> Option<Ids> {
    let alone = [
        Ids { correlation_id: ids.correlation_id.clone(), ..Ids::default() },
        Ids { server_call_id: ids.server_call_id.clone(), ..Ids::default() },
        Ids { call_connection_id: ids.call_connection_id.clone(), ..Ids::default() },
        Ids { recording_id: ids.recording_id.clone(), ..Ids::default() },
        Ids { attachment: ids.attachment.clone(), ..Ids::default() },
    ];
    alone.into_iter().find(|ids| CallIds::of(ids).anchor.as_ref() == Some(call))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::call::call_facts::StoredEntry;
    use crate::event::calling_event::{
        CallEnded, CallStarted, CallingEvent, ObservedEvent, Statement,
    };

    const CALL: &str = "6fc1bd42-6ad5-4c16-8c5a-9c3b0a1d3f11";
    const HOUR: Millis = 3_600_000;

    fn observed(statement: Statement, t: Millis) -> ObservedEvent {
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
            flagged: Vec::new(),
        };
        ObservedEvent::new(Digest::of(t.to_string().as_bytes()), t, event)
    }

    fn started(t: Millis) -> ObservedEvent {
        observed(
            Statement::CallStarted(CallStarted {
                started_by: None,
                is_two_party: None,
                is_rooms_call: None,
                room_id: None,
            }),
            t,
        )
    }

    fn call_facts(events: Vec<ObservedEvent>) -> CallFacts {
        let entry = |content| StoredEntry {
            anchor: CALL.to_owned(),
            write: 3,
            previous_times: Vec::new(),
            content,
        };
        CallFacts { events: events.into_iter().map(entry).collect(), notices: Vec::new() }
    }

    #[test]
    fn the_end_of_a_quiet_call_is_presumed_after_its_last_activity() {
        let call = Anchor::correlation(CALL);
        let parameters = Parameters::default();
        let quiet = call_facts(vec![started(1_000)]);
        let at = |now| presumed_end(&call, &quiet, now, HOUR, &parameters);
        assert_eq!(at(HOUR), None);
        let presumed = at(HOUR + 1_000).unwrap();
        assert_eq!((presumed.last_activity_at, presumed.at), (1_000, 91_000));
        assert_eq!(presumed.ids.correlation_id.as_deref(), Some(CALL));
        assert_eq!(presumed.ids.group_id, None);
        assert_eq!(at(2 * HOUR).unwrap().id, presumed.id);
    }

    #[test]
    fn a_call_whose_source_has_a_clock_that_is_behind_goes_on_as_long_as_events_are_received() {
        let call = Anchor::correlation(CALL);
        let parameters = Parameters::default();
        let behind = started(1_000).received(Some(8 * HOUR));
        let facts = call_facts(vec![behind]);
        let at = |now| presumed_end(&call, &facts, now, HOUR, &parameters);
        assert_eq!(at(8 * HOUR + 60_000), None);
        let presumed = at(9 * HOUR).unwrap();
        assert_eq!((presumed.last_activity_at, presumed.at), (8 * HOUR, 8 * HOUR + 90_000));
    }

    #[test]
    fn the_end_of_a_call_known_from_an_acknowledgement_only_is_presumed_as_well() {
        let attachment = "6ba7b810-9dad-11d1-80b4-00c04fd430c8";
        let fact = serde_json::json!({
            "id": Digest::of(b"1").to_string(), "at": 1_000, "kind": "notice.displayed", "type": "recording",
            "state": "on", "by": {"raw_id": "anna", "attachment": attachment}, "client_id": "1",
        });
        let call = Anchor::attachment(attachment);
        let entry = StoredEntry {
            anchor: call.to_string(),
            write: 3,
            previous_times: Vec::new(),
            content: serde_json::from_value(fact).unwrap(),
        };
        let call_facts = CallFacts { events: Vec::new(), notices: vec![entry] };
        let presumed =
            presumed_end(&call, &call_facts, 9 * HOUR, HOUR, &Parameters::default()).unwrap();
        assert_eq!(presumed.ids.attachment.as_deref(), Some(attachment));
    }

    #[test]
    fn no_end_is_presumed_for_a_call_that_ended_or_has_no_facts() {
        let call = Anchor::correlation(CALL);
        let parameters = Parameters::default();
        let ended = observed(
            Statement::CallEnded(CallEnded {
                started_by: None,
                ended_by: None,
                reason: None,
                duration_s: None,
                presumed: true,
            }),
            2_000,
        );
        let over = call_facts(vec![started(1_000), ended]);
        for call_facts in [over, CallFacts::default()] {
            assert_eq!(presumed_end(&call, &call_facts, 9 * HOUR, HOUR, &parameters), None);
        }
    }
}
