//! Subscriptions: who subscribes, to which calls, and by which authorization; the same for all
//! transports.

use std::sync::Arc;

use axum::http::HeaderMap;
use serde::Deserialize;
use uuid::Uuid;

use super::close_reason::{CloseReason, SubscribeError};
use crate::clock;
use crate::http::api_role::ApiRole;
use crate::http::auth::{ApiKeyCache, KEY_PREFIX, bearer_token};
use crate::http::problem::{Problem, ProblemKind};
use crate::http::subscriber_token::{SubscriberClaims, SubscriberTokens, TokenError};
use crate::live::call_access::{CallAccess, NamedCall};
use crate::live::coverage::{Coverage, NotGranted};
use crate::live::fanout::subscriber::SubscriptionScope;
use onrecord_evidence::event::ids::{self, Digest, Tenant};
use onrecord_evidence::identity::alias_graph::Anchor;

/// The query of a subscription: which calls, and from which cursor. Unknown parameters are ignored:
/// libraries add their own, such as one that prevents caching.
#[derive(Debug, Default, PartialEq, Deserialize, utoipa::IntoParams)]
#[serde(try_from = "Vec<(String, String)>")]
#[into_params(parameter_in = Query)]
pub(crate) struct ScopeQuery {
    /// The attachment of a client: its own leg of a call.
    #[param(format = Uuid)]
    attachment: Option<String>,
    /// The serverCallId of a call, percent-encoded.
    server_call_id: Option<String>,
    /// Any id of a call. With an API key only.
    call: Option<String>,
    /// The cursor after which the stream resumes.
    last_event_id: Option<String>,
    /// The same, as polyfills of `EventSource` name it when they reconnect; it counts more.
    #[param(rename = "lastEventId")]
    polyfill_event_id: Option<String>,
    /// A subscriber token, for browsers: `EventSource` and `WebSocket` send no headers.
    #[param(ignore)]
    token: Option<String>,
}

impl TryFrom<Vec<(String, String)>> for ScopeQuery {
    type Error = String;

    fn try_from(parameters: Vec<(String, String)>) -> Result<Self, String> {
        let mut query = Self::default();
        for (name, value) in parameters {
            let once = match &*name {
                // The last one counts: a client may add the cursor to an address that has one.
                "last_event_id" => {
                    query.last_event_id = Some(value);
                    continue;
                }
                "lastEventId" => {
                    query.polyfill_event_id = Some(value);
                    continue;
                }
                "attachment" => &mut query.attachment,
                "server_call_id" => &mut query.server_call_id,
                "call" => &mut query.call,
                "token" => &mut query.token,
                _ => continue,
            };
            if once.replace(value).is_some() {
                return Err(format!("name {name} once"));
            }
        }
        Ok(query)
    }
}

/// A request for a subscription, not yet authorized.
pub(crate) struct SubscribeRequest<'a> {
    pub headers: &'a HeaderMap,
    pub query: &'a ScopeQuery,
    /// The subscriber token in the handshake of a WebSocket.
    pub handshake_token: Option<&'a str>,
}

impl<'a> SubscribeRequest<'a> {
    pub(crate) fn new(headers: &'a HeaderMap, query: &'a ScopeQuery) -> Self {
        Self { headers, query, handshake_token: None }
    }

    /// The credential: of the header, else of the handshake, else of the query.
    fn credential(&self) -> Option<&'a str> {
        bearer_token(self.headers).or(self.handshake_token).or(self.query.token.as_deref())
    }

    /// Whether the request comes from the `EventSource` or `WebSocket` of a browser. These show the
    /// page no HTTP status, so a rejection must be a message after 200 or 101.
    pub(crate) fn is_status_hidden(&self) -> bool {
        bearer_token(self.headers).is_none() && self.credential().is_some()
    }

    /// The cursor from which the stream resumes.
    pub(crate) fn cursor(&self) -> Option<&'a str> {
        let header = self.headers.get("last-event-id").and_then(|value| value.to_str().ok());
        let ScopeQuery { polyfill_event_id, last_event_id, .. } = self.query;
        [header, polyfill_event_id.as_deref(), last_event_id.as_deref()]
            .into_iter()
            .flatten()
            .find(|cursor| !cursor.is_empty())
    }
}

