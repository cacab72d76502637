//! Authentication of callers of `/v1` by API key.
//!
//! # Why
//!
//! All live keys are held in memory; they are few. So a caller with a known key is authenticated
//! also while Postgres is unavailable.

use std::collections::HashMap;
use std::marker::PhantomData;
use std::sync::{Arc, PoisonError, RwLock};
use std::time::{Duration, Instant};

use axum::extract::{FromRef, FromRequestParts};
use axum::http::request::Parts;
use axum::http::{HeaderMap, header};
use futures_util::future::BoxFuture;
use tokio::sync::watch;
use uuid::Uuid;

use crate::http::api_role::ApiRole;
use crate::http::body::BodySender;
use crate::http::problem::{Problem, ProblemKind};
use crate::http::shared_capacity::ShareHolder;
use onrecord_evidence::event::ids::{Digest, Tenant};

/// Minimum interval between two look-ups that unknown keys cause; it slows down guessing.
const MIN_REFRESH_INTERVAL: Duration = Duration::from_millis(100);

/// Timeout of the look-up of an unknown key.
const LOOKUP_TIMEOUT: Duration = Duration::from_secs(5);

/// Prefix of every API key, so that a leaked one can be searched for.
pub(crate) const KEY_PREFIX: &str = "onr_";

/// A caller with a valid API key, or a user who is signed in to the console.
#[derive(Clone, Debug)]
pub(crate) struct Caller {
    pub kind: CallerKind,
    /// The id of the key, or of the user.
    pub id: Uuid,
    pub tenant: Tenant,
    pub role: ApiRole,
    /// The name of the key, or of the user.
    pub name: String,
    /// The hash of the key; of a user a digest of the id. Together with the tenant it has a share of what
    /// callers use at a time.
    pub key: Digest,
}

/// What a caller is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, strum::IntoStaticStr)]
#[strum(serialize_all = "snake_case")]
pub(crate) enum CallerKind {
    ApiKey,
    /// A user of the console, by OpenID Connect.
    User,
}

impl CallerKind {
    /// The stored name.
    pub(crate) fn as_str(self) -> &'static str {
        self.into()
    }
}

/// The source of the live API keys.
pub(crate) trait ApiKeyLookup: Send + Sync {
    /// The callers of all keys that are not revoked.
    fn live_keys(&self) -> BoxFuture<'_, Result<Vec<Caller>, KeyLookupError>>;
}

/// The live API keys cannot be looked up.
#[derive(Debug, thiserror::Error)]
pub(crate) enum KeyLookupError {
    /// Another attempt may succeed.
    #[error("{0}")]
    Unavailable(String),
    #[error("{0}")]
    Failed(String),
}

impl From<KeyLookupError> for Problem {
    fn from(error: KeyLookupError) -> Self {
        match error {
            KeyLookupError::Unavailable(_) => {
                tracing::warn!(error = %error, "the store did not answer: {error}");
                Self::try_again("the store does not answer now", LOOKUP_TIMEOUT)
            }
            KeyLookupError::Failed(_) => {
                tracing::error!(error = %error, "the store failed: {error}");
                Self::new(ProblemKind::Internal, "the log of the server has details")
            }
        }
    }
}

/// All live API keys, by their hash.
#[derive(Clone)]
pub(crate) struct ApiKeyCache {
    lookup: Arc<dyn ApiKeyLookup>,
    cached: Arc<RwLock<CachedKeys>>,
    /// Signals each refresh.
    refreshed: Arc<watch::Sender<()>>,
    /// Held during a look-up for an unknown key, so that one look-up serves all waiting requests.
    refreshing: Arc<tokio::sync::Mutex<()>>,
}

#[derive(Default)]
struct CachedKeys {
    keys: HashMap<Digest, Caller>,
    /// When the look-up began that these keys come from.
    looked_up_at: Option<Instant>,
}

impl ApiKeyCache {
    /// An empty cache. It is filled by [`Self::refresh`], or by the first unknown key.
    #[must_use]
    pub(crate) fn new(lookup: Arc<dyn ApiKeyLookup>) -> Self {
        Self {
            lookup,
            cached: Arc::default(),
            refreshed: Arc::new(watch::Sender::new(())),
            refreshing: Arc::default(),
        }
    }

    /// Looks up all live keys again.
    ///
    /// # Errors
    ///
    /// [`KeyLookupError`]; the cached keys stay valid.
    pub(crate) async fn refresh(&self) -> Result<(), KeyLookupError> {
        let looked_up_at = Some(Instant::now());
        let live = self.lookup.live_keys().await?;
        let keys = live.into_iter().map(|caller| (caller.key, caller)).collect();
        *self.cached.write().unwrap_or_else(PoisonError::into_inner) =
            CachedKeys { keys, looked_up_at };
        self.refreshed.send_replace(());
        Ok(())
    }

    /// Completes when a key is revoked, so that the streams that it opened can be closed.
    pub(crate) async fn revoked(&self, key: Digest) {
        let mut refreshed = self.refreshed.subscribe();
        while self.get(&key).is_some() {
            // The sender is a field of this cache, so the channel is open.
            let _ = refreshed.changed().await;
        }
    }

