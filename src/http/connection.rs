//! Connections from outside, which end when nobody reads what is sent.
//!
//! # Why
//!
//! A client that has gone without a word, or reads nothing, would hold its connection, and at a
//! stop the whole process, for as long as it pleases: the server itself waits without limit until
//! the client has taken the last byte. So would one that sends half a head, or a byte now and then:
//! every answer comes within 20 s, and a stream has a comment every 15 s, so a connection to which
//! nothing is written has nothing to wait for.

use std::io;
use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Duration;

use axum::serve::Listener;
use socket2::SockRef;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::{TcpListener, TcpStream};
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

/// Bytes that the kernel holds for a client that does not read (it doubles the number).
const SEND_BUFFER: usize = 128 * 1024;
/// A client that takes no byte for so long is cut off.
const STALLED: Duration = Duration::from_secs(60);
/// The same once the stop has begun.
const STALLED_AT_STOP: Duration = Duration::from_secs(3);

/// A connection to which nothing was written for so long is closed.
const QUIET: Duration = Duration::from_secs(60);

/// Takes connections.
pub(super) struct Reception {
    pub listener: TcpListener,
    /// Is cancelled when the stop begins.
    pub soft: CancellationToken,
}

impl Reception {
    /// The next one; waits a while where there can be none.
    pub async fn accept(&mut self) -> Connection {
        let (tcp, _) = Listener::accept(&mut self.listener).await;
        // A notice must not wait for the acknowledgement of the one before.
        let _ = tcp.set_nodelay(true);
        // What a client does not read piles up in its own bounded queue, not in the kernel.
        let _ = SockRef::from(&tcp).set_send_buffer_size(SEND_BUFFER);
        Connection {
            tcp,
            soft: self.soft.clone(),
            patience: None,
            waiting_since: Instant::now(),
            asked: true,
            quiet: Box::pin(tokio::time::sleep(QUIET)),
        }
    }
}

/// A connection whose writes fail once they have stalled for too long.
pub(super) struct Connection {
    tcp: TcpStream,
    soft: CancellationToken,
    /// Runs while a write stalls.
    patience: Option<Pin<Box<dyn Future<Output = ()> + Send>>>,
    /// Since when nothing was written that was asked for: since the last byte that was written, or the
    /// first one that was read after it.
    waiting_since: Instant,
    /// Something was read since then.
    asked: bool,
    /// Ends when that may be long enough ago. It is set anew when it ends, not with every byte.
    quiet: Pin<Box<tokio::time::Sleep>>,
}

impl Connection {
    fn unless_stalled<T>(
        &mut self,
        context: &mut Context<'_>,
        written: Poll<io::Result<T>>,
    ) -> Poll<io::Result<T>> {
        if written.is_ready() {
            self.patience = None;
            self.waiting_since = Instant::now();
            self.asked = false;
            return written;
        }
        let soft = &self.soft;
        let patience = self
            .patience
            .get_or_insert_with(|| Box::pin(patience(soft.clone())));
        patience
            .as_mut()
            .poll(context)
            .map(|()| Err(io::ErrorKind::TimedOut.into()))
    }

    /// Ends when nothing was written for too long.
    fn poll_quiet(&mut self, context: &mut Context<'_>) -> Poll<()> {
        while self.quiet.as_mut().poll(context).is_ready() {
            let end = self.waiting_since + QUIET;
            if end <= Instant::now() {
                return Poll::Ready(());
            }
            self.quiet.as_mut().reset(end);
        }
        Poll::Pending
    }
}

async fn patience(soft: CancellationToken) {
    let at_stop = async {
        soft.cancelled().await;
        tokio::time::sleep(STALLED_AT_STOP).await;
    };
    tokio::select! {
        () = tokio::time::sleep(STALLED) => {}
        () = at_stop => {}
    }
}

impl AsyncRead for Connection {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let before = buffer.filled().len();
        let read = Pin::new(&mut self.tcp).poll_read(context, buffer);
        // What begins a request has its whole time; what drips in after it has no more.
        if buffer.filled().len() > before && !std::mem::replace(&mut self.asked, true) {
            self.waiting_since = Instant::now();
        }
        match self.poll_quiet(context) {
            Poll::Ready(()) => Poll::Ready(Err(io::ErrorKind::TimedOut.into())),
            Poll::Pending => read,
        }
    }
}

impl AsyncWrite for Connection {
    fn poll_write(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        let written = Pin::new(&mut self.tcp).poll_write(context, bytes);
        self.unless_stalled(context, written)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        slices: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let written = Pin::new(&mut self.tcp).poll_write_vectored(context, slices);
        self.unless_stalled(context, written)
    }

    fn is_write_vectored(&self) -> bool {
        self.tcp.is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        // A socket has nothing to flush.
        Pin::new(&mut self.tcp).poll_flush(context)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.tcp).poll_shutdown(context)
    }
}

#[cfg(test)]
mod tests {
    use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};

    use super::*;

    /// A connection whose other end reads nothing, and that other end.
    async fn unread(soft: &CancellationToken) -> (Connection, TcpStream) {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let mut reception = Reception {
            listener,
            soft: soft.clone(),
        };
        let (accepted, client) = tokio::join!(reception.accept(), TcpStream::connect(address));
        (accepted, client.unwrap())
    }

    #[tokio::test]
    async fn at_a_stop_a_client_that_reads_nothing_is_cut_off_within_seconds() {
        let soft = CancellationToken::new();
        let (mut connection, _client) = unread(&soft).await;
        let began = Instant::now();
        soft.cancel();
        let written = connection.write_all(&vec![0; 64 << 20]).await;
        assert_eq!(written.unwrap_err().kind(), io::ErrorKind::TimedOut);
        assert!(began.elapsed() < STALLED_AT_STOP + Duration::from_secs(5));
    }

    #[tokio::test(start_paused = true)]
    async fn who_sends_a_byte_now_and_then_is_cut_off_all_the_same() {
        let soft = CancellationToken::new();
        let (mut connection, mut client) = unread(&soft).await;
        let began = Instant::now();
        let trickle = tokio::spawn(async move {
            while client.write_all(b"x").await.is_ok() {
                tokio::time::sleep(Duration::from_secs(1)).await;
            }
        });
        let mut head = Vec::new();
        let read = connection.read_to_end(&mut head).await;
        assert_eq!(read.unwrap_err().kind(), io::ErrorKind::TimedOut);
        assert!(began.elapsed() >= QUIET && began.elapsed() < QUIET * 2);
        assert!(head.len() > 30);
        trickle.abort();
    }

    #[tokio::test]
    async fn a_client_that_reads_slowly_is_not_cut_off() {
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
