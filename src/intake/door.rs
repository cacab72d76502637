//! The resources of the door, and the answer to a sender (design section 5).

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use axum::Router;
use axum::body::{Body, Bytes};
use axum::extract::rejection::QueryRejection;
use axum::extract::{Path, Query, State};
use axum::http::{HeaderMap, HeaderName, HeaderValue, Method, StatusCode, header};
use axum::response::{IntoResponse, Response};
use axum::routing::any;
use bytes::BytesMut;
use chrono::{DateTime, Utc};
use futures_util::StreamExt as _;
use metrics::{counter, histogram};
use serde::Deserialize;
use tokio::sync::Semaphore;

use super::authenticate::authenticate;
use super::delivery::{Contents, Delivery, Door, Normalized, Taken, Unreadable, take_apart};
use super::handshake::permission;
use super::sources::Sources;
use crate::clock;
use crate::config::{Source, SourceKind};
use crate::http::problem::{Problem, ProblemKind};
use crate::lifecycle::Lifecycle;
use crate::road::Road;
use crate::stream::{EventMessage, Provenance, QuarantineMessage};
use crate::telemetry::names;

/// Four times what Event Grid can send; above it the answer is 413.
const LARGEST_BODY: usize = 4 * 1024 * 1024;
/// So much of a body that is too large is read before the connection is closed on it.
const MOST_DISCARDED: usize = 16 * LARGEST_BODY;
/// A handshake needs no key, and no more than this.
const LARGEST_HANDSHAKE: usize = 64 * 1024;
/// Event Grid waits at least so long after a 503 anyway.
const RETRY_AFTER: Duration = Duration::from_secs(30);
/// A refusal of one kind is logged at most so often per source.
const LOG_EVERY: Duration = Duration::from_secs(10);

/// What the room's resources need.
#[derive(Clone)]
pub struct Intake {
    sources: Sources,
    road: Road,
    lifecycle: Lifecycle,
    in_flight: Arc<Semaphore>,
    deadline: Duration,
    logged: Arc<Mutex<HashMap<(String, &'static str), Instant>>>,
}

impl Intake {
    /// Opens the door.
    #[must_use]
    pub fn new(
        settings: &crate::config::Intake,
        sources: Sources,
        road: Road,
        lifecycle: Lifecycle,
    ) -> Self {
        let permits = settings
            .bytes_in_flight
            .clamp(LARGEST_BODY, Semaphore::MAX_PERMITS);
        Self {
            sources,
            road,
            lifecycle,
            in_flight: Arc::new(Semaphore::new(permits)),
            deadline: settings.deadline,
            logged: Arc::default(),
        }
    }
}

/// The room's resources. No CORS layer ever lies over them: it would answer OPTIONS itself.
pub fn router(intake: Intake) -> Router {
    Router::new()
        .route("/ingest/event-grid/{source}", any(event_grid))
        .route("/ingest/call-automation/{source}", any(call_automation))
        .with_state(intake)
}

#[derive(Deserialize, Default)]
struct KeyQuery {
    key: Option<String>,
}

struct Request {
    method: Method,
    headers: HeaderMap,
    key: Option<String>,
    body: Body,
}

async fn event_grid(
    State(intake): State<Intake>,
    Path(name): Path<String>,
    query: Result<Query<KeyQuery>, QueryRejection>,
    method: Method,
    headers: HeaderMap,
    body: Body,
) -> Response {
    let key = query.ok().and_then(|Query(query)| query.key);
    intake
        .answer(
            SourceKind::EventGrid,
            &name,
            Request {
                method,
                headers,
                key,
                body,
            },
        )
        .await
}

async fn call_automation(
    State(intake): State<Intake>,
    Path(name): Path<String>,
    query: Result<Query<KeyQuery>, QueryRejection>,
    method: Method,
    headers: HeaderMap,
    body: Body,
) -> Response {
    let key = query.ok().and_then(|Query(query)| query.key);
    intake
        .answer(
            SourceKind::CallAutomation,
            &name,
            Request {
                method,
                headers,
                key,
                body,
            },
        )
        .await
}

/// Why a delivery is answered 503.
struct Refusal {
    reason: &'static str,
    detail: &'static str,
}

impl Refusal {
    fn new(reason: &'static str, detail: &'static str) -> Self {
        Self { reason, detail }
    }
}

/// The end of a delivery.
#[must_use]
enum Verdict {
    /// Durable: so many events, so many of them in quarantine.
    Taken {
        events: usize,
        quarantined: usize,
    },
    Handshake(String),
    Permission(Response),
    Refused(Refusal),
    TooLarge,
    Method,
}

impl Intake {
    async fn answer(&self, kind: SourceKind, name: &str, request: Request) -> Response {
        let began = Instant::now();
        let sources = self.sources.all();
        let source = sources.get(name).filter(|source| source.kind == kind);
        // A name that is not configured is the sender's own text: it is no label.
        let label = if source.is_some() {
            name.to_owned()
        } else {
            "unknown".to_owned()
        };
        let judged = tokio::time::timeout(self.deadline, self.judge(name, source, request)).await;
        let verdict = judged.unwrap_or(Verdict::Refused(Refusal::new(
            "deadline",
            "the delivery was not durable in time",
        )));
        if let Verdict::Refused(refusal) = &verdict {
            counter!(names::REFUSED, "source" => label.clone(), "reason" => refusal.reason)
                .increment(1);
            self.log(&label, refusal);
        }
        let response = respond(verdict);
        counter!(names::DELIVERIES, "source" => label, "status" => response.status().as_str().to_owned()).increment(1);
        histogram!(names::ANSWER_SECONDS).record(began.elapsed().as_secs_f64());
        response
    }

