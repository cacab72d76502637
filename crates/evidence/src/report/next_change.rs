//! The next instant at which time alone changes a report.

use super::obligation::{Obligation, ObligationStatus};
use crate::call::parameters::Parameters;
use crate::capture::merge::Capture;
use crate::event::instant::Millis;
use crate::fact::fact_set::FactSet;
use crate::fact::kinds::{CaptureType, FactKind, ProviderState};
use crate::session::presence::SessionPresence;

/// The next instant (Unix milliseconds) after `now` at which the report on an open call may change
/// because time passes, apart from its indications and the lengths that reach to now.
///
/// An instant too early costs one evaluation; one too late would leave a wrong report in place.
pub(crate) fn next_change(
    sessions: &[SessionPresence],
    captures: &[Capture],
    obligations: &[Obligation],
    facts: &FactSet<'_>,
    now: Millis,
    parameters: &Parameters,
) -> Option<Millis> {
    let overdue = obligations
        .iter()
        .filter(|obligation| obligation.status == ObligationStatus::Pending)
        .map(|obligation| obligation.due_at.saturating_add(parameters.deadline));
    // A session that joins, or a capture that starts, at `now` overlaps nothing before the next
    // millisecond.
    let joined = sessions.iter().map(|session| session.joined_at);
    let started = captures.iter().map(|capture| capture.started_at);
    let obliged = joined.chain(started).any(|instant| instant == now);

    overdue
        .chain(obliged.then(|| now.saturating_add(1)))
        .chain(of_files(facts, now, parameters))
        .filter(|&instant| instant > now)
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
        let stops = facts.iter().filter(|fact| {
            matches!(fact.kind(), FactKind::ProviderState(statement)
                if statement.capture_type == CaptureType::Recording
                    && statement.state == ProviderState::Inactive)
        });
        let outlasted = stops.map(|fact| fact.at().saturating_add(parameters.bridge));
        instants.extend(outlasted.map(|instant| instant.saturating_add(1)));
    }
    instants.into_iter()
}
