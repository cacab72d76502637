//! The routes of deliveries: limits, deadline, and the steps from request to response.
//!
//! # Why
//!
//! * The memory of deliveries is limited. The bodies of authenticated senders share
//!   `bytes_in_flight` ([`capacity`](super::capacity)); a body counts from its first byte until its
//!   last message is durable, even if its sender disconnects. Requests without credential, which
//!   may only perform a handshake, have a small limit of their own, so that they do not displace
//!   deliveries.
//! * Parsing takes many times the size of the body in memory and time. So few large bodies are
//!   parsed at a time, and on blocking threads: deadlines and streams go on.

use std::sync::Arc;
use std::time::{Duration, Instant};

use axum::Router;
use axum::body::{Body, BodyDataStream, Bytes};
use axum::extract::rejection::{PathRejection, QueryRejection};
use axum::extract::{Path, Query, State};
use axum::http::request::Parts;
use axum::http::{HeaderMap, Method};
use axum::response::{IntoResponse, Response};
use bytes::BytesMut;
use chrono::{DateTime, Utc};
use futures_util::StreamExt as _;
use metrics::{counter, histogram};
use serde::Deserialize;
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use super::auth::jwks_cache::JwksCache;
use super::auth::jwt::BearerToken;
use super::auth::keys::{AuthError, PresentedCredential, authenticate};
use super::auth::rejection_log::RejectionLog;
use super::capacity::{DeliveryCapacity, DeliveryReservation, SourceShare};
use super::decode::decoded_body::{decode_body, is_coded};
use super::decode::output_limits::{DecodeRefusal, OutputLimits};
use super::handshake::{Handshake, allowed_origin};
use super::handshake_log::HandshakeLog;
use super::message_batch::{DeliveryContext, EncodedDelivery, MessageBatch, encode_delivery};
use super::outcome::{DeliveryOutcome, DeliveryRejection, DeliveryView, RejectionReason};
use super::parse::delivery::find_handshake;
use super::sources::{SourceSet, Sources};
use crate::clock;
use crate::config::{IngestSettings, QuarantineSettings, SealingKey, Source, SourceKind};
use crate::http::body::discard::discard;
use crate::http::connection::places::PlaceKind;
use crate::http::server::place_of;
use crate::lifecycle::Lifecycle;
use crate::openapi::problem_sets::{DeliveryProblems, OptionsProblems};
use crate::postgres::{HandshakeSchema, Postgres};
use crate::publish::{DurablePublisher, NotDurable};
use crate::telemetry::{LogLimiter, names};

/// Maximum size of a body, as received and as decoded: four times what Event Grid sends. A larger one
/// is answered 413.
const MAX_BODY: usize = 4 * 1024 * 1024;
/// Maximum size of the body of a handshake without credential, as received and as decoded.
const MAX_HANDSHAKE_BODY: usize = 64 * 1024;
/// Timeout of reading the body of such a handshake, which has a few hundred bytes.
const HANDSHAKE_TIMEOUT: Duration = Duration::from_secs(5);
/// Timeout of reading it on a connection of the reserve, whose place others need.
const RESERVE_HANDSHAKE_TIMEOUT: Duration = Duration::from_millis(500);
/// Maximum size of a body that is parsed on the request's own thread, in at most a millisecond.
const MAX_INLINE_BODY: usize = 64 * 1024;
/// Interval between two log lines of one source and reason.
const LOG_INTERVAL: Duration = Duration::from_secs(10);

