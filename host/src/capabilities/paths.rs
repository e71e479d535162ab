//! Opens files beneath granted directories, race-free: the kernel resolves the path, and refuses any way out of the root.

use std::os::fd::OwnedFd;
use std::path::Path;

use rustix::fs::{Mode, OFlags, ResolveFlags, open, openat2};
use rustix::io::Errno;

/// No way out, neither upwards, nor by a symbolic link, nor by the magic links of `/proc`.
const CONFINED: ResolveFlags =
    ResolveFlags::BENEATH.union(ResolveFlags::NO_MAGICLINKS).union(ResolveFlags::NO_SYMLINKS);

/// Why a path beneath a root was not opened.
#[derive(Debug, PartialEq, Eq)]
pub enum OpenError {
    /// The path leads out of the root, or a symbolic link stands in it.
    Outside,
    /// Nothing is there.
    NotFound,
    /// It is a socket, or a device without its driver: nothing that holds data.
    NoFile,
    /// The host itself may not open it.
    Permission,
    /// Anything else.
    Other(Errno),
}

/// Opens `relative` beneath `root`. `flags` say for what; the file is never waited for, whatever it is.
///
/// # Errors
/// See [`OpenError`].
pub fn open_beneath(root: &Path, relative: &Path, flags: OFlags) -> Result<OwnedFd, OpenError> {
    let root =
        open(root, OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC, Mode::empty()).map_err(OpenError::from)?;
    // The root itself is named by an empty rest.
    let relative = if relative.as_os_str().is_empty() { Path::new(".") } else { relative };
    // `O_PATH` opens nothing that could make anyone wait, and the kernel takes it alone.
    let never_wait = if flags.contains(OFlags::PATH) { OFlags::empty() } else { OFlags::NONBLOCK | OFlags::NOCTTY };
    let flags = flags | never_wait | OFlags::CLOEXEC;
    Ok(openat2(&root, relative, flags, Mode::empty(), CONFINED)?)
}

/// Finds whether the kernel confines paths as this host relies on.
///
/// # Errors
/// When it does not; the host must not start then.
pub fn self_test() -> Result<(), String> {
    // Of the root, which everybody may look into; the current directory is another's now and then.
    let root = open("/", OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC, Mode::empty())
        .map_err(|error| format!("the root directory cannot be opened: {error}"))?;
    match openat2(&root, "..", OFlags::PATH | OFlags::CLOEXEC, Mode::empty(), CONFINED) {
        Err(Errno::XDEV) => Ok(()),
        Err(error) => Err(format!("this kernel cannot confine paths (openat2: {error}); Linux 5.6 or newer is needed")),
        Ok(_) => Err("this kernel does not confine paths: openat2 let `..` out of its root".to_owned()),
    }
}

impl From<Errno> for OpenError {
    fn from(error: Errno) -> OpenError {
        match error {
            Errno::XDEV | Errno::LOOP => OpenError::Outside,
            Errno::NOENT | Errno::NOTDIR => OpenError::NotFound,
            Errno::NXIO | Errno::NODEV => OpenError::NoFile,
            Errno::ACCESS | Errno::PERM => OpenError::Permission,
            error => OpenError::Other(error),
        }
    }
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::symlink;

    use super::*;

    fn read(root: &Path, relative: &str) -> Result<OwnedFd, OpenError> {
        open_beneath(root, Path::new(relative), OFlags::RDONLY)
    }

    #[test]
    fn nothing_leads_out() {
        let directory = tempfile::tempdir().unwrap();
        let root = directory.path().join("root");
        std::fs::create_dir_all(root.join("sub")).unwrap();
        std::fs::write(root.join("sub/file"), "in").unwrap();
        std::fs::write(directory.path().join("secret"), "out").unwrap();
        symlink("../secret", root.join("up")).unwrap();
        symlink(directory.path(), root.join("absolute")).unwrap();
        symlink("sub", root.join("inside")).unwrap();

        assert!(read(&root, "sub/file").is_ok());
        assert!(read(&root, "sub/../sub/file").is_ok());
        for path in ["../secret", "up", "absolute/secret", "inside/file", "sub/../../secret"] {
            assert_eq!(read(&root, path).unwrap_err(), OpenError::Outside, "{path}");
        }
        assert_eq!(read(&root, "sub/none").unwrap_err(), OpenError::NotFound);
        assert_eq!(read(&root, "sub/file/").unwrap_err(), OpenError::NotFound);
        self_test().unwrap();
    }
}
