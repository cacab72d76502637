//! No client speaks for another participant, in any order of arrival.
//!
//! What has arrived is a subset of all events, and every answer is a function of it. So a property of
//! every subset holds after each arrival in every order.

use std::collections::BTreeSet;

use proptest::prelude::*;

use super::*;
use crate::call::parameters::Parameters;
use crate::event::calling_event::{
    CallEnded, ProviderStateChanged, RecordingFileStatement, ShownStatement, Statement,
};
use crate::event::ids::{Ids, Tenant};
use crate::fact::kinds::{CaptureType, Fact, FactKind, Level, ProviderState, Witness};
use crate::identity::grant::Grant;
use crate::notice::notice_fact::{
    NoticeFact, NoticeKind, NoticePlace, StatedBy, attribute, id_by_client,
};
use crate::report::evidence_report::{Evidence, EvidenceReport};
use crate::report::flag::Flag;
use crate::report::obligation::Obligation;
use crate::tests::test_events::*;

const MALLORY: &str = "8:acs:res_mallory";
const MALLORYS_TEAMS_ID: &str = "8:orgid:mallory";
/// The instant from which on Mallory sends.
const MALLORY_COMES: Millis = 100_000;
const GROUP: &str = "11111111-1111-4111-8111-111111111111";
const OTHER_GROUP: &str = "22222222-2222-4222-8222-222222222222";
const SERVER: &str = "https://api.flightproxy.skype.com/conv/this";
const OTHER_SERVER: &str = "https://api.flightproxy.skype.com/conv/other";

fn level() -> impl Strategy<Value = Option<Level>> {
    prop::sample::select(vec![Some(Level::On), Some(Level::Paused), Some(Level::Off), None])
}

fn capture_type() -> impl Strategy<Value = CaptureType> {
    prop::sample::select(CaptureType::ALL.to_vec())
}

/// A client of `raw_id` that reports from `from` on.
fn reports(
    attachment: impl Strategy<Value = &'static str>,
    raw_id: &'static str,
    from: Millis,
    change: impl Fn(&mut crate::event::calling_event::ReportStatement, &mut Ids) + Clone,
) -> impl Strategy<Value = ObservedEvent> {
    (
        attachment,
        0..400_000_i64,
        -5..40_i64,
        prop::option::weighted(0.4, prop::sample::select(vec!["p1", "p2", "p3", "p9"])),
        (level(), level()),
        (prop::option::weighted(0.3, capture_type()), prop::option::weighted(0.3, capture_type())),
        prop::bool::weighted(0.2),
    )
        .prop_map(move |(attachment, after, sequence, named, levels, notices, leaving)| {
            report_with(attachment, raw_id, sequence, from + after, |report, ids| {
                ids.participant_id = named.map(str::to_owned);
                ids.server_call_id = Some(SERVER.to_owned());
                (report.recording, report.transcription) = levels;
                report.consent_required = notices.0.into_iter().collect();
                report.shown = notices
                    .1
                    .into_iter()
                    .map(|capture_type| ShownStatement {
                        capture_type,
                        state: Level::On,
                        elapsed_ms: 50,
                        text: None,
                    })
                    .collect();
                report.leaving = leaving;
                change(report, ids);
            })
        })
}

