//! `wasmline check`: the configuration and every command of every tenant, without serving.

use std::collections::BTreeSet;
use std::io::{self, Write};
use std::path::Path;
use std::sync::Arc;

use crate::audit;
use crate::cli::{self, Check};
use crate::config::Config;
use crate::engine::PoolSize;
use crate::machine::{self, Machine};
use crate::policy::{Grants, path_roots};
use crate::registry::{Cache, Form, Registry};
use crate::sandbox::Sandbox;
use crate::server;
use crate::tenants::{self, Shares, Strictness, Tenant, Tenants};

/// Checks the configuration, and says what is wrong with it.
///
/// # Errors
/// When something would not serve, or that cannot be found out.
pub fn run(arguments: &Check) -> Result<(), String> {
    let config = cli::config(arguments.config.as_deref(), arguments.cache.as_deref())?;
    match check(&config, &mut io::stdout())? {
        0 => Ok(()),
        reasons => Err(format!("{reasons} of these would not serve, or not as they ask to")),
    }
}

/// Loads everything as the server would, and writes a line for each command. Returns how many reasons there are not to
/// serve this configuration.
///
/// # Errors
/// When the check itself cannot be made, or its result not be written.
fn check(config: &Config, out: &mut impl Write) -> Result<usize, String> {
    // Nothing is run, so one place is enough.
    let sandbox = Sandbox::new(PoolSize {
        invocations: 1,
        large: 1,
        kept: 0,
        ahead: 0,
        memory: config.largest_memory(),
        page_scan: true,
        on_demand: false,
    })
    .map_err(|error| format!("cannot set up the sandbox: {error:#}"))?;
    let cache = Cache::open(&config.server.cache, config.server.cache_size, Form::Usual)?;
    let registry = Registry::new(Arc::new(sandbox), cache, config.server.compile_jobs);
    let shares = Shares::of(&config.server, machine::plan(config, &Machine::look(), config.invocations())?)?;
    let tenants = tenants::load(config, &Tenants::default(), &registry, &shares, Strictness::Check)?;
    let mut report = || {
        let listeners = server::check(config);
        for (place, problem) in &listeners {
            writeln!(out, "listener {place}\n  refused    {problem}")?;
        }
        for place in server::foreign(config) {
            // As with what is granted, the machine that serves may have it.
            writeln!(out, "listener {place}\n  absent     this machine does not have the address")?;
        }
        let audit = config.audit.as_ref().and_then(audit::problem);
        if let Some(problem) = &audit {
            writeln!(out, "audit file\n  refused    {problem}")?;
        }
        let commands = tenants.values().map(|tenant| report(tenant, out)).sum::<io::Result<usize>>()?;
        Ok(listeners.len() + usize::from(audit.is_some()) + commands)
    };
    report().map_err(|error: io::Error| format!("cannot write: {error}"))
}

/// What is granted and is not on this machine, with the key that names it.
fn absent(grants: &Grants) -> BTreeSet<(&'static str, &Path)> {
    let programs = grants.process.iter().map(|grant| ("process", grant.program.as_path()));
    let roots = path_roots(grants).map(|(path, _)| ("process", path));
    let hashed = grants.digest.read.iter().map(|path| ("digest", path.as_path()));
    let directories = grants.directory.iter().map(|grant| ("directory", grant.path.as_path()));
    let named = programs.chain(roots).chain(hashed).chain(directories);
    named.filter(|(_, path)| path.try_exists().is_ok_and(|exists| !exists)).collect()
}

fn report(tenant: &Tenant, out: &mut impl Write) -> io::Result<usize> {
    let table = tenant.commands();
    let mut reasons = 0;
    writeln!(out, "tenant {}", tenant.name)?;
    for command in table.iter() {
        let unmet = command.grants.unmet();
        reasons += unmet.len();
        match unmet.as_slice() {
            [] => writeln!(out, "  ok         {}", command.name)?,
            unmet => {
                for wish in unmet {
                    writeln!(out, "  ungranted  {}: {}", command.name, wish.told(&tenant.name))?;
                }
            }
        }
    }
    for problem in table.problems() {
        reasons += 1;
        writeln!(out, "  refused    {problem}")?;
    }
    if table.len() == 0 && reasons == 0 {
        writeln!(out, "  no commands")?;
    }
    for stray in &table.strays {
        // It may have come before its command, and keeps nobody from serving.
        writeln!(out, "  unused     {stray}")?;
    }
    for (key, path) in absent(&tenant.grants) {
        // Of use here or not: the machine that serves may have it.
        writeln!(out, "  absent     {}, which grants.{key} names", path.display())?;
    }
    if *tenant.grants == Grants::default() {
        writeln!(out, "  nothing is granted to this tenant")?;
    }
    Ok(reasons)
}
