//! JSON bodies and query parameters of `/v1`. An error names the member that is wrong.

use std::time::Duration;

use axum::body::Bytes;
use axum::extract::{FromRequest, FromRequestParts, Query, Request};
use axum::http::StatusCode;
use axum::http::request::Parts;
use serde::Deserializer;
use serde::de::DeserializeOwned;

use super::problem::{Problem, ProblemKind};

/// Timeout of the receipt of a body.
const BODY_TIMEOUT: Duration = Duration::from_secs(15);

/// A JSON body, parsed, and its bytes.
pub(crate) struct JsonBody<T> {
    pub value: T,
    pub bytes: Bytes,
}

impl<S: Send + Sync, T: DeserializeOwned> FromRequest<S> for JsonBody<T> {
    type Rejection = Problem;

    async fn from_request(request: Request, state: &S) -> Result<Self, Problem> {
        let receipt = tokio::time::timeout(BODY_TIMEOUT, Bytes::from_request(request, state));
        let bytes = receipt
            .await
            .map_err(|_| {
                Problem::new(
                    ProblemKind::InvalidRequest,
                    "the body did not arrive within 15 seconds",
                )
            })?
            .map_err(|rejection| match rejection.status() {
                StatusCode::PAYLOAD_TOO_LARGE => Problem::new(
                    ProblemKind::TooLarge,
                    "the body is larger than this resource takes",
                ),
                _ => {
                    Problem::new(ProblemKind::InvalidRequest, "the body did not arrive completely")
                }
            })?;
        let value = parse(&bytes)?;
        Ok(Self { value, bytes })
    }
}

/// The parameters in the query of a request.
pub(crate) struct QueryParameters<T>(pub T);

impl<S: Send + Sync, T: DeserializeOwned> FromRequestParts<S> for QueryParameters<T> {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, state: &S) -> Result<Self, Problem> {
        match Query::from_request_parts(parts, state).await {
            Ok(Query(parameters)) => Ok(Self(parameters)),
            Err(rejection) => Err(Problem::invalid("query", rejection.body_text())),
        }
    }
}

/// Parses a JSON body.
///
/// # Errors
///
/// A problem that names the member by its JSON pointer, and what is expected there.
pub(crate) fn parse<T: DeserializeOwned>(bytes: &[u8]) -> Result<T, Problem> {
    let mut deserializer = serde_json::Deserializer::from_slice(bytes);
    let value = deserialize(&mut deserializer)?;
    deserializer.end().map_err(|error| Problem::invalid("", error.to_string()))?;
    Ok(value)
}

/// Deserializes a part of a JSON body.
///
/// # Errors
///
/// As [`parse`].
pub(crate) fn deserialize<'de, T: DeserializeOwned>(
    deserializer: impl Deserializer<'de, Error = serde_json::Error>,
) -> Result<T, Problem> {
    serde_path_to_error::deserialize(deserializer).map_err(|error| {
        let pointer = json_pointer(error.path());
        Problem::invalid(pointer, error.into_inner().to_string())
    })
}

fn json_pointer(path: &serde_path_to_error::Path) -> String {
    use serde_path_to_error::Segment;
    path.iter()
        .map(|segment| match segment {
            Segment::Seq { index } => format!("/{index}"),
            Segment::Map { key } => format!("/{}", key.replace('~', "~0").replace('/', "~1")),
            Segment::Enum { variant } => format!("/{variant}"),
            Segment::Unknown => String::new(),
        })
        .collect()
}
