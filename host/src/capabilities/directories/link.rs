//! Puts this host's functions in the place of wasmtime's.

use std::future::Future;
use std::path::Path;
use std::pin::Pin;

use rustix::fs::{Timespec, Timestamps, UTIME_NOW, UTIME_OMIT};
use wasmtime::component::{ComponentNamedList, Lift, Linker, LinkerInstance, Lower, Resource, ResourceType};
use wasmtime_wasi::FsPerms;
use wasmtime_wasi::filesystem::{Descriptor, Dir, WasiFilesystemView};
use wasmtime_wasi::p2::FsResult;
use wasmtime_wasi::p2::bindings::filesystem::types::{
    DescriptorFlags, DirectoryEntry, ErrorCode, HostDescriptor, NewTimestamp, OpenFlags, PathFlags,
};

use super::listing::Listing;
use super::open::{self, Wanted};
use super::preopens;
use crate::capabilities::Call;
use crate::policy::Access;
use crate::sandbox::State;

/// The interfaces, by the names under which wasmtime offers them.
const PREOPENS: &str = "wasi:filesystem/preopens@0.2.12";
const TYPES: &str = "wasi:filesystem/types@0.2.12";
const ENVIRONMENT: &str = "wasi:cli/environment@0.2.12";

type Handle = Resource<Descriptor>;
type Answer<T> = Result<T, ErrorCode>;
/// What a linked function returns: its one result, unless it traps.
type Returned<'a, T> = Pin<Box<dyn Future<Output = wasmtime::Result<(T,)>> + Send + 'a>>;

/// Replaces functions of WASI, which must be linked already.
///
/// # Errors
/// When one of them is not there to be replaced.
pub fn add_to_linker(linker: &mut Linker<State>) -> wasmtime::Result<()> {
    let replaced =
        [(PREOPENS, "get-directories"), (TYPES, "[method]descriptor.open-at"), (ENVIRONMENT, "get-environment")];
    for (interface, name) in replaced {
        // Under a name that is not wasmtime's, a function would be an addition that nobody calls.
        let added = linker.instance(interface)?.func_wrap(name, |_, (): ()| Ok(()));
        wasmtime::ensure!(added.is_err(), "wasmtime offers no {interface}; this host was built for another version");
    }
    linker.allow_shadowing(true);
    define(&mut linker.instance(PREOPENS)?, "get-directories", |state, (): ()| {
        Box::pin(async { Ok((preopens(state).await?,)) })
    })?;
    linker
        .instance(ENVIRONMENT)?
        .func_wrap("get-environment", |store, (): ()| Ok((environment(&store.data().call),)))?;
    let types = &mut linker.instance(TYPES)?;
    opening(types)?;
    listing(types)?;
    looking(types)?;
    changing(types)?;
    linker.allow_shadowing(false);
    Ok(())
}

/// The variables, which are taken for used when they are asked for.
fn environment(call: &Call) -> Vec<(String, String)> {
    let variables = call.command.grants.environment().to_vec();
    for (name, _) in &variables {
        call.ledger.used(Access::Variable { name: name.clone() });
    }
    variables
}

fn opening(types: &mut LinkerInstance<'_, State>) -> wasmtime::Result<()> {
    type Params = (Handle, PathFlags, String, OpenFlags, DescriptorFlags);
    define(types, "[method]descriptor.open-at", |state, (fd, at, path, flags, kind): Params| {
        Box::pin(async move {
            let wanted = match Wanted::new(at.contains(PathFlags::SYMLINK_FOLLOW), flags, kind) {
                Ok(wanted) => wanted,
                Err(error) => return Ok((Err(error),)),
            };
            if wanted.writes() && refuses_change(state, &fd, &path)? {
                return Ok((Err(ErrorCode::NotPermitted),));
            }
            reads(state, &fd);
            let opened = with_directory(state, &fd, move |directory| wanted.open(directory, Path::new(&path))).await?;
            Ok((match opened {
                Ok(descriptor) => {
                    let descriptor = state.objects.push(descriptor)?;
                    state.call.directories.inherit(&descriptor, &fd);
                    Ok(descriptor)
                }
                Err(error) => Err(error),
            },))
        })
    })
}