fn platform_event() -> impl Strategy<Value = ObservedEvent> {
    let t = || 0..400_000_i64;
    let of_group = |mut observed: ObservedEvent| {
        observed.event.ids.group_id = Some(GROUP.to_owned());
        observed.event.ids.server_call_id = Some(SERVER.to_owned());
        observed
    };
    // p1 is Anna's, p2 and p3 are Ben's.
    let participant = || prop::sample::select(vec![("p1", ANNA), ("p2", BEN), ("p3", BEN)]);
    let statement = prop_oneof![
        4 => (participant(), t()).prop_map(|((id, raw_id), t)| joined(id, raw_id, t)),
        1 => (participant(), t()).prop_map(|((id, raw_id), t)| left(id, raw_id, t)),
        2 => (t(), prop::sample::subsequence(vec![ANNA, BEN, TEAMS, "REDACTED"], 0..=4))
            .prop_map(|(t, present)| roster("leg", None, t, &present)),
        2 => (t(), any::<bool>()).prop_map(|(t, active)| {
            let statement = Statement::ProviderState(ProviderStateChanged {
                capture_type: CaptureType::Recording,
                recording: "rec".to_owned(),
                capture_kind: None,
                state: if active { ProviderState::Active } else { ProviderState::Inactive },
                started_at: None,
                recorder_leg: None,
            });
            observed_event(t, statement, Ids::default())
        }),
        1 => t().prop_map(|t| {
            let statement = Statement::File(RecordingFileStatement {
                recording: Some("rec".to_owned()),
                started_at: Some(t),
                duration_ms: Some(20_000),
                content: None,
                channel: None,
                format: None,
                session_end_reason: None,
                chunks: Vec::new(),
            });
            observed_event(t + 30_000, statement, Ids::default())
        }),
        1 => (t(), any::<bool>()).prop_map(|(t, presumed)| {
            let statement = Statement::CallEnded(CallEnded {
                started_by: None,
                ended_by: None,
                reason: None,
                duration_s: None,
                presumed,
            });
            observed_event(t, statement, Ids::default())
        }),
    ];
    statement.prop_map(of_group)
}

/// What has arrived of a call of Anna and Ben: any events of the platform and of their clients.
fn honest_events() -> impl Strategy<Value = Vec<ObservedEvent>> {
    let anna = || reports(prop::sample::select(vec!["a1", "a2"]), ANNA, 0, |_, _| {});
    let ben = || reports(Just("b1"), BEN, 0, |_, _| {});
    // Mallory knows an attachment only after its client has reported.
    let first = [
        report("a1", ANNA, 0, 10_000),
        report("a2", ANNA, 0, 20_000),
        report("b1", BEN, 0, 30_000),
    ];
    (
        prop::collection::vec(platform_event(), 0..7),
        prop::collection::vec(anna(), 0..5),
        prop::collection::vec(ben(), 0..4),
    )
        .prop_map(move |(platform, anna, ben)| [first.to_vec(), platform, anna, ben].concat())
}

/// Reports of Mallory, whom the platform does not name: with a client of hers or with those of Anna and
/// Ben, with any participantId, with grants of other calls that her reports claim to be this one.
fn attack() -> impl Strategy<Value = Vec<ObservedEvent>> {
    let attachment = || prop::sample::select(vec!["m1", "a1", "a2", "b1"]);
    let plain = reports(attachment(), MALLORY, MALLORY_COMES, |_, _| {});
    let teams = reports(attachment(), MALLORY, MALLORY_COMES, |report, _| {
        report.participant.identity = Identity::TeamsCustom;
        report.other_raw_ids = vec![MALLORYS_TEAMS_ID.to_owned(), "REDACTED".to_owned()];
    });
    let granted_another_call = reports(attachment(), MALLORY, MALLORY_COMES, |report, ids| {
        let calls = [OTHER_GROUP, OTHER_SERVER, "19:meeting_other@thread.v2"];
        report.grant = Grant::new(calls.map(str::to_owned), ["p7".to_owned()]);
        ids.group_id = Some(OTHER_GROUP.to_owned());
        report.thread_id = Some("19:meeting_other@thread.v2".to_owned());
    });
    prop::collection::vec(prop_oneof![plain, teams, granted_another_call], 1..7)
}

