//! Sessions by the rules of evidence: which participant was present from when to when
//! (`docs/evidence-rules.md`, section 2).

use std::collections::{BTreeMap, BTreeSet};

use serde::Serialize;

use super::attachment::ReportInstants;
use crate::call::lifetime::CallLifetime;
use crate::capture::reporter::Reporter;
use crate::capture::span::{Extent, OPEN_END, Span, SpanSet};
use crate::event::instant::Millis;
use crate::fact::fact_set::FactSet;
use crate::fact::kinds::{FactKind, Identity, NoticeStep, Witness};

/// One presence of one participant on one endpoint; a rejoin is another session. Instants are in Unix
/// milliseconds.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct SessionPresence {
    /// The name of the session.
    #[serde(rename = "session")]
    pub id: String,
    /// What the participant is.
    pub identity: Identity,
    /// Whether the tenant's app must notify the participant.
    pub ours: bool,
    /// When it joined.
    pub joined_at: Millis,
    /// When it left. `None`: it is present.
    pub left_at: Option<Millis>,
    /// No participant event or roster states the joining.
    pub join_inferred: bool,
    /// The leaving is inferred; no source states it.
    pub left_inferred: bool,
    /// Whether the session is still live, if only its client proves its presence.
    #[serde(skip)]
    pub liveness: Liveness,
}

/// Whether a session without a message from its client for `stale` counts as left.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Liveness {
    /// Missing messages do not end the session: another source states when it leaves, or it has left, or
    /// the call ended before.
    NotMonitored,
    /// The session will be lost at `lost_at` unless its client sends a message before.
    Live {
        /// In Unix milliseconds.
        lost_at: Millis,
    },
    /// The session is lost since it left.
    Lost {
        /// The instant of the last message of its client, in Unix milliseconds.
        last_activity_at: Millis,
    },
}

