//! Hashes of files below the directories that are granted for it. The host reads them, in constant memory.

use crate::bindings::wasmline::command::digest as host;
pub use crate::bindings::wasmline::command::digest::Algorithm;
use alloc::string::String;
use alloc::vec::Vec;
use core::fmt;

/// Why a file could not be hashed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Error {
    /// No grant covers the path, or a symbolic link stands in the way.
    Denied,
    /// Nothing exists at the path.
    NotFound,
    /// The path is not absolute, or has a NUL byte in it.
    BadPath,
    /// The path names something else than a regular file.
    NotAFile,
    /// The host itself may not read the file.
    Permission,
    /// The file is longer than this many bytes, the most that the host hashes.
    TooLarge(u64),
    /// Reading failed. Holds the machine's reason.
    Io(String),
}

/// The raw digest of the file at the absolute path.
///
/// # Errors
/// When nothing allows it, or the file cannot be hashed.
pub fn hash_file(path: &str, algorithm: Algorithm) -> Result<Vec<u8>, Error> {
    Ok(host::hash_file(path, algorithm)?)
}

/// Bytes as lower-case hexadecimal digits, the way sums are printed.
pub fn hex(bytes: &[u8]) -> String {
    let digit = |value: u8| char::from_digit(value.into(), 16).unwrap_or('?');
    bytes.iter().flat_map(|byte| [digit(byte >> 4), digit(byte & 0xf)]).collect()
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter) -> fmt::Result {
        match self {
            Error::Denied => f.write_str("not permitted"),
            Error::NotFound => f.write_str("no such file"),
            Error::BadPath => f.write_str("not an absolute path"),
            Error::NotAFile => f.write_str("not a regular file"),
            Error::Permission => f.write_str("permission denied"),
            Error::TooLarge(bound) => write!(f, "longer than {bound} bytes"),
            Error::Io(reason) => f.write_str(reason),
        }
    }
}

impl core::error::Error for Error {}

impl From<host::Error> for Error {
    fn from(error: host::Error) -> Error {
        match error {
            host::Error::Denied => Error::Denied,
            host::Error::NotFound => Error::NotFound,
            host::Error::BadPath => Error::BadPath,
            host::Error::NotAFile => Error::NotAFile,
            host::Error::Permission => Error::Permission,
            host::Error::TooLarge(bound) => Error::TooLarge(bound),
            host::Error::Io(reason) => Error::Io(reason),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::hex;

    #[test]
    fn every_byte_is_two_digits() {
        assert_eq!(hex(&[]), "");
        assert_eq!(hex(&[0x00, 0x0f, 0xa5, 0xff]), "000fa5ff");
    }
}