/// Statements of Mallory about notices: for her client, for those of others, for the call.
fn stated_notices() -> impl Strategy<Value = Vec<NoticeFact>> {
    let kind = prop::sample::select(vec![
        NoticeKind::Dispatched,
        NoticeKind::Displayed,
        NoticeKind::Hidden,
        NoticeKind::Acknowledged,
        NoticeKind::ConsentGiven,
        NoticeKind::ConsentDeclined,
    ]);
    let place = prop::sample::select(vec!["m1", "m2", "a1", "a2", "b1", ""]);
    let notice = (kind, place, capture_type(), 0..400_000_i64, 0..9_u8);
    let notice = notice.prop_map(|(kind, place, capture_type, after, client_id)| {
        let place = match place {
            "" => NoticePlace::Call("s-1".to_owned()),
            attachment => NoticePlace::Attachment(attachment.to_owned()),
        };
        let by = StatedBy { raw_id: MALLORY.to_owned(), place };
        let client_id = client_id.to_string();
        NoticeFact {
            id: id_by_client(&Tenant::parse("contoso").unwrap(), &by, &client_id),
            at: MALLORY_COMES + after,
            kind,
            capture_type,
            state: Some(Level::On),
            elapsed_ms: None,
            by,
            client_id: Some(client_id),
            notice: None,
            text: None,
            transport: None,
        }
    });
    prop::collection::vec(notice, 0..6)
}

fn is_about(fact: &Fact, sessions: &BTreeSet<String>) -> bool {
    let session = match fact.kind() {
        FactKind::SessionJoined { session, .. } | FactKind::SessionLeft { session } => session,
        FactKind::Report(report) => &report.session,
        FactKind::Notice(notice) => &notice.session,
        FactKind::Consent(consent) => &consent.session,
        _ => return false,
    };
    sessions.contains(session)
}

/// The sessions and facts of the call, without Mallory's. Each session of hers is nobody else's.
fn without_mallory(
    resolved: ResolvedSessions,
) -> Result<(ResolvedSessions, BTreeSet<String>), TestCaseError> {
    let (hers, others): (Vec<SessionDescription>, Vec<SessionDescription>) =
        resolved.sessions.into_iter().partition(|who| who.has_raw_id(MALLORY));
    for who in &hers {
        prop_assert!(!who.has_raw_id(ANNA) && !who.has_raw_id(BEN) && !who.has_raw_id(TEAMS));
    }
    let hers: BTreeSet<String> = hers.into_iter().map(|who| who.session).collect();
    let facts = resolved.facts.into_iter().filter(|fact| !is_about(fact, &hers)).collect();
    Ok((ResolvedSessions { facts, sessions: others, ..ResolvedSessions::default() }, hers))
}

