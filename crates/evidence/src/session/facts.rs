//! Makes the facts of a call from its events and the resolution of its sessions.
//!
//! # Why
//!
//! *Ids.* The id of a fact is the key of its event, so that an event that is delivered twice is one
//! fact. If one event states several facts (a roster, a report that also states a joining), the id
//! continues with the kind and the session.
//!
//! *Identity.* The rules of evidence read an identity only from a joining. A token for a Teams identity,
//! or one that lists a Teams identity of its participant, states `teams_custom`: the platform may name
//! the participant by either. So each joining of a session with such a client states `teams_custom`,
//! unless it states `acs`. If no other source states the session, and the token is for the Teams
//! identity, its first report counts as such a joining; by the rules the session was present by then
//! anyway. As a consequence the rules never count such a
//! session as lost and require notices for it until the end of the call, which favours the
//! participant. No other identity of a token is stated, because the holder of a token uses the tenant's
//! app, and for that the rules conclude `acs`.
//!
//! *Outsiders.* The report of an outsider states no joining: only the platform makes it a participant
//! who must be notified.
//!
//! *Files.* A file without start or duration does not state when a recording was in progress, so it is
//! not a fact. A file that does not name its recording counts as a recording of its own.

use super::attachment::{Attachment, AttachmentReport};
use super::roster::{CountedRoster, leg};
use super::session_events::{ParticipantEvent, SessionEvents, SessionResolution};
use crate::event::calling_event::{
    ObservedEvent, ProviderStateChanged, RecordingFileStatement, Statement,
};
use crate::event::ids::Digest;
use crate::event::instant::Millis;
use crate::fact::kinds::{self, Fact, FactKind, Identity, Witness};

/// The facts of a call, sorted by id.
pub(super) fn of(events: &[&ObservedEvent], resolution: &SessionResolution<'_>) -> Vec<Fact> {
    let of_the_call = events.iter().filter_map(|observed| fact_of_the_call(observed));
    let mut facts: Vec<Fact> = of_the_call.collect();
    for (key, session) in &resolution.sessions {
        SessionFactWriter {
            session: key.to_string(),
            client_identity: client_identity(session),
            facts: &mut facts,
        }
        .write(session);
    }
    facts.sort_unstable_by(|one, other| one.id().cmp(other.id()));
    facts
}

/// The fact of an event that does not name a session.
fn fact_of_the_call(observed: &ObservedEvent) -> Option<Fact> {
    let kind = match &observed.event.statement {
        Statement::CallStarted(_) => FactKind::CallStarted,
        Statement::CallEnded(ended) => FactKind::CallEnded { presumed: ended.presumed },
        Statement::LegConnected(_) => FactKind::LegConnected { leg: leg(observed).to_owned() },
        Statement::LegDisconnected(_) => {
            FactKind::LegDisconnected { leg: leg(observed).to_owned() }
        }
        Statement::ProviderState(changed) => FactKind::ProviderState(provider_statement(changed)),
        Statement::File(file) => FactKind::File(recording_file(observed.id, file)?),
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
    Some(Fact::new(observed.id.to_string(), observed.at, kind).received(observed.received_at))
}

fn provider_statement(changed: &ProviderStateChanged) -> kinds::ProviderStatement {
    kinds::ProviderStatement {
        capture_type: changed.capture_type,
        recording: changed.recording.clone(),
        capture_kind: changed.capture_kind.clone(),
        state: changed.state,
        started_at: changed.started_at,
    }
}

fn recording_file(event: Digest, file: &RecordingFileStatement) -> Option<kinds::FileFact> {
    let first_chunk = file.chunks.first();
    Some(kinds::FileFact {
        recording: file.recording.clone().unwrap_or_else(|| format!("file:{event}")),
        index: first_chunk.and_then(|chunk| chunk.index).unwrap_or(0),
        started_at: file.started_at?,
        duration_ms: u64::try_from(file.duration_ms?).ok()?,
    })
}

/// Writes the facts about one session.
struct SessionFactWriter<'a> {
    session: String,
    /// The identity that a client's token states.
    client_identity: Option<Identity>,
    facts: &'a mut Vec<Fact>,
}

