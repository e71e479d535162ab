//! Finds the commands of a directory: `NAME.wasm`, and `NAME.toml` beside it.

use std::collections::BTreeSet;
use std::ffi::OsString;
use std::fs::File;
use std::io::Read;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime};

use rustix::fs::{Mode, OFlags};

use super::Problem;
use super::compile::Fault;
use super::kind::Kind;
use crate::config::{NAMES, is_name};

/// Largest `.wasm` file that is looked at, in bytes.
pub const MAX_WASM: u64 = 256 * 1024 * 1024;
/// Bytes by which a long file is recognised, and what those of native programs begin with.
const HEAD: u64 = 512;
const ELF: &[u8] = b"\x7fELF";
/// Files in a commands directory, of any kind. Each look at it has to pass over all of them.
const MAX_ENTRIES: usize = 50_000;
/// Files that are called as no command can be, of which it is told; and sidecars of no command.
const MAX_MISNAMED: usize = 16;
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
        let refuse = |reason: &str| Problem::new(path, reason);
        let name = path.file_name().and_then(|name| name.to_str()).and_then(|name| name.strip_suffix(".wasm"));
        let name = name.ok_or_else(|| refuse("is not called NAME.wasm; rename it"))?;
        if !is_name(name) {
            return Err(misnamed(path));
        }
        let sidecar = path.with_extension("toml");
        Ok(Found {
            name: name.to_owned(),
            path: path.to_owned(),
            sidecar: sidecar.symlink_metadata().is_ok().then_some(sidecar),
        })
    }

    /// Whether its sidecar, which was there `before`, is gone from a directory that was changed just now: whoever replaces a
    /// file may remove it first, and the command would meanwhile have all that its tenant grants.
    pub fn has_just_lost_sidecar(&self, before: Stamps) -> bool {
        let directory = self.path.parent().and_then(Stamp::of);
        self.sidecar.is_none() && before.sidecar.is_some() && directory.is_some_and(|directory| !directory.settled)
    }

    /// How the files look now.
    pub fn stamps(&self) -> Stamps {
        Stamps { wasm: Stamp::of(&self.path), sidecar: self.sidecar.as_deref().and_then(Stamp::of) }
    }
}

impl Stamps {
    /// Bytes of the `.wasm` file.
    pub fn size(&self) -> u64 {
        self.wasm.map_or(0, |stamp| stamp.size)
    }

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

/// What a commands directory holds.
#[derive(Debug, Default)]
pub struct Scanned {
    /// The commands, by name.
    pub found: Vec<Found>,
    /// The first of those files that would be commands but for their names.
    pub misnamed: Vec<Problem>,
    /// The first of those sidecars that are no command's.
    pub strays: Vec<Problem>,
}

/// Lists the commands in a directory. Hidden files and other endings are passed over.
///
/// # Errors
/// When the directory cannot be read.
pub fn scan(directory: &Path) -> Result<Scanned, Problem> {
    let problem = |error: std::io::Error| {
        let hint = match error.kind() {
            std::io::ErrorKind::NotFound => {
                "; make it, or name another with `--commands DIR` or `commands` of its tenant"
            }
            _ => "",
        };
        Problem::new(directory, format!("cannot read the commands directory: {error}{hint}"))
    };
    let (mut names, mut no_text) = (BTreeSet::new(), BTreeSet::new());
    for entry in std::fs::read_dir(directory).map_err(problem)? {
        match entry.map_err(problem)?.file_name().into_string() {
            Ok(name) => names.insert(name),
            Err(name) => no_text.insert(name),
        };
        if names.len() + no_text.len() > MAX_ENTRIES {
            let reason = format!("holds more than {MAX_ENTRIES} files; keep nothing but commands in it");
            return Err(Problem::new(directory, reason));
        }
    }
    let mut scanned = Scanned::default();
    for file in names.iter().filter(|file| !file.starts_with('.')) {
        let path = directory.join(file);
        let Some(name) = file.strip_suffix(".wasm") else {
            if let Some(name) = file.strip_suffix(".toml")
                && !names.contains(&format!("{name}.wasm"))
                && scanned.strays.len() < MAX_MISNAMED
            {
                scanned.strays.push(Problem::new(path, format!("there is no {name}.wasm beside it")));
            }
            continue;
        };
        if is_name(name) {
            let sidecar = format!("{name}.toml");
            let sidecar = names.contains(&sidecar).then(|| directory.join(sidecar));
            scanned.found.push(Found { name: name.to_owned(), path, sidecar });
        } else if scanned.misnamed.len() < MAX_MISNAMED {
            scanned.misnamed.push(misnamed(&path));
        }
    }
    let is_wasm = |name: &&OsString| !name.as_bytes().starts_with(b".") && name.as_bytes().ends_with(b".wasm");
    let room = MAX_MISNAMED - scanned.misnamed.len();
    scanned.misnamed.extend(no_text.iter().filter(is_wasm).take(room).map(|name| misnamed(&directory.join(name))));
    Ok(scanned)
}

/// Why a file is no command whose stem is no name.
fn misnamed(path: &Path) -> Problem {
    Problem::new(path, format!("cannot name a command; {NAMES}; rename it"))
}

/// Reads a file of at most `bound` bytes. It must be a regular file itself: a link could point to what its tenant may not
/// read, and a FIFO would never end.
///
/// # Errors
/// When it is something else, too large, or cannot be read.
pub fn read(path: &Path, bound: u64) -> Result<Vec<u8>, Fault> {
    read_rest(open(path, bound)?, Vec::new(), bound)
}

/// Reads a `.wasm` file in the same way, and no more than the beginning of a long one if that is of something else.
///
/// # Errors
/// As [`read`], and when it is no WebAssembly.
pub fn read_wasm(path: &Path) -> Result<Vec<u8>, Fault> {
    let (mut file, mut bytes) = (open(path, MAX_WASM)?, Vec::new());
    (&mut file).take(HEAD).read_to_end(&mut bytes).map_err(unreadable)?;
    // Code compiled ahead of time, which looks like a native program, is known by the end of its file.
    if bytes.len() as u64 == HEAD && !bytes.starts_with(ELF) {
        Kind::of(&bytes).map_err(Fault::File)?;
    }
    let bytes = read_rest(file, bytes, MAX_WASM)?;
    Kind::of(&bytes).map_err(Fault::File)?;
    Ok(bytes)
}

fn open(path: &Path, bound: u64) -> Result<File, Fault> {
    let refuse = |reason: &str| Err(Fault::File(reason.to_owned()));
    let flags = OFlags::RDONLY | OFlags::NOFOLLOW | OFlags::NONBLOCK | OFlags::CLOEXEC;
    let file = match rustix::fs::open(path, flags, Mode::empty()) {
        Ok(file) => File::from(file),
        Err(rustix::io::Errno::LOOP) => return refuse("is a symbolic link; copy the file itself"),
        Err(error) => return Err(Fault::Machine(format!("cannot be opened: {}", std::io::Error::from(error)))),
    };
    let metadata = file.metadata().map_err(unreadable)?;
    if !metadata.is_file() {
        return refuse("is not a regular file");
    }
    if metadata.len() > bound { Err(too_large(bound)) } else { Ok(file) }
}

/// Reads what comes after these bytes of a file. It may have grown since it was opened.
fn read_rest(file: File, mut bytes: Vec<u8>, bound: u64) -> Result<Vec<u8>, Fault> {
    let rest = (bound + 1).saturating_sub(bytes.len() as u64);
    file.take(rest).read_to_end(&mut bytes).map_err(unreadable)?;
    if bytes.len() as u64 > bound { Err(too_large(bound)) } else { Ok(bytes) }
}

fn too_large(bound: u64) -> Fault {
    Fault::File(format!("is larger than {}", bytesize::ByteSize(bound).display().iec()))
}

fn unreadable(error: std::io::Error) -> Fault {
    Fault::Machine(format!("cannot be read: {error}"))
}

#[cfg(test)]
mod tests {
    use std::ffi::OsStr;