fn report_at(resolved: &ResolvedSessions, now: Millis) -> EvidenceReport {
    Evidence::at(&resolved.facts, now, &Parameters::default()).unwrap().report
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(192))]

    /// The attacks: another's participantId in reports that show, require consent, leave and change
    /// levels; another's attachment with any sequence; acknowledgements and consents for another's
    /// attachment; grants for another call, whose ids the reports claim.
    #[test]
    fn a_stranger_changes_no_fact_about_anybody_else(
        call in honest_events(),
        attack in attack(),
        notices in stated_notices(),
    ) {
        let honest = resolve(&call);
        let mut attacked = resolve(call.iter().chain(&attack));
        prop_assert_eq!(&attacked.trust, &honest.trust);
        let attributed = attribute(&attacked, &notices);
        attacked.add(attributed);
        let (others, _) = without_mallory(attacked)?;
        prop_assert_eq!(others.facts, honest.facts);
        prop_assert_eq!(others.sessions, honest.sessions);
    }

    #[test]
    fn an_outsider_changes_nothing_in_the_report_but_its_own_session(
        call in honest_events(),
        joined_at in 0..5_000_i64,
        attack in attack(),
        notices in stated_notices(),
        // All events have happened: the witness of a notice fact is that of a report.
        now in 500_000..900_000_i64,
    ) {
        let call = [call, vec![joined("p1", ANNA, joined_at)]].concat();
        let honest = resolve(&call);
        let mut attacked = resolve(call.iter().chain(&attack));
        let attributed = attribute(&attacked, &notices);
        attacked.add(attributed);
        for fact in &attacked.facts {
            if let FactKind::Report(report) = fact.kind() {
                let is_hers = attack.iter().any(|observed| observed.id.to_string() == fact.id());
                prop_assert!(!is_hers || report.witness == Witness::Outsider);
            }
        }
        let expected = report_at(&honest, now);
        let found = report_at(&attacked, now);
        let (_, hers) = without_mallory(attacked)?;
        let obligations: Vec<&Obligation> =
            found.obligations.iter().filter(|it| !hers.contains(&it.session)).collect();
        prop_assert!(found.sessions.iter().all(|it| !it.ours || !hers.contains(&it.id)));
        prop_assert_eq!(obligations, expected.obligations.iter().collect::<Vec<_>>());
        prop_assert_eq!(found.captures, expected.captures);
        prop_assert_eq!(found.call, expected.call);
        prop_assert_eq!(found.verdict, expected.verdict);
        prop_assert_eq!(found.consent, expected.consent);
        prop_assert_eq!(found.observation, expected.observation);
        // She may contradict herself.
        let conflicts: BTreeSet<String> = notices.iter().map(|it| it.id.to_string()).collect();
        let is_hers = |flag: &Flag| match flag {
            Flag::Outsider(session) => hers.contains(session),
            Flag::Conflict(id) => conflicts.contains(id),
            _ => false,
        };
        let flags: BTreeSet<Flag> = found.flags.into_iter().filter(|it| !is_hers(it)).collect();
        prop_assert_eq!(flags, expected.flags);
    }

    /// The indications at each instant, which live state states.
    #[test]
    fn an_outsider_changes_no_indication(
        call in honest_events(),
        attack in attack(),
        now in 0..900_000_i64,
    ) {
        let call = [call, vec![joined("p1", ANNA, 0)]].concat();
        let indications = |resolved: ResolvedSessions| {
            let snapshot = call_snapshot(&resolved.facts, now, &Parameters::default());
            (snapshot.indications, snapshot.unconfirmed, snapshot.call.map(|call| call.ended_at))
        };
        let honest = indications(resolve(&call));
        prop_assert_eq!(indications(resolve(call.iter().chain(&attack))), honest);
    }

    /// A stranger that reports with an attachment before its owner takes the attachment, and nothing
    /// else: the reports of the owner count for the owner.
    #[test]
    fn the_reports_with_a_taken_attachment_count_for_their_sender(
        platform in prop::collection::vec(platform_event(), 0..6),
        anna in prop::collection::vec(
            reports(Just("a1"), ANNA, MALLORY_COMES, |_, _| {}), 1..6),
        mallory in prop::collection::vec(reports(Just("a1"), MALLORY, 0, |_, _| {}), 1..4),
    ) {
        let call = [platform.clone(), anna.clone()].concat();
        let honest = resolve(&call);
        let attacked = resolve(call.iter().chain(&mallory));
        let own = attacked.session_of("a1", ANNA).unwrap().to_owned();
        prop_assert_ne!(Some(own.as_str()), attacked.session_of("a1", MALLORY));
        let before = honest.session_of("a1", ANNA).unwrap().to_owned();
        let about = |resolved: &ResolvedSessions, session: &str| -> BTreeSet<(String, Millis)> {
            let sessions = BTreeSet::from([session.to_owned()]);
            let facts = resolved.facts.iter().filter(|fact| is_about(fact, &sessions));
            // The ids of facts of rosters contain the name of the session.
            let id = |fact: &Fact| fact.id().replace(session, "");
            facts.map(|fact| (id(fact), fact.at())).collect()
        };
        prop_assert_eq!(about(&attacked, &own), about(&honest, &before));
        if before.starts_with("p:") {
            prop_assert_eq!(own, before);
        }
    }
}

