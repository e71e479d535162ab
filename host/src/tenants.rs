//! Tenants at run time: what each may do, the commands it has, and the places that bound what it does at once.

use std::collections::BTreeMap;
use std::sync::Arc;

use arc_swap::ArcSwap;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};

use crate::config::{self, Config, Limits};
use crate::policy::Grants;
use crate::registry::{Problem, Registry, Table};

/// One tenant. A reload that changes its configuration makes a new one; lines that run keep theirs.
pub struct Tenant {
    /// Its name in the configuration.
    pub name: String,
    /// What one of its invocations may use.
    pub limits: Limits,
    /// Places of its child processes.
    pub children: Arc<Semaphore>,
    /// Places of hash jobs, shared by all tenants.
    pub hash_jobs: HashJobs,
    /// Places of lines that run or wait to.
    pub admissions: Arc<Semaphore>,
    /// Places of lines that run.
    pub slots: Arc<Semaphore>,
    config: config::Tenant,
    grants: Arc<Grants>,
    table: ArcSwap<Table>,
}

/// Bounds the hash jobs of the whole host, so that they cannot take the blocking pool from everything else.
#[derive(Clone)]
pub struct HashJobs(Arc<Semaphore>);

/// All tenants by name.
pub type Tenants = BTreeMap<String, Arc<Tenant>>;

impl HashJobs {
    /// At most `jobs` at once.
    pub fn new(jobs: usize) -> HashJobs {
        HashJobs(Arc::new(Semaphore::new(jobs)))
    }

    /// Waits for a place.
    pub async fn acquire(&self) -> Option<OwnedSemaphorePermit> {
        // The semaphore is never closed, so there always is a place in the end.
        Arc::clone(&self.0).acquire_owned().await.ok()
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

    /// Reads the tenant's directories again and swaps in what they hold.
    ///
    /// # Errors
    /// When a directory cannot be read; the commands stay as they were.
    fn reload(&self, registry: &Registry) -> Result<(), Problem> {
        let before = self.commands();
        let (table, problems) = registry.load(&self.config, &self.grants, &before)?;
        for problem in &problems {
            tracing::warn!(
                tenant = %self.name,
                path = %problem.path.display(),
                reason = problem.reason,
                "command file refused"
            );
        }
        tracing::info!(tenant = %self.name, commands = table.len(), refused = problems.len(), "commands loaded");
        self.table.store(Arc::new(table));
        Ok(())
    }
}

/// Makes the tenants of a configuration. One that did not change since `before` stays the same, places and all; only its
/// directories are read again. Blocks while it reads and compiles.
///
/// # Errors
/// When a tenant's directory cannot be read; nothing has changed then.
pub fn load(config: &Config, before: &Tenants, registry: &Registry, hash_jobs: &HashJobs) -> Result<Tenants, Problem> {
    let mut tenants = Tenants::new();
    for (name, wanted) in &config.tenants {
        let tenant = match before.get(name) {
            Some(tenant) if tenant.config == *wanted => Arc::clone(tenant),
            Some(changed) => {
                let tenant = Tenant::new(wanted, hash_jobs.clone());
                // What served so far goes on serving where the new directories have a bad file of the same name.
                tenant.table.store(changed.commands());
                Arc::new(tenant)
            }
            None => Arc::new(Tenant::new(wanted, hash_jobs.clone())),
        };
        tenant.reload(registry)?;
        tenants.insert(name.clone(), tenant);
    }
    Ok(tenants)
}
