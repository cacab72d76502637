//! The facts: what is known to have happened in a call, and when.
//!
//! Everything that is said about a call – its sessions, what was captured, what must be
//! visible now – is a function of the *set* of its facts (evidence rules, section 1).
//! How a fact looks in JSON stands in [`super::fact_json`], which of them count at an
//! instant in [`super::fact_set`].

use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

use super::instant::Millis;

/// The two things that can be captured. `type` in JSON.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum CaptureType {
    /// The call is recorded.
    Recording,
    /// What is said is written down.
    Transcription,
}

impl CaptureType {
    /// Both, in the order in which answers list them.
    pub const ALL: [Self; 2] = [Self::Recording, Self::Transcription];

    /// The word that stands for it in JSON.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Recording => "recording",
            Self::Transcription => "transcription",
        }
    }
}

/// What a client states about a capture, or what a notice says of it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Level {
    /// It goes on.
    On,
    /// It is interrupted, and may go on again.
    Paused,
    /// It does not go on.
    Off,
}

impl Level {
    /// The word that stands for it in JSON.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::On => "on",
            Self::Paused => "paused",
            Self::Off => "off",
        }
    }
}

/// What the platform itself says of a capture.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum ProviderState {
    /// It goes on.
    Active,
    /// It does not go on.
    Inactive,
}

impl ProviderState {
    /// The word that stands for it in JSON.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Active => "active",
            Self::Inactive => "inactive",
        }
    }
}

/// What a participant is, as far as anybody claimed it. The order is that of precedence: of
/// several claims about one session the first of these holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Identity {
    /// A user of one of our own ACS resources.
    Acs,
    /// A Teams identity in our own client.
    TeamsCustom,
    /// A user of somebody else's ACS resource.
    AcsForeign,
    /// A Teams user in a Teams client.
    TeamsUser,
    /// A Teams application: call queue, auto attendant.
    TeamsApp,
    /// A telephone.
    Phone,
    /// A machine.
    Bot,
    /// Nobody knows; so is a claim that is none of these.
    #[serde(other)]
    Unknown,
}

impl Identity {
    /// Whether it is on us to tell them. Who is not known is ours, so that nobody is left
    /// out for want of knowledge; the others are told by somebody else.
    #[must_use]
    pub fn ours(self) -> bool {
        match self {
            Self::Acs | Self::TeamsCustom | Self::Unknown => true,
            Self::AcsForeign | Self::TeamsUser | Self::TeamsApp | Self::Phone | Self::Bot => false,
        }
    }

    /// The word that stands for it in JSON.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Acs => "acs",
            Self::TeamsCustom => "teams_custom",
            Self::AcsForeign => "acs_foreign",
            Self::TeamsUser => "teams_user",
            Self::TeamsApp => "teams_app",
            Self::Phone => "phone",
            Self::Bot => "bot",
            Self::Unknown => "unknown",
        }
    }
}

/// One thing that happened in a call.
///
/// The fields are private so that a fact that was read from JSON cannot drift away from
/// the contents that it was read from.
#[derive(Clone, Debug, PartialEq)]
pub struct Fact {
    id: String,
    t: Millis,
    kind: FactKind,
    /// The object that the fact was read from, members unknown to us included: they take
    /// part when contents are compared. None: our own code made the fact.
    pub(super) read_from: Option<Map<String, Value>>,
}

impl Fact {
    /// A fact of our own making. `t` is in Unix milliseconds.
    #[must_use]
    pub fn new(id: impl Into<String>, t: Millis, kind: FactKind) -> Self {
        Self {
            id: id.into(),
            t,
            kind,
            read_from: None,
        }
    }

    /// What tells this fact from every other of its call.
    #[must_use]
    pub fn id(&self) -> &str {
        &self.id
    }

    /// When it happened, in Unix milliseconds: by our clock when it is ours, else by the
    /// source's own.
    #[must_use]
    pub fn t(&self) -> Millis {
        self.t
    }

    /// What happened.
    #[must_use]
    pub fn kind(&self) -> &FactKind {
        &self.kind
    }
}

