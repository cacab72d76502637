//! Inbound connections with a timeout for writes that stall.
//!
//! # Why
//!
//! hyper waits without limit until the client has read the last byte. A client that does not read
//! would keep its connection, and would delay the stop of the process. Slow *reads* are bounded in
//! `server.rs`: a head by hyper's `header_read_timeout`, a body by the timeout of the response.
//! Neither detects a write that stalls. A client that is gone without closing its connection is found
//! by the kernel ([`PEER_TIMEOUT`]).
//!
//! *Not `tokio-io-timeout`.* The timeout of its writer cannot become shorter while a write is
//! pending, as is necessary at a stop. It also has a timer in every connection; here a connection
//! has one only while a write stalls.

pub(crate) mod limits;
pub(crate) mod places;

use std::io;
use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Duration;

use axum::serve::Listener;
use metrics::{Gauge, gauge};
use socket2::{SockRef, TcpKeepalive};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::{TcpListener, TcpStream};
use tokio_util::sync::CancellationToken;

use self::places::{ConnectionPlace, ConnectionPlaces, PlaceKind};
use crate::telemetry::names;

/// Timeout of a client that acknowledges nothing, or reads nothing of what the kernel has to send: the
/// connection of a phone that changed networks ends then.
const PEER_TIMEOUT: Duration = Duration::from_secs(60);
/// Interval without data after which the kernel asks the client for an acknowledgement, and interval
/// of further such packets.
const KEEPALIVE_INTERVAL: Duration = Duration::from_secs(15);
/// Maximum number of bytes that the kernel buffers for a client that does not read. The kernel
/// doubles this value.
const SEND_BUFFER_BYTES: usize = 128 * 1024;
/// Timeout of a write of which the client reads no byte.
const WRITE_TIMEOUT: Duration = Duration::from_secs(60);
/// Timeout of such a write on a connection of the reserve, whose place others need.
const RESERVE_WRITE_TIMEOUT: Duration = Duration::from_secs(3);
/// Timeout of such a write after the stop has begun.
const WRITE_TIMEOUT_AT_STOP: Duration = Duration::from_secs(3);

/// Accepts connections.
pub(super) struct ConnectionAcceptor {
    pub listener: TcpListener,
    pub places: ConnectionPlaces,
    /// Is cancelled when the stop begins.
    pub soft: CancellationToken,
}

impl ConnectionAcceptor {
    /// The next connection. An error of the listener is retried after a pause.
    pub(super) async fn accept(&mut self) -> LimitedConnection {
        // Without a free place, connections wait in the kernel.
        let place = self.places.next().await;
        let (tcp, _) = Listener::accept(&mut self.listener).await;
        // A notice must not wait for the TCP acknowledgement of the previous one.
        let _ = tcp.set_nodelay(true);
        // Messages that a client does not read accumulate in its bounded queue, not in the kernel.
        let _ = SockRef::from(&tcp).set_send_buffer_size(SEND_BUFFER_BYTES);
        detect_dead_peer(&tcp);
        LimitedConnection::new(tcp, place, self.soft.clone())
    }
}

/// Lets the kernel end the connection of a client that is gone without a word: else it would keep its
/// place, and its streams.
fn detect_dead_peer(tcp: &TcpStream) {
    let socket = SockRef::from(tcp);
    let keepalive =
        TcpKeepalive::new().with_time(KEEPALIVE_INTERVAL).with_interval(KEEPALIVE_INTERVAL);
    // A kernel without these options ends such a connection later.
    let _ = socket.set_tcp_keepalive(&keepalive);
    #[cfg(target_os = "linux")]
    let _ = socket.set_tcp_user_timeout(Some(PEER_TIMEOUT));
}

/// A connection whose writes fail once they have stalled for too long.
pub(super) struct LimitedConnection {
    tcp: TcpStream,
    /// A WebSocket outlives its request, and keeps the place.
    place: ConnectionPlace,
    soft: CancellationToken,
    /// The timer of the write that stalls now.
    stall: Option<Pin<Box<dyn Future<Output = ()> + Send>>>,
}

impl Drop for LimitedConnection {
    fn drop(&mut self) {
        open_connections(self.place.kind).decrement(1.0);
    }
}

fn open_connections(place: PlaceKind) -> Gauge {
    gauge!(names::CONNECTIONS, "place" => <&str>::from(place))
}

impl LimitedConnection {
    fn new(tcp: TcpStream, place: ConnectionPlace, soft: CancellationToken) -> Self {
        open_connections(place.kind).increment(1.0);
        Self { tcp, place, soft, stall: None }
    }

