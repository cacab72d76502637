//! Whether a client may report to a call and listen to it: by the policy of its tenant, and by what
//! its token grants.
//!
//! # Why
//!
//! A backend that issues a token for one call wants no client that knows the id of another call to
//! hear that call. With `clients = "granted"` a token therefore covers the calls that it grants, and
//! no others. An honest client may be earlier than the events of the platform, so a grant that may
//! cover the call is admitted until the ids that the platform states show that it does not.

use std::collections::BTreeMap;
use std::sync::{Arc, PoisonError, RwLock};

use super::live_calls::LiveCalls;
use crate::config::{ClientPolicy, TenantSettings};
use crate::http::problem::{Problem, ProblemKind};
use crate::http::subscriber_token::SubscriberClaims;
use onrecord_evidence::event::ids::Tenant;
use onrecord_evidence::identity::alias_graph::Anchor;
use onrecord_evidence::session::trust::CallTrust;

/// The settings of the tenants. SIGHUP replaces them while the process runs.
#[derive(Clone, Default)]
pub(crate) struct TenantPolicies {
    tenants: Arc<RwLock<BTreeMap<Tenant, TenantSettings>>>,
}

impl TenantPolicies {
    /// Holds these settings.
    pub(crate) fn new(tenants: BTreeMap<Tenant, TenantSettings>) -> Self {
        Self { tenants: Arc::new(RwLock::new(tenants)) }
    }

    /// Replaces all settings.
    pub(crate) fn replace(&self, tenants: BTreeMap<Tenant, TenantSettings>) {
        let clients_in = |tenant| tenants.get(tenant).map(|it: &TenantSettings| it.clients);
        for (tenant, before) in &*self.tenants.read().unwrap_or_else(PoisonError::into_inner) {
            if before.clients == ClientPolicy::Granted
                && clients_in(tenant).unwrap_or_default() == ClientPolicy::Open
            {
                tracing::warn!(
                    tenant = %tenant,
                    "from now on the tenant {tenant} admits clients without a grant"
                );
            }
        }
        *self.tenants.write().unwrap_or_else(PoisonError::into_inner) = tenants;
    }

    /// Whether there is a tenant that is not among these.
    pub(crate) fn has_other_than(&self, settings: &BTreeMap<Tenant, TenantSettings>) -> bool {
        let tenants = self.tenants.read().unwrap_or_else(PoisonError::into_inner);
        tenants.keys().any(|tenant| !settings.contains_key(tenant))
    }

    fn clients_of(&self, tenant: &Tenant) -> ClientPolicy {
        let tenants = self.tenants.read().unwrap_or_else(PoisonError::into_inner);
        tenants.get(tenant).map(|settings| settings.clients).unwrap_or_default()
    }
}

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
}

impl NotGranted {
    /// The reason as a short sentence.
    pub(crate) fn sentence(self) -> &'static str {
        match self {
            Self::NoGrant => "this tenant requires a token that grants the call, in grant.calls",
            Self::OtherCall => "this token grants other calls than this one, in grant.calls",
        }
    }
}

impl From<NotGranted> for Problem {
    fn from(reason: NotGranted) -> Self {
        let detail = format!(
            "{}; the app's backend names the call there when it requests the token from POST /v1/subscriber-tokens: by its serverCallId, correlationId, group id, room id or meeting id",
            reason.sentence()
        );
        Self::new(ProblemKind::NotGranted, detail)
    }
}

/// Whether the token of `subscriber` covers the call that it names by `references` (as a grant writes
/// them; none: it names no call yet). `trust` is what the platform states about that call, as far as
/// it is known.
fn coverage<'r>(
    subscriber: &SubscriberClaims,
    references: impl IntoIterator<Item = &'r str>,
    trust: Option<&CallTrust>,
) -> Result<Coverage, NotGranted> {
    let grant = &subscriber.grant;
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
    let has_ids = trust.is_some_and(|trust| !trust.ids().is_empty());
    if trust.is_some_and(|it| it.is_granted(grant) || it.names_any(subscriber.persons())) {
        return Ok(Coverage::Proven);
    }
    if has_ids || (names_call && grant.has_only_server_call_ids()) {
        return Err(NotGranted::OtherCall);
    }
    Ok(Coverage::Unrefuted)
}

