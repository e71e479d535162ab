//! The command's settings: those of its sidecar, with the tenant's in their place where it has some.

use crate::bindings::wasi::config::store as host;
use alloc::string::String;
use alloc::vec::Vec;
use core::fmt;

/// The host could not give its settings. Holds the reason.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Error(String);

/// The setting with this name, if there is one.
///
/// # Errors
/// When the host could not give its settings.
pub fn get(name: &str) -> Result<Option<String>, Error> {
    Ok(host::get(name)?)
}

/// All settings, as names and values.
///
/// # Errors
/// When the host could not give its settings.
pub fn all() -> Result<Vec<(String, String)>, Error> {
    Ok(host::get_all()?)
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter) -> fmt::Result {
        write!(f, "settings cannot be read: {}", self.0)
    }
}

impl core::error::Error for Error {}

impl From<host::Error> for Error {
    fn from(error: host::Error) -> Error {
        match error {
            host::Error::Upstream(reason) | host::Error::Io(reason) => Error(reason),
        }
    }
}
