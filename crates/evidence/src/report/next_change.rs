//! The next instant at which time alone changes a report.

use super::obligation::{Obligation, ObligationStatus};
use crate::call::parameters::Parameters;
use crate::capture::merge::Capture;
use crate::event::instant::Millis;
use crate::fact::fact_set::FactSet;
use crate::fact::kinds::{CaptureType, FactKind, ProviderState};
use crate::session::presence::SessionPresence;

/// The parts of a report that may change because time passes.
#[derive(Clone, Copy, Debug)]
pub(crate) struct ReportParts<'r> {
    /// The call has ended: only the indications may still change.
    pub(crate) is_over: bool,
    /// All sessions of the report.
    pub(crate) sessions: &'r [SessionPresence],
    /// All captures of the report.
    pub(crate) captures: &'r [Capture],
    /// All obligations of the report.
    pub(crate) obligations: &'r [Obligation],
}

/// The next instant (Unix milliseconds) after `now` at which a report may change because time passes,
/// apart from the lengths that reach to now. `indications_change` is that of the indications.
///
/// An instant too early costs one evaluation; one too late would leave a wrong report in place.
#[must_use]
pub(crate) fn next_change(
    parts: ReportParts<'_>,
    facts: &FactSet<'_>,
    indications_change: Option<Millis>,
    now: Millis,
    parameters: &Parameters,
) -> Option<Millis> {
    if parts.is_over {
        return indications_change;
    }
    let overdue = parts
        .obligations
        .iter()
        .filter(|obligation| obligation.status == ObligationStatus::Pending)
        .map(|obligation| obligation.due_at.saturating_add(parameters.deadline));
    // A session that joins, or a capture that starts, at `now` overlaps nothing before the next
    // millisecond.
    let joined = parts.sessions.iter().map(|session| session.joined_at);
    let started = parts
        .captures
        .iter()
        .map(|capture_type| capture_type.started_at);
    let obliged = joined.chain(started).filter(|&t| t == now);
    let obliged = obliged.map(|t| t.saturating_add(1));

    overdue
        .chain(obliged)
        .chain(of_files(facts, now, parameters))
        .chain(indications_change)
        .filter(|&t| t > now)
        .min()
}

/// The instants at which files change a report. A file may end after `now` by our clock: until then
/// its interval is open, and reaches further and further beyond the provider's stop.
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
            instants.extend([file.started_at, file.end()]);
        }
    }
    if !instants.is_empty() {
        let stops = facts.iter().filter(|fact| match fact.kind() {
            FactKind::ProviderState(statement) => {
                statement.capture_type == CaptureType::Recording
                    && statement.state == ProviderState::Inactive
            }
            _ => false,
        });
        let outlasted = stops.map(|fact| fact.at().saturating_add(parameters.bridge));
        instants.extend(outlasted.map(|t| t.saturating_add(1)));
    }
    instants.into_iter()
}