    use super::*;

    #[test]
    fn only_commands_are_found() {
        let directory = tempfile::tempdir().unwrap();
        for file in ["b.wasm", "a.wasm", "a.toml", ".hidden.wasm", "Upper.wasm", "note.txt", "c.wasm.tmp", "lone.toml"]
        {
            std::fs::write(directory.path().join(file), "").unwrap();
        }
        // `é` as it was before Unicode.
        let old = directory.path().join(OsStr::from_bytes(b"caf\xe9.wasm"));
        for file in [&old, &old.with_extension("txt"), &directory.path().join(OsStr::from_bytes(b".\xe9.wasm"))] {
            std::fs::write(file, "").unwrap();
        }
        let Scanned { found, misnamed, strays } = scan(directory.path()).unwrap();
        let paths = |problems: &[Problem]| problems.iter().map(|problem| problem.path.clone()).collect::<Vec<_>>();
        assert_eq!(paths(&misnamed), [directory.path().join("Upper.wasm"), old]);
        assert_eq!(paths(&strays), [directory.path().join("lone.toml")]);
        let names: Vec<_> = found.iter().map(|file| (&*file.name, file.sidecar.is_some())).collect();
        assert_eq!(names, [("a", true), ("b", false)]);
        let missing = scan(&directory.path().join("none")).unwrap_err();
        assert!(missing.reason.contains("cannot read the commands directory"), "{missing:?}");
        assert!(missing.reason.contains("; make it, or name another"), "{missing:?}");
    }

    #[test]
    fn a_sidecar_that_is_gone_just_now_may_come_back() {
        let directory = tempfile::tempdir().unwrap();
        let [wasm, sidecar] = ["a.wasm", "a.toml"].map(|name| directory.path().join(name));
        for file in [&wasm, &sidecar] {
            std::fs::write(file, "").unwrap();
        }
        let with = Found::at(&wasm).unwrap();
        let before = with.stamps();
        assert!(!with.has_just_lost_sidecar(before));
        std::fs::remove_file(&sidecar).unwrap();
        let without = Found::at(&wasm).unwrap();
        assert!(without.has_just_lost_sidecar(before) && !without.has_just_lost_sidecar(without.stamps()));
    }

    #[test]
    fn what_is_no_webassembly_is_known_by_its_beginning() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("huge.wasm");
        File::create(&path).unwrap().set_len(MAX_WASM).unwrap();
        assert_eq!(read_wasm(&path), Err(Fault::File("is not WebAssembly".to_owned())));
        std::fs::write(&path, b"\0asm\x0d\0\x01\0 and so on").unwrap();
        assert_eq!(read_wasm(&path).unwrap(), b"\0asm\x0d\0\x01\0 and so on");
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
