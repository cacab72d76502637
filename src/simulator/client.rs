//! A sender as Azure and client apps are: it posts a delivery until it is taken, or refused for
//! good.
//!
//! # Why
//!
//! Event Grid tries a delivery again unless it is answered 400, 401, 403 or 413, and so does this
//! sender; a demonstration must not be spoilt by a 503 that is meant to be tried again. It comes
//! back sooner than Event Grid would, unless it is given Event Grid's own retry table.

use std::collections::{BTreeMap, HashMap};
use std::sync::{Arc, Mutex, OnceLock, PoisonError};
use std::time::{Duration, Instant};

use reqwest::header::{AUTHORIZATION, CONTENT_TYPE, RETRY_AFTER};
use reqwest::{RequestBuilder, Response, StatusCode, Url};
use serde_json::{Value, json};

use super::event_grid_sender::{EventGridSender, Fate};
use super::retry_table::{Answer, PATIENCE};
use super::script::{Delivery, Door};

/// A delivery that was not taken for so long is given up.
const GIVEN_UP_AFTER: Duration = Duration::from_secs(90);
/// Between two tries, at least and at most; in between the server says how long.
const PAUSES: (Duration, Duration) = (Duration::from_millis(200), Duration::from_secs(5));

/// The address cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum AddressError {
    /// Write it like <http://127.0.0.1:8080>.
    #[error("{0} is no http or https address; write one like http://127.0.0.1:8080")]
    NoUrl(String),
    /// The machine lacks something that HTTP needs.
    #[error("the http client cannot be made")]
    Client(#[from] reqwest::Error),
}

/// A source of the door, with its key.
#[derive(Clone)]
pub struct SourceAccess {
    pub name: String,
    pub key: String,
}

/// Where and as whom to post.
#[derive(Clone)]
pub struct Access {
    /// The server's address.
    pub url: String,
    pub event_grid: Option<SourceAccess>,
    pub call_automation: Option<SourceAccess>,
    /// An API key of role `app`, which draws the clients' subscriber tokens.
    pub api_key: Option<String>,
    /// Whether the proxies of the environment lie between.
    pub by_proxy: bool,
}

/// Why a delivery was not taken.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NotTaken(pub String);

