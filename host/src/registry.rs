//! From directories of `.wasm` files to the table of commands that a tenant can run.
//!
//! A table never changes: a reload makes a new one and swaps it in whole, so a line runs on one version of a command, its
//! sidecar and its grants. Compiled code is shared between tenants that have the same file.

mod adapt;
mod cache;
mod compile;
mod health;
pub mod kind;
mod look;
pub mod metadata;
mod queue;
mod scan;
pub mod sidecar;
mod table;
mod tries;
mod unshim;
mod watch;

use std::collections::{BTreeMap, HashMap, HashSet};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, Weak};
use std::time::{Duration, Instant};

use bytesize::ByteSize;

pub use adapt::adapt;
pub use cache::Cache;
pub use compile::{Form, SUBCOMMAND as COMPILER, run_compiler};
pub use look::Pace;
pub use table::{Code, Command, Problem, Table};
pub use watch::Watch;

use crate::config;
use crate::engine::Size;
use crate::lock::lock;
use crate::policy::{Effective, Grants};
use crate::sandbox::{Program, Sandbox};
use compile::Fault;
use look::{Decision, Look};
use metadata::Metadata;
use queue::{Job, Progress, Queue};
use scan::{Found, Stamps};
pub use sidecar::Lifetime;
use sidecar::Sidecar;
use table::{Refused, Retry};

/// How long to wait for the compiler where there is nothing else to do. It ends by its own bounds.
const COMPILING: Duration = Duration::from_secs(3600);

/// What reading a command's files came to, where it did not fail.
enum Read {
    Ready(Sidecar, Arc<Code>),
    /// Its code, by the hash of the file, is being compiled.
    Compiling(blake3::Hash),
}

/// Loads commands. One for the host, so that tenants share code.
pub struct Registry {
    sandbox: Arc<Sandbox>,
    cache: Arc<Cache>,
    queue: Queue,
    loaded: Mutex<HashMap<blake3::Hash, Weak<Code>>>,
}

/// A tenant's directories, read.
pub struct Loaded {
    /// What they hold.
    pub table: Table,
    /// Some file is still being written, or was left for another time, so it is worth looking again soon.
    pub unsettled: bool,
    /// Bytes of the files that were read.
    bytes: u64,
    /// Some file is being compiled; there will be a sign when it is done.
    pub compiling: bool,
    /// Those of them that this reading was the first to ask for.
    pub asked: Vec<blake3::Hash>,
}

impl Loaded {
    /// Has a command's code waited for, which is being compiled. Why the files were refused before, if they were, is still all
    /// that there is to say of them.
    fn await_code(&mut self, name: &str, stamps: Stamps, hash: blake3::Hash, refused: Option<&Refused>) {
        self.compiling = true;
        self.table.pending.insert(name.to_owned(), (stamps, hash));
        self.table.refused.extend(refused.map(|refused| (name.to_owned(), refused.clone())));
    }

    /// The commands that this reading was the first to ask for, with the lengths of their files in bytes.
    pub fn asked_commands(&self) -> impl Iterator<Item = (&str, u64)> {
        let hashes: HashSet<_> = self.asked.iter().collect();
        let asked = self.table.pending.iter().filter(move |(_, (_, hash))| hashes.contains(hash));
        asked.map(|(name, (stamps, _))| (name.as_str(), stamps.size()))
    }
}

/// The configuration that a table is made for.
pub struct Owner<'a> {
    /// The tenant.
    pub tenant: &'a config::Tenant,
    /// Its grants.
    pub grants: &'a Arc<Grants>,
    /// How many of its files may be compiled at once.
    pub compile_jobs: usize,
    /// How many commands it may have.
    pub most_commands: usize,
}

impl Registry {
    /// A registry whose compiled code is kept in `cache`, and which compiles `jobs` files at once.
    pub fn new(sandbox: Arc<Sandbox>, cache: Cache, jobs: usize) -> Registry {
        let cache = Arc::new(cache);
        let (engine, store) = (sandbox.engine(Size::Large).clone(), Arc::clone(&cache));
        let queue = Queue::new(jobs, move |job: &Job| {
            // One that went or was replaced meanwhile is asked for under its own hash, if at all; and another tenant may have
            // had the same file compiled.
            if !job.path.exists() || store.has(&engine, job.hash) {
                return Ok(());
            }
            let wasm = scan::read(&job.path, scan::MAX_WASM)?;
            if blake3::hash(&wasm) == job.hash { store.compile(&engine, job.hash, &wasm) } else { Ok(()) }
        });
        Registry { sandbox, cache, queue, loaded: Mutex::default() }
    }

