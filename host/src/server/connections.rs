//! The life of a connection around its session: its handshake, its place, its task, its end.

use std::pin::pin;
use std::sync::Arc;

use arc_swap::ArcSwap;
use tokio::runtime::Handle;
use tokio::sync::Semaphore;
use tokio_util::task::TaskTracker;

use super::entrance::{Entrance, Origin};
use super::failures::Failures;
use super::handshake::{Arrival, Handshake, Refused};
use super::notices::Notices;
use super::places::{ConnectionPlaces, Full, Holder, Place};
use super::tokens::Tokens;
use crate::config;
use crate::dispatch::{Dispatcher, Host};
use crate::loops::{Loops, Seat, Workers};
use crate::machine::REFUSALS;
use crate::session::{End, Session};
use crate::tenants::share;
use crate::wire::Wire;
use crate::wire::socket::Socket;

/// What a client reads that is one too many.
pub const FULL: &str = "Too many connections. bye !\n";

/// One of so many cores may be busy with handshakes, so that those who flood the host with them hold up each other.
const TURN_PARTS: usize = 2;
/// Records of refused clients that may wait beside the audit file's own queue.
const RECORDING: usize = 256;

/// All connections of the server, and what each of them needs.
pub struct Connections {
    /// What runs their lines.
    pub host: Arc<Host>,
    /// The threads that serve them.
    pub loops: Arc<Loops>,
    /// Where what computes for longer goes on.
    pub workers: Handle,
    /// The tokens that are accepted.
    pub tokens: ArcSwap<Tokens>,
    /// Who has shown wrong tokens.
    pub failures: Failures,
    /// Places of those that still have to show whose they are.
    pub handshakes: Arc<ConnectionPlaces>,
    /// Turns of handshakes that compute.
    pub turns: Arc<Semaphore>,
    /// Places of those that have.
    served: Arc<ConnectionPlaces>,
    settings: ArcSwap<config::Server>,
    refusals: Semaphore,
    /// Places of records of refused clients that wait to be taken.
    recording: Arc<Semaphore>,
    /// Their tasks.
    pub tasks: TaskTracker,
    /// What they have to hear.
    pub notices: Notices,
}

impl Connections {
    /// No connections yet.
    pub fn new(
        host: Host,
        loops: Arc<Loops>,
        workers: Workers,
        settings: config::Server,
        tokens: Tokens,
    ) -> Connections {
        Connections {
            host: Arc::new(host),
            loops,
            workers: workers.runtime,
            tokens: ArcSwap::from_pointee(tokens),
            failures: Failures::default(),
            handshakes: Arc::default(),
            turns: Arc::new(Semaphore::new((config::cores() / TURN_PARTS).max(1))),
            served: Arc::default(),
            settings: ArcSwap::from_pointee(settings),
            refusals: Semaphore::new(REFUSALS),
            recording: Arc::new(Semaphore::new(RECORDING)),
            tasks: workers.tasks,
            notices: Notices::default(),
        }
    }

    /// How many are served.
    pub fn count(&self) -> usize {
        self.served.count(&Holder::Everyone)
    }

    /// Takes over other settings. They go for connections that are made from now on.
    pub fn set_settings(&self, settings: config::Server) {
        self.settings.store(Arc::new(settings));
    }

    /// The settings as they are now.
    pub fn settings(&self) -> Arc<config::Server> {
        self.settings.load_full()
    }

    /// Finds out whose a new connection is, and serves it or turns it away.
    pub fn welcome(self: &Arc<Connections>, socket: Socket, origin: Origin, rules: &Arc<ArcSwap<Entrance>>) {
        let seat = self.loops.seat();
        let socket = match seat.take(socket) {
            Ok(socket) => socket,
            Err(error) => {
                tracing::warn!(peer = %origin, %error, "cannot serve a connection");
                return;
            }
        };
        let settings = self.settings();
        let entrance = rules.load_full();
        if entrance.needs_handshake() {
            self.shake(socket, seat, origin, entrance, Arc::clone(rules), settings);
            return;
        }
        let handshake = Handshake { shared: self, settings: &settings, entrance: &entrance, rules };
        match handshake.at_once(socket, origin) {
            Ok(arrival) => self.admit(arrival, seat, &settings),
            Err(refused) => self.refuse(refused, &entrance),
        }
    }

