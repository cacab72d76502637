//! What attempts need to know about subscriptions: addresses, and the keys that sign.

use std::collections::HashMap;
use std::sync::Arc;

use chrono::{DateTime, Utc};
use uuid::Uuid;

use crate::postgres::{ClaimedMessage, Postgres, StaleNotices, StoreError, StoredEndpoint};
use crate::webhooks::signature::secret_seal::{SealError, SecretSeal};
use crate::webhooks::signature::signing_secret::{SigningKeyPair, signature_header};

/// Maximum number of subscriptions that are kept in memory.
const MAX_KEPT: usize = 10_000;

/// A subscription, as attempts need it.
pub(crate) struct Endpoint {
    version: i32,
    pub url: String,
    pub fallback_url: Option<String>,
    pub sends_stale_notices: bool,
    /// The newest first, each with the instant at which it ends.
    keys: Vec<(SigningKeyPair, Option<DateTime<Utc>>)>,
    /// Why it cannot sign.
    pub error: Option<SealError>,
}

impl Endpoint {
    fn of(stored: StoredEndpoint, seal: &SecretSeal) -> Self {
        let (mut keys, mut error) = (Vec::new(), None);
        for secret in &stored.secrets {
            match seal.open(stored.id, &secret.sealed) {
                Ok(opened) => keys.extend(opened.key().map(|key| (key, secret.expires_at))),
                Err(refused) => error = Some(refused),
            }
        }
        Self {
            version: stored.version,
            url: stored.url,
            fallback_url: stored.fallback_url,
            sends_stale_notices: stored.stale == <&str>::from(StaleNotices::Send),
            // One key is enough: the receiver may have only this one.
            error: error.filter(|_| keys.is_empty()),
            keys,
        }
    }

    /// The signatures of a message by the keys that are valid now.
    pub(crate) fn signatures(&self, id: &str, now: DateTime<Utc>, body: &str) -> String {
        let valid = self.keys.iter().filter(|(_, until)| until.is_none_or(|until| now < until));
        signature_header(valid.map(|(key, _)| key), id, now.timestamp(), body)
    }
}

/// The subscriptions that this node sends to.
pub(crate) struct Endpoints {
    seal: SecretSeal,
    kept: HashMap<Uuid, Arc<Endpoint>>,
}

impl Endpoints {
    pub(crate) fn new(seal: SecretSeal) -> Self {
        Self { seal, kept: HashMap::new() }
    }

    /// Reads the subscriptions of these messages that are not kept, or changed since.
    ///
    /// # Errors
    ///
    /// [`StoreError`].
    pub(crate) async fn read(
        &mut self,
        store: &Postgres,
        claimed: &[ClaimedMessage],
    ) -> Result<(), StoreError> {
        let is_current = |message: &&ClaimedMessage| {
            let kept = self.kept.get(&message.subscription);
            kept.is_some_and(|kept| kept.version >= message.version)
        };
        let mut missing: Vec<Uuid> = claimed
            .iter()
            .filter(|message| !is_current(message))
            .map(|message| message.subscription)
            .collect();
        missing.sort_unstable();
        missing.dedup();
        if missing.is_empty() {
            return Ok(());
        }
        if self.kept.len() + missing.len() > MAX_KEPT {
            self.kept.clear();
        }
        for stored in store.webhook_endpoints(&missing).await? {
            self.kept.insert(stored.id, Arc::new(Endpoint::of(stored, &self.seal)));
        }
        Ok(())
    }

    /// A subscription that was read; `None`: it was deleted.
    pub(crate) fn get(&self, id: Uuid) -> Option<Arc<Endpoint>> {
        self.kept.get(&id).cloned()
    }
}
