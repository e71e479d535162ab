//! Who is measured, and how each is asked for something small.
//!
//! Every row of wasmline's is a command, on a host that `host.rs` starts.

mod host;
mod others;

use std::collections::{BTreeMap, BTreeSet};
use std::net::SocketAddr;

use crate::Result;
use crate::run::Bench;
use crate::script::Template;
use crate::server::Server;

pub use host::{Bounds, Files, LASTLOG_LINES, SLEEPER};

/// A row of the tables.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Peer {
    /// The limit.
    Echo,
    /// A fresh instance of the shipped `echo` for each line.
    Fresh,
    /// An instance of `echo` that is kept for its connection.
    Kept,
    /// A fresh instance of a program that knows only WASI.
    WasiCli,
    /// A fresh instance of `echo`, made as the engine does by default.
    Defaults,
    /// A line that names no command, which needs no sandbox.
    Unknown,
    /// A line that names no command, to the server of the seed.
    Twisted,
    RedisPing,
    /// A function in Lua, which gives its argument back.
    RedisFcall,
    /// A process for each connection.
    Socat,
    Tcpserver,
}

/// A program that is started, for one or more rows.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Kind {
    Echo,
    Host,
    /// On the client's core as well.
    HostOnAllCores,
    /// With `--engine-defaults`.
    HostWithDefaults,
    /// With a second directory of commands.
    HostWithManyCommands,
    Twisted,
    Redis,
    Socat,
    Tcpserver,
}

impl Kind {
    pub const ALL: &[Kind] = &[
        Kind::Echo,
        Kind::Host,
        Kind::HostOnAllCores,
        Kind::HostWithDefaults,
        Kind::HostWithManyCommands,
        Kind::Twisted,
        Kind::Redis,
        Kind::Socat,
        Kind::Tcpserver,
    ];

    /// Whether it is wasmline.
    pub fn is_ours(self) -> bool {
        matches!(self, Kind::Host | Kind::HostOnAllCores | Kind::HostWithDefaults | Kind::HostWithManyCommands)
    }
}

impl Peer {
    /// Those that are measured line by line.
    pub const LINES: &[Peer] = &[
        Peer::Echo,
        Peer::Fresh,
        Peer::Kept,
        Peer::WasiCli,
        Peer::Defaults,
        Peer::Unknown,
        Peer::Twisted,
        Peer::RedisPing,
        Peer::RedisFcall,
    ];

    /// Those, and the ones that start a process.
    pub const CONNECTIONS: &[Peer] = &[
        Peer::Echo,
        Peer::Fresh,
        Peer::WasiCli,
        Peer::Unknown,
        Peer::Twisted,
        Peer::RedisPing,
        Peer::Socat,
        Peer::Tcpserver,
    ];

    pub fn name(self) -> &'static str {
        match self {
            Peer::Echo => "raw echo",
            Peer::Fresh => "wasmline, fresh instance",
            Peer::Kept => "wasmline, kept instance",
            Peer::WasiCli => "wasmline, wasi:cli program",
            Peer::Defaults => "wasmline, engine's defaults",
            Peer::Unknown => "wasmline, unknown command",
            Peer::Twisted => "Twisted, unknown command",
            Peer::RedisPing => "Redis, inline PING",
            Peer::RedisFcall => "Redis, FCALL of Lua",
            Peer::Socat => "socat, a process each",
            Peer::Tcpserver => "tcpserver, a process each",
        }
    }

    pub fn kind(self) -> Kind {
        match self {
            Peer::Echo => Kind::Echo,
            Peer::Fresh | Peer::Kept | Peer::WasiCli | Peer::Unknown => Kind::Host,
            Peer::Defaults => Kind::HostWithDefaults,
            Peer::Twisted => Kind::Twisted,
            Peer::RedisPing | Peer::RedisFcall => Kind::Redis,
            Peer::Socat => Kind::Socat,
            Peer::Tcpserver => Kind::Tcpserver,
        }
    }

    /// What is sent and what has to come back. All send about as many bytes.
    pub fn template(self) -> Template {
        match self {
            Peer::Echo | Peer::Socat | Peer::Tcpserver => Template::new("echo {}", "echo {}\n"),
            Peer::Fresh | Peer::Defaults => Template::new("echo {}", "{}\n"),
            Peer::Kept => Template::new(&format!("{} {{}}", host::KEPT_ECHO), "{}\n"),
            Peer::WasiCli => Template::new("wasi-hello {}", "hello {}\n"),
            Peer::Unknown | Peer::Twisted => Template::new("none {}", "Command not found.\n"),
            Peer::RedisPing => Template::new("PING {}", "$8\r\n{}\r\n"),
            Peer::RedisFcall => Template::new("FCALL reply 0 {}", "$8\r\n{}\r\n"),
        }
    }
}

/// Servers that run side by side; those that are not being asked do nothing.
pub struct Fleet {
    servers: BTreeMap<Kind, Server>,
}

impl Fleet {
    /// Starts what these peers need, as far as it is to be measured.
    pub fn start(bench: &Bench, peers: &[Peer], bounds: Bounds) -> Result<Fleet> {
        let kinds: BTreeSet<Kind> = peers.iter().map(|peer| peer.kind()).filter(|kind| bench.has(*kind)).collect();
        let servers = kinds.into_iter().map(|kind| Ok((kind, start(bench, kind, bounds)?))).collect::<Result<_>>()?;
        Ok(Fleet { servers })
    }

    /// The peers whose server was started.
    pub fn of(&self, peers: &[Peer]) -> Vec<Running> {
        let running = |peer: &Peer| {
            let server = self.servers.get(&peer.kind())?;
            Some(Running { peer: *peer, address: server.address, pid: server.pid() })
        };
        peers.iter().filter_map(running).collect()
    }

    pub fn get(&self, kind: Kind) -> Option<&Server> {
        self.servers.get(&kind)
    }
}

/// A peer that can be asked.
#[derive(Debug, Clone, Copy)]
pub struct Running {
    pub peer: Peer,
    pub address: SocketAddr,
    pub pid: u32,
}

/// Starts one program.
pub fn start(bench: &Bench, kind: Kind, bounds: Bounds) -> Result<Server> {
    match kind {
        kind if kind.is_ours() => host::start(bench, kind, bounds),
        _ => others::start(bench, kind, bounds),
    }
}

pub use others::{missing, versions};