impl SessionFactWriter<'_> {
    fn write(&mut self, session: &SessionEvents<'_>) {
        for ParticipantEvent { observed, change } in &session.joins {
            let participant = change.participant.as_ref();
            let identity = participant.map(|participant| participant.identity);
            let received_at = observed.received_at;
            self.joined(observed.id.to_string(), (observed.at, received_at), identity);
        }
        for ParticipantEvent { observed, .. } in &session.leaves {
            self.left(observed.id.to_string(), observed.at);
        }
        if let Some(presence) = session.joined_by_roster() {
            let event = presence.joined.observed.id;
            let at = (presence.joined.counts_at, presence.joined.observed.received_at);
            self.joined(self.joined_id(event), at, Some(presence.identity));
        } else if let Some((event, at)) = first_report(session)
            && session.joins.is_empty()
            && session.attachments.iter().any(Attachment::claims_teams_custom)
        {
            self.joined(self.joined_id(event), (at, None), None);
        }
        if let Some(CountedRoster { counts_at, observed }) = session.left_by_roster() {
            let id = format!("{}/left/{}", observed.id, self.session);
            self.left(id, counts_at);
        }
        for attachment in &session.attachments {
            let reporter = attachment.reporter();
            for reported in &attachment.reports {
                self.reported(&reporter, attachment.witness, reported);
            }
        }
    }

    fn joined(
        &mut self,
        id: String,
        (at, received_at): (Millis, Option<Millis>),
        identity: Option<Identity>,
    ) {
        let kind = FactKind::SessionJoined {
            session: self.session.clone(),
            // The least identity has precedence.
            identity: identity.into_iter().chain(self.client_identity).min(),
        };
        self.facts.push(Fact::new(id, at, kind).received(received_at));
    }

    /// The id of a joining that an event states in addition to its own fact.
    fn joined_id(&self, event: Digest) -> String {
        format!("{event}/joined/{}", self.session)
    }

    fn left(&mut self, id: String, at: Millis) {
        let kind = FactKind::SessionLeft { session: self.session.clone() };
        self.facts.push(Fact::new(id, at, kind));
    }

    fn reported(&mut self, reporter: &str, witness: Witness, reported: &AttachmentReport<'_>) {
        let AttachmentReport { observed, report, .. } = reported;
        let shown = report.shown.iter().map(|shown| kinds::ShownNotice {
            capture_type: shown.capture_type,
            state: shown.state,
            // A negative value is an error of the client: a notice is not shown after its report.
            elapsed_ms: Some(u64::try_from(shown.elapsed_ms).unwrap_or(0)),
        });
        let kind = FactKind::Report(kinds::ReportFact {
            session: self.session.clone(),
            reporter: reporter.to_owned(),
            sequence: report.sequence,
            recording: report.recording,
            transcription: report.transcription,
            consent_required: report.consent_required.clone(),
            shown: shown.collect(),
            leaving: report.leaving,
            witness,
            unbroken: observed.unbroken,
        });
        let id = observed.id.to_string();
        self.facts.push(Fact::new(id, observed.at, kind));
    }
}

/// The identity that the tokens of the session's clients state, if it is not `acs`.
fn client_identity(session: &SessionEvents<'_>) -> Option<Identity> {
    let mut attachments = session.attachments.iter();
    attachments.any(Attachment::has_teams_identity).then_some(Identity::TeamsCustom)
}

/// The key of the session's first report that states its joining, and the instant at which it counts.
/// The report of an outsider states none.
fn first_report(session: &SessionEvents<'_>) -> Option<(Digest, Millis)> {
    let attachments = session.attachments.iter().filter(|it| it.witness != Witness::Outsider);
    let first = attachments.filter_map(|attachment| attachment.reports.first());
    let first = first.min_by_key(|reported| (reported.counts_at, reported.observed.id))?;
    Some((first.observed.id, first.counts_at))
}

#[cfg(test)]
mod tests {
    use crate::event::calling_event::{CallEnded, CallStarted, RecordingChunk, ShownStatement};
    use crate::event::ids::Ids;
    use crate::fact::kinds::{CaptureType, Level, ProviderState, ProviderStatement};
    use crate::session::resolution::resolve;
    use crate::tests::test_events::*;

    use super::*;

    const ANNA: &str = "8:acs:res_anna";

