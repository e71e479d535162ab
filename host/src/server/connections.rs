//! Accepting, and the life of a connection around its session: its place, its task, its end.

use std::net::SocketAddr;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, PoisonError, RwLock};
use std::time::Duration;

use socket2::{Domain, Protocol, SockRef, Socket, TcpKeepalive, Type};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::Semaphore;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use crate::config;
use crate::dispatch::{Dispatcher, Host};
use crate::session;
use crate::wire::{Wire, WireLimits};

/// Connections that wait to be accepted.
const BACKLOG: i32 = 1024;
/// What a client reads that is one too many.
const FULL: &str = "Too many connections. bye !\n";
/// Refused clients that are seen off at once; beyond them a connection is just closed.
const REFUSALS: usize = 64;
/// How long a connection is silent before its peer's machine is asked whether it is still there.
const KEEPALIVE: Duration = Duration::from_secs(60);
/// First and longest pause after an accept that failed for want of something, such as descriptors.
const BACK_OFF: Duration = Duration::from_millis(10);
const LONGEST_BACK_OFF: Duration = Duration::from_secs(1);
/// All connections of the server, and what each of them needs.
pub struct Connections {
    /// What runs their lines.
    pub host: Arc<Host>,
    settings: RwLock<Arc<config::Server>>,
    count: AtomicUsize,
    /// Whether the last client was turned away, so that the log says once that the host is full.
    full: AtomicBool,
    refusals: Semaphore,
    /// Their tasks.
    pub tasks: TaskTracker,
    /// No more lines.
    pub draining: CancellationToken,
    /// No more anything.
    pub aborting: CancellationToken,
}

impl Connections {
    /// No connections yet.
    pub fn new(host: Host, settings: config::Server) -> Connections {
        Connections {
            host: Arc::new(host),
            settings: RwLock::new(Arc::new(settings)),
            count: AtomicUsize::new(0),
            full: AtomicBool::new(false),
            refusals: Semaphore::new(REFUSALS),
            tasks: TaskTracker::new(),
            draining: CancellationToken::new(),
            aborting: CancellationToken::new(),
        }
    }

    /// How many there are.
    pub fn count(&self) -> usize {
        self.count.load(Ordering::Relaxed)
    }

    /// Takes over other settings. They go for connections that are made from now on.
    pub fn set_settings(&self, settings: config::Server) {
        *self.settings.write().unwrap_or_else(PoisonError::into_inner) = Arc::new(settings);
    }

    /// The settings as they are now.
    pub fn settings(&self) -> Arc<config::Server> {
        let settings = self.settings.read().unwrap_or_else(PoisonError::into_inner);
        Arc::clone(&settings)
    }

    /// Gives a connection its task, or turns it away.
    fn welcome(self: &Arc<Connections>, stream: TcpStream, peer: SocketAddr, tenant: &str) {
        let settings = self.settings();
        let limits = WireLimits::of(&settings);
        // Replies are gathered before they are sent, so waiting to gather more only delays them.
        if let Err(error) = stream.set_nodelay(true) {
            tracing::debug!(%peer, %error, "cannot set TCP_NODELAY");
        }
        // A peer whose machine is gone says nothing; only asking finds out.
        let keepalive = TcpKeepalive::new().with_time(KEEPALIVE).with_interval(KEEPALIVE / 4);
        if let Err(error) = SockRef::from(&stream).set_tcp_keepalive(&keepalive) {
            tracing::debug!(%peer, %error, "cannot set keep-alive");
        }
        let wire = Arc::new(Wire::new(stream, peer.to_string(), limits));
        let before = self.count.fetch_add(1, Ordering::Relaxed);
        let place = Place(Arc::clone(self));
        if before >= settings.max_connections {
            drop(place);
            self.turn_away(wire);
            return;
        }
        self.full.store(false, Ordering::Relaxed);
        let dispatcher = Dispatcher::new(Arc::clone(&self.host), tenant.to_owned(), limits.max_line);
        let shared = Arc::clone(self);
        self.tasks.spawn(async move {
            let _place = place;
            tracing::info!(peer = %wire.peer(), tenant = %dispatcher.tenant(), "connection made");
            let ended = tokio::select! {
                ended = session::serve(&wire, &dispatcher, &shared.draining) => ended,
                () = shared.aborting.cancelled() => session::End::Draining,
            };
            tracing::info!(peer = %wire.peer(), tenant = %dispatcher.tenant(), reason = %ended, "connection lost");
        });
    }

    fn turn_away(self: &Arc<Connections>, wire: Arc<Wire>) {
        if !self.full.swap(true, Ordering::Relaxed) {
            tracing::warn!(peer = %wire.peer(), "too many connections; clients are turned away");
        }
        let shared = Arc::clone(self);
        self.tasks.spawn(async move {
            if let Ok(_place) = shared.refusals.try_acquire() {
                wire.say(FULL);
                let _ = wire.finish().await;
            }
        });
    }
}

/// A place among the connections.
struct Place(Arc<Connections>);

impl Drop for Place {
    fn drop(&mut self) {
        self.0.count.fetch_sub(1, Ordering::Relaxed);
    }
}

/// Accepts until told to stop. An error is waited out, never given in to.
pub async fn accept(socket: TcpListener, tenant: String, connections: Arc<Connections>, stop: CancellationToken) {
    let mut back_off = BACK_OFF;
    loop {
        let accepted = tokio::select! {
            accepted = socket.accept() => accepted,
            () = stop.cancelled() => return,
        };
        match accepted {
            Ok((stream, peer)) => {
                back_off = BACK_OFF;
                connections.welcome(stream, peer, &tenant);
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

/// Opens a listening socket.
///
/// # Errors
/// When the machine does not give the address; the message names it.
pub fn bind(address: SocketAddr) -> Result<TcpListener, String> {
    let open = || {
        let socket = Socket::new(Domain::for_address(address), Type::STREAM.nonblocking(), Some(Protocol::TCP))?;
        socket.set_reuse_address(true)?;
        socket.bind(&address.into())?;
        socket.listen(BACKLOG)?;
        TcpListener::from_std(socket.into())
    };
    open().map_err(|error| format!("cannot listen on {address}: {error}"))
}
