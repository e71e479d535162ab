//! The host's log. Needs no grant: each record carries the tenant and the command, and is bounded.

pub use crate::bindings::wasmline::command::log::{Level, write};

/// Writes a record that matters only to who looks for a fault.
pub fn debug(text: &str) {
    write(Level::Debug, text);
}

/// Writes a record of something usual.
pub fn info(text: &str) {
    write(Level::Info, text);
}

/// Writes a record of something that somebody should look at.
pub fn warn(text: &str) {
    write(Level::Warn, text);
}

/// Writes a record of a failure.
pub fn error(text: &str) {
    write(Level::Error, text);
}
