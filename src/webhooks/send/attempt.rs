//! One attempt at a message: a signed POST, and what the answer means.

use std::error::Error;
use std::sync::Arc;
use std::time::{Duration, Instant};

use chrono::{DateTime, Utc};
use reqwest::{Client, StatusCode, header};

use super::answer::{self, AnswerMeaning, MAX_KEPT_BYTES, answers_challenge, kept_answer, meaning};
use super::cloud_event::{self, MEDIA_TYPE, WebhookEventContent};
use super::endpoints::Endpoint;
use super::next_step::after_failure;
use crate::clock;
use crate::config::WebhookSettings;
use crate::failpoint;
use crate::postgres::event_name::CHALLENGE;
use crate::postgres::{AttemptResult, ClaimedMessage, MessageStep};
use crate::webhooks::cursors::Cursors;
use crate::webhooks::guard::destination_rules::DestinationRules;
use onrecord_evidence::notice::variant::is_stale_event;

/// What every attempt of a node needs.
pub(crate) struct AttemptContext {
    pub client: Client,
    pub rules: DestinationRules,
    pub settings: WebhookSettings,
    pub cursors: Cursors,
}

/// How an attempt ended, with what it says about its receiver.
pub(crate) struct EndedAttempt {
    pub result: AttemptResult,
    /// The message goes to the address of the subscription.
    pub is_of_url: bool,
    /// Failed attempts of the subscription when the message was claimed.
    pub known_failures: i32,
    /// The receiver asked for nothing until then.
    pub not_before: Option<DateTime<Utc>>,
    /// The receiver answered the challenge of its subscription.
    pub answered_challenge: Option<String>,
    /// The message is the challenge.
    pub is_challenge: bool,
    /// From the making of the message to its first attempt, in seconds.
    pub delay_seconds: Option<f64>,
}

/// What came back.
struct Answer {
    status: StatusCode,
    retry_after: Option<Duration>,
    /// The beginning of the body.
    body: Vec<u8>,
    is_whole: bool,
}

/// How a POST ended.
enum Posted {
    Answered(Answer),
    /// Nothing was sent, or no answer arrived.
    Failed(String),
}

/// Makes one attempt.
pub(crate) async fn attempt(
    context: &AttemptContext,
    message: ClaimedMessage,
    endpoint: Option<Arc<Endpoint>>,
    chance: f64,
) -> EndedAttempt {
    let at = clock::now();
    let began = Instant::now();
    let Some(endpoint) = endpoint else {
        let step = MessageStep::Dropped { reason: "the subscription was deleted".to_owned() };
        return unsent(message, at, step);
    };
    let is_stale = message.is_stale
        || message.decided_at.is_some_and(|decided| {
            is_stale_event(at.timestamp_millis(), decided.timestamp_millis())
        })
        || message.is_call_open == Some(false);
    let is_stale = is_stale && message.decided_at.is_some();
    if is_stale && !endpoint.sends_stale_notices {
        let reason = "the notice can no longer be announced".to_owned();
        return unsent(message, at, MessageStep::Dropped { reason });
    }
    let posted = post(context, &message, &endpoint, is_stale, at).await;
    failpoint::reached("webhook-after-post");
    let now = clock::now();
    let (next, outcome, status, error, retry_after, body, is_whole) = match posted {
        Posted::Answered(Answer { status, retry_after, body, is_whole }) => {
            let number = Some(i32::from(status.as_u16()));
            match meaning(status) {
                AnswerMeaning::Accepted => {
                    (MessageStep::Delivered, "delivered", number, None, None, body, is_whole)
                }
                AnswerMeaning::Gone => {
                    let reason = "the receiver answered 410".to_owned();
                    let step = MessageStep::Exhausted { reason };
                    (step, "gone", number, Some(answer::refusal(status)), None, body, is_whole)
                }
                AnswerMeaning::Refused => {
                    let step = failed_step(context, &message, retry_after, now, chance);
                    let error = Some(answer::refusal(status));
                    (step, "failed", number, error, retry_after, body, is_whole)
                }
            }
        }
        Posted::Failed(error) => {
            let step = failed_step(context, &message, None, now, chance);
            (step, "failed", None, Some(error), None, Vec::new(), true)
        }
    };
    let is_challenge = message.name == CHALLENGE;
    let (next, outcome, error, answered) = if is_challenge && outcome == "delivered" {
        let challenge = challenge_of(&message);
        if answers_challenge(&body, &challenge) {
            (next, outcome, error, Some(challenge))
        } else {
            let step = failed_step(context, &message, None, now, chance);
            let error = "the answer does not have the challenge".to_owned();
            (step, "failed", Some(error), None)
        }
    } else {
        (next, outcome, error, None)
    };
    let not_before = retry_after.and_then(|wait| {
        let wait = wait.min(context.settings.circuit_max);
        Some(now + chrono::TimeDelta::from_std(wait).ok()?)
    });
    // The answer to a challenge is no text of interest, and the challenge no secret.
    let answer = kept_answer(&body, is_whole);
    let delay = (message.attempts == 1).then(|| (at - message.created_at).as_seconds_f64());
    EndedAttempt {
        is_of_url: message.target == "url",
        known_failures: message.consecutive_failures,
        not_before,
        answered_challenge: answered,
        is_challenge,
        delay_seconds: delay,
        result: AttemptResult {
            tenant: message.tenant,
            message: message.id,
            subscription: message.subscription,
            number: Some(message.attempts),
            at,
            // An attempt has a timeout of seconds.
            duration_ms: i32::try_from(began.elapsed().as_millis()).unwrap_or(i32::MAX),
            outcome,
            status,
            error,
            answer,
            next,
        },
    }
}

