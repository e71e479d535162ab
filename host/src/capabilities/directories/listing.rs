//! Listing a directory piece by piece, however large it is.

use std::collections::VecDeque;
use std::sync::Arc;

use rustix::fs::{AtFlags, FileType, statat};
use wasmtime_wasi::filesystem::Dir;
use wasmtime_wasi::p2::bindings::filesystem::types::{DescriptorType, DirectoryEntry, ErrorCode};

use super::open::{listed, told};
use crate::capabilities::{Call, jobs};

/// Entries that are read at once and kept for the guest.
const BATCH: usize = 128;

/// A listing under way.
pub struct Listing {
    /// `None` while a job has it, and after the end.
    rest: Option<rustix::fs::Dir>,
    read: VecDeque<Entry>,
}

type Entry = Result<DirectoryEntry, ErrorCode>;

impl Listing {
    /// Begins to list a directory. Blocks as long as the disk does.
    ///
    /// # Errors
    /// What the program is told.
    pub fn new(directory: &Dir) -> Result<Listing, ErrorCode> {
        let rest = rustix::fs::Dir::new(listed(directory)?).map_err(told)?;
        Ok(Listing { rest: Some(rest), read: VecDeque::new() })
    }

    /// The next entry; `None` at the end.
    ///
    /// # Errors
    /// When the line's CPU budget is used up. The inner one is what the program is told.
    pub async fn next(&mut self, call: &Arc<Call>) -> wasmtime::Result<Result<Option<DirectoryEntry>, ErrorCode>> {
        if self.read.is_empty()
            && let Some(mut rest) = self.rest.take()
        {
            let read = jobs::run(call, move || (batch(&mut rest), rest)).await?;
            let Some((read, rest)) = read else { return Ok(Err(ErrorCode::Io)) };
            // A batch that is not full is the last one.
            self.rest = (read.len() == BATCH).then_some(rest);
            self.read = read;
        }
        Ok(self.read.pop_front().transpose())
    }
}

fn batch(directory: &mut rustix::fs::Dir) -> VecDeque<Entry> {
    let mut entries = VecDeque::with_capacity(BATCH);
    while entries.len() < BATCH {
        match directory.read() {
            Some(Ok(entry)) if matches!(entry.file_name().to_bytes(), b"." | b"..") => {}
            Some(Ok(entry)) => entries.push_back(shown(directory, &entry)),
            Some(Err(error)) => {
                entries.push_back(Err(told(error)));
                break;
            }
            None => break,
        }
    }
    entries
}

fn shown(directory: &rustix::fs::Dir, entry: &rustix::fs::DirEntry) -> Entry {
    let name = entry.file_name().to_str().map_err(|_| ErrorCode::IllegalByteSequence)?;
    let kind = match entry.file_type() {
        // Some file systems do not say.
        FileType::Unknown => {
            let directory = directory.fd().map_err(told)?;
            let stat = statat(directory, entry.file_name(), AtFlags::SYMLINK_NOFOLLOW).map_err(told)?;
            FileType::from_raw_mode(stat.st_mode)
        }
        known => known,
    };
    let type_ = match kind {
        FileType::RegularFile => DescriptorType::RegularFile,
        FileType::Directory => DescriptorType::Directory,
        FileType::Symlink => DescriptorType::SymbolicLink,
        FileType::BlockDevice => DescriptorType::BlockDevice,
        FileType::CharacterDevice => DescriptorType::CharacterDevice,
        FileType::Fifo => DescriptorType::Fifo,
        FileType::Socket => DescriptorType::Socket,
        FileType::Unknown => DescriptorType::Unknown,
    };
    Ok(DirectoryEntry { type_, name: name.to_owned() })
}