fn listing(types: &mut LinkerInstance<'_, State>) -> wasmtime::Result<()> {
    types.resource("directory-entry-stream", ResourceType::host::<Listing>(), |mut store, listing| {
        store.data_mut().objects.delete(Resource::<Listing>::new_own(listing))?;
        Ok(())
    })?;
    define(types, "[method]descriptor.read-directory", |state, (fd,): (Handle,)| {
        Box::pin(async move {
            reads(state, &fd);
            let listing = with_directory(state, &fd, Listing::new).await?;
            Ok((match listing {
                Ok(listing) => Ok(state.objects.push(listing)?),
                Err(error) => Err(error),
            },))
        })
    })?;
    let name = "[method]directory-entry-stream.read-directory-entry";
    define(types, name, |state, (listing,): (Resource<Listing>,)| {
        Box::pin(async move {
            let entry: Answer<Option<DirectoryEntry>> = state.objects.get_mut(&listing)?.next().await;
            Ok((entry,))
        })
    })
}

/// These are wasmtime's, and only laid to the directory's grant here.
fn looking(types: &mut LinkerInstance<'_, State>) -> wasmtime::Result<()> {
    define(types, "[method]descriptor.stat-at", |state, (fd, at, path): (Handle, PathFlags, String)| {
        Box::pin(async move {
            reads(state, &fd);
            answer(state.filesystem().stat_at(fd, at, path).await)
        })
    })?;
    define(types, "[method]descriptor.readlink-at", |state, (fd, path): (Handle, String)| {
        Box::pin(async move {
            reads(state, &fd);
            answer(state.filesystem().readlink_at(fd, path).await)
        })
    })
}

/// Setting times is done here, for wasmtime would open the file. Other changes are wasmtime's; here they are only told to
/// the operator where the directory does not allow them.
fn changing(types: &mut LinkerInstance<'_, State>) -> wasmtime::Result<()> {
    type Times = (Handle, PathFlags, String, NewTimestamp, NewTimestamp);
    define(types, "[method]descriptor.set-times-at", |state, (fd, at, path, access, change): Times| {
        Box::pin(async move {
            if refuses_change(state, &fd, &path)? {
                return Ok((Err(ErrorCode::NotPermitted),));
            }
            let (last_access, last_modification) = match (timespec(access), timespec(change)) {
                (Ok(access), Ok(change)) => (access, change),
                (Err(error), _) | (_, Err(error)) => return Ok((Err(error),)),
            };
            let times = Timestamps { last_access, last_modification };
            let follow = at.contains(PathFlags::SYMLINK_FOLLOW);
            let set = move |directory: &Dir| open::set_times(directory, Path::new(&path), follow, &times);
            Ok((with_directory(state, &fd, set).await?,))
        })
    })?;
    type Path1 = (Handle, String);
    define(types, "[method]descriptor.create-directory-at", |state, (fd, path): Path1| {
        Box::pin(async move {
            refuses_change(state, &fd, &path)?;
            answer(state.filesystem().create_directory_at(fd, path).await)
        })
    })?;
    define(types, "[method]descriptor.remove-directory-at", |state, (fd, path): Path1| {
        Box::pin(async move {
            refuses_change(state, &fd, &path)?;
            answer(state.filesystem().remove_directory_at(fd, path).await)
        })
    })?;
    define(types, "[method]descriptor.unlink-file-at", |state, (fd, path): Path1| {
        Box::pin(async move {
            refuses_change(state, &fd, &path)?;
            answer(state.filesystem().unlink_file_at(fd, path).await)
        })
    })?;
    define(types, "[method]descriptor.symlink-at", |state, (fd, old, new): (Handle, String, String)| {
        Box::pin(async move {
            refuses_change(state, &fd, &new)?;
            answer(state.filesystem().symlink_at(fd, old, new).await)
        })
    })?;
    define(types, "[method]descriptor.rename-at", |state, (fd, old, to, new): (Handle, String, Handle, String)| {
        Box::pin(async move {
            let _ = refuses_change(state, &fd, &old)? || refuses_change(state, &to, &new)?;
            answer(state.filesystem().rename_at(fd, old, to, new).await)
        })
    })?;
    type Link = (Handle, PathFlags, String, Handle, String);
    define(types, "[method]descriptor.link-at", |state, (fd, at, old, to, new): Link| {
        Box::pin(async move {
            let _ = refuses_change(state, &fd, &old)? || refuses_change(state, &to, &new)?;
            answer(state.filesystem().link_at(fd, at, old, to, new).await)
        })
    })
}

