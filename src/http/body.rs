//! Bodies and query parameters of `/v1` and of the console. An error names the member that is wrong.
//!
//! # Why
//!
//! The credential of a request is in its head. A body is read only for a caller, and counts against
//! the caller's share of the memory, so that requests without credential take no memory. The types
//! ensure it: a handler gets a body from [`CallerBody`] only. All texts of a body and of a query can
//! be stored (`storable`), and a body has no secrets (`secrets`).

mod deserialize;
pub(crate) mod discard;
mod query;
pub(crate) mod secrets;
mod storable;

use std::sync::Arc;
use std::time::Duration;

use axum::body::{BodyDataStream, Bytes};
use axum::extract::{FromRef, FromRequest, FromRequestParts, Query, Request};
use axum::http::request::Parts;
use bytes::BytesMut;
use futures_util::StreamExt as _;
use serde::de::DeserializeOwned;
use tokio::sync::Semaphore;

pub(crate) use self::deserialize::deserialize;
use self::discard::discard;
use super::connection::places::PlaceKind;
use super::problem::{Problem, ProblemKind};
use super::shared_capacity::{CapacityExceeded, CapacityReservation, ShareHolder, SharedCapacity};
use crate::lifecycle::detached::spawn_detached;

/// Timeout of the receipt of a body.
const BODY_TIMEOUT: Duration = Duration::from_secs(15);
/// Maximum bytes of all bodies that are read at a time.
const MAX_BYTES_IN_FLIGHT: usize = 64 * 1024 * 1024;
/// Maximum bytes of the bodies of one participant or API key that are read at a time.
const MAX_CALLER_BYTES_IN_FLIGHT: usize = 4 * 1024 * 1024;
/// Maximum size of a body that is parsed on the request's own thread. Bodies of clients have some
/// kilobytes; those that are made to take time delay no stream and no other request.
const MAX_INLINE_BODY: usize = 16 * 1024;
/// Maximum number of larger bodies that are parsed at a time.
const MAX_CONCURRENT_PARSES: usize = 4;
/// Time after which a caller should repeat a request for which there was no memory.
const RETRY_AFTER: Duration = Duration::from_secs(2);

/// The body of a resource.
pub(crate) trait RequestBody: DeserializeOwned + Send + 'static {
    /// Maximum size in bytes.
    const MAX_BYTES: usize;

    /// Parses the body, which is JSON by default.
    ///
    /// # Errors
    ///
    /// As [`parse`]; also if a text contains a secret.
    fn of_bytes(json: &[u8]) -> Result<Self, Problem> {
        secrets::check(json)?;
        parse(json)
    }
}

/// A caller that was authenticated by the head of its request.
pub(crate) trait BodySender {
    /// Whose share of the memory its bodies use.
    fn share_holder(&self) -> ShareHolder;
}

/// The memory for bodies of all resources, and the threads that parse large ones.
#[derive(Clone)]
pub(crate) struct BodyCapacity {
    memory: SharedCapacity,
    parses: Arc<Semaphore>,
}

impl Default for BodyCapacity {
    fn default() -> Self {
        let threads = std::thread::available_parallelism().map_or(1, usize::from);
        Self {
            memory: SharedCapacity::new(MAX_BYTES_IN_FLIGHT),
            parses: Arc::new(Semaphore::new(threads.min(MAX_CONCURRENT_PARSES))),
        }
    }
}

impl BodyCapacity {
    /// Parses a body, a large one on a thread of its own. Its memory is held until then, even if the
    /// caller disconnects.
    async fn parse<T: RequestBody>(
        &self,
        bytes: Bytes,
        memory: CapacityReservation,
    ) -> Result<(T, Bytes, CapacityReservation), Problem> {
        if bytes.len() <= MAX_INLINE_BODY {
            return Ok((T::of_bytes(&bytes)?, bytes, memory));
        }
        // The semaphore is never closed.
        let turn = Arc::clone(&self.parses).acquire_owned().await.ok();
        let parsing = tokio::task::spawn_blocking(move || {
            let parsed = T::of_bytes(&bytes);
            drop(turn);
            Ok((parsed?, bytes, memory))
        });
        parsing.await.unwrap_or_else(|_| {
            // The message of a panic may quote the body, so it is not logged.
            tracing::error!("the parser of a body panicked");
            Err(Problem::new(ProblemKind::Internal, "the body cannot be parsed"))
        })
    }
}

/// The caller of a request, and its parsed body with its bytes. The body of a request without valid
/// credential is discarded.
pub(crate) struct CallerBody<C, T> {
    pub caller: C,
    pub value: T,
    pub bytes: Bytes,
    /// Held as long as the body is in memory.
    _memory: CapacityReservation,
}