/// The state of the ingest routes.
pub struct Ingest {
    sources: Sources,
    jwks_cache: JwksCache,
    publisher: DurablePublisher,
    lifecycle: Lifecycle,
    capacity: Arc<DeliveryCapacity>,
    deadline: Duration,
    seal_to: Option<SealingKey>,
    rejection_log: RejectionLog,
    handshake_log: HandshakeLog,
    log_limiter: LogLimiter<(String, &'static str)>,
}

impl Ingest {
    /// Creates the state and starts fetching the keys that verify tokens.
    #[must_use]
    pub fn new(
        settings: &IngestSettings,
        quarantine: &QuarantineSettings,
        sources: Sources,
        publisher: DurablePublisher,
        lifecycle: Lifecycle,
    ) -> Self {
        Self {
            jwks_cache: JwksCache::start(sources.clone(), &lifecycle),
            sources,
            publisher,
            lifecycle,
            capacity: DeliveryCapacity::new(settings.bytes_in_flight),
            deadline: settings.deadline,
            seal_to: quarantine.seal_to,
            rejection_log: RejectionLog::default(),
            handshake_log: HandshakeLog::default(),
            log_limiter: LogLimiter::new(LOG_INTERVAL),
        }
    }

    /// Starts writing rejected deliveries and handshakes to the store, in the background.
    pub fn start_logs(&self, store: &Postgres) {
        self.rejection_log.start(store.clone(), &self.lifecycle);
        self.handshake_log.start(store.clone(), &self.lifecycle);
    }
}

/// The ingest routes. They have no CORS layer, because it would answer OPTIONS itself.
pub fn router(ingest: Ingest) -> Router {
    Router::from(routes()).with_state(Arc::new(ingest))
}

/// The ingest routes. Their handlers answer every method, so that the body of each request is read or
/// discarded.
pub(crate) fn routes() -> OpenApiRouter<Arc<Ingest>> {
    let (schemas, paths, methods) = routes!(event_grid, event_grid_handshake);
    let event_grid = (schemas, paths, methods.fallback(event_grid));
    let (schemas, paths, methods) = routes!(call_automation);
    let call_automation = (schemas, paths, methods.fallback(call_automation));
    OpenApiRouter::default().routes(event_grid).routes(call_automation)
}

#[derive(Deserialize, Default)]
struct KeyQuery {
    key: Option<String>,
}

/// Receives a delivery of Event Grid.
///
/// Event Grid schema and CloudEvents 1.0 (structured, batch, binary, a bare object), with any content
/// coding and charset; also the handshake of the Event Grid schema. 200 means that every event is
/// durable. Every failure is 503, because Event Grid would not repeat the delivery after another status.
#[utoipa::path(
    post,
    path = "/ingest/event-grid/{source}",
    operation_id = "ingestEventGrid",
    tag = "ingest",
    security(("source_key" = []), ("source_key_query" = []), ("source_token" = [])),
    params(("source" = String, Path, description = "The name of a configured source.")),
    request_body(content((Vec<Object> = "application/json"), (Object = "application/cloudevents+json"), (Vec<Object> = "application/cloudevents-batch+json")), description = "The events; at most 4 MiB, as received and as decoded."),
    responses(
        (status = 200, description = "Every event is durable, or the subscription is validated.", body = DeliveryView),
        DeliveryProblems,
    ),
)]
async fn event_grid(
    State(ingest): State<Arc<Ingest>>,
    name: SourceName,
    key: SourceKey,
    parts: Parts,
    body: Body,
) -> Response {
    ingest.receive_delivery(SourceKind::EventGrid, name, key, parts, body).await
}

/// Answers the handshake of CloudEvents.
///
/// It needs no credential.
#[utoipa::path(
    options,
    path = "/ingest/event-grid/{source}",
    operation_id = "validateEventGrid",
    tag = "ingest",
    security(()),
    params(
        ("source" = String, Path, description = "The name of a configured source."),
        ("webhook-request-origin" = Option<String>, Header, description = "The sender that asks."),
    ),
    responses(
        (status = 200, description = "The sender may deliver.", headers(
            ("webhook-allowed-origin" = String, description = "The sender."),
            ("webhook-allowed-rate" = String, description = "`*`: at any rate."),
        )),
        OptionsProblems,
    ),
)]
async fn event_grid_handshake(
    State(ingest): State<Arc<Ingest>>,
    name: SourceName,
    key: SourceKey,
    parts: Parts,
    body: Body,
) -> Response {
    ingest.receive_delivery(SourceKind::EventGrid, name, key, parts, body).await
}

