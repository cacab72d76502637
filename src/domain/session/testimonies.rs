//! Testimonies for tests, said briefly. The key of each is made of its contents, so that equal ones
//! are one event; times are Unix milliseconds.

use crate::domain::calling_event::{
    CallingEvent, LegMoved, Participant, Report, Roster, SessionMoved, Statement, Testimony,
};
use crate::domain::fact::{Identity, Level};
use crate::domain::identity::{IdentifierKind, read_raw_id};
use crate::domain::ids::{Digest, Ids};
use crate::domain::instant::Millis;

pub fn testimony(t: Millis, statement: Statement, ids: Ids) -> Testimony {
    let event = CallingEvent {
        source_type: statement.name().to_owned(),
        statement,
        ids,
        generation: None,
        redacted: Vec::new(),
    };
    let contents = serde_json::to_string(&event).unwrap();
    Testimony::new(Digest::of_parts(&[&t.to_string(), &contents]), t, event)
}

pub fn participant(raw_id: &str) -> Participant {
    let reading = read_raw_id(raw_id);
    Participant {
        raw_id: raw_id.to_owned(),
        kind: reading.kind,
        cloud: reading.cloud,
        identity: match reading.kind {
            IdentifierKind::CommunicationUser => Identity::Acs,
            IdentifierKind::MicrosoftTeamsUser => Identity::TeamsUser,
            IdentifierKind::PhoneNumber => Identity::Phone,
            _ => Identity::Unknown,
        },
        display_name: None,
        role: None,
    }
}

fn moved(raw_id: &str) -> SessionMoved {
    SessionMoved {
        participant: Some(participant(raw_id)),
        user_agent: None,
        reason: None,
    }
}

fn of_participant(id: &str) -> Ids {
    Ids {
        participant_id: Some(id.to_owned()),
        ..Ids::default()
    }
}

fn of_leg(leg: &str) -> Ids {
    Ids {
        call_connection_id: Some(leg.to_owned()),
        ..Ids::default()
    }
}

pub fn joined(participant_id: &str, raw_id: &str, t: Millis) -> Testimony {
    let statement = Statement::SessionJoined(moved(raw_id));
    testimony(t, statement, of_participant(participant_id))
}

pub fn left(participant_id: &str, raw_id: &str, t: Millis) -> Testimony {
    let statement = Statement::SessionLeft(moved(raw_id));
    testimony(t, statement, of_participant(participant_id))
}

pub fn leg_connected(leg: &str, t: Millis) -> Testimony {
    let statement = Statement::LegConnected(LegMoved { outcome: None });
    testimony(t, statement, of_leg(leg))
}

pub fn leg_disconnected(leg: &str, t: Millis) -> Testimony {
    let statement = Statement::LegDisconnected(LegMoved { outcome: None });
    testimony(t, statement, of_leg(leg))
}

pub fn roster(leg: &str, sequence: Option<i64>, t: Millis, raw_ids: &[&str]) -> Testimony {
    let statement = Statement::Roster(Roster {
        sequence,
        participants: raw_ids.iter().map(|raw_id| participant(raw_id)).collect(),
    });
    testimony(t, statement, of_leg(leg))
}

/// A client's report that is changed before it is sent.
pub fn report_with(
    attachment: &str,
    raw_id: &str,
    sequence: i64,
    t: Millis,
    change: impl FnOnce(&mut Report, &mut Ids),
) -> Testimony {
    let mut report = Report {
        participant: participant(raw_id),
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
    // A token is for our client, whatever its raw id.
    report.participant.identity = Identity::Acs;
    let mut ids = Ids {
        attachment: Some(attachment.to_owned()),
        ..Ids::default()
    };
    change(&mut report, &mut ids);
    testimony(t, Statement::Report(report), ids)
}

pub fn report(attachment: &str, raw_id: &str, sequence: i64, t: Millis) -> Testimony {
    report_with(attachment, raw_id, sequence, t, |_, _| {})
}

pub fn report_naming(
    participant_id: &str,
    attachment: &str,
    raw_id: &str,
    sequence: i64,
    t: Millis,
) -> Testimony {
    report_with(attachment, raw_id, sequence, t, |_, ids| {
        ids.participant_id = Some(participant_id.to_owned());
    })
}

pub fn report_leaving(attachment: &str, raw_id: &str, sequence: i64, t: Millis) -> Testimony {
    report_with(attachment, raw_id, sequence, t, |report, _| {
        report.leaving = true;
    })
}
