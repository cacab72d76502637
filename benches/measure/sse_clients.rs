//! Many open streams in one thread, and when each event arrived on each of them.

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use anyhow::{anyhow, bail};
use onrecord_simulator::sse::SseParser;
use tokio::io::AsyncWriteExt as _;
use tokio::net::TcpStream;
use tokio::sync::mpsc;

/// Timeout of opening all streams.
const OPEN_TIMEOUT: Duration = Duration::from_secs(120);
/// Maximum number of connections that are being opened at a time. More would overflow the queue of
/// the listening socket.
const MAX_CONNECTING: usize = 64;

/// One event on one stream.
#[derive(Clone, Copy, Debug)]
pub struct ReceivedEvent {
    /// The number of the stream.
    pub stream: u32,
    /// The number of the event on the stream; 0 is the snapshot.
    pub event: u32,
    pub at: Instant,
}

/// What a client subscribes to, and with which token.
#[derive(Clone)]
pub struct SseClient {
    pub path: String,
    pub bearer: String,
}

/// Open streams.
pub struct SseClients {
    received: std::sync::mpsc::Receiver<Vec<ReceivedEvent>>,
    stalls: Arc<AtomicBool>,
    open: Arc<AtomicU64>,
    over: mpsc::Sender<()>,
    thread: JoinHandle<anyhow::Result<()>>,
}

impl SseClients {
    /// Opens a stream for each client, and returns when each has received its first event. Every
    /// hundredth stream can be made to stall.
    pub async fn open(address: SocketAddr, clients: Vec<SseClient>) -> anyhow::Result<Self> {
        let (sender, received) = std::sync::mpsc::channel();
        let (over, end) = mpsc::channel(1);
        let stalls = Arc::new(AtomicBool::new(false));
        let open = Arc::new(AtomicU64::new(0));
        let all = clients.len() as u64;
        let (stalling, counting) = (Arc::clone(&stalls), Arc::clone(&open));
        let thread = std::thread::spawn(move || {
            let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
            runtime.block_on(listen(address, clients, sender, stalling, counting, end))
        });
        let clients = Self { received, stalls, open, over, thread };
        let began = Instant::now();
        while clients.open.load(Ordering::Relaxed) < all {
            if clients.thread.is_finished() || began.elapsed() > OPEN_TIMEOUT {
                let open = clients.open.load(Ordering::Relaxed);
                let reason = clients.close().err();
                bail!("{open} of {all} streams began: {reason:?}");
            }
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
        Ok(clients)
    }

    /// Stops or resumes reading of every hundredth stream.
    pub fn stall(&self, stalls: bool) {
        self.stalls.store(stalls, Ordering::Relaxed);
    }

    /// Everything that was received since the last call.
    pub fn received(&self) -> Vec<ReceivedEvent> {
        self.received.try_iter().flatten().collect()
    }

    /// Closes all streams.
    pub fn close(self) -> anyhow::Result<()> {
        drop(self.over);
        self.thread.join().map_err(|_| anyhow!("the thread of the streams panicked"))?
    }
}

/// Whether a stream is one of those that may stall.
pub fn may_stall(stream: u32) -> bool {
    stream % 100 == 99
}

async fn listen(
    address: SocketAddr,
    clients: Vec<SseClient>,
    sender: std::sync::mpsc::Sender<Vec<ReceivedEvent>>,
    stalls: Arc<AtomicBool>,
    open: Arc<AtomicU64>,
    mut end: mpsc::Receiver<()>,
) -> anyhow::Result<()> {
    let local = tokio::task::LocalSet::new();
    let query = local.run_until(async move {
        let places = Arc::new(tokio::sync::Semaphore::new(MAX_CONNECTING));
        for (number, client) in clients.into_iter().enumerate() {
            let (sender, stalls, open) = (sender.clone(), stalls.clone(), open.clone());
            let place = places.clone().acquire_owned().await?;
            tokio::task::spawn_local(async move {
                let stream = begin(address, &client).await;
                let outcome = match stream {
                    Ok(stream) => {
                        receive(number as u32, stream, place, &sender, &stalls, &open).await
                    }
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
        outcome = query => outcome,
        _ = end.recv() => Ok(()),
    }
}

async fn begin(address: SocketAddr, client: &SseClient) -> anyhow::Result<TcpStream> {
    let mut stream = TcpStream::connect(address).await?;
    let request = format!(
        "GET {} HTTP/1.1\r\nhost: localhost\r\nauthorization: Bearer {}\r\naccept: text/event-stream\r\n\r\n",
        client.path, client.bearer
    );
    stream.write_all(request.as_bytes()).await?;
    Ok(stream)
}

async fn receive(
    number: u32,
    stream: TcpStream,
    place: tokio::sync::OwnedSemaphorePermit,
    sender: &std::sync::mpsc::Sender<Vec<ReceivedEvent>>,
    stalls: &AtomicBool,
    open: &AtomicU64,
) -> anyhow::Result<()> {
    let mut place = Some(place);
    let mut parser = SseParser::default();
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
        let ended = parser.push(&piece[..read]);
        let ended = ended.iter().filter(|event| event.kind != "beat").count() as u32;
        if ended == 0 {
            continue;
        }
        if events == 0 {
            open.fetch_add(1, Ordering::Relaxed);
            place.take();
        }
        let new = events..events + ended;
        events += ended;
        let received = new.map(|event| ReceivedEvent { stream: number, event, at });
        // The receiver ends before the streams do.
        let _ = sender.send(received.collect());
    }
}
