//! What each outsider itself observes: the indications of its own reports.
//!
//! # Why
//!
//! The platform names an honest participant minutes late sometimes. Until then its client is an
//! outsider, whose reports count for no other participant. Its own user must see what its own client
//! observes, so its streams state the stronger of the level of the call and its own level, type by
//! type.

use std::collections::{BTreeMap, BTreeSet};

use super::parameters::Parameters;
use super::snapshot::call_snapshot;
use crate::event::instant::Millis;
use crate::fact::kinds::{Fact, FactKind, ReportFact, Witness};
use crate::notice::indication::Indications;
use crate::notice::variant::IndicationView;
use crate::session::resolution::ResolvedSessions;

/// The own level of the client of an outsider.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct OutsiderLevel {
    /// The attachment of the client.
    pub attachment: String,
    /// The raw id of its token.
    pub raw_id: String,
    /// What its own reports state.
    pub indications: Indications,
    /// The view of them. No state of it is confirmed.
    pub view: IndicationView,
}

/// The own levels of all clients with a report of an outsider, sorted by attachment and raw id, and the
/// next instant (Unix milliseconds) at which one of them may change because time passes.
///
/// The own reports of a client count as if the platform named no participant. The end of the call counts too:
/// nothing goes on afterwards.
pub(super) fn outsider_levels(
    resolved: &ResolvedSessions,
    now: Millis,
    parameters: &Parameters,
) -> (Vec<OutsiderLevel>, Option<Millis>) {
    let outsiders: BTreeSet<&str> = reports(&resolved.facts)
        .filter(|(_, report)| report.witness == Witness::Outsider)
        .map(|(_, report)| report.reporter.as_str())
        .collect();
    if outsiders.is_empty() {
        return (Vec::new(), None);
    }
    let mut own: BTreeMap<&str, Vec<Fact>> = BTreeMap::new();
    for (fact, report) in reports(&resolved.facts) {
        if outsiders.contains(report.reporter.as_str()) {
            let counted = ReportFact { witness: Witness::Asserted, ..report.clone() };
            let counted = Fact::new(fact.id(), fact.at(), FactKind::Report(counted));
            own.entry(&report.reporter).or_default().push(counted);
        }
    }
    let is_end = |fact: &&Fact| matches!(fact.kind(), FactKind::CallEnded { .. });
    let ends: Vec<&Fact> = resolved.facts.iter().filter(is_end).collect();
    let mut next_change = None;
    let mut levels = Vec::new();
    for client in resolved.clients() {
        // A client without a report of an outsider has no level of its own.
        let Some(reports) = own.get(client.reporter) else { continue };
        let facts = reports.iter().chain(ends.iter().copied());
        let snapshot = call_snapshot(facts, now, parameters);
        next_change = [next_change, snapshot.next_change].into_iter().flatten().min();
        levels.push(OutsiderLevel {
            attachment: client.attachment.to_owned(),
            raw_id: client.raw_id.to_owned(),
            indications: snapshot.indications,
            view: IndicationView::of(&snapshot),
        });
    }
    (levels, next_change)
}

/// The reports among the facts.
fn reports(facts: &[Fact]) -> impl Iterator<Item = (&Fact, &ReportFact)> {
    facts.iter().filter_map(|fact| match fact.kind() {
        FactKind::Report(report) => Some((fact, report)),
        _ => None,
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::call::project::{ProjectedCall, project_call};
    use crate::event::calling_event::{CallEnded, ObservedEvent, Statement};
    use crate::event::ids::Ids;
    use crate::fact::kinds::Level;
    use crate::notice::indication::{Indication, IndicationState};
    use crate::tests::test_events::{joined, observed_event, own_level, report_with};

    const ANNA: &str = "8:acs:res_anna";
    const BEN: &str = "8:acs:res_ben";

    fn states(raw_id: &str, sequence: i64, at: Millis, level: Level) -> ObservedEvent {
        report_with("a1", raw_id, sequence, at, |report, _| report.recording = Some(level))
    }

    fn project(events: &[ObservedEvent], now: Millis) -> ProjectedCall {
        project_call(events, [], now, &Parameters::default())
    }

    #[test]
    fn an_outsider_has_a_level_of_its_own_reports_until_it_is_stale() {
        let call = [joined("p1", BEN, 0), states(ANNA, 1, 1_000, Level::On)];
        let projected = project(&call, 2_000);
        assert_eq!(projected.snapshot.indications, Indications::default());
        let own = own_level(&projected, "a1", ANNA).unwrap();
        assert_eq!(own.indications.recording, IndicationState::On.into());
        assert!(!own.view.recording.confirmed);
        assert_eq!(own.view.recording.capture_started_at, Some(1_000));
        // The own level may change by time alone, so the call is projected again.
        assert_eq!(projected.snapshot.next_change, Some(91_000));
        let later = project(&call, 91_001);
        let stale = Indication { state: IndicationState::On, stale: true };
        assert_eq!(own_level(&later, "a1", ANNA).unwrap().indications.recording, stale);
        // Ben reports with the same attachment, but he is named.
        let both = [call.as_slice(), &[states(BEN, 2, 1_500, Level::Off)]].concat();
        let projected = project(&both, 2_000);
        assert_eq!(own_level(&projected, "a1", BEN), None);
        assert_eq!(projected.outsiders.len(), 1);
        assert_eq!(projected.snapshot.indications.recording, IndicationState::Off.into());
    }

    #[test]
    fn nothing_is_on_for_an_outsider_after_the_end_of_the_call() {
        let ended = CallEnded {
            started_by: None,
            ended_by: None,
            reason: None,
            duration_s: None,
            presumed: false,
        };
        let ended = observed_event(5_000, Statement::CallEnded(ended), Ids::default());
        let call = [joined("p1", BEN, 0), states(ANNA, 1, 1_000, Level::On), ended];
        let projected = project(&call, 6_000);
        let own = own_level(&projected, "a1", ANNA).unwrap();
        assert_eq!(own.indications.recording, IndicationState::Off.into());
    }

    #[test]
    fn the_stronger_view_is_that_of_the_stronger_indication() {
        let call = [
            joined("p1", BEN, 0),
            states(ANNA, 1, 1_000, Level::On),
            report_with("b1", BEN, 1, 1_000, |report, _| {
                report.transcription = Some(Level::Paused)
            }),
        ];
        let projected = project(&call, 2_000);
        let own = own_level(&projected, "a1", ANNA).unwrap();
        let view = IndicationView::of(&projected.snapshot).strongest(&own.view);
        let level = projected.snapshot.indications.strongest(own.indications);
        assert_eq!(view.recording.state, level.recording.state);
        assert_eq!(view.transcription.state, level.transcription.state);
        assert_eq!(
            (view.recording.state, view.transcription.state),
            (IndicationState::On, IndicationState::Paused)
        );
        assert!(!view.recording.confirmed && view.transcription.confirmed);
    }
}
