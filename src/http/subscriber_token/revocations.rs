//! Revoked subscriber tokens: of a person, of the API key that minted them, or all of a tenant.
//!
//! # Why
//!
//! A revocation names an instant, and covers the tokens that were issued until then. So the list needs
//! no ids of tokens, and a person can get another token at once. A token that does not state when it
//! was issued (of an older version) counts as issued at 0.
//!
//! The tokens of a revoked API key are covered whenever they were issued: such a key must mint no
//! more, but for some seconds, or as long as its store is away, a node may still accept it.
//!
//! The list is in memory, so that a token is checked without a store. A node that cannot read the
//! store keeps the list that it has. A revocation that covers expired tokens only is dropped.

use std::collections::HashMap;
use std::hash::Hash;
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::watch;
use tokio::time::{Instant, timeout_at};
use uuid::Uuid;

use super::SubscriberClaims;
use onrecord_evidence::event::ids::Tenant;
use onrecord_evidence::event::instant::Millis;
use onrecord_evidence::identity::raw_id::canonical_raw_id;

/// Interval at which revocations of expired tokens are dropped, ms.
const DROP_INTERVAL: Millis = 60_000;

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

/// Until when the tokens of a revocation were issued.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum IssuedUntil {
    /// Until this instant, ms.
    At(Millis),
    /// Whenever: the API key that mints them is revoked.
    Forever,
}

impl IssuedUntil {
    fn covers(self, issued_at: Millis) -> bool {
        Self::At(issued_at) <= self
    }
}

/// A revocation of the tokens that were issued until an instant.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TokenRevocation {
    pub tenant: Tenant,
    pub tokens: RevokedTokens,
    pub issued_until: IssuedUntil,
}

/// The revocations of one tenant, each with its latest instant.
#[derive(Debug, Default)]
struct TenantRevocations {
    all: HashMap<(), IssuedUntil>,
    persons: HashMap<String, IssuedUntil>,
    keys: HashMap<Uuid, IssuedUntil>,
}

impl TenantRevocations {
    /// Adds a revocation; false if it revokes no further token.
    fn add(&mut self, tokens: RevokedTokens, issued_until: IssuedUntil) -> bool {
        match tokens {
            RevokedTokens::Person(raw_id) => {
                let raw_id = canonical_raw_id(&raw_id).into_owned();
                raise(&mut self.persons, raw_id, issued_until)
            }
            RevokedTokens::Key(key) => raise(&mut self.keys, key, issued_until),
            RevokedTokens::All => raise(&mut self.all, (), issued_until),
        }
    }

    fn covers(&self, claims: &SubscriberClaims) -> bool {
        let persons = claims.subject.persons().filter_map(|raw_id| self.persons.get(raw_id));
        let key = claims.key.and_then(|key| self.keys.get(&key));
        let mut instants = persons.chain(key).chain(self.all.values());
        instants.any(|issued_until| issued_until.covers(claims.issued_at))
    }

    /// Drops the revocations that cover no token that was issued after this instant (ms).
    fn drop_until(&mut self, instant: Millis) {
        drop_until(&mut self.all, instant);
        drop_until(&mut self.persons, instant);
        drop_until(&mut self.keys, instant);
    }

    fn is_empty(&self) -> bool {
        self.all.is_empty() && self.persons.is_empty() && self.keys.is_empty()
    }
}

fn drop_until<K: Eq + Hash>(map: &mut HashMap<K, IssuedUntil>, instant: Millis) {
    map.retain(|_, issued_until| *issued_until > IssuedUntil::At(instant));
    // A map keeps the memory of the most entries that it had.
    if map.len() < map.capacity() / 4 {
        map.shrink_to_fit();
    }
}

/// Raises the value of a key; false if it is as high already.
fn raise<K: Eq + Hash>(map: &mut HashMap<K, IssuedUntil>, key: K, value: IssuedUntil) -> bool {
    let kept = map.entry(key).or_insert(IssuedUntil::At(Millis::MIN));
    let is_raised = *kept < value;
    *kept = value.max(*kept);
    is_raised
}

