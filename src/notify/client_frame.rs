//! What a client may say over a WebSocket, and how much of it.

use serde::{Deserialize, Serialize};
use tokio::time::{Duration, Instant};

use crate::http::body;
use crate::http::problem::{Problem, ProblemKind};

/// Frames beyond the answers to ours that may come at one time.
const AT_ONE_TIME: u32 = 60;
/// After that, one per this time.
const ONE_PER: Duration = Duration::from_secs(1);

/// A frame of a client.
#[derive(Debug, PartialEq, Deserialize)]
#[serde(tag = "type", rename_all = "lowercase", deny_unknown_fields)]
pub(super) enum ClientFrame {
    /// A receipt: everything through this cursor was taken.
    Ack { cursor: String },
    /// Another token for the same stream.
    Token { token: String },
}

impl ClientFrame {
    /// Reads a text frame.
    ///
    /// # Errors
    ///
    /// What would be understood.
    pub fn read(text: &[u8]) -> Result<Self, Problem> {
        body::read(text)
    }
}

/// What a client is answered whose frame is no use.
pub(super) fn error_frame(problem: &Problem) -> String {
    #[derive(Serialize)]
    struct ErrorFrame<'a> {
        r#type: &'static str,
        problem: &'a Problem,
    }
    let frame = ErrorFrame {
        r#type: "error",
        problem,
    };
    // Strings and numbers of ours always serialize.
    serde_json::to_string(&frame).unwrap_or_else(|_| r#"{"type":"error"}"#.to_owned())
}

/// For frames that are not text.
pub(super) fn not_text() -> Problem {
    Problem::new(
        ProblemKind::InvalidRequest,
        "a frame is text: a JSON object with type ack or token",
    )
}

/// How many frames a client may still send. Each frame of ours may be answered by one, whenever;
/// besides, so many at one time, and then one a second.
pub(super) struct Allowance {
    /// Frames of ours that were not answered yet.
    unanswered: u64,
    /// Until when it has used up what it may send unasked.
    used_until: Instant,
}

impl Allowance {
    pub fn new(now: Instant) -> Self {
        Self {
            unanswered: 0,
            used_until: now,
        }
    }

    /// The client was sent a frame that it may answer.
    pub fn asks(&mut self) {
        self.unanswered += 1;
    }

    /// Counts a frame of the client; false: that is one too many.
    #[must_use]
    pub fn count(&mut self, now: Instant) -> bool {
        if self.unanswered > 0 {
            self.unanswered -= 1;
            return true;
        }
        let after = self.used_until.max(now) + ONE_PER;
        let is_little = after.saturating_duration_since(now) <= ONE_PER * AT_ONE_TIME;
        if is_little {
            self.used_until = after;
        }
        is_little
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_client_may_acknowledge_and_renew_and_learns_what_else_it_wrote() {
        let ack = ClientFrame::read(br#"{"type":"ack","cursor":"1.a"}"#).unwrap();
        let cursor = "1.a".to_owned();
        assert_eq!(ack, ClientFrame::Ack { cursor });
        let token = ClientFrame::read(br#"{"token":"t","type":"token"}"#).unwrap();
        let renewal = "t".to_owned();
        assert_eq!(token, ClientFrame::Token { token: renewal });
        for wrong in [
            "",
            "{}",
            "[]",
            "null",
            "x",
            r#"{"type":"ack"}"#,
            r#"{"type":"ack","cursor":5}"#,
            r#"{"type":"ack","cursor":"1.a","more":1}"#,
            r#"{"type":"bye"}"#,
            r#"{"type":"ack","cursor":"1.a"} "#.repeat(2).as_str(),
        ] {
            let problem = ClientFrame::read(wrong.as_bytes()).unwrap_err();
            let frame: serde_json::Value =
                serde_json::from_str(&error_frame(&problem)).unwrap_or_default();
            assert_eq!(frame["type"], "error", "{wrong}");
            let problem = &frame["problem"];
            assert_eq!(problem["type"], "urn:onrecord:problem:invalid-request");
            assert_eq!(problem["status"], 400);
        }
    }

    #[test]
    fn a_client_may_answer_each_frame_and_speak_a_little_unasked() {
        let now = Instant::now();
        let mut allowance = Allowance::new(now);
        for _ in 0..1_000 {
            allowance.asks();
        }
        for _ in 0..1_000 + AT_ONE_TIME {
            assert!(allowance.count(now));
        }
        assert!(!allowance.count(now));
        assert!(allowance.count(now + ONE_PER));
        assert!(!allowance.count(now + ONE_PER));
    }

    proptest::proptest! {
        #[test]
        fn no_frame_makes_us_panic(text in ".{0,80}", bytes in proptest::collection::vec(0_u8.., 0..80)) {
            let _read = ClientFrame::read(text.as_bytes());
            let _read = ClientFrame::read(&bytes);
        }
    }
}
