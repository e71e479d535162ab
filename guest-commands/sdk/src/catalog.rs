//! The commands that the calling tenant can run. Needs no grant.

pub use crate::bindings::wasmline::command::catalog::{Entry, Refusal, entries, refusals};
