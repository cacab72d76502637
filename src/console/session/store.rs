//! Opens, reads and ends sessions. A session has the tenant and the role that its API key has now.

use chrono::{DateTime, TimeDelta, Utc};
use uuid::Uuid;

use super::throttle::SignInThrottle;
use super::token::{form_token, random_token};
use crate::config::ConsoleSettings;
use crate::http::auth::Caller;
use crate::postgres::{NewConsoleSession, Postgres, SessionLimits, SignOut, StoreError};
use onrecord_evidence::event::ids::Digest;

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
    limits: ConsoleSettings,
    pub(in crate::console) throttle: SignInThrottle,
}

/// A reader who is signed in.
#[derive(Clone, Debug)]
pub(in crate::console) struct SignedIn {
    pub session: Uuid,
    pub since: DateTime<Utc>,
    pub caller: Caller,
    /// The token that each form of the session has.
    pub form_token: String,
}

impl Sessions {
    pub(crate) fn new(store: Postgres, limits: ConsoleSettings) -> Self {
        Self { store, limits, throttle: SignInThrottle::default() }
    }

    /// Opens a session, and returns its token for the cookie.
    ///
    /// # Errors
    ///
    /// [`StoreError`].
    pub(in crate::console) async fn open(
        &self,
        caller: &Caller,
        user_agent: Option<&str>,
        now: DateTime<Utc>,
    ) -> Result<String, StoreError> {
        let token = random_token();
        let user_agent: Option<String> =
            user_agent.map(|text| text.chars().take(MAX_USER_AGENT).collect());
        let session = NewConsoleSession {
            id: Uuid::now_v7(),
            tenant: &caller.tenant,
            api_key: caller.id,
            token_hash: Digest::of(token.as_bytes()),
            created_at: now,
            user_agent: user_agent.as_deref(),
        };
        self.store.insert_console_session(&session, now - KEPT).await?;
        Ok(token)
    }

    /// Who has this token. `None`: it is unknown, the session ended, or its key is revoked.
    ///
    /// # Errors
    ///
    /// [`StoreError`].
    pub(in crate::console) async fn of_token(
        &self,
        token: &str,
        now: DateTime<Utc>,
    ) -> Result<Option<SignedIn>, StoreError> {
        let limit = |length| now - TimeDelta::from_std(length).unwrap_or(KEPT);
        let limits = SessionLimits {
            // The use of the last minute may not be noted yet.
            used_since: limit(self.limits.idle) - USE_INTERVAL,
            created_since: limit(self.limits.max_session),
        };
        let hash = Digest::of(token.as_bytes());
        let Some(found) = self.store.console_session(&hash, limits).await? else {
            return Ok(None);
        };
        // A role that this version does not have gives no right.
        let Ok(role) = found.key.role.parse() else {
            return Ok(None);
        };
        if now - found.last_used_at >= USE_INTERVAL {
            self.store.use_console_session(found.id, now).await?;
        }
        let key = found.key;
        let caller = Caller { id: key.id, tenant: key.tenant, role, name: key.name, key: key.hash };
        Ok(Some(SignedIn {
            session: found.id,
            since: found.created_at,
            caller,
            form_token: form_token(token),
        }))
    }

    /// When the key was used in the console before this session.
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
