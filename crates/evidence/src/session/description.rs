//! Describes the sessions of a call for the query API: raw ids, names, kinds, clients.

use std::collections::BTreeSet;

use serde::{Deserialize, Serialize};

use super::attachment::{Attachment, AttachmentReport};
use super::key::{SessionKey, session_of_attachment};
use super::roster::RosterPresence;
use super::session_events::{ParticipantEvent, SessionEvents, SessionResolution};
use crate::event::calling_event::Participant;
use crate::fact::kinds::{Identity, Witness};
use crate::identity::raw_id::{Cloud, IdentifierKind, ParsedRawId, parse_raw_id};

/// One session, as its events describe it.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct SessionDescription {
    /// The name of the session in the facts: `p:{participantId}`, `u:{raw id}` if its events state no
    /// participantId, `t:{attachment}`, `f:{attachment}/{digest of the raw id}` if the attachment belongs
    /// to another participant, or `r:{raw id}@{joined, Unix ms}` if only rosters list it.
    pub session: String,
    /// The raw id of the participant, verbatim, from participant events, else rosters, else the client's
    /// token; `None` if no event states it.
    pub raw_id: Option<String>,
    /// The other raw ids that events of the session state, sorted.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub other_raw_ids: Vec<String>,
    /// What the raw id names.
    pub kind: IdentifierKind,
    /// The cloud that the raw id belongs to.
    pub cloud: Cloud,
    /// The first name that is not empty and not the raw id.
    pub display_name: Option<String>,
    /// The first role that an event states, free text.
    pub role: Option<String>,
    /// The endpoint, as participant events describe it, free text.
    pub user_agent: Option<String>,
    /// The participantId of the join: a GUID in lower case, else verbatim.
    pub participant_id: Option<String>,
    /// The clients of the session, sorted by attachment.
    pub attachments: Vec<AttachmentDescription>,
    /// What an auditor must know about its clients, as far as its events show it: see
    /// [`SessionDescription::flags_as`].
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub flags: Vec<SessionFlag>,
}

/// What an auditor must know about the clients of a session.
#[derive(
    Clone,
    Copy,
    Debug,
    PartialEq,
    Eq,
    Hash,
    PartialOrd,
    Ord,
    Serialize,
    Deserialize,
    strum::IntoStaticStr,
)]
#[serde(rename_all = "SCREAMING_SNAKE_CASE")]
#[strum(serialize_all = "SCREAMING_SNAKE_CASE")]
pub enum SessionFlag {
    /// A client names a participantId that neither the platform nor its token gives to its participant.
    /// The claim does not count. In a call in which the platform names no participant it is not flagged.
    ClaimRefused,
    /// By the rules of evidence the session is an outsider's: the platform names participants of the
    /// call, and not this one. Its reports count for no other session.
    Outsider,
}

impl SessionDescription {
    /// The session of an attachment that sent acknowledgements but no report. `raw_id` is that of its
    /// token, `trust` how its client belongs to the call.
    #[must_use]
    pub fn without_reports(attachment: &str, raw_id: &str, trust: Witness) -> Self {
        let ParsedRawId { kind, cloud, .. } = parse_raw_id(raw_id);
        Self {
            session: session_of_attachment(attachment),
            raw_id: Some(raw_id.to_owned()),
            kind,
            cloud,
            attachments: vec![AttachmentDescription {
                attachment: attachment.to_owned(),
                raw_id: Some(raw_id.to_owned()),
                trust,
            }],
            ..Self::default()
        }
    }

    /// The flags of the session if the rules of evidence conclude this identity, sorted.
    #[must_use]
    pub fn flags_as(&self, identity: Identity) -> BTreeSet<SessionFlag> {
        let outsider = (identity == Identity::Outsider).then_some(SessionFlag::Outsider);
        self.flags.iter().copied().chain(outsider).collect()
    }

    /// Whether an event of the session states the raw id.
    #[must_use]
    pub fn has_raw_id(&self, raw_id: &str) -> bool {
        let mut raw_ids = self.raw_id.iter().chain(&self.other_raw_ids);
        raw_ids.any(|known| known == raw_id)
    }
}

/// A client of a session.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct AttachmentDescription {
    /// The client's own id.
    pub attachment: String,
    /// The raw id of its token.
    pub raw_id: Option<String>,
    /// How it belongs to the call, by all its reports together.
    pub trust: Witness,
}

/// The descriptions of all sessions, sorted by name.
pub(super) fn of(resolution: &SessionResolution<'_>) -> Vec<SessionDescription> {
    let mut sessions: Vec<SessionDescription> =
        resolution.sessions.iter().map(|(key, session)| describe(key, session)).collect();
    sessions.sort_unstable_by(|one, other| one.session.cmp(&other.session));
    sessions
}

