//! Tenants at run time: what each may do, the commands it has, and the places that bound what it does at once.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::Arc;

use arc_swap::ArcSwap;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};

use crate::config::{self, Config, Limits};
use crate::policy::Grants;
use crate::registry::{Loaded, Owner, Pace, Problem, Registry, Table};

/// One tenant. A reload that changes its configuration makes a new one; lines that run keep theirs.
pub struct Tenant {
    /// Its name in the configuration.
    pub name: String,
    /// What one of its invocations may use.
    pub limits: Limits,
    /// Places of its child processes.
    pub children: Arc<Semaphore>,
    /// Places of its hash jobs, a share of the host's.
    pub hash_jobs: HashJobs,
    /// Places of lines that run or wait to.
    pub admissions: Arc<Semaphore>,
    /// Places of lines that run.
    pub slots: Arc<Semaphore>,
    config: config::Tenant,
    grants: Arc<Grants>,
    table: ArcSwap<Table>,
}

/// Bounds the hash jobs of the whole host, so that they cannot take the blocking pool from everything else, and of one
/// tenant, so that it cannot take them all.
#[derive(Clone)]
pub struct HashJobs {
    all: Arc<Semaphore>,
    own: Arc<Semaphore>,
    jobs: usize,
}

/// The places of one hash job.
pub struct HashPlace {
    _own: OwnedSemaphorePermit,
    _all: OwnedSemaphorePermit,
}

/// All tenants by name.
pub type Tenants = BTreeMap<String, Arc<Tenant>>;

impl HashJobs {
    /// At most `jobs` at once.
    pub fn new(jobs: usize) -> HashJobs {
        HashJobs { all: Arc::new(Semaphore::new(jobs)), own: Arc::new(Semaphore::new(jobs)), jobs }
    }

    /// A tenant's share: all of them if it is alone, else half, so that there is always one for another.
    fn share(&self, tenants: usize) -> HashJobs {
        let own = if tenants == 1 { self.jobs } else { (self.jobs / 2).max(1) };
        HashJobs { own: Arc::new(Semaphore::new(own)), ..self.clone() }
    }

    /// Waits for a place: the tenant's own first, so that those who wait for the host's are few and of all tenants.
    pub async fn acquire(&self) -> Option<HashPlace> {
        // The semaphores are never closed, so there always is a place in the end.
        let own = Arc::clone(&self.own).acquire_owned().await.ok()?;
        let all = Arc::clone(&self.all).acquire_owned().await.ok()?;
        Some(HashPlace { _own: own, _all: all })
    }
}

impl Tenant {
    fn new(config: &config::Tenant, hash_jobs: HashJobs) -> Tenant {
        let limits = config.limits.clone();
        Tenant {
            name: config.name.clone(),
            children: Arc::new(Semaphore::new(limits.children)),
            hash_jobs,
            slots: Arc::new(Semaphore::new(limits.concurrency)),
            admissions: Arc::new(Semaphore::new(limits.concurrency + limits.queue)),
            limits,
            grants: Arc::new(config.grants.clone()),
            config: config.clone(),
            table: ArcSwap::default(),
        }
    }

    /// The commands as they are now.
    pub fn commands(&self) -> Arc<Table> {
        self.table.load_full()
    }

    /// Reads the tenant's directories again. The table is not swapped in yet.
    fn read(&self, registry: &Registry, pace: Pace) -> Loaded {
        let owner = Owner { tenant: &self.config, grants: &self.grants };
        registry.load(&owner, &self.commands(), pace)
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

    /// Reads the tenant's directories because something in them seems to have changed. True when some file is still
    /// being written, so that it is worth looking again. Blocks while it reads and compiles.
    pub fn refresh(&self, registry: &Registry) -> bool {
        let loaded = self.read(registry, Pace::Settled);
        self.take(loaded.table);
        loaded.unsettled
    }

    /// The directories that its commands come from.
    pub fn directories(&self) -> &[PathBuf] {
        &self.config.commands
    }
}

/// What a directory that cannot be read means.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Strictness {
    /// The host does not start.
    Start,
    /// The tenant keeps the commands that it has, and nobody else is touched.
    Reload,
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
    hash_jobs: &HashJobs,
    strictness: Strictness,
) -> Result<Tenants, Problem> {
    let mut read = Vec::new();
    for (name, wanted) in &config.tenants {
        let tenant = match before.get(name) {
            Some(tenant) if tenant.config == *wanted => Arc::clone(tenant),
            known => {
                let tenant = Tenant::new(wanted, hash_jobs.share(config.tenants.len()));
                if let Some(known) = known {
                    // What served so far goes on serving where the new directories have a bad file of the same name.
                    tenant.table.store(known.commands());
                }
                Arc::new(tenant)
            }
        };
        let loaded = tenant.read(registry, Pace::Now);
        if let Some(problem) = loaded.table.unreadable().filter(|_| strictness == Strictness::Start) {
            return Err(problem.clone());
        }
        read.push((tenant, loaded.table));
    }
    let take = |(tenant, table): (Arc<Tenant>, Table)| {
        tenant.take(table);
        (tenant.name.clone(), tenant)
    };
    Ok(read.into_iter().map(take).collect())
}
