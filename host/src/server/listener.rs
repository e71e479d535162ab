//! Where clients come in: a TCP or Unix socket that accepts.

use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use arc_swap::ArcSwap;
use socket2::{Domain, Protocol, SockRef, Socket, TcpKeepalive, Type};
use tokio::net::{TcpListener, UnixListener};
use tokio_util::sync::CancellationToken;

use super::connections::Connections;
use super::entrance::{Entrance, Origin};
use super::socket_file::{self, FileId, SocketFile};
use crate::config::Endpoint;
use crate::wire::socket;

/// Connections that wait to be accepted.
const BACKLOG: i32 = 1024;
/// How long a connection is silent before its peer's machine is asked whether it is still there.
const KEEPALIVE: Duration = Duration::from_secs(60);
/// Bytes that the kernel takes ahead of what it can send. Without a bound it takes megabytes, of which the client would have to
/// read a third within `write-timeout` before the host learns that it reads at all.
const AHEAD: u32 = 64 * 1024;
/// The same for a Unix socket, of which three quarters have to be free. The kernel doubles it, for its own accounts.
const AHEAD_UNIX: usize = 32 * 1024;
/// First and longest pause after an accept that failed for want of something, such as descriptors.
const BACK_OFF: Duration = Duration::from_millis(10);
const LONGEST_BACK_OFF: Duration = Duration::from_secs(1);

/// A socket that accepts.
pub enum Listening {
    /// On a TCP address.
    Tcp(TcpListener),
    /// On a path.
    Unix(UnixListener, SocketFile),
}

impl Listening {
    /// Opens a listening socket.
    ///
    /// # Errors
    /// When the machine does not give the place; the message names it.
    pub fn open(place: &Endpoint) -> Result<Listening, String> {
        let listening = match place {
            Endpoint::Tcp(address) => tcp(*address).map(Listening::Tcp),
            Endpoint::Unix { path, mode } => {
                socket_file::open(path, *mode, BACKLOG).map(|(socket, file)| Listening::Unix(socket, file))
            }
        };
        listening.map_err(|error| {
            let remedy = match error.kind() {
                io::ErrorKind::AddrInUse => "; end what listens there, or choose another address",
                _ => "",
            };
            format!("cannot listen on {place}: {error}{remedy}")
        })
    }

    /// Where it is, with the real port.
    ///
    /// # Errors
    /// When the machine does not say.
    pub fn place(&self) -> Result<String, String> {
        match self {
            Listening::Tcp(socket) => socket
                .local_addr()
                .map(|address| address.to_string())
                .map_err(|error| format!("cannot listen: {error}")),
            Listening::Unix(_, file) => Ok(format!("unix:{}", file.path().display())),
        }
    }

    /// The file that was made for it, if it is a Unix socket.
    pub fn file(&self) -> Option<FileId> {
        match self {
            Listening::Tcp(_) => None,
            Listening::Unix(_, file) => Some(file.id().clone()),
        }
    }

    async fn accept(&self) -> io::Result<(socket::Socket, Origin)> {
        match self {
            Listening::Tcp(listener) => {
                let (stream, peer) = listener.accept().await?;
                Ok((socket::Socket::Tcp(stream), Origin::Tcp(peer)))
            }
            Listening::Unix(listener, _) => {
                let (stream, _) = listener.accept().await?;
                let peer = stream.peer_cred()?;
                SockRef::from(&stream).set_send_buffer_size(AHEAD_UNIX)?;
                Ok((socket::Socket::Unix(stream), Origin::User { uid: peer.uid(), pid: peer.pid() }))
            }
        }
    }
}

/// A socket that listens on an address. Linux hands these options on to each connection, which so needs no calls of its own.
fn tcp(address: SocketAddr) -> io::Result<TcpListener> {
    let socket = Socket::new(Domain::for_address(address), Type::STREAM.nonblocking(), Some(Protocol::TCP))?;
    socket.set_reuse_address(true)?;
    // Replies are gathered before they are sent, so waiting to gather more only delays them.
    socket.set_tcp_nodelay(true)?;
    // A peer whose machine is gone says nothing; only asking finds out.
    socket.set_tcp_keepalive(&TcpKeepalive::new().with_time(KEEPALIVE).with_interval(KEEPALIVE / 4))?;
    socket.set_tcp_notsent_lowat(AHEAD)?;
    socket.bind(&address.into())?;
    socket.listen(BACKLOG)?;
    TcpListener::from_std(socket.into())
}

/// Accepts until told to stop. An error is waited out, never given in to.
pub async fn accept(
    listening: Listening,
    rules: Arc<ArcSwap<Entrance>>,
    connections: Arc<Connections>,
    stop: CancellationToken,
) {
    let mut back_off = BACK_OFF;
    loop {
        let accepted = tokio::select! {
            accepted = listening.accept() => accepted,
            () = stop.cancelled() => return,
        };
        match accepted {
            Ok((socket, origin)) => {
                back_off = BACK_OFF;
                connections.welcome(socket, origin, &rules);
            }
            Err(error) => {
                if back_off == BACK_OFF {
                    tracing::warn!(%error, "cannot accept connections; trying again");
                }
                tokio::select! {
                    () = tokio::time::sleep(back_off) => {}
                    () = stop.cancelled() => return,
                }
                back_off = (back_off * 2).min(LONGEST_BACK_OFF);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use std::future::poll_fn;
    use std::io::Read;
    use std::task::{Context, Poll, Waker};

    use socket2::SockRef;

    use super::*;

    /// A connection, as the host has it and as its client has it.
    async fn connection() -> (socket::Socket, std::net::TcpStream) {
        let listening = Listening::open(&Endpoint::Tcp("127.0.0.1:0".parse().unwrap())).unwrap();
        let client = std::net::TcpStream::connect(listening.place().unwrap()).unwrap();
        (listening.accept().await.unwrap().0, client)
    }

    #[tokio::test]
    async fn connections_have_the_options_of_their_listener() {
        let (socket::Socket::Tcp(stream), _client) = connection().await else { panic!("not TCP") };
        let socket = SockRef::from(&stream);
        assert!(socket.tcp_nodelay().unwrap() && socket.keepalive().unwrap());
        assert_eq!(socket.tcp_keepalive_time().unwrap(), KEEPALIVE);
        assert_eq!(socket.tcp_keepalive_interval().unwrap(), KEEPALIVE / 4);
        assert_eq!(socket.tcp_notsent_lowat().unwrap(), AHEAD);
    }

    #[tokio::test]
    async fn a_client_that_reads_slowly_is_heard_of_soon() {
        let (host, mut client) = connection().await;
        let mut sent = 0;
        while let Poll::Ready(written) = host.poll_write(&mut Context::from_waker(Waker::noop()), &[b'x'; 16 * 1024]) {
            sent += written.unwrap();
        }
        client.read_exact(&mut vec![0; sent.min(4 * AHEAD as usize)]).unwrap();
        let written = tokio::time::timeout(Duration::from_secs(60), poll_fn(|cx| host.poll_write(cx, b"x"))).await;
        assert_eq!(written.expect("it has read enough").unwrap(), 1);
    }
}
