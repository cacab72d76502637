use std::collections::VecDeque;
use std::pin::Pin;
use std::task::{Context, Poll};

use tokio_util::sync::CancellationToken;

use super::*;
use crate::clock;
use crate::domain::ids::Tenant;
use crate::notify::board::Board;
use crate::notify::clerk::Clerk;
use crate::notify::conversation::expiry;
use crate::notify::listener::Reach;
use crate::notify::listening::{Listening, Right};
use crate::notify::token::Subscriber;

const ANNA: &str = "8:acs:r_anna";

/// A client that says what it is given, and then nothing, or answers pings.
#[derive(Default)]
struct Client {
    says: VecDeque<Message>,
    answers_pings: bool,
    heard: Vec<Message>,
}

impl Stream for Client {
    type Item = Result<Message, Error>;

    fn poll_next(mut self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        match self.says.pop_front() {
            Some(frame) => Poll::Ready(Some(Ok(frame))),
            None => Poll::Pending,
        }
    }
}

impl Sink<Message> for Client {
    type Error = Error;

    fn poll_ready(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<Result<(), Error>> {
        Poll::Ready(Ok(()))
    }

    fn start_send(mut self: Pin<&mut Self>, frame: Message) -> Result<(), Error> {
        if self.answers_pings
            && let Message::Ping(what) = &frame
        {
            let pong = Message::Pong(what.clone());
            self.says.push_back(pong);
        }
        self.heard.push(frame);
        Ok(())
    }

    fn poll_flush(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<Result<(), Error>> {
        Poll::Ready(Ok(()))
    }

    fn poll_close(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<Result<(), Error>> {
        Poll::Ready(Ok(()))
    }
}

impl Client {
    fn pings(&self) -> usize {
        let is_ping = |frame: &&Message| matches!(frame, Message::Ping(_));
        self.heard.iter().filter(is_ping).count()
    }

    fn errors(&self) -> Vec<serde_json::Value> {
        let texts = self
            .heard
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

fn subscriber(tenant: &str, sub: &str, exp: i64) -> Subscriber {
    Subscriber::new(Tenant::parse(tenant).unwrap(), sub.to_owned(), None, exp)
}

/// A conversation of Anna's whose token expires at `until`, s.
fn conversation(tokens: &SubscriberTokens, until: i64) -> Conversation {
    let listening = Listening {
        tenant: tenant(),
        reach: Reach::Person(ANNA.to_owned()),
        right: Right::Token {
            sub: ANNA.to_owned(),
            until,
        },
    };
    let board = Board::new(64, 10);
    let (stop, lapses) = (CancellationToken::new(), Box::pin(expiry(until)));
    let clerk = (Clerk::idle(64).0, Transport::Websocket);
    Conversation::of(listening, None, lapses, &board, tokens, stop, clerk)
        .unwrap_or_else(|_| panic!("there is a place"))
}

fn in_an_hour() -> i64 {
    clock::now_ms() / 1000 + 3600
}

#[tokio::test(start_paused = true)]
async fn a_client_that_is_silent_is_sent_away_and_one_that_answers_pings_lives() {
    let tokens = tokens();
    let mut dead = Client::default();
    let began = Instant::now();
    let last_word = talk(&mut dead, conversation(&tokens, in_an_hour()), &tokens).await;
    assert_eq!(last_word, Ok(LastWord::SILENT));
    assert_eq!(began.elapsed().as_secs(), 45);
    assert!(dead.pings() >= 2);

    let mut living = Client {
        answers_pings: true,
        ..Client::default()
    };
    let talking = talk(&mut living, conversation(&tokens, in_an_hour()), &tokens);
    let cut = timeout(Duration::from_secs(3000), talking).await;
    assert!(cut.is_err(), "it goes on");
    assert!(living.pings() >= 3000 / 15 - 1);
}

#[tokio::test(start_paused = true)]
async fn an_expired_token_ends_the_talk_and_another_one_in_time_prolongs_it() {
    let tokens = tokens();
    let now = clock::now_ms() / 1000;
    let patient = || Client {
        answers_pings: true,
        ..Client::default()
    };
    let mut client = patient();
    let began = Instant::now();
    let last_word = talk(&mut client, conversation(&tokens, now + 60), &tokens).await;
    assert_eq!(last_word, Ok(LastWord::of(End::TokenExpired)));
    assert!(began.elapsed() <= Duration::from_secs(60));

    let renewal = |subscriber: &Subscriber| {
        let token = tokens.mint(subscriber).unwrap();
        Message::text(format!("{{\"type\":\"token\",\"token\":\"{token}\"}}"))
    };
    let mut client = patient();
    for (tenant, sub, until) in [
        ("t", ANNA, now + 600),
        // None of these changes anything.
        ("t", ANNA, now + 30),
        ("t", "8:acs:r_ben", now + 6000),
        ("u", ANNA, now + 6000),
        ("t", ANNA, now - 1),
    ] {
        client
            .says
            .push_back(renewal(&subscriber(tenant, sub, until)));
    }
    client.says.push_back(Message::text(
        r#"{"type":"token","token":"a.b.c"}"#.to_owned(),
    ));
    let began = Instant::now();
    let last_word = talk(&mut client, conversation(&tokens, now + 60), &tokens).await;
    assert_eq!(last_word, Ok(LastWord::of(End::TokenExpired)));
    let lived = began.elapsed();
    assert!(lived > Duration::from_secs(590) && lived <= Duration::from_secs(600));
    let errors = client.errors();
    let statuses: Vec<_> = errors
        .iter()
        .map(|error| error["problem"]["status"].as_u64().unwrap_or_default())
        .collect();
    assert_eq!(statuses, [403, 403, 401, 401]);
}

#[tokio::test(start_paused = true)]
async fn what_cannot_be_used_is_answered_and_too_much_of_it_ends_the_talk() {
    let tokens = tokens();
    let mut client = Client::default();
    client.says.push_back(Message::text(
        r#"{"type":"ack","cursor":"1.AAAA"}"#.to_owned(),
    ));
    client
        .says
        .push_back(Message::Binary(bytes::Bytes::from_static(b"{}")));
    client
        .says
        .extend((0..100).map(|_| Message::text("?".to_owned())));
    let last_word = talk(&mut client, conversation(&tokens, in_an_hour()), &tokens).await;
    assert_eq!(last_word, Ok(LastWord::TOO_MUCH));
    let errors = client.errors();
    assert_eq!(errors.len(), 60);
    assert_eq!(errors[0]["problem"]["member"], "/cursor");

    let mut client = Client::default();
    client
        .says
        .push_back(Message::text("x".repeat(LARGEST + 1)));
    let last_word = talk(&mut client, conversation(&tokens, in_an_hour()), &tokens).await;
    assert_eq!(last_word, Ok(LastWord::TOO_LARGE));
}

#[test]
fn a_close_frame_has_room_for_every_reason() {
    let ends = [
        End::Stopping,
        End::Full,
        End::TokenExpired,
        End::KeyRevoked,
        End::TooSlow,
    ];
    let words = ends.map(LastWord::of).into_iter().chain([
        LastWord::UNREADABLE,
        LastWord::TOO_LARGE,
        LastWord::TOO_MUCH,
        LastWord::SILENT,
    ]);
    for word in words {
        assert!(word.reason.len() <= 123, "{}", word.reason);
    }
}
