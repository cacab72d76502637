//! The look-up of API keys in Postgres, for the HTTP layer.

use futures_util::FutureExt as _;
use futures_util::future::BoxFuture;

use crate::http::auth::{ApiKeyLookup, Caller, CallerKind, KeyLookupError};
use crate::postgres::{Postgres, StoreError};

/// The API keys that are stored.
pub(super) struct StoredKeys(pub Postgres);

impl ApiKeyLookup for StoredKeys {
    fn live_keys(&self) -> BoxFuture<'_, Result<Vec<Caller>, KeyLookupError>> {
        async {
            let keys = self.0.api_keys().await.map_err(lookup_error)?;
            let live = keys.into_iter().filter(|key| key.revoked_at.is_none());
            let callers = live.map(|key| Caller {
                kind: CallerKind::ApiKey,
                id: key.id,
                tenant: key.tenant,
                role: key.role,
                name: key.name,
                key: key.hash,
            });
            Ok(callers.collect())
        }
        .boxed()
    }
}

fn lookup_error(error: StoreError) -> KeyLookupError {
    match error {
        StoreError::Unavailable(_)
        | StoreError::Contended(_)
        | StoreError::Exhausted(_)
        | StoreError::UnknownOutcome(_)
        | StoreError::Fenced => KeyLookupError::Unavailable(error.to_string()),
        StoreError::Content(_)
        | StoreError::Fault(_)
        | StoreError::TooLarge
        | StoreError::Inconsistent(_)
        | StoreError::Schema(_) => KeyLookupError::Failed(error.to_string()),
    }
}
