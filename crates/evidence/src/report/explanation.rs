//! Explains the status of an obligation: the rule that applied, the facts that decided, and what
//! would have changed it.

use std::collections::{BTreeMap, BTreeSet};

use serde::Serialize;

use super::evidence_report::Evidence;
use super::obligation::{NoticeProofs, Obligation, ObligationStatus, SessionCapture, of_type};
use crate::call::fact_index::FactIndex;
use crate::call::parameters::Parameters;
use crate::capture::interval::CaptureSource;
use crate::capture::merge::Capture;
use crate::event::instant::{self, Millis};
use crate::fact::kinds::{
    CaptureType, Fact, FactKind, FileFact, Identity, JsonWord as _, Level, ProviderState,
    ReportFact,
};
use crate::notice::screen_time::ScreenTime;
use crate::session::presence::{Liveness, SessionPresence};

/// Why an obligation has its status.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Explanation {
    /// The rule that applied, in a sentence.
    pub rule: String,
    /// The ids of the facts that decided: those that started the capture, made the notice due,
    /// dispatched, delivered and showed it, and, if it was not shown, ended the obligation.
    pub facts: Vec<String>,
    /// What would have changed the status, in a sentence.
    pub would_change: String,
}

impl<'f> Evidence<'f> {
    /// Explains each obligation of the report, in their order.
    #[must_use]
    pub fn explanations(&self) -> Vec<Explanation> {
        let mut explainer = Explainer::of(self);
        let obligations = self.report.obligations.iter();
        obligations.filter_map(|obligation| explainer.explain(obligation)).collect()
    }

    /// Explains one obligation. None: it is of another report.
    #[must_use]
    pub fn explanation(&self, obligation: &Obligation) -> Option<Explanation> {
        Explainer::of(self).explain(obligation)
    }
}

/// Explains the obligations of one report.
struct Explainer<'e, 'f> {
    evidence: &'e Evidence<'f>,
    index: FactIndex<'f>,
    /// Screen times by session and type, computed on first use.
    screen_times: BTreeMap<(&'e str, CaptureType), ScreenTime<'f>>,
}

impl<'e, 'f> Explainer<'e, 'f> {
    fn of(evidence: &'e Evidence<'f>) -> Self {
        Self {
            evidence,
            index: FactIndex::of(&evidence.facts, &evidence.reporters),
            screen_times: BTreeMap::new(),
        }
    }

    fn explain(&mut self, obligation: &Obligation) -> Option<Explanation> {
        let evidence = self.evidence;
        let sessions = &evidence.report.sessions;
        let of_session = |session: &SessionPresence| session.id.as_str().cmp(&obligation.session);
        let session = &sessions[sessions.binary_search_by(of_session).ok()?];
        let capture_type = obligation.capture_type;
        let captures = of_type(&evidence.report.captures, capture_type);
        let case = SessionCapture::all(session, captures, evidence.now).find(|case| {
            case.due_at() == obligation.due_at && case.ends_at() == obligation.ends_at
        })?;
        let progress = evidence.progress.get(&session.id, capture_type);
        let screen_time = self
            .screen_times
            .entry((&session.id, capture_type))
            .or_insert_with(|| ScreenTime::of(progress, captures, evidence.parameters.stale));
        let proofs = case.proofs(progress, screen_time);
        let (rule, would_change) = self.sentences(&case, obligation);
        let facts = self.deciding(&case, obligation, &proofs);
        Some(Explanation { rule, facts, would_change })
    }

