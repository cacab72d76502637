//! Revoked subscriber tokens: of a person, of the API key that minted them, or all of a tenant.
//!
//! # Why
//!
//! A revocation names an instant, and covers the tokens that were issued until then. So the list needs
//! no ids of tokens, and a person can get another token at once. A token that does not state when it
//! was issued (of an older version) counts as issued at 0.
//!
//! The list is in memory, so that a token is checked without a store. A node that cannot read the
//! store keeps the list that it has.

use std::collections::HashMap;
use std::hash::Hash;
use std::sync::Arc;

use tokio::sync::watch;
use uuid::Uuid;

use super::SubscriberClaims;
use onrecord_evidence::event::ids::Tenant;
use onrecord_evidence::event::instant::Millis;

/// Which tokens of a tenant are revoked.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum RevokedTokens {
    /// Those of the person with this raw id.
    Person(String),
    /// Those that the API key with this id minted.
    Key(Uuid),
    /// All.
    All,
}

/// A revocation of the tokens that were issued until an instant.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TokenRevocation {
    pub tenant: Tenant,
    pub tokens: RevokedTokens,
    /// The last instant at which a revoked token was issued, ms.
    pub issued_until: Millis,
}

/// The revocations of one tenant, each with its latest instant.
#[derive(Debug, Default)]
struct TenantRevocations {
    all: HashMap<(), Millis>,
    persons: HashMap<String, Millis>,
    keys: HashMap<Uuid, Millis>,
}

impl TenantRevocations {
    /// Adds a revocation; false if it revokes no further token.
    fn add(&mut self, tokens: RevokedTokens, issued_until: Millis) -> bool {
        match tokens {
            RevokedTokens::Person(raw_id) => raise(&mut self.persons, raw_id, issued_until),
            RevokedTokens::Key(key) => raise(&mut self.keys, key, issued_until),
            RevokedTokens::All => raise(&mut self.all, (), issued_until),
        }
    }

    fn covers(&self, claims: &SubscriberClaims) -> bool {
        let persons = claims.persons().filter_map(|raw_id| self.persons.get(raw_id));
        let key = claims.key.and_then(|key| self.keys.get(&key));
        let mut instants = persons.chain(key).chain(self.all.values());
        instants.any(|issued_until| claims.issued_at <= *issued_until)
    }
}

/// Raises the value of a key; false if it is as high already.
fn raise<K: Eq + Hash>(map: &mut HashMap<K, Millis>, key: K, value: Millis) -> bool {
    let kept = map.entry(key).or_insert(Millis::MIN);
    let is_raised = *kept < value;
    *kept = value.max(*kept);
    is_raised
}

/// The revocations that this node has read. Clones share them.
#[derive(Clone, Default)]
pub struct TokenRevocations {
    by_tenant: Arc<watch::Sender<HashMap<Tenant, TenantRevocations>>>,
}

impl TokenRevocations {
    /// Adds revocations; those that are known already have no effect.
    pub fn add(&self, revocations: impl IntoIterator<Item = TokenRevocation>) {
        self.by_tenant.send_if_modified(|by_tenant| {
            let mut is_changed = false;
            for TokenRevocation { tenant, tokens, issued_until } in revocations {
                is_changed |= by_tenant.entry(tenant).or_default().add(tokens, issued_until);
            }
            is_changed
        });
    }

    /// Whether a token with these claims is revoked.
    #[must_use]
    pub fn covers(&self, claims: &SubscriberClaims) -> bool {
        let by_tenant = self.by_tenant.borrow();
        by_tenant.get(&claims.tenant).is_some_and(|revocations| revocations.covers(claims))
    }

    /// Completes when a token with these claims is revoked.
    pub(crate) async fn revoked(&self, claims: &SubscriberClaims) {
        let mut changes = self.by_tenant.subscribe();
        while !self.covers(claims) {
            // The sender is a field of these revocations, so the channel is open.
            let _ = changes.changed().await;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const ANNA: &str = "8:acs:r_anna";
    const KEY: Uuid = Uuid::from_u128(7);

    fn tenant(name: &str) -> Tenant {
        Tenant::parse(name).unwrap()
    }

    fn issued(at: Millis) -> SubscriberClaims {
        SubscriberClaims::new(tenant("t"), ANNA.to_owned(), None, 0)
            .granting(vec!["8:orgid:anna".to_owned()], Default::default())
            .minted(at, KEY)
    }

    fn revoked(name: &str, tokens: RevokedTokens) -> TokenRevocations {
        let revocations = TokenRevocations::default();
        revocations.add([TokenRevocation { tenant: tenant(name), tokens, issued_until: 1_000 }]);
        revocations
    }

    #[test]
    fn a_revocation_covers_the_tokens_that_were_issued_until_its_instant() {
        for tokens in [
            RevokedTokens::Person(ANNA.to_owned()),
            RevokedTokens::Person("8:orgid:anna".to_owned()),
            RevokedTokens::Key(KEY),
            RevokedTokens::All,
        ] {
            let revocations = revoked("t", tokens.clone());
            assert!(revocations.covers(&issued(1_000)), "{tokens:?}");
            assert!(!revocations.covers(&issued(1_001)), "{tokens:?}");
            // An earlier revocation of the same tokens takes nothing back.
            revocations.add([TokenRevocation { tenant: tenant("t"), tokens, issued_until: 1 }]);
            assert!(revocations.covers(&issued(1_000)));
        }
    }

    #[test]
    fn a_revocation_of_others_covers_nothing() {
        for revocations in [
            revoked("t", RevokedTokens::Person("8:acs:r_ben".to_owned())),
            revoked("t", RevokedTokens::Key(Uuid::max())),
            revoked("other", RevokedTokens::All),
            TokenRevocations::default(),
        ] {
            assert!(!revocations.covers(&issued(1)));
        }
    }

    #[test]
    fn a_token_of_an_older_version_counts_as_issued_at_0_and_of_no_key() {
        let old = SubscriberClaims::new(tenant("t"), ANNA.to_owned(), None, 0);
        assert!(revoked("t", RevokedTokens::Person(ANNA.to_owned())).covers(&old));
        assert!(revoked("t", RevokedTokens::All).covers(&old));
        assert!(!revoked("t", RevokedTokens::Key(KEY)).covers(&old));
    }

    #[tokio::test]
    async fn a_running_stream_is_woken_by_the_revocation_of_its_token() {
        let revocations = TokenRevocations::default();
        let claims = issued(1);
        let waiting = revocations.revoked(&claims);
        tokio::pin!(waiting);
        assert!(futures_util::poll!(&mut waiting).is_pending());
        let of_another = TokenRevocation {
            tenant: tenant("other"),
            tokens: RevokedTokens::All,
            issued_until: 1_000,
        };
        revocations.add([of_another.clone()]);
        assert!(futures_util::poll!(&mut waiting).is_pending());
        revocations.add([TokenRevocation { tenant: tenant("t"), ..of_another }]);
        waiting.await;
    }
}