    async fn judge(&self, name: &str, source: Option<&Source>, request: Request) -> Verdict {
        if request.method == Method::OPTIONS {
            return match source {
                Some(source) if source.kind == SourceKind::EventGrid => permit(&request.headers),
                Some(_) => Verdict::Method,
                None => Verdict::Refused(unknown_source()),
            };
        }
        if request.method != Method::POST {
            return Verdict::Method;
        }
        if self.lifecycle.is_stopping() {
            return Verdict::Refused(Refusal::new("stopping", "this node is shutting down"));
        }
        let Some(source) = source else {
            return Verdict::Refused(unknown_source());
        };

        let believed = authenticate(source, &request.headers, request.key.as_deref());
        if let Err(disbelief) = believed
            && !claims_to_be_handshake(source, &request.headers)
        {
            // A stranger's body is not kept for a moment; it is read so that the answer arrives.
            let _nothing_of_it = read(request.body, 0).await;
            return Verdict::Refused(Refusal::new(disbelief.as_str(), disbelief.hint()));
        }
        let largest = if believed.is_ok() {
            LARGEST_BODY
        } else {
            LARGEST_HANDSHAKE
        };
        let stated = request
            .headers
            .get(header::CONTENT_LENGTH)
            .and_then(|length| length.to_str().ok()?.parse::<usize>().ok());
        // Before a byte is read: what is in work is bounded.
        let reserved = stated.map_or(largest, |stated| stated.min(largest));
        let Ok(_in_flight) = self
            .in_flight
            .try_acquire_many(u32::try_from(reserved).unwrap_or(u32::MAX))
        else {
            return Verdict::Refused(Refusal::new(
                "bytes_in_flight",
                "as much is in work as may be",
            ));
        };
        let body = match (read(request.body, largest).await, believed) {
            (Ok(body), _) => body,
            (Err(Verdict::TooLarge), Err(disbelief)) => {
                return Verdict::Refused(Refusal::new(disbelief.as_str(), disbelief.hint()));
            }
            (Err(verdict), _) => return verdict,
        };
        let received = clock::now();
        let contents = open(name, source, &request.headers, &body);
        match (contents, believed) {
            (Contents::Handshake(handshake), _) => {
                tracing::info!(
                    source.name = name,
                    "the source {name} was validated by event grid"
                );
                Verdict::Handshake(handshake.answer())
            }
            (Contents::Events(_), Err(disbelief)) => {
                Verdict::Refused(Refusal::new(disbelief.as_str(), disbelief.hint()))
            }
            (Contents::Events(taken), Ok(())) => self.take(name, source, taken, received).await,
        }
    }