/// An authorized subscription.
pub(crate) struct Subscription {
    pub tenant: Tenant,
    pub scope: SubscriptionScope,
    pub authorization: Authorization,
    pub coverage: Coverage,
}

/// By what a stream is authorized. The stream ends with it.
pub(crate) enum Authorization {
    /// An API key, by its hash, until it is revoked.
    Key(Digest),
    /// A subscriber token with these claims, until it expires or is revoked.
    Token(Arc<SubscriberClaims>),
}

/// The credentials that authorize a subscription.
#[derive(Clone)]
pub(crate) struct SubscribeAccess {
    pub tokens: SubscriberTokens,
    pub keys: ApiKeyCache,
    pub call_access: CallAccess,
}

/// Authenticates a request and determines its scope.
pub(crate) async fn authorize(
    access: &SubscribeAccess,
    request: &SubscribeRequest<'_>,
) -> Result<Subscription, SubscribeError> {
    let query = request.query;
    match request.credential() {
        Some(token) if !token.starts_with(KEY_PREFIX) => {
            let verified = access.tokens.verify_token(token, clock::now_ms() / 1000);
            let claims = verified.map_err(|error| match error {
                TokenError::Expired => SubscribeError::Closed(CloseReason::TokenExpired),
                TokenError::Revoked => SubscribeError::Closed(CloseReason::TokenRevoked),
                TokenError::Invalid => Problem::from(error).into(),
            })?;
            let scope = scope_of(access, &claims, query)?;
            let coverage = check_scope(&access.call_access, &claims, &scope)
                .map_err(|reason| SubscribeError::Closed(CloseReason::NotGranted(reason)))?;
            Ok(Subscription {
                tenant: claims.tenant.clone(),
                scope,
                authorization: Authorization::Token(Arc::new(claims)),
                coverage,
            })
        }
        // An API key is not accepted in the query: it is long-lived, and proxies log addresses.
        _ => Ok(by_key(&access.keys, request.headers, query).await?),
    }
}

/// The calls that a client names.
fn scope_of(
    access: &SubscribeAccess,
    claims: &SubscriberClaims,
    query: &ScopeQuery,
) -> Result<SubscriptionScope, Problem> {
    let subject = Arc::clone(&claims.subject);
    Ok(match (&query.attachment, &query.server_call_id, &query.call) {
        (Some(attachment), None, None) => {
            SubscriptionScope::Attachment { attachment: attachment_id(attachment)?, subject }
        }
        (None, Some(id), None) => SubscriptionScope::Call {
            anchors: vec![Anchor::server(&server_call_id(id)?)],
            subject: Some(subject),
        },
        (None, None, None) => {
            let clients = access.call_access.clients_of(&claims.tenant);
            SubscriptionScope::Person { subject, clients }
        }
        (None, None, Some(_)) => {
            return Err(Problem::new(
                ProblemKind::Forbidden,
                "call=… needs an API key; with a subscriber token name attachment=… or server_call_id=…",
            ));
        }
        _ => return Err(several_calls()),
    })
}

/// Checks whether a token covers the call of a scope. Which calls of a person's attachments it covers
/// is checked for each of them, where they are stated.
pub(super) fn check_scope(
    call_access: &CallAccess,
    claims: &SubscriberClaims,
    scope: &SubscriptionScope,
) -> Result<Coverage, NotGranted> {
    match scope {
        SubscriptionScope::Attachment { attachment, .. } => {
            call_access.check(claims, NamedCall::Attachment(&Anchor::attachment(attachment)))
        }
        // A client names a call by its serverCallId only.
        SubscriptionScope::Call { anchors, .. } => match anchors.first() {
            Some(anchor) => call_access.check(claims, NamedCall::ServerCallId(anchor)),
            None => call_access.check(claims, NamedCall::All),
        },
        SubscriptionScope::Person { .. } | SubscriptionScope::Everything => {
            call_access.check(claims, NamedCall::All)
        }
    }
}

