//! A stream session: the messages of a stream, their cursors, and the end of the stream; the same
//! for all transports.
//!
//! A stream has the snapshot first, then changes. It may be opened before its call is known. It
//! ends with `bye` when the node shuts down, the authorization ends or a newer stream takes its place,
//! and with `gap` when the client reads too slowly; the client resumes with its cursor.
//!
//! # Why
//!
//! Server-sent events and WebSocket differ in framing, in keep-alive, and in what a client may
//! send. All else is decided here once, so that both transports send the same and end alike.

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::Duration;

use axum::extract::FromRef;
use futures_util::FutureExt as _;
use futures_util::future::BoxFuture;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use super::close_reason::{CloseReason, SubscribeError};
use super::cursor::CursorCodec;
use super::stream_capacity::{StreamCapacity, StreamPlace};
use super::subscription::{
    Authorization, SubscribeAccess, SubscribeRequest, Subscription, authorize, check_scope,
};
use crate::clock;
use crate::http::origin::Origins;
use crate::http::problem::{Problem, ProblemKind};
use crate::http::subscriber_token::revocations::TokenRevocations;
use crate::http::subscriber_token::{SubscriberClaims, SubscriberTokens};
use crate::lifecycle::Lifecycle;
use crate::live::call_access::CallAccess;
use crate::live::coverage::{Coverage, NotGranted};
use crate::live::fanout::message::{BuildInstant, MessageKind, StreamMessage};
use crate::live::fanout::notice_fact_writer::{NoticeFactWriter, Recipient};
use crate::live::fanout::queue::{Queued, Receiver};
use crate::live::fanout::stated_levels::StatedLevels;
use crate::live::fanout::subscriber::{SubscriberId, SubscriptionScope};
use crate::live::live_calls::{CursorPoint, LiveCalls, LiveStateClosed};
use onrecord_evidence::event::ids::Tenant;
use onrecord_evidence::event::instant::Millis;
use onrecord_evidence::identity::alias_graph::Anchor;
use onrecord_evidence::notice::notice_fact::{NoticeKind, Transport};

/// Interval of beats. A client that receives nothing for longer has lost its connection. A beat also
/// keeps proxies from closing the connection, and advances the cursor.
pub(crate) const BEAT_INTERVAL: Duration = Duration::from_secs(15);
/// Maximum number of messages that one receipt confirms.
const MAX_UNCONFIRMED: usize = 64;

/// The state that a stream needs.
#[derive(Clone, FromRef)]
pub(crate) struct StreamContext {
    pub access: SubscribeAccess,
    /// The origins whose pages may open a WebSocket.
    pub origins: Origins,
    pub live_calls: LiveCalls,
    pub fact_writer: NoticeFactWriter,
    pub lifecycle: Lifecycle,
    pub capacity: StreamCapacity,
}

/// A message to be written to the connection.
pub(crate) struct Outgoing {
    pub message: StreamMessage,
    pub cursor: String,
    /// Set on the last message: why the stream ends.
    pub close: Option<CloseReason>,
}

/// An open stream.
pub(crate) struct StreamSession {
    registration: RegistrationGuard,
    /// Held as long as the stream is open.
    place: StreamPlace,
    receiver: Receiver,
    codec: CursorCodec,
    /// The soft stop. It is cancelled before the live state drops its subscribers.
    soft: CancellationToken,
    authorization: Authorization,
    /// The earlier token of the stream that expires later than the present one: the stream goes on with
    /// it when the present one expires.
    longest: Option<Box<EarlierToken>>,
    /// When the present token expires; of no use to a stream with an API key.
    ends_at: Instant,
    /// The calls that the token must cover, and how it does.
    scope: SubscriptionScope,
    coverage: Coverage,
    call_access: CallAccess,
    /// Completes when the authorization ends.
    expiry: BoxFuture<'static, CloseReason>,
    fact_writer: NoticeFactWriter,
    /// The recipient of the notices; `None` for an API key, which is no participant of a call.
    recipient: Option<Arc<Recipient>>,
    /// The levels that were stated last.
    stated: Option<Arc<StatedLevels>>,
    /// The levels of the message that the connection is writing. They are dispatched when the
    /// connection requests the next message.
    in_write: Option<Arc<StatedLevels>>,
    /// The levels that the client has not confirmed yet, each with the instant of its cursor.
    /// `None` for a transport without receipts.
    unconfirmed: Option<Box<UnconfirmedLevels>>,
    /// The latest instant in a cursor of this stream, ms.
    latest_cursor: Millis,
    is_closed: bool,
}

/// Levels that were sent and not confirmed, each with the instant of its cursor.
#[derive(Default)]
struct UnconfirmedLevels(VecDeque<(Millis, Arc<StatedLevels>)>);

