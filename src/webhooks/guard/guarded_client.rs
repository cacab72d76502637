//! The HTTP client of attempts. It follows no redirect, and connects only to addresses that the rules permit.
//!
//! # Why
//!
//! A name may lead to another address each time it is resolved. So the addresses are examined that the
//! connection is made to, by the resolver of the client itself. A connection that is used again was examined
//! when it was made. An address in digits is not resolved: it is examined with its URL, before each attempt.

use std::net::SocketAddr;
use std::time::Duration;

use anyhow::Context as _;
use reqwest::dns::{Addrs, Name, Resolve, Resolving};
use reqwest::{Client, Proxy, Url, redirect};

use super::destination_rules::{DestinationRules, ForbiddenDestination};
use crate::config::{Secret, WebhookSettings};

/// Timeout of the connection of an attempt.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(5);
/// Time for which a connection waits for a further attempt.
const POOL_IDLE_TIMEOUT: Duration = Duration::from_secs(30);
/// Maximum number of connections to one host that wait for a further attempt.
const POOL_MAX_IDLE_PER_HOST: usize = 32;

/// No address of a name may be called.
#[derive(Debug, thiserror::Error)]
#[error("the name may not be called: {0}")]
pub(crate) struct ForbiddenName(#[source] ForbiddenDestination);

/// Resolves names, and leaves out the addresses that may not be called.
struct GuardedResolver {
    rules: DestinationRules,
    /// The host of the proxy, which the operator chose.
    proxy: Option<String>,
}

impl Resolve for GuardedResolver {
    fn resolve(&self, name: Name) -> Resolving {
        let host = name.as_str().to_owned();
        let is_trusted =
            self.rules.allows_host(&host) || self.proxy.as_deref() == Some(host.as_str());
        let rules = self.rules.clone();
        Box::pin(async move {
            let found = tokio::net::lookup_host((host.as_str(), 0)).await?;
            let permitted = if is_trusted { found.collect() } else { permitted(&rules, found)? };
            Ok(Box::new(permitted.into_iter()) as Addrs)
        })
    }
}

/// The addresses that may be called.
fn permitted(
    rules: &DestinationRules,
    found: impl Iterator<Item = SocketAddr>,
) -> Result<Vec<SocketAddr>, ForbiddenName> {
    let (mut permitted, mut forbidden) = (Vec::new(), None);
    for address in found {
        match rules.check_address(address.ip()) {
            Ok(()) => permitted.push(address),
            Err(error) => forbidden = Some(error),
        }
    }
    match forbidden {
        Some(error) if permitted.is_empty() => Err(ForbiddenName(error)),
        _ => Ok(permitted),
    }
}

/// The client of attempts.
///
/// # Errors
///
/// The proxy cannot be used.
pub(crate) fn guarded_client(settings: &WebhookSettings) -> anyhow::Result<Client> {
    // Fails if another part of the process has installed it already.
    let _ = rustls::crypto::ring::default_provider().install_default();
    let proxy = settings.proxy.as_ref().map(Secret::expose);
    let resolver = GuardedResolver {
        rules: DestinationRules::new(settings),
        proxy: proxy.and_then(|proxy| Some(Url::parse(proxy).ok()?.host_str()?.to_owned())),
    };
    let client = Client::builder()
        .connect_timeout(CONNECT_TIMEOUT.min(settings.timeout))
        .timeout(settings.timeout)
        .pool_idle_timeout(POOL_IDLE_TIMEOUT)
        .pool_max_idle_per_host(POOL_MAX_IDLE_PER_HOST)
        // Another address would not be examined, and a redirected message is no receipt.
        .redirect(redirect::Policy::none())
        .referer(false)
        // Only the settings name a proxy, not the environment.
        .no_proxy()
        .dns_resolver(resolver)
        .user_agent(concat!("onrecord/", env!("CARGO_PKG_VERSION")));
    let client = match proxy {
        Some(proxy) => client.proxy(Proxy::all(proxy).context("webhooks.proxy cannot be used")?),
        None => client,
    };
    client.build().context("the HTTP client of webhooks cannot be created")
}

/// Resolves the name of a new address once, so that its owner learns at once that it may not be called. A
/// name that does not exist (yet) is no error. Through a proxy, only the proxy resolves names.
///
/// # Errors
///
/// No address of the name may be called.
pub(crate) async fn check_name(
    settings: &WebhookSettings,
    rules: &DestinationRules,
    url: &Url,
) -> Result<(), ForbiddenName> {
    /// Timeout of the look-up.
    const LOOKUP_TIMEOUT: Duration = Duration::from_secs(3);
    let host = url.host_str().unwrap_or_default();
    if settings.proxy.is_some() || rules.allows_host(host) {
        return Ok(());
    }
    let looked_up = tokio::time::timeout(LOOKUP_TIMEOUT, tokio::net::lookup_host((host, 0))).await;
    match looked_up {
        Ok(Ok(found)) => permitted(rules, found).map(|_| ()),
        // Each attempt resolves it again.
        Ok(Err(_)) | Err(_) => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::Settings;

    fn settings(toml: &str) -> WebhookSettings {
        Settings::from_toml(&format!("[webhooks]\n{toml}")).unwrap().webhooks
    }

    fn addresses(texts: &[&str]) -> Vec<SocketAddr> {
        texts.iter().map(|text| text.parse().unwrap()).collect()
    }

    #[test]
    fn of_the_addresses_of_a_name_only_those_are_called_that_may_be() {
        let rules = DestinationRules::new(&settings(""));
        let mixed = addresses(&["10.0.0.1:0", "1.1.1.1:0", "[::1]:0"]);
        assert_eq!(permitted(&rules, mixed.into_iter()).unwrap(), addresses(&["1.1.1.1:0"]));
        let none = addresses(&["10.0.0.1:0", "[fd00::1]:0"]);
        let error = permitted(&rules, none.into_iter()).unwrap_err().to_string();
        assert!(error.contains("a private address"), "{error}");
    }

    #[tokio::test]
    async fn a_name_that_leads_to_this_machine_is_not_connected_to() {
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let port = listener.local_addr().unwrap().port();
        let url = format!("http://localhost:{port}/");
        let strict = guarded_client(&settings("schemes = \"https-and-http\"\nports = []")).unwrap();
        let error = strict.post(&url).send().await.unwrap_err();
        let error = format!("{:?}", anyhow::Error::from(error));
        assert!(error.contains("a loopback address"), "{error}");
        let connected = tokio::time::timeout(Duration::from_millis(50), listener.accept()).await;
        assert!(connected.is_err(), "nothing connected");
    }

    #[tokio::test]
    async fn a_name_is_checked_when_it_is_given_and_one_that_does_not_exist_is_no_error() {
        let settings = settings("schemes = \"https-and-http\"\nports = []");
        let rules = DestinationRules::new(&settings);
        let of = |url: &str| Url::parse(url).unwrap();
        let here = check_name(&settings, &rules, &of("http://localhost/")).await;
        assert!(here.unwrap_err().to_string().contains("loopback"));
        check_name(&settings, &rules, &of("http://does-not-exist.invalid/")).await.unwrap();
    }
}
