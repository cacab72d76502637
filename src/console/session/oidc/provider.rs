//! The OpenID provider: its document and keys, the address of a sign-in, and the exchange of a code for a user.

use std::sync::Arc;
use std::time::{Duration, Instant};

use chrono::{DateTime, TimeDelta, Utc};
use openidconnect::core::{
    CoreAuthDisplay, CoreAuthPrompt, CoreAuthenticationFlow, CoreClientAuthMethod,
    CoreErrorResponseType, CoreGenderClaim, CoreJsonWebKey, CoreJweContentEncryptionAlgorithm,
    CoreJwsSigningAlgorithm, CoreRevocableToken, CoreRevocationErrorResponse,
    CoreTokenIntrospectionResponse, CoreTokenType,
};
use openidconnect::{
    AccessTokenHash, AuthType, AuthorizationCode, ClaimsVerificationError, Client, ClientId,
    ClientSecret, CsrfToken, DiscoveryError, EmptyExtraTokenFields, EndpointMaybeSet,
    EndpointNotSet, EndpointSet, IdTokenClaims, IdTokenFields, IssuerUrl, LanguageTag,
    LogoutRequest, Nonce, OAuth2TokenResponse as _, PkceCodeChallenge, PkceCodeVerifier,
    PostLogoutRedirectUrl, ProviderMetadataWithLogout, RedirectUrl, RequestTokenError, Scope,
    SignatureVerificationError, StandardErrorResponse, StandardTokenResponse, TokenResponse as _,
    UserInfoClaims,
};
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};
use tokio::sync::{Mutex, OnceCell, Semaphore};

use super::grants;
use super::pending::{MAX_AGE, PendingSignIn};
use super::provider_http::{ProviderHttp, ProviderHttpError};
use crate::config::OidcSettings;
use crate::http::problem::Problem;
use crate::telemetry::LogLimiter;
use onrecord_evidence::event::ids::Digest;

/// The path to which the provider sends browsers back.
const CALLBACK_PATH: &str = "/console/oidc/callback";
/// The page to which the provider sends browsers after a sign-out.
const SIGNED_OUT_PATH: &str = "/console/sign-in";
/// Interval at which the document and the keys of the provider are fetched again.
const REFRESH_INTERVAL: Duration = Duration::from_secs(3600);
/// Interval after a failed fetch if an older document is there.
const RETRY_INTERVAL: Duration = Duration::from_secs(60);
/// Minimum interval between two fetches because a key is missing.
const MISSING_KEY_INTERVAL: Duration = Duration::from_secs(10);
/// Maximum difference between the clocks of the provider and of this machine.
const CLOCK_SKEW: TimeDelta = TimeDelta::minutes(2);
/// Maximum number of codes that are exchanged at a time.
const MAX_EXCHANGES: usize = 16;
/// Interval between two log lines about a provider that does not answer.
const LOG_INTERVAL: Duration = Duration::from_secs(60);

/// The algorithms of signatures that are accepted: those whose keys the provider publishes.
const ALGORITHMS: [CoreJwsSigningAlgorithm; 9] = [
    CoreJwsSigningAlgorithm::RsaSsaPkcs1V15Sha256,
    CoreJwsSigningAlgorithm::RsaSsaPkcs1V15Sha384,
    CoreJwsSigningAlgorithm::RsaSsaPkcs1V15Sha512,
    CoreJwsSigningAlgorithm::RsaSsaPssSha256,
    CoreJwsSigningAlgorithm::RsaSsaPssSha384,
    CoreJwsSigningAlgorithm::RsaSsaPssSha512,
    CoreJwsSigningAlgorithm::EcdsaP256Sha256,
    CoreJwsSigningAlgorithm::EcdsaP384Sha384,
    CoreJwsSigningAlgorithm::EdDsa,
];

/// The claims that are no standard claims: roles, groups, tenants.
#[derive(Clone, Debug, Default, Deserialize, Serialize)]
#[serde(transparent)]
struct OtherClaims(Map<String, Value>);

