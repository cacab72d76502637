//! Who the sessions are, for those who read the record: names, kinds, clients.

use serde::{Deserialize, Serialize};

use super::attachment::Attachment;
use super::cast::{Cast, Session};
use super::name::{SessionKey, is_placeholder_raw_id};
use super::session_of_silent;
use crate::domain::calling_event::Participant;
use crate::domain::identity::{Cloud, IdentifierKind, read_raw_id};
use crate::domain::ids::Digest;
use crate::domain::instant::Millis;

/// One session, as the testimonies describe it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct SessionWho {
    /// Its name in the facts: `p:{participantId}`, `u:{raw id}` where events name no
    /// participantId, `t:{attachment}`, `r:{raw id}@{joined, Unix ms}` where only rosters show it.
    pub session: String,
    /// Verbatim, as participant events have it, else rosters, else the client's token; absent if
    /// nobody tells.
    pub raw_id: Option<String>,
    /// What else its participant was called, sorted.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub other_raw_ids: Vec<String>,
    /// What the raw id names.
    pub kind: IdentifierKind,
    /// Where.
    pub cloud: Cloud,
    /// The first name that is one: not empty and not the raw id.
    pub display_name: Option<String>,
    /// Free text, as the first event has it that states one.
    pub role: Option<String>,
    /// The endpoint, as participant events describe it.
    pub user_agent: Option<String>,
    /// Which join it is; a GUID in lower case, else verbatim.
    pub participant_id: Option<String>,
    /// Its clients, by id.
    pub attachments: Vec<AttachmentWho>,
}

impl SessionWho {
    /// Of an attachment that never reported, and for which one person speaks.
    #[must_use]
    pub fn of_silent(attachment: &str, raw_id: &str) -> Self {
        let read = read_raw_id(raw_id);
        Self {
            session: session_of_silent(attachment),
            raw_id: Some(raw_id.to_owned()),
            other_raw_ids: Vec::new(),
            kind: read.kind,
            cloud: read.cloud,
            display_name: None,
            role: None,
            user_agent: None,
            participant_id: None,
            attachments: vec![AttachmentWho {
                attachment: attachment.to_owned(),
                raw_id: Some(raw_id.to_owned()),
                trust: Trust::Asserted,
            }],
        }
    }

    /// Whether its participant was ever called so.
    #[must_use]
    pub fn is_known_as(&self, raw_id: &str) -> bool {
        let mut raw_ids = self.raw_id.iter().chain(&self.other_raw_ids);
        raw_ids.any(|known| known == raw_id)
    }
}

/// A client of a session.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct AttachmentWho {
    /// The client's own id.
    pub attachment: String,
    /// Whom its token names.
    pub raw_id: Option<String>,
    /// Whether it is there at all.
    pub trust: Trust,
}

/// How far it is believed that whom a client's token names is in the call.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Trust {
    /// Only the client says so.
    Asserted,
    /// A participant event or a roster names the raw id, of this very session: somebody else in
    /// the call is no witness for it.
    Confirmed,
}

/// The sessions of a cast, by name.
pub fn of(cast: &Cast<'_>) -> Vec<SessionWho> {
    let mut sessions: Vec<SessionWho> = cast
        .sessions
        .iter()
        .map(|(key, session)| describe(key, session))
        .collect();
    sessions.sort_unstable_by(|one, other| one.session.cmp(&other.session));
    sessions
}

fn describe(key: &SessionKey<'_>, session: &Session<'_>) -> SessionWho {
    let mentions = mentions(session);
    let participants = || mentions.iter().filter_map(|mention| mention.participant);
    let first = participants().next();
    let raw_id = first.map(|participant| participant.raw_id.as_str());
    let mut attachments: Vec<AttachmentWho> = session
        .attachments
        .iter()
        .map(|attachment| describe_attachment(attachment, session))
        .collect();
    attachments.sort_unstable_by(|one, other| one.attachment.cmp(&other.attachment));
    SessionWho {
        session: key.to_string(),
        raw_id: raw_id.map(str::to_owned),
        other_raw_ids: session
            .raw_ids
            .iter()
            .filter(|&&known| Some(known) != raw_id)
            .map(|&known| known.to_owned())
            .collect(),
        kind: first.map_or(IdentifierKind::Unknown, |participant| participant.kind),
        cloud: first.map_or(Cloud::default(), |participant| participant.cloud),
        display_name: participants().find_map(name_of).map(str::to_owned),
        role: participants().find_map(|participant| participant.role.clone()),
        user_agent: mentions
            .iter()
            .find_map(|mention| mention.user_agent)
            .map(str::to_owned),
        participant_id: key.participant_id().map(str::to_owned),
        attachments,
    }
}

fn describe_attachment(attachment: &Attachment<'_>, session: &Session<'_>) -> AttachmentWho {
    let raw_id = attachment.raw_id();
    let confirmed = raw_id.is_some_and(|raw_id| {
        session.is_called_by_platform(raw_id) && !is_placeholder_raw_id(raw_id)
    });
    AttachmentWho {
        attachment: attachment.id.to_owned(),
        raw_id: raw_id.map(str::to_owned),
        trust: if confirmed {
            Trust::Confirmed
        } else {
            Trust::Asserted
        },
    }
}

