use std::collections::VecDeque;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};

use futures_util::future::BoxFuture;
use uuid::Uuid;

use super::*;
use crate::clock;
use crate::config::ClientPolicy;
use crate::http::auth::{ApiKeyCache, ApiKeyLookup, Caller, KeyLookupError};
use crate::http::origin::Origins;
use crate::http::shared_capacity::CapacityExceeded;
use crate::http::subscriber_token::SubscriberClaims;
use crate::http::subscriber_token::revocations::{IssuedUntil, RevokedTokens, TokenRevocation};
use crate::http::subscriber_token::token_subject::TokenSubject;
use crate::lifecycle::Lifecycle;
use crate::live::call_access::{CallAccess, TenantPolicies};
use crate::live::coverage::{Coverage, NotGranted};
use crate::live::fanout::notice_fact_writer::NoticeFactWriter;
use crate::live::fanout::subscriber::SubscriptionScope;
use crate::live::live_calls::LiveCalls;
use crate::streams::stream_capacity::StreamCapacity;
use crate::streams::stream_session::{token_end, token_ends_at};
use crate::streams::subscription::{Authorization, SubscribeAccess, Subscription};
use onrecord_evidence::event::ids::Tenant;

const ANNA: &str = "8:acs:r_anna";

/// A client that sends the given frames and then nothing, or answers pings.
#[derive(Default)]
struct TestSocket {
    sends: VecDeque<Message>,
    answers_pings: bool,
    received: Vec<Message>,
}

impl Stream for TestSocket {
    type Item = Result<Message, Error>;

    fn poll_next(mut self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        match self.sends.pop_front() {
            Some(frame) => Poll::Ready(Some(Ok(frame))),
            None => Poll::Pending,
        }
    }
}

impl Sink<Message> for TestSocket {
    type Error = Error;