/// A token of the stream, and when it expires.
struct EarlierToken {
    claims: Arc<SubscriberClaims>,
    ends_at: Instant,
}

/// Removes the subscriber from the live state when the stream ends.
struct RegistrationGuard {
    live_calls: LiveCalls,
    tenant: Tenant,
    id: SubscriberId,
}

impl RegistrationGuard {
    fn level_message(&self, call: &Anchor) -> Option<StreamMessage> {
        self.live_calls.level_message(&self.tenant, self.id, call, clock::now_ms())
    }

    fn renew_scope(&self, scope: &SubscriptionScope) {
        self.live_calls.renew_scope(&self.tenant, self.id, scope.clone(), clock::now_ms());
    }
}

impl Drop for RegistrationGuard {
    fn drop(&mut self) {
        self.live_calls.unsubscribe(&self.tenant, self.id);
    }
}

impl StreamSession {
    /// Authorizes a request and opens its stream. A cursor that is not valid for this subscription
    /// resumes from an unknown point: the stream begins with `gap`, then states the levels.
    pub(crate) async fn open(
        context: &StreamContext,
        request: &SubscribeRequest<'_>,
        transport: Transport,
    ) -> Result<Self, SubscribeError> {
        let subscription = authorize(&context.access, request).await?;
        if context.lifecycle.is_stopping() {
            return Err(SubscribeError::Closed(CloseReason::Stopping));
        }
        let expiry = authorization_expiry(&subscription.authorization, &context.access);
        Self::register(context, subscription, request.cursor(), expiry, transport)
    }

    /// Registers an authorized subscription with the live state. The stream ends when `expiry`
    /// completes, or when the live state drops it: because of the stop if that has begun.
    pub(crate) fn register(
        context: &StreamContext,
        subscription: Subscription,
        cursor: Option<&str>,
        expiry: BoxFuture<'static, CloseReason>,
        transport: Transport,
    ) -> Result<Self, SubscribeError> {
        let StreamContext { live_calls, fact_writer, .. } = context;
        let Subscription { tenant, scope, authorization, coverage } = subscription;
        let tokens = &context.access.tokens;
        let codec = CursorCodec::new(tokens, &live_calls.incarnation(), &tenant, &scope);
        let recipient = Recipient::of(&tenant, &scope, transport).map(Arc::new);
        let returned = cursor.and_then(|cursor| codec.read(cursor));
        // Without a recipient, cursors have no levels.
        let since = cursor.map(|_| CursorPoint {
            at: returned.as_ref().map_or(0, |returned| returned.at),
            has_stated: recipient.is_none()
                || returned.as_ref().is_none_or(|returned| returned.stated.is_some()),
        });
        let place = context.capacity.place(&tenant, &authorization);
        let place = place.map_err(|full| SubscribeError::Closed(CloseReason::Full(full)))?;
        let now = clock::now_ms();
        let opened = live_calls.subscribe(&tenant, scope.clone(), since, now);
        let (id, receiver) =
            opened.map_err(|LiveStateClosed| SubscribeError::Closed(CloseReason::Stopping))?;
        place.ends(&receiver);
        let stated = returned.and_then(|returned| returned.stated).map(Arc::new);
        if let (Some(recipient), Some(stated)) = (&recipient, &stated) {
            fact_writer.record(NoticeKind::Delivered, recipient, Arc::clone(stated), now);
        }
        let ends_at = match &authorization {
            Authorization::Token(claims) => token_ends_at(claims),
            // A key ends when it is revoked.
            Authorization::Key(_) => Instant::now(),
        };
        let has_receipts = recipient.is_some() && transport == Transport::Websocket;
        Ok(Self {
            registration: RegistrationGuard { live_calls: live_calls.clone(), tenant, id },
            place,
            receiver,
            codec,
            soft: context.lifecycle.soft().clone(),
            authorization,
            longest: None,
            ends_at,
            scope,
            coverage,
            call_access: context.access.call_access.clone(),
            expiry,
            fact_writer: fact_writer.clone(),
            recipient,
            stated,
            in_write: None,
            unconfirmed: has_receipts.then(Box::default),
            latest_cursor: since.map_or(0, |since| since.at),
            is_closed: false,
        })
    }

