//! Why a sign-in by OpenID Connect is refused: in words for the user, as a label of a metric, as a status.

use axum::http::StatusCode;

use super::provider::ProviderError;
use crate::console::words::catalogue::Words;

/// Maximum length of what the provider says about an error, in characters.
const MAX_DESCRIPTION: usize = 400;

/// Why a sign-in is refused.
#[derive(Debug)]
pub(super) enum SignInRefusal {
    /// Another browser began it, it is too old, or its state was used before.
    UnknownState,
    /// The answer came from another provider than the one that was asked.
    OtherIssuer,
    /// The provider sent the browser back with an error.
    ByProvider {
        code: String,
        description: Option<String>,
    },
    /// The code was not redeemed for a user.
    Exchange(ProviderError),
    /// The user has no role in the console. The name is that of the user.
    NoRole(String),
    NoTenant(String),
    TooManyValues(String),
}

impl SignInRefusal {
    /// The label of the metric.
    pub(super) fn outcome(&self) -> &'static str {
        match self {
            Self::UnknownState => "unknown_state",
            Self::ByProvider { .. } => "refused_by_provider",
            Self::Exchange(ProviderError::Unavailable(_)) => "provider_unavailable",
            Self::Exchange(ProviderError::Refused { .. }) => "code_refused",
            Self::OtherIssuer | Self::Exchange(ProviderError::Token(_)) => "token_refused",
            Self::NoRole(_) | Self::NoTenant(_) | Self::TooManyValues(_) => "no_role",
        }
    }

    pub(super) fn status(&self) -> StatusCode {
        match self {
            Self::Exchange(ProviderError::Unavailable(_)) => StatusCode::SERVICE_UNAVAILABLE,
            _ => StatusCode::FORBIDDEN,
        }
    }

    /// What the user is told, and the words of the provider for the one who operates the service.
    pub(super) fn words(&self, words: Words) -> (String, Option<String>) {
        let plain = |key: &str| (words.t(key).to_owned(), None);
        let named = |key: &str, name: &String| (words.with(key, &[("name", name)]), None);
        match self {
            Self::UnknownState => plain("oidc.unknown_state"),
            Self::OtherIssuer => plain("oidc.token_refused"),
            Self::ByProvider { code, description } => {
                let key = match code.as_str() {
                    "access_denied" => "oidc.denied",
                    "login_required"
                    | "interaction_required"
                    | "consent_required"
                    | "account_selection_required" => "oidc.interaction",
                    "temporarily_unavailable" | "server_error" => "oidc.unavailable",
                    _ => "oidc.provider_error",
                };
                (words.t(key).to_owned(), Some(detail(code, description.as_deref())))
            }
            Self::Exchange(ProviderError::Unavailable(_)) => plain("oidc.unavailable"),
            Self::Exchange(ProviderError::Token(_)) => plain("oidc.token_refused"),
            Self::Exchange(ProviderError::Refused { code, description }) => {
                let key = match code.as_str() {
                    "invalid_grant" => "oidc.code_refused",
                    "invalid_client" | "unauthorized_client" => "oidc.client_refused",
                    _ => "oidc.provider_error",
                };
                (words.t(key).to_owned(), Some(detail(code, description.as_deref())))
            }
            Self::NoRole(name) => named("oidc.no_role", name),
            Self::NoTenant(name) => named("oidc.no_tenant", name),
            Self::TooManyValues(name) => named("oidc.too_many_values", name),
        }
    }
}

/// The code of an error and its description, shortened.
fn detail(code: &str, description: Option<&str>) -> String {
    let text = match description {
        Some(description) => format!("{code}: {description}"),
        None => code.to_owned(),
    };
    let readable = text.chars().map(|it| if it.is_control() { ' ' } else { it });
    readable.take(MAX_DESCRIPTION).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::console::words::language::ConsoleLanguage;

    #[test]
    fn each_error_has_words_and_what_the_provider_says_is_bounded() {
        let words = Words::of(ConsoleLanguage::En);
        for code in ["access_denied", "consent_required", "server_error", "made up", ""] {
            let refusal = SignInRefusal::ByProvider {
                code: code.to_owned(),
                description: Some("AADSTS50105: \r\n".repeat(100)),
            };
            let (text, detail) = refusal.words(words);
            assert!(text.len() > 20 && text != "…", "{code}");
            let detail = detail.unwrap();
            assert!(detail.starts_with(code) && detail.chars().count() <= MAX_DESCRIPTION);
            assert!(!detail.chars().any(char::is_control));
        }
    }
}
