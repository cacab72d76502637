//! Whether what a token grants covers a call.
//!
//! # Why
//!
//! An honest client may be earlier than the events of the platform. So a grant that may cover the call
//! is admitted until the ids that the platform states show that it does not, or until the platform has
//! stated none for [`UNPROVEN_TIMEOUT`]. Without that end a grant of any room would cover every call of
//! which the platform never states anything, as a Teams meeting without a Call Automation leg.

use crate::http::problem::{Problem, ProblemKind};
use crate::http::subscriber_token::token_subject::TokenSubject;
use onrecord_evidence::event::instant::Millis;
use onrecord_evidence::session::trust::CallTrust;

/// Timeout of the wait for an id that the platform states of the call, ms.
const UNPROVEN_TIMEOUT: Millis = 10 * 60 * 1000;

/// How a token covers a call.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Coverage {
    /// For good: the grant names the call, the platform names the person, or nothing is required.
    Proven,
    /// As far as the ids of the call are known.
    Unrefuted,
}

/// Why a token does not cover a call.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum NotGranted {
    /// The token grants no call at all.
    NoGrant,
    /// The token grants other calls.
    OtherCall,
    /// The token grants no serverCallId, and the platform has stated no id of the call for long.
    Unproven,
}

impl NotGranted {
    /// The reason as a short sentence.
    pub(crate) fn sentence(self) -> &'static str {
        match self {
            Self::NoGrant => "this tenant requires a token that grants the call, in grant.calls",
            Self::OtherCall => "this token grants other calls than this one, in grant.calls",
            Self::Unproven => {
                "no event of the platform states an id of this call, so that only its serverCallId in grant.calls grants it"
            }
        }
    }
}

impl From<NotGranted> for Problem {
    fn from(reason: NotGranted) -> Self {
        let detail = format!(
            "{}; the app's backend names the call there when it requests the token from POST /v1/subscriber-tokens: by its serverCallId, correlationId, group id or room id",
            reason.sentence()
        );
        Self::new(ProblemKind::NotGranted, detail)
    }
}

/// What is known of a call.
#[derive(Clone, Copy)]
pub(crate) struct KnownCall<'c> {
    /// What the platform states about it.
    pub trust: &'c CallTrust,
    /// The first report of the person, else the first event of the call, ms.
    pub since: Option<Millis>,
}

/// Whether the token of `subject` covers the call that it names by `references` (as a grant writes
/// them; none: it names no call yet), by what is `known` of that call at `now` (ms).
pub(crate) fn coverage<'r>(
    subject: &TokenSubject,
    references: impl IntoIterator<Item = &'r str>,
    known: Option<KnownCall<'_>>,
    now: Millis,
) -> Result<Coverage, NotGranted> {
    let grant = &subject.grant;
    if grant.calls().is_empty() {
        return Err(NotGranted::NoGrant);
    }
    let mut names_call = false;
    for reference in references {
        if grant.names_call(reference) {
            return Ok(Coverage::Proven);
        }
        names_call = true;
    }
    let trust = known.map(|known| known.trust);
    if trust.is_some_and(|it| it.is_granted(grant) || it.names_any(subject.persons())) {
        return Ok(Coverage::Proven);
    }
    let has_ids = trust.is_some_and(|trust| !trust.ids().is_empty());
    if has_ids || (names_call && grant.has_only_server_call_ids()) {
        return Err(NotGranted::OtherCall);
    }
    let since = known.and_then(|known| known.since);
    if names_call && since.is_some_and(|since| now.saturating_sub(since) > UNPROVEN_TIMEOUT) {
        return Err(NotGranted::Unproven);
    }
    Ok(Coverage::Unrefuted)
}

#[cfg(test)]
mod tests {
    use onrecord_evidence::event::calling_event::CallingEvent;
    use onrecord_evidence::event::calling_event::ObservedEvent;
    use onrecord_evidence::event::ids::Digest;
    use onrecord_evidence::identity::alias_graph::Anchor;
    use onrecord_evidence::identity::grant::Grant;
    use onrecord_evidence::session::resolution::resolve;
    use serde_json::json;

    use super::*;

    const SERVER: &str = "https://api.flightproxy.skype.com/api/v2/cp/conv-uswe-02?i=10";
    const OTHER_SERVER: &str = "https://api.flightproxy.skype.com/api/v2/cp/conv-uswe-02?i=11";
    const ROOM: &str = "99445276259151407";
    const ANNA: &str = "8:acs:r_anna";
    const ANNA_IN_TEAMS: &str = "8:orgid:anna";

    const NOW: Millis = 1_764_384_000_000;

    fn anna(calls: &[&str]) -> TokenSubject {
        let grant = Grant::new(calls.iter().map(|&call| call.to_owned()), []);
        let other_raw_ids = vec![ANNA_IN_TEAMS.to_owned()];
        TokenSubject { raw_id: ANNA.to_owned(), other_raw_ids, grant }
    }