/// What happened, with what belongs to it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum FactKind {
    /// The call began (Event Grid `CallStarted`).
    CallStarted,
    /// The call ended (Event Grid `CallEnded`); `presumed` when nobody said so and the
    /// sweeper took it for ended.
    CallEnded {
        /// Nobody said so.
        presumed: bool,
    },
    /// A session began (participant events, roster differences).
    SessionJoined {
        /// Which.
        session: String,
        /// What the participant is, if the source tells.
        identity: Option<Identity>,
    },
    /// A session ended.
    SessionLeft {
        /// Which.
        session: String,
    },
    /// A Call Automation leg of ours was connected.
    LegConnected {
        /// Which.
        leg: String,
    },
    /// A Call Automation leg of ours was disconnected.
    LegDisconnected {
        /// Which.
        leg: String,
    },
    /// The platform told of a capture (`RecordingStateChanged`; `Transcription*` of our leg).
    ProviderState(ProviderStatement),
    /// A client told what its Calling SDK sees and what it shows.
    Report(Report),
    /// A file of a recording exists (`RecordingFileStatusUpdated`).
    File(RecordingFile),
    /// A notice went a step on its way to a participant's eyes.
    Notice(NoticeFact),
    /// A participant consented to a capture, or declined.
    Consent {
        /// Which of the two.
        decision: ConsentDecision,
        /// Whose.
        session: String,
        /// To what.
        capture: CaptureType,
    },
    /// A kind that these rules do not know. It is ignored, but takes part in the
    /// comparison of contents.
    Other {
        /// Its name.
        kind: String,
    },
}

/// A provider's statement about one recording (or one transcription).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ProviderStatement {
    /// What is captured.
    pub capture: CaptureType,
    /// Which recording; of a transcription, a name that stands for it.
    pub recording: String,
    /// Who captures: `teams`, `acs`, `teams_compliance`.
    pub capture_kind: Option<String>,
    /// Whether it goes on.
    pub state: ProviderState,
    /// When the capture began, by the provider, in Unix milliseconds.
    pub start: Option<Millis>,
}

/// A client's report.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Report {
    /// The session that the reporter belongs to.
    pub session: String,
    /// The client's attachment.
    pub reporter: String,
    /// The reporter's own count of its reports.
    pub sequence: i64,
    /// Absent: the client cannot tell, nothing changes.
    pub recording: Option<Level>,
    /// Absent: the client cannot tell, nothing changes.
    pub transcription: Option<Level>,
    /// For what the Calling SDK asks consent.
    pub consent_required: Vec<CaptureType>,
    /// What is on the participant's screen.
    pub shown: Vec<Showing>,
    /// The client is about to leave.
    pub leaving: bool,
    /// The reports between its predecessor and it were left out: they said the same as both, and
    /// the client is believed all the while. No part of the contents.
    pub unbroken: bool,
}

impl Report {
    /// The level stated of `capture`, if any.
    #[must_use]
    pub fn level(&self, capture: CaptureType) -> Option<Level> {
        match capture {
            CaptureType::Recording => self.recording,
            CaptureType::Transcription => self.transcription,
        }
    }
}

/// A notice on a participant's screen, as the client's report states it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Showing {
    /// What the notice is about.
    pub capture: CaptureType,
    /// What the notice says.
    pub state: Level,
    /// For how many milliseconds before the report, by the client's stopwatch.
    pub elapsed: Option<u64>,
}

/// One file of a recording. Evidence of recording only, never of transcription.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RecordingFile {
    /// Whose file it is.
    pub recording: String,
    /// Which of the recording's files.
    pub index: i64,
    /// In Unix milliseconds.
    pub start: Millis,
    /// In milliseconds.
    pub duration: u64,
}

impl RecordingFile {
    /// The instant at which the file ends, in Unix milliseconds.
    #[must_use]
    pub fn end(&self) -> Millis {
        self.start.saturating_add_unsigned(self.duration)
    }
}