    fn poll_ready(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<Result<(), Error>> {
        Poll::Ready(Ok(()))
    }

    fn start_send(mut self: Pin<&mut Self>, frame: Message) -> Result<(), Error> {
        if self.answers_pings
            && let Message::Ping(payload) = &frame
        {
            let pong = Message::Pong(payload.clone());
            self.sends.push_back(pong);
        }
        self.received.push(frame);
        Ok(())
    }

    fn poll_flush(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<Result<(), Error>> {
        Poll::Ready(Ok(()))
    }

    fn poll_close(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<Result<(), Error>> {
        Poll::Ready(Ok(()))
    }
}

impl TestSocket {
    fn pings(&self) -> usize {
        let is_ping = |frame: &&Message| matches!(frame, Message::Ping(_));
        self.received.iter().filter(is_ping).count()
    }

    fn errors(&self) -> Vec<serde_json::Value> {
        let texts = self
            .received
            .iter()
            .filter_map(|frame| frame.to_text().ok())
            .filter_map(|text| serde_json::from_str::<serde_json::Value>(text).ok());
        texts.filter(|frame| frame["type"] == "error").collect()
    }
}

fn tokens() -> SubscriberTokens {
    SubscriberTokens::new(&[], Duration::from_secs(3600))
}

fn tenant() -> Tenant {
    Tenant::parse("t").unwrap()
}

fn claims(tenant: &str, sub: &str, exp: i64) -> SubscriberClaims {
    SubscriberClaims::new(Tenant::parse(tenant).unwrap(), sub.to_owned(), None, exp)
}

struct NoKeys;

impl ApiKeyLookup for NoKeys {
    fn live_keys(&self) -> BoxFuture<'_, Result<Vec<Caller>, KeyLookupError>> {
        Box::pin(std::future::ready(Ok(Vec::new())))
    }
}

/// A stream of Anna whose token expires at `until`, s.
fn session(tokens: &SubscriberTokens, until: i64) -> StreamSession {
    let subject = TokenSubject::plain(ANNA);
    session_of(tokens, until, SubscriptionScope::Person { subject, clients: ClientPolicy::Open })
}

fn session_of(tokens: &SubscriberTokens, until: i64, scope: SubscriptionScope) -> StreamSession {
    let subscription = Subscription {
        tenant: tenant(),
        scope,
        authorization: Authorization::Token(Arc::new(claims("t", ANNA, until))),
        coverage: Coverage::Proven,
    };
    let keys = ApiKeyCache::new(Arc::new(NoKeys));
    let live_calls = LiveCalls::new(64);
    let call_access = CallAccess::new(TenantPolicies::default(), live_calls.clone());
    let context = StreamContext {
        access: SubscribeAccess { tokens: tokens.clone(), keys, call_access },
        origins: Origins::default(),
        live_calls,
        fact_writer: NoticeFactWriter::idle(64).0,
        lifecycle: Lifecycle::new(),
        capacity: StreamCapacity::new(10),
    };
    let anna = claims("t", ANNA, until);
    let ends_at = token_ends_at(&anna);
    let expiry = Box::pin(token_end(Arc::new(anna), ends_at, tokens.revocations()));
    StreamSession::register(&context, subscription, None, expiry, Transport::Websocket)
        .unwrap_or_else(|_| panic!("the live state has capacity"))
}

fn in_an_hour() -> i64 {
    clock::now_ms() / 1000 + 3600
}

#[tokio::test(start_paused = true)]
async fn a_client_that_sends_nothing_is_disconnected_and_one_that_answers_pings_is_not() {
    let tokens = tokens();
    let mut dead = TestSocket::default();
    let began = Instant::now();
    let closing = run(&mut dead, session(&tokens, in_an_hour()), &tokens).await;
    assert_eq!(closing, Ok(ClosingFrame::NO_FRAMES));
    assert_eq!(began.elapsed().as_secs(), 45);
    assert!(dead.pings() >= 2);

    let mut living = TestSocket { answers_pings: true, ..TestSocket::default() };
    let running = run(&mut living, session(&tokens, in_an_hour()), &tokens);
    let ended = timeout(Duration::from_secs(3000), running).await;
    assert!(ended.is_err(), "the stream continues");
    assert!(living.pings() >= 3000 / 15 - 1);
}

#[tokio::test(start_paused = true)]
async fn a_stream_ends_with_its_token_and_another_token_prolongs_it() {
    let tokens = tokens();
    let now = clock::now_ms() / 1000;
    let answers_pings = || TestSocket { answers_pings: true, ..TestSocket::default() };
    let mut client = answers_pings();
    let began = Instant::now();
    let closing = run(&mut client, session(&tokens, now + 60), &tokens).await;
    assert_eq!(closing, Ok(ClosingFrame::of(CloseReason::TokenExpired)));
    assert!(began.elapsed() <= Duration::from_secs(60));

    let renewal = |claims: &SubscriberClaims| {
        let token = tokens.mint(claims).unwrap();
        Message::text(format!("{{\"type\":\"token\",\"token\":\"{token}\"}}"))
    };
    let mut client = answers_pings();
    for (tenant, sub, until) in [
        ("t", ANNA, now + 600),
        // Of two tokens, the one that expires last counts.
        ("t", ANNA, now + 30),
        ("t", ANNA, now + 20),
        // None of these has an effect.
        ("t", "8:acs:r_ben", now + 6000),
        ("u", ANNA, now + 6000),
        ("t", ANNA, now - 1),
    ] {
        client.sends.push_back(renewal(&claims(tenant, sub, until)));
    }
    client.sends.push_back(Message::text(r#"{"type":"token","token":"a.b.c"}"#.to_owned()));
    let began = Instant::now();
    let closing = run(&mut client, session(&tokens, now + 60), &tokens).await;
    assert_eq!(closing, Ok(ClosingFrame::of(CloseReason::TokenExpired)));
    let lasted = began.elapsed();
    assert!(lasted > Duration::from_secs(590) && lasted <= Duration::from_secs(600));
    let errors = client.errors();
    let statuses: Vec<_> = errors
        .iter()
        .map(|error| error["problem"]["status"].as_u64().unwrap_or_default())
        .collect();
    assert_eq!(statuses, [403, 403, 401, 401]);
}

#[tokio::test(start_paused = true)]
async fn a_stream_ends_when_its_present_token_or_the_one_that_it_lives_by_is_revoked() {
    let (ours, thief) = (Uuid::from_u128(1), Uuid::from_u128(2));
    for revoked in [ours, thief] {
        let tokens = tokens();
        let now = clock::now_ms();
        let minted = |until: i64, key| claims("t", ANNA, now / 1000 + until).minted(now, key);
        let mut client = TestSocket { answers_pings: true, ..TestSocket::default() };
        for claims in [minted(600, ours), minted(300, thief)] {
            let token = tokens.mint(&claims).unwrap();
            let frame = format!("{{\"type\":\"token\",\"token\":\"{token}\"}}");
            client.sends.push_back(Message::text(frame));
        }
        let revocations = tokens.revocations().clone();
        let revoking = async {
            tokio::time::sleep(Duration::from_secs(100)).await;
            let tokens = RevokedTokens::Key(revoked);
            let issued_until = IssuedUntil::At(now);
            revocations.add([TokenRevocation { tenant: tenant(), tokens, issued_until }], now);
        };
        let session = session(&tokens, in_an_hour() - 3300);
        let (closing, ()) = tokio::join!(run(&mut client, session, &tokens), revoking);
        assert_eq!(closing, Ok(ClosingFrame::of(CloseReason::TokenRevoked)));
        assert_eq!(client.errors().len(), 0);
    }
}

#[tokio::test(start_paused = true)]
async fn nothing_that_is_queued_is_sent_after_the_end_of_the_token() {
    let tokens = tokens();
    let scope = SubscriptionScope::Attachment {
        attachment: "a".into(),
        subject: TokenSubject::plain(ANNA),
    };
    let kinds = async |session: StreamSession| {
        let mut client = TestSocket::default();
        // The client answers no ping, so that a stream that does not end before ends.
        let _closing = run(&mut client, session, &tokens).await;
        let texts = client.received.iter().filter_map(|frame| frame.to_text().ok());
        let frames = texts.filter_map(|it| serde_json::from_str::<serde_json::Value>(it).ok());
        // Beats state no level.
        frames
            .map(|frame| frame["type"].as_str().unwrap_or_default().to_owned())
            .filter(|kind| kind != "beat")
            .collect::<Vec<_>>()
    };
    // The snapshot of its call waits in the queue of each.
    assert_eq!(kinds(session_of(&tokens, in_an_hour(), scope.clone())).await, ["snapshot"]);
    let expired = session_of(&tokens, 0, scope.clone());
    assert_eq!(kinds(expired).await, ["bye"]);
    let session = session_of(&tokens, in_an_hour(), scope);
    let (tokens_of_all, issued_until) = (RevokedTokens::All, IssuedUntil::At(0));
    let revocation = TokenRevocation { tenant: tenant(), tokens: tokens_of_all, issued_until };
    tokens.revocations().add([revocation], 0);
    assert_eq!(kinds(session).await, ["bye"]);
}

#[tokio::test(start_paused = true)]
async fn invalid_frames_are_answered_and_too_many_of_them_end_the_stream() {
    let tokens = tokens();
    let mut client = TestSocket::default();
    client.sends.push_back(Message::text(r#"{"type":"ack","cursor":"1.AAAA"}"#.to_owned()));
    client.sends.push_back(Message::Binary(bytes::Bytes::from_static(b"{}")));
    client.sends.extend((0..100).map(|_| Message::text("?".to_owned())));
    let closing = run(&mut client, session(&tokens, in_an_hour()), &tokens).await;
    assert_eq!(closing, Ok(ClosingFrame::TOO_MANY));
    let errors = client.errors();
    assert_eq!(errors.len(), 60);
    assert_eq!(errors[0]["problem"]["member"], "/cursor");

    let mut client = TestSocket::default();
    client.sends.push_back(Message::text("x".repeat(MAX_FRAME_BYTES + 1)));
    let closing = run(&mut client, session(&tokens, in_an_hour()), &tokens).await;
    assert_eq!(closing, Ok(ClosingFrame::TOO_LARGE));
}

#[test]
fn every_reason_fits_in_a_close_frame() {
    let reasons = [
        CloseReason::Stopping,
        CloseReason::Full(CapacityExceeded::Caller),
        CloseReason::Full(CapacityExceeded::Tenant),
        CloseReason::Full(CapacityExceeded::Total),
        CloseReason::TokenExpired,
        CloseReason::TokenRevoked,
        CloseReason::NotGranted(NotGranted::NoGrant),
        CloseReason::NotGranted(NotGranted::OtherCall),
        CloseReason::NotGranted(NotGranted::Unproven),
        CloseReason::Replaced,
        CloseReason::KeyRevoked,
        CloseReason::TooSlow,
    ];
    let frames = reasons.map(ClosingFrame::of).into_iter().chain([
        ClosingFrame::UNREADABLE,
        ClosingFrame::TOO_LARGE,
        ClosingFrame::TOO_MANY,
        ClosingFrame::NO_FRAMES,
    ]);
    for frame in frames {
        assert!(frame.reason.len() <= 123, "{}", frame.reason);
    }
}
