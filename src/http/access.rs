//! Who calls `/v1` with an API key.
//!
//! # Why
//!
//! All live keys are held in memory (they are few), so that callers who are known stay known while
//! Postgres is away.

use std::collections::HashMap;
use std::sync::{Arc, PoisonError, RwLock};
use std::time::{Duration, Instant};

use axum::http::{HeaderMap, header};
use tokio::sync::watch;
use uuid::Uuid;

use crate::domain::ids::{Digest, Tenant};
use crate::http::problem::{Problem, ProblemKind};
use crate::store::{Role, Store, StoreError};

/// Unknown keys make us ask Postgres again, but not more often than this: whoever guesses waits.
const ASK_AGAIN: Duration = Duration::from_millis(100);

/// Whoever shows an unknown key waits so long for Postgres.
const ASK_PATIENCE: Duration = Duration::from_secs(5);

/// Every API key begins with it, so that a leaked one can be searched for.
pub const KEY_PREFIX: &str = "onr_";

/// A caller who showed a valid API key.
#[derive(Clone, Debug)]
pub struct Caller {
    /// The key's id.
    pub id: Uuid,
    pub tenant: Tenant,
    pub role: Role,
    /// The key's name.
    pub name: String,
    /// The hash of the key itself.
    pub key: Digest,
}

impl Caller {
    /// Refuses a caller whose role is none of these. `admin` may do everything.
    ///
    /// # Errors
    ///
    /// A 403 problem.
    pub fn must_be(&self, roles: &[Role]) -> Result<(), Problem> {
        if self.role == Role::Admin || roles.contains(&self.role) {
            return Ok(());
        }
        let wanted: Vec<&str> = roles.iter().map(|role| role.as_str()).collect();
        Err(Problem::new(
            ProblemKind::Forbidden,
            format!("this needs an API key of role {}", wanted.join(" or ")),
        ))
    }
}

/// All live API keys, by their hash.
#[derive(Clone)]
pub struct KeyBook {
    store: Store,
    book: Arc<RwLock<Book>>,
    /// Tells those who wait that the book was read anew.
    read_anew: Arc<watch::Sender<()>>,
    /// One asks Postgres, for all who wait.
    asking: Arc<tokio::sync::Mutex<()>>,
}

#[derive(Default)]
struct Book {
    keys: HashMap<Digest, Caller>,
    read: Option<Instant>,
}

impl KeyBook {
    /// An empty book; it fills itself.
    #[must_use]
    pub fn new(store: Store) -> Self {
        Self {
            store,
            book: Arc::default(),
            read_anew: Arc::new(watch::Sender::new(())),
            asking: Arc::default(),
        }
    }

    /// Reads all live keys anew.
    ///
    /// # Errors
    ///
    /// [`StoreError`]; what was known stays known.
    pub async fn refresh(&self) -> Result<(), StoreError> {
        let read = Some(Instant::now());
        let keys = self.store.api_keys().await?;
        let live = keys.into_iter().filter(|key| key.revoked.is_none());
        let keys = live
            .map(|key| {
                (
                    key.hash,
                    Caller {
                        id: key.id,
                        tenant: key.tenant,
                        role: key.role,
                        name: key.name,
                        key: key.hash,
                    },
                )
            })
            .collect();
        *self.book.write().unwrap_or_else(PoisonError::into_inner) = Book { keys, read };
        self.read_anew.send_replace(());
        Ok(())
    }

    /// Ends when a key that was shown is not known any more: what it opened must end too.
    pub async fn revoked(&self, key: Digest) {
        let mut read_anew = self.read_anew.subscribe();
        while self.look_up(&key).0.is_some() {
            // The sender lives as long as we do.
            let _ = read_anew.changed().await;
        }
    }

    /// The caller of a request, by `Authorization: Bearer onr_…` or `x-onrecord-key`.
    ///
    /// # Errors
    ///
    /// 401 for a key that is not known, 503 if that cannot be told now.
    pub async fn caller(&self, headers: &HeaderMap) -> Result<Caller, Problem> {
        let key = bearer(headers)
            .or_else(|| headers.get("x-onrecord-key").and_then(|value| value.to_str().ok()))
            .filter(|key| key.starts_with(KEY_PREFIX))
            .ok_or_else(|| Problem::new(ProblemKind::Unauthorized, "send an API key: `Authorization: Bearer onr_…`; `onrecord key create` makes one"))?;
        let hash = Digest::of(key.as_bytes());
        if let Some(caller) = self.look_up(&hash).0 {
            return Ok(caller);
        }
        // Those who wait do so one after the other, each for a store that may not answer.
        let asked = tokio::time::timeout(ASK_PATIENCE, self.ask_since(Instant::now())).await;
        asked.map_err(|_| {
            Problem::try_again(
                "the store does not say now whether this API key is known",
                ASK_PATIENCE,
            )
        })??;
        self.look_up(&hash).0.ok_or_else(|| {
            Problem::new(
                ProblemKind::Unauthorized,
                "this API key is not known, or revoked",
            )
        })
    }

    /// Makes sure that the book was read after `since`: a key that was made just now is known.
    async fn ask_since(&self, since: Instant) -> Result<(), StoreError> {
        let _one_asks = self.asking.lock().await;
        let read = self
            .book
            .read()
            .unwrap_or_else(PoisonError::into_inner)
            .read;
        if read.is_some_and(|read| read >= since) {
            return Ok(());
        }
        if let Some(read) = read {
            tokio::time::sleep(ASK_AGAIN.saturating_sub(read.elapsed())).await;
        }
        self.refresh().await
    }

    /// Looking up a hash leaks nothing by its time: the key itself was hashed first.
    fn look_up(&self, hash: &Digest) -> (Option<Caller>, Option<Instant>) {
        let book = self.book.read().unwrap_or_else(PoisonError::into_inner);
        (book.keys.get(hash).cloned(), book.read)
    }
}

/// The bearer token of a request.
#[must_use]
pub fn bearer(headers: &HeaderMap) -> Option<&str> {
    let value = headers.get(header::AUTHORIZATION)?.to_str().ok()?;
    let (scheme, token) = value.split_once(' ')?;
    scheme.eq_ignore_ascii_case("bearer").then(|| token.trim())
}