async fn by_key(
    keys: &ApiKeyCache,
    headers: &HeaderMap,
    query: &ScopeQuery,
) -> Result<Subscription, Problem> {
    let roles = [ApiRole::App, ApiRole::Analyst, ApiRole::Auditor];
    let caller = keys.authorize(headers, &roles).await?;
    let anchors = match (&query.attachment, &query.server_call_id, &query.call) {
        (Some(attachment), None, None) => vec![Anchor::attachment(&attachment_id(attachment)?)],
        (None, Some(id), None) => vec![Anchor::server(&server_call_id(id)?)],
        (None, None, Some(call)) => any_anchor(call),
        (None, None, None) => Vec::new(),
        _ => return Err(several_calls()),
    };
    let scope = if anchors.is_empty() {
        SubscriptionScope::Everything
    } else {
        let subject = None;
        SubscriptionScope::Call { anchors, subject }
    };
    Ok(Subscription {
        tenant: caller.tenant,
        scope,
        authorization: Authorization::Key(caller.key),
        // A grant is required of clients only.
        coverage: Coverage::Proven,
    })
}

fn several_calls() -> Problem {
    Problem::invalid("attachment", "name the call by one of attachment, server_call_id and call")
}

fn attachment_id(text: &str) -> Result<Arc<str>, Problem> {
    let id = Uuid::try_parse(text).map_err(|_| {
        Problem::invalid("attachment", "an attachment is the UUID under which the client reports")
    })?;
    Ok(id.hyphenated().to_string().into())
}

fn server_call_id(text: &str) -> Result<String, Problem> {
    ids::server_call_id(text).ok_or_else(|| Problem::invalid("server_call_id", "this is no serverCallId (a real one has some 200 characters); percent-encode it in a query"))
}

/// The anchors that a text may name. Which of them exist may become known later.
fn any_anchor(text: &str) -> Vec<Anchor> {
    let candidates = Anchor::candidates(text);
    if candidates.is_empty() {
        return vec![Anchor::correlation(text)];
    }
    candidates
}

#[cfg(test)]
mod tests {
    use axum::extract::Query;
    use axum::http::{HeaderValue, Uri};

    use super::*;
    use crate::http::body;

    fn query(text: &str) -> Result<ScopeQuery, String> {
        let uri: Uri = format!("/v1/notices/stream?{text}").parse().unwrap();
        let Query(pairs) = Query::<Vec<(String, String)>>::try_from_uri(&uri).unwrap();
        body::of_pairs(pairs).map_err(|problem| serde_json::json!(problem)["detail"].to_string())
    }

    #[test]
    fn unknown_parameters_are_ignored_and_known_ones_come_once() {
        let expected = ScopeQuery { attachment: Some("a".to_owned()), ..ScopeQuery::default() };
        for text in
            ["attachment=a", "_=17&attachment=a&utm_source=x&Attachment=b&x", "&attachment=a&"]
        {
            assert_eq!(query(text).as_ref(), Ok(&expected), "{text}");
        }
        assert_eq!(query(""), Ok(ScopeQuery::default()));
        for name in ["attachment", "server_call_id", "call", "token"] {
            assert!(query(&format!("{name}=a&{name}=b")).unwrap_err().contains(name), "{name}");
        }
    }

    #[test]
    fn the_latest_cursor_counts() {
        for (header, text, cursor) in [
            (None, "", None),
            (None, "last_event_id=1", Some("1")),
            (None, "lastEventId=2", Some("2")),
            (None, "last_event_id=1&lastEventId=2", Some("2")),
            (None, "lastEventId=2&last_event_id=1", Some("2")),
            (None, "lastEventId=2&lastEventId=3", Some("3")),
            (None, "last_event_id=1&lastEventId=", Some("1")),
            (Some("3"), "last_event_id=1&lastEventId=2", Some("3")),
            (Some(""), "last_event_id=1", Some("1")),
            (Some(""), "last_event_id=", None),
        ] {
            let mut headers = HeaderMap::new();
            if let Some(header) = header {
                headers.insert("last-event-id", HeaderValue::from_static(header));
            }
            let query = query(text).unwrap();
            assert_eq!(
                SubscribeRequest::new(&headers, &query).cursor(),
                cursor,
                "{header:?} {text}"
            );
        }
    }
}
