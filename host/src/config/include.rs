//! Files of an included directory: tenants, and listeners for them, each file by itself.

use std::path::{Path, PathBuf};

use super::load::{ConfigError, read_regular};

/// Files that are read from all included directories.
const MAX_FILES: usize = 10_000;

/// An included file.
pub struct Included {
    /// Where it lies, as errors call it.
    pub path: PathBuf,
    /// What is in it.
    pub bytes: Vec<u8>,
}

/// Reads the files `*.toml` of the directories, in the order of their names. Hidden ones are passed over.
///
/// # Errors
/// When a directory or a file cannot be read.
pub fn read(directories: &[PathBuf], base: &Path) -> Result<Vec<Included>, ConfigError> {
    let mut included = Vec::new();
    for directory in directories {
        let directory = base.join(directory);
        let unreadable = |source| ConfigError::Unreadable { file: directory.clone(), source };
        let mut paths = Vec::new();
        for entry in std::fs::read_dir(&directory).map_err(unreadable)? {
            let path = entry.map_err(unreadable)?.path();
            let hidden = path.file_name().is_none_or(|name| name.as_encoded_bytes().starts_with(b"."));
            if !hidden && path.extension().is_some_and(|ending| ending == "toml") {
                paths.push(path);
            }
        }
        paths.sort();
        for path in paths {
            if included.len() == MAX_FILES {
                return Err(ConfigError::Unfit(format!("more than {MAX_FILES} files are included; put them together")));
            }
            let bytes = read_regular(&path).map_err(|source| ConfigError::Unreadable { file: path.clone(), source })?;
            included.push(Included { path, bytes });
        }
    }
    Ok(included)
}
