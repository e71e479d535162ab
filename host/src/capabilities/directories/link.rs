//! Puts this host's functions in the place of wasmtime's.

use std::future::Future;
use std::path::Path;
use std::pin::Pin;
use std::sync::Arc;

use rustix::fs::{Timespec, Timestamps, UTIME_NOW, UTIME_OMIT};
use wasmtime::component::{ComponentNamedList, Lift, Linker, LinkerInstance, Lower, Resource, ResourceType};
use wasmtime_wasi::FsPerms;
use wasmtime_wasi::filesystem::{Descriptor, Dir, WasiFilesystemCtxView, WasiFilesystemView};
use wasmtime_wasi::p2::bindings::filesystem::types::{
    Advice, DescriptorFlags, DirectoryEntry, ErrorCode, HostDescriptor, NewTimestamp, OpenFlags, PathFlags,
};
use wasmtime_wasi::p2::{DynInputStream, DynOutputStream, FsError, FsResult};

use super::listing::Listing;
use super::open::{self, Wanted};
use super::preopens;
use super::streams::{Reader, Writer};
use super::theirs::{answer, now, theirs};
use crate::capabilities::{Call, jobs};
use crate::policy::Access;
use crate::sandbox::State;

/// The interfaces, by the names under which wasmtime offers them.
const PREOPENS: &str = "wasi:filesystem/preopens@0.2.12";
const TYPES: &str = "wasi:filesystem/types@0.2.12";
const ENVIRONMENT: &str = "wasi:cli/environment@0.2.12";

/// A guest's handle on a descriptor.
pub type Handle = Resource<Descriptor>;
/// What a program is told.
pub type Answer<T> = Result<T, ErrorCode>;
/// What a linked function returns: its one result, unless it traps.
type Returned<'a, T> = Pin<Box<dyn Future<Output = wasmtime::Result<(T,)>> + Send + 'a>>;

/// Replaces functions of WASI, which must be linked already.
///
/// # Errors
/// When one of them is not there to be replaced.
pub fn add_to_linker(linker: &mut Linker<State>) -> wasmtime::Result<()> {
    replace(linker, PREOPENS, |interface| {
        define(interface, "get-directories", |state, (): ()| Box::pin(async { Ok((preopens(state).await?,)) }))
    })?;
    replace(linker, ENVIRONMENT, |interface| {
        define(interface, "get-environment", |state, (): ()| {
            let environment = environment(&state.call);
            Box::pin(async { Ok((environment,)) })
        })
    })?;
    replace(linker, TYPES, |types| {
        opening(types)?;
        listing(types)?;
        looking(types)?;
        changing(types)?;
        descriptors(types)?;
        contents(types)?;
        streams(types)
    })
}

/// An interface of which functions are replaced.
struct Replaced<'a> {
    interface: LinkerInstance<'a, State>,
    /// Those that were.
    names: Vec<String>,
}

