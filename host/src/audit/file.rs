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
    /// Opens the file for appending, or makes it. `keep` older ones are kept when it has grown to `max_size` bytes. One that was
    /// set aside to be kept, by a host that did not come any further, gets its number.
    ///
    /// # Errors
    /// When it cannot be opened, is no regular file, another process has it open for the same purpose, or what was set aside
    /// cannot be renamed.
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
        let file = AuditFile { path: path.to_owned(), file, length, max_size, keep, renamed: false };
        file.number()?;
        Ok(file)
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
        let mut metadata = self.file.metadata()?;
        if metadata.nlink() == 0 && !self.renamed {
            // Nobody would ever read what is written there.
            *self = AuditFile::open(&self.path, self.max_size, self.keep)?;
            metadata = self.file.metadata()?;
            tracing::warn!(path = %self.path.display(), "somebody has deleted the audit file; it is begun anew");
        }
        // Somebody else may have truncated it.
        self.length = metadata.len();
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
    ///
    /// First the file is set aside as `FILE.0`, and only what was set aside pushes out an old one: so neither a file that cannot
    /// be renamed nor a new one that cannot be opened costs one at each try. Opening does the rest.
    fn rotate(&mut self) -> io::Result<()> {
        if !self.renamed {
            self.sync()?;
            if self.keep == 0 {
                done_if_not_there(std::fs::remove_file(&self.path))?;
            } else {
                // A host whose bounds have changed may have left one.
                self.number()?;
                done_if_not_there(std::fs::rename(&self.path, self.numbered(0)))?;
            }
            self.renamed = true;
        }
        *self = AuditFile::open(&self.path, self.max_size, self.keep)?;
        Ok(())
    }

    /// Gives what was set aside the first number, and those that are in the way the next ones, up to one that is not taken:
    /// whoever was interrupted here goes on where that was.
    fn number(&self) -> io::Result<()> {
        if !is_there(&self.numbered(0))? {
            return Ok(());
        }
        if self.keep == 0 {
            return std::fs::remove_file(self.numbered(0));
        }
        let mut last = 1;
        while last < self.keep && is_there(&self.numbered(last))? {
            last += 1;
        }
        for number in (0..last).rev() {
            std::fs::rename(self.numbered(number), self.numbered(number + 1))?;
        }
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

/// Whether there is a file. Anything else is none that was renamed to that.
fn is_there(path: &Path) -> io::Result<bool> {
    match path.symlink_metadata() {
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(false),
        looked_at => looked_at.map(|metadata| metadata.is_file()),
    }
}

/// What somebody else has taken away need not be.
fn done_if_not_there(done: io::Result<()>) -> io::Result<()> {
    match done {
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
        done => done,
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

    /// All files of a directory with what is in them, by their names.
    fn all(directory: &Path) -> Vec<(String, String)> {
        let entries = std::fs::read_dir(directory).unwrap();
        let mut all: Vec<_> = entries
            .map(|entry| entry.unwrap().path())
            .map(|path| (path.file_name().unwrap().to_string_lossy().into_owned(), read(&path)))
            .collect();
        all.sort();
        all
    }

    fn files(names: &[(&str, &str)]) -> Vec<(String, String)> {
        names.iter().map(|(name, text)| ((*name).to_owned(), (*text).to_owned())).collect()
    }

    /// A directory is in the way; a file that something is mounted on takes rights that a test need not have.
    #[test]
    fn a_file_that_cannot_be_renamed_pushes_out_no_old_one() {
        let directory = tempfile::tempdir().unwrap();
        let path = |name: &str| directory.path().join(name);
        for (name, text) in [("audit", "live\n"), ("audit.1", "one\n"), ("audit.2", "two\n")] {
            std::fs::write(path(name), text).unwrap();
        }
        let mut file = AuditFile::open(&path("audit"), 8, 2).unwrap();
        std::fs::create_dir_all(path("audit.0/in the way")).unwrap();
        for _ in 0..5 {
            file.append(b"more\n").unwrap_err();
            assert_eq!([read(&path("audit.1")), read(&path("audit.2"))], ["one\n", "two\n"]);
        }
        std::fs::remove_dir_all(path("audit.0")).unwrap();
        file.append(b"more\n").unwrap();
        let kept = [("audit", "more\n"), ("audit.1", "live\n"), ("audit.2", "one\n")];
        assert_eq!(all(directory.path()), files(&kept));
    }

    /// A host that ends anywhere in a rotation has lost nothing but the oldest, and the next one does the rest.
    #[test]
    fn a_rotation_is_gone_on_with_where_it_was_interrupted() {
        let names = ["audit", "audit.0", "audit.1", "audit.2", "audit.3"];
        // Where the live file, and the first, second and third of the old ones are by then.
        for places in [[1, 2, 3, 4], [1, 2, 4, 0], [1, 3, 4, 0], [2, 3, 4, 0]] {
            let directory = tempfile::tempdir().unwrap();
            for (place, text) in places.into_iter().zip(["live\n", "one\n", "two\n", "three\n"]) {
                if place > 0 {
                    std::fs::write(directory.path().join(names[place]), text).unwrap();
                }
            }
            let mut file = AuditFile::open(&directory.path().join("audit"), 100, 3).unwrap();
            file.append(b"next\n").unwrap();
            let kept = [("audit", "next\n"), ("audit.1", "live\n"), ("audit.2", "one\n"), ("audit.3", "two\n")];
            assert_eq!(all(directory.path()), files(&kept), "{places:?}");
        }
    }

    #[test]
    fn a_file_that_somebody_deleted_is_begun_anew() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("audit");
        for (keep, size) in [(2, 100), (0, 100), (2, 5), (0, 5)] {
            let mut file = AuditFile::open(&path, size, keep).unwrap();
            for text in ["one\n", "two\n", "three\n"] {
                file.append(text.as_bytes()).unwrap();
                assert_eq!(all(directory.path()), files(&[("audit", text)]), "{keep} {size}");
                std::fs::remove_file(&path).unwrap();
            }
        }
    }

    #[test]
    fn a_file_that_somebody_moved_need_not_be_removed() {
        let directory = tempfile::tempdir().unwrap();
        let [path, aside] = ["audit", "aside"].map(|name| directory.path().join(name));
        let mut file = AuditFile::open(&path, 5, 0).unwrap();
        file.append(b"one\n").unwrap();
        std::fs::rename(&path, aside).unwrap();
        file.append(b"two\n").unwrap();
        assert_eq!(all(directory.path()), files(&[("aside", "one\n"), ("audit", "two\n")]));
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
