//! `wasmline run`: one command here and now, for its author, on the way that a line takes in the server.
//!
//! The command gets a connection of its own, a pair of sockets whose other end is this process's standard input and output.

use std::io::{self, Read, Write};
use std::net::Shutdown;
use std::os::unix::net::UnixStream;
use std::process::ExitCode;
use std::sync::{Arc, OnceLock, Weak};
use std::thread::{self, JoinHandle};

use arc_swap::ArcSwap;
use rustix::process::getuid;
use tokio::sync::Semaphore;

use crate::audit::Auditing;
use crate::capabilities;
use crate::cli::{self, Run};
use crate::config::{self, Config};
use crate::dispatch::{Dispatcher, Host};
use crate::error::Failure;
use crate::identity::{Credential, Identity};
use crate::logging::{self, LogFormat};
use crate::machine::{self, Machine};
use crate::registry::{Cache, Form, Registry};
use crate::sandbox::Sandbox;
use crate::tenants::{self, Shares, Tenants};
use crate::wire::{Gone, Wire};

/// Who the caller is, for the command.
const PEER: &str = "local";
/// Bytes that are read from standard input at once.
const READ_CHUNK: usize = 8 * 1024;

/// Runs the command, and returns the status that the process is to exit with.
///
/// # Errors
/// When there is no such tenant, or the file is no command.
pub fn run(arguments: &Run) -> Result<ExitCode, String> {
    // The author reads what is denied, what the command logs and what takes long; that a line came and went is no news.
    let log = logging::start(LogFormat::Human, "warn,wasmline::capabilities=debug,wasmline::registry=info")?;
    capabilities::self_test()?;
    let mut config = cli::config(arguments.config.as_deref(), arguments.cache.as_deref())?;
    config.server.max_invocations = Some(1);
    let tenant = config.tenant_named(arguments.tenant.as_deref())?;
    let host = Arc::new(host(&config, tenant, arguments, Form::Usual)?);
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(1)
        .enable_all()
        .build()
        .map_err(|error| format!("cannot start the runtime: {error}"))?;
    let (wire, there) = {
        let _entered = runtime.enter();
        connect(&config).map_err(|error| format!("cannot make a connection: {error}"))?
    };
    let pump = Pump::start(there, &wire).map_err(|error| format!("cannot start a thread: {error}"))?;
    let command = arguments.file.file_stem().unwrap_or_default().to_string_lossy().into_owned();
    let words = std::iter::once(command).chain(arguments.args.iter().cloned()).collect();
    let ended = runtime.block_on(call(host, tenant.name.clone(), wire, words));
    // The blocking pool may still wait for a standard input that nobody reads any more.
    runtime.shutdown_background();
    let written = pump.output.join().unwrap_or_else(|_| Err(io::Error::other("the thread that prints has ended")));
    drop(log);
    match (ended, written) {
        (Ok(None), Ok(_)) => Ok(ExitCode::SUCCESS),
        (Ok(Some(failure)), Ok(_)) => Ok(ExitCode::from(status(&failure))),
        // Whoever reads the output has had enough, and whoever writes it is gone therefore.
        (_, Err(error)) if error.kind() == io::ErrorKind::BrokenPipe => Ok(ExitCode::FAILURE),
        (Err(gone), _) => Err(match pump.unread.get() {
            Some(error) => format!("cannot read standard input: {error}"),
            None => gone.to_string(),
        }),
        (_, Err(error)) => Err(format!("cannot write: {error}")),
    }
}