fn define<P, T>(
    interface: &mut LinkerInstance<'_, State>,
    name: &str,
    function: for<'a> fn(&'a mut State, P) -> Returned<'a, T>,
) -> wasmtime::Result<()>
where
    P: ComponentNamedList + Lift + Send + 'static,
    (T,): ComponentNamedList + Lower + 'static,
{
    interface.func_wrap_async(name, move |mut store, params| {
        Box::new(async move { function(store.data_mut(), params).await })
    })
}

/// Does something with a directory on the blocking pool. It is short: nothing there waits for more than the disk.
async fn with_directory<T: Send + 'static>(
    state: &mut State,
    fd: &Handle,
    act: impl FnOnce(&Dir) -> Answer<T> + Send + 'static,
) -> wasmtime::Result<Answer<T>> {
    let Descriptor::Dir(directory) = state.objects.get(fd)? else { return Ok(Err(ErrorCode::NotDirectory)) };
    let directory = directory.clone();
    let done = tokio::task::spawn_blocking(move || act(&directory)).await;
    // A job ends early only when the host is going down.
    Ok(done.unwrap_or(Err(ErrorCode::Io)))
}

/// Lays something that is done by way of a directory to its grant.
fn reads(state: &State, fd: &Handle) {
    state.call.directories.mark(fd, false);
}

/// Whether the directory is read-only, and so refuses what is about to be changed at `path`: then the operator is told.
/// What is not refused is laid to the directory's grant.
fn refuses_change(state: &State, fd: &Handle, path: &str) -> wasmtime::Result<bool> {
    let call = &state.call;
    match state.objects.get(fd)? {
        Descriptor::Dir(directory) if directory.perms == FsPerms::ReadOnly => {
            let grants = &call.command.grants;
            if let Some(open) = call.directories.directory(grants, fd) {
                call.log_denial(&grants.write_denial(open, Path::new(path)));
            }
            Ok(true)
        }
        _ => {
            call.directories.mark(fd, true);
            Ok(false)
        }
    }
}

fn answer<T>(result: FsResult<T>) -> wasmtime::Result<(Answer<T>,)> {
    match result {
        Ok(value) => Ok((Ok(value),)),
        Err(error) => Ok((Err(error.downcast()?),)),
    }
}

fn timespec(time: NewTimestamp) -> Answer<Timespec> {
    Ok(match time {
        NewTimestamp::NoChange => Timespec { tv_sec: 0, tv_nsec: UTIME_OMIT },
        NewTimestamp::Now => Timespec { tv_sec: 0, tv_nsec: UTIME_NOW },
        NewTimestamp::Timestamp(time) if time.nanoseconds < 1_000_000_000 => Timespec {
            tv_sec: time.seconds.try_into().map_err(|_| ErrorCode::Overflow)?,
            tv_nsec: time.nanoseconds.into(),
        },
        NewTimestamp::Timestamp(_) => return Err(ErrorCode::Invalid),
    })
}
