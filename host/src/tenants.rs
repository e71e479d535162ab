//! Tenants at run time: what each may do, the commands it has, and the places that bound what it does at once.

mod bucket;
mod gate;
mod load;
mod share;
mod threads;

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::Instant;

use arc_swap::ArcSwap;

pub use gate::{Gate, Pass};
pub use load::{Refreshed, Strictness, load, load_one, refresh};
pub use share::{MemoryInUse, Part, Place, Quota, Shares, share};
pub use threads::Threads;

use crate::config::{self, Limits, Mode};
#[cfg(test)]
use crate::machine::Plan;
use crate::policy::Grants;
use crate::registry::{Command, Loaded, Owner, Pace, Registry, Table};
#[cfg(test)]
use crate::sandbox::Sandbox;
use crate::task::Tasks;
use bucket::Bucket;
use share::Cpu;

/// One tenant. A reload that changes its configuration makes a new one; lines that run keep theirs, and the places that
/// they have and the time that they use count for both.
pub struct Tenant {
    /// Its name in the configuration.
    pub name: String,
    /// What one of its invocations may use, and all of them together.
    pub limits: Limits,
    /// Places of its child processes.
    pub children: Quota,
    /// Places of lines that run or wait to.
    pub admissions: Arc<Gate>,
    /// Places of lines that run.
    pub slots: Arc<Gate>,
    /// The CPU time of its lines.
    pub cpu: Cpu,
    /// The memory of its lines.
    pub memory: Arc<MemoryInUse>,
    /// Its lines that run.
    pub tasks: Arc<Tasks>,
    /// What its commands may do to the machine.
    pub grants: Arc<Grants>,
    /// The lines that it may still run in this second, where that is bounded.
    lines: Option<Arc<Bucket>>,
    part: ArcSwap<Part>,
    /// Bytes that its lines may have in memories and tables. This and the next are of its part, but each line looks at them,
    /// and the part takes a few times longer to look into.
    most_memory: AtomicUsize,
    /// Whether there is nobody to take turns with.
    is_alone: AtomicBool,
    config: config::Tenant,
    table: ArcSwap<Table>,
    /// How many tables there were before this one.
    tables: AtomicUsize,
}

/// All tenants by name.
pub type Tenants = BTreeMap<String, Arc<Tenant>>;

impl Tenant {
    fn new(config: &config::Tenant, shares: &Shares, tenants: usize) -> Tenant {
        let limits = config.limits.clone();
        let rate = |lines: usize| Arc::new(Bucket::new(lines as f64, Instant::now()));
        Tenant {
            name: config.name.clone(),
            children: shares.children(shares.most_children(&limits, tenants)),
            cpu: Cpu::new(&limits),
            memory: Arc::new(shares.memory_in_use()),
            tasks: Arc::default(),
            lines: limits.lines_per_second.map(rate),
            part: ArcSwap::from_pointee(shares.part(&limits, tenants, None)),
            most_memory: shares.memory(&limits).into(),
            is_alone: (tenants == 1).into(),
            slots: Arc::new(Gate::new(shares.slots(&limits, tenants))),
            admissions: Arc::new(Gate::new(limits.concurrency + limits.queue)),
            limits,
            grants: Arc::new(config.grants.clone()),
            config: config.clone(),
            table: ArcSwap::default(),
            tables: AtomicUsize::new(0),
        }
    }

    /// Takes over what lines of the tenant that it follows still have, and their places.
    fn follow(&mut self, known: &Tenant) {
        // What served so far goes on serving where the new directories have a bad file of the same name.
        self.swap(known.commands());
        // The lines that run are the tenant's still, to be seen, stopped and counted.
        self.tasks = Arc::clone(&known.tasks);
        self.memory = Arc::clone(&known.memory);
        // What was used is missing still, and those who run take from the same.
        self.cpu.follow(&known.cpu);
        bucket::follow(&mut self.lines, known.lines.as_ref());
        self.children = known.children.clone();
        self.part = ArcSwap::new(known.part.load_full());
        self.admissions = Arc::clone(&known.admissions);
        self.slots = Arc::clone(&known.slots);
    }

    /// Takes the part of what all share that is its own among so many tenants.
    fn fit(&self, shares: &Shares, tenants: usize) {
        let part = shares.part(&self.limits, tenants, Some(&self.part()));
        self.part.store(Arc::new(part));
        self.most_memory.store(shares.memory(&self.limits), Ordering::Relaxed);
        self.is_alone.store(tenants == 1, Ordering::Relaxed);
        self.children.resize(shares.most_children(&self.limits, tenants));
        self.slots.resize(shares.slots(&self.limits, tenants));
        self.admissions.resize(self.limits.concurrency + self.limits.queue);
    }

