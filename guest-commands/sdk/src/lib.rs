//! What a wasmline command is written with: the host's capabilities as plain Rust, and [`command!`], which makes a
//! function the command.
//!
//! ```no_run
//! use wasmline_sdk::prelude::*;
//! use wasmline_sdk::{command, connection};
//!
//! command!(greet);
//!
//! /// Runs once for each line, in a fresh instance, on the words that followed the command's name.
//! fn greet(args: Vec<String>) -> Result {
//!     let [name] = args.as_slice() else {
//!         return Err("usage: greet NAME".into());
//!     };
//!     reply!("Hello {name}, you come from {}.", connection::peer())?;
//!     Ok(())
//! }
//! ```
//!
//! A command of this kind may use all of `std`. One that does without is smaller and starts faster, because it imports
//! nothing but what it calls: begin its crate with `#![no_std]` and say `command!(greet, no_std)`, which brings the
//! allocator and the panic handler that `std` would have brought.
//!
//! An error that `run` returns ends the reply with `error: failed: <its first line>`. A panic ends it with
//! `error: trap: …`; its message goes to the host's log in a `no_std` command, and to standard error otherwise.

#![no_std]
#![warn(missing_docs)]

extern crate alloc;

mod bindings;
pub mod catalog;
pub mod config;
pub mod connection;
pub mod digest;
mod lines;
pub mod log;
pub mod prelude;
pub mod process;
#[cfg(target_arch = "wasm32")]
mod runtime;
pub mod tasks;

use alloc::boxed::Box;

/// Whatever made a command fail. Strings and every error of this crate turn into it by `?` or `.into()`.
pub type Error = Box<dyn core::error::Error>;

/// What a command returns: nothing, because it has written its reply, or the reason why it failed.
pub type Result<T = (), E = Error> = core::result::Result<T, E>;

/// Makes a function the command that this crate is: `command!(run)`, or `command!(run, no_std)` in a `#![no_std]`
/// crate.
///
/// The function takes the words after the command's name, as a `Vec<String>`, and returns `Result<(), E>` for any
/// `E` that can be displayed, such as [`Result`].
#[macro_export]
macro_rules! command {
    ($run:path) => {
        const _: () = {
            struct Command;

            impl $crate::__private::Guest for Command {
                fn run(
                    args: $crate::__private::Vec<$crate::__private::String>,
                ) -> ::core::result::Result<(), $crate::__private::String> {
                    ::core::result::Result::map_err($run(args), |error| $crate::__private::ToString::to_string(&error))
                }
            }

    $crate::__private::export!(Command with_types_in $crate::__private);
        };
    };
    ($run:path, no_std) => {
        $crate::command!($run);

        const _: () = {
            #[global_allocator]
            static ALLOCATOR: $crate::__private::Allocator = $crate::__private::allocator();

            #[panic_handler]
            fn panicked(info: &::core::panic::PanicInfo) -> ! {
                $crate::__private::panicked(info)
            }
        };
    };
}

/// Writes a line to the client: formatted text and a line feed, as one piece.
///
/// Takes what [`format!`](alloc::format!) takes, and returns what [`connection::write`] returns. For text without a
/// line feed there is [`connection::write`].
#[macro_export]
macro_rules! reply {
    () => { $crate::connection::write("\n") };
    ($($text:tt)+) => {
        $crate::connection::write_fmt(::core::format_args!("{}\n", ::core::format_args!($($text)+)))
    };
}

/// What the expansion of [`command!`] needs. Not for use by hand.
#[doc(hidden)]
pub mod __private {
    pub use crate::bindings::{Guest, export, *};
    #[cfg(target_arch = "wasm32")]
    pub use crate::runtime::{Allocator, allocator, panicked};
    pub use alloc::string::{String, ToString};
    pub use alloc::vec::Vec;
}
