//! Why an obligation stands as it does: the facts that decided, the rule, and what would have
//! changed it.

use std::collections::{BTreeMap, BTreeSet};

use serde::Serialize;

use super::capture::CaptureSource;
use super::chronicle::Chronicle;
use super::evidence::Evidence;
use super::fact::{CaptureType, Fact, FactKind, Level, ProviderState, RecordingFile, Report};
use super::instant::{self, Millis};
use super::obligation::{Case, Obligation, Proofs, Status, of_type};
use super::presence::{Session, Silence};
use super::shown::Shown;
use super::stretch::Stretch;
use super::telling::Telling;

/// Why an obligation stands as it does.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Why {
    /// The rule that applied, in a sentence.
    pub rule: String,
    /// The ids of the facts that decided: what began the capture, what made the notice due, how the
    /// telling went, and for those who were not told what ended it.
    pub facts: Vec<String>,
    /// What would have changed it, in a sentence.
    pub would_change: String,
}

impl<'f> Evidence<'f> {
    /// Why each obligation of the report stands as it does, in their order.
    #[must_use]
    pub fn whys(&self) -> Vec<Why> {
        let mut explanation = Explanation::of(self);
        let obligations = self.report.obligations.iter();
        obligations
            .filter_map(|obligation| explanation.why(obligation))
            .collect()
    }

    /// Why one obligation stands as it does; None if it is of another report.
    #[must_use]
    pub fn why(&self, obligation: &Obligation) -> Option<Why> {
        Explanation::of(self).why(obligation)
    }
}

/// Explains the obligations of one report.
struct Explanation<'e, 'f> {
    evidence: &'e Evidence<'f>,
    chronicle: Chronicle<'f>,
    untold: Telling<'f>,
    /// By session and type, as far as asked for.
    shown: BTreeMap<(&'e str, CaptureType), Shown<'f>>,
}

impl<'e, 'f> Explanation<'e, 'f> {
    fn of(evidence: &'e Evidence<'f>) -> Self {
        Self {
            evidence,
            chronicle: Chronicle::of(&evidence.facts, &evidence.reporters),
            untold: Telling::default(),
            shown: BTreeMap::new(),
        }
    }

    fn why(&mut self, obligation: &Obligation) -> Option<Why> {
        let evidence = self.evidence;
        let sessions = &evidence.report.sessions;
        let of_session = |session: &Session| session.id.as_str().cmp(&obligation.session);
        let session = &sessions[sessions.binary_search_by(of_session).ok()?];
        let capture = obligation.capture;
        let stretches = of_type(&evidence.report.stretches, capture);
        let case = Case::all(session, stretches, evidence.now)
            .find(|case| case.due() == obligation.due && case.end() == obligation.end)?;
        let telling = evidence.tellings.get(&session.id, capture);
        let telling = telling.unwrap_or(&self.untold);
        let shown = self
            .shown
            .entry((&session.id, capture))
            .or_insert_with(|| Shown::of(telling, stretches, evidence.parameters.stale));
        let proofs = case.proofs(telling, shown);
        Some(Why {
            rule: self.rule(&case, obligation),
            facts: self.deciding(&case, obligation, &proofs),
            would_change: self.would_change(&case, obligation),
        })
    }

    fn rule(&self, case: &Case<'_>, obligation: &Obligation) -> String {
        let slo = self.evidence.parameters.slo;
        let exposure = obligation.exposure.unwrap_or(0);
        match obligation.status {
            Status::NotOurs => format!(
                "The participant is {}, whom somebody else tells.",
                case.session.identity.as_str()
            ),
            Status::Met if obligation.already_shown => {
                "The notice was on the screen already when it fell due.".to_owned()
            }
            Status::Met => format!(
                "The notice was surely on the screen {exposure} ms after it fell due; up to {slo} ms \
                 are in time."
            ),
            Status::Late => format!(
                "The notice was surely on the screen only {exposure} ms after it fell due; more than \
                 {slo} ms are late.{}",
                by_own_stopwatch(obligation)
            ),
            Status::Brief => format!(
                "It was over {exposure} ms after the notice fell due; nobody has to be told within \
                 {slo} ms."
            ),
            Status::Unconfirmed => format!(
                "The notice reached the client's machine, but nothing states that it was on the \
                 screen {}.",
                self.in_time(obligation)
            ),
            Status::Undelivered => format!(
                "The notice was handed to a transport, but nothing states that it reached the \
                 client's machine, or that it was on the screen {}.",
                self.in_time(obligation)
            ),
            Status::NotSent => format!(
                "No notice was handed to a transport, and nothing states that one was on the screen \
                 {}.",
                self.in_time(obligation)
            ),
            Status::Pending => format!(
                "Nothing states yet that the notice was on the screen; there is time until {}.",
                moment(
                    obligation
                        .due
                        .saturating_add(self.evidence.parameters.deadline)
                )
            ),
        }
    }

