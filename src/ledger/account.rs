//! What the ledger makes of one call: its account, judged, and its fold as it is laid at rest.

use std::collections::{BTreeMap, BTreeSet};

use chrono::{DateTime, Utc};

use crate::domain::disagreement::{Disagreement, Disagreements};
use crate::domain::dossier::Dossier;
use crate::domain::evidence::{Evidence, EvidenceReport};
use crate::domain::fact::Fact;
use crate::domain::flag::Flag;
use crate::domain::instant::Millis;
use crate::domain::parameters::Parameters;
use crate::domain::presence::Session;
use crate::domain::presumed_end::last_sign;
use crate::domain::session::{Resolved, SessionWho};
use crate::domain::stretch::Stretch;
use crate::store::{CallFold, SessionRow, StretchRow};

/// A call, folded and judged.
pub(super) struct Account {
    pub fold: CallFold,
    pub dossier: Dossier,
    /// What the rules of evidence read of it.
    pub facts: Vec<Fact>,
    /// None: nothing of it is a fact yet.
    pub report: Option<EvidenceReport>,
    /// What its clients disagree about.
    pub disagreements: Vec<Disagreement>,
}

impl Account {
    /// Of all that is stored of a call; `None` if nothing is.
    pub fn of(tenant: &str, call: String, dossier: Dossier, now: Millis) -> Option<Self> {
        let resolved = dossier.resolved();
        let evidence = Evidence::at(&resolved.facts, now, &Parameters::default()).ok();
        let mut fold = fold(tenant, call, &dossier, &resolved, evidence.as_ref(), now)?;
        let disagreements = evidence.as_ref().map(Evidence::disagreements);
        let Disagreements { all, next_change } = disagreements.unwrap_or_default();
        fold.refold_at = [fold.refold_at, next_change.and_then(time)]
            .into_iter()
            .flatten()
            .min();
        let report = evidence.map(|evidence| evidence.report);
        Some(Self {
            fold,
            facts: resolved.facts,
            dossier,
            report,
            disagreements: all,
        })
    }
}

fn fold(
    tenant: &str,
    call: String,
    dossier: &Dossier,
    resolved: &Resolved,
    evidence: Option<&Evidence<'_>>,
    now: Millis,
) -> Option<CallFold> {
    let report = evidence.map(|evidence| &evidence.report);
    let named = report.map(|report| report.call);
    // A call of which only offers, media or failures are known has begun with the first of them.
    let started = named
        .map(|call| call.start)
        .or_else(|| dossier.instants().min())?;
    let indications = evidence
        .map(|evidence| evidence.indications)
        .unwrap_or_default();
    let mut flags: BTreeSet<Flag> = report
        .map(|report| report.flags.clone())
        .unwrap_or_default();
    let conflicts = resolved.conflicts.iter();
    flags.extend(conflicts.map(|key| Flag::Conflict(key.to_string())));
    let next_change = match evidence {
        Some(evidence) => evidence.next_change,
        // What does not count yet will.
        None => resolved
            .facts
            .iter()
            .map(Fact::t)
            .filter(|t| *t > now)
            .min(),
    };
    Some(CallFold {
        tenant: tenant.to_owned(),
        call,
        started: time(started)?,
        ended: named.and_then(|call| call.end).and_then(time),
        end_presumed: named.is_some_and(|call| call.presumed),
        recording: indications.recording.state.as_str(),
        recording_stale: indications.recording.stale,
        transcription: indications.transcription.state.as_str(),
        transcription_stale: indications.transcription.stale,
        group_id: dossier
            .testimonies()
            .filter_map(|testimony| testimony.event.ids.group_id.clone())
            .min(),
        flags: flags
            .iter()
            .map(|flag| one_line(&flag.to_string()))
            .collect(),
        facts: i32::try_from(dossier.len()).unwrap_or(i32::MAX),
        last_sign: named
            .and_then(|_| last_sign(dossier.instants(), now))
            .and_then(time),
        refold_at: next_change.and_then(time),
        sessions: report
            .map(|report| sessions(&report.sessions, &resolved.sessions))
            .unwrap_or_default(),
        stretches: report
            .map(|report| stretches(&report.stretches))
            .unwrap_or_default(),
    })
}

fn sessions(sessions: &[Session], who: &[SessionWho]) -> Vec<SessionRow> {
    let by_name: BTreeMap<&str, &SessionWho> =
        who.iter().map(|who| (who.session.as_str(), who)).collect();
    sessions
        .iter()
        .filter_map(|session| {
            let who = by_name.get(session.id.as_str());
            Some(SessionRow {
                session: session.id.clone(),
                identity: session.identity.as_str(),
                ours: session.ours,
                raw_id: who.and_then(|who| who.raw_id.clone()),
                display_name: who.and_then(|who| who.display_name.clone()),
                kind: who.map(|who| kind_text(who.kind)),
                participant_id: who.and_then(|who| who.participant_id.clone()),
                attachments: who
                    .and_then(|who| serde_json::to_value(&who.attachments).ok())
                    .unwrap_or_else(|| serde_json::json!([])),
                user_agent: who.and_then(|who| who.user_agent.clone()),
                joined: time(session.joined)?,
                left: session.left.and_then(time),
                join_inferred: session.join_inferred,
                left_inferred: session.left_inferred,
            })
        })
        .collect()
}

fn stretches(stretches: &[Stretch]) -> Vec<StretchRow> {
    stretches
        .iter()
        .filter_map(|stretch| {
            Some(StretchRow {
                kind: stretch.capture.as_str(),
                started: time(stretch.start)?,
                ended: stretch.end.and_then(time),
                start_source: stretch.start_source.as_str(),
                sources: stretch
                    .sources
                    .iter()
                    .map(|source| source.as_str())
                    .collect(),
                recordings: stretch
                    .recordings
                    .iter()
                    .map(|recording| one_line(recording))
                    .collect(),
                kinds: stretch.kinds.iter().map(|kind| one_line(kind)).collect(),
            })
        })
        .collect()
}

fn time(at: Millis) -> Option<DateTime<Utc>> {
    DateTime::from_timestamp_millis(at)
}

/// Lists are stored through one text per row, a line an item.
fn one_line(text: &str) -> String {
    text.replace('\n', " ")
}

fn kind_text(kind: crate::domain::identity::IdentifierKind) -> &'static str {
    use crate::domain::identity::IdentifierKind as Kind;
    match kind {
        Kind::CommunicationUser => "communicationUser",
        Kind::PhoneNumber => "phoneNumber",
        Kind::MicrosoftTeamsUser => "microsoftTeamsUser",
        Kind::MicrosoftTeamsApp => "microsoftTeamsApp",
        Kind::TeamsExtensionUser => "teamsExtensionUser",
        Kind::Unknown => "unknown",
    }
}
