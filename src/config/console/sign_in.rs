//! Who signs in to the console and how: by API key, by OpenID Connect; how long sessions last.

use std::collections::BTreeMap;
use std::time::Duration;

use anyhow::ensure;
use serde::{Deserialize, Deserializer};

use crate::config::origin::WebOrigin;
use crate::config::secret::Secret;
use crate::config::units::{duration, parsed};
use onrecord_evidence::event::ids::Tenant;

/// Minimum `console.idle` and `console.max_session`.
const MIN_SESSION: Duration = Duration::from_secs(60);
/// Maximum `console.idle`.
const MAX_SESSION_IDLE: Duration = Duration::from_secs(24 * 3600);
/// Maximum `console.max_session`; the rows of sessions are kept as long.
const MAX_SESSION: Duration = Duration::from_secs(30 * 24 * 3600);

/// What is wrong with a value of `console.oidc.roles`.
const NO_ROLE: &str = "this is no role; write analyst, auditor or admin, or a tenant before it, as \"contoso/auditor\"";

/// Who signs in to the console, and when sessions end.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ConsoleSettings {
    #[serde(deserialize_with = "duration")]
    pub idle: Duration,
    #[serde(deserialize_with = "duration")]
    pub max_session: Duration,
    pub api_keys: KeySignIn,
    pub oidc: OidcSettings,
}

/// Whether API keys sign in to the console.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum KeySignIn {
    Allowed,
    Refused,
}

/// Sign-in by an OpenID provider.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct OidcSettings {
    /// Empty: no sign-in by OpenID Connect.
    pub issuer: String,
    pub client_id: String,
    /// Empty: the console is a public client.
    pub client_secret: Secret<String>,
    /// Scheme, host and port of the console, as browsers see it.
    pub base_url: String,
    pub scopes: Vec<String>,
    pub role_claim: String,
    /// Empty: `tenant` is that of each user.
    pub tenant_claim: String,
    #[serde(deserialize_with = "optional_tenant")]
    pub tenant: Option<Tenant>,
    /// By the value of the claim. Empty: the values are roles.
    pub roles: BTreeMap<String, ClaimedRole>,
    /// By the value of the claim. Empty: the values are tenants.
    pub tenants: BTreeMap<String, Tenant>,
}

/// The role of a user of the console.
#[derive(
    Clone,
    Copy,
    Debug,
    PartialEq,
    Eq,
    PartialOrd,
    Ord,
    Deserialize,
    strum::EnumString,
    strum::IntoStaticStr,
)]
#[serde(rename_all = "lowercase")]
#[strum(serialize_all = "lowercase")]
pub enum ConsoleRole {
    Analyst,
    Auditor,
    Admin,
}

/// A role that the value of a claim gives: in one tenant, or in each of the user.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ClaimedRole {
    /// `None`: each tenant of the user.
    pub tenant: Option<Tenant>,
    pub role: ConsoleRole,
}

impl ClaimedRole {
    /// Parses `auditor` or `contoso/auditor`.
    #[must_use]
    pub fn parse(text: &str) -> Option<Self> {
        let (tenant, role) = match text.split_once('/') {
            // What is no tenant has no role.
            Some((tenant, role)) => (Some(Tenant::parse(tenant).ok()?), role),
            None => (None, text),
        };
        role.parse().ok().map(|role| Self { tenant, role })
    }
}

impl<'de> Deserialize<'de> for ClaimedRole {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        parsed(deserializer, Self::parse, NO_ROLE)
    }
}

fn optional_tenant<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<Tenant>, D::Error> {
    let parse = |text: &str| match text {
        "" => Some(None),
        // The error says what is expected.
        text => Tenant::parse(text).ok().map(Some),
    };
    parsed(
        deserializer,
        parse,
        "this is no tenant; write lower-case letters, digits and '-', or nothing",
    )
}

impl OidcSettings {
    /// Whether users sign in by OpenID Connect.
    #[must_use]
    pub fn is_on(&self) -> bool {
        !self.issuer.is_empty()
    }
}

/// Checks the limits of `[console]`.
pub(in crate::config) fn check(console: &ConsoleSettings) -> anyhow::Result<()> {
    ensure!(
        (MIN_SESSION..=MAX_SESSION_IDLE).contains(&console.idle),
        "console.idle must be 1m to 24h"
    );
    ensure!(
        (MIN_SESSION..=MAX_SESSION).contains(&console.max_session),
        "console.max_session must be 1m to 30d"
    );
    ensure!(
        console.oidc.is_on() || console.api_keys == KeySignIn::Allowed,
        "console.api_keys is refused and console.oidc.issuer is empty, so there would be no way to sign in; set the issuer, or allow API keys"
    );
    if console.oidc.is_on() { check_oidc(&console.oidc) } else { Ok(()) }
}