impl<S, C, T> FromRequest<S> for CallerBody<C, T>
where
    S: Send + Sync,
    C: FromRequestParts<S, Rejection = Problem> + BodySender + Send,
    T: RequestBody,
    BodyCapacity: FromRef<S>,
{
    type Rejection = Problem;

    async fn from_request(request: Request, state: &S) -> Result<Self, Problem> {
        let (mut parts, body) = request.into_parts();
        let mut body = body.into_data_stream();
        let caller = match C::from_request_parts(&mut parts, state).await {
            Ok(caller) => caller,
            Err(problem) => {
                discard_later(body);
                return Err(problem);
            }
        };
        let capacity = BodyCapacity::from_ref(state);
        let mut memory = capacity.memory.reserve(caller.share_holder(), MAX_CALLER_BYTES_IN_FLIGHT);
        let receipt = read_body(&mut body, T::MAX_BYTES, &mut memory);
        let received = tokio::time::timeout(BODY_TIMEOUT, receipt).await.unwrap_or_else(|_| {
            let detail = "the body did not arrive within 15 seconds";
            Err(Problem::new(ProblemKind::InvalidRequest, detail))
        });
        match received {
            Ok(bytes) => {
                let (value, bytes, memory) = capacity.parse(bytes, memory).await?;
                Ok(Self { caller, value, bytes, _memory: memory })
            }
            Err(problem) => {
                discard_later(body);
                Err(problem)
            }
        }
    }
}

/// Reads a body; its memory is reserved as it arrives.
async fn read_body(
    body: &mut BodyDataStream,
    max: usize,
    memory: &mut CapacityReservation,
) -> Result<Bytes, Problem> {
    let mut read = BytesMut::new();
    while let Some(chunk) = body.next().await {
        let chunk = chunk.map_err(|_| {
            Problem::new(ProblemKind::InvalidRequest, "the body did not arrive completely")
        })?;
        if read.len() + chunk.len() > max {
            let detail = format!("the body of this resource has at most {max} bytes");
            return Err(Problem::new(ProblemKind::TooLarge, detail));
        }
        memory.grow(chunk.len()).map_err(no_memory)?;
        read.extend_from_slice(&chunk);
    }
    Ok(read.freeze())
}

fn no_memory(exceeded: CapacityExceeded) -> Problem {
    match exceeded {
        CapacityExceeded::Caller => Problem::too_many(
            "this caller sends too many bodies at a time; send one after the other",
            RETRY_AFTER,
        ),
        CapacityExceeded::Tenant => Problem::try_again(
            "this tenant sends too many bodies at a time; send this one again",
            RETRY_AFTER,
        ),
        CapacityExceeded::Total => Problem::try_again(
            "this node receives too many bodies at a time; send this one again",
            RETRY_AFTER,
        ),
    }
}

/// Answers without waiting for the body, and discards it: a client that sends its whole body before
/// it reads the answer still receives the answer, and its connection can be used again.
fn discard_later(mut body: BodyDataStream) {
    // It has a timeout. The reserve serves no bodies of callers.
    drop(spawn_detached(async move { discard(&mut body, PlaceKind::Shared).await }));
}

/// The parameters in the query of a request.
pub(crate) struct QueryParameters<T>(pub T);

impl<S: Send + Sync, T: DeserializeOwned> FromRequestParts<S> for QueryParameters<T> {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, _: &S) -> Result<Self, Problem> {
        let Query(pairs) = Query::<Vec<(String, String)>>::try_from_uri(&parts.uri)
            .map_err(|rejection| Problem::invalid("query", rejection.body_text()))?;
        of_pairs(pairs).map(Self)
    }
}

/// For a resource that takes no parameters: one that is given is answered 400, because it was meant to do something.
#[derive(Debug)]
pub(crate) struct NoParameters;

#[derive(serde::Deserialize)]
#[serde(deny_unknown_fields)]
struct Nothing {}

impl<S: Send + Sync> FromRequestParts<S> for NoParameters {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, state: &S) -> Result<Self, Problem> {
        let QueryParameters(Nothing {}) = QueryParameters::from_request_parts(parts, state).await?;
        Ok(Self)
    }
}

/// Deserializes the pairs of a query or of the body of a form. All of their texts can be stored.
///
/// # Errors
///
/// A problem that names the parameter.
pub(crate) fn of_pairs<T: DeserializeOwned>(pairs: Vec<(String, String)>) -> Result<T, Problem> {
    let refused = pairs
        .iter()
        .find(|(name, value)| !storable::is_storable(name) || !storable::is_storable(value));
    if let Some((name, _)) = refused {
        return Err(storable::not_storable(name));
    }
    query::deserialize_query(pairs)
}

/// Parses a JSON body whose texts can be stored.
///
/// # Errors
///
/// A problem that names the member by its JSON pointer, and what is expected there.
pub(crate) fn parse<T: DeserializeOwned>(bytes: &[u8]) -> Result<T, Problem> {
    storable::check(bytes)?;
    parse_unchecked(bytes)
}

/// Parses a JSON body whose parts the caller parses with [`parse`] each.
///
/// # Errors
///
/// As [`parse`].
pub(crate) fn parse_unchecked<T: DeserializeOwned>(bytes: &[u8]) -> Result<T, Problem> {
    let mut deserializer = serde_json::Deserializer::from_slice(bytes);
    let value = deserialize(&mut deserializer)?;
    deserializer.end().map_err(|error| Problem::invalid("", error.to_string()))?;
    Ok(value)
}
