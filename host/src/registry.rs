//! From directories of `.wasm` files to the table of commands that a tenant can run.
//!
//! A table never changes: a reload makes a new one and swaps it in whole, so a line runs on one version of a command, its
//! sidecar and its grants. Compiled code is shared between tenants that have the same file.

mod cache;
mod compile;
pub mod kind;
pub mod metadata;
mod scan;
pub mod sidecar;
mod watch;

use std::collections::{BTreeMap, HashMap};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError, Weak};

use wasmtime_wasi_config::WasiConfigVariables;

pub use cache::Cache;
pub use compile::{SUBCOMMAND as COMPILER, adapt, run_compiler};
pub use watch::Watch;

use crate::config;
use crate::policy::{Effective, Grants};
use crate::sandbox::{Program, Sandbox};
use kind::Kind;
use metadata::Metadata;
use scan::{Found, Stamps};
use sidecar::Sidecar;

/// The commands of one tenant at one moment.
#[derive(Default)]
pub struct Table {
    commands: BTreeMap<String, Arc<Command>>,
    /// Files that do not serve as they are, by name; they are not tried again until they change.
    refused: BTreeMap<String, (Stamps, Problem)>,
    /// A directory that cannot be read.
    unreadable: Option<Problem>,
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
    /// The sidecar that all but the code came from.
    pub sidecar: Arc<Sidecar>,
    /// The files as they were when they were read.
    stamps: Stamps,
}

/// Code that is loaded once, however many commands use it.
pub struct Code {
    /// What the file says that it does.
    description: Option<String>,
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

    /// What does not serve: files, and a directory that cannot be read.
    pub fn problems(&self) -> impl Iterator<Item = &Problem> {
        self.refused.values().map(|(_, problem)| problem).chain(&self.unreadable)
    }

    /// The directory that cannot be read, if there is one.
    pub fn unreadable(&self) -> Option<&Problem> {
        self.unreadable.as_ref()
    }

    /// Names of the commands that `newer` has and this does not, or has in another version; and of those it lost.
    pub fn changes(&self, newer: &Table) -> Changes {
        let names = |from: &Table, than: &Table| {
            let same = |command: &Command, other: &Command| {
                Arc::ptr_eq(&command.code, &other.code) && command.sidecar == other.sidecar
            };
            let differs = |command: &&Command| !than.get(&command.name).is_some_and(|other| same(command, other));
            from.iter().filter(differs).map(|command| command.name.clone()).collect::<Vec<_>>()
        };
        let lost = self.iter().filter(|command| newer.get(&command.name).is_none());
        let refusals = |table: &Table| table.problems().cloned().collect::<Vec<_>>();
        Changes {
            new: names(newer, self),
            lost: lost.map(|command| command.name.clone()).collect(),
            refusals: refusals(self) != refusals(newer),
        }
    }
}

/// How one table differs from the one before.
#[derive(Debug, PartialEq, Eq)]
pub struct Changes {
    /// Commands that came, or came in a new version.
    pub new: Vec<String>,
    /// Commands that went.
    pub lost: Vec<String>,
    /// Whether other files do not serve than before.
    pub refusals: bool,
}

impl Changes {
    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.new.is_empty() && self.lost.is_empty() && !self.refusals
    }
}

/// When files are taken as they are.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Pace {
    /// At once: somebody asked for it.
    Now,
    /// When nobody is writing them any more: something seems to have changed.
    Settled,
}

/// A tenant's directories, read.
pub struct Loaded {
    /// What they hold.
    pub table: Table,
    /// Some file is still being written, so it is worth looking again soon.
    pub unsettled: bool,
}

/// The configuration that a table is made for.
pub struct Owner<'a> {
    /// The tenant.
    pub tenant: &'a config::Tenant,
    /// Its grants.
    pub grants: &'a Arc<Grants>,
}

impl Registry {
    /// A registry whose compiled code is kept in `cache`.
    pub fn new(sandbox: Arc<Sandbox>, cache: Cache) -> Registry {
        Registry { sandbox, cache, loaded: Mutex::default() }
    }

