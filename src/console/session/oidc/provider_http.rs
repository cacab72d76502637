//! Requests to the provider, for the library of OpenID Connect.
//!
//! # Why
//!
//! Addresses come from the document of the provider, so each is checked: what is sent to it is protected, or does
//! not leave the machine. Redirects are not followed, and answers have a maximum size.

use futures_util::future::BoxFuture;
use futures_util::{FutureExt as _, StreamExt as _};
use openidconnect::{AsyncHttpClient, HttpRequest, HttpResponse};
use reqwest::{Client, redirect};

use std::time::Duration;

use crate::config::WebOrigin;

/// Timeout of the connection of a request.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(3);
/// Timeout of a request.
const REQUEST_TIMEOUT: Duration = Duration::from_secs(5);
/// Maximum size of an answer, in bytes.
const MAX_ANSWER: usize = 1024 * 1024;

/// A client of the provider.
#[derive(Clone)]
pub(super) struct ProviderHttp(Client);

/// A request to the provider failed.
#[derive(Debug, thiserror::Error)]
pub(super) enum ProviderHttpError {
    #[error("the provider names an address that is not https")]
    NotProtected,
    #[error("the answer of the provider is larger than 1 MiB")]
    TooLarge,
    #[error(transparent)]
    Request(#[from] reqwest::Error),
    #[error(transparent)]
    Response(#[from] axum::http::Error),
}

impl ProviderHttp {
    pub(super) fn new() -> Result<Self, ProviderHttpError> {
        // Fails if another part of the process has installed it already.
        let _ = rustls::crypto::ring::default_provider().install_default();
        let client = Client::builder()
            .connect_timeout(CONNECT_TIMEOUT)
            .timeout(REQUEST_TIMEOUT)
            .redirect(redirect::Policy::none())
            .user_agent(concat!("onrecord/", env!("CARGO_PKG_VERSION")))
            .build()?;
        Ok(Self(client))
    }

    async fn send(self, request: HttpRequest) -> Result<HttpResponse, ProviderHttpError> {
        let without_url = reqwest::Error::without_url;
        let request = reqwest::Request::try_from(request).map_err(without_url)?;
        let origin = WebOrigin::parse(&request.url().origin().ascii_serialization());
        if !origin.is_some_and(|origin| origin.is_protected()) {
            return Err(ProviderHttpError::NotProtected);
        }
        let answer = self.0.execute(request).await.map_err(without_url)?;
        let mut response = axum::http::Response::builder().status(answer.status());
        for (name, value) in answer.headers() {
            response = response.header(name, value);
        }
        let mut body = Vec::new();
        let mut parts = answer.bytes_stream();
        while let Some(part) = parts.next().await {
            let part = part.map_err(without_url)?;
            if body.len() + part.len() > MAX_ANSWER {
                return Err(ProviderHttpError::TooLarge);
            }
            body.extend_from_slice(&part);
        }
        Ok(response.body(body)?)
    }
}

impl<'c> AsyncHttpClient<'c> for ProviderHttp {
    type Error = ProviderHttpError;
    type Future = BoxFuture<'c, Result<HttpResponse, ProviderHttpError>>;

    fn call(&'c self, request: HttpRequest) -> Self::Future {
        self.clone().send(request).boxed()
    }
}
