//! Posts deliveries over HTTP as Azure and client apps do: until they are accepted, or rejected for
//! good.
//!
//! # Why
//!
//! Event Grid retries a delivery unless the answer is 400, 401, 403 or 413. This sender does the
//! same, because a 503 that asks for a retry must not end a demonstration. It retries sooner than
//! Event Grid, unless it is given Event Grid's own retry table.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use reqwest::header::{HeaderMap, HeaderName, HeaderValue, RETRY_AFTER};
use reqwest::{RequestBuilder, Response, StatusCode, Url};
use serde_json::{Value, json};

use crate::call::script::{DeliveryTarget, SimulatedDelivery, SimulatedRequest};
use crate::http::{ServerAddressError, address, client_builder, error_text, parse_base};
use crate::senders::event_grid_sender::EventGridSender;
use crate::senders::retry_table::{AttemptStatus, EventGridOutcome, RESPONSE_TIMEOUT};

/// Timeout of a delivery, its retries included.
const DELIVERY_TIMEOUT: Duration = Duration::from_secs(90);
/// Minimum and maximum interval between two attempts; in between, the server's `retry-after`
/// decides.
const RETRY_INTERVAL: (Duration, Duration) = (Duration::from_millis(200), Duration::from_secs(5));

/// A configured source of events, with its key.
#[derive(Clone)]
pub struct SourceAccess {
    pub name: String,
    pub key: String,
}

/// The address of a server, and the credentials for it.
#[derive(Clone)]
pub struct ServerAccess {
    /// The base URL of the server.
    pub url: String,
    pub event_grid: Option<SourceAccess>,
    pub call_automation: Option<SourceAccess>,
    /// An API key of role `app`, which creates the subscriber tokens of the clients.
    pub api_key: Option<String>,
    /// Whether the proxies of the environment are used.
    pub by_proxy: bool,
}

/// The reason why a delivery was not accepted.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NotAccepted(pub String);

