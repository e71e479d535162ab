//! The commands of a tenant at one moment, and what does not serve.
//!
//! A table never changes: a reload makes a new one and swaps it in whole.

use std::collections::BTreeMap;
use std::fmt;
use std::path::PathBuf;
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use wasmtime_wasi_config::WasiConfigVariables;

use super::health::Health;
use super::scan::Stamps;
use super::sidecar::Sidecar;
use super::tries::Tries;
use crate::error::bounded;
use crate::escape::escape_all;
use crate::policy::Effective;
use crate::sandbox::Program;

/// How long a file is left alone that the machine could not load, the first time and at most.
const FIRST_PAUSE: Duration = Duration::from_secs(5);
const LONGEST_PAUSE: Duration = Duration::from_secs(300);

/// The commands of one tenant at one moment.
#[derive(Default)]
pub struct Table {
    pub(super) commands: BTreeMap<String, Arc<Command>>,
    /// Files that do not serve as they are, by name.
    pub(super) refused: BTreeMap<String, Refused>,
    /// Files whose code is being compiled, by name: they are not read again until they change or that is done.
    pub(super) pending: BTreeMap<String, (Stamps, blake3::Hash)>,
    /// Files that are called as no command can be.
    pub(super) misnamed: Vec<Problem>,
    /// Sidecars that are no command's. A command that was to have one may do more than its operator meant.
    pub strays: Vec<Problem>,
    /// More commands than there may be.
    pub(super) excess: Option<Problem>,
    /// Directories that cannot be read.
    pub(super) unreadable: Vec<Problem>,
}

/// One command, with everything that a line needs to run it.
pub struct Command {
    /// What a client types.
    pub name: Arc<str>,
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
    /// How it has ended lately.
    pub health: Arc<Health>,
    /// How tries of its lines have ended lately.
    pub tries: Arc<Tries>,
    /// The files as they were when they were last seen to be these.
    pub(super) stamps: Mutex<Stamps>,
}

/// Code that is loaded once, however many commands use it.
pub struct Code {
    /// What the file says that it does.
    pub(super) description: Option<String>,
    /// The component, ready to be instantiated.
    pub program: Program,
    /// BLAKE3 of the file.
    pub digest: blake3::Hash,
}

/// A file that does not serve, and why.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Problem {
    /// The file or directory.
    pub path: PathBuf,
    /// What is wrong with it, and what to do.
    pub reason: String,
}

impl Problem {
    /// What is wrong with this file or directory. A file that is not trusted may have much to say for itself, of which the
    /// beginning is kept.
    pub fn new(path: impl Into<PathBuf>, reason: impl Into<String>) -> Problem {
        Problem { path: path.into(), reason: bounded(reason.into()) }
    }

    /// The path, for a log or a terminal: whoever may put files into a directory may call them as he likes.
    pub fn place(&self) -> String {
        escape_all(&self.path.to_string_lossy())
    }
}

impl fmt::Display for Problem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.place(), escape_all(&self.reason))
    }
}

/// A file that does not serve as it is. It is not tried again until it changes, unless the machine was at fault.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Refused {
    pub(super) stamps: Stamps,
    /// Why.
    pub problem: Problem,
    /// When it is tried again, if it is.
    pub retry: Option<Retry>,
}

/// When a file is tried again that the machine could not load, with the pause that went before.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Retry {
    /// When.
    pub at: Instant,
    /// After how long.
    pub pause: Duration,
}

impl Command {
    /// Goes on with what is known of another version with the same code.
    pub(super) fn take_over(&mut self, old: &Command) {
        self.health = Arc::clone(&old.health);
        self.tries = Arc::clone(&old.tries);
    }
}

impl Retry {
    /// After a failure that followed on `before`, if it did: a pause that doubles.
    pub fn after(before: Option<Retry>) -> Retry {
        let pause = before.map_or(FIRST_PAUSE, |before| (before.pause * 2).min(LONGEST_PAUSE));
        Retry { at: Instant::now() + pause, pause }
    }
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

    /// What does not serve: files, and directories that cannot be read.
    pub fn problems(&self) -> impl Iterator<Item = &Problem> {
        let refused = self.refused.values().map(|refused| &refused.problem);
        refused.chain(&self.misnamed).chain(&self.unreadable).chain(&self.excess)
    }

    /// The directories that cannot be read.
    pub fn unreadable(&self) -> &[Problem] {
        &self.unreadable
    }

    /// Names of the commands that `newer` has and this does not, or has in another version; and of those it lost.
    pub fn changes(&self, newer: &Table) -> Changes {
        let names = |from: &Table, than: &Table| {
            let same = |command: &Command, other: &Command| {
                Arc::ptr_eq(&command.code, &other.code) && command.sidecar == other.sidecar
            };
            let differs = |command: &&Command| !than.get(&command.name).is_some_and(|other| same(command, other));
            from.iter().filter(differs).map(|command| command.name.to_string()).collect::<Vec<_>>()
        };
        let lost = self.iter().filter(|command| newer.get(&command.name).is_none());
        Changes {
            new: names(newer, self),
            lost: lost.map(|command| command.name.to_string()).collect(),
            refusals: self.problems().ne(newer.problems()),
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

#[cfg(test)]
mod compiled {
    use super::*;
    use crate::engine::Size;
    use crate::registry::Owner;
    use crate::registry::metadata::Metadata;
    use crate::registry::scan::Found;
    use crate::registry::unshim::unshim;
    use crate::sandbox::Sandbox;

    impl Table {
        /// The commands in these files, with the sidecars beside them, compiled in this process: a test has nobody to hold up.
        pub fn compiled_here(owner: &Owner<'_>, sandbox: &Sandbox, files: &[PathBuf]) -> Table {
            let command = |path: &PathBuf| {
                let file = Found::at(path).expect("a command's name");
                let sidecar = Sidecar::beside(path).expect("a sidecar that can be used").unwrap_or_default().0;
                let wasm = std::fs::read(path).expect("it is there");
                let metadata = Metadata::of(&wasm);
                let engine = sandbox.engine(Size::of(metadata.initial_memory));
                #[expect(clippy::disallowed_methods, reason = "this process serves nobody")]
                let component = wasmtime::component::Component::new(engine, unshim(&wasm).as_deref().unwrap_or(&wasm));
                let component = component.expect("a component");
                let program = sandbox.prepare(&component, metadata.starts).expect("it fits this host");
                let code = Arc::new(Code { description: None, program, digest: blake3::hash(&wasm) });
                let command = owner.command(&file.name, Arc::new(sidecar), code, file.stamps());
                (file.name, Arc::new(command))
            };
            Table { commands: files.iter().map(command).collect(), ..Table::default() }
        }
    }
}
