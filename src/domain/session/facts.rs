//! The facts that testimonies come to, once it is known who is who.
//!
//! # Why
//!
//! *Ids.* A fact has the key of its event as id, so that a redelivered event is one fact. Where one
//! event gives several (a roster, a report with a claim) what it tells of whom stands behind it.
//!
//! *Identity.* The rules read a claim only where a session joined. A token for a Teams identity
//! claims `teams_custom`, so every joining of a session that has such a client claims that unless
//! it already claims `acs`. Where nobody but the client tells of the session its first report is
//! such a joining: it happened by then, as the rules have it anyway. The price is that the rules
//! never count such a session as lost, and keep expecting it to be told until the call's end; that
//! errs on the side of the participant. No other identity of a token is a claim: whoever holds one
//! uses our client, and the rules take that for `acs`.
//!
//! *What is missing.* A file without start or duration says nothing about when something was
//! recorded, so it is no fact; one that does not name its recording is a recording by itself.

use super::attachment::{Attachment, Reported};
use super::cast::{Cast, Move, Session};
use super::roster::{self, Sighting};
use crate::domain::calling_event::{ProviderStateChanged, RecordingFile, Statement, Testimony};
use crate::domain::fact::{self, Fact, FactKind, Identity};
use crate::domain::ids::Digest;
use crate::domain::instant::Millis;

/// The facts, by id.
pub fn of(testimonies: &[&Testimony], cast: &Cast<'_>) -> Vec<Fact> {
    let of_the_call = testimonies
        .iter()
        .filter_map(|testimony| fact_of_the_call(testimony));
    let mut facts: Vec<Fact> = of_the_call.collect();
    for (key, session) in &cast.sessions {
        Teller {
            session: key.to_string(),
            claim: claimed_by_client(session),
            facts: &mut facts,
        }
        .tell(session);
    }
    facts.sort_unstable_by(|one, other| one.id().cmp(other.id()));
    facts
}

/// The fact of an event that names no session.
fn fact_of_the_call(testimony: &Testimony) -> Option<Fact> {
    let kind = match &testimony.event.statement {
        Statement::CallStarted(_) => FactKind::CallStarted,
        Statement::CallEnded(ended) => FactKind::CallEnded {
            presumed: ended.presumed,
        },
        Statement::LegConnected(_) => FactKind::LegConnected {
            leg: roster::leg(testimony).to_owned(),
        },
        Statement::LegDisconnected(_) => FactKind::LegDisconnected {
            leg: roster::leg(testimony).to_owned(),
        },
        Statement::ProviderState(changed) => FactKind::ProviderState(provider_statement(changed)),
        Statement::File(file) => FactKind::File(recording_file(testimony.id, file)?),
        Statement::SessionJoined(_)
        | Statement::SessionLeft(_)
        | Statement::Roster(_)
        | Statement::Report(_)
        | Statement::CallOffered(_)
        | Statement::ParticipantChanged(_)
        | Statement::OperationFailed(_)
        | Statement::Media(_)
        | Statement::Unrecognized(_) => return None,
    };
    Some(Fact::new(testimony.id.to_string(), testimony.t, kind))
}

fn provider_statement(changed: &ProviderStateChanged) -> fact::ProviderStatement {
    fact::ProviderStatement {
        capture: changed.capture,
        recording: changed.recording.clone(),
        capture_kind: changed.capture_kind.clone(),
        state: changed.state,
        start: changed.start,
    }
}

fn recording_file(event: Digest, file: &RecordingFile) -> Option<fact::RecordingFile> {
    let first_chunk = file.chunks.first();
    Some(fact::RecordingFile {
        recording: match &file.recording {
            Some(recording) => recording.clone(),
            None => format!("file:{event}"),
        },
        index: first_chunk.and_then(|chunk| chunk.index).unwrap_or(0),
        start: file.start?,
        duration: u64::try_from(file.duration_ms?).ok()?,
    })
}

/// Tells the facts about one session.
struct Teller<'a> {
    session: String,
    /// What a client's token claims the participant to be.
    claim: Option<Identity>,
    facts: &'a mut Vec<Fact>,
}

