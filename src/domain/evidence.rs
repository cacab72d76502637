//! Evidence: the report on a call, who was told of what and when, and whether that was in time.
//!
//! It is a function of the set of facts, `now` and the parameters, and nothing else, so that
//! anybody can recompute it. It rests on the one [`fold`](super::fold); what the board asks for does
//! not pay for it.

use std::collections::BTreeSet;

use serde::Serialize;

use super::call::Call;
use super::fact::Fact;
use super::fact_set::FactSet;
use super::flag::Flag;
use super::fold::{CallPicture, picture};
use super::indication::Indications;
use super::instant::Millis;
use super::next_change::next_change;
use super::obligation::{Obligation, obligations};
use super::observation::Observation;
use super::parameters::Parameters;
use super::presence::Session;
use super::reporter::Reporter;
use super::stretch::Stretch;
use super::telling::Tellings;
use super::verdict::{Findings, Verdict, unnoticed_captures};

/// The version of the rules of evidence.
pub const RULES: &str = "1";

/// The report on a call at an instant. As JSON it has the form that the rules of evidence lay down.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct EvidenceReport {
    /// [`RULES`].
    pub rules: &'static str,
    /// What it comes to.
    pub verdict: Verdict,
    /// The call.
    pub call: Call,
    /// By id.
    pub sessions: Vec<Session>,
    /// By type and start.
    pub stretches: Vec<Stretch>,
    /// By type, due and session.
    pub obligations: Vec<Obligation>,
    /// How much could have been seen.
    pub observation: Observation,
    /// What is odd.
    pub flags: BTreeSet<Flag>,
}

/// There is no report on a call of which nothing is known.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("no fact counts at this instant, so there is nothing to report on")]
pub struct NoFacts;

/// A report, with everything that it was made out of.
#[derive(Debug)]
pub struct Evidence<'f> {
    /// What the facts come to.
    pub report: EvidenceReport,
    /// The next instant (Unix milliseconds, after `now`) at which the report may change merely
    /// because time passes: its verdict, its flags, who was there and from when to when, what was
    /// captured, who had to be told, and how that stands. Until then only the lengths grow that
    /// reach to now. None: it changes only with a new fact.
    pub next_change: Option<Millis>,
    /// What must be visible.
    pub indications: Indications,
    pub(super) facts: FactSet<'f>,
    pub(super) reporters: Vec<Reporter<'f>>,
    pub(super) tellings: Tellings<'f>,
    pub(super) now: Millis,
    pub(super) parameters: Parameters,
}

impl<'f> Evidence<'f> {
    /// The evidence that the facts of one call give at `now` (Unix milliseconds).
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
        let picture = picture(&facts, &reporters, now, parameters);
        let indications_change = picture.next_change;
        let indications = picture.indications;
        let CallPicture {
            call: Some(call),
            sessions,
            stretches,
            mut flags,
            ..
        } = picture
        else {
            return Err(NoFacts);
        };
        let tellings = Tellings::of(&facts, &reporters);
        let obligations = obligations(&sessions, &stretches, &tellings, now, parameters);
        let observation = Observation::of(&facts, &reporters, &sessions, call, now, parameters);
        let unnoticed: Vec<Flag> = unnoticed_captures(&stretches, &obligations).collect();
        let verdict = Verdict::on(Findings {
            obligations: &obligations,
            unnoticed: !unnoticed.is_empty(),
            call_is_open: call.end.is_none(),
            observed_enough: observation.is_enough(parameters.edge),
        });
        flags.extend(unnoticed);
        let report = EvidenceReport {
            rules: RULES,
            verdict,
            call,
            sessions,
            stretches,
            obligations,
            observation,
            flags,
        };
        Ok(Self {
            next_change: next_change(&report, &facts, indications_change, now, parameters),
            indications,
            report,
            facts,
            reporters,
            tellings,
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