    async fn take(
        &self,
        name: &str,
        source: &Source,
        taken: Vec<Taken>,
        received: DateTime<Utc>,
    ) -> Verdict {
        let events = taken.len();
        let mut quarantined = 0;
        let mut messages = Vec::with_capacity(events);
        for taken in taken {
            let wire = match taken {
                Taken::Event(normalized) => {
                    counter!(names::EVENTS, "source" => name.to_owned(), "type" => normalized.event.statement.name()).increment(1);
                    if normalized.ends_subscription() {
                        tracing::warn!(
                            source.name = name,
                            "the event grid subscription of the source {name} was deleted: nothing will come any more"
                        );
                    }
                    event_message(name, source, *normalized, received).to_wire()
                }
                Taken::Unreadable(unreadable) => {
                    quarantined += 1;
                    counter!(names::QUARANTINED, "source" => name.to_owned(), "reason" => unreadable.reason.code()).increment(1);
                    quarantine_message(name, source, unreadable, received).to_wire()
                }
            };
            match wire {
                Ok(wire) => messages.push(wire),
                Err(error) => {
                    tracing::error!(error = %error, "an event cannot be written: {error}");
                    return Verdict::Refused(Refusal::new(
                        "internal",
                        "an event cannot be written",
                    ));
                }
            }
        }
        match self.road.take(messages, received).await {
            Ok(()) => Verdict::Taken {
                events,
                quarantined,
            },
            Err(_) => Verdict::Refused(Refusal::new(
                "no_store",
                "neither kafka nor postgres takes events now",
            )),
        }
    }