/// How often each door gave each answer; `None`: no answer came.
pub type Tally = BTreeMap<(&'static str, Option<u16>), u64>;

/// Posts deliveries.
#[derive(Clone)]
pub struct Sender {
    http: reqwest::Client,
    base: Url,
    access: Access,
    /// Whose retry table deliveries to Event Grid's door follow.
    event_grid: Option<EventGridSender>,
    tally: Arc<Mutex<Tally>>,
}

/// The subscriber tokens of one call, by raw id.
pub type Tokens = HashMap<String, String>;

impl Sender {
    /// Prepares to post; nobody is connected to yet.
    ///
    /// # Errors
    ///
    /// [`AddressError`].
    pub fn new(access: Access) -> Result<Self, AddressError> {
        let no_url = || AddressError::NoUrl(access.url.clone());
        let base = Url::parse(&access.url).map_err(|_| no_url())?;
        if !matches!(base.scheme(), "http" | "https") || base.cannot_be_a_base() {
            return Err(no_url());
        }
        let http = http(access.by_proxy)
            .timeout(PATIENCE)
            // A redirection is a refusal like others.
            .redirect(reqwest::redirect::Policy::none())
            .build()?;
        Ok(Self {
            http,
            base,
            access,
            event_grid: None,
            tally: Arc::default(),
        })
    }

    /// The same, but deliveries of Event Grid are tried again as it does it.
    #[must_use]
    pub fn delivering_as(mut self, event_grid: EventGridSender) -> Self {
        self.event_grid = Some(event_grid);
        self
    }

    /// How often each door gave each answer.
    #[must_use]
    pub fn tally(&self) -> Tally {
        self.tally
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .clone()
    }

    /// Draws the tokens with which the clients of a call report and acknowledge.
    ///
    /// # Errors
    ///
    /// [`NotTaken`].
    pub async fn draw_tokens(&self, deliveries: &[Delivery]) -> Result<Tokens, NotTaken> {
        let mut tokens = Tokens::new();
        for delivery in deliveries {
            let Some(raw_id) = delivery.door.raw_id() else {
                continue;
            };
            if !tokens.contains_key(raw_id) {
                let token = self.draw_token(raw_id).await?;
                tokens.insert(raw_id.to_owned(), token);
            }
        }
        Ok(tokens)
    }

    async fn draw_token(&self, raw_id: &str) -> Result<String, NotTaken> {
        let order = json!({ "participant": { "raw_id": raw_id }, "app": "simulator" });
        let key = self.access.api_key.as_deref().unwrap_or_default();
        let address = self.address(&["v1", "subscriber-tokens"]);
        let request = || {
            self.http
                .post(address.clone())
                .bearer_auth(key)
                .json(&order)
        };
        let answer = self.until_answered("subscriber tokens", request).await?;
        let answer: Value = answer
            .json()
            .await
            .map_err(|error| NotTaken(reason(error)))?;
        let token = answer.get("token").and_then(Value::as_str);
        token.map(str::to_owned).ok_or_else(|| {
            NotTaken("the answer to the order of a subscriber token has none".to_owned())
        })
    }

    /// Posts a delivery until it is taken.
    ///
    /// # Errors
    ///
    /// [`NotTaken`]: it was refused for good, or nobody took it for too long.
    pub async fn post(&self, delivery: &Delivery, tokens: &Tokens) -> Result<(), NotTaken> {
        let request = delivery.request();
        let missing = || NotTaken("there is no source or token to post it with".to_owned());
        let (door, address, credential) = match &delivery.door {
            Door::EventGrid => {
                let source = self.access.event_grid.as_ref().ok_or_else(missing)?;
                let address = self.address(&["ingest", "event-grid", &source.name]);
                (
                    "event grid",
                    address,
                    ("x-onrecord-key", source.key.clone()),
                )
            }
            Door::CallAutomation => {
                // A callback URI carries its key in the query.
                let source = self.access.call_automation.as_ref().ok_or_else(missing)?;
                let mut address = self.address(&["ingest", "call-automation", &source.name]);
                address.query_pairs_mut().append_pair("key", &source.key);
                (
                    "call automation",
                    address,
                    ("user-agent", "simulated-call-automation".to_owned()),
                )
            }
            Door::Reports { raw_id } => {
                let token = tokens.get(raw_id).ok_or_else(missing)?;
                let address = self.address(&["v1", "reports"]);
                (
                    "reports",
                    address,
                    (AUTHORIZATION.as_str(), format!("Bearer {token}")),
                )
            }
            Door::Acknowledgements { raw_id } => {
                let token = tokens.get(raw_id).ok_or_else(missing)?;
                let address = self.address(&["v1", "acknowledgements"]);
                (
                    "acknowledgements",
                    address,
                    (AUTHORIZATION.as_str(), format!("Bearer {token}")),
                )
            }
        };
        let build = || {
            let mut posted = self
                .http
                .post(address.clone())
                .header(CONTENT_TYPE, request.content_type);
            posted = posted.header(credential.0, &credential.1);
            for (name, value) in &request.headers {
                posted = posted.header(name, value);
            }
            posted.body(request.body.clone())
        };
        match &self.event_grid {
            Some(event_grid) if delivery.door == Door::EventGrid => {
                let events = delivery.events.len() as u64;
                let attempt = |before| self.attempt(door, build(), before);
                match event_grid.deliver(events, attempt).await {
                    Fate::Delivered => Ok(()),
                    Fate::LostToStatus(status) => {
                        Err(NotTaken(format!("lost to status code {status}")))
                    }
                    Fate::Expired(attempts) => {
                        Err(NotTaken(format!("expired after {attempts} attempts")))
                    }
                }
            }
            _ => {
                let answer = self.until_answered(door, build).await?;
                match &delivery.door {
                    Door::Acknowledgements { .. } => each_is_accepted(answer).await,
                    _ => Ok(()),
                }
            }
        }
    }

    /// One attempt of Event Grid; it tells how many there were before.
    async fn attempt(&self, door: &'static str, request: RequestBuilder, before: u32) -> Answer {
        let request = request.build().map(|mut request| {
            request
                .headers_mut()
                .insert("aeg-delivery-count", before.into());
            request
        });
        let answered = match request {
            Ok(request) => self.http.execute(request).await,
            Err(error) => Err(error),
        };
        let status = answered.ok().map(|answer| answer.status().as_u16());
        self.count(door, status);
        status.map_or(Answer::Nothing, Answer::Status)
    }

    /// Sends a request until its answer is a success.
    async fn until_answered(
        &self,
        door: &'static str,
        request: impl Fn() -> RequestBuilder,
    ) -> Result<Response, NotTaken> {
        let began = Instant::now();
        loop {
            let (why, pause) = match request().send().await {
                Ok(answer) => {
                    let status = answer.status();
                    self.count(door, Some(status.as_u16()));
                    if status.is_success() {
                        return Ok(answer);
                    }
                    let pause = stated_pause(&answer);
                    let why = format!("{status}: {}", answer.text().await.unwrap_or_default());
                    if is_final(status) {
                        return Err(NotTaken(why));
                    }
                    (why, pause)
                }
                Err(error) => {
                    self.count(door, None);
                    (reason(error), Duration::ZERO)
                }
            };
            if began.elapsed() > GIVEN_UP_AFTER {
                return Err(NotTaken(why));
            }
            tokio::time::sleep(pause.clamp(PAUSES.0, PAUSES.1)).await;
        }
    }

    fn count(&self, door: &'static str, status: Option<u16>) {
        let mut tally = self.tally.lock().unwrap_or_else(PoisonError::into_inner);
        *tally.entry((door, status)).or_default() += 1;
    }

    fn address(&self, segments: &[&str]) -> Url {
        let mut address = self.base.clone();
        if let Ok(mut path) = address.path_segments_mut() {
            path.pop_if_empty().extend(segments);
        }
        address
    }
}

/// Whether trying again is no use, as Event Grid sees it.
fn is_final(status: StatusCode) -> bool {
    let tried_again = [StatusCode::REQUEST_TIMEOUT, StatusCode::TOO_MANY_REQUESTS];
    !status.is_server_error() && !tried_again.contains(&status)
}

/// A batch is answered item by item.
async fn each_is_accepted(answer: Response) -> Result<(), NotTaken> {
    let items: Vec<Value> = answer
        .json()
        .await
        .map_err(|error| NotTaken(reason(error)))?;
    match items.iter().find(|item| item["status"] != "accepted") {
        None => Ok(()),
        Some(item) => Err(NotTaken(item.to_string())),
    }
}

fn stated_pause(answer: &Response) -> Duration {
    let stated = answer.headers().get(RETRY_AFTER);
    let seconds = stated.and_then(|value| value.to_str().ok()?.parse().ok());
    seconds.map_or(Duration::ZERO, Duration::from_secs)
}

/// An error without the address, which may hold a key.
pub(super) fn reason(error: reqwest::Error) -> String {
    use std::error::Error as _;
    let error = error.without_url();
    let mut reason = error.to_string();
    let mut source = error.source();
    while let Some(cause) = source {
        reason = format!("{reason}: {cause}");
        source = cause.source();
    }
    reason
}

/// How every HTTP client here begins.
pub(super) fn http(by_proxy: bool) -> reqwest::ClientBuilder {
    static PROVIDER: OnceLock<()> = OnceLock::new();
    PROVIDER.get_or_init(|| {
        // Another part of the process may have been first.
        let _ = rustls::crypto::ring::default_provider().install_default();
    });
    let builder = reqwest::Client::builder().connect_timeout(Duration::from_secs(10));
    if by_proxy {
        builder
    } else {
        builder.no_proxy()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sender(url: &str) -> Result<Sender, AddressError> {
        Sender::new(Access {
            url: url.to_owned(),
            event_grid: None,
            call_automation: None,
            api_key: None,
            by_proxy: false,
        })
    }

    #[test]
    fn an_address_may_have_a_path_before_ours() {
        let at = |url: &str| {
            sender(url)
                .unwrap()
                .address(&["ingest", "event-grid", "a"])
                .to_string()
        };
        assert_eq!(
            at("http://127.0.0.1:8080"),
            "http://127.0.0.1:8080/ingest/event-grid/a"
        );
        assert_eq!(
            at("https://x.example/onrecord/"),
            "https://x.example/onrecord/ingest/event-grid/a"
        );
        for wrong in ["", "127.0.0.1:8080", "ftp://x", "mailto:x"] {
            assert!(sender(wrong).is_err(), "{wrong}");
        }
    }

    #[test]
    fn what_event_grid_never_sends_again_is_final_and_our_trouble_is_not() {
        for status in [400, 401, 403, 404, 409, 413] {
            assert!(is_final(StatusCode::from_u16(status).unwrap()), "{status}");
        }
        for status in [408, 429, 500, 502, 503, 504] {
            assert!(!is_final(StatusCode::from_u16(status).unwrap()), "{status}");
        }
    }
}
