//! Bearer tokens of deliveries, against an issuer of the test.
//!
//! Its keys in `tests/data/jwt` were made by
//! `openssl genrsa -traditional 2048 | openssl rsa -traditional -outform DER`, and have no other
//! use.

use std::net::SocketAddr;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use axum::Router;
use axum::routing::get;
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use jsonwebtoken::jwk::Jwk;
use jsonwebtoken::{Algorithm, EncodingKey, Header};
use onrecord::config::KeyHash;
use onrecord::http::jwt_crypto;
use reqwest::{Response, StatusCode};
use serde_json::{Value, json};
use tokio::net::TcpListener;
use tokio::task::JoinHandle;

use crate::operations::process::{Program, write};
use crate::support::app::{SOURCE_KEY, TestApp, TestStores, until};
use crate::support::azure::Call;
use crate::support::client::http;
use crate::support::postgres::fresh_database;

const CALL_AUTOMATION: &str = "https://acscallautomation.communication.azure.com";
const RESOURCE: &str = "b6a1e3a0-7a3d-4a52-9d0c-0a6b1f1f0a11";
const ENTRA: &str = "https://sts.windows.net/72f988bf-86f1-41af-91ab-2d7cd011db47/";
const ENTRA_V2: &str =
    "https://login.microsoftonline.com/72f988bf-86f1-41af-91ab-2d7cd011db47/v2.0";
const OUR_APP: &str = "api://onrecord";
const EVENT_GRID_APP: &str = "4962773b-9cdb-44cf-a8bf-237846a00ab7";

/// A pair of keys, and the key id under which it is published.
struct KeyPair {
    id: &'static str,
    private: EncodingKey,
}

impl KeyPair {
    fn one() -> Self {
        Self {
            id: "one",
            private: EncodingKey::from_rsa_der(include_bytes!("../../data/jwt/one.der")),
        }
    }

    fn two() -> Self {
        Self {
            id: "two",
            private: EncodingKey::from_rsa_der(include_bytes!("../../data/jwt/two.der")),
        }
    }

    /// A key that claims the key id of `one`.
    fn unknown() -> Self {
        Self {
            id: "one",
            private: EncodingKey::from_rsa_der(include_bytes!("../../data/jwt/unknown_key.der")),
        }
    }

    fn public(&self) -> Value {
        jwt_crypto::install();
        let mut jwk = Jwk::from_encoding_key(&self.private, Algorithm::RS256).unwrap();
        jwk.common.key_id = Some(self.id.to_owned());
        serde_json::to_value(jwk).unwrap()
    }

    fn signs(&self, claims: &Value) -> String {
        jwt_crypto::install();
        let header = Header { kid: Some(self.id.to_owned()), ..Header::new(Algorithm::RS256) };
        jsonwebtoken::encode(&header, claims, &self.private).unwrap()
    }
}

/// A server that publishes keys.
struct Issuer {
    address: SocketAddr,
    answer: Arc<Mutex<(StatusCode, String)>>,
    asked: Arc<AtomicUsize>,
    served: JoinHandle<()>,
}

impl Issuer {
    async fn with(pairs: &[&KeyPair]) -> Self {
        let answer = Arc::new(Mutex::new((StatusCode::OK, set(pairs))));
        let asked = Arc::new(AtomicUsize::new(0));
        let (answers, counts) = (Arc::clone(&answer), Arc::clone(&asked));
        let router = Router::new().route(
            "/keys",
            get(async move || {
                counts.fetch_add(1, Ordering::Relaxed);
                answers.lock().unwrap().clone()
            }),
        );
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let served = tokio::spawn(async move { axum::serve(listener, router).await.unwrap() });
        Self { address, answer, asked, served }
    }

    fn publishes(&self, pairs: &[&KeyPair]) {
        *self.answer.lock().unwrap() = (StatusCode::OK, set(pairs));
    }

    fn is_away(&self) {
        self.answer.lock().unwrap().0 = StatusCode::SERVICE_UNAVAILABLE;
    }