impl SessionPresence {
    /// All sessions that a fact names, in the order of their names.
    pub(crate) fn all(
        facts: &FactSet<'_>,
        reporters: &[Reporter<'_>],
        call: CallLifetime,
        now: Millis,
        stale: Millis,
    ) -> Vec<Self> {
        SessionFacts::by_session(facts, reporters)
            .into_iter()
            .map(|(id, facts)| facts.session(id, call, now, stale))
            .collect()
    }

    /// The span in which the session is present.
    pub(crate) fn presence(&self) -> Option<Span> {
        Span::new(self.joined_at, self.left_at.unwrap_or(OPEN_END))
    }

    /// The span in which the participant may be present: a lost session counts until the end of the
    /// call.
    pub(crate) fn possible_presence(&self, call: CallLifetime) -> Option<Span> {
        let left = match self.liveness {
            Liveness::Lost { .. } => call.ended_at,
            _ => self.left_at,
        };
        Span::new(self.joined_at, left.unwrap_or(OPEN_END))
    }
}

/// The instants at which a session that must be notified may be present.
pub(crate) fn ours_present(sessions: &[SessionPresence], call: CallLifetime) -> SpanSet {
    sessions
        .iter()
        .filter(|session| session.ours)
        .filter_map(|session| session.possible_presence(call))
        .collect()
}

/// The facts about one session.
#[derive(Default)]
struct SessionFacts {
    /// The identities that joinings state.
    identities: BTreeSet<Identity>,
    /// A report, a notice or a consent names the session, so it has a client of the tenant's app.
    has_client: bool,
    /// A report with the witness `outsider` names the session.
    is_outsider: bool,
    joined: Extent,
    left: Extent,
    reports: ReportInstants,
    /// Notices that were delivered, displayed, hidden or acknowledged, and consents: they prove that
    /// the client is present. A dispatched notice does not.
    answers: Extent,
}

impl SessionFacts {
    fn by_session<'f>(facts: &FactSet<'f>, reporters: &[Reporter<'f>]) -> BTreeMap<&'f str, Self> {
        let mut sessions: BTreeMap<&str, Self> = BTreeMap::new();
        for fact in facts.iter() {
            let at = fact.at();
            match fact.kind() {
                FactKind::SessionJoined { session, identity } => {
                    let session_facts = sessions.entry(session).or_default();
                    session_facts.joined.add(at);
                    session_facts.identities.extend(identity);
                }
                FactKind::SessionLeft { session } => {
                    sessions.entry(session).or_default().left.add(at);
                }
                FactKind::Notice(notice) => {
                    let session_facts = sessions.entry(&notice.session).or_default();
                    session_facts.has_client = true;
                    if notice.step != NoticeStep::Dispatched {
                        session_facts.answers.add(at);
                    }
                }
                FactKind::Consent(consent) => {
                    let session_facts = sessions.entry(&consent.session).or_default();
                    session_facts.has_client = true;
                    session_facts.answers.add(at);
                }
                _ => {}
            }
        }
        for reporter in reporters {
            let session_facts = sessions.entry(reporter.session).or_default();
            session_facts.has_client = true;
            for counted in &reporter.reports {
                session_facts.is_outsider |= counted.report.witness == Witness::Outsider;
                let leaving = counted.report.leaving;
                session_facts.reports.add(counted.at, leaving);
            }
        }
        sessions
    }

    fn session(&self, id: &str, call: CallLifetime, now: Millis, stale: Millis) -> SessionPresence {
        let identity = self.identity();
        let joined_at = [self.joined.first, self.reports.all.first]
            .into_iter()
            .flatten()
            .min()
            .or(self.answers.first)
            .unwrap_or(call.started_at);
        let stated_left = self.stated_left();
        let liveness = match stated_left {
            Some(_) => Liveness::NotMonitored,
            None => self.liveness(call, now, stale),
        };
        let left_at = match liveness {
            Liveness::Lost { last_activity_at } => Some(last_activity_at.saturating_add(stale)),
            // A session ends with its call at the latest.
            _ => [stated_left, call.ended_at].into_iter().flatten().min(),
        };
        SessionPresence {
            id: id.to_owned(),
            identity,
            ours: identity.ours(),
            joined_at,
            left_at,
            join_inferred: self.joined.first.is_none(),
            left_inferred: stated_left.is_none() && left_at.is_some(),
            liveness,
        }
    }

    fn identity(&self) -> Identity {
        let unstated = if self.is_outsider {
            Identity::Outsider
        } else if self.has_client {
            Identity::Acs
        } else {
            Identity::Unknown
        };
        self.identities.first().copied().unwrap_or(unstated)
    }

    /// The leaving that a source states; `None` if the session joined or reported later.
    fn stated_left(&self) -> Option<Millis> {
        let stayed = self.joined.last.max(self.reports.staying.last);
        let left = self.left.last.max(self.reports.leaving.last)?;
        (stayed <= Some(left)).then_some(left)
    }

    /// The instant of the last message of the client; only for a session that no other source states.
    fn last_activity_at(&self) -> Option<Millis> {
        let has_other_source = self.joined.first.is_some() || self.left.first.is_some();
        if has_other_source {
            return None;
        }
        self.reports.all.last.max(self.answers.last)
    }

    fn liveness(&self, call: CallLifetime, now: Millis, stale: Millis) -> Liveness {
        let Some(last_activity_at) = self.last_activity_at() else {
            return Liveness::NotMonitored;
        };
        let lost_at = last_activity_at.saturating_add(stale);
        if call.ended_at.is_some_and(|end| end <= lost_at) {
            return Liveness::NotMonitored;
        }
        let is_lost = lost_at <= now;
        if is_lost { Liveness::Lost { last_activity_at } } else { Liveness::Live { lost_at } }
    }
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;
    use crate::fact::json::read_facts;

    const STALE: Millis = 100;

    fn only_session(facts: Value, now: Millis) -> SessionPresence {
        let facts = read_facts(facts).unwrap();
        let set = FactSet::at(&facts, now);
        let reporters = Reporter::all(&set);
        let call = CallLifetime::of(&set, &reporters, &mut BTreeSet::new()).unwrap();
        let mut sessions = SessionPresence::all(&set, &reporters, call, now, STALE);
        assert_eq!(sessions.len(), 1);
        sessions.remove(0)
    }

    fn report(t: Millis, leaving: bool) -> Value {
        json!({
            "id": format!("report-{t}"), "kind": "report", "at": t, "session": "a",
            "reporter": "a1", "sequence": t, "leaving": leaving,
        })
    }

    #[test]
    fn a_client_without_messages_is_lost() {
        let facts = json!([report(10, false), report(40, false)]);
        let live = only_session(facts.clone(), 139);
        assert_eq!(live.left_at, None);
        assert!(!live.left_inferred);
        assert_eq!(live.liveness, Liveness::Live { lost_at: 140 });
        let lost = only_session(facts, 140);
        assert_eq!(lost.left_at, Some(140));
        assert!(lost.left_inferred);
        assert_eq!(lost.liveness, Liveness::Lost { last_activity_at: 40 });
    }

    #[test]
    fn a_session_that_a_roster_names_is_never_lost() {
        let joined = json!({"id": "f1", "kind": "session.joined", "at": 10, "session": "a"});
        let session = only_session(json!([joined, report(40, false)]), 10_000);
        assert_eq!(session.left_at, None);
        assert_eq!(session.liveness, Liveness::NotMonitored);
    }

    #[test]
    fn a_dispatched_notice_does_not_prove_presence() {
        let dispatched = json!({
            "id": "f1", "kind": "notice.dispatched", "at": 60, "session": "a",
            "type": "recording", "state": "on",
        });
        let started = json!({"id": "f2", "kind": "call.started", "at": 5});
        let session = only_session(json!([started, dispatched]), 10_000);
        assert_eq!((session.joined_at, session.left_at), (5, None));
        assert_eq!(session.identity, Identity::Acs);
    }

    #[test]
    fn a_leaving_is_void_if_the_session_reports_later() {
        let left = only_session(json!([report(10, false), report(20, true)]), 30);
        assert_eq!((left.left_at, left.left_inferred), (Some(20), false));
        let facts = json!([report(10, false), report(20, true), report(25, false)]);
        assert_eq!(only_session(facts, 30).left_at, None);
    }

    #[test]
    fn a_session_ends_with_the_call_at_the_latest() {
        let ended = json!({"id": "f1", "kind": "call.ended", "at": 15});
        let left = only_session(json!([ended, report(10, false), report(20, true)]), 30);
        assert_eq!((left.left_at, left.left_inferred), (Some(15), false));
        let inferred = only_session(json!([ended, report(10, false)]), 1_000);
        assert_eq!((inferred.left_at, inferred.left_inferred), (Some(15), true));
    }

    #[test]
    fn the_stated_identity_with_the_highest_precedence_holds() {
        let joined = |id: &str, identity: &str| json!({"id": id, "kind": "session.joined", "at": 10, "session": "a", "identity": identity});
        let session = only_session(json!([joined("f1", "bot"), joined("f2", "phone")]), 30);
        assert_eq!(session.identity, Identity::Phone);
        assert!(!session.ours);
        let unnamed = json!({"id": "f1", "kind": "session.left", "at": 10, "session": "a"});
        assert_eq!(only_session(json!([unnamed]), 30).identity, Identity::Unknown);
    }

    #[test]
    fn an_outsider_stays_one_until_the_platform_names_it() {
        let of = |witness: &str, t: Millis| {
            json!({
                "id": format!("report-{t}"), "kind": "report", "at": t, "session": "a",
                "reporter": "a1", "sequence": t, "witness": witness,
            })
        };
        let alone = only_session(json!([of("outsider", 10), of("platform", 20)]), 30);
        assert_eq!((alone.identity, alone.ours), (Identity::Outsider, false));
        let joined = |identity: &str| json!({"id": "f1", "kind": "session.joined", "at": 25, "session": "a", "identity": identity});
        let named = only_session(json!([of("outsider", 10), joined("acs")]), 30);
        assert_eq!((named.identity, named.ours), (Identity::Acs, true));
        // A joining that states `outsider` does not make one.
        let stated = only_session(json!([of("outsider", 10), joined("outsider")]), 30);
        assert_eq!(stated.identity, Identity::Unknown);
        for witness in ["platform", "granted", "asserted"] {
            let reported = only_session(json!([of(witness, 10)]), 30);
            assert_eq!((reported.identity, reported.ours), (Identity::Acs, true));
        }
    }

    #[test]
    fn a_lost_session_may_still_be_present() {
        let facts = read_facts(json!([report(10, false)])).unwrap();
        let set = FactSet::at(&facts, 500);
        let reporters = Reporter::all(&set);
        let call = CallLifetime::of(&set, &reporters, &mut BTreeSet::new()).unwrap();
        let sessions = SessionPresence::all(&set, &reporters, call, 500, STALE);
        assert_eq!(sessions[0].presence(), Span::new(10, 110));
        let present = ours_present(&sessions, call);
        assert_eq!(present, Span::new(10, OPEN_END).into_iter().collect());
    }
}
