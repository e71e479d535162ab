//! Compiling, in a process of its own: whatever a file contains, it can hurt only that process.
//!
//! The parent writes the `.wasm` to the child's standard input and names a file for the code. The child bounds itself
//! before it reads anything, and gives way to whoever serves; the parent bounds its time and what it reads of the child's
//! words.

use std::io::{self, Read, Write};
use std::os::unix::process::ExitStatusExt;
use std::panic::catch_unwind;
use std::path::Path;
use std::process::{Child, Command, ExitCode, ExitStatus, Stdio};
use std::thread::Builder;
use std::time::{Duration, Instant};

use bytesize::ByteSize;
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::process::{Pid, PidfdFlags, Resource, Rlimit, Signal, getrlimit, kill_process, pidfd_open, setrlimit};

use super::adapt::adapt;
use super::kind::Kind;
use super::unshim::unshim;
use crate::descendants::{self, Purpose};
use crate::engine;

/// The hidden subcommand that the child runs.
pub const SUBCOMMAND: &str = "compile-for-host";

/// CPU time of a compilation: this much for any file, more for each MiB of it, and never more than the most. Interpreters
/// of 20 MiB take a second for each MiB on an idle machine.
const CPU_BASE: Duration = Duration::from_secs(30);
const CPU_PER_MIB: Duration = Duration::from_secs(5);
const CPU_MOST: Duration = Duration::from_secs(600);
/// Wall time, in times of the CPU time: the compiler gives way to whoever serves, and to other compilers.
const WALL_PER_CPU: u32 = 4;
/// Bytes of memory that it may map.
const ADDRESS_SPACE: u64 = 4 * 1024 * 1024 * 1024;
/// Bytes of code that it may write.
const OUTPUT: u64 = 1024 * 1024 * 1024;
/// How far the compiler steps back behind the processes that serve.
const NICENESS: i32 = 10;
/// Bytes of its complaint that are kept.
const MAX_WORDS: u64 = 4096;
/// How the child ends when it will never do with the file, and when it is the machine that failed. Either way it says why.
const FILE_FAILED: u8 = 1;
const MACHINE_FAILED: u8 = 3;

/// How much of a file's own is compiled.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Form {
    /// A component that does the same and is instantiated sooner, where the host can make one of it ([`unshim`]).
    Usual,
    /// The component as its author wrote it, which is what the usual form is measured against.
    AsWritten,
}

/// Why a file does not serve.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Fault {
    /// The file's own: these bytes will never do.
    #[error("{0}")]
    File(String),
    /// The machine's: the same bytes may well do later.
    #[error("{0}")]
    Machine(String),
}

/// Compiles a component into `output`.
///
/// # Errors
/// The reason why it could not be compiled, fit for the author.
pub fn compile(wasm: &[u8], form: Form, output: &Path) -> Result<(), Fault> {
    let machine = |what: &'static str| move |error: io::Error| Fault::Machine(format!("{what}: {error}"));
    let bounds = Bounds::of(wasm.len());
    // The program that runs, though another may have been put in its place on the disk.
    let mut command = Command::new("/proc/self/exe");
    command
        .arg(SUBCOMMAND)
        .arg("--cpu-seconds")
        .arg(bounds.cpu.as_secs().to_string())
        .args((form == Form::AsWritten).then_some("--as-written"))
        .arg(output)
        .env_clear()
        .stdin(Stdio::piped())
        .stdout(Stdio::null())
        .stderr(Stdio::piped());
    let mut child =
        descendants::spawn(&mut command, Purpose::Compiler).map_err(machine("cannot start the compiler"))?;
    let wall = bounds.cpu * WALL_PER_CPU;
    let attended = attend(&mut child, wasm, wall, Builder::new);
    let status = descendants::reap(child).map_err(machine("cannot wait for the compiler"))?.status;
    match attended {
        Ok(Some(words)) => verdict(status, &bounds, words.trim()),
        // A file's own fault is found by the bound on CPU time; this is a machine that is too busy.
        Ok(None) => Err(Fault::Machine(format!("was not compiled within {wall:?}"))),
        Err(error) => Err(machine("cannot attend to the compiler")(error)),
    }
}