    /// Waits until the files are compiled or have failed to be, or the time is over. Blocks.
    pub fn wait(&self, files: &[blake3::Hash], time: Duration) {
        self.queue.wait(files, time);
    }

    /// Waits until something was compiled, or failed to be, since the last call: directories are worth a look then.
    pub async fn compiled(&self) {
        self.queue.done().await;
    }

    /// Reads a tenant's directories. A file that did not change since `before` is not read again; where one does not
    /// serve, the version in `before` stays, under the owner's configuration as it is now.
    ///
    /// What is not compiled yet is asked for, and is not in the table. Blocks while it reads.
    pub fn load(&self, owner: &Owner<'_>, before: &Table, pace: Pace) -> Loaded {
        let mut loaded =
            Loaded { table: Table::default(), unsettled: false, bytes: 0, compiling: false, asked: Vec::new() };
        let (mut found, mut keeps_all) = (BTreeMap::new(), false);
        for directory in &owner.tenant.commands {
            match scan::scan(directory) {
                // A later directory wins, so a tenant's own commands go after the shared ones.
                Ok(scanned) => {
                    found.extend(scanned.found.into_iter().map(|file| (file.name.clone(), file)));
                    loaded.table.misnamed.extend(scanned.misnamed);
                    loaded.table.strays.extend(scanned.strays);
                }
                Err(problem) => {
                    // A directory that is gone has no commands; one that cannot be read at present still has its own.
                    keeps_all |= !directory.try_exists().is_ok_and(|exists| !exists);
                    loaded.table.unreadable.push(problem);
                }
            }
        }
        for problem in loaded.table.misnamed.iter().filter(|problem| !before.misnamed.contains(problem)) {
            owner.report(problem, None);
        }
        if keeps_all {
            let again = |(name, old): (&String, &Arc<Command>)| (name.clone(), owner.again(old));
            loaded.table.commands = before.commands.iter().map(again).collect();
            return loaded;
        }
        if found.len() > owner.most_commands {
            let reason = format!(
                "there are {} commands, and this tenant may have {}; those that come last by name are left out",
                found.len(),
                owner.most_commands
            );
            let path = owner.tenant.commands.last().cloned().unwrap_or_default();
            loaded.table.excess = Some(Problem::new(path, reason));
        }
        for file in found.values().take(owner.most_commands) {
            self.load_file(&mut loaded, owner, before, pace, file);
        }
        self.forget_unused();
        loaded
    }

    /// Loads one command from a file, wherever it lies, with the sidecar beside it. Blocks while it is compiled.
    ///
    /// # Errors
    /// When the file is no command; the text says why.
    pub fn load_one(&self, owner: &Owner<'_>, path: &Path) -> Result<Table, Problem> {
        let file = Found::at(path)?;
        let refuse = |(path, fault): (PathBuf, Fault)| Problem::new(path, fault.to_string());
        loop {
            let mut asked = Vec::new();
            match self.read(&file, owner, &mut asked).map_err(refuse)? {
                Read::Ready(sidecar, code) => {
                    let command = owner.command(&file.name, Arc::new(sidecar), code, file.stamps());
                    let commands = BTreeMap::from([(file.name, Arc::new(command))]);
                    return Ok(Table { commands, ..Table::default() });
                }
                Read::Compiling(_) => {
                    // An interpreter takes the better part of a minute.
                    tracing::info!(path = %path.display(), "compiling what is not in the cache yet");
                    self.wait(&asked, COMPILING);
                }
            }
        }
    }