    /// Logs a refusal without the credential, and not more often than [`LOG_EVERY`].
    fn log(&self, source: &str, refusal: &Refusal) {
        let mut logged = self.logged.lock().unwrap_or_else(PoisonError::into_inner);
        let last = logged.get(&(source.to_owned(), refusal.reason));
        if last.is_some_and(|last| last.elapsed() < LOG_EVERY) {
            return;
        }
        logged.insert((source.to_owned(), refusal.reason), Instant::now());
        drop(logged);
        tracing::warn!(
            source.name = source,
            refusal.reason = refusal.reason,
            "a delivery of {source} was answered 503: {}",
            refusal.detail
        );
    }
}

fn unknown_source() -> Refusal {
    Refusal::new(
        "unknown_source",
        "no source of this name and kind is configured: add it to [sources], or correct the address of the subscription",
    )
}

/// Reads a body of at most `largest` bytes. Of a larger one the rest is read and thrown away, so
/// that its sender sees the answer and not a broken connection.
async fn read(body: Body, largest: usize) -> Result<Bytes, Verdict> {
    let mut chunks = body.into_data_stream();
    let mut kept = BytesMut::new();
    let mut seen = 0;
    while let Some(chunk) = chunks.next().await {
        let Ok(chunk) = chunk else {
            let refusal = Refusal::new("body_broken", "the body did not arrive whole");
            return Err(Verdict::Refused(refusal));
        };
        seen += chunk.len();
        if seen > MOST_DISCARDED {
            break;
        }
        if seen <= largest {
            kept.extend_from_slice(&chunk);
        } else {
            kept = BytesMut::new();
        }
    }
    if seen > largest {
        return Err(Verdict::TooLarge);
    }
    Ok(kept.freeze())
}

/// Only a body that says it is a handshake is looked into without a key.
fn claims_to_be_handshake(source: &Source, headers: &HeaderMap) -> bool {
    let says_so = headers.get("aeg-event-type").is_some_and(|value| {
        value
            .as_bytes()
            .eq_ignore_ascii_case(b"SubscriptionValidation")
    });
    source.kind == SourceKind::EventGrid && says_so
}

fn open(name: &str, source: &Source, headers: &HeaderMap, body: &[u8]) -> Contents {
    let text = |value: &HeaderValue| value.to_str().ok().map(str::to_owned);
    let content_type = headers.get(header::CONTENT_TYPE).and_then(text);
    let ce: Vec<(String, String)> = headers
        .iter()
        .filter(|(name, _)| name.as_str().starts_with("ce-"))
        .filter_map(|(name, value)| Some((name.as_str().to_owned(), text(value)?)))
        .collect();
    let kind = match source.kind {
        SourceKind::EventGrid => super::delivery::SourceKind::EventGrid,
        SourceKind::CallAutomation => super::delivery::SourceKind::CallAutomation,
    };
    let door = Door {
        kind,
        tenant: source.tenant.as_str(),
        source: name,
        resource_ids: &source.resource_ids,
    };
    take_apart(
        &door,
        &Delivery {
            content_type: content_type.as_deref(),
            headers: &ce,
            body,
        },
    )
}

fn event_message(
    name: &str,
    source: &Source,
    normalized: Normalized,
    received: DateTime<Utc>,
) -> EventMessage {
    EventMessage {
        tenant: source.tenant.clone(),
        provenance: match source.kind {
            SourceKind::EventGrid => Provenance::EventGrid,
            SourceKind::CallAutomation => Provenance::CallAutomation,
        },
        source: name.to_owned(),
        ce_source: normalized.ce_source,
        ce_id: normalized.ce_id,
        ce_time: normalized.ce_time,
        received,
        sha256: normalized.sha256,
        content: normalized.content,
        original: normalized.original,
        event: normalized.event,
    }
}

fn quarantine_message(
    name: &str,
    source: &Source,
    unreadable: Unreadable,
    received: DateTime<Utc>,
) -> QuarantineMessage {
    QuarantineMessage {
        tenant: source.tenant.clone(),
        source: name.to_owned(),
        reason: unreadable.reason.code().to_owned(),
        detail: unreadable.reason.to_string(),
        pointer: unreadable.reason.pointer().map(str::to_owned),
        content: unreadable.content,
        content_type: unreadable.content_type,
        size: unreadable.size as u64,
        sha256: unreadable.sha256,
        redacted: unreadable.redacted,
        received,
    }
}

fn permit(headers: &HeaderMap) -> Verdict {
    let origin = headers
        .get("webhook-request-origin")
        .and_then(|value| value.to_str().ok());
    let Some(permission) = permission(origin) else {
        return Verdict::Method;
    };
    let mut response = StatusCode::OK.into_response();
    for (name, value) in [
        ("webhook-allowed-origin", permission.allowed_origin.as_str()),
        ("webhook-allowed-rate", permission.allowed_rate),
        ("allow", permission.allow),
    ] {
        if let Ok(value) = HeaderValue::from_str(value) {
            response
                .headers_mut()
                .insert(HeaderName::from_static(name), value);
        }
    }
    Verdict::Permission(response)
}

fn respond(verdict: Verdict) -> Response {
    match verdict {
        Verdict::Taken {
            events,
            quarantined,
        } => axum::Json(serde_json::json!({ "events": events, "quarantined": quarantined }))
            .into_response(),
        Verdict::Handshake(answer) => (
            [(
                header::CONTENT_TYPE,
                HeaderValue::from_static("application/json"),
            )],
            answer,
        )
            .into_response(),
        Verdict::Permission(response) => response,
        Verdict::Refused(refusal) => {
            Problem::try_again(refusal.detail, RETRY_AFTER).into_response()
        }
        Verdict::TooLarge => Problem::new(
            ProblemKind::TooLarge,
            "a body has at most 4 MiB, four times what Event Grid can send",
        )
        .into_response(),
        Verdict::Method => Problem::new(
            ProblemKind::MethodNotAllowed,
            "deliveries are sent by POST; OPTIONS is for the CloudEvents handshake",
        )
        .into_response(),
    }
}
