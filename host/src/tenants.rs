//! Tenants at run time: what each may do, the commands it has, and the places that bound what it does at once.

mod bucket;
mod share;

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, Instant};

use arc_swap::ArcSwap;
use tokio::sync::Semaphore;

pub use share::{MemoryInUse, Part, Place, Shares, share};

use crate::config::{self, Config, Limits, Mode};
#[cfg(test)]
use crate::machine::Plan;
use crate::policy::Grants;
use crate::registry::{Loaded, Owner, Pace, Problem, Registry, Table};
#[cfg(test)]
use crate::sandbox::Sandbox;
use crate::task::Tasks;
use bucket::Bucket;
use share::Cpu;

/// How long a reading waits for the compiler before it takes what there is. Most commands are compiled in a tenth of it.
const GRACE: Duration = Duration::from_millis(500);
/// How long it waits where nothing can go on without: longer than all compilations together may take.
const FOREVER: Duration = Duration::from_secs(24 * 60 * 60);

/// One tenant. A reload that changes its configuration makes a new one; lines that run keep theirs.
pub struct Tenant {
    /// Its name in the configuration.
    pub name: String,
    /// What one of its invocations may use, and all of them together.
    pub limits: Limits,
    /// Places of its child processes.
    pub children: Arc<Semaphore>,
    /// Places of lines that run or wait to.
    pub admissions: Arc<Semaphore>,
    /// Places of lines that run.
    pub slots: Arc<Semaphore>,
    /// The CPU time of its lines.
    pub cpu: Cpu,
    /// The memory of its lines.
    pub memory: MemoryInUse,
    /// Its lines that run.
    pub tasks: Tasks,
    /// What its commands may do to the machine.
    pub grants: Arc<Grants>,
    /// The lines that it may still run in this second, where that is bounded.
    lines: Option<Bucket>,
    part: ArcSwap<Part>,
    config: config::Tenant,
    table: ArcSwap<Table>,
}

/// All tenants by name.
pub type Tenants = BTreeMap<String, Arc<Tenant>>;

impl Tenant {
    fn new(config: &config::Tenant, shares: &Shares, tenants: usize) -> Tenant {
        let limits = config.limits.clone();
        let rate = |lines: usize| Bucket::new(lines as f64, Instant::now());
        Tenant {
            name: config.name.clone(),
            children: Arc::new(Semaphore::new(limits.children)),
            cpu: Cpu::new(&limits),
            memory: MemoryInUse::default(),
            tasks: Tasks::default(),
            lines: limits.lines_per_second.map(rate),
            part: ArcSwap::from_pointee(shares.part(&limits, tenants)),
            slots: Arc::new(Semaphore::new(limits.concurrency)),
            admissions: Arc::new(Semaphore::new(limits.concurrency + limits.queue)),
            limits,
            grants: Arc::new(config.grants.clone()),
            config: config.clone(),
            table: ArcSwap::default(),
        }
    }

    /// A tenant with these limits, alone on a host with this much memory for commands.
    #[cfg(test)]
    pub fn for_test(limits: &str, memory: usize) -> Tenant {
        let config = config::Config::for_test(limits);
        let shares = Shares::of(&config.server, Plan { tenant_memory: memory });
        Tenant::new(&config.tenants["default"], &shares, 1)
    }

    /// A tenant that is alone on its host, with the commands in these files, compiled here and now.
    #[cfg(test)]
    pub fn with_commands(config: &config::Tenant, shares: &Shares, sandbox: &Sandbox, files: &[PathBuf]) -> Tenant {
        let tenant = Tenant::new(config, shares, 1);
        tenant.table.store(Arc::new(Table::compiled_here(&tenant.owner(), sandbox, files)));
        tenant
    }

    /// Its part of what all share, as it is now.
    pub fn part(&self) -> arc_swap::Guard<Arc<Part>> {
        self.part.load()
    }

    /// Whether one more line may be run now, which counts as run then.
    pub fn may_run_a_line(&self) -> bool {
        self.lines.as_ref().is_none_or(|lines| lines.try_take(1.0, Instant::now()))
    }

    /// The commands as they are now.
    pub fn commands(&self) -> Arc<Table> {
        self.table.load_full()
    }

    /// Reads the tenant's directories again. The table is not swapped in yet.
    fn read(&self, registry: &Registry, pace: Pace) -> Loaded {
        registry.load(&self.owner(), &self.commands(), pace)
    }

