//! The host's child processes, and what they leave behind them.
//!
//! A process whose parent has ended becomes a child of the host (its subreaper, prctl(2)), whatever session or process group
//! it has made for itself. Such an orphan is ended as soon as it is certain that no program which still runs can have
//! started it: every program that does was itself started later. Everything that starts a process does so here, for a
//! process of the host's own must never be taken for an orphan.

use std::collections::{HashMap, HashSet};
use std::fs;
use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::process::{Child, Command};
use std::sync::{LazyLock, Mutex, MutexGuard};
use std::time::Duration;

use rustix::io::Errno;
use rustix::process::{
    Pid, PidfdFlags, Signal, WaitId, WaitIdOptions, getpid, pidfd_open, pidfd_send_signal, set_child_subreaper, waitid,
};
use rustix::thread::gettid;
use rustix::time::{ClockId, clock_gettime};
use tokio::io::unix::AsyncFd;
use tokio::runtime::Handle;
use tokio::signal::unix::{SignalKind, signal};
use wait4::{ResUse, Wait4};

use crate::lock::lock;

/// Orphans that are looked after at once, with a descriptor each. Others are when some of these are gone.
pub const MAX_WATCHED: usize = 64;
/// Where the parent and the time of its start stand in `/proc/PID/stat`, counted from after the name; see
/// proc_pid_stat(5).
const PARENT_FIELD: usize = 1;
const START_FIELD: usize = 19;

static FAMILY: LazyLock<Mutex<Family>> = LazyLock::new(Mutex::default);

/// The children of this process. A time is one since boot at which a program had not begun yet.
#[derive(Default)]
struct Family {
    orphans: Orphans,
    /// How many programs there were.
    begun: u64,
    /// Programs that are just being started, by the order in which they are.
    starting: HashMap<u64, Duration>,
    /// Programs that run.
    programs: HashMap<Pid, Duration>,
    /// Compilers, which have no children.
    compilers: HashSet<Pid>,
    /// Orphans whose end is waited for.
    watched: HashMap<Pid, Orphan>,
}

/// A process whose parent has ended.
#[derive(Debug, Clone, Copy)]
struct Orphan {
    /// The time since boot by which it had begun.
    began_before: Duration,
    /// It has been told to end.
    is_ended: bool,
}

/// What becomes of a child that nobody here has started.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
enum Orphans {
    /// It is none of our business.
    #[default]
    Strangers,
    /// It may come from elsewhere, so it is reaped when it has ended by itself.
    Foundlings,
    /// It comes from a program that was granted.
    Descendants,
}

/// What a child is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Purpose {
    /// It runs a program for a command.
    Program,
    /// It compiles.
    Compiler,
}

/// Has what programs leave behind become children of this process, where it can be told from all else. It is asked for
/// before this process has any child of its own, and in a runtime.
pub fn adopt_orphans() {
    let orphans = if getpid().is_init() {
        // Whatever loses its parent in this container comes here, from wherever it is.
        Orphans::Foundlings
    } else if has_children() {
        // Whoever started them and then became this process may have left anything.
        tracing::info!("what granted programs leave behind is not ended: this process had children when it began");
        Orphans::Foundlings
    } else {
        match children_of_this_process().and_then(|_| Ok(set_child_subreaper(Some(getpid()))?)) {
            Ok(()) => Orphans::Descendants,
            Err(error) => {
                tracing::warn!(%error, "what granted programs leave behind is not ended: the machine does not show it");
                Orphans::Strangers
            }
        }
    };
    family().orphans = orphans;
    if orphans == Orphans::Foundlings {
        tokio::spawn(reap_foundlings());
    }
}

/// Reaps foundlings whenever one may have ended. A host that has none hears of no signal.
async fn reap_foundlings() {
    let mut ended = match signal(SignalKind::child()) {
        Ok(ended) => ended,
        Err(error) => {
            tracing::warn!(%error, "children that others have started are not reaped");
            return;
        }
    };
    loop {
        // First those that ended before anybody listened.
        reap_dead_foundlings();
        if ended.recv().await.is_none() {
            return;
        }
    }
}

fn reap_dead_foundlings() {
    // Nobody is started or reaped meanwhile who would be taken for another.
    let family = family();
    let Ok(children) = children_of_this_process() else { return };
    for pid in numbers(&children).filter(|pid| !family.has_started(*pid)) {
        // It may live on.
        let _ = waitid(WaitId::Pid(pid), WaitIdOptions::EXITED | WaitIdOptions::NOHANG);
    }
}

