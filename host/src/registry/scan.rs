//! Finds the commands of a directory: `NAME.wasm`, and `NAME.toml` beside it.

use std::collections::BTreeSet;
use std::fs::File;
use std::io::Read;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime};

use rustix::fs::{Mode, OFlags};

use super::Problem;
use super::compile::Fault;
use crate::config::is_name;

/// Largest `.wasm` file that is looked at, in bytes.
pub const MAX_WASM: u64 = 256 * 1024 * 1024;
/// Files in a commands directory, of any kind. Each look at it has to pass over all of them.
const MAX_ENTRIES: usize = 50_000;
/// Largest sidecar, in bytes.
pub const MAX_SIDECAR: u64 = 64 * 1024;

/// A command's files.
#[derive(Debug, PartialEq, Eq)]
pub struct Found {
    /// The stem of the file.
    pub name: String,
    /// The `.wasm` file.
    pub path: PathBuf,
    /// The sidecar, where there is one.
    pub sidecar: Option<PathBuf>,
}

/// How long a file must have been left alone before it is taken for whole.
const SETTLING: Duration = Duration::from_millis(100);

/// How a command's two files looked: enough to see that one has changed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Stamps {
    wasm: Option<Stamp>,
    sidecar: Option<Stamp>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Stamp {
    device: u64,
    inode: u64,
    size: u64,
    modified: (i64, i64),
    changed: (i64, i64),
    /// Whether it had been left alone for a while. A file that had not might change once more within a clock tick, and
    /// look the same.
    settled: bool,
}

impl Found {
    /// The command that a `.wasm` file is, wherever it lies.
    ///
    /// # Errors
    /// When its name is none that a client could type.
    pub fn at(path: &Path) -> Result<Found, Problem> {
        let refuse = |reason: &str| Problem { path: path.to_owned(), reason: reason.to_owned() };
        let name = path.file_name().and_then(|name| name.to_str()).and_then(|name| name.strip_suffix(".wasm"));
        let name = name.ok_or_else(|| refuse("is not called NAME.wasm; rename it"))?;
        if !is_name(name) {
            return Err(refuse(
                "cannot name a command; a name is made of a to z, 0 to 9, `_` and `-`, and begins with a letter or digit",
            ));
        }
        let sidecar = path.with_extension("toml");
        Ok(Found {
            name: name.to_owned(),
            path: path.to_owned(),
            sidecar: sidecar.symlink_metadata().is_ok().then_some(sidecar),
        })
    }

    /// How the files look now.
    pub fn stamps(&self) -> Stamps {
        Stamps { wasm: Stamp::of(&self.path), sidecar: self.sidecar.as_deref().and_then(Stamp::of) }
    }
}

impl Stamps {
    /// Whether nobody seems to be writing the files.
    pub fn are_settled(&self) -> bool {
        [self.wasm, self.sidecar].iter().flatten().all(|stamp| stamp.settled)
    }
}

impl Stamp {
    fn of(path: &Path) -> Option<Stamp> {
        let metadata = std::fs::symlink_metadata(path).ok()?;
        let changed = Duration::new(metadata.ctime().try_into().ok()?, metadata.ctime_nsec().try_into().ok()?);
        #[expect(clippy::disallowed_methods, reason = "it is held against the times of files")]
        let now = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
        Some(Stamp {
            device: metadata.dev(),
            inode: metadata.ino(),
            size: metadata.size(),
            modified: (metadata.mtime(), metadata.mtime_nsec()),
            changed: (metadata.ctime(), metadata.ctime_nsec()),
            // A time far in the future is a clock that was set back, not a file in use.
            settled: now.abs_diff(changed) > SETTLING,
        })
    }
}

/// Lists the commands in a directory. Hidden files, other endings, and names that no client could type are passed over.
///
/// # Errors
/// When the directory cannot be read.
pub fn scan(directory: &Path) -> Result<Vec<Found>, Problem> {
    let problem = |error: std::io::Error| Problem {
        path: directory.to_owned(),
        reason: format!("cannot read the commands directory: {error}"),
    };
    let mut names = BTreeSet::new();
    for entry in std::fs::read_dir(directory).map_err(problem)? {
        if let Ok(name) = entry.map_err(problem)?.file_name().into_string() {
            names.insert(name);
        }
        if names.len() > MAX_ENTRIES {
            let reason = format!("holds more than {MAX_ENTRIES} files; keep nothing but commands in it");
            return Err(Problem { path: directory.to_owned(), reason });
        }
    }
    let found = names.iter().filter_map(|file| {
        let name = file.strip_suffix(".wasm").filter(|name| is_name(name))?;
        let sidecar = format!("{name}.toml");
        Some(Found {
            name: name.to_owned(),
            path: directory.join(file),
            sidecar: names.contains(&sidecar).then(|| directory.join(sidecar)),
        })
    });
    Ok(found.collect())
}

/// Reads a file of at most `bound` bytes. It must be a regular file itself: a link could point to what its tenant may not
/// read, and a FIFO would never end.
///
/// # Errors
/// When it is something else, too large, or cannot be read.
pub fn read(path: &Path, bound: u64) -> Result<Vec<u8>, Fault> {
    let refuse = |reason: &str| Err(Fault::File(reason.to_owned()));
    let flags = OFlags::RDONLY | OFlags::NOFOLLOW | OFlags::NONBLOCK | OFlags::CLOEXEC;
    let file = match rustix::fs::open(path, flags, Mode::empty()) {
        Ok(file) => File::from(file),
        Err(rustix::io::Errno::LOOP) => return refuse("is a symbolic link; copy the file itself"),
        Err(error) => return Err(Fault::Machine(format!("cannot be opened: {}", std::io::Error::from(error)))),
    };
    let unreadable = |error| Fault::Machine(format!("cannot be read: {error}"));
    let metadata = file.metadata().map_err(unreadable)?;
    if !metadata.is_file() {
        return refuse("is not a regular file");
    }
    let too_large = || refuse(&format!("is larger than {}", bytesize::ByteSize(bound).display().iec()));
    if metadata.len() > bound {
        return too_large();
    }
    let mut bytes = Vec::new();
    // It may have grown since.
    file.take(bound + 1).read_to_end(&mut bytes).map_err(unreadable)?;
    if bytes.len() as u64 > bound { too_large() } else { Ok(bytes) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_commands_are_found() {
        let directory = tempfile::tempdir().unwrap();
        for file in ["b.wasm", "a.wasm", "a.toml", ".hidden.wasm", "Upper.wasm", "note.txt", "c.wasm.tmp", "lone.toml"]
        {
            std::fs::write(directory.path().join(file), "").unwrap();
        }
        let found = scan(directory.path()).unwrap();
        let names: Vec<_> = found.iter().map(|file| (&*file.name, file.sidecar.is_some())).collect();
        assert_eq!(names, [("a", true), ("b", false)]);
        let missing = scan(&directory.path().join("none")).unwrap_err();
        assert!(missing.reason.contains("cannot read the commands directory"), "{missing:?}");
    }

    #[test]
    fn links_and_directories_are_refused() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("x.wasm");
        std::os::unix::fs::symlink("/etc/hostname", &path).unwrap();
        let refused = |words: &str| {
            let Err(Fault::File(reason)) = read(&path, MAX_WASM) else { panic!("the file's own fault is expected") };
            assert!(reason.contains(words), "{reason}");
        };
        refused("symbolic link");
        std::fs::remove_file(&path).unwrap();
        std::fs::create_dir(&path).unwrap();
        refused("not a regular file");
    }
}