/// The revocations of all tenants.
#[derive(Debug)]
struct KeptRevocations {
    by_tenant: HashMap<Tenant, TenantRevocations>,
    /// When the expired ones were dropped last, ms.
    dropped_at: Millis,
}

impl KeptRevocations {
    /// Adds revocations; false if they revoke no further token.
    fn add(&mut self, revocations: impl IntoIterator<Item = TokenRevocation>) -> bool {
        let mut is_changed = false;
        for TokenRevocation { tenant, tokens, issued_until } in revocations {
            is_changed |= self.by_tenant.entry(tenant).or_default().add(tokens, issued_until);
        }
        is_changed
    }

    fn covers(&self, claims: &SubscriberClaims) -> bool {
        let of_tenant = self.by_tenant.get(&claims.tenant);
        of_tenant.is_some_and(|revocations| revocations.covers(claims))
    }

    fn drop_until(&mut self, instant: Millis) {
        for revocations in self.by_tenant.values_mut() {
            revocations.drop_until(instant);
        }
        self.by_tenant.retain(|_, revocations| !revocations.is_empty());
    }
}

/// The revocations that this node has read. Clones share them.
#[derive(Clone)]
pub struct TokenRevocations {
    kept: Arc<watch::Sender<KeptRevocations>>,
    /// Maximum time from the issue of a token to its expiry.
    retention: Millis,
}

impl TokenRevocations {
    /// No revocations. One is kept for this time after the last token that it covers was issued.
    #[must_use]
    pub fn new(retention: Duration) -> Self {
        let kept = KeptRevocations { by_tenant: HashMap::new(), dropped_at: Millis::MIN };
        let retention = Millis::try_from(retention.as_millis()).unwrap_or(Millis::MAX);
        Self { kept: Arc::new(watch::Sender::new(kept)), retention }
    }

    /// Tokens that were issued until this instant (ms) have expired at `now`.
    #[must_use]
    pub fn expired_until(&self, now: Millis) -> Millis {
        now.saturating_sub(self.retention)
    }

    /// Adds revocations at `now` (ms); those that are known already have no effect.
    pub fn add(&self, revocations: impl IntoIterator<Item = TokenRevocation>, now: Millis) {
        self.kept.send_if_modified(|kept| {
            let is_changed = kept.add(revocations);
            if now.saturating_sub(kept.dropped_at) >= DROP_INTERVAL {
                kept.dropped_at = now;
                kept.drop_until(self.expired_until(now));
            }
            is_changed
        });
    }

    /// Whether a token with these claims is revoked.
    #[must_use]
    pub fn covers(&self, claims: &SubscriberClaims) -> bool {
        self.kept.borrow().covers(claims)
    }

    /// The changes of these revocations from now on.
    pub(crate) fn changes(&self) -> RevocationChanges {
        RevocationChanges(self.kept.subscribe())
    }
}

/// Follows the revocations for one stream: smaller than [`TokenRevocations`] and a wait, of which each stream has
/// one.
pub(crate) struct RevocationChanges(watch::Receiver<KeptRevocations>);

impl RevocationChanges {
    /// Completes when a token with these claims is revoked.
    pub(crate) async fn revoked(mut self, claims: &SubscriberClaims) {
        while !self.0.borrow_and_update().covers(claims) && self.0.changed().await.is_ok() {}
    }

