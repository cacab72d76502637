//! Constructs observed events for tests. The key of an event is the digest of its contents, so that
//! equal events are one event. Instants are in Unix milliseconds.

use crate::call::outsider_level::OutsiderLevel;
use crate::call::project::ProjectedCall;
use crate::event::calling_event::{
    CallingEvent, LegStatement, ObservedEvent, Participant, ReportStatement, Roster,
    SessionStatement, Statement,
};
use crate::event::ids::{Digest, Ids};
use crate::event::instant::Millis;
use crate::fact::kinds::{Identity, Level};
use crate::identity::grant::Grant;
use crate::identity::raw_id::{IdentifierKind, parse_raw_id};

pub(crate) fn observed_event(at: Millis, statement: Statement, ids: Ids) -> ObservedEvent {
    let event = CallingEvent {
        source_type: statement.name().to_owned(),
        statement,
        ids,
        generation: None,
        redacted: Vec::new(),
        flagged: Vec::new(),
    };
    let contents = serde_json::to_string(&event).unwrap();
    ObservedEvent::new(Digest::of_parts(&[&at.to_string(), &contents]), at, event)
}

pub(crate) fn participant(raw_id: &str) -> Participant {
    let parsed = parse_raw_id(raw_id);
    Participant {
        raw_id: raw_id.to_owned(),
        kind: parsed.kind,
        cloud: parsed.cloud,
        identity: match parsed.kind {
            IdentifierKind::CommunicationUser => Identity::Acs,
            IdentifierKind::MicrosoftTeamsUser => Identity::TeamsUser,
            IdentifierKind::PhoneNumber => Identity::Phone,
            _ => Identity::Unknown,
        },
        display_name: None,
        role: None,
    }
}

fn session_change(raw_id: &str) -> SessionStatement {
    SessionStatement { participant: Some(participant(raw_id)), user_agent: None, reason: None }
}

fn of_participant(id: &str) -> Ids {
    Ids { participant_id: Some(id.to_owned()), ..Ids::default() }
}

fn of_leg(leg: &str) -> Ids {
    Ids { call_connection_id: Some(leg.to_owned()), ..Ids::default() }
}

pub(crate) fn joined(participant_id: &str, raw_id: &str, at: Millis) -> ObservedEvent {
    let statement = Statement::SessionJoined(session_change(raw_id));
    observed_event(at, statement, of_participant(participant_id))
}

pub(crate) fn left(participant_id: &str, raw_id: &str, at: Millis) -> ObservedEvent {
    let statement = Statement::SessionLeft(session_change(raw_id));
    observed_event(at, statement, of_participant(participant_id))
}

pub(crate) fn leg_connected(leg: &str, at: Millis) -> ObservedEvent {
    let statement = Statement::LegConnected(LegStatement { outcome: None });
    observed_event(at, statement, of_leg(leg))
}

pub(crate) fn leg_disconnected(leg: &str, at: Millis) -> ObservedEvent {
    let statement = Statement::LegDisconnected(LegStatement { outcome: None });
    observed_event(at, statement, of_leg(leg))
}

pub(crate) fn roster(
    leg: &str,
    sequence: Option<i64>,
    at: Millis,
    raw_ids: &[&str],
) -> ObservedEvent {
    let statement = Statement::Roster(Roster {
        sequence,
        participants: raw_ids.iter().map(|raw_id| participant(raw_id)).collect(),
    });
    observed_event(at, statement, of_leg(leg))
}

/// A client's report; `change` modifies it before its key is computed.
pub(crate) fn report_with(
    attachment: &str,
    raw_id: &str,
    sequence: i64,
    at: Millis,
    change: impl FnOnce(&mut ReportStatement, &mut Ids),
) -> ObservedEvent {
    let mut report = ReportStatement {
        participant: participant(raw_id),
        other_raw_ids: Vec::new(),
        grant: Grant::default(),
        sequence,
        recording: Some(Level::Off),
        transcription: None,
        consent_required: Vec::new(),
        shown: Vec::new(),
        leaving: false,
        thread_id: None,
        app: None,
        sdk: None,
    };
    // A token is for the tenant's own app, whatever its raw id.
    report.participant.identity = Identity::Acs;
    let mut ids = Ids { attachment: Some(attachment.to_owned()), ..Ids::default() };
    change(&mut report, &mut ids);
    observed_event(at, Statement::Report(report), ids)
}

pub(crate) fn report(attachment: &str, raw_id: &str, sequence: i64, at: Millis) -> ObservedEvent {
    report_with(attachment, raw_id, sequence, at, |_, _| {})
}

pub(crate) fn report_naming(
    participant_id: &str,
    attachment: &str,
    raw_id: &str,
    sequence: i64,
    at: Millis,
) -> ObservedEvent {
    report_with(attachment, raw_id, sequence, at, |_, ids| {
        ids.participant_id = Some(participant_id.to_owned());
    })
}

pub(crate) fn report_leaving(
    attachment: &str,
    raw_id: &str,
    sequence: i64,
    at: Millis,
) -> ObservedEvent {
    report_with(attachment, raw_id, sequence, at, |report, _| {
        report.leaving = true;
    })
}

/// The own level of a client; `None` if it is no outsider's.
pub(crate) fn own_level<'c>(
    call: &'c ProjectedCall,
    attachment: &str,
    raw_id: &str,
) -> Option<&'c OutsiderLevel> {
    call.outsiders.iter().find(|it| it.attachment == attachment && it.raw_id == raw_id)
}