/// Receives callbacks of Call Automation.
///
/// An array or one object. 200 means that every event is durable. Every failure is 503.
#[utoipa::path(
    post,
    path = "/ingest/call-automation/{source}",
    operation_id = "ingestCallAutomation",
    tag = "ingest",
    security(("source_key" = []), ("source_key_query" = []), ("source_token" = [])),
    params(("source" = String, Path, description = "The name of a configured source.")),
    request_body(content((Vec<Object> = "application/json"), (Vec<Object> = "application/cloudevents-batch+json")), description = "The callbacks; at most 4 MiB, as received and as decoded."),
    responses((status = 200, description = "Every event is durable.", body = DeliveryView), DeliveryProblems),
)]
async fn call_automation(
    State(ingest): State<Arc<Ingest>>,
    name: SourceName,
    key: SourceKey,
    parts: Parts,
    body: Body,
) -> Response {
    ingest.receive_delivery(SourceKind::CallAutomation, name, key, parts, body).await
}

/// The name of the source in the path.
type SourceName = Result<Path<String>, PathRejection>;
/// The key of the source in the query.
type SourceKey = Result<Query<KeyQuery>, QueryRejection>;

/// A request without its body.
struct RequestHead {
    kind: SourceKind,
    /// The source's name in the path; empty if it is not text, so that no source matches.
    name: String,
    method: Method,
    headers: HeaderMap,
    key: Option<String>,
    place: PlaceKind,
}

/// The configured source that a request names.
#[derive(Clone, Copy)]
struct RequestSource<'s> {
    source: &'s Source,
    share: &'s Arc<SourceShare>,
    all: &'s SourceSet,
}

impl<'s> RequestSource<'s> {
    fn find(all: &'s SourceSet, head: &RequestHead) -> Option<Self> {
        let source = all.settings.get(&head.name).filter(|source| source.kind == head.kind)?;
        Some(Self { source, share: all.shares.get(&head.name)?, all })
    }
}

impl RequestHead {
    /// Whether the headers announce a handshake; only then is a body read without credential.
    fn claims_to_be_handshake(&self) -> bool {
        let announces = self
            .headers
            .get("aeg-event-type")
            .is_some_and(|value| value.as_bytes().eq_ignore_ascii_case(b"SubscriptionValidation"));
        self.kind == SourceKind::EventGrid && announces
    }
}

impl Ingest {
    async fn receive_delivery(
        &self,
        kind: SourceKind,
        name: SourceName,
        key: SourceKey,
        parts: Parts,
        body: Body,
    ) -> Response {
        let name = name.map_or_else(|_| String::new(), |Path(name)| name);
        let key = key.ok().and_then(|Query(query)| query.key);
        let place = place_of(&parts.extensions);
        let Parts { method, headers, .. } = parts;
        self.respond(RequestHead { kind, name, method, headers, key, place }, body).await
    }

    async fn respond(&self, head: RequestHead, body: Body) -> Response {
        let began = Instant::now();
        let mut body = body.into_data_stream();
        let sources = self.sources.all();
        let sender = RequestSource::find(&sources, &head);
        let source = sender.map(|sender| sender.source);
        // The name of an unknown source is the sender's own text, so it is not used as a label.
        let label = source.map_or_else(|| "unknown".to_owned(), |_| head.name.clone());
        let place = head.place;
        let processing = self.process(head, sender, &mut body);
        let processed = tokio::time::timeout(self.deadline, processing).await;
        let outcome = processed.unwrap_or_else(|_| {
            Err(DeliveryRejection::new(
                RejectionReason::Deadline,
                "the delivery was not durable in time",
            ))
        });
        let outcome = outcome.unwrap_or_else(DeliveryOutcome::Rejected);
        if let DeliveryOutcome::Rejected(rejection) = &outcome {
            self.record_rejection(&label, source, rejection);
        }
        if !matches!(outcome, DeliveryOutcome::Durable { .. } | DeliveryOutcome::Handshake(_)) {
            discard(&mut body, place).await;
        }
        let response = outcome.into_response();
        counter!(names::INGEST_DELIVERIES, "source" => label, "status" => response.status().as_str().to_owned()).increment(1);
        histogram!(names::INGEST_RESPONSE_SECONDS).record(began.elapsed().as_secs_f64());
        response
    }

