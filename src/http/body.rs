//! JSON bodies of `/v1`, with an error that names the member.

use std::time::Duration;

use axum::body::Bytes;
use axum::extract::{FromRequest, Request};
use axum::http::StatusCode;
use serde::de::DeserializeOwned;

use super::problem::{Problem, ProblemKind};

/// A body must have arrived within this time.
const PATIENCE: Duration = Duration::from_secs(15);

/// A JSON body, and the bytes that it was read from.
pub struct JsonBody<T> {
    pub value: T,
    pub bytes: Bytes,
}

impl<S: Send + Sync, T: DeserializeOwned> FromRequest<S> for JsonBody<T> {
    type Rejection = Problem;

    async fn from_request(request: Request, state: &S) -> Result<Self, Problem> {
        let arrival = tokio::time::timeout(PATIENCE, Bytes::from_request(request, state));
        let bytes = arrival
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
                _ => Problem::new(ProblemKind::InvalidRequest, "the body did not arrive whole"),
            })?;
        let value = read(&bytes)?;
        Ok(Self { value, bytes })
    }
}

/// Reads a body.
///
/// # Errors
///
/// A problem that names the member by its JSON pointer, and says what is expected there.
pub fn read<T: DeserializeOwned>(bytes: &[u8]) -> Result<T, Problem> {
    let mut deserializer = serde_json::Deserializer::from_slice(bytes);
    let value = serde_path_to_error::deserialize(&mut deserializer).map_err(|error| {
        let pointer = pointer(error.path());
        Problem::invalid(pointer, error.into_inner().to_string())
    })?;
    deserializer
        .end()
        .map_err(|error| Problem::invalid("", error.to_string()))?;
    Ok(value)
}

fn pointer(path: &serde_path_to_error::Path) -> String {
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