    /// The rule that applied, and what would have changed the status.
    fn sentences(&self, case: &SessionCapture<'_>, obligation: &Obligation) -> (String, String) {
        let Parameters { slo, deadline, .. } = self.evidence.parameters;
        let exposure = obligation.exposure_ms.unwrap_or(0);
        let due_at = obligation.due_at;
        let due = instant_text(due_at);
        let in_time = instant_text(due_at.saturating_add(slo));
        let overdue = instant_text(due_at.saturating_add(deadline));
        // Due before this instant, it would have been exposed for longer than `slo`.
        let too_early = instant_text(due_at.saturating_sub(slo.saturating_sub(exposure)));
        // The time in which no notice was shown, and the time of a fact that would have shown it.
        let (unshown, dated) = match obligation.ends_at.map(instant_text) {
            Some(end) => {
                (format!("from {due} to {end}, when it was over"), format!("from {due} to {end}"))
            }
            None => (
                format!("since {due}, although it may take {deadline} ms at most"),
                format!("since {due}"),
            ),
        };
        let if_shown = format!(
            "A fact displayed or acknowledged, or a report that states the notice as shown, \
             dated {dated}, would make it MET (by {in_time}) or LATE."
        );
        match obligation.status {
            ObligationStatus::NotOurs => (
                match case.session.identity {
                    Identity::Outsider => {
                        "The participant is present by its own word alone: the platform named \
                         others in this call, but not this one, so its notice is not answered for."
                            .to_owned()
                    }
                    identity => format!(
                        "The participant is {}, which another party notifies.",
                        identity.as_str()
                    ),
                },
                "A session.joined fact of this session with the identity acs or teams_custom \
                 would make it ours, and due."
                    .to_owned(),
            ),
            ObligationStatus::Met if obligation.already_shown => (
                "The notice was on the screen already when it fell due.".to_owned(),
                format!(
                    "A fact that the notice was hidden, or replaced by one of another level, \
                     before {due} would change it."
                ),
            ),
            ObligationStatus::Met => (
                format!(
                    "The notice was surely on the screen {exposure} ms after it fell due; up to \
                     {slo} ms are in time."
                ),
                format!(
                    "It would be LATE if it had fallen due before {too_early}: {}.",
                    earlier(case)
                ),
            ),
            ObligationStatus::Late => (
                format!(
                    "The notice was surely on the screen only {exposure} ms after it fell due; \
                     more than {slo} ms are late.{}",
                    stopwatch_note(obligation)
                ),
                format!(
                    "A statement by {in_time} that the notice is shown would make it MET; so would \
                     a start of the capture, or a join, {} ms later.",
                    exposure.saturating_sub(slo)
                ),
            ),
            ObligationStatus::Brief => (
                format!(
                    "It was over {exposure} ms after the notice fell due; within {slo} ms no \
                     notice has to be shown."
                ),
                format!(
                    "It would count if it had gone on after {in_time}, or fallen due before \
                     {too_early}: {}.",
                    earlier(case)
                ),
            ),
            ObligationStatus::Unconfirmed => (
                format!(
                    "The notice reached the client's machine, but nothing states that it was on \
                     the screen {unshown}."
                ),
                if_shown,
            ),
            ObligationStatus::Undelivered => (
                format!(
                    "The notice was handed to a transport, but nothing states that it reached the \
                     client's machine, or that it was on the screen {unshown}."
                ),
                format!("{if_shown} A receipt alone would make it UNCONFIRMED."),
            ),
            ObligationStatus::NotSent => (
                format!(
                    "No notice was handed to a transport, and nothing states that one was on the \
                     screen {unshown}."
                ),
                format!(
                    "{if_shown} A dispatch alone would make it UNDELIVERED, a receipt UNCONFIRMED."
                ),
            ),
            ObligationStatus::Pending => (
                format!(
                    "Nothing states yet that the notice was on the screen; there is time until \
                     {overdue}."
                ),
                format!(
                    "A fact displayed or acknowledged, or a report that states the notice as \
                     shown, makes it MET (by {in_time}) or LATE; without one it becomes an \
                     exception at {overdue}."
                ),
            ),
        }
    }

    fn deciding(
        &self,
        case: &SessionCapture<'_>,
        obligation: &Obligation,
        proofs: &NoticeProofs<'f>,
    ) -> Vec<String> {
        let ours = case.session.ours;
        let mut deciding = self.started(case.capture);
        if obligation.due_at == case.session.joined_at || !ours {
            deciding.extend(self.joined(case.session));
        }
        deciding.extend(proofs.dispatched.map(|step| step.id));
        deciding.extend(proofs.delivered.map(|step| step.id));
        deciding.extend(proofs.shown.map(|shown| shown.by));
        if let Some(end) = obligation.ends_at
            && obligation.shown_at.is_none()
            && ours
        {
            deciding.extend(self.ended(case, end));
        }
        let mut known = BTreeSet::new();
        deciding.retain(|&id| known.insert(id));
        deciding.into_iter().map(str::to_owned).collect()
    }

    /// The facts by which a capture started when it did.
    fn started(&self, capture: &Capture) -> Vec<&'f str> {
        let (capture_type, start) = (capture.capture_type, capture.started_at);
        match capture.start_source {
            CaptureSource::Report => {
                self.reports(start, |_, report| report.level(capture_type) == Some(Level::On))
            }
            CaptureSource::Provider => self.at(start, |fact| match fact.kind() {
                FactKind::ProviderState(statement) => {
                    statement.capture_type == capture_type
                        && capture.recordings.contains(&statement.recording)
                        && match statement.state {
                            ProviderState::Active => start <= fact.at(),
                            ProviderState::Inactive => statement.started_at == Some(start),
                        }
                }
                _ => false,
            }),
            CaptureSource::File => self.started_in_a_file(capture),
        }
    }

