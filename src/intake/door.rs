//! The resources of the door: limits, deadline, and the way of a delivery through the room.
//!
//! # Why
//!
//! What is in work is bounded before it is read: the bytes of those who showed a credential by
//! `bytes_in_flight`, held until the last message of a delivery is durable, not until its sender
//! stops waiting; strangers, who may only shake hands, by a few small places of their own, so that
//! they can take none from the others. Reading JSON takes many times its size, so few large bodies
//! are unpacked at a time, and beside the threads that answer: the deadline and the streams of
//! others go on.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use axum::Router;
use axum::body::{Body, BodyDataStream, Bytes};
use axum::extract::rejection::{PathRejection, QueryRejection};
use axum::extract::{Path, Query, State};
use axum::http::{HeaderMap, Method, header};
use axum::response::{IntoResponse, Response};
use axum::routing::any;
use bytes::BytesMut;
use chrono::{DateTime, Utc};
use futures_util::StreamExt as _;
use metrics::{counter, histogram};
use serde::Deserialize;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};

use super::authenticate::{Credential, Disbelief, Shown, authenticate};
use super::bearer::Token;
use super::handshake::Handshake;
use super::issuer_keys::IssuerKeys;
use super::refusals::Refusals;
use super::sources::Sources;
use super::unpack::{Arrival, Parcel, Unpacked, unpack};
use super::verdict::{Refusal, Verdict};
use crate::clock;
use crate::config::{Source, SourceKind};
use crate::http::discard::discard;
use crate::lifecycle::Lifecycle;
use crate::road::{NeitherStore, Road};
use crate::store::Store;
use crate::stream::MessageError;
use crate::telemetry::names;

/// Four times what Event Grid can send; above it the answer is 413.
const LARGEST_BODY: usize = 4 * 1024 * 1024;
/// A handshake needs no key, and no more than this.
const LARGEST_HANDSHAKE: usize = 64 * 1024;
/// So many strangers may shake hands at one time. Event Grid repeats what finds no place.
const HANDSHAKES: usize = 16;
/// Its few hundred bytes come in one piece.
const HANDSHAKE_DEADLINE: Duration = Duration::from_secs(5);
/// A body up to this size is unpacked at once, in a millisecond or less.
const SMALL_BODY: usize = 64 * 1024;
/// So many larger bodies are unpacked at one time, if there are as many processors.
const UNPACKED_AT_ONCE: usize = 4;
/// A refusal of one kind is logged at most so often per source.
const LOG_EVERY: Duration = Duration::from_secs(10);

/// What the room's resources need.
pub struct Intake {
    sources: Sources,
    issuer_keys: IssuerKeys,
    road: Road,
    lifecycle: Lifecycle,
    /// One permit for each byte of a body.
    in_flight: Arc<Semaphore>,
    handshakes: Arc<Semaphore>,
    unpacking: Arc<Semaphore>,
    deadline: Duration,
    refusals: Refusals,
    logged: Arc<Mutex<HashMap<(String, &'static str), Instant>>>,
}

impl Intake {
    /// Opens the door, and begins to fetch the keys by which tokens are checked.
    #[must_use]
    pub fn new(
        settings: &crate::config::Intake,
        sources: Sources,
        road: Road,
        lifecycle: Lifecycle,
    ) -> Self {
        let in_flight = settings
            .bytes_in_flight
            .clamp(LARGEST_BODY, Semaphore::MAX_PERMITS);
        let processors = std::thread::available_parallelism().map_or(1, usize::from);
        Self {
            issuer_keys: IssuerKeys::of(sources.clone(), &lifecycle),
            sources,
            road,
            lifecycle,
            in_flight: Arc::new(Semaphore::new(in_flight)),
            handshakes: Arc::new(Semaphore::new(HANDSHAKES)),
            unpacking: Arc::new(Semaphore::new(processors.min(UNPACKED_AT_ONCE))),
            deadline: settings.deadline,
            refusals: Refusals::default(),
            logged: Arc::default(),
        }
    }