    /// The kind of the only fact of an event.
    fn kind_of(observed: ObservedEvent) -> Option<FactKind> {
        let resolved = resolve(std::slice::from_ref(&observed));
        let fact = resolved.facts.first()?;
        assert_eq!(resolved.facts.len(), 1);
        assert_eq!(fact.id(), observed.id.to_string());
        assert_eq!(fact.at(), observed.at);
        Some(fact.kind().clone())
    }

    #[test]
    fn a_statement_about_the_call_is_a_fact_with_the_key_of_its_event() {
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
            capture_type: CaptureType::Recording,
            recording: "rec".to_owned(),
            capture_kind: Some("teams".to_owned()),
            state: ProviderState::Active,
            started_at: Some(400),
            recorder_leg: Some("bot".to_owned()),
        });
        let leg = |leg: &str| leg.to_owned();
        for (statement, kind) in [
            (started, FactKind::CallStarted),
            (ended, FactKind::CallEnded { presumed: true }),
            (
                changed,
                FactKind::ProviderState(ProviderStatement {
                    capture_type: CaptureType::Recording,
                    recording: "rec".to_owned(),
                    capture_kind: Some("teams".to_owned()),
                    state: ProviderState::Active,
                    started_at: Some(400),
                }),
            ),
        ] {
            assert_eq!(kind_of(observed_event(500, statement, Ids::default())), Some(kind));
        }
        assert_eq!(
            kind_of(leg_connected("leg", 5)),
            Some(FactKind::LegConnected { leg: leg("leg") })
        );
        let mut unnamed = leg_disconnected("leg", 5);
        unnamed.event.ids.call_connection_id = None;
        assert_eq!(kind_of(unnamed), Some(FactKind::LegDisconnected { leg: leg("unnamed") }));
    }

    #[test]
    fn a_file_is_a_fact_only_with_start_and_duration() {
        let chunk = |index| RecordingChunk {
            document_id: None,
            index,
            end_reason: None,
            content_location: None,
            metadata_location: None,
            delete_location: None,
        };
        let file = |recording: Option<&str>, started_at, duration_ms, chunks| {
            let statement = Statement::File(RecordingFileStatement {
                recording: recording.map(str::to_owned),
                started_at,
                duration_ms,
                content: None,
                channel: None,
                format: None,
                session_end_reason: None,
                chunks,
            });
            observed_event(9_000, statement, Ids::default())
        };
        let fact = |recording: String, index| {
            Some(FactKind::File(kinds::FileFact {
                recording,
                index,
                started_at: 100,
                duration_ms: 200,
            }))
        };
        let named = file(Some("rec"), Some(100), Some(200), vec![chunk(Some(2)), chunk(Some(3))]);
        assert_eq!(kind_of(named), fact("rec".to_owned(), 2));
        let unnamed = file(None, Some(100), Some(200), Vec::new());
        let own_recording = format!("file:{}", unnamed.id);
        assert_eq!(kind_of(unnamed), fact(own_recording, 0));
        for without in [
            file(Some("rec"), None, Some(200), Vec::new()),
            file(Some("rec"), Some(100), None, Vec::new()),
            file(Some("rec"), Some(100), Some(-1), Vec::new()),
        ] {
            assert_eq!(kind_of(without), None);
        }
    }

    #[test]
    fn a_report_is_a_fact_with_the_same_members() {
        let stated = report_with("a1", ANNA, 7, 1_000, |report, _| {
            report.recording = Some(Level::On);
            report.consent_required = vec![CaptureType::Recording];
            report.leaving = true;
            report.shown = [(CaptureType::Recording, 250), (CaptureType::Transcription, -3)]
                .map(|(capture_type, elapsed_ms)| ShownStatement {
                    capture_type,
                    state: Level::On,
                    elapsed_ms,
                    text: None,
                })
                .to_vec();
        });
        let showing = |capture_type, elapsed| kinds::ShownNotice {
            capture_type,
            state: Level::On,
            elapsed_ms: Some(elapsed),
        };
        assert_eq!(
            kind_of(stated),
            Some(FactKind::Report(kinds::ReportFact {
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
                witness: Witness::Asserted,
                unbroken: false,
            }))
        );
    }
}
