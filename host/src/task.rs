//! One running line as others see it: what it is, what it has used, and how it is stopped.
//!
//! It outlives its invocation where something of it does, a child that is being reaped, and keeps no connection open.

use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard};
use std::task::Waker;
use std::time::{Duration, Instant};

use atomic_waker::AtomicWaker;
use slab::Slab;

use crate::lock::lock;
use crate::tenants::Tenant;

/// Who has which command run. Lines of a command that come behind one another on a connection share it.
pub struct Subject {
    /// On whose behalf it runs.
    pub tenant: Arc<Tenant>,
    /// The command's name.
    pub command: Arc<str>,
    /// The client's address.
    pub peer: Arc<str>,
}

/// A running line.
pub struct Task {
    /// Tells the tenant's invocations apart, in the log and for whoever stops one. Each tenant counts its own, so that the
    /// numbers tell nothing of what others do.
    pub id: u64,
    /// Who has it run, and which command it is of.
    pub subject: Arc<Subject>,
    /// The words after the command's name.
    pub args: Vec<String>,
    /// When it began.
    pub began: Instant,
    /// Nanoseconds of CPU time: of the guest, of the host on its behalf, and of its children.
    cpu: AtomicU64,
    /// Bytes in its memories and tables.
    memory: AtomicUsize,
    /// The most that was in them.
    peak_memory: AtomicUsize,
    /// Children that it has.
    children: AtomicUsize,
    stopped: AtomicBool,
    driver: AtomicWaker,
}

impl Task {
    /// A task that began at `began`, from which its time is counted.
    pub fn new(id: u64, subject: Arc<Subject>, args: Vec<String>, began: Instant) -> Task {
        Task {
            id,
            subject,
            args,
            began,
            cpu: AtomicU64::new(0),
            memory: AtomicUsize::new(0),
            peak_memory: AtomicUsize::new(0),
            children: AtomicUsize::new(0),
            stopped: AtomicBool::new(false),
            driver: AtomicWaker::new(),
        }
    }

    /// On whose behalf it runs.
    pub fn tenant(&self) -> &Arc<Tenant> {
        &self.subject.tenant
    }

    /// Adds CPU time, to its account and to its tenant's.
    pub fn charge(&self, time: Duration) {
        self.charge_at(Instant::now(), time);
    }

    /// Adds CPU time that was used until `now`.
    pub fn charge_at(&self, now: Instant, time: Duration) {
        let nanoseconds = u64::try_from(time.as_nanos()).unwrap_or(u64::MAX);
        self.cpu.fetch_add(nanoseconds, Ordering::Relaxed);
        self.tenant().cpu.charge(time, now);
    }

    /// CPU time used so far.
    pub fn cpu(&self) -> Duration {
        Duration::from_nanos(self.cpu.load(Ordering::Relaxed))
    }

    /// CPU time that is left of its budget; `None` when it is used up.
    pub fn cpu_left(&self) -> Option<Duration> {
        self.tenant().limits.cpu.checked_sub(self.cpu())
    }

    /// Bytes in its memories and tables now.
    pub fn memory(&self) -> usize {
        self.memory.load(Ordering::Relaxed)
    }

    /// Takes over how many bytes there are now.
    pub fn set_memory(&self, bytes: usize) {
        self.memory.store(bytes, Ordering::Relaxed);
        // Whoever runs the line is the only one to set this.
        if bytes > self.peak_memory() {
            self.peak_memory.store(bytes, Ordering::Relaxed);
        }
    }

    /// The most bytes that there were.
    pub fn peak_memory(&self) -> usize {
        self.peak_memory.load(Ordering::Relaxed)
    }

    /// Takes a place for a child, if there is one left.
    pub fn place_for_child(self: &Arc<Task>) -> Option<ChildPlace> {
        let most = self.tenant().limits.children_per_line;
        let place = |children: usize| (children < most).then_some(children + 1);
        self.children.fetch_update(Ordering::Relaxed, Ordering::Relaxed, place).ok()?;
        Some(ChildPlace { task: Arc::clone(self) })
    }

    /// Stops it: whoever drives it is woken, and ends it.
    pub fn stop(&self) {
        self.stopped.store(true, Ordering::SeqCst);
        self.driver.wake();
    }

    /// Whether it is to end. Wakes `driver` when that changes.
    pub fn is_stopped(&self, driver: &Waker) -> bool {
        self.driver.register(driver);
        self.stopped.load(Ordering::SeqCst)
    }
}

/// The place of a child among those of its line.
pub struct ChildPlace {
    task: Arc<Task>,
}

impl Drop for ChildPlace {
    fn drop(&mut self) {
        self.task.children.fetch_sub(1, Ordering::Relaxed);
    }
}

/// The running lines of a tenant.
#[derive(Default)]
pub struct Tasks {
    begun: AtomicU64,
    running: Mutex<Slab<Arc<Task>>>,
}

/// Holds a task's place among those that run.
pub struct Entry<'a> {
    task: &'a Task,
    place: usize,
}

impl Tasks {
    /// The number of the next one.
    pub fn next_id(&self) -> u64 {
        self.begun.fetch_add(1, Ordering::Relaxed) + 1
    }

    /// How many there were.
    #[cfg(test)]
    pub fn begun(&self) -> u64 {
        self.begun.load(Ordering::Relaxed)
    }

    /// All that run, in the order in which they began.
    pub fn list(&self) -> Vec<Arc<Task>> {
        let mut tasks: Vec<_> = self.running().iter().map(|(_, task)| Arc::clone(task)).collect();
        tasks.sort_unstable_by_key(|task| task.id);
        tasks
    }

    /// Stops one. False when none of that number runs.
    pub fn stop(&self, id: u64) -> bool {
        let task = self.running().iter().find(|(_, task)| task.id == id).map(|(_, task)| Arc::clone(task));
        task.is_some_and(|task| {
            task.stop();
            true
        })
    }

    fn running(&self) -> MutexGuard<'_, Slab<Arc<Task>>> {
        // Nothing that holds the lock can leave it half-changed.
        lock(&self.running)
    }
}

impl<'a> Entry<'a> {
    /// Lists a task among those of its tenant for as long as the entry lives.
    pub fn new(task: &'a Arc<Task>) -> Entry<'a> {
        let place = task.tenant().tasks.running().insert(Arc::clone(task));
        Entry { task, place }
    }
}

impl Drop for Entry<'_> {
    fn drop(&mut self) {
        // Returned out of the lock before it is dropped.
        let _task = self.task.tenant().tasks.running().try_remove(self.place);
    }
}