impl Teller<'_> {
    fn tell(&mut self, session: &Session<'_>) {
        for Move { testimony, moved } in &session.joins {
            let participant = moved.participant.as_ref();
            let identity = participant.map(|participant| participant.identity);
            self.joined(testimony.id.to_string(), testimony.t, identity);
        }
        for Move { testimony, .. } in &session.leaves {
            self.left(testimony.id.to_string(), testimony.t);
        }
        if let Some(presence) = session.joined_by_roster() {
            let Sighting { t, testimony } = presence.joined;
            self.joined(self.joined_id(testimony.id), t, Some(presence.identity));
        } else if let Some((event, t)) = first_report(session)
            && session.joins.is_empty()
            && self.claim.is_some()
        {
            self.joined(self.joined_id(event), t, None);
        }
        if let Some(Sighting { t, testimony }) = session.left_by_roster() {
            self.left(format!("{}/left/{}", testimony.id, self.session), t);
        }
        for attachment in &session.attachments {
            for reported in &attachment.reports {
                self.reported(attachment.id, reported);
            }
        }
    }

    fn joined(&mut self, id: String, t: Millis, identity: Option<Identity>) {
        let kind = FactKind::SessionJoined {
            session: self.session.clone(),
            // The first of several claims takes precedence.
            identity: identity.into_iter().chain(self.claim).min(),
        };
        self.facts.push(Fact::new(id, t, kind));
    }

    /// The id of a joining that an event tells of beside other things.
    fn joined_id(&self, event: Digest) -> String {
        format!("{event}/joined/{}", self.session)
    }

    fn left(&mut self, id: String, t: Millis) {
        let kind = FactKind::SessionLeft {
            session: self.session.clone(),
        };
        self.facts.push(Fact::new(id, t, kind));
    }

    fn reported(&mut self, reporter: &str, reported: &Reported<'_>) {
        let Reported {
            testimony, report, ..
        } = reported;
        let shown = report.shown.iter().map(|shown| fact::Showing {
            capture: shown.capture,
            state: shown.state,
            // Nothing is shown later than it is reported.
            elapsed: Some(u64::try_from(shown.elapsed_ms).unwrap_or(0)),
        });
        let kind = FactKind::Report(fact::Report {
            session: self.session.clone(),
            reporter: reporter.to_owned(),
            sequence: report.sequence,
            recording: report.recording,
            transcription: report.transcription,
            consent_required: report.consent_required.clone(),
            shown: shown.collect(),
            leaving: report.leaving,
            unbroken: testimony.unbroken,
        });
        let id = testimony.id.to_string();
        self.facts.push(Fact::new(id, testimony.t, kind));
    }
}

fn claimed_by_client(session: &Session<'_>) -> Option<Identity> {
    let mut attachments = session.attachments.iter();
    attachments
        .any(Attachment::claims_teams_custom)
        .then_some(Identity::TeamsCustom)
}

/// The session's first report, with the instant at which it counts.
fn first_report(session: &Session<'_>) -> Option<(Digest, Millis)> {
    let attachments = session.attachments.iter();
    let first = attachments.filter_map(|attachment| attachment.reports.first());
    let first = first.map(|reported| (reported.counted, reported.testimony.id));
    first.min().map(|(t, event)| (event, t))
}

#[cfg(test)]
mod tests {
    use crate::domain::calling_event::{CallEnded, CallStarted, RecordingChunk, Shown};
    use crate::domain::fact::{CaptureType, Level, ProviderState, ProviderStatement};
    use crate::domain::ids::Ids;
    use crate::domain::session::resolve;
    use crate::domain::session::testimonies::*;

    use super::*;

    const ANNA: &str = "8:acs:res_anna";

    /// What the only fact of an event says.
    fn kind_of(testimony: Testimony) -> Option<FactKind> {
        let resolved = resolve(std::slice::from_ref(&testimony));
        let fact = resolved.facts.first()?;
        assert_eq!(resolved.facts.len(), 1);
        assert_eq!(fact.id(), testimony.id.to_string());
        assert_eq!(fact.t(), testimony.t);
        Some(fact.kind().clone())
    }

