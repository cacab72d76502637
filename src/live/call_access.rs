//! Whether a client may report to a call and listen to it: by the policy of its tenant, by what its
//! token grants, and by what is known of the call.
//!
//! # Why
//!
//! A backend that issues a token for one call wants no client that knows the id of another call to
//! hear that call. With `clients = "granted"` a token therefore covers the calls that it grants, and
//! no others ([`super::coverage`]).

use std::collections::BTreeMap;
use std::sync::{Arc, PoisonError, RwLock};

use super::coverage::{Coverage, NotGranted, coverage};
use super::live_calls::LiveCalls;
use crate::clock;
use crate::config::{ClientPolicy, TenantSettings};
use crate::http::subscriber_token::SubscriberClaims;
use onrecord_evidence::event::ids::Tenant;
use onrecord_evidence::identity::alias_graph::Anchor;

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

    /// Which clients a tenant admits now.
    pub(crate) fn clients_of(&self, tenant: &Tenant) -> ClientPolicy {
        self.policies.clients_of(tenant)
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
        if self.clients_of(&subscriber.tenant) == ClientPolicy::Open {
            return Ok(Coverage::Proven);
        }
        let (subject, now) = (&subscriber.subject, clock::now_ms());
        let named = match call {
            NamedCall::ServerCallId(anchor) | NamedCall::Attachment(anchor) => Some(anchor),
            NamedCall::All => None,
        };
        self.live_calls.read_tenant(&subscriber.tenant, named, |calls| match call {
            NamedCall::All => coverage(subject, [], None, now),
            NamedCall::ServerCallId(anchor) => {
                let known = calls.and_then(|calls| calls.known_call(anchor, &subject.raw_id));
                coverage(subject, [anchor.as_str()], known, now)
            }
            NamedCall::Attachment(attachment) => {
                let owner = Some(subject.raw_id.as_str());
                let calls = calls.filter(|calls| calls.owners.owner(attachment) == owner);
                let known = calls.and_then(|calls| calls.known_call(attachment, &subject.raw_id));
                let stated = calls.into_iter().flat_map(|calls| calls.owners.anchors(attachment));
                let stated = stated.filter(|anchor| anchor.is_server_call_id());
                coverage(subject, stated.map(Anchor::as_str), known, now)
            }
        })
    }
}

#[cfg(test)]
mod tests {
    use onrecord_evidence::identity::grant::Grant;

    use super::*;

    const SERVER: &str = "https://api.flightproxy.skype.com/api/v2/cp/conv-uswe-02?i=10";
    const OTHER_SERVER: &str = "https://api.flightproxy.skype.com/api/v2/cp/conv-uswe-02?i=11";

    fn anna(calls: &[&str]) -> SubscriberClaims {
        let tenant = Tenant::parse("t").unwrap();
        let grant = Grant::new(calls.iter().map(|&call| call.to_owned()), []);
        SubscriberClaims::new(tenant, "8:acs:r_anna".to_owned(), None, 0)
            .granting(Vec::new(), grant)
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
