//! The keys of all issuers whose tokens a source may present, fetched in the background.
//!
//! # Why
//!
//! No delivery waits for somebody else's server: sets are fetched before they are needed and kept
//! while their server is away, however long, because a key that was good is rather still good than
//! all events are refused. Only where a key is missing (at the start, or after a rotation) a
//! delivery waits a moment for a fetch that is on its way: whether Call Automation sends again what
//! was refused is not documented. Strangers can name keys that do not exist, so that these fetches
//! have a least distance.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use anyhow::{Context as _, ensure};
use futures_util::StreamExt as _;
use futures_util::stream::FuturesUnordered;
use metrics::counter;
use reqwest::{Client, StatusCode, redirect};
use tokio::sync::{Notify, watch};
use tokio_util::sync::CancellationToken;

use super::key_set::{KeySet, SigningKey};
use super::sources::Sources;
use crate::config::JwksUrl;
use crate::lifecycle::Lifecycle;
use crate::telemetry::names;

/// A set is fetched anew when it is so old: a key that was taken back is good no longer than that,
/// as long as the server answers.
const REFRESH: Duration = Duration::from_secs(3600);
/// A fetch that failed is tried again after so long, if there is an older set.
const RETRY: Duration = Duration::from_secs(60);
/// The same if there is none.
const RETRY_WITHOUT: Duration = Duration::from_secs(5);
/// A key that is missing makes a set be fetched at most so often.
const ASK_EVERY: Duration = Duration::from_secs(10);
/// So long a delivery waits for a fetch.
const PATIENCE: Duration = Duration::from_secs(2);
/// So often it is looked whether a set is due, or a source new.
const LOOK_EVERY: Duration = Duration::from_secs(1);
/// Of one fetch.
const CONNECT: Duration = Duration::from_secs(3);
const FETCH: Duration = Duration::from_secs(5);
/// Sets have some ten thousand bytes.
const LARGEST_SET: usize = 256 * 1024;
/// That a server is away is logged so often.
const LOG_EVERY: Duration = Duration::from_secs(60);

/// Why there is no key.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Absence {
    /// The set was never had.
    KeySet,
    /// The set does not have it.
    Key,
}

/// All sets, by their addresses.
#[derive(Clone)]
pub(super) struct IssuerKeys {
    slots: Arc<Mutex<BTreeMap<JwksUrl, Slot>>>,
    /// Somebody waits for a key.
    asked: Arc<Notify>,
    /// A fetch has ended.
    fetched: watch::Sender<()>,
}

/// One set and its age.
#[derive(Default)]
struct Slot {
    keys: Option<KeySet>,
    read: Option<Instant>,
    tried: Option<Instant>,
    fetching: bool,
    asked_for: bool,
    logged: Option<Instant>,
}

impl Slot {
    fn is_due(&self, now: Instant) -> bool {
        let is_older = |since: Option<Instant>, age: Duration| {
            since.is_none_or(|since| now.saturating_duration_since(since) >= age)
        };
        let retry = match self.keys {
            Some(_) => RETRY,
            None => RETRY_WITHOUT,
        };
        let wanted = is_older(self.read, REFRESH) && is_older(self.tried, retry);
        let asked = self.asked_for && is_older(self.tried, ASK_EVERY);
        !self.fetching && (wanted || asked)
    }
}

/// What a look for a key showed.
enum Look {
    Found(SigningKey),
    /// With whether a fetch may bring it.
    Absent(Absence, bool),
}

impl IssuerKeys {
    /// Fetches the sets of the sources, as they are at any time, until the stop.
    pub fn of(sources: Sources, lifecycle: &Lifecycle) -> Self {
        let keys = Self::default();
        let soft = lifecycle.soft().clone();
        lifecycle.run("issuer keys", keys.clone().follow(sources, soft));
        keys
    }

    /// The key of an id, after at most [`PATIENCE`].
    ///
    /// # Errors
    ///
    /// [`Absence`].
    pub async fn find(&self, url: &JwksUrl, id: &str) -> Result<SigningKey, Absence> {
        let mut fetched = self.fetched.subscribe();
        let until = tokio::time::Instant::now() + PATIENCE;
        loop {
            let absence = match self.look(url, id, Instant::now()) {
                Look::Found(key) => return Ok(key),
                Look::Absent(absence, false) => return Err(absence),
                Look::Absent(absence, true) => absence,
            };
            self.asked.notify_one();
            let changed = tokio::time::timeout_at(until, fetched.changed()).await;
            if !matches!(changed, Ok(Ok(()))) {
                return Err(absence);
            }
        }
    }

