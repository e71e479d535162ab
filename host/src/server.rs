//! Listeners, connections and signals: from a configuration to a server that drains.

mod announce;
mod check;
mod connections;
mod entrance;
mod failures;
mod handshake;
mod listener;
mod notices;
mod places;
mod proxy;
mod replacement;
mod rescan;
mod socket_file;
mod standing;
mod tls;
mod tokens;

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use arc_swap::ArcSwap;
use tokio::runtime::Handle;
use tokio::signal::unix::{Signal, SignalKind, signal};
use tokio::sync::{Mutex, Semaphore};
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;

use crate::audit::Audit;
use crate::config::{self, Config, Endpoint, Listener};
use crate::dispatch::Host;
use crate::loops::{Aside, Loops, Workers};
use crate::machine::{self, Machine};
use crate::registry::{Cache, Form, Registry, Watch};
use crate::sandbox::{Sandbox, ready};
use crate::tenants::{self, Shares, Strictness, Tenants};
use announce::Announcer;
pub use check::{check, foreign};
use connections::Connections;
use entrance::Entrance;
use listener::{Listening, accept};
use rescan::keep_commands;
use socket_file::FileId;
use tokens::Tokens;

/// How long reading the configuration may take.
const READING_TIME: Duration = Duration::from_secs(30);
/// How long connections get to let go of what they hold once the drain is over.
const ABORT_TIME: Duration = Duration::from_secs(2);

/// Serves until SIGTERM or SIGINT. `reload` gives the configuration anew at SIGHUP.
///
/// # Errors
/// When it cannot begin: the message says why, for whoever started it.
pub async fn serve(
    config: Config,
    reload: impl Fn() -> Result<Config, String> + Clone + Send + 'static,
) -> Result<(), String> {
    let mut stop =
        StopSignals { terminate: watch(SignalKind::terminate())?, interrupt: watch(SignalKind::interrupt())? };
    let mut hang_up = watch(SignalKind::hangup())?;
    // Loading many commands for the first time takes a while; whoever has changed their mind need not wait for it.
    let mut server = tokio::select! {
        server = Server::start(&config) => server?,
        () = stop.asked() => return Ok(()),
    };
    loop {
        tokio::select! {
            () = stop.asked() => break,
            _ = hang_up.recv() => {}
        }
        let reloaded = tokio::select! {
            reloaded = server.hung_up(&reload) => reloaded,
            () = stop.asked() => break,
        };
        if let Err(error) = reloaded {
            tracing::error!(error, "configuration not reloaded; the old one stays");
        }
    }
    server.drain(stop).await;
    Ok(())
}

/// The signals that end the host.
struct StopSignals {
    terminate: Signal,
    interrupt: Signal,
}

impl StopSignals {
    /// Waits until it is asked for.
    async fn asked(&mut self) {
        tokio::select! {
            _ = self.terminate.recv() => {}
            _ = self.interrupt.recv() => {}
        }
    }
}

fn watch(kind: SignalKind) -> Result<Signal, String> {
    signal(kind).map_err(|error| format!("cannot watch for signals: {error}"))
}

/// The running server.
struct Server {
    connections: Arc<Connections>,
    /// Held while commands are loaded, so that a rescan and a reload do not cross.
    loading: Arc<Mutex<()>>,
    registry: Arc<Registry>,
    shares: Shares,
    doors: Vec<Door>,
    announcer: Announcer,
    loops: Arc<Loops>,
    /// The file that the configuration in force was read from, if there is one.
    source: Option<PathBuf>,
    /// What cannot change while the host runs.
    started_with: config::Server,
    machine: Machine,
    /// Invocations at once that the instance pool has room for.
    invocations: usize,
    /// Largest memory that the instance pool has room for, in bytes.
    largest_memory: usize,
}

/// A listener at work.
struct Door {
    /// As it was asked for.
    listener: Listener,
    /// Where it is, with the real port.
    place: String,
    entrance: Arc<ArcSwap<Entrance>>,
    /// The file that was made for it, if it is a Unix socket.
    file: Option<FileId>,
    stop: CancellationToken,
    /// Ends once its socket is closed. None where that has come about.
    accepting: Option<JoinHandle<()>>,
}

