//! A server that is measured: a process on a core of its own, which ends with its owner.

use std::fs::File;
use std::net::{Ipv4Addr, SocketAddr, TcpListener, TcpStream};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::sync::atomic::{AtomicU16, Ordering};
use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal, kill_process};

use crate::{Result, cores};

/// Ports for servers: below those that the kernel gives to clients.
const PORTS: std::ops::Range<u16> = 21_000..32_000;
/// The longest that a server may take to listen, for which wasmline compiles what it serves.
const STARTING: Duration = Duration::from_secs(120);
/// The longest that a server may take to end.
const ENDING: Duration = Duration::from_secs(5);
const LOOK_AGAIN: Duration = Duration::from_millis(5);

/// How many ports have been tried. Each server gets one that none had shortly before it.
static TRIED: AtomicU16 = AtomicU16::new(0);

pub struct Server {
    pub address: SocketAddr,
    child: Child,
}

impl Server {
    /// Starts the command on the cores, and waits until it accepts. What it prints goes to a file.
    pub fn start(mut command: Command, address: SocketAddr, cores: &[usize], log: &Path) -> Result<Server> {
        let shown = format!("{command:?}");
        let output = || File::create(log).map_err(|error| format!("cannot write {}: {error}", log.display()));
        command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(output()?);
        let child = cores::on(cores, || command.spawn().map_err(|error| format!("cannot start {shown}: {error}")))?;
        let mut server = Server { address, child };
        let deadline = Instant::now() + STARTING;
        while TcpStream::connect(address).is_err() {
            let ended = server.child.try_wait().map_err(|error| format!("cannot wait for {shown}: {error}"))?;
            if ended.is_some() || Instant::now() > deadline {
                let said = std::fs::read_to_string(log).unwrap_or_default();
                return Err(format!("{shown} does not listen on {address}; it said: {said}"));
            }
            pause(LOOK_AGAIN);
        }
        Ok(server)
    }

    pub fn pid(&self) -> u32 {
        self.child.id()
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        let _ = kill_process(Pid::from_child(&self.child), Signal::TERM);
        let deadline = Instant::now() + ENDING;
        while matches!(self.child.try_wait(), Ok(None)) {
            if Instant::now() > deadline {
                let _ = self.child.kill();
                let _ = self.child.wait();
                return;
            }
            pause(LOOK_AGAIN);
        }
    }
}

/// An address on which nobody listens.
pub fn free_address() -> Result<SocketAddr> {
    for _ in PORTS {
        let port = PORTS.start + TRIED.fetch_add(1, Ordering::Relaxed) % (PORTS.end - PORTS.start);
        let address = SocketAddr::from((Ipv4Addr::LOCALHOST, port));
        if TcpListener::bind(address).is_ok() {
            return Ok(address);
        }
    }
    Err(format!("no port between {} and {} is free", PORTS.start, PORTS.end))
}

/// Lets time pass.
#[expect(clippy::disallowed_methods, reason = "there is no worker here that it could block")]
pub fn pause(time: Duration) {
    std::thread::sleep(time);
}
