//! The audit file itself: whole lines are appended, and when it has grown to its size it is renamed and a new one begun.

use std::fs::{File, Metadata, OpenOptions, Permissions};
use std::io::{self, Read, Seek, SeekFrom, Write};
use std::os::unix::fs::{MetadataExt, OpenOptionsExt, PermissionsExt};
use std::path::{Path, PathBuf};

use rustix::fs::{Access, FlockOperation, OFlags, flock};

/// Permissions of the files: they say what people did.
const MODE: u32 = 0o600;

/// An open audit file, which no other host writes to.
#[derive(Debug)]
pub struct AuditFile {
    path: PathBuf,
    file: File,
    length: u64,
    max_size: u64,
    keep: usize,
    /// It has been renamed, and no new one could be opened yet.
    renamed: bool,
}

impl AuditFile {
    /// Opens the file for appending, or makes it. `keep` older ones are kept when it has grown to `max_size` bytes.
    ///
    /// # Errors
    /// When it cannot be opened, is no regular file, or another process has it open for the same purpose.
    pub fn open(path: &Path, max_size: u64, keep: usize) -> io::Result<AuditFile> {
        let mut options = OpenOptions::new();
        options.read(true).append(true).create(true).mode(MODE);
        // A link or a FIFO could lead or hold the records where nobody looks for them.
        options.custom_flags((OFlags::NOFOLLOW | OFlags::NONBLOCK).bits().cast_signed());
        let mut file = options.open(path)?;
        let metadata = file.metadata()?;
        if !metadata.is_file() {
            return Err(io::Error::other("it is no regular file"));
        }
        match flock(&file, FlockOperation::NonBlockingLockExclusive) {
            Ok(()) => {}
            Err(rustix::io::Errno::WOULDBLOCK) => return Err(io::Error::other("another process writes to it")),
            Err(error) => return Err(error.into()),
        }
        let mut length = metadata.len();
        if length == 0 {
            // Whatever the umask says.
            file.set_permissions(Permissions::from_mode(MODE))?;
        } else if !ends_a_line(&mut file)? {
            // A host that was killed in the middle of a line left it; the next record must not become part of it.
            file.write_all(b"\n")?;
            length += 1;
        }
        Ok(AuditFile { path: path.to_owned(), file, length, max_size, keep, renamed: false })
    }

    /// Whether it is this one that is there, and not another that took its place.
    pub fn is(&self, there: &Metadata) -> bool {
        self.file.metadata().is_ok_and(|own| (own.dev(), own.ino()) == (there.dev(), there.ino()))
    }

    /// Takes over other bounds.
    pub fn set_bounds(&mut self, max_size: u64, keep: usize) {
        (self.max_size, self.keep) = (max_size, keep);
    }

    /// How many bytes still fit before a new file is begun.
    pub fn room(&self) -> u64 {
        self.max_size.saturating_sub(self.length)
    }

    /// Appends whole lines. When that fails, nothing of them is left in the file.
    ///
    /// # Errors
    /// When the machine does not take them.
    pub fn append(&mut self, lines: &[u8]) -> io::Result<()> {
        // Somebody else may have truncated it.
        self.length = self.file.metadata()?.len();
        if lines.len() as u64 > self.room() && self.length > 0 {
            self.rotate()?;
        }
        match self.file.write_all(lines) {
            Ok(()) => {
                self.length += lines.len() as u64;
                Ok(())
            }
            Err(error) => {
                self.file.set_len(self.length)?;
                Err(error)
            }
        }
    }

    /// Has the machine put on its disk what was appended.
    ///
    /// # Errors
    /// When it cannot.
    pub fn sync(&self) -> io::Result<()> {
        self.file.sync_data()
    }

    /// Renames the file to `FILE.1`, that one to `FILE.2`, and so on, and begins a new one. The oldest goes.
    fn rotate(&mut self) -> io::Result<()> {
        // A new file that could not be opened must not push out one more old file at each try.
        if !self.renamed {
            self.sync()?;
            for number in (1..self.keep).rev() {
                rename_if_there(&self.numbered(number), &self.numbered(number + 1))?;
            }
            match self.keep {
                0 => std::fs::remove_file(&self.path)?,
                _ => rename_if_there(&self.path, &self.numbered(1))?,
            }
            self.renamed = true;
        }
        *self = AuditFile::open(&self.path, self.max_size, self.keep)?;
        Ok(())
    }

    fn numbered(&self, number: usize) -> PathBuf {
        let mut name = self.path.clone().into_os_string();
        name.push(format!(".{number}"));
        name.into()
    }
}

/// Finds whether a file could be opened, without making it.
///
/// # Errors
/// When it could not.
pub fn check(path: &Path) -> io::Result<()> {
    let mut options = OpenOptions::new();
    options.append(true).custom_flags((OFlags::NOFOLLOW | OFlags::NONBLOCK).bits().cast_signed());
    match options.open(path) {
        Ok(file) if file.metadata()?.is_file() => Ok(()),
        Ok(_) => Err(io::Error::other("it is no regular file")),
        Err(error) if error.kind() == io::ErrorKind::NotFound => {
            let directory = path.parent().unwrap_or(Path::new("/"));
            Ok(rustix::fs::access(directory, Access::WRITE_OK | Access::EXEC_OK)?)
        }
        Err(error) => Err(error),
    }
}

fn ends_a_line(file: &mut File) -> io::Result<bool> {
    let mut last = [0];
    file.seek(SeekFrom::End(-1))?;
    file.read_exact(&mut last)?;
    Ok(last == *b"\n")
}

fn rename_if_there(from: &Path, to: &Path) -> io::Result<()> {
    match std::fs::rename(from, to) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
        renamed => renamed,
    }
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::symlink;

    use super::*;

    fn read(path: &Path) -> String {
        std::fs::read_to_string(path).unwrap_or_else(|_| "none".to_owned())
    }

    #[test]
    fn lines_are_appended_and_old_files_kept() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("audit");
        let mut file = AuditFile::open(&path, 8, 2).unwrap();
        for line in ["one\n", "two\n", "three\n", "four\n", "much longer than a file\n", "six\n"] {
            file.append(line.as_bytes()).unwrap();
        }
        let all = ["audit", "audit.1", "audit.2", "audit.3"].map(|name| read(&directory.path().join(name)));
        assert_eq!(all, ["six\n", "much longer than a file\n", "four\n", "none"]);
        let mode = std::fs::metadata(&path).unwrap().permissions().mode();
        assert_eq!(mode & 0o777, 0o600);
    }

    #[test]
    fn a_file_is_gone_on_with_and_a_torn_line_ended() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("audit");
        std::fs::write(&path, "whole\nto").unwrap();
        let mut file = AuditFile::open(&path, 100, 0).unwrap();
        file.append(b"next\n").unwrap();
        assert_eq!(read(&path), "whole\nto\nnext\n");
        file.set_bounds(10, 0);
        file.append(b"only\n").unwrap();
        assert_eq!(read(&path), "only\n");
    }

    #[test]
    fn only_one_process_writes_it_and_only_a_file_is_written() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("audit");
        let first = AuditFile::open(&path, 100, 1).unwrap();
        assert!(AuditFile::open(&path, 100, 1).unwrap_err().to_string().contains("another process"));
        drop(first);
        AuditFile::open(&path, 100, 1).unwrap();
        symlink(&path, directory.path().join("link")).unwrap();
        AuditFile::open(&directory.path().join("link"), 100, 1).unwrap_err();
        AuditFile::open(directory.path(), 100, 1).unwrap_err();
    }
}
