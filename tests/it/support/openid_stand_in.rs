//! An OpenID provider that does what a test says, also what no real one does: tokens of another issuer, with
//! another nonce, or signed by another key.

use std::net::SocketAddr;
use std::sync::{Arc, Mutex};

use axum::Router;
use axum::http::StatusCode;
use axum::routing::{get, post};
use base64::Engine as _;
use base64::engine::general_purpose::{STANDARD, URL_SAFE_NO_PAD};
use jsonwebtoken::jwk::Jwk;
use jsonwebtoken::{Algorithm, EncodingKey, Header};
use onrecord::http::jwt_crypto;
use serde_json::{Value, json};
use sha2::{Digest as _, Sha256};
use tokio::net::TcpListener;

use super::openid_provider::{CLIENT_ID, CLIENT_SECRET};

/// The access token of each answer.
pub const ACCESS_TOKEN: &str = "an-access-token";

/// A key of the provider.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ProviderKey {
    One,
    Two,
}

impl ProviderKey {
    fn id(self) -> &'static str {
        match self {
            Self::One => "one",
            Self::Two => "two",
        }
    }

    fn private(self) -> EncodingKey {
        EncodingKey::from_rsa_der(match self {
            Self::One => include_bytes!("../../data/jwt/one.der"),
            Self::Two => include_bytes!("../../data/jwt/two.der"),
        })
    }

    fn public(self) -> Value {
        jwt_crypto::install();
        let mut jwk = Jwk::from_encoding_key(&self.private(), Algorithm::RS256).unwrap();
        jwk.common.key_id = Some(self.id().to_owned());
        serde_json::to_value(jwk).unwrap()
    }

    /// A token with these claims.
    pub fn signs(self, claims: &Value) -> String {
        jwt_crypto::install();
        let header = Header { kid: Some(self.id().to_owned()), ..Header::new(Algorithm::RS256) };
        jsonwebtoken::encode(&header, claims, &self.private()).unwrap()
    }
}

/// A token that is signed by the secret of the client.
pub fn signed_by_secret(claims: &Value) -> String {
    jwt_crypto::install();
    let key = EncodingKey::from_secret(CLIENT_SECRET.as_bytes()).unwrap();
    jsonwebtoken::encode(&Header::new(Algorithm::HS256), claims, &key).unwrap()
}

/// A token without a signature.
pub fn unsigned(claims: &Value) -> String {
    let part = |value: &Value| URL_SAFE_NO_PAD.encode(value.to_string());
    format!("{}.{}.", part(&json!({ "alg": "none", "typ": "JWT" })), part(claims))
}

/// What `at_hash` states of an access token.
pub fn access_token_hash(token: &str) -> String {
    URL_SAFE_NO_PAD.encode(&Sha256::digest(token)[..16])
}

/// What the provider answers to a code.
#[derive(Clone, Debug)]
struct Answers {
    token: (StatusCode, Value),
    keys: Vec<ProviderKey>,
    document: StatusCode,
    /// The form and the credentials of the last exchange.
    asked: Vec<(String, String)>,
    fetched_keys: usize,
}

/// A running stand-in.
pub struct OpenidStandIn {
    address: SocketAddr,
    answers: Arc<Mutex<Answers>>,
}

impl OpenidStandIn {
    pub async fn start() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let answers = Arc::new(Mutex::new(Answers {
            token: (StatusCode::BAD_REQUEST, json!({ "error": "invalid_grant" })),
            keys: vec![ProviderKey::One],
            document: StatusCode::OK,
            asked: Vec::new(),
            fetched_keys: 0,
        }));
        let [document, keys, token] = [(); 3].map(|()| Arc::clone(&answers));
        let issuer = format!("http://{address}");
        let metadata = json!({
            "issuer": issuer,
            "authorization_endpoint": format!("{issuer}/authorize"),
            "token_endpoint": format!("{issuer}/token"),
            "jwks_uri": format!("{issuer}/keys"),
            "response_types_supported": ["code"],
            "subject_types_supported": ["public"],
            "id_token_signing_alg_values_supported": ["RS256", "HS256", "none"],
        })
        .to_string();
        let json_type = [("content-type", "application/json")];
        let router = Router::new()
            .route(
                "/.well-known/openid-configuration",
                get(async move || (document.lock().unwrap().document, json_type, metadata)),
            )
            .route(
                "/keys",
                get(async move || {
                    let mut answers = keys.lock().unwrap();
                    answers.fetched_keys += 1;
                    let keys: Vec<Value> = answers.keys.iter().map(|key| key.public()).collect();
                    (json_type, json!({ "keys": keys }).to_string())
                }),
            )
            .route(
                "/token",
                post(async move |headers: axum::http::HeaderMap, body: String| {
                    let mut answers = token.lock().unwrap();
                    let authorization = headers.get("authorization");
                    let authorization = authorization.map_or("", |it| it.to_str().unwrap());
                    answers.asked.push((authorization.to_owned(), body));
                    let (status, answer) = answers.token.clone();
                    (status, json_type, answer.to_string())
                }),
            );
        tokio::spawn(async move { axum::serve(listener, router).await.unwrap() });
        Self { address, answers }
    }

    pub fn issuer(&self) -> String {
        format!("http://{}", self.address)
    }

    fn set(&self, change: impl FnOnce(&mut Answers)) {
        change(&mut self.answers.lock().unwrap());
    }

    /// The next codes are exchanged for this ID token.
    pub fn answers_token(&self, id_token: Option<String>) {
        let mut answer =
            json!({ "access_token": ACCESS_TOKEN, "token_type": "Bearer", "expires_in": 300 });
        if let Some(id_token) = id_token {
            answer["id_token"] = id_token.into();
        }
        self.set(|answers| answers.token = (StatusCode::OK, answer));
    }

    /// The next codes are refused.
    pub fn refuses(&self, status: StatusCode, answer: &Value) {
        self.set(|answers| answers.token = (status, answer.clone()));
    }

    pub fn publishes(&self, keys: &[ProviderKey]) {
        self.set(|answers| answers.keys = keys.to_vec());
    }

    pub fn is_away(&self, is_away: bool) {
        let status = if is_away { StatusCode::BAD_GATEWAY } else { StatusCode::OK };
        self.set(|answers| answers.document = status);
    }

    pub fn fetched_keys(&self) -> usize {
        self.answers.lock().unwrap().fetched_keys
    }

    pub fn exchanges(&self) -> usize {
        self.answers.lock().unwrap().asked.len()
    }

    /// Fails unless the last exchange had the secret of the client in its head and the verifier of a challenge.
    pub fn exchanged_with_verifier_of(&self, challenge: &str) {
        let asked = self.answers.lock().unwrap().asked.clone();
        let (authorization, form) = asked.last().unwrap();
        let credentials = STANDARD.encode(format!("{CLIENT_ID}:{CLIENT_SECRET}"));
        assert_eq!(*authorization, format!("Basic {credentials}"));
        let form: Vec<(String, String)> = serde_urlencoded::from_str(form).unwrap();
        let field = |name: &str| form.iter().find(|(field, _)| field == name).unwrap().1.clone();
        assert_eq!(field("grant_type"), "authorization_code");
        let verifier = field("code_verifier");
        assert_eq!(URL_SAFE_NO_PAD.encode(Sha256::digest(verifier)), challenge);
    }
}
