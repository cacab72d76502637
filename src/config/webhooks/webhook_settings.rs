//! The settings of outbound webhooks.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde::{Deserialize, Deserializer};

use crate::config::secret::Secret;
use crate::config::units::{NO_DURATION, duration, parse_duration, parsed};

/// Length of a key by which secrets are sealed, in bytes.
const KEY_LENGTH: usize = 32;

/// The settings of outbound webhooks.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct WebhookSettings {
    /// The first seals secrets, all of them open them. Empty: there are no webhooks.
    pub keys: Vec<WebhookKey>,
    pub schemes: WebhookSchemes,
    /// Empty: all.
    pub ports: Vec<u32>,
    pub allow: Vec<AllowedDestination>,
    /// `None`: attempts connect themselves.
    #[serde(deserialize_with = "proxy")]
    pub proxy: Option<Secret<String>>,
    #[serde(deserialize_with = "duration")]
    pub timeout: Duration,
    pub ladder: Vec<LadderStep>,
    pub circuit_failures: i32,
    #[serde(deserialize_with = "duration")]
    pub circuit_min: Duration,
    #[serde(deserialize_with = "duration")]
    pub circuit_max: Duration,
    pub disable_after: i32,
    #[serde(deserialize_with = "duration")]
    pub retention: Duration,
    pub max_in_flight: usize,
    pub max_subscriptions: u32,
}

/// How addresses may begin.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum WebhookSchemes {
    Https,
    HttpsAndHttp,
}

/// A key of AES-256, written in base64.
#[derive(Clone, PartialEq, Eq)]
pub struct WebhookKey([u8; KEY_LENGTH]);

impl WebhookKey {
    /// The bytes of the key.
    #[must_use]
    pub fn expose(&self) -> &[u8; KEY_LENGTH] {
        &self.0
    }

    fn parse(text: &str) -> Option<Self> {
        // The message says what a key looks like.
        let bytes = STANDARD.decode(text).ok()?;
        bytes.try_into().ok().map(Self)
    }
}

impl std::fmt::Debug for WebhookKey {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("[redacted]")
    }
}

impl<'de> Deserialize<'de> for WebhookKey {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let expected =
            "a key of [webhooks] is 32 bytes in base64; `openssl rand -base64 32` generates one";
        parsed(deserializer, Self::parse, expected)
    }
}

/// The time after a failed attempt until the next one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct LadderStep(pub Duration);

impl<'de> Deserialize<'de> for LadderStep {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let parse = |text: &str| parse_duration(text).map(Self);
        parsed(deserializer, parse, NO_DURATION)
    }
}

/// A host or network that may be called although it is not public.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum AllowedDestination {
    /// A name in small letters; its addresses are not examined.
    Host(String),
    Network {
        address: IpAddr,
        prefix: u8,
    },
}

impl AllowedDestination {
    /// Whether it is the network of this address.
    #[must_use]
    pub fn has_address(&self, wanted: IpAddr) -> bool {
        let Self::Network { address, prefix } = self else { return false };
        match (address, wanted) {
            (IpAddr::V4(network), IpAddr::V4(wanted)) => {
                let mask = u32::MAX.checked_shl(32 - u32::from(*prefix)).unwrap_or(0);
                network.to_bits() & mask == wanted.to_bits() & mask
            }
            (IpAddr::V6(network), IpAddr::V6(wanted)) => {
                let mask = u128::MAX.checked_shl(128 - u32::from(*prefix)).unwrap_or(0);
                network.to_bits() & mask == wanted.to_bits() & mask
            }
            _ => false,
        }
    }

    /// Whether it is this host.
    #[must_use]
    pub fn has_host(&self, wanted: &str) -> bool {
        matches!(self, Self::Host(host) if host.eq_ignore_ascii_case(wanted.trim_end_matches('.')))
    }

    fn parse(text: &str) -> Option<Self> {
        let (address, prefix) = match text.split_once('/') {
            Some((address, prefix)) => (address, Some(prefix.parse::<u8>().ok()?)),
            None => (text, None),
        };
        if let Ok(v4) = address.parse::<Ipv4Addr>() {
            let prefix = prefix.unwrap_or(32);
            return (prefix <= 32).then_some(Self::Network { address: v4.into(), prefix });
        }
        if let Ok(v6) = address.parse::<Ipv6Addr>() {
            let prefix = prefix.unwrap_or(128);
            return (prefix <= 128).then_some(Self::Network { address: v6.into(), prefix });
        }
        let is_letter = |b: u8| b.is_ascii_alphanumeric() || matches!(b, b'-' | b'.' | b'_');
        let is_host = prefix.is_none() && !text.is_empty() && text.bytes().all(is_letter);
        is_host.then(|| Self::Host(text.trim_end_matches('.').to_ascii_lowercase()))
    }
}

impl<'de> Deserialize<'de> for AllowedDestination {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let expected = "this is no destination; write a network as 10.1.0.0/16 or fd00::/8, an address, or the name of a host";
        parsed(deserializer, Self::parse, expected)
    }
}

fn proxy<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<Secret<String>>, D::Error> {
    let parse = |text: &str| {
        if text.is_empty() {
            return Some(None);
        }
        // The message says what a proxy looks like.
        let url = reqwest::Url::parse(text).ok()?;
        let is_http = matches!(url.scheme(), "http" | "https") && url.host_str().is_some();
        is_http.then(|| Some(Secret::new(text.to_owned())))
    };
    parsed(deserializer, parse, "a proxy is an address as http://proxy.contoso.com:3128, or empty")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::Settings;

    #[test]
    fn a_destination_is_a_network_an_address_or_a_host() {
        let has = |destination: &str, address: &str| {
            let allowed = AllowedDestination::parse(destination).unwrap();
            allowed.has_address(address.parse().unwrap())
        };
        assert!(has("10.1.0.0/16", "10.1.255.1") && !has("10.1.0.0/16", "10.2.0.1"));
        assert!(has("0.0.0.0/0", "255.1.1.1") && !has("0.0.0.0/0", "::1"));
        assert!(has("fd00::/8", "fdff::1") && !has("fd00::/8", "fe00::1"));
        assert!(has("127.0.0.1", "127.0.0.1") && !has("127.0.0.1", "127.0.0.2"));
        assert!(has("::/0", "::1") && has("::1", "::1"));
        let host = AllowedDestination::parse("CRM.internal.").unwrap();
        assert!(host.has_host("crm.internal") && host.has_host("crm.INTERNAL."));
        assert!(!host.has_host("crm.internal.evil"));
        for wrong in ["", "10.0.0.0/33", "::/129", "a/8", "http://x", "*.contoso.com"] {
            assert_eq!(AllowedDestination::parse(wrong), None, "{wrong}");
        }
    }

    #[test]
    fn a_key_has_32_bytes_and_is_not_quoted() {
        let keys = |key: &str| Settings::from_toml(&format!("[webhooks]\nkeys = [\"{key}\"]"));
        let settings = keys("CQkJCQkJCQkJCQkJCQkJCQkJCQkJCQkJCQkJCQkJCQk=").unwrap();
        assert_eq!(settings.webhooks.keys[0].expose(), &[9; 32]);
        assert!(!format!("{:?}", settings.webhooks).contains("9, 9"));
        for wrong in ["CQkJ", "", "c2VjcmV0c2VjcmV0"] {
            let error = keys(wrong).unwrap_err().to_string();
            assert!(error.contains("openssl rand -base64 32"), "{error}");
            assert!(wrong.is_empty() || !error.contains(wrong), "{error}");
        }
    }
}