    fn owner(&self) -> Owner<'_> {
        Owner { tenant: &self.config, grants: &self.grants, compile_jobs: self.part().compile_jobs }
    }

    /// Swaps in what was read, and says what is different now.
    fn take(&self, table: Table) {
        let table = Arc::new(table);
        let changes = self.table.swap(Arc::clone(&table)).changes(&table);
        if changes.is_empty() {
            return;
        }
        tracing::info!(
            tenant = %self.name,
            commands = table.len(),
            new = %changes.new.join(" "),
            lost = %changes.lost.join(" "),
            refused = table.problems().count(),
            "commands loaded"
        );
        if let Some(problem) = table.unreadable().filter(|_| changes.refusals) {
            tracing::error!(
                tenant = %self.name,
                path = %problem.path.display(),
                reason = problem.reason,
                "commands directory cannot be read"
            );
        }
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

/// A tenant whose only command is the one in this file, wherever it lies. Blocks while it is compiled.
///
/// # Errors
/// When the file is no command.
pub fn load_one(config: &config::Tenant, registry: &Registry, shares: &Shares, file: &Path) -> Result<Tenant, Problem> {
    let tenant = Tenant::new(config, shares, 1);
    tenant.table.store(Arc::new(registry.load_one(&tenant.owner(), file)?));
    Ok(tenant)
}

/// What a directory that cannot be read means.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Strictness {
    /// The host does not start.
    Start,
    /// The tenant keeps the commands that it has, and nobody else is touched.
    Reload,
    /// One more thing to report.
    Check,
}

/// Makes the tenants of a configuration. One that did not change since `before` stays the same, places and all; only its
/// directories are read again. Nothing is swapped in before all is read. Blocks while it reads and compiles.
///
/// # Errors
/// At the start, when a tenant's directory cannot be read.
pub fn load(
    config: &Config,
    before: &Tenants,
    registry: &Registry,
    shares: &Shares,
    strictness: Strictness,
) -> Result<Tenants, Problem> {
    let make = |(name, wanted): (&String, &config::Tenant)| match before.get(name) {
        Some(tenant) if tenant.config == *wanted => {
            tenant.part.store(Arc::new(shares.part(&tenant.limits, config.tenants.len())));
            Arc::clone(tenant)
        }
        known => {
            let tenant = Tenant::new(wanted, shares, config.tenants.len());
            if let Some(known) = known {
                // What served so far goes on serving where the new directories have a bad file of the same name.
                tenant.table.store(known.commands());
            }
            Arc::new(tenant)
        }
    };
    let tenants: Vec<Arc<Tenant>> = config.tenants.iter().map(make).collect();
    // Whoever starts the host wants all of it; whoever changes a running one wants the rest of it to go on.
    let patience = if strictness == Strictness::Reload { Patience::Grace } else { Patience::All };
    let read = read(tenants, registry, Pace::Now, patience);
    let unreadable = |(_, loaded): &(_, Loaded)| loaded.table.unreadable().cloned();
    if strictness == Strictness::Start
        && let Some(problem) = read.iter().find_map(unreadable)
    {
        return Err(problem);
    }
    let take = |(tenant, loaded): (Arc<Tenant>, Loaded)| {
        tenant.take(loaded.table);
        (tenant.name.clone(), tenant)
    };
    Ok(read.into_iter().map(take).collect())
}

/// Reads the tenants' directories because something in them seems to have changed. True when some file is still being
/// written, so that it is worth looking again. Blocks while it reads, and a while for what has to be compiled.
pub fn refresh(tenants: &Tenants, registry: &Registry) -> bool {
    let read = read(tenants.values().cloned().collect(), registry, Pace::Settled, Patience::Grace);
    let mut unsettled = false;
    for (tenant, loaded) in read {
        unsettled |= loaded.unsettled;
        tenant.take(loaded.table);
    }
    unsettled
}

/// How long a reading waits for what is being compiled.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Patience {
    /// As long as it takes, which the compiler bounds.
    All,
    /// No longer than most commands need. The others come when they are done.
    Grace,
}

/// Reads all tenants' directories, so that what has to be compiled is compiled side by side, and reads them again where
/// that was worth waiting for.
fn read(tenants: Vec<Arc<Tenant>>, registry: &Registry, pace: Pace, patience: Patience) -> Vec<(Arc<Tenant>, Loaded)> {
    let read_one = |tenant: Arc<Tenant>| {
        let loaded = tenant.read(registry, pace);
        (tenant, loaded)
    };
    let mut read: Vec<_> = tenants.into_iter().map(read_one).collect();
    loop {
        let asked: Vec<_> = read.iter().flat_map(|(_, loaded)| loaded.asked.iter().copied()).collect();
        if asked.is_empty() {
            return read;
        }
        registry.wait(&asked, if patience == Patience::All { FOREVER } else { GRACE });
        let again = |(tenant, loaded): (Arc<Tenant>, Loaded)| match loaded.compiling {
            true => read_one(tenant),
            false => (tenant, loaded),
        };
        read = read.into_iter().map(again).collect();
        if patience == Patience::Grace {
            return read;
        }
    }
}
