//! What carries a connection's bytes: a socket, or TLS over one, behind the calls that `Wire` makes.
//!
//! All calls take `&self` and are made from the one task that serves the connection, which is the task that they wake.

use std::io;
use std::task::{Context, Poll};

use tokio::net::UnixStream;

use super::socket::Socket;
use super::tls::Tls;

/// A connection's bytes in both directions.
#[derive(Debug)]
pub enum Transport {
    /// In the clear.
    Plain(Socket),
    /// Over TLS.
    Tls(Box<Tls>),
}

impl Transport {
    /// Reads what there is, as much as fits; 0 at the end of the input.
    pub fn poll_read(&self, cx: &mut Context<'_>, buffer: &mut [u8]) -> Poll<io::Result<usize>> {
        match self {
            Transport::Plain(socket) => socket.poll_read(cx, buffer),
            Transport::Tls(tls) => tls.poll_read(cx, buffer),
        }
    }

    /// Writes what is taken at once, which is not always all; pending when nothing is.
    pub fn poll_write(&self, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        match self {
            Transport::Plain(socket) => socket.poll_write(cx, bytes),
            Transport::Tls(tls) => tls.poll_write(cx, bytes),
        }
    }

    /// Ready once all that was written is with the machine.
    pub fn poll_flush(&self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        match self {
            Transport::Plain(_) => Poll::Ready(Ok(())),
            Transport::Tls(tls) => tls.poll_flush(cx),
        }
    }

    /// Says that no more will be written. Reading goes on.
    pub fn poll_shutdown(&self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        match self {
            Transport::Plain(socket) => Poll::Ready(socket.shutdown()),
            Transport::Tls(tls) => tls.poll_shutdown(cx),
        }
    }

    /// Waits until the socket has failed, and says with what. An end of input is no failure.
    pub async fn failed(&self) -> io::Error {
        match self {
            Transport::Plain(socket) => socket.failed().await,
            Transport::Tls(tls) => tls.socket().failed().await,
        }
    }
}

impl From<Socket> for Transport {
    fn from(socket: Socket) -> Transport {
        Transport::Plain(socket)
    }
}

impl From<UnixStream> for Transport {
    fn from(socket: UnixStream) -> Transport {
        Transport::Plain(Socket::Unix(socket))
    }
}

impl From<Tls> for Transport {
    fn from(tls: Tls) -> Transport {
        Transport::Tls(Box::new(tls))
    }
}
