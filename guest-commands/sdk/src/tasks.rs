//! The tenant's running commands. Seeing and stopping them takes the grant `tasks`.

use core::fmt;

use alloc::vec::Vec;

use crate::bindings::wasmline::command::tasks as host;

pub use host::Task;

/// Why a call failed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Error {
    /// No grant allows it.
    Denied,
    /// Nothing with this number is running.
    NotFound,
}

/// Everything that runs, the calling command included, in the order in which it began.
///
/// # Errors
/// [`Error::Denied`] without the grant.
pub fn running() -> Result<Vec<Task>, Error> {
    host::running().map_err(Error::from)
}

/// Stops a command.
///
/// # Errors
/// [`Error::Denied`] without the grant, [`Error::NotFound`] where nothing with this number is running.
pub fn stop(id: u64) -> Result<(), Error> {
    host::stop(id).map_err(Error::from)
}

impl From<host::Error> for Error {
    fn from(error: host::Error) -> Error {
        match error {
            host::Error::Denied => Error::Denied,
            host::Error::NotFound => Error::NotFound,
        }
    }
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Error::Denied => "not permitted",
            Error::NotFound => "no such command is running",
        })
    }
}

impl core::error::Error for Error {}
