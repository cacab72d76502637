//! Caches the JWKS of all issuers whose tokens a source accepts, and fetches them in the background.
//!
//! # Why
//!
//! * No delivery waits for the server of an issuer. Each JWKS is fetched before it is needed, and it
//!   stays in use while its server is unavailable, for any time: a key that was valid probably still
//!   is, and the alternative is to reject all events.
//! * Only if a key is missing (at the start or after a rotation), a delivery waits for the fetch in
//!   progress: it is not documented whether Call Automation repeats a rejected delivery.
//! * A request without credential can name keys that do not exist. So fetches for missing keys have a
//!   minimum interval.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use anyhow::{Context as _, ensure};
use futures_util::StreamExt as _;
use futures_util::stream::FuturesUnordered;
use metrics::counter;
use reqwest::{Client, StatusCode, redirect};
use tokio::sync::{Notify, OnceCell, watch};
use tokio_util::sync::CancellationToken;

use super::jwks::{self, Jwks, SigningKey};
use super::keys::AuthError;
use crate::config::JwksUrl;
use crate::ingest::sources::Sources;
use crate::lifecycle::Lifecycle;
use crate::telemetry::{LogLimiter, names};

/// Interval at which a JWKS is fetched again. A revoked key stays valid for at most that long, as long
/// as the server answers.
const REFRESH_INTERVAL: Duration = Duration::from_secs(3600);
/// Interval after a failed fetch if an older JWKS is cached.
const RETRY_INTERVAL: Duration = Duration::from_secs(60);
/// Interval after a failed fetch if no JWKS is cached.
const FIRST_FETCH_RETRY_INTERVAL: Duration = Duration::from_secs(5);
/// Minimum interval between two fetches because of a missing key.
const MISSING_KEY_INTERVAL: Duration = Duration::from_secs(10);
/// Timeout of a delivery that waits for a fetch.
const LOOKUP_TIMEOUT: Duration = Duration::from_secs(2);
/// Interval at which the cache checks for due JWKS and new sources.
const CHECK_INTERVAL: Duration = Duration::from_secs(1);
/// Timeout of the connection of one fetch.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(3);
/// Timeout of one fetch.
const FETCH_TIMEOUT: Duration = Duration::from_secs(5);
/// Maximum size of a JWKS, which usually has some ten thousand bytes.
const MAX_JWKS: usize = 256 * 1024;
/// Interval between two log lines about one unavailable server.
const LOG_INTERVAL: Duration = Duration::from_secs(60);

/// All JWKS by their URLs.
#[derive(Clone)]
pub(crate) struct JwksCache {
    slots: Arc<Mutex<BTreeMap<JwksUrl, CacheSlot>>>,
    /// Notified when a delivery waits for a key.
    requests: Arc<Notify>,
    /// Changes when a fetch ends.
    fetched: watch::Sender<()>,
    log_limiter: Arc<LogLimiter<JwksUrl>>,
    /// Created for the first fetch.
    client: Arc<OnceCell<Client>>,
}

/// One JWKS and its age.
#[derive(Default)]
struct CacheSlot {
    jwks: Option<Jwks>,
    fetched_at: Option<Instant>,
    tried_at: Option<Instant>,
    fetching: bool,
    requested: bool,
}

impl CacheSlot {
    fn is_due(&self, now: Instant) -> bool {
        let is_older = |since: Option<Instant>, age: Duration| {
            since.is_none_or(|since| now.saturating_duration_since(since) >= age)
        };
        let retry = match self.jwks {
            Some(_) => RETRY_INTERVAL,
            None => FIRST_FETCH_RETRY_INTERVAL,
        };
        let expired = is_older(self.fetched_at, REFRESH_INTERVAL) && is_older(self.tried_at, retry);
        let missing_key = self.requested && is_older(self.tried_at, MISSING_KEY_INTERVAL);
        !self.fetching && (expired || missing_key)
    }
}

/// Why a key is missing, and whether a fetch is in progress or due.
type MissingKey = (AuthError, bool);

impl JwksCache {
    /// Starts fetching the JWKS of the current sources, until the shutdown.
    pub(crate) fn start(sources: Sources, lifecycle: &Lifecycle) -> Self {
        let cache = Self::default();
        let soft = lifecycle.soft().clone();
        lifecycle.run("jwks cache", cache.clone().run(sources, soft));
        cache
    }

    /// Finds a key, after at most [`LOOKUP_TIMEOUT`].
    ///
    /// # Errors
    ///
    /// [`AuthError::NoJwks`], [`AuthError::TokenUnknownKey`].
    pub(crate) async fn find(&self, url: &JwksUrl, id: &str) -> Result<SigningKey, AuthError> {
        let mut fetched = self.fetched.subscribe();
        let until = tokio::time::Instant::now() + LOOKUP_TIMEOUT;
        loop {
            let missing = match self.lookup(url, id, Instant::now()) {
                Ok(key) => return Ok(key),
                Err((missing, false)) => return Err(missing),
                Err((missing, true)) => missing,
            };
            self.requests.notify_one();
            let changed = tokio::time::timeout_at(until, fetched.changed()).await;
            if !matches!(changed, Ok(Ok(()))) {
                return Err(missing);
            }
        }
    }

