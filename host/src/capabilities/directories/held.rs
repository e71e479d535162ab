//! Which granted directory each of a guest's descriptors belongs to, so that what it does can be laid to a grant.

use std::collections::{BTreeMap, HashMap};
use std::sync::{Mutex, MutexGuard};

use wasmtime::component::Resource;
use wasmtime_wasi::filesystem::Descriptor;

use crate::lock::lock;
use crate::policy::{Access, Effective, Preopen};

/// The descriptors of one invocation, and what was done by way of them.
#[derive(Default)]
pub struct Held(Mutex<State>);

#[derive(Default)]
struct State {
    /// Each descriptor with the number of its directory among those that the command finds open. Every descriptor is made
    /// by `get-directories` or `open-at` and told here; the numbers of those that were given up are used again, so there
    /// are no more entries than an invocation may have host objects.
    directories: HashMap<u32, usize>,
    /// The directories in which something was done, and whether that was a change.
    used: BTreeMap<usize, bool>,
}

impl Held {
    fn state(&self) -> MutexGuard<'_, State> {
        lock(&self.0)
    }

    /// Remembers a descriptor of the directory with this number.
    pub fn insert(&self, descriptor: &Resource<Descriptor>, directory: usize) {
        self.state().directories.insert(descriptor.rep(), directory);
    }

    /// Remembers a descriptor that was opened by way of another.
    pub fn inherit(&self, descriptor: &Resource<Descriptor>, from: &Resource<Descriptor>) {
        let mut state = self.state();
        if let Some(directory) = state.directories.get(&from.rep()).copied() {
            state.directories.insert(descriptor.rep(), directory);
        }
    }

    /// Remembers that something was done by way of a descriptor.
    pub fn mark(&self, descriptor: &Resource<Descriptor>, write: bool) {
        let mut state = self.state();
        if let Some(directory) = state.directories.get(&descriptor.rep()).copied() {
            *state.used.entry(directory).or_default() |= write;
        }
    }

    /// The granted directory that a descriptor belongs to.
    pub fn directory<'a>(&self, grants: &'a Effective, descriptor: &Resource<Descriptor>) -> Option<&'a Preopen> {
        let directory = self.state().directories.get(&descriptor.rep()).copied();
        grants.directories().get(directory?)
    }

    /// What was done in the directories.
    pub fn accesses(&self, grants: &Effective) -> Vec<Access> {
        let state = self.state();
        let used =
            state.used.iter().filter_map(|(directory, write)| Some((grants.directories().get(*directory)?, write)));
        used.map(|(directory, write)| directory.access(*write)).collect()
    }
}