fn check_oidc(oidc: &OidcSettings) -> anyhow::Result<()> {
    ensure!(
        is_protected_url(&oidc.issuer),
        "console.oidc.issuer must be an https address, as the provider's /.well-known/openid-configuration states it; http is allowed for the local host only"
    );
    ensure!(!oidc.client_id.is_empty(), "console.oidc.client_id must not be empty");
    ensure!(
        WebOrigin::parse(&oidc.base_url).is_some_and(|origin| origin.is_protected()),
        "console.oidc.base_url must be scheme, host and port of the console as browsers see it, for example \"https://onrecord.contoso.com\"; http is allowed for the local host only"
    );
    ensure!(!oidc.role_claim.is_empty(), "console.oidc.role_claim must not be empty");
    let has_tenant = oidc.tenant.is_some()
        || !oidc.tenant_claim.is_empty()
        || oidc.roles.is_empty()
        || oidc.roles.values().any(|role| role.tenant.is_some());
    ensure!(
        has_tenant,
        "console.oidc names no tenant: set console.oidc.tenant or tenant_claim, or write roles as \"contoso/auditor\""
    );
    Ok(())
}

/// Whether what is sent to this address is protected: by TLS, or because it does not leave the machine.
fn is_protected_url(text: &str) -> bool {
    let url = reqwest::Url::parse(text);
    url.is_ok_and(|url| {
        let origin = WebOrigin::parse(&url.origin().ascii_serialization());
        let is_plain = url.username().is_empty() && url.password().is_none();
        is_plain && url.query().is_none() && origin.is_some_and(|origin| origin.is_protected())
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::Settings;

    const WHOLE: &str = "[console.oidc]\nissuer = \"https://login.example/v2.0\"\nclient_id = \"c\"\nbase_url = \"https://onrecord.contoso.com\"\n";

    fn error(toml: &str) -> String {
        Settings::from_toml(toml).err().map_or_else(String::new, |error| error.to_string())
    }

    #[test]
    fn a_claim_gives_a_role_in_one_tenant_or_in_each() {
        let tenant = Tenant::parse("contoso").unwrap();
        let auditor = |tenant| Some(ClaimedRole { tenant, role: ConsoleRole::Auditor });
        assert_eq!(ClaimedRole::parse("auditor"), auditor(None));
        assert_eq!(ClaimedRole::parse("contoso/auditor"), auditor(Some(tenant)));
        for wrong in
            ["", "app", "Auditor", "contoso/", "/auditor", "a b/auditor", "contoso/x/admin"]
        {
            assert_eq!(ClaimedRole::parse(wrong), None, "{wrong}");
        }
    }

    #[test]
    fn a_sign_in_that_could_not_work_or_be_overheard_stops_the_start() {
        assert_eq!(error(&format!("{WHOLE}tenant = \"contoso\"")), "");
        assert_eq!(error(WHOLE), "");
        for (toml, part) in [
            ("[console]\napi_keys = \"refused\"".to_owned(), "no way to sign in"),
            (WHOLE.replace("https://login.example", "http://login.example"), "console.oidc.issuer"),
            (WHOLE.replace("client_id = \"c\"", ""), "client_id"),
            (WHOLE.replace("contoso.com", "contoso.com/console"), "base_url"),
            (WHOLE.replace("https://onrecord", "http://onrecord"), "base_url"),
            (format!("{WHOLE}role_claim = \"\""), "role_claim"),
            (format!("{WHOLE}tenant = \"A b\""), "tenant"),
            (format!("{WHOLE}[console.oidc.roles]\n\"g\" = \"auditor\""), "names no tenant"),
            (format!("{WHOLE}[console.oidc.roles]\n\"g\" = \"app\""), "this is no role"),
        ] {
            let error = error(&toml);
            assert!(error.contains(part), "{toml}: {error}");
        }
        let local = WHOLE.replace("https://login.example", "http://127.0.0.1:9000");
        assert_eq!(
            error(&local.replace("https://onrecord.contoso.com", "http://localhost:8080")),
            ""
        );
    }

    #[test]
    fn the_secret_of_the_client_is_not_printed() {
        let settings = Settings::from_toml(&format!("{WHOLE}client_secret = \"hunter2\"")).unwrap();
        assert!(!format!("{:?}", settings.console).contains("hunter2"));
    }
}
