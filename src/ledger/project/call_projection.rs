//! Projects one call: from all its facts to its report and to the rows that are stored.

use std::collections::{BTreeMap, BTreeSet};

use chrono::{DateTime, Datelike as _, Utc};
use serde_json::json;

use super::call_summary::call_summary;
use super::call_terms::{call_terms, terms_digest};
use crate::postgres::{CallRowSet, CaptureRow, SessionRow};
use onrecord_evidence::call::call_facts::CallFacts;
use onrecord_evidence::call::parameters::Parameters;
use onrecord_evidence::call::presumed_end::last_activity;
use onrecord_evidence::capture::merge::Capture;
use onrecord_evidence::event::calling_event::Statement;
use onrecord_evidence::event::instant::Millis;
use onrecord_evidence::exception::OutsiderStatements;
use onrecord_evidence::fact::kinds::{Fact, JsonWord as _};
use onrecord_evidence::notice::indication::Indications;
use onrecord_evidence::report::disagreement::{Disagreement, Disagreements};
use onrecord_evidence::report::evidence_report::{Evidence, EvidenceReport};
use onrecord_evidence::report::flag::Flag;
use onrecord_evidence::report::proof::SessionProofs;
use onrecord_evidence::session::presence::SessionPresence;
use onrecord_evidence::session::resolution::{ResolvedSessions, SessionDescription};

/// A projected call.
pub(crate) struct CallProjection {
    pub rows: CallRowSet,
    pub call_facts: CallFacts,
    /// The input of the rules of evidence.
    pub facts: Vec<Fact>,
    /// None: the call has no fact yet.
    pub report: Option<EvidenceReport>,
    /// What proves the notices of each session of the report.
    pub proofs: SessionProofs,
    /// The disagreements between its reporters.
    pub disagreements: Vec<Disagreement>,
    /// What clients must show; nothing is known without a report.
    pub levels: Indications,
    /// What outsiders alone state: no exception is opened for it.
    pub of_outsiders: OutsiderStatements,
}

impl CallProjection {
    /// Projects all stored facts of a call; `None` if there are none.
    pub(crate) fn of(
        tenant: &str,
        call: String,
        call_facts: CallFacts,
        evaluated_at: DateTime<Utc>,
    ) -> Option<Self> {
        let now = evaluated_at.timestamp_millis();
        let resolved = call_facts.resolved();
        // The only error is that no fact counts at `now`: there is no report then.
        let evidence = Evidence::at(&resolved.facts, now, &Parameters::default()).ok();
        let proofs = evidence.as_ref().map(Evidence::proofs).unwrap_or_default();
        let judged = evidence.as_ref().map(|evidence| (evidence, &proofs));
        let mut rows = rows(tenant, call, &call_facts, &resolved, judged, evaluated_at)?;
        let disagreements = evidence.as_ref().map(Evidence::disagreements);
        let Disagreements { all, next_change } = disagreements.unwrap_or_default();
        rows.next_evaluation_at =
            [rows.next_evaluation_at, next_change.and_then(instant)].into_iter().flatten().min();
        let levels = evidence.as_ref().map(|evidence| evidence.indications).unwrap_or_default();
        let report = evidence.map(|evidence| evidence.report);
        let of_outsiders = report.as_ref();
        let of_outsiders = of_outsiders.map(|report| OutsiderStatements::of(&resolved, report));
        Some(Self {
            rows,
            facts: resolved.facts,
            call_facts,
            report,
            proofs,
            disagreements: all,
            levels,
            of_outsiders: of_outsiders.unwrap_or_default(),
        })
    }
}

