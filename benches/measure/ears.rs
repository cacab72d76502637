//! Many open streams in one thread, and when each event arrived on each of them.

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use anyhow::{anyhow, bail};
use tokio::io::AsyncWriteExt as _;
use tokio::net::TcpStream;
use tokio::sync::mpsc;

const OPEN_PATIENCE: Duration = Duration::from_secs(120);
/// So many connections are being opened at one time: more would overflow the queue of the listener.
const OPENED_AT_ONCE: usize = 64;

/// One event on one stream.
#[derive(Clone, Copy, Debug)]
pub struct Heard {
    /// The number of the stream.
    pub stream: u32,
    /// The number of the event on it; 0 is the one that it began with.
    pub event: u32,
    pub at: Instant,
}

/// Who opens a stream, to what.
#[derive(Clone)]
pub struct Ear {
    pub path: String,
    pub bearer: String,
}

/// Open streams.
pub struct Ears {
    heard: std::sync::mpsc::Receiver<Vec<Heard>>,
    stalls: Arc<AtomicBool>,
    open: Arc<AtomicU64>,
    over: mpsc::Sender<()>,
    thread: JoinHandle<anyhow::Result<()>>,
}

impl Ears {
    /// Opens a stream for each, and returns when all have had their first event. Every hundredth
    /// can be made to stall.
    pub async fn open(address: SocketAddr, ears: Vec<Ear>) -> anyhow::Result<Self> {
        let (tell, heard) = std::sync::mpsc::channel();
        let (over, end) = mpsc::channel(1);
        let stalls = Arc::new(AtomicBool::new(false));
        let open = Arc::new(AtomicU64::new(0));
        let all = ears.len() as u64;
        let (stalling, counting) = (Arc::clone(&stalls), Arc::clone(&open));
        let thread = std::thread::spawn(move || {
            let runtime = tokio::runtime::Builder::new_current_thread()
                .enable_all()
                .build()?;
            runtime.block_on(listen(address, ears, tell, stalling, counting, end))
        });
        let ears = Self {
            heard,
            stalls,
            open,
            over,
            thread,
        };
        let began = Instant::now();
        while ears.open.load(Ordering::Relaxed) < all {
            if ears.thread.is_finished() || began.elapsed() > OPEN_PATIENCE {
                let open = ears.open.load(Ordering::Relaxed);
                let reason = ears.close().err();
                bail!("{open} of {all} streams began: {reason:?}");
            }
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
        Ok(ears)
    }

    /// Every hundredth stream is not read while this is so.
    pub fn stall(&self, stalls: bool) {
        self.stalls.store(stalls, Ordering::Relaxed);
    }

    /// Everything that was heard since this was asked last.
    pub fn heard(&self) -> Vec<Heard> {
        self.heard.try_iter().flatten().collect()
    }

    /// Closes all of them.
    pub fn close(self) -> anyhow::Result<()> {
        drop(self.over);
        self.thread
            .join()
            .map_err(|_| anyhow!("the listening thread panicked"))?
    }
}

/// Whether a stream is one of those that may stall.
pub fn may_stall(stream: u32) -> bool {
    stream % 100 == 99
}

async fn listen(
    address: SocketAddr,
    ears: Vec<Ear>,
    tell: std::sync::mpsc::Sender<Vec<Heard>>,
    stalls: Arc<AtomicBool>,
    open: Arc<AtomicU64>,
    mut end: mpsc::Receiver<()>,
) -> anyhow::Result<()> {
    let local = tokio::task::LocalSet::new();
    let listening = local.run_until(async move {
        let places = Arc::new(tokio::sync::Semaphore::new(OPENED_AT_ONCE));
        for (number, ear) in ears.into_iter().enumerate() {
            let (tell, stalls, open) = (tell.clone(), stalls.clone(), open.clone());
            let place = places.clone().acquire_owned().await?;
            tokio::task::spawn_local(async move {
                let stream = begin(address, &ear).await;
                let outcome = match stream {
                    Ok(stream) => hear(number as u32, stream, place, &tell, &stalls, &open).await,
                    Err(error) => Err(error),
                };
                if let Err(error) = outcome {
                    eprintln!("stream {number} ended: {error:#}");
                }
            });
        }
        std::future::pending::<anyhow::Result<()>>().await
    });
    tokio::select! {
        outcome = listening => outcome,
        _ = end.recv() => Ok(()),
    }
}

async fn begin(address: SocketAddr, ear: &Ear) -> anyhow::Result<TcpStream> {
    let mut stream = TcpStream::connect(address).await?;
    let request = format!(
        "GET {} HTTP/1.1\r\nhost: localhost\r\nauthorization: Bearer {}\r\naccept: text/event-stream\r\n\r\n",
        ear.path, ear.bearer
    );
    stream.write_all(request.as_bytes()).await?;
    Ok(stream)
}

async fn hear(
    number: u32,
    stream: TcpStream,
    place: tokio::sync::OwnedSemaphorePermit,
    tell: &std::sync::mpsc::Sender<Vec<Heard>>,
    stalls: &AtomicBool,
    open: &AtomicU64,
) -> anyhow::Result<()> {
    let mut place = Some(place);
    let mut lines = Lines::default();
    let mut events = 0_u32;
    loop {
        stream.readable().await?;
        while may_stall(number) && stalls.load(Ordering::Relaxed) {
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
        // On the stack, so that ten thousand idle streams need no memory for it.
        let mut piece = [0; 8192];
        let read = match stream.try_read(&mut piece) {
            Ok(0) => {
                open.fetch_sub(1, Ordering::Relaxed);
                bail!("the server closed it after {events} events");
            }
            Ok(read) => read,
            Err(refused) if refused.kind() == std::io::ErrorKind::WouldBlock => continue,
            Err(refused) => return Err(refused.into()),
        };
        let at = Instant::now();
        let ended = lines.events_ended_by(&piece[..read]);
        if ended == 0 {
            continue;
        }
        if events == 0 {
            open.fetch_add(1, Ordering::Relaxed);
            place.take();
        }
        let new = events..events + ended;
        events += ended;
        let heard = new.map(|event| Heard {
            stream: number,
            event,
            at,
        });
        // Whoever asked may have gone.
        let _ = tell.send(heard.collect());
    }
}

/// Counts events in a stream of bytes: a line `event: …`, and then an empty one. The lines of the
/// transfer encoding are neither.
#[derive(Default)]
struct Lines {
    /// How the line that is being read begins.
    start: [u8; 6],
    length: usize,
    is_event: bool,
}

impl Lines {
    fn events_ended_by(&mut self, bytes: &[u8]) -> u32 {
        let mut ended = 0;
        for piece in bytes.split_inclusive(|byte| *byte == b'\n') {
            let (text, is_whole) = match piece.split_last() {
                Some((b'\n', text)) => (text, true),
                _ => (piece, false),
            };
            if self.length < self.start.len() {
                let room = &mut self.start[self.length..];
                let taken = room.len().min(text.len());
                room[..taken].copy_from_slice(&text[..taken]);
            }
            self.length += text.len();
            if is_whole {
                if self.length == 0 {
                    ended += u32::from(std::mem::take(&mut self.is_event));
                } else if self.length >= 6 && &self.start == b"event:" {
                    self.is_event = true;
                }
                self.length = 0;
            }
        }
        ended
    }
}
