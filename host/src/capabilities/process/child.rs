//! A child in its process group, from its start until it is reaped.

use std::io;
use std::mem::MaybeUninit;
use std::os::fd::OwnedFd;
use std::os::unix::process::CommandExt;
use std::pin::Pin;
use std::process::{Command, ExitStatus, Stdio};
use std::sync::Arc;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use rustix::process::{
    Pid, PidfdFlags, Resource as Limit, Rlimit, Signal, WaitId, WaitIdOptions, kill_process_group, pidfd_open, prlimit,
    waitid,
};
use tokio::io::unix::AsyncFd;
use tokio::io::{AsyncRead, ReadBuf};
use tokio::net::unix::pipe::Receiver;

use super::arguments::Arguments;
use crate::descendants::{self, Purpose, watch};
use crate::task::{ChildPlace, Task};
use crate::tenants::Place;

/// Bytes that one read returns at most.
const MAX_READ: usize = 64 * 1024;
/// Descriptors that a child may have open.
const MAX_DESCRIPTORS: u64 = 256;
/// Unread bytes of standard error that are kept.
const MAX_STDERR: usize = 64 * 1024;
/// Bytes of standard error that are collected at a time.
const STDERR_CHUNK: usize = 4096;

/// A running child. Dropping it kills its whole process group and reaps it.
pub struct Child {
    /// `None` once it has been handed over to be reaped.
    process: Option<Process>,
    stdout: Option<Receiver>,
    stderr: Stderr,
}

/// The process itself, with the place that it takes among its tenant's children.
struct Process {
    /// `None` once it has been reaped.
    child: Option<std::process::Child>,
    group: Pid,
    /// Readable once the process has ended, and before it is reaped. Made for whoever finds it running.
    pidfd: Option<AsyncFd<OwnedFd>>,
    status: Option<ExitStatus>,
    /// What its arguments name, for as long as it may open them.
    _files: Vec<OwnedFd>,
    /// On whose account it runs.
    task: Arc<Task>,
    _places: ChildPlaces,
}

/// The places of a child: among those of its line, and among those of its tenant and of all.
pub(super) struct ChildPlaces {
    _line: ChildPlace,
    _tenant: Place,
}

impl ChildPlaces {
    /// Those that were taken for a child.
    pub(super) fn new(line: ChildPlace, tenant: Place) -> ChildPlaces {
        ChildPlaces { _line: line, _tenant: tenant }
    }
}

/// Standard error, collected whenever the child is waited for, so that the child never blocks on it.
struct Stderr {
    pipe: Option<Receiver>,
    kept: Vec<u8>,
}

impl Child {
    /// Starts a program with an empty environment, in `/`, with no input, in a process group of its own.
    ///
    /// Blocks until the program has been executed, so it belongs on a thread aside; the runtime must be entered.
    pub(super) fn spawn(program: &str, args: Arguments, task: Arc<Task>, places: ChildPlaces) -> io::Result<Child> {
        let mut command = Command::new(program);
        command
            .args(args.words)
            .env_clear()
            .current_dir("/")
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .process_group(0);
        let mut child = descendants::spawn(&mut command, Purpose::Program)?;
        let group = Pid::from_child(&child);
        let (stdout, stderr) = (child.stdout.take(), child.stderr.take());
        // A process of its own gets what is left of the line's time; several together are found out when they are reaped.
        bound(group, task.cpu_left().unwrap_or_default());
        let process =
            Process { child: Some(child), group, pidfd: None, status: None, _files: args.files, task, _places: places };
        // From here on the drop of `running` cleans up.
        let mut running =
            Child { process: Some(process), stdout: None, stderr: Stderr { pipe: None, kept: Vec::new() } };
        let receiver = |fd: Option<OwnedFd>| fd.map(Receiver::from_owned_fd).transpose();
        running.stdout = receiver(stdout.map(OwnedFd::from))?;
        running.stderr.pipe = receiver(stderr.map(OwnedFd::from))?;
        Ok(running)
    }

    /// The next bytes of standard output; `None` at its end.
    pub(super) async fn read(&mut self, max: usize) -> io::Result<Option<Vec<u8>>> {
        let mut bytes = Vec::with_capacity(max.clamp(1, MAX_READ));
        std::future::poll_fn(|cx| {
            let _ = self.stderr.poll_collect(cx);
            poll_read(&mut self.stdout, cx, &mut bytes)
        })
        .await?;
        Ok((!bytes.is_empty()).then_some(bytes))
    }

    /// The next bytes of standard error; `None` at its end.
    pub(super) async fn read_stderr(&mut self, max: usize) -> Option<Vec<u8>> {
        std::future::poll_fn(|cx| {
            let ended = self.stderr.poll_collect(cx).is_ready();
            if ended || !self.stderr.kept.is_empty() { Poll::Ready(()) } else { Poll::Pending }
        })
        .await;
        let kept = &mut self.stderr.kept;
        let taken: Vec<u8> = kept.drain(..kept.len().min(max.clamp(1, MAX_READ))).collect();
        (!taken.is_empty()).then_some(taken)
    }

