//! A network that can be cut, slow, or silent in one direction.
//!
//! # Why
//!
//! There are two kinds of silence. *Held* bytes arrive when it ends, as TCP repeats what was lost.
//! *Swallowed* bytes never arrive, as behind a firewall that forgot the connection. Bytes after a hole
//! have no meaning, so the end of such a silence closes the connections with a hole.

use std::net::Ipv4Addr;
use std::sync::Arc;
use std::sync::atomic::{AtomicU16, Ordering};
use std::time::Duration;

use onrecord_devstack::port::free_port;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::tcp::{OwnedReadHalf, OwnedWriteHalf};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;
use tokio::task::JoinSet;
use tokio_util::task::AbortOnDropHandle;

/// What happens to the bytes of one direction.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Flow {
    #[default]
    Pass,
    /// Delayed by this time.
    Delay(Duration),
    /// Kept until the flow changes, and passed on then.
    Hold,
    /// Read and dropped.
    Swallow,
}

/// The direction of bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Direction {
    ToServer,
    ToClient,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
struct LinkState {
    is_cut: bool,
    to_server: Flow,
    to_client: Flow,
}

impl LinkState {
    fn of(&self, direction: Direction) -> Flow {
        match direction {
            Direction::ToServer => self.to_server,
            Direction::ToClient => self.to_client,
        }
    }
}

/// Listens on its own port, and forwards to a server. Dropping it closes everything.
pub struct Proxy {
    port: u16,
    server: Arc<AtomicU16>,
    link: watch::Sender<LinkState>,
    _acceptor: AbortOnDropHandle<()>,
}

impl Proxy {
    /// Listens. Connections before [`Self::forwards_to`] are refused.
    pub async fn start() -> Self {
        let (port, listener) = loop {
            // Not port 0: the proxy must get the same port after a cut.
            let port = free_port().unwrap();
            if let Ok(listener) = TcpListener::bind((Ipv4Addr::LOCALHOST, port)).await {
                break (port, listener);
            }
        };
        let server = Arc::new(AtomicU16::new(0));
        let (link, seen) = watch::channel(LinkState::default());
        let acceptor = tokio::spawn(accept(listener, Arc::clone(&server), seen));
        Self { port, server, link, _acceptor: AbortOnDropHandle::new(acceptor) }
    }

    /// The port that clients connect to.
    pub fn port(&self) -> u16 {
        self.port
    }

    /// Sets the server's port on this machine.
    pub fn forwards_to(&self, port: u16) {
        self.server.store(port, Ordering::SeqCst);
    }

    /// Sets the flow of a direction, for open connections too.
    pub fn set(&self, direction: Direction, flow: Flow) {
        self.link.send_modify(|link| match direction {
            Direction::ToServer => link.to_server = flow,
            Direction::ToClient => link.to_client = flow,
        });
    }

    /// Ends all connections and refuses new ones.
    pub fn cut(&self) {
        self.link.send_modify(|link| link.is_cut = true);
    }

    /// Ends every disturbance.
    pub fn heal(&self) {
        self.link.send_modify(|link| *link = LinkState::default());
    }
}

async fn accept(
    listener: TcpListener,
    server: Arc<AtomicU16>,
    mut seen: watch::Receiver<LinkState>,
) {
    let address = listener.local_addr().unwrap();
    let mut listener = Some(listener);
    let mut connections = JoinSet::new();
    loop {
        if seen.borrow_and_update().is_cut {
            listener = None;
            connections.shutdown().await;
            if seen.changed().await.is_err() {
                return;
            }
            continue;
        }
        let Some(open) = &listener else {
            // A closing connection may hold the port for a moment.
            match TcpListener::bind(address).await {
                Ok(bound) => listener = Some(bound),
                Err(_) => tokio::time::sleep(Duration::from_millis(20)).await,
            }
            continue;
        };
        tokio::select! {
            Ok((client, _)) = open.accept() => {
                let port = server.load(Ordering::SeqCst);
                connections.spawn(forward(client, port, seen.clone()));
            }
            Some(_) = connections.join_next(), if !connections.is_empty() => {}
            changed = seen.changed() => if changed.is_err() { return },
        }
    }
}