    async fn process(
        &self,
        head: RequestHead,
        sender: Option<RequestSource<'_>>,
        body: &mut BodyDataStream,
    ) -> Result<DeliveryOutcome, DeliveryRejection> {
        if head.method == Method::OPTIONS {
            let sender = sender.ok_or_else(DeliveryRejection::unknown_source)?;
            let origin = allowed_origin(&head.headers);
            let origin = origin.filter(|_| sender.source.kind == SourceKind::EventGrid);
            if origin.is_some() {
                let tenant = sender.source.tenant.as_str();
                let schema = HandshakeSchema::CloudEvents;
                self.handshake_log.add(tenant, &head.name, schema, clock::now());
            }
            return Ok(
                origin.map_or(DeliveryOutcome::MethodNotAllowed, DeliveryOutcome::AllowedOrigin)
            );
        }
        if head.method != Method::POST {
            return Ok(DeliveryOutcome::MethodNotAllowed);
        }
        if self.lifecycle.is_stopping() {
            return Err(DeliveryRejection::new(
                RejectionReason::Stopping,
                "this node is shutting down",
            ));
        }
        let sender = sender.ok_or_else(DeliveryRejection::unknown_source)?;
        match self.authenticate(sender.source, &head).await {
            Ok(credential) => self.receive(head, sender, credential, body).await,
            Err(error) if head.claims_to_be_handshake() => {
                self.unauthenticated_handshake(&head, sender, body, error).await
            }
            Err(error) => Err(DeliveryRejection::unauthenticated(error)),
        }
    }

    /// Returns the label of the credential in the messages of the events; `onrecord doctor` uses it
    /// to find keys in use.
    async fn authenticate(&self, source: &Source, head: &RequestHead) -> Result<String, AuthError> {
        let (token, jwt) = match authenticate(source, &head.headers, head.key.as_deref())? {
            PresentedCredential::Key(hash) => return Ok(hash.label()),
            PresentedCredential::Token(token, jwt) => (BearerToken::parse(token)?, jwt),
        };
        let key = self.jwks_cache.find(&jwt.jwks_url, &token.key_id).await?;
        token.verify(&key, jwt, clock::now().timestamp())?;
        Ok(format!("jwt:{}", token.key_id.chars().take(64).collect::<String>()))
    }

    /// Answers a handshake without credential; nothing of any other body is kept. Whatever is wrong with
    /// it has the reason `handshakes` or that of its credential: the reasons of deliveries page the
    /// operator, and any caller can send this.
    async fn unauthenticated_handshake(
        &self,
        head: &RequestHead,
        sender: RequestSource<'_>,
        body: &mut BodyDataStream,
        error: AuthError,
    ) -> Result<DeliveryOutcome, DeliveryRejection> {
        let rejected = |detail| DeliveryRejection::new(RejectionReason::Handshakes, detail);
        let _place = self.capacity.handshake_place(sender.share).ok_or_else(|| {
            rejected("the maximum of concurrent handshakes without credential is reached")
        })?;
        let reading = read_body(body, MAX_HANDSHAKE_BODY, |_| Ok(()));
        let bytes = tokio::time::timeout(self.handshake_timeout(head.place), reading).await;
        let bytes = bytes.map_err(|_| {
            rejected("the body of a handshake without credential did not arrive in time")
        })?;
        let bytes = bytes.map_err(|_| {
            rejected("the body of a handshake without credential did not arrive completely")
        })?;
        let handshake = bytes.and_then(|bytes| {
            let limits = OutputLimits { max: MAX_HANDSHAKE_BODY, grow: &mut |_| true };
            // A body that becomes larger is no handshake.
            let decoded = decode_body(&head.headers, &bytes, limits).ok()?;
            find_handshake(sender.source.kind, &decoded)
        });
        match handshake {
            Some(handshake) => Ok(self.answer_handshake(&head.name, sender.source, &handshake)),
            None => Err(DeliveryRejection::unauthenticated(error)),
        }
    }