    fn started_in_a_file(&self, capture: &Capture) -> Vec<&'f str> {
        let of_capture = |fact: &Fact, starts: fn(&FileFact, Millis) -> bool| {
            matches!(fact.kind(), FactKind::File(file)
                if capture.recordings.contains(&file.recording) && starts(file, capture.started_at))
        };
        let at_its_start = self.at(capture.started_at, |fact| {
            of_capture(fact, |file, start| file.started_at == start)
        });
        if !at_its_start.is_empty() {
            return at_its_start;
        }
        // After a pause that clients reported, a capture starts in the middle of its file.
        let around = |fact: &&Fact| {
            of_capture(fact, |file, start| file.started_at < start && start < file.end())
        };
        let facts = self.evidence.facts.iter().filter(around);
        facts.map(Fact::id).collect()
    }

    /// The facts by which a session joined when it did, or has its identity.
    fn joined(&self, session: &SessionPresence) -> Vec<&'f str> {
        let joins = self.index.joins(&session.id).filter(|fact| {
            fact.at() == session.joined_at
                || matches!(fact.kind(), FactKind::SessionJoined { identity, .. }
                    if *identity == Some(session.identity))
        });
        let joined: Vec<&str> = joins.map(Fact::id).collect();
        let reported = self.reports(session.joined_at, |of, _| of == session.id);
        if !joined.is_empty() || !reported.is_empty() {
            return [joined, reported].concat();
        }
        self.answers(session, session.joined_at)
    }

    /// The facts by which an obligation was over when it was.
    fn ended(&self, case: &SessionCapture<'_>, end: Millis) -> Vec<&'f str> {
        let session = case.session;
        if session.left_at == Some(end) {
            if let Liveness::Lost { last_activity_at } = session.liveness {
                let last = self.reports(last_activity_at, |of, _| of == session.id);
                return [last, self.answers(session, last_activity_at)].concat();
            }
            let left = self.at(end, |fact| {
                matches!(fact.kind(), FactKind::SessionLeft { session: left } if *left == session.id)
            });
            let reported = self.reports(end, |of, report| of == session.id && report.leaving);
            if !left.is_empty() || !reported.is_empty() {
                return [left, reported].concat();
            }
        }
        let capture = case.capture;
        let capture_type = capture.capture_type;
        let by_provider_or_file = self.at(end, |fact| match fact.kind() {
            FactKind::CallEnded { .. } => self.evidence.report.call.ended_at == Some(end),
            FactKind::ProviderState(statement) => {
                fact.at() == end
                    && statement.capture_type == capture_type
                    && statement.state == ProviderState::Inactive
                    && capture.recordings.contains(&statement.recording)
            }
            FactKind::File(file) => {
                file.end() == end && capture.recordings.contains(&file.recording)
            }
            _ => false,
        });
        let stated = self.reports(end, |_, report| {
            report.level(capture_type).is_some_and(|level| level != Level::On)
        });
        [by_provider_or_file, stated].concat()
    }

    /// The facts of an instant that decide.
    fn at(&self, instant: Millis, decides: impl Fn(&Fact) -> bool) -> Vec<&'f str> {
        let facts = self.index.at(instant).filter(|fact| decides(fact));
        facts.map(Fact::id).collect()
    }

    /// The reports that count at an instant and decide, by their session and contents.
    fn reports(
        &self,
        instant: Millis,
        decides: impl Fn(&str, &ReportFact) -> bool,
    ) -> Vec<&'f str> {
        let reports = self.index.reports_at(instant);
        let deciding = reports.filter(|(session, counted)| decides(session, counted.report));
        deciding.map(|(_, counted)| counted.id).collect()
    }

    /// The notice facts and consents of a session at an instant.
    fn answers(&self, session: &SessionPresence, instant: Millis) -> Vec<&'f str> {
        self.at(instant, |fact| match fact.kind() {
            FactKind::Notice(notice) => notice.session == session.id,
            FactKind::Consent(consent) => consent.session == session.id,
            _ => false,
        })
    }
}

/// The exposure by the client's own stopwatch. It cannot be checked, so it decides nothing.
fn stopwatch_note(obligation: &Obligation) -> String {
    match obligation.exposure_min_ms {
        Some(least) if Some(least) != obligation.exposure_ms => {
            format!(" By the client's own stopwatch it was there after {least} ms.")
        }
        _ => String::new(),
    }
}

