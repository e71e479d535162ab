//! The directories and variables that a program of WASI finds, and the functions of `wasi:filesystem` that need a second
//! look.
//!
//! Most of that interface is wasmtime's own, which holds paths beneath their directory and refuses changes beneath one
//! that is read-only. It runs in jobs of ours (`theirs.rs`, `streams.rs`), with a place and on the line's account, as does
//! all that is done here. Replaced is what could hold a thread or fill the host's memory: opening waits for whoever is at
//! the other end of a FIFO, setting times opens too, and a listing is read whole before its first entry is handed out.

mod held;
mod link;
mod listing;
mod open;
mod streams;
mod theirs;

use std::sync::Arc;

use rustix::fs::OFlags;
use wasmtime::component::Resource;
use wasmtime_wasi::filesystem::{Descriptor, Dir};
use wasmtime_wasi::{FsPerms, OpenMode};

pub use held::Held;
pub use link::add_to_linker;

use super::jobs;
use super::paths::{OpenError, open_beneath};
use crate::policy::Preopen;
use crate::registry::Command;
use crate::sandbox::State;
use crate::tenants::Tenant;

/// Opens the directories that the call's command may find open.
///
/// They are opened anew for each line, so that one that was moved or mounted meanwhile is the one that is there now. One
/// that cannot be opened is missing from the list, and the log says why.
async fn preopens(state: &mut State) -> wasmtime::Result<Vec<(Resource<Descriptor>, String)>> {
    if state.call.command.grants.directories().is_empty() {
        return Ok(Vec::new());
    }
    // Not the call, which has the connection: that is not to be held open by a file system that hangs.
    let (tenant, command) = (Arc::clone(state.call.tenant()), Arc::clone(&state.call.command));
    let open_all = move || {
        let directories = command.grants.directories().iter();
        directories.map(|directory| open(&tenant, &command, directory)).collect::<Vec<_>>()
    };
    let opened = jobs::run(&state.call, open_all).await?.unwrap_or_default();
    let mut list = Vec::new();
    for (number, opened) in opened.into_iter().enumerate() {
        let Some(opened) = opened else { continue };
        let descriptor = state.objects.push(Descriptor::Dir(opened))?;
        state.call.directories.insert(&descriptor, number);
        let name = state.call.command.grants.directories().get(number).map(|directory| directory.name.clone());
        list.push((descriptor, name.unwrap_or_default()));
    }
    Ok(list)
}

fn open(tenant: &Tenant, command: &Command, directory: &Preopen) -> Option<Dir> {
    let reason = match open_beneath(&directory.root, &directory.relative, OFlags::PATH | OFlags::DIRECTORY) {
        Ok(fd) => {
            let (perms, mode) = match directory.write {
                true => (FsPerms::ReadWrite, OpenMode::READ | OpenMode::WRITE),
                false => (FsPerms::ReadOnly, OpenMode::READ),
            };
            return Some(Dir::new(fd.into(), perms, mode, theirs::ON_THIS_THREAD));
        }
        Err(OpenError::Outside) => "a symbolic link leads out of what the tenant grants".to_owned(),
        Err(OpenError::NotFound) => "there is no such directory".to_owned(),
        Err(OpenError::Permission) => "the host itself may not open it".to_owned(),
        Err(OpenError::NoFile) => "it is no directory".to_owned(),
        Err(OpenError::Other(error)) => error.to_string(),
    };
    tracing::warn!(
        tenant = %tenant.name,
        command = %command.name,
        root = %directory.root.display(),
        beneath = %directory.relative.display(),
        reason,
        "a granted directory is missing"
    );
    None
}