/// Gives a compiler its file, and waits for its end: what it has said. One that takes longer is killed, and there is nothing to
/// be said; so is one that cannot be attended to for want of a thread, for it would take half a file for the whole.
fn attend(
    child: &mut Child,
    wasm: &[u8],
    time: Duration,
    mut thread: impl FnMut() -> Builder,
) -> io::Result<Option<String>> {
    let (stdin, stderr) = (child.stdin.take(), child.stderr.take());
    let pid = Pid::from_child(child);
    std::thread::scope(|scope| {
        let attended = || {
            let words = thread().spawn_scoped(scope, move || {
                let mut words = Vec::new();
                if let Some(stderr) = stderr {
                    let _ = stderr.take(MAX_WORDS).read_to_end(&mut words);
                }
                // The bound may cut a character in two.
                String::from_utf8_lossy(&words).into_owned()
            })?;
            // A child that ends early closes its input; its exit status says what happened.
            thread().spawn_scoped(scope, move || stdin.map(|mut stdin| stdin.write_all(wasm)))?;
            Ok(wait(pid, time)?.then_some(words))
        };
        let attended = attended();
        if !matches!(attended, Ok(Some(_))) {
            // The threads end with it.
            let _ = kill_process(pid, Signal::KILL);
        }
        attended.map(|words| words.map(|words| words.join().unwrap_or_default()))
    })
}

/// What a compilation may take.
struct Bounds {
    cpu: Duration,
    memory: u64,
    output: u64,
}

impl Bounds {
    /// Those for a file of so many bytes.
    fn of(bytes: usize) -> Bounds {
        // The signal comes a second before the end.
        let cpu = within_reach(Resource::Cpu, cpu_bound(bytes).as_secs() + 1).saturating_sub(1).max(1);
        Bounds {
            cpu: Duration::from_secs(cpu),
            memory: within_reach(Resource::As, ADDRESS_SPACE),
            output: within_reach(Resource::Fsize, OUTPUT),
        }
    }
}

/// So much of a resource, or what there is: whoever was started with a lower limit cannot have more, nor can its children.
fn within_reach(resource: Resource, wanted: u64) -> u64 {
    getrlimit(resource).maximum.map_or(wanted, |most| most.min(wanted))
}

/// CPU time that a file of so many bytes may take.
fn cpu_bound(bytes: usize) -> Duration {
    let mebibytes = u32::try_from(bytes >> 20).unwrap_or(u32::MAX);
    CPU_PER_MIB.saturating_mul(mebibytes).saturating_add(CPU_BASE).min(CPU_MOST)
}

