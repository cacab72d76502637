//! Reads the ledger and the evidence through the query API, with an API key.

use std::time::Duration;

use reqwest::{StatusCode, Url};
use serde::Deserialize;
use serde::de::DeserializeOwned;
use serde_json::Value;

use crate::http::{ServerAddressError, address, client_builder, error_text, parse_base};

/// Timeout of an answer.
const READ_TIMEOUT: Duration = Duration::from_secs(30);
/// Maximum length of a page.
const PAGE_LIMIT: &str = "1000";

/// A resource could not be read.
#[derive(Debug, thiserror::Error)]
#[error("{path} could not be read: {reason}")]
pub struct ApiReadError {
    path: String,
    reason: String,
}

/// Reads with a key of role `auditor` or `admin`.
#[derive(Clone, Debug)]
pub struct ApiReader {
    http: reqwest::Client,
    base: Url,
    key: String,
}

/// An event of the ledger as `/v1/events` lists it; only the members that are used here.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
pub struct ListedEvent {
    pub call: Option<String>,
    pub r#type: String,
    pub source_type: String,
    pub ce_source: String,
    pub ce_id: String,
    #[serde(default)]
    pub flags: Vec<String>,
}

#[derive(Deserialize)]
struct EventsPage {
    events: Vec<ListedEvent>,
    next: Option<String>,
}

/// A quarantined event as `/v1/quarantine` lists it.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
pub struct ListedQuarantine {
    pub source: String,
    pub reason: String,
    pub detail: String,
}

#[derive(Deserialize)]
struct QuarantinePage {
    quarantined: Vec<ListedQuarantine>,
}

impl ApiReader {
    /// Makes a reader; it does not connect yet.
    ///
    /// # Errors
    ///
    /// [`ServerAddressError`].
    pub fn new(url: &str, key: String) -> Result<Self, ServerAddressError> {
        let base = address(&parse_base(url)?, &["v1"]);
        Ok(Self { http: client_builder(false).timeout(READ_TIMEOUT).build()?, base, key })
    }

    /// The ledger entries after `cursor` (`None`: from the first one), up to a page. The cursor is
    /// advanced.
    ///
    /// # Errors
    ///
    /// [`ApiReadError`].
    pub async fn events(
        &self,
        cursor: &mut Option<String>,
    ) -> Result<Vec<ListedEvent>, ApiReadError> {
        let mut query = vec![("limit", PAGE_LIMIT)];
        query.extend(cursor.as_deref().map(|cursor| ("cursor", cursor)));
        let page: EventsPage = self.get(&["events"], &query).await?;
        if page.next.is_some() {
            *cursor = page.next;
        }
        Ok(page.events)
    }

    /// The newest quarantined events, up to a page.
    ///
    /// # Errors
    ///
    /// [`ApiReadError`].
    pub async fn quarantine(&self) -> Result<Vec<ListedQuarantine>, ApiReadError> {
        let page: QuarantinePage = self.get(&["quarantine"], &[("limit", PAGE_LIMIT)]).await?;
        Ok(page.quarantined)
    }

    /// A call with its participants; `None`: it is not known yet.
    ///
    /// # Errors
    ///
    /// [`ApiReadError`].
    pub async fn call(&self, call: &str) -> Result<Option<Value>, ApiReadError> {
        self.get_known(&["calls", call], &[]).await
    }

    /// The evidence of a call; `None`: there is none yet.
    ///
    /// # Errors
    ///
    /// [`ApiReadError`].
    pub async fn evidence<T: DeserializeOwned>(
        &self,
        call: &str,
    ) -> Result<Option<T>, ApiReadError> {
        self.get_known(&["calls", call, "evidence"], &[]).await
    }

    /// The exported facts of a call with the stored report; `None`: there are none yet.
    ///
    /// # Errors
    ///
    /// [`ApiReadError`].
    pub async fn facts(&self, call: &str) -> Result<Option<String>, ApiReadError> {
        self.body(&["calls", call, "facts"], &[]).await
    }

    /// The address of a resource of a call.
    #[must_use]
    pub fn resource_url(&self, call: &str, resource: &str) -> String {
        address(&self.base, &["calls", call, resource]).to_string()
    }

    async fn get<T: DeserializeOwned>(
        &self,
        path: &[&str],
        query: &[(&str, &str)],
    ) -> Result<T, ApiReadError> {
        let found = self.get_known(path, query).await?;
        found.ok_or_else(|| failed(path, "there is no such resource".to_owned()))
    }

    /// `None`: the resource does not exist.
    async fn get_known<T: DeserializeOwned>(
        &self,
        path: &[&str],
        query: &[(&str, &str)],
    ) -> Result<Option<T>, ApiReadError> {
        let body = self.body(path, query).await?;
        let parsed = body.map(|body| serde_json::from_str(&body)).transpose();
        parsed.map_err(|error| failed(path, error.to_string()))
    }

    /// `None`: the resource does not exist.
    async fn body(
        &self,
        path: &[&str],
        query: &[(&str, &str)],
    ) -> Result<Option<String>, ApiReadError> {
        let failed = |reason: String| failed(path, reason);
        let request = self.http.get(address(&self.base, path)).query(query);
        let answer = request.bearer_auth(&self.key).send().await;
        let answer = answer.map_err(|error| failed(error_text(error)))?;
        let status = answer.status();
        let body = answer.text().await.map_err(|error| failed(error_text(error)))?;
        match status {
            StatusCode::NOT_FOUND => Ok(None),
            status if status.is_success() => Ok(Some(body)),
            status => Err(failed(format!("{status}: {body}"))),
        }
    }
}

fn failed(path: &[&str], reason: String) -> ApiReadError {
    ApiReadError { path: path.join("/"), reason }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn any_id_of_a_call_can_be_part_of_an_address() {
        let reader = ApiReader::new("http://127.0.0.1:8080", String::new()).unwrap();
        assert_eq!(
            reader.resource_url("https://a/b?c=d", "facts"),
            "http://127.0.0.1:8080/v1/calls/https:%2F%2Fa%2Fb%3Fc=d/facts"
        );
    }
}
