//! TLS over a socket, once the handshake is done.

use std::io::{self, ErrorKind};
use std::pin::Pin;
use std::sync::{Arc, Mutex, MutexGuard};
use std::task::{Context, Poll, ready};

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio_rustls::server::TlsStream;

use super::socket::Socket;
use crate::lock::lock;

/// A TLS connection. The lock is there because all calls take `&self`; one task makes them, so it is never contended.
#[derive(Debug)]
pub struct Tls {
    socket: Arc<Socket>,
    stream: Mutex<TlsStream<Carrier>>,
}

/// What TLS records travel on. Shared, so that the socket can be watched while nothing is read or written.
#[derive(Debug)]
pub struct Carrier(pub Arc<Socket>);

impl Tls {
    /// The connection that a handshake has made.
    pub fn new(stream: TlsStream<Carrier>) -> Tls {
        let socket = Arc::clone(&stream.get_ref().0.0);
        Tls { socket, stream: Mutex::new(stream) }
    }

    /// What it goes over.
    pub fn socket(&self) -> &Socket {
        &self.socket
    }

    /// Reads what there is. The end of the input is what the client says in TLS; a connection that just ends fails with
    /// [`ErrorKind::UnexpectedEof`], for anyone on the way could have cut it.
    pub fn poll_read(&self, cx: &mut Context<'_>, buffer: &mut [u8]) -> Poll<io::Result<usize>> {
        let mut buffer = ReadBuf::new(buffer);
        ready!(Pin::new(&mut *self.stream()).poll_read(cx, &mut buffer))?;
        Poll::Ready(Ok(buffer.filled().len()))
    }

    /// Takes bytes to be sent, a bounded number of them.
    pub fn poll_write(&self, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        Pin::new(&mut *self.stream()).poll_write(cx, bytes)
    }

    /// Hands the socket what was taken.
    pub fn poll_flush(&self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut *self.stream()).poll_flush(cx)
    }

    /// Says that no more will be written.
    pub fn poll_shutdown(&self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        match ready!(Pin::new(&mut *self.stream()).poll_shutdown(cx)) {
            // The client was faster: it has ended both directions already.
            Err(error) if error.kind() == ErrorKind::NotConnected => Poll::Ready(Ok(())),
            done => Poll::Ready(done),
        }
    }

    fn stream(&self) -> MutexGuard<'_, TlsStream<Carrier>> {
        lock(&self.stream)
    }
}

impl AsyncRead for Carrier {
    fn poll_read(self: Pin<&mut Self>, cx: &mut Context<'_>, buffer: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        let read = ready!(self.0.poll_read(cx, buffer.initialize_unfilled()))?;
        buffer.advance(read);
        Poll::Ready(Ok(()))
    }
}

impl AsyncWrite for Carrier {
    fn poll_write(self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        self.0.poll_write(cx, bytes)
    }

    fn poll_flush(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }

    fn poll_shutdown(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(self.0.shutdown())
    }
}