    fn look(&self, url: &JwksUrl, id: &str, now: Instant) -> Look {
        let mut slots = self.slots();
        let slot = slots.entry(url.clone()).or_default();
        let absence = match &slot.keys {
            None => Absence::KeySet,
            Some(keys) => match keys.key(id) {
                Some(key) => return Look::Found(key.clone()),
                None => Absence::Key,
            },
        };
        slot.asked_for = true;
        Look::Absent(absence, slot.fetching || slot.is_due(now))
    }

    fn slots(&self) -> MutexGuard<'_, BTreeMap<JwksUrl, Slot>> {
        self.slots.lock().unwrap_or_else(PoisonError::into_inner)
    }

    async fn follow(self, sources: Sources, soft: CancellationToken) {
        let mut client = None;
        let mut fetches = FuturesUnordered::new();
        while !soft.is_cancelled() {
            for url in self.due(&sources, Instant::now()) {
                fetches.push(self.fetch(&mut client, url));
            }
            tokio::select! {
                Some(()) = fetches.next() => {}
                () = self.asked.notified() => {}
                () = tokio::time::sleep(LOOK_EVERY) => {}
                () = soft.cancelled() => {}
            }
        }
    }

    /// The sets to fetch now; from here on they are being fetched.
    fn due(&self, sources: &Sources, now: Instant) -> Vec<JwksUrl> {
        let sources = sources.all();
        let jwts = sources.values().filter_map(|source| source.jwt.as_ref());
        let wanted: BTreeSet<&JwksUrl> = jwts.map(|jwt| &jwt.jwks_url).collect();
        let mut slots = self.slots();
        slots.retain(|url, _| wanted.contains(url));
        let due = wanted.into_iter().filter(|url| {
            let slot = slots.entry((*url).clone()).or_default();
            let is_due = slot.is_due(now);
            slot.fetching |= is_due;
            is_due
        });
        due.cloned().collect()
    }

    fn fetch(&self, client: &mut Option<Client>, url: JwksUrl) -> impl Future<Output = ()> + use<> {
        let keys = self.clone();
        let client = match client {
            Some(client) => Ok(client.clone()),
            None => new_client().inspect(|new| *client = Some(new.clone())),
        };
        async move {
            let outcome = match client {
                Ok(client) => fetch(&client, &url).await,
                Err(error) => Err(error),
            };
            keys.enter(&url, outcome, Instant::now());
            keys.fetched.send_replace(());
        }
    }

    fn enter(&self, url: &JwksUrl, outcome: anyhow::Result<KeySet>, now: Instant) {
        let mut slots = self.slots();
        let Some(slot) = slots.get_mut(url) else {
            return;
        };
        slot.fetching = false;
        slot.asked_for = false;
        slot.tried = Some(now);
        match outcome {
            Ok(keys) => {
                tracing::debug!(issuer.keys = keys.len(), "read the keys at {url}");
                counter!(names::KEY_SETS, "outcome" => "read").increment(1);
                slot.read = Some(now);
                slot.keys = Some(keys);
                slot.logged = None;
            }
            Err(error) => {
                counter!(names::KEY_SETS, "outcome" => "failed").increment(1);
                let is_logged = slot
                    .logged
                    .is_some_and(|logged| now.saturating_duration_since(logged) < LOG_EVERY);
                if !is_logged {
                    slot.logged = Some(now);
                    let rest = match slot.keys {
                        Some(_) => "those that were read before stay in use",
                        None => "no token can be checked without them",
                    };
                    tracing::warn!(error = %error, "the keys at {url} were not read, {rest}: {error:#}");
                }
            }
        }
    }
}

impl Default for IssuerKeys {
    fn default() -> Self {
        Self {
            slots: Arc::default(),
            asked: Arc::default(),
            fetched: watch::Sender::new(()),
        }
    }
}

fn new_client() -> anyhow::Result<Client> {
    // Another part of the process may have been first.
    let _ = rustls::crypto::ring::default_provider().install_default();
    Client::builder()
        .connect_timeout(CONNECT)
        .timeout(FETCH)
        // The address of the keys is the operator's word, not that of a server.
        .redirect(redirect::Policy::none())
        .user_agent(concat!("onrecord/", env!("CARGO_PKG_VERSION")))
        .build()
        .context("no client can be made")
}

