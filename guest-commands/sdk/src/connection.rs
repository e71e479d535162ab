//! The client's connection, for as long as the line runs. Needs no grant.

use crate::bindings::wasmline::command::connection as host;
use alloc::string::String;
use core::fmt;

/// Why a call on the connection failed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Error {
    /// The command has closed the connection.
    Closed,
    /// The client's next line is longer than the host allows. It cannot be read.
    LineTooLong,
    /// The client's next line is not UTF-8. It is dropped, and reading may go on.
    BadEncoding,
}

/// Appends bytes to the reply. Waits while the client is slow to read.
///
/// # Errors
/// [`Error::Closed`] when the command has closed the connection.
pub fn write(bytes: impl AsRef<[u8]>) -> Result<(), Error> {
    Ok(host::write(bytes.as_ref())?)
}

/// Appends formatted text to the reply: what [`reply!`](crate::reply!) calls.
///
/// # Errors
/// As [`write()`].
pub fn write_fmt(text: fmt::Arguments) -> Result<(), Error> {
    match text.as_str() {
        Some(text) => write(text),
        None => write(alloc::fmt::format(text)),
    }
}

/// Takes the client's next line, without its line end; `None` once the client has sent all it will send.
///
/// A line taken here is not run as a command.
///
/// # Errors
/// When the command has closed the connection, or the line is none: too long, or not UTF-8.
pub fn read_line() -> Result<Option<String>, Error> {
    Ok(host::read_line()?)
}

/// The client's address, `127.0.0.1:40000` for TCP.
pub fn peer() -> String {
    host::peer()
}

/// The name of the tenant on whose behalf the command runs.
pub fn tenant() -> String {
    host::tenant()
}

/// Closes the connection once everything written so far has been sent.
pub fn close() {
    host::close();
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter) -> fmt::Result {
        f.write_str(match self {
            Error::Closed => "the connection is closed",
            Error::LineTooLong => "the line is too long",
            Error::BadEncoding => "the line is not UTF-8",
        })
    }
}

impl core::error::Error for Error {}

impl From<host::Error> for Error {
    fn from(error: host::Error) -> Error {
        match error {
            host::Error::Closed => Error::Closed,
            host::Error::LineTooLong => Error::LineTooLong,
            host::Error::BadEncoding => Error::BadEncoding,
        }
    }
}
