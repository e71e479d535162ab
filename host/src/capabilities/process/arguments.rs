//! The words that a program is given, and the files that they name.

use std::os::fd::{AsRawFd, OwnedFd};

use rustix::fs::OFlags;
use rustix::process::{DumpableBehavior, dumpable_behavior};

use super::super::bindings::wasmline::command::process::Error;
use super::super::paths::{OpenError, open_beneath};
use super::Unspawned;
use crate::policy::{Access, Denial, PassedAs, PlannedPath};

/// A program's arguments, and the open files that they name.
pub(super) struct Arguments {
    /// As the program gets them.
    pub(super) words: Vec<String>,
    /// To be kept for as long as the program may open them.
    pub(super) files: Vec<OwnedFd>,
}

impl Arguments {
    /// Opens the paths among the words where the grants say, and puts names of what was opened in their place, unless the
    /// grant wants the text.
    ///
    /// The names are the host's own descriptors: the child opens through them what the host has opened, and whatever the
    /// path leads to by then does not matter. Nothing is opened for reading or writing yet, that is for the child to do.
    pub(super) fn confine(
        program: &str,
        mut words: Vec<String>,
        paths: &[PlannedPath],
    ) -> Result<Arguments, Unspawned> {
        let mut files = Vec::new();
        for PlannedPath { index, places, pass } in paths {
            let mut opened = None;
            for place in places {
                let file = match open_beneath(&place.root, &place.relative, OFlags::PATH) {
                    Ok(file) => file,
                    Err(OpenError::Outside) => {
                        let path = words[*index].clone();
                        let access = Access::Process { program: program.to_owned(), args: words };
                        return Err(Unspawned::Denied(Box::new(Denial::link(&path, access))));
                    }
                    Err(OpenError::NotFound) => return Err(Error::NotFound(words[*index].clone()).into()),
                    Err(OpenError::Permission) => return Err(Error::Io("permission denied".to_owned()).into()),
                    Err(OpenError::NoFile) => return Err(Error::Io("not a file".to_owned()).into()),
                    Err(OpenError::Other(error)) => return Err(Unspawned::Failed(error.into())),
                };
                // The tenant's comes first, and is what counts.
                opened.get_or_insert(file);
            }
            if let (PassedAs::Descriptor, Some(file)) = (pass, opened) {
                words[*index] = format!("/proc/{}/fd/{}", std::process::id(), file.as_raw_fd());
                files.push(file);
            }
        }
        if !files.is_empty() && !matches!(dumpable_behavior(), Ok(DumpableBehavior::Dumpable)) {
            tracing::error!(
                "programs cannot open what this host opens for them, because its file has capabilities or a set-user-ID bit"
            );
            return Err(Error::Io("the host cannot pass files on".to_owned()).into());
        }
        Ok(Arguments { words, files })
    }
}