    /// By when a showing was missed.
    fn in_time(&self, obligation: &Obligation) -> String {
        match obligation.end {
            Some(end) => format!(
                "from {} to {}, when it was over",
                moment(obligation.due),
                moment(end)
            ),
            None => format!(
                "since {}, although {} ms are the most that anyone may wait",
                moment(obligation.due),
                self.evidence.parameters.deadline
            ),
        }
    }

    fn would_change(&self, case: &Case<'_>, obligation: &Obligation) -> String {
        let slo = self.evidence.parameters.slo;
        let due = obligation.due;
        let exposure = obligation.exposure.unwrap_or(0);
        let in_time = moment(due.saturating_add(slo));
        match obligation.status {
            Status::NotOurs => "A joining of this session that claims to be acs or teams_custom \
                 would make it ours, and due."
                .to_owned(),
            Status::Met if obligation.already_shown => format!(
                "A fact that the notice was hidden, or replaced by one of another level, before {} \
                 would change it.",
                moment(due)
            ),
            Status::Met => format!(
                "It would be LATE if it had fallen due before {}: {}.",
                moment(due.saturating_sub(slo.saturating_sub(exposure))),
                earlier(case)
            ),
            Status::Late => format!(
                "A showing stated to us by {in_time} would make it MET; so would a start of the \
                 capture, or a joining, {} ms later.",
                exposure.saturating_sub(slo)
            ),
            Status::Brief => format!(
                "It would count if it had gone on after {in_time}, or fallen due before {}: {}.",
                moment(due.saturating_sub(slo.saturating_sub(exposure))),
                earlier(case)
            ),
            Status::Unconfirmed | Status::Undelivered | Status::NotSent => {
                let missing = match obligation.status {
                    Status::Undelivered => " A receipt alone would make it UNCONFIRMED.",
                    Status::NotSent => {
                        " A dispatch alone would make it UNDELIVERED, a receipt UNCONFIRMED."
                    }
                    _ => "",
                };
                let until = match obligation.end {
                    Some(end) => format!("dated from {} to {}", moment(due), moment(end)),
                    None => format!("dated since {}", moment(due)),
                };
                format!(
                    "A fact displayed or acknowledged, or a report that states the notice as shown, \
                     {until}, would make it MET (by {in_time}) or LATE.{missing}"
                )
            }
            Status::Pending => format!(
                "A fact displayed or acknowledged, or a report that states the notice as shown, \
                 makes it MET (by {in_time}) or LATE; without one it becomes an exception at {}.",
                moment(due.saturating_add(self.evidence.parameters.deadline))
            ),
        }
    }

    fn deciding(
        &self,
        case: &Case<'_>,
        obligation: &Obligation,
        proofs: &Proofs<'f>,
    ) -> Vec<String> {
        let ours = case.session.ours;
        let mut deciding = self.began(case.stretch);
        if obligation.due == case.session.joined || !ours {
            deciding.extend(self.joined(case.session));
        }
        deciding.extend(proofs.dispatched.map(|step| step.id));
        deciding.extend(proofs.delivered.map(|step| step.id));
        deciding.extend(proofs.told.map(|told| told.by));
        if let Some(end) = obligation.end
            && obligation.told.is_none()
            && ours
        {
            deciding.extend(self.ended(case, end));
        }
        let mut known = BTreeSet::new();
        deciding.retain(|&id| known.insert(id));
        deciding.into_iter().map(str::to_owned).collect()
    }

    /// What tells that a capture began when it did.
    fn began(&self, stretch: &Stretch) -> Vec<&'f str> {
        let (capture, start) = (stretch.capture, stretch.start);
        match stretch.start_source {
            CaptureSource::Report => self.stated(capture, start, |level| level == Level::On),
            CaptureSource::Provider => self.at(start, |fact| match fact.kind() {
                FactKind::ProviderState(statement) => {
                    statement.capture == capture
                        && stretch.recordings.contains(&statement.recording)
                        && match statement.state {
                            ProviderState::Active => start <= fact.t(),
                            ProviderState::Inactive => statement.start == Some(start),
                        }
                }
                _ => false,
            }),
            CaptureSource::File => self.began_in_a_file(stretch),
        }
    }

