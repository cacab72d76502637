//! `POST /v1/acknowledgements`: a client says what became of notices: delivered, displayed, hidden,
//! acknowledged; and what the participant answered: consented, declined.
//!
//! Each item is judged by itself: one that cannot be taken is answered so, and the others are taken.
//! What is answered `accepted` is durable (law 1). An `id` that was sent before has no second
//! effect: the answer is the same, and the ledger keeps the earlier one.

use std::collections::BTreeMap;
use std::time::Duration;

use axum::Json;
use axum::extract::State;
use axum::http::HeaderMap;
use chrono::{DateTime, SecondsFormat, Utc};
use serde::{Deserialize, Serialize};
use serde_json::Value;
use serde_json::value::RawValue;
use uuid::Uuid;

use super::Notify;
use super::report::{FOREIGN_ATTACHMENT, may_speak, subscriber};
use super::token::Subscriber;
use crate::clock;
use crate::domain::alias::Anchor;
use crate::domain::calling_event::ShownText;
use crate::domain::fact::{CaptureType, Level};
use crate::domain::notice_fact::{By, NoticeFact, NoticeKind, Place, id_by_client};
use crate::http::access::bearer;
use crate::http::body::JsonBody;
use crate::http::problem::{Problem, ProblemKind};
use crate::stream::{MOST_FACTS, NoticeFactsToWrite};

/// A batch has so many items at most: those of one call are one message.
const MOST_ITEMS: usize = MOST_FACTS;
/// And speaks of so many attachments: one that is not known yet is a call by itself.
const MOST_ATTACHMENTS: usize = 32;
const LONGEST_TEXT: usize = 256;
/// A stopwatch that shows more than a day was not started by this notice.
const LONGEST_ELAPSED: i64 = 24 * 60 * 60 * 1000;
/// Bytes of a batch.
pub(super) const LONGEST_BODY: usize = 1024 * 1024;

/// As a client sends it. Unknown members are refused: a misspelt one would be lost silently.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Item {
    id: String,
    notice: Option<String>,
    attachment: Uuid,
    #[serde(rename = "type")]
    capture: CaptureType,
    state: Option<Level>,
    kind: StatedKind,
    elapsed_ms: Option<i64>,
    text: Option<ShownText>,
    visible: Option<bool>,
}

#[derive(Clone, Copy, Deserialize)]
#[serde(rename_all = "snake_case")]
enum StatedKind {
    Delivered,
    Displayed,
    Hidden,
    Acknowledged,
    Consented,
    Declined,
}

/// What became of an item, in the order of the batch.
#[derive(Serialize)]
pub(super) struct Answer {
    id: Option<String>,
    status: Status,
    received_at: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    problem: Option<Problem>,
}

#[derive(Clone, Copy, Serialize)]
#[serde(rename_all = "snake_case")]
enum Status {
    Accepted,
    Rejected,
}