fn failed_step(
    context: &AttemptContext,
    message: &ClaimedMessage,
    retry_after: Option<Duration>,
    now: DateTime<Utc>,
    chance: f64,
) -> MessageStep {
    let step = usize::try_from(message.step).unwrap_or_default();
    after_failure(&context.settings.ladder, step, retry_after, now, chance)
}

/// A message of which no attempt is made.
fn unsent(message: ClaimedMessage, at: DateTime<Utc>, next: MessageStep) -> EndedAttempt {
    EndedAttempt {
        is_of_url: false,
        known_failures: message.consecutive_failures,
        not_before: None,
        answered_challenge: None,
        is_challenge: false,
        delay_seconds: None,
        result: AttemptResult {
            tenant: message.tenant,
            message: message.id,
            subscription: message.subscription,
            number: None,
            at,
            duration_ms: 0,
            outcome: "dropped",
            status: None,
            error: None,
            answer: None,
            next,
        },
    }
}

fn challenge_of(message: &ClaimedMessage) -> String {
    let data: Result<serde_json::Value, _> = serde_json::from_str(message.data.get());
    let data = data.unwrap_or_default();
    data["challenge"].as_str().unwrap_or_default().to_owned()
}

async fn post(
    context: &AttemptContext,
    message: &ClaimedMessage,
    endpoint: &Endpoint,
    is_stale: bool,
    now: DateTime<Utc>,
) -> Posted {
    if let Some(error) = endpoint.error {
        return Posted::Failed(format!("the message cannot be signed: {error}"));
    }
    let url = match message.target.as_str() {
        // Removed since the message was made.
        "fallback" => endpoint.fallback_url.as_deref().unwrap_or_default(),
        _ => &endpoint.url,
    };
    let url = match context.rules.check_url(url) {
        Ok(url) => url,
        Err(forbidden) => {
            return Posted::Failed(format!("the address may not be called: {forbidden}"));
        }
    };
    let cursor = message.log_at.and_then(|at| context.cursors.cursor(&message.tenant, at));
    let content = WebhookEventContent {
        id: &message.event,
        name: &message.name,
        tenant: &message.tenant,
        call: message.call.as_deref(),
        occurred_at: message.occurred_at,
        data: &message.data,
        cursor: cursor.as_deref(),
        is_stale,
    };
    let body = match cloud_event::body(&content) {
        Ok(body) => body,
        Err(error) => return Posted::Failed(format!("the message cannot be written: {error}")),
    };
    let request = context
        .client
        .post(url)
        .header(header::CONTENT_TYPE, MEDIA_TYPE)
        .header("webhook-id", &message.id)
        .header("webhook-timestamp", now.timestamp().to_string())
        .header("webhook-signature", endpoint.signatures(&message.id, now, &body))
        .body(body);
    failpoint::reached("webhook-before-post");
    let mut response = match request.send().await {
        Ok(response) => response,
        Err(error) => return Posted::Failed(error_text(error, context.settings.timeout)),
    };
    let retry_after = response.headers().get(header::RETRY_AFTER);
    let retry_after = retry_after.and_then(|value| answer::retry_after(value.to_str().ok()?, now));
    let (mut body, mut is_whole) = (Vec::new(), false);
    // The head decides. What is beyond the limit, or comes too late, is not read: the connection closes.
    while body.len() <= MAX_KEPT_BYTES {
        match response.chunk().await {
            Ok(Some(chunk)) => {
                let room = (MAX_KEPT_BYTES + 1).saturating_sub(body.len());
                body.extend_from_slice(chunk.get(..room).unwrap_or(&chunk));
            }
            Ok(None) => {
                is_whole = true;
                break;
            }
            Err(_) => break,
        }
    }
    Posted::Answered(Answer { status: response.status(), retry_after, body, is_whole })
}

/// The error of a request, without its address: a query may have a secret.
fn error_text(error: reqwest::Error, timeout: Duration) -> String {
    if error.is_timeout() && !error.is_connect() {
        return format!("no answer within {} ms", timeout.as_millis());
    }
    let what = if error.is_connect() { "no connection" } else { "no answer" };
    let error = error.without_url();
    let mut causes = Vec::new();
    let mut source = error.source();
    while let Some(cause) = source {
        causes.push(cause.to_string());
        source = cause.source();
    }
    // A cause often ends with the text of its own cause.
    match causes.iter().rfind(|cause| !cause.is_empty()) {
        Some(last) => format!("{what}: {last}"),
        None => what.to_owned(),
    }
}
