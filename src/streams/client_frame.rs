//! The frames of a client over a WebSocket, and their number.

use serde::{Deserialize, Serialize};
use tokio::time::Instant;

use crate::http::problem::Problem;
use crate::http::rate_limiter::RateBudget;

/// A text frame of a client.
#[derive(Debug, PartialEq, Deserialize)]
#[serde(tag = "type", rename_all = "lowercase", deny_unknown_fields)]
pub(crate) enum ClientFrame {
    /// A receipt: the client has received everything through this cursor.
    Ack { cursor: String },
    /// Another subscriber token for the same stream.
    Token { token: String },
}

/// The frame that answers an invalid frame.
pub(crate) fn error_frame(problem: &Problem) -> String {
    #[derive(Serialize)]
    struct ErrorFrame<'a> {
        r#type: &'static str,
        problem: &'a Problem,
    }
    let frame = ErrorFrame { r#type: "error", problem };
    // A problem always serializes.
    serde_json::to_string(&frame).unwrap_or_else(|_| r#"{"type":"error"}"#.to_owned())
}

/// The frames that a client may still send: one for each frame of the server, and further ones at
/// the rate of [`RateBudget`].
pub(crate) struct FrameBudget {
    /// Frames of the server that the client has not answered.
    unanswered: u64,
    unsolicited: RateBudget,
}

impl FrameBudget {
    pub(crate) fn new(now: Instant) -> Self {
        Self { unanswered: 0, unsolicited: RateBudget::new(now.into_std()) }
    }

    /// Counts a frame of the server, which the client may answer.
    pub(crate) fn count_sent(&mut self) {
        self.unanswered += 1;
    }

    /// Counts a frame of the client; false if it exceeds the budget.
    #[must_use]
    pub(crate) fn count_received(&mut self, now: Instant) -> bool {
        if self.unanswered > 0 {
            self.unanswered -= 1;
            return true;
        }
        self.unsolicited.count(now.into_std()).is_ok()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::http::body;
    use crate::http::rate_limiter::{MAX_BURST, MESSAGE_INTERVAL};

    fn parse(text: &[u8]) -> Result<ClientFrame, Problem> {
        body::parse(text)
    }

    #[test]
    fn acknowledgements_and_tokens_are_parsed_and_other_frames_are_answered_by_an_error() {
        let ack = parse(br#"{"type":"ack","cursor":"1.a"}"#).unwrap();
        let cursor = "1.a".to_owned();
        assert_eq!(ack, ClientFrame::Ack { cursor });
        let token = parse(br#"{"token":"t","type":"token"}"#).unwrap();
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
            let problem = parse(wrong.as_bytes()).unwrap_err();
            let frame: serde_json::Value =
                serde_json::from_str(&error_frame(&problem)).unwrap_or_default();
            assert_eq!(frame["type"], "error", "{wrong}");
            let problem = &frame["problem"];
            assert_eq!(problem["type"], "urn:onrecord:problem:invalid-request");
            assert_eq!(problem["status"], 400);
        }
    }

    #[test]
    fn a_client_may_answer_each_frame_and_send_a_burst_of_others() {
        let now = Instant::now();
        let mut budget = FrameBudget::new(now);
        for _ in 0..1_000 {
            budget.count_sent();
        }
        for _ in 0..1_000 + MAX_BURST {
            assert!(budget.count_received(now));
        }
        assert!(!budget.count_received(now));
        assert!(budget.count_received(now + MESSAGE_INTERVAL));
        assert!(!budget.count_received(now + MESSAGE_INTERVAL));
    }

    proptest::proptest! {
        #[test]
        fn no_frame_causes_a_panic(text in ".{0,80}", bytes in proptest::collection::vec(0_u8.., 0..80)) {
            let _parsed = parse(text.as_bytes());
            let _parsed = parse(&bytes);
        }
    }
}