    /// Waits for the end of the child, and then ends what it left behind in its group.
    pub(super) async fn wait(&mut self) -> io::Result<ExitStatus> {
        let Some(process) = &mut self.process else {
            return Err(io::ErrorKind::NotFound.into());
        };
        if let Some(status) = process.status {
            return Ok(status);
        }
        std::future::poll_fn(|cx| {
            let _ = self.stderr.poll_collect(cx);
            process.poll_ended(cx)
        })
        .await?;
        process.reap()
    }

    pub(super) fn kill(&self) {
        if let Some(process) = &self.process
            && process.status.is_none()
        {
            kill_group(process.group);
        }
    }
}

impl Process {
    /// Ready when it has ended, whether it has been reaped or not.
    fn poll_ended(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let pidfd = match &self.pidfd {
            Some(pidfd) => pidfd,
            // A program that has closed its output has often ended by the time that somebody asks.
            None if self.child.is_none() || has_ended(self.group)? => return Poll::Ready(Ok(())),
            None => self.pidfd.insert(watch(pidfd_open(self.group, PidfdFlags::NONBLOCK)?)?),
        };
        pidfd.poll_read_ready(cx).map_ok(drop)
    }

    /// Takes the status of a process that has ended. Its group is killed first: until it is reaped, its number cannot
    /// have become another's.
    fn reap(&mut self) -> io::Result<ExitStatus> {
        kill_group(self.group);
        let child = self.child.take().ok_or(io::ErrorKind::NotFound)?;
        let ended = descendants::reap(child)?;
        // What its own dead children have used is in it.
        self.task.charge(ended.rusage.utime + ended.rusage.stime);
        self.status = Some(ended.status);
        descendants::look();
        Ok(ended.status)
    }

    /// Waits for the end of a process that was killed, and reaps it.
    async fn bury(mut self) {
        let ended = std::future::poll_fn(|cx| self.poll_ended(cx)).await;
        let pid = self.group.as_raw_nonzero();
        let reaped = match ended {
            Ok(()) => self.reap().map(drop),
            // Without a descriptor to wait with, a thread waits.
            Err(_) => {
                let part = self.task.tenant().part();
                part.aside.run(move || self.reap().map(drop)).await.unwrap_or(Ok(()))
            }
        };
        if let Err(error) = reaped {
            tracing::warn!(pid, %error, "could not reap a child");
        }
    }
}

impl Drop for Child {
    fn drop(&mut self) {
        let Some(mut process) = self.process.take() else { return };
        if process.status.is_some() {
            return;
        }
        kill_group(process.group);
        // A killed process ends at once unless the kernel holds it; whoever dropped it need not wait for that. The task
        // keeps the child's place, so a tenant cannot have more of them than its limit.
        if let Ok(runtime) = tokio::runtime::Handle::try_current() {
            runtime.spawn(process.bury());
        } else if let Err(error) = process.reap() {
            tracing::warn!(pid = process.group.as_raw_nonzero(), %error, "could not reap a child");
        }
    }
}

impl Stderr {
    /// Takes what is there; ready at the end of the stream.
    fn poll_collect(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        // Whoever waits for the child comes by here each time that he is woken, so it is neither allocated nor zeroed.
        let mut chunk = [const { MaybeUninit::uninit() }; STDERR_CHUNK];
        while let Some(pipe) = &mut self.pipe {
            let mut chunk = ReadBuf::uninit(&mut chunk);
            match ready!(Pin::new(pipe).poll_read(cx, &mut chunk)) {
                Ok(()) if !chunk.filled().is_empty() => {
                    let room = MAX_STDERR - self.kept.len();
                    self.kept.extend_from_slice(&chunk.filled()[..chunk.filled().len().min(room)]);
                }
                _ => self.pipe = None,
            }
        }
        Poll::Ready(())
    }
}

/// Reads into the spare room of `bytes`; adds nothing at the end of the stream, and where there is none.
fn poll_read(pipe: &mut Option<Receiver>, cx: &mut Context<'_>, bytes: &mut Vec<u8>) -> Poll<io::Result<()>> {
    let Some(pipe) = pipe else { return Poll::Ready(Ok(())) };
    bytes.resize(bytes.capacity(), 0);
    let mut buffer = ReadBuf::new(bytes);
    let result = Pin::new(pipe).poll_read(cx, &mut buffer);
    let filled = buffer.filled().len();
    bytes.truncate(filled);
    result
}

/// Sets a child's own limits. It has begun by then, which is early enough for what they are against.
fn bound(child: Pid, cpu: Duration) {
    // The signal at the lower bound on CPU time tells this end from others.
    let cpu = cpu.as_secs() + 1;
    let bounds = [(Limit::Cpu, cpu, cpu + 1), (Limit::Core, 0, 0), (Limit::Nofile, MAX_DESCRIPTORS, MAX_DESCRIPTORS)];
    for (resource, current, maximum) in bounds {
        // A child that has ended already needs none.
        let _ = prlimit(Some(child), resource, Rlimit { current: Some(current), maximum: Some(maximum) });
    }
}

/// Whether a child has ended. It is not reaped by that.
fn has_ended(child: Pid) -> io::Result<bool> {
    let options = WaitIdOptions::EXITED | WaitIdOptions::NOHANG | WaitIdOptions::NOWAIT;
    Ok(waitid(WaitId::Pid(child), options)?.is_some())
}

/// Kills a process group. One that has no member left is no error.
fn kill_group(group: Pid) {
    let _ = kill_process_group(group, Signal::KILL);
}