    fn lookup(&self, url: &JwksUrl, id: &str, now: Instant) -> Result<SigningKey, MissingKey> {
        let mut slots = self.slots();
        let slot = slots.entry(url.clone()).or_default();
        let missing = match &slot.jwks {
            None => AuthError::NoJwks,
            Some(jwks) => match jwks.keys.get(id) {
                Some(key) => return Ok(key.clone()),
                None => AuthError::TokenUnknownKey,
            },
        };
        slot.requested = true;
        Err((missing, slot.fetching || slot.is_due(now)))
    }

    fn slots(&self) -> MutexGuard<'_, BTreeMap<JwksUrl, CacheSlot>> {
        self.slots.lock().unwrap_or_else(PoisonError::into_inner)
    }

    async fn run(self, sources: Sources, soft: CancellationToken) {
        let mut fetches = FuturesUnordered::new();
        while !soft.is_cancelled() {
            for url in self.due(&sources, Instant::now()) {
                fetches.push(self.clone().fetch(url));
            }
            tokio::select! {
                Some(()) = fetches.next() => {}
                () = self.requests.notified() => {}
                () = tokio::time::sleep(CHECK_INTERVAL) => {}
                () = soft.cancelled() => {}
            }
        }
    }

    /// Returns the URLs to fetch now, and marks them as being fetched.
    fn due(&self, sources: &Sources, now: Instant) -> Vec<JwksUrl> {
        let sources = sources.all();
        let jwts = sources.settings.values().filter_map(|source| source.jwt.as_ref());
        let wanted: BTreeSet<&JwksUrl> = jwts.map(|jwt| &jwt.jwks_url).collect();
        let mut slots = self.slots();
        for (url, _) in slots.extract_if(.., |url, _| !wanted.contains(url)) {
            // The first failure of a URL that is configured again must be logged.
            self.log_limiter.reset(&url);
        }
        let due = wanted.into_iter().filter(|url| {
            let slot = slots.entry((*url).clone()).or_default();
            let is_due = slot.is_due(now);
            slot.fetching |= is_due;
            is_due
        });
        due.cloned().collect()
    }

    async fn fetch(self, url: JwksUrl) {
        let fetched = async {
            let client = self.client.get_or_try_init(async || new_client()).await?;
            fetch(client, &url).await
        };
        self.store(&url, fetched.await, Instant::now());
        self.fetched.send_replace(());
    }

    fn store(&self, url: &JwksUrl, outcome: anyhow::Result<Jwks>, now: Instant) {
        let mut slots = self.slots();
        let Some(slot) = slots.get_mut(url) else {
            return;
        };
        slot.fetching = false;
        slot.requested = false;
        slot.tried_at = Some(now);
        match outcome {
            Ok(jwks) => {
                tracing::debug!(issuer.keys = jwks.keys.len(), "fetched the JWKS at {url}");
                let before = slot.jwks.as_ref().map(|jwks| &jwks.too_short);
                for id in &jwks.too_short {
                    if before.is_none_or(|before| !before.contains(id)) {
                        tracing::warn!(issuer.key = %id, "the key {id} of the JWKS at {url} is refused: RSA keys have at least 2048 bits; its tokens are not accepted");
                    }
                }
                counter!(names::INGEST_JWKS_FETCHES, "outcome" => "succeeded").increment(1);
                slot.fetched_at = Some(now);
                slot.jwks = Some(jwks);
                self.log_limiter.reset(url);
            }
            Err(error) => {
                counter!(names::INGEST_JWKS_FETCHES, "outcome" => "failed").increment(1);
                if self.log_limiter.allows(url.clone(), now) {
                    let consequence = match slot.jwks {
                        Some(_) => "the cached one stays in use",
                        None => "its tokens cannot be verified",
                    };
                    tracing::warn!(error = %error, "the JWKS at {url} was not fetched, {consequence}: {error:#}");
                }
            }
        }
    }
}

impl Default for JwksCache {
    fn default() -> Self {
        Self {
            slots: Arc::default(),
            requests: Arc::default(),
            fetched: watch::Sender::new(()),
            log_limiter: Arc::new(LogLimiter::new(LOG_INTERVAL)),
            client: Arc::default(),
        }
    }
}

fn new_client() -> anyhow::Result<Client> {
    // Fails if another part of the process has installed it already.
    let _ = rustls::crypto::ring::default_provider().install_default();
    Client::builder()
        .connect_timeout(CONNECT_TIMEOUT)
        .timeout(FETCH_TIMEOUT)
        // Only the operator decides where keys come from, so redirects are not followed.
        .redirect(redirect::Policy::none())
        .user_agent(concat!("onrecord/", env!("CARGO_PKG_VERSION")))
        .build()
        .context("the HTTP client cannot be created")
}

