//! What nobody reads of a body.

use std::time::Duration;

use axum::body::BodyDataStream;
use futures_util::StreamExt as _;

/// So much of it is read before the connection is closed on its sender: a body at the door has at
/// most 4 MiB, and one that is a little too large should still be answered.
const MOST: usize = 64 * 1024 * 1024;
/// For so long.
const LONGEST: Duration = Duration::from_secs(3);

/// Reads the rest of a body and throws it away, so that its sender sees the answer and not a broken
/// connection.
pub async fn discard(body: &mut BodyDataStream) {
    let rest = async {
        let mut seen = 0;
        while let Some(Ok(chunk)) = body.next().await {
            seen += chunk.len();
            if seen > MOST {
                return;
            }
        }
    };
    // Who sends slowly enough to meet this limit may see the connection end.
    let _ = tokio::time::timeout(LONGEST, rest).await;
}