/// What the child's end means.
fn verdict(status: ExitStatus, bounds: &Bounds, words: &str) -> Result<(), Fault> {
    let too_much = |what: String| Err(Fault::File(format!("is too much for the compiler: {what}")));
    let size = |bytes| ByteSize(bytes).display().iec();
    let code = status.code().and_then(|code| u8::try_from(code).ok());
    match (code, status.signal().and_then(Signal::from_named_raw)) {
        (Some(0), _) => Ok(()),
        (Some(FILE_FAILED), _) if !words.is_empty() => Err(Fault::File(words.to_owned())),
        (Some(MACHINE_FAILED), _) if !words.is_empty() => Err(Fault::Machine(words.to_owned())),
        // It knows no other end, so it did not come as far as to look at the file, or could not say what it found.
        (Some(_), _) => Err(Fault::Machine(format!("the compiler ended without a reason ({status})"))),
        (None, Some(Signal::XCPU)) => too_much(format!("it takes more than {:?} of CPU time", bounds.cpu)),
        (None, Some(Signal::XFSZ)) => too_much(format!("its code has more than {}", size(bounds.output))),
        (None, Some(Signal::ABORT)) => too_much(format!("it takes more than {} of memory", size(bounds.memory))),
        // Nothing that a file makes the compiler do looks like this: the machine ran out of memory, or somebody did it.
        (None, Some(Signal::KILL | Signal::TERM | Signal::INT | Signal::HUP)) => {
            Err(Fault::Machine("the compiler was killed before it was done".to_owned()))
        }
        _ => too_much(format!("it crashed ({status})")),
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
pub fn run_compiler(output: &Path, form: Form, cpu_seconds: u64) -> ExitCode {
    let status = match catch_unwind(|| compile_here(output, form, cpu_seconds)) {
        Ok(Ok(())) => return ExitCode::SUCCESS,
        Ok(Err(fault)) => {
            // Where nobody listens the status says that there is nothing to be read.
            let _ = writeln!(io::stderr(), "{fault}");
            if matches!(fault, Fault::Machine(_)) { MACHINE_FAILED } else { FILE_FAILED }
        }
        // What was said of a panic stands there already.
        Err(_) => FILE_FAILED,
    };
    ExitCode::from(status)
}

fn compile_here(output: &Path, form: Form, cpu_seconds: u64) -> Result<(), Fault> {
    bound_this_process(cpu_seconds).map_err(|error| Fault::Machine(format!("cannot bound the compiler: {error}")))?;
    let mut wasm = Vec::new();
    let read = io::stdin().lock().read_to_end(&mut wasm);
    read.map_err(|error| Fault::Machine(format!("cannot read what to compile: {error}")))?;
    let file = |error: wasmtime::Error| Fault::File(format!("{error:#}"));
    let engine = engine::compiling().map_err(file)?;
    let code = match Kind::of(&wasm) {
        // Such a program and its adapter import from each other, so there is always something between them.
        Ok(Kind::CoreModule) => engine.precompile_component(&adapt(&wasm).map_err(Fault::File)?),
        _ => {
            // A mistake that is made here costs the file what it would have gained, and no more.
            let unshimmed = if form == Form::Usual { catch_unwind(|| unshim(&wasm)).ok().flatten() } else { None };
            let code = unshimmed.and_then(|component| engine.precompile_component(&component).ok());
            // What the author wrote has the last word, and gets the compiler's.
            code.map_or_else(|| engine.precompile_component(&wasm), Ok)
        }
    };
    let code = code.map_err(file)?;
    std::fs::write(output, code).map_err(|error| Fault::Machine(format!("its code cannot be stored: {error}")))
}

fn bound_this_process(cpu_seconds: u64) -> io::Result<()> {
    // A host that was killed cannot end its compilers. The signal goes by the thread that started this process, which
    // waits for its end.
    rustix::process::set_parent_process_death_signal(Some(Signal::KILL))?;
    let bounds = [(Resource::As, ADDRESS_SPACE), (Resource::Fsize, OUTPUT), (Resource::Core, 0)];
    for (resource, bound) in bounds {
        let bound = Some(within_reach(resource, bound));
        setrlimit(resource, Rlimit { current: bound, maximum: bound })?;
    }
    // Where memory runs out, the kernel is to end this process and not its host. It may be forbidden; then it chooses.
    let _ = std::fs::write("/proc/self/oom_score_adj", "1000");
    // The signal at the lower bound tells this end from others; the upper bound is for a process that would ignore it.
    let most = within_reach(Resource::Cpu, cpu_seconds + 1);
    setrlimit(Resource::Cpu, Rlimit { current: Some(cpu_seconds.min(most)), maximum: Some(most) })?;
    rustix::process::nice(NICENESS)?;
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_larger_file_may_take_longer() {
        assert_eq!(cpu_bound(100_000), CPU_BASE);
        assert_eq!(cpu_bound(20 << 20), CPU_BASE + 20 * CPU_PER_MIB);
        assert_eq!(cpu_bound(usize::MAX), CPU_MOST);
    }

    #[test]
    fn an_end_is_laid_to_whoever_caused_it() {
        let bounds = Bounds { cpu: Duration::from_secs(30), memory: ADDRESS_SPACE, output: 1 << 20 };
        let ended = |raw: i32, words: &str| verdict(ExitStatus::from_raw(raw), &bounds, words);
        let exited = |code: i32| ended(code << 8, "why");
        assert_eq!(exited(0), Ok(()));
        assert_eq!(exited(1), Err(Fault::File("why".to_owned())));
        assert_eq!(exited(3), Err(Fault::Machine("why".to_owned())));
        for silent in [ended(1 << 8, ""), ended(3 << 8, ""), exited(101)] {
            let Err(Fault::Machine(reason)) = silent else { panic!("{silent:?}") };
            assert!(reason.contains("without a reason (exit status: "), "{reason}");
        }
        let signal = |signal: Signal| ended(signal.as_raw(), "why");
        for (died_of, words) in [
            (Signal::XCPU, "30s of CPU"),
            (Signal::XFSZ, "1.0 MiB"),
            (Signal::ABORT, "4.0 GiB of memory"),
            (Signal::SEGV, "crashed"),
        ] {
            let Err(Fault::File(reason)) = signal(died_of) else { panic!("{died_of:?} is the file's fault") };
            assert!(reason.contains(words), "{reason}");
        }
        assert!(matches!(signal(Signal::KILL), Err(Fault::Machine(_))));
    }

    /// It would take an empty file for the whole, or could not say what is wrong with it.
    #[test]
    fn a_compiler_that_nobody_can_attend_to_is_killed() {
        for there_are in 0..2 {
            let mut sleep = Command::new("/bin/sleep");
            let sleep = sleep.arg("3600").stdin(Stdio::piped()).stderr(Stdio::piped());
            let mut child = descendants::spawn(sleep, Purpose::Compiler).unwrap();
            let mut threads = 0;
            let thread = || {
                threads += 1;
                // No machine has room for such a stack.
                if threads > there_are { Builder::new().stack_size(1 << 60) } else { Builder::new() }
            };
            assert!(attend(&mut child, b"", Duration::from_secs(3600), thread).is_err());
            assert_eq!(descendants::reap(child).unwrap().status.signal(), Some(Signal::KILL.as_raw()));
        }
    }
}