    fn began_in_a_file(&self, stretch: &Stretch) -> Vec<&'f str> {
        let of_stretch = |fact: &Fact, began: fn(&RecordingFile, Millis) -> bool| match fact.kind()
        {
            FactKind::File(file) => {
                stretch.recordings.contains(&file.recording) && began(file, stretch.start)
            }
            _ => false,
        };
        let with_it = self.at(stretch.start, |fact| {
            of_stretch(fact, |file, start| file.start == start)
        });
        if !with_it.is_empty() {
            return with_it;
        }
        // After a pause that clients saw, a capture begins in the middle of its file.
        let around =
            |fact: &&Fact| of_stretch(fact, |file, start| file.start < start && start < file.end());
        let facts = self.evidence.facts.iter().filter(around);
        facts.map(Fact::id).collect()
    }

    /// What tells that a session joined when it did, or who it is.
    fn joined(&self, session: &Session) -> Vec<&'f str> {
        let joinings = self.chronicle.joinings(&session.id).filter(|fact| {
            let claimed = match fact.kind() {
                FactKind::SessionJoined { identity, .. } => *identity,
                _ => None,
            };
            fact.t() == session.joined || claimed == Some(session.identity)
        });
        let told: Vec<&str> = joinings.map(Fact::id).collect();
        let reported = self.reports(session, session.joined, |_| true);
        if !told.is_empty() || !reported.is_empty() {
            return [told, reported].concat();
        }
        self.answers(session, session.joined)
    }

    /// What tells that an obligation was over when it was.
    fn ended(&self, case: &Case<'_>, end: Millis) -> Vec<&'f str> {
        let session = case.session;
        if session.left == Some(end) {
            if let Silence::Lost { last_sign } = session.silence {
                let last = self.reports(session, last_sign, |_| true);
                return [last, self.answers(session, last_sign)].concat();
            }
            let left = self.at(end, |fact| match fact.kind() {
                FactKind::SessionLeft { session: left } => *left == session.id,
                _ => false,
            });
            let reported = self.reports(session, end, |report| report.leaving);
            if !left.is_empty() || !reported.is_empty() {
                return [left, reported].concat();
            }
        }
        let stretch = case.stretch;
        let capture = stretch.capture;
        let from_outside = self.at(end, |fact| match fact.kind() {
            FactKind::CallEnded { .. } => self.evidence.report.call.end == Some(end),
            FactKind::ProviderState(statement) => {
                fact.t() == end
                    && statement.capture == capture
                    && statement.state == ProviderState::Inactive
                    && stretch.recordings.contains(&statement.recording)
            }
            FactKind::File(file) => {
                file.end() == end && stretch.recordings.contains(&file.recording)
            }
            _ => false,
        });
        let stated = self.stated(capture, end, |level| level != Level::On);
        [from_outside, stated].concat()
    }

    fn at(&self, t: Millis, decides: impl Fn(&Fact) -> bool) -> Vec<&'f str> {
        let facts = self.chronicle.at(t).filter(|fact| decides(fact));
        facts.map(Fact::id).collect()
    }

    /// The reports that count at an instant and state a level that is wanted.
    fn stated(&self, capture: CaptureType, t: Millis, wanted: fn(Level) -> bool) -> Vec<&'f str> {
        self.chronicle
            .reports_at(t)
            .filter(|(_, counted)| counted.report.level(capture).is_some_and(wanted))
            .map(|(_, counted)| counted.id)
            .collect()
    }

    fn reports(&self, session: &Session, t: Millis, wanted: fn(&Report) -> bool) -> Vec<&'f str> {
        self.chronicle
            .reports_at(t)
            .filter(|&(of, counted)| of == session.id && wanted(counted.report))
            .map(|(_, counted)| counted.id)
            .collect()
    }

    /// What its client did at an instant, reports aside.
    fn answers(&self, session: &Session, t: Millis) -> Vec<&'f str> {
        self.at(t, |fact| match fact.kind() {
            FactKind::Notice(notice) => notice.session == session.id,
            FactKind::Consent {
                session: answering, ..
            } => *answering == session.id,
            _ => false,
        })
    }
}

/// Nobody can check a client's stopwatch, but it may explain much.
fn by_own_stopwatch(obligation: &Obligation) -> String {
    match obligation.exposure_min {
        Some(least) if Some(least) != obligation.exposure => {
            format!(" By the client's own stopwatch it was there after {least} ms.")
        }
        _ => String::new(),
    }
}