/// Starts a process. Never on the thread that this process began with: it is that one's children that are looked through
/// for orphans, and one that is just being started must not be among them.
///
/// # Errors
/// When it cannot be started.
pub fn spawn(command: &mut Command, purpose: Purpose) -> io::Result<Child> {
    debug_assert_ne!(gettid(), getpid(), "the first thread starts no process");
    if purpose == Purpose::Compiler {
        let child = command.spawn()?;
        family().compilers.insert(Pid::from_child(&child));
        return Ok(child);
    }
    let not_begun = since_boot();
    // Told first: what a program leaves behind may be there before this thread goes on.
    let number = family().begin(not_begun);
    let child = command.spawn();
    let mut family = family();
    family.starting.remove(&number);
    match &child {
        Ok(child) => {
            family.programs.insert(Pid::from_child(child), not_begun);
        }
        Err(_) => {
            // An orphan may have been spared for the sake of this one, which has not begun.
            drop(family);
            look();
        }
    }
    child
}

/// Waits for a process that was started here, and forgets it: how it ended, and what it and its own dead children have used.
/// Blocks until it has ended.
pub fn reap(child: Child) -> io::Result<ResUse> {
    let pid = Pid::from_child(&child);
    while let Err(Errno::INTR) = waitid(WaitId::Pid(pid), WaitIdOptions::EXITED | WaitIdOptions::NOWAIT) {}
    // Under the lock, so that nobody else is known by its number before it is forgotten.
    let mut family = family();
    let ended = child.wait4();
    // Where there is nothing to wait for it is no child any more.
    family.programs.remove(&pid);
    family.compilers.remove(&pid);
    ended
}

/// Looks for orphans, ends those whose time is over, and sees to it that each is reaped when it has ended. To be called
/// whenever a program was reaped, for that is when one may have become an orphan, or its time be over.
pub fn look() {
    let Ok(runtime) = Handle::try_current() else { return };
    // Nobody is reaped meanwhile.
    let mut family = family();
    if family.orphans != Orphans::Descendants {
        return;
    }
    // Where nothing was left behind this is one short file, with few or no numbers in it, all of them known.
    let Ok(children) = children_of_this_process() else { return };
    for pid in numbers(&children) {
        if family.has_started(pid) {
            continue;
        }
        // What is known already is not read again, and there is a bound to what is read at once.
        match family.watched.get(&pid) {
            Some(orphan) if orphan.is_ended || !family.may_end(orphan.began_before) => continue,
            None if family.watched.len() >= MAX_WATCHED => continue,
            _ => {}
        }
        // The descriptor first: what is read of the number after that is of the same process, or of one that is no child.
        let Ok(pidfd) = pidfd_open(pid, PidfdFlags::NONBLOCK) else { continue };
        let Some(Stat { began_before, .. }) = Stat::of(pid).filter(|stat| stat.parent == getpid()) else { continue };
        let is_ended = family.may_end(began_before);
        if is_ended {
            tracing::debug!(pid = pid.as_raw_nonzero(), "ending what a granted program left behind");
            // It may have ended by itself.
            let _ = pidfd_send_signal(&pidfd, Signal::KILL);
        }
        if family.watched.insert(pid, Orphan { began_before, is_ended }).is_none() {
            runtime.spawn(reap_orphan(pid, pidfd));
        }
    }
}

/// Waits until an orphan has ended, and looks for those that it leaves behind in turn.
async fn reap_orphan(pid: Pid, pidfd: OwnedFd) {
    let ended = match watch(pidfd) {
        Ok(pidfd) => pidfd.readable().await.and_then(|_| {
            let mut family = family();
            family.watched.remove(&pid);
            waitid(WaitId::PidFd(pidfd.as_fd()), WaitIdOptions::EXITED | WaitIdOptions::NOHANG)?;
            Ok(())
        }),
        Err(error) => {
            family().watched.remove(&pid);
            Err(error)
        }
    };
    match ended {
        Ok(()) => look(),
        Err(error) => tracing::warn!(pid = pid.as_raw_nonzero(), %error, "could not reap what a program left behind"),
    }
}

/// Registers a pidfd with the runtime: it is readable once the process has ended.
#[expect(
    deprecated,
    reason = "its replacement is unsafe for types that might swap their descriptor; an OwnedFd does not"
)]
pub fn watch(pidfd: OwnedFd) -> io::Result<AsyncFd<OwnedFd>> {
    AsyncFd::new(pidfd)
}

impl Family {
    fn begin(&mut self, not_begun: Duration) -> u64 {
        self.begun += 1;
        self.starting.insert(self.begun, not_begun);
        self.begun
    }

