//! Discards the unread rest of a request body.

use std::time::Duration;

use axum::body::BodyDataStream;
use futures_util::StreamExt as _;

use crate::http::connection::places::PlaceKind;

/// Maximum number of bytes that are discarded before the connection is closed. A delivery has at
/// most 4 MiB, and the sender of a larger one should still receive the response.
const MAX_BYTES: usize = 64 * 1024 * 1024;
/// Timeout of the discarding.
const DISCARD_TIMEOUT: Duration = Duration::from_secs(3);
/// Timeout of the discarding on a connection of the reserve, whose place others need.
const RESERVE_DISCARD_TIMEOUT: Duration = Duration::from_millis(250);

/// Reads the rest of a body and discards it, so that the sender receives the response instead of a
/// reset connection.
pub(crate) async fn discard(body: &mut BodyDataStream, place: PlaceKind) {
    let rest = async {
        let mut discarded = 0;
        while let Some(Ok(chunk)) = body.next().await {
            discarded += chunk.len();
            if discarded > MAX_BYTES {
                return;
            }
        }
    };
    let timeout = match place {
        PlaceKind::Shared => DISCARD_TIMEOUT,
        PlaceKind::Reserve => RESERVE_DISCARD_TIMEOUT,
    };
    // After the timeout the connection is closed, and a slow sender may miss the response.
    let _ = tokio::time::timeout(timeout, rest).await;
}