    /// A source of each kind, with names of their own, so that no other test counts in their metrics.
    /// `keys` is for both.
    fn sources(&self, name: &str, keys: &str) -> String {
        let url = format!("http://{}/keys", self.address);
        format!(
            r#"
            [sources.{name}-ca]
            kind = "call-automation"
            tenant = "contoso"
            keys = [{keys}]
            jwt = {{ issuer = "{CALL_AUTOMATION}", audience = "{RESOURCE}", jwks_url = "{url}" }}
            [sources.{name}-eg]
            kind = "event-grid"
            tenant = "contoso"
            keys = [{keys}]
            jwt = {{ issuer = "{ENTRA}", audience = "{OUR_APP}", jwks_url = "{url}", app_ids = ["{EVENT_GRID_APP}"] }}
            "#
        )
    }
}

fn set(pairs: &[&KeyPair]) -> String {
    let keys: Vec<Value> = pairs.iter().map(|pair| pair.public()).collect();
    json!({ "keys": keys }).to_string()
}

fn in_seconds(seconds: i64) -> i64 {
    chrono::Utc::now().timestamp() + seconds
}

/// The claims of Call Automation.
fn of_call_automation() -> Value {
    json!({ "iss": CALL_AUTOMATION, "aud": RESOURCE, "iat": in_seconds(0), "exp": in_seconds(300) })
}

/// The claims of Event Grid's token from Entra.
fn of_event_grid() -> Value {
    json!({ "iss": ENTRA, "aud": OUR_APP, "appid": EVENT_GRID_APP, "nbf": in_seconds(-5), "exp": in_seconds(3600), "ver": "1.0" })
}

fn but(mut claims: Value, name: &str, value: impl Into<Value>) -> Value {
    claims[name] = value.into();
    claims
}

/// Posts an event of the kind with a token.
async fn posts(url: String, token: &str) -> Response {
    let call = Call::new();
    let events = if url.contains("call-automation") {
        call.callback("CallConnected", chrono::Utc::now(), &json!({}))
    } else {
        call.started()
    };
    let request = http().post(url).bearer_auth(token).json(&events);
    request.send().await.unwrap()
}

struct IngestClient<'h> {
    app: &'h TestApp,
    name: &'static str,
}