/// The rows of a call; `None` if it has no instant.
fn rows(
    tenant: &str,
    call: String,
    call_facts: &CallFacts,
    resolved: &ResolvedSessions,
    judged: Option<(&Evidence<'_>, &SessionProofs)>,
    evaluated_at: DateTime<Utc>,
) -> Option<CallRowSet> {
    let now = evaluated_at.timestamp_millis();
    let evidence = judged.map(|(evidence, _)| evidence);
    let report = evidence.map(|evidence| &evidence.report);
    let named = report.map(|report| report.call);
    // A call with only offers, media or failures starts with the first of them.
    let started = named.map(|call| call.started_at).or_else(|| call_facts.instants().min())?;
    let indications = evidence.map(|evidence| evidence.indications).unwrap_or_default();
    let mut flags: BTreeSet<Flag> = report.map(|report| report.flags.clone()).unwrap_or_default();
    let conflicts = resolved.conflicts.iter();
    flags.extend(conflicts.map(|key| Flag::Conflict(key.to_string())));
    let next_change = match evidence {
        Some(evidence) => evidence.next_change,
        // A fact of the future changes the call when its time comes.
        None => resolved.facts.iter().map(Fact::at).filter(|t| *t > now).min(),
    };
    let last_activity = named.and_then(|_| last_activity(call_facts.instants(), now));
    let group_ids = call_facts.events().filter_map(|observed| observed.event.ids.group_id.clone());
    let group_id = group_ids.min();
    let statements = || call_facts.events().map(|observed| &observed.event.statement);
    let captures = report.into_iter().flat_map(|report| &report.captures);
    let captures: Vec<CaptureRow> =
        captures.filter_map(|capture| capture_row(tenant, &call, capture)).collect();
    let sessions = judged
        .map(|(evidence, proofs)| sessions(&evidence.report.sessions, &resolved.sessions, proofs));
    let sessions = sessions.unwrap_or_default();
    let judged = report.map(|report| (report.verdict.as_str(), report.consent.into()));
    let mut set = CallRowSet {
        started_at: instant(started)?,
        ended_at: named.and_then(|call| call.ended_at).and_then(instant),
        end_presumed: named.is_some_and(|call| call.end_presumed),
        recording: indications.recording.state.as_str(),
        recording_stale: indications.recording.stale,
        transcription: indications.transcription.state.as_str(),
        transcription_stale: indications.transcription.stale,
        kind: kind(statements(), group_id.is_some()),
        apps: apps(statements()),
        group_id,
        terms: BTreeSet::new(),
        terms_digest: 0,
        // A raw id may have a line feed; a flag is one line.
        flags: flags.iter().map(|flag| flag.to_string().replace('\n', " ")).collect(),
        fact_count: i32::try_from(call_facts.len()).unwrap_or(i32::MAX),
        last_activity_at: last_activity.and_then(instant),
        next_evaluation_at: next_change.and_then(instant),
        evaluated_at,
        summary: call_summary(judged, &sessions, &captures),
        sessions,
        captures,
        tenant: tenant.to_owned(),
        call,
    };
    set.terms = call_terms(&set, report);
    set.terms_digest = terms_digest(&set);
    Some(set)
}

/// The kind of a call, the first that an event states.
fn kind<'s>(
    statements: impl Iterator<Item = &'s Statement>,
    has_group: bool,
) -> Option<&'static str> {
    let (mut is_room, mut is_meeting, mut is_two_party, mut is_group) =
        (false, false, false, has_group);
    for statement in statements {
        match statement {
            Statement::CallStarted(started) => {
                is_room |= started.is_rooms_call == Some(true);
                is_two_party |= started.is_two_party == Some(true);
                is_group |= started.is_two_party == Some(false);
            }
            Statement::Report(report) => {
                let thread = report.thread_id.as_deref();
                is_meeting |= thread.is_some_and(|thread| thread.starts_with("19:meeting_"));
            }
            _ => {}
        }
    }
    let kinds = [
        (is_room, "room"),
        (is_meeting, "meeting"),
        (is_two_party, "two_party"),
        (is_group, "group"),
    ];
    kinds.into_iter().find_map(|(is, kind)| is.then_some(kind))
}

/// The client applications that reports name.
fn apps<'s>(statements: impl Iterator<Item = &'s Statement>) -> Vec<String> {
    let named = statements.filter_map(|statement| match statement {
        Statement::Report(report) => report.app.clone(),
        _ => None,
    });
    named.collect::<BTreeSet<String>>().into_iter().collect()
}

/// The rows of sessions; without those that joined beyond the calendar, where no parsed time is.
fn sessions(
    sessions: &[SessionPresence],
    who: &[SessionDescription],
    proofs: &SessionProofs,
) -> Vec<SessionRow> {
    let by_name: BTreeMap<&str, &SessionDescription> =
        who.iter().map(|who| (who.session.as_str(), who)).collect();
    let rows = sessions.iter().filter_map(|session| {
        let who = by_name.get(session.id.as_str());
        Some(SessionRow {
            session: session.id.clone(),
            identity: session.identity.as_str().to_owned(),
            ours: session.ours,
            raw_id: who.and_then(|who| who.raw_id.clone()),
            display_name: who.and_then(|who| who.display_name.clone()),
            kind: who.map(|who| <&str>::from(who.kind).to_owned()),
            participant_id: who.and_then(|who| who.participant_id.clone()),
            attachments: who.map_or_else(|| json!([]), |who| json!(who.attachments)),
            user_agent: who.and_then(|who| who.user_agent.clone()),
            joined_at: instant(session.joined_at)?,
            left_at: session.left_at.and_then(instant),
            join_inferred: session.join_inferred,
            left_inferred: session.left_inferred,
            flags: who
                .map(|who| who.flags_as(session.identity))
                .into_iter()
                .flatten()
                .map(<&str>::from)
                .collect(),
            proof: proofs.of(&session.id).map(<&str>::from),
        })
    });
    rows.collect()
}

/// The row of a capture; `None` beyond the calendar, where no parsed time is.
fn capture_row(tenant: &str, call: &str, capture: &Capture) -> Option<CaptureRow> {
    Some(CaptureRow {
        tenant: tenant.to_owned(),
        call: call.to_owned(),
        r#type: capture.capture_type.as_str().to_owned(),
        started_at: instant(capture.started_at)?,
        ended_at: capture.ended_at.and_then(instant),
        start_source: capture.start_source.as_str().to_owned(),
        sources: capture.sources.iter().map(|source| source.as_str().to_owned()).collect(),
        recordings: capture.recordings.iter().cloned().collect(),
        kinds: capture.kinds.iter().cloned().collect(),
    })
}

/// `None` outside the years 1 to 9999, which PostgreSQL reads from text: a recording of very many
/// years has its end there.
fn instant(at: Millis) -> Option<DateTime<Utc>> {
    DateTime::from_timestamp_millis(at).filter(|at| (1..=9999).contains(&at.year()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_instant_that_the_store_cannot_read_from_text_is_none() {
        assert!(instant(253_402_300_799_999).is_some(), "the end of the year 9999");
        assert!(instant(253_402_300_800_000).is_none());
        assert!(instant(-62_135_596_800_000).is_some(), "the start of the year 1");
        assert!(instant(-62_135_596_800_001).is_none());
    }
}