impl openidconnect::AdditionalClaims for OtherClaims {}

type TokenFields = IdTokenFields<
    OtherClaims,
    EmptyExtraTokenFields,
    CoreGenderClaim,
    CoreJweContentEncryptionAlgorithm,
    CoreJwsSigningAlgorithm,
>;
type TokenAnswer = StandardTokenResponse<TokenFields, CoreTokenType>;
type TokenRefusal = StandardErrorResponse<CoreErrorResponseType>;
type OidcClient = Client<
    OtherClaims,
    CoreAuthDisplay,
    CoreGenderClaim,
    CoreJweContentEncryptionAlgorithm,
    CoreJsonWebKey,
    CoreAuthPrompt,
    TokenRefusal,
    TokenAnswer,
    CoreTokenIntrospectionResponse,
    CoreRevocableToken,
    CoreRevocationErrorResponse,
    EndpointSet,
    EndpointNotSet,
    EndpointNotSet,
    EndpointNotSet,
    EndpointMaybeSet,
    EndpointMaybeSet,
>;
type ProvenClaims = IdTokenClaims<OtherClaims, CoreGenderClaim>;

/// Why a code was not redeemed for a user.
#[derive(Debug, thiserror::Error)]
pub(in crate::console) enum ProviderError {
    /// Another attempt may succeed.
    #[error("the OpenID provider does not answer: {0}")]
    Unavailable(String),
    #[error("the OpenID provider refuses the code: {code}")]
    Refused { code: String, description: Option<String> },
    #[error("the ID token is not acceptable: {0}")]
    Token(String),
}

/// A user whom the provider has proven.
#[derive(Debug)]
pub(super) struct ProvenUser {
    pub subject: String,
    pub name: Option<String>,
    /// The name at the sign-in, or the address of e-mail.
    pub login: Option<String>,
    pub claims: Map<String, Value>,
}

/// The provider of the settings.
#[derive(Clone)]
pub(crate) struct OidcProvider(Arc<OidcProviderState>);

struct OidcProviderState {
    settings: OidcSettings,
    rules: Digest,
    http: OnceCell<ProviderHttp>,
    cached: Mutex<CachedDocument>,
    exchanges: Semaphore,
    log_limiter: LogLimiter<()>,
}

/// The document of the provider with its keys, and its age.
#[derive(Default)]
struct CachedDocument {
    document: Option<Arc<ProviderMetadataWithLogout>>,
    fetched_at: Option<Instant>,
    tried_at: Option<Instant>,
}

impl CachedDocument {
    fn is_due(&self, now: Instant) -> bool {
        let is_older = |since: Option<Instant>, age: Duration| {
            since.is_none_or(|since| now.saturating_duration_since(since) >= age)
        };
        self.document.is_none()
            || is_older(self.fetched_at, REFRESH_INTERVAL)
                && is_older(self.tried_at, RETRY_INTERVAL)
    }
}

impl OidcProvider {
    /// The provider of the settings, if they name one.
    pub(crate) fn of(settings: &OidcSettings) -> Option<Self> {
        settings.is_on().then(|| {
            Self(Arc::new(OidcProviderState {
                settings: settings.clone(),
                rules: rules_of(settings),
                http: OnceCell::new(),
                cached: Mutex::default(),
                exchanges: Semaphore::new(MAX_EXCHANGES),
                log_limiter: LogLimiter::new(LOG_INTERVAL),
            }))
        })
    }

    pub(in crate::console) fn settings(&self) -> &OidcSettings {
        &self.0.settings
    }

    /// The digest of the settings that decide who may sign in with which role.
    pub(in crate::console) fn rules(&self) -> Digest {
        self.0.rules
    }