    /// Timeout of the body of a handshake without credential: it ends before the deadline of deliveries.
    fn handshake_timeout(&self, place: PlaceKind) -> Duration {
        let timeout = match place {
            PlaceKind::Shared => HANDSHAKE_TIMEOUT,
            PlaceKind::Reserve => RESERVE_HANDSHAKE_TIMEOUT,
        };
        timeout.min(self.deadline / 2)
    }

    /// Receives the body of an authenticated sender and publishes its messages.
    async fn receive(
        &self,
        head: RequestHead,
        sender: RequestSource<'_>,
        credential: String,
        body: &mut BodyDataStream,
    ) -> Result<DeliveryOutcome, DeliveryRejection> {
        let mut in_flight = self.capacity.reservation(&sender.all.shares, sender.share);
        let received = read_body(body, MAX_BODY, |bytes| {
            in_flight.grow(bytes).then_some(()).ok_or_else(no_capacity)
        });
        let Some(body) = received.await? else {
            return Ok(DeliveryOutcome::TooLarge);
        };
        let received_at = clock::now();
        let (name, source) = (head.name.clone(), sender.source.clone());
        let is_quick = body.len() <= MAX_INLINE_BODY && !is_coded(&head.headers, &body);
        let seal_to = self.seal_to;
        // The bytes are held until the messages are durable.
        let encode = move || {
            let mut grow = |bytes| in_flight.grow(bytes);
            let limits = OutputLimits { max: MAX_BODY, grow: &mut grow };
            let decoded =
                decode_body(&head.headers, &body, limits).map_err(EncodeError::Refused)?;
            let context = DeliveryContext {
                name: &head.name,
                source: &source,
                credential: &credential,
                received_at,
                seal_to: seal_to.as_ref(),
            };
            let encoded = encode_delivery(context, &head.headers, decoded);
            let encoded = encoded.map_err(|error| EncodeError::Failed(error.to_string()))?;
            Ok((encoded, in_flight))
        };
        let encoded = if is_quick {
            encode()
        } else {
            let turn = self.capacity.parse_turn(sender.share).await;
            let encoding = tokio::task::spawn_blocking(move || {
                let encoded = encode();
                drop(turn);
                encoded
            });
            // The message of a panic may quote the body, so it is not logged.
            encoding.await.unwrap_or_else(|_| Err(EncodeError::Failed("it panicked".to_owned())))
        };
        let (encoded, in_flight) = match encoded {
            Ok(encoded) => encoded,
            Err(EncodeError::Refused(DecodeRefusal::TooLarge)) => {
                return Ok(DeliveryOutcome::TooLarge);
            }
            Err(EncodeError::Refused(DecodeRefusal::NoCapacity)) => return Err(no_capacity()),
            Err(EncodeError::Failed(error)) => {
                tracing::error!(error = %error, "a delivery cannot be encoded: {error}");
                let detail = "the delivery cannot be encoded";
                return Err(DeliveryRejection::new(RejectionReason::Internal, detail));
            }
        };
        match encoded {
            EncodedDelivery::Handshake(handshake) => {
                Ok(self.answer_handshake(&name, sender.source, &handshake))
            }
            EncodedDelivery::Events(batch) => {
                self.publish(name, batch, received_at, in_flight).await
            }
        }
    }

