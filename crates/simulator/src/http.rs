//! The HTTP client of senders and readers.

use std::error::Error as _;
use std::sync::OnceLock;
use std::time::Duration;

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

/// The common settings of all HTTP clients. `by_proxy`: the proxies of the environment are used.
pub(crate) fn client_builder(by_proxy: bool) -> reqwest::ClientBuilder {
    static PROVIDER: OnceLock<()> = OnceLock::new();
    PROVIDER.get_or_init(|| {
        // An error means that another part of the process has installed one already.
        let _ = rustls::crypto::ring::default_provider().install_default();
    });
    let builder = reqwest::Client::builder().connect_timeout(CONNECT_TIMEOUT);
    if by_proxy {
        builder
    } else {
        builder.no_proxy()
    }
}

/// The text of an error with its causes, without the address, which may hold a key.
pub(crate) fn error_text(error: reqwest::Error) -> String {
    let error = error.without_url();
    let mut text = error.to_string();
    let mut source = error.source();
    while let Some(cause) = source {
        text = format!("{text}: {cause}");
        source = cause.source();
    }
    text
}
