//! A reader of the record: pages through `/v1` with an API key.

use std::time::Duration;

use reqwest::{StatusCode, Url};
use serde::Deserialize;
use serde::de::DeserializeOwned;
use serde_json::Value;

use super::client::{AddressError, http, reason};

const PATIENCE: Duration = Duration::from_secs(30);
/// The most that one page has.
const PAGE: &str = "1000";

/// The record could not be read.
#[derive(Debug, thiserror::Error)]
#[error("{path} could not be read: {reason}")]
pub struct ReadError {
    path: String,
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
        let page: Events = self.get(&["events"], &query).await?;
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
        let page: Quarantine = self.get(&["quarantine"], &[("limit", PAGE)]).await?;
        Ok(page.quarantined)
    }

    /// A call, with who is in it; `None`: it is not known yet.
    ///
    /// # Errors
    ///
    /// [`ReadError`].
    pub async fn call(&self, call: &str) -> Result<Option<Value>, ReadError> {
        let body = self.body(&["calls", call], &[]).await?;
        body.map(|body| read(&["calls", call], &body)).transpose()
    }

    /// The evidence of a call; `None`: there is none yet.
    ///
    /// # Errors
    ///
    /// [`ReadError`].
    pub async fn evidence<T: DeserializeOwned>(&self, call: &str) -> Result<Option<T>, ReadError> {
        let path = ["calls", call, "evidence"];
        let body = self.body(&path, &[]).await?;
        body.map(|body| read(&path, &body)).transpose()
    }

    /// The facts of a call with the report that is stored, as they are exported; `None`: there are
    /// none yet.
    ///
    /// # Errors
    ///
    /// [`ReadError`].
    pub async fn facts(&self, call: &str) -> Result<Option<String>, ReadError> {
        self.body(&["calls", call, "facts"], &[]).await
    }

    /// Where a resource of a call is read.
    #[must_use]
    pub fn address_of(&self, call: &str, resource: &str) -> String {
        self.address(&["calls", call, resource]).to_string()
    }

    async fn get<T: DeserializeOwned>(
        &self,
        path: &[&str],
        query: &[(&str, &str)],
    ) -> Result<T, ReadError> {
        let body = self.body(path, query).await?;
        let body = body.ok_or_else(|| failed(path, "there is no such resource".to_owned()))?;
        read(path, &body)
    }

    /// `None`: there is nothing.
    async fn body(
        &self,
        path: &[&str],
        query: &[(&str, &str)],
    ) -> Result<Option<String>, ReadError> {
        let failed = |reason: String| failed(path, reason);
        let request = self.http.get(self.address(path)).query(query);
        let answer = request.bearer_auth(&self.key).send().await;
        let answer = answer.map_err(|error| failed(reason(error)))?;
        let status = answer.status();
        let body = answer.text().await.map_err(|error| failed(reason(error)))?;
        match status {
            StatusCode::NOT_FOUND => Ok(None),
            status if status.is_success() => Ok(Some(body)),
            status => Err(failed(format!("{status}: {body}"))),
        }
    }

    fn address(&self, path: &[&str]) -> Url {
        let mut address = self.base.clone();
        // An address of ours always has a path.
        if let Ok(mut segments) = address.path_segments_mut() {
            segments.pop_if_empty().push("v1").extend(path);
        }
        address
    }
}

fn failed(path: &[&str], reason: String) -> ReadError {
    ReadError {
        path: path.join("/"),
        reason,
    }
}

fn read<T: DeserializeOwned>(path: &[&str], body: &str) -> Result<T, ReadError> {
    serde_json::from_str(body).map_err(|error| failed(path, error.to_string()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn any_id_of_a_call_stands_in_an_address() {
        let reader = Reader::new("http://127.0.0.1:8080", String::new()).unwrap();
        assert_eq!(
            reader.address_of("https://a/b?c=d", "facts"),
            "http://127.0.0.1:8080/v1/calls/https:%2F%2Fa%2Fb%3Fc=d/facts"
        );
    }
}
