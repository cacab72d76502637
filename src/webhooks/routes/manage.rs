//! Creates and changes subscriptions. The routes and the command line use the same functions.

use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use chrono::{DateTime, TimeDelta, Utc};
use reqwest::Url;
use uuid::Uuid;

use crate::clock;
use crate::http::problem::{Problem, ProblemKind};
use crate::postgres::{NewSecret, NewWebhook, SignatureAlgorithm, StoredWebhook, WebhookOrder};
use crate::webhooks::context::WebhookManager;
use crate::webhooks::guard::guarded_client::check_name;
use crate::webhooks::signature::secret_seal::SealError;
use crate::webhooks::signature::signing_secret::WebhookSigningSecret;
use onrecord_evidence::event::ids::Tenant;

/// Time for which the secret before signs besides, unless another one is given.
const DEFAULT_OVERLAP: Duration = Duration::from_secs(24 * 3600);
/// Maximum of that time.
const MAX_OVERLAP: Duration = Duration::from_secs(30 * 24 * 3600);
/// Number of random bytes of a challenge.
const CHALLENGE_BYTES: usize = 24;
/// Time after which a tenant with too many subscriptions may ask again.
const RETRY_AFTER: Duration = Duration::from_secs(60);

/// A random text for a receiver to answer.
pub(crate) fn new_challenge() -> String {
    URL_SAFE_NO_PAD.encode(rand::random::<[u8; CHALLENGE_BYTES]>())
}

/// Creates a subscription. Returns its id, and its secret or public key.
///
/// # Errors
///
/// A problem that says what is wrong.
pub(crate) async fn create(
    manager: &WebhookManager,
    tenant: &Tenant,
    order: &WebhookOrder,
    created_by: (Option<Uuid>, &str),
) -> Result<(Uuid, String), Problem> {
    check_names(manager, order).await?;
    let id = Uuid::now_v7();
    let (secret, shown) = new_secret(manager, id, order.algorithm)?;
    let challenge = new_challenge();
    let new = NewWebhook { id, tenant, order, challenge: &challenge, secret: &secret, created_by };
    let max = manager.settings.max_subscriptions;
    if !manager.store.create_webhook(&new, max.into()).await? {
        let detail =
            format!("the tenant has {max} webhooks (webhooks.max_subscriptions); delete one");
        return Err(Problem::too_many(detail, RETRY_AFTER));
    }
    Ok((id, shown))
}

/// Changes a subscription. Another address is challenged.
///
/// # Errors
///
/// A problem that says what is wrong. `Ok(false)`: there is no such subscription any more.
pub(crate) async fn change(
    manager: &WebhookManager,
    tenant: &Tenant,
    stored: &StoredWebhook,
    order: &WebhookOrder,
) -> Result<bool, Problem> {
    check_names(manager, order).await?;
    let challenge = (order.url != stored.url).then(new_challenge);
    Ok(manager.store.change_webhook(tenant, stored.id, order, challenge.as_deref()).await?)
}

/// Replaces the secret of a subscription. Returns the new one, or its public key, and until when the one
/// before signs besides.
///
/// # Errors
///
/// A problem that says what is wrong. `Ok(None)`: there is no such subscription any more.
pub(crate) async fn rotate(
    manager: &WebhookManager,
    tenant: &Tenant,
    stored: &StoredWebhook,
    overlap: Option<Duration>,
) -> Result<Option<(String, DateTime<Utc>)>, Problem> {
    let overlap = overlap.unwrap_or(DEFAULT_OVERLAP);
    if overlap > MAX_OVERLAP {
        let detail = format!("overlap_s is at most {} seconds", MAX_OVERLAP.as_secs());
        return Err(Problem::invalid("/overlap_s", detail));
    }
    let (secret, shown) = new_secret(manager, stored.id, stored.algorithm)?;
    // Checked above.
    let until = clock::now() + TimeDelta::from_std(overlap).unwrap_or_default();
    let rotated = manager.store.rotate_webhook_secret(tenant, stored.id, &secret, until).await?;
    Ok(rotated.then_some((shown, until)))
}

fn new_secret(
    manager: &WebhookManager,
    subscription: Uuid,
    algorithm: SignatureAlgorithm,
) -> Result<(NewSecret, String), Problem> {
    let secret = WebhookSigningSecret::generate(algorithm).ok_or(SealError::NoRandomBytes)?;
    let sealed = manager.seal.seal(subscription, &secret)?;
    let new = NewSecret { id: Uuid::now_v7(), sealed, public_key: secret.public_key() };
    Ok((new, secret.shown()))
}

impl From<SealError> for Problem {
    fn from(error: SealError) -> Self {
        let kind = match error {
            SealError::NoKey | SealError::OtherKey => ProblemKind::NotConfigured,
            SealError::NoRandomBytes => ProblemKind::Internal,
        };
        Self::new(kind, error.to_string())
    }
}

/// Checks where the names of the addresses lead to now. Each attempt checks it again.
async fn check_names(manager: &WebhookManager, order: &WebhookOrder) -> Result<(), Problem> {
    let addresses = [("/url", Some(&order.url)), ("/fallback_url", order.fallback_url.as_ref())];
    for (member, address) in addresses {
        // The body was checked, so it is a URL.
        let Some(url) = address.and_then(|address| Url::parse(address).ok()) else { continue };
        if let Err(rule) = check_name(&manager.settings, &manager.rules, &url).await {
            let detail = format!("this address may not be called: {rule}");
            return Err(Problem::invalid(member, detail));
        }
    }
    Ok(())
}
