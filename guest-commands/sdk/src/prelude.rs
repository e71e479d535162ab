//! What most commands use: `use wasmline_sdk::prelude::*;`. In a `no_std` crate it also stands for the parts of the
//! standard prelude that need an allocator.

pub use crate::{Result, reply};
pub use alloc::borrow::ToOwned;
pub use alloc::boxed::Box;
pub use alloc::string::{String, ToString};
pub use alloc::vec::Vec;
pub use alloc::{format, vec};
