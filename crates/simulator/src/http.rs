//! The HTTP client of senders and readers.

use std::error::Error as _;
use std::sync::OnceLock;
use std::time::Duration;

use reqwest::Url;

/// Timeout of a connection attempt.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(10);

/// A server address that cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum ServerAddressError {
    /// The address has another form than <http://127.0.0.1:8080>.
    #[error("{0} is no http or https address; write one like http://127.0.0.1:8080")]
    NoUrl(String),
    /// The machine lacks something that HTTP needs.
    #[error("the http client cannot be made")]
    Client(#[from] reqwest::Error),
}

/// Parses the base URL of a server.
pub(crate) fn parse_base(url: &str) -> Result<Url, ServerAddressError> {
    let base = Url::parse(url).ok().filter(|base| matches!(base.scheme(), "http" | "https"));
    base.ok_or_else(|| ServerAddressError::NoUrl(url.to_owned()))
}

/// The address of a resource below the base URL of a server.
pub(crate) fn address(base: &Url, segments: &[&str]) -> Url {
    let mut address = base.clone();
    // An http address always has a path.
    if let Ok(mut path) = address.path_segments_mut() {
        path.pop_if_empty().extend(segments);
    }
    address
}

/// The common settings of all HTTP clients. `by_proxy`: the proxies of the environment are used.
pub(crate) fn client_builder(by_proxy: bool) -> reqwest::ClientBuilder {
    static PROVIDER: OnceLock<()> = OnceLock::new();
    PROVIDER.get_or_init(|| {
        // An error means that another part of the process has installed one already.
        let _ = rustls::crypto::ring::default_provider().install_default();
    });
    let builder = reqwest::Client::builder().connect_timeout(CONNECT_TIMEOUT);
    if by_proxy { builder } else { builder.no_proxy() }
}

/// The text of an error with its causes, without the address, which may hold a key.
pub(crate) fn error_text(error: reqwest::Error) -> String {
    let error = error.without_url();
    let causes = std::iter::successors(error.source(), |cause| (*cause).source());
    causes.fold(error.to_string(), |text, cause| format!("{text}: {cause}"))
}