impl IngestClient<'_> {
    async fn call_automation(&self, token: &str) -> StatusCode {
        let path = format!("/ingest/call-automation/{}-ca", self.name);
        posts(self.app.url(&path), token).await.status()
    }

    async fn event_grid(&self, token: &str) -> StatusCode {
        let path = format!("/ingest/event-grid/{}-eg", self.name);
        posts(self.app.url(&path), token).await.status()
    }

    /// The number of deliveries of either kind that were refused for a reason.
    async fn refused(&self, reason: &str) -> u64 {
        let metrics = http().get(self.app.url("/metrics")).send().await.unwrap();
        let metrics = metrics.text().await.unwrap();
        let is_it = |line: &&str| {
            line.starts_with("onrecord_ingest_rejected_total{")
                && line.contains(&format!("source=\"{}-", self.name))
                && line.contains(&format!("reason=\"{reason}\""))
        };
        metrics
            .lines()
            .filter(is_it)
            .filter_map(|line| line.rsplit(' ').next()?.parse::<u64>().ok())
            .sum()
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn bearer_tokens_of_both_kinds_and_keys_authenticate() {
    let issuer = Issuer::with(&[&KeyPair::one(), &KeyPair::two()]).await;
    let sources = issuer.sources("opens", &format!("\"{}\"", KeyHash::of(SOURCE_KEY)));
    let mut app = TestApp::with(TestStores::shared().await, &sources).await;
    app.is_ready().await;
    let client = IngestClient { app: &app, name: "opens" };
    let one = KeyPair::one();
    for claims in [of_call_automation(), but(of_call_automation(), "aud", json!(["x", RESOURCE]))] {
        assert_eq!(client.call_automation(&one.signs(&claims)).await, 200);
    }
    let version_2 = json!({ "iss": ENTRA_V2, "aud": OUR_APP, "azp": EVENT_GRID_APP, "exp": in_seconds(3600), "ver": "2.0" });
    for claims in [of_event_grid(), version_2] {
        assert_eq!(client.event_grid(&KeyPair::two().signs(&claims)).await, 200);
    }
    for path in ["/ingest/call-automation/opens-ca", "/ingest/event-grid/opens-eg"] {
        let (status, answer) = app.posts(path, "[]").await;
        assert_eq!(status, StatusCode::OK, "{answer}");
    }
    assert_eq!(issuer.asked.load(Ordering::Relaxed), 1, "both sources have one set");
    app.sees("/v1/events", |list| {
        list["events"].as_array().is_some_and(|events| events.len() == 4)
    })
    .await;
    let database = app.stores.database().await;
    let used: Vec<String> =
        sqlx::query_scalar("select credential from source_use order by credential")
            .fetch_all(&database)
            .await
            .unwrap();
    assert_eq!(used, ["jwt:one", "jwt:two"], "the credential of each use is recorded");
    app.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn every_invalid_token_is_answered_503_with_its_own_reason() {
    let issuer = Issuer::with(&[&KeyPair::one()]).await;
    let app = TestApp::with(TestStores::shared().await, &issuer.sources("forged", "")).await;
    app.is_ready().await;
    let began = Instant::now();
    let client = IngestClient { app: &app, name: "forged" };
    let (one, unknown) = (KeyPair::one(), KeyPair::unknown());
    let (call_automation, event_grid) = (of_call_automation(), of_event_grid());

    let encoded = |value: &Value| URL_SAFE_NO_PAD.encode(value.to_string());
    let unsigned = |claims: &Value| {
        let header = encoded(&json!({ "alg": "none", "kid": "one" }));
        format!("{header}.{}.", encoded(claims))
    };
    // The public key is no secret, so it must not verify an HMAC.
    let by_public_key = |claims: &Value| {
        let header = Header { kid: Some("one".to_owned()), ..Header::new(Algorithm::HS256) };
        let public = one.public()["n"].as_str().unwrap().to_owned();
        let secret = EncodingKey::from_secret(&URL_SAFE_NO_PAD.decode(public).unwrap()).unwrap();
        jsonwebtoken::encode(&header, claims, &secret).unwrap()
    };
    let spliced = |claims: &Value| {
        let signed = one.signs(&but(claims.clone(), "exp", in_seconds(-3600)));
        let mut parts: Vec<&str> = signed.split('.').collect();
        let body = encoded(claims);
        parts[1] = &body;
        parts.join(".")
    };
    let mut attempts: Vec<(&str, bool, String)> = vec![
        ("token_unreadable", true, "no token".to_owned()),
        ("token_app", false, one.signs(&but(event_grid.clone(), "appid", RESOURCE))),
    ];
    for (is_call_automation, claims) in [(true, &call_automation), (false, &event_grid)] {
        let signs = |name: &str, value: Value| one.signs(&but(claims.clone(), name, value));
        for (reason, token) in [
            ("token_expired", signs("exp", json!(in_seconds(-3600)))),
            ("token_early", signs("nbf", json!(in_seconds(3600)))),
            ("token_issuer", signs("iss", json!("https://example.com"))),
            ("token_audience", signs("aud", json!("another service"))),
            ("token_unknown_key", KeyPair::two().signs(claims)),
            ("token_signature", unknown.signs(claims)),
            ("token_signature", unsigned(claims)),
            ("token_signature", by_public_key(claims)),
            ("token_signature", spliced(claims)),
        ] {
            attempts.push((reason, is_call_automation, token));
        }
    }
    for (reason, is_call_automation, token) in attempts {
        let before = client.refused(reason).await;
        let path = if is_call_automation {
            "/ingest/call-automation/forged-ca"
        } else {
            "/ingest/event-grid/forged-eg"
        };
        let answer = posts(app.url(path), &token).await;
        assert_eq!(answer.status(), StatusCode::SERVICE_UNAVAILABLE, "{reason}");
        assert!(answer.headers().contains_key("retry-after"));
        let body = answer.text().await.unwrap();
        assert!(!body.contains(&token), "{body}");
        assert_eq!(client.refused(reason).await, before + 1, "{reason}");
    }
    // A token of one source is not valid for another.
    let token = one.signs(&call_automation);
    assert_eq!(client.call_automation(&token).await, 200);
    assert_eq!(client.event_grid(&token).await, 503);
    let most = 2 + began.elapsed().as_secs() / 10;
    assert!(
        issuer.asked.load(Ordering::Relaxed) as u64 <= most,
        "unauthenticated requests do not raise the rate of fetches"
    );
    app.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_key_rotation_is_followed_and_an_outage_of_the_issuer_changes_nothing() {
    let (one, two) = (KeyPair::one(), KeyPair::two());
    let issuer = Issuer::with(&[&one]).await;
    let app = TestApp::with(TestStores::shared().await, &issuer.sources("rotates", "")).await;
    app.is_ready().await;
    let client = IngestClient { app: &app, name: "rotates" };
    let by = |pair: &KeyPair| pair.signs(&of_event_grid());
    assert_eq!(client.event_grid(&by(&one)).await, 200);

    issuer.publishes(&[&two]);
    until("the new key is known", || async {
        (client.event_grid(&by(&two)).await == 200).then_some(())
    })
    .await;
    assert_eq!(client.event_grid(&by(&one)).await, 503, "it was taken back");

    issuer.is_away();
    let asked = issuer.asked.load(Ordering::Relaxed);
    until("it was asked in vain", || async {
        let began = Instant::now();
        assert_eq!(client.event_grid(&by(&one)).await, 503);
        assert!(began.elapsed() < Duration::from_secs(4), "no delivery waits long");
        (issuer.asked.load(Ordering::Relaxed) > asked).then_some(())
    })
    .await;
    assert_eq!(client.event_grid(&by(&two)).await, 200);
    issuer.served.abort();
    assert_eq!(client.event_grid(&by(&two)).await, 200);
    app.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn without_an_issuer_tokens_wait_for_it_and_keys_do_not() {
    let one = KeyPair::one();
    let issuer = Issuer::with(&[&one]).await;
    issuer.is_away();
    let key = format!("\"{}\"", KeyHash::of(SOURCE_KEY));
    let sources = issuer.sources("waits", &key);
    let app = TestApp::with(TestStores::shared().await, &sources).await;
    app.is_ready().await;
    let client = IngestClient { app: &app, name: "waits" };
    let token = one.signs(&of_call_automation());
    assert_eq!(client.call_automation(&token).await, 503);
    assert_eq!(client.refused("no_jwks").await, 1);
    let (status, _) = app.posts("/ingest/call-automation/waits-ca", "[]").await;
    assert_eq!(status, StatusCode::OK);
    issuer.publishes(&[&one]);
    until("the keys are had", || async {
        (client.call_automation(&token).await == 200).then_some(())
    })
    .await;
    app.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn token_settings_are_reloaded_on_sighup() {
    let (one, two) = (KeyPair::one(), KeyPair::two());
    let (first, second) = (Issuer::with(&[&one]).await, Issuer::with(&[&two]).await);
    let database_url = fresh_database().await;
    let program = Program::start(&database_url, &first.sources("anew", "")).await;
    let url = format!("{}/ingest/event-grid/anew-eg", program.address);
    let (by_one, by_two) = (one.signs(&of_event_grid()), two.signs(&of_event_grid()));
    until("the spool takes it", || async {
        (posts(url.clone(), &by_one).await.status() == 200).then_some(())
    })
    .await;
    assert_eq!(posts(url.clone(), &by_two).await.status(), 503);

    let file = program.folder.path().join("onrecord.toml");
    write(&file, &database_url, &second.sources("anew", ""));
    program.signal(1);
    until("the other issuer is believed", || async {
        (posts(url.clone(), &by_two).await.status() == 200).then_some(())
    })
    .await;
    assert_eq!(posts(url.clone(), &by_one).await.status(), 503);

    let log = program.ends();
    assert!(log.contains("token_unknown_key"), "the refusal is logged");
    for token in [by_one, by_two] {
        let signature = token.rsplit('.').next().unwrap();
        assert!(!log.contains(signature), "a token is in the log");
    }
}
