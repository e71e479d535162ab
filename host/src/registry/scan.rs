//! Finds the commands of a directory: `NAME.wasm`, and `NAME.toml` beside it.

use std::collections::BTreeSet;
use std::fs::File;
use std::io::Read;
use std::path::{Path, PathBuf};

use rustix::fs::{Mode, OFlags};

use super::Problem;
use crate::config::is_name;

/// Largest `.wasm` file that is looked at, in bytes.
const MAX_FILE: u64 = 256 * 1024 * 1024;

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

/// Reads a `.wasm` file. It must be a regular file itself: a link could point to what its tenant may not read, and a FIFO
/// would never end.
///
/// # Errors
/// When it is something else, too large, or cannot be read.
pub fn read(path: &Path) -> Result<Vec<u8>, Problem> {
    let problem = |reason: String| Problem { path: path.to_owned(), reason };
    let flags = OFlags::RDONLY | OFlags::NOFOLLOW | OFlags::NONBLOCK | OFlags::CLOEXEC;
    let file = match rustix::fs::open(path, flags, Mode::empty()) {
        Ok(file) => File::from(file),
        Err(rustix::io::Errno::LOOP) => return Err(problem("is a symbolic link; copy the file itself".to_owned())),
        Err(error) => return Err(problem(format!("cannot be opened: {}", std::io::Error::from(error)))),
    };
    let metadata = file.metadata().map_err(|error| problem(error.to_string()))?;
    if !metadata.is_file() {
        return Err(problem("is not a regular file".to_owned()));
    }
    let mut bytes = Vec::new();
    file.take(MAX_FILE + 1).read_to_end(&mut bytes).map_err(|error| problem(format!("cannot be read: {error}")))?;
    if bytes.len() as u64 > MAX_FILE {
        return Err(problem(format!("is larger than {}", bytesize::ByteSize(MAX_FILE).display().iec())));
    }
    Ok(bytes)
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
        assert!(read(&path).unwrap_err().reason.contains("symbolic link"));
        std::fs::remove_file(&path).unwrap();
        std::fs::create_dir(&path).unwrap();
        assert!(read(&path).unwrap_err().reason.contains("not a regular file"));
    }
}
