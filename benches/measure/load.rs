//! Posts at a rate, or as fast as it is answered.
//!
//! # Why
//!
//! *Open loop.* Latency counts from the intended instant of a request, whatever the request before
//! it waits for. A server that stalls is not asked less for it. Each connection has its own due
//! times, evenly spread.
//!
//! *Threads.* A blocking thread for each connection wakes within some 60 µs of its due time, where
//! an async timer goes by whole milliseconds, and costs two system calls a request.

use std::io::{self, Read as _, Write as _};
use std::net::{SocketAddr, TcpStream};
use std::sync::atomic::{AtomicU64, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use anyhow::bail;

use super::report::Latencies;

const ANSWER_TIMEOUT: Duration = Duration::from_secs(40);
/// Time from the opening of the connections to the first request.
const START_DELAY: Duration = Duration::from_millis(100);

/// A connection that is kept alive.
pub struct Connection {
    stream: TcpStream,
    /// Bytes that are read and not yet part of an answer.
    unread: Vec<u8>,
}

/// An answer.
pub struct Answer {
    pub status: u16,
    pub body: Vec<u8>,
}

impl Connection {
    pub fn open(address: SocketAddr) -> io::Result<Self> {
        let stream = TcpStream::connect(address)?;
        stream.set_nodelay(true)?;
        stream.set_read_timeout(Some(ANSWER_TIMEOUT))?;
        Ok(Self { stream, unread: Vec::with_capacity(4096) })
    }

    /// Sends a request and reads the whole answer, which must state its length.
    pub fn request(&mut self, request: &[u8]) -> io::Result<Answer> {
        let (status, head, length) = self.awaits_answer(request)?;
        let body = self.unread[head..head + length].to_vec();
        self.unread.drain(..head + length);
        Ok(Answer { status, body })
    }

    /// As [`Connection::request`], with the head of the answer.
    pub fn request_with_head(&mut self, request: &[u8]) -> io::Result<(String, Answer)> {
        let (_, head, _) = self.awaits_answer(request)?;
        let text = String::from_utf8_lossy(&self.unread[..head]).into_owned();
        Ok((text, self.request(b"")?))
    }

    /// Sends a request and waits until the whole answer is in `unread`.
    fn awaits_answer(&mut self, request: &[u8]) -> io::Result<(u16, usize, usize)> {
        self.stream.write_all(request)?;
        loop {
            if let Some((status, head, length)) = head_of(&self.unread)
                && self.unread.len() >= head + length
            {
                return Ok((status, head, length));
            }
            let mut piece = [0; 4096];
            let read = self.stream.read(&mut piece)?;
            if read == 0 {
                return Err(io::ErrorKind::UnexpectedEof.into());
            }
            self.unread.extend_from_slice(&piece[..read]);
        }
    }

    /// Sends a request whose answer has no end.
    pub fn send(&mut self, request: &[u8]) -> io::Result<()> {
        self.stream.write_all(request)
    }
}

/// Status, length of the head, length of the body.
fn head_of(bytes: &[u8]) -> Option<(u16, usize, usize)> {
    let end = bytes.windows(4).position(|it| it == b"\r\n\r\n")? + 4;
    let head = std::str::from_utf8(&bytes[..end]).ok()?;
    let status = head.get(9..12)?.parse().ok()?;
    let length = head.lines().find_map(|line| {
        let (name, value) = line.split_once(": ")?;
        name.eq_ignore_ascii_case("content-length").then_some(value)
    });
    Some((status, end, length.map_or(Some(0), |it| it.parse().ok())?))
}

/// A POST, ready to be sent.
pub fn post(path: &str, headers: &str, body: &[u8]) -> Vec<u8> {
    let head = format!(
        "POST {path} HTTP/1.1\r\nhost: localhost\r\n{headers}content-type: application/json\r\ncontent-length: {}\r\n\r\n",
        body.len()
    );
    [head.as_bytes(), body].concat()
}

/// The outcome of a load.
#[derive(Debug, Default)]
pub struct Outcome {
    /// Of those that were answered 200.
    pub latencies: Latencies,
    pub refused: u64,
    pub took: Duration,
    /// When the first request was due.
    pub began: Option<Instant>,
}

impl Outcome {
    /// Answers a second.
    pub fn rate(&self) -> f64 {
        self.latencies.len() as f64 / self.took.as_secs_f64()
    }

    /// An error if anything was not answered 200: figures of a server that refuses are not comparable.
    pub fn whole(self) -> anyhow::Result<Self> {
        if self.refused > 0 {
            bail!("{} requests were not answered 200", self.refused);
        }
        Ok(self)
    }
}

/// So many requests a second for so long. `request` makes one out of its number, before it is due.
pub fn at_rate(
    address: SocketAddr,
    connections: u64,
    rate: f64,
    lasting: Duration,
    request: &(dyn Fn(u64) -> Vec<u8> + Sync),
    answered: &AtomicU64,
) -> anyhow::Result<Outcome> {
    let all = (rate * lasting.as_secs_f64()) as u64;
    let begin = Instant::now() + START_DELAY;
    let one = |first: u64| -> io::Result<Outcome> {
        let mut connection = Connection::open(address)?;
        let mut outcome = Outcome::default();
        for number in (first..all).step_by(connections as usize) {
            let request = request(number);
            let due = begin + Duration::from_secs_f64(number as f64 / rate);
            thread::sleep(due.saturating_duration_since(Instant::now()));
            let answer = connection.request(&request)?;
            if answer.status == 200 {
                outcome.latencies.add(due.elapsed());
                answered.fetch_add(1, Ordering::Relaxed);
            } else {
                outcome.refused += 1;
            }
        }
        Ok(outcome)
    };
    together(connections, begin, one)
}

/// Each connection sends its next request when the last one is answered, for so long.
pub fn closed(
    address: SocketAddr,
    connections: u64,
    lasting: Duration,
    request: &(dyn Fn(u64) -> Vec<u8> + Sync),
) -> anyhow::Result<Outcome> {
    let next = AtomicU64::new(0);
    let begin = Instant::now() + START_DELAY;
    let one = |_: u64| -> io::Result<Outcome> {
        let mut connection = Connection::open(address)?;
        let mut outcome = Outcome::default();
        thread::sleep(begin.saturating_duration_since(Instant::now()));
        while begin.elapsed() < lasting {
            let request = request(next.fetch_add(1, Ordering::Relaxed));
            let sent = Instant::now();
            let answer = connection.request(&request)?;
            if answer.status == 200 {
                outcome.latencies.add(sent.elapsed());
            } else {
                outcome.refused += 1;
            }
        }
        Ok(outcome)
    };
    together(connections, begin, one)
}

fn together(
    connections: u64,
    begin: Instant,
    one: impl Fn(u64) -> io::Result<Outcome> + Sync,
) -> anyhow::Result<Outcome> {
    let outcomes: Vec<io::Result<Outcome>> = thread::scope(|scope| {
        let one = &one;
        let threads: Vec<_> =
            (0..connections).map(|number| scope.spawn(move || one(number))).collect();
        threads
            .into_iter()
            .map(|it| it.join().unwrap_or_else(|_| Err(io::ErrorKind::Other.into())))
            .collect()
    });
    let mut whole = Outcome { took: begin.elapsed(), began: Some(begin), ..Outcome::default() };
    for outcome in outcomes {
        let outcome = outcome?;
        whole.latencies.extend(outcome.latencies);
        whole.refused += outcome.refused;
    }
    Ok(whole)
}