    /// The address at the provider where a browser signs in.
    ///
    /// # Errors
    ///
    /// The provider does not answer.
    pub(super) async fn sign_in_url(
        &self,
        pending: &PendingSignIn,
        language: &str,
        with_another_account: bool,
    ) -> Result<String, ProviderError> {
        let client = self.client(&*self.document().await?)?;
        let (state, nonce) = (pending.state.clone(), pending.nonce.clone());
        let verifier = PkceCodeVerifier::new(pending.verifier.clone());
        let mut request = client
            .authorize_url(
                CoreAuthenticationFlow::AuthorizationCode,
                || CsrfToken::new(state),
                || Nonce::new(nonce),
            )
            .add_scopes(self.0.settings.scopes.iter().cloned().map(Scope::new))
            .set_pkce_challenge(PkceCodeChallenge::from_code_verifier_sha256(&verifier))
            .add_ui_locale(LanguageTag::new(language.to_owned()));
        if with_another_account {
            request = request.add_prompt(CoreAuthPrompt::SelectAccount);
        }
        Ok(request.url().0.into())
    }

    /// The address at the provider where a browser signs out, if it offers one.
    ///
    /// # Errors
    ///
    /// The provider does not answer.
    pub(super) async fn sign_out_url(&self) -> Result<Option<String>, ProviderError> {
        let document = self.document().await?;
        let Some(endpoint) = document.additional_metadata().end_session_endpoint.clone() else {
            return Ok(None);
        };
        let back =
            PostLogoutRedirectUrl::new(self.own_address(SIGNED_OUT_PATH)).map_err(unusable)?;
        let request = LogoutRequest::from(endpoint)
            .set_client_id(ClientId::new(self.0.settings.client_id.clone()))
            .set_post_logout_redirect_uri(back);
        Ok(Some(request.http_get_url().into()))
    }

    /// Exchanges a code for the user who signed in.
    ///
    /// # Errors
    ///
    /// [`ProviderError`]; 429 if too many codes are exchanged.
    pub(super) async fn redeem(
        &self,
        code: String,
        pending: &PendingSignIn,
        now: DateTime<Utc>,
    ) -> Result<Result<ProvenUser, ProviderError>, Problem> {
        let _place = self.0.exchanges.try_acquire().map_err(|_| {
            Problem::too_many(
                "too many sign-ins are in progress; wait a moment",
                Duration::from_secs(1),
            )
        })?;
        Ok(self.redeemed(code, pending, now).await)
    }

    async fn redeemed(
        &self,
        code: String,
        pending: &PendingSignIn,
        now: DateTime<Utc>,
    ) -> Result<ProvenUser, ProviderError> {
        let client = self.client(&*self.document().await?)?;
        let http = self.http().await?;
        let request = client.exchange_code(AuthorizationCode::new(code)).map_err(unusable)?;
        let request = request.set_pkce_verifier(PkceCodeVerifier::new(pending.verifier.clone()));
        let answer = request.request_async(http).await.map_err(exchange_error)?;
        let proven = match proven_claims(&client, &answer, pending, now) {
            Err(ClaimsError::Key(_)) => {
                // The provider may have new keys.
                let client = self.client(&*self.document_with_new_keys().await?)?;
                proven_claims(&client, &answer, pending, now)
            }
            proven => proven,
        };
        let proven = proven.map_err(|error| ProviderError::Token(error.to_string()))?;
        let mut user = ProvenUser::of(&proven);
        if !grants::has_claim(&user.claims, &self.0.settings.role_claim) {
            self.add_user_info(&client, &answer, &proven, &mut user).await?;
        }
        Ok(user)
    }

