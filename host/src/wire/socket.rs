//! A connected socket, TCP or Unix, behind one set of calls. tokio's have the same methods, but no trait for them.

use std::io::{self, ErrorKind};
use std::task::{Context, Poll, ready};

use rustix::net::{RecvFlags, Shutdown, recv, shutdown};
use socket2::SockRef;
use tokio::io::Interest;
use tokio::net::{TcpStream, UnixStream};

/// A connected, non-blocking socket.
#[derive(Debug)]
pub enum Socket {
    /// TCP.
    Tcp(TcpStream),
    /// A Unix socket.
    Unix(UnixStream),
}

/// Runs the same code on whichever socket it is.
macro_rules! on {
    ($socket:expr, $inner:ident => $code:expr) => {
        match $socket {
            Socket::Tcp($inner) => $code,
            Socket::Unix($inner) => $code,
        }
    };
}

impl Socket {
    /// Reads what there is, as much as fits; 0 at the end of the input.
    pub fn poll_read(&self, cx: &mut Context<'_>, buffer: &mut [u8]) -> Poll<io::Result<usize>> {
        on!(self, socket => loop {
            ready!(socket.poll_read_ready(cx))?;
            let mut read = None;
            let tried = socket.try_io(Interest::READABLE, || {
                let (taken, _) = recv(socket, &mut *buffer, RecvFlags::empty())?;
                read = Some(taken);
                // Where less came than there is room for there is no more: telling tokio so saves the call that would find
                // that out. What comes meanwhile is told anew.
                if (1..buffer.len()).contains(&taken) { Err(ErrorKind::WouldBlock.into()) } else { Ok(()) }
            });
            match (read, tried) {
                (Some(read), _) => return Poll::Ready(Ok(read)),
                (None, Err(error)) if error.kind() == ErrorKind::WouldBlock => {}
                (None, Err(error)) => return Poll::Ready(Err(error)),
                (None, Ok(())) => {}
            }
        })
    }

    /// Writes what the socket takes at once, which is not always all; pending when it takes nothing.
    pub fn poll_write(&self, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        on!(self, socket => loop {
            // Most writes go through, so readiness is asked for only when one does not.
            if let Some(written) = unless_blocked(socket.try_write(bytes)) {
                return Poll::Ready(written);
            }
            ready!(socket.poll_write_ready(cx))?;
        })
    }

    /// Waits for input and lets `look` have what there is, as much as fits, without taking it. `None` from `look` waits
    /// for more.
    pub async fn look<T>(&self, buffer: &mut [u8], mut look: impl FnMut(&[u8]) -> Option<T>) -> io::Result<T> {
        loop {
            let ready = on!(self, socket => socket.ready(Interest::READABLE).await)?;
            let seen = on!(self, socket => socket.try_io(Interest::READABLE, || {
                let (seen, _) = recv(socket, &mut *buffer, RecvFlags::PEEK)?;
                // Telling tokio that this would block makes it wait for more than what was seen.
                look(&buffer[..seen]).ok_or(ErrorKind::WouldBlock.into())
            }));
            match seen {
                Err(error) if error.kind() == ErrorKind::WouldBlock && ready.is_read_closed() => {
                    return Err(ErrorKind::UnexpectedEof.into());
                }
                Err(error) if error.kind() == ErrorKind::WouldBlock => {}
                done => return done,
            }
        }
    }

    /// Acknowledges what was received now, for a peer that holds back what it sends next until then (Nagle's algorithm). The
    /// kernel would wait up to 40 ms for something to send along with it.
    pub fn acknowledge(&self) {
        if let Socket::Tcp(socket) = self
            && let Err(error) = SockRef::from(socket).set_tcp_quickack(true)
        {
            tracing::debug!(%error, "cannot set TCP_QUICKACK");
        }
    }

    /// Says that no more will be written. Reading goes on.
    pub fn shutdown(&self) -> io::Result<()> {
        Ok(on!(self, socket => shutdown(socket, Shutdown::Write))?)
    }

    /// Waits until the socket has failed, and says with what. An end of input is no failure.
    pub async fn failed(&self) -> io::Error {
        loop {
            match on!(self, socket => socket.ready(Interest::ERROR).await) {
                Ok(ready) if ready.is_error() => {
                    let error = on!(self, socket => socket.take_error());
                    return error.ok().flatten().unwrap_or_else(|| ErrorKind::ConnectionReset.into());
                }
                Ok(_) => {}
                Err(error) => return error,
            }
        }
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

    fn pair() -> (Socket, Socket) {
        let (here, there) = UnixStream::pair().unwrap();
        (Socket::Unix(here), Socket::Unix(there))
    }

    #[tokio::test]
    async fn a_pair_of_unix_sockets_carries_bytes_and_the_end() {
        let (here, there) = pair();
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
        let (here, there) = pair();
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

    #[tokio::test]
    async fn a_look_takes_nothing_and_waits_for_enough() {
        let (here, there) = pair();
        poll_fn(|cx| here.poll_write(cx, b"ab")).await.unwrap();
        let mut buffer = [0; 8];
        let looked = tokio::sync::Notify::new();
        let whole = |seen: &[u8]| {
            looked.notify_one();
            (seen.len() == 4).then(|| seen.to_vec())
        };
        let (seen, ()) = tokio::join!(there.look(&mut buffer, whole), async {
            looked.notified().await;
            poll_fn(|cx| here.poll_write(cx, b"cd")).await.unwrap();
        });
        assert_eq!(seen.unwrap(), b"abcd");
        assert_eq!(poll_fn(|cx| there.poll_read(cx, &mut buffer)).await.unwrap(), 4);
        here.shutdown().unwrap();
        let ended = there.look(&mut buffer, |_| None::<()>).await.unwrap_err();
        assert_eq!(ended.kind(), ErrorKind::UnexpectedEof);
    }
}
