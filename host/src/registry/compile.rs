//! Compiling, in a process of its own: whatever a file contains, it can hurt only that process.
//!
//! The parent writes the `.wasm` to the child's standard input and names a file for the code. The child bounds itself
//! before it reads anything; the parent bounds its time and what it reads of the child's words.

use std::io::{self, Read, Write};
use std::path::Path;
use std::process::{Command, ExitCode, Stdio};
use std::time::{Duration, Instant};

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::process::{Pid, PidfdFlags, Resource, Rlimit, Signal, kill_process, pidfd_open, setrlimit};

use wasi_preview1_component_adapter_provider::{
    WASI_SNAPSHOT_PREVIEW1_ADAPTER_NAME, WASI_SNAPSHOT_PREVIEW1_COMMAND_ADAPTER,
};
use wit_component::ComponentEncoder;

use super::kind::Kind;
use crate::engine;

/// The hidden subcommand that the child runs.
pub const SUBCOMMAND: &str = "compile-for-host";

/// Bounds of the compiling process.
const CPU_SECONDS: u64 = 60;
const ADDRESS_SPACE: u64 = 4 * 1024 * 1024 * 1024;
const OUTPUT: u64 = 1024 * 1024 * 1024;
/// Wall time; longer than the CPU bound, for a busy host.
const WALL: Duration = Duration::from_secs(120);
/// Bytes of its complaint that are kept.
const MAX_WORDS: u64 = 4096;

/// Compiles a component into `output`.
///
/// # Errors
/// The reason why it could not be compiled, fit for the author.
pub fn compile(wasm: &[u8], output: &Path) -> Result<(), String> {
    let host = std::env::current_exe().map_err(|error| format!("cannot find the host's own program: {error}"))?;
    let mut child = Command::new(host)
        .arg(SUBCOMMAND)
        .arg(output)
        .env_clear()
        .stdin(Stdio::piped())
        .stdout(Stdio::null())
        .stderr(Stdio::piped())
        .spawn()
        .map_err(|error| format!("cannot start the compiler: {error}"))?;
    let (stdin, stderr) = (child.stdin.take(), child.stderr.take());
    let pid = Pid::from_child(&child);
    let (words, ended) = std::thread::scope(|scope| {
        // A child that ends early closes its input; its exit status says what happened.
        scope.spawn(move || stdin.map(|mut stdin| stdin.write_all(wasm)));
        let words = scope.spawn(move || {
            let mut words = String::new();
            if let Some(stderr) = stderr {
                let _ = stderr.take(MAX_WORDS).read_to_string(&mut words);
            }
            words
        });
        let ended = wait(pid, WALL);
        if !matches!(ended, Ok(true)) {
            let _ = kill_process(pid, Signal::KILL);
        }
        (words.join().unwrap_or_default(), ended)
    });
    let status = child.wait().map_err(|error| format!("cannot wait for the compiler: {error}"))?;
    match ended {
        Ok(true) if status.success() => Ok(()),
        Ok(true) if status.code().is_some() => Err(words.trim().to_owned()),
        Ok(true) => Err(format!("was too much for the compiler, which was ended within its bounds ({status})")),
        Ok(false) => Err(format!("took longer than {WALL:?} to compile")),
        Err(error) => Err(format!("cannot wait for the compiler: {error}")),
    }
}

/// Waits for a process to end, without reaping it. False when the time is over first.
fn wait(pid: Pid, time: Duration) -> io::Result<bool> {
    let pidfd = pidfd_open(pid, PidfdFlags::empty())?;
    let deadline = Instant::now() + time;
    loop {
        let left = deadline.saturating_duration_since(Instant::now());
        let left = Timespec::try_from(left).map_err(io::Error::other)?;
        match poll(&mut [PollFd::new(&pidfd, PollFlags::IN)], Some(&left)) {
            Ok(ready) => return Ok(ready > 0),
            Err(rustix::io::Errno::INTR) => {}
            Err(error) => return Err(error.into()),
        }
    }
}

/// The child's side: bounds itself, reads a component from standard input, and writes its code to `output`.
pub fn run_compiler(output: &Path) -> ExitCode {
    match compile_here(output) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("{error:#}");
            ExitCode::FAILURE
        }
    }
}

fn compile_here(output: &Path) -> wasmtime::Result<()> {
    let bounds =
        [(Resource::Cpu, CPU_SECONDS), (Resource::As, ADDRESS_SPACE), (Resource::Fsize, OUTPUT), (Resource::Core, 0)];
    for (resource, bound) in bounds {
        setrlimit(resource, Rlimit { current: Some(bound), maximum: Some(bound) })?;
    }
    let mut wasm = Vec::new();
    io::stdin().lock().read_to_end(&mut wasm)?;
    if Kind::of(&wasm) == Ok(Kind::CoreModule) {
        wasm = adapt(&wasm)?;
    }
    let code = engine::compiling()?.precompile_component(&wasm)?;
    std::fs::write(output, code)?;
    Ok(())
}

/// Makes a component of a core module of WASI preview 1.
///
/// # Errors
/// When it is a module of another kind.
pub fn adapt(module: &[u8]) -> wasmtime::Result<Vec<u8>> {
    let adapted = ComponentEncoder::default()
        .module(module)
        .and_then(|encoder| {
            encoder.adapter(WASI_SNAPSHOT_PREVIEW1_ADAPTER_NAME, WASI_SNAPSHOT_PREVIEW1_COMMAND_ADAPTER)
        })
        .and_then(|mut encoder| encoder.encode());
    adapted.map_err(|error| wasmtime::format_err!("is a core module that is no program of WASI preview 1: {error:#}"))
}