async fn fetch(client: &Client, url: &JwksUrl) -> anyhow::Result<KeySet> {
    // The address is told by the one who logs it.
    let told = reqwest::Error::without_url;
    let mut response = client.get(url.as_str()).send().await.map_err(told)?;
    ensure!(
        response.status() == StatusCode::OK,
        "the server answers {}",
        response.status()
    );
    let mut text = Vec::new();
    while let Some(chunk) = response.chunk().await.map_err(told)? {
        ensure!(
            text.len() + chunk.len() <= LARGEST_SET,
            "the answer has more than {LARGEST_SET} bytes"
        );
        text.extend_from_slice(&chunk);
    }
    Ok(KeySet::parse(&text)?)
}

#[cfg(test)]
mod tests {
    use axum::Router;
    use axum::http::header;
    use axum::routing::get;

    use super::*;
    use crate::config::Settings;

    const SET: &str = r#"{"keys":[{"kty":"RSA","kid":"one","n":"AQAB","e":"AQAB"}]}"#;

    fn sources(url: &str) -> Sources {
        let toml = format!(
            "[sources.s]\nkind = \"event-grid\"\ntenant = \"t\"\njwt = {{ issuer = \"i\", audience = \"a\", jwks_url = \"{url}\" }}"
        );
        Sources::new(Settings::from_toml(&toml).unwrap().sources)
    }

    fn url_of(sources: &Sources) -> JwksUrl {
        sources.all()["s"].jwt.clone().unwrap().jwks_url
    }

    fn set() -> anyhow::Result<KeySet> {
        Ok(KeySet::parse(SET.as_bytes()).unwrap())
    }

    #[test]
    fn a_set_is_fetched_when_it_is_old_or_a_key_is_missed_but_not_at_a_stranger_s_pace() {
        let keys = IssuerKeys::default();
        let sources = sources("https://h/k");
        let url = url_of(&sources);
        let start = Instant::now();
        let due = |after: Duration| keys.due(&sources, start + after).len();
        let absent = |after: Duration| match keys.look(&url, "two", start + after) {
            Look::Found(_) => panic!("found"),
            Look::Absent(absence, may_come) => (absence, may_come),
        };
        assert_eq!(absent(Duration::ZERO), (Absence::KeySet, true));
        assert_eq!(due(Duration::ZERO), 1);
        assert_eq!(due(Duration::ZERO), 0, "it is being fetched");
        assert_eq!(absent(Duration::ZERO), (Absence::KeySet, true));
        keys.enter(&url, Err(anyhow::anyhow!("away")), start);
        assert_eq!(absent(Duration::ZERO), (Absence::KeySet, false));
        assert_eq!(due(RETRY_WITHOUT), 1);
        keys.enter(&url, set(), start);
        assert!(matches!(keys.look(&url, "one", start), Look::Found(_)));
        assert_eq!(due(REFRESH / 2), 0);
        assert_eq!(absent(ASK_EVERY / 2), (Absence::Key, false));
        assert_eq!(absent(ASK_EVERY), (Absence::Key, true));
        assert_eq!(due(ASK_EVERY), 1);
        keys.enter(&url, Err(anyhow::anyhow!("away")), start + ASK_EVERY);
        assert!(matches!(keys.look(&url, "one", start), Look::Found(_)));
        assert_eq!(due(REFRESH), 1);
        sources.replace(Default::default());
        assert_eq!(due(REFRESH * 2), 0);
        assert!(keys.slots().is_empty());
    }

    #[tokio::test]
    async fn what_is_no_set_of_keys_is_not_taken() {
        let router = Router::new()
            .route("/set", get(async || SET))
            .route("/none", get(async || "{\"keys\":[]}"))
            .route(
                "/large",
                get(async || format!("{SET}{}", " ".repeat(LARGEST_SET))),
            )
            .route("/away", get(async || (StatusCode::BAD_GATEWAY, SET)))
            .route(
                "/elsewhere",
                get(async || (StatusCode::FOUND, [(header::LOCATION, "/set")], SET)),
            );
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        tokio::spawn(async move { axum::serve(listener, router).await });
        let client = new_client().unwrap();
        for (path, is_taken) in [
            ("set", true),
            ("none", false),
            ("large", false),
            ("away", false),
            ("elsewhere", false),
        ] {
            let url = url_of(&sources(&format!("http://{address}/{path}")));
            let fetched = fetch(&client, &url).await;
            assert_eq!(fetched.is_ok(), is_taken, "{path}");
        }
    }
}