    async fn publish(
        &self,
        name: String,
        batch: MessageBatch,
        received_at: DateTime<Utc>,
        in_flight: DeliveryReservation,
    ) -> Result<DeliveryOutcome, DeliveryRejection> {
        let publisher = self.publisher.clone();
        let MessageBatch { messages, counts } = batch;
        let outcome =
            DeliveryOutcome::Durable { events: counts.events(), quarantined: counts.quarantined() };
        // Runs to its end even if the sender disconnects: durable events are counted, and the
        // bytes are held as long as the messages are in memory.
        let publishing = self.lifecycle.run_to_completion(async move {
            let published = publisher.publish_in_place(messages, received_at).await;
            drop(in_flight);
            if published.is_ok() {
                counts.record(&name);
            }
            published
        });
        let (reason, detail) = match publishing.await {
            Ok(Ok(())) => return Ok(outcome),
            Ok(Err(NotDurable)) => {
                (RejectionReason::NoStore, "neither kafka nor postgres stores events now")
            }
            Err(_) => (RejectionReason::Internal, "the delivery cannot be stored"),
        };
        Err(DeliveryRejection::new(reason, detail))
    }

    /// The answer to a handshake. A request without credential can repeat it at any rate, so its
    /// log line is limited.
    fn answer_handshake(
        &self,
        name: &str,
        source: &Source,
        handshake: &Handshake,
    ) -> DeliveryOutcome {
        let schema = HandshakeSchema::EventGrid;
        self.handshake_log.add(source.tenant.as_str(), name, schema, clock::now());
        if self.may_log(name, "handshake") {
            tracing::info!(source.name = name, "the handshake of the source {name} was answered");
        }
        DeliveryOutcome::Handshake(handshake.clone())
    }

    /// Counts a rejection and logs it, without the credential.
    fn record_rejection(
        &self,
        label: &str,
        source: Option<&Source>,
        rejection: &DeliveryRejection,
    ) {
        counter!(names::INGEST_REJECTED, "source" => label.to_owned(), "reason" => rejection.reason)
            .increment(1);
        if self.may_log(label, rejection.reason) {
            tracing::warn!(
                source.name = label,
                rejection.reason = rejection.reason,
                "a delivery of {label} was answered 503: {}",
                rejection.detail
            );
        }
        if let Some(source) = source.filter(|_| rejection.is_unauthenticated) {
            let tenant = source.tenant.as_str();
            self.rejection_log.add(tenant, label, rejection.reason, clock::now());
        }
    }

    /// Whether no line of this source and kind was logged within [`LOG_INTERVAL`].
    fn may_log(&self, source: &str, kind: &'static str) -> bool {
        self.log_limiter.allows((source.to_owned(), kind), Instant::now())
    }
}

/// Why a delivery has no messages.
enum EncodeError {
    /// Its body is not decoded.
    Refused(DecodeRefusal),
    /// A failure of this service.
    Failed(String),
}

fn no_capacity() -> DeliveryRejection {
    let detail = "the maximum of bytes in flight is reached, of this source or of all";
    DeliveryRejection::new(RejectionReason::BytesInFlight, detail)
}

/// Reads a body; `None` if it has more than `max` bytes. `reserve` is called with the number of
/// bytes of each part.
async fn read_body(
    body: &mut BodyDataStream,
    max: usize,
    mut reserve: impl FnMut(usize) -> Result<(), DeliveryRejection>,
) -> Result<Option<Bytes>, DeliveryRejection> {
    let mut read = BytesMut::new();
    while let Some(chunk) = body.next().await {
        let Ok(chunk) = chunk else {
            let detail = "the body did not arrive completely";
            return Err(DeliveryRejection::new(RejectionReason::BodyIncomplete, detail));
        };
        if read.len() + chunk.len() > max {
            return Ok(None);
        }
        reserve(chunk.len())?;
        read.extend_from_slice(&chunk);
    }
    Ok(Some(read.freeze()))
}
