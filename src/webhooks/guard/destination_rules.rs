//! Whether an address may be called: scheme, port, host and each address that a name leads to.

use std::net::IpAddr;
use std::sync::Arc;

use reqwest::Url;

use super::address_class::not_public;
use crate::config::{AllowedDestination, WebhookSchemes, WebhookSettings};

/// Maximum length of the URL of a subscription, in bytes.
const MAX_URL_BYTES: usize = 2_048;

/// Why an address may not be called.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub(crate) enum ForbiddenDestination {
    #[error("it is no absolute URL of at most {MAX_URL_BYTES} bytes")]
    NoUrl,
    #[error("it must begin with {0}")]
    Scheme(&'static str),
    #[error("it must have no user name and no password")]
    Credentials,
    #[error("it must have no fragment")]
    Fragment,
    #[error("its port is {port}, and only {allowed} may be called (webhooks.ports)")]
    Port { port: u16, allowed: String },
    #[error("{address} is {class}, which is called only if webhooks.allow has it")]
    Address { address: IpAddr, class: &'static str },
}

/// The rules of the settings.
#[derive(Clone, Debug)]
pub(crate) struct DestinationRules {
    schemes: WebhookSchemes,
    ports: Vec<u32>,
    allow: Arc<[AllowedDestination]>,
}

impl DestinationRules {
    pub(crate) fn new(settings: &WebhookSettings) -> Self {
        Self {
            schemes: settings.schemes,
            ports: settings.ports.clone(),
            allow: settings.allow.clone().into(),
        }
    }

    /// Checks what an address says itself, without resolving its name.
    ///
    /// # Errors
    ///
    /// The rule by which it may not be called.
    pub(crate) fn check_url(&self, text: &str) -> Result<Url, ForbiddenDestination> {
        let url = Some(text).filter(|text| text.len() <= MAX_URL_BYTES);
        let url = url.and_then(|text| Url::parse(text).ok()).ok_or(ForbiddenDestination::NoUrl)?;
        match url.scheme() {
            "https" => {}
            "http" if self.schemes == WebhookSchemes::HttpsAndHttp => {}
            _ if self.schemes == WebhookSchemes::Https => {
                return Err(ForbiddenDestination::Scheme("https://"));
            }
            _ => return Err(ForbiddenDestination::Scheme("https:// or http://")),
        }
        if !url.username().is_empty() || url.password().is_some() {
            return Err(ForbiddenDestination::Credentials);
        }
        if url.fragment().is_some() {
            return Err(ForbiddenDestination::Fragment);
        }
        let port = url.port_or_known_default().ok_or(ForbiddenDestination::NoUrl)?;
        if !self.ports.is_empty() && !self.ports.contains(&u32::from(port)) {
            let allowed: Vec<String> = self.ports.iter().map(u32::to_string).collect();
            return Err(ForbiddenDestination::Port { port, allowed: allowed.join(", ") });
        }
        if let Some(address) = address_in(&url) {
            self.check_address(address)?;
        }
        Ok(url)
    }

    /// Checks an address that a name leads to, or that stands in a URL.
    ///
    /// # Errors
    ///
    /// It is not public, and not allowed.
    pub(super) fn check_address(&self, address: IpAddr) -> Result<(), ForbiddenDestination> {
        let Some(class) = not_public(address) else { return Ok(()) };
        if self.allow.iter().any(|allowed| allowed.has_address(address)) {
            return Ok(());
        }
        Err(ForbiddenDestination::Address { address, class })
    }

    /// Whether the addresses of this host are not examined.
    pub(super) fn allows_host(&self, host: &str) -> bool {
        self.allow.iter().any(|allowed| allowed.has_host(host))
    }
}

/// The address that stands in a URL in place of a name. The parser of URLs writes an address in digits in
/// its usual form, whatever its form was.
fn address_in(url: &Url) -> Option<IpAddr> {
    // A name is no address.
    url.host_str()?.trim_matches(['[', ']']).parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::Settings;

    fn rules(toml: &str) -> DestinationRules {
        let settings = Settings::from_toml(&format!("[webhooks]\n{toml}")).unwrap();
        DestinationRules::new(&settings.webhooks)
    }

    fn refusal(rules: &DestinationRules, url: &str) -> String {
        rules.check_url(url).unwrap_err().to_string()
    }

    #[test]
    fn an_address_has_a_scheme_a_port_and_no_credentials() {
        let rules = rules("");
        assert!(rules.check_url("https://crm.contoso.com/hooks?key=1").is_ok());
        for (url, rule) in [
            ("", "no absolute URL"),
            ("crm.contoso.com", "no absolute URL"),
            ("http://crm.contoso.com/", "begin with https://"),
            ("ftp://crm.contoso.com/", "begin with https://"),
            ("https://user@crm.contoso.com/", "no user name"),
            ("https://:pass@crm.contoso.com/", "no user name"),
            ("https://crm.contoso.com/#x", "no fragment"),
            ("https://crm.contoso.com:8443/", "its port is 8443, and only 443"),
        ] {
            assert!(refusal(&rules, url).contains(rule), "{url}: {}", refusal(&rules, url));
        }
        assert!(refusal(&rules, &format!("https://a/{}", "x".repeat(2_048))).contains("2048"));
    }

    #[test]
    fn an_address_in_digits_is_examined_in_every_form_of_it() {
        let rules = rules("");
        for url in [
            "https://127.0.0.1/",
            "https://2130706433/",
            "https://0x7f.1/",
            "https://0177.0.0.1/",
            "https://127.1/",
            "https://[::1]/",
            "https://[::ffff:127.0.0.1]/",
            "https://[::ffff:7f00:1]/",
            "https://[64:ff9b::a9fe:a9fe]/",
            "https://169.254.169.254/latest/meta-data",
            "https://１２７.０.０.１/",
        ] {
            assert!(refusal(&rules, url).contains("webhooks.allow"), "{url}");
        }
        assert!(rules.check_url("https://1.1.1.1/").is_ok());
    }

    #[test]
    fn the_settings_allow_networks_hosts_ports_and_plain_http() {
        let rules = rules(
            "schemes = \"https-and-http\"\nports = []\nallow = [\"127.0.0.0/8\", \"crm.internal\"]",
        );
        for url in ["http://127.0.0.1:8080/", "https://crm.internal:1234/", "http://127.1/"] {
            assert!(rules.check_url(url).is_ok(), "{url}");
        }
        assert!(rules.allows_host("CRM.internal") && !rules.allows_host("x.crm.internal"));
        assert!(refusal(&rules, "http://10.0.0.1/").contains("a private address"));
        assert!(refusal(&rules, "http://[::ffff:127.0.0.1]/").contains("v4-mapped"));
    }
}
