//! A browser without scripts: it keeps cookies, and sends forms with their hidden fields.

use std::collections::BTreeMap;

use onrecord::http::api_role::ApiRole;
use reqwest::header::{HeaderMap, LOCATION, SET_COOKIE};
use reqwest::redirect::Policy;
use reqwest::{Method, RequestBuilder, StatusCode};

use crate::support::app::TestApp;
use crate::support::client::http;

/// A page as it arrived.
pub struct LoadedPage {
    pub status: StatusCode,
    pub headers: HeaderMap,
    pub html: String,
}

impl LoadedPage {
    /// Where a redirect leads.
    pub fn location(&self) -> &str {
        self.headers.get(LOCATION).map_or("", |value| value.to_str().unwrap())
    }

    /// The value of the first hidden field of this name.
    pub fn hidden(&self, name: &str) -> String {
        let begin = format!("name=\"{name}\" value=\"");
        let rest = self.html.split(&begin).nth(1);
        let rest = rest.unwrap_or_else(|| panic!("no field {name}: {}", self.html));
        rest.split('"').next().unwrap().to_owned()
    }

    pub fn cookies(&self) -> Vec<&str> {
        self.headers.get_all(SET_COOKIE).iter().map(|value| value.to_str().unwrap()).collect()
    }
}

/// A browser with its cookies.
pub struct ConsoleBrowser {
    client: reqwest::Client,
    origin: String,
    pub cookies: BTreeMap<String, String>,
    /// Headers of each request.
    pub headers: Vec<(&'static str, String)>,
}

impl ConsoleBrowser {
    pub fn of(app: &TestApp) -> Self {
        Self::at(&app.url(""))
    }

    /// A browser at another address.
    pub fn at(origin: &str) -> Self {
        // The other client installs the cryptography.
        drop(http());
        let client = reqwest::Client::builder()
            .tls_certs_only([])
            .redirect(Policy::none())
            .timeout(std::time::Duration::from_secs(60));
        Self {
            client: client.build().unwrap(),
            origin: origin.to_owned(),
            cookies: BTreeMap::new(),
            headers: Vec::new(),
        }
    }

    /// A browser that is signed in by a new key.
    pub async fn signed_in(app: &TestApp, tenant: &str, role: ApiRole) -> Self {
        let key = app.api_key(tenant, role).await;
        let mut browser = Self::of(app);
        let page = browser.signs_in(&key, "/console/calls").await;
        assert_eq!(page.status, StatusCode::SEE_OTHER, "{}", page.html);
        browser
    }

    async fn load(&mut self, request: RequestBuilder) -> LoadedPage {
        let cookies: Vec<String> =
            self.cookies.iter().map(|(name, value)| format!("{name}={value}")).collect();
        let mut request = request;
        if !cookies.is_empty() {
            request = request.header("cookie", cookies.join("; "));
        }
        for (name, value) in &self.headers {
            request = request.header(*name, value);
        }
        let response = request.send().await.unwrap();
        let (status, headers) = (response.status(), response.headers().clone());
        for cookie in headers.get_all(SET_COOKIE) {
            let (name, rest) = cookie.to_str().unwrap().split_once('=').unwrap();
            let value = rest.split(';').next().unwrap();
            if rest.contains("Max-Age=0") {
                self.cookies.remove(name);
            } else {
                self.cookies.insert(name.to_owned(), value.to_owned());
            }
        }
        LoadedPage { status, headers, html: response.text().await.unwrap() }
    }

    pub async fn gets(&mut self, path: &str) -> LoadedPage {
        let request = self.client.get(format!("{}{path}", self.origin));
        self.load(request).await
    }

    /// Status and head of a page; of a stream only these, because it does not end.
    pub async fn gets_head(&mut self, path: &str) -> LoadedPage {
        if path != "/console/live/changes" {
            return self.gets(path).await;
        }
        let cookies: Vec<String> =
            self.cookies.iter().map(|(name, value)| format!("{name}={value}")).collect();
        let request = self.client.get(format!("{}{path}", self.origin));
        let response = request.header("cookie", cookies.join("; ")).send().await.unwrap();
        let (status, headers) = (response.status(), response.headers().clone());
        LoadedPage { status, headers, html: String::new() }
    }

    /// An open stream.
    pub async fn streams(
        &self,
        path: &str,
    ) -> futures_util::stream::BoxStream<'static, reqwest::Result<bytes::Bytes>> {
        let cookies: Vec<String> =
            self.cookies.iter().map(|(name, value)| format!("{name}={value}")).collect();
        let request = self.client.get(format!("{}{path}", self.origin));
        let response = request.header("cookie", cookies.join("; ")).send().await.unwrap();
        assert_eq!(response.status(), StatusCode::OK);
        Box::pin(response.bytes_stream())
    }

    /// A page that must be shown.
    pub async fn opens(&mut self, path: &str) -> LoadedPage {
        let page = self.gets(path).await;
        assert_eq!(page.status, StatusCode::OK, "{path}: {}", page.html);
        page
    }

    pub async fn posts(&mut self, path: &str, fields: &[(&str, &str)]) -> LoadedPage {
        let body = serde_urlencoded::to_string(fields).unwrap();
        let request = self
            .client
            .request(Method::POST, format!("{}{path}", self.origin))
            .header("content-type", "application/x-www-form-urlencoded")
            .body(body);
        self.load(request).await
    }

    /// Opens the page of the sign-in, and sends its form.
    pub async fn signs_in(&mut self, key: &str, then: &str) -> LoadedPage {
        let form = self.gets("/console/sign-in").await;
        let token = form.hidden("form_token");
        self.posts("/console/sign-in", &[("form_token", &token), ("key", key), ("then", then)])
            .await
    }
}