/// A step of a notice.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NoticeFact {
    /// Which step.
    pub step: NoticeStep,
    /// To whom.
    pub session: String,
    /// What the notice is about.
    pub capture: CaptureType,
    /// What the notice says.
    pub state: Level,
    /// How many milliseconds before `t` it happened, by the client's stopwatch; only of
    /// displayed and acknowledged.
    pub elapsed: Option<u64>,
}

/// How far a notice got.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum NoticeStep {
    /// Handed to a transport.
    Dispatched,
    /// The client's machine has it.
    Delivered,
    /// The app says that it is on the screen.
    Displayed,
    /// The app says that it is no longer on the screen.
    Hidden,
    /// The participant confirmed it.
    Acknowledged,
}

/// A participant's answer to the question for consent. Of two at one instant the greater holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum ConsentDecision {
    /// They agree.
    Given,
    /// They do not.
    Declined,
}

impl FactKind {
    /// The kind's name in JSON.
    #[must_use]
    pub fn name(&self) -> &str {
        match self {
            Self::CallStarted => "call.started",
            Self::CallEnded { .. } => "call.ended",
            Self::SessionJoined { .. } => "session.joined",
            Self::SessionLeft { .. } => "session.left",
            Self::LegConnected { .. } => "leg.connected",
            Self::LegDisconnected { .. } => "leg.disconnected",
            Self::ProviderState(_) => "provider.state",
            Self::Report(_) => "report",
            Self::File(_) => "file",
            Self::Notice(notice) => match notice.step {
                NoticeStep::Dispatched => "notice.dispatched",
                NoticeStep::Delivered => "notice.delivered",
                NoticeStep::Displayed => "notice.displayed",
                NoticeStep::Hidden => "notice.hidden",
                NoticeStep::Acknowledged => "notice.acknowledged",
            },
            Self::Consent { decision, .. } => match decision {
                ConsentDecision::Given => "consent.given",
                ConsentDecision::Declined => "consent.declined",
            },
            Self::Other { kind } => kind,
        }
    }
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;

    #[test]
    fn every_word_is_written_as_it_is_read() {
        for capture in CaptureType::ALL {
            assert_eq!(json!(capture), json!(capture.as_str()));
        }
        for level in [Level::On, Level::Paused, Level::Off] {
            assert_eq!(json!(level), json!(level.as_str()));
        }
        for state in [ProviderState::Active, ProviderState::Inactive] {
            assert_eq!(json!(state), json!(state.as_str()));
        }
        for identity in BY_PRECEDENCE {
            assert_eq!(json!(identity), json!(identity.as_str()));
            let read: Identity = serde_json::from_value(json!(identity.as_str())).unwrap();
            assert_eq!(read, identity);
        }
    }

    const BY_PRECEDENCE: [Identity; 8] = [
        Identity::Acs,
        Identity::TeamsCustom,
        Identity::AcsForeign,
        Identity::TeamsUser,
        Identity::TeamsApp,
        Identity::Phone,
        Identity::Bot,
        Identity::Unknown,
    ];

    #[test]
    fn identities_are_ordered_by_precedence() {
        assert!(BY_PRECEDENCE.is_sorted());
    }

    #[test]
    fn an_identity_outside_the_list_is_unknown() {
        let read: Identity = serde_json::from_value(json!("butler")).unwrap();
        assert_eq!(read, Identity::Unknown);
        let unread: Result<Identity, _> = serde_json::from_value(Value::from(7));
        assert!(unread.is_err());
    }

    #[test]
    fn who_is_not_known_is_ours() {
        let ours: Vec<Identity> = BY_PRECEDENCE.into_iter().filter(|it| it.ours()).collect();
        assert_eq!(
            ours,
            [Identity::Acs, Identity::TeamsCustom, Identity::Unknown]
        );
    }

    #[test]
    fn a_file_of_absurd_length_ends_at_the_end_of_time() {
        let file = RecordingFile {
            recording: "r1".to_owned(),
            index: 0,
            start: 5,
            duration: u64::MAX,
        };
        assert_eq!(file.end(), Millis::MAX);
    }
}