async fn fetch(client: &Client, url: &JwksUrl) -> anyhow::Result<Jwks> {
    // The caller logs the URL, without its query.
    let without_url = reqwest::Error::without_url;
    let mut response = client.get(url.as_str()).send().await.map_err(without_url)?;
    ensure!(response.status() == StatusCode::OK, "the server answers {}", response.status());
    let mut text = Vec::new();
    while let Some(chunk) = response.chunk().await.map_err(without_url)? {
        ensure!(
            text.len() + chunk.len() <= MAX_JWKS,
            "the response has more than {MAX_JWKS} bytes"
        );
        text.extend_from_slice(&chunk);
    }
    jwks::parse(&text)
}

#[cfg(test)]
mod tests {
    use axum::Router;
    use axum::http::header;
    use axum::routing::get;

    use super::*;
    use crate::config::Settings;

    /// A JWKS with a key of 2,048 bits.
    fn published() -> String {
        let modulus = format!("{}w", "_".repeat(341));
        format!(r#"{{"keys":[{{"kty":"RSA","kid":"one","n":"{modulus}","e":"AQAB"}}]}}"#)
    }

    fn sources(url: &str) -> Sources {
        let toml = format!(
            "[sources.s]\nkind = \"event-grid\"\ntenant = \"t\"\njwt = {{ issuer = \"i\", audience = \"a\", jwks_url = \"{url}\" }}"
        );
        Sources::new(Settings::from_toml(&toml).unwrap().sources)
    }

    fn url_of(sources: &Sources) -> JwksUrl {
        sources.all().settings["s"].jwt.clone().unwrap().jwks_url
    }

    fn jwks() -> anyhow::Result<Jwks> {
        jwks::parse(published().as_bytes())
    }

    #[test]
    fn a_jwks_is_fetched_when_it_is_old_or_a_key_is_missing_with_a_minimum_interval() {
        let cache = JwksCache::default();
        let sources = sources("https://h/k");
        let url = url_of(&sources);
        let start = Instant::now();
        let due = |after: Duration| cache.due(&sources, start + after).len();
        let missing = |after: Duration| cache.lookup(&url, "two", start + after).err().unwrap();
        assert_eq!(missing(Duration::ZERO), (AuthError::NoJwks, true));
        assert_eq!(due(Duration::ZERO), 1);
        assert_eq!(due(Duration::ZERO), 0, "it is being fetched");
        assert_eq!(missing(Duration::ZERO), (AuthError::NoJwks, true));
        cache.store(&url, Err(anyhow::anyhow!("away")), start);
        assert_eq!(missing(Duration::ZERO), (AuthError::NoJwks, false));
        assert_eq!(due(FIRST_FETCH_RETRY_INTERVAL), 1);
        cache.store(&url, jwks(), start);
        assert!(cache.lookup(&url, "one", start).is_ok());
        assert_eq!(due(REFRESH_INTERVAL / 2), 0);
        assert_eq!(missing(MISSING_KEY_INTERVAL / 2), (AuthError::TokenUnknownKey, false));
        assert_eq!(missing(MISSING_KEY_INTERVAL), (AuthError::TokenUnknownKey, true));
        assert_eq!(due(MISSING_KEY_INTERVAL), 1);
        cache.store(&url, Err(anyhow::anyhow!("away")), start + MISSING_KEY_INTERVAL);
        assert!(cache.lookup(&url, "one", start).is_ok());
        assert_eq!(due(REFRESH_INTERVAL), 1);
        sources.replace(Default::default());
        assert_eq!(due(REFRESH_INTERVAL * 2), 0);
        assert!(cache.slots().is_empty());
    }

    #[tokio::test]
    async fn a_response_that_is_not_a_jwks_is_an_error() {
        let router = Router::new()
            .route("/set", get(async || published()))
            .route("/none", get(async || "{\"keys\":[]}"))
            .route("/large", get(async || format!("{}{}", published(), " ".repeat(MAX_JWKS))))
            .route("/away", get(async || (StatusCode::BAD_GATEWAY, published())))
            .route(
                "/elsewhere",
                get(async || (StatusCode::FOUND, [(header::LOCATION, "/set")], published())),
            );
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        tokio::spawn(async move { axum::serve(listener, router).await });
        let client = new_client().unwrap();
        for (path, is_jwks) in [
            ("set", true),
            ("none", false),
            ("large", false),
            ("away", false),
            ("elsewhere", false),
        ] {
            let url = url_of(&sources(&format!("http://{address}/{path}")));
            let fetched = fetch(&client, &url).await;
            assert_eq!(fetched.is_ok(), is_jwks, "{path}");
        }
    }
}