    /// Whether this child was started here. Of those on the first thread's list it is known.
    fn has_started(&self, pid: Pid) -> bool {
        self.programs.contains_key(&pid) || self.compilers.contains(&pid)
    }

    /// Whether an orphan is to end that had begun by that time: every program that runs was started after it.
    fn may_end(&self, began_before: Duration) -> bool {
        let mut running = self.programs.values().chain(self.starting.values());
        running.all(|not_begun| began_before <= *not_begun)
    }
}

fn family() -> MutexGuard<'static, Family> {
    // Nothing that holds the lock can leave it half-changed.
    lock(&FAMILY)
}

fn has_children() -> bool {
    let options = WaitIdOptions::EXITED | WaitIdOptions::NOHANG | WaitIdOptions::NOWAIT;
    !matches!(waitid(WaitId::All, options), Err(Errno::CHILD))
}

/// The numbers of those children that the first thread has: orphans are given to it, and it starts none itself.
fn children_of_this_process() -> io::Result<String> {
    let pid = getpid().as_raw_nonzero();
    fs::read_to_string(format!("/proc/self/task/{pid}/children"))
}

/// The numbers in such a list.
fn numbers(list: &str) -> impl Iterator<Item = Pid> {
    list.split_ascii_whitespace().filter_map(|pid| Pid::from_raw(pid.parse().ok()?))
}

fn since_boot() -> Duration {
    let time = clock_gettime(ClockId::Boottime);
    time.try_into().unwrap_or_default()
}

/// What the kernel says of a process.
struct Stat {
    parent: Pid,
    /// The time since boot by which it had begun.
    began_before: Duration,
}

impl Stat {
    fn of(pid: Pid) -> Option<Stat> {
        let line = fs::read_to_string(format!("/proc/{}/stat", pid.as_raw_nonzero())).ok()?;
        Stat::parse(&line, rustix::param::clock_ticks_per_second())
    }

    fn parse(line: &str, ticks_per_second: u64) -> Option<Stat> {
        // The name stands in brackets, and may hold spaces and brackets itself.
        let (_, fields) = line.rsplit_once(')')?;
        let fields: Vec<&str> = fields.split_whitespace().collect();
        let ticks: u64 = fields.get(START_FIELD)?.parse().ok()?;
        // They are whole ones.
        let milliseconds = (ticks + 1).saturating_mul(1000).div_ceil(ticks_per_second);
        Some(Stat {
            parent: Pid::from_raw(fields.get(PARENT_FIELD)?.parse().ok()?)?,
            began_before: Duration::from_millis(milliseconds),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_start_of_a_process_is_read_whatever_its_name() {
        let line = "123 (a) b) 1) S 45 1 1 0 -1 0 0 0 0 0 0 0 0 0 20 0 1 0 1234 0 0";
        let stat = Stat::parse(line, 100).unwrap();
        assert_eq!((stat.parent, stat.began_before), (Pid::from_raw(45).unwrap(), Duration::from_millis(12_350)));
        assert!(Stat::parse("1 (x) S 1", 100).is_none());
    }

    #[test]
    fn a_process_is_known_from_before_it_began_until_it_is_reaped() {
        let mut child = spawn(Command::new("/bin/cat").stdin(std::process::Stdio::piped()), Purpose::Program).unwrap();
        let pid = Pid::from_child(&child);
        let stat = Stat::of(pid).unwrap();
        assert_eq!(stat.parent, getpid());
        let not_begun = family().programs[&pid];
        assert!(not_begun < stat.began_before, "{not_begun:?}, {:?}", stat.began_before);
        drop(child.stdin.take());
        assert!(reap(child).unwrap().status.success());
        assert!(!family().programs.contains_key(&pid));
    }

    #[test]
    fn an_orphan_is_left_alone_as_long_as_it_may_belong_to_somebody() {
        let seconds = Duration::from_secs;
        let programs = |times: &[u64]| {
            let numbered = times.iter().zip(1..).map(|(time, pid)| (Pid::from_raw(pid).unwrap(), seconds(*time)));
            Family { programs: numbered.collect(), ..Family::default() }
        };
        assert!(programs(&[]).may_end(seconds(5)));
        assert!(programs(&[5, 6]).may_end(seconds(5)));
        assert!(!programs(&[4, 6]).may_end(seconds(5)));
        let mut starting = programs(&[6]);
        starting.begin(seconds(4));
        assert!(!starting.may_end(seconds(5)));
    }
}
