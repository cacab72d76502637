//! Who listens, to which calls, and by what right: the same whichever way they ask.

use axum::extract::Query;
use axum::extract::rejection::QueryRejection;
use axum::http::HeaderMap;
use serde::Deserialize;
use uuid::Uuid;

use super::Notify;
use super::conversation::{End, Refusal};
use super::listener::Reach;
use super::token::{Subscriber, TokenError};
use crate::clock;
use crate::domain::alias::Anchor;
use crate::domain::ids::{self, Digest, Tenant};
use crate::http::access::{KEY_PREFIX, bearer};
use crate::http::problem::{Problem, ProblemKind};
use crate::store::Role;

/// Which calls, and from where on.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct ReachQuery {
    attachment: Option<String>,
    server_call_id: Option<String>,
    /// Any id of a call; with an API key.
    call: Option<String>,
    last_event_id: Option<String>,
    /// A subscriber token, for browsers, whose `EventSource` and `WebSocket` send no headers.
    token: Option<String>,
}

/// A misspelt member would be lost silently, and with an API key the stream be that of a tenant.
pub(super) fn reach_query(
    query: Result<Query<ReachQuery>, QueryRejection>,
) -> Result<ReachQuery, Problem> {
    match query {
        Ok(Query(query)) => Ok(query),
        Err(rejection) => Err(Problem::invalid("query", rejection.body_text())),
    }
}

/// A question as it came.
pub(super) struct Asking<'a> {
    pub headers: &'a HeaderMap,
    pub query: &'a ReachQuery,
    /// A subscriber token that came in the handshake of a WebSocket.
    pub offered: Option<&'a str>,
}

impl<'a> Asking<'a> {
    pub fn new(headers: &'a HeaderMap, query: &'a ReachQuery) -> Self {
        Self {
            headers,
            query,
            offered: None,
        }
    }

    /// The credential that counts: a header's before that of a handshake before the query's.
    fn credential(&self) -> Option<&'a str> {
        bearer(self.headers)
            .or(self.offered)
            .or(self.query.token.as_deref())
    }

    /// Whether it comes from a browser's `EventSource` or `WebSocket`, which shows the page no
    /// status: whom it is refused they learn by what is said after a 200 or 101.
    pub fn sees_no_status(&self) -> bool {
        bearer(self.headers).is_none() && self.credential().is_some()
    }

    /// The cursor that it comes back with.
    pub fn cursor(&self) -> Option<&'a str> {
        self.headers
            .get("last-event-id")
            .and_then(|value| value.to_str().ok())
            .or(self.query.last_event_id.as_deref())
            .filter(|cursor| !cursor.is_empty())
    }
}

/// Who listens, to what, and by what right.
pub(super) struct Listening {
    pub tenant: Tenant,
    pub reach: Reach,
    pub right: Right,
}

/// A stream ends with the right to it.
pub(super) enum Right {
    /// An API key, by its hash: until it is revoked.
    Key(Digest),
    /// A subscriber token: whose, and until when, in seconds since 1970.
    Token { sub: String, until: i64 },
}

/// Finds out who asks and what they may hear.
pub(super) async fn listening(notify: &Notify, asking: &Asking<'_>) -> Result<Listening, Refusal> {
    let query = asking.query;
    match asking.credential() {
        Some(token) if !token.starts_with(KEY_PREFIX) => {
            let checked = notify.tokens.check(token, clock::now_ms() / 1000);
            let subscriber = checked.map_err(|error| match error {
                TokenError::Expired => Refusal::Ends(End::TokenExpired),
                TokenError::Invalid => {
                    Problem::new(ProblemKind::Unauthorized, error.to_string()).into()
                }
            })?;
            Ok(by_token(subscriber, query)?)
        }
        // Keys are not taken from the query: they live long, and addresses are logged on the way.
        _ => Ok(by_key(notify, asking.headers, query).await?),
    }
}

fn by_token(subscriber: Subscriber, query: &ReachQuery) -> Result<Listening, Problem> {
    let sub = subscriber.sub.clone();
    let reach = match (&query.attachment, &query.server_call_id, &query.call) {
        (Some(attachment), None, None) => Reach::Attachment {
            attachment: attachment_id(attachment)?,
            person: sub,
        },
        (None, Some(id), None) => Reach::Call {
            anchors: vec![Anchor::server(&server_call_id(id)?)],
            person: Some(sub),
        },
        (None, None, None) => Reach::Person(sub),
        (None, None, Some(_)) => {
            return Err(Problem::new(
                ProblemKind::Forbidden,
                "call=… needs an API key; with a subscriber token name attachment=… or server_call_id=…",
            ));
        }
        _ => return Err(only_one()),
    };
    Ok(Listening {
        tenant: subscriber.tenant,
        reach,
        right: Right::Token {
            sub: subscriber.sub,
            until: subscriber.exp,
        },
    })
}

async fn by_key(
    notify: &Notify,
    headers: &HeaderMap,
    query: &ReachQuery,
) -> Result<Listening, Problem> {
    let caller = notify.keys.caller(headers).await?;
    caller.must_be(&[Role::App, Role::Analyst, Role::Auditor])?;
    let anchors = match (&query.attachment, &query.server_call_id, &query.call) {
        (Some(attachment), None, None) => vec![Anchor::attachment(&attachment_id(attachment)?)],
        (None, Some(id), None) => vec![Anchor::server(&server_call_id(id)?)],
        (None, None, Some(call)) => any_anchor(call),
        (None, None, None) => Vec::new(),
        _ => return Err(only_one()),
    };
    let reach = if anchors.is_empty() {
        Reach::Everything
    } else {
        let person = None;
        Reach::Call { anchors, person }
    };
    Ok(Listening {
        tenant: caller.tenant,
        reach,
        right: Right::Key(caller.key),
    })
}

fn only_one() -> Problem {
    Problem::invalid(
        "attachment",
        "name the call by one of attachment, server_call_id and call",
    )
}

fn attachment_id(text: &str) -> Result<String, Problem> {
    let id = Uuid::try_parse(text).map_err(|_| {
        Problem::invalid(
            "attachment",
            "an attachment is the UUID under which the client reports",
        )
    })?;
    Ok(id.hyphenated().to_string())
}

fn server_call_id(text: &str) -> Result<String, Problem> {
    ids::server_call_id(text).ok_or_else(|| Problem::invalid("server_call_id", "this is no serverCallId (a real one has some 200 characters); percent-encode it in a query"))
}

/// Everything that a text may name: which of it there is may be known only later.
fn any_anchor(text: &str) -> Vec<Anchor> {
    let candidates = Anchor::candidates(text);
    if candidates.is_empty() {
        return vec![Anchor::correlation(text)];
    }
    candidates
}
