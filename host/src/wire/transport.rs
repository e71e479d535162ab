//! What carries a connection's bytes: a TCP socket or a Unix one, behind the calls that `Wire` makes.
//!
//! All calls take `&self` and are made from the one task that serves the connection, which is the task that they wake.

use std::io::{self, ErrorKind};
use std::task::{Context, Poll, ready};

use tokio::io::Interest;
use tokio::net::{TcpStream, UnixStream};

/// A connected, non-blocking socket.
#[derive(Debug)]
pub enum Transport {
    /// TCP, in the clear.
    Tcp(TcpStream),
    /// A Unix socket.
    Unix(UnixStream),
}

/// Runs the same code on whichever socket it is; tokio's have the same methods, but no trait for them.
macro_rules! on_socket {
    ($transport:expr, $socket:ident => $code:expr) => {
        match $transport {
            Transport::Tcp($socket) => $code,
            Transport::Unix($socket) => $code,
        }
    };
}

impl Transport {
    /// Reads what there is, as much as fits; 0 at the end of the input.
    pub fn poll_read(&self, cx: &mut Context<'_>, buffer: &mut [u8]) -> Poll<io::Result<usize>> {
        on_socket!(self, socket => loop {
            ready!(socket.poll_read_ready(cx))?;
            if let Some(read) = unless_blocked(socket.try_read(buffer)) {
                return Poll::Ready(read);
            }
        })
    }

    /// Writes what the socket takes at once, which is not always all; pending when it takes nothing.
    pub fn poll_write(&self, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        on_socket!(self, socket => loop {
            // Most writes go through, so readiness is asked for only when one does not.
            if let Some(written) = unless_blocked(socket.try_write(bytes)) {
                return Poll::Ready(written);
            }
            ready!(socket.poll_write_ready(cx))?;
        })
    }

    /// Says that no more will be written. Reading goes on.
    pub fn shutdown(&self) -> io::Result<()> {
        on_socket!(self, socket => rustix::net::shutdown(socket, rustix::net::Shutdown::Write))?;
        Ok(())
    }

    /// Waits until the socket has failed, and says with what. An end of input is no failure.
    pub async fn failed(&self) -> io::Error {
        loop {
            let ready = on_socket!(self, socket => socket.ready(Interest::ERROR).await);
            match ready {
                Ok(ready) if ready.is_error() => {
                    let error = on_socket!(self, socket => socket.take_error());
                    return error.ok().flatten().unwrap_or_else(|| ErrorKind::ConnectionReset.into());
                }
                Ok(_) => {}
                Err(error) => return error,
            }
        }
    }
}

impl From<TcpStream> for Transport {
    fn from(socket: TcpStream) -> Transport {
        Transport::Tcp(socket)
    }
}

impl From<UnixStream> for Transport {
    fn from(socket: UnixStream) -> Transport {
        Transport::Unix(socket)
    }
}

/// `None` where the socket was not ready after all.
fn unless_blocked(result: io::Result<usize>) -> Option<io::Result<usize>> {
    match result {
        Err(error) if error.kind() == ErrorKind::WouldBlock => None,
        done => Some(done),
    }
}

#[cfg(test)]
mod tests {
    use std::future::poll_fn;

    use super::*;

    #[tokio::test]
    async fn a_pair_of_unix_sockets_carries_bytes_and_the_end() {
        let (here, there) = UnixStream::pair().unwrap();
        let (here, there) = (Transport::from(here), Transport::from(there));
        assert_eq!(poll_fn(|cx| here.poll_write(cx, b"line\n")).await.unwrap(), 5);
        here.shutdown().unwrap();
        let mut buffer = [0; 8];
        assert_eq!(poll_fn(|cx| there.poll_read(cx, &mut buffer)).await.unwrap(), 5);
        assert_eq!(&buffer[..5], b"line\n");
        assert_eq!(poll_fn(|cx| there.poll_read(cx, &mut buffer)).await.unwrap(), 0);
        // The other direction is open still.
        assert_eq!(poll_fn(|cx| there.poll_write(cx, b"reply")).await.unwrap(), 5);
        assert_eq!(poll_fn(|cx| here.poll_read(cx, &mut buffer)).await.unwrap(), 5);
    }

    #[tokio::test]
    async fn a_writer_waits_for_a_peer_that_does_not_read() {
        let (here, there) = UnixStream::pair().unwrap();
        let (here, there) = (Transport::from(here), Transport::from(there));
        let mut cx = Context::from_waker(std::task::Waker::noop());
        let mut sent = 0;
        while let Poll::Ready(written) = here.poll_write(&mut cx, &[b'x'; 4096]) {
            sent += written.unwrap();
        }
        let mut received = 0;
        let mut buffer = vec![0; 65_536];
        while received < sent {
            received += poll_fn(|cx| there.poll_read(cx, &mut buffer)).await.unwrap();
        }
        assert_eq!(poll_fn(|cx| here.poll_write(cx, b"y")).await.unwrap(), 1);
    }
}