/// How a notice would have fallen due earlier.
fn earlier(case: &SessionCapture<'_>) -> &'static str {
    let by_start = case.due_at() == case.capture.started_at;
    let by_join = case.due_at() == case.session.joined_at;
    match (by_start, by_join) {
        (true, true) => "by an earlier start of the capture and an earlier join",
        (true, false) => "by an earlier start of the capture",
        _ => "by an earlier join",
    }
}

/// An instant as text.
fn instant_text(at: Millis) -> String {
    instant::text(at).unwrap_or_else(|| format!("{at} ms"))
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;
    use crate::call::parameters::Parameters;
    use crate::fact::json::read_facts;

    /// The status and explanation of the one obligation of a call in which `a` joins at 1 s, and the
    /// recording goes on from 10 s to `end`.
    fn explained(more: &[Value], end: Millis, now: Millis) -> (ObligationStatus, Explanation) {
        let state = |id: &str, t: Millis, state: &str| {
            json!({
                "id": id, "kind": "provider.state", "at": t, "type": "recording",
                "recording": "r1", "state": state,
            })
        };
        let mut facts = vec![
            json!({"id": "joined", "kind": "session.joined", "at": 1_000, "session": "a"}),
            state("began", 10_000, "active"),
            state("ended", end, "inactive"),
        ];
        facts.extend_from_slice(more);
        let facts = read_facts(json!(facts)).unwrap();
        let evidence = Evidence::at(&facts, now, &Parameters::default()).unwrap();
        let [obligation] = &evidence.report.obligations[..] else {
            panic!("not one obligation: {:?}", evidence.report.obligations);
        };
        (obligation.status, evidence.explanation(obligation).unwrap())
    }

    fn notice(step: &str, t: Millis) -> Value {
        json!({
            "id": step, "kind": format!("notice.{step}"), "at": t, "session": "a",
            "type": "recording", "state": "on",
        })
    }

    #[test]
    fn a_shown_notice_is_explained_by_the_fact_that_states_it() {
        let (status, met) = explained(&[notice("displayed", 10_500)], 60_000, 100_000);
        assert_eq!(status, ObligationStatus::Met);
        assert_eq!(met.facts, ["began", "displayed"]);
        assert!(met.rule.contains("500 ms after it fell due"), "{}", met.rule);
        let earlier =
            "LATE if it had fallen due before 1970-01-01T00:00:08.500Z: by an earlier start";
        assert!(met.would_change.contains(earlier), "{}", met.would_change);

        let (status, late) = explained(&[notice("displayed", 13_000)], 60_000, 100_000);
        assert_eq!(status, ObligationStatus::Late);
        assert!(late.would_change.contains("1000 ms later"), "{}", late.would_change);

        let (_, already) = explained(&[notice("displayed", 9_000)], 60_000, 100_000);
        assert!(already.rule.contains("already"), "{}", already.rule);
    }

    #[test]
    fn a_missing_notice_is_explained_by_the_steps_that_exist() {
        let sent = notice("dispatched", 10_100);
        let received = notice("delivered", 10_200);
        let expected = [
            (vec![], ObligationStatus::NotSent, vec!["began", "ended"]),
            (
                vec![sent.clone()],
                ObligationStatus::Undelivered,
                vec!["began", "dispatched", "ended"],
            ),
            (
                vec![sent, received],
                ObligationStatus::Unconfirmed,
                vec!["began", "dispatched", "delivered", "ended"],
            ),
        ];
        for (more, status, facts) in expected {
            let (actual, explanation) = explained(&more, 60_000, 100_000);
            assert_eq!(actual, status);
            assert_eq!(explanation.facts, facts);
            let when = "from 1970-01-01T00:00:10.000Z to 1970-01-01T00:01:00.000Z";
            assert!(explanation.rule.contains(when), "{}", explanation.rule);
        }
    }

    #[test]
    fn a_pending_obligation_names_its_deadline() {
        let (status, pending) = explained(&[], 60_000, 20_000);
        assert_eq!(status, ObligationStatus::Pending);
        assert_eq!(pending.facts, ["began"]);
        let until = "until 1970-01-01T00:00:40.000Z";
        assert!(pending.rule.contains(until), "{}", pending.rule);
        let (status, overdue) = explained(&[], 60_000, 40_000);
        assert_eq!(status, ObligationStatus::NotSent);
        assert!(overdue.rule.contains("30000 ms"), "{}", overdue.rule);
    }

    #[test]
    fn a_brief_obligation_and_one_that_is_not_ours_are_explained() {
        let (status, brief) = explained(&[], 11_500, 100_000);
        assert_eq!(status, ObligationStatus::Brief);
        assert_eq!(brief.facts, ["began", "ended"]);
        let claim = json!({
            "id": "claim", "kind": "session.joined", "at": 1_500, "session": "a", "identity": "phone",
        });
        let (status, foreign) = explained(&[claim], 60_000, 100_000);
        assert_eq!(status, ObligationStatus::NotOurs);
        assert_eq!(foreign.facts, ["began", "claim", "joined"]);
        assert!(foreign.rule.contains("phone"), "{}", foreign.rule);
    }
}