    /// The next message; `None` after the last one. Cancel safe.
    pub(crate) async fn next(&mut self) -> Option<Outgoing> {
        // A connection that requests the next message has written the previous one.
        if let (Some(recipient), Some(stated)) = (&self.recipient, self.in_write.take()) {
            self.fact_writer.record(NoticeKind::Dispatched, recipient, stated, clock::now_ms());
        }
        if self.is_closed {
            return None;
        }
        let close = loop {
            let queued = tokio::select! {
                // Nothing more is sent to the holder of a token that was revoked: it resumes with
                // another one.
                biased;
                close = &mut self.expiry => match self.after_authorization(close) {
                    Some(close) => break close,
                    None => continue,
                },
                queued = self.receiver.next() => queued,
            };
            let message = match queued {
                Some(Queued::Message(message)) => Some(message),
                Some(Queued::Level(call)) => self.registration.level_message(&call),
                // The live state dropped all subscribers, a newer stream has the place, or the live state
                // dropped this subscriber.
                None if self.soft.is_cancelled() => break CloseReason::Stopping,
                None if self.place.is_taken() => break CloseReason::Replaced,
                None => break CloseReason::TooSlow,
            };
            match (message, self.refutation()) {
                (_, Some(reason)) => break CloseReason::NotGranted(reason),
                (Some(message), None) => return Some(self.outgoing(message, None)),
                (None, None) => {}
            }
        };
        self.is_closed = true;
        let last_message = close.last_message(self.registration.live_calls.announced_through());
        Some(self.outgoing(last_message, Some(close)))
    }

    /// Why the token does not cover the call of the stream after all. A token that covered it as far
    /// as the ids of the call were known is checked again with each message.
    fn refutation(&mut self) -> Option<NotGranted> {
        if self.coverage == Coverage::Proven {
            return None;
        }
        let Authorization::Token(claims) = &self.authorization else {
            return None;
        };
        match check_scope(&self.call_access, claims, &self.scope) {
            Ok(coverage) => {
                self.coverage = coverage;
                None
            }
            Err(reason) => Some(reason),
        }
    }

    fn outgoing(&mut self, message: StreamMessage, close: Option<CloseReason>) -> Outgoing {
        if matches!(message.kind, MessageKind::Snapshot | MessageKind::Notice) {
            self.in_write.clone_from(&message.stated);
            self.stated.clone_from(&message.stated);
            if let (Some(unconfirmed), Some(stated)) = (&mut self.unconfirmed, &message.stated) {
                unconfirmed.0.push_back((message.at, stated.clone()));
                if unconfirmed.0.len() > MAX_UNCONFIRMED {
                    unconfirmed.0.pop_front();
                }
            }
        }
        Outgoing { cursor: self.cursor_at(message.at), message, close }
    }

    fn cursor_at(&mut self, at: Millis) -> String {
        self.latest_cursor = self.latest_cursor.max(at);
        // Without a recipient there is nothing to prove, so the cursor needs no levels.
        let stated = self.stated.as_deref().filter(|_| self.recipient.is_some());
        self.codec.write(at, stated)
    }

    /// A beat with the present cursor, of a stream without queued messages. `None` if messages are
    /// queued: the cursor would skip them, and they show as well as a beat that the connection lives.
    pub(crate) fn beat(&mut self) -> Option<Outgoing> {
        let at = self.registration.live_calls.announced_through();
        self.receiver.is_empty().then(|| {
            let message = StreamMessage::beat(BuildInstant { at, now: clock::now_ms() });
            Outgoing { cursor: self.cursor_at(at), message, close: None }
        })
    }

    /// Takes a receipt: the client has received everything through a cursor.
    ///
    /// # Errors
    ///
    /// The cursor was not sent by this stream.
    pub(crate) fn confirm(&mut self, cursor: &str) -> Result<(), Problem> {
        let confirmed = self
            .codec
            .read(cursor)
            .filter(|confirmed| confirmed.at <= self.latest_cursor)
            .ok_or_else(|| {
                Problem::invalid(
                    "/cursor",
                    "acknowledge a cursor that came with a message of this stream",
                )
            })?;
        let (Some(recipient), Some(stated)) = (&self.recipient, confirmed.stated) else {
            return Ok(());
        };
        let now = clock::now_ms();
        if let Some(unconfirmed) = &mut self.unconfirmed {
            // The cursor of a beat is later than the message that stated its levels.
            let is_confirmed =
                |it: &(Millis, Arc<StatedLevels>)| it.0 <= confirmed.at && it.1.matches(&stated);
            let last = unconfirmed.0.iter().rposition(is_confirmed);
            for (_, earlier) in unconfirmed.0.drain(..last.map_or(0, |last| last + 1)) {
                self.fact_writer.record(NoticeKind::Delivered, recipient, earlier, now);
            }
        }
        // The cursor may be of an earlier stream, or its levels may have left `unconfirmed`.
        self.fact_writer.record(NoticeKind::Delivered, recipient, Arc::new(stated), now);
        Ok(())
    }