impl Server {
    async fn start(config: &Config) -> Result<Server, String> {
        let machine = Machine::look();
        let plan = machine::plan(config, &machine, config.invocations())?;
        let pool = plan.pool(config, &machine);
        let invocations = pool.invocations;
        let sandbox = Sandbox::new(pool).map_err(|error| format!("cannot set up the sandbox: {error:#}"))?;
        let sandbox = Arc::new(sandbox);
        tracing::info!(
            invocations,
            large = pool.large,
            kept = pool.kept,
            ahead = pool.ahead,
            memory = %bytesize::ByteSize(pool.memory as u64).display().iec(),
            page_scan = pool.page_scan,
            "instance pools made"
        );
        let cache = Cache::open(&config.server.cache, config.server.cache_size, Form::Usual)?;
        let registry = Arc::new(Registry::new(Arc::clone(&sandbox), cache, config.server.compile_jobs));
        let shares = Shares::of(&config.server, plan)?;
        let tenants = load_tenants(config, Arc::default(), &registry, &shares, Strictness::Start).await?;
        // Opened before anything runs, and nothing runs where it cannot be.
        let audit = config.audit.as_ref().map(|audit| Audit::start(audit, invocations));
        let host = Host {
            audit: audit.transpose()?.into(),
            tenants: ArcSwap::from_pointee(tenants),
            sandbox,
            instances: Arc::new(Semaphore::new(invocations)),
        };
        let workers = Workers::new(Handle::current());
        let aside = Aside { at_first: ready::open, before_waiting: ready::prepare };
        let loops = Loops::start(config::cores(), &workers, aside)
            .map_err(|error| format!("cannot start the event loops: {error}"))?;
        let loops = Arc::new(loops);
        let connections =
            Connections::new(host, Arc::clone(&loops), workers, config.server.clone(), Tokens::of(config));
        let connections = Arc::new(connections);
        let announcer = Announcer::start().map_err(|error| format!("cannot start a thread: {error}"))?;
        let mut server = Server {
            connections,
            loading: Arc::default(),
            registry,
            shares,
            doors: Vec::new(),
            announcer,
            loops,
            source: config.source.clone(),
            started_with: config.server.clone(),
            machine,
            invocations,
            largest_memory: pool.memory,
        };
        // Watched before anything is announced: who has read that may drop a file.
        let mut watch = Watch::new();
        let tenants = server.connections.host.tenants.load_full();
        watch.set(tenants.values().flat_map(|tenant| tenant.directories()).cloned());
        let (connections, loading) = (Arc::clone(&server.connections), Arc::clone(&server.loading));
        let (registry, aside) = (Arc::clone(&server.registry), Arc::clone(server.shares.aside()));
        tokio::spawn(keep_commands(watch, connections, loading, registry, aside));
        // The certificates are read first, so that nobody is accepted who could not be served.
        let open = |listener| Ok((listener, server.open(listener, Entrance::new("", listener)?)?));
        let opened = config.listeners.iter().map(open);
        // All are open before the first is announced, so that what was announced stays.
        let opened = opened.collect::<Result<Vec<_>, String>>()?;
        for (listener, (listening, entrance)) in opened {
            server.listen(listener, listening, entrance);
        }
        Ok(server)
    }

    /// Opens a listener that has these rules.
    fn open(&self, listener: &Listener, mut entrance: Entrance) -> Result<(Listening, Entrance), String> {
        let listening = self.open_place(&listener.place)?;
        entrance.listener = listening.place()?.into();
        Ok((listening, entrance))
    }

    fn open_place(&self, place: &Endpoint) -> Result<Listening, String> {
        let _entered = self.loops.accepting().enter();
        Listening::open(place)
    }

    /// Announces a listener and accepts on it.
    fn listen(&mut self, listener: &Listener, listening: Listening, entrance: Entrance) {
        let place = entrance.listener.to_string();
        self.announcer.announce(&place);
        tracing::info!(address = place, "listening");
        let entrance = Arc::new(ArcSwap::from_pointee(entrance));
        let file = listening.file();
        let (stop, accepting) = self.accept(listening, &entrance);
        self.doors.push(Door { listener: listener.clone(), place, entrance, file, stop, accepting });
    }

    /// Accepts on a socket until what it returns says stop.
    fn accept(
        &self,
        listening: Listening,
        entrance: &Arc<ArcSwap<Entrance>>,
    ) -> (CancellationToken, Option<JoinHandle<()>>) {
        let stop = self.connections.notices.draining().child_token();
        let accept = accept(listening, Arc::clone(entrance), Arc::clone(&self.connections), stop.clone());
        (stop, Some(self.loops.accepting().spawn(accept)))
    }

    /// Takes over a new configuration.
    ///
    /// # Errors
    /// When it cannot be taken over; then the old one stays in force.
    async fn reload(&mut self, mut config: Config) -> Result<(), String> {
        if let (Some(file), None) = (&self.source, &config.source) {
            // Without it the configuration would be the one that is built in, which grants nothing and keeps no records.
            return Err(format!("{} is not there any more", file.display()));
        }
        self.keep_what_needs_a_restart(&mut config);
        let plan = machine::plan(&config, &self.machine, self.invocations)?;
        if config.invocations() > self.invocations {
            let (room, wanted) = (self.invocations, config.invocations());
            tracing::warn!(
                room,
                wanted,
                "tenants may run more commands than the host has room for; a restart makes it"
            );
        }
        // First what can fail, for what follows is visible at once.
        self.reload_audit(&config).await?;
        self.source.clone_from(&config.source);
        self.shares = self.shares.planned(plan);
        let loading = Arc::clone(&self.loading);
        let _loading = loading.lock().await;
        let before = self.connections.host.tenants.load_full();
        let tenants = load_tenants(&config, before, &self.registry, &self.shares, Strictness::Reload).await?;
        self.connections.host.tenants.store(Arc::new(tenants));
        self.loops.on_each(ready::let_go);
        self.connections.set_settings(config.server.clone());
        self.connections.tokens.store(Arc::new(Tokens::of(&config)));
        self.replace_listeners(&config).await;
        self.connections.notices.ring();
        tracing::info!("configuration reloaded");
        Ok(())
    }