    /// What the platform states: a call with this serverCallId and room, which this person joined.
    fn trust(room: Option<&str>, person: &str) -> CallTrust {
        let events = [
            json!({"type": "call.started", "ids": {"server_call_id": SERVER}, "source_type": "x", "room_id": room}),
            json!({"type": "session.joined", "ids": {"server_call_id": SERVER}, "source_type": "y",
                "participant": {"raw_id": person, "kind": "communicationUser", "cloud": "public", "identity": "acs"}}),
        ];
        let observed = events.map(|event| {
            let text = event.to_string();
            let event = CallingEvent::from_json(&text).unwrap();
            ObservedEvent::new(Digest::of(text.as_bytes()), 1, event)
        });
        resolve(&observed).trust
    }

    fn after(
        time: Millis,
        calls: &[&str],
        named: &[&str],
        trust: Option<&CallTrust>,
    ) -> Result<Coverage, NotGranted> {
        let anchors: Vec<Anchor> = named.iter().map(|id| Anchor::server(id)).collect();
        let known = trust.map(|trust| KnownCall { trust, since: Some(NOW) });
        coverage(&anna(calls), anchors.iter().map(Anchor::as_str), known, NOW + time)
    }

    fn of(
        calls: &[&str],
        named: &[&str],
        trust: Option<&CallTrust>,
    ) -> Result<Coverage, NotGranted> {
        after(0, calls, named, trust)
    }

    #[test]
    fn a_token_without_granted_calls_covers_none() {
        let named = trust(Some(ROOM), ANNA);
        assert_eq!(of(&[], &[SERVER], Some(&named)), Err(NotGranted::NoGrant));
        assert_eq!(of(&[], &[], None), Err(NotGranted::NoGrant));
    }

    #[test]
    fn a_granted_server_call_id_covers_its_call_whatever_else_is_known() {
        let foreign = trust(None, "8:acs:r_ben");
        for known in [None, Some(&foreign)] {
            assert_eq!(of(&[SERVER, ROOM], &[SERVER], known), Ok(Coverage::Proven));
        }
    }

    #[test]
    fn a_grant_of_server_call_ids_alone_covers_no_other_one() {
        assert_eq!(of(&[OTHER_SERVER], &[SERVER], None), Err(NotGranted::OtherCall));
        assert_eq!(of(&[OTHER_SERVER], &[], None), Ok(Coverage::Unrefuted));
    }

    #[test]
    fn a_grant_by_another_id_is_admitted_until_the_platform_states_the_ids_of_the_call() {
        assert_eq!(of(&[ROOM], &[SERVER], None), Ok(Coverage::Unrefuted));
        let no_events = CallTrust::default();
        assert_eq!(of(&[ROOM], &[SERVER], Some(&no_events)), Ok(Coverage::Unrefuted));
        let right = trust(Some(ROOM), "8:acs:r_ben");
        assert_eq!(of(&[ROOM], &[SERVER], Some(&right)), Ok(Coverage::Proven));
        let wrong = trust(Some("11111111111111111"), "8:acs:r_ben");
        assert_eq!(of(&[ROOM], &[SERVER], Some(&wrong)), Err(NotGranted::OtherCall));
        assert_eq!(of(&[ROOM], &[], Some(&wrong)), Err(NotGranted::OtherCall));
    }

    #[test]
    fn a_person_whom_the_platform_names_is_covered_by_any_grant() {
        for person in [ANNA, ANNA_IN_TEAMS] {
            let named = trust(None, person);
            assert_eq!(of(&[OTHER_SERVER], &[SERVER], Some(&named)), Ok(Coverage::Proven));
        }
    }

    #[test]
    fn a_grant_by_another_id_does_not_cover_a_call_for_ever_of_which_the_platform_states_nothing() {
        let nothing = CallTrust::default();
        let late = UNPROVEN_TIMEOUT + 1;
        assert_eq!(
            after(UNPROVEN_TIMEOUT, &[ROOM], &[SERVER], Some(&nothing)),
            Ok(Coverage::Unrefuted)
        );
        assert_eq!(after(late, &[ROOM], &[SERVER], Some(&nothing)), Err(NotGranted::Unproven));
        // What proves the call counts at any time.
        let right = trust(Some(ROOM), "8:acs:r_ben");
        assert_eq!(after(late, &[ROOM], &[SERVER], Some(&right)), Ok(Coverage::Proven));
        assert_eq!(after(late, &[ROOM, SERVER], &[SERVER], Some(&nothing)), Ok(Coverage::Proven));
        // A client that has named no call yet hears no other call.
        assert_eq!(after(late, &[ROOM], &[], Some(&nothing)), Ok(Coverage::Unrefuted));
    }
}
