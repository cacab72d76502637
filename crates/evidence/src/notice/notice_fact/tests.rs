//! Attribution of notice facts to sessions, and its independence of order and repetition.

use proptest::prelude::*;

use super::*;
use crate::call::parameters::Parameters;
use crate::call::project::project_call;
use crate::event::calling_event::ObservedEvent;
use crate::identity::raw_id::IdentifierKind;
use crate::session::resolution::resolve;
use crate::tests::test_events::{joined, left, report, report_with};

const ANNA: &str = "8:acs:res_anna";
const BEN: &str = "8:acs:res_ben";

fn at(attachment: &str) -> NoticePlace {
    NoticePlace::Attachment(attachment.to_owned())
}

fn in_call() -> NoticePlace {
    NoticePlace::Call("s-1".to_owned())
}

fn stated(
    kind: NoticeKind,
    raw_id: &str,
    place: NoticePlace,
    client_id: &str,
    t: Millis,
) -> NoticeFact {
    let tenant = Tenant::parse("contoso").unwrap();
    let by = StatedBy { raw_id: raw_id.to_owned(), place };
    NoticeFact {
        id: id_by_client(&tenant, &by, client_id),
        at: t,
        kind,
        capture_type: CaptureType::Recording,
        state: Some(Level::On),
        elapsed_ms: Some(7),
        by,
        client_id: Some(client_id.to_owned()),
        notice: None,
        text: None,
        transport: None,
    }
}

fn displayed(raw_id: &str, place: NoticePlace, t: Millis) -> NoticeFact {
    stated(NoticeKind::Displayed, raw_id, place, "1", t)
}

/// The sessions to which these statements are attributed.
fn sessions(events: &[ObservedEvent], notices: &[NoticeFact]) -> Vec<String> {
    let facts = attribute(&resolve(events), notices).facts;
    let session = |fact: &Fact| match fact.kind() {
        FactKind::Notice(notice) => notice.session.clone(),
        FactKind::Consent(consent) => consent.session.clone(),
        _ => panic!("not a notice fact"),
    };
    facts.iter().map(session).collect()
}

#[test]
fn an_acknowledgement_belongs_to_the_session_of_its_attachment() {
    let call = [
        joined("p1", ANNA, 0),
        report_with("a1", ANNA, 1, 100_000, |_, ids| {
            ids.participant_id = Some("p1".to_owned());
        }),
    ];
    let notice = displayed(ANNA, at("a1"), 100_500);
    assert_eq!(sessions(&call, std::slice::from_ref(&notice)), ["p:p1"]);
    let facts = attribute(&resolve(&call), [&notice]).facts;
    let FactKind::Notice(fact) = facts[0].kind() else { panic!("a notice was displayed") };
    assert_eq!((facts[0].at(), fact.elapsed_ms), (100_500, Some(7)));
}

#[test]
fn an_acknowledgement_of_an_attachment_that_never_reported_is_a_session_of_its_own() {
    let attributed = attribute(&resolve([]), [&displayed(ANNA, at("a1"), 5)]);
    let [who] = attributed.sessions.as_slice() else { panic!("one session: {attributed:?}") };
    assert_eq!(who.session, "t:a1");
    assert_eq!(who.raw_id.as_deref(), Some(ANNA));
    assert_eq!(who.kind, IdentifierKind::CommunicationUser);
    assert_eq!(who.attachments[0].trust, Witness::Asserted);
    assert_eq!(sessions(&[], &[displayed(ANNA, at("a1"), 5)]), ["t:a1"]);
    // Its first report names the owner.
    let call = [report("a1", BEN, 1, 10)];
    assert_eq!(sessions(&call, &[displayed(BEN, at("a1"), 5)]), ["t:a1"]);
    let attributed = attribute(&resolve(&call), [&displayed(BEN, at("a1"), 5)]);
    assert!(attributed.sessions.is_empty());
    assert!(sessions(&call, &[displayed(ANNA, at("a1"), 5)]).is_empty());
}

#[test]
fn a_stranger_without_a_report_is_nobody_who_must_be_notified() {
    let call = [joined("p1", ANNA, 0)];
    let stranger = displayed(BEN, at("a1"), 5);
    assert_eq!(sessions(&[], std::slice::from_ref(&stranger)), ["t:a1"]);
    let attributed = attribute(&resolve(&call), [&stranger]);
    assert_eq!(attributed, AttributedFacts::default());
    assert_eq!(sessions(&call, &[displayed(ANNA, at("a1"), 5)]), ["t:a1"]);
}

#[test]
fn statements_of_two_participants_for_one_attachment_count_only_after_its_report() {
    let notices = [displayed(ANNA, at("a1"), 5), displayed(BEN, at("a1"), 6)];
    assert!(sessions(&[], &notices).is_empty());
    assert_eq!(sessions(&[report("a1", BEN, 1, 9)], &notices), ["t:a1"]);
}

#[test]
fn a_stream_without_an_attachment_belongs_to_the_only_session_of_its_participant() {
    let one = [joined("p1", ANNA, 0)];
    let two = [joined("p1", ANNA, 0), joined("p2", ANNA, 5)];
    let notices = [displayed(ANNA, in_call(), 7)];
    assert_eq!(sessions(&one, &notices), ["p:p1"]);
    assert!(sessions(&two, &notices).is_empty());
    assert!(sessions(&[], &notices).is_empty());
}