/// The call that a client names.
#[derive(Clone, Copy, Debug)]
pub(crate) enum NamedCall<'a> {
    /// By a serverCallId in canonical form.
    ServerCallId(&'a Anchor),
    /// By the client's attachment.
    Attachment(&'a Anchor),
    /// None: the request is about all calls of the client's person.
    All,
}

/// Decides whether a client may report to a call and listen to it.
#[derive(Clone)]
pub(crate) struct CallAccess {
    policies: TenantPolicies,
    live_calls: LiveCalls,
}

impl CallAccess {
    pub(crate) fn new(policies: TenantPolicies, live_calls: LiveCalls) -> Self {
        Self { policies, live_calls }
    }

    /// Checks whether the token covers the call.
    ///
    /// # Errors
    ///
    /// [`NotGranted`], if the tenant requires a grant.
    pub(crate) fn check(
        &self,
        subscriber: &SubscriberClaims,
        call: NamedCall<'_>,
    ) -> Result<Coverage, NotGranted> {
        if self.policies.clients_of(&subscriber.tenant) == ClientPolicy::Open {
            return Ok(Coverage::Proven);
        }
        let (tenant, person) = (&subscriber.tenant, &subscriber.sub);
        self.live_calls.read_tenant(tenant, |calls| match call {
            NamedCall::All => coverage(subscriber, [], None),
            NamedCall::ServerCallId(anchor) => {
                let trust = calls.and_then(|calls| calls.trust(anchor));
                coverage(subscriber, [anchor.as_str()], trust)
            }
            NamedCall::Attachment(attachment) => {
                let calls = calls.filter(|calls| calls.owners.owner(attachment) == Some(person));
                let trust = calls.and_then(|calls| calls.trust(attachment));
                let stated = calls.into_iter().flat_map(|calls| calls.owners.anchors(attachment));
                let stated = stated.filter(|anchor| anchor.is_server_call_id());
                coverage(subscriber, stated.map(Anchor::as_str), trust)
            }
        })
    }
}

#[cfg(test)]
mod tests {
    use onrecord_evidence::event::calling_event::CallingEvent;
    use onrecord_evidence::event::calling_event::ObservedEvent;
    use onrecord_evidence::event::ids::Digest;
    use onrecord_evidence::identity::grant::Grant;
    use onrecord_evidence::session::resolution::resolve;
    use serde_json::json;

    use super::*;

    const SERVER: &str = "https://api.flightproxy.skype.com/api/v2/cp/conv-uswe-02?i=10";
    const OTHER_SERVER: &str = "https://api.flightproxy.skype.com/api/v2/cp/conv-uswe-02?i=11";
    const ROOM: &str = "99445276259151407";
    const ANNA: &str = "8:acs:r_anna";
    const ANNA_IN_TEAMS: &str = "8:orgid:anna";

    fn anna(calls: &[&str]) -> SubscriberClaims {
        let tenant = Tenant::parse("t").unwrap();
        let grant = Grant::new(calls.iter().map(|&call| call.to_owned()), []);
        SubscriberClaims::new(tenant, ANNA.to_owned(), None, 0)
            .granting(vec![ANNA_IN_TEAMS.to_owned()], grant)
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

    fn of(
        calls: &[&str],
        named: &[&str],
        trust: Option<&CallTrust>,
    ) -> Result<Coverage, NotGranted> {
        let anchors: Vec<Anchor> = named.iter().map(|id| Anchor::server(id)).collect();
        coverage(&anna(calls), anchors.iter().map(Anchor::as_str), trust)
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
    fn an_open_tenant_requires_no_grant() {
        let live_calls = LiveCalls::new(1);
        let policies = TenantPolicies::default();
        let access = CallAccess::new(policies.clone(), live_calls);
        assert_eq!(access.check(&anna(&[]), NamedCall::All), Ok(Coverage::Proven));
        let granted = TenantSettings { clients: ClientPolicy::Granted };
        policies.replace(BTreeMap::from([(Tenant::parse("t").unwrap(), granted)]));
        assert_eq!(access.check(&anna(&[]), NamedCall::All), Err(NotGranted::NoGrant));
        let anchor = Anchor::server(OTHER_SERVER);
        let named = NamedCall::ServerCallId(&anchor);
        assert_eq!(access.check(&anna(&[SERVER]), named), Err(NotGranted::OtherCall));
    }
}
