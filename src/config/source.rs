//! Who may send deliveries, and how they are known.

use std::fmt;
use std::net::IpAddr;

use serde::Deserialize;

use crate::domain::ids::{Digest, Tenant};

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
    /// What is not said but meant.
    pub(super) fn complete(&mut self) {
        if let (SourceKind::EventGrid, Some(jwt)) = (self.kind, &mut self.jwt)
            && jwt.app_ids.is_empty()
        {
            // Else whoever gets a token for ours in the tenant could post.
            jwt.app_ids.push(EVENT_GRID_APP.to_owned());
        }
    }
}

/// Which dialect a source speaks.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum SourceKind {
    EventGrid,
    CallAutomation,
}

/// Whose bearer tokens a source may present.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Jwt {
    pub issuer: String,
    pub audience: String,
    pub jwks_url: JwksUrl,
    /// The apps that may call, as `appid` or `azp` name them; none: every app of
    /// the issuer, for Event Grid its own.
    #[serde(default)]
    pub app_ids: Vec<String>,
}

/// Where an issuer publishes its keys: by https, so that nobody on the way can add one; by http on
/// this machine only.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct JwksUrl(String);

impl JwksUrl {
    /// The address.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }

    fn parse(text: &str) -> Option<Self> {
        let url = reqwest::Url::parse(text).ok()?;
        let host = url.host_str()?.trim_matches(['[', ']']);
        let is_here = host == "localhost" || host.parse().is_ok_and(|ip: IpAddr| ip.is_loopback());
        let is_safe = url.scheme() == "https" || url.scheme() == "http" && is_here;
        // What is in the address, less its query, is in the log.
        let is_plain = url.username().is_empty() && url.password().is_none();
        (is_safe && is_plain).then(|| Self(url.into()))
    }
}

/// Without its query, which may hold a secret.
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
        let text = String::deserialize(deserializer)?;
        Self::parse(&text).ok_or_else(|| {
            serde::de::Error::custom("a jwks_url is an https address without a password, or an http address of this machine")
        })
    }
}

/// The SHA-256 of a key, written `sha256:` and 64 hexadecimal digits; the key itself is nowhere.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct KeyHash(Digest);

impl KeyHash {
    /// The hash of a key in clear.
    #[must_use]
    pub fn of(key: &str) -> Self {
        Self(Digest::of(key.as_bytes()))
    }

    /// The hash's first 12 digits: enough to know a key again, in places where many may read.
    #[must_use]
    pub fn label(&self) -> String {
        self.0.to_string().chars().take(12).collect()
    }

    /// Whether `key` is the hashed one, compared in constant time.
    #[must_use]
    pub fn matches(&self, key: &str) -> bool {
        use subtle::ConstantTimeEq as _;
        Digest::of(key.as_bytes())
            .as_bytes()
            .ct_eq(self.0.as_bytes())
            .into()
    }
}

impl fmt::Display for KeyHash {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "sha256:{}", self.0)
    }
}

impl<'de> Deserialize<'de> for KeyHash {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = String::deserialize(deserializer)?;
        text.strip_prefix("sha256:").and_then(Digest::from_hex).map(Self).ok_or_else(|| {
            serde::de::Error::custom("a source key is written sha256: and 64 hexadecimal digits; `onrecord key source` makes one")
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::Settings;

    #[test]
    fn without_app_ids_only_event_grid_itself_comes_with_a_token() {
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
    fn keys_of_issuers_come_by_https_or_from_this_machine() {
        for (url, is_taken) in [
            (
                "https://login.microsoftonline.com/t/discovery/v2.0/keys",
                true,
            ),
            ("http://127.0.0.1:8080/keys", true),
            ("http://[::1]/keys", true),
            ("http://localhost/keys", true),
            ("http://login.microsoftonline.com/keys", false),
            ("http://127.0.0.1.example.com/keys", false),
            ("https://u:hunter2@host/keys", false),
            ("file:///etc/keys", false),
            ("keys", false),
        ] {
            assert_eq!(JwksUrl::parse(url).is_some(), is_taken, "{url}");
        }
    }
}