#[test]
fn the_earlier_of_two_copies_counts_and_two_contents_give_two_facts() {
    let notice = displayed(ANNA, at("a1"), 9);
    let earlier = NoticeFact { at: 5, ..notice.clone() };
    let facts = attribute(&resolve([]), [&notice, &earlier, &notice]).facts;
    assert_eq!(facts.iter().map(Fact::at).collect::<Vec<_>>(), [5]);
    let other = NoticeFact { state: Some(Level::Off), ..notice.clone() };
    let facts = attribute(&resolve([]), [&notice, &other]).facts;
    assert_eq!(facts.len(), 2);
    assert_eq!(facts[0].id(), facts[1].id());
}

#[test]
fn a_statement_of_a_transport_has_one_id_on_every_node() {
    let tenant = Tenant::parse("contoso").unwrap();
    let by = StatedBy { raw_id: ANNA.to_owned(), place: at("a1") };
    let id = |state, capture_started_at| {
        let capture_type = CaptureType::Recording;
        id_by_transport(
            &tenant,
            NoticeKind::Dispatched,
            &by,
            capture_type,
            state,
            capture_started_at,
        )
    };
    assert_eq!(id(Level::On, Some(5)), id(Level::On, Some(5)));
    assert_ne!(id(Level::On, Some(5)), id(Level::On, Some(6)));
    assert_ne!(id(Level::On, Some(5)), id(Level::Off, Some(5)));
    let fact = |transport, notice: &str| NoticeFact {
        id: id(Level::On, Some(5)),
        client_id: None,
        notice: Some(notice.to_owned()),
        transport: Some(transport),
        ..displayed(ANNA, at("a1"), 1)
    };
    assert_eq!(fact(Transport::Sse, "1").content(), fact(Transport::Websocket, "2").content());
}

fn any_notice() -> impl Strategy<Value = NoticeFact> {
    let kind = prop::sample::select(vec![
        NoticeKind::Dispatched,
        NoticeKind::Delivered,
        NoticeKind::Displayed,
        NoticeKind::Hidden,
        NoticeKind::Acknowledged,
        NoticeKind::ConsentGiven,
        NoticeKind::ConsentDeclined,
    ]);
    let raw_id = prop::sample::select(vec![ANNA, BEN]);
    let place = prop::sample::select(vec![at("a1"), at("a2"), in_call()]);
    let client_id = prop::sample::select(vec!["1", "2", "3"]);
    (kind, raw_id, place, client_id, 0..300_000_i64)
        .prop_map(|(kind, raw_id, place, id, t)| stated(kind, raw_id, place, id, t))
}

fn any_event() -> impl Strategy<Value = ObservedEvent> {
    let t = 0..300_000_i64;
    let raw_id = prop::sample::select(vec![ANNA, BEN]);
    let level = prop::sample::select(vec![Some(Level::On), Some(Level::Off), None]);
    prop_oneof![
        (raw_id.clone(), t.clone()).prop_map(|(raw, t)| joined("p1", raw, t)),
        (raw_id.clone(), t.clone()).prop_map(|(raw, t)| left("p1", raw, t)),
        (prop::sample::select(vec!["a1", "a2"]), raw_id, 0..9_i64, t, level).prop_map(
            |(attachment, raw, sequence, t, level)| {
                report_with(attachment, raw, sequence, t, |report, _| {
                    report.recording = level;
                })
            }
        ),
    ]
}

proptest! {
    #[test]
    fn neither_order_nor_repetition_of_statements_matters(
        call in prop::collection::vec(any_event(), 0..8),
        notices in prop::collection::vec(any_notice(), 0..12),
        doubled in prop::collection::vec(any::<prop::sample::Index>(), 0..4),
        shuffle in any::<u64>(),
    ) {
        let resolved = resolve(&call);
        let facts = |notices: &[NoticeFact]| {
            let mut facts = attribute(&resolved, notices).facts;
            facts.sort_by_key(|fact| (fact.id().to_owned(), fact.at(), format!("{:?}", fact.kind())));
            facts
        };
        let mut again = notices.clone();
        for index in doubled {
            if !notices.is_empty() {
                let copy = index.get(&notices).clone();
                again.push(NoticeFact { at: copy.at + 5, ..copy });
            }
        }
        let mut state = shuffle | 1;
        for i in (1..again.len()).rev() {
            state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
            again.swap(i, (state >> 33) as usize % (i + 1));
        }
        prop_assert_eq!(facts(&again), facts(&notices));
    }

    /// Live state reads no notice facts. They prolong only the presence of a client that no longer
    /// reports, and its reporter is not live for longer by that, except in the last millisecond in
    /// which it is live: hence no two reports of one instant here, and no evaluation at that one.
    #[test]
    fn indications_do_not_depend_on_notice_facts_of_attachments_that_reported(
        call in prop::collection::vec(any_event(), 1..10),
        notices in prop::collection::vec(any_notice(), 0..12),
        later in 0..300_000_i64,
    ) {
        let call: Vec<ObservedEvent> = call
            .into_iter()
            .zip(0..)
            .map(|(event, index)| ObservedEvent {
                at: event.at - event.at % 1000 + 10 * index,
                ..event
            })
            .collect();
        // No event lies after now.
        let last = call.iter().map(|event| event.at).max().unwrap_or(0);
        let now = last + later - later % 10 + 5;
        // An attachment that never reported is in no call but its own.
        let resolved = resolve(&call);
        let notices: Vec<NoticeFact> = notices
            .into_iter()
            .filter(|notice| match &notice.by.place {
                NoticePlace::Attachment(attachment) => resolved.has_reports(attachment),
                NoticePlace::Call(_) => true,
            })
            .collect();
        let parameters = Parameters::default();
        let with = project_call(&call, &notices, now, &parameters);
        let without = project_call(&call, [], now, &parameters);
        prop_assert_eq!(with.snapshot.indications, without.snapshot.indications);
    }
}