    /// Adds what the provider answers about the user, which some provider states there only.
    async fn add_user_info(
        &self,
        client: &OidcClient,
        answer: &TokenAnswer,
        proven: &ProvenClaims,
        user: &mut ProvenUser,
    ) -> Result<(), ProviderError> {
        let subject = Some(proven.subject().clone());
        // A provider without this resource has stated all that it states.
        let Ok(request) = client.user_info(answer.access_token().clone(), subject) else {
            return Ok(());
        };
        let http = self.http().await?;
        let info: Result<UserInfoClaims<OtherClaims, CoreGenderClaim>, _> =
            request.request_async(http).await;
        let info = info.map_err(|error| ProviderError::Unavailable(chain(&error)))?;
        let OtherClaims(more) = info.additional_claims();
        for (name, value) in more {
            user.claims.entry(name.clone()).or_insert_with(|| value.clone());
        }
        let text = |text: Option<&str>| text.map(str::to_owned);
        let name = info.name().and_then(|name| name.get(None)).map(|name| name.as_str());
        user.name = user.name.take().or_else(|| text(name));
        let login = info.preferred_username().map(|login| login.as_str());
        let login = login.or_else(|| info.email().map(|email| email.as_str()));
        user.login = user.login.take().or_else(|| text(login));
        Ok(())
    }

    fn client(&self, document: &ProviderMetadataWithLogout) -> Result<OidcClient, ProviderError> {
        let settings = &self.0.settings;
        let secret = settings.client_secret.expose();
        let secret = (!secret.is_empty()).then(|| ClientSecret::new(secret.clone()));
        let redirect = RedirectUrl::new(self.own_address(CALLBACK_PATH)).map_err(unusable)?;
        // Without a statement a provider takes the secret in the header.
        let takes_header = document
            .token_endpoint_auth_methods_supported()
            .is_none_or(|methods| methods.contains(&CoreClientAuthMethod::ClientSecretBasic));
        let how = if takes_header { AuthType::BasicAuth } else { AuthType::RequestBody };
        let id = ClientId::new(settings.client_id.clone());
        Ok(OidcClient::from_provider_metadata(document.clone(), id, secret)
            .set_redirect_uri(redirect)
            .set_auth_type(how))
    }

    fn own_address(&self, path: &str) -> String {
        format!("{}{path}", self.0.settings.base_url)
    }

    async fn http(&self) -> Result<&ProviderHttp, ProviderError> {
        let http = self.0.http.get_or_try_init(async || ProviderHttp::new()).await;
        http.map_err(|error| ProviderError::Unavailable(error.to_string()))
    }

    /// Whether the document, if it was read, offers a sign-out at the provider.
    pub(in crate::console) fn offers_sign_out(&self) -> bool {
        // A document that is being fetched offers it on the next page.
        let Ok(cached) = self.0.cached.try_lock() else { return false };
        let document = cached.document.as_ref();
        document.is_some_and(|it| it.additional_metadata().end_session_endpoint.is_some())
    }

    async fn document(&self) -> Result<Arc<ProviderMetadataWithLogout>, ProviderError> {
        let mut cached = self.0.cached.lock().await;
        let is_due = cached.is_due(Instant::now());
        self.refreshed(&mut cached, is_due).await
    }

    async fn document_with_new_keys(
        &self,
    ) -> Result<Arc<ProviderMetadataWithLogout>, ProviderError> {
        let mut cached = self.0.cached.lock().await;
        let tried_at = cached.tried_at;
        let is_due = tried_at.is_none_or(|tried_at| tried_at.elapsed() >= MISSING_KEY_INTERVAL);
        self.refreshed(&mut cached, is_due).await
    }

    /// The document, after a fetch if it is due. While the provider does not answer, the older one stays in use.
    async fn refreshed(
        &self,
        cached: &mut CachedDocument,
        is_due: bool,
    ) -> Result<Arc<ProviderMetadataWithLogout>, ProviderError> {
        if is_due {
            let fetched = self.fetch().await;
            let now = Instant::now();
            cached.tried_at = Some(now);
            match fetched {
                Ok(document) => {
                    cached.document = Some(Arc::new(document));
                    cached.fetched_at = Some(now);
                    self.0.log_limiter.reset(&());
                }
                Err(error) => {
                    if self.0.log_limiter.allows((), now) {
                        let issuer = &self.0.settings.issuer;
                        tracing::warn!(error = %error, oidc.issuer = %issuer, "the document or the keys of the OpenID provider {issuer} were not read: {error}");
                    }
                    if cached.document.is_none() {
                        return Err(error);
                    }
                }
            }
        }
        let missing = || ProviderError::Unavailable("its document was not read".to_owned());
        cached.document.clone().ok_or_else(missing)
    }