/// What would make a notice fall due earlier.
fn earlier(case: &Case<'_>) -> &'static str {
    let by_start = case.due() == case.stretch.start;
    let by_joining = case.due() == case.session.joined;
    match (by_start, by_joining) {
        (true, true) => "by an earlier start of the capture and an earlier joining",
        (true, false) => "by an earlier start of the capture",
        _ => "by an earlier joining",
    }
}

/// An instant in words.
fn moment(at: Millis) -> String {
    instant::text(at).unwrap_or_else(|| format!("{at} ms"))
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;
    use crate::domain::fact_json::read_facts;
    use crate::domain::parameters::Parameters;

    /// Why the one obligation of a call stands as it does, in which `a` joins at 1 s, and the
    /// recording goes on from 10 s to `end`.
    fn why(more: &[Value], end: Millis, now: Millis) -> (Status, Why) {
        let state = |id: &str, t: Millis, state: &str| {
            json!({
                "id": id, "kind": "provider.state", "t": t, "type": "recording",
                "recording": "r1", "state": state,
            })
        };
        let mut facts = vec![
            json!({"id": "joined", "kind": "session.joined", "t": 1_000, "session": "a"}),
            state("began", 10_000, "active"),
            state("ended", end, "inactive"),
        ];
        facts.extend_from_slice(more);
        let facts = read_facts(json!(facts)).unwrap();
        let evidence = Evidence::at(&facts, now, &Parameters::default()).unwrap();
        let [obligation] = &evidence.report.obligations[..] else {
            panic!("not one obligation: {:?}", evidence.report.obligations);
        };
        (obligation.status, evidence.why(obligation).unwrap())
    }

    fn notice(step: &str, t: Millis) -> Value {
        json!({
            "id": step, "kind": format!("notice.{step}"), "t": t, "session": "a",
            "type": "recording", "state": "on",
        })
    }

    #[test]
    fn who_was_told_was_told_by_a_fact() {
        let (status, told) = why(&[notice("displayed", 10_500)], 60_000, 100_000);
        assert_eq!(status, Status::Met);
        assert_eq!(told.facts, ["began", "displayed"]);
        assert!(
            told.rule.contains("500 ms after it fell due"),
            "{}",
            told.rule
        );
        let earlier =
            "LATE if it had fallen due before 1970-01-01T00:00:08.500Z: by an earlier start";
        assert!(told.would_change.contains(earlier), "{}", told.would_change);

        let (status, late) = why(&[notice("displayed", 13_000)], 60_000, 100_000);
        assert_eq!(status, Status::Late);
        assert!(
            late.would_change.contains("1000 ms later"),
            "{}",
            late.would_change
        );

        let (_, already) = why(&[notice("displayed", 9_000)], 60_000, 100_000);
        assert!(already.rule.contains("already"), "{}", already.rule);
    }

    #[test]
    fn who_was_not_told_was_failed_by_what_is_missing() {
        let sent = notice("dispatched", 10_100);
        let received = notice("delivered", 10_200);
        let expected = [
            (vec![], Status::NotSent, vec!["began", "ended"]),
            (
                vec![sent.clone()],
                Status::Undelivered,
                vec!["began", "dispatched", "ended"],
            ),
            (
                vec![sent, received],
                Status::Unconfirmed,
                vec!["began", "dispatched", "delivered", "ended"],
            ),
        ];
        for (more, status, facts) in expected {
            let (stands, untold) = why(&more, 60_000, 100_000);
            assert_eq!(stands, status);
            assert_eq!(untold.facts, facts);
            let when = "from 1970-01-01T00:00:10.000Z to 1970-01-01T00:01:00.000Z";
            assert!(untold.rule.contains(when), "{}", untold.rule);
        }
    }

    #[test]
    fn who_has_time_yet_has_it_until_the_deadline() {
        let (status, pending) = why(&[], 60_000, 20_000);
        assert_eq!(status, Status::Pending);
        assert_eq!(pending.facts, ["began"]);
        let until = "until 1970-01-01T00:00:40.000Z";
        assert!(pending.rule.contains(until), "{}", pending.rule);
        let (status, overdue) = why(&[], 60_000, 40_000);
        assert_eq!(status, Status::NotSent);
        assert!(overdue.rule.contains("30000 ms"), "{}", overdue.rule);
    }

    #[test]
    fn what_was_over_soon_and_who_is_not_ours_owe_nothing() {
        let (status, brief) = why(&[], 11_500, 100_000);
        assert_eq!(status, Status::Brief);
        assert_eq!(brief.facts, ["began", "ended"]);
        let claim = json!({
            "id": "claim", "kind": "session.joined", "t": 1_500, "session": "a", "identity": "phone",
        });
        let (status, foreign) = why(&[claim], 60_000, 100_000);
        assert_eq!(status, Status::NotOurs);
        assert_eq!(foreign.facts, ["began", "claim", "joined"]);
        assert!(foreign.rule.contains("phone"), "{}", foreign.rule);
    }
}