    /// The caller of a request, which must have one of these roles. `admin` may do everything.
    ///
    /// # Errors
    ///
    /// 403 for another role; 401 for an unknown key, 503 if the store does not answer.
    pub(crate) async fn authorize(
        &self,
        headers: &HeaderMap,
        roles: &[ApiRole],
    ) -> Result<Caller, Problem> {
        let caller = self.authenticate(headers).await?;
        if caller.role == ApiRole::Admin || roles.contains(&caller.role) {
            return Ok(caller);
        }
        let names: Vec<&str> = roles.iter().map(|role| role.as_str()).collect();
        Err(Problem::new(
            ProblemKind::Forbidden,
            format!("this needs an API key of role {}", names.join(" or ")),
        ))
    }

    /// The caller of a request, by `Authorization: Bearer onr_…` or `x-onrecord-key`.
    async fn authenticate(&self, headers: &HeaderMap) -> Result<Caller, Problem> {
        let key = bearer_token(headers)
            .or_else(|| headers.get("x-onrecord-key").and_then(|value| value.to_str().ok()))
            .filter(|key| key.starts_with(KEY_PREFIX))
            .ok_or_else(|| Problem::new(ProblemKind::Unauthorized, "send an API key: `Authorization: Bearer onr_…`; `onrecord key create` makes one"))?;
        if let Some(caller) = self.known(key) {
            return Ok(caller);
        }
        self.look_up(key).await
    }

    /// The caller of an API key that the cache has.
    pub(crate) fn known(&self, key: &str) -> Option<Caller> {
        self.get(&Digest::of(key.as_bytes()))
    }

    /// The live keys of a tenant, by their names.
    pub(crate) fn of_tenant(&self, tenant: &Tenant) -> Vec<Caller> {
        let cached = self.cached.read().unwrap_or_else(PoisonError::into_inner);
        let mut keys: Vec<Caller> =
            cached.keys.values().filter(|key| key.tenant == *tenant).cloned().collect();
        keys.sort_by(|one, other| (&one.name, one.id).cmp(&(&other.name, other.id)));
        keys
    }

    /// The caller of an API key that the cache does not have.
    ///
    /// # Errors
    ///
    /// 401 for an unknown key, 503 if the store does not answer.
    pub(crate) async fn look_up(&self, key: &str) -> Result<Caller, Problem> {
        // The timeout includes the wait for the look-ups of other requests.
        let refresh = tokio::time::timeout(LOOKUP_TIMEOUT, self.refresh_since(Instant::now()));
        refresh.await.map_err(|_| {
            Problem::try_again(
                "this API key cannot be checked now, because the store does not answer",
                LOOKUP_TIMEOUT,
            )
        })??;
        self.known(key).ok_or_else(|| {
            Problem::new(ProblemKind::Unauthorized, "this API key is not known, or revoked")
        })
    }

    /// Ensures that the keys were looked up after `since`, so that a key that was created just now
    /// is found.
    async fn refresh_since(&self, since: Instant) -> Result<(), KeyLookupError> {
        let _refreshing = self.refreshing.lock().await;
        let looked_up_at = self.cached.read().unwrap_or_else(PoisonError::into_inner).looked_up_at;
        if looked_up_at.is_some_and(|at| at >= since) {
            return Ok(());
        }
        if let Some(at) = looked_up_at {
            tokio::time::sleep(MIN_REFRESH_INTERVAL.saturating_sub(at.elapsed())).await;
        }
        self.refresh().await
    }

    /// The cached caller of a key. The time of the look-up reveals nothing about the key, because
    /// it depends on its hash only.
    fn get(&self, hash: &Digest) -> Option<Caller> {
        let cached = self.cached.read().unwrap_or_else(PoisonError::into_inner);
        cached.keys.get(hash).cloned()
    }
}

/// A set of roles; `admin` belongs to each.
pub(crate) trait RoleSet {
    const ROLES: &[ApiRole];
}

/// The roles of the backend of a client app.
pub(crate) struct AppRole;

impl RoleSet for AppRole {
    const ROLES: &[ApiRole] = &[ApiRole::App];
}

/// The roles that may close exceptions and read the quarantine.
pub(crate) struct AuditorRole;

impl RoleSet for AuditorRole {
    const ROLES: &[ApiRole] = &[ApiRole::Auditor];
}

/// The role that manages keys.
pub(crate) struct AdminRole;

impl RoleSet for AdminRole {
    const ROLES: &[ApiRole] = &[];
}

/// The roles that may read the history.
pub(crate) struct ReaderRole;

impl RoleSet for ReaderRole {
    const ROLES: &[ApiRole] = &[ApiRole::Analyst, ApiRole::Auditor];
}

/// A caller whose API key has one of the roles.
pub(crate) struct Authorized<R> {
    pub caller: Caller,
    roles: PhantomData<R>,
}

impl<S, R> FromRequestParts<S> for Authorized<R>
where
    S: Send + Sync,
    R: RoleSet,
    ApiKeyCache: FromRef<S>,
{
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, state: &S) -> Result<Self, Problem> {
        let keys = ApiKeyCache::from_ref(state);
        let caller = keys.authorize(&parts.headers, R::ROLES).await?;
        Ok(Self { caller, roles: PhantomData })
    }
}

impl<R> BodySender for Authorized<R> {
    fn share_holder(&self) -> ShareHolder {
        ShareHolder::api_key(&self.caller.tenant, self.caller.key)
    }
}

/// The bearer token of a request.
#[must_use]
pub(crate) fn bearer_token(headers: &HeaderMap) -> Option<&str> {
    let value = headers.get(header::AUTHORIZATION)?.to_str().ok()?;
    let (scheme, token) = value.split_once(' ')?;
    scheme.eq_ignore_ascii_case("bearer").then(|| token.trim())
}