    async fn fetch(&self) -> Result<ProviderMetadataWithLogout, ProviderError> {
        let issuer = IssuerUrl::new(self.0.settings.issuer.clone()).map_err(unusable)?;
        let http = self.http().await?;
        let fetched = ProviderMetadataWithLogout::discover_async(issuer, http).await;
        fetched.map_err(|error: DiscoveryError<ProviderHttpError>| {
            ProviderError::Unavailable(chain(&error))
        })
    }
}

impl ProvenUser {
    fn of(claims: &ProvenClaims) -> Self {
        let login = claims.preferred_username().map(|login| login.as_str());
        let login = login.or_else(|| claims.email().map(|email| email.as_str()));
        let OtherClaims(others) = claims.additional_claims();
        Self {
            subject: claims.subject().as_str().to_owned(),
            name: claims
                .name()
                .and_then(|name| name.get(None))
                .map(|name| name.as_str().to_owned()),
            login: login.map(str::to_owned),
            claims: others.clone(),
        }
    }
}

/// The claims of an ID token are not proven.
#[derive(Debug, thiserror::Error)]
enum ClaimsError {
    #[error("the answer has no ID token")]
    Missing,
    /// The keys may be older than the token.
    #[error("no key of the provider fits its signature: {0}")]
    Key(SignatureVerificationError),
    #[error(transparent)]
    Claims(ClaimsVerificationError),
    #[error("it was issued to another client (azp)")]
    AuthorizedParty,
    #[error("it was issued for another access token (at_hash)")]
    AccessToken,
}

/// The claims of the ID token: signature, issuer, audience, expiry, nonce and the rest of what OpenID Connect Core
/// 1.0 demands in 3.1.3.7.
fn proven_claims(
    client: &OidcClient,
    answer: &TokenAnswer,
    pending: &PendingSignIn,
    now: DateTime<Utc>,
) -> Result<ProvenClaims, ClaimsError> {
    let token = answer.id_token().ok_or(ClaimsError::Missing)?;
    // At most so much time is between the way to the provider and the way back.
    let oldest = now - MAX_AGE - CLOCK_SKEW;
    let newest = now + CLOCK_SKEW;
    let verifier = client
        .id_token_verifier()
        .set_allowed_algs(ALGORITHMS)
        .set_time_fn(move || now - CLOCK_SKEW)
        .set_issue_time_verifier_fn(move |at| match at {
            at if at < oldest => Err("it was issued before this sign-in".to_owned()),
            at if at > newest => Err("it was issued in the future".to_owned()),
            _ => Ok(()),
        });
    let nonce = Nonce::new(pending.nonce.clone());
    let claims = token.claims(&verifier, &nonce).map_err(|error| match error {
        ClaimsVerificationError::SignatureVerification(
            error @ (SignatureVerificationError::NoMatchingKey
            | SignatureVerificationError::CryptoError(_)),
        ) => ClaimsError::Key(error),
        error => ClaimsError::Claims(error),
    })?;
    // The library leaves this one to its users.
    let party = claims.authorized_party();
    if party.is_some_and(|party| party != client.client_id()) {
        return Err(ClaimsError::AuthorizedParty);
    }
    if let Some(stated) = claims.access_token_hash() {
        let signature =
            |error| ClaimsError::Claims(ClaimsVerificationError::SignatureVerification(error));
        let algorithm = token.signing_alg().map_err(signature)?;
        let key = token.signing_key(&verifier).map_err(signature)?;
        let hash = AccessTokenHash::from_token(answer.access_token(), algorithm, key);
        if !hash.is_ok_and(|hash| hash == *stated) {
            return Err(ClaimsError::AccessToken);
        }
    }
    Ok(claims.clone())
}

