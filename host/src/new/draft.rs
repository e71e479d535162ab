//! Writing many files, or none.

use std::fs::{self, File};
use std::io::{self, Write};
use std::path::{Path, PathBuf};

/// Files and directories that are being made. Unless they are kept, what was made goes again.
#[derive(Default)]
pub struct Draft {
    made: Vec<PathBuf>,
}

impl Draft {
    /// Makes a directory and those above it, as far as they are not there.
    ///
    /// # Errors
    /// When one of them cannot be made.
    pub fn directory(&mut self, path: &Path) -> io::Result<()> {
        // The parent of a relative path's first part is the empty path.
        if path.as_os_str().is_empty() || path.is_dir() {
            return Ok(());
        }
        if let Some(parent) = path.parent() {
            self.directory(parent)?;
        }
        fs::create_dir(path)?;
        self.made.push(path.to_owned());
        Ok(())
    }

    /// Makes a file, which must not be there, and the directories above it.
    ///
    /// # Errors
    /// When it is there, or cannot be written.
    pub fn file(&mut self, path: &Path, contents: &[u8]) -> io::Result<()> {
        if let Some(parent) = path.parent() {
            self.directory(parent)?;
        }
        let mut file = File::create_new(path)?;
        self.made.push(path.to_owned());
        file.write_all(contents)
    }

    /// Ends the drafting: everything stays.
    pub fn keep(mut self) {
        self.made.clear();
    }
}

impl Drop for Draft {
    fn drop(&mut self) {
        for path in self.made.iter().rev() {
            // The latest first, so a directory is empty by now, unless somebody else has put something there.
            let _ = fs::remove_file(path).or_else(|_| fs::remove_dir(path));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_not_kept_goes_again_and_nothing_else() {
        let temp = tempfile::tempdir().unwrap();
        let deep = temp.path().join("a/b/file");
        let mut draft = Draft::default();
        draft.file(&deep, b"x").unwrap();
        assert_eq!(fs::read(&deep).unwrap(), b"x");
        drop(draft);
        assert_eq!(fs::read_dir(temp.path()).unwrap().count(), 0);

        fs::create_dir(temp.path().join("a")).unwrap();
        let mut draft = Draft::default();
        draft.file(&deep, b"x").unwrap();
        fs::write(temp.path().join("a/b/foreign"), "theirs").unwrap();
        drop(draft);
        assert!(!deep.exists());
        assert_eq!(fs::read(temp.path().join("a/b/foreign")).unwrap(), b"theirs");
    }

    #[test]
    fn what_is_kept_stays() {
        let temp = tempfile::tempdir().unwrap();
        let mut draft = Draft::default();
        draft.file(&temp.path().join("a/file"), b"x").unwrap();
        draft.keep();
        assert!(temp.path().join("a/file").is_file());
    }

    #[test]
    fn no_file_is_overwritten() {
        let temp = tempfile::tempdir().unwrap();
        let path = temp.path().join("file");
        fs::write(&path, "theirs").unwrap();
        let mut draft = Draft::default();
        assert_eq!(draft.file(&path, b"ours").unwrap_err().kind(), io::ErrorKind::AlreadyExists);
        drop(draft);
        assert_eq!(fs::read(&path).unwrap(), b"theirs");
    }
}