/// Replaces functions of an interface, each of which must be there.
fn replace(
    linker: &mut Linker<State>,
    interface: &str,
    functions: impl FnOnce(&mut Replaced<'_>) -> wasmtime::Result<()>,
) -> wasmtime::Result<()> {
    let mut theirs = linker.clone();
    linker.allow_shadowing(true);
    let mut replaced = Replaced { interface: linker.instance(interface)?, names: Vec::new() };
    functions(&mut replaced)?;
    let names = replaced.names;
    linker.allow_shadowing(false);
    for name in names {
        // Under a name that is not wasmtime's, a function would be an addition that nobody calls, and wasmtime's own would stay
        // within a program's reach.
        let added = theirs.instance(interface)?.func_wrap(&name, |_, (): ()| Ok(()));
        wasmtime::ensure!(
            added.is_err(),
            "wasmtime offers no `{name}` in {interface}; this host was built for another version"
        );
    }
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

fn opening(types: &mut Replaced<'_>) -> wasmtime::Result<()> {
    type Params = (Handle, PathFlags, String, OpenFlags, DescriptorFlags);
    define(types, "[method]descriptor.open-at", |state, (fd, at, path, flags, kind): Params| {
        Box::pin(async move {
            let wanted = match Wanted::new(at.contains(PathFlags::SYMLINK_FOLLOW), flags, kind) {
                Ok(wanted) => wanted,
                Err(error) => return Ok((Err(error),)),
            };
            if wanted.writes() && note_change(state, &fd, &path) {
                return Ok((Err(ErrorCode::NotPermitted),));
            }
            note_read(state, &fd);
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

fn listing(types: &mut Replaced<'_>) -> wasmtime::Result<()> {
    types.interface.resource("directory-entry-stream", ResourceType::host::<Listing>(), |mut store, listing| {
        store.data_mut().objects.delete(Resource::<Listing>::new_own(listing))?;
        Ok(())
    })?;
    define(types, "[method]descriptor.read-directory", |state, (fd,): (Handle,)| {
        Box::pin(async move {
            note_read(state, &fd);
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
            let entry: Answer<Option<DirectoryEntry>> = state.objects.get_mut(&listing)?.next(&state.call).await?;
            Ok((entry,))
        })
    })
}

/// These are wasmtime's, laid to the directory's grant here.
fn looking(types: &mut Replaced<'_>) -> wasmtime::Result<()> {
    forward(types, "stat-at", |state, (fd, at, path): (Handle, PathFlags, String)| {
        note_read(state, &fd);
        ([fd], move |files, [fd]| now(files.stat_at(fd, at, path)))
    })?;
    forward(types, "readlink-at", |state, (fd, path): (Handle, String)| {
        note_read(state, &fd);
        ([fd], |files, [fd]| now(files.readlink_at(fd, path)))
    })?;
    forward(types, "metadata-hash-at", |state, (fd, at, path): (Handle, PathFlags, String)| {
        note_read(state, &fd);
        ([fd], move |files, [fd]| now(files.metadata_hash_at(fd, at, path)))
    })
}

/// Setting times is done here, for wasmtime would open the file. Other changes are wasmtime's; here they are told to the
/// operator where the directory does not allow them.
fn changing(types: &mut Replaced<'_>) -> wasmtime::Result<()> {
    type Times = (Handle, PathFlags, String, NewTimestamp, NewTimestamp);
    define(types, "[method]descriptor.set-times-at", |state, (fd, at, path, access, change): Times| {
        Box::pin(async move {
            if note_change(state, &fd, &path) {
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
    forward(types, "create-directory-at", |state, (fd, path): Path1| {
        note_change(state, &fd, &path);
        ([fd], |files, [fd]| now(files.create_directory_at(fd, path)))
    })?;
    forward(types, "remove-directory-at", |state, (fd, path): Path1| {
        note_change(state, &fd, &path);
        ([fd], |files, [fd]| now(files.remove_directory_at(fd, path)))
    })?;
    forward(types, "unlink-file-at", |state, (fd, path): Path1| {
        note_change(state, &fd, &path);
        ([fd], |files, [fd]| now(files.unlink_file_at(fd, path)))
    })?;
    forward(types, "symlink-at", |state, (fd, old, new): (Handle, String, String)| {
        note_change(state, &fd, &new);
        ([fd], |files, [fd]| now(files.symlink_at(fd, old, new)))
    })?;
    forward(types, "rename-at", |state, (fd, old, to, new): (Handle, String, Handle, String)| {
        let _ = note_change(state, &fd, &old) || note_change(state, &to, &new);
        ([fd, to], |files, [fd, to]| now(files.rename_at(fd, old, to, new)))
    })?;
    type Link = (Handle, PathFlags, String, Handle, String);
    forward(types, "link-at", |state, (fd, at, old, to, new): Link| {
        let _ = note_change(state, &fd, &old) || note_change(state, &to, &new);
        ([fd, to], move |files, [fd, to]| now(files.link_at(fd, at, old, to, new)))
    })
}

/// What is done with a descriptor itself: wasmtime's, all of it.
fn descriptors(types: &mut Replaced<'_>) -> wasmtime::Result<()> {
    forward(types, "stat", |_, (fd,): (Handle,)| ([fd], |files, [fd]| now(files.stat(fd))))?;
    forward(types, "get-type", |_, (fd,): (Handle,)| ([fd], |files, [fd]| now(files.get_type(fd))))?;
    forward(types, "get-flags", |_, (fd,): (Handle,)| ([fd], |files, [fd]| now(files.get_flags(fd))))?;
    forward(types, "metadata-hash", |_, (fd,): (Handle,)| ([fd], |files, [fd]| now(files.metadata_hash(fd))))?;
    define(types, "[method]descriptor.is-same-object", |state, (one, two): (Handle, Handle)| {
        Box::pin(async move {
            let same = theirs(state, [one, two], |files, [one, two]| {
                now(files.is_same_object(one, two)).map(|same| same.map_err(FsError::trap))
            });
            // It has no way to fail but to end the program.
            Ok((same.await?.0.unwrap_or_default(),))
        })
    })?;
    type Times = (Handle, NewTimestamp, NewTimestamp);
    forward(types, "set-times", |_, (fd, access, change): Times| {
        ([fd], move |files, [fd]| now(files.set_times(fd, access, change)))
    })
}

/// What is done with the contents of a file that is open: wasmtime's too.
fn contents(types: &mut Replaced<'_>) -> wasmtime::Result<()> {
    forward(types, "read", |_, (fd, length, offset): (Handle, u64, u64)| {
        ([fd], move |files, [fd]| now(files.read(fd, length, offset)))
    })?;
    forward(types, "write", |_, (fd, bytes, offset): (Handle, Vec<u8>, u64)| {
        ([fd], move |files, [fd]| now(files.write(fd, bytes, offset)))
    })?;
    forward(types, "set-size", |_, (fd, size): (Handle, u64)| {
        ([fd], move |files, [fd]| now(files.set_size(fd, size)))
    })?;
    forward(types, "advise", |_, (fd, offset, length, advice): (Handle, u64, u64, Advice)| {
        ([fd], move |files, [fd]| now(files.advise(fd, offset, length, advice)))
    })?;
    forward(types, "sync", |_, (fd,): (Handle,)| ([fd], |files, [fd]| now(files.sync(fd))))?;
    forward(types, "sync-data", |_, (fd,): (Handle,)| ([fd], |files, [fd]| now(files.sync_data(fd))))
}

/// Making a stream touches no file; it is read and written by way of ours.
fn streams(types: &mut Replaced<'_>) -> wasmtime::Result<()> {
    define(types, "[method]descriptor.read-via-stream", |state, (fd, offset): (Handle, u64)| {
        Box::pin(async move {
            let made = state.filesystem().read_via_stream(fd, offset);
            wrapped(state, answer(made)?.0, |call, theirs| Box::new(Reader::new(call, theirs)) as DynInputStream)
        })
    })?;
    define(types, "[method]descriptor.write-via-stream", |state, (fd, offset): (Handle, u64)| {
        Box::pin(async move {
            let made = state.filesystem().write_via_stream(fd, offset);
            wrapped(state, answer(made)?.0, |call, theirs| Box::new(Writer::new(call, theirs)) as DynOutputStream)
        })
    })?;
    define(types, "[method]descriptor.append-via-stream", |state, (fd,): (Handle,)| {
        Box::pin(async move {
            let made = state.filesystem().append_via_stream(fd);
            wrapped(state, answer(made)?.0, |call, theirs| Box::new(Writer::new(call, theirs)) as DynOutputStream)
        })
    })
}

/// Puts a stream of ours in the place of one of wasmtime's.
fn wrapped<S: 'static + Send>(
    state: &mut State,
    made: Answer<Resource<S>>,
    wrap: impl FnOnce(Arc<Call>, S) -> S,
) -> wasmtime::Result<(Answer<Resource<S>>,)> {
    let stream = match made {
        Ok(stream) => state.objects.delete(stream)?,
        Err(error) => return Ok((Err(error),)),
    };
    Ok((Ok(state.objects.push(wrap(Arc::clone(&state.call), stream))?),))
}

fn define<P, T>(
    replaced: &mut Replaced<'_>,
    name: &str,
    function: for<'a> fn(&'a mut State, P) -> Returned<'a, T>,
) -> wasmtime::Result<()>
where
    P: ComponentNamedList + Lift + Send + 'static,
    (T,): ComponentNamedList + Lower + 'static,
{
    replaced.names.push(name.to_owned());
    replaced.interface.func_wrap_async(name, move |mut store, params| {
        Box::new(async move { function(store.data_mut(), params).await })
    })
}

/// Defines a function on descriptors that is wasmtime's, done in a job: `prepare` says with which descriptors, and what.
fn forward<P, T, A, const N: usize>(
    types: &mut Replaced<'_>,
    name: &str,
    prepare: fn(&State, P) -> ([Handle; N], A),
) -> wasmtime::Result<()>
where
    P: ComponentNamedList + Lift + Send + 'static,
    A: FnOnce(&mut WasiFilesystemCtxView<'_>, [Handle; N]) -> Option<FsResult<T>> + Send + 'static,
    T: Send + 'static,
    (Answer<T>,): ComponentNamedList + Lower + 'static,
{
    let name = format!("[method]descriptor.{name}");
    types.names.push(name.clone());
    types.interface.func_wrap_async(&name, move |mut store, params| {
        Box::new(async move {
            let (descriptors, act) = prepare(store.data(), params);
            theirs(store.data_mut(), descriptors, act).await
        })
    })
}

/// Does something with a directory in a job. It is short: nothing there waits for more than the disk.
async fn with_directory<T: Send + 'static>(
    state: &mut State,
    fd: &Handle,
    act: impl FnOnce(&Dir) -> Answer<T> + Send + 'static,
) -> wasmtime::Result<Answer<T>> {
    let Descriptor::Dir(directory) = state.objects.get(fd)? else { return Ok(Err(ErrorCode::NotDirectory)) };
    let directory = directory.clone();
    let done = jobs::run(&state.call, move || act(&directory)).await?;
    Ok(done.unwrap_or(Err(ErrorCode::Io)))
}

/// Lays something that is done by way of a directory to its grant.
fn note_read(state: &State, fd: &Handle) {
    state.call.directories.mark(fd, false);
}

/// Lays to the directory's grant what is about to be changed at `path`. Returns whether that is refused, because the directory
/// is read-only; then the operator is told instead. A handle that is none is found out by what is done next.
fn note_change(state: &State, fd: &Handle, path: &str) -> bool {
    let call = &state.call;
    match state.objects.get(fd) {
        Ok(Descriptor::Dir(directory)) if directory.perms == FsPerms::ReadOnly => {
            let grants = &call.command.grants;
            if let Some(open) = call.directories.directory(grants, fd) {
                call.log_denial(&grants.write_denial(open, Path::new(path)));
            }
            true
        }
        _ => {
            call.directories.mark(fd, true);
            false
        }
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