fn exchange_error(error: RequestTokenError<ProviderHttpError, TokenRefusal>) -> ProviderError {
    match error {
        RequestTokenError::ServerResponse(refusal) => ProviderError::Refused {
            code: refusal.error().to_string(),
            description: refusal.error_description().cloned(),
        },
        RequestTokenError::Request(error) => ProviderError::Unavailable(chain(&error)),
        // NO_SECRETS: its text has no part of the answer, which has tokens.
        RequestTokenError::Parse(error, _) => {
            ProviderError::Token(format!("the answer cannot be read at {}", error.path()))
        }
        RequestTokenError::Other(text) => ProviderError::Unavailable(text),
    }
}

/// What of the settings or of the document of the provider cannot be used.
fn unusable(error: impl std::error::Error) -> ProviderError {
    ProviderError::Unavailable(chain(&error))
}

/// An error and its causes in one line.
fn chain(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(error) = cause {
        text = format!("{text}: {error}");
        cause = error.source();
    }
    text
}

/// The digest of the settings that decide who may sign in with which role.
fn rules_of(settings: &OidcSettings) -> Digest {
    let mut parts: Vec<String> = vec![
        settings.issuer.clone(),
        settings.client_id.clone(),
        settings.role_claim.clone(),
        settings.tenant_claim.clone(),
        settings.tenant.as_ref().map_or_else(String::new, |tenant| tenant.as_str().to_owned()),
        settings.roles.len().to_string(),
    ];
    for (value, role) in &settings.roles {
        let tenant = role.tenant.as_ref().map_or("", |tenant| tenant.as_str());
        let name: &str = role.role.into();
        parts.extend([value.clone(), tenant.to_owned(), name.to_owned()]);
    }
    for (value, tenant) in &settings.tenants {
        parts.extend([value.clone(), tenant.as_str().to_owned()]);
    }
    let parts: Vec<&str> = parts.iter().map(String::as_str).collect();
    Digest::of_parts(&parts)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::Settings;

    #[test]
    fn other_rules_of_the_sign_in_have_another_digest() {
        let rules = |more: &str| {
            let toml = format!(
                "[console.oidc]\nissuer = \"https://login.example\"\nclient_id = \"c\"\nbase_url = \"https://onrecord.example\"\n{more}"
            );
            rules_of(&Settings::from_toml(&toml).unwrap().console.oidc)
        };
        let mut found: Vec<Digest> = [
            "",
            "tenant = \"contoso\"",
            "tenant_claim = \"tid\"",
            "[console.oidc.roles]\n\"g\" = \"contoso/auditor\"",
            "[console.oidc.roles]\n\"g\" = \"contoso/admin\"",
            "[console.oidc.tenants]\n\"g\" = \"contoso\"",
        ]
        .map(rules)
        .to_vec();
        assert_eq!(rules("client_secret = \"x\""), found[0]);
        found.sort();
        found.dedup();
        assert_eq!(found.len(), 6);
    }

    #[test]
    fn a_document_is_fetched_hourly_and_after_a_failure_each_minute() {
        let start = Instant::now();
        let at = |seconds: u64| start + Duration::from_secs(seconds);
        let mut cached = CachedDocument::default();
        assert!(cached.is_due(start));
        cached.tried_at = Some(start);
        // Without a document each sign-in tries again.
        assert!(cached.is_due(at(1)));
        let json = r#"{"issuer":"https://login.example","authorization_endpoint":"https://login.example/a","jwks_uri":"https://login.example/k","response_types_supported":["code"],"subject_types_supported":["public"],"id_token_signing_alg_values_supported":["RS256"]}"#;
        cached.document = Some(serde_json::from_str(json).unwrap());
        cached.fetched_at = Some(start);
        assert!(!cached.is_due(at(3599)) && cached.is_due(at(3600)));
        cached.tried_at = Some(at(3600));
        assert!(!cached.is_due(at(3659)) && cached.is_due(at(3660)));
    }
}
