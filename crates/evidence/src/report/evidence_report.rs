//! The evidence report on a call: which participant was shown which notice when, and whether that
//! was in time.
//!
//! It is a function of the set of facts, `now` and the parameters, so an auditor can recompute it.
//! It is computed from the snapshot ([`crate::call::snapshot`]), which live state uses without it.

use std::collections::BTreeSet;

use serde::Serialize;

use super::flag::Flag;
use super::next_change::next_change;
use super::obligation::{Obligation, ObligationStatus, obligations};
use super::observation::Observation;
use super::verdict::{Verdict, unnoticed_captures};
use crate::call::lifetime::CallLifetime;
use crate::call::parameters::Parameters;
use crate::call::snapshot::{CallSnapshot, snapshot_of_set};
use crate::capture::merge::Capture;
use crate::capture::reporter::Reporter;
use crate::event::instant::Millis;
use crate::fact::fact_set::FactSet;
use crate::fact::kinds::{CaptureType, Fact};
use crate::notice::consent::ReportConsent;
use crate::notice::indication::Indications;
use crate::notice::progress::NoticeProgressMap;
use crate::session::presence::SessionPresence;

/// The version of the rules of evidence (`docs/evidence-rules.md`).
pub const RULES: &str = "2";

/// The report on a call at an instant. As JSON it has the form of `docs/evidence-rules.md`,
/// section 9.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct EvidenceReport {
    /// [`RULES`].
    pub rules: &'static str,
    /// The verdict.
    pub verdict: Verdict,
    /// The consent of the participants. The verdict is about notice only.
    pub consent: ReportConsent,
    /// Start and end of the call.
    pub call: CallLifetime,
    /// The sessions, by id.
    pub sessions: Vec<SessionPresence>,
    /// The captures, by type and start.
    pub captures: Vec<Capture>,
    /// The obligations, by type, due time and session.
    pub obligations: Vec<Obligation>,
    /// How much of each type could have been observed.
    pub observation: Observation,
    /// What an auditor must know about the facts.
    pub flags: BTreeSet<Flag>,
}

/// The error if no fact counts: there is no report on a call of which nothing is known.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("no fact counts at this instant, so there is nothing to report on")]
pub struct NoFacts;

/// A report with the facts that it was computed from.
#[derive(Debug)]
pub struct Evidence<'f> {
    /// The report.
    pub report: EvidenceReport,
    /// The next instant (Unix milliseconds, after `now`) at which the report may change because time
    /// passes: its verdict, flags, sessions, captures or obligations. Before it only the lengths that
    /// reach to now grow. None: it changes only with a new fact.
    pub next_change: Option<Millis>,
    /// What a client must show.
    pub indications: Indications,
    /// The types whose indication rests on asserted clients alone.
    pub unconfirmed: BTreeSet<CaptureType>,
    pub(crate) facts: FactSet<'f>,
    pub(crate) reporters: Vec<Reporter<'f>>,
    pub(crate) progress: NoticeProgressMap<'f>,
    pub(crate) now: Millis,
    pub(crate) parameters: Parameters,
}

impl<'f> Evidence<'f> {
    /// The evidence of the facts of one call at `now` (Unix milliseconds).
    ///
    /// # Errors
    /// No fact counts at `now`.
    pub fn at(
        facts: impl IntoIterator<Item = &'f Fact>,
        now: Millis,
        parameters: &Parameters,
    ) -> Result<Self, NoFacts> {
        let facts = FactSet::at(facts, now);
        let reporters = Reporter::all(&facts);
        let snapshot = snapshot_of_set(&facts, &reporters, now, parameters);
        let indications_change = snapshot.next_change;
        let indications = snapshot.indications;
        let CallSnapshot { call: Some(call), sessions, captures, mut flags, unconfirmed, .. } =
            snapshot
        else {
            return Err(NoFacts);
        };
        let progress = NoticeProgressMap::of(&facts, &reporters);
        let obligations = obligations(&sessions, &captures, &progress, now, parameters);
        let observation = Observation::of(&facts, &reporters, &sessions, call, now, parameters);
        flags.extend(unnoticed_captures(&captures, &obligations));
        let ours = obligations.iter().filter(|it| it.status != ObligationStatus::NotOurs);
        // Of a call that has ended only the indications may still change.
        let report_change = match call.ended_at {
            Some(_) => None,
            None => next_change(&sessions, &captures, &obligations, &facts, now, parameters),
        };
        let report = EvidenceReport {
            rules: RULES,
            verdict: Verdict::of(&obligations, &flags, call, observation, parameters.edge),
            consent: ReportConsent::of(ours.map(|it| it.consent)),
            call,
            sessions,
            captures,
            obligations,
            observation,
            flags,
        };
        Ok(Self {
            next_change: report_change.into_iter().chain(indications_change).min(),
            indications,
            unconfirmed,
            report,
            facts,
            reporters,
            progress,
            now,
            parameters: *parameters,
        })
    }
}

/// The report on a call at `now` (Unix milliseconds).
///
/// # Errors
/// No fact counts at `now`.
pub fn evidence<'f>(
    facts: impl IntoIterator<Item = &'f Fact>,
    now: Millis,
    parameters: &Parameters,
) -> Result<EvidenceReport, NoFacts> {
    Evidence::at(facts, now, parameters).map(|evidence| evidence.report)
}

#[cfg(test)]
mod tests;
