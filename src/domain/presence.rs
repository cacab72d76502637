//! Sessions: who was in the call, and from when to when.

use std::collections::{BTreeMap, BTreeSet};

use serde::Serialize;

use super::call::Call;
use super::fact::{FactKind, Identity, NoticeStep};
use super::fact_set::FactSet;
use super::instant::Millis;
use super::reporter::Reporter;
use super::span::{Extent, FOR_EVER, Span, SpanSet};

/// One presence of one participant on one endpoint; a rejoin is another session. Instants
/// are in Unix milliseconds.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Session {
    /// Which.
    #[serde(rename = "session")]
    pub id: String,
    /// What the participant is.
    pub identity: Identity,
    /// Whether it is on us to tell them.
    pub ours: bool,
    /// It is present from then on.
    pub joined: Millis,
    /// It is no longer present from then on. None: it is present still.
    pub left: Option<Millis>,
    /// No participant event or roster told of the joining.
    pub join_inferred: bool,
    /// It left, but nobody told of it.
    pub left_inferred: bool,
    /// How it stands with a session known only from its client.
    #[serde(skip)]
    pub silence: Silence,
}

/// Whether a session has fallen silent for so long that it is taken for gone.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Silence {
    /// Its silence means nothing: somebody else tells when it leaves, or it has said so.
    MeansNothing,
    /// It will be lost at `lost_at` unless it gives a sign before.
    Bearable {
        /// In Unix milliseconds.
        lost_at: Millis,
    },
    /// It is lost since it left.
    Lost {
        /// When it last gave a sign, in Unix milliseconds.
        last_sign: Millis,
    },
}