    /// Continues the stream with another token of the same participant: what it grants counts until it
    /// expires. The stream lives as long as the token that expires last, unless one of them is revoked.
    ///
    /// # Errors
    ///
    /// The token is not valid for this stream; the previous one continues to count.
    pub(crate) fn renew(&mut self, tokens: &SubscriberTokens, token: &str) -> Result<(), Problem> {
        let Authorization::Token(current) = &mut self.authorization else {
            return Err(Problem::new(
                ProblemKind::Forbidden,
                "this stream was opened with an API key, and goes on with it",
            ));
        };
        let claims = tokens.verify_token(token, clock::now_ms() / 1000).map_err(|error| {
            Problem::from(error).adding("the stream goes on under the old token")
        })?;
        if claims.tenant != self.registration.tenant
            || claims.subject.raw_id != current.subject.raw_id
        {
            return Err(Problem::new(
                ProblemKind::Forbidden,
                "this token is another participant's; the stream goes on under the old one",
            ));
        }
        self.coverage = check_scope(&self.call_access, &claims, &self.scope).map_err(|reason| {
            Problem::from(reason).adding("the stream goes on under the old token")
        })?;
        let claims = Arc::new(claims);
        let before = EarlierToken {
            claims: std::mem::replace(current, Arc::clone(&claims)),
            ends_at: self.ends_at,
        };
        let longest = self.longest.take().map_or(before, |longest| *longest);
        self.longest = (longest.claims.exp > claims.exp).then(|| Box::new(longest));
        let ends_at = token_ends_at(&claims);
        self.apply_token(claims, ends_at);
        Ok(())
    }

    /// Why the stream ends with its authorization; `None`: it goes on with the earlier token that
    /// expires later, and with what that one grants.
    fn after_authorization(&mut self, close: CloseReason) -> Option<CloseReason> {
        let Authorization::Token(current) = &mut self.authorization else {
            return Some(close);
        };
        if close != CloseReason::TokenExpired {
            return Some(close);
        }
        let Some(longest) = self.longest.take() else {
            return Some(close);
        };
        let EarlierToken { claims, ends_at } = *longest;
        match check_scope(&self.call_access, &claims, &self.scope) {
            Ok(coverage) => self.coverage = coverage,
            Err(reason) => return Some(CloseReason::NotGranted(reason)),
        }
        *current = Arc::clone(&claims);
        self.apply_token(claims, ends_at);
        None
    }

    /// Applies what a token grants, and its end.
    fn apply_token(&mut self, claims: Arc<SubscriberClaims>, ends_at: Instant) {
        let clients = self.call_access.clients_of(&claims.tenant);
        self.scope = self.scope.renewed(Arc::clone(&claims.subject), clients);
        self.registration.renew_scope(&self.scope);
        self.ends_at = ends_at;
        let revocations = self.codec.tokens().revocations().clone();
        self.expiry = match self.longest.as_deref() {
            Some(EarlierToken { claims: longest, .. }) => {
                Box::pin(tokens_end(claims, ends_at, Arc::clone(longest), revocations))
            }
            None => Box::pin(token_end(claims, ends_at, &revocations)),
        };
    }
}

/// Completes when the authorization ends.
fn authorization_expiry(
    authorization: &Authorization,
    access: &SubscribeAccess,
) -> BoxFuture<'static, CloseReason> {
    match authorization {
        Authorization::Key(key) => {
            let (keys, key) = (access.keys.clone(), *key);
            Box::pin(async move {
                keys.revoked(key).await;
                CloseReason::KeyRevoked
            })
        }
        Authorization::Token(claims) => {
            let (claims, ends_at) = (Arc::clone(claims), token_ends_at(claims));
            Box::pin(token_end(claims, ends_at, access.tokens.revocations()))
        }
    }
}

/// Completes when the present token expires, or one of the two is revoked.
async fn tokens_end(
    present: Arc<SubscriberClaims>,
    ends_at: Instant,
    longest: Arc<SubscriberClaims>,
    revocations: TokenRevocations,
) -> CloseReason {
    tokio::select! {
        () = revocations.changes().revoked(&longest) => CloseReason::TokenRevoked,
        reason = token_end(present, ends_at, &revocations) => reason,
    }
}

/// When a token expires.
pub(crate) fn token_ends_at(claims: &SubscriberClaims) -> Instant {
    let left = claims.exp.saturating_mul(1000).saturating_sub(clock::now_ms());
    // A token that has expired has no time left.
    Instant::now() + Duration::from_millis(u64::try_from(left).unwrap_or(0))
}

/// Completes when a token expires or is revoked.
pub(crate) fn token_end(
    claims: Arc<SubscriberClaims>,
    ends_at: Instant,
    revocations: &TokenRevocations,
) -> impl Future<Output = CloseReason> + Send + use<> {
    let is_revoked = revocations.changes().revoked_before(claims, ends_at);
    is_revoked.map(
        |is_revoked| {
            if is_revoked { CloseReason::TokenRevoked } else { CloseReason::TokenExpired }
        },
    )
}