    /// Whom the connection may serve.
    pub(super) fn place(&self) -> PlaceKind {
        self.place.kind
    }

    fn fail_if_stalled<T>(
        &mut self,
        context: &mut Context<'_>,
        written: Poll<io::Result<T>>,
    ) -> Poll<io::Result<T>> {
        if written.is_ready() {
            self.stall = None;
            return written;
        }
        let (soft, place) = (&self.soft, self.place.kind);
        let stall = self.stall.get_or_insert_with(|| Box::pin(stall_timeout(place, soft.clone())));
        stall.as_mut().poll(context).map(|()| Err(io::ErrorKind::TimedOut.into()))
    }
}

async fn stall_timeout(place: PlaceKind, soft: CancellationToken) {
    let timeout = match place {
        PlaceKind::Shared => WRITE_TIMEOUT,
        PlaceKind::Reserve => RESERVE_WRITE_TIMEOUT,
    };
    let at_stop = async {
        soft.cancelled().await;
        tokio::time::sleep(WRITE_TIMEOUT_AT_STOP).await;
    };
    tokio::select! {
        () = tokio::time::sleep(timeout) => {}
        () = at_stop => {}
    }
}

impl AsyncRead for LimitedConnection {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        Pin::new(&mut self.tcp).poll_read(context, buffer)
    }
}

impl AsyncWrite for LimitedConnection {
    fn poll_write(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        let written = Pin::new(&mut self.tcp).poll_write(context, bytes);
        self.fail_if_stalled(context, written)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        slices: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let written = Pin::new(&mut self.tcp).poll_write_vectored(context, slices);
        self.fail_if_stalled(context, written)
    }

    fn is_write_vectored(&self) -> bool {
        self.tcp.is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        // A TCP socket has no buffer to flush.
        Pin::new(&mut self.tcp).poll_flush(context)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.tcp).poll_shutdown(context)
    }
}

#[cfg(test)]
mod tests {
    use tokio::io::AsyncWriteExt as _;
    use tokio::time::Instant;

    use super::*;

    /// A connection, and its client, which reads nothing.
    async fn unread(soft: &CancellationToken) -> (LimitedConnection, TcpStream) {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let places = ConnectionPlaces::new(16);
        let mut acceptor = ConnectionAcceptor { listener, places, soft: soft.clone() };
        let (accepted, client) = tokio::join!(acceptor.accept(), TcpStream::connect(address));
        (accepted, client.unwrap())
    }

    #[tokio::test]
    async fn at_a_stop_the_connection_of_a_client_that_reads_nothing_ends_within_seconds() {
        let soft = CancellationToken::new();
        let (mut connection, _client) = unread(&soft).await;
        let began = Instant::now();
        soft.cancel();
        let written = connection.write_all(&vec![0; 64 << 20]).await;
        assert_eq!(written.unwrap_err().kind(), io::ErrorKind::TimedOut);
        assert!(began.elapsed() < WRITE_TIMEOUT_AT_STOP + Duration::from_secs(5));
    }

    #[cfg(target_os = "linux")]
    #[tokio::test]
    async fn the_kernel_ends_a_connection_whose_client_acknowledges_nothing_for_a_minute() {
        let (connection, _client) = unread(&CancellationToken::new()).await;
        let socket = SockRef::from(&connection.tcp);
        assert!(socket.keepalive().unwrap());
        assert_eq!(socket.tcp_keepalive_time().unwrap(), KEEPALIVE_INTERVAL);
        assert_eq!(socket.tcp_keepalive_interval().unwrap(), KEEPALIVE_INTERVAL);
        assert_eq!(socket.tcp_user_timeout().unwrap(), Some(PEER_TIMEOUT));
    }

    #[tokio::test]
    async fn the_connection_of_a_client_that_reads_slowly_does_not_end() {
        let soft = CancellationToken::new();
        soft.cancel();
        let (mut connection, client) = unread(&soft).await;
        let reader = tokio::spawn(async move {
            let mut buffer = vec![0; 1 << 20];
            let mut read = 0;
            while read < 16 << 20 {
                tokio::time::sleep(Duration::from_millis(5)).await;
                client.readable().await.unwrap();
                read += client.try_read(&mut buffer).unwrap_or(0);
            }
        });
        connection.write_all(&vec![0; 16 << 20]).await.unwrap();
        reader.await.unwrap();
    }
}