impl Session {
    /// All sessions that any fact names, by id.
    #[must_use]
    pub fn all(
        facts: &FactSet<'_>,
        reporters: &[Reporter<'_>],
        call: Call,
        now: Millis,
        stale: Millis,
    ) -> Vec<Self> {
        Traces::by_session(facts, reporters)
            .into_iter()
            .map(|(id, traces)| traces.session(id, call, now, stale))
            .collect()
    }

    /// When it is present.
    #[must_use]
    pub fn presence(&self) -> Option<Span> {
        Span::new(self.joined, self.left.unwrap_or(FOR_EVER))
    }

    /// When somebody may be sitting there: a lost session counts until the call's end.
    #[must_use]
    pub fn possible_presence(&self, call: Call) -> Option<Span> {
        let left = match self.silence {
            Silence::Lost { .. } => call.end,
            Silence::MeansNothing | Silence::Bearable { .. } => self.left,
        };
        Span::new(self.joined, left.unwrap_or(FOR_EVER))
    }
}

/// The instants at which some session of ours may be present.
#[must_use]
pub fn ours_present(sessions: &[Session], call: Call) -> SpanSet {
    sessions
        .iter()
        .filter(|session| session.ours)
        .filter_map(|session| session.possible_presence(call))
        .collect()
}

/// What the facts tell about one session.
#[derive(Default)]
struct Traces {
    claims: BTreeSet<Identity>,
    /// A report, a notice or a consent names it, so it has a client of ours.
    has_client: bool,
    joined: Extent,
    left: Extent,
    reports: Extent,
    staying: Extent,
    leaving: Extent,
    /// Delivered, displayed, hidden, acknowledged and consent: only a client that is there
    /// brings them forth. Dispatched does not tell that anybody is there.
    answers: Extent,
}

impl Traces {
    fn by_session<'f>(facts: &FactSet<'f>, reporters: &[Reporter<'f>]) -> BTreeMap<&'f str, Self> {
        let mut sessions: BTreeMap<&str, Self> = BTreeMap::new();
        for fact in facts.iter() {
            let t = fact.t();
            match fact.kind() {
                FactKind::SessionJoined { session, identity } => {
                    let traces = sessions.entry(session).or_default();
                    traces.joined.add(t);
                    traces.claims.extend(identity);
                }
                FactKind::SessionLeft { session } => {
                    sessions.entry(session).or_default().left.add(t);
                }
                FactKind::Notice(notice) => {
                    let traces = sessions.entry(&notice.session).or_default();
                    traces.has_client = true;
                    if notice.step != NoticeStep::Dispatched {
                        traces.answers.add(t);
                    }
                }
                FactKind::Consent { session, .. } => {
                    let traces = sessions.entry(session).or_default();
                    traces.has_client = true;
                    traces.answers.add(t);
                }
                _ => {}
            }
        }
        for reporter in reporters {
            let traces = sessions.entry(reporter.session()).or_default();
            traces.has_client = true;
            for counted in reporter.reports() {
                traces.reports.add(counted.at);
                if counted.report.leaving {
                    traces.leaving.add(counted.at);
                } else {
                    traces.staying.add(counted.at);
                }
            }
        }
        sessions
    }

    fn session(&self, id: &str, call: Call, now: Millis, stale: Millis) -> Session {
        let identity = self.identity();
        let joined = [self.joined.first, self.reports.first]
            .into_iter()
            .flatten()
            .min()
            .or(self.answers.first)
            .unwrap_or(call.start);
        let stated_left = self.stated_left();
        let silence = match stated_left {
            Some(_) => Silence::MeansNothing,
            None => self.silence(call, now, stale),
        };
        let left = match silence {
            Silence::Lost { last_sign } => Some(last_sign.saturating_add(stale)),
            Silence::MeansNothing | Silence::Bearable { .. } => {
                // A session never outlives its call.
                [stated_left, call.end].into_iter().flatten().min()
            }
        };
        Session {
            id: id.to_owned(),
            identity,
            ours: identity.ours(),
            joined,
            left,
            join_inferred: self.joined.first.is_none(),
            left_inferred: stated_left.is_none() && left.is_some(),
            silence,
        }
    }

    fn identity(&self) -> Identity {
        let unclaimed = if self.has_client {
            Identity::Acs
        } else {
            Identity::Unknown
        };
        self.claims.first().copied().unwrap_or(unclaimed)
    }

    /// When somebody said that it left; void if it gave a sign of staying later.
    fn stated_left(&self) -> Option<Millis> {
        let stayed = self.joined.last.max(self.staying.last);
        let left = self.left.last.max(self.leaving.last)?;
        (stayed <= Some(left)).then_some(left)
    }

    /// Its last sign, after which it must not be silent for `stale`; only of a session known from
    /// nothing but its client.
    fn last_sign(&self) -> Option<Millis> {
        let known_otherwise = self.joined.first.is_some() || self.left.first.is_some();
        if known_otherwise {
            return None;
        }
        self.reports.last.max(self.answers.last)
    }

    fn silence(&self, call: Call, now: Millis, stale: Millis) -> Silence {
        let Some(last_sign) = self.last_sign() else {
            return Silence::MeansNothing;
        };
        let lost_at = last_sign.saturating_add(stale);
        if call.end.is_some_and(|end| end <= lost_at) {
            return Silence::MeansNothing;
        }
        if lost_at <= now {
            Silence::Lost { last_sign }
        } else {
            Silence::Bearable { lost_at }
        }
    }
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;
    use crate::domain::fact_json::read_facts;

    const STALE: Millis = 100;

    fn only_session(facts: Value, now: Millis) -> Session {
        let facts = read_facts(facts).unwrap();
        let set = FactSet::at(&facts, now);
        let reporters = Reporter::all(&set);
        let call = Call::of(&set, &reporters, &mut BTreeSet::new()).unwrap();
        let mut sessions = Session::all(&set, &reporters, call, now, STALE);
        assert_eq!(sessions.len(), 1);
        sessions.remove(0)
    }

    fn report(t: Millis, leaving: bool) -> Value {
        json!({
            "id": format!("report-{t}"), "kind": "report", "t": t, "session": "a",
            "reporter": "a1", "sequence": t, "leaving": leaving,
        })
    }

    #[test]
    fn a_client_that_falls_silent_is_lost() {
        let facts = json!([report(10, false), report(40, false)]);
        let bearable = only_session(facts.clone(), 139);
        assert_eq!(bearable.left, None);
        assert!(!bearable.left_inferred);
        assert_eq!(bearable.silence, Silence::Bearable { lost_at: 140 });
        let lost = only_session(facts, 140);
        assert_eq!(lost.left, Some(140));
        assert!(lost.left_inferred);
        assert_eq!(lost.silence, Silence::Lost { last_sign: 40 });
    }

    #[test]
    fn somebody_whom_a_roster_names_is_never_lost() {
        let joined = json!({"id": "f1", "kind": "session.joined", "t": 10, "session": "a"});
        let session = only_session(json!([joined, report(40, false)]), 10_000);
        assert_eq!(session.left, None);
        assert_eq!(session.silence, Silence::MeansNothing);
    }

    #[test]
    fn a_notice_that_was_only_dispatched_is_no_sign_of_presence() {
        let dispatched = json!({
            "id": "f1", "kind": "notice.dispatched", "t": 60, "session": "a",
            "type": "recording", "state": "on",
        });
        let started = json!({"id": "f2", "kind": "call.started", "t": 5});
        let session = only_session(json!([started, dispatched]), 10_000);
        assert_eq!((session.joined, session.left), (5, None));
        assert_eq!(session.identity, Identity::Acs);
    }

    #[test]
    fn leaving_is_void_if_the_session_reports_on() {
        let left = only_session(json!([report(10, false), report(20, true)]), 30);
        assert_eq!((left.left, left.left_inferred), (Some(20), false));
        let facts = json!([report(10, false), report(20, true), report(25, false)]);
        assert_eq!(only_session(facts, 30).left, None);
    }

    #[test]
    fn nobody_outlasts_the_call() {
        let ended = json!({"id": "f1", "kind": "call.ended", "t": 15});
        let left = only_session(json!([ended, report(10, false), report(20, true)]), 30);
        assert_eq!((left.left, left.left_inferred), (Some(15), false));
        let silent = only_session(json!([ended, report(10, false)]), 1_000);
        assert_eq!((silent.left, silent.left_inferred), (Some(15), true));
    }

    #[test]
    fn the_claim_that_comes_first_in_precedence_holds() {
        let claim = |id: &str, identity: &str| json!({"id": id, "kind": "session.joined", "t": 10, "session": "a", "identity": identity});
        let session = only_session(json!([claim("f1", "bot"), claim("f2", "phone")]), 30);
        assert_eq!(session.identity, Identity::Phone);
        assert!(!session.ours);
        let stranger = json!({"id": "f1", "kind": "session.left", "t": 10, "session": "a"});
        assert_eq!(
            only_session(json!([stranger]), 30).identity,
            Identity::Unknown
        );
    }

    #[test]
    fn a_lost_session_may_still_be_there() {
        let facts = read_facts(json!([report(10, false)])).unwrap();
        let set = FactSet::at(&facts, 500);
        let reporters = Reporter::all(&set);
        let call = Call::of(&set, &reporters, &mut BTreeSet::new()).unwrap();
        let sessions = Session::all(&set, &reporters, call, 500, STALE);
        assert_eq!(sessions[0].presence(), Span::new(10, 110));
        let present = ours_present(&sessions, call);
        assert_eq!(present, Span::new(10, FOR_EVER).into_iter().collect());
    }
}