/// One connection. When one side closes it, the other side is closed too.
async fn forward(client: TcpStream, port: u16, seen: watch::Receiver<LinkState>) {
    let Ok(server) = TcpStream::connect((Ipv4Addr::LOCALHOST, port)).await else {
        return;
    };
    for stream in [&client, &server] {
        let _ = stream.set_nodelay(true);
    }
    let (from_client, to_client) = client.into_split();
    let (from_server, to_server) = server.into_split();
    tokio::select! {
        () = pump(from_client, to_server, Direction::ToServer, seen.clone()) => {}
        () = pump(from_server, to_client, Direction::ToClient, seen) => {}
    }
}

async fn pump(
    mut from: OwnedReadHalf,
    mut to: OwnedWriteHalf,
    direction: Direction,
    mut seen: watch::Receiver<LinkState>,
) {
    let mut buffer = vec![0; 64 * 1024];
    let mut has_hole = false;
    loop {
        let length = tokio::select! {
            read = from.read(&mut buffer) => match read {
                Ok(0) | Err(_) => return,
                Ok(length) => length,
            },
            changed = seen.changed() => {
                let flow = seen.borrow().of(direction);
                if changed.is_err() || (has_hole && flow != Flow::Swallow) {
                    return;
                }
                continue;
            }
        };
        loop {
            let flow = seen.borrow_and_update().of(direction);
            match flow {
                Flow::Pass => {}
                Flow::Delay(time) => tokio::time::sleep(time).await,
                Flow::Hold => {
                    if seen.changed().await.is_err() {
                        return;
                    }
                    continue;
                }
                Flow::Swallow => {
                    has_hole = true;
                    break;
                }
            }
            if has_hole || to.write_all(&buffer[..length]).await.is_err() {
                return;
            }
            break;
        }
    }
}

mod tests {
    use super::*;

    /// A server that sends back what it receives.
    async fn echo() -> (u16, AbortOnDropHandle<()>) {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await.unwrap();
        let port = listener.local_addr().unwrap().port();
        let server = tokio::spawn(async move {
            while let Ok((mut stream, _)) = listener.accept().await {
                tokio::spawn(async move {
                    let (mut from, mut to) = stream.split();
                    let _ = tokio::io::copy(&mut from, &mut to).await;
                });
            }
        });
        (port, AbortOnDropHandle::new(server))
    }

    async fn connect(proxy: &Proxy) -> std::io::Result<TcpStream> {
        TcpStream::connect((Ipv4Addr::LOCALHOST, proxy.port())).await
    }

    async fn receives(stream: &mut TcpStream, length: usize) -> Option<Vec<u8>> {
        let mut received = vec![0; length];
        let timeout = Duration::from_millis(300);
        let read = tokio::time::timeout(timeout, stream.read_exact(&mut received)).await;
        matches!(read, Ok(Ok(_))).then_some(received)
    }

    #[tokio::test]
    async fn each_direction_of_the_proxy_has_a_flow_of_its_own() {
        let (port, _server) = echo().await;
        let proxy = Proxy::start().await;
        proxy.forwards_to(port);
        let mut stream = connect(&proxy).await.unwrap();
        stream.write_all(b"one").await.unwrap();
        assert_eq!(receives(&mut stream, 3).await.unwrap(), b"one");

        proxy.set(Direction::ToClient, Flow::Hold);
        stream.write_all(b"two").await.unwrap();
        assert_eq!(receives(&mut stream, 3).await, None);
        proxy.heal();
        assert_eq!(receives(&mut stream, 3).await.unwrap(), b"two");

        proxy.set(Direction::ToServer, Flow::Swallow);
        stream.write_all(b"never").await.unwrap();
        assert_eq!(receives(&mut stream, 1).await, None);
        proxy.heal();
        let ended = stream.read(&mut [0; 9]).await;
        assert!(matches!(ended, Ok(0) | Err(_)), "a hole ends a connection");
    }

    #[tokio::test]
    async fn a_cut_ends_open_connections_and_refuses_new_ones_until_it_is_healed() {
        let (port, _server) = echo().await;
        let proxy = Proxy::start().await;
        proxy.forwards_to(port);
        let mut stream = connect(&proxy).await.unwrap();
        stream.write_all(b"one").await.unwrap();
        receives(&mut stream, 3).await.unwrap();
        proxy.cut();
        assert!(matches!(stream.read(&mut [0; 9]).await, Ok(0) | Err(_)));
        assert!(connect(&proxy).await.is_err());
        proxy.heal();
        let mut stream = crate::support::app::until("the proxy listens again", || async {
            connect(&proxy).await.ok()
        })
        .await;
        stream.write_all(b"two").await.unwrap();
        assert_eq!(receives(&mut stream, 3).await.unwrap(), b"two");
    }
}