fn describe(key: &SessionKey<'_>, session: &SessionEvents<'_>) -> SessionDescription {
    let mut changes: Vec<&ParticipantEvent<'_>> =
        session.joins.iter().chain(&session.leaves).collect();
    changes.sort_unstable_by_key(|it| (it.observed.at, it.observed.id));
    let mut rosters: Vec<RosterPresence<'_>> = session.roster_presences().collect();
    rosters.sort_by_key(|presence| presence.joined.order());
    let reports = session.attachments.iter().flat_map(|attachment| &attachment.reports);
    let mut reports: Vec<&AttachmentReport<'_>> = reports.collect();
    reports.sort_unstable_by_key(|it| (it.observed.at, it.observed.id));
    // Participant events have precedence over rosters, and rosters over clients.
    let participants = || {
        let by_events = changes.iter().filter_map(|it| it.change.participant.as_ref());
        let by_rosters = rosters.iter().map(|presence| presence.participant);
        by_events.chain(by_rosters).chain(reports.iter().map(|it| &it.report.participant))
    };
    let first = participants().next();
    let raw_id = first.map(|participant| participant.raw_id.as_str());
    let mut attachments: Vec<AttachmentDescription> =
        session.attachments.iter().map(describe_attachment).collect();
    attachments.sort_unstable_by(|one, other| {
        (&one.attachment, &one.raw_id).cmp(&(&other.attachment, &other.raw_id))
    });
    SessionDescription {
        session: key.to_string(),
        raw_id: raw_id.map(str::to_owned),
        other_raw_ids: session
            .raw_ids
            .iter()
            .filter(|&&known| Some(known) != raw_id)
            .map(|&known| known.to_owned())
            .collect(),
        kind: first.map(|participant| participant.kind).unwrap_or_default(),
        cloud: first.map(|participant| participant.cloud).unwrap_or_default(),
        display_name: participants().find_map(name_of).map(str::to_owned),
        role: participants().find_map(|participant| participant.role.clone()),
        user_agent: changes.iter().find_map(|it| it.change.user_agent.clone()),
        participant_id: key.participant_id().map(str::to_owned),
        attachments,
        flags: session.has_refused_claim.then_some(SessionFlag::ClaimRefused).into_iter().collect(),
    }
}

fn describe_attachment(attachment: &Attachment<'_>) -> AttachmentDescription {
    AttachmentDescription {
        attachment: attachment.id.to_owned(),
        raw_id: Some(attachment.raw_id.to_owned()),
        trust: attachment.witness,
    }
}

fn name_of(participant: &Participant) -> Option<&str> {
    let name = participant.display_name.as_deref()?;
    // Some senders repeat the raw id if they have no name.
    (!name.trim().is_empty() && name != participant.raw_id).then_some(name)
}

#[cfg(test)]
mod tests {
    use crate::event::calling_event::{ObservedEvent, Statement};
    use crate::identity::grant::Grant;
    use crate::session::resolution::resolve;
    use crate::tests::test_events::*;

    use super::*;

    const ANNA: &str = "8:acs:res_anna";
    const TEAMS: &str = "8:orgid:daba101a-91c5-44c9-bb9b-e2a9a790571a";

    #[test]
    fn the_description_by_the_platform_has_precedence_over_the_client() {
        let mut join = joined("p1", ANNA, 1_000);
        if let Statement::SessionJoined(change) = &mut join.event.statement {
            change.user_agent = Some("Edge".to_owned());
            let participant = change.participant.as_mut().unwrap();
            participant.display_name = Some(ANNA.to_owned());
            participant.role = Some("Presenter".to_owned());
        }
        let claim = report_with("a1", TEAMS, 1, 500, |report, ids| {
            report.other_raw_ids = vec![ANNA.to_owned()];
            report.participant.display_name = Some("Anna".to_owned());
            ids.participant_id = Some("p1".to_owned());
        });
        let resolved = resolve(&[join, claim]);
        let [who] = &resolved.sessions[..] else { panic!("one session") };
        assert_eq!(who.raw_id.as_deref(), Some(ANNA));
        assert_eq!(who.other_raw_ids, [TEAMS]);
        assert_eq!(who.display_name.as_deref(), Some("Anna"));
        assert_eq!(who.role.as_deref(), Some("Presenter"));
        assert_eq!(who.user_agent.as_deref(), Some("Edge"));
        assert_eq!(who.participant_id.as_deref(), Some("p1"));
        assert_eq!(who.attachments[0].raw_id.as_deref(), Some(TEAMS));
        assert_eq!(who.attachments[0].trust, Witness::Platform);
        assert_eq!(resolved.only_session_of(TEAMS), Some("p:p1"));
    }

    #[test]
    fn the_grade_of_a_client_is_the_best_of_its_reports() {
        let grade = |events: &[ObservedEvent]| {
            let sessions = resolve(events).sessions;
            let mut clients = sessions.iter().flat_map(|who| &who.attachments);
            clients.next().map(|client| client.trust)
        };
        let claim = report("a1", ANNA, 1, 1_000);
        assert_eq!(grade(std::slice::from_ref(&claim)), Some(Witness::Asserted));
        let named = roster("leg", None, 900, &[ANNA]);
        assert_eq!(grade(&[named, claim.clone()]), Some(Witness::Platform));
        let other = roster("leg", None, 900, &["8:acs:res_ben"]);
        assert_eq!(grade(&[other.clone(), claim.clone()]), Some(Witness::Outsider));
        let mut other_of_a_group = other;
        other_of_a_group.event.ids.group_id = Some("a group".to_owned());
        let granted = report_with("a1", ANNA, 2, 1_100, |report, _| {
            report.grant = Grant::new(["a group".to_owned()], []);
        });
        assert_eq!(grade(&[other_of_a_group, granted, claim]), Some(Witness::Granted));
    }

    #[test]
    fn the_session_of_an_outsider_has_the_flag_besides_that_of_its_refused_claim() {
        let claim = report_with("a1", TEAMS, 1, 500, |_, ids| {
            ids.participant_id = Some("p1".to_owned());
        });
        let resolved = resolve(&[joined("p1", ANNA, 0), claim]);
        let [anna, stranger] = &resolved.sessions[..] else { panic!("two sessions") };
        let flags: Vec<SessionFlag> = stranger.flags_as(Identity::Outsider).into_iter().collect();
        assert_eq!(flags, [SessionFlag::ClaimRefused, SessionFlag::Outsider]);
        assert_eq!(
            serde_json::to_value(flags).unwrap(),
            serde_json::json!(["CLAIM_REFUSED", "OUTSIDER"])
        );
        assert!(anna.flags_as(Identity::Acs).is_empty());
    }
}
