//! All tenants of a configuration: made, or kept where they are the same, with the commands that their directories hold.

use std::cmp::Reverse;
use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};

use super::{Shares, Tenant, Tenants};
use crate::config::{self, Config};
use crate::registry::{Loaded, Pace, Problem, Registry};

/// How long a reading waits for the compiler before it takes what there is. Most commands are compiled in a tenth of it.
const GRACE: Duration = Duration::from_millis(500);
/// Commands that are named at most of those that are being compiled.
const NAMED: usize = 8;
/// How long it waits where nothing can go on without: longer than all compilations together may take.
const FOREVER: Duration = Duration::from_secs(24 * 60 * 60);

/// What a directory that cannot be read means.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Strictness {
    /// The host does not start without the commands of its operator, or of the only tenant.
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
/// At the start, when directories of the operator's tenant, or of the only one, cannot be read; a line says it of each.
pub fn load(
    config: &Config,
    before: &Tenants,
    registry: &Registry,
    shares: &Shares,
    strictness: Strictness,
) -> Result<Tenants, String> {
    let make = |(name, wanted): (&String, &config::Tenant)| match before.get(name) {
        Some(tenant) if tenant.config == *wanted => {
            tenant.fit(shares, config.tenants.len());
            Arc::clone(tenant)
        }
        Some(known) => {
            let mut tenant = Tenant::new(wanted, shares, config.tenants.len());
            tenant.follow(known);
            tenant.fit(shares, config.tenants.len());
            Arc::new(tenant)
        }
        None => Arc::new(Tenant::new(wanted, shares, config.tenants.len())),
    };
    let tenants: Vec<Arc<Tenant>> = config.tenants.iter().map(make).collect();
    let time = match strictness {
        Strictness::Start => config.server.startup_timeout,
        Strictness::Reload => GRACE,
        Strictness::Check => FOREVER,
    };
    let read = read(tenants, registry, Instant::now() + time);
    if strictness == Strictness::Start {
        let is_fatal = |tenant: &Tenant| tenant.is_operators() || config.tenants.len() == 1;
        let fatal = read.iter().filter(|(tenant, _)| is_fatal(tenant));
        let problems: Vec<_> =
            fatal.flat_map(|(_, loaded)| loaded.table.unreadable()).map(Problem::to_string).collect();
        if !problems.is_empty() {
            return Err(problems.join("\n"));
        }
        if read.iter().any(|(_, loaded)| loaded.compiling) {
            tracing::warn!(?time, "some commands are being compiled still; they come when they are done");
        }
    }
    let take = |(tenant, loaded): (Arc<Tenant>, Loaded)| {
        tenant.take(loaded.table);
        (tenant.name.clone(), tenant)
    };
    Ok(read.into_iter().map(take).collect())
}

/// What a look at the tenants' directories has come to.
#[derive(Clone, Copy, Default)]
pub struct Refreshed {
    /// Some file is still being written, so that it is worth looking again.
    pub unsettled: bool,
    /// Some tenant has other commands than before.
    pub changed: bool,
}

/// Reads the tenants' directories because something in them seems to have changed. Blocks while it reads, and a while for
/// what has to be compiled; who has nothing to wait for does not.
pub fn refresh(tenants: &Tenants, registry: &Registry) -> Refreshed {
    let mut refreshed = Refreshed::default();
    let mut take = |tenant: &Tenant, loaded: Loaded| {
        refreshed.unsettled |= loaded.unsettled;
        refreshed.changed |= tenant.take(loaded.table);
    };
    let mut waiting = Vec::new();
    for tenant in tenants.values() {
        let loaded = tenant.read(registry, &tenant.commands(), Pace::Settled);
        if loaded.asked.is_empty() {
            take(tenant, loaded);
        } else {
            waiting.push((tenant, loaded));
        }
    }
    let asked: Vec<_> = waiting.iter().flat_map(|(_, loaded)| loaded.asked.iter().copied()).collect();
    if !asked.is_empty() {
        tell_of_compiling(asked.len(), waiting.iter().map(|(_, loaded)| loaded));
    }
    registry.wait(&asked, GRACE);
    for (tenant, loaded) in waiting {
        take(tenant, tenant.read(registry, &loaded.table, Pace::Settled));
    }
    refreshed
}

/// A tenant whose only command is the one in this file, wherever it lies. Blocks while it is compiled.
///
/// # Errors
/// When the file is no command.
pub fn load_one(config: &config::Tenant, registry: &Registry, shares: &Shares, file: &Path) -> Result<Tenant, Problem> {
    let tenant = Tenant::new(config, shares, 1);
    tenant.swap(Arc::new(registry.load_one(&tenant.owner(), file)?));
    Ok(tenant)
}

/// Reads all tenants' directories, so that what has to be compiled is compiled side by side, and reads them again when
/// that is done, or the time is over.
fn read(tenants: Vec<Arc<Tenant>>, registry: &Registry, until: Instant) -> Vec<(Arc<Tenant>, Loaded)> {
    let first = |tenant: Arc<Tenant>| {
        let loaded = tenant.read(registry, &tenant.commands(), Pace::Now);
        (tenant, loaded)
    };
    let mut read: Vec<_> = tenants.into_iter().map(first).collect();
    loop {
        let asked: Vec<_> = read.iter().flat_map(|(_, loaded)| loaded.asked.iter().copied()).collect();
        if asked.is_empty() {
            return read;
        }
        tell_of_compiling(asked.len(), read.iter().map(|(_, loaded)| loaded));
        registry.wait(&asked, until.saturating_duration_since(Instant::now()));
        for (tenant, loaded) in read.iter_mut().filter(|(_, loaded)| loaded.compiling) {
            // On top of what this reading has found, so that a file which was refused is not compiled again in vain.
            *loaded = tenant.read(registry, &loaded.table, Pace::Again);
        }
        if Instant::now() >= until {
            return read;
        }
    }
}

/// Says which files are being compiled, those that take longest first: an interpreter of 20 MiB may take the better part of a
/// minute, in which nothing else is said of it.
fn tell_of_compiling<'a>(files: usize, loaded: impl Iterator<Item = &'a Loaded>) {
    let mut commands: Vec<_> = loaded.flat_map(Loaded::asked_commands).collect();
    commands.sort_by_key(|(_, size)| Reverse(*size));
    let more = if commands.len() > NAMED { " …" } else { "" };
    let names: Vec<&str> = commands.iter().take(NAMED).map(|(name, _)| *name).collect();
    tracing::info!(files, commands = format!("{}{more}", names.join(" ")), "compiling what is not in the cache yet");
}