    /// Looks at a command's files, and reads them where they may be others than before.
    fn load_file(&self, into: &mut Loaded, owner: &Owner<'_>, before: &Table, pace: Pace, file: &Found) {
        let (name, stamps, old) = (&file.name, file.stamps(), before.commands.get(&file.name));
        let look_the_same = |known: Stamps| known == stamps && stamps.are_settled();
        let refused = before.refused.get(name).filter(|refused| look_the_same(refused.stamps));
        let compiling = before.pending.get(name).filter(|(known, _)| look_the_same(*known)).map(|(_, hash)| *hash);
        let look = Look {
            pace,
            now: Instant::now(),
            are_settled: stamps.are_settled() && !old.is_some_and(|old| file.has_just_lost_sidecar(*lock(&old.stamps))),
            serve: old.is_some_and(|old| look_the_same(*lock(&old.stamps))),
            refused,
            compiling: compiling.filter(|hash| self.queue.is_under_way(*hash)),
            size: if stamps.size() > scan::MAX_WASM { 0 } else { stamps.size() },
            read: into.bytes,
        };
        match look.decide() {
            Decision::Keep => {}
            Decision::Later => into.unsettled = true,
            Decision::Refuse(refused) => drop(into.table.refused.insert(name.clone(), refused.clone())),
            Decision::Await(hash) => into.await_code(name, stamps, hash, refused),
            Decision::Read => {
                into.bytes += look.size;
                match self.read(file, owner, &mut into.asked) {
                    Ok(Read::Ready(sidecar, code)) => {
                        let command = match old.filter(|old| Arc::ptr_eq(&old.code, &code) && *old.sidecar == sidecar) {
                            Some(old) => {
                                *lock(&old.stamps) = stamps;
                                owner.again(old)
                            }
                            None => Arc::new(owner.command(name, Arc::new(sidecar), code, stamps)),
                        };
                        into.table.commands.insert(name.clone(), command);
                    }
                    Ok(Read::Compiling(hash)) => into.await_code(name, stamps, hash, refused),
                    Err((path, fault)) => {
                        let before = refused.and_then(|refused| refused.retry);
                        let retry = matches!(fault, Fault::Machine(_)).then(|| Retry::after(before));
                        let problem = Problem::new(path, fault.to_string());
                        owner.report(&problem, retry);
                        into.table.refused.insert(name.clone(), Refused { stamps, problem, retry });
                    }
                }
            }
        }
        // Where there is no new version the old one goes on serving.
        if let Some(old) = old {
            into.table.commands.entry(name.clone()).or_insert_with(|| owner.again(old));
        }
    }

    /// Reads a command's two files.
    fn read(&self, file: &Found, owner: &Owner<'_>, asked: &mut Vec<blake3::Hash>) -> Result<Read, (PathBuf, Fault)> {
        let of = |path: &Path| {
            let path = path.to_owned();
            move |fault| (path, fault)
        };
        let sidecar = match &file.sidecar {
            Some(path) => {
                let bytes = scan::read(path, scan::MAX_SIDECAR).map_err(of(path))?;
                Sidecar::parse(path, &bytes).map_err(|error| of(path)(Fault::File(error.to_string())))?
            }
            None => Sidecar::default(),
        };
        let wasm = scan::read_wasm(&file.path).map_err(of(&file.path))?;
        let hash = blake3::hash(&wasm);
        match self.code(&wasm, hash).map_err(of(&file.path))? {
            Some(code) if sidecar.instance == Lifetime::Connection && matches!(code.program, Program::Wasi(_)) => {
                let reason = "`instance = \"connection\"` is for commands that export `run`; a program of WASI begins anew \
                              with each line";
                Err(of(file.sidecar.as_ref().unwrap_or(&file.path))(Fault::File(reason.to_owned())))
            }
            Some(code) => Ok(Read::Ready(sidecar, code)),
            None => {
                let (tenant, most) = (owner.tenant.name.clone(), owner.compile_jobs);
                match self.queue.ask(Job { tenant, most, path: file.path.clone(), size: wasm.len(), hash }) {
                    Progress::Failed(fault) => return Err(of(&file.path)(fault)),
                    Progress::New => asked.push(hash),
                    Progress::UnderWay => {}
                }
                Ok(Read::Compiling(hash))
            }
        }
    }

    /// The code of a `.wasm` file, if it is loaded already or in the cache.
    fn code(&self, wasm: &[u8], hash: blake3::Hash) -> Result<Option<Arc<Code>>, Fault> {
        if let Some(code) = self.lookup(hash) {
            return Ok(Some(code));
        }
        let metadata = Metadata::of(wasm);
        let (needs, room) = (metadata.initial_memory, self.sandbox.largest_memory() as u64);
        if needs > room {
            let [needs, room] = [needs, room].map(|bytes| ByteSize(bytes).display().iec());
            let reason = format!("has {needs} of memory from the start; the largest `limits.memory` here is {room}");
            return Err(Fault::File(reason));
        }
        let Some(component) = self.cache.load(self.sandbox.engine(Size::of(metadata.initial_memory)), hash)? else {
            return Ok(None);
        };
        let program = self.sandbox.prepare(&component, metadata.starts).map_err(Fault::File)?;
        tracing::debug!(digest = %hash, "component loaded");
        let code = Arc::new(Code { description: metadata.description().cloned(), program, digest: hash });
        lock(&self.loaded).insert(hash, Arc::downgrade(&code));
        Ok(Some(code))
    }

