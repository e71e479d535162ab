//! The servers beside wasmline.

use std::env;
use std::net::SocketAddr;
use std::process::Command;

use super::{Bounds, Kind};
use crate::Result;
use crate::load::Exchange;
use crate::machine::version;
use crate::run::Bench;
use crate::server::{Server, free_address};

/// Gives its argument back. Redis reads escapes between double quotes.
const LUA: &str =
    "FUNCTION LOAD \"#!lua name=bench\\nredis.register_function('reply', function(keys, args) return args[1] end)\"\n";
/// What a process for each connection runs: it reads a line, and writes it.
const ONE_LINE: [&str; 3] = ["/usr/bin/head", "-n", "1"];

/// Why a server cannot be measured here; `None` where it can.
pub fn missing(kind: Kind, arguments: &crate::cli::Run) -> Option<String> {
    let debian = |program: &str, package: &str| {
        (!on_path(program)).then(|| format!("{program} is not measured: it is not on PATH (Debian's {package})"))
    };
    match kind {
        Kind::Echo | Kind::Host | Kind::HostOnAllCores | Kind::HostWithDefaults | Kind::HostWithManyCommands => None,
        _ if !arguments.peers => Some(String::new()),
        Kind::Twisted => (arguments.python.is_none() || arguments.seed_server.is_none())
            .then(|| "Twisted is not measured: it could not be installed".to_owned()),
        Kind::Redis => debian("redis-server", "redis-server"),
        Kind::Socat => debian("socat", "socat"),
        Kind::Tcpserver => debian("tcpserver", "ucspi-tcp"),
    }
}

/// Starts one of them on the server's core.
pub fn start(bench: &Bench, kind: Kind, bounds: Bounds) -> Result<Server> {
    let address = free_address()?;
    let (command, log) = match kind {
        Kind::Echo => (echo(address)?, "echo.log"),
        Kind::Twisted => (twisted(bench, address, bounds)?, "twisted.log"),
        Kind::Redis => (redis(address, bounds), "redis.log"),
        Kind::Socat => (socat(address), "socat.log"),
        Kind::Tcpserver => (tcpserver(address), "tcpserver.log"),
        Kind::Host | Kind::HostOnAllCores | Kind::HostWithDefaults | Kind::HostWithManyCommands => {
            return super::host::start(bench, kind, bounds);
        }
    };
    let server = Server::start(command, address, &[bench.cores.server], &bench.files.logs().join(log))?;
    if kind == Kind::Redis {
        Exchange::open(address)?.expect(LUA, "$5\r\nbench\r\n")?;
    }
    Ok(server)
}

fn echo(address: SocketAddr) -> Result<Command> {
    let program = env::current_exe().map_err(|error| format!("cannot find this program: {error}"))?;
    let mut command = Command::new(program);
    command.args(["echo", "--listen", &address.to_string()]);
    Ok(command)
}

fn twisted(bench: &Bench, address: SocketAddr, bounds: Bounds) -> Result<Command> {
    let (Some(python), Some(server)) = (&bench.arguments.python, &bench.arguments.seed_server) else {
        return Err("Twisted needs --python and --seed-server".to_owned());
    };
    let mut command = Command::new(python);
    command.arg(server).args([address.ip().to_string(), address.port().to_string(), bounds.connections.to_string()]);
    command.arg(bench.files.log());
    Ok(command)
}

fn redis(address: SocketAddr, bounds: Bounds) -> Command {
    let mut command = Command::new("redis-server");
    command.args(["--bind", &address.ip().to_string(), "--port", &address.port().to_string()]);
    command.args(["--save", "", "--appendonly", "no", "--tcp-backlog", "4096"]);
    command.args(["--maxclients", &(bounds.connections + 32).to_string()]);
    command
}

fn socat(address: SocketAddr) -> Command {
    let mut command = Command::new("socat");
    let listen = format!("TCP4-LISTEN:{},bind={},reuseaddr,fork,nodelay,backlog=4096", address.port(), address.ip());
    command.args([listen, format!("EXEC:{}", ONE_LINE.join(" "))]);
    command
}

/// Without looking up names.
fn tcpserver(address: SocketAddr) -> Command {
    let mut command = Command::new("tcpserver");
    command.args(["-H", "-R", "-l", "0", "-c", "100", &address.ip().to_string(), &address.port().to_string()]);
    command.args(ONE_LINE);
    command
}

/// The versions of what was measured beside wasmline.
pub fn versions(arguments: &crate::cli::Run) -> Vec<(&'static str, String)> {
    let mut versions = Vec::new();
    let mut add = |name, version: Option<String>| versions.extend(version.map(|version| (name, version)));
    add("openssl", version("openssl", &["version"]));
    if arguments.peers {
        if let Some(python) = arguments.python.as_ref().and_then(|python| python.to_str()) {
            let program =
                "import platform, twisted; print(twisted.__version__, 'on Python', platform.python_version())";
            add("Twisted", version(python, &["-c", program]));
        }
        add("Redis", version("redis-server", &["--version"]));
    }
    versions
}

fn on_path(name: &str) -> bool {
    let path = env::var_os("PATH").unwrap_or_default();
    env::split_paths(&path).any(|dir| dir.join(name).is_file())
}
