//! Opens, reads and ends sessions. A session has the tenant and the role that its API key has now, or the role that
//! its user has now in the tenant that it shows.

use std::sync::Arc;

use chrono::{DateTime, TimeDelta, Utc};
use uuid::Uuid;

use super::oidc::provider::OidcProvider;
use super::throttle::SignInThrottle;
use super::token::{form_token, random_token};
use crate::config::{ConsoleSettings, KeySignIn};
use crate::http::api_role::ApiRole;
use crate::http::auth::{Caller, CallerKind};
use crate::postgres::{
    ListedSession, NewConsoleSession, Postgres, SessionActor, SessionLimits, SignOut, StoreError,
};
use onrecord_evidence::event::ids::{Digest, Tenant};

/// How long the row of a session is kept after it was created.
const KEPT: TimeDelta = TimeDelta::days(31);
/// Interval at which the use of a session is noted.
const USE_INTERVAL: TimeDelta = TimeDelta::minutes(1);
/// Maximum length of a stored user agent, in characters.
const MAX_USER_AGENT: usize = 256;

/// The sessions of all tenants.
#[derive(Clone)]
pub(crate) struct Sessions {
    store: Postgres,
    settings: Arc<ConsoleSettings>,
    provider: Option<OidcProvider>,
    pub(in crate::console) throttle: SignInThrottle,
}

/// A user of the console as a caller.
pub(in crate::console::session) fn user_caller(
    id: Uuid,
    tenant: Tenant,
    role: ApiRole,
    name: String,
) -> Caller {
    let key = Digest::of_parts(&["user of the console", &id.to_string()]);
    Caller { kind: CallerKind::User, id, tenant, role, name, key }
}

/// A reader who is signed in.
#[derive(Clone, Debug)]
pub(in crate::console) struct SignedIn {
    pub session: Uuid,
    pub since: DateTime<Utc>,
    pub caller: Caller,
    /// The tenants that the reader may see; empty for an API key, which has one.
    pub tenants: Vec<Tenant>,
    /// The token that each form of the session has.
    pub form_token: String,
}

impl Sessions {
    pub(crate) fn new(store: Postgres, settings: &ConsoleSettings) -> Self {
        let provider = OidcProvider::of(&settings.oidc);
        let settings = Arc::new(settings.clone());
        Self { store, settings, provider, throttle: SignInThrottle::default() }
    }

    /// The OpenID provider, if users sign in by one.
    pub(in crate::console) fn provider(&self) -> Option<&OidcProvider> {
        self.provider.as_ref()
    }

    /// Whether API keys sign in.
    pub(in crate::console) fn takes_keys(&self) -> bool {
        self.settings.api_keys == KeySignIn::Allowed
    }

    /// Opens a session in place of the one with this hash of a token, and returns its token for the cookie.
    ///
    /// # Errors
    ///
    /// [`StoreError`].
    pub(in crate::console) async fn open(
        &self,
        tenant: &Tenant,
        actor: SessionActor,
        user_agent: Option<&str>,
        replaces: Option<Digest>,
        now: DateTime<Utc>,
    ) -> Result<String, StoreError> {
        let token = random_token();
        let user_agent: Option<String> =
            user_agent.map(|text| text.chars().take(MAX_USER_AGENT).collect());
        let session = NewConsoleSession {
            id: Uuid::now_v7(),
            tenant,
            actor,
            token_hash: Digest::of(token.as_bytes()),
            created_at: now,
            user_agent: user_agent.as_deref(),
            replaces,
        };
        self.store.insert_console_session(&session, now - KEPT).await?;
        Ok(token)
    }

    /// Who has this token. `None`: it is unknown, the session ended, its key is revoked, or its user has no role any
    /// more in the tenant that it shows.
    ///
    /// # Errors
    ///
    /// [`StoreError`].
    pub(in crate::console) async fn of_token(
        &self,
        token: &str,
        now: DateTime<Utc>,
    ) -> Result<Option<SignedIn>, StoreError> {
        let hash = Digest::of(token.as_bytes());
        let Some(found) = self.store.console_session(&hash, self.limits(now)).await? else {
            return Ok(None);
        };
        // A role that this version does not have gives no right.
        let Ok(role) = found.actor.role.parse() else {
            return Ok(None);
        };
        if now - found.last_used_at >= USE_INTERVAL {
            self.store.use_console_session(found.id, now).await?;
        }
        let actor = found.actor;
        let (id, tenant, name) = (actor.id, actor.tenant, actor.name);
        let form_token = form_token(token, tenant.as_str());
        let caller = match actor.key_hash {
            Some(key) => Caller { kind: CallerKind::ApiKey, id, tenant, role, name, key },
            None => user_caller(id, tenant, role, name),
        };
        Ok(Some(SignedIn {
            session: found.id,
            since: found.created_at,
            caller,
            tenants: found.tenants,
            form_token,
        }))
    }

    fn limits(&self, now: DateTime<Utc>) -> SessionLimits {
        let limit = |length| now - TimeDelta::from_std(length).unwrap_or(KEPT);
        SessionLimits {
            // The use of the last minute may not be noted yet.
            used_since: limit(self.settings.idle) - USE_INTERVAL,
            created_since: limit(self.settings.max_session),
            of_keys: self.takes_keys(),
            rules: self.provider.as_ref().map(OidcProvider::rules),
        }
    }

    /// The valid sessions that may see a tenant.
    ///
    /// # Errors
    ///
    /// [`StoreError`].
    pub(in crate::console) async fn of_tenant(
        &self,
        tenant: &Tenant,
        now: DateTime<Utc>,
    ) -> Result<Vec<ListedSession>, StoreError> {
        self.store.console_sessions_of(tenant, self.limits(now)).await
    }

    /// When the key or the user was in the console before this session.
    ///
    /// # Errors
    ///
    /// [`StoreError`].
    pub(in crate::console) async fn last_visit(
        &self,
        signed_in: &SignedIn,
    ) -> Result<Option<DateTime<Utc>>, StoreError> {
        self.store.last_visit(signed_in.caller.id, signed_in.session).await
    }

    /// Ends sessions.
    ///
    /// # Errors
    ///
    /// [`StoreError`].
    pub(in crate::console) async fn end(
        &self,
        which: SignOut,
        now: DateTime<Utc>,
    ) -> Result<u64, StoreError> {
        self.store.end_console_sessions(which, now).await
    }
}