/// What serves the one command, on behalf of this tenant of the configuration, compiled in that form.
///
/// # Errors
/// When the machine cannot do it, or the file is no command.
pub fn host(config: &Config, tenant: &config::Tenant, arguments: &Run, form: Form) -> Result<Host, String> {
    let machine = Machine::look();
    let plan = machine::plan(config, &machine, config.invocations())?;
    let sandbox =
        Sandbox::new(plan.pool(config, &machine)).map_err(|error| format!("cannot set up the sandbox: {error:#}"))?;
    let sandbox = Arc::new(sandbox);
    let cache = Cache::open(&config.server.cache, config.server.cache_size, form)?;
    let registry = Registry::new(Arc::clone(&sandbox), cache, config.server.compile_jobs);
    let shares = Shares::of(&config.server, plan)?;
    let loaded =
        tenants::load_one(tenant, &registry, &shares, &arguments.file).map_err(|problem| problem.to_string())?;
    let tenants = Tenants::from([(tenant.name.clone(), Arc::new(loaded))]);
    Ok(Host {
        tenants: ArcSwap::from_pointee(tenants),
        sandbox,
        instances: Arc::new(Semaphore::new(config.invocations())),
        audit: Auditing::default(),
    })
}

/// A connection, and its other end.
fn connect(config: &Config) -> io::Result<(Arc<Wire>, UnixStream)> {
    let (here, there) = UnixStream::pair()?;
    here.set_nonblocking(true)?;
    let stream = tokio::net::UnixStream::from_std(here)?;
    Ok((Arc::new(Wire::new(stream, PEER, Arc::new(config.server.clone()))), there))
}

async fn call(host: Arc<Host>, tenant: String, wire: Arc<Wire>, words: Vec<String>) -> Result<Option<Failure>, Gone> {
    let credential = Credential::User(getuid().as_raw());
    let identity = Identity { credential, listener: "the command line".into(), peer: PEER.into() };
    let dispatcher = Dispatcher::new(host, tenant.into(), identity);
    let ended = dispatcher.run_words(&wire, words, &mut dispatcher.batch(&wire)).await?;
    wire.end_output().await?;
    Ok(ended)
}

/// What copies standard input to the connection, and the connection to standard output.
struct Pump {
    /// Why standard input could not be read to its end.
    unread: Arc<OnceLock<io::Error>>,
    /// The result is there when all that was written is printed.
    output: JoinHandle<io::Result<()>>,
}

impl Pump {
    fn start(connection: UnixStream, wire: &Arc<Wire>) -> io::Result<Pump> {
        let unread = Arc::<OnceLock<io::Error>>::default();
        let (input, failed, wire) = (connection.try_clone()?, Arc::clone(&unread), Arc::downgrade(wire));
        // It ends with the process: nobody waits for a standard input that may never end.
        thread::Builder::new().name("input".into()).spawn(move || send_input(&input, &failed, &wire))?;
        let output = thread::Builder::new().name("output".into()).spawn(move || print(connection))?;
        Ok(Pump { unread, output })
    }
}

/// Sends standard input until it ends or the command wants no more of it. An error is no end of it: a command that has taken
/// half of something for all of it must not go on.
fn send_input(mut connection: &UnixStream, failed: &OnceLock<io::Error>, wire: &Weak<Wire>) {
    let mut chunk = [0; READ_CHUNK];
    loop {
        match io::stdin().read(&mut chunk) {
            Ok(0) => break,
            Ok(read) => {
                if connection.write_all(&chunk[..read]).is_err() {
                    break;
                }
            }
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => {
                let _ = failed.set(error);
                if let Some(wire) = wire.upgrade() {
                    wire.cut_off();
                }
                break;
            }
        }
    }
    let _ = connection.shutdown(Shutdown::Write);
}

/// Prints all that comes, to the last byte.
fn print(mut connection: UnixStream) -> io::Result<()> {
    let mut output = io::stdout();
    match io::copy(&mut connection, &mut output) {
        // All was read, and then there was input that the command did not want.
        Err(error) if error.kind() == io::ErrorKind::ConnectionReset => {}
        copied => drop(copied?),
    }
    output.flush()
}

/// A program's own status, as far as a process can have it; else the one for failure.
fn status(failure: &Failure) -> u8 {
    failure.status.and_then(|status| u8::try_from(status).ok()).filter(|status| *status != 0).unwrap_or(1)
}