    /// Begins to write down who was refused, in the background.
    pub fn keep_refusals(&self, store: Store) {
        let writing = self
            .refusals
            .clone()
            .write_down(store, self.lifecycle.clone());
        self.lifecycle.run("refusals", writing);
    }
}

/// The room's resources. No CORS layer ever lies over them: it would answer OPTIONS itself.
pub fn router(intake: Intake) -> Router {
    Router::new()
        .route("/ingest/event-grid/{source}", any(event_grid))
        .route("/ingest/call-automation/{source}", any(call_automation))
        .with_state(Arc::new(intake))
}

#[derive(Deserialize, Default)]
struct KeyQuery {
    key: Option<String>,
}

/// What can be known of a delivery before its body is read.
struct Head {
    kind: SourceKind,
    /// As the path has it; a name that is no text is nobody's.
    name: String,
    method: Method,
    headers: HeaderMap,
    key: Option<String>,
}

async fn event_grid(
    State(intake): State<Arc<Intake>>,
    name: Result<Path<String>, PathRejection>,
    query: Result<Query<KeyQuery>, QueryRejection>,
    method: Method,
    headers: HeaderMap,
    body: Body,
) -> Response {
    let head = Head::new(SourceKind::EventGrid, name, query, method, headers);
    intake.answer(head, body).await
}

async fn call_automation(
    State(intake): State<Arc<Intake>>,
    name: Result<Path<String>, PathRejection>,
    query: Result<Query<KeyQuery>, QueryRejection>,
    method: Method,
    headers: HeaderMap,
    body: Body,
) -> Response {
    let head = Head::new(SourceKind::CallAutomation, name, query, method, headers);
    intake.answer(head, body).await
}

impl Head {
    fn new(
        kind: SourceKind,
        name: Result<Path<String>, PathRejection>,
        query: Result<Query<KeyQuery>, QueryRejection>,
        method: Method,
        headers: HeaderMap,
    ) -> Self {
        Self {
            kind,
            name: name.map_or_else(|_| String::new(), |Path(name)| name),
            method,
            headers,
            key: query.ok().and_then(|Query(query)| query.key),
        }
    }

    /// Only a body that says it is a handshake is looked into without a key.
    fn claims_to_be_handshake(&self) -> bool {
        let says_so = self.headers.get("aeg-event-type").is_some_and(|value| {
            value
                .as_bytes()
                .eq_ignore_ascii_case(b"SubscriptionValidation")
        });
        self.kind == SourceKind::EventGrid && says_so
    }
}

impl Intake {
    async fn answer(&self, head: Head, body: Body) -> Response {
        let began = Instant::now();
        let mut body = body.into_data_stream();
        let sources = self.sources.all();
        let source = sources
            .get(&head.name)
            .filter(|source| source.kind == head.kind);
        // A name that is not configured is the sender's own text: it is no label.
        let label = match source {
            Some(_) => head.name.clone(),
            None => "unknown".to_owned(),
        };
        let judge = self.judge(head, source, &mut body);
        let judged = tokio::time::timeout(self.deadline, judge).await;
        let verdict = judged.unwrap_or_else(|_| {
            Refusal::new("deadline", "the delivery was not durable in time").into()
        });
        if let Verdict::Refused(refusal) = &verdict {
            counter!(names::REFUSED, "source" => label.clone(), "reason" => refusal.reason)
                .increment(1);
            self.log(&label, refusal);
            if let Some(source) = source.filter(|_| refusal.is_disbelief) {
                let tenant = source.tenant.as_str();
                self.refusals
                    .note(tenant, &label, refusal.reason, clock::now());
            }
        }
        if !matches!(verdict, Verdict::Taken { .. } | Verdict::Handshake(_)) {
            discard(&mut body).await;
        }
        let response = verdict.into_response();
        counter!(names::DELIVERIES, "source" => label, "status" => response.status().as_str().to_owned()).increment(1);
        histogram!(names::ANSWER_SECONDS).record(began.elapsed().as_secs_f64());
        response
    }