    /// A tenant with these limits, alone on a host with this much memory for commands.
    #[cfg(test)]
    pub fn for_test(limits: &str, memory: usize) -> Tenant {
        let config = config::Config::for_test(limits);
        let shares = Shares::of(&config.server, Plan::for_test(memory)).unwrap();
        Tenant::new(&config.tenants["default"], &shares, 1)
    }

    /// A tenant that is alone on its host, with the commands in these files, compiled here and now.
    #[cfg(test)]
    pub fn with_commands(config: &config::Tenant, shares: &Shares, sandbox: &Sandbox, files: &[PathBuf]) -> Tenant {
        let tenant = Tenant::new(config, shares, 1);
        tenant.swap(Arc::new(Table::compiled_here(&tenant.owner(), sandbox, files)));
        tenant
    }

    /// Its part of what all share, as it is now.
    pub fn part(&self) -> arc_swap::Guard<Arc<Part>> {
        self.part.load()
    }

    /// Takes memory for a line, if there is so much of the tenant's and of the host's.
    pub fn take_memory(&self, bytes: usize) -> bool {
        self.memory.take(bytes, self.most_memory.load(Ordering::Relaxed))
    }

    /// Whether its lines have to take turns with others', however short they are.
    pub fn takes_turns(&self) -> bool {
        !self.is_alone.load(Ordering::Relaxed) && self.cpu.is_busy()
    }

    /// Counts a line that is to be run, where one more may be now. False where that is too many in a second.
    pub fn admit_line(&self) -> bool {
        self.lines.as_ref().is_none_or(|lines| lines.try_take(1.0, Instant::now()))
    }

    /// The command of this name, if there is one now.
    pub fn command(&self, name: &str) -> Option<Arc<Command>> {
        self.table.load().get(name).cloned()
    }

    /// The number of the table that the commands are in now. Whoever asks for it before he asks for a command can tell by
    /// it later, at less cost, that asking again would give him the same.
    pub fn table_number(&self) -> usize {
        self.tables.load(Ordering::Acquire)
    }

    /// The commands as they are now.
    pub fn commands(&self) -> Arc<Table> {
        self.table.load_full()
    }

    /// Reads the tenant's directories, for a table that follows `before`. It is not swapped in yet.
    fn read(&self, registry: &Registry, before: &Table, pace: Pace) -> Loaded {
        registry.load(&self.owner(), before, pace)
    }

    fn owner(&self) -> Owner<'_> {
        let part = self.part();
        let (compile_jobs, most_commands) = (part.compile_jobs, part.most_commands);
        Owner { tenant: &self.config, grants: &self.grants, compile_jobs, most_commands }
    }

    /// Swaps in another table, and returns the one before.
    pub fn swap(&self, table: Arc<Table>) -> Arc<Table> {
        let before = self.table.swap(table);
        // Afterwards: whoever sees the new number finds the new table.
        self.tables.fetch_add(1, Ordering::Release);
        before
    }

    /// Swaps in what was read, and says what is different now. True if anything is.
    fn take(&self, table: Table) -> bool {
        let table = Arc::new(table);
        let changes = self.swap(Arc::clone(&table)).changes(&table);
        if changes.is_empty() {
            return false;
        }
        tracing::info!(
            tenant = %self.name,
            commands = table.len(),
            new = %changes.new.join(" "),
            lost = %changes.lost.join(" "),
            refused = table.problems().count(),
            "commands loaded"
        );
        for problem in table.unreadable().iter().filter(|_| changes.refusals) {
            tracing::error!(
                tenant = %self.name,
                path = %problem.place(),
                reason = problem.reason,
                "commands directory cannot be read"
            );
        }
        true
    }

    /// Whether it is the operator's own, who is told of what does not serve.
    pub fn is_operators(&self) -> bool {
        self.config.operator
    }

    /// How its grants are recorded.
    pub fn mode(&self) -> Mode {
        self.config.mode
    }

    /// The directories that its commands come from.
    pub fn directories(&self) -> &[PathBuf] {
        &self.config.commands
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    #[test]
    fn who_follows_goes_on_at_its_own_rates_with_what_is_missing() {
        const HOUR: Duration = Duration::from_secs(60 * 60);
        let known = Tenant::for_test("cpu-share = 0.5\nlines-per-second = 1", 1 << 30);
        let follower = || {
            let mut tenant = Tenant::for_test("cpu-share = 2.0\nlines-per-second = 5", 1 << 30);
            tenant.follow(&known);
            tenant
        };
        let first = follower();
        assert!(first.cpu.overdrawn().is_none() && first.admit_line());
        // A line that began before the reload goes on.
        known.cpu.charge(HOUR, Instant::now());
        known.lines.as_ref().unwrap().charge(HOUR.as_secs_f64(), Instant::now());
        for tenant in [first, follower()] {
            let debt = tenant.cpu.overdrawn().expect("it is in debt");
            assert!(debt > HOUR / 3 && debt < HOUR, "{debt:?}");
            assert!(tenant.cpu.is_busy() && !tenant.admit_line());
        }
    }
}