    /// Does what SIGHUP asks for: the audit file is opened anew, and the configuration read.
    ///
    /// # Errors
    /// When that cannot be used; then the old one stays in force.
    async fn hung_up(
        &mut self,
        reload: &(impl Fn() -> Result<Config, String> + Clone + Send + 'static),
    ) -> Result<(), String> {
        self.reopen_audit().await;
        // Elsewhere, for a disk that does not answer must not keep the host from ending.
        let reading = self.shares.aside().run(reload.clone());
        let read = tokio::time::timeout(READING_TIME, reading);
        let read = read.await.map_err(|_| format!("it could not be read within {READING_TIME:?}"))?;
        self.reload(read.map_err(|_| "the host panicked over it, and its log says where")??).await
    }

    /// Opens the audit file anew, which may have been moved aside: whatever becomes of the rest of a reload.
    async fn reopen_audit(&self) {
        if let Some(audit) = self.connections.host.audit.load()
            && let Err(error) = audit.reopen(&audit.settings()).await
        {
            tracing::error!(error, "the audit file as it was is gone on with");
        }
    }

    /// Takes over what the configuration says of the audit file, which may be another one, or the first, or none.
    async fn reload_audit(&self, config: &Config) -> Result<(), String> {
        let current = &self.connections.host.audit;
        match (current.load(), &config.audit) {
            (Some(audit), Some(wanted)) => audit.reopen(wanted).await?,
            (None, Some(wanted)) => {
                current.store(Some(Arc::new(Audit::start(wanted, config.invocations())?)));
            }
            (Some(audit), None) => {
                current.store(None);
                audit.flush().await;
            }
            (None, None) => {}
        }
        Ok(())
    }

    /// The engine is made once, so what sizes it stays as it was.
    fn keep_what_needs_a_restart(&self, config: &mut Config) {
        let (old, new) = (&self.started_with, &mut config.server);
        keep("server.max-invocations", &old.max_invocations, &mut new.max_invocations);
        keep("server.kept-instances", &old.kept_instances, &mut new.kept_instances);
        keep("server.hash-jobs", &old.hash_jobs, &mut new.hash_jobs);
        keep("server.file-jobs", &old.file_jobs, &mut new.file_jobs);
        keep("server.compile-jobs", &old.compile_jobs, &mut new.compile_jobs);
        keep("server.cache", &old.cache, &mut new.cache);
        keep("server.cache-size", &old.cache_size, &mut new.cache_size);
        for (name, tenant) in &mut config.tenants {
            if tenant.limits.memory > self.largest_memory {
                keep(&format!("tenants.{name}.limits.memory"), &self.largest_memory, &mut tenant.limits.memory);
            }
        }
    }

    /// Lets the lines that run come to their end, for as long as the configuration says, and then cuts them off; at once when
    /// it is asked to stop again.
    async fn drain(self, mut stop: StopSignals) {
        let time = self.connections.settings().drain_timeout;
        tracing::info!(connections = self.connections.count(), at_most = ?time, "draining");
        self.connections.notices.drain();
        for accepting in self.doors.into_iter().filter_map(|door| door.accepting) {
            // It ends at once, and takes the file of its socket with it.
            let _ = accepting.await;
        }
        self.connections.tasks.close();
        let why = tokio::select! {
            () = self.connections.tasks.wait() => None,
            () = tokio::time::sleep(time) => Some("the drain took too long"),
            () = stop.asked() => Some("asked to stop again"),
        };
        if let Some(why) = why {
            tracing::warn!(connections = self.connections.tasks.len(), why, "cutting off what runs");
            self.connections.notices.end();
            let _ = tokio::time::timeout(ABORT_TIME, self.connections.tasks.wait()).await;
        }
        if let Some(audit) = self.connections.host.audit.load() {
            audit.flush().await;
        }
        tracing::info!("stopped");
    }
}

async fn load_tenants(
    config: &Config,
    before: Arc<Tenants>,
    registry: &Arc<Registry>,
    shares: &Shares,
    strictness: Strictness,
) -> Result<Tenants, String> {
    let aside = Arc::clone(shares.aside());
    let (config, registry, shares) = (config.clone(), Arc::clone(registry), shares.clone());
    let load = move || tenants::load(&config, &before, &registry, &shares, strictness);
    aside.run(load).await.map_err(|_| "cannot load commands: the host panicked, and its log says where")?
}

/// Puts the old value back where the new one is another.
fn keep<T: PartialEq + Clone>(key: &str, old: &T, new: &mut T) {
    if new != old {
        tracing::warn!(key, "this change needs a restart; the old value stays");
        new.clone_from(old);
    }
}
