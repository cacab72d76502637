//! A network that can be cut, slow, or silent in one direction.
//!
//! # Why
//!
//! A silence comes in two kinds. *Held* bytes arrive when it ends, as TCP sends again what was lost.
//! *Swallowed* ones never do, as behind a firewall that forgot the connection; what comes after a
//! hole would make no sense to anybody, so the end of such a silence is the end of the connections
//! that it made a hole in.

use std::net::Ipv4Addr;
use std::sync::Arc;
use std::sync::atomic::{AtomicU16, Ordering};
use std::time::Duration;

use onrecord::embedded::port::free_port;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::tcp::{OwnedReadHalf, OwnedWriteHalf};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;
use tokio::task::JoinSet;
use tokio_util::task::AbortOnDropHandle;

/// What becomes of the bytes of one direction.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Flow {
    #[default]
    Pass,
    /// Each piece is on its way so much longer.
    Delay(Duration),
    /// Kept, and passed on when the flow is another one.
    Hold,
    /// Read and forgotten.
    Swallow,
}

/// From whom to whom.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Direction {
    ToServer,
    ToClient,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
struct Weather {
    is_cut: bool,
    to_server: Flow,
    to_client: Flow,
}

impl Weather {
    fn of(&self, direction: Direction) -> Flow {
        match direction {
            Direction::ToServer => self.to_server,
            Direction::ToClient => self.to_client,
        }
    }
}

/// Listens on a port of its own, and leads to a server. Dropping it closes everything.
pub struct Proxy {
    port: u16,
    server: Arc<AtomicU16>,
    weather: watch::Sender<Weather>,
    _acceptor: AbortOnDropHandle<()>,
}

impl Proxy {
    /// Listens; whoever comes before [`Self::leads_to`] is turned away.
    pub async fn start() -> Self {
        let (port, listener) = loop {
            // Not port 0: the port must still be ours after a cut.
            let port = free_port().unwrap();
            if let Ok(listener) = TcpListener::bind((Ipv4Addr::LOCALHOST, port)).await {
                break (port, listener);
            }
        };
        let server = Arc::new(AtomicU16::new(0));
        let (weather, seen) = watch::channel(Weather::default());
        let acceptor = tokio::spawn(accept(listener, Arc::clone(&server), seen));
        Self {
            port,
            server,
            weather,
            _acceptor: AbortOnDropHandle::new(acceptor),
        }
    }

    /// Where clients connect to.
    pub fn port(&self) -> u16 {
        self.port
    }

    /// Names the server's port on this machine.
    pub fn leads_to(&self, port: u16) {
        self.server.store(port, Ordering::SeqCst);
    }

    /// From now on, and for connections that there are, too.
    pub fn set(&self, direction: Direction, flow: Flow) {
        self.weather.send_modify(|weather| match direction {
            Direction::ToServer => weather.to_server = flow,
            Direction::ToClient => weather.to_client = flow,
        });
    }

    /// Ends all connections and refuses new ones.
    pub fn cut(&self) {
        self.weather.send_modify(|weather| weather.is_cut = true);
    }

    /// All is well again.
    pub fn heal(&self) {
        self.weather
            .send_modify(|weather| *weather = Weather::default());
    }
}

async fn accept(listener: TcpListener, server: Arc<AtomicU16>, mut seen: watch::Receiver<Weather>) {
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
            // Somebody's closing connection may still have the port for a moment.
            match TcpListener::bind(address).await {
                Ok(bound) => listener = Some(bound),
                Err(_) => tokio::time::sleep(Duration::from_millis(20)).await,
            }
            continue;
        };
        tokio::select! {
            Ok((client, _)) = open.accept() => {
                let port = server.load(Ordering::SeqCst);
                connections.spawn(carry(client, port, seen.clone()));
            }
            Some(_) = connections.join_next(), if !connections.is_empty() => {}
            changed = seen.changed() => if changed.is_err() { return },
        }
    }
}

/// One connection. When one side ends it, the other side hears of it.
async fn carry(client: TcpStream, port: u16, seen: watch::Receiver<Weather>) {
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
    mut seen: watch::Receiver<Weather>,
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

    /// A server that says back what it hears.
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

    async fn hears(stream: &mut TcpStream, length: usize) -> Option<Vec<u8>> {
        let mut heard = vec![0; length];
        let patience = Duration::from_millis(300);
        let read = tokio::time::timeout(patience, stream.read_exact(&mut heard)).await;
        matches!(read, Ok(Ok(_))).then_some(heard)
    }

    #[tokio::test]
    async fn each_direction_of_the_proxy_has_a_flow_of_its_own() {
        let (port, _server) = echo().await;
        let proxy = Proxy::start().await;
        proxy.leads_to(port);
        let mut stream = connect(&proxy).await.unwrap();
        stream.write_all(b"one").await.unwrap();
        assert_eq!(hears(&mut stream, 3).await.unwrap(), b"one");

        proxy.set(Direction::ToClient, Flow::Hold);
        stream.write_all(b"two").await.unwrap();
        assert_eq!(hears(&mut stream, 3).await, None);
        proxy.heal();
        assert_eq!(hears(&mut stream, 3).await.unwrap(), b"two");

        proxy.set(Direction::ToServer, Flow::Swallow);
        stream.write_all(b"never").await.unwrap();
        assert_eq!(hears(&mut stream, 1).await, None);
        proxy.heal();
        let ended = stream.read(&mut [0; 9]).await;
        assert!(matches!(ended, Ok(0) | Err(_)), "a hole ends a connection");
    }

    #[tokio::test]
    async fn a_cut_ends_what_there_is_and_refuses_what_is_new_until_it_is_healed() {
        let (port, _server) = echo().await;
        let proxy = Proxy::start().await;
        proxy.leads_to(port);
        let mut stream = connect(&proxy).await.unwrap();
        stream.write_all(b"one").await.unwrap();
        hears(&mut stream, 3).await.unwrap();
        proxy.cut();
        assert!(matches!(stream.read(&mut [0; 9]).await, Ok(0) | Err(_)));
        assert!(connect(&proxy).await.is_err());
        proxy.heal();
        let mut stream = crate::house::until("the proxy listens again", || async {
            connect(&proxy).await.ok()
        })
        .await;
        stream.write_all(b"two").await.unwrap();
        assert_eq!(hears(&mut stream, 3).await.unwrap(), b"two");
    }
}
