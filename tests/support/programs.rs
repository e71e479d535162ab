//! Running a program to its end: its input, its output, and an end to the patience.

use std::io::{Read, Write};
use std::path::Path;
use std::process::{Child, Command, ExitStatus, Stdio};
use std::thread::{self, JoinHandle};

use super::Host;
use super::wait::{PATIENCE, some_within};

/// How a program ended and what it printed.
pub struct Outcome {
    shown: String,
    status: ExitStatus,
    stdout: Vec<u8>,
    stderr: Vec<u8>,
}

/// `nc`, which ends its input when it has sent all, on the host's first listener.
#[track_caller]
pub fn nc(host: &Host) -> Command {
    let mut nc = program("nc");
    nc.args(["-N", "127.0.0.1", &host.address().port().to_string()]);
    nc
}

/// A program from the machine, as the tests find it.
pub fn program(name: &str) -> Command {
    // Debian has other programs that call themselves `nc`, and calls this one by a second name.
    Command::new(if name == "nc" { "nc.openbsd" } else { name })
}

/// The host's binary, with nothing of this process's environment that would configure it.
pub fn wasmline() -> Command {
    unconfigured(Command::new(env!("CARGO_BIN_EXE_wasmline")))
}

/// The host's binary, in place of a shell that has run this script.
pub fn wasmline_after(script: &str) -> Command {
    let mut command = Command::new("/bin/sh");
    command.args(["-c", &format!("{script}\nexec \"$0\" \"$@\""), env!("CARGO_BIN_EXE_wasmline")]);
    unconfigured(command)
}

/// The host's binary as the first process of a PID namespace of its own, a child of the process that this runs.
pub fn wasmline_as_init() -> Command {
    let mut command = Command::new("unshare");
    command.args(["--user", "--map-root-user", "--pid", "--mount-proc", "--fork", "--kill-child"]);
    command.arg(env!("CARGO_BIN_EXE_wasmline"));
    unconfigured(command)
}

/// The host's binary in a mount namespace of its own, in which `place` is a file system of this size.
pub fn wasmline_with_tmpfs(place: &Path, size: &str) -> Command {
    let mut command = Command::new("unshare");
    let script = format!("mount -t tmpfs -o size={size},mode=0700 none \"$0\" && exec \"$@\"");
    command.args(["--user", "--map-root-user", "--mount", "/bin/sh", "-c", &script]);
    command.arg(place).arg(env!("CARGO_BIN_EXE_wasmline"));
    unconfigured(command)
}

/// The command, with nothing of this process's environment that would configure a host.
pub fn unconfigured(mut command: Command) -> Command {
    for (name, _) in std::env::vars_os() {
        if name.to_str().is_some_and(|name| name.starts_with("WASMLINE_") || name == "RUST_LOG") {
            command.env_remove(name);
        }
    }
    command
}

/// Runs the program on the input, which ends after the last byte.
#[track_caller]
pub fn pipe_into(command: &mut Command, input: impl AsRef<[u8]>) -> Outcome {
    run(command, input.as_ref(), false)
}

/// Runs the program as a person at a keyboard does: the input stays open until the program ends by itself.
#[track_caller]
pub fn type_into(command: &mut Command, input: impl AsRef<[u8]>) -> Outcome {
    run(command, input.as_ref(), true)
}

#[track_caller]
fn run(command: &mut Command, input: &[u8], keep_open: bool) -> Outcome {
    let shown = format!("{command:?}");
    let spawned = command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn();
    let mut child = spawned.unwrap_or_else(|error| panic!("cannot run {shown}: {error}; see `cargo xtask test`"));

    let mut stdin = child.stdin.take().expect("piped");
    let input = input.to_vec();
    // From a thread, because the program may write before it has read everything. A program that ends before it has
    // read everything is judged by its output.
    let typing = thread::spawn(move || {
        let _ = stdin.write_all(&input);
        keep_open.then_some(stdin)
    });
    let stdout = collect(child.stdout.take().expect("piped"));
    let stderr = collect(child.stderr.take().expect("piped"));
    let status = wait(&mut child);
    let (stdout, stderr) = (stdout.join().expect("reads"), stderr.join().expect("reads"));
    drop(typing.join());

    let outcome = |status| Outcome { shown, status, stdout, stderr };
    match status {
        Some(status) => outcome(status),
        None => panic!("still running after {PATIENCE:?}, so it was killed:\n{}", outcome(ExitStatus::default())),
    }
}

/// Waits for the child; one that outlasts all patience is killed, and has no status.
fn wait(child: &mut Child) -> Option<ExitStatus> {
    let status = some_within(PATIENCE, || child.try_wait().expect("the child can be waited for"));
    if status.is_none() {
        child.kill().expect("the child can be killed");
        child.wait().expect("the child can be waited for");
    }
    status
}

fn collect(mut from: impl Read + Send + 'static) -> JoinHandle<Vec<u8>> {
    thread::spawn(move || {
        let mut bytes = Vec::new();
        let _ = from.read_to_end(&mut bytes);
        bytes
    })
}

impl Outcome {
    /// What it printed on standard output.
    pub fn out(&self) -> String {
        String::from_utf8_lossy(&self.stdout).into_owned()
    }

    /// What it printed on standard error.
    pub fn err(&self) -> String {
        String::from_utf8_lossy(&self.stderr).into_owned()
    }

    /// Asserts its exit status.
    #[track_caller]
    pub fn exited(self, code: i32) -> Outcome {
        assert_eq!(self.status.code(), Some(code), "{self}");
        self
    }

    /// Asserts that standard error holds every one of the texts.
    #[track_caller]
    pub fn says(self, texts: &[&str]) -> Outcome {
        for text in texts {
            assert!(self.err().contains(text), "its standard error does not say {text:?}\n{self}");
        }
        self
    }

    /// Asserts the whole of standard output.
    #[track_caller]
    pub fn prints(self, expected: &str) -> Outcome {
        assert_eq!(self.out(), expected, "{self}");
        self
    }
}

impl std::fmt::Display for Outcome {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        writeln!(f, "command: {}\nstatus: {}", self.shown, self.status)?;
        write!(f, "--- stdout\n{}\n--- stderr\n{}\n---", self.out(), self.err())
    }
}
