//! A reader of the record: pages through `/v1` with an API key.

use std::time::Duration;

use reqwest::Url;
use serde::Deserialize;
use serde::de::DeserializeOwned;

use super::client::{AddressError, http, reason};

const PATIENCE: Duration = Duration::from_secs(30);
/// The most that one page has.
const PAGE: &str = "1000";

/// The record could not be read.
#[derive(Debug, thiserror::Error)]
#[error("{path} could not be read: {reason}")]
pub struct ReadError {
    path: &'static str,
    reason: String,
}

/// Reads with a key of role `auditor` or `admin`.
#[derive(Clone, Debug)]
pub struct Reader {
    http: reqwest::Client,
    base: Url,
    key: String,
}

/// One line of the book, as `/v1/events` gives it; the members that matter here.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
pub struct Line {
    pub call: Option<String>,
    pub r#type: String,
    pub source_type: String,
    pub ce_source: String,
    pub ce_id: String,
    #[serde(default)]
    pub flags: Vec<String>,
}

#[derive(Deserialize)]
struct Events {
    events: Vec<Line>,
    next: Option<String>,
}

/// Something in quarantine.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
pub struct Quarantined {
    pub source: String,
    pub reason: String,
    pub detail: String,
}

#[derive(Deserialize)]
struct Quarantine {
    quarantined: Vec<Quarantined>,
}

impl Reader {
    /// Prepares to read at a server's address.
    ///
    /// # Errors
    ///
    /// [`AddressError`].
    pub fn new(url: &str, key: String) -> Result<Self, AddressError> {
        let base = Url::parse(url).map_err(|_| AddressError::NoUrl(url.to_owned()))?;
        Ok(Self {
            http: http(false).timeout(PATIENCE).build()?,
            base,
            key,
        })
    }

    /// What was entered after `cursor` (at first: from the beginning), up to a page of it. The
    /// cursor is moved on.
    ///
    /// # Errors
    ///
    /// [`ReadError`].
    pub async fn events(&self, cursor: &mut Option<String>) -> Result<Vec<Line>, ReadError> {
        let mut query = vec![("limit", PAGE)];
        query.extend(cursor.as_deref().map(|cursor| ("cursor", cursor)));
        let page: Events = self.get("v1/events", &query).await?;
        if page.next.is_some() {
            *cursor = page.next;
        }
        Ok(page.events)
    }

    /// What is in quarantine, the newest, up to a page of it.
    ///
    /// # Errors
    ///
    /// [`ReadError`].
    pub async fn quarantine(&self) -> Result<Vec<Quarantined>, ReadError> {
        let page: Quarantine = self.get("v1/quarantine", &[("limit", PAGE)]).await?;
        Ok(page.quarantined)
    }

    async fn get<T: DeserializeOwned>(
        &self,
        path: &'static str,
        query: &[(&str, &str)],
    ) -> Result<T, ReadError> {
        let failed = |reason: String| ReadError { path, reason };
        let address = self
            .base
            .join(path)
            .map_err(|error| failed(error.to_string()))?;
        let request = self.http.get(address).query(query).bearer_auth(&self.key);
        let answer = request
            .send()
            .await
            .map_err(|error| failed(reason(error)))?;
        let status = answer.status();
        let body = answer.text().await.map_err(|error| failed(reason(error)))?;
        if !status.is_success() {
            return Err(failed(format!("{status}: {body}")));
        }
        serde_json::from_str(&body).map_err(|error| failed(error.to_string()))
    }
}
