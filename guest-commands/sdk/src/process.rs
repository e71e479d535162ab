//! Programs of the machine. Each needs a grant that names it and the shape of its arguments.

use crate::bindings::wasmline::command::process as host;
use crate::lines::Pieces;
pub use crate::lines::{LINE_BOUND, Piece};
use alloc::string::String;
use alloc::vec::Vec;
use core::fmt;

/// How much a line reader asks of the host at a time.
const READ_SIZE: u32 = 8192;

/// Why a call on a process failed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Error {
    /// No grant allows the program with these arguments. Says what did not fit.
    Denied(String),
    /// The program, or a file that an argument names, does not exist. Names what is missing.
    NotFound(String),
    /// The line, its tenant or the host has as many children as it may.
    TooManyChildren,
    /// The machine refused. Holds its reason.
    Io(String),
}

/// How a child ended. Displays as `exited with status 1`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Status {
    /// It exited by itself, with this status.
    Exited(i32),
    /// A signal with this number ended it.
    Signaled(i32),
}

/// A running child process. Dropping it kills it, with all that it started.
#[derive(Debug)]
pub struct Child(host::Child);

/// Starts a program: its absolute path, and its arguments without the program's own name.
///
/// # Errors
/// When nothing allows the program with these arguments, or it cannot be started.
pub fn spawn<A>(program: &str, args: A) -> Result<Child, Error>
where
    A: IntoIterator<Item: Into<String>>,
{
    let args: Vec<String> = args.into_iter().map(Into::into).collect();
    Ok(Child(host::spawn(program, &args)?))
}

impl Child {
    /// Reads the next bytes of standard output: at least one and at most `max`, or `None` at its end. The host gives
    /// 65,536 at most.
    ///
    /// # Errors
    /// When the machine fails to read it.
    pub fn read(&self, max: u32) -> Result<Option<Vec<u8>>, Error> {
        Ok(self.0.read(max)?)
    }

    /// Reads the next bytes of standard error, like [`read`](Child::read). The host keeps 65,536 bytes of it.
    ///
    /// # Errors
    /// When the machine fails to read it.
    pub fn read_stderr(&self, max: u32) -> Result<Option<Vec<u8>>, Error> {
        Ok(self.0.read_stderr(max)?)
    }

    /// Standard output, line by line as it comes. A line that is longer than [`LINE_BOUND`] comes in several pieces,
    /// so that no output needs more memory than that.
    ///
    /// # Errors
    /// A piece is one where the machine fails to read it; more may follow.
    pub fn lines(&self) -> impl Iterator<Item = Result<Piece, Error>> {
        Pieces::new(|| self.read(READ_SIZE))
    }

    /// Standard error, line by line, like [`lines`](Child::lines).
    ///
    /// # Errors
    /// As [`lines`](Child::lines).
    pub fn stderr_lines(&self) -> impl Iterator<Item = Result<Piece, Error>> {
        Pieces::new(|| self.read_stderr(READ_SIZE))
    }

    /// Waits until the child has ended, and kills what is left of the processes that it started.
    ///
    /// # Errors
    /// When the machine cannot tell how it ended.
    pub fn wait(&self) -> Result<Status, Error> {
        Ok(match self.0.wait()? {
            host::Status::Exited(status) => Status::Exited(status),
            host::Status::Signaled(signal) => Status::Signaled(signal),
        })
    }

    /// Kills the child and the processes that it started.
    pub fn kill(&self) {
        self.0.kill();
    }
}

impl Status {
    /// Did it exit by itself, with status 0?
    pub fn success(self) -> bool {
        self == Status::Exited(0)
    }
}

impl fmt::Display for Status {
    fn fmt(&self, f: &mut fmt::Formatter) -> fmt::Result {
        match self {
            Status::Exited(status) => write!(f, "exited with status {status}"),
            Status::Signaled(signal) => write!(f, "was ended by signal {signal}"),
        }
    }
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter) -> fmt::Result {
        match self {
            Error::Denied(what) => write!(f, "not permitted: {what}"),
            Error::NotFound(what) => write!(f, "{what} does not exist"),
            Error::TooManyChildren => f.write_str("too many child processes"),
            Error::Io(reason) => f.write_str(reason),
        }
    }
}

impl core::error::Error for Error {}

impl From<host::Error> for Error {
    fn from(error: host::Error) -> Error {
        match error {
            host::Error::Denied(what) => Error::Denied(what),
            host::Error::NotFound(what) => Error::NotFound(what),
            host::Error::TooManyChildren => Error::TooManyChildren,
            host::Error::Io(reason) => Error::Io(reason),
        }
    }
}