    /// Reads a tenant's directories. A file that did not change since `before` is not read again; where one does not
    /// serve, the version in `before` stays, under the owner's configuration as it is now.
    ///
    /// Blocks while it reads and compiles.
    pub fn load(&self, owner: &Owner<'_>, before: &Table, pace: Pace) -> Loaded {
        let mut loaded = Loaded { table: Table::default(), unsettled: false };
        let mut found = BTreeMap::new();
        for directory in &owner.tenant.commands {
            match scan::scan(directory) {
                // A later directory wins, so a tenant's own commands go after the shared ones.
                Ok(files) => found.extend(files.into_iter().map(|file| (file.name.clone(), file))),
                Err(problem) => {
                    // A directory that is gone has no commands; one that cannot be read at present still has its own.
                    let gone = !directory.exists();
                    loaded.table.unreadable = Some(problem);
                    if !gone {
                        let again = |(name, old): (&String, &Arc<Command>)| (name.clone(), Arc::new(owner.again(old)));
                        loaded.table.commands = before.commands.iter().map(again).collect();
                        return loaded;
                    }
                }
            }
        }
        for (name, file) in found {
            self.load_file(&mut loaded, owner, before, pace, name, &file);
        }
        self.forget_unused();
        loaded
    }

    fn load_file(&self, into: &mut Loaded, owner: &Owner<'_>, before: &Table, pace: Pace, name: String, file: &Found) {
        let old = before.commands.get(&name);
        let keep_old = |into: &mut Loaded| {
            if let Some(old) = old {
                into.table.commands.insert(name.clone(), Arc::new(owner.again(old)));
            }
        };
        let stamps = file.stamps();
        if !stamps.are_settled() && pace == Pace::Settled {
            into.unsettled = true;
            keep_old(into);
            return;
        }
        if old.is_some_and(|old| old.stamps == stamps && stamps.are_settled()) {
            keep_old(into);
            return;
        }
        if let Some((refused, problem)) = before.refused.get(&name)
            && *refused == stamps
            && stamps.are_settled()
        {
            into.table.refused.insert(name.clone(), (stamps, problem.clone()));
            keep_old(into);
            return;
        }
        match self.read(file) {
            Ok((sidecar, code)) => {
                let command = owner.command(name.clone(), Arc::new(sidecar), code, stamps);
                into.table.commands.insert(name, Arc::new(command));
            }
            Err(problem) => {
                tracing::warn!(
                    tenant = %owner.tenant.name,
                    path = %problem.path.display(),
                    reason = problem.reason,
                    "command file refused"
                );
                keep_old(into);
                into.table.refused.insert(name, (stamps, problem));
            }
        }
    }

    /// Reads a command's two files.
    fn read(&self, file: &Found) -> Result<(Sidecar, Arc<Code>), Problem> {
        let sidecar = match &file.sidecar {
            Some(path) => {
                let bytes = scan::read(path, scan::MAX_SIDECAR)?;
                Sidecar::parse(path, &bytes)
                    .map_err(|error| Problem { path: path.clone(), reason: error.to_string() })?
            }
            None => Sidecar::default(),
        };
        let wasm = scan::read(&file.path, scan::MAX_WASM)?;
        let code = self.code(&wasm).map_err(|reason| Problem { path: file.path.clone(), reason })?;
        Ok((sidecar, code))
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
        let code = Arc::new(Code { description: Metadata::of(wasm).description, program });
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

impl Owner<'_> {
    fn command(&self, name: String, sidecar: Arc<Sidecar>, code: Arc<Code>, stamps: Stamps) -> Command {
        let overrides = self.tenant.settings.get(&name);
        let settings = sidecar.settings.iter().chain(overrides.into_iter().flatten());
        Command {
            // What lies beside the file goes before what the file says of itself.
            summary: sidecar.summary.as_ref().or(code.description.as_ref()).cloned().unwrap_or_default(),
            usage: sidecar.usage.clone().unwrap_or_else(|| name.clone()),
            raw_output: sidecar.raw_output && self.tenant.raw_output,
            settings: settings.map(|(key, value)| (key.clone(), value.clone())).collect(),
            grants: Effective::new(Arc::clone(self.grants), sidecar.asked.clone()),
            name,
            code,
            sidecar,
            stamps,
        }
    }

    /// The same files under the owner's configuration: a grant that was taken back is gone, whatever became of the files.
    fn again(&self, old: &Command) -> Command {
        self.command(old.name.clone(), Arc::clone(&old.sidecar), Arc::clone(&old.code), old.stamps)
    }
}

/// Reads a `.wasm` file as a table would.
///
/// # Errors
/// When it is no regular file, too large, or cannot be read.
pub fn read_wasm(path: &Path) -> Result<Vec<u8>, Problem> {
    scan::read(path, scan::MAX_WASM)
}

/// Takes a lock. Nothing that holds it can leave the map half-changed.
fn lock<T>(mutex: &Mutex<T>) -> std::sync::MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