    fn lookup(&self, hash: blake3::Hash) -> Option<Arc<Code>> {
        lock(&self.loaded).get(&hash).and_then(Weak::upgrade)
    }

    fn forget_unused(&self) {
        lock(&self.loaded).retain(|_, code| code.strong_count() > 0);
    }
}

impl Owner<'_> {
    /// Tells the operator of a file that does not serve.
    fn report(&self, problem: &Problem, retry: Option<Retry>) {
        let retry_in = retry.map(|retry| tracing::field::debug(retry.pause));
        tracing::warn!(
            tenant = %self.tenant.name,
            path = %problem.place(),
            reason = problem.reason,
            retry_in,
            "command file refused"
        );
    }

    fn command(&self, name: &str, sidecar: Arc<Sidecar>, code: Arc<Code>, stamps: Stamps) -> Command {
        let overrides = self.tenant.settings.get(name);
        let settings = sidecar.settings.iter().chain(overrides.into_iter().flatten());
        Command {
            // What lies beside the file goes before what the file says of itself.
            summary: sidecar.summary.as_ref().or(code.description.as_ref()).cloned().unwrap_or_default(),
            usage: sidecar.usage.clone().unwrap_or_else(|| name.to_owned()),
            raw_output: sidecar.raw_output && self.tenant.raw_output,
            settings: settings.map(|(key, value)| (key.clone(), value.clone())).collect(),
            grants: Effective::new(Arc::clone(self.grants), sidecar.asked.clone()),
            name: name.into(),
            code,
            sidecar,
            health: Arc::default(),
            tries: Arc::default(),
            stamps: Mutex::new(stamps),
        }
    }

    /// The same files under the owner's configuration: a grant that was taken back is gone, whatever became of the files.
    fn again(&self, old: &Arc<Command>) -> Arc<Command> {
        // The grants are another object only where the tenant's configuration is another. Who keeps an instance of a command
        // knows by the object that it is the same.
        if old.grants.are_of(self.grants) {
            return Arc::clone(old);
        }
        let mut command = self.command(&old.name, Arc::clone(&old.sidecar), Arc::clone(&old.code), *lock(&old.stamps));
        command.take_over(old);
        Arc::new(command)
    }
}

/// Reads a `.wasm` file as a table would.
///
/// # Errors
/// When it is no regular file, no WebAssembly, too large, or cannot be read.
pub fn read_wasm(path: &Path) -> Result<Vec<u8>, String> {
    scan::read_wasm(path).map_err(|fault| fault.to_string())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_directory_that_cannot_be_read_is_told_of() {
        let there = tempfile::tempdir().unwrap();
        let [file, gone, empty] = ["file", "gone", "empty"].map(|name| there.path().join(name));
        std::fs::write(&file, "").unwrap();
        std::fs::create_dir(&empty).unwrap();
        let mut config = config::Config::for_test("");
        let tenant = config.tenants.get_mut("default").unwrap();
        let cache = Cache::open(&there.path().join("cache"), 1 << 20, Form::Usual).unwrap();
        let registry = Registry::new(Arc::new(Sandbox::for_test(1, 1 << 16)), cache, 1);
        for (commands, unreadable) in [
            (vec![&gone, &empty, &file], vec![&gone, &file]),
            (vec![&file, &gone], vec![&file, &gone]),
            (vec![&empty], vec![]),
        ] {
            tenant.commands = commands.into_iter().cloned().collect();
            let owner = Owner { tenant, grants: &Arc::default(), compile_jobs: 1, most_commands: 1 };
            let table = registry.load(&owner, &Table::default(), Pace::Now).table;
            assert_eq!(table.unreadable().iter().map(|problem| &problem.path).collect::<Vec<_>>(), unreadable);
            assert_eq!(table.problems().count(), unreadable.len());
        }
    }
}
