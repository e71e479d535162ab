//! Opening beneath a directory that a guest holds, without ever waiting for the file.

use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::path::Path;

use rustix::fs::{AtFlags, FileType, Mode, OFlags, ResolveFlags, Timestamps, fstat, openat2, utimensat};
use rustix::io::Errno;
use wasmtime_wasi::filesystem::{Descriptor, Dir, File};
use wasmtime_wasi::p2::bindings::filesystem::types::{DescriptorFlags, ErrorCode, OpenFlags};
use wasmtime_wasi::{FsPerms, OpenMode};

use super::theirs::ON_THIS_THREAD;

/// No way out of the directory. Symbolic links that stay inside it are followed, for programs rely on them.
const INSIDE: ResolveFlags = ResolveFlags::BENEATH.union(ResolveFlags::NO_MAGICLINKS);
/// How often a path is looked up again when something on its way was renamed meanwhile.
const TRIES: usize = 16;
/// Permissions of a new file, before the umask.
const NEW_FILE: Mode = Mode::from_raw_mode(0o666);

/// What a guest wants to open, and how.
#[derive(Debug)]
pub struct Wanted {
    flags: OFlags,
    mode: OpenMode,
}

impl Wanted {
    /// Puts the flags of WASI into those of the kernel.
    ///
    /// # Errors
    /// What the program is told when they make no sense, or nobody offers them.
    pub fn new(follow: bool, open: OpenFlags, flags: DescriptorFlags) -> Result<Wanted, ErrorCode> {
        let synchronous = DescriptorFlags::FILE_INTEGRITY_SYNC
            | DescriptorFlags::DATA_INTEGRITY_SYNC
            | DescriptorFlags::REQUESTED_WRITE_SYNC;
        if flags.intersects(synchronous) {
            return Err(ErrorCode::Unsupported);
        }
        let makes = OpenFlags::CREATE | OpenFlags::EXCLUSIVE | OpenFlags::TRUNCATE;
        if open.contains(OpenFlags::DIRECTORY) && open.intersects(makes) {
            return Err(ErrorCode::Invalid);
        }
        let changes = open.intersects(OpenFlags::CREATE | OpenFlags::TRUNCATE);
        let mut mode = OpenMode::empty();
        mode.set(OpenMode::WRITE, changes || flags.contains(DescriptorFlags::WRITE));
        // What is not opened for writing is opened for reading, or the kernel would not open it at all.
        let reads = flags.contains(DescriptorFlags::READ) || !flags.contains(DescriptorFlags::WRITE);
        mode.set(OpenMode::READ, reads);
        let mut kernel = match (reads, mode.contains(OpenMode::WRITE)) {
            (true, true) => OFlags::RDWR,
            (false, true) => OFlags::WRONLY,
            _ => OFlags::RDONLY,
        };
        kernel.set(OFlags::CREATE, open.contains(OpenFlags::CREATE));
        kernel.set(OFlags::EXCL, open.contains(OpenFlags::CREATE | OpenFlags::EXCLUSIVE));
        kernel.set(OFlags::TRUNC, open.contains(OpenFlags::TRUNCATE));
        kernel.set(OFlags::DIRECTORY, open.contains(OpenFlags::DIRECTORY));
        kernel.set(OFlags::NOFOLLOW, !follow);
        Ok(Wanted { flags: kernel, mode })
    }

    /// Whether something may be changed by opening it so.
    pub fn writes(&self) -> bool {
        self.mode.contains(OpenMode::WRITE)
    }

    /// Opens `path` beneath the directory. Blocks as long as the disk does, but for nothing else.
    ///
    /// # Errors
    /// What the program is told. Whatever is neither a regular file nor a directory is `not-permitted`.
    pub fn open(&self, directory: &Dir, path: &Path) -> Result<Descriptor, ErrorCode> {
        if self.writes() && directory.perms == FsPerms::ReadOnly {
            return Err(ErrorCode::NotPermitted);
        }
        // A FIFO or a device is opened without waiting for whoever is behind it, and given up again.
        let file = beneath(&directory.dir, path, self.flags | OFlags::NONBLOCK | OFlags::NOCTTY)?;
        match FileType::from_raw_mode(fstat(&file).map_err(told)?.st_mode) {
            FileType::RegularFile => {
                Ok(Descriptor::File(File::new(file.into(), directory.perms, self.mode, ON_THIS_THREAD)))
            }
            FileType::Directory => {
                Ok(Descriptor::Dir(Dir::new(file.into(), directory.perms, self.mode, ON_THIS_THREAD)))
            }
            _ => Err(ErrorCode::NotPermitted),
        }
    }
}

/// Sets the times of what `path` names beneath the directory, without opening it.
///
/// # Errors
/// What the program is told.
pub fn set_times(directory: &Dir, path: &Path, follow: bool, times: &Timestamps) -> Result<(), ErrorCode> {
    let mut flags = OFlags::PATH;
    flags.set(OFlags::NOFOLLOW, !follow);
    let place = beneath(&directory.dir, path, flags)?;
    utimensat(&place, "", times, AtFlags::EMPTY_PATH).map_err(told)
}

/// Opens the directory itself for listing.
///
/// # Errors
/// What the program is told.
pub fn listed(directory: &Dir) -> Result<OwnedFd, ErrorCode> {
    beneath(&directory.dir, Path::new("."), OFlags::RDONLY | OFlags::DIRECTORY)
}

fn beneath(directory: impl AsFd, path: &Path, flags: OFlags) -> Result<OwnedFd, ErrorCode> {
    let mode = if flags.contains(OFlags::CREATE) { NEW_FILE } else { Mode::empty() };
    for _ in 0..TRIES {
        match openat2(&directory, path, flags | OFlags::CLOEXEC, mode, INSIDE) {
            Err(Errno::AGAIN) => {}
            opened => return opened.map_err(told),
        }
    }
    Err(ErrorCode::Busy)
}

/// What a program is told of an error of the kernel's.
pub fn told(error: Errno) -> ErrorCode {
    match error {
        // The path led out of the directory; or nobody is at the other end of a FIFO, a socket or a device.
        Errno::XDEV | Errno::NXIO | Errno::NODEV => ErrorCode::NotPermitted,
        error => io::Error::from(error).into(),
    }
}