pub(super) async fn acknowledge(
    State(notify): State<Notify>,
    headers: HeaderMap,
    body: Result<JsonBody<Vec<Box<RawValue>>>, Problem>,
) -> Result<Json<Vec<Answer>>, Problem> {
    let subscriber = subscriber(&notify, bearer(&headers))?;
    let JsonBody { value: items, .. } = body?;
    if items.len() > MOST_ITEMS {
        return Err(Problem::invalid(
            "",
            format!("at most {MOST_ITEMS} items; send the others in a batch of their own"),
        ));
    }
    may_speak(
        &notify,
        &subscriber,
        "this client acknowledges too often; send several items in one batch",
    )?;

    let received = clock::now();
    let mut answers = Vec::with_capacity(items.len());
    let mut facts: BTreeMap<Anchor, Vec<NoticeFact>> = BTreeMap::new();
    for (index, item) in items.into_iter().enumerate() {
        // Each is read by itself: half a character in one is nothing to the others.
        let item = serde_json::from_str::<Value>(item.get())
            .map_err(|error| Problem::invalid("", error.to_string()));
        let id = item.as_ref().ok().and_then(|item| item.get("id"));
        let id = id.and_then(Value::as_str).map(str::to_owned);
        let read = item
            .and_then(read)
            .and_then(|item| fact(&notify, &subscriber, item, received));
        let problem = match read {
            Ok(fact)
                if facts.len() >= MOST_ATTACHMENTS && !facts.contains_key(&fact.by.anchor()) =>
            {
                let detail = format!(
                    "a batch may speak of {MOST_ATTACHMENTS} attachments; keep one for each leg of a call"
                );
                Some(
                    Problem::new(ProblemKind::TooManyRequests, detail)
                        .within(&format!("/{index}/attachment")),
                )
            }
            Ok(fact) => {
                facts.entry(fact.by.anchor()).or_default().push(fact);
                None
            }
            Err(problem) => Some(problem.within(&format!("/{index}"))),
        };
        answers.push(Answer {
            id,
            status: match problem {
                None => Status::Accepted,
                Some(_) => Status::Rejected,
            },
            received_at: received.to_rfc3339_opts(SecondsFormat::Millis, true),
            problem,
        });
    }
    let taken = facts
        .iter()
        .map(|(call, facts)| NoticeFactsToWrite {
            tenant: &subscriber.tenant,
            call,
            facts,
            shared: &[],
        })
        // What is made of words and numbers of ours always serializes.
        .filter_map(|facts| facts.to_wire().ok())
        .collect();
    notify.road.take(taken, received).await.map_err(|_| {
        Problem::try_again(
            "neither kafka nor postgres takes acknowledgements now; send the batch again with the same ids",
            Duration::from_secs(2),
        )
    })?;
    Ok(Json(answers))
}

fn read(item: Value) -> Result<Item, Problem> {
    serde_path_to_error::deserialize(item).map_err(|error| {
        let path = error.path().to_string();
        let pointer = if path == "." {
            String::new()
        } else {
            format!("/{}", path.replace('.', "/"))
        };
        Problem::invalid(pointer, error.into_inner().to_string())
    })
}

/// The fact that an item states.
fn fact(
    notify: &Notify,
    subscriber: &Subscriber,
    item: Item,
    received: DateTime<Utc>,
) -> Result<NoticeFact, Problem> {
    let kind = item.kind(item.visible.unwrap_or(true));
    item.validate(kind)?;
    let attachment = item.attachment.hyphenated().to_string();
    let (tenant, person) = (&subscriber.tenant, &subscriber.sub);
    // How often it reported, or with how many attachments, is no reason to lose this.
    if notify.board.is_foreign(tenant, &attachment, person) {
        return Err(Problem::new(ProblemKind::Conflict, FOREIGN_ATTACHMENT).within("/attachment"));
    }
    let by = By {
        raw_id: person.clone(),
        place: Place::Attachment(attachment),
    };
    Ok(NoticeFact {
        id: id_by_client(tenant, &by, &item.id),
        t: received.timestamp_millis(),
        kind,
        capture: item.capture,
        state: item.state,
        elapsed_ms: item
            .elapsed_ms
            .and_then(|elapsed| u64::try_from(elapsed).ok()),
        by,
        client_id: Some(item.id),
        notice: item.notice,
        text: item.text,
        transport: None,
    })
}

impl Item {
    /// What was not visible was delivered, and no more.
    fn kind(&self, visible: bool) -> NoticeKind {
        match self.kind {
            StatedKind::Delivered => NoticeKind::Delivered,
            StatedKind::Displayed if visible => NoticeKind::Displayed,
            StatedKind::Displayed => NoticeKind::Delivered,
            StatedKind::Hidden => NoticeKind::Hidden,
            StatedKind::Acknowledged => NoticeKind::Acknowledged,
            StatedKind::Consented => NoticeKind::Consented,
            StatedKind::Declined => NoticeKind::Declined,
        }
    }

