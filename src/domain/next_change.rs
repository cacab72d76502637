//! When time alone changes a report.

use super::evidence::EvidenceReport;
use super::fact::{CaptureType, FactKind, ProviderState};
use super::fact_set::FactSet;
use super::instant::Millis;
use super::obligation::Status;
use super::parameters::Parameters;

/// The next instant after `now` at which a report may change merely because time passes, besides
/// the lengths that reach to now. `indications_change` is when the indications may.
///
/// An instant too many costs one look; one too few would leave a wrong report standing.
#[must_use]
pub fn next_change(
    report: &EvidenceReport,
    facts: &FactSet<'_>,
    indications_change: Option<Millis>,
    now: Millis,
    parameters: &Parameters,
) -> Option<Millis> {
    if report.call.end.is_some() {
        return indications_change;
    }
    let overdue = report
        .obligations
        .iter()
        .filter(|obligation| obligation.status == Status::Pending)
        .map(|obligation| obligation.due.saturating_add(parameters.deadline));
    // Who joins, or what begins, at this very instant is owed a notice from the next one on.
    let joined = report.sessions.iter().map(|session| session.joined);
    let begun = report.stretches.iter().map(|stretch| stretch.start);
    let owed = joined.chain(begun).filter(|&t| t == now);
    let owed = owed.map(|t| t.saturating_add(1));

    overdue
        .chain(owed)
        .chain(of_files(facts, now, parameters))
        .chain(indications_change)
        .filter(|&t| t > now)
        .min()
}

/// A file may lie ahead of our clock. Until then it goes on, like anything that would close later;
/// and it outlasts the provider's stop by ever more.
fn of_files(
    facts: &FactSet<'_>,
    now: Millis,
    parameters: &Parameters,
) -> impl Iterator<Item = Millis> {
    let mut instants = Vec::new();
    for fact in facts.iter() {
        if let FactKind::File(file) = fact.kind()
            && file.end() > now
        {
            instants.extend([file.start, file.end()]);
        }
    }
    if !instants.is_empty() {
        let stops = facts.iter().filter(|fact| match fact.kind() {
            FactKind::ProviderState(statement) => {
                statement.capture == CaptureType::Recording
                    && statement.state == ProviderState::Inactive
            }
            _ => false,
        });
        let outlasted = stops.map(|fact| fact.t().saturating_add(parameters.bridge));
        instants.extend(outlasted.map(|t| t.saturating_add(1)));
    }
    instants.into_iter()
}
