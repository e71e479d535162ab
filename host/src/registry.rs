//! From directories of `.wasm` files to the table of commands that a tenant can run.
//!
//! A table never changes: a reload makes a new one and swaps it in whole, so a line runs on one version of a command, its
//! sidecar and its grants. Compiled code is shared between tenants that have the same file.

mod cache;
mod compile;
mod kind;
mod scan;
pub mod sidecar;

use std::collections::{BTreeMap, HashMap};
use std::path::PathBuf;
use std::sync::{Arc, Mutex, PoisonError, Weak};

use wasmtime_wasi_config::WasiConfigVariables;

pub use cache::Cache;
pub use compile::{SUBCOMMAND as COMPILER, run_compiler};

use crate::config;
use crate::policy::{Effective, Grants};
use crate::sandbox::{Program, Sandbox};
use kind::Kind;
use scan::Found;
use sidecar::Sidecar;

/// The commands of one tenant at one moment.
#[derive(Default)]
pub struct Table {
    commands: BTreeMap<String, Arc<Command>>,
}

/// One command, with everything that a line needs to run it.
pub struct Command {
    /// What a client types.
    pub name: String,
    /// What it does; empty where nobody said.
    pub summary: String,
    /// Its words; the bare name where nobody said.
    pub usage: String,
    /// Whether its bytes reach the client untouched.
    pub raw_output: bool,
    /// Its settings: the sidecar's, overridden by the tenant's.
    pub settings: WasiConfigVariables,
    /// What the tenant allows and the sidecar asks for.
    pub grants: Effective,
    /// The code.
    pub code: Arc<Code>,
}

/// Code that is loaded once, however many commands use it.
pub struct Code {
    /// The component, ready to be instantiated.
    pub program: Program,
}

/// A file that does not serve, and why.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Problem {
    /// The file or directory.
    pub path: PathBuf,
    /// What is wrong with it, and what to do.
    pub reason: String,
}

/// Loads commands. One for the host, so that tenants share code.
pub struct Registry {
    sandbox: Arc<Sandbox>,
    cache: Cache,
    loaded: Mutex<HashMap<blake3::Hash, Weak<Code>>>,
}

impl Table {
    /// The command of that name.
    pub fn get(&self, name: &str) -> Option<&Arc<Command>> {
        self.commands.get(name)
    }

    /// All commands, sorted by name.
    pub fn iter(&self) -> impl Iterator<Item = &Command> {
        self.commands.values().map(|command| &**command)
    }

    /// How many there are.
    pub fn len(&self) -> usize {
        self.commands.len()
    }
}

impl Registry {
    /// A registry whose compiled code is kept in `cache`.
    pub fn new(sandbox: Arc<Sandbox>, cache: Cache) -> Registry {
        Registry { sandbox, cache, loaded: Mutex::default() }
    }

    /// Reads a tenant's directories. Where a file does not serve, what `before` had under its name stays.
    ///
    /// Blocks while it reads and compiles.
    ///
    /// # Errors
    /// When a directory cannot be read.
    pub fn load(
        &self,
        tenant: &config::Tenant,
        grants: &Arc<Grants>,
        before: &Table,
    ) -> Result<(Table, Vec<Problem>), Problem> {
        let mut found = BTreeMap::new();
        for directory in &tenant.commands {
            // A later directory wins, so a tenant's own commands go before the shared ones.
            for file in scan::scan(directory)? {
                found.insert(file.name.clone(), file);
            }
        }
        let mut table = Table::default();
        let mut problems = Vec::new();
        for (name, file) in found {
            match self.command(&file, tenant, grants) {
                Ok(command) => {
                    table.commands.insert(name, Arc::new(command));
                }
                Err(problem) => {
                    if let Some(old) = before.commands.get(&name) {
                        table.commands.insert(name, Arc::clone(old));
                    }
                    problems.push(problem);
                }
            }
        }
        self.forget_unused();
        Ok((table, problems))
    }

    fn command(&self, file: &Found, tenant: &config::Tenant, grants: &Arc<Grants>) -> Result<Command, Problem> {
        let sidecar = match &file.sidecar {
            Some(path) => scan::read(path).and_then(|bytes| {
                Sidecar::parse(path, &bytes).map_err(|error| Problem { path: path.clone(), reason: error.to_string() })
            })?,
            None => Sidecar::default(),
        };
        let wasm = scan::read(&file.path)?;
        let code = self.code(&wasm).map_err(|reason| Problem { path: file.path.clone(), reason })?;
        let overrides = tenant.settings.get(&file.name);
        let settings = sidecar.settings.iter().chain(overrides.into_iter().flatten());
        Ok(Command {
            name: file.name.clone(),
            summary: sidecar.summary.unwrap_or_default(),
            usage: sidecar.usage.unwrap_or_else(|| file.name.clone()),
            raw_output: sidecar.raw_output && tenant.raw_output,
            settings: settings.map(|(key, value)| (key.clone(), value.clone())).collect(),
            grants: Effective::new(Arc::clone(grants), sidecar.asked),
            code,
        })
    }

    /// The code of a `.wasm` file: loaded already, or from the cache, or compiled now.
    fn code(&self, wasm: &[u8]) -> Result<Arc<Code>, String> {
        Kind::of(wasm)?;
        let hash = blake3::hash(wasm);
        if let Some(code) = self.lookup(hash) {
            return Ok(code);
        }
        let component = self.cache.load_or_compile(self.sandbox.engine(), hash, wasm)?;
        let program = self.sandbox.prepare(&component).map_err(|error| format!("cannot be linked: {error:#}"))?;
        tracing::debug!(digest = %hash, "component loaded");
        let code = Arc::new(Code { program });
        lock(&self.loaded).insert(hash, Arc::downgrade(&code));
        Ok(code)
    }

    fn lookup(&self, hash: blake3::Hash) -> Option<Arc<Code>> {
        lock(&self.loaded).get(&hash).and_then(Weak::upgrade)
    }

    fn forget_unused(&self) {
        lock(&self.loaded).retain(|_, code| code.strong_count() > 0);
    }
}

/// Takes a lock. Nothing that holds it can leave the map half-changed.
fn lock<T>(mutex: &Mutex<T>) -> std::sync::MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