    /// Checks what types cannot say.
    fn validate(&self, kind: NoticeKind) -> Result<(), Problem> {
        let text = self.text.as_ref();
        let texts = [
            ("/id", Some(&self.id)),
            ("/notice", self.notice.as_ref()),
            ("/text/version", text.map(|text| &text.version)),
            ("/text/sha256", text.map(|text| &text.sha256)),
            ("/text/locale", text.map(|text| &text.locale)),
        ];
        for (member, text) in texts {
            let fits = |text: &String| {
                (1..=LONGEST_TEXT).contains(&text.len()) && !text.chars().any(char::is_control)
            };
            if text.is_some_and(|text| !fits(text)) {
                return Err(Problem::invalid(
                    member,
                    format!("1 to {LONGEST_TEXT} bytes without control characters"),
                ));
            }
        }
        if self.state.is_none() && kind.needs_state() {
            return Err(Problem::invalid(
                "/state",
                "which level the notice stated: on, paused or off",
            )
            .allowing(&["on", "paused", "off"]));
        }
        if self
            .elapsed_ms
            .is_some_and(|elapsed| !(0..=LONGEST_ELAPSED).contains(&elapsed))
        {
            return Err(Problem::invalid(
                "/elapsed_ms",
                format!(
                    "milliseconds since it happened, by the client's stopwatch: 0 to {LONGEST_ELAPSED} (24 h)"
                ),
            ));
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    const ATTACHMENT: &str = "6ba7b810-9dad-11d1-80b4-00c04fd430c8";

    fn item(more: Value) -> Value {
        let mut item = json!({"id": "1", "attachment": ATTACHMENT, "type": "recording", "kind": "displayed", "state": "on"});
        if let (Some(item), Value::Object(more)) = (item.as_object_mut(), more) {
            item.extend(more);
        }
        item
    }

    fn judged(more: Value) -> Result<NoticeKind, String> {
        let judged = read(item(more)).and_then(|item| {
            let kind = item.kind(item.visible.unwrap_or(true));
            item.validate(kind).map(|()| kind)
        });
        judged.map_err(|problem| serde_json::to_string(&problem).unwrap())
    }

    #[test]
    fn what_was_not_visible_was_delivered() {
        assert_eq!(judged(json!({})), Ok(NoticeKind::Displayed));
        assert_eq!(judged(json!({"visible": false})), Ok(NoticeKind::Delivered));
        assert_eq!(
            judged(json!({"visible": false, "kind": "acknowledged"})),
            Ok(NoticeKind::Acknowledged)
        );
    }

    #[test]
    fn a_consent_needs_no_level_and_everything_else_does() {
        assert_eq!(
            judged(json!({"kind": "consented", "state": null})),
            Ok(NoticeKind::Consented)
        );
        assert!(
            judged(json!({"state": null}))
                .unwrap_err()
                .contains("/state")
        );
    }

    #[test]
    fn a_wrong_member_is_named_with_what_is_expected() {
        for (more, member) in [
            (json!({"elapsed_ms": -1}), "/elapsed_ms"),
            (json!({"elapsed_ms": 86_400_001}), "/elapsed_ms"),
            (json!({"elapsed_ms": "x"}), "/elapsed_ms"),
            (json!({"id": ""}), "/id"),
            (json!({"id": "a\u{0}b"}), "/id"),
            (json!({"notice": "x".repeat(257)}), "/notice"),
            (json!({"attachment": "me"}), "/attachment"),
            (json!({"kind": "seen"}), "/kind"),
            (
                json!({"text": {"version": "1", "sha256": "", "locale": "de"}}),
                "/text/sha256",
            ),
            (json!({"visibel": true}), "visibel"),
        ] {
            let problem = judged(more).unwrap_err();
            assert!(problem.contains(member), "{member}: {problem}");
        }
        assert_eq!(
            judged(json!({"elapsed_ms": 86_400_000})),
            Ok(NoticeKind::Displayed)
        );
    }
}