    /// Whether a token with these claims is revoked before an instant. Completes then at the latest.
    pub(crate) fn revoked_before(
        self,
        claims: Arc<SubscriberClaims>,
        ends_at: Instant,
    ) -> impl Future<Output = bool> + Send + use<> {
        let Self(mut changes) = self;
        // A block, because an async function keeps its arguments twice.
        async move {
            // A timer of no time needs a millisecond.
            while ends_at > Instant::now() {
                if changes.borrow_and_update().covers(&claims) {
                    return true;
                }
                // Without a sender there are no more revocations, and the service stops.
                if let Ok(Err(_)) = timeout_at(ends_at, changes.changed()).await {
                    tokio::time::sleep_until(ends_at).await;
                }
            }
            false
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

    const RETENTION: Duration = Duration::from_secs(3600);

    fn none() -> TokenRevocations {
        TokenRevocations::new(RETENTION)
    }

    fn revocation(name: &str, tokens: RevokedTokens, until: Millis) -> TokenRevocation {
        TokenRevocation { tenant: tenant(name), tokens, issued_until: IssuedUntil::At(until) }
    }

    fn revoked(name: &str, tokens: RevokedTokens) -> TokenRevocations {
        let revocations = none();
        revocations.add([revocation(name, tokens, 1_000)], 1_000);
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
            revocations.add([revocation("t", tokens, 1)], 1_000);
            assert!(revocations.covers(&issued(1_000)));
        }
    }

    #[test]
    fn a_revocation_of_others_covers_nothing() {
        for revocations in [
            revoked("t", RevokedTokens::Person("8:acs:r_ben".to_owned())),
            revoked("t", RevokedTokens::Key(Uuid::max())),
            revoked("other", RevokedTokens::All),
            none(),
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
        let revocations = none();
        let claims = issued(1);
        let waiting = revocations.changes().revoked(&claims);
        tokio::pin!(waiting);
        assert!(futures_util::poll!(&mut waiting).is_pending());
        revocations.add([revocation("other", RevokedTokens::All, 1_000)], 1_000);
        assert!(futures_util::poll!(&mut waiting).is_pending());
        revocations.add([revocation("t", RevokedTokens::All, 1_000)], 1_000);
        waiting.await;
    }

    #[test]
    fn the_tokens_of_a_revoked_key_are_covered_whenever_they_were_issued() {
        let revocations = none();
        let forever = TokenRevocation {
            issued_until: IssuedUntil::Forever,
            ..revocation("t", RevokedTokens::Key(KEY), 0)
        };
        revocations.add([forever], 1_000);
        // An earlier revocation of the key, read later, takes nothing back.
        revocations.add([revocation("t", RevokedTokens::Key(KEY), 1_000)], 1_000);
        for issued_at in [0, 1_000, 1_001, Millis::MAX] {
            assert!(revocations.covers(&issued(issued_at)), "{issued_at}");
        }
    }

    #[test]
    fn a_revocation_is_dropped_when_the_tokens_that_it_covers_have_expired() {
        let kept_of = |revocations: &TokenRevocations| {
            let kept = revocations.kept.borrow();
            kept.by_tenant.values().map(|it| it.persons.len() + it.keys.len() + it.all.len()).sum()
        };
        let revocations = none();
        let retention = Millis::try_from(RETENTION.as_millis()).unwrap();
        let persons = (0..1_000).map(|it| RevokedTokens::Person(format!("8:acs:{it}")));
        revocations.add(persons.map(|person| revocation("t", person, 1_000)), 1_000);
        revocations.add([revocation("gone", RevokedTokens::All, 1_000)], 1_000);
        let forever = TokenRevocation {
            issued_until: IssuedUntil::Forever,
            ..revocation("t", RevokedTokens::Key(KEY), 0)
        };
        revocations.add([forever], 1_000);
        revocations.add([], 999 + retention);
        let kept: usize = kept_of(&revocations);
        assert_eq!(kept, 1_002);
        let now = 60_999 + retention;
        revocations.add([revocation("t", RevokedTokens::All, now)], now);
        let kept: usize = kept_of(&revocations);
        assert_eq!(kept, 2, "that of now, and that of the revoked key");
        assert_eq!(revocations.kept.borrow().by_tenant.len(), 1);
    }
}