/// Each claim of Mallory's that is refused is flagged as soon as the platform names somebody.
#[test]
fn a_refused_claim_is_flagged_once_the_platform_names_a_participant() {
    let claim = report_naming("p1", "m1", MALLORY, 1, 5_000);
    let flags = |events: &[ObservedEvent]| -> Vec<SessionFlag> {
        let resolved = resolve(events);
        let session = resolved.session_of("m1", MALLORY).unwrap().to_owned();
        let mut sessions = resolved.sessions.into_iter();
        sessions.find(|who| who.session == session).unwrap().flags
    };
    let placeholder = joined("p8", "REDACTED", 0);
    let by_leg = roster("leg", None, 0, &["rawId", ""]);
    assert_eq!(flags(&[claim.clone(), placeholder, by_leg]), []);
    for named in [joined("p1", ANNA, 0), left("p2", BEN, 0), roster("leg", None, 0, &[BEN])] {
        assert_eq!(flags(&[claim.clone(), named]), [SessionFlag::ClaimRefused]);
    }
    // The participantId is Mallory's.
    assert_eq!(flags(&[claim, joined("p1", MALLORY, 0)]), []);
    let json = serde_json::to_value(SessionFlag::ClaimRefused).unwrap();
    assert_eq!(json, "CLAIM_REFUSED");
}

#[test]
fn a_grant_counts_by_an_id_that_the_platform_states_or_by_the_stated_server_call_id() {
    let witness = |platform: Ids, grant: &str, change: fn(&mut Ids)| {
        let mut named = joined("p1", ANNA, 0);
        let participant_id = named.event.ids.participant_id.take();
        named.event.ids = Ids { participant_id, ..platform };
        let claim = report_with("m1", MALLORY, 1, 5_000, |report, ids| {
            report.grant = Grant::new([grant.to_owned()], []);
            report.thread_id = Some("19:meeting_this@thread.v2".to_owned());
            change(ids);
        });
        let resolved = resolve(&[named, claim]);
        let report = resolved.facts.into_iter().find_map(|fact| match fact.kind() {
            FactKind::Report(report) => Some(report.witness),
            _ => None,
        });
        report.unwrap()
    };
    let of_platform = || Ids {
        correlation_id: Some(OTHER_GROUP.to_owned()),
        server_call_id: Some(SERVER.to_owned()),
        group_id: Some(GROUP.to_owned()),
        ..Ids::default()
    };
    let nothing: fn(&mut Ids) = |_| {};
    for granted in [&OTHER_GROUP.to_uppercase(), SERVER, GROUP] {
        assert_eq!(witness(of_platform(), granted, nothing), Witness::Granted, "{granted}");
    }
    let stated: fn(&mut Ids) = |ids| ids.server_call_id = Some(SERVER.to_owned());
    assert_eq!(witness(Ids::default(), SERVER, stated), Witness::Granted);
    assert_eq!(witness(of_platform(), OTHER_SERVER, stated), Witness::Outsider);
    let claimed_group: fn(&mut Ids) = |ids| ids.group_id = Some(GROUP.to_owned());
    assert_eq!(witness(Ids::default(), GROUP, claimed_group), Witness::Outsider);
    let meeting = "19:meeting_this@thread.v2";
    assert_eq!(witness(of_platform(), meeting, nothing), Witness::Outsider);
}

/// The service makes a presumed end of the ids that are known, which may be those of a client.
#[test]
fn a_presumed_end_states_no_id_of_the_platform() {
    let ended = |presumed| {
        let statement = Statement::CallEnded(CallEnded {
            started_by: None,
            ended_by: None,
            reason: None,
            duration_s: None,
            presumed,
        });
        let ids = Ids { server_call_id: Some(SERVER.to_owned()), ..Ids::default() };
        observed_event(9_000, statement, ids)
    };
    assert_eq!(resolve(&[ended(true)]).trust.ids().len(), 0);
    assert_eq!(resolve(&[ended(false)]).trust.ids().len(), 1);
}