    fn shake(
        self: &Arc<Connections>,
        socket: Socket,
        seat: Seat,
        origin: Origin,
        entrance: Arc<Entrance>,
        rules: Arc<ArcSwap<Entrance>>,
        settings: Arc<config::Server>,
    ) {
        let everyone = (Holder::Everyone, settings.max_handshakes);
        let place = match origin {
            // A proxy brings many clients, each of which has its own source once it is known.
            Origin::Tcp(address) if entrance.is_proxy(address.ip()) => self.handshakes.take([everyone]),
            _ => {
                let source = (Holder::Source(origin.source()), settings.max_handshakes_per_source);
                self.handshakes.take([source, everyone])
            }
        };
        let place = match place {
            Ok(place) => place,
            Err(full) => {
                full.warn(origin, "too many handshakes; clients are turned away");
                if entrance.tls.is_none() {
                    let wire = Wire::new(socket, &origin.to_string(), settings);
                    self.see_off(Arc::new(wire), FULL.to_owned());
                }
                return;
            }
        };
        let shared = Arc::clone(self);
        let shake = async move {
            let handshake = Handshake { shared: &shared, settings: &settings, entrance: &entrance, rules: &rules };
            let shaken = tokio::select! {
                biased;
                () = shared.notices.draining().cancelled() => return,
                shaken = handshake.shake(socket, origin) => shaken,
            };
            drop(place);
            match shaken {
                Ok(arrival) => shared.admit(arrival, seat, &settings),
                Err(refused) => shared.refuse(refused, &entrance),
            }
        };
        // A handshake computes for longer than most commands.
        self.tasks.spawn_on(shake, &self.workers);
    }

    /// Gives a connection its places and its task, or turns it away.
    fn admit(self: &Arc<Connections>, arrival: Arrival, seat: Seat, settings: &config::Server) {
        let tenants = self.host.tenants.load();
        let limit = tenants.get(&*arrival.tenant).and_then(|tenant| tenant.limits.connections);
        let of_tenant = limit.unwrap_or_else(|| share(settings.max_connections, tenants.len()));
        let place = self.served.take([
            (Holder::Source(arrival.source), settings.max_connections_per_source),
            (Holder::Tenant(arrival.tenant.clone()), of_tenant),
            (Holder::Everyone, settings.max_connections),
        ]);
        match place {
            Ok(place) => {
                let on = seat.runtime().clone();
                self.tasks.spawn_on(Arc::clone(self).serve(arrival, place, seat), &on);
            }
            Err(full) => {
                full.warn(arrival.wire.peer(), "too many connections; clients are turned away");
                self.see_off(arrival.wire, FULL.to_owned());
            }
        }
    }

    /// Serves a connection until it ends, what its client has shown does not count any more, or the host ends.
    ///
    /// No `async fn`, which would have room for its arguments twice: as they came, and where its body has put them.
    fn serve(self: Arc<Connections>, arrival: Arrival, place: Place, seat: Seat) -> impl Future<Output = ()> + Send {
        let Arrival { wire, tenant, identity, standing, .. } = arrival;
        let dispatcher = Arc::new(Dispatcher::new(Arc::clone(&self.host), tenant, identity));
        async move {
            // They are given back with all else that is here.
            let _ = (&place, &seat);
            tracing::info!(peer = %wire.peer(), tenant = %dispatcher.tenant(), identity = %dispatcher.identity(), "connection made");
            let is_draining = || self.notices.is_draining();
            let session = Session { wire: &wire, dispatcher: &dispatcher, is_draining };
            let mut session = pin!(session.serve());
            let ended = loop {
                // Listens before it looks, so that nothing falls in between.
                let notice = self.notices.next();
                if self.notices.is_over() {
                    break End::Draining;
                }
                dispatcher.let_go();
                if standing.as_ref().is_some_and(|standing| !standing.holds(&self.tokens.load())) {
                    break End::Revoked;
                }
                tokio::select! {
                    biased;
                    ended = &mut session => break ended,
                    () = notice => {}
                }
            };
            tracing::info!(peer = %wire.peer(), tenant = %dispatcher.tenant(), reason = %ended, "connection lost");
        }
    }

    fn refuse(self: &Arc<Connections>, refused: Refused, entrance: &Entrance) {
        let Refused { peer, reason, answer } = refused;
        tracing::info!(%peer, listener = %entrance.listener, reason, "client refused");
        self.record_refusal(&entrance.listener, &peer, &reason);
        if let Some((wire, text)) = answer {
            self.see_off(wire, text);
        }
    }

    /// Puts a client that was not let in on record. Where there is no place for the record yet it is waited for aside, by
    /// so many at once.
    fn record_refusal(self: &Arc<Connections>, listener: &str, peer: &str, reason: &str) {
        let Some(audit) = self.host.audit.load() else { return };
        let Err(lines) = audit.refused(listener, peer, reason) else { return };
        let Ok(place) = Arc::clone(&self.recording).try_acquire_owned() else {
            tracing::error!(%peer, "there is no place for the record of a refused client");
            return;
        };
        self.tasks.spawn(async move {
            audit.hand_over(lines).await;
            drop(place);
        });
    }

    /// Tells a client its last word.
    fn see_off(self: &Arc<Connections>, wire: Arc<Wire>, text: String) {
        let shared = Arc::clone(self);
        self.tasks.spawn(async move {
            if let Ok(_place) = shared.refusals.try_acquire() {
                wire.say(&text);
                let _ = wire.finish().await;
            }
        });
    }
}

impl Full {
    /// Says so in the log, once until somebody gets a place again.
    fn warn(&self, peer: impl std::fmt::Display, message: &str) {
        if self.first {
            tracing::warn!(%peer, of = %self.holder, "{message}");
        }
    }
}