    async fn judge(
        &self,
        head: Head,
        source: Option<&Source>,
        body: &mut BodyDataStream,
    ) -> Verdict {
        if head.method == Method::OPTIONS {
            return match source {
                Some(source) if source.kind == SourceKind::EventGrid => {
                    Verdict::of_options(&head.headers)
                }
                Some(_) => Verdict::Method,
                None => Refusal::unknown_source().into(),
            };
        }
        if head.method != Method::POST {
            return Verdict::Method;
        }
        if self.lifecycle.is_stopping() {
            return Refusal::new("stopping", "this node is shutting down").into();
        }
        let Some(source) = source else {
            return Refusal::unknown_source().into();
        };
        match self.believe(source, &head).await {
            Ok(credential) => self.receive(head, source, credential, body).await,
            Err(disbelief) if head.claims_to_be_handshake() => {
                let shaken = self.shake_hands(&head, source, body, disbelief).await;
                shaken.unwrap_or_else(Verdict::Refused)
            }
            Err(disbelief) => disbelieved(disbelief).into(),
        }
    }

    async fn believe(&self, source: &Source, head: &Head) -> Result<Credential, Disbelief> {
        let (token, jwt) = match authenticate(source, &head.headers, head.key.as_deref())? {
            Shown::Key(hash) => return Ok(Credential::Key(hash)),
            Shown::Token(token, jwt) => (Token::read(token)?, jwt),
        };
        let key = self.issuer_keys.find(&jwt.jwks_url, token.key_id()).await?;
        token.verify(&key, jwt, clock::now().timestamp())?;
        Ok(Credential::Token {
            key_id: token.key_id().to_owned(),
        })
    }

    /// A stranger's body: the answer to a handshake, or nothing of it is kept.
    async fn shake_hands(
        &self,
        head: &Head,
        source: &Source,
        body: &mut BodyDataStream,
        disbelief: Disbelief,
    ) -> Result<Verdict, Refusal> {
        let Ok(_place) = self.handshakes.try_acquire() else {
            let crowd = "more strangers shake hands than may at one time";
            return Err(Refusal::new("handshakes", crowd));
        };
        let whole = tokio::time::timeout(HANDSHAKE_DEADLINE, read(body, LARGEST_HANDSHAKE)).await;
        let Ok(whole) = whole else {
            let slow = "a handshake without a key did not arrive in time";
            return Err(Refusal::new("handshakes", slow));
        };
        let whole = match whole {
            Ok(whole) => whole,
            Err(Verdict::TooLarge) => return Err(disbelieved(disbelief)),
            Err(verdict) => return Ok(verdict),
        };
        let arrival = Arrival {
            name: &head.name,
            source,
            credential: None,
            received: clock::now(),
        };
        match unpack(arrival, &head.headers, &whole) {
            Ok(Unpacked::Handshake(handshake)) => Ok(self.answers(&head.name, &handshake)),
            Ok(Unpacked::Events(_)) | Err(_) => Err(disbelieved(disbelief)),
        }
    }

    /// The body of somebody who showed a credential of the source.
    async fn receive(
        &self,
        head: Head,
        source: &Source,
        credential: Credential,
        body: &mut BodyDataStream,
    ) -> Verdict {
        let stated = head
            .headers
            .get(header::CONTENT_LENGTH)
            .and_then(|length| length.to_str().ok()?.parse::<usize>().ok());
        // Before a byte is read: what is in work is bounded.
        let reserved = stated.map_or(LARGEST_BODY, |stated| stated.min(LARGEST_BODY));
        let permits = u32::try_from(reserved).unwrap_or(u32::MAX);
        let Ok(mut in_flight) = Arc::clone(&self.in_flight).try_acquire_many_owned(permits) else {
            return Refusal::new("bytes_in_flight", "as much is in work as may be").into();
        };
        let body = match read(body, LARGEST_BODY).await {
            Ok(body) => body,
            Err(verdict) => return verdict,
        };
        drop(in_flight.split(reserved.saturating_sub(body.len())));
        let received = clock::now();
        let name = head.name.clone();
        let delivered = Delivered {
            head,
            source: source.clone(),
            credential,
            body,
            received,
            in_flight,
        };
        match self.unpack(delivered).await {
            Ok((Unpacked::Handshake(handshake), _)) => self.answers(&name, &handshake),
            Ok((Unpacked::Events(parcel), in_flight)) => {
                self.take(name, parcel, received, in_flight).await
            }
            Err(refusal) => refusal.into(),
        }
    }