fn name_of(participant: &Participant) -> Option<&str> {
    let name = participant.display_name.as_deref()?;
    // Some senders repeat the raw id where they have no name.
    (!name.trim().is_empty() && name != participant.raw_id).then_some(name)
}

/// Somebody describes a session's participant.
struct Mention<'t> {
    order: (Witness, Millis, Digest),
    participant: Option<&'t Participant>,
    user_agent: Option<&'t str>,
}

/// Who describes it; the first is asked first.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Witness {
    ParticipantEvent,
    Roster,
    Client,
}

/// What is said of a session's participant, in the order of belief, then of time.
fn mentions<'t>(session: &Session<'t>) -> Vec<Mention<'t>> {
    let moves = session.joins.iter().chain(&session.leaves);
    let by_events = moves.map(|moved| Mention {
        order: (
            Witness::ParticipantEvent,
            moved.testimony.t,
            moved.testimony.id,
        ),
        participant: moved.moved.participant.as_ref(),
        user_agent: moved.moved.user_agent.as_deref(),
    });
    let by_rosters = session.presences().map(|presence| Mention {
        order: (
            Witness::Roster,
            presence.joined.t,
            presence.joined.testimony.id,
        ),
        participant: Some(presence.participant),
        user_agent: None,
    });
    let reports = session
        .attachments
        .iter()
        .flat_map(|attachment| &attachment.reports);
    let by_clients = reports.map(|reported| Mention {
        order: (Witness::Client, reported.testimony.t, reported.testimony.id),
        participant: Some(&reported.report.participant),
        user_agent: None,
    });
    let mut mentions: Vec<Mention<'t>> = by_events.chain(by_rosters).chain(by_clients).collect();
    mentions.sort_by_key(|mention| mention.order);
    mentions
}

#[cfg(test)]
mod tests {
    use crate::domain::calling_event::{Statement, Testimony};
    use crate::domain::session::resolve;
    use crate::domain::session::testimonies::*;

    use super::*;

    const ANNA: &str = "8:acs:res_anna";
    const TEAMS: &str = "8:orgid:daba101a-91c5-44c9-bb9b-e2a9a790571a";

    #[test]
    fn who_somebody_is_comes_from_the_platform_before_the_client() {
        let mut join = joined("p1", ANNA, 1_000);
        if let Statement::SessionJoined(moved) = &mut join.event.statement {
            moved.user_agent = Some("Edge".to_owned());
            let participant = moved.participant.as_mut().unwrap();
            participant.display_name = Some(ANNA.to_owned());
            participant.role = Some("Presenter".to_owned());
        }
        let claim = report_with("a1", TEAMS, 1, 500, |report, ids| {
            report.participant.display_name = Some("Anna".to_owned());
            ids.participant_id = Some("p1".to_owned());
        });
        let resolved = resolve(&[join, claim]);
        let [who] = &resolved.sessions[..] else {
            panic!("one session")
        };
        assert_eq!(who.raw_id.as_deref(), Some(ANNA));
        assert_eq!(who.other_raw_ids, [TEAMS]);
        assert_eq!(who.display_name.as_deref(), Some("Anna"));
        assert_eq!(who.role.as_deref(), Some("Presenter"));
        assert_eq!(who.user_agent.as_deref(), Some("Edge"));
        assert_eq!(who.participant_id.as_deref(), Some("p1"));
        assert_eq!(who.attachments[0].raw_id.as_deref(), Some(TEAMS));
        assert_eq!(who.attachments[0].trust, Trust::Asserted);
        assert_eq!(resolved.only_session_of(TEAMS), Some("p:p1"));
    }

    #[test]
    fn a_client_is_believed_to_be_who_it_says_once_the_platform_names_them() {
        let trust =
            |testimonies: &[Testimony]| resolve(testimonies).sessions[0].attachments[0].trust;
        let claim = report("a1", ANNA, 1, 1_000);
        assert_eq!(trust(std::slice::from_ref(&claim)), Trust::Asserted);
        assert_eq!(
            trust(&[roster("leg", None, 900, &[ANNA]), claim]),
            Trust::Confirmed
        );
    }

    #[test]
    fn somebody_else_in_the_call_is_no_witness_for_a_claim() {
        let ben = "8:acs:res_ben";
        // Ben's session, and a client that says it is in it with a token of Anna, who is elsewhere.
        let call = [
            joined("p1", ben, 1_000),
            joined("p2", ANNA, 1_000),
            report_naming("p1", "a1", ANNA, 1, 1_500),
        ];
        let resolved = resolve(&call);
        assert_eq!(resolved.sessions[0].session, "p:p1");
        assert_eq!(resolved.sessions[0].attachments[0].trust, Trust::Asserted);
    }
}