    #[test]
    fn what_is_said_of_the_call_becomes_a_fact_under_the_key_of_its_event() {
        let started = Statement::CallStarted(CallStarted {
            started_by: None,
            is_two_party: None,
            is_rooms_call: None,
            room_id: None,
        });
        let ended = Statement::CallEnded(CallEnded {
            started_by: None,
            ended_by: None,
            reason: None,
            duration_s: None,
            presumed: true,
        });
        let changed = Statement::ProviderState(ProviderStateChanged {
            capture: CaptureType::Recording,
            recording: "rec".to_owned(),
            capture_kind: Some("teams".to_owned()),
            state: ProviderState::Active,
            start: Some(400),
            recorder_leg: Some("bot".to_owned()),
        });
        let leg = |leg: &str| leg.to_owned();
        for (statement, kind) in [
            (started, FactKind::CallStarted),
            (ended, FactKind::CallEnded { presumed: true }),
            (
                changed,
                FactKind::ProviderState(ProviderStatement {
                    capture: CaptureType::Recording,
                    recording: "rec".to_owned(),
                    capture_kind: Some("teams".to_owned()),
                    state: ProviderState::Active,
                    start: Some(400),
                }),
            ),
        ] {
            assert_eq!(
                kind_of(testimony(500, statement, Ids::default())),
                Some(kind)
            );
        }
        assert_eq!(
            kind_of(leg_connected("leg", 5)),
            Some(FactKind::LegConnected { leg: leg("leg") })
        );
        let mut unnamed = leg_disconnected("leg", 5);
        unnamed.event.ids.call_connection_id = None;
        assert_eq!(
            kind_of(unnamed),
            Some(FactKind::LegDisconnected {
                leg: leg("unnamed")
            })
        );
    }

    #[test]
    fn a_file_is_a_fact_if_it_says_when() {
        let chunk = |index| RecordingChunk {
            document_id: None,
            index,
            end_reason: None,
            content_location: None,
            metadata_location: None,
            delete_location: None,
        };
        let file = |recording: Option<&str>, start, duration_ms, chunks| {
            let statement = Statement::File(RecordingFile {
                recording: recording.map(str::to_owned),
                start,
                duration_ms,
                content: None,
                channel: None,
                format: None,
                session_end_reason: None,
                chunks,
            });
            testimony(9_000, statement, Ids::default())
        };
        let fact = |recording: String, index| {
            Some(FactKind::File(fact::RecordingFile {
                recording,
                index,
                start: 100,
                duration: 200,
            }))
        };
        let named = file(
            Some("rec"),
            Some(100),
            Some(200),
            vec![chunk(Some(2)), chunk(Some(3))],
        );
        assert_eq!(kind_of(named), fact("rec".to_owned(), 2));
        let unnamed = file(None, Some(100), Some(200), Vec::new());
        let stand_in = format!("file:{}", unnamed.id);
        assert_eq!(kind_of(unnamed), fact(stand_in, 0));
        for without in [
            file(Some("rec"), None, Some(200), Vec::new()),
            file(Some("rec"), Some(100), None, Vec::new()),
            file(Some("rec"), Some(100), Some(-1), Vec::new()),
        ] {
            assert_eq!(kind_of(without), None);
        }
    }

    #[test]
    fn a_report_becomes_a_fact_as_it_is() {
        let stated = report_with("a1", ANNA, 7, 1_000, |report, _| {
            report.recording = Some(Level::On);
            report.consent_required = vec![CaptureType::Recording];
            report.leaving = true;
            report.shown = [
                (CaptureType::Recording, 250),
                (CaptureType::Transcription, -3),
            ]
            .map(|(capture, elapsed_ms)| Shown {
                capture,
                state: Level::On,
                elapsed_ms,
                text: None,
            })
            .to_vec();
        });
        let showing = |capture, elapsed| fact::Showing {
            capture,
            state: Level::On,
            elapsed: Some(elapsed),
        };
        assert_eq!(
            kind_of(stated),
            Some(FactKind::Report(fact::Report {
                session: "t:a1".to_owned(),
                reporter: "a1".to_owned(),
                sequence: 7,
                recording: Some(Level::On),
                transcription: None,
                consent_required: vec![CaptureType::Recording],
                shown: vec![
                    showing(CaptureType::Recording, 250),
                    showing(CaptureType::Transcription, 0),
                ],
                leaving: true,
                unbroken: false,
            }))
        );
    }
}
