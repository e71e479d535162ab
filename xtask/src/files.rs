//! What several chores do with files.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use crate::shell::Result;

/// What a directory holds, sorted.
pub fn list(dir: &Path) -> Result<Vec<PathBuf>> {
    let read = || fs::read_dir(dir)?.map(|entry| Ok(entry?.path())).collect::<io::Result<Vec<_>>>();
    let mut paths = read().map_err(|error| failed("read", dir, error))?;
    paths.sort();
    Ok(paths)
}

/// Says what could not be done with a file, and why.
pub fn failed(what: &str, path: &Path, error: io::Error) -> String {
    format!("cannot {what} {}: {error}", path.display())
}