/// How often each endpoint gave each status; `None`: no answer.
pub type AnswerCounts = BTreeMap<(&'static str, Option<u16>), u64>;

/// Posts deliveries.
#[derive(Clone)]
pub struct HttpSender {
    http: reqwest::Client,
    base: Url,
    access: ServerAccess,
    /// The sender whose retry table the deliveries of Event Grid follow.
    event_grid: Option<EventGridSender>,
    answers: Arc<Mutex<AnswerCounts>>,
}

/// The subscriber tokens of one call, by raw id.
pub(crate) type CallTokens = HashMap<String, String>;

impl HttpSender {
    /// Makes a sender; it does not connect yet. Deliveries of Event Grid follow the retry table of
    /// `event_grid`, if there is one.
    ///
    /// # Errors
    ///
    /// [`ServerAddressError`].
    pub fn new(
        access: ServerAccess,
        event_grid: Option<EventGridSender>,
    ) -> Result<Self, ServerAddressError> {
        let base = parse_base(&access.url)?;
        let http = client_builder(access.by_proxy)
            .timeout(RESPONSE_TIMEOUT)
            // A redirection counts as a rejection.
            .redirect(reqwest::redirect::Policy::none())
            .build()?;
        Ok(Self { http, base, access, event_grid, answers: Arc::default() })
    }

    /// How often each endpoint gave each status.
    #[must_use]
    pub fn answers(&self) -> AnswerCounts {
        self.answers.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Creates the subscriber tokens with which the clients of a call report and acknowledge.
    ///
    /// # Errors
    ///
    /// [`NotAccepted`].
    pub async fn request_tokens(
        &self,
        deliveries: &[SimulatedDelivery],
    ) -> Result<CallTokens, NotAccepted> {
        let mut tokens = CallTokens::new();
        let raw_ids = deliveries.iter().filter_map(|delivery| delivery.target.raw_id());
        for raw_id in raw_ids.collect::<BTreeSet<&str>>() {
            tokens.insert(raw_id.to_owned(), self.request_token(raw_id).await?);
        }
        Ok(tokens)
    }

    async fn request_token(&self, raw_id: &str) -> Result<String, NotAccepted> {
        let body = json!({ "participant": { "raw_id": raw_id }, "app": "simulator" });
        // Without a key, the server rejects the request and states the reason.
        let key = self.access.api_key.as_deref().unwrap_or_default();
        let address = address(&self.base, &["v1", "subscriber-tokens"]);
        let request = || self.http.post(address.clone()).bearer_auth(key).json(&body);
        let answer = self.until_answered("subscriber tokens", request).await?;
        let answer: Value = answer.json().await.map_err(|error| NotAccepted(error_text(error)))?;
        let token = answer.get("token").and_then(Value::as_str);
        token.map(str::to_owned).ok_or_else(|| {
            NotAccepted("the answer to a request for a subscriber token has no token".to_owned())
        })
    }

    /// Posts a delivery until it is accepted.
    ///
    /// # Errors
    ///
    /// [`NotAccepted`]: it was rejected for good, or not accepted within the timeout.
    pub async fn post(
        &self,
        delivery: &SimulatedDelivery,
        tokens: &CallTokens,
    ) -> Result<(), NotAccepted> {
        let SimulatedRequest { mut headers, body } = delivery.request();
        let address = |segments: &[&str]| address(&self.base, segments);
        let missing = || NotAccepted("no source or token is configured for it".to_owned());
        let bearer = |raw_id: &String| {
            let token = tokens.get(raw_id).ok_or_else(missing)?;
            Ok(("authorization", format!("Bearer {token}")))
        };
        let (target, address, (name, value)) = match &delivery.target {
            DeliveryTarget::EventGrid => {
                let source = self.access.event_grid.as_ref().ok_or_else(missing)?;
                let address = address(&["ingest", "event-grid", &source.name]);
                ("event grid", address, ("x-onrecord-key", source.key.clone()))
            }
            DeliveryTarget::CallAutomation => {
                // A callback URI has its key in the query.
                let source = self.access.call_automation.as_ref().ok_or_else(missing)?;
                let mut address = address(&["ingest", "call-automation", &source.name]);
                address.query_pairs_mut().append_pair("key", &source.key);
                ("call automation", address, ("user-agent", "simulated-call-automation".to_owned()))
            }
            DeliveryTarget::Reports(raw_id) => {
                ("reports", address(&["v1", "reports"]), bearer(raw_id)?)
            }
            DeliveryTarget::Acknowledgements(raw_id) => {
                ("acknowledgements", address(&["v1", "acknowledgements"]), bearer(raw_id)?)
            }
        };
        headers.push((name.to_owned(), value));
        let build = || {
            let posted = self.http.post(address.clone()).body(body.clone());
            headers.iter().fold(posted, |posted, (name, value)| posted.header(name, value))
        };
        if delivery.target == DeliveryTarget::EventGrid
            && let Some(event_grid) = &self.event_grid
        {
            let events = delivery.events.len() as u64;
            let attempt = |before| self.attempt(target, build(), before);
            return match event_grid.deliver(events, attempt).await {
                EventGridOutcome::Delivered => Ok(()),
                EventGridOutcome::DroppedForStatus(status) => {
                    Err(NotAccepted(format!("dropped for status code {status}")))
                }
                EventGridOutcome::Expired(attempts) => {
                    Err(NotAccepted(format!("expired after {attempts} attempts")))
                }
            };
        }
        let answer = self.until_answered(target, build).await?;
        match &delivery.target {
            DeliveryTarget::Acknowledgements(_) => each_is_accepted(answer).await,
            _ => Ok(()),
        }
    }

    /// One attempt of Event Grid; `before` is the number of earlier attempts.
    async fn attempt(
        &self,
        target: &'static str,
        request: RequestBuilder,
        before: u32,
    ) -> AttemptStatus {
        // Replaces the header of the first attempt.
        let count = (HeaderName::from_static("aeg-delivery-count"), HeaderValue::from(before));
        let answered = request.headers(HeaderMap::from_iter([count])).send().await;
        let status = answered.ok().map(|answer| answer.status().as_u16());
        self.count(target, status);
        status
    }

    /// Sends a request until the answer is a success.
    async fn until_answered(
        &self,
        target: &'static str,
        request: impl Fn() -> RequestBuilder,
    ) -> Result<Response, NotAccepted> {
        let began = Instant::now();
        loop {
            let (reason, pause) = match request().send().await {
                Ok(answer) => {
                    let status = answer.status();
                    self.count(target, Some(status.as_u16()));
                    if status.is_success() {
                        return Ok(answer);
                    }
                    let pause = stated_pause(&answer);
                    // The body only explains the status, and may be missing.
                    let reason = format!("{status}: {}", answer.text().await.unwrap_or_default());
                    if is_final(status) {
                        return Err(NotAccepted(reason));
                    }
                    (reason, pause)
                }
                Err(error) => {
                    self.count(target, None);
                    (error_text(error), Duration::ZERO)
                }
            };
            if began.elapsed() > DELIVERY_TIMEOUT {
                return Err(NotAccepted(reason));
            }
            tokio::time::sleep(pause.clamp(RETRY_INTERVAL.0, RETRY_INTERVAL.1)).await;
        }
    }

    fn count(&self, target: &'static str, status: Option<u16>) {
        let mut answers = self.answers.lock().unwrap_or_else(PoisonError::into_inner);
        *answers.entry((target, status)).or_default() += 1;
    }
}

/// Whether a retry is of no use, as Event Grid decides it.
fn is_final(status: StatusCode) -> bool {
    let retried = [StatusCode::REQUEST_TIMEOUT, StatusCode::TOO_MANY_REQUESTS];
    !status.is_server_error() && !retried.contains(&status)
}

/// A batch is answered item by item.
async fn each_is_accepted(answer: Response) -> Result<(), NotAccepted> {
    let items: Vec<Value> = answer.json().await.map_err(|error| NotAccepted(error_text(error)))?;
    match items.iter().find(|item| item["status"] != "accepted") {
        None => Ok(()),
        Some(item) => Err(NotAccepted(item.to_string())),
    }
}

fn stated_pause(answer: &Response) -> Duration {
    let stated = answer.headers().get(RETRY_AFTER);
    let seconds = stated.and_then(|value| value.to_str().ok()?.parse().ok());
    seconds.map_or(Duration::ZERO, Duration::from_secs)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sender(url: &str) -> Result<HttpSender, ServerAddressError> {
        let access = ServerAccess {
            url: url.to_owned(),
            event_grid: None,
            call_automation: None,
            api_key: None,
            by_proxy: false,
        };
        HttpSender::new(access, None)
    }

    #[test]
    fn a_base_url_may_have_a_path() {
        let at = |url: &str| {
            address(&sender(url).unwrap().base, &["ingest", "event-grid", "a"]).to_string()
        };
        assert_eq!(at("http://127.0.0.1:8080"), "http://127.0.0.1:8080/ingest/event-grid/a");
        assert_eq!(
            at("https://x.example/onrecord/"),
            "https://x.example/onrecord/ingest/event-grid/a"
        );
        for wrong in ["", "127.0.0.1:8080", "ftp://x", "mailto:x"] {
            assert!(sender(wrong).is_err(), "{wrong}");
        }
    }

    #[test]
    fn what_event_grid_never_retries_is_final_and_server_errors_are_not() {
        for status in [400, 401, 403, 404, 409, 413] {
            assert!(is_final(StatusCode::from_u16(status).unwrap()), "{status}");
        }
        for status in [408, 429, 500, 502, 503, 504] {
            assert!(!is_final(StatusCode::from_u16(status).unwrap()), "{status}");
        }
    }
}