    async fn unpack(
        &self,
        delivered: Delivered,
    ) -> Result<(Unpacked, OwnedSemaphorePermit), Refusal> {
        let failed = |error: &dyn std::fmt::Display| {
            tracing::error!(error = %error, "a delivery cannot be unpacked: {error}");
            Refusal::new("internal", "the delivery cannot be unpacked")
        };
        if delivered.body.len() <= SMALL_BODY {
            return delivered.unpack().map_err(|error| failed(&error));
        }
        let turn = Arc::clone(&self.unpacking).acquire_owned().await;
        let unpacked = tokio::task::spawn_blocking(move || {
            let unpacked = delivered.unpack();
            drop(turn);
            unpacked
        });
        match unpacked.await {
            Ok(unpacked) => unpacked.map_err(|error| failed(&error)),
            // What a panic says may quote what was read.
            Err(_) => Err(failed(&"it panicked")),
        }
    }

    async fn take(
        &self,
        name: String,
        parcel: Parcel,
        received: DateTime<Utc>,
        in_flight: OwnedSemaphorePermit,
    ) -> Verdict {
        let road = self.road.clone();
        let Parcel { messages, tally } = parcel;
        let verdict = Verdict::Taken {
            events: tally.events(),
            quarantined: tally.quarantined(),
        };
        // To its end, whether the sender still waits or not: what is durable is counted, and what
        // is in memory is in work.
        let taken = self.lifecycle.finish(async move {
            let taken = road.carry(messages, received).await;
            drop(in_flight);
            if taken.is_ok() {
                tally.tell(&name);
            }
            taken
        });
        match taken.await {
            Ok(Ok(())) => verdict,
            Ok(Err(NeitherStore)) => {
                Refusal::new("no_store", "neither kafka nor postgres takes events now").into()
            }
            Err(_) => Refusal::new("internal", "the delivery cannot be stored").into(),
        }
    }

    /// Whoever knows the address may ask, so it is not logged as often as it is asked.
    fn answers(&self, name: &str, handshake: &Handshake) -> Verdict {
        if self.may_log(name, "handshake") {
            tracing::info!(
                source.name = name,
                "the handshake of the source {name} was asked for and answered"
            );
        }
        Verdict::Handshake(handshake.answer())
    }

    /// Logs a refusal without the credential, and not more often than [`LOG_EVERY`].
    fn log(&self, source: &str, refusal: &Refusal) {
        if self.may_log(source, refusal.reason) {
            tracing::warn!(
                source.name = source,
                refusal.reason = refusal.reason,
                "a delivery of {source} was answered 503: {}",
                refusal.detail
            );
        }
    }

    /// Whether a thing of this kind was not logged a moment ago.
    fn may_log(&self, source: &str, kind: &'static str) -> bool {
        let mut logged = self.logged.lock().unwrap_or_else(PoisonError::into_inner);
        let last = logged.get(&(source.to_owned(), kind));
        if last.is_some_and(|last| last.elapsed() < LOG_EVERY) {
            return false;
        }
        logged.insert((source.to_owned(), kind), Instant::now());
        true
    }
}

/// A body that has arrived whole.
struct Delivered {
    head: Head,
    source: Source,
    credential: Credential,
    body: Bytes,
    received: DateTime<Utc>,
    in_flight: OwnedSemaphorePermit,
}

impl Delivered {
    /// The bytes stay in work with the messages that were made of them.
    fn unpack(self) -> Result<(Unpacked, OwnedSemaphorePermit), MessageError> {
        let arrival = Arrival {
            name: &self.head.name,
            source: &self.source,
            credential: Some(&self.credential),
            received: self.received,
        };
        let unpacked = unpack(arrival, &self.head.headers, &self.body)?;
        Ok((unpacked, self.in_flight))
    }
}

fn disbelieved(disbelief: Disbelief) -> Refusal {
    Refusal {
        is_disbelief: true,
        ..Refusal::new(disbelief.as_str(), disbelief.hint())
    }
}

/// Reads a body of at most `largest` bytes.
async fn read(body: &mut BodyDataStream, largest: usize) -> Result<Bytes, Verdict> {
    let mut kept = BytesMut::new();
    while let Some(chunk) = body.next().await {
        let Ok(chunk) = chunk else {
            return Err(Refusal::new("body_broken", "the body did not arrive whole").into());
        };
        if kept.len() + chunk.len() > largest {
            return Err(Verdict::TooLarge);
        }
        kept.extend_from_slice(&chunk);
    }
    Ok(kept.freeze())
}
