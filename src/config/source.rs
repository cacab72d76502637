//! The settings of sources: senders of deliveries and their credentials.

use std::fmt;
use std::net::IpAddr;

use serde::Deserialize;

use super::units::parsed;
use onrecord_evidence::event::ids::{Digest, Tenant};

/// Azure Event Grid's own app in Entra (Microsoft's documentation of secure webhook delivery).
const EVENT_GRID_APP: &str = "4962773b-9cdb-44cf-a8bf-237846a00ab7";

/// A configured sender of deliveries.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Source {
    pub kind: SourceKind,
    pub tenant: Tenant,
    #[serde(default)]
    pub keys: Vec<KeyHash>,
    #[serde(default)]
    pub resource_ids: Vec<String>,
    pub jwt: Option<Jwt>,
}

impl Source {
    /// Sets defaults that depend on other settings.
    pub(super) fn complete(&mut self) {
        if let (SourceKind::EventGrid, Some(jwt)) = (self.kind, &mut self.jwt)
            && jwt.app_ids.is_empty()
        {
            // Otherwise each app of the tenant that can get a token for the audience could send.
            jwt.app_ids.push(EVENT_GRID_APP.to_owned());
        }
    }
}

/// The kind of deliveries that a source sends.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum SourceKind {
    EventGrid,
    CallAutomation,
}

/// The issuer whose bearer tokens authenticate a source.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Jwt {
    pub issuer: String,
    pub audience: String,
    pub jwks_url: JwksUrl,
    /// The allowed apps, by the claim `appid` or `azp`. If empty, for Event Grid its own app, else each
    /// app of the issuer.
    #[serde(default)]
    pub app_ids: Vec<String>,
}

/// The URL of an issuer's JWKS. It must be https, so that no key can be added in transit; http is
/// allowed for the local host only.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct JwksUrl(String);

impl JwksUrl {
    /// The URL.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }

    fn parse(text: &str) -> Option<Self> {
        let url = reqwest::Url::parse(text).ok()?;
        let host = url.host_str()?.trim_matches(['[', ']']);
        let is_here = host == "localhost" || host.parse().is_ok_and(|ip: IpAddr| ip.is_loopback());
        let is_safe = url.scheme() == "https" || url.scheme() == "http" && is_here;
        // The URL is logged without its query only.
        let is_plain = url.username().is_empty() && url.password().is_none();
        (is_safe && is_plain).then(|| Self(url.into()))
    }
}

/// Omits the query, which may contain a secret.
impl fmt::Display for JwksUrl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.0.split('?').next().unwrap_or_default())
    }
}

impl fmt::Debug for JwksUrl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{self}")
    }
}

impl<'de> Deserialize<'de> for JwksUrl {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        parsed(
            deserializer,
            Self::parse,
            "a jwks_url is an https address without a password, or an http address of the local host",
        )
    }
}

/// The SHA-256 of a key, written `sha256:` and 64 hexadecimal digits; the key itself is not stored.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct KeyHash(Digest);

impl KeyHash {
    /// Hashes a key.
    #[must_use]
    pub fn of(key: &str) -> Self {
        Self(Digest::of(key.as_bytes()))
    }

    /// The first 12 digits of the hash, which identify a key in logs and metrics.
    #[must_use]
    pub fn label(&self) -> String {
        self.0.to_string().chars().take(12).collect()
    }

    /// Whether `key` is the hashed one, compared in constant time.
    #[must_use]
    pub fn matches(&self, key: &str) -> bool {
        use subtle::ConstantTimeEq as _;
        Digest::of(key.as_bytes()).as_bytes().ct_eq(self.0.as_bytes()).into()
    }
}

impl fmt::Display for KeyHash {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "sha256:{}", self.0)
    }
}

impl<'de> Deserialize<'de> for KeyHash {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        parsed(
            deserializer,
            |text| text.strip_prefix("sha256:").and_then(Digest::from_hex).map(Self),
            "a source key is written sha256: and 64 hexadecimal digits; `onrecord key source` generates one",
        )
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::Settings;

    #[test]
    fn without_app_ids_only_event_grid_itself_is_accepted_with_a_token() {
        let of = |kind: &str| {
            let toml = format!(
                "[sources.s]\nkind = \"{kind}\"\ntenant = \"t\"\njwt = {{ issuer = \"i\", audience = \"a\", jwks_url = \"https://h/k?code=secret\" }}"
            );
            let mut settings = Settings::from_toml(&toml).unwrap();
            settings.sources.remove("s").unwrap().jwt.unwrap()
        };
        assert_eq!(of("event-grid").app_ids, [EVENT_GRID_APP]);
        assert!(of("call-automation").app_ids.is_empty());
        assert_eq!(of("event-grid").jwks_url.to_string(), "https://h/k");
    }

    #[test]
    fn a_jwks_url_is_https_or_local() {
        for (url, is_valid) in [
            ("https://login.microsoftonline.com/t/discovery/v2.0/keys", true),
            ("http://127.0.0.1:8080/keys", true),
            ("http://[::1]/keys", true),
            ("http://localhost/keys", true),
            ("http://login.microsoftonline.com/keys", false),
            ("http://127.0.0.1.example.com/keys", false),
            ("https://u:hunter2@host/keys", false),
            ("file:///etc/keys", false),
            ("keys", false),
        ] {
            assert_eq!(JwksUrl::parse(url).is_some(), is_valid, "{url}");
        }
    }
}
